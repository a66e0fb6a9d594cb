//! A relayed REFER whose target leads back to Baton (R-027).
//!
//! Where a trunk wants it, the Refer-To of a REFER that is passed on names Baton as the host, and the call
//! that it brings about comes here: to be routed, allowed or refused, and recorded like any other. What stood
//! there before travels in the `r` parameter of the new URI, with the Refer it belongs to and the time by
//! which the call must have come, under a key that outlives the process. So any shard can take the call, as
//! any can take a request of a dialog by its token.
//!
//! ```text
//! REFER, Refer-To: <sip:carol@pbx.example>  ─► turned ─►  <sip:carol@baton:5060;r=…>
//! INVITE sip:carol@baton:5060;r=… ─► taken ─► INVITE sip:carol@pbx.example, by the rules of who sends it
//! ```
//!
//! A token is good for one call. Its INVITE may come again, with what a first answer has asked for (RFC 3261
//! §8.1.3.5, §22.2), under the same Call-ID and From tag. One shard knows what became of a token, the one on
//! which its Refer began, wherever that is now; the others ask it before they let the call in
//! ([`Returns::spend`]). What is spent is kept in two generations, each as long as a token lasts, and never
//! more than its bound.
//!
//! It is lost with the process. A token of a process before is taken once more, then, until its time is
//! over: its Refer has been told as failed with an outcome that nobody knows (X-22), but the referee may be
//! about to call, and what it may call its own rules say, as they would without the token.

use crate::sip::event::{CallSid, Cause, ReferSid};
use crate::sip::message::uri::{decode, put_subscriber};
use crate::sip::message::{Scheme, Uri};
use crate::sip::proxy::token::{TEXT, TokenKey};
use crate::sip::refer::replaces::Named;
use crate::sip::time::Time;
use base64::Engine;
use hashbrown::HashMap;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// The URI parameter.
const NAME: &[u8] = b"r";
const VERSION: u8 = 2;
/// Version, time, Refer, call, length of the dialog.
const HEAD: usize = 1 + 6 + 16 + 16 + 2;
const TAG: usize = 8;

/// The tokens of one shard: how they are made, and which are spent.
#[derive(Debug, Default)]
pub struct Returns {
    key: Option<Key>,
    lasts: Duration,
    room: usize,
    /// The call that each was spent by, of the Refers that began here.
    spent: HashMap<ReferSid, Caller>,
    /// Those of the time before.
    older: HashMap<ReferSid, Caller>,
    /// When that time began.
    since: Time,
}

/// A call by the names that its INVITE keeps however often it is sent: a hash of Call-ID and From tag.
pub type Caller = u64;

/// A call that has come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The Refer that it came of, and the call that was transferred; zero when that is not recorded.
    pub cause: Cause,
    /// The URI that the referrer wanted called.
    pub target: Box<[u8]>,
    /// The dialog of Baton's own whose place the call may take: the referrer named it, and it is its own (R-090).
    pub named: Option<Named>,
    /// Who brings it, for [`Returns::spend`].
    pub caller: Caller,
}

/// What the shard that keeps a token says of a call that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It is the call that the token is for.
    First,
    /// It is the INVITE of that call again.
    Again,
    /// The token is another call's; or there is no room to know whose it is.
    None,
}

/// A token that lets nobody in: made up, of another place, or too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worthless;

impl Returns {
    /// Tokens under a key of their own, good for so long; so many spent ones are known at most.
    pub fn new(key: &TokenKey, lasts: Duration, room: usize) -> Returns {
        let key = Key(key.derived(b"\0baton refer-to return key"));
        Returns { key: Some(key), lasts, room, ..Returns::default() }
    }

    /// Another bound, from a new configuration.
    pub fn configure(&mut self, room: usize) {
        self.room = room;
    }

    /// A Refer-To that leads back here, in angle brackets; `own` is how Baton names itself, as `host:port`
    /// and parameters, `named` the dialog that its header part names, if that is the referrer's to give. `None` when there is nothing that could come back: no call, or no way to it.
    pub fn turned(
        &self,
        now: Time,
        cause: Cause,
        target: &Uri<'_>,
        named: Option<&Named>,
        own: &[u8],
    ) -> Option<Box<[u8]>> {
        let key = self.key.as_ref()?;
        // R-016: whatever else it asks for is the referee's business.
        let method = target.params.iter().find(|p| decode(p.name).eq_ignore_ascii_case(b"method"));
        let invites = method.is_none_or(|p| *decode(p.value.unwrap_or_default()) == *b"INVITE");
        if own.is_empty() || !invites {
            return None;
        }
        let whole = target.raw.len() - if target.headers.is_empty() { 0 } else { target.headers.len() + 1 };
        let bare = target.raw.get(..whole)?;
        let bare = bare.strip_suffix(b"?").unwrap_or(bare);
        let mut out = Vec::with_capacity(target.raw.len() * 2 + 128);
        out.extend_from_slice(if target.scheme == Scheme::Sips { b"<sips:" } else { b"<sip:" });
        match target.scheme {
            Scheme::Sip | Scheme::Sips => out.extend_from_slice(target.user.unwrap_or_default()),
            // C-039: the whole telephone-subscriber becomes the user part.
            Scheme::Tel => put_subscriber(&mut out, bare.get(4..)?),
            Scheme::Other => return None,
        }
        if target.user.is_some() {
            out.push(b'@');
        }
        out.extend_from_slice(own);
        let phone = target.params.value(b"user").is_some_and(|user| user.eq_ignore_ascii_case(b"phone"));
        if phone || target.scheme == Scheme::Tel {
            out.extend_from_slice(b";user=phone");
        }
        out.push(b';');
        out.extend_from_slice(NAME);
        out.push(b'=');
        let named = named.map(Named::value).unwrap_or_default();
        key.write(now + self.lasts, cause, &named, bare, &mut out)?;
        if !target.headers.is_empty() {
            out.push(b'?');
            out.extend_from_slice(target.headers);
        }
        out.push(b'>');
        Some(out.into())
    }

    /// Whether a URI could carry a token: the question costs next to nothing.
    pub fn may_be(uri: &[u8]) -> bool {
        memchr::memmem::find(uri, b";r=").is_some()
    }

    /// Reads the token of a call that comes, by its URI, Call-ID and From tag; `None` when there is none, or
    /// what is there is none of ours by its looks. Any shard can; what it is worth, one knows.
    pub fn read(
        &self,
        now: Time,
        uri: &Uri<'_>,
        call_id: &[u8],
        from_tag: &[u8],
    ) -> Option<Result<Returned, Worthless>> {
        let key = self.key.as_ref()?;
        // RFC 3261 §19.1.1: whose parameter this is, if not ours, only they know.
        let raw = shaped(uri.params.value(NAME)?)?;
        let Some((_, returned)) = key.read(&raw).filter(|(until, _)| now <= *until) else {
            return Some(Err(Worthless));
        };
        Some(Ok(Returned { caller: key.caller(call_id, from_tag), ..returned }))
    }

    /// A call brings the token of a Refer that began on this shard: it is spent from now on, but for this call.
    pub fn spend(&mut self, now: Time, refer: ReferSid, caller: Caller) -> Worth {
        match self.spent.get(&refer).or_else(|| self.older.get(&refer)).copied() {
            Some(spender) if spender == caller => Worth::Again,
            Some(_) => Worth::None,
            None if self.note(now, refer, caller) => Worth::First,
            None => Worth::None,
        }
    }

    /// Remembers what is spent; false when there is no room to.
    fn note(&mut self, now: Time, refer: ReferSid, caller: Caller) -> bool {
        if now.since(self.since) >= self.lasts {
            self.older = std::mem::take(&mut self.spent);
            if now.since(self.since) >= self.lasts * 2 {
                self.older.clear();
            }
            self.since = now;
        }
        if self.spent.len() >= self.room {
            return false;
        }
        self.spent.insert(refer, caller);
        true
    }
}

/// What a parameter holds, if it looks like a token.
fn shaped(text: &[u8]) -> Option<Vec<u8>> {
    let raw = TEXT.decode(text).ok()?;
    (raw.first() == Some(&VERSION) && raw.len() >= HEAD + TAG).then_some(raw)
}

/// The key that tokens are made under.
struct Key([u8; 16]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    fn write(&self, until: Time, cause: Cause, named: &[u8], target: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let length = u16::try_from(named.len()).ok()?;
        let mut raw = Vec::with_capacity(HEAD + target.len() + TAG);
        raw.push(VERSION);
        raw.extend_from_slice(until.millis().to_be_bytes().get(2..).unwrap_or_default());
        raw.extend_from_slice(&cause.refer.0.to_be_bytes());
        raw.extend_from_slice(&cause.call.0.to_be_bytes());
        raw.extend_from_slice(&length.to_be_bytes());
        raw.extend_from_slice(named);
        raw.extend_from_slice(target);
        let tag = self.tag(&raw);
        raw.extend_from_slice(&tag);
        out.extend_from_slice(TEXT.encode(raw).as_bytes());
        Some(())
    }

    fn read(&self, raw: &[u8]) -> Option<(Time, Returned)> {
        let (body, tag) = raw.split_last_chunk::<TAG>()?;
        if !bool::from(self.tag(body).ct_eq(tag)) {
            return None;
        }
        let (_, rest) = body.split_first()?;
        let (until, rest) = rest.split_first_chunk::<6>()?;
        let (refer, rest) = rest.split_first_chunk::<16>()?;
        let (call, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (named, target) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let (refer, call) = (u128::from_be_bytes(*refer), u128::from_be_bytes(*call));
        let mut millis = [0; 8];
        millis.get_mut(2..)?.copy_from_slice(until);
        let cause = Cause { refer: ReferSid(refer), call: CallSid(call) };
        let returned = Returned { cause, target: target.into(), named: Named::parse(named), caller: 0 };
        Some((Time::from_millis(u64::from_be_bytes(millis)), returned))
    }

    fn caller(&self, call_id: &[u8], from_tag: &[u8]) -> Caller {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(call_id);
        hasher.write_u8(0);
        hasher.write(from_tag);
        hasher.finish()
    }

    fn tag(&self, body: &[u8]) -> [u8; TAG] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(body);
        hasher.finish().to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &[u8] = b"baton.example:5060;transport=tcp";
    const LASTS: Duration = Duration::from_secs(300);

    fn returns(room: usize) -> Returns {
        Returns::new(&TokenKey::new([7; 16]), LASTS, room)
    }

    fn cause(refer: u128) -> Cause {
        Cause { refer: ReferSid(refer), call: CallSid(refer + 100) }
    }

    fn start() -> Time {
        Time::from_millis(1_700_000_000_000)
    }

    fn turned(returns: &Returns, refer: u128, target: &str) -> String {
        let uri = Uri::parse(target.as_bytes()).expect("a URI");
        let turned = returns.turned(start(), cause(refer), &uri, None, OWN).expect("it is turned");
        let text = String::from_utf8(turned.into()).expect("text");
        text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).expect("brackets").to_owned()
    }

    fn take(returns: &mut Returns, now: Time, uri: &str) -> Option<Result<Returned, Worthless>> {
        take_for(returns, now, uri, &format!("{}@{}", returns.spent.len(), returns.older.len()))
    }

    fn take_for(
        returns: &mut Returns,
        now: Time,
        uri: &str,
        call_id: &str,
    ) -> Option<Result<Returned, Worthless>> {
        taken(returns, now, uri, call_id, b"tag").map(|taken| taken.map(|(returned, _)| returned))
    }

    /// Read and spent, on one shard.
    fn taken(
        returns: &mut Returns,
        now: Time,
        uri: &str,
        call_id: &str,
        tag: &[u8],
    ) -> Option<Result<(Returned, Worth), Worthless>> {
        let uri = Uri::parse(uri.as_bytes()).expect("a URI");
        Some(returns.read(now, &uri, call_id.as_bytes(), tag)?.and_then(|returned| {
            match returns.spend(now, returned.cause.refer, returned.caller) {
                Worth::None => Err(Worthless),
                worth => Ok((returned, worth)),
            }
        }))
    }

    /// [R-027] [R-073] The target leads here with all that a phone or a route may ask of it, and comes back as it
    /// was, byte for byte; a header part stays what it is.
    #[test]
    fn there_and_back() {
        let long = format!("sip:carol@pbx.example;x={}", "y".repeat(1_200));
        for (target, begins, ends, back) in [
            ("sip:carol@pbx.example", "sip:carol@baton.example:5060;transport=tcp;r=", "", ""),
            ("sips:carol@pbx.example:5061", "sips:carol@baton.example:5060;transport=tcp;r=", "", ""),
            ("sip:a%20b:p@[2001:db8::1]:5080;maddr=x;user=phone", "sip:a%20b@baton", "", ""),
            ("tel:+31-6;ext=7", "sip:+31-6;ext=7@baton.example:5060;transport=tcp;user=phone;r=", "", ""),
            ("tel:*1#;x=[1]:%7e", "sip:*1%23;x=%5B1%5D%3A%7e@baton.example:5060;", "", ""),
            ("sip:pbx.example", "sip:baton.example:5060;transport=tcp;r=", "", ""),
            ("sip:c@x?Replaces=a%3Bb&X=y", "sip:c@baton", "?Replaces=a%3Bb&X=y", "sip:c@x"),
            (&long, "sip:carol@baton", "", ""),
        ] {
            let mut returns = returns(10);
            let there = turned(&returns, 5, target);
            assert!(there.starts_with(begins) && there.ends_with(ends), "{there}");
            assert!(Returns::may_be(there.as_bytes()));
            let back = if back.is_empty() { target } else { back };
            let taken =
                take(&mut returns, start(), &there).map(|taken| taken.map(|it| (it.cause, it.target)));
            assert_eq!(taken, Some(Ok((cause(5), back.as_bytes().into()))), "{target}");
        }
        let other = Uri::parse(b"sip:carol@pbx.example;method=BYE").expect("a URI");
        assert_eq!(returns(10).turned(start(), cause(1), &other, None, OWN), None);
        assert_eq!(take(&mut returns(10), start(), "sip:carol@baton.example"), None);
    }

    /// [R-027] Once, in time, and only what was made here: another process with the same key takes it, another
    /// key does not, nor does anything else that a peer can make of it.
    #[test]
    fn worth_one_call() {
        let made = returns(10);
        let there = turned(&made, 5, "sip:carol@pbx.example");
        let worthless = Some(Err(Worthless));
        let mut here = returns(10);
        assert!(take(&mut here, start() + LASTS, &there).is_some_and(|taken| taken.is_ok()));
        assert_eq!(take(&mut here, start() + LASTS, &there), worthless);
        assert_eq!(take(&mut returns(10), start() + LASTS + Duration::from_millis(1), &there), worthless);
        let mut another = Returns::new(&TokenKey::new([8; 16]), LASTS, 10);
        assert_eq!(take(&mut another, start(), &there), worthless);
        assert_eq!(take(&mut Returns::default(), start(), &there), None);
        let (uri, token) = there.split_once(";r=").expect("a token");
        // What no longer looks like a token is another's parameter (RFC 3261 §19.1.1).
        let of = |text: &[u8]| if shaped(text).is_some() { worthless.clone() } else { None };
        for at in 0..token.len() {
            let mut bent = token.as_bytes().to_vec();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let wanted = of(&bent);
            assert!(wanted.is_some() || at < 2 || at == token.len() - 1, "{at}");
            let bent = format!("{uri};r={}", String::from_utf8(bent).expect("text"));
            assert_eq!(take(&mut returns(10), start(), &bent), wanted, "{at}");
            let short = &token[..at];
            assert_eq!(take(&mut returns(10), start(), &format!("{uri};r={short}")), of(short.as_bytes()));
        }
    }

    /// [R-027] [C-182] The INVITE of the call that has taken it may come again, and nobody else's, also after a
    /// generation.
    #[test]
    fn its_own_invite_again() {
        let mut here = returns(10);
        let there = turned(&here, 5, "sip:carol@pbx.example");
        let mut take = |now, call_id: &str, tag: &[u8]| {
            taken(&mut here, now, &there, call_id, tag).map(|taken| taken.map(|(_, worth)| worth))
        };
        assert_eq!(take(start(), "a", b"tag"), Some(Ok(Worth::First)));
        for later in [start(), start() + LASTS] {
            assert_eq!(take(later, "a", b"tag"), Some(Ok(Worth::Again)));
            assert_eq!(take(later, "b", b"tag"), Some(Err(Worthless)));
            assert_eq!(take(later, "a", b"other"), Some(Err(Worthless)));
        }
        assert_eq!(
            take_for(&mut here, start() + LASTS * 2, &there, "a"),
            Some(Err(Worthless)),
            "nothing outlasts its time"
        );
    }

    /// [R-027] [C-218] What is spent is known as long as it matters, elsewhere too, and within a bound.
    #[test]
    fn what_is_spent() {
        let mut here = returns(2);
        let there: Vec<String> = (0..3).map(|n| turned(&here, n, "sip:carol@pbx.example")).collect();
        assert_eq!(here.spend(start(), ReferSid(0), 1), Worth::First);
        assert_eq!(take(&mut here, start(), &there[0]), Some(Err(Worthless)));
        assert!(take(&mut here, start(), &there[1]).is_some_and(|taken| taken.is_ok()));
        // There is no room to know that it was used: it is not.
        assert_eq!(take(&mut here, start(), &there[2]), Some(Err(Worthless)));
        // A generation later the first two are still known, and there is room.
        let later = start() + LASTS;
        assert!(take(&mut here, later, &there[2]).is_some_and(|taken| taken.is_ok()));
        assert_eq!(take(&mut here, later, &there[1]), Some(Err(Worthless)));
        assert_eq!(here.spend(later + LASTS * 2, ReferSid(9), 1), Worth::First);
        assert_eq!((here.spent.len(), here.older.len()), (1, 0));
    }
}
