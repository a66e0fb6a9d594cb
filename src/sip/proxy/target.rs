//! Which peers a request may go to, in the order in which they are tried.
//!
//! A route names trunks; a trunk names targets by priority and weight. The list is drawn once when a
//! request is routed; failover and forking then only take from its front.

use crate::sip::flow::Flow;
use crate::sip::plan::{Action, Fork, Origin, Plan, Route, Target, TrunkIx};
use smallvec::SmallVec;

/// One peer that may be tried: an index into a trunk's targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The trunk.
    pub trunk: TrunkIx,
    /// The target within it.
    pub target: u16,
    /// Candidates of one group are tried one after another; groups run at once (parallel forking).
    pub group: u8,
}

/// Candidates in the order of trial.
pub type Candidates = SmallVec<[Candidate; 4]>;

/// The first route that a request from `origin` to `user` satisfies (T-030).
pub fn route<'p>(plan: &'p Plan, origin: Origin, user: &[u8]) -> Option<&'p Route> {
    plan.routes.iter().find(|r| (r.from.is_empty() || r.from.contains(&origin)) && r.user.matches(user))
}

/// A trunk's target by its place.
pub fn of(plan: &Plan, trunk: TrunkIx, target: u16) -> Option<&Target> {
    plan.trunk(trunk)?.targets.get(usize::from(target))
}

/// The trunk a flow belongs to (T-015).
pub fn trunk_of(plan: &Plan, flow: &Flow) -> Option<TrunkIx> {
    plan.sources.find(flow)
}

/// The candidates of a route's action. Weights are drawn by RFC 2782's rule with `random`, which is
/// called once a draw.
pub fn candidates(plan: &Plan, action: &Action, mut random: impl FnMut() -> u64) -> Candidates {
    let mut list = Candidates::new();
    let Action::Trunks { to, fork, .. } = action else { return list };
    for (n, ix) in to.iter().enumerate() {
        let group = match fork {
            Fork::Serial => 0,
            Fork::Parallel => u8::try_from(n).unwrap_or(u8::MAX),
        };
        draw(plan, *ix, group, &mut random, &mut list);
    }
    list
}

/// Leaves those that take `sips:`: a secured call goes nowhere in the clear (C-060).
pub fn keep_secure(plan: &Plan, list: &mut Candidates) {
    list.retain(|c| of(plan, c.trunk, c.target).is_some_and(|target| target.secure));
}

fn draw(plan: &Plan, trunk: TrunkIx, group: u8, random: &mut impl FnMut() -> u64, list: &mut Candidates) {
    let Some(targets) = plan.trunk(trunk).map(|t| &t.targets) else { return };
    if targets.len() == 1 {
        list.push(Candidate { trunk, target: 0, group });
        return;
    }
    let mut left: SmallVec<[u16; 16]> = (0..targets.len()).filter_map(|n| u16::try_from(n).ok()).collect();
    let weight = |n: u16| targets.get(usize::from(n)).map_or(0, |t| u64::from(t.weight));
    while let Some(priority) =
        left.iter().filter_map(|n| targets.get(usize::from(*n))).map(|t| t.priority).min()
    {
        let same = |n: &u16| targets.get(usize::from(*n)).is_some_and(|t| t.priority == priority);
        let total: u64 = left.iter().filter(|n| same(n)).map(|n| weight(*n)).sum();
        // Weight 0 is chosen only when nothing else of its priority is left.
        let mut point = if total == 0 { 0 } else { random() % total };
        let Some(chosen) = left.iter().copied().filter(|n| same(n)).find(|n| {
            let w = weight(*n);
            let hit = if total == 0 { true } else { w > point };
            point = point.saturating_sub(w);
            hit
        }) else {
            return;
        };
        left.retain(|n| *n != chosen);
        list.push(Candidate { trunk, target: chosen, group });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::plan::Mode;
    use crate::sip::proxy::testing::{plan_with, target, trunk};

    fn two_trunks() -> Plan {
        plan_with(vec![
            trunk("alpha", vec![target("10.0.0.1", 0, 1), target("10.0.0.2", 1, 1)]),
            trunk("bravo", vec![target("10.0.1.1", 0, 3), target("10.0.1.2", 0, 1)]),
        ])
    }

    fn to(list: &[u16], fork: Fork) -> Action {
        Action::Trunks { to: list.iter().map(|n| TrunkIx(*n)).collect(), fork, mode: Mode::Auto }
    }

    /// [T-011] Each trunk is exhausted before the next is tried, by priority within.
    #[test]
    fn trunks_in_order() {
        let plan = two_trunks();
        let list = candidates(&plan, &to(&[0, 1], Fork::Serial), || 0);
        let order: Vec<(u16, u16)> = list.iter().map(|c| (c.trunk.0, c.target)).collect();
        assert_eq!(order, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert!(list.iter().all(|c| c.group == 0));
    }

    #[test]
    fn weights_share_the_first_place() {
        let plan = two_trunks();
        let firsts: Vec<u16> =
            (0..4).map(|n| candidates(&plan, &to(&[1], Fork::Serial), || n)[0].target).collect();
        assert_eq!(firsts, [0, 0, 0, 1]);
    }

    /// [C-101] Trunks called at once are groups of their own; failover stays within each.
    #[test]
    fn parallel_trunks_are_groups() {
        let plan = two_trunks();
        let list = candidates(&plan, &to(&[0, 1], Fork::Parallel), || 0);
        let groups: Vec<u8> = list.iter().map(|c| c.group).collect();
        assert_eq!(groups, [0, 0, 1, 1]);
    }
}
