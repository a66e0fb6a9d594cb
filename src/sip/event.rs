//! What a shard tells the control plane about calls and transfers.
//!
//! Observation leaves a shard sideways: an event never delays a message. Events of a kind
//! that decides something ([`Event::is_final`]) are kept by the shard until they are taken; the
//! others are dropped, and counted, when the queue is full.

use crate::sip::command::Refused;
use crate::sip::refer::ReferRule;
use crate::sip::time::Time;
use bytes::Bytes;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The 128 bits behind a call's public `ID…-CA…` identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct CallSid(pub u128);

/// The 128 bits behind a Refer's public `RF…` identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ReferSid(pub u128);

impl CallSid {
    /// The shard on which the call began: the low 16 bits. A call that moved leaves word there.
    pub const fn shard(self) -> u16 {
        self.0 as u16
    }
}

impl ReferSid {
    /// The shard on which the Refer began: the low 16 bits. After a restart there may be fewer.
    pub const fn shard(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Debug for CallSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CA{:032x}", self.0)
    }
}

impl fmt::Display for CallSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CA{:032x}", self.0)
    }
}

impl fmt::Debug for ReferSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RF{:032x}", self.0)
    }
}

impl fmt::Display for ReferSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RF{:032x}", self.0)
    }
}

/// Which side of Baton a call began on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It came in; every proxied call is of this kind.
    Inbound,
    /// A REST client placed it.
    OutboundApi,
    /// Baton placed it for another call.
    OutboundDial,
}

/// How far a call is, in the words of the Calls API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallStatus {
    /// Made, not yet answered provisionally.
    Queued,
    /// The callee is alerted, or the INVITE came in and is being worked on.
    Ringing,
    /// Answered.
    InProgress,
    /// Ended after it was answered.
    Completed,
    /// Ended: 486, 600, 603.
    Busy,
    /// Ended: 408, or 487 that nobody here asked for, or ring time over.
    NoAnswer,
    /// Ended: the caller or the API gave up before the answer.
    Canceled,
    /// Ended: any other failure.
    Failed,
}

impl CallStatus {
    /// Whether nothing can follow.
    pub const fn is_final(self) -> bool {
        !matches!(self, CallStatus::Queued | CallStatus::Ringing | CallStatus::InProgress)
    }
}

/// What is known when a call begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStarted {
    /// The call.
    pub sid: CallSid,
    /// The account that owns its record.
    pub account: Arc<str>,
    /// When its INVITE came or went.
    pub at: Time,
    /// Caller: user part of From, or its host when there is none.
    pub from: String,
    /// Callee: user part of the Request-URI, or its host when there is none.
    pub to: String,
    /// From's display name, unquoted.
    pub caller_name: Option<String>,
    /// User part of the top Diversion header.
    pub forwarded_from: Option<String>,
    /// Which side it began on.
    pub direction: Direction,
    /// The SIP Call-ID, for operators.
    pub call_id: String,
    /// The leg it belongs to, for owned calls.
    pub parent: Option<CallSid>,
    /// The transfer that it comes of.
    pub cause: Option<Cause>,
}

/// The transfer that has brought a call about: Baton's call to its target, or one that came back by its
/// Refer-To.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The Refer.
    pub refer: ReferSid,
    /// The call on whose dialog the REFER went.
    pub call: CallSid,
}

impl Cause {
    /// Whether there are records of the two.
    pub fn is_recorded(&self) -> bool {
        self.call != CallSid(0)
    }
}

/// A change in a call's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallChanged {
    /// The call.
    pub sid: CallSid,
    /// The account that owns its record.
    pub account: Arc<str>,
    /// When the call began: enough, with `at`, to write the record anew if it was lost (law 6).
    pub started: Time,
    /// When this happened.
    pub at: Time,
    /// The status now.
    pub status: CallStatus,
    /// The final code of the INVITE where one ended the call or answered it, else 0.
    pub code: u16,
}

/// Who performs a transfer (refer-core section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReferRole {
    /// Baton passes it on and watches.
    Relay,
    /// Baton sends the REFER for an application.
    Transferor,
    /// Baton takes the REFER and performs the transfer itself.
    Substitute,
}

/// The six statuses of a Refer (refer-core section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReferStatus {
    /// The only one that can change.
    InProgress,
    /// The target answered.
    Completed,
    /// The target is busy.
    Busy,
    /// The target did not answer.
    NoAnswer,
    /// It did not come about.
    Failed,
    /// The call or the party to be moved went away first.
    Canceled,
}

/// Why a Refer ended as it did (refer-core section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReferReason {
    /// The target answered 486 or 600.
    TargetBusy,
    /// The target answered 408, 480 or 487.
    TargetNoAnswer,
    /// The target answered any other 3xx to 6xx.
    TargetRejected,
    /// The REFER itself was refused.
    ReferRejected,
    /// No answer to the REFER.
    ReferTimeout,
    /// No NOTIFY came.
    NotifyTimeout,
    /// The subscription ended without a final result.
    OutcomeUnknown,
    /// Denied by policy.
    Policy,
    /// Reporting was switched off and the REFER was accepted.
    Unmonitored,
    /// The parties could not be joined.
    BridgeFailed,
    /// The call ended first.
    CallEnded,
    /// The API called it off.
    ApiCancel,
}

/// The whole of a Refer as it stands; sent anew on each change, so that losing one loses little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferSnapshot {
    /// The Refer.
    pub sid: ReferSid,
    /// The call on whose dialog the REFER went.
    pub call: CallSid,
    /// The account that owns its record.
    pub account: Arc<str>,
    /// Who performs it.
    pub role: ReferRole,
    /// When the REFER was seen or sent.
    pub created: Time,
    /// When this state was reached.
    pub at: Time,
    /// Counts the snapshots of this Refer from 0; a smaller one never replaces a larger one.
    pub seq: u32,
    /// Referred-By, else From: a SIP URI.
    pub from: String,
    /// Refer-To without its header part: a SIP URI.
    pub to: String,
    /// Final response to the REFER; 408 when none came, 503 when it could not be sent.
    pub refer_code: Option<u16>,
    /// The last code a NOTIFY body reported.
    pub notify_code: Option<u16>,
    /// The status now.
    pub status: ReferStatus,
    /// Why, once it is final.
    pub reason: Option<ReferReason>,
    /// By which rule it was allowed, or denied, which [`ReferReason::Policy`] says.
    pub rule: Option<ReferRule>,
    /// The party that is to talk to the target: its leg, where that is another than `call`.
    pub moved: Option<CallSid>,
    /// The target: its leg, where Baton has one.
    pub target: Option<CallSid>,
}

/// An inbound call that waits for what its application says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The call; its [`CallStarted`] came before, unless it was lost.
    pub sid: CallSid,
    /// The account that owns its record: who may command it.
    pub account: Arc<str>,
    /// The application, by its place in [`crate::sip::plan::CallPlan::applications`].
    pub application: u16,
    /// The trunk it came by, by name.
    pub trunk: Option<String>,
    /// From's URI, as written.
    pub from_uri: String,
    /// The Request-URI, as written.
    pub to_uri: String,
    /// Its offer, when there is one.
    pub sdp: Option<String>,
    /// The INVITE as it came, for interfaces that show all of it.
    pub invite: Bytes,
    /// Who sent it.
    pub source: SocketAddr,
}

/// Header fields of a call's INVITE (inbound) or of the final response to it (outbound) that
/// interfaces show: `X-…`, Diversion, History-Info, User-to-User; in their order, names as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallHeaders {
    /// The call.
    pub sid: CallSid,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// SIP Call-ID of the leg.
    pub call_id: String,
    /// The final code, outbound; 0 inbound.
    pub code: u16,
}

/// Who ended a call, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The party of this leg: BYE, CANCEL, or a final response to our INVITE.
    Peer,
    /// An order of the control plane.
    Control,
    /// The other leg ended.
    OtherLeg,
    /// Baton: a timer, a dialog that is no more, a transfer that replaced the leg.
    Baton,
}

/// The end of a Dial: all its parties have ended, or one is joined and the join has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialEnded {
    /// The leg for which it was made.
    pub sid: CallSid,
    /// The first of its parties, by which one Dial of a leg is told from another.
    pub first: CallSid,
    /// Who answered, if anybody did.
    pub winner: Option<CallSid>,
    /// How it ended: `Completed` when somebody answered.
    pub status: CallStatus,
    /// The best final code of the parties.
    pub code: u16,
}

/// A REFER that came from a peer and waits for the control plane; silence for two seconds is
/// the trunk's own mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferAsked {
    /// The Refer.
    pub sid: ReferSid,
    /// The leg it came on.
    pub call: CallSid,
    /// The leg of the party to be moved.
    pub other: Option<CallSid>,
    /// Refer-To's URI, header part included.
    pub to: String,
    /// Referred-By's URI, else From's.
    pub by: String,
    /// Whether it names a dialog to replace (attended).
    pub replaces: bool,
    /// User-Agent and what else of the REFER interfaces show, as in [`CallHeaders`].
    pub headers: Vec<(String, String)>,
}

/// Something the control plane may record or pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call began.
    CallStarted(Arc<CallStarted>),
    /// A call rang, was answered, or ended.
    CallChanged(CallChanged),
    /// A Refer came to be known or changed. Not sent before the REFER's own fate is known.
    Refer(Box<ReferSnapshot>),
    /// A NOTIFY about a Refer of ours reported this code, whatever came of it: every one of them, in
    /// their order, before the [`Event::Refer`] that it makes.
    ReferNotified(ReferSid, CallSid, u16),
    /// An order was taken or refused; answers its ticket.
    Reply {
        /// The order's.
        ticket: u64,
        /// Whether it was taken.
        result: Result<(), Refused>,
    },
    /// An inbound call waits for its application.
    Offered(Box<Offered>),
    /// What interfaces show of a call's header fields.
    Headers(Box<CallHeaders>),
    /// The callee sends a description before it answers.
    EarlyMedia(CallSid),
    /// Two legs talk to each other now.
    Joined(CallSid, CallSid),
    /// Two legs no longer talk to each other; both may be up.
    Parted(CallSid, CallSid),
    /// A leg ended; comes right after its final [`Event::CallChanged`].
    Ended(CallSid, EndedBy),
    /// A Dial is over.
    DialEnded(Box<DialEnded>),
    /// A REFER waits for its application.
    ReferAsked(Box<ReferAsked>),
    /// An order to send a request inside a dialog got its final response.
    RequestEnded {
        /// The leg.
        sid: CallSid,
        /// The order's ticket.
        ticket: u64,
        /// The final code; 408 when none came.
        code: u16,
        /// Its reason phrase; empty when none came.
        reason: String,
    },
}

impl Event {
    /// Whether records are made of it.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Event::CallStarted(_) | Event::CallChanged(_) | Event::Refer(_))
    }

    /// Whether who steers a call waits for this event: without it nothing would go on.
    pub fn is_awaited(&self) -> bool {
        match self {
            Event::CallStarted(_) => true,
            Event::CallChanged(change) => change.status == CallStatus::InProgress || self.is_final(),
            _ => self.is_final(),
        }
    }

    /// Whether the event decides something and must not be dropped for want of room (law 4).
    pub fn is_final(&self) -> bool {
        match self {
            Event::CallStarted(_) => false,
            Event::CallChanged(change) => change.status.is_final(),
            Event::Refer(refer) => refer.status != ReferStatus::InProgress,
            // An application or a caller of the API waits for these.
            Event::Reply { .. }
            | Event::Offered(_)
            | Event::Joined(..)
            | Event::Parted(..)
            | Event::Ended(..)
            | Event::DialEnded(_)
            | Event::ReferAsked(_)
            | Event::RequestEnded { .. } => true,
            Event::Headers(_) | Event::EarlyMedia(_) | Event::ReferNotified(..) => false,
        }
    }
}
