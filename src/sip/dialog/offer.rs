//! Who has offered what: the exchanges of RFC 3264 in one dialog (C-171, RFC 6337 §2).

/// Which side a description came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Baton.
    Ours,
    /// The party.
    Theirs,
}

/// What carried an offer: with its transaction an unanswered offer ends, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// An INVITE, or a reliable response to one.
    Invite,
    /// An UPDATE.
    Update,
    /// A PRACK.
    Prack,
}

/// The state of the exchange in a dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Exchange {
    /// Nothing was offered yet.
    #[default]
    Fresh,
    /// An offer waits for its answer.
    Open(Side, Carrier),
    /// All offers are answered.
    Agreed,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A description travelled, in a message or response of this kind, where it counts.
    Carried(Side, Carrier),
    /// The transaction that carried an offer is over, refused or given up.
    Refused(Carrier),
}

impl Exchange {
    /// One step.
    pub(super) fn step(self, step: Step) -> Exchange {
        match (self, step) {
            (Exchange::Fresh | Exchange::Agreed, Step::Carried(side, carrier)) => {
                Exchange::Open(side, carrier)
            }
            // RFC 3264 §5, §6: from the other side it is the answer, from the same a repetition.
            (Exchange::Open(offerer, _), Step::Carried(side, _)) if offerer != side => Exchange::Agreed,
            (Exchange::Open(..), Step::Carried(..)) => self,
            // RFC 3261 §14.1: as if it had never been made.
            (Exchange::Open(_, carrier), Step::Refused(refused)) if carrier == refused => Exchange::Agreed,
            (Exchange::Fresh | Exchange::Agreed | Exchange::Open(..), Step::Refused(_)) => self,
        }
    }

    /// Whether an offer waits for its answer.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Exchange::Open(..))
    }

    /// Whether Baton's offer waits for its answer.
    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Exchange::Open(Side::Ours, _))
    }

    /// Whether the party's offer waits for its answer.
    pub(super) const fn is_theirs(self) -> bool {
        matches!(self, Exchange::Open(Side::Theirs, _))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [C-171] Each allowed exchange opens and closes; a second offer never opens while one is open.
    #[test]
    fn exchanges() {
        use Carrier::*;
        use Side::*;
        let mut state = Exchange::default();
        for (step, open) in [
            (Step::Carried(Ours, Invite), true),
            (Step::Carried(Ours, Invite), true),
            (Step::Carried(Theirs, Invite), false),
            (Step::Carried(Theirs, Update), true),
            (Step::Refused(Invite), true),
            (Step::Carried(Ours, Update), false),
            (Step::Carried(Theirs, Invite), true),
            (Step::Carried(Ours, Prack), false),
            (Step::Carried(Ours, Update), true),
            (Step::Refused(Update), false),
        ] {
            state = state.step(step);
            assert_eq!(state.is_open(), open, "{step:?}");
        }
        assert_eq!(Exchange::Fresh.step(Step::Refused(Invite)), Exchange::Fresh);
    }
}
