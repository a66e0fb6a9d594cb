//! INVITE and CANCEL: before a provisional, while it rings, and as it is answered.

use crate::phone::{Answer, Script};
use crate::world::{LONG, play};

/// [C-083] [C-084] [C-085] [C-086] [C-110] A call is given up while it rings.
#[test]
fn cancel_while_ringing() {
    play("cancel_while_ringing", 90, |world| {
        let mut caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        caller.cancel_after = Some(world.dice.millis(0, 6_000));
        callee.answer = Answer::Ring;
        world.between(vec![caller, callee]);
        world.run();
        world.expect_no_repeats();
        let (a, b) = (world.phones[0].log.clone(), world.phones[1].log.clone());
        world.expect("the caller's final", a.refused, vec![487]);
        world.expect("calls cancelled", b.cancelled, 1);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}

/// [C-071] [C-083] [C-084] [C-110] CANCEL and 200 cross; whoever comes first, the call ends.
#[test]
fn cancel_crosses_the_answer() {
    play("cancel_crosses_the_answer", 90, |world| {
        let mut caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        let when = world.dice.millis(0, 4_000);
        caller.cancel_after = Some(when + world.dice.millis(0, 60));
        callee.answer_after = when;
        caller.hang_up_after = Some(LONG);
        callee.hang_up_after = Some(LONG);
        world.between(vec![caller, callee]);
        world.run();
        world.expect_no_repeats();
        let (a, b) = (world.phones[0].log.clone(), world.phones[1].log.clone());
        world.expect("one outcome", a.refused.len() + a.hung_up.max(b.hung_up).min(1), 1);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}
