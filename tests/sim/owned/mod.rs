//! Calls of Baton's own under random call control: phones place, answer, hold and transfer calls in
//! every role, the API does the same from its side, and the network loses, repeats and reorders.
//!
//! ```text
//! BATON_SIM_SEEDS=2000 cargo test --test sim owned                     5,000 seeds, half of them each
//! BATON_SIM_SEED=17 cargo test --test sim owned -- --nocapture         one seed, every message printed
//! ```
//!
//! In each seed: every Refer reaches one final status, every call ends once, every order is answered
//! once, every re-INVITE is answered, and no shard keeps anything after its last timer; what Baton says
//! in a dialog is in order (RFC 3264 §8, RFC 6665). In fine weather, who is joined to whom by Baton's own account talks to him, and
//! to nobody else; and a transfer that was reported as done is done.

mod agent;
mod at_once;
mod check;
mod dialog;
mod plan;
mod script;
mod world;

use world::World;

/// Seeds when nobody says how many.
const SEEDS: u64 = 100;

/// [C-142] [R-001] [R-056] [R-068] [R-116] [X-05] Random scripts of call control over bad networks.
#[test]
fn random_call_control() {
    play(false);
}

/// [R-052] [R-057] [R-086] The same over good networks, where survivors must talk to whom they should.
#[test]
fn random_call_control_in_fine_weather() {
    play(true);
}

/// The flows of proxied calls are short, and this is the only one of owned calls: it takes two and a
/// half times as many seeds as each of them, in two halves.
fn play(fine: bool) {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    if let Some(seed) = number("BATON_SIM_SEED") {
        let faults = World::new(seed, fine, true).run();
        return assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
    let seeds = number("BATON_SIM_SEEDS").map_or(SEEDS, |seeds| seeds * 5 / 2) / 2;
    // More than the first fault, for who hunts them.
    let wanted = number("BATON_SIM_FAULTS").unwrap_or(1);
    let mut found = Vec::new();
    for seed in 0..seeds {
        let faults = World::new(seed, fine, false).run();
        if !faults.is_empty() {
            found.push(format!("BATON_SIM_SEED={seed} (fine: {fine}):\n{}", faults.join("\n")));
            if found.len() as u64 >= wanted {
                break;
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
