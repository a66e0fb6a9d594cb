//! Header field names: long in any case, and the registered compact forms (C-005, C-006).

macro_rules! header_ids {
    ($( $variant:ident $name:literal $($compact:literal)? $(: $list:ident)? ;)*) => {
        /// A header field by its name; [`HeaderId::Other`] stands for every name not listed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderId {
            $( #[doc = $name] $variant, )*
            /// Any other; its name stands in the message.
            Other,
        }

        impl HeaderId {
            /// All named fields.
            pub const ALL: &'static [HeaderId] = &[ $( HeaderId::$variant, )* ];

            /// The canonical name; empty for [`HeaderId::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( HeaderId::$variant => $name, )*
                    HeaderId::Other => "",
                }
            }

            /// The field of a compact form (RFC 3261 §7.3.3), given in lower case.
            const fn from_compact(letter: u8) -> HeaderId {
                match letter {
                    $( $( $compact => HeaderId::$variant, )? )*
                    _ => HeaderId::Other,
                }
            }

            const LISTS: u128 = 0 $( $( | header_ids!(@$list HeaderId::$variant) )? )*;
        }
    };
    (@list $id:expr) => { 1u128 << ($id as u8) };
}

// Frequent ones first: among names of one length they are tried in this order.
header_ids! {
    Via "Via" b'v': list;
    From "From" b'f';
    To "To" b't';
    CallId "Call-ID" b'i';
    CSeq "CSeq";
    Contact "Contact" b'm': list;
    MaxForwards "Max-Forwards";
    ContentLength "Content-Length" b'l';
    Route "Route": list;
    RecordRoute "Record-Route": list;
    Allow "Allow": list;
    Supported "Supported" b'k': list;
    ContentType "Content-Type" b'c';
    UserAgent "User-Agent";
    Server "Server";
    Require "Require": list;
    ProxyRequire "Proxy-Require": list;
    Unsupported "Unsupported": list;
    Expires "Expires";
    MinExpires "Min-Expires";
    ReferTo "Refer-To" b'r';
    ReferredBy "Referred-By" b'b';
    Replaces "Replaces";
    Event "Event" b'o';
    SubscriptionState "Subscription-State";
    Authorization "Authorization";
    ProxyAuthorization "Proxy-Authorization";
    WwwAuthenticate "WWW-Authenticate";
    ProxyAuthenticate "Proxy-Authenticate";
    AuthenticationInfo "Authentication-Info";
    Reason "Reason": list;
    RetryAfter "Retry-After";
    MaxBreadth "Max-Breadth";
    SessionExpires "Session-Expires" b'x';
    MinSe "Min-SE";
    Timestamp "Timestamp";
    Date "Date";
    Warning "Warning": list;
    Diversion "Diversion": list;
    HistoryInfo "History-Info": list;
    PAssertedIdentity "P-Asserted-Identity": list;
    PPreferredIdentity "P-Preferred-Identity": list;
    RemotePartyId "Remote-Party-ID": list;
    Privacy "Privacy";
    Identity "Identity" b'y': list;
    TargetDialog "Target-Dialog";
    Join "Join";
    ReferSub "Refer-Sub";
    RSeq "RSeq";
    RAck "RAck";
    Subject "Subject" b's';
    Accept "Accept": list;
    AcceptEncoding "Accept-Encoding": list;
    AcceptLanguage "Accept-Language": list;
    AcceptContact "Accept-Contact" b'a': list;
    RejectContact "Reject-Contact" b'j': list;
    RequestDisposition "Request-Disposition" b'd': list;
    AllowEvents "Allow-Events" b'u': list;
    ContentDisposition "Content-Disposition";
    ContentEncoding "Content-Encoding" b'e': list;
    ContentId "Content-ID";
    ContentLanguage "Content-Language": list;
    MimeVersion "MIME-Version";
    Path "Path": list;
    ServiceRoute "Service-Route": list;
    UserToUser "User-to-User": list;
    AlertInfo "Alert-Info": list;
    CallInfo "Call-Info": list;
    ErrorInfo "Error-Info": list;
    InReplyTo "In-Reply-To": list;
    ReplyTo "Reply-To";
    Organization "Organization";
    Priority "Priority";
    ResourcePriority "Resource-Priority": list;
    SipEtag "SIP-ETag";
    SipIfMatch "SIP-If-Match";
    FlowTimer "Flow-Timer";
    Geolocation "Geolocation": list;
    SuppressIfMatch "Suppress-If-Match";
    AnswerMode "Answer-Mode";
    PChargingVector "P-Charging-Vector";
    PAccessNetworkInfo "P-Access-Network-Info": list;
}

/// The longest name in the table.
const LONGEST: usize = {
    let mut longest = 0;
    let mut i = 0;
    while i < HeaderId::ALL.len() {
        if HeaderId::ALL[i].as_str().len() > longest {
            longest = HeaderId::ALL[i].as_str().len();
        }
        i += 1;
    }
    longest
};

/// The ids ordered by length of name, and where each length begins.
struct ByLength {
    ids: [HeaderId; HeaderId::ALL.len()],
    begin: [u8; LONGEST + 2],
}

const BY_LENGTH: ByLength = {
    let mut table = ByLength { ids: [HeaderId::Other; HeaderId::ALL.len()], begin: [0; LONGEST + 2] };
    let mut next = 0;
    let mut length = 0;
    while length <= LONGEST {
        table.begin[length] = next as u8;
        let mut i = 0;
        while i < HeaderId::ALL.len() {
            if HeaderId::ALL[i].as_str().len() == length {
                table.ids[next] = HeaderId::ALL[i];
                next += 1;
            }
            i += 1;
        }
        length += 1;
    }
    table.begin[LONGEST + 1] = next as u8;
    table
};

impl HeaderId {
    /// How many values there are, [`HeaderId::Other`] included.
    pub const COUNT: usize = HeaderId::ALL.len() + 1;

    /// The field a name means; long names in any case, compact forms in any case.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> HeaderId {
        if let [letter] = name {
            return HeaderId::from_compact(letter.to_ascii_lowercase());
        }
        let begin = BY_LENGTH.begin.get(name.len()).copied().unwrap_or(0);
        let end = BY_LENGTH.begin.get(name.len() + 1).copied().unwrap_or(0);
        let candidates = BY_LENGTH.ids.get(usize::from(begin)..usize::from(end)).unwrap_or(&[]);
        for &id in candidates {
            let canonical = id.as_str().as_bytes();
            if canonical == name || canonical.eq_ignore_ascii_case(name) {
                return id;
            }
        }
        HeaderId::Other
    }

    /// Whether several values may be joined by commas in one line. The authentication fields are
    /// not among these (C-009), nor is any field with a comma of its own, such as Date.
    pub const fn is_list(self) -> bool {
        self.bit() & HeaderId::LISTS != 0
    }

    /// One bit for sets of ids.
    pub(crate) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_any_case() {
        assert!(HeaderId::COUNT <= 128, "a set of ids is a u128");
        for &id in HeaderId::ALL {
            let name = id.as_str();
            assert_eq!(HeaderId::from_bytes(name.as_bytes()), id);
            assert_eq!(HeaderId::from_bytes(name.to_ascii_lowercase().as_bytes()), id);
            assert_eq!(HeaderId::from_bytes(name.to_ascii_uppercase().as_bytes()), id);
        }
        assert_eq!(HeaderId::from_bytes(b"X-Unknown"), HeaderId::Other);
        assert_eq!(HeaderId::from_bytes(b""), HeaderId::Other);
        assert_eq!(HeaderId::from_bytes(&[b'a'; 500]), HeaderId::Other);
    }

    /// [C-006] Every registered compact form.
    #[test]
    fn compact_forms() {
        let forms = [
            (b"a", HeaderId::AcceptContact),
            (b"b", HeaderId::ReferredBy),
            (b"c", HeaderId::ContentType),
            (b"d", HeaderId::RequestDisposition),
            (b"e", HeaderId::ContentEncoding),
            (b"f", HeaderId::From),
            (b"i", HeaderId::CallId),
            (b"j", HeaderId::RejectContact),
            (b"k", HeaderId::Supported),
            (b"l", HeaderId::ContentLength),
            (b"m", HeaderId::Contact),
            (b"o", HeaderId::Event),
            (b"r", HeaderId::ReferTo),
            (b"s", HeaderId::Subject),
            (b"t", HeaderId::To),
            (b"u", HeaderId::AllowEvents),
            (b"v", HeaderId::Via),
            (b"x", HeaderId::SessionExpires),
            (b"y", HeaderId::Identity),
        ];
        for (letter, id) in forms {
            assert_eq!(HeaderId::from_bytes(letter), id);
            assert_eq!(HeaderId::from_bytes(&letter.to_ascii_uppercase()), id);
        }
        assert_eq!(HeaderId::from_bytes(b"q"), HeaderId::Other);
    }

    /// [C-009] Authentication fields are never split at commas.
    #[test]
    fn lists() {
        assert!(HeaderId::Via.is_list() && HeaderId::Contact.is_list());
        for id in [
            HeaderId::WwwAuthenticate,
            HeaderId::ProxyAuthenticate,
            HeaderId::Authorization,
            HeaderId::ProxyAuthorization,
            HeaderId::Date,
            HeaderId::Other,
        ] {
            assert!(!id.is_list(), "{id:?}");
        }
    }
}
