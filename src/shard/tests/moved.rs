//! Two shards: what still comes to the one that a call of Baton's own has left.

use super::edges::{requests, status};
use super::owned::{own, with_sdp};
use super::*;
use crate::shard::owner::HashKey;

const CAROL: &str = "10.0.1.2:5060";

/// Two shards that own their calls between alpha and bravo.
fn pair() -> [Stage; 2] {
    pair_with(own)
}

fn pair_with(change: fn(&mut Plan)) -> [Stage; 2] {
    [0, 1].map(|index| {
        let mut stage = Stage::with(change);
        let plan = Arc::clone(&stage.shard.plan);
        let place = Place { index, shards: 2, key: HashKey::new([3; 16]) };
        stage.shard = Shard::new(plan, place, [3 + index as u8; 32], [4; 16], Arc::clone(&stage.counters));
        stage
    })
}

/// Hands what one shard says to the other, until both are quiet; answers what they have sent.
fn talk(shards: &mut [Stage; 2]) -> Vec<Sent> {
    let mut sent = Vec::new();
    loop {
        let mut said = Vec::new();
        for stage in shards.iter_mut() {
            for output in stage.out.drain() {
                match output {
                    Output::Peer(to, message) => said.push((to, message)),
                    Output::Send { to, bytes, tag } => sent.push(Sent {
                        tag,
                        to: to.remote,
                        over: to.transport,
                        text: String::from_utf8_lossy(&bytes).replace("\r\n", "\n"),
                    }),
                    _ => {}
                }
            }
        }
        if said.is_empty() {
            return sent;
        }
        for (to, message) in said {
            let stage = &mut shards[usize::from(to)];
            stage.shard.handle(stage.now, Input::Peer(message), &mut stage.out);
        }
    }
}

fn receives(shards: &mut [Stage; 2], at: usize, from: &str, text: &str) -> Vec<Sent> {
    let mut sent = shards[at].receive(from, text);
    sent.extend(talk(shards));
    sent
}

/// A Call-ID of the first shard's, or of the second's.
fn call_id(shard: u16, name: &str) -> String {
    let key = HashKey::new([3; 16]);
    let mut ids = (0..).map(|n| format!("{name}{n}"));
    ids.find(|id| crate::shard::owner::owner_of(id.as_bytes(), &key, 2) == shard).expect("one")
}

fn tag<'t>(text: &'t str, name: &str) -> &'t str {
    header(text, name)[0].split(";tag=").nth(1).expect("a tag")
}

/// Alice calls on the shard of her Call-ID, and is answered: the INVITE that the callee got, the tag and the
/// Contact that she got.
fn up(shards: &mut [Stage; 2], at: usize, id: &str) -> (String, String, String) {
    let mine = |text: String| text.replace("c1@10.0.0.5", id).replace("z9hG4bKa", &format!("z9hG4bK{id}"));
    let sent = receives(shards, at, ALICE, &mine(with_sdp(&invite())));
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let ok = response(&invited, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
    let sent = receives(shards, at, BOB, &with_sdp(&ok));
    let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer").text.clone();
    let ours = tag(&answer, "To").to_owned();
    let uri = header(&answer, "Contact")[0].trim_matches(['<', '>']).to_owned();
    receives(shards, at, ALICE, &mine(request("ACK", &uri, "", &format!(";tag={ours}"), 1)));
    (invited, ours, uri)
}

/// [C-080] A 2xx that comes again after its call has moved to another shard is acknowledged again: it still
/// comes to the shard of its Call-ID, whose transaction waits for it.
#[test]
fn a_late_answer_finds_its_call() {
    let mut shards = pair();
    let id = call_id(0, "a");
    let mine = |text: String| text.replace("c1@10.0.0.5", &id);
    let sent = receives(&mut shards, 0, ALICE, &mine(with_sdp(&invite())));
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let contact = "Contact: <sip:bob@10.0.1.1:5060>\n";
    let ok = with_sdp(&response(&invited, "200 OK", ";tag=bt", contact));
    let sent = receives(&mut shards, 0, BOB, &ok);
    assert_eq!(requests(&sent, "ACK").len(), 1);
    let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer").text.clone();
    let ours = tag(&answer, "To").to_owned();
    let uri = header(&answer, "Contact")[0].trim_matches(['<', '>']).to_owned();
    receives(&mut shards, 0, ALICE, &mine(request("ACK", &uri, "", &format!(";tag={ours}"), 1)));

    // Carol takes Bob's place, on the other shard: the call goes there.
    let bobs = header(&invited, "Call-ID")[0].to_owned();
    let replaces = format!("Replaces: {bobs};to-tag={};from-tag=bt\n", tag(&invited, "From"));
    let carol = request("INVITE", "sip:127.0.0.1:5060", &replaces, "", 1)
        .replace("c1@10.0.0.5", &call_id(1, "c"))
        .replace("10.0.0.5", "10.0.1.2");
    let sent = receives(&mut shards, 1, CAROL, &with_sdp(&carol));
    assert_eq!(requests(&sent, "INVITE").len(), 1, "Alice hears of Carol: {:?}", status(&sent));
    let asked = requests(&sent, "INVITE")[0].text.clone();
    assert_eq!(shards[0].shard.calls.redirect(bobs.as_bytes()), Some(1));

    let sent = receives(&mut shards, 0, BOB, &ok);
    let [ack] = &requests(&sent, "ACK")[..] else { panic!("one ACK") };
    assert_eq!((ack.to.to_string().as_str(), header(&ack.text, "Call-ID")[0]), (BOB, &*bobs));
    assert_eq!(header(&ack.text, "CSeq"), ["1 ACK"]);
    // What no dialog of the call has sent is nobody's.
    let strange = ok.replace("tag=bt", "tag=other");
    assert!(requests(&receives(&mut shards, 0, BOB, &strange), "ACK").is_empty());

    // So are the answers to what the call asks from where it is now: Alice has Carol, Bob is let go.
    let contact = "Contact: <sip:alice@10.0.0.5:5060>\n";
    let sent = receives(&mut shards, 0, ALICE, &with_sdp(&response(&asked, "200 OK", "", contact)));
    assert_eq!(requests(&sent, "ACK").len(), 1, "Alice's: {:?}", status(&sent));
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 200") && s.to.to_string() == CAROL), "Carol's");
    assert_eq!(requests(&sent, "BYE")[0].to.to_string(), BOB);
}

/// [R-025] [C-152] A relayed REFER names a dialog of a call on another shard: that call comes first, and the
/// receiver is told of the dialog that its far half knows.
#[test]
fn a_relayed_refer_finds_the_dialog_it_names() {
    let mut shards = pair();
    let (first, second) = (call_id(0, "a"), call_id(1, "b"));
    let (_, ours, uri) = up(&mut shards, 0, &first);
    let (consulted, theirs, _) = up(&mut shards, 1, &second);
    let target = format!("<sip:1001@127.0.0.1?Replaces={second}%3Bto-tag%3D{theirs}%3Bfrom-tag%3Dat>");
    let refer = request("REFER", &uri, &format!("Refer-To: {target}\n"), &format!(";tag={ours}"), 2);
    let sent = receives(&mut shards, 0, ALICE, &refer.replace("c1@10.0.0.5", &first));
    let [passed] = &requests(&sent, "REFER")[..] else { panic!("one REFER: {:?}", status(&sent)) };
    let named = header(&passed.text, "Refer-To")[0];
    let far_half = format!("?Replaces={}%3B", header(&consulted, "Call-ID")[0]);
    assert!(named.contains(&far_half), "{named}");
}

/// [R-027] [R-090] [C-152] A transfer to a call that is up, its target named by an address that is not Baton's:
/// the call that comes back takes the referrer's place there, whichever shard it comes to.
#[test]
fn a_call_that_comes_back_takes_the_place_that_was_meant() {
    let mut shards = pair_with(|plan| {
        own(plan);
        plan.trunks[0].owned.policy.returns = true;
    });
    let (first, second) = (call_id(0, "a"), call_id(1, "b"));
    let (_, ours, uri) = up(&mut shards, 0, &first);
    let (consulted, theirs, _) = up(&mut shards, 1, &second);
    let target = format!("<sip:1001@pbx.example?Replaces={second}%3Bto-tag%3D{theirs}%3Bfrom-tag%3Dat>");
    let refer = request("REFER", &uri, &format!("Refer-To: {target}\n"), &format!(";tag={ours}"), 2);
    let sent = receives(&mut shards, 0, ALICE, &refer.replace("c1@10.0.0.5", &first));
    let passed = requests(&sent, "REFER")[0].text.clone();
    let (told, named) = header(&passed, "Refer-To")[0].split_once('?').expect("a header part");
    assert!(told.starts_with("<sip:1001@127.0.0.1:5060;r="), "{told}");
    assert_eq!(named.trim_end_matches('>'), target.split_once('?').expect("one").1.trim_end_matches('>'));
    let replaces = format!("Replaces: {second};to-tag={theirs};from-tag=at\n");
    let back = request("INVITE", told.trim_start_matches('<'), &replaces, "", 1)
        .replace("c1@10.0.0.5", &call_id(1, "d"))
        .replace("10.0.0.5", "10.0.1.1");
    let sent = receives(&mut shards, 1, BOB, &with_sdp(&back));
    let [asked] = &requests(&sent, "INVITE")[..] else { panic!("one INVITE: {:?}", status(&sent)) };
    assert_eq!(header(&asked.text, "Call-ID"), header(&consulted, "Call-ID"));
}
