//! Transfers that Baton performs, of parties on streams: a TCP trunk's phone, and a browser, which only its own
//! connection reaches.

use super::edges::{requests, status, stream};
use super::owned::{authorized, clients, own, with_sdp};
use super::*;
use crate::sip::proxy::testing::listener;

const BY_BOB: u64 = 2;

/// The connection number `n` of the referrer.
fn flow(kind: Transport, n: u64) -> Flow {
    let listener = ListenerId(if kind == Transport::Tcp { 1 } else { 2 });
    let remote = format!("10.0.0.5:{}", 40_000 + n).parse().expect("an address");
    Flow { listener, transport: kind, remote, connection: Some(ConnectionId::new(0, n)) }
}

/// A call of Alice's to Bob, hers by this transport, his by TCP.
struct Call {
    stage: Stage,
    kind: Transport,
    /// The connection by which she speaks.
    n: u64,
    tag: String,
    uri: String,
    bobs: String,
}

impl Call {
    fn up(kind: Transport) -> Call {
        let stage = Stage::with(|plan| {
            clients(plan);
            own(plan);
            plan.listeners.push(listener(Transport::Tcp, "127.0.0.1:5060"));
            plan.listeners.push(listener(Transport::Ws, "127.0.0.1:8080"));
            plan.trunks[0].refer = ReferMode::Terminate;
            plan.calls.registrar.refer = ReferMode::Terminate;
            plan.trunks[1].targets[0].transport = Some(Transport::Tcp);
            plan.routes[0].from.push(Origin::Clients);
            if kind == Transport::Ws {
                // Whoever comes from there has to prove who it is.
                plan.sources = Default::default();
            }
        });
        let (n, tag, uri, bobs) = (1, String::new(), String::new(), String::new());
        let mut call = Call { stage, kind, n, tag, uri, bobs };
        let mut text = with_sdp(&invite());
        let mut sent = call.alice(&text);
        if kind == Transport::Ws {
            let fields = authorized(&sent[0].text, "INVITE", "sip:1000@127.0.0.1:5060");
            text =
                text.replace("aINVITE1", "again").replace("Max-Forwards", &format!("{fields}Max-Forwards"));
            sent = call.alice(&text);
        }
        let invited = requests(&sent, "INVITE")[0];
        assert_eq!(invited.over, Transport::Tcp);
        call.bobs = invited.text.clone();
        let ok =
            response(&call.bobs, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060;transport=tcp>\n");
        let sent = call.bob(&with_sdp(&ok));
        let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer");
        assert_eq!((answer.over, answer.by), (kind, Some(ConnectionId::new(0, 1))));
        call.tag = header(&answer.text, "To")[0].split(";tag=").nth(1).expect("a tag").to_owned();
        call.uri = header(&answer.text, "Contact")[0].trim_matches(['<', '>']).to_owned();
        call.asks("ACK", "", 1);
        call
    }

    fn alice(&mut self, text: &str) -> Vec<Sent> {
        let port = 40_000 + self.n;
        let text = match self.kind {
            Transport::Tcp => text
                .replace("SIP/2.0/UDP 10.0.0.5:5060", &format!("SIP/2.0/TCP 10.0.0.5:{port}"))
                .replace("alice@10.0.0.5:5060>", &format!("alice@10.0.0.5:{port};transport=tcp>")),
            _ => text
                .replace("SIP/2.0/UDP 10.0.0.5:5060", "SIP/2.0/WS browser.invalid")
                .replace("<sip:alice@10.0.0.5:5060>", "<sip:x@browser.invalid;transport=ws>")
                .replace("\"Alice\" <sip:alice@10.0.0.5>", "<sip:carol@127.0.0.1>"),
        };
        self.stage.receive_by(flow(self.kind, self.n), &text)
    }

    fn bob(&mut self, text: &str) -> Vec<Sent> {
        self.stage.receive_by(stream(BOB, BY_BOB), text)
    }

    /// Alice's request inside the call.
    fn asks(&mut self, method: &str, extra: &str, cseq: u32) -> Vec<Sent> {
        let text = request(method, &self.uri, extra, &format!(";tag={}", self.tag), cseq);
        self.alice(&text)
    }

    /// Her REFER: what it has brought, and the INVITE to the target.
    fn refers(&mut self, cseq: u32) -> (Vec<Sent>, String) {
        let sent = self.asks("REFER", "Refer-To: <sip:1001@127.0.0.1>\n", cseq);
        let invited = requests(&sent, "INVITE")[0].text.clone();
        (sent, invited)
    }

    /// The target picks up, and Bob agrees to talk to it: all that follows.
    fn picked_up(&mut self, invited: &str) -> Vec<Sent> {
        let contact = "Contact: <sip:dave@10.0.1.1:5060;transport=tcp>\n";
        let mut sent = self.bob(&with_sdp(&response(invited, "200 OK", ";tag=dt", contact)));
        let asked = requests(&sent, "INVITE");
        let [asked] = &asked[..] else { panic!("one re-INVITE: {:?}", status(&sent)) };
        assert_eq!(header(&asked.text, "Call-ID"), header(&self.bobs, "Call-ID"));
        assert_eq!((asked.over, asked.by), (Transport::Tcp, None), "to his Contact");
        let contact = "Contact: <sip:bob@10.0.1.1:5060;transport=tcp>\n";
        let agrees = with_sdp(&response(&asked.text.clone(), "200 OK", "", contact));
        sent.extend(self.bob(&agrees));
        sent
    }

    /// The last word about the Refers.
    fn result(&mut self) -> (ReferStatus, Option<ReferReason>) {
        let refers = self.stage.out.drain().filter_map(|output| match output {
            Output::Control(Event::Refer(refer)) => Some((refer.status, refer.reason)),
            _ => None,
        });
        refers.last().expect("a Refer")
    }

    fn closed(&mut self, n: u64) -> Vec<Sent> {
        let input = Input::Closed { connection: ConnectionId::new(0, n), sent: Vec::new() };
        self.stage.shard.handle(self.stage.now, input, &mut self.stage.out);
        self.stage.sent()
    }

    /// Everybody hangs up, and nothing is left.
    fn end(mut self) {
        let bye = |invite: &str, tag: &str| {
            let of = |name| header(invite, name)[0].to_owned();
            request("BYE", of("Contact").trim_matches(['<', '>']), "", "", 900)
                .replace("\"Alice\" <sip:alice@10.0.0.5>;tag=at", &format!("{};tag={tag}", of("To")))
                .replace("To: <sip:1000@example.com>", &format!("To: {}", of("From")))
                .replace("c1@10.0.0.5", &of("Call-ID"))
                .replace("SIP/2.0/UDP 10.0.0.5:5060", "SIP/2.0/TCP 10.0.1.1:5060")
        };
        let text = bye(&self.bobs.clone(), "bt");
        for sent in self.bob(&text) {
            if sent.text.starts_with("BYE ") {
                self.bob(&response(&sent.text, "200 OK", "", ""));
            }
        }
        self.stage.pass(Duration::from_secs(900));
        assert_eq!(self.stage.shard.remains(), 0);
    }
}

/// What a NOTIFY says.
fn said(sent: &[Sent]) -> Vec<String> {
    let line = |s: &&Sent| s.text.lines().last().unwrap_or_default().to_owned();
    requests(sent, "NOTIFY").iter().map(line).collect()
}

fn all_by(sent: &[Sent], kind: Transport, n: u64) {
    for s in sent.iter().filter(|s| s.to.ip().to_string() == "10.0.0.5") {
        assert_eq!((s.over, s.by), (kind, Some(ConnectionId::new(0, n))), "{}", s.text);
    }
}

/// [R-053] A referrer on a stream: its 202, then the NOTIFYs go along its connection,
/// one at a time and none of them twice, as streams lose nothing; and BYE at the end. The target and Bob are
/// reached by TCP.
#[test]
fn a_transfer_by_streams() {
    for kind in [Transport::Tcp, Transport::Ws] {
        let mut call = Call::up(kind);
        let (sent, invited) = call.refers(2);
        assert!(sent[0].text.starts_with("SIP/2.0 202 ") && sent[1].text.starts_with("NOTIFY "), "{kind:?}");
        assert_eq!(said(&sent), ["SIP/2.0 100 Trying"]);
        all_by(&sent, kind, 1);
        let target = requests(&sent, "INVITE")[0];
        assert_eq!((target.over, target.to.to_string().as_str()), (Transport::Tcp, BOB));
        // Nobody answers it for a while: it is not sent again, and nothing is sent beside it.
        let trying = requests(&sent, "NOTIFY")[0].text.clone();
        call.bob(&response(&invited, "180 Ringing", ";tag=dt", "Contact: <sip:dave@10.0.1.1:5060>\n"));
        assert!(requests(&call.stage.pass(Duration::from_secs(10)), "NOTIFY").is_empty());
        let sent = call.alice(&response(&trying, "200 OK", "", ""));
        assert_eq!(said(&sent), ["SIP/2.0 180 Ringing"]);
        all_by(&sent, kind, 1);
        let ringing = requests(&sent, "NOTIFY")[0].text.clone();
        call.alice(&response(&ringing, "200 OK", "", ""));

        let sent = call.picked_up(&invited);
        assert_eq!(said(&sent), ["SIP/2.0 200 OK"]);
        all_by(&sent, kind, 1);
        assert_eq!(requests(&sent, "ACK").len(), 2, "they talk");
        assert_eq!(call.result(), (ReferStatus::Completed, None));
        let last = requests(&sent, "NOTIFY")[0].text.clone();
        assert!(requests(&call.alice(&response(&last, "200 OK", "", "")), "BYE").is_empty());
        let sent = call.stage.pass(Duration::from_secs(6));
        let [bye] = &requests(&sent, "BYE")[..] else { panic!("one BYE") };
        all_by(&sent, kind, 1);
        let bye = bye.text.clone();
        call.alice(&response(&bye, "200 OK", "", ""));
        call.end();
    }
}

/// [R-103] [C-211] The referrer has lost its connection and made another: its REFER comes by that one, and so does all
/// that it is told.
#[test]
fn another_connection() {
    for kind in [Transport::Tcp, Transport::Ws] {
        let mut call = Call::up(kind);
        call.closed(1);
        call.n = 9;
        let (sent, invited) = call.refers(2);
        let accepted = sent.iter().find(|s| s.text.starts_with("SIP/2.0 202")).expect("202");
        assert_eq!((accepted.over, accepted.by), (kind, Some(ConnectionId::new(0, 9))));
        assert_eq!(said(&sent), ["SIP/2.0 100 Trying"]);
        let notify = requests(&sent, "NOTIFY")[0];
        assert_eq!((notify.over, notify.to.ip().to_string().as_str()), (kind, "10.0.0.5"));
        // A phone's Contact says where; a browser's says nothing.
        assert_eq!(notify.to.port(), 40_009);
        assert!(kind == Transport::Tcp || notify.by == Some(ConnectionId::new(0, 9)));
        let answered = response(&notify.text.clone(), "200 OK", "", "");
        call.alice(&answered);
        let sent = call.picked_up(&invited);
        assert_eq!(said(&sent), ["SIP/2.0 200 OK"]);
        assert_eq!(call.result(), (ReferStatus::Completed, None));
        call.alice(&response(&requests(&sent, "NOTIFY")[0].text.clone(), "200 OK", "", ""));
        let bye = requests(&call.stage.pass(Duration::from_secs(6)), "BYE")[0].text.clone();
        call.alice(&response(&bye, "200 OK", "", ""));
        call.end();
    }
}

/// The referrer's connection ends while the target rings, and it does not come back: it cannot
/// be told the result, and the others talk to each other.
#[test]
fn the_referrers_connection_ends() {
    for kind in [Transport::Tcp, Transport::Ws] {
        let mut call = Call::up(kind);
        let (sent, invited) = call.refers(2);
        let trying = requests(&sent, "NOTIFY")[0].text.clone();
        call.alice(&response(&trying, "200 OK", "", ""));
        let sent = call.closed(1);
        assert!(requests(&sent, "CANCEL").is_empty() && requests(&sent, "BYE").is_empty());
        let sent = call.picked_up(&invited);
        assert_eq!(requests(&sent, "ACK").len(), 2, "they talk");
        let tags: Vec<SendTag> = requests(&sent, "NOTIFY").iter().map(|s| s.tag).collect();
        assert_eq!(tags.len(), 1);
        for tag in tags {
            call.stage.shard.handle(call.stage.now, Input::SendFailed { tag }, &mut call.stage.out);
        }
        let sent = call.stage.pass(Duration::from_secs(120));
        assert!(sent.iter().all(|s| s.to.to_string() != BOB), "nobody else is bothered: {:?}", status(&sent));
        assert_eq!(call.result(), (ReferStatus::Completed, None));
        call.end();
    }
}

/// [R-057] [C-109] [C-123] The connection to the target cannot be made, or breaks before a word was heard: the trunk's
/// next target is called, as for a dialled call; when that one cannot be reached either, the referrer is told
/// and the call is as it was.
#[test]
fn the_targets_connection_ends() {
    for reached in [true, false] {
        let mut call = Call::up(Transport::Tcp);
        let (sent, _) = call.refers(2);
        let trying = requests(&sent, "NOTIFY")[0].text.clone();
        call.alice(&response(&trying, "200 OK", "", ""));
        let tag = requests(&sent, "INVITE")[0].tag;
        call.stage.shard.handle(call.stage.now, Input::SendFailed { tag }, &mut call.stage.out);
        let sent = call.stage.sent();
        let [next] = &requests(&sent, "INVITE")[..] else { panic!("one more: {:?}", status(&sent)) };
        assert_eq!(next.to.to_string(), "10.0.1.2:5060");
        if reached {
            let invited = next.text.clone();
            let contact = "Contact: <sip:dave@10.0.1.2:5060>\n";
            let ok = with_sdp(&response(&invited, "200 OK", ";tag=dt", contact));
            let sent = call.stage.receive("10.0.1.2:5060", &ok);
            assert_eq!(requests(&sent, "INVITE").len(), 1, "Bob is asked");
        } else {
            let tag = next.tag;
            call.stage.shard.handle(call.stage.now, Input::SendFailed { tag }, &mut call.stage.out);
            let mut sent = call.stage.sent();
            sent.extend(call.stage.pass(Duration::from_millis(1_200)));
            let told = said(&sent);
            assert!(told.len() == 1 && told[0].starts_with("SIP/2.0 5"), "{told:?}");
            assert_eq!(call.result(), (ReferStatus::Failed, Some(ReferReason::TargetRejected)));
            let text = call.asks("INFO", "", 3);
            assert_eq!(requests(&text, "INFO").len(), 1, "the call is up");
        }
    }
}
