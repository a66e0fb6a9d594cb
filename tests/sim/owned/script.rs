//! What everybody will do, and when, as chance has it.

use super::agent::{Act, Early, How, Manners, OnRefer};
use super::plan::{ACCOUNT, DESK, TEAM};
use super::world::{BATON, SHARDS, START, World};
use crate::net::Dice;
use baton::sip::command::{Action, Decision, Dial, DialParty, Order, Party, Place, ReferOrder};
use baton::sip::event::{CallSid, ReferSid};
use std::time::Duration;

impl World {
    /// Busy worlds are there for whatever may go wrong, quiet ones for what must go right.
    pub(super) fn write_script(&mut self) {
        let quiet = self.dice.chance(350);
        let actors = if quiet { 2 } else { self.agents.len() };
        for n in 0..actors {
            for _ in 0..self.dice.below(3) {
                let whom = self.anybody(n);
                let at = START + self.dice.millis(0, 20_000);
                self.agents[n].agenda.push((at, Act::Dial { whom, replaces: None, reports: None }));
                if self.dice.chance(200) {
                    // Near to when it may be answered.
                    let ring = self.agents[self.dice.below(5) as usize].manners.ring;
                    let at = at + ring + self.dice.millis(0, 100);
                    self.agents[n].agenda.push((at, Act::Cancel));
                }
            }
            for _ in 0..self.dice.below(if quiet { 3 } else { 6 }) {
                let at = START + self.dice.millis(3_000, 58_000);
                let call = self.dice.below(3) as usize;
                let whom = self.somebody(n);
                let how = [How::Invite, How::Offerless, How::Update][self.dice.below(3) as usize];
                let act = match self.dice.below(9) {
                    0 => Act::HangUp(call),
                    1 | 2 => Act::Hold(call, true, how),
                    3 => Act::Hold(call, false, how),
                    4 => Act::Cancel,
                    5 => Act::Info(call),
                    6 | 7 => Act::Attended(call, whom),
                    _ => Act::Refer(call, whom),
                };
                self.agents[n].agenda.push((at, act));
            }
        }
        // Now and then all of them want their session changed at once.
        while self.dice.chance(400) {
            let at = START + self.dice.millis(3_000, 50_000);
            for n in 0..actors {
                let how = [How::Invite, How::Offerless, How::Update][self.dice.below(3) as usize];
                let hold = self.dice.chance(500);
                let at = at + self.dice.millis(0, 120);
                self.agents[n].agenda.push((at, Act::Hold(0, hold, how)));
            }
        }
        for _ in 0..self.dice.below(if quiet { 2 } else { 7 }) {
            self.orders.push(START + self.dice.millis(0, 58_000));
        }
    }

    /// Another phone.
    fn somebody(&mut self, but: usize) -> String {
        let others = self.agents.len() as u64 - 1;
        let n = self.dice.below(others) as usize;
        self.agents[if n >= but { n + 1 } else { n }].user.clone()
    }

    /// Another phone, or several, or an application.
    fn anybody(&mut self, but: usize) -> String {
        match self.dice.below(12) {
            0 => TEAM.to_owned(),
            1 => DESK.to_owned(),
            _ => self.somebody(but),
        }
    }

    fn party(&mut self, shard: u16) -> DialParty {
        let whom = match self.dice.below(6) {
            0 => TEAM.to_owned(),
            _ => self.somebody(usize::MAX),
        };
        DialParty {
            sid: CallSid(self.sid(shard)),
            to: Party::Number(whom),
            headers: Vec::new(),
            credentials: None,
        }
    }

    /// The API does something to somebody.
    pub(super) fn random_order(&mut self) {
        let alive = self.record.alive();
        if alive.is_empty() || self.dice.chance(300) {
            let shard = self.dice.below(u64::from(SHARDS)) as u16;
            let DialParty { sid, to, .. } = self.party(shard);
            let place = Place {
                sid,
                account: ACCOUNT.into(),
                from: "+31123".into(),
                caller_name: None,
                to,
                headers: vec![("X-Baton-Test".into(), "1".into())],
                credentials: None,
                timeout: Duration::from_secs(30),
                sdp: None,
                by: None,
            };
            return self.order(Order::Place(Box::new(place)));
        }
        let sid = alive[self.dice.below(alive.len() as u64) as usize];
        let other = alive[self.dice.below(alive.len() as u64) as usize];
        let refer = self.record.open_refer().filter(|_| self.dice.chance(100));
        if let Some((refer, call)) = refer {
            return self.order(Order::CancelRefer(refer, call));
        }
        let action = self.random_action(sid, other);
        self.order(Order::Leg(sid, action));
    }

    fn random_action(&mut self, sid: CallSid, other: CallSid) -> Action {
        // Who is parked by the API talks to nobody: then nothing can be said of who talks to whom.
        let fine = self.fine;
        match self.dice.below(14) {
            0 => Action::Hangup { status: None, reason: None },
            1 => Action::Cancel,
            2 if !fine => Action::Hold,
            2 | 3 => Action::Resume,
            4 if !fine => Action::Part,
            4..=6 if sid != other => Action::Join(other),
            7 | 8 => {
                let parties = (0..=self.dice.below(3)).map(|_| self.party(sid.shard())).collect();
                Action::Dial(Box::new(Dial {
                    parties,
                    from: None,
                    timeout: Duration::from_secs(20),
                    time_limit: None,
                    join: self.dice.chance(800),
                }))
            }
            9 => Action::Answer { sdp: None, headers: Vec::new() },
            10 => Action::Ring { status: 180, sdp: None },
            11 => Action::Request { method: "INFO".into(), headers: Vec::new(), body: None },
            _ => Action::Refer(Box::new(self.refer_order(sid, other))),
        }
    }

    fn refer_order(&mut self, sid: CallSid, other: CallSid) -> ReferOrder {
        let whom = self.somebody(usize::MAX);
        ReferOrder {
            sid: ReferSid(self.sid(sid.shard())),
            to: format!("sip:{whom}@{BATON}"),
            referred_by: None,
            replaces: self.dice.chance(300).then_some(other),
            headers: Vec::new(),
            credentials: None,
            no_subscription: self.dice.chance(100),
            bye_after: self.dice.chance(500).then(|| Duration::from_secs(1)),
            force: self.dice.chance(500),
            hold: !self.fine && self.dice.chance(300),
        }
    }

    /// The application at the desk decides about a REFER.
    pub(super) fn decision(&mut self) -> Option<Decision> {
        match self.dice.below(6) {
            0 => None,
            1 => Some(Decision::Reject(603)),
            2 => Some(Decision::Redirect(format!("sip:{}@{BATON}", self.somebody(usize::MAX)))),
            3 => Some(Decision::Take),
            _ => Some(Decision::Accept),
        }
    }
}

/// How a phone takes part in what others begin.
pub(super) fn manners(dice: &mut Dice, fine: bool) -> Manners {
    let refer = match dice.below(if fine { 12 } else { 7 }) {
        2 => OnRefer::Refuse(405),
        3 => OnRefer::Refuse(603),
        4 => OnRefer::Silent,
        5 => OnRefer::HangUp,
        6 => OnRefer::Eager,
        _ => OnRefer::Perform,
    };
    Manners {
        ring: if dice.chance(200) { Duration::ZERO } else { dice.millis(0, 6_000) },
        early: [Early::Nothing, Early::Ringing, Early::Ringing, Early::Media][dice.below(4) as usize],
        answer: [200, 200, 200, 200, 486, 404, 603, 0][dice.below(8) as usize],
        refer,
        stubborn: if fine { 0 } else { dice.below(100) },
        offerless: if dice.chance(200) { 500 } else { 0 },
        updates: dice.chance(500),
        reliable: dice.chance(500),
    }
}
