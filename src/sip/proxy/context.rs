//! The response context of one forwarded request (RFC 3261 §16): where it came from, the branches it
//! was sent on, what they answered, and which answer is the best so far.

use crate::sip::flow::{Flow, Transport};
use crate::sip::message::{HeaderId, Message, Method};
use crate::sip::plan::TrunkIx;
use crate::sip::proxy::target::Candidates;
use crate::sip::proxy::token::DialogToken;
use crate::sip::refer::{Dialog, ReferHandle};
use crate::sip::time::Time;
use crate::sip::timer::TimerId;
use crate::sip::transaction::{ClientId, ServerId};
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;

/// Addresses of one target that are still to be tried, in order.
pub type Addresses = SmallVec<[(Transport, SocketAddr); 2]>;

/// All that is kept of a request while it is being answered.
#[derive(Debug)]
pub struct Context {
    /// Where the answer goes.
    pub server: ServerId,
    /// The request, in bytes of its own: failover and local answers are made from it.
    pub request: Message,
    /// The path it came by.
    pub flow: Flow,
    /// When it came.
    pub at: Time,
    /// Whether its path is its route set rather than the rules (T-037).
    pub in_dialog: bool,
    /// The caller gave up, or another branch won: no new attempt starts.
    pub closed: bool,
    /// The caller's CANCEL came.
    pub cancelled: bool,
    /// Attempts so far (T-039).
    pub attempts: usize,
    /// Client transactions that have not ended, given-up attempts included.
    pub live: u16,
    /// Targets not yet tried.
    pub candidates: Candidates,
    /// One for each group of candidates.
    pub branches: SmallVec<[Branch; 1]>,
    /// The best answer so far.
    pub best: Best,
    /// For Max-Breadth on parallel branches (RFC 5393 §5.3.3); 0: pass on what came.
    pub breadth: u32,
    /// The trunk the request came from.
    pub trunk_in: Option<TrunkIx>,
    /// The trunk in whose rate of REFERs it is counted.
    pub counted: Option<TrunkIx>,
    /// What its answer means to the records.
    pub subject: Subject,
}

/// What a request does to a call that is observed.
#[derive(Debug)]
pub enum Subject {
    /// Nothing.
    None,
    /// It begins one.
    Call(Box<Setup>),
    /// It ends one, if it is not refused.
    Bye(Box<Bye>),
    /// It transfers one.
    Refer(ReferHandle),
}

impl Subject {
    /// The call that it begins, among those that are up.
    pub fn call(&self) -> Option<u64> {
        match self {
            Subject::Call(setup) => Some(setup.key),
            Subject::None | Subject::Bye(_) | Subject::Refer(_) => None,
        }
    }
}

/// The end of a call.
#[derive(Debug)]
pub struct Bye {
    /// What the dialog carried.
    pub token: DialogToken,
    /// The account that owns the record.
    pub account: Option<Arc<str>>,
    /// The call among those that are up.
    pub key: u64,
    /// Hash of the callee's tag: which of several answers is ended.
    pub callee: u32,
    /// The dialog, for the REFERs in it.
    pub dialog: Dialog,
}

/// A call that is being set up.
#[derive(Debug)]
pub struct Setup {
    /// What later requests will carry.
    pub token: DialogToken,
    /// The account that owns the record; `None`: counted but not recorded.
    pub account: Option<Arc<str>>,
    /// The call among those that are up.
    pub key: u64,
    /// Whether a 101 to 199 was passed on.
    pub ringing: bool,
    /// The trunk of the branch that rings or answered.
    pub trunk_out: Option<TrunkIx>,
}

/// One line of attempts: at any moment one client transaction at most.
#[derive(Debug)]
pub struct Branch {
    /// Its group of candidates.
    pub group: u8,
    /// The trunk being tried.
    pub trunk: Option<TrunkIx>,
    /// Which of its targets.
    pub target: u16,
    /// How far the current attempt is.
    pub progress: Progress,
    /// The current client transaction.
    pub client: Option<ClientId>,
    /// Where it was sent.
    pub remote: Option<SocketAddr>,
    /// Further addresses of the same target.
    pub addresses: Addresses,
    /// When the current attempt is given up.
    pub deadline: Time,
    /// The wheel's entry that looks at `deadline`; it may be earlier than that.
    pub timer: Option<TimerId>,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// DNS is being asked.
    Resolving,
    /// Sent, nothing heard.
    Sent,
    /// 100 heard.
    Trying,
    /// 101 to 199 heard: no failover any more (C-123).
    Ringing,
    /// It has its final answer, or none can come.
    Done,
}

impl Branch {
    /// A branch that has not sent anything.
    pub fn new(group: u8) -> Branch {
        Branch {
            group,
            trunk: None,
            target: 0,
            progress: Progress::Resolving,
            client: None,
            remote: None,
            addresses: Addresses::new(),
            deadline: Time::ZERO,
            timer: None,
        }
    }
}

/// The best final answer among those of all branches (RFC 3261 §16.7 step 6).
#[derive(Debug, Default)]
pub struct Best {
    /// 0: none yet.
    pub status: u16,
    /// The answer as it will go upstream, our Via removed; empty when it is to be made here.
    pub bytes: Bytes,
    /// WWW-Authenticate and Proxy-Authenticate of the other 401 and 407 (C-104).
    pub challenges: Vec<(HeaderId, Bytes)>,
}

impl Best {
    /// Takes part in the choice with a final answer. `bytes` is made only when it wins.
    pub fn offer(&mut self, status: u16, message: Option<&Message>, bytes: impl FnOnce() -> Bytes) {
        let wins = self.status == 0 || rank(status) < rank(self.status);
        if let Some(message) = message.filter(|_| matches!(status, 401 | 407)) {
            self.collect(message);
        }
        if wins {
            self.status = status;
            self.bytes = bytes();
        }
    }

    fn collect(&mut self, message: &Message) {
        for line in message.headers() {
            let challenge = matches!(line.id, HeaderId::WwwAuthenticate | HeaderId::ProxyAuthenticate);
            if challenge && self.challenges.len() < MAX_CHALLENGES {
                self.challenges.push((line.id, Bytes::copy_from_slice(line.value)));
            }
        }
    }
}

const MAX_CHALLENGES: usize = 16;

/// The order of preference: lower is better (RFC 3261 §16.7 step 6, C-103). 6xx first, then the
/// lowest class; within 4xx those that tell the caller how to do better; 503 last of all.
pub fn rank(status: u16) -> u32 {
    let class = match status {
        600..=699 => 0,
        503 => 9,
        200..=599 => u32::from(status / 100),
        _ => 10,
    };
    let within = match status {
        401 | 407 => 0,
        415 | 420 | 484 => 1,
        // A branch that only timed out or was cancelled says less than one that answered.
        408 | 487 => 3,
        _ => 2,
    };
    class * 10 + within
}

impl Context {
    /// Whether every branch has ended.
    pub fn all_done(&self) -> bool {
        self.branches.iter().all(|b| b.progress == Progress::Done)
    }

    /// Which branch a client transaction belongs to.
    pub fn branch_of(&self, client: ClientId) -> Option<usize> {
        self.branches.iter().position(|b| b.client == Some(client))
    }

    /// The request's method.
    pub fn method(&self) -> Method {
        self.request.method()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [C-103] Order of final answers.
    #[test]
    fn best_of_many() {
        let order = [603, 302, 401, 484, 404, 486, 408, 500, 504, 503];
        for pair in order.windows(2) {
            assert!(rank(pair[0]) <= rank(pair[1]), "{} before {}", pair[0], pair[1]);
        }
        let mut best = Best::default();
        for status in [503, 404, 486, 500] {
            best.offer(status, None, Bytes::new);
        }
        assert_eq!(best.status, 404);
    }
}
