//! INVITE refused, or never answered.

use crate::phone::{Answer, Script};
use crate::world::play;

/// [C-069] [C-079] [C-081] A call is refused, once, however often the refusal is sent.
#[test]
fn refused() {
    play("refused", 90, |world| {
        let caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        let codes = [302, 401, 404, 480, 486, 488, 600, 603];
        let code = codes[world.dice.below(codes.len() as u64) as usize];
        callee.answer = Answer::Refuse(code);
        world.between(vec![caller, callee]);
        world.run();
        world.expect_no_repeats();
        let a = world.phones[0].log.clone();
        world.expect("the caller's final", a.refused, vec![code]);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}

/// [C-088] [C-107] Nobody picks up and nobody gives up, until the caller does.
#[test]
fn rings_for_ever() {
    play("rings_for_ever", 90, |world| {
        let caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        callee.answer = Answer::Ring;
        world.between(vec![caller, callee]);
        world.run();
        world.expect_no_repeats();
        let a = world.phones[0].log.clone();
        world.expect("the caller's final", a.refused, vec![487]);
    });
}
