//! `<Dial>` (rcml section 5): all nouns at once, the first who answers is joined.

use super::address::{invite_headers, split, whole};
use super::document::{Dial, Noun, Sip};
use super::driver::{Driver, Next};
use super::parameters::{Form, pair};
use super::refer::credentials;
use super::wait::{Heed, Interrupt};
use crate::record::CallRecord;
use crate::sip::command::{Action, Dial as Order, DialParty, Party};
use crate::sip::event::{CallSid, CallStatus, DialEnded, Direction, Event};
use crate::sip::message::uri::Uri;
use std::time::Duration;
use url::Url;

/// Bytes of a Sip noun's address, and of its header part (rcml 5.2).
const ADDRESS: usize = 255;
const HEADERS: usize = 1_024;
/// What a Dial may take beyond its own limits.
const MARGIN: Duration = Duration::from_secs(64);
/// How long the end of one that was left behind is waited for.
const LEFT_BEHIND: Duration = Duration::from_secs(4);
/// What its end may take when the call has ended.
const AFTER_THE_END: Duration = Duration::from_secs(10);

/// A Dial that is going on.
#[derive(Debug)]
pub(super) struct Dialling {
    legs: Vec<Leg>,
    /// Who is talked to; trunks called at once have legs of names of their own.
    joined: Option<CallSid>,
    ended: Option<DialEnded>,
}

/// A leg of it, as far as results tell of it.
#[derive(Debug)]
struct Leg {
    record: CallRecord,
    headers: Vec<(String, String)>,
    sip: bool,
}

impl Dialling {
    /// Whether this is its end; one that nobody answered says no more than that.
    pub(super) fn is_meant(&self, ended: &DialEnded) -> bool {
        match ended.winner {
            Some(winner) => {
                self.joined == Some(winner) || self.legs.iter().any(|leg| leg.record.sid == winner)
            }
            None => self.joined.is_none(),
        }
    }

    pub(super) fn end(&mut self, ended: DialEnded) {
        self.ended = Some(ended);
    }

    /// Takes note of a leg's event; tells who is talked to when that changes.
    pub(super) fn note(&mut self, own: CallSid, event: &Event) -> Option<CallSid> {
        let of = |legs: &mut [Leg], sid: CallSid| legs.iter().position(|leg| leg.record.sid == sid);
        match event {
            Event::CallChanged(change) => {
                let place = of(&mut self.legs, change.sid)?;
                self.legs.get_mut(place)?.record.change(change);
                None
            }
            Event::Headers(headers) => {
                let place = of(&mut self.legs, headers.sid)?;
                let leg = self.legs.get_mut(place)?;
                leg.headers.clone_from(&headers.headers);
                leg.record.call_id.clone_from(&headers.call_id);
                None
            }
            Event::Joined(one, other) if *one == own || *other == own => {
                self.joined = Some(if *one == own { *other } else { *one });
                self.joined
            }
            _ => None,
        }
    }

    /// The leg that results tell of: who answered, else the first.
    fn shown(&self) -> Option<&Leg> {
        let winner = self.ended.as_ref().and_then(|ended| ended.winner);
        let won = self.legs.iter().find(|leg| Some(leg.record.sid) == winner);
        won.or_else(|| self.legs.iter().find(|leg| leg.record.answered.is_some())).or(self.legs.first())
    }
}

impl Driver {
    /// The verb; what follows depends on whether it has an action (rcml 5.4).
    pub(super) async fn dial(&mut self, dial: &Dial, base: &Url) -> Result<Next, Interrupt> {
        let legs = self.legs(dial);
        let result = match legs.is_empty() {
            // A conference, nobody, or nobody who can be called (rcml 5.1).
            true => {
                self.report_dial(CallStatus::Failed, 0);
                vec![pair("DialCallStatus", CallStatus::Failed.text())]
            }
            false => self.dialled(dial, legs).await?,
        };
        self.result(dial.action.as_ref(), base, result).await
    }

    async fn dialled(&mut self, dial: &Dial, legs: Vec<(DialParty, bool)>) -> Result<Form, Interrupt> {
        // One that was left behind has to be over first: a leg has one Dial at a time.
        let free = |driver: &Driver| driver.left_behind.is_empty().then_some(());
        self.until_known(Some(LEFT_BEHIND), Heed::All, free).await?;
        let now = self.engine.live.now();
        let (node, account) = (self.engine.live.node(), self.call.record.account.clone());
        let leg = |(party, sip): &(DialParty, bool)| Leg {
            record: CallRecord::begun(party.sid, node, &account, Direction::OutboundDial, now),
            headers: Vec::new(),
            sip: *sip,
        };
        self.call.outbound = legs.first().map(|(party, _)| party.sid);
        self.dialling = Some(Dialling { legs: legs.iter().map(leg).collect(), joined: None, ended: None });
        let order = Order {
            parties: legs.into_iter().map(|(party, _)| party).collect(),
            from: dial.caller_id.clone(),
            timeout: dial.timeout,
            time_limit: Some(dial.time_limit),
            join: true,
        };
        let live = std::sync::Arc::clone(&self.engine.live);
        let order = crate::sip::command::Order::Leg(self.sid(), Action::Dial(Box::new(order)));
        let taken = self.wait(async move { live.orders().ask(order).await }, Heed::Changes).await;
        let status = match taken {
            Ok(Ok(())) => self.dial_ends(dial).await,
            Ok(Err(error)) => {
                tracing::info!(event = "rcml.dial", call = %self.sid(), ?error, "a Dial was refused");
                Ok(CallStatus::Failed)
            }
            Err(interrupt) => Err(interrupt),
        };
        let dialling = self.dialling.take();
        let status = match status {
            Ok(status) => status,
            Err(interrupt) => {
                // Its end will still be told, to a document that has nothing to do with it.
                self.left_behind.extend(dialling);
                return Err(interrupt);
            }
        };
        let code =
            dialling.as_ref().and_then(|dialling| dialling.ended.as_ref()).map_or(0, |ended| ended.code);
        self.report_dial(status, code);
        Ok(parameters(status, dialling.as_ref()))
    }

    async fn dial_ends(&mut self, dial: &Dial) -> Result<CallStatus, Interrupt> {
        let ended = |driver: &Driver| driver.dialling.as_ref()?.ended.as_ref().map(|ended| ended.status);
        let longest = dial.timeout.saturating_add(dial.time_limit).saturating_add(MARGIN);
        let status = match self.until_known(Some(longest), Heed::All, ended).await {
            Err(Interrupt::Gone) => self.until_known(Some(AFTER_THE_END), Heed::Changes, ended).await,
            status => status,
        };
        match status {
            Ok(Some(status)) => Ok(status),
            // The caller has gone, and how it ended is not told (rcml 5.6).
            Ok(None) => Ok(match self.dialling.as_ref().and_then(Dialling::shown) {
                Some(leg) if leg.record.answered.is_some() => CallStatus::Completed,
                _ => CallStatus::Canceled,
            }),
            Err(interrupt) => Err(interrupt),
        }
    }

    /// Who is called; beside each, whether it is a Sip noun. Who cannot be called is left out.
    fn legs(&self, dial: &Dial) -> Vec<(DialParty, bool)> {
        let shard = self.sid().shard();
        let party = |noun: &Noun| {
            let (to, headers, credentials, sip) = match noun {
                Noun::Number(number) => (Party::Number(clean(number)?), Vec::new(), None, false),
                Noun::Client(client) => (Party::Client(clean(client)?), Vec::new(), None, false),
                Noun::Sip(noun) => {
                    let (uri, headers) = sip(noun)?;
                    (Party::Uri(uri), headers, credentials(noun), true)
                }
            };
            Some((DialParty { sid: self.engine.live.new_call(shard), to, headers, credentials }, sip))
        };
        dial.nouns.iter().filter_map(party).collect()
    }
}

/// Something that can be called: not empty, without what would break a message.
fn clean(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() < ADDRESS && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

fn sip(noun: &Sip) -> Option<(String, Vec<(String, String)>)> {
    let (address, headers) = split(&noun.address);
    let headers = headers.unwrap_or("");
    if address.len() >= ADDRESS || headers.len() >= HEADERS {
        return None;
    }
    let address = whole(address);
    Uri::parse(address.as_bytes()).ok().filter(Uri::is_sip)?;
    Some((address, invite_headers(headers)?))
}

/// The result as the action is told (rcml 5.4).
fn parameters(status: CallStatus, dialling: Option<&Dialling>) -> Form {
    let mut form = vec![pair("DialCallStatus", status.text())];
    let Some(leg) = dialling.and_then(Dialling::shown) else { return form };
    let record = &leg.record;
    let rang = record.ringing.zip(record.answered.or(record.ended));
    let ring = rang.map_or(0, |(from, to)| to.since(from).as_secs());
    form.extend([
        pair("DialCallSid", crate::record::call_sid_text(record.node, record.sid)),
        pair("DialCallDuration", record.duration.unwrap_or(0).to_string()),
        pair("DialRingDuration", ring.to_string()),
    ]);
    if leg.sip {
        let code = dialling.and_then(|d| d.ended.as_ref()).map_or(record.code, |ended| ended.code);
        form.extend([
            pair("DialSipCallId", record.call_id.as_str()),
            pair("DialSipResponseCode", code.to_string()),
        ]);
        let custom = |name: &str| name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
        let headers = leg.headers.iter().filter(|(name, _)| custom(name));
        form.extend(headers.map(|(name, value)| (format!("DialSipHeader_{name}"), value.clone())));
    }
    form
}
