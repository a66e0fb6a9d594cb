//! A phone that does as chance tells it: it calls, answers, holds, transfers in every role, replaces
//! calls, and hangs up. Transactions and dialogs are its own; nothing here is Baton's.
//!
//! `calling` begins what it begins and hears what comes of it, `serving` answers what others begin,
//! `referring` transfers and is transferred, `message` writes it all down.

mod calling;
mod message;
mod referring;
mod serving;

use super::dialog::{Dialog, Phase, Repeated, Report, Sdp};
use crate::net::Dice;
use crate::text::Text;
use baton::sip::time::Time;
use calling::Client;
use serving::Server;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) const T1: Duration = Duration::from_millis(500);
pub(super) const T2: Duration = Duration::from_secs(4);
pub(super) const GIVE_UP: Duration = Duration::from_secs(32);

/// What a phone may do of its own accord, and when. Calls are counted among those that are up.
#[derive(Clone, Debug)]
pub enum Act {
    Dial {
        whom: String,
        replaces: Option<String>,
        reports: Option<Report>,
    },
    Answer(usize, u16),
    HangUp(usize),
    /// Ends one dialog, whichever is up.
    Leave(usize),
    /// Gives up the newest call that nobody has answered.
    Cancel,
    Hold(usize, bool, How),
    /// The same in a certain dialog, once more: it met one of the other side's.
    HoldAgain(usize, &'static str, How),
    Info(usize),
    /// A blind transfer of the other party.
    Refer(usize, String),
    /// An attended transfer: the other party of one call is to take the other's. With one call only,
    /// this one is called first.
    Attended(usize, String),
    Notify(Report, u16),
}

/// How a session is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Invite,
    /// Without an offer.
    Offerless,
    Update,
}

/// How it takes part in what others begin.
#[derive(Clone, Debug)]
pub struct Manners {
    pub ring: Duration,
    pub early: Early,
    pub answer: u16,
    pub refer: OnRefer,
    /// It refuses a re-INVITE now and then, in per mille.
    pub stubborn: u64,
    /// It calls without an offer, in per mille.
    pub offerless: u64,
    pub updates: bool,
    pub reliable: bool,
}

/// How it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    Nothing,
    Ringing,
    /// 183 with a description, reliable if the caller can.
    Media,
}

/// What becomes of a REFER it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefer {
    Perform,
    Refuse(u16),
    /// 202, and not a word more.
    Silent,
    /// 202, then it hangs up.
    HangUp,
    /// The NOTIFY comes before the 202.
    Eager,
}

/// A transfer that this phone began was reported as done.
#[derive(Clone, Debug)]
pub struct Promise {
    pub who: IpAddr,
    pub whom: String,
}

#[derive(Debug)]
pub struct Agent {
    pub user: String,
    pub addr: SocketAddr,
    pub baton: SocketAddr,
    /// Whether it speaks TCP.
    pub stream: bool,
    pub manners: Manners,
    pub out: Vec<String>,
    pub dialogs: Vec<Dialog>,
    pub agenda: Vec<(Time, Act)>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    made: u64,
    /// Calls are no longer begun, held or transferred.
    pub calm: bool,
    /// When it last changed anything that others may feel.
    pub moved: Time,
    /// Transfers that have come true since somebody looked.
    pub promises: Vec<Promise>,
}

impl Agent {
    pub fn new(user: &str, addr: SocketAddr, baton: SocketAddr, stream: bool, manners: Manners) -> Agent {
        Agent {
            user: user.to_owned(),
            addr,
            baton,
            stream,
            manners,
            out: Vec::new(),
            dialogs: Vec::new(),
            agenda: Vec::new(),
            clients: Vec::new(),
            servers: Vec::new(),
            made: 0,
            calm: false,
            moved: Time::default(),
            promises: Vec::new(),
        }
    }

    pub fn next(&self) -> Option<Time> {
        let repeats = self.dialogs.iter().flat_map(|d| d.ok.iter().chain(d.reliable.as_ref().map(|r| &r.1)));
        let repeats = repeats.map(|repeated| repeated.at.min(repeated.end));
        let clients = self.clients.iter().map(Client::next);
        let servers = self.servers.iter().map(Server::next);
        let agenda = self.agenda.iter().map(|(at, _)| *at);
        clients.chain(servers).chain(repeats).chain(agenda).min()
    }

    /// Calls that are up, by their place.
    pub fn up(&self) -> Vec<usize> {
        (0..self.dialogs.len()).filter(|&n| self.dialogs[n].phase == Phase::Up).collect()
    }

    /// The n-th of them.
    fn nth_up(&self, n: usize) -> Option<usize> {
        let up = self.up();
        up.get(n % up.len().max(1)).copied()
    }

    pub fn receive(&mut self, now: Time, text: &Text, dice: &mut Dice) {
        if text.is_request() {
            self.requested(now, text, dice);
        } else {
            self.responded(now, text, dice);
        }
    }

    pub fn tick(&mut self, now: Time, dice: &mut Dice) {
        while let Some(at) = self.agenda.iter().position(|(at, _)| *at <= now) {
            let (_, act) = self.agenda.remove(at);
            self.act(now, act, dice);
        }
        self.repeat_requests(now);
        self.repeat_refusals(now);
        for n in 0..self.dialogs.len() {
            if let Some(ok) = self.dialogs[n].ok.as_mut() {
                match ok.again(now) {
                    Again::Not => {}
                    Again::Now(text) => self.out.push(text),
                    Again::Never => {
                        self.dialogs[n].ok = None;
                        self.hang_up(now, n);
                    }
                }
            }
            if let Some((_, reliable)) = self.dialogs[n].reliable.as_mut() {
                match reliable.again(now) {
                    Again::Not => {}
                    Again::Now(text) => self.out.push(text),
                    // RFC 3262 §3
                    Again::Never => {
                        self.dialogs[n].reliable = None;
                        self.answer(now, n, 500);
                    }
                }
            }
        }
        self.give_up_requests(now, dice);
    }

    fn act(&mut self, now: Time, act: Act, dice: &mut Dice) {
        let idle =
            |agent: &Agent, n: usize| agent.nth_up(n).filter(|&n| !agent.calm && !agent.dialogs[n].open());
        if !matches!(act, Act::Answer(..) | Act::Notify(..) | Act::Dial { reports: Some(_), .. }) {
            self.moved = now;
        }
        match act {
            Act::Dial { whom, replaces, reports } => self.dial(now, &whom, replaces, reports, dice),
            Act::Answer(n, status) => self.answer_or_wait(now, n, status),
            Act::HangUp(n) => {
                if let Some(n) = self.nth_up(n) {
                    self.hang_up(now, n);
                }
            }
            Act::Leave(n) => {
                if self.dialogs[n].phase == Phase::Up {
                    self.hang_up(now, n);
                }
            }
            Act::Cancel => {
                let ringing = |d: &Dialog| d.caller && d.phase == Phase::Early;
                if let Some(n) = self.dialogs.iter().rposition(ringing) {
                    self.cancel(n);
                }
            }
            Act::Hold(n, hold, how) => {
                if let Some(n) = idle(self, n) {
                    let dialog = &mut self.dialogs[n];
                    dialog.before = dialog.direction;
                    dialog.direction = if hold { "sendonly" } else { "sendrecv" };
                    self.reoffer(now, n, how);
                }
            }
            Act::HoldAgain(n, direction, how) => {
                let dialog = &mut self.dialogs[n];
                if dialog.phase == Phase::Up && !dialog.open() && !self.calm {
                    dialog.before = dialog.direction;
                    dialog.direction = direction;
                    self.reoffer(now, n, how);
                }
            }
            Act::Info(n) => {
                if let Some(n) = self.nth_up(n) {
                    self.request(now, n, "INFO", "", "");
                }
            }
            Act::Refer(n, whom) => {
                if let Some(n) = idle(self, n) {
                    self.refer_to(now, n, &whom);
                }
            }
            Act::Attended(n, whom) => {
                let Some(first) = idle(self, n) else { return };
                match self.nth_up(n + 1).filter(|&other| other != first) {
                    Some(other) => self.refer_attended(now, first, other),
                    None if self.calm => {}
                    None => {
                        self.dial(now, &whom, None, None, dice);
                        self.agenda.push((now + dice.millis(500, 9_000), Act::Attended(n, whom)));
                    }
                }
            }
            Act::Notify(report, status) => {
                if self.dialogs[report.dialog].phase != Phase::Over {
                    self.notify(now, report, status);
                }
            }
        }
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}{}", self.user, self.made)
    }

    /// The session description of a dialog; a new offer gets a new version.
    fn sdp(&mut self, n: usize, anew: bool) -> String {
        let dialog = &mut self.dialogs[n];
        if anew {
            dialog.version += 1;
        }
        let (version, direction) = (dialog.version, dialog.direction);
        Sdp { user: &self.user, id: 77 + n, ip: self.addr.ip(), version, direction }.text()
    }

    fn repeated(&self, now: Time, text: &str) -> Repeated {
        Repeated { text: text.to_owned(), at: now + T1, interval: T1, end: now + GIVE_UP }
    }
}

/// What a repeated message wants.
enum Again {
    Not,
    Now(String),
    Never,
}

impl Repeated {
    fn again(&mut self, now: Time) -> Again {
        if self.end <= now {
            return Again::Never;
        }
        if self.at > now {
            return Again::Not;
        }
        self.interval = (self.interval * 2).min(T2);
        self.at = now + self.interval;
        Again::Now(self.text.clone())
    }
}
