//! `[[route]]`: which request goes where.

use super::Name;
use crate::config::read::{At, FromToml, Reader, Value};
use crate::sip::plan::{Fork, Mode};
use std::ops::Range;
use toml::de::DeValue;

/// `[[route]]`: the first that matches decides, in file order (T-030).
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it stands.
    pub span: Range<usize>,
    /// Trunks, groups, `clients`, `api`; empty: anywhere.
    pub from: Vec<At<Name>>,
    /// What the Request-URI's user must be.
    pub user: UserPattern,
    /// What is done.
    pub to: Destination,
    /// Whether Baton proxies or owns the call.
    pub mode: At<Mode>,
    /// One trunk after another, or all at once.
    pub fork: Fork,
}

impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        let all = |r: &Route| (r.from.clone(), r.user.clone(), r.to.clone(), r.mode.clone(), r.fork);
        all(self) == all(other)
    }
}

/// A condition on the Request-URI's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserPattern {
    /// Any.
    Any,
    /// `user`
    Exact(Box<str>),
    /// `prefix`
    Prefix(Box<str>),
    /// `regex`, known to compile.
    Regex(Box<str>),
}

/// What a route does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// Trunks and groups in order.
    Trunks(Vec<At<Name>>),
    /// The client that the Request-URI's user names.
    Clients,
    /// An application decides.
    Application(At<Name>),
    /// Refused.
    Reject {
        /// 400 to 599.
        code: u16,
        /// The reason phrase.
        reason: Box<str>,
    },
}

impl FromToml for Mode {
    fn from_toml(value: &Value<'_>) -> Option<Mode> {
        value.word(&[("auto", Mode::Auto), ("proxy", Mode::Proxy), ("b2bua", Mode::B2bua)])
    }
}

impl FromToml for Fork {
    fn from_toml(value: &Value<'_>) -> Option<Fork> {
        value.word(&[("serial", Fork::Serial), ("parallel", Fork::Parallel)])
    }
}

/// Keys of a route that belong to later versions.
const LATER: &[&str] = &[
    "priority",
    "enabled",
    "listener",
    "method",
    "host",
    "caller",
    "header",
    "when",
    "ask",
    "redirect",
    "strip",
    "retry_on",
    "retry_after_ringing",
    "ring_timeout",
    "range",
];

impl Route {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Route> {
        let from = table.or("from", Vec::new());
        let user = read_user(&mut table);
        let to = read_destination(&mut table);
        let mode = table.or("mode", At { value: Mode::Auto, span: table.span() });
        let fork = table.or("fork", Fork::Serial);
        if let (
            Some(value),
            Some(Destination::Clients | Destination::Application(_) | Destination::Reject { .. }),
        ) = (table.value("fork"), &to)
        {
            value.wrong("is about trunks, and this route names none", "remove it");
        }
        let span = table.span();
        table.later(LATER);
        table.finish();
        Some(Route { span, from, user, to: to?, mode, fork })
    }
}

/// At most one of `user`, `prefix`, `regex`.
fn read_user(table: &mut Reader<'_>) -> UserPattern {
    let given: Vec<(&str, At<String>)> = ["user", "prefix", "regex"]
        .into_iter()
        .filter_map(|key| table.take::<At<String>>(key).map(|text| (key, text)))
        .collect();
    for (key, extra) in given.iter().skip(1) {
        table.context().error(
            extra.span.clone(),
            format!("route.{key} stands beside route.{}", given.first().map_or("", |g| g.0)),
            "keep one of user, prefix and regex, or write two routes",
        );
    }
    let Some((key, text)) = given.into_iter().next() else { return UserPattern::Any };
    match key {
        "user" => UserPattern::Exact(text.value.into()),
        "prefix" => UserPattern::Prefix(text.value.into()),
        _ => {
            // T-032: this engine is linear in the input and refuses what cannot be.
            if let Err(error) = regex::bytes::Regex::new(&text.value) {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or("").trim().trim_start_matches("error: ");
                table.context().error(
                    text.span,
                    format!("route.regex is no regular expression: {why}"),
                    "write one such as \"^\\\\+31[0-9]{9}$\"; look-around and back-references do not exist here",
                );
            }
            UserPattern::Regex(text.value.into())
        }
    }
}

/// Exactly one of `to`, `application`, `reject`.
fn read_destination(table: &mut Reader<'_>) -> Option<Destination> {
    let place = |table: &mut Reader<'_>, key| table.value(key).map(|v| (key, v.span()));
    let given: Vec<(&str, Range<usize>)> =
        ["to", "application", "reject"].into_iter().filter_map(|key| place(table, key)).collect();
    if given.is_empty() {
        table.context().absent(
            table.span(),
            "route says neither to, application nor reject",
            "add to = [\"TRUNK\"], to = [\"clients\"], or reject = 403",
        );
        return None;
    }
    for (key, span) in given.iter().skip(1) {
        table.context().error(
            span.clone(),
            format!("route.{key} stands beside route.{}", given.first().map_or("", |g| g.0)),
            "keep one of to, application and reject",
        );
    }
    match given.first().map(|g| g.0) {
        Some("to") => {
            let to = table.take::<Vec<At<Name>>>("to")?;
            if let Some(value) = table.value("to").filter(Value::is_empty_array) {
                value.wrong("is empty", "name at least one trunk or group");
            }
            let clients = to.iter().find(|name| &*name.value.0 == "clients");
            if let Some(name) = clients.filter(|_| to.len() > 1) {
                table.context().error(
                    name.span.clone(),
                    "route.to names \"clients\" beside trunks",
                    "write a route of its own for clients",
                );
            }
            Some(if clients.is_some() { Destination::Clients } else { Destination::Trunks(to) })
        }
        Some("application") => table.take("application").map(Destination::Application),
        _ => table.value("reject").and_then(|v| read_reject(&v)),
    }
}

/// `reject = 403` or `reject = { code = 403, reason = "…" }`. Routing never makes a 6xx (T-034).
fn read_reject(value: &Value<'_>) -> Option<Destination> {
    let DeValue::Table(inner) = value.raw.get_ref() else {
        let code = u16::try_from(value.int(400..=599)?).ok()?;
        return Some(Destination::Reject { code, reason: reason(code).into() });
    };
    let mut table = Reader::new(value.context(), Some(inner), &value.path, value.span());
    if table.value("code").is_none() {
        table.need::<String>("code", "403");
    }
    let code = table.int("code", 400..=599).and_then(|n| u16::try_from(n).ok());
    let text = table.take::<At<String>>("reason");
    table.later(&["retry_after"]);
    table.finish();
    let text = match text {
        Some(at) if at.value.chars().any(char::is_control) => {
            value.context().error(
                at.span,
                "route.reject.reason has a line break or control character in it",
                "write plain text on one line",
            );
            None
        }
        other => other.map(|at| at.value),
    };
    let code = code?;
    Some(Destination::Reject { code, reason: text.unwrap_or_else(|| reason(code).to_owned()).into() })
}

/// The usual phrase of a code a route may refuse with (RFC 3261 §21).
fn reason(code: u16) -> &'static str {
    match code {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        410 => "Gone",
        480 => "Temporarily Unavailable",
        484 => "Address Incomplete",
        486 => "Busy Here",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Rejected",
    }
}
