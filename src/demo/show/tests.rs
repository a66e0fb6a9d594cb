use super::*;
use crate::demo::ladder;
use crate::sip::message::{Edits, Method};
use std::net::UdpSocket as StdSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The least that can stand between the phones: forwards by Request-URI, pushes and pops its Via.
/// `answer` may refuse a request instead.
fn forward(
    socket: &StdSocket,
    people: [SocketAddr; 3],
    stop: &AtomicBool,
    answer: fn(Method) -> Option<u16>,
) {
    let me = socket.local_addr().expect("an address");
    let mut buffer = [0; 65_535];
    let mut branch = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, source)) = socket.recv_from(&mut buffer) else { continue };
        let bytes = Bytes::copy_from_slice(&buffer[..len]);
        let message = Message::parse(bytes, &Limits::default()).expect("a message");
        let (mut edits, mut out) = (Edits::new(), Vec::new());
        if message.is_request() {
            if let Some(status) = answer(message.method()) {
                let to_tag = Some(&b"refused"[..]);
                crate::sip::message::write::response(
                    &mut out,
                    &message,
                    Some(source),
                    status,
                    "",
                    to_tag,
                    &[],
                );
                socket.send_to(&out, source).expect("sent");
                continue;
            }
            branch += 1;
            edits.push_via(&message, format!("SIP/2.0/UDP {me};branch=z9hG4bKf{branch}").as_bytes());
            edits.set_via_received(&message, Some(source.ip()), Some(source.port()));
            let uri = message.request_uri();
            let to = match crate::sip::message::Uri::parse(uri).expect("a URI") {
                uri if uri.port != Some(me.port()) => {
                    edits.pop_route(&message, 1);
                    SocketAddr::new(me.ip(), uri.port.expect("a port"))
                }
                uri => {
                    edits.push_record_route(&message, format!("<sip:{me};lr>").as_bytes());
                    people[["alice", "bob", "carol"]
                        .iter()
                        .position(|name| uri.user == Some(name.as_bytes()))
                        .expect("somebody")]
                }
            };
            edits.write(&message, &mut out);
            socket.send_to(&out, to).expect("sent");
            if message.method() == Method::Refer {
                // As if its answer had not come in time: what is repeated is drawn once.
                socket.send_to(&out, to).expect("sent");
            }
        } else {
            edits.pop_via(&message);
            edits.write(&message, &mut out);
            let next = message.vias().nth(1).expect("a second Via").expect("a Via");
            let to = SocketAddr::new(me.ip(), next.port.expect("a port"));
            socket.send_to(&out, to).expect("sent");
        }
    }
}

fn play(answer: fn(Method) -> Option<u16>) -> (Show, Result<(), DemoError>) {
    let proxy = StdSocket::bind("127.0.0.1:0").expect("a socket");
    proxy.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    let phones = sockets().expect("sockets");
    let people = addresses(&phones).expect("addresses");
    let mut show = Show::new(phones, proxy.local_addr().expect("an address"), Clock::new()).expect("a show");
    let stop = Arc::new(AtomicBool::new(false));
    let forwarder = thread::spawn({
        let stop = Arc::clone(&stop);
        move || forward(&proxy, people, &stop, answer)
    });
    let outcome = show.relayed();
    stop.store(true, Ordering::Relaxed);
    forwarder.join().expect("the forwarder");
    (show, outcome)
}

/// The phones alone, with anything between them that forwards: the transfer comes about, and every
/// message of it is on the ladder.
#[test]
fn the_show() {
    let (show, outcome) = play(|_| None);
    let picture = ladder::draw(show.crossings(), false);
    outcome.unwrap_or_else(|error| panic!("{error}\n{picture}"));
    println!("{picture}");
    let count = |label: &str| show.crossings().iter().filter(|c| ladder::label(&c.message) == label).count();
    for (label, times) in [
        ("INVITE bob", 2),
        ("INVITE carol", 2),
        ("200 (INVITE)", 4),
        ("ACK", 4),
        ("REFER to carol", 2),
        ("202 (REFER)", 2),
        ("NOTIFY 100", 2),
        ("NOTIFY 200", 2),
        ("200 (NOTIFY)", 4),
        ("BYE", 4),
        ("200 (BYE)", 4),
    ] {
        assert_eq!(count(label), times, "{label}\n{picture}");
    }
    let rows: Vec<&str> = picture.lines().collect();
    assert_eq!(rows.len(), show.crossings().len() + 3);
    assert!(rows.iter().any(|row| row.contains("─ REFER to carol ─")));
}

/// A refusal ends the show with a sentence that says who was refused what.
#[test]
fn a_refused_refer() {
    let (show, outcome) = play(|method| (method == Method::Refer).then_some(603));
    assert_eq!(outcome.expect_err("a refusal").to_string(), "Alice's REFER was answered 603");
    assert!(ladder::draw(show.crossings(), false).contains("603 (REFER)"));
}
