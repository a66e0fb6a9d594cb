//! Memory for many small things that come and go: timers, transactions, what they hold.
//!
//! A [`Pool`] hands out slots by number. It grows and shrinks by whole pages, so that a table of
//! half a million entries never has to be copied to grow (a pause for every call of the shard), and
//! a burst's memory is given back when the burst is over (C-087). Slot numbers are reused: who keeps
//! one beyond the entry's life stores a generation beside it.

/// Entries of one page.
const PAGE: usize = 512;

/// The end of a page's list of free slots.
const NIL: u32 = u32::MAX;

/// A table of `T` by slot number.
#[derive(Debug)]
pub struct Pool<T> {
    pages: Vec<Page<T>>,
    /// Pages with room, most recently freed on top; a page without memory counts as one with room.
    open: Vec<u32>,
    /// An empty page that keeps its memory, so that a load around a page's edge does not thrash.
    spare: Option<u32>,
    len: usize,
}

#[derive(Debug)]
struct Page<T> {
    /// Empty while the page has no memory.
    slots: Box<[Slot<T>]>,
    free: u32,
    used: u32,
    /// Whether the page stands in `open`.
    listed: bool,
}

#[derive(Debug)]
enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool::new()
    }
}

impl<T> Pool<T> {
    /// An empty pool; it takes memory with the first entry.
    pub const fn new() -> Pool<T> {
        Pool { pages: Vec::new(), open: Vec::new(), spare: None, len: 0 }
    }

    /// Entries in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pages that hold memory, for the tests of C-087.
    pub fn pages(&self) -> usize {
        self.pages.iter().filter(|page| !page.slots.is_empty()).count()
    }

    /// Puts an entry in and answers its slot.
    pub fn insert(&mut self, value: T) -> u32 {
        let at = match self.open.last() {
            Some(&at) => at,
            None => self.add_page(),
        };
        let page = &mut self.pages[at as usize];
        if page.slots.is_empty() {
            page.fill();
        }
        if self.spare == Some(at) {
            self.spare = None;
        }
        let offset = page.free;
        let slot = &mut page.slots[offset as usize];
        if let Slot::Free { next } = *slot {
            page.free = next;
        }
        *slot = Slot::Used(value);
        page.used += 1;
        if page.free == NIL {
            page.listed = false;
            self.open.pop();
        }
        self.len += 1;
        at * PAGE as u32 + offset
    }

    /// The entry in a slot.
    pub fn get(&self, slot: u32) -> Option<&T> {
        let page = self.pages.get(slot as usize / PAGE)?;
        match page.slots.get(slot as usize % PAGE)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The entry in a slot, to change it.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let page = self.pages.get_mut(slot as usize / PAGE)?;
        match page.slots.get_mut(slot as usize % PAGE)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Takes an entry out; its slot may be given to another.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let at = slot / PAGE as u32;
        let page = self.pages.get_mut(at as usize)?;
        let place = page.slots.get_mut(slot as usize % PAGE)?;
        if let Slot::Free { .. } = place {
            return None;
        }
        let taken = std::mem::replace(place, Slot::Free { next: page.free });
        page.free = slot % PAGE as u32;
        page.used -= 1;
        self.len -= 1;
        if !page.listed {
            page.listed = true;
            self.open.push(at);
        }
        if page.used == 0 {
            match self.spare {
                Some(other) if other != at => page.slots = Box::default(),
                _ => self.spare = Some(at),
            }
        }
        match taken {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// All entries with their slots, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.pages.iter().enumerate().flat_map(|(at, page)| {
            page.slots.iter().enumerate().filter_map(move |(offset, slot)| match slot {
                Slot::Used(value) => Some(((at * PAGE + offset) as u32, value)),
                Slot::Free { .. } => None,
            })
        })
    }

    fn add_page(&mut self) -> u32 {
        let at = self.pages.len() as u32;
        self.pages.push(Page { slots: Box::default(), free: NIL, used: 0, listed: true });
        self.open.push(at);
        at
    }
}

impl<T> Page<T> {
    fn fill(&mut self) {
        self.slots = (1..=PAGE as u32)
            .map(|next| Slot::Free { next: if next == PAGE as u32 { NIL } else { next } })
            .collect();
        self.free = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// [C-087] A burst's pages are given back, all but one.
    #[test]
    fn memory_returns_after_a_burst() {
        let mut pool = Pool::new();
        let slots: Vec<u32> = (0..100_000u64).map(|n| pool.insert(n)).collect();
        assert_eq!(pool.pages(), 100_000usize.div_ceil(PAGE));
        for slot in slots {
            pool.remove(slot);
        }
        assert!(pool.is_empty());
        assert_eq!(pool.pages(), 1);
        let again: Vec<u32> = (0..PAGE as u64 * 3).map(|n| pool.insert(n)).collect();
        assert!(pool.pages() <= 4);
        assert!(again.iter().all(|&slot| slot < 100_352), "slots are reused");
    }

    #[test]
    fn a_slot_out_of_range_or_freed_is_nothing() {
        let mut pool = Pool::new();
        assert_eq!(pool.get(7), None);
        assert_eq!(pool.remove(7), None);
        let slot = pool.insert(1u8);
        assert_eq!(pool.remove(slot), Some(1));
        assert_eq!(pool.remove(slot), None);
        assert_eq!(pool.get_mut(slot), None);
    }

    proptest! {
        /// A pool behaves as a map from the slots it gave out.
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((any::<bool>(), any::<u16>()), 1..3_000)) {
            let mut pool = Pool::new();
            let mut model: BTreeMap<u32, u16> = BTreeMap::new();
            for (insert, value) in steps {
                if insert || model.is_empty() {
                    let slot = pool.insert(value);
                    prop_assert!(model.insert(slot, value).is_none(), "slot given out twice");
                } else {
                    let nth = usize::from(value) % model.len();
                    let slot = *model.keys().nth(nth).unwrap();
                    prop_assert_eq!(pool.remove(slot), model.remove(&slot));
                }
                prop_assert_eq!(pool.len(), model.len());
            }
            let found: BTreeMap<u32, u16> = pool.iter().map(|(slot, &value)| (slot, value)).collect();
            prop_assert_eq!(found, model);
        }
    }
}
