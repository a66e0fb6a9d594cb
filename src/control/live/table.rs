//! The table itself: calls, who follows them, and the keys of transfers.

use super::index::Index;
use crate::io::Clock;
use crate::record::CallRecord;
use crate::sip::event::{CallChanged, CallSid, CallStarted, CallStatus, Direction, Event, Offered, ReferSid};
use crate::sip::message::uri::Uri;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Idempotency keys remembered; the oldest go first.
const KEYS: usize = 10_000;

/// A call that is alive.
#[derive(Clone, Debug)]
pub(in crate::control) struct LiveCall {
    /// What its record is, or will be: for its account, of whose calls alone it tells.
    pub(in crate::control) record: CallRecord,
    /// Header fields that interfaces show.
    pub(in crate::control) headers: Vec<(String, String)>,
    /// Whom it talks to.
    pub(in crate::control) joined: Option<CallSid>,
    /// The leg for which it was dialled, whoever pays that one.
    parent: Option<CallSid>,
    /// It was dialled for another, and is steered by itself now.
    released: bool,
}

/// Who follows a call, by the number under which it does.
type Followers = Vec<(u64, mpsc::Sender<Event>)>;

/// Everything alive.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Shared with whoever reads them, so that nothing is copied while events wait.
    calls: HashMap<CallSid, Arc<LiveCall>>,
    index: Index,
    watches: HashMap<CallSid, Followers>,
    keys: HashMap<String, ReferSid>,
    oldest: VecDeque<String>,
}

impl Table {
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn call(&self, sid: CallSid) -> Option<&Arc<LiveCall>> {
        self.calls.get(&sid)
    }

    pub(super) fn of_account(&self, account: &str) -> Vec<Arc<LiveCall>> {
        self.index.of_account(account).filter_map(|sid| self.calls.get(&sid)).cloned().collect()
    }

    pub(super) fn count(&self, account: &str) -> (usize, usize) {
        self.index.count(account)
    }

    pub(super) fn related(&self, sid: CallSid) -> Vec<Arc<LiveCall>> {
        let joined = self.calls.get(&sid).and_then(|call| call.joined);
        let dialled = self.index.children(sid).iter().copied().filter(|child| Some(*child) != joined);
        joined.into_iter().chain(dialled).filter_map(|other| self.calls.get(&other)).cloned().collect()
    }

    pub(super) fn insert(&mut self, record: CallRecord) {
        let (sid, parent) = (record.sid, record.parent);
        self.forget(sid);
        self.index.add(&record, parent);
        let call = LiveCall { record, headers: Vec::new(), joined: None, parent, released: false };
        self.calls.insert(sid, Arc::new(call));
        self.hide_parent(sid);
        for child in self.index.children(sid).to_vec() {
            self.hide_parent(child);
        }
    }

    /// Another account's call is not named, as in the store; what has no record, having no account, is. Once hidden, it
    /// stays so when that call has ended.
    fn hide_parent(&mut self, sid: CallSid) {
        let Some(call) = self.calls.get(&sid) else { return };
        let parent = call.record.parent.and_then(|parent| self.calls.get(&parent));
        let account = parent.map_or("", |parent| parent.record.account.as_str());
        if !account.is_empty()
            && account != call.record.account
            && let Some(call) = self.edit(sid)
        {
            call.record.parent = None;
        }
    }

    pub(super) fn forget(&mut self, sid: CallSid) {
        if let Some(call) = self.calls.remove(&sid) {
            self.index.remove(&call.record, call.parent());
        }
    }

    /// A leg does not belong to another any more; its record still says who dialled it.
    pub(super) fn release(&mut self, sid: CallSid, parent: CallSid) {
        if let Some(call) = self.edit(sid).filter(|call| call.parent() == Some(parent)) {
            call.released = true;
            self.index.reparent(sid, Some(parent), None);
        }
    }

    /// A call that is about to change. Who reads it at the moment keeps it as it was.
    fn edit(&mut self, sid: CallSid) -> Option<&mut LiveCall> {
        self.calls.get_mut(&sid).map(Arc::make_mut)
    }

    /// Whether any call is followed.
    pub(super) fn is_followed(&self) -> bool {
        !self.watches.is_empty()
    }

    pub(super) fn watch(&mut self, sid: CallSid, id: u64, sender: mpsc::Sender<Event>) {
        self.watches.entry(sid).or_default().push((id, sender));
    }

    pub(super) fn unwatch(&mut self, sid: CallSid, id: u64) {
        if let Some(followers) = self.watches.get_mut(&sid) {
            followers.retain(|(of, _)| *of != id);
            if followers.is_empty() {
                self.watches.remove(&sid);
            }
        }
    }

    /// The Refer that has this key already; else it is given to `sid`.
    pub(super) fn claim(&mut self, key: &str, sid: ReferSid) -> Option<ReferSid> {
        if let Some(known) = self.keys.get(key) {
            return Some(*known);
        }
        self.keys.insert(key.to_owned(), sid);
        self.oldest.push_back(key.to_owned());
        if self.oldest.len() > KEYS
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.keys.remove(&oldest);
        }
        None
    }

    pub(super) fn unclaim(&mut self, key: &str) {
        self.keys.remove(key);
        self.oldest.retain(|known| known != key);
    }

    /// Those whom an event concerns: who follows its calls, or the call that one of them belongs to.
    pub(super) fn followers(&self, event: &Event) -> Vec<mpsc::Sender<Event>> {
        if self.watches.is_empty() {
            return Vec::new();
        }
        let (first, second) = match event {
            Event::CallStarted(started) => (started.sid, started.parent),
            Event::CallChanged(CallChanged { sid, .. }) | Event::Ended(sid, _) => (*sid, self.parent(*sid)),
            Event::Headers(headers) => (headers.sid, self.parent(headers.sid)),
            Event::Refer(refer) => (refer.call, None),
            Event::ReferNotified(_, call, _) => (*call, None),
            Event::EarlyMedia(sid) => (*sid, self.parent(*sid)),
            Event::Offered(offered) => (offered.sid, None),
            Event::Joined(one, other) | Event::Parted(one, other) => (*one, Some(*other)),
            Event::DialEnded(ended) => (ended.sid, None),
            Event::ReferAsked(asked) => (asked.call, asked.other),
            Event::RequestEnded { sid, .. } => (*sid, None),
            Event::Reply { .. } => return Vec::new(),
        };
        let of = |sid| self.watches.get(&sid).into_iter().flatten().map(|(_, sender)| sender.clone());
        of(first).chain(second.into_iter().flat_map(of)).collect()
    }

    fn parent(&self, sid: CallSid) -> Option<CallSid> {
        self.calls.get(&sid).and_then(|call| call.parent())
    }

    /// What an event changes. A call leaves when it has ended.
    pub(super) fn apply(&mut self, event: &Event, node: u128) {
        match event {
            Event::CallStarted(started) => match self.edit(started.sid) {
                Some(call) => {
                    let former = call.parent();
                    call.begin(started);
                    let parent = call.parent();
                    self.index.reparent(started.sid, former, parent);
                    self.hide_parent(started.sid);
                }
                None => self.insert(begun(started, node)),
            },
            Event::CallChanged(change) => match self.edit(change.sid) {
                Some(call) => call.change(change),
                // Its beginning was dropped for want of room.
                None if !change.status.is_final() => {
                    self.insert(unknown(change, node));
                    if let Some(call) = self.edit(change.sid) {
                        call.change(change);
                    }
                }
                None => {}
            },
            Event::Headers(headers) => {
                if let Some(call) = self.edit(headers.sid) {
                    call.headers.clone_from(&headers.headers);
                    call.record.call_id.clone_from(&headers.call_id);
                }
            }
            Event::Joined(one, other) => {
                for (leg, with) in [(one, other), (other, one)] {
                    if let Some(call) = self.edit(*leg) {
                        call.joined = Some(*with);
                    }
                }
            }
            Event::Parted(one, other) => {
                for (leg, with) in [(one, other), (other, one)] {
                    if let Some(call) = self.edit(*leg).filter(|call| call.joined == Some(*with)) {
                        call.joined = None;
                    }
                }
            }
            Event::Ended(sid, _) => self.forget(*sid),
            // An application answers it, whatever is known of it.
            Event::Offered(offered) if !self.calls.contains_key(&offered.sid) => {
                self.insert(unheard(offered, node));
            }
            Event::Refer(_)
            | Event::ReferNotified(..)
            | Event::EarlyMedia(_)
            | Event::Reply { .. }
            | Event::Offered(_)
            | Event::DialEnded(_)
            | Event::ReferAsked(_)
            | Event::RequestEnded { .. } => {}
        }
    }
}

impl LiveCall {
    /// The leg that it belongs to, for which it was dialled.
    pub(in crate::control) fn parent(&self) -> Option<CallSid> {
        self.parent.filter(|_| !self.released)
    }

    /// A call of the API is known before the shard tells of it; who calls whom stays as it was asked.
    fn begin(&mut self, started: &CallStarted) {
        self.record.created = started.at;
        self.record.updated = self.record.updated.max(started.at);
        self.record.call_id.clone_from(&started.call_id);
        if self.parent != started.parent {
            (self.parent, self.record.parent) = (started.parent, started.parent);
        }
    }

    /// Statuses only go forward, as in the store.
    fn change(&mut self, change: &CallChanged) {
        self.record.change(change);
    }
}

fn begun(started: &CallStarted, node: u128) -> CallRecord {
    CallRecord {
        from: started.from.clone(),
        to: started.to.clone(),
        caller_name: started.caller_name.clone(),
        forwarded_from: started.forwarded_from.clone(),
        call_id: started.call_id.clone(),
        parent: started.parent,
        ..CallRecord::begun(started.sid, node, &started.account, started.direction, started.at)
    }
}

fn unheard(offered: &Offered, node: u128) -> CallRecord {
    let user = |uri: &str| {
        let uri = Uri::parse(uri.as_bytes()).ok();
        let part = uri.map(|uri| String::from_utf8_lossy(uri.user.unwrap_or(uri.host)).into_owned());
        part.unwrap_or_default()
    };
    CallRecord {
        from: user(&offered.from_uri),
        to: user(&offered.to_uri),
        ..CallRecord::begun(offered.sid, node, &offered.account, Direction::Inbound, Clock::new().now())
    }
}

fn unknown(change: &CallChanged, node: u128) -> CallRecord {
    CallRecord {
        status: CallStatus::Queued,
        ..CallRecord::begun(change.sid, node, &change.account, Direction::Inbound, change.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::event::EndedBy;
    use crate::sip::time::Time;

    fn started(sid: u128, parent: Option<u128>) -> Event {
        Event::CallStarted(Arc::new(CallStarted {
            sid: CallSid(sid),
            account: "AC".into(),
            at: Time::from_millis(1_000),
            from: "a".into(),
            to: "b".into(),
            caller_name: None,
            forwarded_from: None,
            direction: Direction::Inbound,
            call_id: "id".into(),
            parent: parent.map(CallSid),
            cause: None,
        }))
    }

    fn changed(sid: u128, status: CallStatus) -> Event {
        Event::CallChanged(CallChanged {
            sid: CallSid(sid),
            account: "AC".into(),
            started: Time::from_millis(1_000),
            at: Time::from_millis(2_000),
            status,
            code: 0,
        })
    }

    fn status(table: &Table, sid: u128) -> Option<CallStatus> {
        table.call(CallSid(sid)).map(|call| call.record.status)
    }

    /// A call is here from its beginning, or from what is first heard of it, to its end.
    #[test]
    fn calls_come_and_go() {
        let mut table = Table::default();
        for event in [started(1, None), changed(2, CallStatus::Ringing), changed(3, CallStatus::Failed)] {
            table.apply(&event, 7);
        }
        assert_eq!(status(&table, 1), Some(CallStatus::Ringing));
        assert_eq!(status(&table, 2), Some(CallStatus::Ringing));
        assert_eq!(status(&table, 3), None);
        table.apply(&changed(1, CallStatus::InProgress), 7);
        table.apply(&changed(1, CallStatus::Ringing), 7);
        table.apply(&changed(1, CallStatus::Canceled), 7);
        assert_eq!(status(&table, 1), Some(CallStatus::Completed));
        table.apply(&Event::Ended(CallSid(1), EndedBy::Peer), 7);
        assert_eq!((status(&table, 1), table.calls()), (None, 1));
    }

    /// Who follows a call hears of it and of the legs dialled for it.
    #[test]
    fn events_reach_who_follows() {
        let mut table = Table::default();
        let (sender, _mailbox) = mpsc::channel(9);
        table.watch(CallSid(1), 0, sender);
        for event in [started(1, None), started(2, Some(1)), started(3, None)] {
            table.apply(&event, 7);
        }
        let heard = |table: &Table, event: Event| table.followers(&event).len();
        assert_eq!(heard(&table, changed(1, CallStatus::InProgress)), 1);
        assert_eq!(heard(&table, changed(2, CallStatus::InProgress)), 1);
        assert_eq!(heard(&table, changed(3, CallStatus::InProgress)), 0);
        assert_eq!(heard(&table, Event::Joined(CallSid(3), CallSid(1))), 1);
        table.apply(&Event::Joined(CallSid(3), CallSid(1)), 7);
        let related: Vec<u128> = table.related(CallSid(1)).iter().map(|c| c.record.sid.0).collect();
        assert_eq!(related, [3, 2]);
        table.apply(&Event::Parted(CallSid(1), CallSid(3)), 7);
        assert_eq!(table.related(CallSid(3)).len(), 0);
        table.unwatch(CallSid(1), 0);
        assert!(table.watches.is_empty());
    }

    /// [jambonz 9.5] A leg that is detached is nobody's child, whatever is told of its beginning again; its record
    /// says all the same who dialled it.
    #[test]
    fn a_leg_that_is_released() {
        let mut table = Table::default();
        let (sender, _mailbox) = mpsc::channel(9);
        table.watch(CallSid(1), 0, sender);
        for event in [started(1, None), started(2, Some(1)), started(3, Some(1))] {
            table.apply(&event, 7);
        }
        let of_first = |table: &Table| -> Vec<u128> {
            table.related(CallSid(1)).iter().map(|call| call.record.sid.0).collect()
        };
        // Not another's to release.
        table.release(CallSid(2), CallSid(3));
        assert_eq!(of_first(&table), [2, 3]);
        table.release(CallSid(2), CallSid(1));
        table.apply(&started(2, Some(1)), 7);
        assert_eq!(of_first(&table), [3]);
        assert!(table.followers(&changed(2, CallStatus::InProgress)).is_empty());
        let call = table.call(CallSid(2)).expect("it lives");
        assert_eq!((call.parent(), call.record.parent), (None, Some(CallSid(1))));
        for sid in 1..4 {
            table.apply(&Event::Ended(CallSid(sid), EndedBy::Peer), 7);
        }
        assert_eq!((table.calls(), of_first(&table)), (0, vec![]));
    }

    /// A leg of a transfer is paid by who referred, and belongs to a call of another account: with that it is
    /// steered, but it does not name it, whichever was told of first and however often. What has no record has no
    /// account, and is named.
    #[test]
    fn other_accounts_are_not_named() {
        let of = |account: &str, event: Event| match event {
            Event::CallStarted(call) => {
                Event::CallStarted(Arc::new(CallStarted { account: account.into(), ..(*call).clone() }))
            }
            event => event,
        };
        let theirs = || of("AD", started(1, None));
        for events in [
            vec![theirs(), started(2, Some(1))],
            vec![started(2, Some(1)), theirs()],
            vec![started(2, None), theirs(), started(2, Some(1))],
            vec![theirs(), started(2, Some(1)), started(2, Some(1))],
            vec![theirs(), started(2, Some(1)), Event::Ended(CallSid(1), EndedBy::Peer), started(2, Some(1))],
        ] {
            let mut table = Table::default();
            for event in &events {
                table.apply(event, 7);
            }
            let leg = table.call(CallSid(2)).expect("it lives");
            assert_eq!((leg.parent(), leg.record.parent), (Some(CallSid(1)), None), "{events:?}");
            let steered: Vec<u128> = table.related(CallSid(1)).iter().map(|call| call.record.sid.0).collect();
            assert_eq!(steered, [2]);
            for sid in [2, 1] {
                table.apply(&Event::Ended(CallSid(sid), EndedBy::Peer), 7);
            }
            assert!(table.related(CallSid(1)).is_empty());
        }
        let mut table = Table::default();
        for event in [theirs(), started(3, Some(1)), started(3, Some(4)), of("", started(5, None))] {
            table.apply(&event, 7);
        }
        table.apply(&started(6, Some(5)), 7);
        let named = |sid| table.call(CallSid(sid)).expect("it lives").record.parent;
        assert_eq!((named(3), named(6)), (Some(CallSid(4)), Some(CallSid(5))));
    }

    /// Lists and relations follow what is told of a call: when it comes, again, under another parent, and goes.
    #[test]
    fn lists_follow_the_events() {
        let mut table = Table::default();
        let placed = |sid, account: &str| {
            let at = Time::from_millis(500);
            CallRecord::begun(CallSid(sid), 7, account, Direction::OutboundApi, at)
        };
        table.insert(placed(2, "AC"));
        table.insert(placed(4, "AD"));
        for event in [started(1, None), started(3, Some(1)), started(2, Some(1))] {
            table.apply(&event, 7);
        }
        let children = |table: &Table, sid| -> Vec<u128> {
            table.related(CallSid(sid)).iter().map(|call| call.record.sid.0).collect()
        };
        assert_eq!(children(&table, 1), [3, 2]);
        assert_eq!((table.count("AC"), table.count("AD"), table.count("AE")), ((2, 1), (0, 1), (0, 0)));
        // Told once more, and of another parent; what a reader holds stays as it was.
        let held = table.of_account("AC");
        table.apply(&started(3, Some(2)), 7);
        table.apply(&changed(1, CallStatus::InProgress), 7);
        assert_eq!((children(&table, 1), children(&table, 2)), (vec![2], vec![3]));
        assert_eq!(table.count("AC"), (2, 1));
        assert!(held.iter().all(|call| call.record.status != CallStatus::InProgress));
        assert_eq!(status(&table, 1), Some(CallStatus::InProgress));
        // Placed anew under the same identifier, it is one call still.
        table.insert(placed(2, "AD"));
        assert_eq!((table.count("AC"), table.count("AD"), children(&table, 1)), ((2, 0), (0, 2), vec![]));
        table.forget(CallSid(4));
        for sid in 1..4 {
            table.apply(&Event::Ended(CallSid(sid), EndedBy::Peer), 7);
        }
        assert_eq!((table.count("AC"), table.count("AD"), table.calls()), ((0, 0), (0, 0), 0));
        assert!(table.of_account("AC").is_empty() && children(&table, 2).is_empty());
    }

    /// A key names one Refer, until it is taken back.
    #[test]
    fn keys_name_one_refer() {
        let mut table = Table::default();
        assert_eq!(table.claim("k", ReferSid(1)), None);
        assert_eq!(table.claim("k", ReferSid(2)), Some(ReferSid(1)));
        table.unclaim("k");
        assert_eq!(table.claim("k", ReferSid(2)), None);
        for n in 0..KEYS {
            table.claim(&n.to_string(), ReferSid(9));
        }
        assert_eq!((table.keys.len(), table.claim("k", ReferSid(3))), (KEYS, None));
    }
}
