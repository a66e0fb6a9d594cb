//! Baton is killed and comes back while a call is up: what later messages need is in the messages.

use crate::phone::Script;
use crate::world::{LONG, play};
use std::time::Duration;

/// [C-097] A call outlives the process that set it up, and is ended through the next one.
#[test]
fn restart() {
    play("restart", 75, |world| {
        let mut caller = Script::caller(&mut world.dice);
        let mut callee = Script::callee(&mut world.dice);
        caller.hang_up_after = Some(Duration::from_secs(20) + world.dice.millis(0, 5_000));
        callee.hang_up_after = Some(LONG);
        world.between(vec![caller, callee]);
        world.phones.iter_mut().for_each(|phone| phone.merged = true);
        let kill = world.dice.millis(100, 15_000);
        let kill = if world.weather == crate::world::Weather::Fine { Duration::from_secs(10) } else { kill };
        world.run_until(world.after(kill));
        world.restart();
        world.run();
        world.expect_no_repeats();
        let (a, b) = (world.phones[0].log.clone(), world.phones[1].log.clone());
        world.expect("calls ended", (a.hung_up, b.hung_up_by_peer), (1, 1));
        world.expect("requests unanswered", a.lost, 0);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}
