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
                HeaderId::NAMES[self as usize]
            }

            /// The names by id.
            const NAMES: [&'static str; HeaderId::ALL.len() + 1] = [ $( $name, )* "" ];

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

/// Slots of the name table.
const SLOTS: usize = 1024;

/// The ids by a hash of their names. The factors are searched at compile time until no two names
/// share a slot, so that a name is compared with one candidate only.
struct ByName {
    factors: [u32; 4],
    ids: [HeaderId; SLOTS],
}

impl ByName {
    /// Length, first, middle and last byte, letters without case: they tell all names apart.
    #[inline(always)]
    const fn slot(factors: &[u32; 4], name: &[u8]) -> usize {
        let [first, .., last] = name else { return 0 };
        let middle = name[name.len() / 2];
        let sum = (name.len() as u32)
            .wrapping_mul(factors[0])
            .wrapping_add((*first | 0x20) as u32 * factors[1])
            .wrapping_add((middle | 0x20) as u32 * factors[2])
            .wrapping_add((*last | 0x20) as u32 * factors[3]);
        (sum >> 3) as usize % SLOTS
    }
}

const BY_NAME: ByName = {
    let mut seed: u32 = 1;
    'search: loop {
        let mut table = ByName { factors: [0; 4], ids: [HeaderId::Other; SLOTS] };
        let mut i = 0;
        while i < table.factors.len() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            table.factors[i] = (seed >> 20) | 1;
            i += 1;
        }
        let mut i = 0;
        while i < HeaderId::ALL.len() {
            let slot = ByName::slot(&table.factors, HeaderId::ALL[i].as_str().as_bytes());
            if !matches!(table.ids[slot], HeaderId::Other) {
                continue 'search;
            }
            table.ids[slot] = HeaderId::ALL[i];
            i += 1;
        }
        break table;
    }
};

/// A static, so that it stands in memory once.
static NAMES: ByName = BY_NAME;

/// Equality of names without a call: as two words that may overlap.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() || a.len() > 16 {
        return a == b;
    }
    if let (Some(a0), Some(a1)) = (a.first_chunk::<8>(), a.last_chunk::<8>()) {
        return b.first_chunk() == Some(a0) && b.last_chunk() == Some(a1);
    }
    if let (Some(a0), Some(a1)) = (a.first_chunk::<4>(), a.last_chunk::<4>()) {
        return b.first_chunk() == Some(a0) && b.last_chunk() == Some(a1);
    }
    a == b
}

/// Kept out of the way of names written as usual.
#[cold]
#[inline(never)]
fn same_in_other_case(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

impl HeaderId {
    /// How many values there are, [`HeaderId::Other`] included.
    pub const COUNT: usize = HeaderId::ALL.len() + 1;

    /// The field a name means; long names in any case, compact forms in any case.
    #[inline(always)]
    pub fn from_bytes(name: &[u8]) -> HeaderId {
        if let [letter] = name {
            return HeaderId::from_compact(letter.to_ascii_lowercase());
        }
        let Some(&id) = NAMES.ids.get(ByName::slot(&NAMES.factors, name)) else {
            return HeaderId::Other;
        };
        let canonical = id.as_str().as_bytes();
        if same(canonical, name) || same_in_other_case(canonical, name) { id } else { HeaderId::Other }
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
        const { assert!(HeaderId::COUNT <= 128, "a set of ids is a u128") };
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
