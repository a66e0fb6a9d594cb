//! Bodies of the fuzz targets, as functions of the crate so that they cannot rot.

use super::{Edits, Frame, Framer, HeaderId, Limits, Message, multipart, sipfrag, write};
use bytes::Bytes;

/// Any bytes as a datagram: parsed, read, answered, forwarded (C-031). What is forwarded must be
/// readable again and say the same.
pub fn parser(data: &[u8]) {
    let limits = Limits::default();
    let Ok(message) = Message::parse(Bytes::copy_from_slice(data), &limits) else { return };
    read_everything(&message);
    let mut out = Vec::new();
    write::response(&mut out, &message, Some(([192, 0, 2, 1], 5060).into()), 400, "", Some(b"t"), &[]);
    let answer = Message::parse(Bytes::from(out), &limits).expect("an answer is a message");
    assert_eq!(answer.status(), 400);
    if message.ready().is_ok() {
        forward(&message, &limits);
    }
}

fn read_everything(message: &Message) {
    let _ = (message.ready(), message.from(), message.to(), message.from_uri(), message.to_uri());
    let _ = (message.via(), message.cseq(), message.top_route(), message.refer_to());
    let _ = (message.referred_by(), message.replaces(), message.target_dialog(), message.event());
    let _ = (message.subscription_state(), message.content_type(), message.expires());
    let _ = (message.contacts().count(), message.routes().count(), message.vias().count());
    let _ = sipfrag::parse(message.body());
    let _ = multipart::visit(message, &Limits::default(), &mut |part| assert!(part.depth <= 5));
    for header in message.headers() {
        let _ = message.values(header.id).count();
    }
    for contact in message.contacts().flatten() {
        if let Ok(uri) = contact.uri() {
            let _ = uri.brought_headers();
            assert!(uri.same_as(&uri), "a URI equals itself");
            if let Ok(Ok(to)) = message.to().map(|to| to.uri()) {
                assert_eq!(uri.same_as(&to), to.same_as(&uri), "equality has no direction");
            }
        }
    }
}

fn forward(message: &Message, limits: &Limits) {
    let before = message.ready().expect("was ready");
    let mut edits = Edits::new();
    edits.set_via_received(message, Some([192, 0, 2, 1].into()), Some(5060));
    edits.push_via(message, b"SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKnew");
    edits.push_record_route(message, b"<sip:192.0.2.2;lr>");
    if message.is_request() {
        edits.set_max_forwards(message, 69);
        edits.pop_route(message, 1);
    }
    let mut out = Vec::new();
    edits.write(message, &mut out);
    assert_eq!(out.len(), edits.written_len(message));
    let roomy = Limits {
        message: limits.message + 1_000,
        headers: limits.headers + 3,
        header_line: usize::MAX,
        vias: limits.vias + 1,
        routes: limits.routes + 1,
        ..*limits
    };
    let after = Message::parse(Bytes::from(out), &roomy).expect("what is forwarded is a message");
    let ready = after.ready().expect("what is forwarded is as good as what came");
    assert_eq!(ready.via.branch, Some(&b"z9hG4bKnew"[..]));
    assert_eq!((ready.call_id, ready.cseq), (before.call_id, before.cseq));
    assert_eq!((ready.from_tag, ready.to_tag), (before.from_tag, before.to_tag));
    assert_eq!(after.count(HeaderId::Via), message.count(HeaderId::Via) + 1);
    assert_eq!(after.body(), message.body());
    // Taken off again, the response finds its way back.
    edits.clear();
    edits.pop_via(&after);
    let mut out = Vec::new();
    edits.write(&after, &mut out);
    let back = Message::parse(Bytes::from(out), &roomy).expect("without our Via it is a message");
    assert_eq!(back.count(HeaderId::Via), message.count(HeaderId::Via));
}

/// Any bytes as a stream, cut where the first byte says: the same frames as uncut (C-051).
pub fn framer(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let limits = Limits { message: 4_096, ..Limits::default() };
    let whole = frames(stream, stream.len().max(1), &limits);
    let cut = frames(stream, usize::from(size).max(1), &limits);
    let common = whole.len().min(cut.len());
    assert_eq!(whole.get(..common), cut.get(..common), "cutting changes nothing");
    for frame in whole {
        if let Frame::Message(bytes) = frame {
            let _ = Message::parse(bytes, &limits).map(|m| m.ready().is_ok());
        }
    }
}

fn frames(stream: &[u8], size: usize, limits: &Limits) -> Vec<Frame> {
    let mut framer = Framer::new(limits);
    let mut all = Vec::new();
    for part in stream.chunks(size) {
        framer.push(part);
        loop {
            match framer.next() {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(_) => {
                    let _ = framer.take_head();
                    return all;
                }
            }
        }
        assert!(framer.buffered() <= limits.message + size, "what is kept is bounded");
    }
    all
}
