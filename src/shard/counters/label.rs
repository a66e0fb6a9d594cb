//! The closed lists that label values come from (T-132): nothing a message says becomes a label.

use crate::sip::event::{Direction, ReferReason, ReferRole, ReferStatus};
use crate::sip::message::{Method, ParseErrorKind};
use crate::sip::resolve::{Outcome, QueryKind};

/// A value that stands in for a place in a closed list.
pub trait Label: Copy + 'static {
    /// The list, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// Its place in the list.
    fn index(self) -> usize;

    /// What stands in the metrics.
    fn name(self) -> &'static str;
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Label for $name {
            const ALL: &'static [$name] = &[$($name::$variant,)*];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    )*};
}

labels! {
    /// Which way a message went.
    Dir {
        /// Received.
        In = "in",
        /// Sent.
        Out = "out",
    }

    /// What was sent or received once more.
    RetransmissionKind {
        /// A request.
        Request = "request",
        /// A response.
        Response = "response",
    }

    /// The four machines of RFC 3261 §17.
    TransactionKind {
        /// §17.1.1.
        InviteClient = "invite_client",
        /// §17.2.1.
        InviteServer = "invite_server",
        /// §17.1.2.
        Client = "client",
        /// §17.2.2.
        Server = "server",
    }

    /// Why a request was refused before it went anywhere.
    Rejection {
        /// Its source is unknown or not admitted (T-016).
        Acl = "acl",
        /// It failed authentication.
        Auth = "auth",
        /// Too many failures like it came before (T-025).
        Banned = "banned",
        /// Too many calls a second.
        Cps = "cps",
        /// Too many calls at once.
        Calls = "calls",
        /// Load, or a full table (C-218).
        Overload = "overload",
        /// The trunk does not take calls this way.
        Direction = "direction",
        /// No route matched (T-034).
        NoRoute = "no_route",
        /// A route matched, but nothing in it is usable (T-034).
        NoneUsable = "none_usable",
        /// It has been here before (RFC 3261 §16.3 step 4).
        Loop = "loop",
        /// Max-Forwards is used up (RFC 3261 §16.3 step 3).
        MaxForwards = "max_forwards",
        /// Proxy-Require names something unknown (RFC 3261 §16.3 step 5).
        Extension = "extension",
        /// The Request-URI's scheme is unknown (RFC 3261 §16.3 step 2).
        Scheme = "scheme",
        /// Max-Breadth is used up (RFC 5393).
        Breadth = "breadth",
        /// Configuration forbids it.
        Policy = "policy",
        /// It could not be read (400, 505, 513 …).
        Malformed = "malformed",
        /// Anything else.
        Other = "other",
    }

    /// How one attempt at one target ended.
    AttemptResult {
        /// 2xx.
        Answered = "answered",
        /// Any other final response.
        Rejected = "rejected",
        /// Nothing at all within the wait (T-061).
        NoResponse = "no_response",
        /// It rang for too long (T-067).
        RingTimeout = "ring_timeout",
        /// It could not be sent.
        Transport = "transport",
        /// The name of the target could not be resolved.
        Dns = "dns",
        /// Called off before its end.
        Canceled = "canceled",
    }

    /// Why the next candidate was tried.
    FailoverReason {
        /// The message could not be sent.
        Transport = "transport",
        /// Nothing came back (T-061).
        NoResponse = "no_response",
        /// A final code that asks for it.
        Code = "code",
        /// It rang for too long (T-067).
        RingTimeout = "ring_timeout",
        /// The name of the target could not be resolved.
        Dns = "dns",
    }

    /// How far a live call is.
    Phase {
        /// Not yet answered.
        Setup = "setup",
        /// Answered.
        Up = "up",
    }

    /// How a call came out; an answered one is counted when it is answered.
    CallResult {
        /// 2xx.
        Answered = "answered",
        /// 486, 600.
        Busy = "busy",
        /// 408, 480, 487 nobody asked for.
        NoAnswer = "no-answer",
        /// Refused here, or by 401, 403, 407, 603.
        Rejected = "rejected",
        /// Any other failure.
        Failed = "failed",
        /// The caller gave up.
        Canceled = "canceled",
    }

    /// What DNS said.
    DnsResult {
        /// Records.
        Found = "found",
        /// That there are none.
        Absent = "absent",
        /// Nothing usable.
        Failed = "failed",
    }

    /// Which side opened a connection.
    ConnectionRole {
        /// The peer did.
        Server = "server",
        /// Baton did.
        Client = "client",
    }

    /// How a TLS handshake ended.
    TlsResult {
        /// Done.
        Ok = "ok",
        /// An alert, a certificate that does not fit, or a protocol error.
        Failed = "failed",
        /// It took too long.
        Timeout = "timeout",
    }

    /// A bounded queue.
    Queue {
        /// Messages handed to another shard.
        Handoff = "handoff",
        /// Observations for the control plane.
        Events = "events",
        /// Bytes waiting for a stream.
        Stream = "stream",
        /// Datagrams the kernel would not take.
        Datagram = "datagram",
        /// Questions waiting for DNS.
        Dns = "dns",
        /// Notifications waiting for those who asked for them.
        Webhook = "webhook",
    }

    /// What was worked on.
    Work {
        /// A request.
        Request = "request",
        /// A response.
        Response = "response",
    }
}

macro_rules! labels_of {
    ($($name:ty { $($variant:path = $text:literal,)* })*) => {$(
        impl Label for $name {
            const ALL: &'static [$name] = &[$($variant,)*];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $($variant => $text,)* }
            }
        }
    )*};
}

labels_of! {
    Direction {
        Direction::Inbound = "inbound",
        Direction::OutboundApi = "outbound-api",
        Direction::OutboundDial = "outbound-dial",
    }

    ReferRole {
        ReferRole::Relay = "relay",
        ReferRole::Transferor = "transferor",
        ReferRole::Substitute = "substitute",
    }

    ReferStatus {
        ReferStatus::InProgress = "in-progress",
        ReferStatus::Completed = "completed",
        ReferStatus::Busy = "busy",
        ReferStatus::NoAnswer = "no-answer",
        ReferStatus::Failed = "failed",
        ReferStatus::Canceled = "canceled",
    }

    ReferReason {
        ReferReason::TargetBusy = "target-busy",
        ReferReason::TargetNoAnswer = "target-no-answer",
        ReferReason::TargetRejected = "target-rejected",
        ReferReason::ReferRejected = "refer-rejected",
        ReferReason::ReferTimeout = "refer-timeout",
        ReferReason::NotifyTimeout = "notify-timeout",
        ReferReason::OutcomeUnknown = "outcome-unknown",
        ReferReason::Policy = "policy",
        ReferReason::Unmonitored = "unmonitored",
        ReferReason::BridgeFailed = "bridge-failed",
        ReferReason::CallEnded = "call-ended",
        ReferReason::ApiCancel = "api-cancel",
    }

    QueryKind {
        QueryKind::Naptr = "naptr",
        QueryKind::Srv = "srv",
        QueryKind::Address = "address",
    }
}

impl Label for Method {
    const ALL: &'static [Method] = &Method::ALL;

    #[inline]
    fn index(self) -> usize {
        Method::index(self)
    }

    fn name(self) -> &'static str {
        match self {
            // Never the name itself: it is the peer's choice.
            Method::Other => "other",
            known => known.as_str(),
        }
    }
}

impl Label for ParseErrorKind {
    const ALL: &'static [ParseErrorKind] = ParseErrorKind::ALL;

    #[inline]
    fn index(self) -> usize {
        ParseErrorKind::index(self)
    }

    fn name(self) -> &'static str {
        self.label()
    }
}

impl From<&Outcome> for DnsResult {
    fn from(outcome: &Outcome) -> DnsResult {
        match outcome {
            Outcome::Found(_) => DnsResult::Found,
            Outcome::Absent => DnsResult::Absent,
            Outcome::Failed => DnsResult::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<L: Label>() {
        for (place, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), place, "{}", label.name());
        }
    }

    /// [T-132] Every list is closed, and its places are what the counters are indexed by.
    #[test]
    fn places_match_the_lists() {
        in_order::<Dir>();
        in_order::<Method>();
        in_order::<ParseErrorKind>();
        in_order::<Rejection>();
        in_order::<Direction>();
        in_order::<ReferRole>();
        in_order::<ReferStatus>();
        in_order::<ReferReason>();
        in_order::<QueryKind>();
    }
}
