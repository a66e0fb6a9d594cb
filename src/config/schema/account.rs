//! Accounts, and what later versions do for them: applications, clients, registrar, media, jambonz.

use super::{Name, named};
use crate::config::read::{At, ExistingFile, FromToml, Reader, Value};
use crate::config::secret::Secret;
use crate::sip::plan::ReferMode;
use std::time::Duration;

/// `[[account]]`: who may use the API, and whose records are whose.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// `AC` and 32 hexadecimal digits.
    pub sid: At<Sid>,
    /// The password of Basic authentication, and the Bearer token.
    pub token: Secret,
    /// `OR` and 32 hexadecimal digits.
    pub org_sid: Option<OrgSid>,
    /// Signs webhooks, unless the application has its own.
    pub webhook_secret: Option<Secret>,
}

impl Account {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Account> {
        let sid = table.need::<At<Sid>>("sid", "\"AC00000000000000000000000000000001\"");
        if let Some(sid) = &sid {
            table.context().declare("account", sid);
        }
        let token = read_token(&mut table);
        let org_sid = table.take("org_sid");
        let webhook_secret = table.take("webhook_secret");
        table.finish();
        Some(Account { sid: sid?, token: token?, org_sid, webhook_secret })
    }
}

/// `token`, or the first line of `token_file`.
fn read_token(table: &mut Reader<'_>) -> Option<Secret> {
    let direct = table.value("token");
    let file = table.value("token_file");
    match (direct, file) {
        (Some(_), Some(file)) => {
            file.wrong("stands beside account.token", "keep one of the two");
            None
        }
        (Some(direct), None) => Secret::from_toml(&direct),
        (None, Some(file)) => read_secret_file(&file),
        (None, None) => {
            let span = table.span();
            table.context().absent(
                span,
                "account has no token",
                "add token = \"…\", or token_file = \"FILE\"",
            );
            None
        }
    }
}

/// The first line of a file that holds a secret.
fn read_secret_file(value: &Value<'_>) -> Option<Secret> {
    let ExistingFile(path) = ExistingFile::from_toml(value)?;
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Some(Secret::new(text.lines().next().unwrap_or("").trim())),
        Ok(_) => {
            value.wrong("names an empty file", "put the secret on its first line");
            None
        }
        Err(error) => {
            value.wrong(format_args!("cannot be read ({error})"), "make it a readable text file");
            None
        }
    }
}

/// An account's identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sid(pub String);

impl AsRef<str> for Sid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// An organisation's identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgSid(pub String);

impl FromToml for Sid {
    fn from_toml(value: &Value<'_>) -> Option<Sid> {
        sid(value, "AC").map(Sid)
    }
}

impl FromToml for OrgSid {
    fn from_toml(value: &Value<'_>) -> Option<OrgSid> {
        sid(value, "OR").map(OrgSid)
    }
}

fn sid(value: &Value<'_>, letters: &str) -> Option<String> {
    let wanted = format!("{letters} and 32 hexadecimal digits, such as \"{letters}{:032x}\"", 1);
    let text = value.string(&wanted)?;
    let digits = text.strip_prefix(letters).unwrap_or("");
    if digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(text.to_owned());
    }
    value.wrong(format_args!("= {text:?} is no identifier of this kind"), format!("write {wanted}"));
    None
}

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

impl FromToml for ApplicationKind {
    fn from_toml(value: &Value<'_>) -> Option<ApplicationKind> {
        value.word(&[
            ("rcml", ApplicationKind::Rcml),
            ("jambonz", ApplicationKind::Jambonz),
            ("telnyx", ApplicationKind::Telnyx),
        ])
    }
}

/// `[[application]]`: checked, not yet acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Its name.
    pub name: At<Name>,
    /// What it speaks.
    pub kind: ApplicationKind,
    /// The owner of the records of its calls.
    pub account: Option<At<String>>,
    /// Where it is asked.
    pub url: HttpUrl,
}

impl Application {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Application> {
        let name = named(&mut table, "application", "\"ivr\"");
        let kind = table.need("kind", "\"rcml\"");
        let url = table.need("url", "\"https://ivr.example.com/voice\"");
        let account = table.take("account");
        table.take::<Method>("method");
        match kind {
            Some(ApplicationKind::Telnyx) => {
                table.take::<String>("connection_id");
                table.take::<HttpUrl>("failover_url");
            }
            Some(ApplicationKind::Jambonz) => {
                table.take::<HttpUrl>("status_url");
                table.take::<Secret>("webhook_secret");
            }
            Some(ApplicationKind::Rcml) => {
                for key in ["fallback_url", "status_callback", "refer_url"] {
                    table.take::<HttpUrl>(key);
                }
            }
            // The kind is wrong already; which of these belong here cannot be said.
            None => {
                for key in [
                    "connection_id",
                    "failover_url",
                    "status_url",
                    "webhook_secret",
                    "fallback_url",
                    "status_callback",
                    "refer_url",
                ] {
                    table.value(key);
                }
            }
        }
        table.finish();
        Some(Application { name: name?, kind: kind?, account, url: url? })
    }
}

/// The HTTP method of a webhook.
struct Method;

impl FromToml for Method {
    fn from_toml(value: &Value<'_>) -> Option<Method> {
        value.word(&[("POST", ()), ("GET", ())]).map(|()| Method)
    }
}

/// An `http:` or `https:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(pub String);

impl FromToml for HttpUrl {
    fn from_toml(value: &Value<'_>) -> Option<HttpUrl> {
        let wanted = "a URL such as \"https://ivr.example.com/voice\"";
        let text = value.string(wanted)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|r| r.split(['/', '?', '#']).next()).unwrap_or("");
        if host.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
            value.wrong(format_args!("= {text:?} is no http or https URL"), format!("write {wanted}"));
            return None;
        }
        Some(HttpUrl(text.to_owned()))
    }
}

/// `[[client]]`: checked, not yet acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// The user part of its address.
    pub user: At<String>,
    /// The owner of the records of its calls.
    pub account: Option<At<String>>,
}

impl Client {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Client> {
        let user = table.need::<At<String>>("user", "\"alice\"");
        if let Some(user) = &user {
            table.context().declare("client", user);
        }
        let account = table.take("account");
        let password = table.take::<Secret>("password").is_some();
        let file = table.value("password_file").and_then(|v| read_secret_file(&v)).is_some();
        let ha1 = table.take::<Secret>("ha1").is_some();
        let ha1_sha256 = table.take::<Secret>("ha1_sha256").is_some();
        if !(password || file || ha1 || ha1_sha256) {
            let span = table.span();
            table.context().absent(
                span,
                "client has no password",
                "add password = \"…\", password_file = \"FILE\" or ha1 = \"…\"",
            );
        }
        table.finish();
        Some(Client { user: user?, account })
    }
}

/// `[registrar]`: checked, not yet acted on; its domains are names of Baton already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registrar {
    /// The domains registered for.
    pub domains: Vec<String>,
}

impl Registrar {
    pub(super) fn read(mut table: Reader<'_>) -> Registrar {
        let domains = table.or("domains", Vec::new());
        table.take::<String>("realm");
        table.value("refer").and_then(|v| {
            v.word(&[
                ("relay", ReferMode::Relay),
                ("terminate", ReferMode::Terminate),
                ("reject", ReferMode::Reject(603)),
            ])
        });
        for key in ["max_expires", "min_expires", "default_expires"] {
            table.take::<Duration>(key);
        }
        table.int("max_contacts", 1..=1_000);
        table.later(&["store", "keepalive"]);
        table.finish();
        Registrar { domains }
    }
}

/// `[media]`: checked, not yet acted on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media;

impl Media {
    pub(super) fn read(mut table: Reader<'_>) -> Media {
        table.value("missing").and_then(|v| v.word(&[("skip", ()), ("fail", ())]));
        table.finish();
        Media
    }
}

/// `[jambonz]`: checked, not yet acted on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jambonz;

impl Jambonz {
    pub(super) fn read(mut table: Reader<'_>) -> Jambonz {
        table.value("event_status").and_then(|v| v.word(&[("string", ()), ("integer", ())]));
        table.finish();
        Jambonz
    }
}
