//! `dial`: all targets at once, the first who answers is joined (jambonz section 7).

use super::document::{Dial, Target};
use super::driver::{Driver, Next};
use super::facts::{Facts, Fields};
use super::hook::Hook;
use super::ids;
use super::status::Status;
use crate::control::orders::NotTaken;
use crate::control::wait::{Heed, Interrupt, Waits};
use crate::record::CallRecord;
use crate::sip::command::{Action, Dial as Ordered, DialParty, Order};
use crate::sip::event::{CallSid, CallStarted, CallStatus, DialEnded, Direction};
use std::sync::Arc;
use std::time::Duration;

/// What a Dial may take beyond its own limits, where it has one.
const MARGIN: Duration = Duration::from_secs(64);
const UNLIMITED: Duration = Duration::from_secs(12 * 3_600);
/// How long the end of one that was left behind is waited for.
const LEFT_BEHIND: Duration = Duration::from_secs(4);
/// What its end may take when the call has ended.
const AFTER_THE_END: Duration = Duration::from_secs(10);

/// A Dial that is going on.
#[derive(Debug)]
pub(super) struct Dialling {
    legs: Vec<CallSid>,
    joined: Option<CallSid>,
    ended: Option<DialEnded>,
    /// Who decides about a REFER of one of the parties.
    pub(super) refer: Option<Hook>,
}

impl Dialling {
    /// Whether this is its end, and not that of one that was left behind.
    fn is_meant(&self, ended: &DialEnded) -> bool {
        self.legs.contains(&ended.first)
    }
}

impl Driver {
    /// The verb.
    pub(super) async fn dial(&mut self, dial: &Dial, id: Option<&str>) -> Result<Next, Interrupt> {
        if !dial.answer_on_bridge {
            // The caller hears what goes on; here, that it is connected.
            self.answer().await?;
        }
        let shard = self.sid().shard();
        let party = |target: &Target| DialParty {
            sid: self.engine.live.new_call(shard),
            to: target.party.clone(),
            headers: target.headers.clone(),
            credentials: target.credentials.clone(),
        };
        let parties: Vec<DialParty> = dial.targets.iter().map(party).collect();
        let fields = self.dialled(dial, parties).await?;
        self.perform(dial.action.clone(), id, fields).await
    }

    async fn dialled(&mut self, dial: &Dial, parties: Vec<DialParty>) -> Result<Fields, Interrupt> {
        // One that was left behind has to be over first: a leg has one Dial at a time.
        let free = |driver: &Driver| (!driver.left_behind).then_some(());
        self.until_known(Some(LEFT_BEHIND), Heed::All, free).await?;
        self.left_behind = false;
        let legs: Vec<CallSid> = parties.iter().map(|party| party.sid).collect();
        let first = legs.first().copied();
        self.dialling = Some(Dialling { legs, joined: None, ended: None, refer: dial.refer.clone() });
        let order = Ordered {
            parties,
            from: dial.caller_id.clone(),
            timeout: dial.timeout,
            time_limit: dial.time_limit,
            join: true,
        };
        let live = Arc::clone(&self.engine.live);
        let mut given = Some(Order::Leg(self.sid(), Action::Dial(Box::new(order))));
        let asking = async {
            match given.take() {
                Some(order) => live.orders().ask(order).await,
                None => Err(NotTaken::Behind),
            }
        };
        let taken = self.wait(asking, Heed::Changes).await;
        if given.is_some() {
            // Interrupted before the order was given: nobody is called.
            self.dialling = None;
        }
        let ended = match taken {
            Ok(Ok(())) => self.dial_ends(dial).await,
            Ok(Err(error)) => {
                tracing::info!(event = "jambonz.dial", call = %self.sid(), ?error, "a dial was refused");
                // The shard may yet come to it, for an application that has gone on.
                if let (NotTaken::Silent, Some(dialling)) = (error, self.dialling.take()) {
                    self.leave_behind(&dialling);
                    self.dialling = Some(dialling);
                }
                Ok(())
            }
            Err(interrupt) => Err(interrupt),
        };
        let dialling = self.dialling.take();
        if let Err(interrupt) = ended {
            if let Some(dialling) = dialling.filter(|dialling| dialling.ended.is_none()) {
                self.leave_behind(&dialling);
            }
            return Err(interrupt);
        }
        let (status, code, winner) = match dialling.as_ref().and_then(|dialling| dialling.ended.as_ref()) {
            Some(ended) if ended.status == CallStatus::Completed => (Status::Completed, 200, ended.winner),
            Some(ended) => {
                let code = if ended.code == 0 { 487 } else { ended.code };
                (dial_status(ended.status), code, ended.winner)
            }
            None => match dialling.as_ref().and_then(|dialling| dialling.joined) {
                Some(joined) => (Status::Completed, 200, Some(joined)),
                None => (Status::Failed, 500, None),
            },
        };
        self.report_dial(status == Status::Completed, code);
        let joined = dialling.as_ref().and_then(|dialling| dialling.joined);
        Ok(self.told_of_dial(status, code, winner.or(joined).or(first)))
    }

    /// Its end will still be told, to an application that has nothing to do with it. Who parts this leg from
    /// others knows only those whose beginning was told: the rest are ended here.
    fn leave_behind(&mut self, dialling: &Dialling) {
        self.left_behind = true;
        let untold = |sid: &&CallSid| !self.children.iter().any(|child| child.record.sid == **sid);
        for leg in dialling.legs.iter().filter(untold).filter(|_| dialling.joined.is_none()) {
            let hangup = Action::Hangup { status: None, reason: None };
            self.engine.live.orders().tell(Order::Leg(*leg, hangup));
        }
    }

    fn told_of_dial(&self, status: Status, code: u16, leg: Option<CallSid>) -> Fields {
        let mut fields = Fields::new();
        fields.insert("dial_call_status".into(), status.text().into());
        fields.insert("dial_sip_status".into(), code.into());
        if let Some(leg) = leg {
            fields.insert("dial_call_sid".into(), ids::uuid(leg.0).into());
            if let Some(child) = self.children.iter().find(|child| child.record.sid == leg) {
                fields.insert("dial_sbc_callid".into(), child.record.call_id.as_str().into());
            }
        }
        fields
    }

    async fn dial_ends(&mut self, dial: &Dial) -> Result<(), Interrupt> {
        let ended = |driver: &Driver| driver.dialling.as_ref()?.ended.as_ref().map(|_| ());
        let limit = dial.time_limit.unwrap_or(UNLIMITED);
        let longest = dial.timeout.saturating_add(limit).saturating_add(MARGIN);
        match self.until_known(Some(longest), Heed::All, ended).await {
            Err(Interrupt::Gone) => self.until_known(Some(AFTER_THE_END), Heed::Changes, ended).await?,
            known => known?,
        };
        Ok(())
    }

    pub(super) fn child_began(&mut self, started: &CallStarted) {
        if self.children.iter().any(|child| child.record.sid == started.sid) {
            return;
        }
        // Those of earlier dials have been told.
        self.children.retain(|child| !child.status.is_final());
        let record = CallRecord {
            from: started.from.clone(),
            to: started.to.clone(),
            caller_name: started.caller_name.clone(),
            call_id: started.call_id.clone(),
            parent: started.parent,
            ..CallRecord::begun(
                started.sid,
                self.engine.live.node(),
                &started.account,
                Direction::OutboundDial,
                started.at,
            )
        };
        let mut facts = Facts::new(record);
        facts.application_sid.clone_from(&self.call.application_sid);
        let fields = facts.fields();
        self.children.push(facts);
        self.tell(fields);
    }

    pub(super) fn joined(&mut self, other: CallSid) {
        if let Some(dialling) = &mut self.dialling {
            dialling.joined = Some(other);
            if self.call.record.account.is_empty() {
                self.call.record.status = CallStatus::InProgress;
            }
            self.report_dial(true, 200);
        }
    }

    pub(super) fn dial_ended(&mut self, ended: DialEnded) {
        match &mut self.dialling {
            Some(dialling) if dialling.is_meant(&ended) => dialling.ended = Some(ended),
            _ => self.left_behind = false,
        }
    }

    /// The other party has got an application of its own: for this one the Dial is over.
    pub(super) fn released(&mut self, child: CallSid) {
        self.children.retain(|leg| leg.record.sid != child);
        let Some(dialling) = self.dialling.as_mut().filter(|dialling| dialling.joined == Some(child)) else {
            return;
        };
        let (sid, winner, status) = (self.call.record.sid, Some(child), CallStatus::Completed);
        dialling.ended = Some(DialEnded { sid, first: child, winner, status, code: 200 });
        // The shard tells its end when that party leaves.
        self.left_behind = true;
    }
}

const fn dial_status(status: CallStatus) -> Status {
    match status {
        CallStatus::Completed | CallStatus::InProgress => Status::Completed,
        CallStatus::Busy => Status::Busy,
        CallStatus::NoAnswer | CallStatus::Canceled => Status::NoAnswer,
        CallStatus::Failed | CallStatus::Queued | CallStatus::Ringing => Status::Failed,
    }
}
