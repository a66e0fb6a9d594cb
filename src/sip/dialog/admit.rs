//! Who may speak in a dialog: its identifiers alone are no pass, every hop has seen them (C-211, R-103).

use super::Legs;
use crate::sip::flow::Flow;
use crate::sip::message::Ready;
use crate::sip::plan::Plan;

impl Legs {
    /// Whether a flow may speak for the party of the dialog that a request names: its own connection or
    /// address, or an address of its trunk.
    pub fn admits(&self, plan: &Plan, ready: &Ready<'_>, flow: &Flow) -> bool {
        let Some(facts) = self.leg_of(ready).and_then(|leg| self.facts(leg)) else { return false };
        let party = facts.flow;
        let same_connection = flow.connection.is_some() && flow.connection == party.connection;
        let same_address = flow.remote.ip().to_canonical() == party.remote.ip().to_canonical();
        let trunk = facts.trunk.is_some() && plan.sources.find(flow) == facts.trunk;
        same_connection || same_address || trunk
    }
}
