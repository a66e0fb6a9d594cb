//! Connections in memory, under paused time: what clients do with them, and how they end.

use super::*;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc;

/// Connections that a test opens.
struct Opened(mpsc::Receiver<(DuplexStream, IpAddr)>);

impl Accept for Opened {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, IpAddr)> {
        match self.0.recv().await {
            Some(opened) => Ok(opened),
            None => std::future::pending().await,
        }
    }
}

/// For how long a new connection may have to wait until others have left.
const A_MOMENT: Duration = Duration::from_millis(200);
/// Bytes of an answer that is longer than what the network holds.
const LONG: usize = 300_000;

/// The server, with answers that come at once, later, or when the body is there.
struct Served(mpsc::Sender<(DuplexStream, IpAddr)>, watch::Sender<bool>);

impl Served {
    fn start() -> Served {
        let slowly = |seconds| async move {
            sleep(Duration::from_secs_f64(seconds)).await;
            "done"
        };
        let body = |body: Body| async move {
            match crate::control::body::read(body).await {
                Ok(_) => StatusCode::OK,
                Err(_) => StatusCode::REQUEST_TIMEOUT,
            }
        };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/brief", post(move || slowly(0.01)))
            .route("/slow", post(move || slowly(20.0)))
            .route("/endless", post(move || slowly(86_400.0)))
            .route("/long", get(|| async { "x".repeat(LONG) }))
            .route("/body", post(body));
        let ((opened, listener), (stop, stopping)) = (mpsc::channel(1), watch::channel(false));
        tokio::spawn(run(Opened(listener), router, stopping));
        Served(opened, stop)
    }

    async fn connect(&self) -> Client {
        self.connect_from(0).await
    }

    /// From the client of this number.
    async fn connect_from(&self, client: usize) -> Client {
        let (near, far) = duplex(64 * 1024);
        let [.., high, low] = client.to_be_bytes();
        self.0.send((far, [192, 0, high, low].into())).await.expect("it is served");
        Client(near, Instant::now())
    }

    /// Whether a probe is answered at once, or as soon as somebody who waits for a turn has left for it.
    async fn lives(&self) -> bool {
        let mut client = self.connect_from(60_000).await;
        client.ask("GET /healthz").await;
        client.answer().await.ends_with("ok") && client.1.elapsed() <= A_MOMENT
    }
}

/// One connection, and when it was opened.
struct Client(DuplexStream, Instant);

impl Client {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("it is open");
    }

    async fn ask(&mut self, what: &str) {
        self.say(&format!("{what} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")).await;
    }

    /// One answer, up to its body's end.
    async fn answer(&mut self) -> String {
        let mut text = String::new();
        let length = |text: &str| -> Option<usize> {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            length.parse().ok().filter(|length| body.len() == *length)
        };
        while length(&text).is_none() {
            text.push(char::from(self.0.read_u8().await.expect("an answer")));
        }
        text
    }

    /// All that comes until the connection is closed, and in which second of it that is.
    async fn rest(&mut self) -> (String, u64) {
        let mut text = String::new();
        self.0.read_to_string(&mut text).await.expect("text");
        (text, self.1.elapsed().as_secs())
    }
}

/// [restcomm-calls 6.2] [telnyx 39] A client that keeps its connection, and has a request under way when the
/// connection's time is over, gets the answer and hears that it is the last: it repeats nothing.
#[tokio::test(start_paused = true)]
async fn the_last_request_is_answered() {
    let served = Served::start();
    let mut client = served.connect().await;
    for _ in 0..29 {
        sleep(Duration::from_secs(10)).await;
        client.ask("GET /healthz").await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    sleep(Duration::from_secs(9)).await;
    client.ask("POST /slow").await;
    let (answer, at) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ndone"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(at, 299 + 20);
}

/// An answer that never comes keeps no connection for ever, and a silent one ends when its time is over.
#[tokio::test(start_paused = true)]
async fn no_connection_lasts_for_ever() {
    let served = Served::start();
    let mut client = served.connect().await;
    client.ask("POST /endless").await;
    assert_eq!(client.rest().await, (String::new(), 330));
    let mut client = served.connect().await;
    for _ in 0..30 {
        client.ask("GET /healthz").await;
        client.answer().await;
        sleep(Duration::from_millis(9_999)).await;
    }
    assert_eq!(client.rest().await, (String::new(), 300));
}

/// When the node stops, what is under way is answered, and nothing else is kept.
#[tokio::test(start_paused = true)]
async fn stopping_answers_what_is_under_way() {
    let served = Served::start();
    let (mut silent, mut busy) = (served.connect().await, served.connect().await);
    busy.ask("POST /slow").await;
    sleep(Duration::from_secs(1)).await;
    served.1.send(true).expect("it is served");
    assert_eq!(silent.rest().await, (String::new(), 1));
    let (answer, at) = busy.rest().await;
    assert!(answer.ends_with("\r\n\r\ndone") && at == 20, "{at} {answer}");
}

/// [telnyx 39] Stopping cuts no request under way, however old its connection is; and an answer that never comes does not
/// keep the node from ending.
#[tokio::test(start_paused = true)]
async fn stopping_gives_the_last_answer_its_time() {
    let served = Served::start();
    let mut old = served.connect().await;
    for _ in 0..29 {
        sleep(Duration::from_secs(10)).await;
        old.ask("GET /healthz").await;
        old.answer().await;
    }
    sleep(Duration::from_secs(8)).await;
    let mut young = served.connect().await;
    young.ask("POST /endless").await;
    old.ask("POST /slow").await;
    sleep(Duration::from_secs(1)).await;
    served.1.send(true).expect("it is served");
    let (answer, at) = old.rest().await;
    assert!(answer.ends_with("\r\n\r\ndone") && at == 298 + 20, "{at} {answer}");
    assert_eq!(young.rest().await, (String::new(), 1 + 30));
}

/// An answer that a client still reads is not cut off when its place is needed, and one that it does not read is given
/// up after 15 s.
#[tokio::test(start_paused = true)]
async fn answers_are_written_to_their_end() {
    let served = Served::start();
    let (mut reads, mut stops) = (served.connect_from(1).await, served.connect_from(2).await);
    for client in [&mut reads, &mut stops] {
        client.ask("GET /long").await;
    }
    let mut others = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        others.push(served.connect().await);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(reads.answer().await.ends_with('x'));
    sleep(Duration::from_secs(6)).await;
    let (text, _) = stops.rest().await;
    assert!((1..LONG).contains(&text.len()), "{}", text.len());
}

/// [T-148] Who opens all connections and says nothing, or begins a request and goes no further, shuts nobody
/// out: others are answered at once.
#[tokio::test(start_paused = true)]
async fn silent_connections_shut_nobody_out() {
    for says in ["", "POST /v2/calls HTTP/1.1\r\nHost"] {
        let served = Served::start();
        let mut all = Vec::new();
        // Somebody has work under way, which is not what has to go.
        let mut busy = served.connect().await;
        busy.ask("POST /slow").await;
        for _ in 0..2 * CONNECTIONS {
            let mut silent = served.connect().await;
            silent.say(says).await;
            all.push(silent);
            sleep(Duration::from_millis(3)).await;
        }
        let began = Instant::now();
        let mut client = served.connect().await;
        client.ask("GET /healthz").await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(busy.answer().await.ends_with("done"), "{says}");
    }
}

/// A connection that was kept silently makes place, and hears nothing; one that is being answered stays.
#[tokio::test(start_paused = true)]
async fn the_longest_silent_one_goes() {
    let served = Served::start();
    let mut first = served.connect().await;
    let mut others = Vec::new();
    for _ in 1..CONNECTIONS {
        others.push(served.connect().await);
    }
    sleep(Duration::from_secs(1)).await;
    // It was the first, and is now the last that fell silent.
    first.ask("GET /healthz").await;
    first.answer().await;
    let _more = served.connect().await;
    assert_eq!(others[0].rest().await, (String::new(), 1));
    first.ask("GET /healthz").await;
    assert!(first.answer().await.ends_with("ok"));
}

/// A request whose body does not come, or not before 15 s.
const UNFINISHED: &str = "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1234";

/// [T-148] A client that begins a request on each connection it can have, and sends no body, shuts out nobody but itself:
/// others are answered, a moment later at most.
#[tokio::test(start_paused = true)]
async fn one_client_shuts_nobody_out() {
    let served = Served::start();
    let mut all = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        let mut client = served.connect().await;
        client.say(UNFINISHED).await;
        all.push(client);
        sleep(Duration::from_millis(3)).await;
    }
    assert!(served.lives().await);
    for client in 1..10 {
        let mut client = served.connect_from(client).await;
        client.say(UNFINISHED).await;
        client.say("56789").await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(client.1.elapsed() <= A_MOMENT);
    }
    // Its own requests: those that have their turn are heard, whose place was needed was told so.
    let mut told = Vec::new();
    for client in &mut all {
        let (text, _) = client.rest().await;
        told.push(text.split(' ').nth(1).unwrap_or("").to_owned());
    }
    let count = |status| told.iter().filter(|told| *told == status).count();
    assert!(count("408") >= REQUESTS / 2, "{}", count("408"));
    assert_eq!(count("408") + count("503"), 2 * CONNECTIONS);
}

/// [T-148] With all turns taken, probes are answered at once, however many clients took them; another request has the
/// next turn, or hears after 15 s that there was none.
#[tokio::test(start_paused = true)]
async fn probes_need_no_turn() {
    let served = Served::start();
    let mut busy = Vec::new();
    for client in 0..REQUESTS {
        let mut client = served.connect_from(client).await;
        client.ask("POST /slow").await;
        busy.push(client);
    }
    let mut late = served.connect_from(500).await;
    late.say(UNFINISHED).await;
    sleep(Duration::from_secs(10)).await;
    let mut next = served.connect_from(501).await;
    next.ask("POST /slow").await;
    assert!(served.lives().await);
    // Silent ones take the other places; they can go.
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(served.connect_from(502).await);
        assert!(served.lives().await);
    }
    assert!(late.answer().await.starts_with("HTTP/1.1 503 "));
    for client in busy.iter_mut().chain([&mut next]) {
        assert!(client.answer().await.ends_with("done"));
    }
}

/// Who waits for a turn is not cut off: it has one as soon as another's answer is written.
#[tokio::test(start_paused = true)]
async fn turns_go_on() {
    let served = Served::start();
    let mut all = Vec::new();
    for client in 0..REQUESTS {
        let mut client = served.connect_from(client).await;
        client.ask("POST /slow").await;
        all.push(client);
    }
    sleep(Duration::from_secs(10)).await;
    let mut next = served.connect_from(0).await;
    next.ask("POST /slow").await;
    assert!(next.answer().await.ends_with("done"));
    assert_eq!(next.1.elapsed(), Duration::from_secs(30));
    // One client alone has half of them.
    let served = Served::start();
    let mut all = Vec::new();
    for _ in 0..=REQUESTS / 2 {
        let mut client = served.connect().await;
        client.ask("POST /slow").await;
        all.push(client);
        sleep(Duration::from_millis(100)).await;
    }
    let mut last = all.pop().expect("the last");
    assert!(last.answer().await.ends_with("done"));
    assert_eq!(last.1.elapsed().as_secs(), 20 - 10 + 20);
}

/// More requests at once than there are places, all of one address: nobody is refused what takes no time.
#[tokio::test(start_paused = true)]
async fn a_burst_is_served() {
    let served = Arc::new(Served::start());
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS + 60 {
        let served = Arc::clone(&served);
        all.spawn(async move {
            let mut client = served.connect().await;
            client.ask("POST /brief").await;
            client.answer().await
        });
    }
    while let Some(answer) = all.join_next().await {
        assert!(answer.expect("an answer").ends_with("done"));
    }
}

/// Who begins a request and does not finish its header hears 408 after 15 s; who says nothing is just let go.
#[tokio::test(start_paused = true)]
async fn a_header_has_its_time() {
    let served = Served::start();
    let mut client = served.connect().await;
    client.say("GET /healthz HTTP/1.1\r\nHost: h\r\n").await;
    let (answer, at) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(at, 15);
    // A byte now and then does not help, and neither does a request before.
    let mut client = served.connect().await;
    client.ask("GET /healthz").await;
    client.answer().await;
    for _ in 0..14 {
        client.say("G").await;
        sleep(Duration::from_secs(1)).await;
    }
    let (answer, at) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && at == 15, "{at} {answer}");
    assert_eq!(served.connect().await.rest().await, (String::new(), 15));
}

/// A body that does not come is 408 after 15 s, and the connection is closed: what comes then is no request.
#[tokio::test(start_paused = true)]
async fn a_body_has_its_time() {
    let served = Served::start();
    let mut client = served.connect().await;
    client.say("POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1234").await;
    let (answer, at) = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && at == 15, "{at} {answer}");
}
