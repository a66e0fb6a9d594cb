use super::*;
use crate::sip::event::ReferSid;
use crate::sip::refer::facts::Tag;
use std::sync::Arc;
use std::time::Duration;

const REFERRER: &[u8] = b"9fxced76sl";
const REFEREE: &[u8] = b"314159";

/// A shard in small: virtual time, the timers asked for, and what was emitted.
struct Bench {
    observer: Observer,
    now: Time,
    timers: Vec<(Time, ReferHandle)>,
    told: Vec<ReferSnapshot>,
    active: i64,
    next_sid: u128,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_capacity(100)
    }

    fn with_capacity(capacity: usize) -> Bench {
        Bench {
            observer: Observer::new(capacity, Waits::from_t1(Duration::from_millis(500))),
            now: Time::from_millis(1_000_000),
            timers: Vec::new(),
            told: Vec::new(),
            active: 0,
            next_sid: 1,
        }
    }

    fn take(&mut self, fx: Vec<ReferEffect>) {
        for effect in fx {
            match effect {
                ReferEffect::Emit(snapshot, _) => self.told.push(*snapshot),
                ReferEffect::Active(_, delta) => self.active += delta,
                ReferEffect::Timer { refer, at } => self.timers.push((at, refer)),
            }
        }
    }

    fn facts(&mut self, dialog: Dialog, cseq: u32) -> ReferFacts {
        let sid = ReferSid(self.next_sid);
        self.next_sid += 1;
        ReferFacts {
            sid,
            dialog,
            account: Arc::from("AC00000000000000000000000000000001"),
            trunk: None,
            cseq,
            from: "sip:alice@atlanta.example.com".into(),
            to: "sip:carol@chicago.example.com".into(),
        }
    }

    fn send(&mut self, dialog: Dialog, cseq: u32) -> Option<ReferHandle> {
        let facts = self.facts(dialog, cseq);
        let mut fx = Vec::new();
        let handle = self.observer.refer_sent(self.now, facts, &mut fx);
        self.take(fx);
        handle
    }

    fn refer(&mut self) -> ReferHandle {
        self.send(dialog(), 1).expect("room for a Refer")
    }

    fn answer(&mut self, handle: ReferHandle, fate: Fate) {
        let mut fx = Vec::new();
        self.observer.refer_answered(self.now, handle, fate, &mut fx);
        self.take(fx);
    }

    fn notify_in(&mut self, dialog: Dialog, facts: NotifyFacts) {
        let mut fx = Vec::new();
        self.observer.notified(self.now, &dialog.reversed(), &facts, &mut fx);
        self.take(fx);
    }

    fn notify(&mut self, code: u16) {
        self.notify_in(dialog(), active(code));
    }

    fn bye(&mut self) {
        let mut fx = Vec::new();
        self.observer.call_ended(self.now, &dialog(), &mut fx);
        self.take(fx);
    }

    /// Lets time pass and fires what falls due, in order.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(i) =
            (0..self.timers.len()).filter(|&i| self.timers[i].0 <= end).min_by_key(|&i| self.timers[i].0)
        {
            let (at, refer) = self.timers.remove(i);
            self.now = self.now.max(at);
            let mut fx = Vec::new();
            self.observer.expire(self.now, refer, &mut fx);
            self.take(fx);
        }
        self.now = end;
    }

    /// Lets everything end: the table must be empty then (no state behind the last timer).
    fn finish(&mut self) {
        self.pass(Duration::from_secs(1_000));
        assert!(self.observer.is_empty(), "a Refer was left behind");
        assert_eq!(self.active, 0, "[R-120] the gauge is what it was");
        assert!(self.observer.calls.is_empty(), "an index entry was left behind");
        assert!(self.timers.is_empty(), "a timer was left behind");
        for sid in 1..self.next_sid {
            let of = |s: &&ReferSnapshot| s.sid == ReferSid(sid);
            let finals = self.told.iter().filter(of).filter(|s| s.status != ReferStatus::InProgress).count();
            assert!(finals <= 1, "RF{sid}: {finals} results");
            let seqs: Vec<u32> = self.told.iter().filter(of).map(|s| s.seq).collect();
            assert!(seqs.iter().copied().eq(0..seqs.len() as u32), "RF{sid}: {seqs:?}");
        }
    }

    fn last(&self) -> &ReferSnapshot {
        self.told.last().expect("something was told")
    }

    fn result(&self) -> (ReferStatus, Option<ReferReason>, Option<u16>, Option<u16>) {
        let last = self.last();
        (last.status, last.reason, last.refer_code, last.notify_code)
    }
}

fn dialog() -> Dialog {
    Dialog { call: CallSid(7), from: Tag::of(REFERRER), to: Tag::of(REFEREE) }
}

fn active(code: u16) -> NotifyFacts {
    NotifyFacts { code: Some(code), expires: Some(Duration::from_secs(60)), ..NotifyFacts::default() }
}

fn terminated(code: Option<u16>) -> NotifyFacts {
    NotifyFacts { code, terminated: true, ..NotifyFacts::default() }
}

/// [R-001] [R-023] [restcomm-refers 2] [restcomm-refers 13] A transfer from REFER to success, told
/// step by step.
#[test]
fn a_transfer_that_succeeds() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    assert!(bench.told.is_empty(), "no record before the fate of the REFER is known");
    bench.answer(refer, Fate::Response(100));
    assert!(bench.told.is_empty());
    bench.answer(refer, Fate::Response(202));
    bench.notify(100);
    bench.notify(180);
    bench.notify_in(dialog(), terminated(Some(200)));
    let seen: Vec<_> = bench.told.iter().map(|s| (s.status, s.refer_code, s.notify_code)).collect();
    assert_eq!(
        seen,
        [
            (ReferStatus::InProgress, Some(202), None),
            (ReferStatus::InProgress, Some(202), Some(100)),
            (ReferStatus::InProgress, Some(202), Some(180)),
            (ReferStatus::Completed, Some(202), Some(200)),
        ]
    );
    let last = bench.last();
    assert_eq!(last.reason, None);
    assert_eq!(last.role, ReferRole::Relay);
    assert_eq!(
        (last.from.as_str(), last.to.as_str()),
        ("sip:alice@atlanta.example.com", "sip:carol@chicago.example.com")
    );
    assert_eq!(last.created, Time::from_millis(1_000_000));
    bench.finish();
}

/// 200 and 202 accept alike.
#[test]
fn any_2xx_accepts() {
    for code in [200, 202, 299] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, Fate::Response(code));
        assert_eq!(bench.result(), (ReferStatus::InProgress, None, Some(code), None));
        bench.finish();
    }
}

/// [R-003] [R-023] [restcomm-refers 12] Every final code of a sipfrag, by its row.
#[test]
fn the_final_notify_decides() {
    for code in 200..=699 {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, Fate::Response(202));
        bench.notify_in(dialog(), terminated(Some(code)));
        let (status, reason) = match code {
            200..=299 => (ReferStatus::Completed, None),
            486 | 600 => (ReferStatus::Busy, Some(ReferReason::TargetBusy)),
            408 | 480 | 487 => (ReferStatus::NoAnswer, Some(ReferReason::TargetNoAnswer)),
            _ => (ReferStatus::Failed, Some(ReferReason::TargetRejected)),
        };
        assert_eq!(bench.result(), (status, reason, Some(202), Some(code)));
        bench.finish();
    }
}

/// [R-003] [restcomm-refers 8] A refused REFER ends at once, with its code and no other.
#[test]
fn a_refused_refer() {
    for code in [300, 302, 400, 403, 405, 481, 500, 503, 603] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, Fate::Response(code));
        let rejected = Some(ReferReason::ReferRejected);
        assert_eq!(bench.result(), (ReferStatus::Failed, rejected, Some(code), None));
        bench.notify(200);
        bench.finish();
        assert_eq!(bench.told.len(), 1);
    }
}

/// [R-003] [restcomm-refers 9] No answer counts as 408, no way to send it as 503.
#[test]
fn an_unanswered_refer() {
    for (fate, code) in [(Fate::Timeout, 408), (Fate::TransportFailure, 503)] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, fate);
        let timeout = Some(ReferReason::ReferTimeout);
        assert_eq!(bench.result(), (ReferStatus::Failed, timeout, Some(code), None));
        bench.finish();
    }
}

/// Even if nobody ever told the fate of the REFER, there is one result.
#[test]
fn a_refer_that_is_never_heard_of_again() {
    let mut bench = Bench::new();
    bench.refer();
    bench.finish();
    assert_eq!(bench.result().2, Some(408));
    assert_eq!(bench.told.len(), 1);
}

/// [R-003] [restcomm-refers 10] Accepted, then silence for 64*T1.
#[test]
fn no_notify_in_time() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.pass(Duration::from_millis(31_999));
    assert_eq!(bench.last().status, ReferStatus::InProgress);
    bench.pass(Duration::from_millis(1));
    let reason = Some(ReferReason::NotifyTimeout);
    assert_eq!(bench.result(), (ReferStatus::Failed, reason, Some(202), None));
    bench.finish();
}

/// The subscription runs out: at its `expires`, at 300 s at the latest.
#[test]
fn no_result_in_time() {
    let unknown = Some(ReferReason::OutcomeUnknown);
    for (expires, wait) in [(Some(60), 60), (Some(3_600), 299), (None, 299), (Some(0), 299)] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, Fate::Response(202));
        bench.pass(Duration::from_secs(1));
        let expires = expires.map(Duration::from_secs);
        bench.notify_in(dialog(), NotifyFacts { code: Some(180), expires, ..NotifyFacts::default() });
        bench.pass(Duration::from_secs(wait) - Duration::from_millis(1));
        assert_eq!(bench.last().status, ReferStatus::InProgress);
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.result(), (ReferStatus::Failed, unknown, Some(202), Some(180)));
        bench.finish();
    }
}

/// A subscription that goes on is waited for: each NOTIFY says anew how long.
#[test]
fn a_later_notify_extends_the_wait() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.notify(100);
    bench.pass(Duration::from_secs(50));
    bench.notify(180);
    bench.pass(Duration::from_secs(50));
    assert_eq!(bench.last().status, ReferStatus::InProgress);
    bench.notify(200);
    assert_eq!(bench.last().status, ReferStatus::Completed);
    bench.finish();
}

/// Terminated without a result: unknown at once, whatever progress there was.
#[test]
fn terminated_without_a_result() {
    for code in [None, Some(100), Some(180)] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, Fate::Response(202));
        bench.notify_in(dialog(), terminated(code));
        let unknown = Some(ReferReason::OutcomeUnknown);
        assert_eq!(bench.result(), (ReferStatus::Failed, unknown, Some(202), code));
        bench.finish();
    }
}

/// A final sipfrag is final though the subscription stays active.
#[test]
fn final_though_active() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.notify(486);
    assert_eq!(bench.last().status, ReferStatus::Busy);
    bench.finish();
}

/// A NOTIFY with a status that is none neither reports nor extends a wait.
#[test]
fn a_notify_without_a_usable_status() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.pass(Duration::from_secs(20));
    bench.notify_in(dialog(), active(7));
    bench.notify_in(dialog(), active(999));
    bench.pass(Duration::from_secs(12));
    let reason = Some(ReferReason::NotifyTimeout);
    assert_eq!(bench.result(), (ReferStatus::Failed, reason, Some(202), None));
    bench.finish();
}

/// [R-001] [X-06] [restcomm-refers 14] A NOTIFY after the result changes nothing and tells nothing.
#[test]
fn a_late_notify_changes_nothing() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.notify(486);
    let told = bench.told.len();
    for code in [100, 180, 200, 486, 603] {
        bench.notify(code);
    }
    bench.answer(refer, Fate::Response(603));
    bench.bye();
    bench.finish();
    bench.notify(200);
    assert_eq!(bench.told.len(), told);
    assert_eq!(bench.last().notify_code, Some(486));
}

/// A repeated NOTIFY with nothing new is not told again.
#[test]
fn the_same_again_is_not_told() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.notify(180);
    bench.notify(180);
    assert_eq!(bench.told.len(), 2);
    bench.finish();
}

/// NOTIFYs may overtake the 202: the record appears with it, and knows both.
#[test]
fn a_notify_overtakes_the_answer() {
    for code in [100, 180, 200, 486] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.notify(code);
        assert!(bench.told.is_empty());
        bench.answer(refer, Fate::Response(202));
        assert_eq!(bench.told.len(), 1);
        assert_eq!(bench.result().2, Some(202));
        assert_eq!(bench.result().3, Some(code));
        assert_eq!(bench.last().status == ReferStatus::InProgress, code < 200);
        bench.finish();
    }
}

/// The answer is lost and the NOTIFYs come: they decide, the timer does not.
#[test]
fn the_answer_is_lost() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.notify(100);
    bench.pass(Duration::from_secs(32));
    bench.answer(refer, Fate::Timeout);
    assert_eq!(bench.result(), (ReferStatus::InProgress, None, Some(408), Some(100)));
    bench.notify(200);
    assert_eq!(bench.result(), (ReferStatus::Completed, None, Some(408), Some(200)));
    bench.finish();
    // The same when the shard never says so: the record still appears.
    let mut bench = Bench::new();
    bench.refer();
    bench.notify(200);
    bench.finish();
    assert_eq!(bench.result(), (ReferStatus::Completed, None, Some(408), Some(200)));
}

/// A refusal beats progress that overtook it: a refused REFER has no subscription.
#[test]
fn progress_then_refusal() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.notify(100);
    bench.answer(refer, Fate::Response(603));
    let rejected = Some(ReferReason::ReferRejected);
    assert_eq!(bench.result(), (ReferStatus::Failed, rejected, Some(603), None));
    bench.finish();
}

/// [R-023] [restcomm-refers 11] A BYE before the result: canceled when the grace is over.
#[test]
fn a_bye_before_the_result() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.notify(180);
    bench.bye();
    bench.pass(Duration::from_millis(1_999));
    assert_eq!(bench.last().status, ReferStatus::InProgress);
    bench.pass(Duration::from_millis(1));
    let ended = Some(ReferReason::CallEnded);
    assert_eq!(bench.result(), (ReferStatus::Canceled, ended, Some(202), Some(180)));
    bench.notify(200);
    bench.finish();
    assert_eq!(bench.last().status, ReferStatus::Canceled);
}

/// A result inside the grace wins over the BYE, whichever side sent it.
#[test]
fn a_result_inside_the_grace() {
    for side in [dialog(), dialog().reversed()] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, Fate::Response(202));
        let mut fx = Vec::new();
        bench.observer.call_ended(bench.now, &side, &mut fx);
        bench.take(fx);
        bench.pass(Duration::from_millis(1_900));
        bench.notify_in(dialog(), terminated(Some(200)));
        assert_eq!(bench.result(), (ReferStatus::Completed, None, Some(202), Some(200)));
        bench.finish();
    }
}

/// [R-023] [restcomm-refers 10] A BYE before any NOTIFY: canceled, and no code to show.
#[test]
fn a_bye_before_any_notify() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    bench.bye();
    bench.finish();
    let ended = Some(ReferReason::CallEnded);
    assert_eq!(bench.result(), (ReferStatus::Canceled, ended, Some(202), None));
}

/// A BYE before the REFER is answered: its answer still counts, and then the grace runs.
#[test]
fn a_bye_before_the_answer() {
    for (code, status) in [(202, ReferStatus::Canceled), (603, ReferStatus::Failed)] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.bye();
        bench.pass(Duration::from_secs(10));
        assert!(bench.told.is_empty());
        bench.answer(refer, Fate::Response(code));
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.last().status, status);
        bench.finish();
    }
}

/// A BYE of another dialog of the same call (a fork) ends nothing here.
#[test]
fn a_bye_of_another_dialog() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    let other = Dialog { to: Tag::of(b"other"), ..dialog() };
    let mut fx = Vec::new();
    bench.observer.call_ended(bench.now, &other, &mut fx);
    bench.take(fx);
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.last().status, ReferStatus::InProgress);
    bench.finish();
}

/// REFERs in several dialogs of one call (its forks) have a result each, whatever order their
/// outcomes come in, though CSeq and target are the same.
#[test]
fn a_result_for_each_fork() {
    let mut bench = Bench::new();
    let other = Dialog { to: Tag::of(b"other"), ..dialog() };
    let one = bench.refer();
    let two = bench.send(other, 1).expect("room for a Refer");
    let sids = [one, two].map(|handle| bench.observer.sid_of(handle).expect("it is watched"));
    bench.answer(two, Fate::Response(202));
    bench.answer(one, Fate::Response(202));
    bench.notify_in(other, NotifyFacts { terminated: true, ..active(486) });
    bench.notify_in(dialog(), active(180));
    bench.notify_in(other, active(200));
    bench.notify_in(dialog(), NotifyFacts { terminated: true, ..active(200) });
    let result = |sid| {
        let last = bench.told.iter().rfind(|told| told.sid == sid).expect("it was told");
        (last.status, last.notify_code)
    };
    assert_eq!(sids.map(result), [(ReferStatus::Completed, Some(200)), (ReferStatus::Busy, Some(486))]);
    bench.finish();
}

/// [R-011] [X-24] [restcomm-refers 16] Challenged and repeated: one record, the last code, the last CSeq.
#[test]
fn a_challenged_refer() {
    for challenge in [401, 407] {
        let mut bench = Bench::new();
        let first = bench.refer();
        bench.answer(first, Fate::Response(challenge));
        assert!(bench.told.is_empty());
        bench.pass(Duration::from_secs(1));
        let second = bench.send(dialog(), 2).expect("room");
        assert_ne!(first, second);
        assert_eq!(bench.observer.len(), 1);
        // What comes late for the first attempt cannot decide the second.
        bench.answer(first, Fate::Response(603));
        bench.notify_in(dialog(), NotifyFacts { id: Some(1), ..active(200) });
        assert!(bench.told.is_empty());
        bench.answer(second, Fate::Response(202));
        bench.notify_in(dialog(), NotifyFacts { id: Some(1), ..active(486) });
        bench.notify_in(dialog(), NotifyFacts { id: Some(2), ..active(200) });
        assert_eq!(bench.result(), (ReferStatus::Completed, None, Some(202), Some(200)));
        assert!(bench.told.iter().all(|s| s.sid == ReferSid(1)));
        assert_eq!(bench.last().created, Time::from_millis(1_000_000));
        bench.finish();
    }
}

/// A challenge that nobody takes up is the answer, after a while or when the call ends.
#[test]
fn a_challenge_that_nobody_takes_up() {
    for bye in [false, true] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        bench.answer(refer, Fate::Response(407));
        if bye {
            bench.bye();
            assert_eq!(bench.told.len(), 1);
        }
        bench.finish();
        let rejected = Some(ReferReason::ReferRejected);
        assert_eq!(bench.result(), (ReferStatus::Failed, rejected, Some(407), None));
    }
}

/// A later REFER to somebody else is no repetition of a challenged one.
#[test]
fn another_target_is_another_refer() {
    let mut bench = Bench::new();
    let first = bench.refer();
    bench.answer(first, Fate::Response(407));
    let mut facts = bench.facts(dialog(), 2);
    facts.to = "sip:dave@denver.example.com".into();
    let mut fx = Vec::new();
    let second = bench.observer.refer_sent(bench.now, facts, &mut fx).expect("room");
    bench.take(fx);
    assert_eq!(bench.observer.len(), 2);
    bench.answer(second, Fate::Response(202));
    bench.notify(200);
    assert_eq!(bench.last().sid, ReferSid(2));
    bench.finish();
    assert_eq!(bench.told.iter().filter(|s| s.sid == ReferSid(1)).count(), 1);
}

/// Two Refers of one dialog under way: `id` tells them apart, and without it the first is meant.
#[test]
fn two_refers_of_one_dialog() {
    let mut bench = Bench::new();
    let first = bench.send(dialog(), 11).expect("room");
    let second = bench.send(dialog(), 12).expect("room");
    bench.answer(first, Fate::Response(202));
    bench.answer(second, Fate::Response(202));
    bench.notify_in(dialog(), NotifyFacts { id: Some(12), ..active(180) });
    assert_eq!((bench.last().sid, bench.last().notify_code), (ReferSid(2), Some(180)));
    bench.notify(100);
    assert_eq!((bench.last().sid, bench.last().notify_code), (ReferSid(1), Some(100)));
    bench.notify_in(dialog(), NotifyFacts { id: Some(13), ..active(200) });
    bench.notify_in(dialog(), NotifyFacts { id: Some(11), ..terminated(Some(486)) });
    assert_eq!((bench.last().sid, bench.last().status), (ReferSid(1), ReferStatus::Busy));
    // Only the second is active now, so a NOTIFY without id is its own.
    bench.notify_in(dialog(), terminated(Some(200)));
    assert_eq!((bench.last().sid, bench.last().status), (ReferSid(2), ReferStatus::Completed));
    bench.finish();
}

/// Refers of both directions of one dialog are two: the sender of the NOTIFY tells them apart.
#[test]
fn refers_of_both_directions() {
    let mut bench = Bench::new();
    let ours = bench.send(dialog(), 5).expect("room");
    let theirs = bench.send(dialog().reversed(), 5).expect("room");
    bench.answer(ours, Fate::Response(202));
    bench.answer(theirs, Fate::Response(202));
    bench.notify_in(dialog().reversed(), active(486));
    assert_eq!((bench.last().sid, bench.last().status), (ReferSid(2), ReferStatus::Busy));
    bench.notify_in(dialog(), active(200));
    assert_eq!((bench.last().sid, bench.last().status), (ReferSid(1), ReferStatus::Completed));
    bench.finish();
}

/// A NOTIFY of another dialog or call belongs to no Refer here.
#[test]
fn a_notify_of_another_dialog() {
    let mut bench = Bench::new();
    let refer = bench.refer();
    bench.answer(refer, Fate::Response(202));
    let told = bench.told.len();
    bench.notify_in(Dialog { to: Tag::of(b"other"), ..dialog() }, active(200));
    bench.notify_in(Dialog { call: CallSid(8), ..dialog() }, active(200));
    bench.notify_in(dialog().reversed(), active(200));
    assert_eq!(bench.told.len(), told);
    bench.finish();
}

/// The shard can find a Refer again by what the messages say.
#[test]
fn a_refer_is_found_by_its_cseq() {
    let mut bench = Bench::new();
    let refer = bench.send(dialog(), 31).expect("room");
    assert_eq!(bench.observer.find(&dialog(), 31), Some(refer));
    assert_eq!(bench.observer.find(&dialog(), 32), None);
    assert_eq!(bench.observer.find(&dialog().reversed(), 31), None);
    assert_eq!(ReferHandle::from_bits(refer.to_bits()), refer);
    bench.finish();
}

/// The key of a Refer's timer leaves the two top bits to others, however many Refers there were.
#[test]
fn handles_wrap_around() {
    let mut bench = Bench::new();
    bench.observer.generation = (1 << 30) - 3;
    let keys: Vec<u64> = (1..=4).map(|cseq| bench.send(dialog(), cseq).expect("room").to_bits()).collect();
    assert!(keys.iter().all(|key| key >> 62 == 0), "{keys:x?}");
    let mut different = keys.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), keys.len());
    bench.finish();
}

/// The table is bounded; what does not fit is not observed, and what is in it goes on.
#[test]
fn a_full_table() {
    let mut bench = Bench::with_capacity(2);
    let call = |n| Dialog { call: CallSid(n), ..dialog() };
    let first = bench.send(call(1), 1).expect("room");
    assert!(bench.send(call(2), 1).is_some());
    assert_eq!(bench.send(call(3), 1), None);
    bench.answer(first, Fate::Response(603));
    assert_eq!(bench.send(call(3), 1), None, "a finished one lingers");
    bench.pass(Duration::from_secs(32));
    assert!(bench.send(call(3), 1).is_some());
    bench.finish();
}

/// One call cannot fill the table; its finished Refers give way to new ones.
#[test]
fn a_call_with_many_refers() {
    let mut bench = Bench::new();
    let handles: Vec<_> = (1..=40).map_while(|cseq| bench.send(dialog(), cseq)).collect();
    assert_eq!(handles.len(), PER_CALL);
    bench.answer(handles[3], Fate::Response(603));
    assert!(bench.send(dialog(), 50).is_some());
    assert!(bench.send(dialog(), 51).is_none());
    assert_eq!(bench.observer.len(), PER_CALL);
    bench.finish();
}

/// A handle names nothing once its Refer is gone, even if the slot is used again.
#[test]
fn a_stale_handle_is_harmless() {
    let mut bench = Bench::new();
    let old = bench.refer();
    bench.answer(old, Fate::Response(603));
    bench.finish();
    let new = bench.refer();
    bench.answer(old, Fate::Response(202));
    bench.answer(ReferHandle::from_bits(u64::MAX), Fate::Response(202));
    let mut fx = Vec::new();
    bench.observer.expire(bench.now, old, &mut fx);
    bench.observer.expire(bench.now, new, &mut fx);
    assert!(fx.is_empty(), "a spurious call does nothing");
    bench.finish();
}

/// A REFER denied by policy has one record, final at once, and it says by which rule.
#[test]
fn a_denied_refer() {
    for (code, rule) in [(603, ReferRule::Mode), (503, ReferRule::MaxRate)] {
        let mut bench = Bench::new();
        let facts = bench.facts(dialog(), 1);
        let mut fx = Vec::new();
        bench.observer.refer_denied(bench.now, facts, (code, rule), &mut fx);
        bench.take(fx);
        let policy = Some(ReferReason::Policy);
        assert_eq!(bench.result(), (ReferStatus::Failed, policy, Some(code), None));
        assert_eq!(bench.last().rule, Some(rule));
        bench.finish();
    }
}

/// A NOTIFY without a body is the first one, too: the result is waited for as ever.
#[test]
fn a_first_notify_without_a_body() {
    for answered_first in [true, false] {
        let mut bench = Bench::new();
        let refer = bench.refer();
        let silent = NotifyFacts { expires: Some(Duration::from_secs(180)), ..NotifyFacts::default() };
        if answered_first {
            bench.answer(refer, Fate::Response(202));
            bench.notify_in(dialog(), silent);
        } else {
            bench.notify_in(dialog(), silent);
            bench.answer(refer, Fate::Response(202));
        }
        bench.pass(Duration::from_secs(40));
        assert_eq!(bench.last().status, ReferStatus::InProgress);
        bench
            .notify_in(dialog(), NotifyFacts { terminated: true, code: Some(200), ..NotifyFacts::default() });
        assert_eq!(bench.result(), (ReferStatus::Completed, None, Some(202), Some(200)));
        bench.finish();
    }
}

/// When Baton stops, what is known and in progress gets its result; the rest has no record.
#[test]
fn an_orderly_end() {
    let mut bench = Bench::new();
    let call = |n| Dialog { call: CallSid(n), ..dialog() };
    let accepted = bench.send(call(1), 1).expect("room");
    bench.answer(accepted, Fate::Response(202));
    bench.send(call(2), 1);
    let done = bench.send(call(3), 1).expect("room");
    bench.answer(done, Fate::Response(603));
    let told = bench.told.len();
    let mut fx = Vec::new();
    bench.observer.close(bench.now, &mut fx);
    bench.take(fx);
    assert_eq!(bench.told.len(), told + 1);
    let unknown = Some(ReferReason::OutcomeUnknown);
    assert_eq!(bench.result(), (ReferStatus::Failed, unknown, Some(202), None));
    bench.timers.clear();
    bench.finish();
}

/// Any order of everything: one result at most, in sequence, and nothing is left behind.
#[test]
fn any_order_of_events() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for _ in 0..2_000 {
        let mut bench = Bench::new();
        let mut handles = vec![bench.refer()];
        for cseq in 2..20 {
            let handle = handles[roll(handles.len() as u64) as usize];
            match roll(8) {
                0 => handles.extend(bench.send(dialog(), cseq)),
                1 => {
                    let code = [100, 202, 401, 408, 603][roll(5) as usize];
                    bench.answer(handle, Fate::Response(code));
                }
                2 => bench.answer(handle, Fate::Timeout),
                3 => bench.notify([100, 180, 200, 486, 0][roll(5) as usize]),
                4 => bench.notify_in(
                    dialog(),
                    NotifyFacts {
                        id: Some(roll(20) as u32),
                        ..terminated(Some([180, 200, 603][roll(3) as usize]))
                    },
                ),
                5 if roll(4) == 0 => bench.bye(),
                _ => bench.pass(Duration::from_millis(roll(40_000))),
            }
        }
        bench.finish();
    }
}
