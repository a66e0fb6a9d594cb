//! Outgoing HTTP under paused time, and the client against a server of its own.

use super::*;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers after a while, or never; keeps paths with the second they were asked in.
#[derive(Debug)]
struct Slow {
    asked: Arc<Mutex<Vec<(u64, String)>>>,
    began: tokio::time::Instant,
}

impl Exchange for Slow {
    fn exchange(&self, request: Request) -> Boxed<'_, Result<Answer, Failure>> {
        let path = request.url.path().to_owned();
        self.asked.lock().expect("nobody failed").push((self.began.elapsed().as_secs(), path.clone()));
        Box::pin(async move {
            let (seconds, status) = match path.as_str() {
                "/never" => (86_400, 200),
                "/refused" => (0, 500),
                _ => (1, 200),
            };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(Answer { status, content_type: None, body: Bytes::new(), url: request.url })
        })
    }
}

type Asked = Arc<Mutex<Vec<(u64, String)>>>;

fn slow() -> (Arc<Webhooks>, Asked) {
    let asked = Asked::default();
    let exchange = Slow { asked: Arc::clone(&asked), began: tokio::time::Instant::now() };
    (Webhooks::new(Box::new(exchange), WebhookLimits::default()), asked)
}

fn request(url: &str) -> Request {
    Request::form(Method::POST, http_url(url).expect("a URL"), Vec::new())
}

async fn until_idle(webhooks: &Webhooks) {
    while webhooks.stats().waiting() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// [restcomm-calls 30] [restcomm-calls 11.8] [restcomm-calls 11.9] One after the other, one attempt
/// each; who does not answer is given up after six seconds, and holds up nobody else's.
#[tokio::test(start_paused = true)]
async fn notifications_keep_their_order() {
    let (webhooks, asked) = slow();
    let (one, other) = (Lane::new(&webhooks, Retry::NEVER), Lane::new(&webhooks, Retry::NEVER));
    for path in ["a", "never", "refused", "b"] {
        one.post(request(&format!("http://h/{path}")));
    }
    other.post(request("http://h/c"));
    until_idle(&webhooks).await;
    let mut asked = asked.lock().expect("nobody failed").clone();
    asked.sort();
    let expected = [(0, "/a"), (0, "/c"), (1, "/never"), (7, "/b"), (7, "/refused")];
    assert_eq!(asked, expected.map(|(at, path)| (at, path.to_owned())));
    let stats = webhooks.stats();
    let counts = [Outcome::Done, Outcome::Refused, Outcome::Timeout].map(|outcome| stats.of(outcome));
    assert_eq!(counts, [3, 1, 1]);
}

/// A policy may try again, after its pauses.
#[tokio::test(start_paused = true)]
async fn retries_follow_their_policy() {
    const PAUSES: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(4)];
    let (webhooks, asked) = slow();
    Lane::new(&webhooks, Retry { pauses: PAUSES }).post(request("http://h/refused"));
    until_idle(&webhooks).await;
    let times: Vec<u64> = asked.lock().expect("nobody failed").iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 1, 5]);
}

/// What is too much for a lane is dropped and counted; what was taken is sent although nobody holds it.
#[tokio::test(start_paused = true)]
async fn a_full_lane_drops() {
    let (webhooks, asked) = slow();
    let lane = Lane::new(&webhooks, Retry::NEVER);
    for _ in 0..100 {
        lane.post(request("http://h/x"));
    }
    drop(lane);
    until_idle(&webhooks).await;
    let sent = asked.lock().expect("nobody failed").len() as u64;
    assert_eq!(sent + webhooks.stats().of(Outcome::Dropped), 100);
    assert!((60..70).contains(&sent), "{sent}");
}

/// What a URL has to be.
#[test]
fn urls_are_absolute() {
    for right in ["http://h", "https://u:p@h:1/x?y#z", " HTTP://h/ "] {
        assert!(http_url(right).is_some(), "{right}");
    }
    for wrong in ["", "/x", "h/x", "ftp://h", "http://", "http:///x", "mailto:a@b", "file:///etc/passwd"] {
        assert!(http_url(wrong).is_none(), "{wrong}");
    }
    assert_eq!(http_method("get"), Some(Method::GET));
    assert_eq!(http_method("PUT"), None);
}

async fn server(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 4_096];
        let read = stream.read(&mut request).await.expect("a request");
        request.truncate(read);
        stream.write_all(answer).await.expect("it is read");
        String::from_utf8(request).expect("it is text")
    });
    (format!("http://{address}"), serving)
}

fn client(allow_private: bool) -> Client {
    Client::new(&ClientOptions { allow_private, ..ClientOptions::default() })
}

/// [rcml 12] [rcml 1.12] An answer has a bound, and a destination has to be allowed: by its address,
/// whatever it is called.
#[tokio::test]
async fn the_client_has_bounds() {
    let long: &'static [u8] =
        Box::leak([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1_100_000]].concat().into_boxed_slice());
    let (url, serving) = server(long).await;
    let asked = Request { method: Method::GET, ..request(&format!("{url}/x?a=1#f")) };
    let asked = Request { content: Content::Form(vec![("b c".into(), "d&e*".into())]), ..asked };
    assert_eq!(client(true).exchange(asked).await, Err(Failure::TooLong));
    serving.abort();
    let (url, serving) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for inside in [url.clone(), url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "[::1]")] {
        assert_eq!(client(false).exchange(request(&inside)).await, Err(Failure::Private), "{inside}");
    }
    let asked = Request {
        content: Content::Form(vec![("b c".into(), "d&e*\u{e9}".into())]),
        ..request(&format!("{url}/x"))
    };
    assert_eq!(client(true).exchange(asked).await.map(|answer| answer.status), Ok(200));
    let text = serving.await.expect("it was asked");
    assert!(text.starts_with("POST /x HTTP/1.1\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nb+c=d%26e*%C3%A9"), "{text}");
}
