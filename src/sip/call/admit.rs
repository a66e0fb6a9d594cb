//! Who may speak in the dialogs of calls (C-211).

use super::Calls;
use crate::sip::flow::Flow;
use crate::sip::message::Ready;
use crate::sip::plan::Plan;

impl Calls {
    /// Whether a flow may speak for the party of the dialog that a request names.
    pub fn admits(&self, plan: &Plan, ready: &Ready<'_>, flow: &Flow) -> bool {
        self.legs.admits(plan, ready, flow)
    }
}
