//! Who a party is, for the one it is joined with (R-070; RFC 3325 §9.1, RFC 4916 §4).
//!
//! The re-INVITE that joins two goes out anyway: it says, as P-Asserted-Identity, who is there now. An
//! identity is what a trunk has asserted, what a client has proved, or what Baton itself has called; From
//! and To alone are nobody's word. Who wished to stay unknown is shown to trunks only, with that wish.

use super::Calls;
use super::headers::unfolded;
use crate::sip::dialog::Headers;
use crate::sip::event::CallSid;
use crate::sip::message::{HeaderId, Message};
use crate::sip::plan::Plan;

impl Calls {
    /// Keeps what the INVITE of a party, or its answer to one, says of who it is.
    pub(super) fn introduces(&mut self, sid: CallSid, message: &Message) {
        let privacy = message.header(HeaderId::Privacy);
        let asserted = message.header(HeaderId::PAssertedIdentity);
        let Some(party) = self.party_mut(sid) else { return };
        if let Some(privacy) = privacy {
            party.privacy = Some(privacy.into());
        }
        // C-185: only trunks may assert one.
        if let Some(asserted) = asserted.filter(|_| party.trunk.is_some()) {
            party.asserted = Some(unfolded(asserted));
        }
    }

    /// What a party is told of another one.
    pub(super) fn presented(&self, plan: &Plan, to: CallSid, of: CallSid) -> Headers {
        let trusted = self.party(to).is_some_and(|party| party.trunk.is_some());
        let known = self.party(to).is_some_and(|party| party.client.is_some());
        if trusted || known && !self.is_private(of) { self.introduced(plan, of) } else { Headers::new() }
    }

    /// Who a party is, with its wish about that, for who may know.
    pub(super) fn introduced(&self, plan: &Plan, of: CallSid) -> Headers {
        let Some(identity) = self.identity(plan, of) else { return Headers::new() };
        let mut headers = vec![("P-Asserted-Identity".into(), identity)];
        let privacy = self.party(of).and_then(|party| party.privacy.as_deref());
        headers.extend(privacy.map(|privacy| ("Privacy".into(), unfolded(privacy))));
        headers
    }

    /// Whether a party wished to stay unknown, in whatever way (RFC 3323 §4.2).
    pub(super) fn is_private(&self, sid: CallSid) -> bool {
        let privacy = self.party(sid).and_then(|party| party.privacy.as_deref());
        privacy.is_some_and(|privacy| !privacy.trim_ascii().eq_ignore_ascii_case(b"none"))
    }

    fn identity(&self, plan: &Plan, sid: CallSid) -> Option<Box<[u8]>> {
        let party = self.party(sid)?;
        match &party.client {
            Some(user) => self.address_of_record(plan, user),
            None => party.asserted.clone(),
        }
    }
}
