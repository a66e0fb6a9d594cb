//! The end of a dialog by BYE, ours or theirs (RFC 3261 §15; C-139, C-140).

use super::event::{Fork, LegEvent};
use super::inside::Purpose;
use super::leg::{Desk, Leg, State};
use super::outgoing::Headers;
use crate::sip::event::EndedBy;
use crate::sip::message::Message;
use crate::sip::proxy::Cx;

impl Leg {
    /// The call wants it over, however far it is.
    pub(super) fn hang_up(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, headers: Headers) {
        match &self.state {
            State::Calling(_) => self.cancel_calling(cx, desk, super::calling::Cancelled::Ordered, None),
            State::Offered(_) => self.refuse(cx, desk, 480, "", &headers),
            State::Answered(_) => {
                let body = self.still_answer();
                self.acknowledge(cx, desk, body);
                self.hang_up(cx, desk, headers);
            }
            // C-140: not before the ACK, or what stands for its not coming.
            State::Up if self.unacknowledged() => self.bye = Some(headers),
            State::Up => self.send_bye(cx, desk, None, Some(headers)),
            State::Ended { .. } | State::Dead => {}
        }
    }

    /// Sends BYE. `by`: the call does not know yet, and is told.
    pub(super) fn send_bye(
        &mut self,
        cx: &mut Cx<'_>,
        desk: &mut Desk,
        by: Option<EndedBy>,
        headers: Option<Headers>,
    ) {
        if self.has_ended() {
            return;
        }
        let headers = headers.or(self.bye.take()).unwrap_or_default();
        let Some(fork) = self.dialogs.first().map(|dialog| dialog.fork) else {
            return self.end(cx, desk, by, None);
        };
        self.end(cx, desk, by, None);
        self.push_request(desk, Purpose::Bye, fork, "BYE", headers, None, None);
        self.advance(cx, desk);
    }

    /// The party's BYE has its 200: the call is over.
    pub(super) fn bye_in(&mut self, cx: &mut Cx<'_>, desk: &mut Desk, message: &Message, fork: Fork) {
        match &self.state {
            State::Offered(_) if self.rings_elsewhere(fork) => self.leave_fork(cx, desk, fork),
            State::Offered(_) => self.cancelled(cx, desk, message),
            State::Answered(_) => {
                // It has seen our INVITE answered; the ACK is still owed.
                let body = self.still_answer();
                self.acknowledge(cx, desk, body);
                self.end(cx, desk, Some(EndedBy::Peer), Some(message.detached()));
            }
            State::Up if self.bye.is_some() => {
                // Ours waited for the ACK: theirs has come first, and nobody needs to be told.
                self.bye = None;
                self.end(cx, desk, None, None);
            }
            State::Up => self.end(cx, desk, Some(EndedBy::Peer), Some(message.detached())),
            State::Calling(_) | State::Ended { .. } | State::Dead => {}
        }
    }

    /// Tells the table that the leg is gone.
    pub(super) fn farewell(&self, desk: &mut Desk) {
        self.tell(desk, LegEvent::Gone { leg: self.id });
    }
}
