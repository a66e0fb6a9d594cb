//! Notifications of one call, in their order.

use super::share::{Charged, Place};
use super::{Answer, Failure, Outcome, Owner, Request, Urgency, Webhooks};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use url::Url;

/// What is to be told, however often that has to be tried.
pub(in crate::control) trait Notification: Send + Sync + fmt::Debug {
    /// How long to wait before the attempt of this number, from 0; `None`: it is given up.
    fn pause(&self, number: usize) -> Option<Duration>;

    /// Out of whose share it is told.
    fn owner(&self) -> &Owner;

    /// Who is asked in the attempt of this number; `None`: it is given up.
    fn url(&self, number: usize) -> Option<&Url>;

    /// What is sent in it, made at the moment of sending, when so many were sent before: attempts that asked nobody
    /// are not among them. `None`: it is given up.
    fn request(&self, number: usize, sent: usize) -> Option<Request>;

    /// Whether what came of an attempt is worth another one.
    fn is_tried_again(&self, _: &Result<Answer, Failure>) -> bool {
        true
    }

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

    fn owner(&self) -> &Owner {
        &self.request.owner
    }

    fn url(&self, _: usize) -> Option<&Url> {
        Some(&self.request.url)
    }

    fn request(&self, _: usize, _: usize) -> Option<Request> {
        Some(self.request.clone())
    }
}

/// Sends notifications one after the other. What waits is still sent when this is dropped.
#[derive(Clone, Debug)]
pub(in crate::control) struct Lane {
    webhooks: Arc<Webhooks>,
    retry: Retry,
    sender: mpsc::Sender<Waiting>,
}

/// What stands in a lane.
#[derive(Debug)]
enum Waiting {
    /// With the number of its first attempt.
    Notification(Box<dyn Notification>, usize, Place),
    /// Somebody who wants to know when all before are sent.
    Milestone(oneshot::Sender<()>),
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

    /// Waits until all that stand in it now are sent, as far as that is possible.
    pub(in crate::control) async fn flushed(&self) {
        let (reached, milestone) = oneshot::channel();
        if self.sender.send(Waiting::Milestone(reached)).await.is_ok() {
            let _ = milestone.await;
        }
    }

    /// Sends when all before are sent; without room it is dropped and counted.
    pub(in crate::control) fn notify(&self, notification: Box<dyn Notification>) {
        if let Some((number, place)) = self.place(&*notification)
            && self.sender.try_send(Waiting::Notification(notification, number, place)).is_ok()
        {
            return;
        }
        self.webhooks.stats.count(Outcome::Dropped);
        tracing::warn!(event = "webhook.dropped", "too many notifications wait; one was dropped");
    }

    /// Where it can wait: for the first of those whom it asks that has a place left.
    fn place(&self, notification: &dyn Notification) -> Option<(usize, Place)> {
        let mut number = 0;
        loop {
            let charged = Charged::to(notification.owner(), notification.url(number)?);
            match self.webhooks.room.enter(charged) {
                Some(place) => return Some((number, place)),
                None => number = elsewhere(notification, number)?,
            }
        }
    }
}

async fn carry(webhooks: Arc<Webhooks>, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(next) = waiting.recv().await {
        match next {
            Waiting::Notification(notification, number, _place) => {
                let _ = attempts(&webhooks, Urgency::Patient, &*notification, number).await;
            }
            Waiting::Milestone(reached) => {
                let _ = reached.send(());
            }
        }
    }
}

/// The first attempt after this one that asks another server.
fn elsewhere(notification: &dyn Notification, number: usize) -> Option<usize> {
    let charged = |number| Some(Charged::to(notification.owner(), notification.url(number)?));
    let this = charged(number);
    let further = (number + 1..).take_while(|number| notification.pause(*number).is_some());
    further
        .map_while(|number| Some((number, charged(number)?)))
        .find_map(|(number, charged)| (this.as_ref() != Some(&charged)).then_some(number))
}

/// Tries as often as may be, from this attempt on; what came of the last. The URL is not logged: it may hold
/// credentials.
pub(super) async fn attempts(
    webhooks: &Webhooks,
    urgency: Urgency,
    notification: &dyn Notification,
    mut number: usize,
) -> Result<Answer, Failure> {
    let (mut last, mut sent) = (Err(Failure::Unreachable), 0);
    loop {
        let Some(pause) = notification.pause(number) else { return last };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let Some(url) = notification.url(number) else { return last };
        let charged = Charged::to(notification.owner(), url);
        let timeout = notification.timeout().unwrap_or(webhooks.limits.timeout);
        let (turn, by) = match urgency {
            Urgency::Awaited => {
                let by = Instant::now() + timeout;
                (timeout_at(by, webhooks.fetches.take(&charged)).await.ok(), by)
            }
            Urgency::Patient => {
                let turn = match elsewhere(notification, number) {
                    None => webhooks.deliveries.take(&charged).await,
                    // A server that has used up its share for so long does not answer: the next is asked.
                    Some(next) => {
                        match timeout_at(Instant::now() + timeout, webhooks.deliveries.take(&charged)).await {
                            Ok(turn) => turn,
                            Err(_) => {
                                last = webhooks.no_turn();
                                number = next;
                                continue;
                            }
                        }
                    }
                };
                (Some(turn), Instant::now() + timeout)
            }
        };
        // Made when its turn has come: a signature speaks of the time.
        let Some(request) = notification.request(number, sent) else { return last };
        let host = request.url.host_str().unwrap_or("").to_owned();
        last = match turn {
            Some(_turn) => {
                sent += 1;
                webhooks.ask(request, by).await
            }
            None => webhooks.no_turn(),
        };
        match &last {
            Ok(answer) if (200..300).contains(&answer.status) => return last,
            Ok(answer) => {
                let status = answer.status;
                tracing::info!(event = "webhook.refused", host, status, "a notification was refused");
            }
            Err(failure) => log(&host, *failure),
        }
        if !notification.is_tried_again(&last) {
            return last;
        }
        number += 1;
    }
}

fn log(host: &str, failure: Failure) {
    tracing::info!(event = "webhook.failed", host, error = %failure, "a notification was not delivered");
}
