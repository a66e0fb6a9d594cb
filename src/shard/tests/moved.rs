//! Two shards: what still comes to the one that a call of Baton's own has left.

use super::edges::{requests, status};
use super::owned::{own, with_sdp};
use super::*;
use crate::shard::owner::HashKey;
use crate::sip::plan::Source;

pub(super) const CAROL: &str = "10.0.1.2:5060";

/// Two shards that own their calls between alpha and bravo.
pub(super) fn pair() -> [Stage; 2] {
    pair_with(own)
}

pub(super) fn pair_with(change: fn(&mut Plan)) -> [Stage; 2] {
    let one = Stage::with(change);
    [0, 1].map(|index| {
        let mut stage = Stage::new();
        let plan = Arc::clone(&one.shard.plan);
        let place = Place { index, shards: 2, key: HashKey::new([3; 16]) };
        stage.shard = Shard::new(plan, place, [3 + index as u8; 32], [4; 16], Arc::clone(&stage.counters));
        stage
    })
}

/// Hands what one shard says to the other, until both are quiet; answers what they have sent.
pub(super) fn talk(shards: &mut [Stage; 2]) -> Vec<Sent> {
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
                        by: to.connection,
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

pub(super) fn receives(shards: &mut [Stage; 2], at: usize, from: &str, text: &str) -> Vec<Sent> {
    let mut sent = shards[at].receive(from, text);
    sent.extend(talk(shards));
    sent
}

/// A Call-ID of the first shard's, or of the second's.
pub(super) fn call_id(shard: u16, name: &str) -> String {
    let key = HashKey::new([3; 16]);
    let mut ids = (0..).map(|n| format!("{name}{n}"));
    ids.find(|id| crate::shard::owner::owner_of(id.as_bytes(), &key, 2) == shard).expect("one")
}

pub(super) fn tag<'t>(text: &'t str, name: &str) -> &'t str {
    header(text, name)[0].split(";tag=").nth(1).expect("a tag")
}

/// Alice calls on the shard of her Call-ID, and is answered: the INVITE that the callee got, the tag and the
/// Contact that she got.
pub(super) fn up(shards: &mut [Stage; 2], at: usize, id: &str) -> (String, String, String) {
    up_from(shards, at, ALICE, id)
}

/// The same of another caller.
fn up_from(shards: &mut [Stage; 2], at: usize, from: &str, id: &str) -> (String, String, String) {
    up_with(shards, at, from, id, "")
}

/// The same, with these fields in the callee's answer.
pub(super) fn up_with(
    shards: &mut [Stage; 2],
    at: usize,
    from: &str,
    id: &str,
    fields: &str,
) -> (String, String, String) {
    let host = from.split(':').next().expect("a host");
    let mine = |text: String| {
        let text = text.replace("c1@10.0.0.5", id).replace("z9hG4bKa", &format!("z9hG4bK{id}"));
        text.replace("10.0.0.5", host)
    };
    let sent = receives(shards, at, from, &mine(with_sdp(&invite())));
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let fields = format!("Contact: <sip:bob@10.0.1.1:5060>\n{fields}");
    let ok = response(&invited, "200 OK", ";tag=bt", &fields);
    let sent = receives(shards, at, BOB, &with_sdp(&ok));
    let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer").text.clone();
    let ours = tag(&answer, "To").to_owned();
    let uri = header(&answer, "Contact")[0].trim_matches(['<', '>']).to_owned();
    receives(shards, at, from, &mine(request("ACK", &uri, "", &format!(";tag={ours}"), 1)));
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
    // What no dialog of the call has sent, nor answers its INVITE, is nobody's.
    let strange = ok.replace("tag=bt", "tag=other").replacen("branch=z9hG4bK", "branch=z9hG4bKx", 1);
    assert!(requests(&receives(&mut shards, 0, BOB, &strange), "ACK").is_empty());

    // So are the answers to what the call asks from where it is now: Alice has Carol, Bob is let go.
    let contact = "Contact: <sip:alice@10.0.0.5:5060>\n";
    let sent = receives(&mut shards, 0, ALICE, &with_sdp(&response(&asked, "200 OK", "", contact)));
    assert_eq!(requests(&sent, "ACK").len(), 1, "Alice's: {:?}", status(&sent));
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 200") && s.to.to_string() == CAROL), "Carol's");
    assert_eq!(requests(&sent, "BYE")[0].to.to_string(), BOB);
}

/// [R-063] [R-087] [C-130] [C-131] Phones behind the target of a transfer ring on another shard than its call, and two of
/// them pick up: the first goes there, and the second one's answer, which still comes to the shard that the
/// INVITE left, is acknowledged and ended in its own dialog, as often as it comes.
#[test]
fn a_second_answer_follows_the_call() {
    let mut shards = pair_with(terminate);
    let (_, invited, sent) = ringing_elsewhere(&mut shards, "127.0.0.1");
    heard(&mut shards, sent);
    let answer = |tag: &str| {
        let contact = format!("Contact: <sip:{tag}@10.0.1.1:5060>\n");
        with_sdp(&response(&invited, "200 OK", &format!(";tag={tag}"), &contact))
    };
    let sent = receives(&mut shards, 1, BOB, &answer("desk"));
    assert_eq!(requests(&sent, "INVITE").len(), 1, "it is being joined");
    let of = |s: &Sent| (s.text.lines().next().expect("a line").to_owned(), tag(&s.text, "To").to_owned());
    let sent = receives(&mut shards, 1, BOB, &answer("cell"));
    let [ack, bye] = &sent[..] else { panic!("ACK and BYE: {}", sent.len()) };
    assert_eq!(of(ack), ("ACK sip:cell@10.0.1.1:5060 SIP/2.0".to_owned(), "cell".to_owned()));
    assert_eq!(of(bye), ("BYE sip:cell@10.0.1.1:5060 SIP/2.0".to_owned(), "cell".to_owned()));
    assert_eq!(header(&ack.text, "CSeq"), ["1 ACK"]);
    receives(&mut shards, 1, BOB, &response(&bye.text, "200 OK", "", ""));
    let sent = receives(&mut shards, 1, BOB, &answer("cell"));
    assert_eq!(sent.iter().map(of).collect::<Vec<_>>(), [of(ack)]);
    let sent = receives(&mut shards, 1, BOB, &answer("desk"));
    let [again] = &sent[..] else { panic!("one ACK: {}", sent.len()) };
    assert_eq!(of(again), ("ACK sip:desk@10.0.1.1:5060 SIP/2.0".to_owned(), "desk".to_owned()));
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

/// What is still said of a transfer that is over finds it where its call has gone.
#[test]
fn a_late_notify_finds_its_transfer() {
    let mut shards = pair();
    let (first, second) = (call_id(0, "a"), call_id(1, "b"));
    let (_, ours, uri) = up(&mut shards, 0, &first);
    let (consulted, theirs, there) = up(&mut shards, 1, &second);
    let refer = request("REFER", &there, "Refer-To: <sip:1002@x>\n", &format!(";tag={theirs}"), 2);
    let sent = receives(&mut shards, 1, ALICE, &refer.replace("c1@10.0.0.5", &second));
    let passed = requests(&sent, "REFER")[0].text.clone();
    receives(&mut shards, 1, BOB, &response(&passed, "202 Accepted", "", ""));
    let notifies = |shards: &mut [Stage; 2], number: u32, code: &str| {
        let extra = "Event: refer\nSubscription-State: terminated\nContent-Type: message/sipfrag\n";
        let notify = bobs_request("NOTIFY", &consulted, extra)
            .replace("CSeq: 2", &format!("CSeq: {number}"))
            .replace("aNOTIFY2", &format!("notify{number}"))
            .replace("bNOTIFY2", &format!("notify{number}"));
        let body = format!("SIP/2.0 {code} Busy\n");
        let notify =
            notify.replace("Content-Length: 0\n\n", &format!("Content-Length: {}\n\n{body}", body.len() + 1));
        let sent = receives(shards, 1, BOB, &notify);
        let Some(back) = requests(&sent, "NOTIFY").first().map(|s| s.text.clone()) else {
            return status(&sent).map(str::to_owned);
        };
        status(&receives(shards, 1, ALICE, &response(&back, "200 OK", "", ""))).map(str::to_owned)
    };
    assert_eq!(notifies(&mut shards, 3, "486").as_deref(), Some("200"));
    // Her other call is transferred to this one, which moves there.
    let target = format!("<sip:1001@127.0.0.1?Replaces={second}%3Bto-tag%3D{theirs}%3Bfrom-tag%3Dat>");
    let refer = request("REFER", &uri, &format!("Refer-To: {target}\n"), &format!(";tag={ours}"), 2);
    receives(&mut shards, 0, ALICE, &refer.replace("c1@10.0.0.5", &first));
    assert_eq!(shards[1].shard.calls.redirect(second.as_bytes()), Some(0));
    assert_eq!(notifies(&mut shards, 4, "486").as_deref(), Some("200"));
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

/// The referrer meant a call that rings only: that is no less so when the call that comes back leaves
/// it out.
#[test]
fn a_call_that_comes_back_takes_no_more_than_was_meant() {
    let mut shards = pair_with(|plan| {
        own(plan);
        plan.trunks[0].owned.policy.returns = true;
    });
    let (first, second) = (call_id(0, "a"), call_id(1, "b"));
    let (_, ours, uri) = up(&mut shards, 0, &first);
    let (_, theirs, _) = up(&mut shards, 1, &second);
    let named = format!("Replaces={second}%3Bto-tag%3D{theirs}%3Bfrom-tag%3Dat%3Bearly-only");
    let to = format!("Refer-To: <sip:1001@pbx.example?{named}>\n");
    let refer = request("REFER", &uri, &to, &format!(";tag={ours}"), 2);
    let sent = receives(&mut shards, 0, ALICE, &refer.replace("c1@10.0.0.5", &first));
    let passed = requests(&sent, "REFER")[0].text.clone();
    let (told, _) = header(&passed, "Refer-To")[0].split_once('?').expect("a header part");
    let replaces = format!("Replaces: {second};to-tag={theirs};from-tag=at\n");
    let back = request("INVITE", told.trim_start_matches('<'), &replaces, "", 1)
        .replace("c1@10.0.0.5", &call_id(1, "d"))
        .replace("10.0.0.5", "10.0.1.1");
    let sent = receives(&mut shards, 1, BOB, &with_sdp(&back));
    assert!(requests(&sent, "INVITE").is_empty() && requests(&sent, "BYE").is_empty());
    assert!(sent.iter().any(|sent| sent.text.starts_with("SIP/2.0 486")), "{:?}", status(&sent));
}

/// Two calls of Alice's, one up on the first shard, one that rings on the second, and her REFER that names it:
/// the INVITEs as their callees got them, and what the REFER has brought.
fn ringing_elsewhere(shards: &mut [Stage; 2], target: &str) -> (String, String, Vec<Sent>) {
    let first = call_id(0, "a");
    let (bobs, ours, uri) = up(shards, 0, &first);
    let (invited, named) = rings(shards);
    let to = format!("Refer-To: <sip:1001@{target}?{named}>\n");
    let refer = request("REFER", &uri, &to, &format!(";tag={ours}"), 2);
    let sent = receives(shards, 0, ALICE, &refer.replace("c1@10.0.0.5", &first));
    (bobs, invited, sent)
}

/// Alice calls on the second shard, and it rings: the INVITE as it arrived, and the Replaces that names her leg.
fn rings(shards: &mut [Stage; 2]) -> (String, String) {
    let sent = receives(shards, 1, ALICE, &consult(&with_sdp(&invite())));
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let ringing = response(&invited, "180 Ringing", ";tag=ct", "Contact: <sip:carol@10.0.1.1:5060>\n");
    let sent = receives(shards, 1, BOB, &ringing);
    let told = sent.iter().find(|s| s.text.starts_with("SIP/2.0 180")).expect("180");
    let (id, theirs) = (call_id(1, "b"), tag(&told.text, "To"));
    (invited, format!("Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3Dat"))
}

/// A request of Bob's in the dialog of this INVITE.
pub(super) fn bobs_request(method: &str, invited: &str, extra: &str) -> String {
    let of = |name| header(invited, name)[0];
    request(method, of("Contact").trim_matches(['<', '>']), extra, "", 2)
        .replace("\"Alice\" <sip:alice@10.0.0.5>;tag=at", &format!("{};tag=bt", of("To")))
        .replace("To: <sip:1000@example.com>", &format!("To: {}", of("From")))
        .replace("c1@10.0.0.5", of("Call-ID"))
        .replace("z9hG4bKa", "z9hG4bKb")
}

/// Alice's message in her second call.
fn consult(text: &str) -> String {
    let id = call_id(1, "b");
    text.replace("c1@10.0.0.5", &id).replace("z9hG4bKa", &format!("z9hG4bK{id}"))
}

pub(super) fn terminate(plan: &mut Plan) {
    own(plan);
    plan.trunks[0].refer = ReferMode::Terminate;
}

/// Answers the NOTIFYs among those, and what comes of that; the last one's status line.
fn heard(shards: &mut [Stage; 2], mut sent: Vec<Sent>) -> String {
    let mut last = String::new();
    loop {
        shards.iter_mut().for_each(|stage| stage.now += Duration::from_secs(2));
        let Some(notify) = requests(&sent, "NOTIFY").first().map(|notify| notify.text.clone()) else {
            sent = shards[0].pass(Duration::from_millis(10));
            if requests(&sent, "NOTIFY").is_empty() {
                return last;
            }
            continue;
        };
        last = notify.lines().rfind(|line| line.starts_with("SIP/2.0 ")).unwrap_or_default().to_owned();
        sent = receives(shards, 0, ALICE, &response(&notify, "200 OK", "", ""));
    }
}

/// A consultation that still rings, on another shard: who rings for it becomes the target, though
/// the referrer hangs it up at once, and goes to the survivor on answering; nobody is called anew, wherever
/// the Refer-To leads.
#[test]
fn a_ringing_consultation_elsewhere() {
    for target in ["127.0.0.1", "pbx.example"] {
        let mut shards = pair_with(terminate);
        let (bobs, invited, sent) = ringing_elsewhere(&mut shards, target);
        assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 202")), "{:?}", status(&sent));
        assert!(requests(&sent, "INVITE").is_empty());
        assert_eq!(heard(&mut shards, sent), "SIP/2.0 180 Ringing");

        let cancel =
            consult(&request("CANCEL", "sip:1000@127.0.0.1:5060", "", "", 1)).replace("CANCEL1", "INVITE1");
        let sent = receives(&mut shards, 1, ALICE, &cancel);
        assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 487")));
        assert!(requests(&sent, "CANCEL").is_empty());

        let contact = "Contact: <sip:carol@10.0.1.1:5060>\n";
        let ok = with_sdp(&response(&invited, "200 OK", ";tag=ct", contact));
        let sent = receives(&mut shards, 1, BOB, &ok);
        assert_eq!(requests(&sent, "ACK").len(), 1);
        let [asked] = &requests(&sent, "INVITE")[..] else { panic!("one re-INVITE") };
        assert_eq!(header(&asked.text, "Call-ID"), header(&invited, "Call-ID"));
        let offers = with_sdp(&response(&asked.text, "200 OK", "", contact));
        let sent = receives(&mut shards, 1, BOB, &offers);
        let [told] = &requests(&sent, "INVITE")[..] else { panic!("one re-INVITE") };
        assert_eq!(header(&told.text, "Call-ID"), header(&bobs, "Call-ID"));
        let agrees = with_sdp(&response(&told.text, "200 OK", "", "Contact: <sip:bob@10.0.1.1:5060>\n"));
        let sent = receives(&mut shards, 0, BOB, &agrees);
        assert_eq!(requests(&sent, "ACK").len(), 2, "they talk");
        assert_eq!(heard(&mut shards, sent), "SIP/2.0 200 OK");
    }
}

/// [R-057] [R-089] [C-088] It comes to nothing: the referrer hears why, in its own INVITE, too. Who has no part
/// in the consultation cannot have it.
#[test]
fn a_ringing_consultation_elsewhere_that_fails() {
    let mut shards = pair_with(terminate);
    let (_, invited, sent) = ringing_elsewhere(&mut shards, "127.0.0.1");
    heard(&mut shards, sent);
    let sent = receives(&mut shards, 1, BOB, &response(&invited, "486 Busy Here", ";tag=ct", ""));
    let busy = sent.iter().find(|s| s.text.starts_with("SIP/2.0 486")).expect("its answer");
    assert_eq!(header(&busy.text, "Call-ID"), [call_id(1, "b")]);
    assert_eq!(heard(&mut shards, sent), "SIP/2.0 486 Busy Here");
    for stage in &mut shards {
        assert_eq!(stage.shard.calls.redirect(header(&invited, "Call-ID")[0].as_bytes()), None);
    }

    let mut shards = pair_with(|plan| {
        terminate(plan);
        plan.trunks[1].refer = ReferMode::Terminate;
    });
    let (bobs, _, _) = up(&mut shards, 0, &call_id(0, "a"));
    let (_, named) = rings(&mut shards);
    let refer = bobs_request("REFER", &bobs, &format!("Refer-To: <sip:1001@127.0.0.1?{named}>\n"));
    assert_eq!(status(&receives(&mut shards, 0, BOB, &refer)), Some("403"), "it is Alice's");
}

/// The referrer's call ends while they ring: they are called off there.
#[test]
fn a_ringing_consultation_elsewhere_is_called_off() {
    let mut shards = pair_with(terminate);
    let (bobs, invited, sent) = ringing_elsewhere(&mut shards, "127.0.0.1");
    heard(&mut shards, sent);
    let bye = bobs_request("BYE", &bobs, "");
    let sent = receives(&mut shards, 0, BOB, &bye);
    let [cancel] = &requests(&sent, "CANCEL")[..] else { panic!("one CANCEL: {:?}", status(&sent)) };
    assert_eq!(header(&cancel.text, "Call-ID"), header(&invited, "Call-ID"));
}

/// The call that comes back may take the place of the referrer's leg that was named, long after
/// anybody else could: that one call, and that one place. Who only knows a stranger's dialog has no place to give.
#[test]
fn the_place_that_was_meant() {
    const DAVE: &str = "10.0.2.1:5060";
    for (at, whose, told_of, code) in [
        (0, ALICE, true, None),
        (1, ALICE, true, None),
        (0, ALICE, false, Some("403")),
        (1, ALICE, false, Some("403")),
        (0, DAVE, true, Some("403")),
        (1, DAVE, true, Some("403")),
    ] {
        let mut shards = pair_with(|plan| {
            own(plan);
            plan.trunks[0].owned.policy.returns = true;
            plan.trunks.push(trunk("delta", vec![target("10.0.2.1", 0, 1)]));
            let source = Source { port: None, transport: None, trunk: TrunkIx(2) };
            plan.sources.insert("10.0.2.0/24".parse().expect("a network"), source).expect("another one");
            plan.routes[0].from.push(Origin::Trunk(TrunkIx(2)));
        });
        let (first, second, third) = (call_id(0, "a"), call_id(1, "b"), call_id(at, "t"));
        let (_, ours, uri) = up(&mut shards, 0, &first);
        let (meant, theirs, _) = up_from(&mut shards, 1, whose, &second);
        let (_, others, _) = up_from(&mut shards, usize::from(at), DAVE, &third);
        let target = format!("<sip:1001@pbx.example?Replaces={second}%3Bto-tag%3D{theirs}%3Bfrom-tag%3Dat>");
        let refer = request("REFER", &uri, &format!("Refer-To: {target}\n"), &format!(";tag={ours}"), 2);
        let sent = receives(&mut shards, 0, ALICE, &refer.replace("c1@10.0.0.5", &first));
        let passed = requests(&sent, "REFER")[0].text.clone();
        let (told, _) = header(&passed, "Refer-To")[0].split_once('?').expect("a header part");
        shards.iter_mut().for_each(|stage| drop(stage.pass(Duration::from_secs(61))));
        let mut comes = |id: &str, uri: &str, call: &str, tag: &str| {
            let replaces = format!("Replaces: {call};to-tag={tag};from-tag=at\n");
            let back = request("INVITE", uri, &replaces, "", 1)
                .replace("c1@10.0.0.5", &call_id(at, id))
                .replace("z9hG4bKa", &format!("z9hG4bK{id}"))
                .replace("10.0.0.5", "10.0.1.1");
            receives(&mut shards, usize::from(at), BOB, &with_sdp(&back))
        };
        let refused = |sent: &[Sent]| {
            sent.iter()
                .find(|sent| sent.text.starts_with("SIP/2.0 4"))
                .map(|sent| sent.text[8..11].to_owned())
        };
        assert_eq!(refused(&comes("x", "sip:127.0.0.1:5060", &second, &theirs)).as_deref(), Some("403"));
        let (call, tag) = if told_of { (&second, &theirs) } else { (&third, &others) };
        let sent = comes("d", told.trim_start_matches('<'), call, tag);
        assert_eq!(refused(&sent).as_deref(), code, "{at}");
        let asked: Vec<_> = requests(&sent, "INVITE")
            .iter()
            .map(|asked| header(&asked.text, "Call-ID")[0].to_owned())
            .collect();
        assert_eq!(
            asked,
            if code.is_none() { vec![header(&meant, "Call-ID")[0].to_owned()] } else { vec![] }
        );
    }
}

/// It answers while an exchange is open on the survivor's leg, and the survivor leaves before that is
/// over: nobody wants it any more, and it is let go.
#[test]
fn a_consultation_elsewhere_answers_too_early() {
    let mut shards = pair_with(terminate);
    let first = call_id(0, "a");
    let (bobs, ours, uri) = up(&mut shards, 0, &first);
    let (invited, named) = rings(&mut shards);
    let hold = with_sdp(&bobs_request("INVITE", &bobs, ""))
        .replace("o=x 1 1", "o=x 1 2")
        .replace("audio 4000", "audio 4002");
    let held = receives(&mut shards, 0, BOB, &hold);
    assert_eq!(requests(&held, "INVITE").len(), 1, "it is open");
    let to = format!("Refer-To: <sip:1001@127.0.0.1?{named}>\n");
    let refer = request("REFER", &uri, &to, &format!(";tag={ours}"), 2);
    let sent = receives(&mut shards, 0, ALICE, &refer.replace("c1@10.0.0.5", &first));
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 202")), "{:?}", status(&sent));
    let contact = "Contact: <sip:carol@10.0.1.1:5060>\n";
    let ok = with_sdp(&response(&invited, "200 OK", ";tag=ct", contact));
    assert!(requests(&receives(&mut shards, 1, BOB, &ok), "INVITE").is_empty(), "X-15");
    let bye = bobs_request("BYE", &bobs, "").replace("CSeq: 2", "CSeq: 3");
    let sent = receives(&mut shards, 0, BOB, &bye);
    let ended: Vec<_> =
        requests(&sent, "BYE").iter().map(|bye| header(&bye.text, "Call-ID")[0].to_owned()).collect();
    assert!(ended.iter().any(|id| id == header(&invited, "Call-ID")[0]), "{ended:?}");
}

/// The bound of a trunk is one bound, however many shards its calls are on.
#[test]
fn one_rate_for_all_shards() {
    let mut shards = pair_with(|plan| {
        terminate(plan);
        plan.trunks[0].owned.policy.max_rate = 3;
    });
    let calls = [call_id(0, "a"), call_id(1, "b")];
    let dialogs = [0, 1].map(|at| up(&mut shards, at, &calls[at]));
    let mut refers = |cseq, at: usize| {
        let (_, ours, uri) = &dialogs[at];
        let refer = request("REFER", uri, "Refer-To: <sip:900@x>\n", &format!(";tag={ours}"), cseq);
        let sent = receives(&mut shards, at, ALICE, &refer.replace("c1@10.0.0.5", &calls[at]));
        sent.into_iter().find(|s| s.text.starts_with("SIP/2.0 ")).expect("an answer").text
    };
    for (cseq, at) in [(2, 0), (2, 1), (3, 1)] {
        assert!(refers(cseq, at).starts_with("SIP/2.0 404"));
    }
    for at in [0, 1] {
        let refused = refers(4, at);
        assert!(
            refused.starts_with("SIP/2.0 503") && !header(&refused, "Retry-After").is_empty(),
            "{refused}"
        );
    }
}
