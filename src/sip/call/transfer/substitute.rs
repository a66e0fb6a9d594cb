//! Role S: a party sends REFER, and Baton performs the transfer itself (refer-core section 9).
//!
//! ```text
//! REFER ─► judged ─┬─► refused, told                 ┌─ call: dial, the target rings, answers ─┐
//!                  ├─► the application decides ─► deed┼─ adopt: a consultation still rings ─────┼─► join ─► released
//!                  └─► accepted, NOTIFY 100 ────────►└─ join: a consultation's far half ───────┘
//! ```
//!
//! Until the parties are joined the original call is not touched (R-056); whatever fails leaves it as
//! it was (R-057), unless the referrer is gone already (R-058).

use super::super::Calls;
use super::super::dial::Dialing;
use super::super::headers::shown_with_agent;
use super::super::place::Target as Place;
use super::afar::Afar;
use super::table::{Role, TransferId, policy_of};
use crate::sip::command::{Decision, Refused};
use crate::sip::dialog::{Asked, Headers, LegId, RequestId};
use crate::sip::event::{CallSid, Event as Told, ReferAsked, ReferRole, ReferSid};
use crate::sip::message::{Message, Uri};
use crate::sip::plan::ReferMode;
use crate::sip::proxy::Cx;
use crate::sip::refer::decide::{self, Answer, Reach, Refusal, Situation};
use crate::sip::refer::life::{Life, Subject};
use crate::sip::refer::policy::Policy;
use crate::sip::refer::request::Request;
use crate::sip::refer::state::{Event, Leniency, State};
use crate::sip::refer::target::Target;
use crate::sip::refer::{Notifier, ReferFacts, ReferRule, Waits};

/// A REFER of a party's.
#[derive(Debug)]
pub(super) struct Substitute {
    /// The leg it came on.
    pub(super) referrer: CallSid,
    /// Its own dialog, when it came outside the referrer's (R-092).
    pub(super) outside: Option<LegId>,
    /// The party to be moved.
    pub(super) survivor: CallSid,
    /// The party it is moved to.
    pub(super) target: Option<CallSid>,
    /// The referrer's leg of a consultation call (attended).
    pub(super) consultation: Option<CallSid>,
    pub(super) policy: Policy,
    pub(super) request: Request,
    /// Whether it is not the first REFER of its dialog.
    pub(super) another: bool,
    /// The REFER, until it is answered.
    pub(super) asked: Option<(Asked, Box<Message>)>,
    pub(super) deed: Deed,
    pub(super) notifier: Notifier,
    pub(super) notifying: Option<RequestId>,
    /// Whether another shard is asked for the consultation.
    pub(super) claiming: bool,
    /// The ringing consultation on another shard that was taken over.
    pub(super) afar: Option<Afar>,
    /// The referrer has left.
    pub(super) gone: bool,
    /// The referrer is ended as soon as the last NOTIFY is answered, as nobody is left to talk to.
    pub(super) closing: bool,
    pub(super) released: bool,
    /// An application performs it.
    pub(super) taken: bool,
    /// The dialling that the survivor's call came from, which goes on if the transfer fails.
    pub(super) parked: Option<Dialing>,
    pub(super) waited: u8,
}

/// What is done to bring the parties together.
#[derive(Debug)]
pub(super) enum Deed {
    /// It is not decided yet, or done.
    Open,
    /// The target is called.
    Call(Vec<Place>),
    /// Who rings for this consultation is taken over (R-087).
    Adopt(CallSid),
    /// The same on another shard, where it has been done: an answer is waited for.
    Await,
    /// The far half of the consultation is joined (R-086).
    Join(CallSid),
    /// It cannot be done, though the REFER is accepted (X-19).
    Fail(u16),
}

/// What was found out before a REFER is answered.
#[derive(Debug)]
pub(super) enum Choice {
    /// It is accepted, and this is done.
    Do(Deed),
    /// It is refused.
    Refuse(Refusal),
    /// Another shard is asked first.
    Wait,
}

impl Substitute {
    /// What it means that the target did not answer in time (R-067); or that an application has said
    /// nothing about it.
    pub(super) fn out_of_time(&self) -> (u16, Event) {
        if self.taken { (408, Event::Deadline) } else { (487, Event::RingOver) }
    }
}

/// A REFER comes and is answered.
impl Calls {
    /// A REFER about a leg came, of the leg's party.
    pub(super) fn refer_came(&mut self, cx: &mut Cx<'_>, at: CallSid, asked: Asked, message: &Message) {
        let outside = self.transfers.asked_outside.get(&asked).copied();
        let Some(party) = self.party_mut(at) else { return };
        // R-078: it is the second one whatever became of the first; one outside is the first of its dialog.
        let another = outside.is_none() && std::mem::replace(&mut party.served, true);
        let trunk = party.trunk;
        let policy = policy_of(cx.plan, trunk);
        let mode = self.mode_at(cx, at);
        let Some(subject) = self.refer_subject(cx, at, message) else {
            return self.respond(cx, at, asked, 400, &Headers::new(), None);
        };
        let (survivor, by) = (subject.moved, subject.rule);
        let sender = trunk.and_then(|ix| cx.plan.trunk(ix));
        let rated = sender.map_or(Ok(false), |trunk| trunk.refer_comes(cx.now, message));
        // Only one in the dialog is passed on, and may be challenged.
        if outside.is_none()
            && let (Ok(counted), Some(party)) = (rated, self.party_mut(at))
        {
            party.counted = counted;
        }
        let count = |sid: CallSid| self.party(sid).map_or(0, |party| party.transfers);
        let far = survivor.and_then(|sid| self.facts(sid)).map(|facts| facts.remote_target.to_vec());
        let situation = Situation {
            mode: if outside.is_some() && mode == ReferMode::Relay { ReferMode::Reject(403) } else { mode },
            by,
            reach: if outside.is_some() { Reach::TargetDialog } else { Reach::InDialog },
            survivor: survivor.is_some(),
            active: self.transfers.active(at),
            transfers: survivor.map_or(0, count).max(count(at)),
            wait: rated.err(),
            overloaded: self.transfers_full(cx.plan) || self.is_full(cx.plan),
            asks: self.application_decides(cx, at)
                || survivor.is_some_and(|s| self.application_decides(cx, s)),
            survivor_target: far.as_deref(),
            replaces_itself: false,
        };
        if let Err(refusal) = decide::admit(&policy, &situation) {
            return self.refuse_refer(cx, subject, asked, &refusal);
        }
        let read = match Request::read(message, &policy) {
            // What Baton cannot act on is for the referee to judge.
            Err(_) if mode == ReferMode::Relay && survivor.is_some() => {
                return self.relay_refer(cx, subject, asked, message, another);
            }
            read => read,
        };
        let mut request = match read {
            Ok(request) => request,
            Err(refusal) => return self.refuse_refer(cx, subject, asked, &refusal),
        };
        let itself = request.target.replaces.as_ref().is_some_and(|named| {
            let found = self.find_dialog(&named.call_id, &named.to_tag, &named.from_tag);
            found.is_some() && (found == Some(at) || found == survivor)
        });
        let situation = Situation { replaces_itself: itself, ..situation };
        let answer = decide::decide(&request, &policy, &situation);
        let asks = answer == Answer::Ask;
        match &answer {
            Answer::Refuse(refusal) => return self.refuse_refer(cx, subject, asked, refusal),
            Answer::Relay | Answer::Accept(_) | Answer::Ask => {}
        }
        let subject = Subject { rule: decide::allowed(&request, &policy, by), ..subject };
        if answer == Answer::Relay {
            return self.relay_refer(cx, subject, asked, message, another);
        }
        let Some(survivor) = survivor else { return };
        let secure = [at, survivor].iter().any(|sid| self.facts(*sid).is_some_and(|facts| facts.secure));
        if secure {
            request.target.secure();
        }
        if let Some(facts) = self.facts(at) {
            request.add_referrer(facts.remote_uri(), &policy);
        }
        let (sid, by, replaces) = (subject.sid, subject.from.clone(), request.target.replaces.is_some());
        let shown = message.refer_to().ok().flatten().map(|to| String::from_utf8_lossy(to.uri).into_owned());
        let role = Substitute {
            referrer: at,
            outside,
            survivor,
            target: None,
            consultation: None,
            policy,
            request,
            another,
            asked: Some((asked, Box::new(message.detached()))),
            deed: Deed::Open,
            notifier: Notifier::silent(cx.now),
            notifying: None,
            claiming: false,
            afar: None,
            gone: false,
            closing: false,
            released: false,
            taken: false,
            parked: None,
            waited: 0,
        };
        let subject = Subject { role: ReferRole::Substitute, ..subject };
        let id = self.begin_transfer(cx, subject, trunk, Role::Substitute(Box::new(role)));
        self.involve(id, survivor);
        if let Some(outside) = outside.and_then(|leg| self.transfers.outside.get_mut(&leg)) {
            outside.transfer = Some(id);
        }
        if asks {
            let asked = ReferAsked {
                sid,
                call: at,
                other: Some(survivor),
                to: shown.unwrap_or_default(),
                by,
                replaces,
                headers: shown_with_agent(message),
            };
            return self.tell(cx, Told::ReferAsked(Box::new(asked)));
        }
        self.perform(cx, id);
    }

    /// A REFER that is refused at once is one event (R-001, R-114), and nothing is kept of it.
    fn refuse_refer(&mut self, cx: &mut Cx<'_>, subject: Subject, asked: Asked, refusal: &Refusal) {
        self.respond(cx, subject.call, asked, refusal.code, &refusal.headers(), None);
        self.told_of_refusal(cx, subject, refusal);
    }

    /// What a REFER about a leg is, as its record tells of it.
    pub(super) fn refer_subject(&self, cx: &mut Cx<'_>, at: CallSid, message: &Message) -> Option<Subject> {
        let account = self.party(at)?.account.clone().unwrap_or_else(|| "".into());
        let relays = self.mode_at(cx, at) == ReferMode::Relay;
        let facts = ReferFacts::read(message, ReferSid(cx.new_sid()), at, account)?;
        Some(Subject {
            sid: facts.sid,
            call: at,
            account: facts.account,
            role: if relays { ReferRole::Relay } else { ReferRole::Substitute },
            from: facts.from,
            to: facts.to,
            rule: self.refer_rule(at),
            moved: self.other(at).filter(|other| self.phase(*other).is_answered()),
            target: None,
        })
    }

    pub(super) fn told_of_refusal(&mut self, cx: &mut Cx<'_>, subject: Subject, refusal: &Refusal) {
        let trunk = self.party(subject.call).and_then(|party| party.trunk);
        let waits = Waits::from_t1(cx.plan.timings.t1);
        let subject = Subject { rule: refusal.rule, ..subject };
        let mut life = Life::new(cx.now, subject, Leniency::default(), waits);
        if let Some(snapshot) = life.answered(cx.now, refusal.code, Event::Denied) {
            cx.counters.refer(trunk, snapshot.role, snapshot.status, snapshot.reason);
            self.tell(cx, Told::Refer(snapshot));
        }
    }

    /// Whether the application of a party decides about the REFERs in its call (R-119).
    fn application_decides(&self, cx: &Cx<'_>, sid: CallSid) -> bool {
        let application = self.party(sid).and_then(|party| party.application);
        application
            .and_then(|ix| cx.plan.calls.applications.get(usize::from(ix)))
            .is_some_and(|application| application.decides_refers)
    }

    /// Which rule says what happens to the REFERs of a party.
    fn refer_rule(&self, sid: CallSid) -> ReferRule {
        let client = self.party(sid).is_some_and(|party| party.trunk.is_none() && party.client.is_some());
        if client { ReferRule::Registrar } else { ReferRule::Mode }
    }

    /// Nobody has decided in time: the trunk's mode does; or another shard has not answered.
    pub(super) fn by_default(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let Some(role) = self.transfers.substitute(id) else { return };
        let at = role.referrer;
        if role.claiming {
            return self.consultation_found(cx, id, None);
        }
        match self.mode_at(cx, at) {
            ReferMode::Terminate => self.perform(cx, id),
            ReferMode::Relay => self.become_relay(cx, id),
            ReferMode::Reject(code) => self.refuse_pending(cx, id, &Refusal::by(self.refer_rule(at), code)),
        }
    }

    /// What the application says (R-119).
    pub(super) fn decided_refer(
        &mut self,
        cx: &mut Cx<'_>,
        id: TransferId,
        decision: Decision,
    ) -> Result<(), Refused> {
        let Some(transfer) = self.transfers.get(id) else { return Err(Refused::Unknown) };
        let pending = transfer.life.state() == State::Pending;
        let Role::Substitute(role) = &transfer.role else { return Err(Refused::Unknown) };
        let taken = role.taken;
        match decision {
            Decision::Report(code) if taken => {
                self.reported(cx, id, code);
                return Ok(());
            }
            Decision::Report(_) => return Err(Refused::NotAnswered),
            Decision::Accept | Decision::Redirect(_) | Decision::Reject(_) | Decision::Take if !pending => {
                return Err(Refused::Answered);
            }
            Decision::Accept => {
                self.tie(id, |subject| subject.rule = ReferRule::Application);
                self.perform(cx, id);
            }
            Decision::Redirect(to) => {
                let parsed = Uri::parse(to.as_bytes()).map_err(|_| Refused::Malformed)?;
                let wanted = Target::of(&parsed, &role.policy).map_err(|_| Refused::Malformed)?;
                if let Some(role) = self.transfers.substitute(id) {
                    role.request.target = wanted;
                }
                self.tie(id, |subject| subject.rule = ReferRule::Application);
                self.perform(cx, id);
            }
            Decision::Reject(code) if (300..700).contains(&code) => {
                self.refuse_pending(cx, id, &Refusal::by(ReferRule::Application, code));
            }
            Decision::Reject(_) => return Err(Refused::Malformed),
            Decision::Take => {
                self.tie(id, |subject| subject.rule = ReferRule::Application);
                if let Some(role) = self.transfers.substitute(id) {
                    role.taken = true;
                }
                if let Some(transfer) = self.transfers.get_mut(id) {
                    transfer.life.in_other_hands();
                }
                self.accept_refer(cx, id);
            }
        }
        Ok(())
    }

    /// The application performs the transfer and tells how it goes.
    fn reported(&mut self, cx: &mut Cx<'_>, id: TransferId, code: u16) {
        if let Some(role) = self.transfers.substitute(id) {
            match code {
                0..=199 => role.notifier.progress(code),
                200.. => role.notifier.result(code),
            }
        }
        self.live(cx, id, |life, now| life.on(now, Event::Reported(code)));
        self.pump(cx, id);
    }

    /// Finds out what is to be done, answers the REFER, and does it.
    fn perform(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let choice = self.choose(cx, id);
        self.chosen(cx, id, choice);
    }

    pub(super) fn chosen(&mut self, cx: &mut Cx<'_>, id: TransferId, choice: Choice) {
        match choice {
            Choice::Wait => {}
            Choice::Refuse(refusal) => self.refuse_pending(cx, id, &refusal),
            Choice::Do(deed) => {
                if let Some(role) = self.transfers.substitute(id) {
                    role.deed = deed;
                }
                self.accept_refer(cx, id);
                self.start(cx, id);
            }
        }
    }

    /// R-053: the response, and the first NOTIFY right behind it.
    fn accept_refer(&mut self, cx: &mut Cx<'_>, id: TransferId) {
        let now = cx.now;
        let Some(transfer) = self.transfers.get_mut(id) else { return };
        let lasting = Notifier::lasting(transfer.life.waits());
        let Role::Substitute(role) = &mut transfer.role else { return };
        let Some((asked, _)) = role.asked.take() else { return };
        let at = role.referrer;
        let accepted = decide::accept(&role.request, &role.policy);
        let (cseq, another, detail) = (role.request.cseq, role.another, role.policy.notify);
        if accepted.notifies {
            role.notifier = Notifier::new(now, cseq, another, detail, lasting);
        }
        let headers: Headers = match accepted.refer_sub_false {
            true => vec![("Refer-Sub".into(), b"false".as_slice().into())],
            false => Headers::new(),
        };
        self.respond(cx, at, asked, accepted.code, &headers, None);
        self.live(cx, id, |life, now| life.answered(now, accepted.code, Event::Admitted));
        self.pump(cx, id);
    }

    /// A REFER that waited is refused after all.
    fn refuse_pending(&mut self, cx: &mut Cx<'_>, id: TransferId, refusal: &Refusal) {
        let Some(role) = self.transfers.substitute(id) else { return };
        let at = role.referrer;
        if let Some((asked, _)) = role.asked.take() {
            self.respond(cx, at, asked, refusal.code, &refusal.headers(), None);
        }
        let (code, rule) = (refusal.code, refusal.rule);
        self.tie(id, |subject| subject.rule = rule);
        self.live(cx, id, |life, now| life.answered(now, code, Event::Denied));
    }
}
