//! WebSocket: the request for it, frames as browsers send them and as they should not, and calls of
//! phones that can only be reached by their connection.

use crate::echo::{PATIENCE, Server, go_to, message, server, server_with};
use crate::port::free_port;
use crate::tls::Authority;
use baton::config::load_text;
use baton::io::{IoConfig, Running, StreamOptions, TlsContext, start};
use baton::shard::owner::HashKey;
use baton::shard::{Counters, Input, Place, Shard};
use baton::sip::event::Event;
use baton::sip::flow::Transport;
use crossbeam::channel::Receiver;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

const WS: &[(Transport, &str)] = &[(Transport::Ws, "127.0.0.1:0")];

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A browser's WebSocket over a stream.
fn browser<S: Read + Write>(stream: S, uri: &str) -> WebSocket<S> {
    let mut request = uri.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
    let (socket, response) = tungstenite::client(request, stream).expect("an upgrade");
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    socket
}

fn phone(server: &Server) -> WebSocket<TcpStream> {
    browser(connect(server.addr(0)), "ws://127.0.0.1/")
}

/// The next text message; `None` when the server has closed.
fn text<S: Read + Write>(socket: &mut WebSocket<S>) -> Option<String> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => return None,
            other => panic!("{other:?}"),
        }
    }
}

fn echo(socket: &mut WebSocket<TcpStream>, call_id: &str) {
    let sent = message(call_id, 1, 0);
    socket.send(Message::text(sent.clone())).unwrap();
    assert_eq!(text(socket).as_deref(), Some(&*sent));
}

/// What an HTTP request is answered with, up to the end of the connection.
fn http(server: &Server, request: &str) -> String {
    let mut stream = connect(server.addr(0));
    stream.write_all(request.as_bytes()).unwrap();
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// A client's frame: not the last unless bit 7 of `first` is set, masked by nothing but zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 65_536);
    let mut out = vec![first, 0xfe];
    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// The status with which the server closes.
fn closed(socket: &mut WebSocket<TcpStream>) -> u16 {
    match socket.read().unwrap() {
        Message::Close(Some(CloseFrame { code, .. })) => code.into(),
        other => panic!("{other:?}"),
    }
}

/// [C-062] One SIP message a WebSocket message, text and binary, on whichever shard it belongs.
#[test]
fn messages_cross() {
    let server = server(2, WS);
    let mut phone = phone(&server);
    for n in 0..20 {
        echo(&mut phone, &format!("ws-{n}"));
    }
    let sent = message("large", 1, 60_000);
    phone.send(Message::binary(sent.clone())).unwrap();
    assert_eq!(text(&mut phone), Some(sent));
    // What is no text comes back as it went.
    let mut bytes = message("bytes", 1, 0).into_bytes();
    bytes.extend_from_slice(&[0xff, 0xfe]);
    phone.send(Message::binary(bytes.clone())).unwrap();
    assert_eq!(phone.read().unwrap(), Message::binary(bytes));
}

/// [C-062] [C-063] Who asks wrongly is told what is wrong, and counted.
#[test]
fn a_bad_request_is_refused() {
    let server = server_with(1, WS, |config| {
        let origins = vec!["https://phone.example.com".into()];
        config.streams = StreamOptions { origins, ..StreamOptions::default() };
    });
    let request = |more: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let sip = "Sec-WebSocket-Protocol: sip\r\n";
    for (request, status, says) in [
        (request(""), 400, "subprotocol sip"),
        (request("Sec-WebSocket-Protocol: chat\r\n"), 400, "subprotocol sip"),
        (request(&format!("{sip}Origin: https://evil.example.com\r\n")), 403, "streams.origins"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426, "Upgrade: websocket"),
        (message("plain", 1, 0), 400, "SIP over WebSocket"),
    ] {
        let answer = http(&server, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
        assert!(answer.contains(says), "{request}{answer}");
    }
    assert_eq!(server.count("upgrade_failed"), 5);
    let mut page = connect(server.addr(0));
    page.write_all(request(&format!("{sip}Origin: https://phone.example.com\r\n")).as_bytes()).unwrap();
    let mut status = [0; 12];
    page.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 101");
}

/// [C-214] Who connects and does not ask, or not to the end, is not waited for.
#[test]
fn an_idle_upgrade_times_out() {
    let server = server_with(1, WS, |config| {
        config.streams = StreamOptions { handshake: Duration::from_millis(300), ..StreamOptions::default() };
    });
    assert_eq!(http(&server, ""), "");
    assert_eq!(http(&server, "GET / HTTP/1.1\r\nHost: "), "");
    assert_eq!(server.count("upgrade_failed"), 2);
    assert_eq!(server.count("connections"), 0);
}

/// [C-062] Fragments make one message, whatever comes between them and however they are cut.
#[test]
fn fragments_make_one_message() {
    let server = server(2, WS);
    let mut phone = phone(&server);
    let sent = message("fragments", 1, 300);
    let (one, rest) = sent.as_bytes().split_at(100);
    let (two, three) = rest.split_at(200);
    let stream =
        [frame(0x01, one), frame(0x89, b"still there?"), frame(0x00, two), frame(0x80, three)].concat();
    for part in stream.chunks(7) {
        phone.get_mut().write_all(part).unwrap();
    }
    assert_eq!(phone.read().unwrap(), Message::Pong("still there?".into()));
    assert_eq!(text(&mut phone), Some(sent));
}

/// [C-055] Pings are answered, by frame and as RFC 5626 has them.
#[test]
fn pings_are_answered() {
    let server = server_with(1, WS, |config| {
        config.streams = StreamOptions { websocket_ping: None, ..StreamOptions::default() };
    });
    let mut phone = phone(&server);
    phone.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(phone.read().unwrap(), Message::Pong("are you there".into()));
    phone.send(Message::text("\r\n\r\n")).unwrap();
    assert_eq!(phone.read().unwrap(), Message::text("\r\n"));
}

/// Quiet clients are pinged, and have so long to answer.
fn pinging(pong: Duration) -> Server {
    server_with(1, WS, |config| {
        let websocket_ping = Some(Duration::from_millis(100));
        config.streams = StreamOptions { websocket_ping, pong, ..StreamOptions::default() };
    })
}

/// [C-055] [C-053] Quiet clients are pinged; those that answer stay.
#[test]
fn an_answered_ping_keeps_the_connection() {
    let server = pinging(PATIENCE);
    let mut phone = phone(&server);
    for _ in 0..3 {
        // Answered by the library when it reads on, and not sent again before.
        assert_eq!(phone.read().unwrap(), Message::Ping("".into()));
    }
    echo(&mut phone, "still-there");
    assert_eq!(server.count("stalled"), 0);
}

/// [C-055] [C-053] Those that do not answer are given up, also when they have answered before.
#[test]
fn an_unanswered_ping_ends_the_connection() {
    let server = pinging(Duration::from_millis(300));
    let mut phone = phone(&server);
    // Whether these answers are in time is a matter of timing: if not, it ends the sooner.
    let _ = (0..3).try_for_each(|_| phone.read().map(|_| ()));
    let _ = phone.flush();
    // Nobody reads any more.
    let mut stream = phone.get_ref().try_clone().unwrap();
    rest(&mut stream);
    assert_eq!(server.count("stalled"), 1);
}

/// [C-214] [C-218] What breaks the rules ends its connection, with the status that RFC 6455 has for it.
#[test]
fn frames_that_break_the_rules_end_the_connection() {
    let server = server_with(1, WS, |config| {
        config.streams = StreamOptions { partial: Duration::from_millis(300), ..StreamOptions::default() };
    });
    // A gigabyte is not waited for.
    let mut large = phone(&server);
    large.get_mut().write_all(&[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(closed(&mut large), 1009);
    let mut unmasked = phone(&server);
    unmasked.get_mut().write_all(&[0x81, 1, b'x']).unwrap();
    assert_eq!(closed(&mut unmasked), 1002);
    let mut not_text = phone(&server);
    not_text.get_mut().write_all(&frame(0x81, &[0xff])).unwrap();
    assert_eq!(closed(&mut not_text), 1007);
    assert_eq!(server.count("framing_errors"), 3);
    // One that stops midway.
    let mut slow = phone(&server);
    slow.get_mut().write_all(&frame(0x81, b"OPTIONS sip:a")[..10]).unwrap();
    rest(slow.get_mut());
    let mut half = phone(&server);
    half.get_mut().write_all(&frame(0x01, b"OPTIONS sip:a")).unwrap();
    rest(half.get_mut());
    assert_eq!(server.count("stalled"), 2);
}

/// [C-062] A close is answered, also in the middle of a message, which nobody sees then.
#[test]
fn a_close_is_answered() {
    let server = server(1, WS);
    let mut phone = phone(&server);
    phone.get_mut().write_all(&frame(0x01, message("half", 1, 0).as_bytes())).unwrap();
    phone.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).unwrap();
    assert_eq!(closed(&mut phone), 1001);
    rest(phone.get_mut());
    assert!(matches!(server.next(), (_, Input::Closed { .. })), "no message before it");
    // And one that just goes.
    let mut gone = self::phone(&server);
    gone.get_mut().write_all(&frame(0x81, b"OPTIONS sip:a")[..10]).unwrap();
    drop(gone);
    assert!(matches!(server.next(), (_, Input::Closed { .. })));
    assert_eq!(server.count("connections"), 0);
}

/// [C-064] Baton connects to no browser: what is to go where none is connected fails at once.
#[test]
fn nobody_is_called_by_websocket() {
    let server = server(2, WS);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let order = go_to("ws", nobody.local_addr().unwrap(), "-", "outward");
    let mut phone = phone(&server);
    phone.send(Message::text(order)).unwrap();
    assert!(matches!(server.next(), (_, Input::SendFailed { .. })));
    // But who has come is found by its address, from any shard.
    let address = phone.get_ref().local_addr().unwrap();
    for n in 0..8 {
        let order = go_to("ws", address, "-", &format!("back-{n}"));
        phone.send(Message::text(order.clone())).unwrap();
        assert_eq!(text(&mut phone), Some(order));
    }
}

/// One side of a call: something that sends and takes SIP messages.
trait Party {
    fn send(&mut self, text: String);
    fn receive(&mut self) -> String;

    /// The next message that is no 100.
    fn next(&mut self) -> String {
        loop {
            let text = self.receive();
            if !text.starts_with("SIP/2.0 100") {
                return text;
            }
        }
    }
}

impl<S: Read + Write> Party for WebSocket<S> {
    fn send(&mut self, text: String) {
        WebSocket::send(self, Message::text(text)).unwrap();
    }

    fn receive(&mut self) -> String {
        text(self).expect("a message")
    }
}

/// A socket, whom it sends to, and what it has received: SIP over UDP repeats what is not answered soon enough.
struct Datagrams(UdpSocket, SocketAddr, Vec<String>);

impl Party for Datagrams {
    fn send(&mut self, text: String) {
        self.0.send_to(text.as_bytes(), self.1).unwrap();
    }

    fn receive(&mut self) -> String {
        let mut buffer = [0; 65_536];
        loop {
            let (n, from) = self.0.recv_from(&mut buffer).expect("a datagram");
            let text = std::str::from_utf8(&buffer[..n]).unwrap();
            if !self.2.iter().any(|known| known == text) {
                self.1 = from;
                self.2.push(text.to_owned());
                return text.to_owned();
            }
        }
    }
}

struct Stream(TcpListener, Option<TcpStream>);

impl Party for Stream {
    fn send(&mut self, text: String) {
        self.1.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn receive(&mut self) -> String {
        let stream = self.1.get_or_insert_with(|| {
            let stream = self.0.accept().unwrap().0;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        });
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a message");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length: usize = crate::echo::header(&head, "Content-Length").parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        head + std::str::from_utf8(&body).unwrap()
    }
}

/// A whole server whose trunk `phones` comes by ws and wss, and whose trunk `pbx` is `target`.
fn baton(target: &str, authority: &Authority) -> (Running, Receiver<Event>) {
    let profile = authority.profile("default", &["sip.example"]);
    let [ws, wss, tcp] = [(); 3].map(|()| free_port());
    let text = format!(
        "[[tls_profile]]\nname = \"default\"\ncert = {:?}\nkey = {:?}\n\
         [[listener]]\nname = \"udp\"\nbind = \"udp:127.0.0.1:{tcp}\"\n\
         [[listener]]\nname = \"tcp\"\nbind = \"tcp:127.0.0.1:{tcp}\"\n\
         [[listener]]\nname = \"ws\"\nbind = \"ws:127.0.0.1:{ws}\"\n\
         [[listener]]\nname = \"wss\"\nbind = \"wss:127.0.0.1:{wss}\"\ntls_profile = \"default\"\n\
         [[trunk]]\nname = \"phones\"\ntargets = [\"sip:127.0.0.1:9\"]\n\
         match = {{ source = [\"ws:127.0.0.1\", \"wss:127.0.0.1\"] }}\n\
         [[trunk]]\nname = \"pbx\"\ntargets = [\"{target}\"]\n\
         match = {{ source = [\"udp:127.0.0.1\", \"tcp:127.0.0.1\"] }}\n\
         [[route]]\nfrom = [\"phones\"]\nto = [\"pbx\"]\n",
        profile.certificate, profile.key
    );
    let loaded = load_text("test", &text, Path::new("")).unwrap_or_else(|report| panic!("{report}"));
    let plan = Arc::new(loaded.config.plan(1));
    let (events, received) = crossbeam::channel::unbounded();
    let key = HashKey::new([42; 16]);
    let mut config = IoConfig::new(Arc::clone(&plan), 2, key, events);
    config.tls = Arc::new(TlsContext::load(&[profile]).unwrap());
    let running = start(config, |index| {
        let counters = Arc::new(Counters::new(plan.trunks.len()));
        let place = Place { index, shards: 2, key };
        Shard::new(Arc::clone(&plan), place, [index as u8; 32], [2; 16], counters)
    });
    (running.unwrap(), received)
}

/// The values of a header field, in order.
fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    lines.flat_map(|line| line.split(", ")).collect()
}

fn response(request: &str, status: &str, to_tag: &str, extra: &str) -> String {
    let copied = ["Via", "Record-Route", "From", "Call-ID", "CSeq"];
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().skip(1) {
        let name = line.split(':').next().unwrap();
        if copied.contains(&name) {
            text += &format!("{line}\r\n");
        } else if name == "To" {
            text += &format!("{line}{to_tag}\r\n");
        }
    }
    text + extra + "Content-Length: 0\r\n\r\n"
}

/// A phone with a name that does not exist calls, is answered, and gets the other side's BYE.
fn call(phone: &mut dyn Party, via: &str, callee: &mut dyn Party, contact: &str) -> String {
    // RFC 7118 §8: no Content-Length is needed.
    let request = |method: &str, uri: &str, cseq: u32, more: &str| {
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via} df7jal23ls0d.invalid;branch=z9hG4bKw{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=at\r\nCall-ID: browser-{via}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:alice@df7jal23ls0d.invalid;transport=ws>\r\n{more}\r\n"
        )
    };
    phone.send(request("INVITE", "sip:1000@example.com", 1, "To: <sip:1000@example.com>\r\n"));
    let invite = callee.next();
    assert!(invite.starts_with("INVITE sip:1000@"), "{invite}");
    let from = format!("SIP/2.0/{via} df7jal23ls0d.invalid");
    assert!(values(&invite, "Via")[1].starts_with(&from), "{invite}");
    assert!(values(&invite, "Via")[1].contains(";received=127.0.0.1"), "{invite}");
    let routes = values(&invite, "Record-Route");
    assert_eq!(routes.len(), 2, "{invite}");
    assert!(!routes[0].contains(";f=") && routes[1].contains(";transport=ws;lr;"), "{invite}");
    callee.send(response(&invite, "200 OK", ";tag=bt", &format!("Contact: <{contact}>\r\n")));
    let ok = phone.next();
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");

    let back: Vec<&str> = values(&ok, "Record-Route").into_iter().rev().collect();
    let more = format!("To: <sip:1000@example.com>;tag=bt\r\nRoute: {}\r\n", back.join(", "));
    phone.send(request("ACK", contact, 1, &more));
    let ack = callee.next();
    assert!(ack.starts_with(&format!("ACK {contact} ")), "{ack}");

    let within = |method: &str, cseq: u32| {
        format!(
            "{method} sip:alice@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.0.0.1:5999;branch=z9hG4bKc{method}{cseq};rport\r\n\
             Max-Forwards: 70\r\nRoute: {}\r\nFrom: <sip:1000@example.com>;tag=bt\r\n\
             To: <sip:alice@example.com>;tag=at\r\nCall-ID: browser-{via}\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            routes.join(", ")
        )
    };
    callee.send(within("BYE", 1));
    let bye = phone.next();
    assert!(bye.starts_with("BYE sip:alice@df7jal23ls0d.invalid;transport=ws "), "{bye}");
    assert!(values(&bye, "Via")[0].starts_with(&format!("SIP/2.0/{via} 127.0.0.1:")), "{bye}");
    assert!(values(&bye, "Route").is_empty(), "{bye}");
    phone.send(response(&bye, "200 OK", "", ""));
    let ok = callee.next();
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    within("INFO", 2)
}

/// [C-062] A call of a browser's to a phone on UDP and back; nobody asks who its host is, and when
/// it is gone the other side hears so at once.
#[test]
fn a_browser_calls() {
    let authority = Authority::new("ws-call");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let contact = format!("sip:1000@{}", socket.local_addr().unwrap());
    let (baton, _events) = baton(&format!("sip:{}", socket.local_addr().unwrap()), &authority);
    let mut callee = Datagrams(socket, baton.local_addrs()[0], Vec::new());
    let mut phone = browser(connect(baton.local_addrs()[2]), "ws://127.0.0.1/");
    let info = call(&mut phone, "WS", &mut callee, &contact);
    drop(phone);
    callee.send(info);
    let answer = callee.next();
    assert!(answer.starts_with("SIP/2.0 5") || answer.starts_with("SIP/2.0 4"), "{answer}");
    assert_eq!(baton.counters().iter().map(|c| c.dns_queries.get() + c.dns_refused.get()).sum::<u64>(), 0);
}

/// [C-062] The same over TLS, to a phone on TCP, which needs the Content-Length that it gets.
#[test]
fn a_browser_calls_over_tls() {
    let authority = Authority::new("wss-call");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let contact = format!("sip:1000@{};transport=tcp", listener.local_addr().unwrap());
    let target = format!("sip:{};transport=tcp", listener.local_addr().unwrap());
    let (baton, _events) = baton(&target, &authority);
    let mut callee = Stream(listener, None);
    let name = ServerName::try_from("sip.example").unwrap();
    let session = ClientConnection::new(Arc::new(authority.client(&[])), name).unwrap();
    let stream = StreamOwned::new(session, connect(baton.local_addrs()[3]));
    let mut phone = browser(stream, "wss://sip.example/");
    call(&mut phone, "WSS", &mut callee, &contact);
}
