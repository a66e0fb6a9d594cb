//! Transfers as a whole shard sees them: relayed over datagrams and streams, watched or not, by a process that did
//! not see them begin; and those that lead back to Baton.

use super::edges::{BY_BOB, over_streams, requests, status, stream};
use super::owned::{own, with_sdp};
use super::*;
use crate::shard::counters::tests::seen;

const BY_ALICE: u64 = 1;

/// A call of Alice's to Bob that the proxy carries, all of it by UDP or all of it by TCP.
struct Call {
    stage: Stage,
    tcp: bool,
    route: String,
}

impl Call {
    fn up(stage: Stage, tcp: bool) -> Call {
        let mut call = Call { stage, tcp, route: String::new() };
        let sent = call.alice(&invite());
        let invite = requests(&sent, "INVITE")[0].text.clone();
        assert_eq!(requests(&sent, "INVITE")[0].over, if tcp { Transport::Tcp } else { Transport::Udp });
        call.route = format!("Route: {}\n", header(&invite, "Record-Route")[0]);
        let ok = response(&invite, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
        call.bob(&ok);
        call.alice(&request("ACK", &call.uri("bob@10.0.1.1"), &call.route.clone(), ";tag=bt", 1));
        call.stage.events();
        call
    }

    /// The same call in another process.
    fn again(self) -> Call {
        let stage = if self.tcp { over_streams() } else { Stage::new() };
        let now = self.stage.now + Duration::from_secs(3);
        Call { stage: Stage { now, ..stage }, ..self }
    }

    fn uri(&self, at: &str) -> String {
        format!("sip:{at}:5060{}", if self.tcp { ";transport=tcp" } else { "" })
    }

    fn alice(&mut self, text: &str) -> Vec<Sent> {
        self.says(ALICE, "10.0.0.5:40001", BY_ALICE, text)
    }

    fn bob(&mut self, text: &str) -> Vec<Sent> {
        self.says(BOB, BOB, BY_BOB, text)
    }

    fn says(&mut self, plain: &str, by_stream: &str, connection: u64, text: &str) -> Vec<Sent> {
        match self.tcp {
            false => self.stage.receive(plain, text),
            true => {
                // What Baton's own Via says stays as it is.
                let text = text.replace("SIP/2.0/UDP 10.", "SIP/2.0/TCP 10.");
                self.stage.receive_by(stream(by_stream, connection), &text)
            }
        }
    }

    /// Alice's request inside the call.
    fn asks(&mut self, method: &str, extra: &str, cseq: u32) -> (String, Vec<Sent>) {
        let text = request(method, &self.uri("bob@10.0.1.1"), &(self.route.clone() + extra), ";tag=bt", cseq);
        let sent = self.alice(&text);
        (text, sent)
    }

    /// A request of Bob's with a body.
    fn tells(&mut self, method: &str, extra: &str, cseq: u32, body: &str) -> (String, Vec<Sent>) {
        let text = format!(
            "{method} {} SIP/2.0\nVia: SIP/2.0/UDP 10.0.1.1:5060;branch=z9hG4bKb{method}{cseq}\n{}\
             Max-Forwards: 70\nFrom: <sip:1000@example.com>;tag=bt\n\
             To: \"Alice\" <sip:alice@10.0.0.5>;tag=at\nCall-ID: c1@10.0.0.5\nCSeq: {cseq} {method}\n\
             Contact: <sip:bob@10.0.1.1:5060>\n{extra}Content-Length: {}\n\n{body}",
            self.uri("alice@10.0.0.5"),
            self.route,
            body.replace('\n', "\r\n").len(),
        );
        let sent = self.bob(&text);
        (text, sent)
    }

    /// A NOTIFY of Bob's about the REFER.
    fn notifies(&mut self, cseq: u32, code: u16, state: &str) -> (String, Vec<Sent>) {
        let extra = format!(
            "Event: refer;id=2\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0\n"
        );
        self.tells("NOTIFY", &extra, cseq, &format!("SIP/2.0 {code} Whatever\n"))
    }

    /// Bob's NOTIFY comes to Alice as it was, and her answer to him.
    fn notify_crosses(&mut self, cseq: u32, code: u16, state: &str) {
        let (text, sent) = self.notifies(cseq, code, state);
        let [passed] = &requests(&sent, "NOTIFY")[..] else { panic!("one NOTIFY: {:?}", status(&sent)) };
        assert_eq!(passed.over, if self.tcp { Transport::Tcp } else { Transport::Udp });
        assert_eq!(passed.to.to_string(), ALICE);
        unchanged(&text, &passed.text);
        let answer = response(&passed.text, "200 OK", "", "");
        let sent = self.alice(&answer);
        let [heard] = &sent[..] else { panic!("one answer") };
        assert_eq!(
            (status(&sent), header(&heard.text, "CSeq")[0]),
            (Some("200"), &*format!("{cseq} NOTIFY"))
        );
    }

    fn refers(&mut self) -> Vec<ReferSnapshot> {
        let events = self.stage.events();
        events
            .into_iter()
            .filter_map(|e| if let Event::Refer(refer) = e { Some(*refer) } else { None })
            .collect()
    }
}

/// Two kinds of calls: by UDP, by TCP.
fn both() -> [Call; 2] {
    [Call::up(Stage::new(), false), Call::up(over_streams(), true)]
}

/// What a transfer rests on crosses byte for byte.
fn unchanged(came: &str, left: &str) {
    const NAMES: [&str; 8] = [
        "Refer-To",
        "Referred-By",
        "Refer-Sub",
        "Event",
        "Subscription-State",
        "Content-Type",
        "Expires",
        "X-Thing",
    ];
    for name in NAMES {
        assert_eq!(header(came, name), header(left, name), "{name}");
    }
    let body = |text: &str| text.split_once("\n\n").map(|(_, body)| body.to_owned());
    assert_eq!(body(came), body(left));
}

const REFER_TO: &str = "Refer-To: \"C\"  <sip:carol@10.0.1.7;x=%7e?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>;y\n\
                        Referred-By: <sip:alice@10.0.0.5>;cid=\"1@x\"\nRefer-Sub: true\n";

/// A relayed transfer, by datagrams and by streams: nothing of it is altered; a NOTIFY
/// that overtakes the answer passes at once, and both directions do after a BYE; the REFER that is repeated is passed
/// once. All of it is one Refer.
#[test]
fn a_relayed_transfer() {
    for mut call in both() {
        let tcp = call.tcp;
        let (refer, sent) = call.asks("REFER", REFER_TO, 2);
        let [passed] = &requests(&sent, "REFER")[..] else { panic!("one REFER: {:?}", status(&sent)) };
        assert_eq!((passed.over == Transport::Tcp, passed.to.to_string().as_str()), (tcp, BOB));
        unchanged(&refer, &passed.text);
        assert!(requests(&call.alice(&refer), "REFER").is_empty(), "repeated before its answer");

        call.notify_crosses(1, 100, "active;expires=60");
        let accepted = call.bob(&response(&passed.text, "202 Accepted", "", "Contact: <sip:bob@10.0.1.1>\n"));
        assert_eq!((accepted.len(), status(&accepted)), (1, Some("202")));
        if !tcp {
            // By a stream nothing is repeated, and nothing is kept for it (RFC 3261 §17.2.2).
            let again = call.alice(&refer);
            assert_eq!((again.len(), &again[0].text), (1, &accepted[0].text), "the same answer once more");
        }
        call.notify_crosses(2, 180, "active;expires=59");

        let (_, sent) = call.asks("BYE", "", 3);
        let bye = requests(&sent, "BYE")[0].text.clone();
        assert_eq!(status(&call.bob(&response(&bye, "200 OK", "", ""))), Some("200"));
        let (subscribe, sent) = call.asks("SUBSCRIBE", "Event: refer;id=2\nExpires: 60\n", 4);
        let [passed] = &requests(&sent, "SUBSCRIBE")[..] else { panic!("one SUBSCRIBE") };
        unchanged(&subscribe, &passed.text);
        assert_eq!(status(&call.bob(&response(&passed.text, "200 OK", "", "Expires: 60\n"))), Some("200"));
        call.notify_crosses(3, 200, "terminated;reason=noresource");
        call.notify_crosses(4, 200, "terminated;reason=noresource");

        let told = call.refers();
        assert!(told.iter().all(|refer| refer.sid == told[0].sid), "{told:#?}");
        let finals: Vec<_> = told.iter().filter(|refer| refer.status != ReferStatus::InProgress).collect();
        let [last] = &finals[..] else { panic!("{finals:#?}") };
        assert_eq!(
            (last.status, last.refer_code, last.notify_code),
            (ReferStatus::Completed, Some(202), Some(200))
        );
        call.stage.pass(Duration::from_secs(400));
        assert_eq!(call.stage.shard.remains(), 0);
    }
}

/// The answer comes after the result, or after a BYE, or never: it passes when it comes.
#[test]
fn an_answer_that_is_late() {
    for mut call in both() {
        let (_, sent) = call.asks("REFER", REFER_TO, 2);
        let refer = requests(&sent, "REFER")[0].text.clone();
        call.notify_crosses(1, 200, "terminated;reason=noresource");
        let (_, sent) = call.asks("BYE", "", 3);
        let bye = requests(&sent, "BYE")[0].text.clone();
        call.bob(&response(&bye, "200 OK", "", ""));
        let sent = call.bob(&response(&refer, "202 Accepted", "", ""));
        assert_eq!((sent.len(), status(&sent)), (1, Some("202")));
        let told = call.refers();
        assert_eq!(told.last().map(|refer| refer.status), Some(ReferStatus::Completed));
        call.stage.pass(Duration::from_secs(400));
        assert_eq!(call.stage.shard.remains(), 0);
    }
}

/// Twenty REFERs, their answers, NOTIFYs good and bad, and a BYE: all that leaves, in order, with where to.
fn much(mut call: Call) -> (Vec<String>, usize) {
    let mut left = Vec::new();
    let mut note = |sent: &[Sent]| left.extend(sent.iter().map(|s| format!("{} {}", s.to, s.text)));
    for n in 2..22 {
        let (_, sent) = call.asks("REFER", REFER_TO, n);
        note(&sent);
        let refer = requests(&sent, "REFER")[0].text.clone();
        for (m, code) in [(1, 100), (2, 180), (3, 486)] {
            let (_, sent) = call.notifies(10 * n + m, code, "active;expires=60");
            note(&sent);
            let answer = call.alice(&response(&requests(&sent, "NOTIFY")[0].text, "200 OK", "", ""));
            note(&answer);
        }
        let sent = call.bob(&response(&refer, "202 Accepted", "", ""));
        note(&sent);
    }
    let (_, sent) = call.asks("BYE", "", 40);
    note(&sent);
    (left, call.refers().len())
}

/// Whether a transfer is watched, or cannot be as there is no room, or more of them come than one call may
/// have watched: what leaves is the same, byte for byte, and as promptly.
#[test]
fn watching_changes_nothing() {
    for tcp in [false, true] {
        let stage = |room: usize| {
            let change = |plan: &mut Plan| {
                plan.capacity.refers = room;
                if tcp {
                    plan.listeners
                        .push(crate::sip::proxy::testing::listener(Transport::Tcp, "127.0.0.1:5060"));
                    plan.trunks[1].targets[0].transport = Some(Transport::Tcp);
                }
            };
            Stage::with(change)
        };
        let (watched, told) = much(Call::up(stage(200_000), tcp));
        let (unwatched, none) = much(Call::up(stage(0), tcp));
        let (some, few) = much(Call::up(stage(3), tcp));
        assert!(told > few && few > 0 && none == 0, "{told} {few} {none}");
        assert_eq!(watched, unwatched);
        assert_eq!(watched, some);
    }
}

/// What cannot be followed is passed on as it is: the other side may understand it.
#[test]
fn what_cannot_be_watched_passes() {
    let mut call = Call::up(Stage::new(), false);
    let several = "Refer-To: <sip:a@x>\nRefer-To: <sip:b@x>\nReferred-By: junk\n";
    for (n, extra) in
        (2..).zip(["", several, "Refer-To: <urn:service:sos>\n", "Refer-To: <sip:a@x;method=BYE>\n"])
    {
        let (text, sent) = call.asks("REFER", extra, n);
        let [passed] = &requests(&sent, "REFER")[..] else { panic!("{extra}: {:?}", status(&sent)) };
        unchanged(&text, &passed.text);
        assert_eq!(status(&call.bob(&response(&passed.text, "400 Bad Request", "", ""))), Some("400"));
    }
    for (n, extra) in (2..).zip([
        "",
        "Event: refer\n",
        "Event: refer;id=abc\nSubscription-State: active\n",
        "Event: refer\nSubscription-State: ;;\nContent-Type: message/sipfrag\n",
        "Event: dialog\nSubscription-State: active\nContent-Type: text/plain\n",
    ]) {
        let (text, sent) = call.tells("NOTIFY", extra, n, "junk\n");
        let [passed] = &requests(&sent, "NOTIFY")[..] else { panic!("{extra}: {:?}", status(&sent)) };
        unchanged(&text, &passed.text);
        assert_eq!(status(&call.alice(&response(&passed.text, "489 Bad Event", "", ""))), Some("489"));
    }
    call.stage.pass(Duration::from_secs(400));
    assert_eq!(call.stage.shard.remains(), 0);
}

/// The process that saw the REFER is gone: what belongs to the transfer passes as before, in both
/// directions, and no second Refer is told of, least of all one that would stay in progress.
#[test]
fn a_restart_in_the_middle() {
    for mut call in both() {
        let (_, sent) = call.asks("REFER", REFER_TO, 2);
        let refer = requests(&sent, "REFER")[0].text.clone();
        call.bob(&response(&refer, "202 Accepted", "", ""));
        call.notify_crosses(1, 100, "active;expires=60");
        assert!(call.refers().iter().all(|refer| refer.status == ReferStatus::InProgress));

        let mut call = call.again();
        call.notify_crosses(2, 180, "active;expires=60");
        let (_, sent) = call.asks("SUBSCRIBE", "Event: refer;id=2\nExpires: 60\n", 3);
        let [passed] = &requests(&sent, "SUBSCRIBE")[..] else { panic!("one SUBSCRIBE") };
        assert_eq!(status(&call.bob(&response(&passed.text, "200 OK", "", "Expires: 60\n"))), Some("200"));
        call.notify_crosses(3, 200, "terminated;reason=noresource");
        let (_, sent) = call.asks("BYE", "", 4);
        let bye = requests(&sent, "BYE")[0].text.clone();
        call.bob(&response(&bye, "200 OK", "", ""));
        let events = call.stage.events();
        let [Event::CallChanged(change)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(change.status, CallStatus::Completed);
        // A REFER of the same call is a Refer of this process.
        let (_, sent) = call.asks("REFER", REFER_TO, 5);
        let refer = requests(&sent, "REFER")[0].text.clone();
        call.bob(&response(&refer, "603 Decline", "", ""));
        let told = call.refers();
        assert_eq!(told.last().map(|refer| refer.reason), Some(Some(ReferReason::ReferRejected)));
        call.stage.pass(Duration::from_secs(400));
        assert_eq!(call.stage.shard.remains(), 0);
    }
}

/// Alice's call to Bob is Baton's own, and their REFERs are performed; numbers that begin with 1 lead to Bob's
/// trunk, whoever calls them. What she addresses her requests to, and Baton's tag.
fn performed(max: u8) -> (Stage, String, String) {
    let mut stage = Stage::with(|plan| {
        own(plan);
        for trunk in &mut plan.trunks {
            trunk.refer = ReferMode::Terminate;
            trunk.owned.policy.max_transfers = max;
        }
        plan.routes[0].from.push(Origin::Trunk(TrunkIx(1)));
    });
    let sent = stage.receive(ALICE, &with_sdp(&invite()));
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let ok = response(&invited, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
    let sent = stage.receive(BOB, &with_sdp(&ok));
    let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer").text.clone();
    let tag = header(&answer, "To")[0].split(";tag=").nth(1).expect("a tag").to_owned();
    let uri = header(&answer, "Contact")[0].trim_matches(['<', '>']).to_owned();
    stage.receive(ALICE, &request("ACK", &uri, "", &format!(";tag={tag}"), 1));
    stage.out.drain().for_each(drop);
    (stage, uri, tag)
}

/// A Refer-To that leads to Baton, by way of a peer that sends everything back to it: the call goes round until
/// its hops are used up, one at a time, and all of it unwinds; the referrer is told, the call stays.
#[test]
fn a_target_that_comes_back_for_ever() {
    for hops in [70, 9] {
        let (mut stage, uri, tag) = performed(5);
        let refer = request("REFER", &uri, "Refer-To: <sip:1001@127.0.0.1>\n", &format!(";tag={tag}"), 2)
            .replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}"));
        let mut sent = stage.receive(ALICE, &refer);
        assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 202")), "{:?}", status(&sent));
        let notify = requests(&sent, "NOTIFY")[0].text.clone();
        stage.receive(ALICE, &response(&notify, "200 OK", "", ""));
        // Round and round: the peer is a proxy with one hop of its own.
        let mut round: Vec<String> = Vec::new();
        while let [invite] = &requests(&sent, "INVITE")[..] {
            let invite = invite.text.clone();
            let left: u8 = header(&invite, "Max-Forwards")[0].parse().expect("a number");
            assert!(left < hops && round.len() < 80, "{left} {}", round.len());
            round.push(invite.clone());
            if left == 0 {
                break;
            }
            let via = format!("Via: SIP/2.0/UDP 10.0.1.1:5060;branch=z9hG4bKround{}\n", round.len());
            let (line, rest) = invite.split_once('\n').expect("lines");
            let line = line.replace("@10.0.1.1", "@127.0.0.1:5060");
            let back = format!("{line}\n{via}{rest}")
                .replace(&format!("Max-Forwards: {left}"), &format!("Max-Forwards: {}", left - 1));
            sent = stage.receive(BOB, &back);
        }
        assert_eq!(round.len(), usize::from(hops).div_ceil(2), "each round costs two hops");
        // Whoever has no hop left says so, the peer or Baton.
        let mut code = "483 Too Many Hops".to_owned();
        let mut notify = None;
        while let Some(invite) = round.pop() {
            let sent = stage.receive(BOB, &response(&invite, &code, ";tag=pt", ""));
            if let Some(answer) = sent.iter().find(|s| s.text.starts_with("SIP/2.0 4")) {
                code = answer.text[8..].lines().next().expect("a line").to_owned();
            }
            notify = requests(&sent, "NOTIFY").first().map(|notify| notify.text.clone());
        }
        let notify = notify.expect("a NOTIFY");
        assert!(notify.ends_with("SIP/2.0 483 Too Many Hops\n"), "{notify}");
        assert_eq!(header(&notify, "Subscription-State"), ["terminated;reason=noresource"]);
        stage.receive(ALICE, &response(&notify, "200 OK", "", ""));
        let info = request("INFO", &uri, "", &format!(";tag={tag}"), 3);
        assert_eq!(requests(&stage.receive(ALICE, &info), "INFO").len(), 1, "the call is up");
    }
}

/// [R-103] [C-211] Who is not the party of a dialog moves nobody, though it knows its names and is a peer of ours: it
/// hears nothing, and nothing is told but to the operator.
#[test]
fn a_stranger_moves_nobody() {
    for from in ["10.9.9.9:5060", BOB] {
        let (mut stage, uri, tag) = performed(5);
        let refer = request("REFER", &uri, "Refer-To: <sip:1001@127.0.0.1>\n", &format!(";tag={tag}"), 2);
        assert!(stage.receive(from, &refer).is_empty(), "{from}");
        let told: Vec<Output> = stage.out.drain().collect();
        assert!(matches!(&told[..], [Output::Stranger(flow)] if flow.remote.to_string() == from), "{told:?}");
        let rejected: u64 = seen(&[&stage.counters])
            .samples
            .iter()
            .filter(|(name, _)| name.contains("reason=acl"))
            .map(|(_, n)| *n)
            .sum();
        assert_eq!(rejected, 1);
        let sent = stage.receive(ALICE, &refer.replace("aREFER2", "aREFER3"));
        assert!(sent.iter().any(|s| s.text.starts_with("SIP/2.0 202")), "{:?}", status(&sent));
    }
}
