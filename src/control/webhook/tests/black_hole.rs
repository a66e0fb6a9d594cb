//! One application's server takes connections and says nothing; what others ask goes on as if it were not there.

use super::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long the dead server is asked for.
const OUTAGE: Duration = Duration::from_secs(60);
/// Between two of its calls: more than its turns would ever be enough for.
const OFTEN: Duration = Duration::from_millis(5);

/// A hook, as jambonz' are: the call waits for it.
#[derive(Debug)]
struct Hook(Url);

impl Notification for Hook {
    fn pause(&self, number: usize) -> Option<Duration> {
        (number == 0).then_some(Duration::ZERO)
    }

    fn url(&self, _: usize) -> Option<&Url> {
        Some(&self.0)
    }

    fn request(&self, _: usize) -> Option<Request> {
        Some(Request::form(Method::POST, self.0.clone(), Vec::new()))
    }

    fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

fn hook(url: &str) -> Hook {
    Hook(http_url(url).expect("a URL"))
}

/// What is asked, and how long it took.
async fn taking(asked: impl Future<Output = Result<Answer, Failure>>) -> (Result<u16, Failure>, Duration) {
    let began = Instant::now();
    let result = asked.await;
    (result.map(|answer| answer.status), began.elapsed())
}

/// [T-069] [telnyx 29] [jambonz 2.7] [jambonz 23] 200 calls a second whose documents, hooks and events are a dead server's; every
/// second, others' documents and hooks are had in the second that their server takes, and their events are told.
#[tokio::test(start_paused = true)]
async fn a_dead_server_takes_its_share_and_no_more() {
    let (webhooks, asked) = slow();
    let dead = {
        let webhooks = Arc::clone(&webhooks);
        tokio::spawn(async move {
            let mut calls = JoinSet::new();
            let began = Instant::now();
            while began.elapsed() < OUTAGE {
                let (one, other) = (Arc::clone(&webhooks), Arc::clone(&webhooks));
                calls.spawn(async move { taking(one.fetch(request("http://dead/never"))).await });
                calls.spawn(async move { taking(other.persist(&hook("http://dead:80/never"))).await });
                let lane = Lane::new(&webhooks, Retry::NEVER);
                for _ in 0..4 {
                    lane.post(request("http://dead/never"));
                }
                sleep(OFTEN).await;
            }
            calls.join_all().await
        })
    };
    let second = Duration::from_secs(1);
    let mut told = 0;
    while !dead.is_finished() {
        let (one, other) = (request("http://sound/x"), hook("http://sound/y"));
        for answered in [taking(webhooks.fetch(one)).await, taking(webhooks.persist(&other)).await] {
            assert_eq!(answered, (Ok(200), second));
        }
        Lane::new(&webhooks, Retry::NEVER).post(request("http://sound/event"));
        told += 1;
    }
    sleep(2 * second).await;
    let events = asked.lock().expect("nobody failed").iter().filter(|(_, path)| path == "/event").count();
    assert_eq!(events, told);
    // What could not have a turn had its failure in time, and is counted, as what had no room to wait is.
    let (longest, timeout) = (Duration::from_secs(10), Err(Failure::Timeout));
    for (result, took) in dead.await.expect("it came to its end") {
        assert!(result == timeout && took <= longest, "{result:?} {took:?}");
    }
    let stats = webhooks.stats();
    assert!(stats.of(Outcome::NoTurn) > 0 && stats.of(Outcome::Dropped) > 0);
    assert!(webhooks.stats().of(Outcome::Done) >= 3 * told as u64);
    until_idle(&webhooks).await;
    assert_eq!(webhooks.servers(), 0);
}

/// [T-069] As long as nobody else asks, one server may have half of the turns; several dead ones leave some, too.
#[tokio::test(start_paused = true)]
async fn several_dead_servers_leave_turns() {
    let (webhooks, asked) = slow();
    for server in 0..8 {
        for _ in 0..webhooks.limits.fetches {
            let webhooks = Arc::clone(&webhooks);
            let url = format!("http://dead-{server}/never");
            tokio::spawn(async move { webhooks.fetch(request(&url)).await });
        }
        sleep(Duration::from_millis(1)).await;
        if server == 0 {
            assert_eq!(asked.lock().expect("nobody failed").len(), webhooks.limits.fetches / 2);
        }
    }
    let answered = taking(webhooks.fetch(request("http://sound/x"))).await;
    assert_eq!(answered, (Ok(200), Duration::from_secs(1)));
}
