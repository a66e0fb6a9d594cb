//! What the control plane tells a shard about calls that Baton owns (law 4).
//!
//! Every interface (REST, documents, verbs) is a translation into these few orders; what comes of an
//! order is told by [`crate::sip::event`]. An order is answered at once with [`Event::Reply`]: taken,
//! or refused with the reason; the results come later as events.
//!
//! [`Event::Reply`]: crate::sip::event::Event::Reply

use crate::sip::event::{CallSid, ReferSid};
use crate::sip::plan::Credentials;
use crate::sip::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// One order, and the number under which it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Comes back in the reply; 0 asks for none.
    pub ticket: u64,
    /// What is wanted.
    pub order: Order,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Place a new call.
    Place(Box<Place>),
    /// Do something with a leg there is.
    Leg(CallSid, Action),
    /// Stop waiting for a Refer: it ends `canceled`.
    CancelRefer(ReferSid, CallSid),
    /// Decide a REFER that waits for its application.
    DecideRefer(ReferSid, CallSid, Decision),
}

/// A party to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A number, called by the first `[[route]]` that takes it.
    Number(String),
    /// A `sip:`, `sips:` or `tel:` URI without a header part.
    Uri(String),
    /// A registered client.
    Client(String),
}

/// A new call, placed by the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its identifier; [`CallSid::shard`] names the shard this order goes to.
    pub sid: CallSid,
    /// The account that owns it.
    pub account: Arc<str>,
    /// The caller: a number, a user, or a whole SIP URI.
    pub from: String,
    /// From's display name.
    pub caller_name: Option<String>,
    /// Who is called.
    pub to: Party,
    /// The header part that the address had, decoded: further header fields of the INVITE.
    pub headers: Vec<(String, String)>,
    /// For a challenge.
    pub credentials: Option<Arc<Credentials>>,
    /// Ringing longer than this ends it `no-answer`.
    pub timeout: Duration,
    /// The offer; `None`: an inactive one of our own (there is no media here).
    pub sdp: Option<String>,
    /// Who ordered it waits no longer than this; `None`: it is never too late.
    pub by: Option<Time>,
}

/// Something done with a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// End it: BYE when answered, CANCEL or `status` when not. `reason` is the value of a Reason field.
    Hangup {
        /// The final response to an unanswered inbound INVITE; 603 when `None`.
        status: Option<u16>,
        /// Value of a Reason header field, already checked.
        reason: Option<String>,
    },
    /// As [`Action::Hangup`], and more of the BYE or final response is given.
    Leave(Box<Leave>),
    /// End it only while it is unanswered; otherwise nothing happens.
    Cancel,
    /// Send 180 (or 183 with this SDP) to an unanswered inbound leg.
    Ring {
        /// 180 to 183.
        status: u16,
        /// A description to go with it.
        sdp: Option<String>,
    },
    /// Answer an unanswered inbound leg that talks to nobody yet: `sdp`, else one that keeps a codec per
    /// stream and is inactive (rcml 8.1).
    Answer {
        /// The answer to its offer.
        sdp: Option<String>,
        /// Further header fields of the 200.
        headers: Vec<(String, String)>,
    },
    /// Call others for it; the first who answers is joined to it.
    Dial(Box<Dial>),
    /// Join it with another leg that is up: both leave whom they talked to.
    Join(CallSid),
    /// Part it from whom it talks to; both stay up, inactive, and are the control plane's to decide about. A Dial
    /// that brought them together ends.
    Part,
    /// Send a REFER on it (role T).
    Refer(Box<ReferOrder>),
    /// Put its party on hold.
    Hold,
    /// Take its party back.
    Resume,
    /// Send a request inside its dialog: INFO, MESSAGE, OPTIONS, NOTIFY.
    Request {
        /// The method.
        method: String,
        /// Further header fields.
        headers: Vec<(String, String)>,
        /// Content-Type and body.
        body: Option<(String, String)>,
    },
}

/// How a leg is ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// The final response to an unanswered inbound INVITE; 603 when `None`.
    pub status: Option<u16>,
    /// Its reason phrase; the usual one when `None`.
    pub phrase: Option<String>,
    /// Further header fields of the BYE or of the final response.
    pub headers: Vec<(String, String)>,
}

/// Others to be called for a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// All at once; the first answer wins, the others are cancelled.
    pub parties: Vec<DialParty>,
    /// From's user or URI; `None`: the leg's own party.
    pub from: Option<String>,
    /// Ringing longer than this cancels all.
    pub timeout: Duration,
    /// A call longer than this is ended.
    pub time_limit: Option<Duration>,
    /// Join at once when one answers; otherwise the winner waits for [`Action::Join`] (screening).
    pub join: bool,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialParty {
    /// The identifier of its leg: same shard as the leg it is called for.
    pub sid: CallSid,
    /// Who is called.
    pub to: Party,
    /// Further header fields of the INVITE.
    pub headers: Vec<(String, String)>,
    /// For a challenge.
    pub credentials: Option<Arc<Credentials>>,
}

/// A transfer by REFER (refer-core section 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferOrder {
    /// Its identifier.
    pub sid: ReferSid,
    /// Refer-To's URI, header part included, as it is to stand in angle brackets; or a bare user, escaped,
    /// at the host of the party's Contact.
    pub to: String,
    /// Referred-By's URI, or a bare user as for `to`, or either in angle brackets behind a display name;
    /// `None`: Baton's side of the dialog.
    pub referred_by: Option<String>,
    /// Attended: the leg whose dialog Replaces names.
    pub replaces: Option<CallSid>,
    /// Further header fields of the REFER, already checked.
    pub headers: Vec<(String, String)>,
    /// For a challenge.
    pub credentials: Option<Arc<Credentials>>,
    /// `Refer-Sub: false`.
    pub no_subscription: bool,
    /// What follows success: BYE after this long; `None`: the leg stays.
    pub bye_after: Option<Duration>,
    /// Send it although the peer's Allow lacks REFER.
    pub force: bool,
    /// Put the peer on hold first.
    pub hold: bool,
}

/// What is to become of a REFER that came from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Perform it.
    Accept,
    /// Perform it to another target: a URI.
    Redirect(String),
    /// Refuse it with this code.
    Reject(u16),
    /// Answer 202; the application performs it itself and reports by [`Decision::Report`].
    Take,
    /// The application's progress: a NOTIFY with this code, final from 200 on.
    Report(u16),
}

/// Why an order was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such leg, or it is not Baton's own.
    Unknown,
    /// It has ended.
    Ended,
    /// It is not answered yet.
    NotAnswered,
    /// It is answered already.
    Answered,
    /// A Refer is active on it.
    Busy,
    /// An argument cannot be put into a message.
    Malformed,
    /// The shard has no room.
    Full,
    /// It came to the shard when nobody waited for it any more.
    Late,
}
