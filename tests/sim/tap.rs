//! What a shard sends, held against what made it send: nothing may be forwarded twice.
//!
//! A message that leaves while another one comes in is forwarded; one that leaves when a timer fires,
//! or when a request comes that was there before, is repeated by a transaction. So:
//!
//! - each request (but an ACK to a 2xx) that comes in makes one request leave (an INVITE to several at once:
//!   one to each), however often it comes
//!   in, and no more branches of it leave in all than there are targets;
//! - each final response (but a 2xx to INVITE) makes one response leave, however often it comes in,
//!   and a transaction has one final response only;
//! - a 100 makes none leave, no request but INVITE gets another provisional or a 408.

use crate::text::Text;
use std::collections::{BTreeMap, BTreeSet};

/// A transaction as its client knows it: Call-ID, From tag, number, method, branch.
type Key = (String, String, u32, String, String);

/// What a shard was given when it sent something.
#[derive(Clone, Debug)]
pub enum Cause {
    Request(Key),
    Response(u16),
    Timer,
}

#[derive(Debug, Default)]
pub struct Tap {
    /// Copies of a request that came in.
    copies: BTreeMap<Key, usize>,
    /// Requests that left because this one came in.
    forwarded: BTreeMap<Key, usize>,
    /// Branches on which a request left, by all of its key but the branch, and the To tag.
    branches: BTreeMap<(String, String, u32, String, String), BTreeSet<String>>,
    /// Final responses that left because one came in.
    passed: BTreeMap<Key, usize>,
    /// Final responses that left, however often.
    finals: BTreeMap<Key, usize>,
    /// Different final responses that left, but for 2xx to INVITE.
    kinds: BTreeMap<Key, BTreeSet<String>>,
    /// INVITEs that got a 2xx.
    accepted: BTreeSet<Key>,
    /// What left, and how often something left again.
    sent: BTreeSet<String>,
    pub repeats: usize,
    /// Addresses a request may be tried at.
    pub targets: usize,
    /// Of these so many at once.
    pub at_once: usize,
    pub faults: Vec<String>,
}

impl Tap {
    /// Something came in.
    pub fn came(&mut self, text: &Text) -> Cause {
        if !text.is_request() {
            return Cause::Response(text.status());
        }
        let key = key(text);
        *self.copies.entry(key.clone()).or_default() += 1;
        Cause::Request(key)
    }

    /// Something left.
    pub fn left(&mut self, text: &Text, cause: &Cause) {
        if !self.sent.insert(format!("{text:?}")) {
            self.repeats += 1;
        }
        if text.is_request() {
            self.request_left(text, cause);
        } else {
            self.response_left(text, cause);
        }
    }

    /// Restarted shards know nothing of what the old ones have passed on.
    pub fn forget(&mut self) {
        *self = Tap {
            targets: self.targets,
            at_once: self.at_once,
            faults: std::mem::take(&mut self.faults),
            ..Tap::default()
        };
    }

    fn request_left(&mut self, text: &Text, cause: &Cause) {
        let (call, from, number, method, branch) = key(text);
        if method == "ACK" {
            return;
        }
        let limit = if method == "CANCEL" || method == "INVITE" { self.targets } else { 1 };
        let to = text.tag("To").unwrap_or_default().to_owned();
        let branches = self.branches.entry((call, from, number, method.clone(), to)).or_default();
        branches.insert(branch);
        if branches.len() > limit {
            let n = branches.len();
            self.fault(format!("{method} left on {n} branches, for {limit} targets"));
        }
        if let Cause::Request(cause) = cause
            && method != "CANCEL"
        {
            let forwarded = self.forwarded.entry(cause.clone()).or_default();
            *forwarded += 1;
            let limit = if method == "INVITE" { self.at_once } else { 1 };
            if *forwarded > limit {
                self.fault(format!("{method} forwarded twice"));
            }
        }
    }

    fn response_left(&mut self, text: &Text, cause: &Cause) {
        let key = key(text);
        let (status, method) = (text.status(), text.method().to_owned());
        let invite = method == "INVITE";
        if let Cause::Response(100) = cause {
            self.fault(format!("a 100 made a {status} to {method} leave"));
        }
        if !invite && (status == 408 || (101..200).contains(&status)) {
            self.fault(format!("{status} to {method}"));
        }
        if status < 200 {
            return;
        }
        *self.finals.entry(key.clone()).or_default() += 1;
        if invite && status < 300 {
            if self.kinds.contains_key(&key) {
                self.fault(format!("{status} to INVITE after another final"));
            }
            self.accepted.insert(key);
            return;
        }
        if self.accepted.contains(&key) {
            self.fault(format!("{status} to INVITE after a 2xx"));
        }
        let kinds = self.kinds.entry(key.clone()).or_default();
        kinds.insert(format!("{text:?}"));
        if kinds.len() > 1 {
            self.fault(format!("a second final, {status}, to {method}"));
        }
        if matches!(cause, Cause::Response(status) if *status >= 200) {
            let passed = self.passed.entry(key.clone()).or_default();
            *passed += 1;
            if *passed > 1 {
                self.fault(format!("{status} to {method} passed on twice"));
            }
        }
        // Without Timer G, each copy of the request brings one answer at most.
        let (sent, copies) = (self.finals[&key], self.copies.get(&key).copied().unwrap_or(0));
        if !invite && sent > copies {
            self.fault(format!("{status} to {method} sent {sent} times for {copies} requests"));
        }
    }

    pub fn fault(&mut self, what: String) {
        self.faults.push(what);
    }
}

fn key(text: &Text) -> Key {
    (
        text.get("Call-ID").to_owned(),
        text.tag("From").unwrap_or_default().to_owned(),
        text.cseq(),
        text.method().to_owned(),
        text.branch().to_owned(),
    )
}
