//! Legs, played message by message.

mod answers;
mod calls;
mod forks;
mod glare;
mod names;
mod reliable;
mod reoffers;
mod routing;
mod storm;
mod timers;
mod unset;
