//! Sockets report that requests could not be sent, or that their connection is gone; some of these arrived.

use crate::phone::Script;
use crate::world::{LONG, play};
use baton::sip::plan::Fork;
use std::time::Duration;

/// [C-064] [C-065] [C-109] Whatever fails, every call has one outcome and nothing is left of it.
#[test]
fn sends_fail() {
    play("sends_fail", 0, |world| {
        world.failing = 1 + world.dice.below(300);
        world.fork = if world.dice.chance(300) { Fork::Parallel } else { Fork::Serial };
        let mut caller = Script::caller(&mut world.dice);
        let (mut first, mut second) = (Script::callee(&mut world.dice), Script::callee(&mut world.dice));
        if world.dice.chance(300) {
            caller.cancel_after = Some(world.dice.millis(0, 4_000));
        }
        if world.dice.chance(300) {
            caller.refer_after = Some(world.dice.millis(0, 5_000));
        }
        caller.hang_up_after = Some(Duration::from_secs(60));
        first.hang_up_after = Some(LONG);
        second.hang_up_after = Some(LONG);
        world.between(vec![caller, first, second]);
        world.run();
        world.expect("calls begun", world.started, 1);
    });
}
