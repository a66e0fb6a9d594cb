//! The targets are names: requests wait for DNS, which may be slow, fail, or say nothing.

use crate::phone::Script;
use crate::world::{LONG, play};
use baton::sip::plan::Fork;

/// [C-120] [C-123] A call by name is answered; a name that cannot be found is passed over.
#[test]
fn by_name() {
    play("by_name", 80, |world| {
        world.named = true;
        world.fork = if world.dice.chance(300) { Fork::Parallel } else { Fork::Serial };
        let mut caller = Script::caller(&mut world.dice);
        let (mut first, mut second) = (Script::callee(&mut world.dice), Script::callee(&mut world.dice));
        caller.hang_up_after = Some(world.dice.millis(0, 5_000));
        first.hang_up_after = Some(LONG);
        second.hang_up_after = Some(LONG);
        world.between(vec![caller, first, second]);
        world.run();
        let answered = world.phones[0].log.answered;
        world.expect("calls answered", answered, 1);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}

/// [C-110] [C-120] The caller gives up while a name is waited for.
#[test]
fn cancelled_while_waiting_for_dns() {
    play("cancelled_while_waiting_for_dns", 80, |world| {
        world.named = true;
        let mut caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        caller.cancel_after = Some(world.dice.millis(0, 600));
        caller.hang_up_after = Some(LONG);
        callee.hang_up_after = Some(LONG);
        world.between(vec![caller, callee]);
        world.run();
        let (a, b) = (world.phones[0].log.clone(), world.phones[1].log.clone());
        world.expect("one outcome", a.refused.len() + a.hung_up.max(b.hung_up).min(1), 1);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}
