//! Status callbacks of a call (Calls API, section 11): each event once, in order, one attempt each.

use super::Source;
use super::parameters::{Facts, pair, rfc2822};
use crate::control::engine::Engine;
use crate::control::webhook::{Lane, Owner, Request, Retry};
use crate::sip::event::CallStatus;
use crate::sip::time::Time;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control::face) enum Kind {
    /// Dialling begins.
    Initiated,
    /// It rings.
    Ringing,
    /// It is answered.
    Answered,
    /// It has ended, however.
    Completed,
}

impl Kind {
    /// The event of that name.
    fn from_text(text: &str) -> Option<Kind> {
        match text {
            "initiated" => Some(Kind::Initiated),
            "ringing" => Some(Kind::Ringing),
            "answered" => Some(Kind::Answered),
            "completed" => Some(Kind::Completed),
            _ => None,
        }
    }

    /// The events that a list names, parted by commas or blanks, the end only when none is named; and
    /// whether it knows a word that is none.
    pub(in crate::control::face) fn list(text: &str) -> (Vec<Kind>, bool) {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        let read: Vec<Option<Kind>> = words.map(Kind::from_text).collect();
        let unknown = read.contains(&None);
        let kinds: Vec<Kind> = read.into_iter().flatten().collect();
        (if kinds.is_empty() { vec![Kind::Completed] } else { kinds }, unknown)
    }

    /// What a new status means.
    fn of(status: CallStatus) -> Option<Kind> {
        match status {
            CallStatus::Queued => None,
            CallStatus::Ringing => Some(Kind::Ringing),
            CallStatus::InProgress => Some(Kind::Answered),
            CallStatus::Completed
            | CallStatus::Busy
            | CallStatus::NoAnswer
            | CallStatus::Canceled
            | CallStatus::Failed => Some(Kind::Completed),
        }
    }
}

/// Who is told what of a call.
#[derive(Debug)]
pub(in crate::control::face) struct Callback {
    lane: Lane,
    source: Source,
    /// By [`Kind`]: asked for, and not yet told.
    open: [bool; 4],
    /// Who is told of the end in place of `source`.
    at_end: Option<Source>,
    sequence: u32,
}

impl Callback {
    /// To be made on the runtime.
    pub(in crate::control::face) fn new(engine: &Engine, source: Source, kinds: &[Kind]) -> Callback {
        let mut open = [false; 4];
        for kind in kinds {
            open.iter_mut().skip(*kind as usize).take(1).for_each(|open| *open = true);
        }
        Callback { lane: Lane::new(&engine.webhooks, Retry::NEVER), source, open, at_end: None, sequence: 0 }
    }

    /// The end only.
    pub(super) fn at_end(engine: &Engine, source: Source) -> Callback {
        Callback::new(engine, source, &[Kind::Completed])
    }

    /// Somebody else is told of the end (Calls API, 11.10).
    pub(super) fn replace_end(&mut self, source: Source) {
        self.open[Kind::Completed as usize] = true;
        self.at_end = Some(source);
    }

    /// The call has reached a status.
    pub(super) fn reached(&mut self, call: &Facts, now: Time) {
        if let Some(kind) = Kind::of(call.record.status) {
            self.tell(kind, call, now);
        }
    }

    /// Tells, if it was asked for and is news.
    pub(super) fn tell(&mut self, kind: Kind, call: &Facts, now: Time) {
        let Some(open) = self.open.get_mut(kind as usize) else { return };
        if !std::mem::take(open) {
            return;
        }
        let mut more = Vec::new();
        if kind == Kind::Completed {
            more.push(pair("CallDuration", call.record.duration.unwrap_or(0).to_string()));
        }
        more.extend([
            pair("Timestamp", rfc2822(now)),
            pair("CallbackSource", "call-progress-events"),
            pair("SequenceNumber", self.sequence.to_string()),
        ]);
        if let Some(parent) = call.record.parent {
            more.push(pair("ParentCallSid", crate::record::call_sid_text(call.record.node, parent)));
        }
        self.sequence += 1;
        let source = match (kind, self.at_end.take()) {
            (Kind::Completed, Some(source)) => source,
            (_, at_end) => {
                self.at_end = at_end;
                self.source.clone()
            }
        };
        let owner = Owner::of(&call.record.account);
        self.lane.post(Request::form(owner, source.method, source.url, call.callback(more)));
    }
}
