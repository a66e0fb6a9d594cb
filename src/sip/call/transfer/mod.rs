//! Transfers on calls of Baton's own: the seam between calls and the REFER core.
//!
//! Whatever a transfer may care about arrives here, as `on_…`, and every order about one, too. What is
//! right to do is judged in [`crate::sip::refer`]; here it is done, with the legs and joins of
//! [`Calls`]. A transfer belongs to one of three roles:
//!
//! | role | file | whose REFER | who calls the target |
//! |---|---|---|---|
//! | T | [`transferor`] | an order's | the party it goes to |
//! | S | [`substitute`], [`deed`], [`attended`], [`afar`], [`notify`], [`leaving`], [`outside`] | a party's | Baton, for the other party |
//! | R | [`relay`] | a party's | the other party |
//!
//! What transfers ask of calls comes back under their [`TransferId`]:
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

mod afar;
mod attended;
mod deed;
mod leaving;
mod notify;
mod outside;
mod relay;
mod substitute;
mod table;
mod transferor;

#[cfg(test)]
mod tests;

pub(super) use afar::{Afar, give_back};
pub(super) use outside::Referral;
pub(super) use table::{Transfer, TransferId, Transfers};

use self::table::{Kind, Role};
use super::Calls;
use super::dial::DialNews;
use super::joining::JoinResult;
use crate::sip::command::{Decision, ReferOrder, Refused};
use crate::sip::dialog::{Asked, Headers, RequestId};
use crate::sip::event::{CallSid, EndedBy, ReferSid};
use crate::sip::message::Message;
use crate::sip::plan::ReferMode;
use crate::sip::proxy::Cx;
use crate::sip::refer::state::{Event, State};
use crate::sip::refer::subscriber::{Candidate, Judgement, judge};

impl Calls {
    /// A REFER came on a leg and waits for its answer.
    pub(super) fn on_refer(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        // The leg has matched the dialog's tags, one of which only its party was told.
        self.refer_came(cx, at, asked, message);
    }

    /// A NOTIFY came on a leg, which may have ended a while ago, and waits for its answer.
    pub(super) fn on_notify(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        let subscribed = self.transfers.subscribed(at);
        let candidates: Vec<Candidate> = subscribed.iter().map(|(_, candidate)| *candidate).collect();
        let code = match judge(message, &candidates) {
            Judgement::Take(place, facts) => {
                let Some((id, candidate)) = subscribed.get(place).copied() else { return };
                return match self.transfers.role(id) {
                    Some(Role::Transferor(_)) if candidate.past => {
                        self.respond(cx, at, asked, 200, &Headers::new(), None);
                        self.noted(cx, id, &facts);
                    }
                    Some(Role::Relay(_)) => self.notify_back(cx, id, asked, message, &facts),
                    Some(Role::Transferor(_)) => {
                        self.respond(cx, at, asked, 200, &Headers::new(), None);
                        self.notified(cx, id, &facts);
                    }
                    Some(Role::Substitute(_)) | None => {
                        self.respond(cx, at, asked, 481, &Headers::new(), None);
                    }
                };
            }
            // Another package is for the other party to judge.
            Judgement::BadEvent => return self.cross(cx, at, asked, message),
            Judgement::Malformed => 400,
            Judgement::Unmatched => 481,
        };
        self.respond(cx, at, asked, code, &Headers::new(), None);
    }

    /// A SUBSCRIBE came on a leg and waits for its answer.
    pub(super) fn on_subscribe(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        if message.event().ok().flatten().is_none_or(|event| !event.is("refer")) {
            return self.cross(cx, at, asked, message);
        }
        self.subscribe_came(cx, at, asked, message);
    }

    /// A request sent for a transfer has its final response; 408 and no message when none came.
    pub(super) fn on_transfer_response(
        &mut self,
        cx: &mut Cx<'_>,
        transfer: TransferId,
        at: Option<CallSid>,
        request: RequestId,
        status: u16,
        message: Option<&Message>,
    ) {
        match (self.transfers.role(transfer), at) {
            // The dialog may be one that belongs to no party.
            (Some(Role::Substitute(_)), _) => self.notify_answered(cx, transfer, request, status),
            (Some(Role::Transferor(_)), Some(_)) => {
                self.transferor_answered(cx, transfer, request, status, message);
            }
            (Some(Role::Relay(_)), Some(at)) => {
                self.relay_answered(cx, transfer, at, request, status, message);
            }
            (Some(Role::Transferor(_) | Role::Relay(_)) | None, _) => {}
        }
    }

    /// A party has left. Called before anything is done about those it talked to or had called: true
    /// leaves that to the transfer. Its record and its end are told already; `other` is whom it talked to.
    pub(super) fn on_party_ended(
        &mut self,
        cx: &mut Cx<'_>,
        at: CallSid,
        other: Option<CallSid>,
        by: EndedBy,
    ) -> bool {
        let mut taken = false;
        for id in self.transfers.of(at) {
            taken |= match self.transfers.role(id) {
                Some(Role::Transferor(_)) => self.transferor_left(cx, id, at, other),
                Some(Role::Substitute(_)) => self.substitute_left(cx, id, at, by),
                Some(Role::Relay(_)) => {
                    // the two usages end separately; whom it talked to is ended as ever.
                    self.relay_left(cx, id, at);
                    false
                }
                None => false,
            };
        }
        taken
    }

    /// What came of a call to a target.
    pub(super) fn on_dial(&mut self, cx: &mut Cx<'_>, transfer: TransferId, news: DialNews) {
        self.target_news(cx, transfer, news);
    }

    /// What came of a join. With `Joined` the two talk to each other, and nobody else to them.
    pub(super) fn on_joined(&mut self, cx: &mut Cx<'_>, transfer: TransferId, result: JoinResult) {
        self.parties_joined(cx, transfer, result);
    }

    /// A dialog that was asked for on another shard: its leg, whose call is here now, if there is one.
    pub(super) fn on_claimed(&mut self, cx: &mut Cx<'_>, transfer: TransferId, found: Option<CallSid>) {
        match self.transfers.role(transfer) {
            Some(Role::Relay(_)) => self.named_dialog_sought(cx, transfer),
            Some(Role::Substitute(_)) => self.consultation_found(cx, transfer, found),
            Some(Role::Transferor(_)) | None => {}
        }
    }

    /// A wait of a transfer is over.
    pub(super) fn on_transfer_timer(&mut self, cx: &mut Cx<'_>, transfer: TransferId, kind: u8) {
        let Some(kind) = Kind::of(kind) else { return };
        self.transfers.fired(transfer, kind);
        match kind {
            Kind::Life => self.life_expired(cx, transfer),
            Kind::Again => self.send_refer(cx, transfer, Event::Repeated),
            Kind::Bye => self.say_goodbye(cx, transfer),
            Kind::Notify => self.pump(cx, transfer),
            Kind::Refresh => self.refresh(cx, transfer),
            Kind::Release => self.end_referrer(cx, transfer),
            Kind::Start => match self.transfers.role(transfer) {
                Some(Role::Relay(_)) => self.kept_long(cx, transfer),
                Some(Role::Substitute(_) | Role::Transferor(_)) | None => self.start(cx, transfer),
            },
        }
    }

    /// The control plane wants a leg's party transferred by REFER. The leg is answered.
    pub(super) fn refer(&mut self, cx: &mut Cx<'_>, at: CallSid, order: ReferOrder) -> Result<(), Refused> {
        self.refer_ordered(cx, at, order)
    }

    /// The control plane no longer waits for a Refer. One that has its result keeps it.
    pub(super) fn cancel_refer(
        &mut self,
        cx: &mut Cx<'_>,
        refer: ReferSid,
        _at: CallSid,
    ) -> Result<(), Refused> {
        let id = self.transfers.find(refer).ok_or(Refused::Unknown)?;
        let over = self.transfers.get(id).is_none_or(|transfer| transfer.life.is_over());
        match self.transfers.role(id) {
            Some(Role::Substitute(_)) if !over => self.call_off(cx, id, 487, Event::CalledOff),
            Some(Role::Substitute(_) | Role::Transferor(_) | Role::Relay(_)) | None => {
                self.keep_back(cx, id, 603, Event::CalledOff);
                self.live(cx, id, |life, now| life.on(now, Event::CalledOff));
            }
        }
        Ok(())
    }

    /// The control plane decides about a REFER that came.
    pub(super) fn decide_refer(
        &mut self,
        cx: &mut Cx<'_>,
        refer: ReferSid,
        _at: CallSid,
        decision: Decision,
    ) -> Result<(), Refused> {
        let id = self.transfers.find(refer).ok_or(Refused::Unknown)?;
        self.decided_refer(cx, id, decision)
    }

    /// The time of the present state is over, or the linger of a finished Refer.
    fn life_expired(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let now = cx.now;
        let Some(transfer) = self.transfers.get_mut(id) else { return };
        let state = transfer.life.state();
        if now < transfer.life.deadline() {
            return self.arm(cx, id);
        }
        match (&transfer.role, state) {
            // the control plane has said nothing, so the trunk's default applies.
            (Role::Substitute(_), State::Pending) => return self.by_default(cx, id),
            (Role::Substitute(role), State::Trying | State::Ringing | State::Accepted) => {
                let (code, event) = role.out_of_time();
                return self.call_off(cx, id, code, event);
            }
            (Role::Substitute(_), State::Bridging) => return self.call_off(cx, id, 488, Event::Deadline),
            (Role::Substitute(_), State::Requested | State::Challenged | State::Ending | State::Over(_))
            | (Role::Transferor(_) | Role::Relay(_), _) => {}
        }
        let mut gone = false;
        self.live(cx, id, |life, now| {
            let (done, snapshot) = life.expire(now);
            gone = done;
            snapshot
        });
        if gone && self.transfers.is_unfinished(id) {
            // a result that nobody has answered yet, or a BYE that is due later.
            if let Some(transfer) = self.transfers.get_mut(id) {
                transfer.life.lingers_on(now);
            }
            self.arm(cx, id);
        } else if gone {
            self.forget_transfer(cx, id);
        }
    }

    /// What happens to a REFER of a party when nobody else decides.
    fn mode_at(&self, cx: &Cx<'_>, at: CallSid) -> ReferMode {
        self.refer_mode(cx.plan, at)
    }
}
