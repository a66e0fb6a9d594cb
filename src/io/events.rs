//! Events on their way to the control plane, which may be slow: a shard never waits for it (law 4).

use super::counters::Counters;
use crate::sip::event::Event;
use crossbeam::channel::{Sender, TrySendError};
use std::collections::VecDeque;
use std::sync::Arc;

/// One shard's end of the queue of events.
///
/// While the queue is full, observation events are dropped and counted; final ones wait here, in
/// order, up to the plan's bound, past which they are lost and counted.
pub(crate) struct EventQueue {
    sender: Sender<Event>,
    waiting: VecDeque<Event>,
    room: usize,
    counters: Arc<Counters>,
}

impl EventQueue {
    pub(crate) fn new(sender: Sender<Event>, room: usize, counters: Arc<Counters>) -> EventQueue {
        EventQueue { sender, waiting: VecDeque::new(), room, counters }
    }

    /// Changes the bound on waiting events.
    pub(crate) fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Passes an event on, or keeps or drops it.
    pub(crate) fn push(&mut self, event: Event) {
        let event = if self.waiting.is_empty() {
            match self.sender.try_send(event) {
                Ok(()) => return,
                Err(TrySendError::Full(event) | TrySendError::Disconnected(event)) => event,
            }
        } else {
            event
        };
        if !event.is_final() {
            self.counters.events_dropped.add(1);
        } else if self.waiting.len() < self.room {
            self.waiting.push_back(event);
            self.counters.events_waiting.add(1);
        } else {
            self.counters.events_lost.add(1);
        }
    }

    /// Passes on what waits, as far as there is room now.
    pub(crate) fn retry(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(error) = self.sender.try_send(event) {
                self.waiting.push_front(error.into_inner());
                return;
            }
            self.counters.events_waiting.sub(1);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::event::{CallChanged, CallSid, CallStatus};
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

    #[test]
    fn final_events_wait_and_others_are_dropped() {
        let (sender, receiver) = crossbeam::channel::bounded(1);
        let counters = Arc::new(Counters::default());
        let mut queue = EventQueue::new(sender, 2, Arc::clone(&counters));
        queue.push(event(1, CallStatus::Ringing));
        queue.push(event(2, CallStatus::Ringing));
        for n in 3..6 {
            queue.push(event(n, CallStatus::Completed));
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
}
