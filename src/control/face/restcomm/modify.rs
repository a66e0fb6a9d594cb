//! Live call modification (Calls API, section 10).

use super::call::Call;
use super::form::{self, Url};
use super::{Asked, xml};
use crate::control::auth::Account;
use crate::control::engine::Engine;
use crate::control::face::rcml::{self, Change, ChildMode, Program, Unheard};
use crate::control::live::LiveCall;
use crate::control::orders::NotTaken;
use crate::control::problem::{Format, Problem};
use crate::control::query::Query;
use crate::record::parse_call_sid;
use crate::sip::command::{Action, Order, Refused};
use crate::sip::event::{CallSid, CallStatus};
use axum::http::StatusCode;
use std::sync::Arc;

const OVER: Problem = Problem::told(StatusCode::GONE, "Call is already completed.");
const UNREACHED: Problem = Problem::unavailable("The call could not be reached now.");

pub(super) async fn modify(
    asked: &Asked<'_>,
    account: &Account,
    sid: &str,
    form: &Query,
) -> Result<String, Problem> {
    let engine = &asked.app.engine;
    let live = alive(engine, sid).filter(|live| !live.record.status.is_final());
    if let Some(live) = &live
        && live.record.account != account.sid
    {
        return Err(Problem::bare(StatusCode::FORBIDDEN));
    }
    let Some(live) = live else { return Err(not_alive(asked, account, sid).await?) };
    let wanted = Wanted::read(form)?;
    let taken = Call::new(live.record.clone(), account);
    wanted.carry_out(engine, &live).await?;
    match asked.format {
        Format::Json => super::calls::json(&taken),
        Format::Xml => xml::call(&taken),
    }
}

fn alive(engine: &Engine, sid: &str) -> Option<LiveCall> {
    let (node, sid) = parse_call_sid(sid)?;
    engine.live.call(sid).filter(|_| node == engine.live.node())
}

/// Why a call that no shard owns cannot be modified.
async fn not_alive(asked: &Asked<'_>, account: &Account, sid: &str) -> Result<Problem, Problem> {
    let record = super::calls::record(asked, account, sid).await?;
    Ok(if record.status.is_final() {
        OVER
    } else {
        Problem::told(
            StatusCode::CONFLICT,
            "This call is only proxied; a route with mode = \"b2bua\" would make it controllable.",
        )
    })
}

/// What is to become of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Canceled,
    Completed,
}

/// What is wanted, checked in the order of the API's table.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    change: Change,
    ending: Option<Ending>,
}

impl Wanted {
    fn read(form: &Query) -> Result<Wanted, Problem> {
        const STATUS: Problem = Problem::bad("Status must be canceled or completed.");
        const MUTE: Problem = Problem::bad("Mute must be true or false.");
        const MODE: Problem = Problem::bad("ChildCallMode must be Hangup, Move or StayConnected.");
        const NOTHING: Problem =
            Problem::told(StatusCode::CONFLICT, "One of Url, Status and Mute is needed.");
        let first = form::source(form, &Url::MAIN)?;
        let ending = match form.trimmed("Status").map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("canceled") => Some(Ending::Canceled),
            Some("completed") => Some(Ending::Completed),
            Some(_) => return Err(STATUS),
        };
        // There is no media here to be muted (Calls API, 10): it is only looked at.
        let mute = form.trimmed("Mute");
        if mute.is_some_and(|m| !m.eq_ignore_ascii_case("true") && !m.eq_ignore_ascii_case("false")) {
            return Err(MUTE);
        }
        let fallback = form::source(form, &Url::FALLBACK)?;
        let callback = form::source(form, &Url::CALLBACK)?;
        let moved = form.trimmed("MoveConnectedCallLeg").is_some_and(|m| m.eq_ignore_ascii_case("true"));
        let children = match form.trimmed("ChildCallMode") {
            None if moved => ChildMode::Move,
            None | Some("Hangup") => ChildMode::Hangup,
            Some("Move") => ChildMode::Move,
            Some("StayConnected") => ChildMode::StayConnected,
            Some(_) => return Err(MODE),
        };
        if first.is_none() && ending.is_none() && mute.is_none() {
            return Err(NOTHING);
        }
        let program = first.map(|first| Program { first, fallback });
        Ok(Wanted { change: Change::new(program, children, callback), ending })
    }

    /// The status first; a document is of use only while the call lives (Calls API, 10.8).
    async fn carry_out(mut self, engine: &Arc<Engine>, live: &LiveCall) -> Result<(), Problem> {
        let sid = live.record.sid;
        let answered = live.record.status >= CallStatus::InProgress;
        let ends = match self.ending {
            Some(Ending::Completed) => true,
            Some(Ending::Canceled) => !answered,
            None => false,
        };
        if ends {
            // Whoever is told of the end has to be known before it.
            self.change.program = None;
        }
        let word = self.change.program.is_some() || self.change.callback.is_some();
        if word {
            rcml::change(engine, sid, self.change)?;
        }
        if !ends {
            return Ok(());
        }
        let mut result =
            if answered { Err(NotTaken::Refused(Refused::Answered)) } else { cancel(engine, sid).await };
        if result == Err(NotTaken::Refused(Refused::Answered)) && self.ending == Some(Ending::Completed) {
            let hangup = Action::Hangup { status: None, reason: None };
            result = engine.live.orders().ask(Order::Leg(sid, hangup)).await;
        }
        match result {
            // Answered in this moment: nothing happens (10.6).
            Ok(()) | Err(NotTaken::Refused(Refused::Answered)) => Ok(()),
            Err(NotTaken::Refused(Refused::Ended | Refused::Unknown)) => Err(OVER),
            Err(NotTaken::Refused(_) | NotTaken::Behind | NotTaken::Silent) => Err(UNREACHED),
        }
    }
}

impl From<Unheard> for Problem {
    fn from(unheard: Unheard) -> Problem {
        match unheard {
            Unheard::Over => OVER,
            Unheard::Full => UNREACHED,
        }
    }
}

async fn cancel(engine: &Engine, sid: CallSid) -> Result<(), NotTaken> {
    engine.live.orders().ask(Order::Leg(sid, Action::Cancel)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wanted, String> {
        let form = Query::parse(text).expect("it is well-formed");
        Wanted::read(&form).map_err(|problem| format!("{problem:?}"))
    }

    fn mode(text: &str) -> Option<ChildMode> {
        read(&format!("Mute=true&{text}")).ok()?.change.children
    }

    /// [restcomm-calls 48] [restcomm-calls 10.1] [restcomm-calls 10.2] [restcomm-calls 10.5]
    #[test]
    fn what_is_wrong_is_told() {
        for (wrong, told) in [
            ("", "One of Url"),
            ("From=1&To=2&FallbackUrl=http://h/", "One of Url"),
            ("Status=ended", "Status must"),
            ("Url=x", "Url must"),
            ("Url=http://h/&Method=PUT", "Method must"),
            ("Mute=maybe", "Mute must"),
            ("Mute=true&StatusCallback=x", "StatusCallback must"),
            ("Mute=true&ChildCallMode=Foo", "ChildCallMode must"),
            ("Mute=true&ChildCallMode=hangup", "ChildCallMode must"),
        ] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains(told), "{wrong}: {error}");
        }
        assert_eq!(read("Status=CANCELED").map(|w| w.ending), Ok(Some(Ending::Canceled)));
        assert_eq!(read("Status=Completed").map(|w| w.ending), Ok(Some(Ending::Completed)));
    }

    /// [restcomm-calls 10.4] A call that can hear no more words now is not over.
    #[test]
    fn words_that_are_not_heard() {
        let status = |unheard| Problem::from(unheard).response(Format::Json).status().as_u16();
        assert_eq!((status(Unheard::Over), status(Unheard::Full)), (410, 503));
    }

    /// [restcomm-calls 10] The older parameter gives way to the newer.
    #[test]
    fn what_becomes_of_the_other_leg() {
        assert_eq!(mode(""), Some(ChildMode::Hangup));
        assert_eq!(mode("MoveConnectedCallLeg=TRUE"), Some(ChildMode::Move));
        assert_eq!(mode("MoveConnectedCallLeg=yes"), Some(ChildMode::Hangup));
        assert_eq!(mode("MoveConnectedCallLeg=true&ChildCallMode=Hangup"), Some(ChildMode::Hangup));
        assert_eq!(mode("ChildCallMode=StayConnected"), Some(ChildMode::StayConnected));
    }
}
