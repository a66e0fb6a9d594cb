//! The first target is silent; the next one is tried.

use crate::phone::{Answer, Script};
use crate::world::{LONG, play};

/// [C-109] [C-122] [C-123] A silent target costs some seconds, not the call.
#[test]
fn failover() {
    play("failover", 90, |world| {
        let mut caller = Script::caller(&mut world.dice);
        let mut first = Script::callee(&mut world.dice);
        let mut second = Script::callee(&mut world.dice);
        first.answer = Answer::Dead;
        caller.hang_up_after = Some(world.dice.millis(0, 5_000));
        second.hang_up_after = Some(LONG);
        world.between(vec![caller, first, second]);
        world.run();
        let (a, c) = (world.phones[0].log.clone(), world.phones[2].log.clone());
        world.expect("calls answered", (a.answered, c.answered), (1, 1));
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}

/// [C-071] [C-122] Both targets live, but the network may hide one for a while: the caller may get
/// two answers, and each call ends.
#[test]
fn late_answers() {
    play("late_answers", 90, |world| {
        let mut caller = Script::caller(&mut world.dice);
        let mut first = Script::callee(&mut world.dice);
        let mut second = Script::callee(&mut world.dice);
        caller.hang_up_after = Some(world.dice.millis(0, 5_000));
        first.hang_up_after = Some(LONG);
        second.hang_up_after = Some(LONG);
        world.between(vec![caller, first, second]);
        world.run();
        let a = world.phones[0].log.clone();
        world.expect("calls answered", a.answered, 1);
    });
}
