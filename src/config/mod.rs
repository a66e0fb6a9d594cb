//! The configuration: one TOML file, validated as a whole before it is used (law 7).
//!
//! `load` reads the file and finds everything that is wrong with it in one run; what comes out is a
//! [`Config`], from which [`Config::plan`] makes the snapshot that messages are routed by. `state`
//! holds what must outlast a restart and is not the operator's to write.

pub mod diagnostic;
pub mod endpoint;
pub mod read;
pub mod schema;
pub mod secret;
pub mod state;

mod check;
mod load;
mod plan;

pub use diagnostic::Report;
pub use load::{EMBEDDED, Loaded, load_file, load_text};
pub use schema::Config;
pub use secret::Secret;

#[cfg(test)]
mod tests;
