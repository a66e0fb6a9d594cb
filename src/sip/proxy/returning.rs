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
use crate::sip::proxy::handed::Handed;
use crate::sip::proxy::handed::trunk_of_origin;
use crate::sip::proxy::request::Refusal;
use crate::sip::proxy::route::{Path, preprocess};
use crate::sip::proxy::{Cx, Proxy};
use crate::sip::refer::Returns;
use crate::sip::transaction::ServerId;
use bytes::Bytes;

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
        let value = cx.observer.returns.turned(cx.now, Cause { refer, call: token.call }, &target, &own)?;
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

    /// The INVITE goes on to the target that was meant, by the rules for who sends it.
    pub(super) fn return_call(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &Message,
        ready: &Ready<'_>,
        path: &Path<'_>,
        flow: &Flow,
        origin: Option<Origin>,
    ) -> Option<Handed> {
        let (call_id, from_tag) = (ready.call_id, ready.from_tag.unwrap_or_default());
        let taken = Uri::parse(path.request_uri)
            .ok()
            .and_then(|uri| cx.observer.returns.take(cx.now, &uri, call_id, from_tag));
        let restored = match taken {
            // It only looked like one.
            None => {
                let path = preprocess(message, &self.itself, &self.keys.token, ready.call_id);
                return self.dispatch(cx, server, message, ready, flow, path, origin, None);
            }
            Some(Err(_)) => Err(Refusal::Return),
            Some(Ok(returned)) => {
                if !returned.again {
                    let told = Output::Returned { refer: returned.cause.refer, call_id: call_id.into() };
                    cx.out.push(told);
                }
                for shard in (0..cx.place.shards).filter(|shard| *shard != cx.place.index && !returned.again)
                {
                    let spent = PeerMessage::Returned(returned.cause.refer);
                    cx.out.push(Output::Peer(shard, Box::new(spent)));
                }
                self.edits.clear();
                self.edits.set_request_uri(message, &returned.target);
                self.rewritten(cx, message).map(|message| (message, returned.cause)).ok_or(Refusal::Malformed)
            }
        };
        let sound = restored.as_ref().map_err(|refusal| *refusal);
        let sound = sound.and_then(|(message, cause)| {
            Ok((message, message.ready().map_err(|_| Refusal::Malformed)?, *cause))
        });
        let (restored_message, ready, cause) = match sound {
            Ok(sound) => sound,
            Err(refusal) => {
                self.refuse(cx, server, message, flow, trunk_of_origin(origin), refusal);
                return None;
            }
        };
        let path = preprocess(restored_message, &self.itself, &self.keys.token, ready.call_id);
        let handed = self.dispatch(cx, server, restored_message, &ready, flow, path, origin, Some(cause))?;
        Some(Handed { restored: restored.ok(), ..handed })
    }

    /// A message with the edits made to it.
    fn rewritten(&mut self, cx: &Cx<'_>, message: &Message) -> Option<Message> {
        self.scratch.clear();
        self.edits.write(message, &mut self.scratch);
        Message::parse(Bytes::copy_from_slice(&self.scratch), &cx.plan.limits).ok()
    }
}
