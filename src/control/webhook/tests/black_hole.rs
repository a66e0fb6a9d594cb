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
struct Hook(Owner, Url);

impl Notification for Hook {
    fn pause(&self, number: usize) -> Option<Duration> {
        (number == 0).then_some(Duration::ZERO)
    }

    fn owner(&self) -> &Owner {
        &self.0
    }

    fn url(&self, _: usize) -> Option<&Url> {
        Some(&self.1)
    }

    fn request(&self, _: usize, _: usize) -> Option<Request> {
        Some(Request::form(self.0.clone(), Method::POST, self.1.clone(), Vec::new()))
    }

    fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

fn hook(url: &str) -> Hook {
    Hook(Owner::default(), http_url(url).expect("a URL"))
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
    assert_eq!(webhooks.known(), 0);
}

/// [T-069] As long as nobody else asks, one server may have half of the turns; several dead ones leave some, too, to other
/// accounts' and to the same one's.
#[tokio::test(start_paused = true)]
async fn several_dead_servers_leave_turns() {
    for (servers, accounts, sound) in [(8, 8, 8), (8, 2, 2), (5, 1, 1), (5, 1, 0)] {
        let (webhooks, asked) = slow();
        for server in 0..servers {
            for _ in 0..webhooks.limits.fetches {
                let webhooks = Arc::clone(&webhooks);
                let asking =
                    request_of(&format!("{}", server % accounts), &format!("http://dead-{server}/never"));
                tokio::spawn(async move { webhooks.fetch(asking).await });
            }
            sleep(Duration::from_millis(1)).await;
            if server == 0 {
                assert_eq!(asked.lock().expect("nobody failed").len(), webhooks.limits.fetches / 2);
            }
        }
        let answered = taking(webhooks.fetch(request_of(&format!("{sound}"), "http://sound/x"))).await;
        assert_eq!(answered, (Ok(200), Duration::from_secs(1)), "{servers} {accounts} {sound}");
    }
}

/// [T-069] [telnyx 29] One account has 400 calls a second, and a name of its own for each server that says nothing: other ports,
/// a dot at the end, other hosts. Another account's documents and hooks are had in the second that its server takes, its
/// events are told, and a name that many use is nobody's to take away.
#[tokio::test(start_paused = true)]
async fn many_names_are_one_account() {
    let (webhooks, asked) = slow();
    let dead = {
        let webhooks = Arc::clone(&webhooks);
        tokio::spawn(async move {
            let mut calls = JoinSet::new();
            let began = Instant::now();
            let mut number = 0;
            while began.elapsed() < OUTAGE {
                number = number % 60_000 + 1;
                let names =
                    ["dead".to_owned(), "dead.".to_owned(), format!("dead-{number}"), "sound".to_owned()];
                let name = &names[number % names.len()];
                let url = format!("http://{name}:{number}/never");
                let (one, other) = (Arc::clone(&webhooks), Arc::clone(&webhooks));
                let asking = request_of("AC1", &url);
                let hook = Hook(Owner::of("AC1"), asking.url.clone());
                calls.spawn({
                    let asking = asking.clone();
                    async move { taking(one.fetch(asking)).await }
                });
                calls.spawn(async move { taking(other.persist(&hook)).await });
                let lane = Lane::new(&webhooks, Retry::NEVER);
                for _ in 0..4 {
                    lane.post(asking.clone());
                }
                sleep(OFTEN / 2).await;
            }
            calls.join_all().await
        })
    };
    let second = Duration::from_secs(1);
    let mut told = 0;
    while !dead.is_finished() {
        let (one, hook) = (request_of("AC2", "http://sound/x"), hook("http://sound/y"));
        for answered in [taking(webhooks.fetch(one)).await, taking(webhooks.persist(&hook)).await] {
            assert_eq!(answered, (Ok(200), second));
        }
        Lane::new(&webhooks, Retry::NEVER).post(request_of("AC2", "http://sound/event"));
        told += 1;
    }
    sleep(2 * second).await;
    let events = asked.lock().expect("nobody failed").iter().filter(|(_, path)| path == "/event").count();
    assert_eq!(events, told);
    assert!(webhooks.stats().of(Outcome::Dropped) > 0);
    dead.await.expect("it came to its end");
    until_idle(&webhooks).await;
    assert_eq!(webhooks.known(), 0);
}

/// [T-069] One account's calls that all ask one server may have half of the turns, and a second server of the same
/// account still has some beside it.
#[tokio::test(start_paused = true)]
async fn an_account_alone_has_its_turns() {
    let (webhooks, _) = slow();
    let ask = |url: &'static str| {
        for _ in 0..webhooks.limits.fetches {
            let webhooks = Arc::clone(&webhooks);
            tokio::spawn(async move { webhooks.fetch(request_of("AC1", url)).await });
        }
        sleep(Duration::from_millis(1))
    };
    ask("http://dead/never").await;
    let all = webhooks.limits.fetches;
    assert_eq!(webhooks.on_their_way().0, all / 2);
    let answered = taking(webhooks.fetch(request_of("AC1", "http://sound/x"))).await;
    assert_eq!(answered, (Ok(200), Duration::from_secs(1)));
    for name in ["http://dead-1/never", "http://dead-2/never", "http://dead-3/never", "http://dead-4/never"] {
        ask(name).await;
    }
    assert!(webhooks.on_their_way().0 <= all * 3 / 4, "{}", webhooks.on_their_way().0);
}

/// [T-069] Two accounts have one provider, which is slow: what one of them has waiting there takes no document, hook
/// or event of the other's.
#[tokio::test(start_paused = true)]
async fn accounts_at_one_server_have_a_share_each() {
    let (webhooks, asked) = slow();
    let all = webhooks.limits.waiting;
    for _ in 0..all {
        let (webhooks, asking) = (Arc::clone(&webhooks), request_of("AC1", "http://provider/never"));
        Lane::new(&webhooks, Retry::NEVER).post(asking.clone());
        tokio::spawn(async move { webhooks.fetch(asking).await });
    }
    sleep(Duration::from_millis(1)).await;
    assert!(webhooks.stats().of(Outcome::Dropped) > 0);
    let second = Duration::from_secs(1);
    let events = all / 16;
    for event in 0..events {
        let asking = request_of("AC2", &format!("http://provider/{event}"));
        Lane::new(&webhooks, Retry::NEVER).post(asking);
    }
    let hook = Hook(Owner::of("AC2"), http_url("http://provider/x").expect("a URL"));
    let document = request_of("AC2", "http://provider/x");
    for answered in [taking(webhooks.fetch(document)).await, taking(webhooks.persist(&hook)).await] {
        assert_eq!(answered, (Ok(200), second));
    }
    until_idle(&webhooks).await;
    let asked = asked.lock().expect("nobody failed").clone();
    let told = |event| asked.iter().filter(|(_, path)| *path == format!("/{event}")).count();
    assert!((0..events).all(|event| told(event) == 1));
    assert_eq!(webhooks.known(), 0);
}

/// An event that is told by one of two, as Telnyx' are: three attempts at each. The second's path ends in the attempt's
/// number.
#[derive(Debug)]
struct Either(Owner, [Url; 2]);

impl Notification for Either {
    fn pause(&self, number: usize) -> Option<Duration> {
        (number < 6).then(|| Duration::from_secs([0, 1, 3][number % 3]))
    }

    fn owner(&self) -> &Owner {
        &self.0
    }

    fn url(&self, number: usize) -> Option<&Url> {
        self.1.get(number / 3)
    }

    fn request(&self, number: usize, sent: usize) -> Option<Request> {
        let mut url = self.url(number)?.clone();
        if number >= 3 {
            url.set_path(&format!("{}/{}", url.path(), sent + 1));
        }
        Some(Request::form(self.0.clone(), Method::POST, url, Vec::new()))
    }

    fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(5))
    }
}

/// [telnyx 3.4] [telnyx 28] Of an application whose first URL takes connections and says nothing, 25 calls a second have four
/// events each: all of them are told at the second URL, none is dropped.
#[tokio::test(start_paused = true)]
async fn events_go_where_somebody_answers() {
    let (webhooks, asked) = slow();
    let began = Instant::now();
    let mut calls = 0;
    while began.elapsed() < 4 * OUTAGE {
        let lane = Lane::new(&webhooks, Retry::NEVER);
        for event in 0..4 {
            let urls = ["http://dead/never".to_owned(), format!("http://sound/{calls}/{event}")];
            let urls = urls.map(|url| http_url(&url).expect("a URL"));
            lane.notify(Box::new(Either(Owner::of("AC1"), urls)));
        }
        calls += 1;
        sleep(8 * OFTEN).await;
    }
    until_idle(&webhooks).await;
    assert_eq!(webhooks.stats().of(Outcome::Dropped), 0);
    let asked = asked.lock().expect("nobody failed").clone();
    let mut told: Vec<&String> =
        asked.iter().map(|(_, path)| path).filter(|path| *path != "/never").collect();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 4 * calls);
    // Those for which the first had no room, or no turn, were never told before.
    let passed_over = told.iter().filter(|path| path.ends_with("/1")).count();
    let tried = told.iter().filter(|path| path.ends_with("/4")).count();
    assert!(passed_over > 0 && tried > 0 && passed_over + tried <= told.len());
    assert_eq!(webhooks.known(), 0);
}

/// [telnyx 3.4] A first URL that answers keeps its events, however many come at once.
#[tokio::test(start_paused = true)]
async fn a_crowd_is_no_outage() {
    let (webhooks, asked) = slow();
    for _ in 0..2 * webhooks.limits.deliveries {
        let urls = ["http://sound/first", "http://other/second"].map(|url| http_url(url).expect("a URL"));
        Lane::new(&webhooks, Retry::NEVER).notify(Box::new(Either(Owner::of("AC1"), urls)));
    }
    until_idle(&webhooks).await;
    let asked = asked.lock().expect("nobody failed").clone();
    assert!(asked.iter().all(|(_, path)| path == "/first") && asked.len() == 2 * webhooks.limits.deliveries);
}
