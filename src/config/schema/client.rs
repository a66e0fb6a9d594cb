//! `[[client]]` and `[registrar]`: SIP accounts that may register, and how they do.

use super::account::secret_or_file;
use super::service::at_least;
use crate::config::endpoint::HostPort;
use crate::config::read::{At, FromToml, Reader, Value};
use crate::config::secret::Secret;
use crate::sip::plan::{ReferMode, Secret as PlanSecret};
use std::time::Duration;

/// `[[client]]`: a SIP account, reached as `client:USER` or `sip:USER@DOMAIN`.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// The user part of its address.
    pub user: At<User>,
    /// How it proves who it is.
    pub secret: ClientSecret,
    /// The owner of the records of its calls.
    pub account: Option<At<String>>,
}

/// What is known of a client's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSecret {
    /// The password.
    Password(Secret),
    /// Hashes of it with user and realm (RFC 7616 §3.4.2), in hex.
    Ha1 {
        /// MD5.
        md5: Option<Secret>,
        /// SHA-256.
        sha256: Option<Secret>,
        /// SHA-512-256.
        sha512_256: Option<Secret>,
    },
}

impl ClientSecret {
    /// As messages are checked by it.
    pub fn for_plan(&self) -> PlanSecret {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().into());
        match self {
            ClientSecret::Password(password) => PlanSecret::Password(password.expose().into()),
            ClientSecret::Ha1 { md5, sha256, sha512_256 } => {
                PlanSecret::Ha1 { md5: text(md5), sha256: text(sha256), sha512_256: text(sha512_256) }
            }
        }
    }
}

impl Client {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Client> {
        let user = table.need::<At<User>>("user", "\"alice\"");
        if let Some(user) = &user {
            table.context().declare("client", user);
        }
        let account = table.take("account");
        let secret = read_secret(&mut table);
        table.finish();
        Some(Client { user: user?, secret: secret?, account })
    }
}

/// `password` or `password_file`, or some of the hashes.
fn read_secret(table: &mut Reader<'_>) -> Option<ClientSecret> {
    let plain = ["password", "password_file"].into_iter().find(|key| table.value(key).is_some());
    let hashed = ["ha1", "ha1_sha256", "ha1_sha512_256"].into_iter().find(|key| table.value(key).is_some());
    let password = secret_or_file(table, "password", "password_file");
    let md5 = read_hash(table, "ha1", 32);
    let sha256 = read_hash(table, "ha1_sha256", 64);
    let sha512_256 = read_hash(table, "ha1_sha512_256", 64);
    match (plain, hashed) {
        (None, None) => {
            let span = table.span();
            table.context().absent(
                span,
                "client has no password",
                "add password = \"…\", password_file = \"FILE\" or ha1 = \"…\"",
            );
            None
        }
        (Some(plain), Some(hashed)) => {
            if let Some(value) = table.value(hashed) {
                value.wrong(
                    format_args!("stands beside client.{plain}"),
                    "keep the password or the hashes of it, not both",
                );
            }
            None
        }
        (Some(_), None) => password.map(ClientSecret::Password),
        (None, Some(_)) if md5.is_none() && sha256.is_none() && sha512_256.is_none() => None,
        (None, Some(_)) => Some(ClientSecret::Ha1 { md5, sha256, sha512_256 }),
    }
}

/// A hash in hex; what is wrong with it is said without repeating it.
fn read_hash(table: &mut Reader<'_>, key: &'static str, digits: usize) -> Option<Secret> {
    let value = table.value(key)?;
    let hash = Secret::from_toml(&value)?;
    let text = hash.expose();
    if text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(hash);
    }
    value.wrong(
        "is no such hash",
        format!("write the {digits} hexadecimal digits that hashing USER:REALM:PASSWORD gives"),
    );
    None
}

/// A user that can stand in an address and in a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(pub String);

impl AsRef<str> for User {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromToml for User {
    fn from_toml(value: &Value<'_>) -> Option<User> {
        let text = value.string("a user such as \"alice\"")?;
        let right = |c: char| c.is_alphanumeric() || "-_.!~*'()&=+$,".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(right) {
            value.wrong(
                format_args!("= {text:?} is no user"),
                "write the part of the address before the @: 1 to 64 letters, digits and -_.!~*'()&=+$,",
            );
            return None;
        }
        Some(User(text.to_owned()))
    }
}

/// `[registrar]`: how clients register (C-156 to C-169).
#[derive(Clone, Debug, PartialEq)]
pub struct Registrar {
    /// The domains registered for; none: the listeners' own.
    pub domains: Vec<Box<str>>,
    /// The digest realm; absent: the first domain.
    pub realm: Option<Box<str>>,
    /// What happens to a client's REFER.
    pub refer: ReferMode,
    /// Whether the target of one that is relayed is turned to Baton.
    pub returns: bool,
    /// Longest life of a binding.
    pub max_expires: Duration,
    /// Shortest life of a binding.
    pub min_expires: Duration,
    /// Life of a binding that names none.
    pub default_expires: Duration,
    /// Bindings of one client.
    pub max_contacts: usize,
    /// Bytes of a REGISTER.
    pub max_size: usize,
}

impl Default for Registrar {
    fn default() -> Registrar {
        Registrar {
            domains: Vec::new(),
            realm: None,
            refer: ReferMode::Relay,
            returns: false,
            max_expires: Duration::from_secs(3_600),
            min_expires: Duration::from_secs(60),
            default_expires: Duration::from_secs(3_600),
            max_contacts: 5,
            max_size: 8_192,
        }
    }
}

impl Registrar {
    pub(super) fn read(mut table: Reader<'_>) -> Registrar {
        let default = Registrar::default();
        let domains = table.take::<Vec<At<HostPort>>>("domains").unwrap_or_default();
        for domain in domains.iter().filter(|d| d.port.is_some()) {
            table.context().error(
                domain.span.clone(),
                "registrar.domains has a port in it",
                format!("write the name alone, \"{}\"", domain.host),
            );
        }
        let realm = table.take::<Realm>("realm").map(|realm| realm.0);
        let refer = table.value("refer").and_then(|v| {
            v.word(&[
                ("relay", ReferMode::Relay),
                ("terminate", ReferMode::Terminate),
                ("reject", ReferMode::Reject(603)),
            ])
        });
        let returns = table.value("refer_to").and_then(|v| v.word(&[("keep", false), ("return", true)]));
        let mut life = |key| at_least(&mut table, key, Duration::from_secs(1));
        let (min, usual, max) = (life("min_expires"), life("default_expires"), life("max_expires"));
        let contacts = table.int("max_contacts", 1..=100).and_then(|n| usize::try_from(n).ok());
        let size = table.int("max_size", 512..=65_535).and_then(|n| usize::try_from(n).ok());
        let registrar = Registrar {
            domains: domains.into_iter().map(|d| d.value.host).collect(),
            realm,
            refer: refer.unwrap_or_default(),
            returns: returns.unwrap_or(default.returns),
            min_expires: min.unwrap_or(default.min_expires),
            default_expires: usual.unwrap_or(default.default_expires),
            max_expires: max.unwrap_or(default.max_expires),
            max_contacts: contacts.unwrap_or(default.max_contacts),
            max_size: size.unwrap_or(default.max_size),
        };
        registrar.in_order(&mut table);
        table.later(&["store", "keepalive"]);
        table.finish();
        registrar
    }

    /// The shortest life must not be longer than the usual one, nor that than the longest.
    fn in_order(&self, table: &mut Reader<'_>) {
        let Registrar { min_expires, default_expires, max_expires, .. } = *self;
        for (shorter, a, longer, b) in [
            ("min_expires", min_expires, "default_expires", default_expires),
            ("default_expires", default_expires, "max_expires", max_expires),
        ] {
            if a > b {
                let span = table.value(shorter).or_else(|| table.value(longer)).map(|v| v.span());
                let span = span.unwrap_or(table.span());
                table.context().error(
                    span,
                    format!("registrar.{shorter} = {a:?} is longer than {longer} = {b:?}"),
                    format!("make {longer} the longer one"),
                );
            }
        }
    }
}

/// What stands between quotes in every challenge.
struct Realm(Box<str>);

impl FromToml for Realm {
    fn from_toml(value: &Value<'_>) -> Option<Realm> {
        let text = value.string("a name such as \"sip.example.com\"")?;
        if text.is_empty() || text.contains(['"', '\\']) || text.chars().any(char::is_control) {
            value.wrong(
                format_args!("= {text:?} is no realm"),
                "write text on one line without quotes and backslashes",
            );
            return None;
        }
        Some(Realm(text.into()))
    }
}
