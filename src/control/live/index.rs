//! Where to look instead of looking at everything: the calls of an account, and those dialled for a call.
//!
//! Events go through the lock of the table that this belongs to; whoever reads holds it no longer than for
//! what is read.

use crate::record::CallRecord;
use crate::sip::event::{CallSid, Direction};
use hashbrown::{HashMap, HashSet};

/// Calls by whose they are.
#[derive(Debug, Default)]
pub(super) struct Index {
    accounts: HashMap<String, OfAccount>,
    /// In the order in which they were dialled.
    children: HashMap<CallSid, Vec<CallSid>>,
}

#[derive(Debug, Default)]
struct OfAccount {
    calls: HashSet<CallSid>,
    inbound: usize,
}

impl Index {
    /// A call has come, with this account and direction, and the parent that it belongs to.
    pub(super) fn add(&mut self, record: &CallRecord, parent: Option<CallSid>) {
        let own = match self.accounts.get_mut(&record.account) {
            Some(own) => own,
            None => self.accounts.entry(record.account.clone()).or_default(),
        };
        if own.calls.insert(record.sid) && record.direction == Direction::Inbound {
            own.inbound += 1;
        }
        self.adopt(record.sid, parent);
    }

    /// A call goes; it is as it was added, but for its parent, which is what [`Index::reparent`] said last.
    pub(super) fn remove(&mut self, record: &CallRecord, parent: Option<CallSid>) {
        if let Some(own) = self.accounts.get_mut(&record.account) {
            if own.calls.remove(&record.sid) && record.direction == Direction::Inbound {
                own.inbound -= 1;
            }
            if own.calls.is_empty() {
                self.accounts.remove(&record.account);
            }
        }
        self.abandon(record.sid, parent);
    }

    /// Another call is its parent, or none.
    pub(super) fn reparent(&mut self, sid: CallSid, former: Option<CallSid>, parent: Option<CallSid>) {
        if former != parent {
            self.abandon(sid, former);
            self.adopt(sid, parent);
        }
    }

    fn adopt(&mut self, sid: CallSid, parent: Option<CallSid>) {
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().push(sid);
        }
    }

    fn abandon(&mut self, sid: CallSid, parent: Option<CallSid>) {
        if let Some(parent) = parent
            && let Some(children) = self.children.get_mut(&parent)
        {
            children.retain(|child| *child != sid);
            if children.is_empty() {
                self.children.remove(&parent);
            }
        }
    }

    /// Those dialled for a call.
    pub(super) fn children(&self, sid: CallSid) -> &[CallSid] {
        self.children.get(&sid).map_or(&[], Vec::as_slice)
    }

    /// The calls of an account.
    pub(super) fn of_account(&self, account: &str) -> impl Iterator<Item = CallSid> {
        self.accounts.get(account).into_iter().flat_map(|own| own.calls.iter().copied())
    }

    /// How many of an account's calls came in, and how many Baton placed.
    pub(super) fn count(&self, account: &str) -> (usize, usize) {
        self.accounts.get(account).map_or((0, 0), |own| (own.inbound, own.calls.len() - own.inbound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::time::Time;
    use proptest::prelude::*;

    fn record(sid: u128, account: usize, inbound: bool, parent: Option<u128>) -> CallRecord {
        let direction = if inbound { Direction::Inbound } else { Direction::OutboundApi };
        let account = ["AC", "AD", ""][account];
        let begun = CallRecord::begun(CallSid(sid), 7, account, direction, Time::from_millis(1));
        CallRecord { parent: parent.map(CallSid), ..begun }
    }

    proptest! {
        /// After whatever came, moved and went: it says what looking at all of them would say.
        #[test]
        fn it_agrees_with_all_calls(
            steps in proptest::collection::vec(
                (0_u8..4, 0_u128..6, 0_usize..3, any::<bool>(), proptest::option::of(0_u128..6)), 1..100),
        ) {
            let mut index = Index::default();
            let mut all: Vec<CallRecord> = Vec::new();
            for (step, sid, account, inbound, parent) in steps {
                let known = all.iter().position(|call| call.sid == CallSid(sid));
                match (step, known) {
                    (0 | 1, None) => {
                        let call = record(sid, account, inbound, parent);
                        index.add(&call, call.parent);
                        all.push(call);
                    }
                    (0 | 1, Some(place)) => {
                        index.reparent(CallSid(sid), all[place].parent, parent.map(CallSid));
                        all[place].parent = parent.map(CallSid);
                    }
                    (_, Some(place)) => {
                        let call = all.remove(place);
                        index.remove(&call, call.parent);
                    }
                    (_, None) => {}
                }
                for account in ["AC", "AD", ""] {
                    let own = || all.iter().filter(|call| call.account == account);
                    let inbound = own().filter(|call| call.direction == Direction::Inbound).count();
                    prop_assert_eq!(index.count(account), (inbound, own().count() - inbound));
                    let listed: HashSet<CallSid> = index.of_account(account).collect();
                    prop_assert_eq!(listed, own().map(|call| call.sid).collect());
                }
                for parent in (0..6).map(CallSid) {
                    let mut listed = index.children(parent).to_vec();
                    listed.sort();
                    let own = all.iter().filter(|call| call.parent == Some(parent));
                    let mut own: Vec<CallSid> = own.map(|call| call.sid).collect();
                    own.sort();
                    prop_assert_eq!(listed, own);
                }
            }
            for call in &all {
                index.remove(call, call.parent);
            }
            prop_assert!(index.accounts.is_empty() && index.children.is_empty());
        }
    }
}
