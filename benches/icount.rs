//! Work to be counted by callgrind: `icount CASE TIMES` does one thing so many times, `icount --list`
//! names the cases. `benches/icount.sh` runs it and holds the counts against `benches/gates.txt`.

mod call;

use baton::sip::message::{Edits, Limits, Message};
use bytes::Bytes;
use call::Mode;
use std::hint::black_box;

const INVITE: &[u8] = include_bytes!("messages/invite.sip");
const OK: &[u8] = include_bytes!("messages/ok200.sip");
const REFER: &[u8] = include_bytes!("messages/refer.sip");

/// A case: its name in `gates.txt`, and the work.
type Case = (&'static str, fn(u32));

const CASES: &[Case] = &[
    ("parse-invite", |times| parse(INVITE, times)),
    ("parse-200", |times| parse(OK, times)),
    ("parse-refer", |times| parse(REFER, times)),
    ("edit-invite", forward_invite),
    ("edit-200", forward_response),
    ("proxied-call", |times| call::calls(times, Mode::Proxied)),
    ("recorded-call", |times| call::calls(times, Mode::Recorded)),
    ("owned-call", |times| call::calls(times, Mode::Owned)),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.as_slice() {
        [case, times] => {
            let times = times.parse().expect("a number of times");
            let (_, work) = CASES.iter().find(|(name, _)| name == case).expect("a known case");
            work(times);
        }
        _ => CASES.iter().for_each(|(name, _)| println!("{name}")),
    }
}

/// Received bytes to all that a proxy must look at, checked.
fn parse(message: &'static [u8], times: u32) {
    let limits = Limits::default();
    let bytes = Bytes::from_static(message);
    for _ in 0..times {
        let message = Message::parse(black_box(bytes.clone()), &limits).expect("a good message");
        black_box(message.ready().expect("a good message"));
    }
}

/// An indexed INVITE to what a proxy sends on.
fn forward_invite(times: u32) {
    let message = Message::parse(Bytes::from_static(INVITE), &Limits::default()).expect("a good message");
    let mut edits = Edits::new();
    let mut out = Vec::with_capacity(4_096);
    for _ in 0..times {
        edits.clear();
        out.clear();
        edits.set_request_uri(&message, b"sip:bob@192.0.2.7:5060");
        edits.set_via_received(&message, Some([192, 0, 2, 101].into()), Some(5060));
        edits.set_max_forwards(&message, 69);
        edits.push_record_route(&message, b"<sip:192.0.2.1;lr;t=0123456789abcdef>");
        edits.push_via(&message, b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK0123456789abcdef");
        edits.write(black_box(&message), &mut out);
        black_box(&out);
    }
}

/// An indexed 200 to what a proxy sends back.
fn forward_response(times: u32) {
    let message = Message::parse(Bytes::from_static(OK), &Limits::default()).expect("a good message");
    let mut edits = Edits::new();
    let mut out = Vec::with_capacity(4_096);
    for _ in 0..times {
        edits.clear();
        out.clear();
        edits.pop_via(&message);
        edits.write(black_box(&message), &mut out);
        black_box(&out);
    }
}
