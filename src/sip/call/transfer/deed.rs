//! Role S: the target is found, called, and joined with the party that is moved (R-054 to R-058,
//! section 5.4).

use super::super::Calls;
use super::super::arrival::MAX_FORWARDS;
use super::super::dial::{Ask, DialFor, DialNews, Offer, Template, Wanted};
use super::super::ending::End;
use super::super::joining::{JoinFor, JoinResult, Start};
use super::super::place::Target as Place;
use super::substitute::{Choice, Deed};
use super::table::{Kind, Role, TransferId};
use crate::sip::dialog::Headers;
use crate::sip::event::{CallSid, CallStatus, DialEnded, EndedBy, Event as Told};
use crate::sip::message::{Scheme, Uri, uri};
use crate::sip::plan::{Action, Fork, Mode, Origin, Plan};
use crate::sip::proxy::{Cx, target};
use crate::sip::refer::ReferRule;
use crate::sip::refer::decide::Refusal;
use crate::sip::refer::policy::TargetRouting;
use crate::sip::refer::state::{Event, State};
use crate::sip::refer::target::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// Reason of the CANCEL to a target that is not wanted any more.
const NOT_WANTED: &str = "SIP;cause=487;text=\"Request Terminated\"";

/// How often an unfinished exchange is looked at again, and how many times: 4 s in all.
const AGAIN: Duration = Duration::from_millis(200);
const TIMES: u8 = 20;

/// Further life of the dialling beyond the ring time of the Refer, which decides.
const SLACK: Duration = Duration::from_secs(5);

impl Calls {
    /// What is to be done for a REFER that may be performed.
    pub(super) fn choose(&mut self, cx: &mut Cx<'_>, id: TransferId) -> Choice {
        let Some(role) = self.transfers.substitute(id) else { return Choice::Wait };
        if let Verdict::Denied(at) = role.request.target.judge(&role.policy) {
            return Choice::Refuse(Refusal::by(ReferRule::of_target(&role.policy, at), 403));
        }
        match role.request.target.replaces.clone() {
            Some(named) => self.choose_attended(cx, id, &named),
            None => self.choose_call(cx, id),
        }
    }

    /// the target's way, by the rules that an INVITE of the same trunk would go by.
    pub(super) fn choose_call(&mut self, cx: &mut Cx<'_>, id: TransferId) -> Choice {
        let Some(role) = self.transfers.substitute(id) else { return Choice::Wait };
        let (referrer, survivor, routing) = (role.referrer, role.survivor, role.policy.routing);
        let wanted = role.request.target.uri.clone();
        let mut raw = wanted.clone();
        if let Ok(tel) = Uri::parse(&wanted)
            && tel.scheme == Scheme::Tel
        {
            // C-039: trunks speak SIP.
            let mut sip = Vec::new();
            uri::tel_to_sip(&mut sip, &tel, self.own_host().as_bytes());
            raw = sip.into();
        }
        // whichever way the target came to be known.
        let secured = [referrer, survivor].iter().any(|sid| self.facts(*sid).is_some_and(|f| f.secure));
        if let Some(rest) = raw.strip_prefix(b"sip:").filter(|_| secured) {
            raw = [b"sips:", rest].concat().into();
        }
        let origin = |sid: CallSid| {
            let party = self.party(sid)?;
            party.trunk.map(Origin::Trunk).or_else(|| party.client.as_ref().map(|_| Origin::Clients))
        };
        let places = match routing {
            TargetRouting::BackToReferrer => {
                let Some(Origin::Trunk(trunk)) = origin(referrer) else {
                    return Choice::Refuse(Refusal::by(ReferRule::Routes, 403));
                };
                // whatever host the target names.
                let back = Action::Trunks { to: vec![trunk], fork: Fork::Serial, mode: Mode::B2bua };
                let rng = &mut *cx.rng;
                let mut found = target::candidates(cx.plan, &back, || rand_core::Rng::next_u64(rng));
                if secured {
                    target::keep_secure(cx.plan, &mut found);
                }
                Place::groups(&found, &raw)
            }
            TargetRouting::Referrer | TargetRouting::Survivor => {
                let from = if routing == TargetRouting::Survivor { survivor } else { referrer };
                let Some(origin) = origin(from) else {
                    return Choice::Refuse(Refusal::by(ReferRule::Routes, 403));
                };
                self.resolve(cx, origin, &raw, false)
            }
        };
        match places.first() {
            None => Choice::Refuse(Refusal::by(ReferRule::Routes, cx.plan.routing.none_usable)),
            Some(Place::Refused { code, .. }) => Choice::Refuse(Refusal::by(ReferRule::Routes, *code)),
            Some(_) => Choice::Do(Deed::Call(places)),
        }
    }

    /// Begins what was chosen, as soon as no exchange is open on either leg.
    pub(super) fn start(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let Some(transfer) = self.transfers.get(id) else { return };
        let Role::Substitute(role) = &transfer.role else { return };
        if transfer.life.is_over() || transfer.life.state() == State::Pending {
            return;
        }
        let (referrer, survivor, waited) = (role.referrer, role.survivor, role.waited);
        let open = [referrer, survivor].iter().any(|sid| self.facts(*sid).is_some_and(|f| f.offer_open));
        // a branch that rings is taken over before it can be given up; nobody is told anything by that.
        let at_once = matches!(role.deed, Deed::Adopt(_));
        if open && waited < TIMES && !at_once {
            if let Some(role) = self.transfers.substitute(id) {
                role.waited += 1;
            }
            return self.transfer_timer(cx, id, Kind::Start, AGAIN);
        }
        let Some(role) = self.transfers.substitute(id) else { return };
        match std::mem::replace(&mut role.deed, Deed::Open) {
            Deed::Open => {}
            Deed::Call(places) => self.call_target(cx, id, places),
            Deed::Adopt(consultation) => {
                self.park(id, survivor);
                let child = self.ringing_for(consultation);
                let adopted = self.adopt(cx, consultation, survivor, DialFor::Transfer(id));
                if let Some(child) = child.filter(|_| adopted) {
                    self.found(cx, id, child);
                    self.live(cx, id, |life, now| life.on(now, Event::Reported(180)));
                    self.progressed(cx, id, 180);
                } else {
                    self.failed_with(cx, id, 481, Event::Reported(481));
                }
            }
            Deed::Await => {
                self.park(id, survivor);
                self.live(cx, id, |life, now| life.on(now, Event::Reported(180)));
                self.progressed(cx, id, 180);
            }
            Deed::Join(far) => {
                self.live(cx, id, |life, now| life.on(now, Event::TargetAnswered));
                self.join(cx, survivor, far, Start::Up, JoinFor::Transfer(id));
            }
            Deed::Fail(code) => self.failed_with(cx, id, code, Event::Reported(code)),
        }
    }

    /// The INVITE of section 5.4.
    fn call_target(&mut self, cx: &mut Cx<'_>, id: TransferId, places: Vec<Place>) {
        let Some(role) = self.transfers.substitute(id) else { return };
        let (referrer, survivor, routing) = (role.referrer, role.survivor, role.policy.routing);
        let request = &role.request;
        let mut headers = request.headers.clone();
        if let Some(named) = &request.target.replaces {
            headers.push(("Replaces".into(), named.value().into()));
            if request.target.require_replaces {
                headers.push(("Require".into(), b"replaces".as_slice().into()));
            }
        }
        let (to, hops, breadth) = (request.target.to(), request.hops, request.breadth);
        self.park(id, survivor);
        let Some(party) = self.party(survivor) else { return };
        // whoever could have placed the call pays for it, unless the call is a program's.
        let by_survivor = routing == TargetRouting::Survivor || party.application.is_some() || party.steered;
        let account = self.pays(cx.plan, referrer).filter(|_| !by_survivor).or(party.account.clone());
        // Who wished to stay unknown does so towards the target, too (C-186), and only trunks are told who it is.
        let trusted = places.iter().all(|place| place.trunk().is_some());
        let introduced = self.introduced(cx.plan, survivor);
        if introduced.is_empty() || self.is_private(survivor) && !trusted {
            headers.extend(party.privacy.clone().map(|privacy| ("Privacy".into(), privacy)));
        } else {
            headers.extend(introduced);
        }
        let facts = self.facts(survivor);
        let template = Template {
            // The party that is moved is who calls; its own wishes about its name stand in it.
            from: facts.as_ref().map(|facts| facts.remote.into()).unwrap_or_default(),
            to: Some(to),
            // what it can do now, or the target makes the offer.
            offer: self.current_offer(survivor).map_or(Offer::TheirsToMake, Offer::Given),
            ring: cx.plan.calls.ring_time + SLACK,
            max_forwards: hops.min(MAX_FORWARDS).saturating_sub(1),
            max_breadth: breadth,
            preferred: facts.as_ref().map(|facts| facts.flow.listener),
            account,
        };
        let mut parties = Vec::with_capacity(places.len());
        for target in places {
            let sid = CallSid(cx.new_sid());
            parties.push(Wanted { sid, target, headers: headers.clone(), credentials: None });
        }
        let first = parties.first().map(|wanted| wanted.sid);
        self.tie(id, |subject| subject.target = first);
        self.live(cx, id, |life, now| life.on(now, Event::Reported(100)));
        if let Some(first) = first {
            self.involve(id, first);
        }
        let ask = Ask { parent: survivor, parties, template, why: DialFor::Transfer(id), limit: None };
        self.dial(cx, ask);
    }

    /// The account of a party's own trunk, or its own as a client.
    fn pays(&self, plan: &Plan, sid: CallSid) -> Option<Arc<str>> {
        let party = self.party(sid)?;
        let steered = party.application.is_some() || party.steered;
        let by_trunk = party.trunk.and_then(|ix| plan.trunk(ix)?.account.clone());
        let by_client = || plan.calls.clients.get(party.client.as_deref()?)?.account.clone();
        by_trunk.or_else(by_client).filter(|_| !steered)
    }

    pub(super) fn found(&mut self, _cx: &mut Cx<'_>, id: TransferId, target: CallSid) {
        self.involve(id, target);
        self.tie(id, |subject| subject.target = Some(target));
        if let Some(role) = self.transfers.substitute(id) {
            role.target = Some(target);
        }
    }

    fn progressed(&mut self, cx: &mut Cx<'_>, id: TransferId, code: u16) {
        if let Some(role) = self.transfers.substitute(id) {
            role.notifier.progress(code);
        }
        self.pump(cx, id);
    }

    /// What came of the call to the target.
    pub(super) fn target_news(&mut self, cx: &mut Cx<'_>, id: TransferId, news: DialNews) {
        match news {
            DialNews::Progress { code } => {
                self.live(cx, id, |life, now| life.on(now, Event::Reported(code)));
                self.progressed(cx, id, code);
            }
            DialNews::Failed { code } => self.failed_with(cx, id, code, Event::Reported(code)),
            DialNews::Answered { target, start } => {
                self.unpark(cx, id);
                self.found(cx, id, target);
                let Some(transfer) = self.transfers.get(id) else { return };
                let Role::Substitute(role) = &transfer.role else { return };
                let (survivor, early) = (role.survivor, role.policy.notify_on_answer);
                if transfer.life.is_over() || self.phase(survivor).is_over() {
                    return self.end(cx, target, End::bye(EndedBy::Baton, Headers::new()));
                }
                self.live(cx, id, |life, now| life.on(now, Event::TargetAnswered));
                if early && let Some(role) = self.transfers.substitute(id) {
                    // R-064, the other way: the referrer may go as soon as the target is there.
                    role.notifier.result(200);
                }
                self.pump(cx, id);
                self.join(cx, survivor, target, start, JoinFor::Transfer(id));
            }
        }
    }

    /// What came of the join.
    pub(super) fn parties_joined(&mut self, cx: &mut Cx<'_>, id: TransferId, result: JoinResult) {
        let Some(role) = self.transfers.substitute(id) else { return };
        let (survivor, target, consultation) = (role.survivor, role.target, role.consultation);
        match result {
            JoinResult::Joined => {
                let count = self.party(survivor).map_or(1, |party| party.transfers.saturating_add(1));
                for sid in [Some(survivor), target].into_iter().flatten() {
                    if let Some(party) = self.party_mut(sid) {
                        party.transfers = count;
                    }
                }
                self.concluded_with(cx, id, 200, Event::Joined);
            }
            // the target leaves, or stays with whom it talked to.
            JoinResult::Refused { .. } => {
                self.concluded_with(cx, id, 488, Event::JoinFailed);
                self.drop_target(cx, target, consultation);
            }
            //
            JoinResult::TargetGone => self.concluded_with(cx, id, 480, Event::JoinFailed),
            JoinResult::SurvivorGone => self.survivor_left(cx, id),
        }
    }

    /// A target that was not joined after all; one that is the far half of a consultation stays in it.
    fn drop_target(&mut self, cx: &mut Cx<'_>, target: Option<CallSid>, consultation: Option<CallSid>) {
        let Some(target) = target else { return };
        let consults = consultation.is_some() && self.other(target) == consultation;
        if !consults {
            self.end(cx, target, End::bye(EndedBy::Baton, Headers::new()));
        }
    }

    /// The target failed: told, and the original call is as it was.
    fn failed_with(&mut self, cx: &mut Cx<'_>, id: TransferId, code: u16, event: Event) {
        self.unpark(cx, id);
        self.concluded_with(cx, id, code, event);
    }

    /// The result, to the referrer with this code.
    fn concluded_with(&mut self, cx: &mut Cx<'_>, id: TransferId, code: u16, event: Event) {
        if let Some(role) = self.transfers.substitute(id) {
            role.notifier.result(code);
        }
        self.live(cx, id, |life, now| {
            life.reports(code);
            life.on(now, event)
        });
        self.pump(cx, id);
    }

    /// The target is not wanted any more, however far it is; then the result.
    pub(super) fn call_off(&mut self, cx: &mut Cx<'_>, id: TransferId, code: u16, event: Event) {
        let Some(role) = self.transfers.substitute(id) else { return };
        let (at, survivor, target, consultation) =
            (role.referrer, role.survivor, role.target, role.consultation);
        let taken = role.taken;
        if let Some((asked, _)) = role.asked.take() {
            // it was not answered yet.
            self.respond(cx, at, asked, 603, &Headers::new(), None);
            self.live(cx, id, |life, now| life.answered(now, 603, event));
            return;
        }
        // The result stands before anything that follows from it can make another.
        self.concluded_with(cx, id, code, event);
        if !taken {
            let ours = self.dials.get(&survivor).is_some_and(|dialing| dialing.why == DialFor::Transfer(id));
            if ours {
                self.cancel_dial(cx, survivor, EndedBy::Baton, Some(NOT_WANTED));
            }
            self.abandon(cx, survivor, JoinFor::Transfer(id));
            self.drop_target(cx, target, consultation);
            self.unpark(cx, id);
        }
    }

    /// The dialling that the original call came from waits: the target is called for the same party.
    fn park(&mut self, id: TransferId, survivor: CallSid) {
        let parked = self.dials.remove(&survivor);
        if let Some(role) = self.transfers.substitute(id) {
            role.parked = parked;
        }
    }

    /// The dialling that the original call came from goes on, or ends with whom it had reached, or with
    /// who made it.
    fn unpark(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let Some(role) = self.transfers.substitute(id) else { return };
        let survivor = role.survivor;
        let Some(parked) = role.parked.take() else { return };
        let winner = parked.winner.filter(|winner| self.phase(*winner).is_over());
        if let (Some(winner), DialFor::Order { .. }) = (winner, parked.why) {
            let (first, status) = (parked.first, CallStatus::Completed);
            let ended = DialEnded { sid: survivor, first, winner: Some(winner), status, code: 200 };
            return self.tell(cx, Told::DialEnded(Box::new(ended)));
        }
        if winner.is_none() {
            self.dials.insert(survivor, parked);
        }
    }
}
