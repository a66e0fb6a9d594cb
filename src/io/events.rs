//! Events on their way to the record store and to the control plane, which may be slow: a shard never
//! waits for either (law 4).

use super::counters::Counters;
use crate::sip::event::Event;
use crossbeam::channel;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One shard's ends of the queues of events.
///
/// While a queue is full, observation events are dropped and counted; final ones wait here, in
/// order, up to the plan's bound, past which they are lost and counted.
pub(crate) struct EventQueue {
    store: Lane<channel::Sender<Event>>,
    control: Option<Lane<mpsc::Sender<Event>>>,
    room: usize,
    counters: Arc<Counters>,
}

impl EventQueue {
    /// Without `control`, what only the control plane wants is passed over.
    pub(crate) fn new(
        store: channel::Sender<Event>,
        control: Option<mpsc::Sender<Event>>,
        room: usize,
        counters: Arc<Counters>,
    ) -> EventQueue {
        EventQueue { store: Lane::new(store), control: control.map(Lane::new), room, counters }
    }

    /// Changes the bound on waiting events.
    pub(crate) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Passes an event on to the store, or keeps or drops it.
    pub(crate) fn record(&mut self, event: Event) {
        let keep = event.is_final();
        self.store.push(event, keep, self.room, &self.counters);
    }

    /// Passes an event of a call that Baton owns on to both. The store comes first: what control has
    /// been told can then be read.
    pub(crate) fn control(&mut self, event: Event) {
        let Some(control) = &mut self.control else { return self.record(event) };
        if event.is_recorded() {
            self.store.push(event.clone(), event.is_final(), self.room, &self.counters);
        }
        let keep = event.is_awaited();
        control.push(event, keep, self.room, &self.counters);
    }

    /// Passes on what waits, as far as there is room now.
    pub(crate) fn retry(&mut self) {
        self.store.retry(&self.counters);
        if let Some(control) = &mut self.control {
            control.retry(&self.counters);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.store.waiting.is_empty() && self.control.as_ref().is_none_or(|lane| lane.waiting.is_empty())
    }
}

/// One queue, and what waits for room in it.
struct Lane<S> {
    sender: S,
    waiting: VecDeque<Event>,
}

/// A bounded queue's end that never blocks.
trait Offer {
    /// Gives the event back when there is no room or nobody at the other end.
    fn offer(&self, event: Event) -> Result<(), Event>;
}

impl Offer for channel::Sender<Event> {
    fn offer(&self, event: Event) -> Result<(), Event> {
        self.try_send(event).map_err(channel::TrySendError::into_inner)
    }
}

impl Offer for mpsc::Sender<Event> {
    fn offer(&self, event: Event) -> Result<(), Event> {
        self.try_send(event).map_err(mpsc::error::TrySendError::into_inner)
    }
}

impl<S: Offer> Lane<S> {
    fn new(sender: S) -> Lane<S> {
        Lane { sender, waiting: VecDeque::new() }
    }

    /// `keep`: it waits for room, as long as there is any for waiting; else it is dropped.
    fn push(&mut self, event: Event, keep: bool, room: usize, counters: &Counters) {
        let event = if self.waiting.is_empty() {
            match self.sender.offer(event) {
                Ok(()) => return,
                Err(event) => event,
            }
        } else {
            event
        };
        if !keep {
            counters.events_dropped.add(1);
        } else if self.waiting.len() < room {
            self.waiting.push_back(event);
            counters.events_waiting.add(1);
        } else {
            counters.events_lost.add(1);
        }
    }

    fn retry(&mut self, counters: &Counters) {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(event) = self.sender.offer(event) {
                self.waiting.push_front(event);
                return;
            }
            counters.events_waiting.sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::event::{CallChanged, CallSid, CallStarted, CallStatus, Direction, EndedBy};
    use crate::sip::time::Time;

    fn event(n: u128, status: CallStatus) -> Event {
        Event::CallChanged(CallChanged {
            sid: CallSid(n),
            account: "AC".into(),
            started: Time::ZERO,
            at: Time::ZERO,
            status,
            code: 0,
        })
    }

    /// Whoever tells of something never waits for who is told: what is final waits, as far as there is room,
    /// the rest is dropped and counted.
    #[test]
    fn final_events_wait_and_others_are_dropped() {
        let (sender, receiver) = crossbeam::channel::bounded(1);
        let counters = Arc::new(Counters::default());
        let mut queue = EventQueue::new(sender, None, 2, Arc::clone(&counters));
        queue.record(event(1, CallStatus::Ringing));
        queue.record(event(2, CallStatus::Ringing));
        for n in 3..6 {
            queue.record(event(n, CallStatus::Completed));
        }
        assert_eq!(counters.events_dropped.get(), 1);
        assert_eq!(counters.events_waiting.get(), 2);
        assert_eq!(counters.events_lost.get(), 1);
        let mut got = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            got.push(event);
            queue.retry();
        }
        assert_eq!(
            got,
            [event(1, CallStatus::Ringing), event(3, CallStatus::Completed), event(4, CallStatus::Completed)]
        );
        assert!(queue.is_empty());
        assert_eq!(counters.events_waiting.get(), 0);
    }

    /// An event of an owned call reaches both; one that only steers does not reach the store.
    #[test]
    fn owned_calls_are_recorded_and_steered() {
        let (store, recorded) = crossbeam::channel::bounded(8);
        let (control, mut steered) = mpsc::channel(2);
        let counters = Arc::new(Counters::default());
        let mut queue = EventQueue::new(store, Some(control), 2, Arc::clone(&counters));
        queue.record(event(1, CallStatus::Ringing));
        queue.control(event(2, CallStatus::Ringing));
        queue.control(Event::Reply { ticket: 7, result: Ok(()) });
        queue.control(event(3, CallStatus::Ringing));
        queue.control(event(2, CallStatus::Completed));
        let recorded: Vec<Event> = recorded.try_iter().collect();
        assert_eq!(
            recorded,
            [
                event(1, CallStatus::Ringing),
                event(2, CallStatus::Ringing),
                event(3, CallStatus::Ringing),
                event(2, CallStatus::Completed)
            ]
        );
        assert_eq!((counters.events_dropped.get(), counters.events_waiting.get()), (1, 1));
        assert!(!queue.is_empty());
        let mut told = Vec::new();
        while let Ok(event) = steered.try_recv() {
            told.push(event);
            queue.retry();
        }
        assert_eq!(
            told,
            [
                event(2, CallStatus::Ringing),
                Event::Reply { ticket: 7, result: Ok(()) },
                event(2, CallStatus::Completed)
            ]
        );
        assert!(queue.is_empty());
    }

    /// [rcml 1.1] [jambonz 1.3] [telnyx 31] However full the queue to the control plane is, that a call began, was
    /// answered or ended is told there, in order: whoever steers it waits for that. What nobody waits for
    /// is dropped.
    #[test]
    fn what_steering_waits_for_is_never_dropped() {
        let (store, _recorded) = crossbeam::channel::bounded(64);
        let (control, mut steered) = mpsc::channel(1);
        let counters = Arc::new(Counters::default());
        let mut queue = EventQueue::new(store, Some(control), 8, Arc::clone(&counters));
        let started = Event::CallStarted(Arc::new(CallStarted {
            sid: CallSid(2),
            account: "AC".into(),
            at: Time::ZERO,
            from: "a".into(),
            to: "b".into(),
            caller_name: None,
            forwarded_from: None,
            direction: Direction::Inbound,
            call_id: "id".into(),
            parent: None,
            cause: None,
        }));
        let first = event(1, CallStatus::Ringing);
        let awaited = [
            started,
            event(2, CallStatus::InProgress),
            Event::Joined(CallSid(2), CallSid(1)),
            event(2, CallStatus::Completed),
            Event::Ended(CallSid(2), EndedBy::Peer),
        ];
        queue.control(first.clone());
        for event_of_it in &awaited {
            queue.control(event_of_it.clone());
            queue.control(event(2, CallStatus::Ringing));
            queue.control(Event::EarlyMedia(CallSid(2)));
        }
        assert_eq!((counters.events_dropped.get(), counters.events_lost.get()), (10, 0));
        let mut told = Vec::new();
        while let Ok(event) = steered.try_recv() {
            told.push(event);
            queue.retry();
        }
        assert_eq!(told.first(), Some(&first));
        assert_eq!(told[1..], awaited);
        assert!(queue.is_empty());
    }
}
