//! REFERs passed on whose target is turned to Baton, and the calls that come back because of it.
//!
//! Stands between `request`, which knows who sends what, and [`crate::sip::refer::returning`], which makes
//! the token and knows its worth.

use crate::shard::{Output, PeerMessage};
use crate::sip::event::{Cause, ReferSid};
use crate::sip::flow::Flow;
use crate::sip::message::{HeaderId, Message, Method, Ready, Uri};
use crate::sip::plan::Origin;
use crate::sip::proxy::context::Subject;
use crate::sip::proxy::forward::timer_key;
use crate::sip::proxy::handed::{Concern, Handed, trunk_of_origin};
use crate::sip::proxy::request::Refusal;
use crate::sip::proxy::route::{Path, preprocess};
use crate::sip::proxy::{Cx, Entry, Proxy};
use crate::sip::refer::Returns;
use crate::sip::refer::returning::{Caller, Returned, Worth, Worthless};
use crate::sip::time::Time;
use crate::sip::timer::TimerId;
use crate::sip::transaction::ServerId;
use bytes::Bytes;
use std::time::Duration;

/// How long another shard may take to say what a token is worth: it has only to look.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// An INVITE whose token another shard knows.
#[derive(Debug)]
pub struct Waiting {
    server: ServerId,
    /// The INVITE, as it came.
    pub message: Message,
    /// The path it came by.
    pub flow: Flow,
    origin: Option<Origin>,
    /// The client that sent it, if one did.
    pub client: Option<Box<str>>,
    returned: Returned,
    until: Time,
    timer: TimerId,
}

impl Proxy {
    /// The REFER to be passed on instead, where its sender's trunk wants the call back. One outside a dialog
    /// stays as it is: who acts on it, and by which way, is not known yet, and there may be several.
    pub(super) fn turned(
        &mut self,
        cx: &mut Cx<'_>,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
        flow: &Flow,
        subject: &Subject,
    ) -> Option<Message> {
        let token = path.token?;
        let sender = if token.from_caller(ready.from_tag) { token.trunk_in } else { token.trunk_out };
        let trunk = cx.plan.trunk(self.trunk_named(cx.plan, sender)?)?;
        if !trunk.owned.policy.returns {
            return None;
        }
        let known = match subject {
            Subject::Refer(handle) => cx.observer.sid_of(*handle),
            Subject::None | Subject::Call(_) | Subject::Bye(_) => None,
        };
        let refer = known.unwrap_or_else(|| ReferSid(cx.new_sid()));
        let refer_to = message.refer_to().ok().flatten()?;
        let target = refer_to.uri().ok()?;
        let mut own = Vec::new();
        let listener = path.listener.unwrap_or(flow.listener);
        self.itself.write_address(listener, target.scheme == crate::sip::message::Scheme::Sips, &mut own);
        let value =
            cx.observer.returns.turned(cx.now, Cause { refer, call: token.call }, &target, None, &own)?;
        self.edits.clear();
        self.edits.remove(message, HeaderId::ReferTo);
        self.edits.insert(message, "Refer-To", &value);
        self.rewritten(cx, message)
    }

    /// Whether an INVITE of somebody known has a token to be taken.
    pub(super) fn comes_back(
        &self,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
        origin: Option<Origin>,
    ) -> bool {
        message.method() == Method::Invite
            && ready.to_tag.is_none()
            && origin.is_some()
            && Returns::may_be(path.request_uri)
            && Uri::parse(path.request_uri).is_ok_and(|uri| self.itself.is(&uri))
    }

    /// A call comes back: the shard on which its Refer began is asked whether it may, unless that is this one.
    pub(super) fn return_call(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
        flow: &Flow,
        origin: Option<Origin>,
        client: Option<&str>,
    ) -> Option<Concern> {
        let (call_id, from_tag) = (ready.call_id, ready.from_tag.unwrap_or_default());
        let read = Uri::parse(path.request_uri)
            .ok()
            .and_then(|uri| cx.observer.returns.read(cx.now, &uri, call_id, from_tag));
        let returned = match read {
            // It only looked like one.
            None => {
                let path = preprocess(message, &self.itself, &self.keys.token, ready.call_id);
                return self.dispatch(cx, server, message, ready, flow, path, origin, None);
            }
            Some(Err(Worthless)) => {
                self.refuse(cx, server, message, flow, trunk_of_origin(origin), Refusal::Return);
                return None;
            }
            Some(Ok(returned)) => returned,
        };
        let (refer, caller) = (returned.cause.refer, returned.caller);
        let owner = refer.shard() % cx.place.shards.max(1);
        if owner == cx.place.index {
            let worth = cx.observer.returns.spend(cx.now, refer, caller);
            let handed = self.goes_on(cx, server, message, flow, origin, &returned, worth);
            return handed.map(Concern::Begins);
        }
        let slot = self.entries.vacant_key() as u32;
        let until = cx.now + ANSWERED_WITHIN;
        let timer = cx.transactions.set_tu_timer(cx.now, until, timer_key(slot, 0));
        let message = message.detached();
        let client = client.map(Into::into);
        let waiting = Waiting { server, message, flow: *flow, origin, client, returned, until, timer };
        self.entries.insert(Entry::Returning(Box::new(waiting)));
        cx.transactions.set_server_owner(server, slot);
        let question = PeerMessage::Returns { from: cx.place.index, ticket: slot, refer, caller };
        cx.out.push(Output::Peer(owner, Box::new(question)));
        None
    }

    /// The other shard has answered.
    pub fn judged(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: u32,
        call: (ReferSid, Caller),
        worth: Worth,
    ) -> Option<(Handed, Waiting)> {
        let waiting = self.waiting(cx, ticket, |it| (it.returned.cause.refer, it.returned.caller) == call)?;
        let Waiting { server, message, flow, origin, returned, .. } = &waiting;
        let handed = self.goes_on(cx, *server, message, flow, *origin, returned, worth)?;
        Some((handed, waiting))
    }

    /// It has not, in all this time.
    pub(super) fn unjudged(&mut self, cx: &mut Cx<'_>, slot: u32) {
        let now = cx.now;
        if let Some(waiting) = self.waiting(cx, slot, |waiting| waiting.until <= now) {
            self.decline(cx, waiting.server, &waiting.message, &waiting.flow, 503);
        }
    }

    /// The caller has given up meanwhile (RFC 3261 §9.2).
    pub(super) fn returns_no_more(&mut self, cx: &mut Cx<'_>, slot: u32, invite: Option<ServerId>) {
        if let Some(waiting) = self.waiting(cx, slot, |waiting| Some(waiting.server) == invite) {
            self.decline(cx, waiting.server, &waiting.message, &waiting.flow, 487);
        }
    }

    /// Takes out what waits in a slot, if it is that: the slot may be another request's by now.
    fn waiting(&mut self, cx: &mut Cx<'_>, slot: u32, is: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        match self.entries.get(slot as usize) {
            Some(Entry::Returning(waiting)) if is(waiting) => {}
            Some(Entry::Returning(_) | Entry::Active(_) | Entry::Busy | Entry::Answered { .. }) | None => {
                return None;
            }
        }
        let Entry::Returning(waiting) = self.entries.remove(slot as usize) else { return None };
        cx.transactions.cancel_timer(waiting.timer);
        Some(*waiting)
    }

    /// The INVITE goes on to the target that was meant, by the rules for who sends it.
    fn goes_on(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        flow: &Flow,
        origin: Option<Origin>,
        returned: &Returned,
        worth: Worth,
    ) -> Option<Handed> {
        let cause = returned.cause;
        if worth != Worth::Again {
            let call_id = message.header(HeaderId::CallId).unwrap_or_default().into();
            let admitted = worth == Worth::First;
            cx.out.push(Output::Returned { refer: cause.refer, call_id, admitted });
        }
        let restored = match worth {
            Worth::None => Err(Refusal::Return),
            Worth::First | Worth::Again => {
                self.edits.clear();
                self.edits.set_request_uri(message, &returned.target);
                self.rewritten(cx, message).ok_or(Refusal::Malformed)
            }
        };
        let sound = restored.as_ref().map_err(|refusal| *refusal);
        let sound = sound.and_then(|message| Ok((message, message.ready().map_err(|_| Refusal::Malformed)?)));
        let (restored_message, ready) = match sound {
            Ok(sound) => sound,
            Err(refusal) => {
                self.refuse(cx, server, message, flow, trunk_of_origin(origin), refusal);
                return None;
            }
        };
        let path = preprocess(restored_message, &self.itself, &self.keys.token, ready.call_id);
        let concern = self.dispatch(cx, server, restored_message, &ready, flow, path, origin, Some(cause));
        let Some(Concern::Begins(handed)) = concern else { return None };
        Some(Handed { restored: restored.ok().map(|message| (message, returned.clone())), ..handed })
    }

    /// A message with the edits made to it.
    fn rewritten(&mut self, cx: &Cx<'_>, message: &Message) -> Option<Message> {
        self.scratch.clear();
        self.edits.write(message, &mut self.scratch);
        Message::parse(Bytes::copy_from_slice(&self.scratch), &cx.plan.limits).ok()
    }
}
