//! Placing a call (Calls API, section 6).

use super::call::Call;
use super::form::{self, Url};
use super::{API_VERSION, Asked, xml};
use crate::control::auth::Account;
use crate::control::face::rcml::{self, Callback, Kind, Program};
use crate::control::health::Readiness;
use crate::control::orders::NotTaken;
use crate::control::problem::{Format, Problem};
use crate::control::query::Query;
use crate::record::CallRecord;
use crate::sip::command::{Party, Place, Refused};
use crate::sip::event::Direction;
use crate::sip::message::uri::Uri;
use crate::sip::plan::{Credentials, Secret};
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// Seconds of ringing (Calls API, 6.1).
const TIMEOUT: (u64, u64) = (1, 600);
const DEFAULT_TIMEOUT: u64 = 60;

pub(super) async fn create(asked: &Asked<'_>, account: &Account, form: &Query) -> Result<String, Problem> {
    let wanted = Wanted::read(form)?;
    if asked.app.readiness.stands(Readiness::DRAINING) {
        return Err(Problem::unavailable("This node takes no new calls now."));
    }
    let engine = &asked.app.engine;
    let sid = engine.live.new_call(engine.live.orders().next_shard());
    let record = CallRecord {
        from: wanted.from.clone(),
        to: wanted.to.shown.clone(),
        ..CallRecord::begun(sid, engine.live.node(), &account.sid, Direction::OutboundApi, engine.live.now())
    };
    let own = [
        ("X-RestComm-ApiVersion", API_VERSION.to_owned()),
        ("X-RestComm-AccountSid", account.sid.clone()),
        ("X-RestComm-CallSid", engine.sid_text(sid)),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let place = Place {
        sid,
        account: account.sid.as_str().into(),
        from: wanted.from,
        caller_name: None,
        to: wanted.to.party,
        headers: own.into_iter().chain(wanted.to.headers).collect(),
        credentials: wanted.credentials,
        timeout: wanted.timeout,
        sdp: None,
        by: None,
    };
    let callback = wanted.callback.map(|(source, kinds)| Callback::new(engine, source, &kinds));
    let placed = rcml::place(engine, record.clone(), place, wanted.program, callback).await;
    placed.map_err(|error| match error {
        NotTaken::Refused(Refused::Malformed) => Problem::bad("The call cannot be placed with these values."),
        NotTaken::Refused(Refused::Full | Refused::Late) | NotTaken::Behind | NotTaken::Silent => {
            Problem::unavailable("This node can place no call now.")
        }
        NotTaken::Refused(refused) => {
            tracing::error!(event = "calls.refused", ?refused, "a call was not placed");
            Problem::told(StatusCode::INTERNAL_SERVER_ERROR, "The call could not be placed.")
        }
    })?;
    let call = Call::new(record, account);
    match asked.format {
        Format::Json => super::calls::json(&call),
        Format::Xml => xml::call(&call),
    }
}

/// What is wanted, checked in the order of the API's table.
struct Wanted {
    from: String,
    to: To,
    program: Program,
    callback: Option<(rcml::Source, Vec<Kind>)>,
    timeout: Duration,
    credentials: Option<Arc<Credentials>>,
}

impl Wanted {
    fn read(form: &Query) -> Result<Wanted, Problem> {
        let from = form.trimmed("From").ok_or(Problem::bad("From can not be null."))?;
        if from.chars().any(char::is_control) {
            return Err(Problem::bad("From holds characters that no caller has."));
        }
        let to = form.trimmed("To").ok_or(Problem::bad("To can not be null."))?;
        let to = To::read(to, form)?;
        let first = form::source(form, &Url::MAIN)?.ok_or(Problem::bad("Url can not be null."))?;
        let fallback = form::source(form, &Url::FALLBACK)?;
        let callback = form::source(form, &Url::CALLBACK)?;
        let kinds = kinds(form.trimmed("StatusCallbackEvent"))?;
        let wrong = "Timeout must be a number of seconds from 1 to 600.";
        let timeout = form.number("Timeout", TIMEOUT, DEFAULT_TIMEOUT, wrong)?;
        Ok(Wanted {
            from: from.to_owned(),
            to,
            program: Program { first, fallback },
            callback: callback.map(|source| (source, kinds)),
            timeout: Duration::from_secs(timeout),
            credentials: credentials(form),
        })
    }
}

fn credentials(form: &Query) -> Option<Arc<Credentials>> {
    let user = form.value("Username")?;
    let password = form.value("Password").unwrap_or("");
    Some(Arc::new(Credentials { user: user.into(), secret: Secret::Password(password.into()) }))
}

/// The events asked for.
fn kinds(text: Option<&str>) -> Result<Vec<Kind>, Problem> {
    match Kind::list(text.unwrap_or("")) {
        (kinds, false) => Ok(kinds),
        (_, true) => {
            Err(Problem::bad("StatusCallbackEvent knows initiated, ringing, answered and completed."))
        }
    }
}

/// Whom to call (Calls API, 6.1.2 to 6.1.4).
#[derive(Debug, PartialEq, Eq)]
struct To {
    party: Party,
    /// As the record shows it: a number, a name, or the user part.
    shown: String,
    headers: Vec<(String, String)>,
}

impl To {
    fn read(text: &str, form: &Query) -> Result<To, Problem> {
        const HEADERS: Problem = Problem::bad("To holds a header that cannot be sent.");
        let (address, part) = rcml::split(text);
        let mut headers = Vec::new();
        if let Some(part) = part {
            headers = rcml::invite_headers(part).ok_or(HEADERS)?;
            // An `&` that was not escaped has made a form parameter of a header (6.1.3).
            for (name, value) in form.all().filter(|(name, _)| name.starts_with("X-")) {
                headers.push(rcml::invite_header(name, value).ok_or(HEADERS)?);
            }
        }
        let (party, shown) = party(address)?;
        Ok(To { party, shown, headers })
    }
}

fn party(address: &str) -> Result<(Party, String), Problem> {
    const WRONG: Problem = Problem::bad("To must be a number, sip:user@host or client:name.");
    let schemed = |scheme: &str| address.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    if address.contains('@') || schemed("sip:") || schemed("sips:") {
        let whole = rcml::whole(address);
        let uri = Uri::parse(whole.as_bytes()).ok().filter(|uri| uri.is_sip() && uri.headers.is_empty());
        let uri = uri.ok_or(WRONG)?;
        let shown = String::from_utf8_lossy(uri.user.unwrap_or(uri.host)).into_owned();
        return Ok((Party::Uri(whole), shown));
    }
    let fits = |text: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()+#&=$,/".contains(&b);
        !text.is_empty() && text.len() < 256 && text.bytes().all(known)
    };
    if let Some(name) = address.strip_prefix("client:") {
        return match fits(name) {
            true => Ok((Party::Client(name.to_owned()), name.to_owned())),
            false => Err(WRONG),
        };
    }
    // What people put between digits is not part of a number.
    let number: String = address.chars().filter(|c| !matches!(c, ' ' | '(' | ')')).collect();
    match fits(&number) {
        true => Ok((Party::Number(number.clone()), number)),
        false => Err(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Query {
        Query::parse(text).expect("it is well-formed")
    }

    fn message(text: &str) -> String {
        match Wanted::read(&form(text)) {
            Ok(_) => "fine".to_owned(),
            Err(problem) => format!("{problem:?}"),
        }
    }

    /// [restcomm-calls 4] [restcomm-calls 5] [restcomm-calls 6.1] [C-212] The first that is wrong is told; line ends
    /// are wrong everywhere.
    #[test]
    fn what_is_wrong_is_told_in_order() {
        let right = "From=1&To=2&Url=http%3A%2F%2Fh%2Fx";
        assert_eq!(message(right), "fine");
        for (wrong, told) in [
            ("", "From can not be null."),
            ("From=+&To=2", "From can not be null."),
            ("From=1", "To can not be null."),
            ("From=1&To=2", "Url can not be null."),
            ("From=1&To=a%40&Method=PUT", "To must be"),
            ("From=1%0D%0AX-Injected:1&To=2&Url=http%3A%2F%2Fh", "From holds"),
            ("From=1&To=2%0D%0AX-Injected:1&Url=http%3A%2F%2Fh", "To must be"),
            ("From=1&To=sip:a%40h%0D%0AX-Injected:1&Url=http%3A%2F%2Fh", "To must be"),
            ("From=1&To=client:a%0AX-Injected:1&Url=http%3A%2F%2Fh", "To must be"),
            ("From=1&To=2&Url=%2Frelative&Method=PUT", "Url must"),
            ("From=1&To=2&Url=ftp%3A%2F%2Fh", "Url must"),
        ] {
            assert!(message(wrong).contains(told), "{wrong}: {}", message(wrong));
        }
        for (wrong, told) in [
            ("Method=PUT", "Method must"),
            ("FallbackUrl=x", "FallbackUrl must"),
            ("FallbackMethod=PUT", "FallbackMethod must"),
            ("StatusCallback=x", "StatusCallback must"),
            ("StatusCallbackMethod=PUT", "StatusCallbackMethod must"),
            ("StatusCallbackEvent=foo", "StatusCallbackEvent knows"),
            ("Timeout=abc", "Timeout must"),
            ("Timeout=0", "Timeout must"),
            ("Timeout=601", "Timeout must"),
            ("From=x", "fine"),
            ("timeout=abc&statuscallback=x", "fine"),
        ] {
            let text = format!("{right}&{wrong}");
            assert!(message(&text).contains(told), "{text}: {}", message(&text));
        }
    }

    /// [restcomm-calls 6] [restcomm-calls 6.1.4] Three forms of an address.
    #[test]
    fn addresses_have_three_forms() {
        let read = |text: &str| party(text).ok();
        let uri = |uri: &str, shown: &str| Some((Party::Uri(uri.into()), shown.to_owned()));
        assert_eq!(read("sip:maria@h"), uri("sip:maria@h", "maria"));
        assert_eq!(read("sips:maria@h:5061;transport=tcp"), uri("sips:maria@h:5061;transport=tcp", "maria"));
        assert_eq!(read("maria@h"), uri("sip:maria@h", "maria"));
        assert_eq!(read("client:al.ice"), Some((Party::Client("al.ice".into()), "al.ice".into())));
        assert_eq!(
            read("+49 (30) 100-200"),
            Some((Party::Number("+4930100-200".into()), "+4930100-200".into()))
        );
        for wrong in ["sip:a@", "a@h:port", "sip:a@h:99999", "client:", "client:a b", "12;34", "sip:"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    /// [restcomm-calls 15] [restcomm-calls 6.1.3] [C-212] Headers from To, and from the form beside it.
    #[test]
    fn headers_come_from_to_and_from_the_form() {
        let to = |text: &str| {
            let form = form(text);
            To::read(form.value("To").expect("To"), &form).map(|to| to.headers)
        };
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(to("To=client:a%3FX-A%3D1%26Foo%3D2"), Ok(vec![pair("X-A", "1"), pair("X-Foo", "2")]));
        assert_eq!(to("To=client:a%3FX-A%3D1&X-B=2"), Ok(vec![pair("X-A", "1"), pair("X-B", "2")]));
        assert_eq!(to("To=client:a&X-B=2"), Ok(vec![]));
        assert!(to("To=client:a%3FX-A%3D%250D%250AB").is_err());
        assert!(to("To=client:a%3FX-A%3D1&X-B=2%0A").is_err());
    }
}
