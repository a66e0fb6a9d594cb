//! Outgoing HTTP under paused time, and the client against a server of its own.

mod black_hole;

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
    request_of("", url)
}

/// A request on this account's behalf.
fn request_of(account: &str, url: &str) -> Request {
    Request::form(Owner::of(account), Method::POST, http_url(url).expect("a URL"), Vec::new())
}

async fn until_idle(webhooks: &Webhooks) {
    while webhooks.waiting() > 0 {
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

/// Answers nobody for half a minute, then everybody at once; keeps what it was asked.
#[derive(Debug)]
struct Outage {
    asked: Arc<Mutex<Vec<String>>>,
    began: tokio::time::Instant,
    /// Whether it is unreachable at once, or takes connections and says nothing.
    gone: bool,
}

impl Exchange for Outage {
    fn exchange(&self, request: Request) -> Boxed<'_, Result<Answer, Failure>> {
        let down = self.began.elapsed() < Duration::from_secs(30);
        self.asked.lock().expect("nobody failed").push(request.url.path().to_owned());
        Box::pin(async move {
            match (down, self.gone) {
                (true, true) => return Err(Failure::Unreachable),
                (true, false) => tokio::time::sleep(Duration::from_secs(86_400)).await,
                (false, _) => {}
            }
            Ok(Answer { status: 200, content_type: None, body: Bytes::new(), url: request.url })
        })
    }
}

/// [restcomm-calls 11.8] [restcomm-calls 11.9] A receiver is down for half a minute, unreachable or
/// silent, and ten calls a second have four events each: every event gets all its attempts, however many
/// wait before it, those of one call stay in their order, and what waits is bounded and seen.
#[tokio::test(start_paused = true)]
async fn an_outage_costs_no_attempt() {
    const PAUSES: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(40)];
    for (gone, retry) in [(true, Retry::NEVER), (false, Retry::NEVER), (true, Retry { pauses: PAUSES })] {
        let asked = Arc::default();
        let options = WebhookLimits::default();
        let outage = Outage { asked: Arc::clone(&asked), began: tokio::time::Instant::now(), gone };
        let webhooks = Webhooks::new(Box::new(outage), options);
        let mut most = 0;
        for call in 0..400 {
            let lane = Lane::new(&webhooks, retry);
            for event in 0..4 {
                lane.post(request(&format!("http://h/{call}/{event}")));
            }
            most = most.max(webhooks.waiting());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        until_idle(&webhooks).await;
        let asked: Vec<String> = asked.lock().expect("nobody failed").clone();
        let mut attempts = 0;
        for call in 0..400 {
            let of_call = |path: &&String| path.starts_with(&format!("/{call}/"));
            let events: Vec<u64> = asked
                .iter()
                .filter(of_call)
                .map(|path| path.rsplit('/').next().and_then(|n| n.parse().ok()).expect("a number"))
                .collect();
            assert!(events.is_sorted(), "{call}: {events:?}");
            let mut once = events.clone();
            once.dedup();
            assert_eq!(once, [0, 1, 2, 3], "{call}");
            attempts += events.len();
            assert!(retry != Retry::NEVER || events.len() == 4, "{call}: {events:?}");
        }
        let stats = webhooks.stats();
        assert_eq!(stats.of(Outcome::Dropped), 0);
        let failed = stats.of(Outcome::Unreachable) + stats.of(Outcome::Timeout);
        assert_eq!(attempts as u64, stats.of(Outcome::Done) + failed);
        assert!(failed > 0 && most <= options.waiting, "{failed} {most}");
        if retry != Retry::NEVER {
            // Half a minute is shorter than the rules' patience: nothing is lost at all.
            assert_eq!(stats.of(Outcome::Done), 1_600);
        }
    }
}

/// More calls at once than notifications are on their way at once, and receivers that say nothing: who
/// has to wait for a turn still has all of its time then.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_no_attempt() {
    let (webhooks, asked) = slow();
    let turns = WebhookLimits::default().deliveries;
    for n in 0..3 * turns {
        let asking = request_of(&format!("AC{n}"), &format!("http://h{n}/never"));
        Lane::new(&webhooks, Retry::NEVER).post(asking);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(webhooks.waiting(), 3 * turns);
    until_idle(&webhooks).await;
    let mut times: Vec<u64> = asked.lock().expect("nobody failed").iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 3 * turns);
    times.dedup();
    assert_eq!(times, [0, 6, 12]);
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

/// [rcml 1.12] An answer has a bound, and a destination has to be allowed: by its address,
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

/// A destination outside that leads inside leads nowhere: every hop is looked at.
#[tokio::test]
async fn a_redirect_leads_nowhere_inside() {
    let (inside, reached) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a free port");
    let outside = format!("http://{}/", listener.local_addr().expect("an address"));
    let sending = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut vec![0; 4_096]).await;
        let answer = format!("HTTP/1.1 302 x\r\nLocation: {inside}/x\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    // For this test, one loopback address is the world outside.
    let client = Client::reaching(&crate::io::DnsOptions::default(), |address| {
        address == std::net::Ipv4Addr::new(127, 0, 0, 2)
    });
    let webhooks = Webhooks::new(Box::new(client), WebhookLimits::default());
    assert_eq!(webhooks.fetch(request(&outside)).await, Err(Failure::Private));
    assert_eq!(webhooks.stats().of(Outcome::Private), 1);
    sending.await.expect("it was asked");
    assert!(!reached.is_finished());
    reached.abort();
}
