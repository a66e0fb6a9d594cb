//! Role T: an order wants a leg's party transferred; Baton sends REFER and follows what comes of it
//! (refer-core section 8).
//!
//! The leg waits with the REFER until its dialog is confirmed and no offer is open, and
//! answers challenges. Here are the retries, the subscription, and the end of the leg.

use super::super::Calls;
use super::super::Purpose;
use super::super::ending::End;
use super::super::headers::given;
use super::table::{Kind, Role, TransferId};
use crate::sip::command::{ReferOrder, Refused};
use crate::sip::dialog::{Headers, RequestId, Role as Side};
use crate::sip::event::{CallSid, EndedBy, Event as Told, ReferRole};
use crate::sip::message::{HeaderId, Message, Method, Uri, write};
use crate::sip::proxy::Cx;
use crate::sip::refer::ReferRule;
use crate::sip::refer::life::Subject;
use crate::sip::refer::replaces::Named;
use crate::sip::refer::request::is_false;
use crate::sip::refer::state::Event;
use crate::sip::refer::subscriber::{Subscribe, Subscriber};
use crate::sip::refer::{NotifyFacts, target};
use std::collections::VecDeque;
use std::time::Duration;

/// Times a REFER is sent again because of glare.
const MOST_GLARES: u8 = 3;

/// The longest Retry-After that is waited for.
const LONGEST_RETRY: u32 = 10;

/// What Referred-By says.
#[derive(Clone, Debug)]
struct Referrer {
    /// A display name, or nothing.
    name: Box<[u8]>,
    uri: Box<[u8]>,
}

/// A REFER of Baton's.
#[derive(Debug)]
pub(super) struct Transferor {
    /// The leg whose party is to call somebody else.
    pub(super) at: CallSid,
    order: ReferOrder,
    headers: Headers,
    by: Referrer,
    /// Refer-To's URIs: the one that is tried, and what may be tried after it.
    targets: VecDeque<Box<[u8]>>,
    pub(super) subscriber: Subscriber,
    request: Option<RequestId>,
    glares: u8,
    retried: bool,
    /// The last refusal that it is sent again after.
    refused: u16,
    held: bool,
    /// Set when the party has left: whom it talked to, and who waits for the result.
    left: Option<Option<CallSid>>,
    /// For whom it was called, who hears of its end then, too.
    parent: Option<CallSid>,
}

impl Calls {
    /// The order is taken or refused at once; all else is told later.
    pub(super) fn refer_ordered(
        &mut self,
        cx: &mut Cx<'_>,
        at: CallSid,
        order: ReferOrder,
    ) -> Result<(), Refused> {
        if self.transfers.active(at) {
            return Err(Refused::Busy);
        }
        if self.transfers_full(cx.plan) {
            return Err(Refused::Full);
        }
        let headers = given(&order.headers)?;
        let targets = self.refer_targets(at, &order)?;
        let by = self.referred_by(at, order.referred_by.as_deref())?;
        let party = self.party(at).ok_or(Refused::Unknown)?;
        if !party.phase.is_answered() {
            return Err(if party.phase.is_over() { Refused::Ended } else { Refused::NotAnswered });
        }
        let facts = self.facts(at).ok_or(Refused::Unknown)?;
        let knows_refer =
            facts.allows(Method::Refer) != Some(false) && !self.party(at).is_some_and(|party| party.deaf);
        // the party sends an INVITE with Replaces, and the consultation's far end must understand it.
        let consults = order.replaces.and_then(|sid| self.facts(sid));
        let replaces = consults.is_none_or(|far| {
            [facts.supports, far.supports].iter().all(|supports| supports.replaces || !supports.known)
        });
        let first = targets.front().cloned().unwrap_or_default();
        let shown = first.split(|b| *b == b'?').next().unwrap_or_default();
        let subject = Subject {
            sid: order.sid,
            call: at,
            account: party.account.clone().unwrap_or_else(|| "".into()),
            role: ReferRole::Transferor,
            from: String::from_utf8_lossy(&by.uri).into_owned(),
            to: String::from_utf8_lossy(shown).into_owned(),
            rule: ReferRule::Api,
            moved: None,
            // The party that it is to talk to, by a call of its own.
            target: order.replaces,
        };
        let (trunk, force, hold) = (party.trunk, order.force, order.hold);
        let consultation = order.replaces;
        let role = Transferor {
            at,
            order,
            headers,
            by,
            targets,
            subscriber: Subscriber::new(),
            request: None,
            glares: 0,
            retried: false,
            refused: 0,
            held: false,
            left: None,
            parent: None,
        };
        let id = self.begin_transfer(cx, subject, trunk, Role::Transferor(Box::new(role)));
        if let Some(sid) = consultation {
            self.involve(id, sid);
        }
        // refused before anything is sent, with the code the peer would give.
        let early = if !knows_refer { Some(405) } else { (!replaces).then_some(420) };
        if let Some(code) = early.filter(|_| !force) {
            self.live(cx, id, |life, now| life.answered(now, code, Event::Answered(code)));
            return Ok(());
        }
        if hold {
            // the re-INVITE goes first, and the REFER waits until it is done.
            let _ = self.hold(cx, at);
            if let Some(role) = self.transfers.transferor(id) {
                role.held = true;
            }
        }
        self.send_refer(cx, id, Event::Sent);
        Ok(())
    }

    /// What Refer-To may say, in the order of trial (section 5.1, R-050).
    fn refer_targets(&self, at: CallSid, order: &ReferOrder) -> Result<VecDeque<Box<[u8]>>, Refused> {
        let asked = match order.to.as_str() {
            "" if order.replaces.is_some() => None,
            to => {
                let whole = self.at_contact(at, to.as_bytes())?;
                let text = std::str::from_utf8(&whole).map_err(|_| Refused::Malformed)?;
                Some(target::outgoing(text).map_err(|_| Refused::Malformed)?)
            }
        };
        let Some(consultation) = order.replaces else { return Ok(asked.into_iter().collect()) };
        let far = self.facts(consultation).ok_or(Refused::Unknown)?;
        if !self.phase(consultation).is_answered() {
            return Err(Refused::NotAnswered);
        }
        let named = Named {
            call_id: far.call_id.into(),
            to_tag: far.remote_tag.into(),
            from_tag: far.local_tag().as_slice().into(),
            early_only: false,
        };
        let record = asked.as_deref().unwrap_or(far.remote_uri());
        let mut targets: VecDeque<Box<[u8]>> = VecDeque::new();
        for uri in [far.remote_target, record] {
            let mut uri = uri.to_vec();
            named.put_into_uri(&mut uri);
            if targets.back().is_none_or(|last| **last != *uri) {
                targets.push_back(uri.into());
            }
        }
        Ok(targets)
    }

    /// Who is said to ask for it.
    fn referred_by(&self, at: CallSid, given: Option<&str>) -> Result<Referrer, Refused> {
        let Some(given) = given else {
            let own = self.facts(at).map(|facts| facts.local_uri().into()).unwrap_or_default();
            return Ok(Referrer { name: Box::default(), uri: own });
        };
        if given.bytes().any(|b| b.is_ascii_control()) {
            return Err(Refused::Malformed);
        }
        let (name, uri) = match given.split_once('<') {
            Some((name, rest)) => {
                let (uri, _) = rest.split_once('>').ok_or(Refused::Malformed)?;
                (name.trim().as_bytes().into(), uri)
            }
            None => (Box::default(), given),
        };
        let uri = self.at_contact(at, uri.as_bytes())?;
        match std::str::from_utf8(&uri) {
            Ok(text) if fits_brackets(text) => Ok(Referrer { name, uri }),
            _ => Err(Refused::Malformed),
        }
    }

    /// A URI as it is; a bare user at the host of the party's Contact.
    fn at_contact(&self, at: CallSid, given: &[u8]) -> Result<Box<[u8]>, Refused> {
        if given.is_empty() || given.contains(&b':') {
            return Ok(given.into());
        }
        let facts = self.facts(at).ok_or(Refused::Unknown)?;
        let contact = Uri::parse(facts.remote_target).map_err(|_| Refused::Unknown)?;
        let (open, close): (&[u8], &[u8]) = if contact.host_is_v6() { (b"[", b"]") } else { (b"", b"") };
        Ok([b"sip:", given, b"@", open, contact.host, close].concat().into())
    }

    /// Sends the REFER, for the first time or again.
    pub(super) fn send_refer(&mut self, cx: &mut Cx<'_>, id: TransferId, event: Event) {
        let Some(role) = self.transfers.transferor(id) else { return };
        let at = role.at;
        let Some(to) = role.targets.front() else { return };
        let mut headers: Headers = vec![("Refer-To".into(), [b"<", &**to, b">"].concat().into())];
        let (no_subscription, credentials) = (role.order.no_subscription, role.order.credentials.clone());
        let (by, extra) = (role.by.clone(), role.headers.clone());
        let said = extra.iter().any(|(name, _)| name.eq_ignore_ascii_case("Referred-By"));
        if !said {
            let mut value = Vec::new();
            write::put_name_addr(&mut value, &by.name, &by.uri);
            headers.push(("Referred-By".into(), value.into()));
        }
        if no_subscription {
            headers.push(("Refer-Sub".into(), b"false".as_slice().into()));
        }
        headers.push(("Accept".into(), b"message/sipfrag".as_slice().into()));
        headers.extend(extra);
        let sent = self.send(cx, at, "REFER", headers, None, credentials, Purpose::Transfer(id));
        match sent {
            Ok(request) => {
                if let Some(role) = self.transfers.transferor(id) {
                    role.request = Some(request);
                    role.subscriber.attempt();
                }
                self.live(cx, id, |life, now| life.on(now, event));
            }
            Err(_) => self.live(cx, id, |life, now| life.answered(now, 503, Event::Unanswered)),
        }
    }

    /// A request of this transfer has its final response.
    pub(super) fn transferor_answered(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        request: RequestId,
        status: u16,
        message: Option<&Message>,
    ) {
        let now = cx.now;
        let Some(role) = self.transfers.transferor(id) else { return };
        if role.request != Some(request) {
            let cseq = message.and_then(|message| message.cseq().ok());
            if let Some(cseq) = cseq.filter(|cseq| cseq.method == Method::Refer) {
                // A REFER that was given up: its answer decides nothing.
                return role.subscriber.answered_earlier(cseq.number);
            }
            // A SUBSCRIBE of ours, which the result may take as long to come as it grants.
            let expires = message.and_then(|m| m.expires().ok().flatten());
            role.subscriber.answered(now, status, expires);
            if let Some(expires) = expires.filter(|_| (200..300).contains(&status)) {
                self.live(cx, id, |life, now| {
                    life.subscription_lasts(now, Duration::from_secs(expires.into()));
                    None
                });
            }
            return self.watch(cx, id);
        }
        role.request = None;
        let at = role.at;
        let Some(message) = message else {
            let event = match status {
                // The dialog is over and took the answer with it.
                487 => Event::Cut,
                _ => Event::Unanswered,
            };
            let code = if status == 487 { 408 } else { status };
            return self.live(cx, id, |life, now| life.answered(now, code, event));
        };
        if let Ok(cseq) = message.cseq() {
            role.subscriber.answered_refer(cseq.number);
        }
        let unmonitored =
            role.order.no_subscription && message.header(HeaderId::ReferSub).is_some_and(is_false);
        let active = self.transfers.get(id).is_some_and(|t| !t.life.is_over());
        match status {
            200..=299 if unmonitored => {
                self.live(cx, id, |life, now| life.answered(now, status, Event::Unmonitored));
            }
            491 | 500 | 503 if active && self.tries_again(cx, id, status, message) => {}
            _ => {
                if matches!(status, 405 | 501)
                    && let Some(party) = self.party_mut(at)
                {
                    party.deaf = true;
                }
                self.live(cx, id, |life, now| life.answered(now, status, Event::Answered(status)));
                self.challenge_is_an_answer(cx, id, status);
            }
        }
    }

    /// glare, and a peer that names a short time.
    fn tries_again(&mut self, cx: &mut Cx<'_>, id: TransferId, status: u16, message: &Message) -> bool {
        let random = cx.random();
        let retry_after = message.retry_after().ok().flatten();
        let Some(role) = self.transfers.transferor(id) else { return false };
        let at = role.at;
        let after = match status {
            491 if role.glares < MOST_GLARES => {
                role.glares += 1;
                // RFC 3261 §14.1: in units of 10 ms; who owns the Call-ID waits longer.
                let owner = self.facts(at).is_some_and(|facts| facts.role == Side::Caller);
                let units = if owner { 210 + random % 191 } else { random % 201 };
                Duration::from_millis(10 * units)
            }
            500 | 503 if !role.retried => {
                let Some(seconds) = retry_after.filter(|s| *s <= LONGEST_RETRY) else { return false };
                role.retried = true;
                Duration::from_secs(seconds.into())
            }
            _ => return false,
        };
        if let Some(role) = self.transfers.transferor(id) {
            role.refused = status;
        }
        self.transfer_timer(cx, id, Kind::Again, after);
        true
    }

    /// A NOTIFY about an attempt that another one has followed: told, and nothing more.
    pub(super) fn noted(&mut self, cx: &mut Cx<'_>, id: TransferId, facts: &NotifyFacts) {
        let Some(transfer) = self.transfers.get(id) else { return };
        let (sid, call) = (transfer.life.subject.sid, transfer.life.subject.call);
        if let Some(code) = facts.code {
            self.tell(cx, Told::ReferNotified(sid, call, code));
        }
    }

    /// A NOTIFY for this Refer came; it has its 200.
    pub(super) fn notified(&mut self, cx: &mut Cx<'_>, id: TransferId, facts: &NotifyFacts) {
        let now = cx.now;
        let Some(transfer) = self.transfers.get_mut(id) else { return };
        let outcome_by = transfer.life.outcome_by();
        let Role::Transferor(role) = &mut transfer.role else { return };
        let past = role.subscriber.ends_earlier(facts);
        if !past {
            role.subscriber.notified(now, facts, outcome_by);
        }
        self.noted(cx, id, facts);
        if past {
            return;
        }
        let Some(transfer) = self.transfers.get_mut(id) else { return };
        let Role::Transferor(role) = &mut transfer.role else { return };
        // a Contact that cannot be reached is tried once more by its address of record.
        let contact_failed = matches!(facts.code, Some(403 | 404 | 408)) && role.targets.len() > 1;
        if contact_failed && !transfer.life.is_over() && role.left.is_none() {
            role.targets.pop_front();
            role.subscriber.failed(facts);
            return self.send_refer(cx, id, Event::Repeated);
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
        self.watch(cx, id);
    }

    /// Sets the timer for the refresh of the subscription.
    fn watch(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let wakes = self.transfers.transferor(id).and_then(|role| role.subscriber.wakes_at());
        match wakes {
            Some(at) => self.transfer_timer(cx, id, Kind::Refresh, at.since(cx.now)),
            None => self.stop_timer(cx, id, Kind::Refresh),
        }
    }

    /// The subscription would run out before the result is given up on.
    pub(super) fn refresh(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let now = cx.now;
        let Some(transfer) = self.transfers.get_mut(id) else { return };
        let outcome_by = transfer.life.outcome_by();
        let over = transfer.life.is_over();
        let Role::Transferor(role) = &mut transfer.role else { return };
        if let Some(subscribe) = role.subscriber.poll(now, outcome_by).filter(|_| !over) {
            self.subscribe(cx, id, subscribe);
        }
    }

    fn subscribe(&mut self, cx: &mut Cx<'_>, id: TransferId, subscribe: Subscribe) {
        let Some(at) = self.transfers.transferor(id).map(|role| role.at) else { return };
        let headers: Headers = vec![
            ("Event".into(), subscribe.event().into_bytes().into()),
            ("Expires".into(), subscribe.expires.to_string().into_bytes().into()),
            ("Accept".into(), b"message/sipfrag".as_slice().into()),
        ];
        let _ = self.send(cx, at, "SUBSCRIBE", headers, None, None, Purpose::Transfer(id));
    }

    /// The Refer has its result: what becomes of the leg.
    pub(super) fn transferor_done(&mut self, cx: &mut Cx<'_>, id: TransferId, success: bool) {
        self.stop_timer(cx, id, Kind::Again);
        self.stop_timer(cx, id, Kind::Refresh);
        let Some(role) = self.transfers.transferor(id) else { return };
        let (at, held, left, parent) = (role.at, role.held, role.left, role.parent);
        let open = role.request;
        let bye_after = role.order.bye_after.filter(|_| success && left.is_none());
        let unsubscribe = role.subscriber.end().filter(|_| bye_after.is_none() && left.is_none());
        if let Some(subscribe) = unsubscribe {
            self.subscribe(cx, id, subscribe);
        }
        // what has gone out cannot be recalled; what has not stays here.
        if open.is_some_and(|request| self.forgo(cx, at, request))
            && let Some(role) = self.transfers.transferor(id)
        {
            role.request = None;
        }
        match left {
            Some(other) => {
                self.left_waiting(cx, other);
                if let Some(parent) = parent {
                    self.winner_gone(cx, parent);
                }
            }
            None if success => match bye_after {
                Some(after) if after.is_zero() => self.say_goodbye(cx, id),
                Some(after) => self.transfer_timer(cx, id, Kind::Bye, after),
                None => {}
            },
            None if held => {
                let _ = self.resume(cx, at);
            }
            None => {}
        }
    }

    /// The transferred party's leg is ended, unless it has ended itself.
    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        if let Some(at) = self.transfers.transferor(id).map(|role| role.at) {
            self.end(cx, at, End::bye(EndedBy::Baton, Headers::new()));
        }
    }

    /// The party, or the consultation, has left. The grace begins; whom the party talked to is kept
    /// until the result is known.
    pub(super) fn transferor_left(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        at: CallSid,
        other: Option<CallSid>,
    ) -> bool {
        let parent = self.party(at).and_then(|party| party.parent);
        let Some(transfer) = self.transfers.get_mut(id) else { return false };
        let over = transfer.life.is_over();
        let Role::Transferor(role) = &mut transfer.role else { return false };
        if role.at != at {
            return false;
        }
        if over {
            self.stop_timer(cx, id, Kind::Bye);
            return false;
        }
        role.left = Some(other);
        role.parent = parent;
        let refused = role.refused;
        let again = self.waits_for(id, Kind::Again);
        self.stop_timer(cx, id, Kind::Again);
        self.own_dial_lost(cx, at, None);
        self.live(cx, id, |life, now| match again {
            // No answer is to come any more, as with a REFER that the end of the call has cut off.
            true => life.answered(now, refused, Event::Cut),
            false => life.on(now, Event::CallEnded),
        });
        true
    }

    /// The result is known, and who waited for it has nobody to talk to any more.
    fn left_waiting(&mut self, cx: &mut Cx<'_>, other: Option<CallSid>) {
        let Some(other) = other else { return };
        let alone = self.party(other).is_some_and(|party| party.talks_to.is_none() && !party.steered);
        if alone {
            self.end(cx, other, End::bye(EndedBy::OtherLeg, Headers::new()));
        }
    }
}

/// Whether a text is a URI, and nothing that could leave the angle brackets it is put into (C-212).
fn fits_brackets(uri: &str) -> bool {
    let stays = |b: u8| b > b' ' && b != 0x7f && !b"<>\"".contains(&b);
    uri.bytes().all(stays) && Uri::parse(uri.as_bytes()).is_ok()
}
