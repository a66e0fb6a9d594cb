//! One binding, and what a REGISTER does to the bindings of its user.

use super::{Contact, seconds_left};
use crate::sip::flow::{Destination, Flow};
use crate::sip::message::uri::decode;
use crate::sip::message::{HeaderId, Message, NameAddr, Ready, Scheme, Uri};
use crate::sip::plan;
use crate::sip::time::Time;
use bytes::Bytes;
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// A contact of a user's.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// As written; never holds white space or brackets.
    uri: Bytes,
    /// What it shares with every URI that is the same.
    essence: u64,
    /// Path's values, joined.
    route: Option<Bytes>,
    call_id: Bytes,
    cseq: u32,
    /// Thousandths.
    pub(super) q: u16,
    pub(super) expires: Time,
    pub(super) updated: Time,
    pub(super) destination: Destination,
}

impl Binding {
    pub(super) fn contact(&self) -> Contact {
        // What follows `?` has no place in a Request-URI (C-035).
        let headers = Uri::parse(&self.uri).map_or(0, |uri| uri.headers.len());
        let end = if headers == 0 { self.uri.len() } else { self.uri.len() - headers - 1 };
        Contact {
            uri: self.uri.slice(..end),
            destination: self.destination.clone(),
            route: self.route.clone(),
        }
    }

    /// A Contact value with the seconds left.
    pub(super) fn written(&self, now: Time) -> Vec<u8> {
        let mut out = [b"<", &self.uri[..], b">"].concat();
        if self.q < 1_000 {
            out.extend_from_slice(format!(";q=0.{:03}", self.q).as_bytes());
        }
        out.extend_from_slice(format!(";expires={}", seconds_left(now, self.expires)).as_bytes());
        out
    }

    /// Whether it is the one that a Contact is about. Those of other places are told apart by a number,
    /// so that many contacts in one REGISTER cost little more than reading them.
    fn is_at(&self, change: &Change<'_>) -> bool {
        self.essence == change.essence && Uri::parse(&self.uri).is_ok_and(|mine| mine.same_as(&change.uri))
    }
}

/// Why a REGISTER changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A Contact that cannot be read or used, or `*` that is not alone with Expires 0 (C-159).
    Contact,
    /// A Path that cannot be read.
    Path,
    /// A life shorter than the minimum (C-160).
    TooBrief,
    /// A Call-ID that was seen with this CSeq or a higher one (C-158).
    OutOfOrder,
    /// More bindings than allowed (C-169).
    TooMany,
}

/// What a REGISTER asks for.
#[derive(Debug)]
pub(super) struct Request<'a> {
    wish: Wish<'a>,
    path: Option<Bytes>,
    call_id: &'a [u8],
    cseq: u32,
}

#[derive(Debug)]
enum Wish<'a> {
    /// Remove all: `Contact: *`.
    Clear,
    /// Add, refresh or remove these; none: only ask.
    Change(Vec<Change<'a>>),
}

#[derive(Debug)]
struct Change<'a> {
    uri: Uri<'a>,
    essence: u64,
    q: u16,
    /// Seconds; 0 removes.
    life: u32,
}

impl<'a> Request<'a> {
    /// RFC 3261 §10.3 steps 6 and 7, as far as they concern the message alone.
    pub(super) fn read(
        plan: &plan::Registrar,
        message: &'a Message,
        ready: &Ready<'a>,
    ) -> Result<Request<'a>, Refusal> {
        // RFC 3261 §20.19: an Expires that cannot be read counts as the default.
        let expires = message.expires().unwrap_or_default();
        let wish = if message.contact_is_star() {
            if message.count(HeaderId::Contact) != 1 || expires != Some(0) {
                return Err(Refusal::Contact);
            }
            Wish::Clear
        } else {
            let mut changes = Vec::new();
            for value in message.values(HeaderId::Contact) {
                // C-169: all that there may be, replaced by as many.
                if changes.len() >= plan.max_bindings.saturating_mul(2) {
                    return Err(Refusal::TooMany);
                }
                let contact = NameAddr::parse(value).map_err(|_| Refusal::Contact)?;
                changes.push(Change::read(plan, &contact, expires)?);
            }
            Wish::Change(changes)
        };
        let path = path(message)?;
        Ok(Request { wish, path, call_id: ready.call_id, cseq: ready.cseq.number })
    }

    pub(super) fn path(&self) -> Option<&[u8]> {
        self.path.as_deref()
    }

    /// RFC 3261 §10.3 step 7: all that can be refused is looked at before anything changes.
    pub(super) fn apply(
        &self,
        now: Time,
        plan: &plan::Registrar,
        flow: &Flow,
        bindings: &mut Vec<Binding>,
    ) -> Result<(), Refusal> {
        let in_order = |b: &Binding| b.call_id != self.call_id || b.cseq < self.cseq;
        let changes = match &self.wish {
            Wish::Clear => {
                if !bindings.iter().all(in_order) {
                    return Err(Refusal::OutOfOrder);
                }
                bindings.clear();
                return Ok(());
            }
            Wish::Change(changes) => changes,
        };
        for change in changes {
            if bindings.iter().any(|b| b.is_at(change) && !in_order(b)) {
                return Err(Refusal::OutOfOrder);
            }
        }
        for change in changes {
            bindings.retain(|binding| !binding.is_at(change));
            if change.life > 0 {
                bindings.push(self.binding(now, change, flow));
            }
        }
        if bindings.len() > plan.max_bindings { Err(Refusal::TooMany) } else { Ok(()) }
    }

    /// In bytes of its own: a receive buffer must not be held for as long as a binding lives.
    fn binding(&self, now: Time, change: &Change<'_>, flow: &Flow) -> Binding {
        Binding {
            uri: Bytes::copy_from_slice(change.uri.raw),
            essence: change.essence,
            route: self.path.clone(),
            call_id: Bytes::copy_from_slice(self.call_id),
            cseq: self.cseq,
            q: change.q,
            expires: now + Duration::from_secs(change.life.into()),
            updated: now,
            destination: Destination::from(*flow),
        }
    }
}

impl<'a> Change<'a> {
    fn read(
        plan: &plan::Registrar,
        contact: &NameAddr<'a>,
        expires: Option<u32>,
    ) -> Result<Change<'a>, Refusal> {
        let uri = contact.uri().ok().filter(Uri::is_sip).ok_or(Refusal::Contact)?;
        // RFC 3261 §20.10: a parameter that is no number counts as the default.
        let wanted = match contact.params.get(b"expires") {
            Some(value) => value.and_then(number),
            None => expires,
        };
        let wanted = wanted.unwrap_or(plan.default_expires);
        // Only what is below an hour may be refused for being brief (RFC 3261 §10.3 step 7).
        if (1..plan.min_expires.min(3_600)).contains(&wanted) {
            return Err(Refusal::TooBrief);
        }
        let q = contact.params.value(b"q").and_then(quality).unwrap_or(1_000);
        Ok(Change { uri, essence: essence(&uri), q, life: wanted.min(plan.max_expires) })
    }
}

/// A hash of what is equal in all URIs that are the same (RFC 3261 §19.1.4): scheme, user, host, port.
fn essence(uri: &Uri<'_>) -> u64 {
    let mut hasher = SipHasher13::new();
    (uri.scheme == Scheme::Sips, uri.user.map(decode), uri.port).hash(&mut hasher);
    match uri.host_ip() {
        Some(ip) => ip.hash(&mut hasher),
        None => uri.host.to_ascii_lowercase().hash(&mut hasher),
    }
    hasher.finish()
}

/// Path's values in one, as Route will carry them (RFC 3327 §5.3).
fn path(message: &Message) -> Result<Option<Bytes>, Refusal> {
    let values: Vec<&[u8]> = message.values(HeaderId::Path).collect();
    for value in &values {
        let address = NameAddr::parse(value).map_err(|_| Refusal::Path)?;
        let uri = address.uri().map_err(|_| Refusal::Path)?;
        // Strict routing is not done here (RFC 3327 §5.3, C-098).
        if !uri.is_sip() || !uri.is_loose() {
            return Err(Refusal::Path);
        }
    }
    let one_line = |b: &u8| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { *b };
    let joined = values.join(&b", "[..]).iter().map(one_line).collect::<Vec<u8>>();
    Ok((!joined.is_empty()).then(|| joined.into()))
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// A `qvalue` in thousandths (RFC 3261 §25.1).
fn quality(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = value.split_at(value.iter().position(|&b| b == b'.').unwrap_or(value.len()));
    let fraction = fraction.get(1..).unwrap_or_default();
    if fraction.len() > 3 {
        return None;
    }
    let thousandths = match fraction {
        [] => 0,
        digits => number(digits)? * 10u32.pow(3 - digits.len() as u32),
    };
    match (whole, thousandths) {
        (b"0" | b"", thousandths) if !value.is_empty() => u16::try_from(thousandths).ok(),
        (b"1", 0) => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [C-157] URIs that are the same are so here, too, however they are written.
    #[test]
    fn essences() {
        let uri = |text: &'static str| Uri::parse(text.as_bytes()).unwrap();
        for (a, b) in [
            ("sip:alice@example.com", "SIP:%61lice@EXAMPLE.com;x=1"),
            ("sip:alice@[2001:db8::1]:5060", "sip:alice@[2001:DB8:0::1]:5060"),
            ("sips:10.0.0.1", "sips:10.0.0.1;newparam=5"),
            ("sip:a:secret@h;lr", "sip:a:secret@H;lr"),
        ] {
            assert!(uri(a).same_as(&uri(b)), "{a} {b}");
            assert_eq!(essence(&uri(a)), essence(&uri(b)), "{a} {b}");
        }
        for (a, b) in [("sip:a@h", "sips:a@h"), ("sip:a@h", "sip:b@h"), ("sip:a@h", "sip:a@h:5060")] {
            assert_ne!(essence(&uri(a)), essence(&uri(b)), "{a} {b}");
        }
    }

    #[test]
    fn qualities() {
        for (text, q) in [
            ("1", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            (".7", Some(700)),
            ("0.123", Some(123)),
            ("0", Some(0)),
            ("0.", Some(0)),
            ("1.1", None),
            ("2", None),
            ("", None),
            ("0.1234", None),
            ("x", None),
            ("0.-1", None),
        ] {
            assert_eq!(quality(text.as_bytes()), q, "{text}");
        }
    }
}
