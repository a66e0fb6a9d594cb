//! A hierarchical timing wheel with ticks of 10 ms.
//!
//! Five levels of 64 slots. A timer lies on the level of the highest group of six bits in which its
//! tick differs from the current one, so that it is moved at most four times before it is due, and
//! setting and cancelling cost the same whatever their number. Timers of one tick fire in the order
//! in which they were set. A timer never fires early, and at most one tick late.

use crate::sip::pool::Pool;
use crate::sip::time::Time;
use std::time::Duration;

/// The wheel's resolution.
pub const TICK: Duration = Duration::from_millis(10);

const TICK_MICROS: u64 = TICK.as_micros() as u64;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 5;

/// The farthest a timer may lie ahead, some 122 days; the top level must not lap itself. A timer
/// set farther ahead fires at the horizon.
const HORIZON: u64 = (1 << (BITS * LEVELS as u32)) - (1 << (BITS * (LEVELS as u32 - 1)));

const NIL: u32 = u32::MAX;

/// A timer that was set; of no use once it has fired or was cancelled, and harmless then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    slot: u32,
    generation: u32,
}

impl TimerId {
    /// Names no timer.
    pub const NONE: TimerId = TimerId { slot: NIL, generation: 0 };
}

/// Remembers keys until their time has come.
#[derive(Debug)]
pub struct Wheel<K> {
    entries: Pool<Entry<K>>,
    levels: [Level; LEVELS],
    /// Timers whose tick has come, not yet taken.
    due: List,
    /// The last tick that was looked at: nothing outside `due` is at or before it.
    current: u64,
    generation: u32,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    /// Lower 32 bits of the tick; the horizon makes them enough.
    tick: u32,
    next: u32,
    prev: u32,
    generation: u32,
}

#[derive(Debug)]
struct Level {
    /// A bit for each slot that holds timers.
    occupied: u64,
    slots: [List; SLOTS],
}

/// A list through the entries, in the order in which they were set.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

/// Where an entry lies.
#[derive(Clone, Copy)]
enum Place {
    Due,
    Slot { level: usize, index: usize },
}

const EMPTY: List = List { head: NIL, tail: NIL };

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Wheel<K> {
        Wheel::new()
    }
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel.
    pub const fn new() -> Wheel<K> {
        Wheel {
            entries: Pool::new(),
            levels: [const { Level { occupied: 0, slots: [EMPTY; SLOTS] } }; LEVELS],
            due: EMPTY,
            current: 0,
            generation: 0,
        }
    }

    /// Timers that are set.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is set.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a timer. One in the past is due at once.
    pub fn insert(&mut self, now: Time, at: Time, key: K) -> TimerId {
        // Rounded up: a timer never fires early.
        let tick = at.micros().div_ceil(TICK_MICROS);
        if self.entries.is_empty() {
            // Nothing lies between: an empty wheel need not turn through the time it slept.
            self.current = self.current.max(now.micros() / TICK_MICROS);
        }
        let tick = tick.min(self.current + HORIZON - 1);
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.entries.insert(Entry { key, tick: tick as u32, next: NIL, prev: NIL, generation });
        self.link(slot, tick as u32);
        TimerId { slot, generation }
    }

    /// Takes a timer back; answers its key if it had not fired.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let entry = self.entries.get(id.slot)?;
        if entry.generation != id.generation {
            return None;
        }
        self.unlink(id.slot);
        self.entries.remove(id.slot).map(|entry| entry.key)
    }

    /// When to call [`Wheel::pop`] next. It may be earlier than the next timer, by less than the
    /// distance at which that was set; `pop` then finds nothing and the answer moves on.
    pub fn next_deadline(&self) -> Option<Time> {
        let tick = if self.due.head == NIL { self.next_slot()?.1 } else { self.current };
        Some(Time::from_micros(tick.saturating_mul(TICK_MICROS)))
    }

    /// Takes out the next timer that is due at `now`; call it until it answers `None`. Timers may be
    /// set and cancelled between calls.
    pub fn pop(&mut self, now: Time) -> Option<K> {
        let now = now.micros() / TICK_MICROS;
        while self.due.head == NIL {
            match self.next_slot() {
                Some((level, tick)) if tick <= now => self.open_slot(level, tick),
                _ => {
                    self.current = self.current.max(now);
                    return None;
                }
            }
        }
        let slot = self.due.head;
        self.unlink(slot);
        self.entries.remove(slot).map(|entry| entry.key)
    }

    /// The next slot that holds timers, by its level and first tick. Lower levels come first: all
    /// their timers lie before the next slot of the level above.
    fn next_slot(&self) -> Option<(usize, u64)> {
        self.levels.iter().enumerate().find(|(_, level)| level.occupied != 0).map(|(n, level)| {
            let shift = BITS * n as u32;
            let here = (self.current >> shift) as u32 % SLOTS as u32;
            let ahead = level.occupied.rotate_right(here).trailing_zeros();
            (n, ((self.current >> shift) + u64::from(ahead)) << shift)
        })
    }

    /// Moves on to `tick`, the first of a slot of `level`, and sorts that slot's timers anew.
    fn open_slot(&mut self, level: usize, tick: u64) {
        self.current = tick;
        let index = index_on(level, tick as u32);
        let list = std::mem::replace(&mut self.levels[level].slots[index], EMPTY);
        self.levels[level].occupied &= !(1 << index);
        let mut slot = list.head;
        while let Some(entry) = self.entries.get(slot) {
            let (next, tick) = (entry.next, entry.tick);
            self.link(slot, tick);
            slot = next;
        }
    }

    /// Where a timer of this tick lies as of now. It stays true until the slot is opened, because
    /// until then the bits above its level stay those of `current`.
    fn place(&self, tick: u32) -> Place {
        let current = self.current as u32;
        if tick.wrapping_sub(current) as i32 <= 0 {
            return Place::Due;
        }
        let differ = (tick ^ current) & ((1 << (BITS * LEVELS as u32)) - 1);
        let level = (differ.checked_ilog2().unwrap_or(0) / BITS) as usize;
        Place::Slot { level, index: index_on(level, tick) }
    }

    fn list_at(&mut self, place: Place) -> &mut List {
        match place {
            Place::Due => &mut self.due,
            Place::Slot { level, index } => &mut self.levels[level].slots[index],
        }
    }

    fn link(&mut self, slot: u32, tick: u32) {
        let place = self.place(tick);
        if let Place::Slot { level, index } = place {
            self.levels[level].occupied |= 1 << index;
        }
        let list = self.list_at(place);
        let tail = std::mem::replace(&mut list.tail, slot);
        if tail == NIL {
            list.head = slot;
        }
        if let Some(last) = self.entries.get_mut(tail) {
            last.next = slot;
        }
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.next = NIL;
            entry.prev = tail;
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(entry) = self.entries.get(slot) else { return };
        let (next, prev) = (entry.next, entry.prev);
        let place = self.place(entry.tick);
        match self.entries.get_mut(prev) {
            Some(before) => before.next = next,
            None => self.list_at(place).head = next,
        }
        match self.entries.get_mut(next) {
            Some(after) => after.prev = prev,
            None => self.list_at(place).tail = prev,
        }
        if let Place::Slot { level, index } = place
            && self.levels[level].slots[index].head == NIL
        {
            self.levels[level].occupied &= !(1 << index);
        }
    }
}

fn index_on(level: usize, tick: u32) -> usize {
    (tick >> (BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Time = Time::from_millis(1_800_000_000_003);

    fn fired(wheel: &mut Wheel<u64>, now: Time) -> Vec<u64> {
        std::iter::from_fn(|| wheel.pop(now)).collect()
    }

    /// Follows `next_deadline` as a worker does, and notes when each key came.
    fn run(wheel: &mut Wheel<u64>, until: Time) -> Vec<(Time, u64)> {
        let mut seen = Vec::new();
        let mut wakes = 0;
        while let Some(at) = wheel.next_deadline().filter(|&at| at <= until) {
            seen.extend(fired(wheel, at).into_iter().map(|key| (at, key)));
            wakes += 1;
            assert!(wakes < 100_000, "the wheel does not move on");
        }
        seen
    }

    #[test]
    fn an_entry_for_the_transaction_table_takes_32_bytes() {
        // The key as large as the table's: a tag and 64 bits.
        #[derive(Clone, Copy)]
        #[allow(dead_code)]
        enum Key {
            Server(u32),
            Client(u32),
            Tu(u64),
        }
        assert_eq!(size_of::<Entry<Key>>(), 32);
        assert!(size_of::<Option<Entry<Key>>>() <= 32);
    }

    #[test]
    fn never_early_and_at_most_one_tick_late() {
        let mut wheel = Wheel::new();
        fired(&mut wheel, START);
        let delays = [0u64, 1, 9_999, 10_000, 10_001, 639_999, 640_000, 500_000, 32_000_000, 86_400_000_000];
        for (n, &micros) in delays.iter().enumerate() {
            wheel.insert(START, START + Duration::from_micros(micros), n as u64);
        }
        let seen = run(&mut wheel, START + Duration::from_secs(90_000));
        assert_eq!(seen.len(), delays.len());
        for (at, key) in seen {
            let due = START + Duration::from_micros(delays[key as usize]);
            assert!(at >= due || due <= START, "timer {key} early: {at} for {due}");
            assert!(at.since(due) <= TICK, "timer {key} late: {at} for {due}");
        }
        assert!(wheel.is_empty());
    }

    #[test]
    fn equal_ticks_fire_in_the_order_set_even_across_levels() {
        let mut wheel = Wheel::new();
        fired(&mut wheel, START);
        let at = START + Duration::from_secs(40);
        wheel.insert(START, at, 0);
        fired(&mut wheel, START + Duration::from_secs(39));
        wheel.insert(START, at, 1);
        fired(&mut wheel, START + Duration::from_millis(39_900));
        wheel.insert(START, at, 2);
        assert_eq!(fired(&mut wheel, at + TICK), [0, 1, 2]);
    }

    #[test]
    fn cancelled_timers_do_not_fire_and_ids_go_stale() {
        let mut wheel = Wheel::new();
        let a = wheel.insert(START, START, 1);
        let b = wheel.insert(START, START, 2);
        let c = wheel.insert(START, START + Duration::from_secs(5), 3);
        assert_eq!(wheel.cancel(a), Some(1));
        assert_eq!(wheel.cancel(a), None);
        assert_eq!(fired(&mut wheel, START + TICK), [2]);
        let d = wheel.insert(START, START + Duration::from_secs(6), 4);
        assert_eq!(wheel.cancel(b), None, "b has fired; its slot may be d's");
        assert_eq!(wheel.cancel(c), Some(3));
        assert_eq!(wheel.cancel(d), Some(4));
        assert_eq!(wheel.cancel(TimerId::NONE), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_timer_that_is_due_may_be_cancelled_between_pops() {
        let mut wheel = Wheel::new();
        wheel.insert(START, START, 1);
        let second = wheel.insert(START, START, 2);
        wheel.insert(START, START, 3);
        assert_eq!(wheel.pop(START + TICK), Some(1));
        wheel.cancel(second);
        assert_eq!(wheel.next_deadline().map(|at| at <= START + TICK), Some(true));
        assert_eq!(fired(&mut wheel, START + TICK), [3]);
    }

    /// [C-087] Half a million timers, set and gone, leave nothing.
    #[test]
    fn half_a_million_timers() {
        let mut wheel = Wheel::new();
        for n in 0..500_000u64 {
            wheel.insert(START, START + Duration::from_millis(n % 40_000), n);
        }
        assert_eq!(wheel.len(), 500_000);
        assert_eq!(run(&mut wheel, START + Duration::from_secs(41)).len(), 500_000);
        assert_eq!(wheel.entries.pages(), 1);
    }

    #[test]
    fn beyond_the_horizon_fires_at_the_horizon() {
        let mut wheel = Wheel::new();
        fired(&mut wheel, START);
        wheel.insert(START, START + TICK, 0);
        wheel.insert(START, START + Duration::from_secs(400 * 86_400), 1);
        let seen = run(&mut wheel, START + Duration::from_secs(400 * 86_400));
        assert_eq!(seen.len(), 2);
        assert!(seen[1].0.since(START) > Duration::from_secs(120 * 86_400));
    }

    #[test]
    fn ticks_wrap_without_harm() {
        // Just before the lower 30 and 32 bits of the tick run over.
        for bits in [30u32, 32] {
            let edge = Time::from_micros(((1u64 << bits) * 400 - 100) * TICK_MICROS);
            let mut wheel = Wheel::new();
            fired(&mut wheel, edge);
            for n in 0..300u64 {
                wheel.insert(edge, edge + TICK * (n as u32), n);
            }
            let keys: Vec<u64> =
                run(&mut wheel, edge + Duration::from_secs(10)).into_iter().map(|(_, key)| key).collect();
            assert_eq!(keys, (0..300).collect::<Vec<_>>());
        }
    }

    proptest! {
        /// Whatever is set and cancelled, in whatever steps time goes: the rest fires once, in time
        /// and in order.
        #[test]
        fn fires_what_a_sorted_list_would(
            steps in proptest::collection::vec((0u8..4, 0u64..200_000_000, any::<u16>()), 1..300)
        ) {
            let mut wheel = Wheel::new();
            let mut now = START;
            let mut model: Vec<(u64, u64, TimerId)> = Vec::new();
            for (n, (what, micros, pick)) in steps.into_iter().enumerate() {
                match what {
                    0 | 1 => {
                        let at = now + Duration::from_micros(micros);
                        let id = wheel.insert(now, at, n as u64);
                        model.push((at.micros().div_ceil(TICK_MICROS), n as u64, id));
                    }
                    2 if !model.is_empty() => {
                        let (_, key, id) = model.remove(usize::from(pick) % model.len());
                        prop_assert_eq!(wheel.cancel(id), Some(key));
                    }
                    _ => {
                        now += Duration::from_micros(micros / 40);
                        let tick = now.micros() / TICK_MICROS;
                        let mut due: Vec<_> =
                            model.iter().filter(|m| m.0 <= tick).map(|m| (m.0, m.1)).collect();
                        due.sort_by_key(|d| d.0);
                        model.retain(|m| m.0 > tick);
                        let mut keys = fired(&mut wheel, now);
                        let mut expected: Vec<u64> = due.into_iter().map(|d| d.1).collect();
                        // A timer set at or before the current tick is due at once, so it may come
                        // before others of later ticks; order within a tick is checked elsewhere.
                        keys.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(keys, expected);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                if let Some(next) = wheel.next_deadline() {
                    let first = model.iter().map(|m| m.0).min().unwrap_or(0);
                    prop_assert!(next.micros() / TICK_MICROS <= first);
                }
            }
        }
    }
}
