//! A REFER that a peer sent in an application's call (rcml section 7).
//!
//! The application performs it: its refer document runs on the leg of the party to be moved, and what
//! comes of that document's first Dial is reported to the peer. The peer's leg is ended then.

use super::driver::Driver;
use super::parameters::{Form, pair};
use super::{Change, Program};
use crate::control::engine::Engine;
use crate::record::CallRecord;
use crate::sip::command::{Action, Decision, Order};
use crate::sip::event::{CallSid, CallStatus, Direction, ReferAsked, ReferSid};
use crate::sip::message::uri::Uri;
use std::sync::Arc;

/// What a document's requests tell of a transfer, and whom its outcome is reported to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    /// ReferTarget, Transferor, Transferee.
    pub(super) form: Form,
    pub(super) report: Report,
}

/// Whom the outcome is reported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    refer: ReferSid,
    /// The leg of the party that asked.
    transferor: CallSid,
}

impl Report {
    /// The final code; the transferor's leg has done its part then.
    pub(super) fn done(self, engine: &Engine, code: u16) {
        let orders = engine.live.orders();
        orders.tell(Order::DecideRefer(self.refer, self.transferor, Decision::Report(code)));
        orders.tell(Order::Leg(self.transferor, Action::Hangup { status: None, reason: None }));
    }
}

impl Driver {
    /// A peer asks for a transfer: of this call's own party, or of the one it talks to.
    pub(super) fn asked(&mut self, asked: &ReferAsked) {
        let own = self.sid();
        let theirs = asked.other != Some(own) || self.engine.helm.is_steered(asked.call);
        let ours = self.line.steers() && (asked.call == own || !theirs);
        let Some(source) = self.refer_source.clone().filter(|_| ours) else { return };
        let decide = |decision| Order::DecideRefer(asked.sid, asked.call, decision);
        let orders = self.engine.live.orders();
        let legs = asked.other.and_then(|other| {
            let (call, other) = (self.engine.live.call(asked.call)?, self.engine.live.call(other)?);
            (call.record.status == CallStatus::InProgress).then_some((call.record, other.record))
        });
        let Some((transferor, transferee)) = legs else {
            return orders.tell(decide(Decision::Reject(404)));
        };
        // An attended transfer is the engine's business (rcml 7.4).
        if asked.replaces {
            return orders.tell(decide(Decision::Accept));
        }
        orders.tell(decide(Decision::Take));
        orders.tell(Order::Leg(asked.call, Action::Part));
        let transfer = Transfer {
            form: vec![
                pair("ReferTarget", user(&asked.to)),
                pair("Transferor", party(&transferor)),
                pair("Transferee", party(&transferee)),
            ],
            report: Report { refer: asked.sid, transferor: asked.call },
        };
        let program = Program { first: source, fallback: None };
        let change = Change { program: Some(program), transfer: Some(transfer), ..Change::default() };
        if asked.call == own {
            // This call's document is over; it waits for its end.
            self.replace(Change::default());
            self.engine.live.release(transferee.sid, own);
            move_to(&self.engine, transferee.sid, change);
        } else {
            self.replace(change);
        }
    }

    /// A Dial of this call has come to something.
    pub(super) fn report_dial(&mut self, status: CallStatus, code: u16) {
        let Some(report) = self.report.take() else { return };
        let answered = status == CallStatus::Completed;
        let code = match code {
            _ if answered => 200,
            300.. => code,
            _ => failed(status),
        };
        report.done(&self.engine, code);
    }

    /// The document has ended without a Dial, or the party to be moved has left.
    pub(super) fn report_none(&mut self) {
        if let Some(report) = self.report.take() {
            report.done(&self.engine, if self.ended { 487 } else { 603 });
        }
    }
}

/// The document goes to the transferee's leg, in place of the one that runs there.
fn move_to(engine: &Arc<Engine>, sid: CallSid, change: Change) {
    let report = change.transfer.as_ref().map(|transfer| transfer.report);
    let heard = super::change(engine, sid, change);
    if let Some(report) = report.filter(|_| heard.is_err()) {
        report.done(engine, 487);
    }
}

/// How a Dial's status looks to the transferor where no code is known.
const fn failed(status: CallStatus) -> u16 {
    match status {
        CallStatus::Busy => 486,
        CallStatus::NoAnswer => 480,
        CallStatus::Canceled => 487,
        CallStatus::Queued
        | CallStatus::Ringing
        | CallStatus::InProgress
        | CallStatus::Completed
        | CallStatus::Failed => 500,
    }
}

/// The party at the other end of a leg.
fn party(record: &CallRecord) -> &str {
    match record.direction {
        Direction::Inbound => &record.from,
        Direction::OutboundApi | Direction::OutboundDial => &record.to,
    }
}

fn user(uri: &str) -> String {
    let parsed = Uri::parse(uri.as_bytes()).ok();
    let user = parsed.map(|uri| String::from_utf8_lossy(uri.user.unwrap_or(uri.host)).into_owned());
    user.unwrap_or_default()
}
