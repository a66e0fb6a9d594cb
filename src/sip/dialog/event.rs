//! What the legs of a shard tell the call they belong to, in order.

use super::{Asked, LegId, RequestId};
use crate::sip::event::EndedBy;
use crate::sip::message::Message;

/// Which fork of an INVITE of ours a response belongs to: counted from 0 by To tag (C-130).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fork(pub u8);

/// Something that happened on a leg.
#[derive(Clone, Debug)]
pub enum LegEvent {
    /// A 101 to 199 came to the INVITE that made the leg; one that was reliable waits for
    /// [`super::Legs::prack`] when it carries an offer, and is acknowledged already when not.
    Provisional {
        /// The leg.
        leg: LegId,
        /// Which callee.
        fork: Fork,
        /// The response.
        message: Message,
    },
    /// The first 2xx came: the leg is up and waits for [`super::Legs::ack`]. Further 2xx of other
    /// forks are acknowledged and ended by the leg itself (C-131).
    Answered {
        /// The leg.
        leg: LegId,
        /// Which callee.
        fork: Fork,
        /// The response.
        message: Message,
    },
    /// No call came of the INVITE: a final non-2xx, 408 when nobody answered, 503 when it could not
    /// be sent, 487 after a CANCEL. Challenges, 422 and failover were dealt with before. The leg is gone.
    Rejected {
        /// The leg that was.
        leg: LegId,
        /// The code.
        status: u16,
        /// The response, when there was one.
        message: Option<Message>,
    },
    /// The party cancelled its INVITE; it has its 487. The leg is gone.
    Canceled {
        /// The leg that was.
        leg: LegId,
        /// The CANCEL, for its Reason.
        message: Message,
    },
    /// The party has ended one of several early dialogs by BYE: nobody needs to ring there any more. The INVITE
    /// goes on with the others.
    Left {
        /// The leg.
        leg: LegId,
        /// Which callee, as [`super::Legs::ring`] was told.
        fork: Fork,
    },
    /// The ACK to a 2xx of ours came: to the INVITE that made the leg (`None`) or to a re-INVITE.
    Acknowledged {
        /// The leg.
        leg: LegId,
        /// The re-INVITE.
        asked: Option<Asked>,
        /// The ACK; it may carry the answer to our offer (C-174).
        message: Message,
    },
    /// A request came in the dialog and waits for [`super::Legs::respond`]: anything but BYE, CANCEL,
    /// ACK, refreshes of the session timer without change, and what glare refuses (C-142, C-143, C-180).
    Requested {
        /// The leg.
        leg: LegId,
        /// What to answer.
        asked: Asked,
        /// The request.
        message: Message,
    },
    /// The party does not want its re-INVITE answered any more; it still waits for [`super::Legs::respond`].
    Withdrawn {
        /// The leg.
        leg: LegId,
        /// Which one.
        asked: Asked,
        /// The CANCEL, for its Reason.
        message: Message,
    },
    /// A request of ours in the dialog got its final response: 408 when none came, 503 when it could
    /// not be sent. After a 2xx to a re-INVITE [`super::Legs::ack_request`] must follow.
    Responded {
        /// The leg.
        leg: LegId,
        /// Which request.
        request: RequestId,
        /// The code.
        status: u16,
        /// The response, when there was one.
        message: Option<Message>,
    },
    /// The dialog's call has ended: the party's BYE (it has its 200), a session that was not refreshed,
    /// a 2xx nobody acknowledged, a 481. Requests of ours that were open are told with 487 before.
    Ended {
        /// The leg; it answers late requests with 481, or NOTIFYs by [`LegEvent::Requested`], until
        /// [`LegEvent::Gone`].
        leg: LegId,
        /// Who ended it.
        by: EndedBy,
        /// The BYE.
        message: Option<Message>,
    },
    /// Nothing more will come of this leg; its identifier is dead.
    Gone {
        /// The leg that was.
        leg: LegId,
    },
}
