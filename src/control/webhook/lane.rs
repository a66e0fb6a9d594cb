//! Notifications of one call, in their order.

use super::{Failure, Outcome, Request, WAITING, Webhooks};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Notifications of one call that may wait.
const LANE: usize = 64;

/// How often a notification is tried, and how long it waits between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) struct Retry {
    /// Waits before the second, third, … attempt.
    pub(in crate::control) pauses: &'static [Duration],
}

impl Retry {
    /// One attempt (Calls API, 11.8).
    pub(in crate::control) const NEVER: Retry = Retry { pauses: &[] };
}

/// Sends notifications one after the other. What waits is still sent when this is dropped.
#[derive(Clone, Debug)]
pub(in crate::control) struct Lane {
    webhooks: Arc<Webhooks>,
    sender: mpsc::Sender<Request>,
}

impl Lane {
    /// A lane with a task of its own, on the runtime this is called in.
    pub(in crate::control) fn new(webhooks: &Arc<Webhooks>, retry: Retry) -> Lane {
        let (sender, receiver) = mpsc::channel(LANE);
        tokio::spawn(carry(Arc::clone(webhooks), retry, receiver));
        Lane { webhooks: Arc::clone(webhooks), sender }
    }

    /// Sends when all before are sent; without room it is dropped and counted.
    pub(in crate::control) fn post(&self, request: Request) {
        let stats = &self.webhooks.stats;
        if stats.enter(WAITING) {
            match self.sender.try_send(request) {
                Ok(()) => return,
                Err(_) => stats.leave(),
            }
        }
        stats.count(Outcome::Dropped);
        tracing::warn!(event = "webhook.dropped", "too many notifications wait; one was dropped");
    }
}

async fn carry(webhooks: Arc<Webhooks>, retry: Retry, mut waiting: mpsc::Receiver<Request>) {
    while let Some(request) = waiting.recv().await {
        deliver(&webhooks, retry, request).await;
        webhooks.stats.leave();
    }
}

/// Tries as often as may be. The URL is not logged: it may hold credentials.
async fn deliver(webhooks: &Webhooks, retry: Retry, request: Request) {
    let host = request.url.host_str().unwrap_or("").to_owned();
    let mut pauses = retry.pauses.iter();
    loop {
        match webhooks.within(&webhooks.deliveries, request.clone()).await {
            Ok(answer) if (200..300).contains(&answer.status) => return,
            Ok(answer) => {
                let status = answer.status;
                tracing::info!(event = "webhook.refused", host, status, "a notification was refused");
            }
            Err(failure) => log(&host, failure),
        }
        match pauses.next() {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => return,
        }
    }
}

fn log(host: &str, failure: Failure) {
    tracing::info!(event = "webhook.failed", host, error = %failure, "a notification was not delivered");
}
