//! Role S: the NOTIFYs that tell the referrer how its transfer goes.
//!
//! [`crate::sip::refer::notifier`] decides when one goes and what it says; here it is sent on the
//! referrer's leg, and SUBSCRIBEs of the referrer's are answered.

use super::super::{Calls, Purpose};
use super::table::{Kind, Role, TransferId};
use crate::sip::dialog::{Asked, Body, Headers, NotNow, RequestId};
use crate::sip::event::CallSid;
use crate::sip::message::Message;
use crate::sip::proxy::Cx;
use crate::sip::refer::Notifier;

impl Calls {
    /// Sends what may go now, and sets the timer for what may go later.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let now = cx.now;
        while let Some(role) = self.transfers.substitute(id) {
            let Some(notify) = role.notifier.poll(now) else { break };
            let (at, outside) = (role.referrer, role.outside);
            let headers: Headers = vec![
                ("Event".into(), notify.event().into_bytes().into()),
                ("Subscription-State".into(), notify.subscription_state().into_bytes().into()),
            ];
            let body =
                Body { content_type: "message/sipfrag;version=2.0".into(), bytes: notify.sipfrag().into() };
            let sent = match outside.or_else(|| self.leg_of(at)) {
                Some(leg) => {
                    self.send_on(cx, leg, "NOTIFY", headers, Some(body), None, Purpose::Transfer(id))
                }
                None => Err(NotNow::Unknown),
            };
            let Some(role) = self.transfers.substitute(id) else { return };
            match sent {
                Ok(request) => role.notifying = Some(request),
                Err(_) => role.notifier.drop_it(),
            }
        }
        let Some(role) = self.transfers.substitute(id) else { return };
        let (over, outside) = (role.notifier.is_over(), role.outside);
        match role.notifier.wakes_at() {
            Some(at) => self.transfer_timer(cx, id, Kind::Notify, at.since(now)),
            None => self.stop_timer(cx, id, Kind::Notify),
        }
        if over {
            if let Some(leg) = outside {
                self.end_outside(cx, leg);
            }
            self.release_referrer(cx, id);
        }
    }

    /// A NOTIFY has its final response.
    pub(super) fn notify_answered(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        request: RequestId,
        status: u16,
    ) {
        let Some(role) = self.transfers.substitute(id).filter(|role| role.notifying == Some(request)) else {
            return;
        };
        role.notifying = None;
        role.notifier.answered(status);
        self.pump(cx, id);
    }

    /// A SUBSCRIBE for the refer package.
    pub(super) fn subscribe_came(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        let now = cx.now;
        let wanted = message.event().ok().flatten().and_then(|event| event.id);
        let number = wanted.and_then(|id| std::str::from_utf8(id).ok()?.parse::<u32>().ok());
        if wanted.is_some() && number.is_none() {
            return self.respond(cx, at, asked, 403, &Headers::new(), None);
        }
        let wanted = number;
        let expires = message.expires().ok().flatten();
        for id in self.transfers.of(at).into_iter().rev() {
            if let Some(Role::Relay(role)) = self.transfers.role(id)
                && role.near == at
                && (wanted.is_none() || wanted == Some(role.near_cseq))
            {
                return self.subscribe_on(cx, id, asked, message);
            }
            let Some(most) = self.transfers.get(id).map(|t| Notifier::lasting(t.life.waits())) else {
                continue;
            };
            let Some(role) = self.transfers.substitute(id).filter(|role| role.referrer == at) else {
                continue;
            };
            if let Some(granted) = role.notifier.subscribe(now, wanted, expires, most) {
                let value = granted.as_secs().to_string().into_bytes();
                self.respond(cx, at, asked, 200, &vec![("Expires".into(), value.into())], None);
                return self.pump(cx, id);
            }
        }
        self.respond(cx, at, asked, 403, &Headers::new(), None);
    }
}
