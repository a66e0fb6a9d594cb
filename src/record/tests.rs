use super::*;
use crate::sip::event::{
    CallChanged, CallSid, CallStarted, CallStatus, Direction, ReferReason, ReferRole, ReferSid,
    ReferSnapshot, ReferStatus,
};
use std::sync::atomic::AtomicU32;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const NODE: u128 = 0xabc;
const EVERYTHING: Excerpt = Excerpt { offset: 0, count: 1_000, limit: None };

/// A store in a folder of its own, with a clock that stands where the test puts it.
struct Bench {
    store: Option<Store>,
    folder: PathBuf,
    now: Arc<AtomicU64>,
}

impl Bench {
    fn new(configure: impl FnOnce(&mut RecordConfig)) -> Bench {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(format!("baton-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let now = Arc::new(AtomicU64::new(at(1_000).micros()));
        let mut bench = Bench { store: None, folder, now };
        bench.open(configure);
        bench
    }

    fn open(&mut self, configure: impl FnOnce(&mut RecordConfig)) {
        let now = self.now.clone();
        let clock: Clock = Arc::new(move || Time::from_micros(now.load(Relaxed)));
        let mut config = RecordConfig::new(self.folder.join("deep/baton.db"), NODE, clock);
        configure(&mut config);
        self.store = Some(Store::open(config).expect("the store opens"));
    }

    fn close(&mut self) {
        self.store.take().expect("it is open").close();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    fn send(&self, events: impl IntoIterator<Item = Event>) -> &Bench {
        for event in events {
            self.store().sender().send(event).expect("the writer takes events");
        }
        self
    }

    fn call(&self, sid: u128) -> Option<CallRecord> {
        assert!(self.store().flush());
        let session = self.store().reader().session().expect("a connection");
        session.call(&call_sid_text(NODE, CallSid(sid))).expect("the store is read")
    }

    fn refer(&self, sid: u128) -> Option<ReferRecord> {
        assert!(self.store().flush());
        let session = self.store().reader().session().expect("a connection");
        session.refer(&ReferSid(sid).to_string()).expect("the store is read")
    }

    fn calls(&self, filter: &CallFilter, order: CallOrder, excerpt: Excerpt) -> (u64, Vec<u128>) {
        assert!(self.store().flush());
        let session = self.store().reader().session().expect("a connection");
        let page = session.calls(ACCOUNT, filter, order, excerpt).expect("the store is read");
        (page.total, page.items.into_iter().map(|call| call.sid.0).collect())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.store.take());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn at(seconds: u64) -> Time {
    Time::from_millis(1_700_000_000_000 + seconds * 1_000)
}

fn started(sid: u128, seconds: u64) -> Event {
    Event::CallStarted(Arc::new(CallStarted {
        sid: CallSid(sid),
        account: ACCOUNT.into(),
        at: at(seconds),
        from: "alice".into(),
        to: "bob".into(),
        caller_name: Some("Alice".into()),
        forwarded_from: None,
        direction: Direction::Inbound,
        call_id: "a84b4c76e66710".into(),
        parent: None,
        cause: None,
    }))
}

fn changed(sid: u128, started: u64, time: Time, status: CallStatus) -> Event {
    Event::CallChanged(CallChanged {
        sid: CallSid(sid),
        account: ACCOUNT.into(),
        started: at(started),
        at: time,
        status,
        code: 0,
    })
}

fn refer(sid: u128, seq: u32, status: ReferStatus, codes: (Option<u16>, Option<u16>)) -> Event {
    Event::Refer(Box::new(ReferSnapshot {
        sid: ReferSid(sid),
        call: CallSid(1),
        account: ACCOUNT.into(),
        role: ReferRole::Relay,
        created: at(0),
        at: at(u64::from(seq)),
        seq,
        from: "sip:alice@example.com".into(),
        to: "sip:carol@example.com".into(),
        refer_code: codes.0,
        notify_code: codes.1,
        status,
        reason: (status == ReferStatus::Failed).then_some(ReferReason::TargetRejected),
        rule: None,
        moved: None,
        target: None,
    }))
}

#[test]
fn a_whole_call_is_one_completed_record() {
    let bench = Bench::new(|_| ());
    let end = at(2) + Duration::from_millis(10_100);
    bench.send([
        started(1, 0),
        changed(1, 0, at(1), CallStatus::Ringing),
        changed(1, 0, at(2), CallStatus::InProgress),
        changed(1, 0, end, CallStatus::Completed),
    ]);
    let call = bench.call(1).expect("it is recorded");
    assert_eq!(call.status, CallStatus::Completed);
    assert_eq!((call.from.as_str(), call.to.as_str()), ("alice", "bob"));
    assert_eq!(call.ringing, Some(at(1)));
    assert_eq!((call.answered, call.ended), (Some(at(2)), Some(end)));
    // 10.1 seconds are 11 (Calls API, 4.4).
    assert_eq!(call.duration, Some(11));
    assert_eq!(bench.store().stats().written(), 1);
}

/// Written while it lives, row by row, a call ends as if it had been written at once.
#[test]
fn a_call_written_in_parts_is_the_same() {
    let bench = Bench::new(|_| ());
    bench.send([started(1, 0)]);
    assert_eq!(bench.call(1).map(|c| c.status), Some(CallStatus::Ringing));
    bench.send([changed(1, 0, at(2), CallStatus::InProgress)]);
    let call = bench.call(1).expect("it is recorded");
    assert_eq!((call.status, call.ended, call.duration), (CallStatus::InProgress, None, None));
    bench.send([changed(1, 0, at(12), CallStatus::Completed)]);
    let call = bench.call(1).expect("it is recorded");
    assert_eq!((call.status, call.duration), (CallStatus::Completed, Some(10)));
    assert_eq!((call.created, call.answered), (at(0), Some(at(2))));
}

#[test]
fn a_final_status_never_changes() {
    let bench = Bench::new(|_| ());
    bench.send([started(1, 0), changed(1, 0, at(3), CallStatus::Busy)]);
    bench.send([changed(1, 0, at(4), CallStatus::Completed)]);
    assert_eq!(bench.call(1).map(|c| (c.status, c.duration)), Some((CallStatus::Busy, Some(0))));
    bench.send([changed(1, 0, at(5), CallStatus::Ringing)]);
    bench.send([changed(1, 0, at(6), CallStatus::Failed)]);
    let call = bench.call(1).expect("it is recorded");
    assert_eq!((call.status, call.ended, call.updated), (CallStatus::Busy, Some(at(3)), at(3)));
    assert_eq!(bench.store().stats().written(), 1);
}

#[test]
fn what_was_answered_can_only_be_completed() {
    let bench = Bench::new(|_| ());
    bench.send([started(1, 0), changed(1, 0, at(1), CallStatus::InProgress)]);
    assert!(bench.call(1).is_some());
    bench.send([changed(1, 0, at(4), CallStatus::Failed)]);
    assert_eq!(bench.call(1).map(|c| (c.status, c.duration)), Some((CallStatus::Completed, Some(3))));
}

/// A kill lost the row: the change that comes after the restart carries what is needed (law 6).
#[test]
fn a_lost_row_is_written_anew() {
    let bench = Bench::new(|_| ());
    bench.send([changed(1, 5, at(9), CallStatus::Completed)]);
    let call = bench.call(1).expect("it is recorded");
    assert_eq!((call.status, call.duration), (CallStatus::Completed, Some(4)));
    assert_eq!((call.created, call.account.as_str()), (at(5), ACCOUNT));
    assert_eq!((call.from.as_str(), call.to.as_str()), ("", ""));
}

#[test]
fn records_outlast_a_restart_and_calls_go_on() {
    let mut bench = Bench::new(|_| ());
    bench.send([started(1, 0), changed(1, 0, at(2), CallStatus::InProgress)]);
    bench.close();
    bench.open(|_| ());
    assert_eq!(bench.call(1).map(|c| c.status), Some(CallStatus::InProgress));
    bench.send([changed(1, 0, at(32), CallStatus::Completed)]);
    assert_eq!(bench.call(1).and_then(|c| c.duration), Some(30));
}

/// [restcomm-refers 14] What is final stays; a smaller count never replaces a larger one.
#[test]
fn refers_go_forward_only() {
    let bench = Bench::new(|_| ());
    bench.send([refer(1, 0, ReferStatus::InProgress, (None, None))]);
    assert_eq!(bench.refer(1), None, "nothing before the REFER's fate is known");
    bench.send([refer(1, 2, ReferStatus::InProgress, (Some(202), Some(180)))]);
    bench.send([refer(1, 1, ReferStatus::InProgress, (Some(202), None))]);
    let record = bench.refer(1).expect("it is recorded");
    assert_eq!((record.refer_code, record.notify_code), (202, Some(180)));
    bench.send([refer(1, 1, ReferStatus::Failed, (Some(202), Some(404)))]);
    assert_eq!(bench.refer(1).map(|r| r.status), Some(ReferStatus::InProgress));
    bench.send([refer(1, 3, ReferStatus::Busy, (Some(202), Some(486)))]);
    assert!(bench.refer(1).is_some());
    bench.send([refer(1, 4, ReferStatus::Completed, (Some(202), Some(200)))]);
    let record = bench.refer(1).expect("it is recorded");
    assert_eq!((record.status, record.notify_code), (ReferStatus::Busy, Some(486)));
}

/// A Refer under way when the process ended is not left in progress; a finished one stays.
#[test]
fn refers_do_not_outlast_who_follows_them() {
    let mut bench = Bench::new(|_| {});
    bench.send([
        refer(1, 0, ReferStatus::InProgress, (Some(202), Some(180))),
        refer(2, 0, ReferStatus::Completed, (Some(202), Some(200))),
    ]);
    bench.close();
    bench.now.store(at(2_000).micros(), Relaxed);
    bench.open(|_| {});
    let orphan = bench.refer(1).expect("a record");
    assert_eq!((orphan.status, orphan.reason), (ReferStatus::Failed, Some(ReferReason::OutcomeUnknown)));
    assert_eq!((orphan.refer_code, orphan.notify_code), (202, Some(180)));
    assert_eq!(orphan.updated, at(2_000));
    assert_eq!(bench.refer(2).map(|refer| refer.status), Some(ReferStatus::Completed));
}

#[test]
fn too_many_and_too_old_records_go_oldest_ended_first() {
    let mut bench = Bench::new(|_| {});
    // The first call began first but ended last; the fifth still lives.
    bench.send((1..=5).map(|n| started(u128::from(n), n)));
    bench.send([changed(1, 1, at(900), CallStatus::Completed)]);
    bench.send((2..=4).map(|n| changed(u128::from(n), n, at(600 + n), CallStatus::Completed)));
    // Only now: between two of them, the writer may tidy up of itself.
    bench.close();
    bench.open(|config| {
        config.max_count = Some(3);
        config.max_age = Some(Duration::from_secs(500));
    });
    assert!(bench.store().tidy());
    let left = |bench: &Bench| bench.calls(&CallFilter::default(), CallOrder::default(), EVERYTHING).1;
    assert_eq!(left(&bench), [5, 4, 1]);
    bench.now.store(at(1_200).micros(), Relaxed);
    assert!(bench.store().tidy());
    assert_eq!(left(&bench), [5, 1], "the one that ended at 604 is older than 500 seconds");
}

/// What was another account's is not named either when its own record is gone; what was one's own is.
#[test]
fn what_is_removed_is_not_named_to_others() {
    for (count, age) in [(Some(1), None), (None, Some(Duration::from_secs(500)))] {
        let bench = Bench::new(|config| (config.max_count, config.max_age) = (count, age));
        let tied = |sid, target| {
            let status = ReferStatus::InProgress;
            Event::Refer(Box::new(ReferSnapshot {
                status,
                target: Some(CallSid(target)),
                ..*blank_refer(sid)
            }))
        };
        bench.send([started(1, 0), caused(5, Some(1), "AC2"), caused(6, Some(1), ACCOUNT)]);
        let Event::CallStarted(theirs) = started(7, 3) else { panic!("it begins") };
        bench
            .send([Event::CallStarted(Arc::new(CallStarted { account: "AC2".into(), ..(*theirs).clone() }))]);
        bench.send([tied(8, 1), tied(10, 7)]);
        bench.send([1, 7].map(|sid| changed(sid, 0, at(600 + sid as u64), CallStatus::Completed)));
        bench.now.store(at(1_500).micros(), Relaxed);
        assert!(bench.store().flush() && bench.store().tidy());
        assert_eq!((bench.call(1), bench.call(7)), (None, None));
        let parent = |sid| bench.call(sid).expect("a call").parent;
        assert_eq!((parent(5), parent(6)), (None, Some(CallSid(1))));
        let target = |sid| bench.refer(sid).expect("a Refer").target;
        assert_eq!((target(8), target(10)), (Some(CallSid(1)), None));
    }
}

#[test]
fn calls_whose_bye_never_came_are_closed() {
    let bench = Bench::new(|config| config.max_duration = Some(Duration::from_secs(100)));
    bench.send([started(1, 0), changed(1, 0, at(10), CallStatus::InProgress)]);
    bench.send([started(2, 20), started(3, 990)]);
    assert!(bench.store().flush());
    assert!(bench.store().expire_stale(at(900)));
    let answered = bench.call(1).expect("it is recorded");
    assert_eq!((answered.status, answered.ended), (CallStatus::Completed, Some(at(100))));
    assert_eq!(answered.duration, Some(90));
    let unanswered = bench.call(2).expect("it is recorded");
    assert_eq!((unanswered.status, unanswered.duration), (CallStatus::Failed, Some(0)));
    assert_eq!(bench.call(3).map(|c| c.status), Some(CallStatus::Ringing));
}

#[test]
fn a_full_queue_refuses_and_never_waits() {
    let bench = Bench::new(|config| config.queue = 1);
    let sender = bench.store().sender();
    let refused = (0..100_000).filter(|n| sender.try_send(started(*n, 0)).is_err()).count();
    assert!(refused > 0);
}

#[test]
fn lists_are_filtered_sorted_and_cut() {
    let bench = Bench::new(|_| ());
    for n in 1..=6_u64 {
        bench.send([started(u128::from(n), n)]);
        if n % 2 == 0 {
            let answer = changed(n.into(), n, at(n), CallStatus::InProgress);
            bench.send([answer, changed(n.into(), n, at(n + 10 - n), CallStatus::Completed)]);
        }
    }
    let list =
        |filter: &CallFilter, by, descending| bench.calls(filter, CallOrder { by, descending }, EVERYTHING).1;
    let all = CallFilter::default();
    assert_eq!(list(&all, CallSort::Created, true), [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(&all, CallSort::Created, false), [1, 2, 3, 4, 5, 6]);
    assert_eq!(list(&all, CallSort::Duration, false), [5, 3, 1, 6, 4, 2]);
    assert_eq!(list(&all, CallSort::Status, false), [6, 4, 2, 5, 3, 1]);
    let ended = CallFilter { ended: Some(at(10)), ..CallFilter::default() };
    assert_eq!(list(&ended, CallSort::Created, true), [6, 4, 2]);
    let ended = CallFilter { ended: Some(at(9)), ..CallFilter::default() };
    assert_eq!(list(&ended, CallSort::Created, true), []);
    let late = CallFilter { started: Some(at(5)), ..CallFilter::default() };
    assert_eq!(list(&late, CallSort::Created, true), [6, 5]);
    let suffix = |end: &str| CallFilter { to: Some(end.into()), ..CallFilter::default() };
    assert_eq!(list(&suffix("ob"), CallSort::Created, true).len(), 6);
    assert_eq!(list(&suffix("%b"), CallSort::Created, true).len(), 0);
    let cut = Excerpt { offset: 3, count: 2, limit: Some(4) };
    assert_eq!(bench.calls(&all, CallOrder::default(), cut), (4, vec![3]));
}

#[test]
fn a_newer_format_is_refused() {
    let mut bench = Bench::new(|_| ());
    bench.close();
    let path = bench.folder.join("deep/baton.db");
    let connection = rusqlite::Connection::open(&path).expect("the file is there");
    connection.execute_batch("PRAGMA user_version = 99;").expect("it can be written");
    drop(connection);
    let clock: Clock = Arc::new(|| Time::ZERO);
    let error = Store::open(RecordConfig::new(path, NODE, clock)).expect_err("it is refused");
    assert!(matches!(error, StoreError::Newer { found: 99, .. }));
}

#[test]
fn public_identifiers_are_read_as_written() {
    let text = call_sid_text(NODE, CallSid(7));
    assert_eq!(parse_call_sid(&text), Some((NODE, CallSid(7))));
    for strange in ["", "CA7", "ID0-CA0", &text.to_uppercase(), &format!("{text}@host")] {
        assert_eq!(parse_call_sid(strange), None, "{strange}");
    }
    assert_eq!(parse_refer_sid(&ReferSid(9).to_string()), Some(ReferSid(9)));
}

/// What cannot be written is kept and written later, in its order; readers see what there is.
#[test]
fn trouble_with_writing_loses_nothing() {
    let bench = Bench::new(|_| ());
    bench.send([started(1, 0)]);
    assert!(bench.store().flush());
    let other = rusqlite::Connection::open(bench.folder.join("deep/baton.db")).expect("the file is there");
    other.execute_batch("BEGIN IMMEDIATE;").expect("nobody writes");
    bench.send([changed(1, 0, at(2), CallStatus::InProgress), started(2, 3)]);
    assert!(!bench.store().flush());
    assert!(bench.store().stats().failing());
    let session = bench.store().reader().session().expect("a connection");
    let call = session.call(&call_sid_text(NODE, CallSid(1))).expect("the store is read");
    assert_eq!(call.map(|c| c.status), Some(CallStatus::Ringing));
    bench.send([changed(1, 0, at(5), CallStatus::Completed)]);
    other.execute_batch("COMMIT;").expect("it ends");
    assert!(bench.store().flush());
    assert!(!bench.store().stats().failing());
    assert_eq!(bench.call(1).and_then(|c| c.duration), Some(3));
    assert!(bench.call(2).is_some());
    assert_eq!(bench.store().stats().dropped(), 0);
}

#[test]
fn records_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new(|_| ());
    let file = std::fs::metadata(bench.folder.join("deep/baton.db")).expect("the file is there");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

fn blank_refer(sid: u128) -> Box<ReferSnapshot> {
    match refer(sid, 1, ReferStatus::Completed, (Some(202), Some(200))) {
        Event::Refer(refer) => refer,
        other => panic!("{other:?}"),
    }
}

fn caused(sid: u128, parent: Option<u128>, account: &str) -> Event {
    let Event::CallStarted(plain) = started(sid, 2) else { panic!("it begins") };
    let cause = Some(crate::sip::event::Cause { refer: ReferSid(9), call: CallSid(1) });
    let parent = parent.map(CallSid);
    Event::CallStarted(Arc::new(CallStarted { cause, parent, account: account.into(), ..(*plain).clone() }))
}

/// A Refer says by which rule it was decided and whom it ties together; a call, which Refer has brought
/// it about. A leg keeps its parent; a call that came back has the one that was transferred in its place, and
/// is the target of its Refer, unless it is another account's.
#[test]
fn transfers_and_calls_name_each_other() {
    let bench = Bench::new(|_| {});
    let (moved, target) = (Some(CallSid(2)), Some(CallSid(3)));
    let rule = Some(crate::sip::refer::ReferRule::Deny(1));
    let snapshot = ReferSnapshot { rule, moved, target, ..*blank_refer(8) };
    bench.send([started(1, 0), started(2, 0), caused(3, Some(2), ACCOUNT), Event::Refer(Box::new(snapshot))]);
    let refer = bench.refer(8).expect("a Refer");
    assert_eq!((refer.rule.as_deref(), refer.moved, refer.target), (Some("refer.deny[1]"), moved, target));
    let leg = bench.call(3).expect("a call");
    assert_eq!((leg.parent, leg.refer), (Some(CallSid(2)), Some(ReferSid(9))));

    let back = Bench::new(|_| {});
    back.send([started(1, 0), caused(5, None, "AC2"), Event::Refer(blank_refer(9))]);
    assert_eq!(back.refer(9).expect("a Refer").target, None);
    back.send([caused(6, None, ACCOUNT), started(7, 0)]);
    assert_eq!(back.refer(9).expect("a Refer").target, Some(CallSid(6)));
    let came = back.call(6).expect("a call");
    assert_eq!((came.parent, came.refer), (Some(CallSid(1)), Some(ReferSid(9))));
    let ordinary = back.call(7).expect("a call");
    assert_eq!((ordinary.parent, ordinary.refer), (None, None));
    let session = back.store().reader().session().expect("a connection");
    for (call, refers) in [(1, vec![ReferSid(9)]), (6, vec![ReferSid(9)]), (5, vec![]), (7, vec![])] {
        let call = back.call(call).expect("a call");
        let of: Vec<ReferSid> =
            session.refers_of(&call).expect("they are read").iter().map(|refer| refer.sid).collect();
        assert_eq!(of, refers, "{}", call.sid);
    }
}

/// What another account's records tell of is not named: not the call and the transfer that a call comes
/// of, nor whom a transfer moves and where to. What has no record is.
#[test]
fn other_accounts_are_not_named() {
    let bench = Bench::new(|_| {});
    let of = |account: &str, event: Event| match event {
        Event::CallStarted(call) => {
            Event::CallStarted(Arc::new(CallStarted { account: account.into(), ..(*call).clone() }))
        }
        Event::Refer(refer) => Event::Refer(Box::new(ReferSnapshot { account: account.into(), ..*refer })),
        event => event,
    };
    let tied = |sid, moved, target| {
        let (moved, target) = (Some(CallSid(moved)), Some(CallSid(target)));
        Event::Refer(Box::new(ReferSnapshot { moved, target, ..*blank_refer(sid) }))
    };
    // The first call and the Refer 9 are AC2's; 5 came back by it, and 6 is a leg of a party that is nobody's.
    bench.send([of("AC2", started(1, 0)), of("AC2", tied(9, 5, 6)), started(2, 0)]);
    bench.send([caused(5, None, ACCOUNT), caused(6, Some(77), ACCOUNT), caused(7, Some(1), "AC2")]);
    bench.send([tied(8, 1, 7), tied(10, 2, 77)]);
    for (sid, parent, refer) in
        [(5, None, None), (6, Some(77), None), (7, Some(1), Some(9)), (1, None, None), (2, None, None)]
    {
        let call = bench.call(sid).expect("a call");
        assert_eq!((call.parent, call.refer), (parent.map(CallSid), refer.map(ReferSid)), "{sid}");
    }
    // The one that is AC2's own stands in for the target that is not.
    for (sid, moved, target) in [(8, None, None), (9, None, Some(7)), (10, Some(2), Some(77))] {
        let refer = bench.refer(sid).expect("a Refer");
        assert_eq!((refer.moved, refer.target), (moved.map(CallSid), target.map(CallSid)), "{sid}");
    }
    assert!(bench.store().flush());
    let session = bench.store().reader().session().expect("a connection");
    let listed = session.calls(ACCOUNT, &CallFilter::default(), CallOrder::default(), EVERYTHING);
    let named = listed.expect("the store is read").items.into_iter().filter_map(|call| call.parent);
    assert_eq!(named.collect::<Vec<_>>(), [CallSid(77)]);
    // Nor does a filter tell which it is.
    for (parent, found) in [(1, 0), (77, 1)] {
        let parent = Some(call_sid_text(NODE, CallSid(parent)));
        let filter = CallFilter { parent, ..CallFilter::default() };
        let listed = session.calls(ACCOUNT, &filter, CallOrder::default(), EVERYTHING);
        assert_eq!(listed.expect("the store is read").total, found);
    }
    let listed = session.refers(ACCOUNT, &ReferFilter::default(), EVERYTHING).expect("the store is read");
    assert_eq!(listed.items.iter().filter_map(|refer| refer.moved).collect::<Vec<_>>(), [CallSid(2)]);
}

/// A store of the format before this one is taken over with what it holds.
#[test]
fn an_older_store_is_brought_up_to_date() {
    let mut bench = Bench::new(|_| {});
    bench.send([started(1, 0), refer(4, 1, ReferStatus::Completed, (Some(202), Some(200)))]);
    bench.close();
    let path = bench.folder.join("deep/baton.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    connection
        .execute_batch(
            "DROP INDEX call_refer; DROP INDEX refer_moved; DROP INDEX refer_target;
             ALTER TABLE call DROP COLUMN refer; ALTER TABLE refer DROP COLUMN rule;
             ALTER TABLE refer DROP COLUMN moved; ALTER TABLE refer DROP COLUMN target_call;
             PRAGMA user_version = 1;",
        )
        .expect("the first format");
    drop(connection);
    bench.open(|_| {});
    let refer = bench.refer(4).expect("a Refer");
    assert_eq!((refer.refer_code, refer.rule, refer.moved, refer.target), (202, None, None, None));
    bench.send([caused(6, None, ACCOUNT)]);
    assert_eq!(bench.call(6).expect("a call").refer, Some(ReferSid(9)));
    assert_eq!(bench.call(1).expect("a call").refer, None);
}
