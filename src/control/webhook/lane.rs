//! Notifications of one call, in their order.

use super::{Failure, Outcome, Request, Webhooks};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What is to be told, however often that has to be tried.
pub(in crate::control) trait Notification: Send + Sync + fmt::Debug {
    /// How long to wait before the attempt of this number, from 0; `None`: it is given up.
    fn pause(&self, number: usize) -> Option<Duration>;

    /// What is sent in it, made at the moment of sending; `None`: it is given up.
    fn request(&self, number: usize) -> Option<Request>;

    /// How long an attempt may take; `None`: what all exchanges may.
    fn timeout(&self) -> Option<Duration> {
        None
    }
}

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

/// The same request every time.
#[derive(Debug)]
struct Repeated {
    request: Request,
    retry: Retry,
}

impl Notification for Repeated {
    fn pause(&self, number: usize) -> Option<Duration> {
        match number.checked_sub(1) {
            None => Some(Duration::ZERO),
            Some(pause) => self.retry.pauses.get(pause).copied(),
        }
    }

    fn request(&self, _: usize) -> Option<Request> {
        Some(self.request.clone())
    }
}

/// Sends notifications one after the other. What waits is still sent when this is dropped.
#[derive(Clone, Debug)]
pub(in crate::control) struct Lane {
    webhooks: Arc<Webhooks>,
    retry: Retry,
    sender: mpsc::Sender<Box<dyn Notification>>,
}

impl Lane {
    /// A lane with a task of its own, on the runtime this is called in.
    pub(in crate::control) fn new(webhooks: &Arc<Webhooks>, retry: Retry) -> Lane {
        let (sender, receiver) = mpsc::channel(webhooks.limits.waiting_per_call);
        tokio::spawn(carry(Arc::clone(webhooks), receiver));
        Lane { webhooks: Arc::clone(webhooks), retry, sender }
    }

    /// Sends when all before are sent, as often as the lane's policy says.
    pub(in crate::control) fn post(&self, request: Request) {
        self.notify(Box::new(Repeated { request, retry: self.retry }));
    }

    /// Sends when all before are sent; without room it is dropped and counted.
    pub(in crate::control) fn notify(&self, notification: Box<dyn Notification>) {
        let stats = &self.webhooks.stats;
        if stats.enter(self.webhooks.limits.waiting) {
            match self.sender.try_send(notification) {
                Ok(()) => return,
                Err(_) => stats.leave(),
            }
        }
        stats.count(Outcome::Dropped);
        tracing::warn!(event = "webhook.dropped", "too many notifications wait; one was dropped");
    }
}

async fn carry(webhooks: Arc<Webhooks>, mut waiting: mpsc::Receiver<Box<dyn Notification>>) {
    while let Some(notification) = waiting.recv().await {
        deliver(&webhooks, &*notification).await;
        webhooks.stats.leave();
    }
}

/// Tries as often as may be. The URL is not logged: it may hold credentials.
async fn deliver(webhooks: &Webhooks, notification: &dyn Notification) {
    for number in 0.. {
        let Some(pause) = notification.pause(number) else { return };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        // Its time runs from its turn on, and so does the time that a signature speaks of.
        let Ok(_turn) = webhooks.deliveries.acquire().await else { return };
        let Some(request) = notification.request(number) else { return };
        let host = request.url.host_str().unwrap_or("").to_owned();
        let timeout = notification.timeout().unwrap_or(webhooks.limits.timeout);
        match webhooks.within(timeout, webhooks.exchange.exchange(request)).await {
            Ok(answer) if (200..300).contains(&answer.status) => return,
            Ok(answer) => {
                let status = answer.status;
                tracing::info!(event = "webhook.refused", host, status, "a notification was refused");
            }
            Err(failure) => log(&host, failure),
        }
    }
}

fn log(host: &str, failure: Failure) {
    tracing::info!(event = "webhook.failed", host, error = %failure, "a notification was not delivered");
}
