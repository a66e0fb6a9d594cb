//! An INVITE comes that begins a call of Baton's own.

use super::Calls;
use super::dial::{Ask, DialFor, Offer, Template, Wanted};
use super::headers::{credentials, passing};
use super::news::Shown;
use super::party::{Party, Phase, Turn, Who};
use super::place::Target;
use super::timers::Timer;
use crate::sip::dialog::{Body, Headers, Incoming, LegId};
use crate::sip::event::{CallSid, CallStatus, Direction, Event, Offered};
use crate::sip::flow::Flow;
use crate::sip::message::uri::{Place, put_uri};
use crate::sip::message::{HeaderId, Message, NameAddr, Ready, Scheme, Uri, write};
use crate::sip::plan::{Origin, Plan, ReferMode, SessionTimer, TrunkIx};
use crate::sip::proxy::{Cx, Owned};
use crate::sip::refer::returning::Returned;
use crate::sip::transaction::ServerId;
use std::sync::Arc;
use std::time::Duration;

/// How long an application may take to decide about a call.
const DECISION: Duration = Duration::from_secs(30);

/// Max-Forwards of a request that has none (C-017).
pub(super) const MAX_FORWARDS: u8 = 70;

/// An INVITE outside a dialog, admitted and routed.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Its transaction.
    pub server: ServerId,
    /// The INVITE.
    pub message: &'a Message,
    /// What was read of it.
    pub ready: &'a Ready<'a>,
    /// The path it came by.
    pub flow: &'a Flow,
    /// Who sent it.
    pub origin: Origin,
    /// The client, if it is one.
    pub client: Option<&'a str>,
    /// What the rules say of it.
    pub to: Owned,
    /// It has come back by a Refer-To of ours: `message` has the target that is meant.
    pub returned: Option<&'a Returned>,
}

impl Arrival<'_> {
    pub(super) fn trunk(&self) -> Option<TrunkIx> {
        match self.origin {
            Origin::Trunk(trunk) => Some(trunk),
            Origin::Clients | Origin::Api => None,
        }
    }

    /// Whose it is.
    pub(super) fn who(&self) -> Option<Who> {
        self.trunk().map(Who::Trunk).or_else(|| self.client.map(|user| Who::Client(user.into())))
    }

    /// The hops that a request made from this one may still take (C-149).
    pub(super) fn hops(&self) -> Result<u8, u16> {
        self.ready.max_forwards.unwrap_or(MAX_FORWARDS).checked_sub(1).ok_or(483)
    }
}

impl Calls {
    /// Takes an INVITE. `Err` is a code for the caller to refuse it with; no leg was made then.
    pub fn incoming(&mut self, cx: &mut Cx<'_>, arrival: Arrival<'_>) -> Result<(), u16> {
        if self.is_full(cx.plan) {
            return Err(503);
        }
        let hops = arrival.hops()?;
        match &arrival.to {
            Owned::Trunks(_) | Owned::Client(_) => self.passed_on(cx, &arrival, hops),
            Owned::Application(application) => self.offered(cx, &arrival, *application),
            Owned::Replaces => self.replacing(cx, &arrival),
            Owned::TargetDialog => self.referred(cx, &arrival),
        }
    }

    /// The classic back-to-back call: the offer goes on, the answer comes back.
    fn passed_on(&mut self, cx: &mut Cx<'_>, arrival: &Arrival<'_>, hops: u8) -> Result<(), u16> {
        let message = arrival.message;
        let max_breadth = message.max_breadth().map_err(|_| 400_u16)?;
        let targets: Vec<Target> = match &arrival.to {
            Owned::Trunks(candidates) => Target::groups(candidates, message.request_uri()),
            Owned::Client(user) => {
                let secure = arrival.ready.uri.is_some_and(|uri| uri.scheme == Scheme::Sips);
                vec![Target::Client { user: user.clone(), secure }]
            }
            Owned::Application(_) | Owned::Replaces | Owned::TargetDialog => return Err(500),
        };
        // RFC 5393 §5.3.3 (C-149)
        if max_breadth.is_some_and(|breadth| (breadth as usize) < targets.len()) {
            return Err(440);
        }
        let trunk_out = targets.first().and_then(Target::trunk);
        let mut party = self.arrived(cx, arrival);
        party.account = party.account.or_else(|| cx.plan.trunk(trunk_out?)?.account.clone());
        let (sid, account) = (party.sid, party.account.clone());
        let Some(leg) = self.answering_leg(cx, arrival) else { return Ok(()) };
        self.begin(cx, party, leg, arrival);

        let believed = matches!(arrival.origin, Origin::Trunk(_));
        let trusted = matches!(arrival.to, Owned::Trunks(_));
        let mut headers = passing(message, believed, trusted);
        headers.append(&mut credentials(message, &cx.plan.calls.registrar.realm));
        self.translate_replaces(message, &mut headers);
        let mut parties = Vec::with_capacity(targets.len());
        for target in targets {
            parties.push(Wanted {
                sid: CallSid(cx.new_sid()),
                target,
                headers: headers.clone(),
                credentials: None,
            });
        }
        let template = Template {
            from: bare_address(message, HeaderId::From),
            to: Some(match arrival.ready.uri.as_ref().filter(|_| arrival.returned.is_some()) {
                // As if Baton had been referred itself: what To holds is nobody's business further on.
                Some(meant) => address_of(meant),
                None => bare_address(message, HeaderId::To),
            }),
            offer: Body::of(message).map_or(Offer::TheirsToMake, Offer::Given),
            ring: cx.plan.timings.c,
            max_forwards: hops,
            max_breadth: max_breadth.map(|breadth| breadth / parties.len().max(1) as u32),
            preferred: Some(arrival.flow.listener),
            account,
        };
        let ask = Ask { parent: sid, parties, template, why: DialFor::Route, limit: None };
        self.dial(cx, ask);
        Ok(())
    }

    /// An application decides; until then nothing but 100 is sent.
    fn offered(&mut self, cx: &mut Cx<'_>, arrival: &Arrival<'_>, ix: u16) -> Result<(), u16> {
        let application = cx.plan.calls.applications.get(usize::from(ix)).ok_or(500_u16)?;
        let account = application.account.clone();
        let mut party = self.arrived(cx, arrival);
        party.account = account.or(party.account);
        let account = party.account.clone().unwrap_or_default();
        party.application = Some(ix);
        party.steered = true;
        let sid = party.sid;
        let Some(leg) = self.answering_leg(cx, arrival) else { return Ok(()) };
        self.begin(cx, party, leg, arrival);
        let timer = self.wait(cx, DECISION, Timer::Application(sid));
        if let Some(party) = self.party_mut(sid) {
            party.timer = Some(timer);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let trunk = arrival.trunk().and_then(|ix| cx.plan.trunk(ix)).map(|trunk| trunk.name.to_string());
        let offered = Offered {
            sid,
            account,
            application: ix,
            trunk,
            from_uri: arrival.message.from().map(|from| text(from.uri)).unwrap_or_default(),
            to_uri: text(arrival.message.request_uri()),
            sdp: Body::of(arrival.message).filter(Body::is_session).map(|body| text(&body.bytes)),
            invite: arrival.message.detached().bytes().clone(),
            source: arrival.flow.remote,
        };
        self.tell(cx, Event::Offered(Box::new(offered)));
        Ok(())
    }

    /// An application has not decided in time.
    pub(super) fn undecided(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        if let Some(party) = self.party_mut(sid) {
            party.timer = None;
        }
        if self.phase(sid) == Phase::Offered && !self.dials.contains_key(&sid) {
            self.end(cx, sid, super::ending::End::refused(500));
        }
    }

    /// An application has done something about a call that it has not answered. It has time again, but not for
    /// ever: nobody upstream ends what keeps ringing (C-088).
    pub(super) fn decided(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let rings = |party: &&mut Party| party.phase == Phase::Offered && party.application.is_some();
        if self.party_mut(sid).filter(rings).is_none() {
            return;
        }
        self.settled(cx, sid);
        let timer = self.wait(cx, cx.plan.timings.c, Timer::Ringing(sid));
        if let Some(party) = self.party_mut(sid) {
            party.timer = Some(timer);
        }
    }

    /// It has rung for long. While others ring for it, that is their affair.
    pub(super) fn still_ringing(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let Some(party) = self.party_mut(sid) else { return };
        party.timer = None;
        let waits = party.join.is_some() || self.dials.contains_key(&sid);
        match waits {
            true => self.decided(cx, sid),
            false if self.phase(sid) == Phase::Offered => self.end(cx, sid, super::ending::End::refused(480)),
            false => {}
        }
    }

    /// Nobody has to decide about a call any more.
    fn settled(&mut self, cx: &mut Cx<'_>, sid: CallSid) {
        let timer =
            self.party_mut(sid).filter(|party| party.phase == Phase::Offered).and_then(|p| p.timer.take());
        if let Some(timer) = timer {
            self.timers.cancel(cx, timer);
        }
    }

    /// The party that sent an INVITE.
    pub(super) fn arrived(&self, cx: &mut Cx<'_>, arrival: &Arrival<'_>) -> Party {
        let mut party = Party::new(CallSid(cx.new_sid()), Direction::Inbound, Phase::Offered, cx.now);
        party.trunk = arrival.trunk();
        party.client = arrival.client.map(Arc::from);
        let by_trunk = party.trunk.and_then(|ix| cx.plan.trunk(ix)?.account.clone());
        let by_client = arrival.client.and_then(|user| cx.plan.calls.clients.get(user)?.account.clone());
        party.account = by_trunk.or(by_client);
        party
    }

    /// The leg of an INVITE; `None` when it was refused already.
    pub(super) fn answering_leg(&mut self, cx: &mut Cx<'_>, arrival: &Arrival<'_>) -> Option<LegId> {
        let options = Incoming {
            allow_refer: !matches!(mode_of(cx.plan, arrival.trunk()), ReferMode::Reject(_)),
            session: session_of(cx.plan, arrival.trunk()),
        };
        self.legs.incoming(cx, arrival.server, arrival.message, arrival.ready, arrival.flow, options).ok()
    }

    /// A call has come: it is told, and counts as ringing at once (Calls API 7).
    pub(super) fn begin(&mut self, cx: &mut Cx<'_>, mut party: Party, leg: LegId, arrival: &Arrival<'_>) {
        let (sid, message) = (party.sid, arrival.message);
        party.leg = Some(leg);
        party.made = Body::of(message).filter(Body::is_session);
        self.enter(party);
        self.introduces(sid, message);
        self.announce(cx, sid, Shown { cause: arrival.returned.map(|it| it.cause), ..Shown::of(message) });
        self.progress(cx, sid, CallStatus::Ringing, 0);
        self.tell_headers(cx, sid, message);
    }

    /// Answers an INVITE that came.
    pub(super) fn accept(
        &mut self,
        cx: &mut Cx<'_>,
        sid: CallSid,
        fork: crate::sip::dialog::Fork,
        headers: &Headers,
        body: Option<&Body>,
    ) {
        let Some(leg) = self.leg_of(sid) else { return };
        self.settled(cx, sid);
        if let Some(party) = self.party_mut(sid) {
            party.turn(Turn::Answer);
        }
        self.legs.answer(cx, leg, fork, headers, body);
        self.progress(cx, sid, CallStatus::InProgress, 200);
    }

    /// What happens to a REFER of this party.
    pub(super) fn refer_mode(&self, plan: &Plan, sid: CallSid) -> ReferMode {
        let Some(party) = self.party(sid) else { return ReferMode::Relay };
        match party.trunk {
            Some(trunk) => mode_of(plan, Some(trunk)),
            None if party.client.is_some() => plan.calls.registrar.refer,
            None => ReferMode::Relay,
        }
    }
}

pub(super) fn mode_of(plan: &Plan, trunk: Option<TrunkIx>) -> ReferMode {
    trunk.and_then(|ix| plan.trunk(ix)).map_or(plan.calls.registrar.refer, |trunk| trunk.refer)
}

pub(super) fn session_of(plan: &Plan, trunk: Option<TrunkIx>) -> SessionTimer {
    trunk.and_then(|ix| plan.trunk(ix)).map_or(SessionTimer::default(), |trunk| trunk.owned.session)
}

/// The address of record that a Request-URI stands for (C-035).
fn address_of(uri: &Uri<'_>) -> Box<[u8]> {
    let mut out = vec![b'<'];
    put_uri(&mut out, uri, Place::FromTo);
    out.push(b'>');
    out.into()
}

/// From or To as it came, without its parameters: the tag is the leg's own.
pub(super) fn bare_address(message: &Message, id: HeaderId) -> Box<[u8]> {
    let mut out = Vec::new();
    if let Some(address) = message.header(id).and_then(|value| NameAddr::parse(value).ok()) {
        write::put_name_addr(&mut out, address.display, address.uri);
    }
    out.into()
}
