//! Role R on calls of Baton's own: the REFER goes to the other party in its own dialog, and the NOTIFYs
//! come back in the referrer's.

use super::super::headers::credentials;
use super::super::moving::{Errand, Then};
use super::super::party::Party;
use super::super::refusal::Refusal;
use super::super::{Calls, Purpose};
use super::table::{Kind, Role, TransferId, policy_of};
use crate::sip::dialog::{Asked, Body, Headers, RequestId};
use crate::sip::event::{CallSid, Cause, ReferRole};
use crate::sip::message::uri::{Place, decode, put_uri};
use crate::sip::message::{HeaderId, Message, Scheme, Uri};
use crate::sip::proxy::{Cx, Itself};
use crate::sip::refer::NotifyFacts;
use crate::sip::refer::life::Subject;
use crate::sip::refer::replaces::{Named, escape};
use crate::sip::refer::state::Event;
use smallvec::SmallVec;

/// How long a REFER waits to be passed on, times T1: half of what its sender waits for the answer, which then
/// still reaches it.
const KEPT: u32 = 32;

/// A REFER that was passed on.
#[derive(Debug)]
pub(super) struct Relay {
    /// The referrer's leg.
    pub(super) near: CallSid,
    /// The leg of the party that acts on it.
    pub(super) far: CallSid,
    /// CSeq of the REFER as it came: the `id` that the referrer knows.
    pub(super) near_cseq: u32,
    /// CSeq of the REFER as it went, once it is answered: the `id` that the referee knows.
    pub(super) far_cseq: Option<u32>,
    /// Whether it is not the first REFER of the referrer's dialog.
    another: bool,
    asked: Option<Asked>,
    /// The REFER, while another shard is asked for the dialog that it names.
    claiming: Option<Box<Message>>,
    request: Option<RequestId>,
    /// Requests passed on whose answers are due to somebody.
    passed: SmallVec<[(RequestId, CallSid, Asked); 2]>,
}

impl Calls {
    /// Passes a REFER to the other party.
    pub(super) fn relay_refer(
        &mut self,
        cx: &mut Cx<'_>,
        subject: Subject,
        asked: Asked,
        message: &Message,
        another: bool,
    ) {
        let near = subject.call;
        let Some(far) = self.other(near) else {
            return self.respond(cx, near, asked, 603, &Headers::new(), None);
        };
        let trunk = self.party(near).and_then(|party| party.trunk);
        let role = Relay {
            near,
            far,
            near_cseq: message.cseq().map_or(0, |cseq| cseq.number),
            far_cseq: None,
            another,
            asked: Some(asked),
            claiming: None,
            request: None,
            passed: SmallVec::new(),
        };
        let subject = Subject { role: ReferRole::Relay, moved: Some(far), ..subject };
        let id = self.begin_transfer(cx, subject, trunk, Role::Relay(Box::new(role)));
        self.involve(id, far);
        self.bring_and_pass(cx, id, message);
    }

    /// A REFER that an application did not decide about is passed on after all.
    pub(super) fn become_relay(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let Some(transfer) = self.transfers.get_mut(id) else { return };
        let Role::Substitute(role) = &mut transfer.role else { return };
        let Some((asked, message)) = role.asked.take() else { return };
        let (near, far, another) = (role.referrer, role.survivor, role.another);
        transfer.role = Role::Relay(Box::new(Relay {
            near,
            far,
            near_cseq: message.cseq().map_or(0, |cseq| cseq.number),
            far_cseq: None,
            another,
            asked: Some(asked),
            claiming: None,
            request: None,
            passed: SmallVec::new(),
        }));
        transfer.life.subject.role = ReferRole::Relay;
        let trunk = transfer.trunk;
        cx.counters.refer_active(trunk, ReferRole::Substitute, -1);
        cx.counters.refer_active(trunk, ReferRole::Relay, 1);
        self.bring_and_pass(cx, id, &message);
    }

    /// A call that Refer-To names must be here to be translated: from another shard it comes first (law 2).
    fn bring_and_pass(&mut self, cx: &mut Cx<'_>, id: TransferId, message: &Message) {
        if let Some(named) = named_in(message)
            && self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag).is_none()
            && self.shard_of(cx, &named.call_id) != cx.place.index
            && let Some(role) = self.transfers.relay(id)
        {
            role.claiming = Some(Box::new(message.clone()));
            let then = Then::Transfer(id);
            return self.claim(cx, &named.call_id, &named.to_tag, &named.from_tag, then, Errand::Whole);
        }
        self.pass_refer(cx, id, message);
    }

    /// Another shard has given the call, or has none such: then the dialog is somebody else's.
    pub(super) fn named_dialog_sought(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let over = self.transfers.get(id).is_none_or(|transfer| transfer.life.is_over());
        if let Some(message) = self.transfers.relay(id).and_then(|role| role.claiming.take())
            && !over
        {
            self.pass_refer(cx, id, &message);
        }
    }

    /// A REFER that still waits for its turn comes too late for its sender. One that is out is the referee's to
    /// answer, with a challenge, too.
    pub(super) fn kept_long(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let sent = self.transfers.relay(id).and_then(|role| Some((role.far, role.request?)));
        let out = sent.and_then(|(far, request)| Some(self.legs.is_out(self.leg_of(far)?, request)));
        if out != Some(true) {
            self.keep_back(cx, id, 491, Event::Unanswered);
        }
    }

    /// A REFER that has not been passed on yet is answered here, and never goes out; false when it has.
    pub(super) fn keep_back(&mut self, cx: &mut Cx<'_>, id: TransferId, code: u16, event: Event) -> bool {
        let Some(role) = self.transfers.relay(id) else { return false };
        let (far, request, waits) = (role.far, role.request, role.asked.is_some());
        if !waits {
            return false;
        }
        let sought = role.claiming.take().is_some();
        if !sought && !request.is_some_and(|request| self.forgo(cx, far, request)) {
            return false;
        }
        if let Some(role) = self.transfers.relay(id) {
            role.request = None;
        }
        self.answer_refer(cx, id, code, None);
        self.live(cx, id, |life, now| life.answered(now, code, event));
        true
    }

    fn pass_refer(&mut self, cx: &mut Cx<'_>, id: TransferId, message: &Message) {
        let Some(role) = self.transfers.relay(id) else { return };
        let (near, far) = (role.near, role.far);
        if let Some(who) = self.party(near).and_then(Party::who) {
            self.names(cx, &who, message);
        }
        let mut headers = self.seen_by(far, near, message);
        headers.append(&mut credentials(message, &cx.plan.calls.registrar.realm));
        let turned = self.refer_to_turned(cx, id, message);
        if let Some(to) = turned.or_else(|| self.refer_to_translated(message)) {
            for (name, value) in &mut headers {
                if matches!(HeaderId::from_bytes(name.as_bytes()), HeaderId::ReferTo) {
                    *value = to.clone();
                }
            }
        }
        let sent = self.send(cx, far, "REFER", headers, Body::of(message), None, Purpose::Transfer(id));
        match sent {
            Ok(request) => {
                if let Some(role) = self.transfers.relay(id) {
                    role.request = Some(request);
                }
                self.live(cx, id, |life, now| life.on(now, Event::Sent));
                self.transfer_timer(cx, id, Kind::Start, KEPT * cx.plan.timings.t1);
            }
            Err(_) => {
                self.answer_refer(cx, id, 480, None);
                self.live(cx, id, |life, now| life.answered(now, 480, Event::Unanswered));
            }
        }
    }

    /// Where the call is wanted back, by the referrer's trunk or of clients, Refer-To leads here. If it names a dialog of
    /// Baton's, that is the target, by the names that the referrer knows, wherever the URI would lead: if it is the
    /// referrer's own, the call takes its place, whatever shard it comes to; if not, it is refused.
    fn refer_to_turned(&self, cx: &Cx<'_>, id: TransferId, message: &Message) -> Option<Box<[u8]>> {
        let transfer = self.transfers.get(id)?;
        let Role::Relay(role) = &transfer.role else { return None };
        let returns = match transfer.trunk {
            Some(_) => policy_of(cx.plan, transfer.trunk).returns,
            None => {
                let client = self.party(role.near).is_some_and(|party| party.client.is_some());
                client && cx.plan.calls.registrar.returns
            }
        };
        if !returns {
            return None;
        }
        let refer_to = message.refer_to().ok().flatten()?;
        let target = refer_to.uri().ok()?;
        let mut own = Vec::new();
        let listener = self.facts(role.far)?.flow.listener;
        let secure = target.scheme == Scheme::Sips;
        Itself::new(cx.plan).write_address(listener, secure, &mut own);
        let named = named_in(message)
            .filter(|named| self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag).is_some());
        let here = named.as_ref().map(|_| {
            let mut here = Vec::from(if secure { &b"sips:"[..] } else { b"sip:" });
            here.extend(target.user.into_iter().flat_map(|user| [user, b"@"].concat()));
            here.extend_from_slice(&own);
            if !target.headers.is_empty() {
                here.push(b'?');
                here.extend_from_slice(target.headers);
            }
            here
        });
        let target = here.as_deref().map_or(Some(target), |here| Uri::parse(here).ok())?;
        let subject = &transfer.life.subject;
        // Without an account there is no record of it.
        let call = if subject.account.is_empty() { CallSid(0) } else { subject.call };
        let cause = Cause { refer: subject.sid, call };
        let given = named.as_ref().filter(|named| self.may_give(role.near, named));
        cx.observer.returns.turned(cx.now, cause, &target, given, &own)
    }

    /// Whether a leg's place is the referrer's to give: who only knows a stranger's dialog has no right to it, and
    /// nobody further on is left to judge that (R-090, RFC 3891 §5).
    fn may_give(&self, referrer: CallSid, named: &Named) -> bool {
        let leg = self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag);
        leg.is_some_and(|leg| self.claimant(referrer, referrer).has(self, leg))
    }

    /// A dialog of Baton's that Refer-To names becomes the one that its far half has: that is
    /// what the receiver of the coming INVITE knows. `None`: nothing in it is Baton's.
    fn refer_to_translated(&self, message: &Message) -> Option<Box<[u8]>> {
        let refer_to = message.refer_to().ok().flatten()?;
        let uri = refer_to.uri().ok()?;
        let named = named_in(message)?;
        let ours = self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag)?;
        let far = self.facts(self.other(ours)?)?;
        let theirs = Named {
            call_id: far.call_id.into(),
            to_tag: far.remote_tag.into(),
            from_tag: far.local_tag().as_slice().into(),
            early_only: named.early_only,
        };
        let mut out = Vec::from(b"<");
        put_uri(&mut out, &Uri::parse(far.remote_target).ok()?, Place::RequestUri);
        theirs.put_into_uri(&mut out);
        for (name, value) in uri.header_fields().filter(|(name, _)| !is_replaces(name)) {
            out.push(b'&');
            escape(&mut out, &decode(name));
            out.push(b'=');
            escape(&mut out, &decode(value));
        }
        out.push(b'>');
        Some(out.into())
    }

    fn answer_refer(&mut self, cx: &mut Cx<'_>, id: TransferId, status: u16, message: Option<&Message>) {
        let Some(role) = self.transfers.relay(id) else { return };
        let (near, far) = (role.near, role.far);
        let Some(asked) = role.asked.take() else { return };
        self.answer_passes_on(cx, near, far, asked, status, message);
    }

    /// The answer of one party to the other; a challenge that Baton has to answer itself is none of theirs.
    fn answer_passes_on(
        &mut self,
        cx: &mut Cx<'_>,
        to: CallSid,
        from: CallSid,
        asked: Asked,
        status: u16,
        message: Option<&Message>,
    ) {
        let headers = message.map(|message| self.seen_by(to, from, message)).unwrap_or_default();
        let answer = Refusal::new(cx, self.party(from), status, headers, message.is_some());
        self.respond(cx, to, asked, answer.code, &answer.headers, None);
    }

    /// A party has left. What the referrer has not answered yet is repeated to it, and the referee need not know
    /// that it has gone; R-012: the Refer is followed further.
    pub(super) fn relay_left(&mut self, cx: &mut Cx<'_>, id: TransferId, at: CallSid) {
        let Some(role) = self.transfers.relay(id) else { return };
        let (near, far) = (role.near, role.far);
        if near == at {
            let passed = std::mem::take(&mut role.passed);
            for (request, to, asked) in passed {
                if to == far {
                    self.respond(cx, far, asked, 200, &Headers::new(), None);
                } else if let Some(role) = self.transfers.relay(id) {
                    role.passed.push((request, to, asked));
                }
            }
        }
        self.live(cx, id, |life, now| life.on(now, Event::CallEnded));
    }

    /// A request that was passed on has its final response.
    pub(super) fn relay_answered(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        at: CallSid,
        request: RequestId,
        status: u16,
        message: Option<&Message>,
    ) {
        let Some(role) = self.transfers.relay(id) else { return };
        if role.request != Some(request) {
            let Some(place) = role.passed.iter().position(|(passed, _, _)| *passed == request) else {
                return;
            };
            let (_, to, asked) = role.passed.remove(place);
            return self.answer_passes_on(cx, to, at, asked, status, message);
        }
        role.request = None;
        self.stop_timer(cx, id, Kind::Start);
        let Some(role) = self.transfers.relay(id) else { return };
        role.far_cseq = message.and_then(|message| message.cseq().ok()).map(|cseq| cseq.number);
        self.answer_refer(cx, id, status, message);
        if matches!(status, 401 | 407) {
            self.will_come_again(cx, id);
        }
        let event = match message {
            Some(_) => Event::Answered(status),
            None if status == 487 => Event::Cut,
            None => Event::Unanswered,
        };
        self.live(cx, id, |life, now| life.answered(now, status, event));
        // A new REFER of the referrer's is a new Refer.
        self.challenge_is_an_answer(cx, id, status);
    }

    /// The referrer hears a challenge: what it answers that with was counted in its rate before.
    fn will_come_again(&mut self, cx: &Cx<'_>, id: TransferId) {
        let Some(near) = self.transfers.relay(id).map(|role| role.near) else { return };
        let Some(party) = self.party_mut(near) else { return };
        let counted = std::mem::take(&mut party.counted);
        if let Some(trunk) = party.trunk.filter(|_| counted).and_then(|ix| cx.plan.trunk(ix)) {
            trunk.refer_challenged();
        }
    }

    /// The leg answers challenges by itself, as far as it can: one that is told of is the end, and
    /// a REFER that comes with credentials of the referrer's is a new one.
    pub(super) fn challenge_is_an_answer(&mut self, cx: &mut Cx<'_>, id: TransferId, status: u16) {
        if matches!(status, 401 | 407) {
            self.live(cx, id, |life, now| life.on(now, Event::Deadline));
        }
    }

    /// A NOTIFY of the referee goes back in the referrer's dialog, under the `id` it knows.
    pub(super) fn notify_back(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        asked: Asked,
        message: &Message,
        facts: &NotifyFacts,
    ) {
        let Some(role) = self.transfers.relay(id) else { return };
        let (near, far, near_cseq) = (role.near, role.far, role.near_cseq);
        let event = match facts.id.is_some() || role.another {
            true => format!("refer;id={near_cseq}"),
            false => "refer".to_owned(),
        };
        let headers = self.with_event(near, far, message, event);
        let sent = self.send(cx, near, "NOTIFY", headers, Body::of(message), None, Purpose::Transfer(id));
        let left = self.phase(near).is_over();
        match (sent, self.transfers.relay(id)) {
            (Ok(request), Some(role)) if !left => role.passed.push((request, far, asked)),
            // the referrer has left; the referee need not know.
            (Ok(_) | Err(_), _) => self.respond(cx, far, asked, 200, &Headers::new(), None),
        }
        match facts.code {
            Some(code) => self.live(cx, id, |life, now| life.on(now, Event::Reported(code))),
            None if facts.terminated => {}
            None => self.live(cx, id, |life, now| life.on(now, Event::Notified)),
        }
        if facts.terminated {
            self.live(cx, id, |life, now| life.on(now, Event::SubscriptionEnded));
        } else if let Some(expires) = facts.expires {
            self.live(cx, id, |life, now| {
                life.subscription_lasts(now, expires);
                None
            });
        }
    }

    /// A SUBSCRIBE of the referrer's goes on, under the `id` that the referee knows.
    pub(super) fn subscribe_on(&mut self, cx: &mut Cx<'_>, id: TransferId, asked: Asked, message: &Message) {
        let Some(role) = self.transfers.relay(id) else { return };
        let (near, far, far_cseq) = (role.near, role.far, role.far_cseq);
        let event = far_cseq.map_or_else(|| "refer".to_owned(), |cseq| format!("refer;id={cseq}"));
        let headers = self.with_event(far, near, message, event);
        let sent = self.send(cx, far, "SUBSCRIBE", headers, None, None, Purpose::Transfer(id));
        match (sent, self.transfers.relay(id)) {
            (Ok(request), Some(role)) => role.passed.push((request, near, asked)),
            (Ok(_) | Err(_), _) => self.respond(cx, near, asked, 481, &Headers::new(), None),
        }
    }

    /// What passes of a message, with another Event.
    fn with_event(&self, to: CallSid, from: CallSid, message: &Message, event: String) -> Headers {
        let mut headers = self.seen_by(to, from, message);
        headers.retain(|(name, _)| HeaderId::from_bytes(name.as_bytes()) != HeaderId::Event);
        headers.push(("Event".into(), event.into_bytes().into()));
        headers
    }
}

/// The dialog that a REFER's target is to replace.
fn named_in(message: &Message) -> Option<Named> {
    let refer_to = message.refer_to().ok().flatten()?;
    let uri = refer_to.uri().ok()?;
    let (_, value) = uri.header_fields().find(|(name, _)| is_replaces(name))?;
    Named::parse(&decode(value))
}

fn is_replaces(name: &[u8]) -> bool {
    HeaderId::from_bytes(&decode(name)) == HeaderId::Replaces
}
