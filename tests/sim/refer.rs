//! A call, a REFER in it from either side, NOTIFYs, BYE.

use crate::phone::Script;
use crate::world::{LONG, play};
use std::time::Duration;

/// [C-113] A transfer is relayed, reported and recorded once.
#[test]
fn refer() {
    play("refer", 90, |world| {
        let mut caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        let by_caller = world.dice.chance(500);
        let after = world.dice.millis(0, 5_000);
        let code = [200, 200, 404, 486, 603][world.dice.below(5) as usize];
        let (referrer, referred) =
            if by_caller { (&mut caller, &mut callee) } else { (&mut callee, &mut caller) };
        referrer.refer_after = Some(after);
        referred.transfer.0 = code;
        // Should the report get lost, somebody still hangs up.
        referrer.hang_up_after = Some(Duration::from_secs(60));
        referred.hang_up_after = Some(LONG);
        world.between(vec![caller, callee]);
        world.run();
        world.expect_no_repeats();
        let (a, b) = (world.phones[0].log.clone(), world.phones[1].log.clone());
        let log = if by_caller { a } else { b };
        world.expect("the REFER's final", log.refers, vec![202]);
        let mut notified = log.notified;
        notified.sort_unstable();
        world.expect("what NOTIFYs said", notified, vec![100, code]);
        world.expect("calls ended by the referrer", log.hung_up, 1);
        world.expect("records", (world.started, world.ended()), (1, 2));
    });
}
