//! Wall time of reading and forwarding one message. `benches/icount.sh` is the gate; this is for a look
//! at a quiet machine.

use baton::sip::message::{Edits, Frame, Framer, Limits, Message, Uri};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const MESSAGES: [(&str, &[u8]); 3] = [
    ("invite", include_bytes!("messages/invite.sip")),
    ("200", include_bytes!("messages/ok200.sip")),
    ("refer", include_bytes!("messages/refer.sip")),
];

fn ready(c: &mut Criterion) {
    let mut group = c.benchmark_group("ready");
    let limits = Limits::default();
    for (name, message) in MESSAGES {
        let bytes = Bytes::from_static(message);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let message = Message::parse(black_box(bytes.clone()), &limits).expect("a good message");
                black_box(message.ready().expect("a good message").cseq)
            });
        });
    }
    group.finish();
}

fn forward(c: &mut Criterion) {
    let [(_, invite), ..] = MESSAGES;
    let message = Message::parse(Bytes::from_static(invite), &Limits::default()).expect("a good message");
    let mut edits = Edits::new();
    let mut out = Vec::with_capacity(4_096);
    c.bench_function("forward invite", |b| {
        b.iter(|| {
            edits.clear();
            out.clear();
            edits.set_request_uri(&message, b"sip:bob@192.0.2.7:5060");
            edits.set_max_forwards(&message, 69);
            edits.push_record_route(&message, b"<sip:192.0.2.1;lr>");
            edits.push_via(&message, b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK0123456789abcdef");
            edits.write(black_box(&message), &mut out);
            black_box(out.len())
        });
    });
}

fn frame(c: &mut Criterion) {
    let stream: Vec<u8> = MESSAGES.iter().flat_map(|(_, m)| m.iter().copied()).collect();
    let limits = Limits::default();
    c.bench_function("frame three messages cut at 500 bytes", |b| {
        b.iter(|| {
            let mut framer = Framer::new(&limits);
            let mut messages = 0;
            for part in stream.chunks(500) {
                framer.push(part);
                while let Ok(Some(Frame::Message(_))) = framer.next() {
                    messages += 1;
                }
            }
            assert_eq!(messages, 3);
        });
    });
}

fn uri(c: &mut Criterion) {
    let uri = b"sip:alice;day=tuesday@atlanta.example.com:5061;transport=tls;lr";
    c.bench_function("uri", |b| b.iter(|| black_box(Uri::parse(black_box(uri)).expect("a good URI").port)));
}

criterion_group!(benches, ready, forward, frame, uri);
criterion_main!(benches);
