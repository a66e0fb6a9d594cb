//! What can be wrong with a message, and the answer each fault deserves: one table.

/// A fault in a message: what, and at which byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// Offset into the message (or into the value, for functions that take a value only).
    pub at: u32,
}

impl ParseError {
    pub(crate) const fn new(kind: ParseErrorKind, at: usize) -> ParseError {
        ParseError { kind, at: if at > u32::MAX as usize { u32::MAX } else { at as u32 } }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.kind.label(), self.at)
    }
}

impl std::error::Error for ParseError {}

/// What a faulty request is answered with. A faulty response, and a faulty ACK, is always dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// No answer is possible or useful.
    Drop,
    /// This final status with this reason phrase.
    Status(u16, &'static str),
}

macro_rules! kinds {
    ($( $(#[$doc:meta])* $variant:ident $label:literal $answer:expr ;)*) => {
        /// What is wrong with a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ParseErrorKind {
            $( $(#[$doc])* $variant, )*
        }

        impl ParseErrorKind {
            /// All kinds, in the order of [`ParseErrorKind::index`].
            pub const ALL: &'static [ParseErrorKind] = &[ $( ParseErrorKind::$variant, )* ];

            /// The value of the `reason` label of `baton_sip_malformed_total`.
            pub const fn label(self) -> &'static str {
                match self { $( ParseErrorKind::$variant => $label, )* }
            }

            /// What a request with this fault is answered with.
            pub const fn answer(self) -> Answer {
                match self { $( ParseErrorKind::$variant => $answer, )* }
            }
        }
    };
}

use Answer::{Drop, Status};

kinds! {
    /// No bytes, or only line ends.
    Empty "empty" Drop;
    /// The first line is neither a request line nor a status line.
    StartLine "start_line" Drop;
    /// A status line with a status that is none (C-216).
    StatusLine "status_line" Drop;
    /// White space or a missing part in the request line.
    RequestLine "request_line" Status(400, "Bad Request Line");
    /// Not SIP/2.0 (C-015).
    Version "version" Status(505, "Version Not Supported");
    /// The Request-URI is no URI, or has what a Request-URI must not have.
    RequestUri "request_uri" Status(400, "Bad Request-URI");
    /// A URI longer than the limit.
    UriTooLong "uri_too_long" Status(414, "Request-URI Too Long");
    /// A header line without a name or without a colon.
    HeaderLine "header_line" Status(400, "Bad Header Line");
    /// A CR that ends no line.
    LineEnd "line_end" Status(400, "Bad Line End");
    /// No empty line behind the header fields.
    Unterminated "unterminated" Status(400, "Header Fields Not Terminated");
    /// The message is larger than the limit.
    TooLarge "too_large" Status(513, "Message Too Large");
    /// More header lines than the limit.
    TooManyHeaders "too_many_headers" Status(400, "Too Many Header Fields");
    /// A header line longer than the limit.
    HeaderTooLong "header_too_long" Status(400, "Header Field Too Long");
    /// More Via values than the limit.
    TooManyVias "too_many_vias" Status(400, "Too Many Via Values");
    /// More Route or Record-Route values than the limit.
    TooManyRoutes "too_many_routes" Status(400, "Too Many Route Values");
    /// No Via: nowhere to answer to (C-017).
    ViaMissing "via_missing" Drop;
    /// The topmost Via cannot be read.
    Via "via" Status(400, "Bad Via");
    /// The branch is the cookie and nothing else (RFC 4475 §3.2.1).
    Branch "branch" Status(400, "Bad Branch");
    /// No From (C-017).
    FromMissing "from_missing" Status(400, "Missing From");
    /// From cannot be read.
    From "from" Status(400, "Bad From");
    /// No To (C-017).
    ToMissing "to_missing" Status(400, "Missing To");
    /// To cannot be read.
    To "to" Status(400, "Bad To");
    /// No Call-ID (C-017).
    CallIdMissing "call_id_missing" Status(400, "Missing Call-ID");
    /// Call-ID cannot be read.
    CallId "call_id" Status(400, "Bad Call-ID");
    /// No CSeq (C-017).
    CSeqMissing "cseq_missing" Status(400, "Missing CSeq");
    /// CSeq cannot be read, or its number does not fit 32 bits (C-021).
    CSeq "cseq" Status(400, "Bad CSeq");
    /// The method of CSeq is not the request's (C-016).
    CSeqMethod "cseq_method" Status(400, "CSeq Method Does Not Match");
    /// Max-Forwards is no number up to 255.
    MaxForwards "max_forwards" Status(400, "Bad Max-Forwards");
    /// Content-Length is no number (C-014).
    ContentLength "content_length" Status(400, "Bad Content-Length");
    /// Two Content-Length fields that differ (C-014).
    ContentLengthConflict "content_length_conflict" Status(400, "Conflicting Content-Length");
    /// No Content-Length on a stream (C-012).
    ContentLengthMissing "content_length_missing" Status(400, "Missing Content-Length");
    /// The body is shorter than announced (C-013).
    BodyShort "body_short" Status(400, "Body Shorter Than Content-Length");
    /// A field that may stand once stands twice.
    Duplicate "duplicate" Status(400, "Repeated Header Field");
    /// Refer-To cannot be read.
    ReferTo "refer_to" Status(400, "Bad Refer-To");
    /// Referred-By cannot be read.
    ReferredBy "referred_by" Status(400, "Bad Referred-By");
    /// Contact cannot be read.
    Contact "contact" Status(400, "Bad Contact");
    /// Route, Record-Route, Path or Service-Route cannot be read.
    Route "route" Status(400, "Bad Route");
    /// Replaces, Join or Target-Dialog cannot be read.
    Replaces "replaces" Status(400, "Bad Replaces");
    /// Event cannot be read.
    Event "event" Status(400, "Bad Event");
    /// Subscription-State cannot be read.
    SubscriptionState "subscription_state" Status(400, "Bad Subscription-State");
    /// Another field that was asked for cannot be read.
    Field "field" Status(400, "Bad Header Field");
    /// A URI cannot be read.
    Uri "uri" Status(400, "Bad URI");
    /// A multipart body cannot be read.
    Multipart "multipart" Status(400, "Bad Multipart Body");
}

impl ParseErrorKind {
    /// How many kinds there are.
    pub const COUNT: usize = ParseErrorKind::ALL.len();

    /// A small number for arrays of [`ParseErrorKind::COUNT`] entries.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// This kind at an offset.
    pub(crate) const fn at(self, at: usize) -> ParseError {
        ParseError::new(self, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_answers_are_final() {
        for (i, kind) in ParseErrorKind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), i);
            assert!(ParseErrorKind::ALL.iter().skip(i + 1).all(|k| k.label() != kind.label()));
            if let Status(code, reason) = kind.answer() {
                assert!((400..600).contains(&code) && !reason.is_empty());
            }
        }
    }
}
