//! The legs this interface steers, from their first moment until ten minutes after their end.

use super::claim::Outcome;
use super::hooks::{Connection, Hooks};
use super::sign::Signer;
use crate::control::live::random;
use crate::control::{Application, ApplicationKind};
use crate::sip::event::{CallSid, ReferSid};
use crate::sip::time::Time;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long an ended call can be read (telnyx 4).
const KEPT: Duration = Duration::from_secs(600);
/// Ended calls kept at most.
const ENDED: usize = 100_000;
/// Ids of commands remembered for one call.
const COMMANDS: usize = 1_000;

/// A leg as commands name it.
pub(super) fn control_id(sid: CallSid) -> String {
    format!("v3:{}", URL_SAFE_NO_PAD.encode(sid.0.to_be_bytes()))
}

/// The leg that a text names.
pub(super) fn parse_control_id(text: &str) -> Option<CallSid> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("v3:")?).ok()?;
    Some(CallSid(u128::from_be_bytes(bytes.try_into().ok()?)))
}

/// A new random UUID (RFC 9562 §5.4).
pub(super) fn uuid() -> String {
    let bits = random() & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Which side called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Incoming,
    Outgoing,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It came in and waits for a command.
    Parked,
    /// It is being called.
    Bridging,
    Answered,
    Ended,
}

/// A leg.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) sid: CallSid,
    pub(super) account: String,
    pub(super) connection: Arc<Connection>,
    pub(super) leg_id: String,
    pub(super) way: Way,
    pub(super) from: String,
    pub(super) to: String,
    /// How long it may ring, and how long it may last.
    pub(super) ring: Option<Duration>,
    pub(super) limit: Option<Duration>,
    /// The command under which it was dialled.
    dialled_by: Option<String>,
    /// Something that the driver looks at has changed.
    pub(super) changed: Notify,
    /// Commands take turns: what a refused one had changed is undone before the next begins.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// What changes of a leg.
#[derive(Debug)]
pub(super) struct State {
    pub(super) session: String,
    pub(super) client_state: Option<String>,
    pub(super) hooks: Hooks,
    pub(super) stage: Stage,
    pub(super) started: Time,
    pub(super) answered: Option<Time>,
    pub(super) ended: Option<Time>,
    /// The transfer under way.
    pub(super) refer: Option<Referring>,
    /// A command has decided about an inbound call.
    pub(super) decided: bool,
    /// Transfers under way: while one is, nobody has to decide. What is told of the end of one may come
    /// before the answer to its order.
    pub(super) transfers: i32,
    /// Commands under way that may decide about it.
    deciding: usize,
    /// Another face steers it.
    pub(super) taken: bool,
    /// It was ended by command.
    pub(super) hung_up: bool,
    /// Commands by their ids: under way, or taken.
    commands: VecDeque<(String, Outcome<()>)>,
}

/// A transfer under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referring {
    pub(super) sid: ReferSid,
    pub(super) since: Instant,
    /// That it was accepted has been told.
    pub(super) started: bool,
}

/// What a new leg is made of.
#[derive(Debug)]
pub(super) struct NewLeg {
    pub(super) sid: CallSid,
    pub(super) account: String,
    pub(super) connection: Arc<Connection>,
    pub(super) way: Way,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) ring: Option<Duration>,
    pub(super) limit: Option<Duration>,
    /// `None`: a session of its own.
    pub(super) session: Option<String>,
    pub(super) client_state: Option<String>,
    pub(super) command_id: Option<String>,
    pub(super) hooks: Hooks,
    pub(super) at: Time,
}

impl Leg {
    /// At its first moment.
    pub(super) fn new(new: NewLeg) -> Arc<Leg> {
        let stage = match new.way {
            Way::Incoming => Stage::Parked,
            Way::Outgoing => Stage::Bridging,
        };
        Arc::new(Leg {
            sid: new.sid,
            account: new.account,
            connection: new.connection,
            leg_id: uuid(),
            way: new.way,
            from: new.from,
            to: new.to,
            ring: new.ring,
            limit: new.limit,
            dialled_by: new.command_id,
            changed: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                session: new.session.unwrap_or_else(uuid),
                client_state: new.client_state,
                hooks: new.hooks,
                stage,
                started: new.at,
                answered: None,
                ended: None,
                refer: None,
                decided: false,
                transfers: 0,
                deciding: 0,
                taken: false,
                hung_up: false,
                commands: VecDeque::new(),
            }),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of a command. The first of an id is carried out; it is the same command for all
    /// that come later, also while it is under way (telnyx 2.5).
    pub(super) fn once(&self, id: Option<&String>, doing: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
        let Some(id) = id else { return doing() };
        let mut state = self.state();
        state.commands.retain(|(_, outcome)| !outcome.is_lost());
        if let Some((_, outcome)) = state.commands.iter().find(|(known, _)| known == id) {
            return outcome.clone();
        }
        if state.commands.len() >= COMMANDS {
            state.commands.pop_front();
        }
        let outcome = doing();
        state.commands.push_back((id.clone(), outcome.clone()));
        outcome
    }

    /// A command was refused: it was not executed, and its id is free.
    pub(super) fn free(&self, id: &str) {
        self.state().commands.retain(|(known, _)| known != id);
    }

    /// A command may decide about an inbound call; until it is known, nothing else does.
    pub(super) fn deciding(&self) -> Deciding<'_> {
        self.state().deciding += 1;
        Deciding(self)
    }
}

/// A command under way that may decide about a leg.
#[derive(Debug)]
pub(super) struct Deciding<'a>(&'a Leg);

impl Deciding<'_> {
    /// It has.
    pub(super) fn decided(&self) {
        self.0.state().decided = true;
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.0.state().deciding -= 1;
    }
}

impl State {
    /// Whether an inbound call waits for a command; not known while one, or a transfer, is under way.
    pub(super) fn waits(&self) -> Option<bool> {
        let open = self.stage == Stage::Parked && !self.decided;
        (!open || self.deciding == 0 && self.transfers <= 0).then_some(open)
    }
}

/// All legs, and who steers them.
#[derive(Debug)]
pub(in crate::control) struct Legs {
    pub(super) signer: Arc<Signer>,
    /// In the order of the applications; `None` for those that speak otherwise.
    connections: Vec<Option<Arc<Connection>>>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    legs: HashMap<CallSid, Arc<Leg>>,
    /// By account and the id of the command that dialled: under way, or taken.
    dialled: HashMap<(String, String), Outcome<Arc<Leg>>>,
    ended: VecDeque<(Instant, CallSid)>,
}

impl Legs {
    /// `key` is the seed of the key that signs.
    pub(in crate::control) fn new(key: &[u8; 32], applications: &[Application]) -> Legs {
        let connection = |application: &Application| {
            let spoken = application.kind == ApplicationKind::Telnyx;
            spoken.then(|| Connection::new(application)).flatten().map(Arc::new)
        };
        Legs {
            signer: Arc::new(Signer::new(key)),
            connections: applications.iter().map(connection).collect(),
            table: Mutex::default(),
        }
    }

    /// The key by which webhooks are verified.
    pub(super) fn public_key(&self) -> String {
        self.signer.public()
    }

    /// The connection of this id that an account may use.
    pub(super) fn connection(&self, id: &str, account: &str) -> Option<Arc<Connection>> {
        let mut all = self.connections.iter().flatten();
        all.find(|connection| connection.id == id && connection.serves(account)).cloned()
    }

    /// The connection of the application at this place.
    pub(super) fn connection_at(&self, application: u16) -> Option<Arc<Connection>> {
        self.connections.get(usize::from(application))?.clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.tidy();
        table
    }

    /// A leg of an account, alive or ended not long ago.
    pub(super) fn leg(&self, id: &str, account: &str) -> Option<Arc<Leg>> {
        let sid = parse_control_id(id)?;
        self.table().legs.get(&sid).filter(|leg| leg.account == account).cloned()
    }

    /// The leg that a command dials, once for each id (telnyx 2.5); see [`Leg::once`].
    pub(super) fn once(
        &self,
        account: &str,
        id: Option<&String>,
        doing: impl FnOnce() -> Outcome<Arc<Leg>>,
    ) -> Outcome<Arc<Leg>> {
        let Some(id) = id else { return doing() };
        let (mut table, key) = (self.table(), (account.to_owned(), id.clone()));
        if table.dialled.get(&key).is_some_and(Outcome::is_lost) {
            table.dialled.remove(&key);
        }
        table.dialled.entry(key).or_insert_with(doing).clone()
    }

    /// The call was not placed: the id of its command is free.
    pub(super) fn free(&self, account: &str, id: &str) {
        self.table().dialled.remove(&(account.to_owned(), id.to_owned()));
    }

    pub(super) fn insert(&self, leg: &Arc<Leg>) {
        self.table().legs.insert(leg.sid, Arc::clone(leg));
    }

    /// A leg that was never made.
    pub(super) fn remove(&self, sid: CallSid) {
        self.table().legs.remove(&sid);
    }

    /// A leg has ended.
    pub(super) fn retire(&self, sid: CallSid) {
        self.table().ended.push_back((Instant::now() + KEPT, sid));
    }
}

impl Table {
    fn tidy(&mut self) {
        let now = Instant::now();
        while let Some((until, sid)) = self.ended.front().copied() {
            if until > now && self.ended.len() <= ENDED {
                return;
            }
            self.ended.pop_front();
            let Some(leg) = self.legs.remove(&sid) else { continue };
            if let Some(id) = &leg.dialled_by {
                self.dialled.remove(&(leg.account.clone(), id.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [telnyx 1.3] An opaque text that stands in a path as it is.
    #[test]
    fn control_ids() {
        let sid = CallSid(0x1234_5678_9abc_def0_1122_3344_5566_0002);
        let id = control_id(sid);
        assert!(
            id.starts_with("v3:") && id.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_".contains(&b))
        );
        assert_eq!(parse_control_id(&id), Some(sid));
        for wrong in ["", "v3:", "v2:AAAAAAAAAAAAAAAAAAAAAA", "v3:AAAA", "v3:AAAAAAAAAAAAAAAAAAAAA!"] {
            assert_eq!(parse_control_id(wrong), None, "{wrong}");
        }
    }

    /// [telnyx 1.3] Version and variant stand where they belong.
    #[test]
    fn uuids() {
        let text = uuid();
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(text.get(14..15) == Some("4") && "89ab".contains(text.get(19..20).unwrap_or("?")));
        assert_ne!(text, uuid());
    }
}
