//! By which rule a REFER was allowed or denied: told with every Refer, and kept in its record.
//!
//! A rule of the configuration has the name of its key there, so that an operator finds it; one that no key
//! changes has a word of its own.

use super::policy::Policy;
use std::fmt;

/// What decided about a REFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferRule {
    /// `mode` of the referrer's trunk.
    Mode,
    /// What clients may do: `registrar.refer`.
    Registrar,
    /// An entry of `allow` names the target.
    Allow(u16),
    /// There is an `allow`, and no entry of it names the target.
    NotAllowed,
    /// An entry of `deny` names the target.
    Deny(u16),
    /// `max_transfers` of one call.
    MaxTransfers,
    /// `max_rate` of a trunk.
    MaxRate,
    /// REFER outside a dialog.
    OutOfDialog,
    /// A Referred-By must be there.
    ReferredBy,
    /// No route of the party that the target is called for leads there, or one that refuses.
    Routes,
    /// The shard's bounds.
    Limits,
    /// The application of the call.
    Application,
    /// The API, which asked for it.
    Api,
    /// It is not of the party of that dialog, or names a dialog of another party.
    Peer,
    /// Another one of this dialog has no result yet.
    Glare,
    /// The target is who is to be moved, or the call itself.
    Loop,
    /// Max-Forwards is spent.
    MaxForwards,
    /// Nobody is there to be moved.
    Alone,
    /// What it says cannot be acted on: syntax, scheme, method, header fields.
    Request,
}

impl ReferRule {
    /// The rule at a place of a trunk's list, which has what it denies first, and last that it denies
    /// whatever it does not allow.
    pub fn of_target(policy: &Policy, at: usize) -> ReferRule {
        let denied = policy.targets.iter().take_while(|rule| !rule.allow).count();
        let place = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        match at.checked_sub(denied) {
            None => ReferRule::Deny(place(at)),
            Some(at) if policy.targets.get(denied + at).is_some_and(|rule| rule.allow) => {
                ReferRule::Allow(place(at))
            }
            Some(_) => ReferRule::NotAllowed,
        }
    }
}

impl fmt::Display for ReferRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReferRule::Allow(at) => return write!(f, "refer.allow[{at}]"),
            ReferRule::Deny(at) => return write!(f, "refer.deny[{at}]"),
            ReferRule::Mode => "refer.mode",
            ReferRule::Registrar => "registrar.refer",
            ReferRule::NotAllowed => "refer.allow",
            ReferRule::MaxTransfers => "refer.max_transfers",
            ReferRule::MaxRate => "refer.max_rate",
            ReferRule::OutOfDialog => "refer.out_of_dialog",
            ReferRule::ReferredBy => "refer.referred_by",
            ReferRule::Routes => "route",
            ReferRule::Limits => "limits",
            ReferRule::Application => "application",
            ReferRule::Api => "api",
            ReferRule::Peer => "peer",
            ReferRule::Glare => "glare",
            ReferRule::Loop => "loop",
            ReferRule::MaxForwards => "max-forwards",
            ReferRule::Alone => "alone",
            ReferRule::Request => "request",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::refer::policy::TargetRule;

    /// A place in the list is an entry of `deny`, of `allow`, or neither.
    #[test]
    fn entries_of_the_lists() {
        let rule = |allow| TargetRule { allow, domain: "".into(), prefix: "1".into() };
        let policy = |rules: &[bool]| Policy {
            targets: rules.iter().copied().map(rule).collect(),
            ..Policy::default()
        };
        let both = policy(&[false, false, true, true, false]);
        let names: Vec<String> = (0..5).map(|at| ReferRule::of_target(&both, at).to_string()).collect();
        assert_eq!(
            names,
            ["refer.deny[0]", "refer.deny[1]", "refer.allow[0]", "refer.allow[1]", "refer.allow"]
        );
        assert_eq!(ReferRule::of_target(&policy(&[false]), 0), ReferRule::Deny(0));
        assert_eq!(ReferRule::of_target(&policy(&[true, false]), 1), ReferRule::NotAllowed);
    }
}
