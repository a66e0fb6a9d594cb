//! Digest authentication (RFC 7616, RFC 8760): both sides of a challenge.
//!
//! Where it stands on a message's way: a leg that is answered 401 or 407 asks [`answer`] what to send
//! with the request it repeats; a registrar or proxy asks its [`Realm`] who sent a request, and what
//! to challenge with. Secrets come from the plan and never leave this folder but as hashes (C-202).

mod client;
mod digest;
mod fields;
mod guesses;
mod nonce;
mod server;

pub use client::{Challenge, NonceCounts, answer, refused};
pub use digest::Algorithm;
pub use fields::DigestError;
pub use guesses::{Failure, Lesson, Sender};
pub use nonce::Heard;
pub use server::{Realm, Verdict};

/// The realm that a value of Authorization or Proxy-Authorization is for, if it is a digest.
pub fn realm_of(value: &[u8]) -> Option<&[u8]> {
    fields::Fields::parse(value).ok()?.realm
}
