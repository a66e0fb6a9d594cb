//! A call through a whole shard, for counting: INVITE 180 200 ACK BYE 200.
//!
//! A shard is deterministic: the calls are played once, their inputs kept, and what is counted is
//! the replay on a second shard with the same seed.

use baton::config::{EMBEDDED, load_text};
use baton::shard::{Counters, Input, Outbox, Output, Place, Shard};
use baton::sip::flow::{Flow, ListenerId, Transport};
use baton::sip::plan::Plan;
use baton::sip::time::Time;
use bytes::Bytes;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Calls that are played; a replay takes as many of them as it is asked for.
const PLAYED: u32 = 600;
const CALLER: &str = "127.0.0.1:5080";
const CALLEE: &str = "127.0.0.1:5070";

/// What is done with the call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is passed on.
    Proxied,
    /// It is passed on and recorded.
    Recorded,
    /// Both its legs are Baton's own, and recorded.
    Owned,
}

/// Replays `times` calls.
pub fn calls(times: u32, mode: Mode) {
    let plan = Arc::new(plan(mode));
    let inputs = play(&plan);
    let mut shard = shard(&plan);
    let mut out = Outbox::new();
    for (now, flow, bytes) in inputs.iter().take(times as usize * 6) {
        shard.expire(*now, &mut out);
        shard.handle(*now, Input::Message { flow: *flow, bytes: bytes.clone() }, &mut out);
        out.drain().for_each(|output| drop(black_box(output)));
    }
}

fn plan(mode: Mode) -> Plan {
    let records = mode != Mode::Proxied;
    let mut text = EMBEDDED.replace("[[account]]", &format!("[records]\nproxied = {records}\n\n[[account]]"));
    if mode == Mode::Owned {
        text = text.replace("[[route]]", "[[route]]\nmode = \"b2bua\"");
    }
    load_text("embedded", &text, Path::new("")).expect("a good configuration").config.plan(1)
}

fn shard(plan: &Arc<Plan>) -> Shard {
    Shard::new(plan.clone(), Place::alone(), [1; 32], [2; 16], Arc::new(Counters::new(plan.trunks.len())))
}

fn flow(remote: &str) -> Flow {
    let remote = remote.parse().expect("an address");
    Flow { listener: ListenerId(0), transport: Transport::Udp, remote, connection: None }
}

/// Plays the calls and keeps what went in.
fn play(plan: &Arc<Plan>) -> Vec<(Time, Flow, Bytes)> {
    let mut shard = shard(plan);
    let mut out = Outbox::new();
    let mut inputs = Vec::new();
    for n in 0..PLAYED {
        let now = Time::from_millis(1_700_000_000_000) + Duration::from_millis(u64::from(n));
        // Gives a message to the shard, and finds among those that leave the one which begins like this.
        let mut give = |from: &str, text: String, wanted: &str| {
            let (flow, bytes) = (flow(from), Bytes::from(text.into_bytes()));
            inputs.push((now, flow, bytes.clone()));
            shard.handle(now, Input::Message { flow, bytes }, &mut out);
            let sent: Vec<_> = out
                .drain()
                .filter_map(|output| match output {
                    Output::Send { bytes, .. } => Some(String::from_utf8_lossy(&bytes).into_owned()),
                    _ => None,
                })
                .collect();
            sent.into_iter().find(|message| message.starts_with(wanted)).unwrap_or_default()
        };
        let invite = request(n, "INVITE", 1, "sip:bob@127.0.0.1:5060", &Inside::default());
        let invite = give(CALLER, invite, "INVITE");
        give(CALLEE, response(&invite, "180 Ringing"), "SIP/2.0 180");
        let inside = Inside::of(&give(CALLEE, response(&invite, "200 OK"), "SIP/2.0 200"));
        give(CALLER, request(n, "ACK", 1, &inside.target, &inside), "ACK");
        let bye = give(CALLER, request(n, "BYE", 2, &inside.target, &inside), "BYE");
        assert!(!bye.is_empty(), "the call did not come about");
        give(CALLEE, response(&bye, "200 OK"), "SIP/2.0 200");
    }
    inputs
}

/// What the caller says in its dialog: to whom, by which way, under which tag.
#[derive(Default)]
struct Inside {
    target: String,
    route: String,
    to_tag: String,
}

impl Inside {
    /// Taken from the 2xx to its INVITE.
    fn of(answer: &str) -> Inside {
        let value = |name: &str| answer.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
        let contact = value("Contact: ").split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let tag = value("To: ").split_once(";tag=").expect("a tag").1;
        let route = value("Record-Route: ");
        Inside {
            target: contact.expect("a contact").0.into(),
            route: if route.is_empty() { String::new() } else { format!("Route: {route}\r\n") },
            to_tag: format!(";tag={tag}"),
        }
    }
}

fn request(n: u32, method: &str, cseq: u32, uri: &str, inside: &Inside) -> String {
    let body = if method == "INVITE" { SDP } else { "" };
    let Inside { route, to_tag, .. } = inside;
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK-{n}-{cseq}-{method};rport\r\n\
         {route}Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@{CALLER}>;tag=c{n}\r\n\
         To: <sip:bob@127.0.0.1:5060>{to_tag}\r\nCall-ID: {n}-1234@127.0.0.1\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:alice@{CALLER}>\r\nAllow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY\r\n\
         Supported: replaces\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn response(request: &str, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    let head = request.split("\r\n\r\n").next().unwrap_or(request);
    for line in head.lines().skip(1) {
        let to = line.starts_with("To:") && !line.contains("tag=");
        if ["Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:", "To:"].iter().any(|h| line.starts_with(h))
        {
            text += line;
            text += if to { ";tag=callee\r\n" } else { "\r\n" };
        }
    }
    text + "Contact: <sip:bob@127.0.0.1:5070>\r\nContent-Length: 0\r\n\r\n"
}

const SDP: &str = "v=0\r\no=alice 2890844526 2890844526 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n\
    t=0 0\r\nm=audio 49172 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";
