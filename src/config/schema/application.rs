//! `[[application]]`: programs that steer calls, and what their documents may ask for.

use super::{Name, named};
use crate::config::read::{At, FromToml, Reader, Value};
use crate::config::secret::Secret;
use std::fmt;
use std::time::Duration;

/// What an application speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationKind {
    /// XML documents.
    Rcml,
    /// JSON verbs.
    Jambonz,
    /// Commands and events.
    Telnyx,
}

impl ApplicationKind {
    /// Its word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            ApplicationKind::Rcml => "rcml",
            ApplicationKind::Jambonz => "jambonz",
            ApplicationKind::Telnyx => "telnyx",
        }
    }
}

impl FromToml for ApplicationKind {
    fn from_toml(value: &Value<'_>) -> Option<ApplicationKind> {
        value.word(&[
            ("rcml", ApplicationKind::Rcml),
            ("jambonz", ApplicationKind::Jambonz),
            ("telnyx", ApplicationKind::Telnyx),
        ])
    }
}

/// `[[application]]`: a program that is asked what to do with a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Its name.
    pub name: At<Name>,
    /// What it speaks.
    pub kind: At<ApplicationKind>,
    /// The owner of the records of its calls.
    pub account: Option<At<String>>,
    /// Where it is asked.
    pub url: HttpUrl,
    /// How its URLs are requested.
    pub method: HttpMethod,
    /// `rcml`: where a document is when the first cannot be had.
    pub fallback_url: Option<HttpUrl>,
    /// `rcml`: who is told when a call of it has ended.
    pub status_callback: Option<HttpUrl>,
    /// `rcml`: who decides on a REFER in its calls.
    pub refer_url: Option<HttpUrl>,
    /// `jambonz`: who is told what happens to its calls.
    pub status_url: Option<HttpUrl>,
    /// `jambonz`: signs what is sent to it.
    pub webhook_secret: Option<Secret>,
    /// `telnyx`: how dial names it.
    pub connection_id: Option<String>,
    /// `telnyx`: who is told when `url` cannot be reached.
    pub failover_url: Option<HttpUrl>,
    /// `telnyx`: how long an attempt to tell it something may take.
    pub webhook_timeout: Option<Duration>,
    /// `telnyx`: how long after a transfer Baton ends the leg, unless the party does.
    pub bye_after: Option<Duration>,
}

/// Which kind each of the further keys belongs to.
const OF_KIND: &[(&str, ApplicationKind)] = &[
    ("fallback_url", ApplicationKind::Rcml),
    ("status_callback", ApplicationKind::Rcml),
    ("refer_url", ApplicationKind::Rcml),
    ("status_url", ApplicationKind::Jambonz),
    ("webhook_secret", ApplicationKind::Jambonz),
    ("connection_id", ApplicationKind::Telnyx),
    ("failover_url", ApplicationKind::Telnyx),
    ("webhook_timeout", ApplicationKind::Telnyx),
    ("bye_after", ApplicationKind::Telnyx),
];

impl Application {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Application> {
        let name = named(&mut table, "application", "\"ivr\"");
        let kind = table.need::<At<ApplicationKind>>("kind", "\"rcml\"");
        if let Some(kind) = &kind {
            for (key, owner) in OF_KIND.iter().filter(|(_, owner)| *owner != kind.value) {
                if let Some(value) = table.value(key) {
                    value.wrong(
                        format_args!("belongs to applications of kind \"{}\"", owner.word()),
                        "remove it, or correct kind",
                    );
                }
            }
        }
        let url = table.need("url", "\"https://ivr.example.com/voice\"");
        let account = table.take("account");
        let method = table.or("method", HttpMethod::default());
        let fallback_url = table.take("fallback_url");
        let status_callback = table.take("status_callback");
        let refer_url = table.take("refer_url");
        let status_url = table.take("status_url");
        let webhook_secret = table.take("webhook_secret");
        let connection_id = table.take("connection_id");
        let failover_url = table.take("failover_url");
        let webhook_timeout = table.take("webhook_timeout");
        let bye_after = table.take("bye_after");
        table.finish();
        Some(Application {
            name: name?,
            kind: kind?,
            account,
            url: url?,
            method,
            fallback_url,
            status_callback,
            refer_url,
            status_url,
            webhook_secret,
            connection_id,
            failover_url,
            webhook_timeout,
            bye_after,
        })
    }
}

/// The HTTP method of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMethod {
    /// Parameters in the query.
    Get,
    /// Parameters in the body.
    #[default]
    Post,
}

impl FromToml for HttpMethod {
    fn from_toml(value: &Value<'_>) -> Option<HttpMethod> {
        value.word(&[("POST", HttpMethod::Post), ("GET", HttpMethod::Get)])
    }
}

/// An `http:` or `https:` URL. It may hold a password, which is not shown (T-023).
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(pub String);

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match rest.get(..end).and_then(|authority| authority.rfind('@')) {
            Some(at) => write!(f, "{scheme}://…{}", rest.get(at..).unwrap_or("")),
            None => f.write_str(&self.0),
        }
    }
}

impl FromToml for HttpUrl {
    fn from_toml(value: &Value<'_>) -> Option<HttpUrl> {
        let wanted = "a URL such as \"https://ivr.example.com/voice\"";
        let text = value.string(wanted)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|r| r.split(['/', '?', '#']).next()).unwrap_or("");
        if host.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
            let url = HttpUrl(text.to_owned());
            value.wrong(format_args!("= \"{url:?}\" is no http or https URL"), format!("write {wanted}"));
            return None;
        }
        Some(HttpUrl(text.to_owned()))
    }
}

/// What happens to a verb that needs media, while there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingMedia {
    /// It is passed over, visibly.
    #[default]
    Skip,
    /// Its document fails.
    Fail,
}

/// `[media]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// What happens to a verb that needs media.
    pub missing: MissingMedia,
}

impl Media {
    pub(super) fn read(mut table: Reader<'_>) -> Media {
        let missing = table
            .value("missing")
            .and_then(|v| v.word(&[("skip", MissingMedia::Skip), ("fail", MissingMedia::Fail)]));
        table.finish();
        Media { missing: missing.unwrap_or_default() }
    }
}

/// `[jambonz]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jambonz {
    /// Whether `call_status` in event hooks is a number; else it is a text.
    pub integer_event_status: bool,
}

impl Jambonz {
    pub(super) fn read(mut table: Reader<'_>) -> Jambonz {
        let integer =
            table.value("event_status").and_then(|v| v.word(&[("string", false), ("integer", true)]));
        table.finish();
        Jambonz { integer_event_status: integer.unwrap_or(false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [T-023] [C-202] A password in a URL does not show.
    #[test]
    fn urls_hide_their_password() {
        let shown = |url: &str| format!("{:?}", HttpUrl(url.to_owned()));
        assert_eq!(shown("https://u:s3cr3t@h/p?x=@"), "https://…@h/p?x=@");
        assert_eq!(shown("https://h/p@x"), "https://h/p@x");
    }
}
