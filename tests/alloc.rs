//! Reading a message allocates nothing: received bytes to all that a proxy must look at, and on to
//! the forwarded bytes once the buffers have grown.

#![allow(unsafe_code, reason = "a counting allocator can only be written so")]

use baton::sip::message::{Edits, HeaderId, Limits, Message};
use bytes::Bytes;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const MESSAGES: [(&str, &[u8]); 3] = [
    ("INVITE", include_bytes!("../benches/messages/invite.sip")),
    ("200", include_bytes!("../benches/messages/ok200.sip")),
    ("REFER", include_bytes!("../benches/messages/refer.sip")),
];

/// [C-030] Indexing and checking a message takes no memory.
#[test]
fn reading_allocates_nothing() {
    let limits = Limits::default();
    assert_ne!(allocations(|| drop(std::hint::black_box(vec![1u8]))), 0, "the counter counts");
    for (name, bytes) in MESSAGES {
        let bytes = Bytes::copy_from_slice(bytes);
        // The first clone may make the reference count.
        let shared = bytes.clone();
        let count = allocations(|| {
            let message = Message::parse(shared, &limits).expect("a good message");
            let ready = message.ready().expect("a good message");
            assert!(ready.via.has_cookie());
            assert_ne!(message.values(HeaderId::Supported).count() + message.count(HeaderId::RecordRoute), 0);
            assert!(message.contacts().all(|c| c.is_ok_and(|c| c.uri().is_ok())));
        });
        assert_eq!(count, 0, "{name}");
    }
}

/// Forwarding into buffers that were used before takes no memory.
#[test]
fn forwarding_allocates_nothing() {
    let limits = Limits::default();
    let mut edits = Edits::new();
    let mut out = Vec::new();
    for round in 0..2 {
        for (name, bytes) in MESSAGES {
            let message = Message::parse(Bytes::from_static(bytes), &limits).expect("a good message");
            let count = allocations(|| {
                edits.clear();
                out.clear();
                if message.is_request() {
                    edits.set_request_uri(&message, b"sip:bob@192.0.2.7:5060");
                    edits.set_via_received(&message, Some([192, 0, 2, 101].into()), Some(5060));
                    edits.set_max_forwards(&message, 69);
                    edits.pop_route(&message, 1);
                    edits.push_record_route(&message, b"<sip:192.0.2.1;lr>");
                    edits.push_via(&message, b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK0123456789abcdef");
                } else {
                    edits.pop_via(&message);
                }
                edits.write(&message, &mut out);
            });
            assert!(round == 0 || count == 0, "{name}: {count}");
        }
    }
}
