//! Transfers on calls of Baton's own: the seam between calls and the REFER core.
//!
//! Whatever a transfer may care about arrives here, as `on_…`, and every order about one, too. What a
//! transfer needs done it asks of [`Calls`] by the functions named below; results come back here under
//! the [`TransferId`] that was given.
//!
//! | to do | ask | comes back as |
//! |---|---|---|
//! | a request inside a dialog | `Calls::send(…, Purpose::Transfer(id))` | [`Calls::on_transfer_response`] |
//! | an answer to one | `Calls::respond` | |
//! | a call to a target, for a survivor | `Calls::resolve`, `Calls::dial` with `DialFor::Transfer(id)` | [`Calls::on_dial`] |
//! | giving that up | `Calls::cancel_dial(survivor)` | |
//! | a ringing leg taken over for another | `Calls::adopt` | [`Calls::on_dial`] |
//! | joining | `Calls::join(survivor, target, Start, JoinFor::Transfer(id))` | [`Calls::on_joined`] |
//! | hold, resume | `Calls::hold`, `Calls::resume` | |
//! | ending a leg | `Calls::end(sid, End)` | |
//! | a leg by its dialog, here or elsewhere | `Calls::find_dialog`, `Calls::claim` | [`Calls::on_claimed`] |
//! | waiting | `Calls::wait(after, Timer::Transfer(id, kind))` | [`Calls::on_transfer_timer`] |
//!
//! Until then everything is passed across as any other request (mode `relay`), and refused where the
//! trunk's mode says so.

use super::Calls;
use super::dial::DialNews;
use super::joining::JoinResult;
use crate::sip::command::{Decision, ReferOrder, Refused};
use crate::sip::dialog::{Asked, RequestId};
use crate::sip::event::{CallSid, EndedBy, ReferSid};
use crate::sip::message::Message;
use crate::sip::plan::ReferMode;
use crate::sip::proxy::Cx;

/// A transfer of this shard.
pub(super) type TransferId = u32;

/// The transfers under way.
#[derive(Debug, Default)]
pub(super) struct Transfers {}

impl Transfers {
    /// How many there are; zero when all is over.
    pub(super) fn len(&self) -> usize {
        0
    }
}

impl Calls {
    /// A REFER came on a leg and waits for its answer.
    pub(super) fn on_refer(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        match self.refer_mode(cx.plan, at) {
            ReferMode::Reject(code) => self.respond(cx, at, asked, code, &Vec::new(), None),
            ReferMode::Relay | ReferMode::Terminate => self.cross(cx, at, asked, message),
        }
    }

    /// A NOTIFY came on a leg, which may have ended a while ago, and waits for its answer.
    pub(super) fn on_notify(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        self.cross(cx, at, asked, message);
    }

    /// A SUBSCRIBE came on a leg and waits for its answer.
    pub(super) fn on_subscribe(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        self.cross(cx, at, asked, message);
    }

    /// A request sent for a transfer has its final response; 408 and no message when none came.
    pub(super) fn on_transfer_response(
        &mut self,
        _cx: &mut Cx<'_>,
        _transfer: TransferId,
        _at: CallSid,
        _request: RequestId,
        _status: u16,
        _message: Option<&Message>,
    ) {
    }

    /// A party has left. Called before anything is done about those it talked to or had called: true
    /// leaves that to the transfer. Its record and its end are told already; `other` is whom it talked to.
    pub(super) fn on_party_ended(
        &mut self,
        _cx: &mut Cx<'_>,
        _at: CallSid,
        _other: Option<CallSid>,
        _by: EndedBy,
    ) -> bool {
        false
    }

    /// What came of a call to a target.
    pub(super) fn on_dial(&mut self, _cx: &mut Cx<'_>, _transfer: TransferId, _news: DialNews) {}

    /// What came of a join. With `Joined` the two talk to each other, and nobody else to them.
    pub(super) fn on_joined(&mut self, _cx: &mut Cx<'_>, _transfer: TransferId, _result: JoinResult) {}

    /// A dialog that was asked for on another shard: its leg, whose call is here now, if there is one.
    pub(super) fn on_claimed(&mut self, _cx: &mut Cx<'_>, _transfer: TransferId, _found: Option<CallSid>) {}

    /// A wait of a transfer is over.
    pub(super) fn on_transfer_timer(&mut self, _cx: &mut Cx<'_>, _transfer: TransferId, _kind: u8) {}

    /// The control plane wants a leg's party transferred by REFER. The leg is answered.
    pub(super) fn refer(
        &mut self,
        _cx: &mut Cx<'_>,
        _at: CallSid,
        _order: ReferOrder,
    ) -> Result<(), Refused> {
        Err(Refused::Unknown)
    }

    /// The control plane no longer waits for a Refer.
    pub(super) fn cancel_refer(
        &mut self,
        _cx: &mut Cx<'_>,
        _refer: ReferSid,
        _at: CallSid,
    ) -> Result<(), Refused> {
        Err(Refused::Unknown)
    }

    /// The control plane decides about a REFER that came.
    pub(super) fn decide_refer(
        &mut self,
        _cx: &mut Cx<'_>,
        _refer: ReferSid,
        _at: CallSid,
        _decision: Decision,
    ) -> Result<(), Refused> {
        Err(Refused::Unknown)
    }
}
