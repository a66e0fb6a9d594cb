//! Several phones are called at once.

use crate::phone::{Answer, Script};
use crate::world::{LONG, play};
use baton::sip::plan::Fork;

/// [C-071] [C-101] [C-105] Whoever answers first has the call; the others are called off, or ended by the caller if
/// they answered too.
#[test]
fn first_answer_wins() {
    play("first_answer_wins", 85, |world| {
        world.fork = Fork::Parallel;
        let mut scripts = vec![Script::caller(&mut world.dice)];
        scripts[0].hang_up_after = Some(world.dice.millis(0, 5_000));
        for _ in 0..2 + world.dice.below(2) {
            let mut callee = Script::callee(&mut world.dice);
            callee.hang_up_after = Some(LONG);
            scripts.push(callee);
        }
        world.between(scripts);
        world.run();
        let answered = world.phones[0].log.answered;
        world.expect("calls answered", answered, 1);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}

/// [C-103] [C-105] [C-110] One refuses, one rings for ever, and the caller may give up: one final, the best there is.
#[test]
fn best_of_all() {
    play("best_of_all", 85, |world| {
        world.fork = Fork::Parallel;
        let mut caller = Script::caller(&mut world.dice);
        let (mut first, mut second) = (Script::callee(&mut world.dice), Script::callee(&mut world.dice));
        let code = [404, 486, 603][world.dice.below(3) as usize];
        first.answer = Answer::Refuse(code);
        let rings = world.dice.chance(500);
        second.answer = if rings { Answer::Ring } else { Answer::Refuse(480) };
        caller.cancel_after = rings.then(|| world.dice.millis(8_000, 20_000));
        world.between(vec![caller, first, second]);
        world.run();
        world.expect_no_repeats();
        let refused = world.phones[0].log.refused.clone();
        // Of two refusals of one class the first counts.
        let possible = match (code, rings) {
            (603, _) => vec![603],
            (_, true) => vec![487, code],
            (_, false) => vec![480, code],
        };
        world.expect("finals", refused.len(), 1);
        world.expect("the final is one of those", refused.iter().all(|code| possible.contains(code)), true);
        world.expect("calls recorded", (world.started, world.ended()), (1, 1));
    });
}
