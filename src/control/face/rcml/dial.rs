//! `<Dial>` (rcml section 5): all nouns at once, the first who answers is joined, perhaps after a
//! document of its own ([`super::screen`]).

use super::Source;
use super::address::{invite_headers, split, whole};
use super::callback::Kind;
use super::document::{Dial, Link, Noun, Sip, Whom};
use super::driver::{Driver, Next};
use super::parameters::{Form, pair};
use super::refer::credentials;
use super::screen::Observer;
use crate::control::engine::Engine;
use crate::control::orders::{NotTaken, PATIENCE};
use crate::control::wait::{Heed, Interrupt, Waits};
use crate::record::CallRecord;
use crate::sip::command::{Action, Dial as Order, DialParty, Party};
use crate::sip::event::{CallSid, CallStatus, DialEnded, Direction, Event};
use crate::sip::message::uri::Uri;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
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

/// How long the answer to the order is listened for, when nobody waits for it any more.
const LATEST: Duration = Duration::from_secs(600);

/// A Dial that is going on.
#[derive(Debug)]
pub(super) struct Dialling {
    pub(super) legs: Vec<Leg>,
    /// Whether a document is run before anybody is joined (rcml 5.3).
    screened: bool,
    /// Who has answered first.
    answered: Option<CallSid>,
    /// Who is talked to; trunks called at once have legs of names of their own.
    joined: Option<CallSid>,
    /// They could not be joined.
    unjoined: bool,
    ended: Option<DialEnded>,
}

/// A leg of it, as far as results tell of it.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) record: CallRecord,
    headers: Vec<(String, String)>,
    sip: bool,
    /// The document it runs before it is joined.
    pub(super) screen: Option<Source>,
}

/// Somebody to be called, with what is known beside.
struct Called {
    party: DialParty,
    sip: bool,
    shown: String,
    screen: Option<Source>,
    notice: Option<(Source, Vec<Kind>)>,
}

impl Dialling {
    /// Who has answered and waits to be joined; `Some(None)` when nobody will.
    pub(super) fn answer(&self) -> Option<Option<CallSid>> {
        match (self.answered, &self.ended) {
            (_, Some(_)) => Some(None),
            (answered, None) => answered.map(Some),
        }
    }

    /// A leg that answered and was never joined: nobody else ends it.
    fn waiting(&self) -> Option<CallSid> {
        let over = |sid| self.legs.iter().any(|leg| leg.record.sid == sid && leg.record.status.is_final());
        self.answered.filter(|sid| self.screened && self.joined.is_none() && !over(*sid))
    }

    /// Whether this is its end, and not that of one that was left behind.
    pub(super) fn is_meant(&self, ended: &DialEnded) -> bool {
        self.legs.iter().any(|leg| leg.record.sid == ended.first)
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
            Event::Headers(headers) if headers.sid != own => {
                // Trunks called at once have legs of their own, of which nothing else is known here.
                if (200..300).contains(&headers.code) {
                    self.answered.get_or_insert(headers.sid);
                }
                let place = of(&mut self.legs, headers.sid)?;
                let leg = self.legs.get_mut(place)?;
                leg.headers.clone_from(&headers.headers);
                leg.record.call_id.clone_from(&headers.call_id);
                None
            }
            Event::Parted(one, other) if [Some(*one), Some(*other)].contains(&self.waiting()) => {
                self.unjoined = true;
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
    /// Nobody will be joined to this one.
    pub(super) fn unjoined(&mut self) {
        if let Some(dialling) = &mut self.dialling {
            dialling.unjoined = true;
        }
    }

    /// The verb; what follows depends on whether it has an action (rcml 5.4).
    pub(super) async fn dial(&mut self, dial: &Dial, base: &Url) -> Result<Next, Interrupt> {
        let called = self.called(dial, base);
        let result = match called.is_empty() {
            // A conference, nobody, or nobody who can be called (rcml 5.1).
            true => {
                self.report_dial(CallStatus::Failed, 0);
                vec![pair("DialCallStatus", CallStatus::Failed.text())]
            }
            false => self.dialled(dial, called).await?,
        };
        self.result(dial.action.as_ref(), base, result).await
    }

    async fn dialled(&mut self, dial: &Dial, called: Vec<Called>) -> Result<Form, Interrupt> {
        // One that was left behind has to be over first: a leg has one Dial at a time.
        let free = |driver: &Driver| (!driver.left_behind).then_some(());
        self.until_known(Some(LEFT_BEHIND), Heed::All, free).await?;
        self.left_behind = false;
        let (mut legs, mut observers, mut parties) = (Vec::new(), Vec::new(), Vec::new());
        for Called { party, sip, shown, screen, notice } in called {
            let record = self.child(&party, shown, dial.caller_id.as_deref());
            observers.extend(
                notice
                    .and_then(|(source, kinds)| Observer::new(&self.engine, record.clone(), source, &kinds)),
            );
            legs.push(Leg { record, headers: Vec::new(), sip, screen });
            parties.push(party);
        }
        let records: Vec<CallRecord> = legs.iter().map(|leg| leg.record.clone()).collect();
        self.call.outbound = parties.first().map(|party| party.sid);
        let screened = legs.iter().any(|leg| leg.screen.is_some());
        self.dialling =
            Some(Dialling { legs, screened, answered: None, joined: None, unjoined: false, ended: None });
        let order = Order {
            parties,
            from: dial.caller_id.clone(),
            timeout: dial.timeout,
            time_limit: Some(dial.time_limit),
            join: !screened,
        };
        let order = crate::sip::command::Order::Leg(self.sid(), Action::Dial(Box::new(order)));
        let engine = Arc::clone(&self.engine);
        let mut given = Some((order, observers));
        let asking = async {
            let (order, observers) = given.take()?;
            Some(ask(&engine, order, observers, records).await)
        };
        let taken = self.wait(asking, Heed::Changes).await;
        if let Some((_, observers)) = given {
            // Interrupted before the order was given: nobody is called.
            self.dialling = None;
            for observer in observers {
                engine.not_called(&observer.begin(), CallStatus::Canceled);
            }
        }
        let status = match taken {
            Ok(Some(Ok(()))) => self.dial_ends(dial).await,
            Ok(refused) => {
                tracing::info!(event = "rcml.dial", call = %self.sid(), ?refused, "a Dial was refused");
                // The shard may yet come to it, for a document that has gone on.
                if let (Some(Err(NotTaken::Silent)), Some(dialling)) = (refused, self.dialling.take()) {
                    self.leave_behind(&dialling);
                    self.dialling = Some(dialling);
                }
                Ok(CallStatus::Failed)
            }
            Err(interrupt) => Err(interrupt),
        };
        if let Some(waiting) = self.dialling.as_ref().and_then(Dialling::waiting) {
            let hangup = Action::Hangup { status: None, reason: None };
            self.engine.live.orders().tell(crate::sip::command::Order::Leg(waiting, hangup));
        }
        let dialling = self.dialling.take();
        let status = match status {
            Ok(status) => status,
            Err(interrupt) => {
                if let Some(dialling) = dialling.filter(|dialling| dialling.ended.is_none()) {
                    self.leave_behind(&dialling);
                }
                return Err(interrupt);
            }
        };
        let code =
            dialling.as_ref().and_then(|dialling| dialling.ended.as_ref()).map_or(0, |ended| ended.code);
        self.report_dial(status, code);
        Ok(parameters(status, dialling.as_ref()))
    }

    /// Its end will still be told, to a document that has nothing to do with it. Who parts this leg from others
    /// knows only those whose beginning was told: the rest are ended here.
    fn leave_behind(&mut self, dialling: &Dialling) {
        self.left_behind = true;
        let live = &self.engine.live;
        let told = |leg: &Leg| live.call(leg.record.sid).is_some_and(|call| !call.record.call_id.is_empty());
        let untold = |leg: &&Leg| !leg.record.status.is_final() && !told(leg);
        for leg in dialling.legs.iter().filter(untold).filter(|_| dialling.joined.is_none()) {
            let hangup = Action::Hangup { status: None, reason: None };
            live.orders().tell(crate::sip::command::Order::Leg(leg.record.sid, hangup));
        }
    }

    /// A leg's record, as it will be.
    fn child(&self, party: &DialParty, to: String, from: Option<&str>) -> CallRecord {
        let (own, live) = (&self.call.record, &self.engine.live);
        let caller = match own.direction {
            Direction::Inbound => &own.from,
            Direction::OutboundApi | Direction::OutboundDial => &own.to,
        };
        CallRecord {
            parent: Some(own.sid),
            from: from.unwrap_or(caller).to_owned(),
            to,
            ..CallRecord::begun(party.sid, live.node(), &own.account, Direction::OutboundDial, live.now())
        }
    }

    async fn dial_ends(&mut self, dial: &Dial) -> Result<CallStatus, Interrupt> {
        let ended = |driver: &Driver| {
            let dialling = driver.dialling.as_ref()?;
            let failed = dialling.unjoined.then_some(CallStatus::Failed);
            failed.or(dialling.ended.as_ref().map(|ended| ended.status))
        };
        let longest = dial.timeout.saturating_add(dial.time_limit).saturating_add(MARGIN);
        let screened = match self.dialling.as_ref().is_some_and(|dialling| dialling.screened) {
            true => self.screen(longest).await,
            false => Ok(()),
        };
        let status = match screened {
            Ok(()) => self.until_known(Some(longest), Heed::All, ended).await,
            Err(interrupt) => Err(interrupt),
        };
        let status = match status {
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

    /// Who is called. Who cannot be called is left out, and who cannot be asked before being joined: a
    /// screening must not be passed by.
    fn called(&self, dial: &Dial, base: &Url) -> Vec<Called> {
        let shard = self.sid().shard();
        let leads = |link: &Link| self.source(link, base).ok();
        let party = |noun: &Noun| {
            let (to, headers, credentials, shown, is_sip) = match &noun.whom {
                Whom::Number(number) => {
                    (Party::Number(clean(number)?), Vec::new(), None, clean(number)?, false)
                }
                Whom::Client(client) => {
                    (Party::Client(clean(client)?), Vec::new(), None, clean(client)?, false)
                }
                Whom::Sip(noun) => {
                    let (uri, headers) = sip(noun)?;
                    let shown = user(&uri);
                    (Party::Uri(uri), headers, credentials(noun), shown, true)
                }
            };
            let screen = match &noun.screen {
                Some(link) => Some(leads(link)?),
                None => None,
            };
            let notice =
                noun.notice.as_ref().and_then(|notice| Some((leads(&notice.link)?, notice.kinds.clone())));
            let party = DialParty { sid: self.engine.live.new_call(shard), to, headers, credentials };
            Some(Called { party, sip: is_sip, shown, screen, notice })
        };
        dial.nouns.iter().filter_map(party).collect()
    }
}

/// Gives the order. What comes of it decides what becomes of the legs, also when nobody waits for it any more and
/// however late it comes: those that are not called after all end here.
async fn ask(
    engine: &Arc<Engine>,
    order: crate::sip::command::Order,
    observers: Vec<Observer>,
    records: Vec<CallRecord>,
) -> Result<(), NotTaken> {
    let (told, answer) = oneshot::channel();
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        let taken = engine.live.orders().ask_within(order, LATEST).await;
        let _ = told.send(taken);
        let uncalled = matches!(taken, Err(NotTaken::Refused(_) | NotTaken::Behind));
        for observer in observers {
            observer.begin();
        }
        for record in records.iter().filter(|_| uncalled) {
            engine.not_called(record, CallStatus::Failed);
        }
    });
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(taken) => taken.unwrap_or(Err(NotTaken::Silent)),
        Err(_) => Err(NotTaken::Silent),
    }
}

/// A URI's user, else its host, as the Calls API shows a callee.
fn user(uri: &str) -> String {
    let parsed = Uri::parse(uri.as_bytes()).ok();
    let user = parsed.map(|uri| String::from_utf8_lossy(uri.user.unwrap_or(uri.host)).into_owned());
    user.unwrap_or_default()
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
