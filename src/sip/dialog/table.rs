//! The table of a shard's legs: one is worked with at a time, and afterwards the wheel, the index by tags
//! and the table itself are brought in line with what came of it.

use super::leg::{Desk, Leg, State};
use super::outgoing::Headers;
use super::{LegId, Legs, OWNER};
use crate::sip::proxy::Cx;
use crate::sip::transaction::NONE;

impl Legs {
    pub(super) fn insert(&mut self, leg: Box<Leg>) -> LegId {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.table.insert(leg);
        let id = LegId { slot, generation: self.generation };
        if let Some(leg) = self.table.get_mut(slot) {
            leg.id = id;
            if let Some(origin) = leg.origin {
                self.invited.insert(origin, slot);
            }
            if !leg.silent {
                self.desk.index.insert(leg.tag, slot);
                for dialog in &leg.dialogs {
                    self.desk.index.insert(dialog.local_tag, slot);
                }
            }
        }
        id
    }

    /// Works with one leg, then sees to what came of it.
    pub(super) fn with(
        &mut self,
        cx: &mut Cx<'_>,
        id: LegId,
        work: impl FnOnce(&mut Leg, &mut Cx<'_>, &mut Desk),
    ) {
        let Some(leg) = self.table.get_mut(id.slot).filter(|leg| leg.id == id) else { return };
        work(leg, cx, &mut self.desk);
        self.settle(cx, id);
        while let Some(leg) = self.desk.born.pop() {
            self.give_birth(cx, leg);
        }
        while let Some(other) = self.desk.again.pop() {
            if let Some(leg) = self.table.get(other.slot).filter(|leg| leg.id == other) {
                leg.repeat_any_ack(cx);
            }
        }
    }

    pub(super) fn with_owner(
        &mut self,
        cx: &mut Cx<'_>,
        owner: u32,
        work: impl FnOnce(&mut Leg, &mut Cx<'_>, &mut Desk),
    ) {
        let found = slot_of(owner).and_then(|slot| self.table.get(slot)).map(|leg| leg.id);
        if let Some(id) = found {
            self.with(cx, id, work);
        }
    }

    /// Brings the wheel and the table in line with a leg.
    fn settle(&mut self, cx: &mut Cx<'_>, id: LegId) {
        let Some(leg) = self.table.get_mut(id.slot) else { return };
        if !matches!(leg.state, State::Dead) {
            if leg.has_ended() {
                leg.slim();
            }
            return leg.rearm(cx);
        }
        leg.disarm(cx);
        leg.farewell(&mut self.desk);
        if let Some(leg) = self.table.remove(id.slot) {
            self.unlist(&leg);
        }
    }

    pub(super) fn unlist(&mut self, leg: &Leg) {
        if let Some(origin) = leg.origin
            && self.invited.get(&origin) == Some(&leg.id.slot)
        {
            self.invited.remove(&origin);
        }
        let tags = leg.dialogs.iter().map(|dialog| dialog.local_tag).chain([leg.tag]);
        for tag in tags {
            if self.desk.index.get(&tag) == Some(&leg.id.slot) {
                self.desk.index.remove(&tag);
            }
        }
    }

    /// A surplus answer becomes a leg for as long as its end takes (C-131).
    fn give_birth(&mut self, cx: &mut Cx<'_>, mut leg: Leg) {
        let parent = leg.surplus.pop();
        let id = self.insert(Box::new(leg));
        if let Some((tag, parent)) = parent
            && let Some(parent) = self.table.get_mut(parent.slot).filter(|leg| leg.id == parent)
            && let Some(known) = parent.surplus.iter_mut().find(|(known, _)| *known == tag)
        {
            known.1 = id;
        }
        self.with(cx, id, |leg, cx, desk| leg.hang_up(cx, desk, Headers::new()));
    }
}

/// The slot in an owner that is a leg's.
pub(super) fn slot_of(owner: u32) -> Option<u32> {
    (owner != NONE && owner & OWNER != 0).then_some(owner & !OWNER)
}
