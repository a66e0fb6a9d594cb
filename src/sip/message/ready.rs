//! Everything a proxy must look at in a message, read and checked in one go.

use super::error::{ParseError, ParseErrorKind};
use super::header::{COOKIE, CSeq, NameAddr, Via, parse_cseq};
use super::method::Method;
use super::name::HeaderId;
use super::token;
use super::uri::Uri;
use super::view::Message;

/// The fields every decision rests on. Fields that are not here have not been looked at (C-022).
#[derive(Clone, Copy, Debug)]
pub struct Ready<'a> {
    /// The topmost Via.
    pub via: Via<'a>,
    /// The tag of From; absent with peers of RFC 2543.
    pub from_tag: Option<&'a [u8]>,
    /// The tag of To.
    pub to_tag: Option<&'a [u8]>,
    /// Call-ID.
    pub call_id: &'a [u8],
    /// CSeq; its method is the request's.
    pub cseq: CSeq,
    /// Max-Forwards of a request; absent means 70 (C-017).
    pub max_forwards: Option<u8>,
    /// The Request-URI of a request.
    pub uri: Option<Uri<'a>>,
    /// Refer-To of a request.
    pub refer_to: Option<NameAddr<'a>>,
}

/// Fields of which a second one makes the message ambiguous (RFC 4475 §3.3.8).
const SINGLE: u128 = HeaderId::From.bit()
    | HeaderId::To.bit()
    | HeaderId::CallId.bit()
    | HeaderId::CSeq.bit()
    | HeaderId::MaxForwards.bit();

/// Reads and checks a message.
pub(super) fn ready(message: &Message) -> Result<Ready<'_>, ParseError> {
    use ParseErrorKind as Kind;
    // Without Via there is nowhere to answer to, whatever else is wrong (C-017).
    let (via_at, via) = message.field(HeaderId::Via).ok_or(Kind::ViaMissing.at(0))?;
    if let Some(fault) = message.fault() {
        return Err(fault);
    }
    if message.repeated() & SINGLE != 0 {
        return Err(Kind::Duplicate.at(message.repeated_at(SINGLE)));
    }
    let (from_at, from) = message.field(HeaderId::From).ok_or(Kind::FromMissing.at(0))?;
    let (to_at, to) = message.field(HeaderId::To).ok_or(Kind::ToMissing.at(0))?;
    let (call_id_at, call_id) = message.field(HeaderId::CallId).ok_or(Kind::CallIdMissing.at(0))?;
    let (cseq_at, cseq) = message.field(HeaderId::CSeq).ok_or(Kind::CSeqMissing.at(0))?;

    let via = Via::parse(via).map_err(|_| Kind::Via.at(via_at))?;
    if via.branch == Some(COOKIE) {
        return Err(Kind::Branch.at(via_at));
    }
    let (_, from_tag) = NameAddr::parse_tagged(from).ok_or(Kind::From.at(from_at))?;
    let (_, to_tag) = NameAddr::parse_tagged(to).ok_or(Kind::To.at(to_at))?;
    if !is_call_id(call_id) {
        return Err(Kind::CallId.at(call_id_at));
    }
    let (number, name) = parse_cseq(cseq).ok_or(Kind::CSeq.at(cseq_at))?;
    let mut ready = Ready {
        via,
        from_tag,
        to_tag,
        call_id,
        cseq: CSeq { number, method: Method::Other },
        max_forwards: None,
        uri: None,
        refer_to: None,
    };
    if message.is_request() {
        if name != message.method_bytes() {
            return Err(Kind::CSeqMethod.at(cseq_at));
        }
        ready.cseq.method = message.method();
        request(message, &mut ready)?;
    } else {
        ready.cseq.method = Method::from_bytes(name);
    }
    Ok(ready)
}

fn request<'a>(message: &'a Message, ready: &mut Ready<'a>) -> Result<(), ParseError> {
    use ParseErrorKind as Kind;
    let uri_at = message.method_bytes().len() + 1;
    let uri = Uri::parse(message.request_uri()).map_err(|_| Kind::RequestUri.at(uri_at))?;
    // C-035: neither `method` nor headers belong in a Request-URI (RFC 4475 §3.1.2.11).
    if uri.is_sip() && !uri.headers.is_empty() {
        return Err(Kind::RequestUri.at(uri_at));
    }
    ready.uri = Some(uri);
    if let Some((at, value)) = message.field(HeaderId::MaxForwards) {
        let hops = token::number(value).and_then(|n| u8::try_from(n).ok());
        ready.max_forwards = Some(hops.ok_or(Kind::MaxForwards.at(at))?);
    }
    if let Some((at, value)) = message.field(HeaderId::ReferTo) {
        let refer_to = NameAddr::parse(value).map_err(|_| Kind::ReferTo.at(at))?;
        // Any scheme may be referred to, but it must be a URI (RFC 3515 §2.1).
        refer_to.uri().map_err(|_| Kind::ReferTo.at(at))?;
        ready.refer_to = Some(refer_to);
    }
    Ok(())
}

/// `word [ "@" word ]` (RFC 3261 §25.1), read liberally: anything visible.
fn is_call_id(value: &[u8]) -> bool {
    !value.is_empty() && token::first_below(b'!', value).is_none()
}
