//! Calls from end to end, phones on virtual time.

mod alone;
mod answered;
mod back_to_back;
mod early;
mod glare;
mod joins;
mod moves;
mod ordered;
mod picked_up;
mod refused;
mod taken_over;
mod unanswered;
