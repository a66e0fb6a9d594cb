//! The show: who does what when, and the sockets it happens on.
//!
//! Two acts on one stage: a REFER that is relayed, and one that an application has ordered.
//! One thread, one poll over the three phones' sockets. A phone reacts to messages at once; what a
//! person does comes after a moment, as a person does it.

use super::DemoError;
use super::ladder::{BATON, Crossing};
use super::phone::{CallIx, Happening, Phone, Transfer};
use crate::io::Clock;
use crate::sip::message::{Limits, Message};
use crate::sip::time::Time;
use bytes::Bytes;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use thiserror::Error;

/// The whole show takes about a second; more than this means that something is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a phone rings before somebody answers.
const RINGING: Duration = Duration::from_millis(200);
/// How long two people talk before the next thing happens.
const TALKING: Duration = Duration::from_millis(250);

/// Why the show stopped.
#[derive(Debug, Error)]
pub enum ShowError {
    /// Nothing more came.
    #[error("nothing more happened after {after:?}: {missing} did not come about")]
    Silence {
        /// How long the show had run.
        after: Duration,
        /// What it waited for.
        missing: &'static str,
    },
    /// A request was refused.
    #[error("{who}'s {method} was answered {status}")]
    Refused {
        /// Whose request.
        who: &'static str,
        /// Its method.
        method: &'static str,
        /// The answer.
        status: u16,
    },
    /// The new call failed, as a NOTIFY says.
    #[error("the transfer ended with {0}")]
    Failed(u16),
    /// A phone got what is no SIP message.
    #[error("{0} received something that is no SIP message")]
    NotSip(&'static str),
}

/// The three people, in the order of their sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Alice,
    Bob,
    Carol,
}

impl Who {
    const ALL: [Who; 3] = [Who::Alice, Who::Bob, Who::Carol];

    fn column(self) -> usize {
        match self {
            Who::Alice => 0,
            Who::Bob => 2,
            Who::Carol => 3,
        }
    }
}

/// Something a person does, when the moment has come.
#[derive(Clone, Copy, Debug)]
enum Deed {
    PickUp(Who, CallIx),
    Transfer(CallIx),
    HangUp(Who, CallIx),
}

/// The two transfers of the show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Alice's phone sends the REFER, and the server relays it.
    Relayed,
    /// The server calls Bob, and sends him the REFER of an application.
    Ordered,
}

/// What has been reached.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    talking: bool,
    accepted: bool,
    transferred: bool,
    old_call_over: bool,
    new_call_over: bool,
}

impl Reached {
    fn missing(self, act: Act) -> Option<&'static str> {
        match (self, act) {
            (Reached { talking: false, .. }, Act::Relayed) => Some("the call from Alice to Bob"),
            (Reached { talking: false, .. }, Act::Ordered) => Some("the call from Baton to Bob"),
            (Reached { accepted: false, .. }, Act::Relayed) => Some("the answer to the REFER"),
            (Reached { accepted: false, .. }, Act::Ordered) => Some("the REFER to Bob"),
            (Reached { transferred: false, .. }, Act::Relayed) => {
                Some("the NOTIFY that tells Alice of success")
            }
            (Reached { transferred: false, .. }, Act::Ordered) => {
                Some("the answer to the NOTIFY that tells of success")
            }
            (Reached { old_call_over: false, .. }, _) => Some("the end of the old call"),
            (Reached { new_call_over: false, .. }, _) => Some("the end of the new call"),
            (Reached { .. }, _) => None,
        }
    }
}

/// The phones, their sockets, and what crossed them.
#[derive(Debug)]
pub struct Show {
    clock: Clock,
    poll: Poll,
    sockets: [UdpSocket; 3],
    phones: [Phone; 3],
    proxy: SocketAddr,
    crossings: Vec<Crossing>,
    plans: Vec<(Time, Deed)>,
    /// The REFER that Bob follows, and in which call it came.
    transfer: Option<(CallIx, Transfer)>,
    act: Act,
    reached: Reached,
}

/// Sockets for the phones of Alice, Bob and Carol, on ports of the kernel's choice.
pub fn sockets() -> Result<[UdpSocket; 3], DemoError> {
    let bind = || {
        UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .map_err(|error| DemoError::Socket { what: "opening a phone's socket", error })
    };
    Ok([bind()?, bind()?, bind()?])
}

/// Where the phones are.
pub fn addresses(sockets: &[UdpSocket; 3]) -> Result<[SocketAddr; 3], DemoError> {
    let [alice, bob, carol] = sockets;
    let address = |socket: &UdpSocket| {
        socket.local_addr().map_err(|error| DemoError::Socket { what: "asking for a phone's address", error })
    };
    Ok([address(alice)?, address(bob)?, address(carol)?])
}

impl Show {
    /// The phones on their sockets, with `proxy` between them.
    pub fn new(mut sockets: [UdpSocket; 3], proxy: SocketAddr, clock: Clock) -> Result<Show, DemoError> {
        let failed = |error| DemoError::Socket { what: "watching the phones' sockets", error };
        let poll = Poll::new().map_err(failed)?;
        for (token, socket) in sockets.iter_mut().enumerate() {
            poll.registry().register(socket, Token(token), Interest::READABLE).map_err(failed)?;
        }
        let [alice, bob, carol] = addresses(&sockets)?;
        let phones = [
            Phone::new("Alice", alice, proxy),
            Phone::new("Bob", bob, proxy),
            Phone::new("Carol", carol, proxy),
        ];
        Ok(Show {
            clock,
            poll,
            sockets,
            phones,
            proxy,
            crossings: Vec::new(),
            plans: Vec::new(),
            transfer: None,
            act: Act::Relayed,
            reached: Reached::default(),
        })
    }

    /// What crossed the phones' sockets in this act, in order.
    pub fn crossings(&self) -> &[Crossing] {
        &self.crossings
    }

    /// Somebody's address at the proxy.
    pub fn address_of(&mut self, name: &str) -> String {
        self.phone(Who::Alice).address_of(name)
    }

    /// The first act: Alice calls Bob, and her phone sends the REFER.
    pub fn relayed(&mut self) -> Result<(), DemoError> {
        let bob = self.address_of("Bob");
        self.phone(Who::Alice).call(&bob, None);
        self.send(Who::Alice)?;
        self.play()
    }

    /// The second act: somebody has ordered a call to Bob, in which the server sends the REFER.
    pub fn ordered(&mut self) -> Result<(), DemoError> {
        self.act = Act::Ordered;
        self.reached = Reached::default();
        self.crossings.clear();
        self.play()
    }

    /// Plays an act to its end.
    fn play(&mut self) -> Result<(), DemoError> {
        let begin = self.clock.now();
        let mut events = Events::with_capacity(8);
        while let Some(missing) = self.reached.missing(self.act) {
            let now = self.clock.now();
            let after = now.since(begin);
            if after > PATIENCE {
                return Err(ShowError::Silence { after, missing }.into());
            }
            let next = self.plans.iter().map(|(at, _)| *at).min().unwrap_or(begin + PATIENCE);
            // Rounded up: a poll that wakes a moment early would only be made again.
            let wait = next.since(now) + Duration::from_millis(1);
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(DemoError::Socket { what: "waiting for the phones' sockets", error });
            }
            let ready: Vec<Token> = events.iter().map(|event| event.token()).collect();
            for who in Who::ALL.into_iter().filter(|who| ready.contains(&Token(*who as usize))) {
                self.receive(who)?;
            }
            self.act()?;
        }
        Ok(())
    }

    /// Takes everything a phone's socket holds.
    fn receive(&mut self, who: Who) -> Result<(), DemoError> {
        let mut buffer = [0u8; 65_535];
        loop {
            let len = match self.sockets[who as usize].recv_from(&mut buffer) {
                Ok((len, _)) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(DemoError::Socket { what: "receiving at a phone", error }),
            };
            let bytes = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
            let name = self.phone(who).name;
            let message = Message::parse(bytes, &Limits::default()).map_err(|_| ShowError::NotSip(name))?;
            self.crossed(BATON, who.column(), message.clone());
            if let Some(happening) = self.phone(who).receive(&message) {
                self.react(who, happening)?;
            }
            self.send(who)?;
        }
    }

    /// Carries what a phone wants sent to the wire.
    fn send(&mut self, who: Who) -> Result<(), DemoError> {
        for bytes in std::mem::take(&mut self.phone(who).sent) {
            let name = self.phone(who).name;
            self.sockets[who as usize]
                .send_to(&bytes, self.proxy)
                .map_err(|error| DemoError::Socket { what: "sending from a phone", error })?;
            let message =
                Message::parse(bytes.into(), &Limits::default()).map_err(|_| ShowError::NotSip(name))?;
            self.crossed(who.column(), BATON, message);
        }
        Ok(())
    }

    fn crossed(&mut self, from: usize, to: usize, message: Message) {
        // A repetition, on a machine that was busy, is not a second message.
        let same = |c: &Crossing| (c.from, c.to, c.message.bytes()) == (from, to, message.bytes());
        if self.crossings.iter().any(same) {
            return;
        }
        self.crossings.push(Crossing { at: self.clock.now(), from, to, message });
    }

    /// What the people make of what happened.
    fn react(&mut self, who: Who, happening: Happening) -> Result<(), ShowError> {
        let ordered = self.act == Act::Ordered;
        match (who, happening) {
            (Who::Bob | Who::Carol, Happening::Invited(call)) => {
                self.phone(who).answer(call, 180);
                self.plan(RINGING, Deed::PickUp(who, call));
            }
            (Who::Alice, Happening::Answered(call)) => {
                self.reached.talking = true;
                self.plan(TALKING, Deed::Transfer(call));
            }
            (Who::Bob, Happening::Confirmed(_)) if ordered => self.reached.talking = true,
            (Who::Bob, Happening::Referred(call, transfer)) => {
                self.reached.accepted |= ordered;
                self.phone(Who::Bob).notify(call, transfer.id, 100);
                let by = transfer.by.clone();
                self.phone(Who::Bob).call(&transfer.to, Some(&by));
                self.transfer = Some((call, transfer));
            }
            (Who::Bob, Happening::Answered(call)) => {
                if let Some((old, transfer)) = self.transfer.take() {
                    self.phone(Who::Bob).notify(old, transfer.id, 200);
                }
                self.plan(2 * TALKING, Deed::HangUp(Who::Bob, call));
            }
            // The answer to the first NOTIFY comes while the new call is not answered yet.
            (Who::Bob, Happening::NotifyAnswered(_)) if ordered && self.transfer.is_none() => {
                self.reached.transferred = true;
            }
            (Who::Bob, Happening::HungUp(_)) if ordered => self.reached.old_call_over = true,
            (Who::Alice, Happening::ReferAnswered(..)) => self.reached.accepted = true,
            (Who::Alice, Happening::Notified(call, Some(200..=299))) => {
                self.reached.transferred = true;
                self.plan(TALKING / 5, Deed::HangUp(Who::Alice, call));
            }
            (Who::Alice, Happening::Notified(_, Some(status @ 300..))) => {
                return Err(ShowError::Failed(status));
            }
            (Who::Alice, Happening::Ended(_)) => self.reached.old_call_over = true,
            (Who::Bob, Happening::Ended(_)) => self.reached.new_call_over = true,
            (_, Happening::Refused(method, status)) => {
                let who = self.phone(who).name;
                return Err(ShowError::Refused { who, method: method.as_str(), status });
            }
            // The rest goes by without anybody doing anything about it.
            _ => {}
        }
        Ok(())
    }

    fn plan(&mut self, delay: Duration, deed: Deed) {
        self.plans.push((self.clock.now() + delay, deed));
    }

    /// Does what the moment has come for.
    fn act(&mut self) -> Result<(), DemoError> {
        let now = self.clock.now();
        let (due, later) = self.plans.drain(..).partition(|(at, _)| *at <= now);
        self.plans = later;
        let due: Vec<(Time, Deed)> = due;
        for (_, deed) in due {
            let who = match deed {
                Deed::PickUp(who, call) => {
                    self.phone(who).answer(call, 200);
                    who
                }
                Deed::Transfer(call) => {
                    let carol = self.phone(Who::Alice).address_of("Carol");
                    self.phone(Who::Alice).refer(call, &carol);
                    Who::Alice
                }
                Deed::HangUp(who, call) => {
                    self.phone(who).hang_up(call);
                    who
                }
            };
            self.send(who)?;
        }
        Ok(())
    }

    fn phone(&mut self, who: Who) -> &mut Phone {
        let [alice, bob, carol] = &mut self.phones;
        match who {
            Who::Alice => alice,
            Who::Bob => bob,
            Who::Carol => carol,
        }
    }
}

#[cfg(test)]
mod tests;
