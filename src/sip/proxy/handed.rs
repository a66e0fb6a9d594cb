//! Requests that the proxy routes but does not keep: they begin calls of Baton's own.
//!
//! Stands where `request` has matched a route: what is not passed on leaves the proxy as [`Handed`], and
//! the shard gives it to `sip::call`.

use crate::sip::message::Message;
use crate::sip::plan::{Action, Mode, Origin, Plan, ReferMode, TrunkIx};
use crate::sip::proxy::request::Way;
use crate::sip::proxy::target;
use crate::sip::refer::returning::Returned;
use crate::sip::transaction::ServerId;

/// What of a request concerns the calls of Baton's own.
#[derive(Debug)]
pub enum Concern {
    /// It begins one.
    Begins(Handed),
    /// It is a REFER of this trunk's that is passed on: its target may be a leg of one.
    Referred(TrunkIx),
}

/// An INVITE that begins a call of Baton's own; its server transaction waits for an answer.
#[derive(Debug)]
pub struct Handed {
    /// The transaction.
    pub server: ServerId,
    /// Who sent it.
    pub origin: Origin,
    /// What the rules say of it.
    pub to: Owned,
    /// The INVITE to go by, where it came back by a Refer-To of ours: with the target that is meant.
    pub restored: Option<(Message, Returned)>,
}

/// Where a call of Baton's own goes.
#[derive(Debug)]
pub enum Owned {
    /// To trunks' targets.
    Trunks(target::Candidates),
    /// To an application.
    Application(u16),
    /// To a registered client.
    Client(Box<str>),
    /// In the place of a leg that its Replaces names.
    Replaces,
    /// No call: a REFER about the leg that its Target-Dialog names.
    TargetDialog,
}

/// What becomes of a sound request.
pub(super) enum Decided {
    /// It is passed on.
    Forward(Way),
    /// It becomes a call of Baton's own.
    Own { origin: Origin, to: Owned },
}

/// The trunk, when it came from one.
pub(super) fn trunk_of_origin(origin: Option<Origin>) -> Option<TrunkIx> {
    match origin {
        Some(Origin::Trunk(trunk)) => Some(trunk),
        Some(Origin::Clients | Origin::Api) | None => None,
    }
}

/// Whether a routed call must be Baton's own: the route says so, a trunk on either side leaves transfers
/// to Baton, or the caller is a client, whom only its own connection reaches.
pub(super) fn owns(plan: &Plan, action: &Action, origin: Origin, candidates: &target::Candidates) -> bool {
    let mode = if let Action::Trunks { mode, .. } = action { *mode } else { Mode::Auto };
    let terminates = |ix: TrunkIx| plan.trunk(ix).is_some_and(|t| t.refer == ReferMode::Terminate);
    match (origin, mode) {
        // What a client sends inside a dialog is known as its own by the dialog alone.
        (Origin::Clients | Origin::Api, _) | (Origin::Trunk(_), Mode::B2bua) => true,
        (Origin::Trunk(_), Mode::Proxy) => false,
        (Origin::Trunk(trunk), Mode::Auto) => {
            terminates(trunk) || candidates.iter().any(|c| terminates(c.trunk))
        }
    }
}
