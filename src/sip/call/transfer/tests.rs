//! Transfers between phones that behave, and phones that do not: all roles, on virtual time.

mod application;
mod attempts;
mod attended;
mod challenged;
mod consulted;
mod decisions;
mod early;
mod flows;
mod forks;
mod held;
mod identity;
mod injection;
mod leniency;
mod midway;
mod notified;
mod races;
mod random;
mod relay;
mod release;
mod rules;
mod secured;
mod stage;
mod substitute;
mod targets;
mod transferor;
