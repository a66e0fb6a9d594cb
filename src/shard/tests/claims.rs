//! Two shards: a REFER on one of them names a consultation on the other, which is claimed. The answer to that may come
//! late, may be no, and may cross what the parties do meanwhile.

use super::edges::{requests, status};
use super::moved::{bobs_request, call_id, pair_with, receives, talk, terminate, up_with};
use super::owned::with_sdp;
use super::*;

/// Alice talks to Bob on the first shard, and to somebody else by a second call, on the second.
struct Calls {
    shards: [Stage; 2],
    /// Of each call: the INVITE as the callee got it, Baton's tag, its Contact.
    dialogs: [(String, String, String); 2],
    ids: [String; 2],
}

impl Calls {
    fn up() -> Calls {
        Calls::up_with(terminate)
    }

    fn up_with(change: fn(&mut Plan)) -> Calls {
        Calls::answered(change, "")
    }

    /// The callees answer with these fields, too.
    fn answered(change: fn(&mut Plan), fields: &str) -> Calls {
        let mut shards = pair_with(change);
        let ids = [call_id(0, "a"), call_id(1, "b")];
        let dialogs = [0, 1].map(|at| up_with(&mut shards, at, ALICE, &ids[at], fields));
        Calls { shards, dialogs, ids }
    }

    /// Alice's request in one of her calls.
    fn alice(&self, call: usize, method: &str, extra: &str, cseq: u32) -> String {
        let (_, ours, uri) = &self.dialogs[call];
        let text = request(method, uri, extra, &format!(";tag={ours}"), cseq);
        text.replace("c1@10.0.0.5", &self.ids[call]).replace("z9hG4bKa", &format!("z9hG4bK{call}"))
    }

    /// Her REFER that names the other call.
    fn refer(&self) -> String {
        let named = format!("{}%3Bto-tag%3D{}%3Bfrom-tag%3Dat", self.ids[1], self.dialogs[1].1);
        self.alice(0, "REFER", &format!("Refer-To: <sip:1001@127.0.0.1?Replaces={named}>\n"), 2)
    }

    /// A message comes to a shard, and what that says to the other one stays on its way.
    fn comes(&mut self, at: usize, from: &str, text: &str) -> Vec<Sent> {
        self.shards[at].receive(from, text)
    }

    /// What a shard has said reaches the other, and what that answers stays on its way; what is sent meanwhile.
    fn reaches(&mut self, from: usize) -> Vec<Sent> {
        let mut sent = self.shards[from].sent();
        let mut said = Vec::new();
        for output in self.shards[from].out.drain() {
            if let Output::Peer(to, message) = output {
                said.push((to, message));
            }
        }
        assert!(!said.is_empty(), "it has said nothing");
        for (to, message) in said {
            let stage = &mut self.shards[usize::from(to)];
            stage.shard.handle(stage.now, Input::Peer(message), &mut stage.out);
            sent.extend(stage.sent());
        }
        sent
    }

    fn pass(&mut self, time: Duration) -> Vec<Sent> {
        let [one, other] = &mut self.shards;
        let mut sent = one.pass(time);
        sent.extend(other.pass(time));
        sent
    }

    /// Whether the parties of a call are still connected through Baton: what Alice says reaches the other.
    fn is_up(&mut self, call: usize, cseq: u32) -> bool {
        let info = self.alice(call, "INFO", "", cseq);
        let sent = receives(&mut self.shards, call, ALICE, &info);
        let passed = requests(&sent, "INFO");
        passed.len() == 1 && header(&passed[0].text, "Call-ID") == header(&self.dialogs[call].0, "Call-ID")
    }

    /// Everybody hangs up, and neither shard keeps anything.
    fn end(mut self) {
        for call in [0, 1] {
            let bye = self.alice(call, "BYE", "", 90);
            for sent in receives(&mut self.shards, call, ALICE, &bye) {
                if sent.text.starts_with("BYE ") {
                    receives(&mut self.shards, call, BOB, &response(&sent.text, "200 OK", "", ""));
                }
            }
        }
        for _ in 0..3 {
            self.pass(Duration::from_secs(400));
            talk(&mut self.shards);
        }
        assert_eq!([0, 1].map(|at| self.shards[at].shard.remains()), [0, 0]);
    }
}

/// The answer to the REFER, and what the NOTIFYs among those say.
fn answered(sent: &[Sent]) -> (Option<&str>, Vec<String>) {
    let refer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 ") && s.text.contains(" REFER\n"));
    let mut notified = requests(sent, "NOTIFY");
    notified.dedup_by_key(|s| &s.text);
    let line = |s: &&Sent| s.text.lines().last().unwrap_or_default().to_owned();
    (refer.map(|s| &s.text[8..11]), notified.iter().map(line).collect())
}

/// Answers the NOTIFYs among those until no more come: what they say.
fn notified(calls: &mut Calls, sent: Vec<Sent>) -> Vec<String> {
    let (mut told, mut sent) = (Vec::new(), sent);
    while let Some(notify) = requests(&sent, "NOTIFY").last().map(|s| s.text.clone()) {
        told.push(notify.lines().last().unwrap_or_default().to_owned());
        sent = receives(&mut calls.shards, 0, ALICE, &response(&notify, "200 OK", "", ""));
        sent.extend(calls.pass(Duration::from_millis(1_100)));
    }
    told
}

/// The other shard says nothing for too long: the REFER is answered in time, as if there were
/// no such call. When the call comes after all it is as good as before, where it is now.
#[test]
fn a_claim_that_is_late() {
    let mut calls = Calls::up();
    let refer = calls.refer();
    assert!(calls.comes(0, ALICE, &refer).is_empty(), "another shard is asked first");
    let mut sent = calls.pass(Duration::from_millis(2_500));
    assert_eq!(answered(&sent), (Some("202"), vec!["SIP/2.0 100 Trying".to_owned()]));
    for said in ["SIP/2.0 100 Trying", "SIP/2.0 481 Call/Transaction Does Not Exist"] {
        let waits = requests(&sent, "NOTIFY")[0].text.clone();
        assert_eq!(waits.lines().last(), Some(said));
        sent = calls.comes(0, ALICE, &response(&waits, "200 OK", "", ""));
        sent.extend(calls.pass(Duration::from_millis(1_100)));
    }
    assert!(sent.is_empty());

    let sent = talk(&mut calls.shards);
    assert!(sent.is_empty(), "nobody hears of that: {}", sent[0].text);
    let home = header(&calls.dialogs[1].0, "Call-ID")[0].to_owned();
    assert_eq!(calls.shards[1].shard.calls.redirect(home.as_bytes()), Some(0), "it is here");
    assert!(calls.is_up(0, 10) && calls.is_up(1, 10));
    // And another REFER finds it.
    let again = calls.refer().replace("CSeq: 2 ", "CSeq: 20 ").replace("REFER2", "REFER20");
    let sent = receives(&mut calls.shards, 0, ALICE, &again);
    assert_eq!(answered(&sent).0, Some("202"));
    assert_eq!(requests(&sent, "INVITE").len(), 1, "they are being joined: {:?}", status(&sent));
}

/// The other shard says no: there is no such dialog; it is no call of the referrer's; or something
/// is under way on it for as long as a REFER can wait. The original call stays, and so does the other.
#[test]
fn a_claim_that_is_refused() {
    let mut calls = Calls::up();
    let refer = calls.refer().replace("from-tag%3Dat", "from-tag%3Dother");
    let sent = receives(&mut calls.shards, 0, ALICE, &refer);
    assert_eq!(answered(&sent).0, Some("202"));
    let told = notified(&mut calls, sent);
    assert_eq!(told, ["SIP/2.0 100 Trying", "SIP/2.0 481 Call/Transaction Does Not Exist"]);
    assert!(calls.is_up(0, 10) && calls.is_up(1, 10));
    calls.end();

    // Bob knows the names of Alice's other dialog.
    let mut calls = Calls::up_with(|plan| {
        terminate(plan);
        plan.trunks[1].refer = ReferMode::Terminate;
    });
    let named = format!("{}%3Bto-tag%3D{}%3Bfrom-tag%3Dat", calls.ids[1], calls.dialogs[1].1);
    let to = format!("Refer-To: <sip:1001@127.0.0.1?Replaces={named}>\n");
    let refer = bobs_request("REFER", &calls.dialogs[0].0, &to);
    let sent = receives(&mut calls.shards, 0, BOB, &refer);
    assert_eq!(answered(&sent), (Some("403"), vec![]));
    assert!(calls.is_up(0, 10) && calls.is_up(1, 10));
    calls.end();

    let mut calls = Calls::up();
    let hold = with_sdp(&bobs_request("INVITE", &calls.dialogs[1].0, ""))
        .replace("o=x 1 1", "o=x 1 2")
        .replace("audio 4000", "audio 4002");
    let held = receives(&mut calls.shards, 1, BOB, &hold);
    let [asked] = &requests(&held, "INVITE")[..] else { panic!("it is open") };
    let asked = asked.text.clone();
    let refer = calls.refer();
    receives(&mut calls.shards, 0, ALICE, &refer);
    let mut sent = Vec::new();
    for _ in 0..30 {
        sent.extend(calls.pass(Duration::from_millis(100)));
        sent.extend(talk(&mut calls.shards));
    }
    assert_eq!(answered(&sent), (Some("491"), vec![]));
    let contact = "Contact: <sip:alice@10.0.0.5:5060>\n";
    let agrees = with_sdp(&response(&asked, "200 OK", "", contact));
    let sent = receives(&mut calls.shards, 1, ALICE, &agrees);
    assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 200") && s.to.to_string() == BOB));
    assert!(calls.is_up(0, 10) && calls.is_up(1, 10));
    calls.end();
}

/// The far half of the consultation hangs up before the claim comes: X-19, as for a dialog that is no more.
#[test]
fn a_bye_before_the_claim() {
    let mut calls = Calls::up();
    let refer = calls.refer();
    calls.comes(0, ALICE, &refer);
    let bye = bobs_request("BYE", &calls.dialogs[1].0, "");
    let sent = calls.comes(1, BOB, &bye);
    assert_eq!(requests(&sent, "BYE").len(), 1, "the referrer's leg of it ends, too");
    let mut sent = talk(&mut calls.shards);
    sent.extend(calls.pass(Duration::from_millis(100)));
    assert_eq!(answered(&sent).0, Some("202"));
    let told = notified(&mut calls, sent);
    assert_eq!(told.last().expect("one"), "SIP/2.0 481 Call/Transaction Does Not Exist");
    assert!(calls.is_up(0, 10));
    calls.end();
}

/// A BYE in the consultation comes to the shard that the call has just left: it follows it. The
/// referrer's own changes nothing, its far half is kept for the join; the far half's is the end of the transfer.
#[test]
fn a_bye_behind_the_call() {
    for by_referrer in [true, false] {
        let mut calls = Calls::up();
        let refer = calls.refer();
        calls.comes(0, ALICE, &refer);
        assert!(calls.reaches(0).is_empty(), "the call is on its way");
        let (from, bye) = match by_referrer {
            true => (ALICE, calls.alice(1, "BYE", "", 2)),
            false => (BOB, bobs_request("BYE", &calls.dialogs[1].0, "")),
        };
        let sent = calls.comes(1, from, &bye);
        assert!(sent.is_empty(), "it goes behind the call: {}", sent[0].text);
        let sent = talk(&mut calls.shards);
        assert_eq!(answered(&sent).0, Some("202"), "{by_referrer}");
        assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 200") && s.text.contains(" BYE\n")));
        let of_far = |s: &&&Sent| header(&s.text, "Call-ID") == header(&calls.dialogs[1].0, "Call-ID");
        let asked = requests(&sent, "INVITE").iter().find(of_far).map(|s| s.text.clone());
        if !by_referrer {
            let told = notified(&mut calls, sent);
            assert!(told.last().expect("one").starts_with("SIP/2.0 48"), "{told:?}");
            assert!(calls.is_up(0, 10));
            calls.end();
            continue;
        }
        assert!(requests(&sent, "BYE").is_empty(), "the far half stays");
        let contact = "Contact: <sip:carol@10.0.1.1:5060>\n";
        let offers = with_sdp(&response(&asked.expect("a re-INVITE"), "200 OK", "", contact));
        let sent = receives(&mut calls.shards, 1, BOB, &offers);
        let told = requests(&sent, "INVITE")[0].text.clone();
        assert_eq!(header(&told, "Call-ID"), header(&calls.dialogs[0].0, "Call-ID"));
        let agrees = with_sdp(&response(&told, "200 OK", "", "Contact: <sip:bob@10.0.1.1:5060>\n"));
        let sent = receives(&mut calls.shards, 0, BOB, &agrees);
        assert_eq!(requests(&sent, "ACK").len(), 2, "they talk: {:?}", status(&sent));
        assert!(requests(&sent, "BYE").is_empty());
    }
}

/// Who was to be moved hangs up, or who refers does, while the call is on its way: the REFER is
/// answered all the same, nothing is notified, and the consultation that comes is nobody's but its parties'.
#[test]
fn the_original_call_ends_meanwhile() {
    for survivor in [true, false] {
        let mut calls = Calls::up();
        let refer = calls.refer();
        calls.comes(0, ALICE, &refer);
        calls.reaches(0);
        let (from, bye) = match survivor {
            true => (BOB, bobs_request("BYE", &calls.dialogs[0].0, "")),
            false => (ALICE, calls.alice(0, "BYE", "", 3)),
        };
        let mut sent = calls.comes(0, from, &bye);
        sent.extend(talk(&mut calls.shards));
        sent.extend(calls.pass(Duration::from_secs(3)));
        sent.extend(talk(&mut calls.shards));
        let code = if survivor { "603" } else { "487" };
        assert_eq!(answered(&sent), (Some(code), vec![]), "{survivor}");
        let of_consultation =
            |s: &&Sent| header(&s.text, "Call-ID") == header(&calls.dialogs[1].0, "Call-ID");
        assert!(!sent.iter().any(|s| of_consultation(&s)), "nobody there hears of it");
        assert!(calls.is_up(1, 10));
        calls.end();
    }
}

const TIMED: &str = "Session-Expires: 1800;refresher=uac\nRequire: timer\n";

/// A consultation that came from another shard and was joined goes on as an ordinary call: each of the
/// two legs is refreshed by Baton, as it was agreed with its phone, when it is due; when one of them is silent
/// then, both end.
#[test]
fn sessions_go_on_where_the_call_is() {
    let mut calls = Calls::answered(terminate, TIMED);
    let refer = calls.refer();
    let mut sent = receives(&mut calls.shards, 0, ALICE, &refer);
    let legs: Vec<String> = calls.dialogs.iter().map(|(invite, _, _)| of(invite, "Call-ID")).collect();
    // Everybody answers everything until there is nothing more to be said.
    sent.extend(calls.pass(Duration::from_millis(100)));
    while !sent.is_empty() {
        sent = everybody(&mut calls, &sent);
    }
    let mut quiet = calls.pass(Duration::from_secs(6));
    while !quiet.is_empty() {
        quiet = everybody(&mut calls, &quiet);
    }
    for (round, answers) in [(1, true), (2, true), (3, false)] {
        let early = calls.pass(Duration::from_secs(880));
        assert!(early.is_empty(), "{round}: {}", early[0].text);
        let sent = calls.pass(Duration::from_secs(25));
        let mut refreshed: Vec<String> = requests(&sent, "INVITE")
            .iter()
            .map(|s| {
                assert_eq!(header(&s.text, "Session-Expires"), ["1800;refresher=uac"]);
                of(&s.text, "Call-ID")
            })
            .collect();
        refreshed.sort();
        refreshed.dedup();
        let mut all = legs.clone();
        all.sort();
        assert_eq!(refreshed, all, "{round}");
        let of_leg = |leg: &str| sent.iter().rfind(|s| of(&s.text, "Call-ID") == leg);
        let answered: Vec<&Sent> =
            legs.iter().filter(|leg| answers || **leg == legs[0]).filter_map(|leg| of_leg(leg)).collect();
        for refresh in answered {
            let fields = format!("Contact: <sip:bob@10.0.1.1:5060>\n{TIMED}");
            let to = with_sdp(&response(&refresh.text, "200 OK", "", &fields));
            let mut sent = {
                let at = shard_of(&calls, &refresh.text);
                receives(&mut calls.shards, at, BOB, &to)
            };
            sent.retain(|s| !s.text.starts_with("ACK "));
            assert!(sent.is_empty(), "it is the leg's own: {}", sent[0].text);
        }
    }
    let sent = calls.pass(Duration::from_secs(900));
    let mut ended: Vec<String> = requests(&sent, "BYE").iter().map(|s| of(&s.text, "Call-ID")).collect();
    ended.sort();
    ended.dedup();
    let mut all = legs.clone();
    all.sort();
    assert_eq!(ended, all);
}

fn of(text: &str, name: &str) -> String {
    header(text, name)[0].to_owned()
}

/// The shard that a message of this call comes to.
fn shard_of(calls: &Calls, text: &str) -> usize {
    usize::from(calls.shards[0].shard.place.owner_of(of(text, "Call-ID").as_bytes()))
}

/// Everybody answers the requests among those: what comes of that.
fn everybody(calls: &mut Calls, sent: &[Sent]) -> Vec<Sent> {
    let mut more = Vec::new();
    for request in sent.iter().filter(|s| !s.text.starts_with("SIP/2.0") && !s.text.starts_with("ACK ")) {
        let answer = match request.text.starts_with("INVITE") {
            true => {
                let fields = format!("Contact: <sip:bob@10.0.1.1:5060>\n{TIMED}");
                with_sdp(&response(&request.text, "200 OK", "", &fields))
            }
            false => response(&request.text, "200 OK", "", ""),
        };
        let at = shard_of(calls, &request.text);
        more.extend(receives(&mut calls.shards, at, &request.to.to_string(), &answer));
    }
    more.extend(calls.pass(Duration::from_millis(1_100)));
    more.extend(talk(&mut calls.shards));
    more
}
