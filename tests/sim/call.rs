//! INVITE, 180, 200, ACK; then BYE from either side, or from both at once.

use crate::phone::Script;
use crate::world::{LONG, Weather, play};

/// [C-069] [C-070] [C-071] [C-081] [C-087] [C-111] A call is set up and ended, and forgotten.
#[test]
fn call() {
    play("call", 90, |world| {
        let mut caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        let calls = 1 + world.dice.below(3) as usize;
        for _ in 1..calls {
            let more = world.dice.millis(0, 2_000);
            caller.dials.push((more, "bravo"));
        }
        let hold = world.dice.millis(0, 20_000);
        match world.dice.below(3) {
            0 => caller.hang_up_after = Some(hold),
            1 => callee.hang_up_after = Some(hold),
            _ => {
                caller.hang_up_after = Some(hold);
                callee.hang_up_after = Some(hold);
            }
        }
        // Should the one that hangs up never learn that the call is up, the other one ends it.
        caller.hang_up_after.get_or_insert(hold * 2 + LONG);
        callee.hang_up_after.get_or_insert(hold * 2 + LONG);
        world.between(vec![caller, callee]);
        world.run();
        world.expect_no_repeats();
        let (a, b) = (world.phones[0].log.clone(), world.phones[1].log.clone());
        world.expect("calls answered", (a.answered, b.answered), (calls, calls));
        world.expect("calls ended, at least by one side", a.hung_up + b.hung_up >= calls, true);
        world.expect("calls recorded", (world.started, world.ended()), (calls, calls));
        world.expect("requests unanswered", world.weather == Weather::Any || a.lost + b.lost == 0, true);
    });
}
