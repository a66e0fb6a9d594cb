//! `[[account]]`, and how secrets are read.

use crate::config::read::{At, ExistingFile, FromToml, Reader, Value};
use crate::config::secret::Secret;

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

/// `token`, or the first line of `token_file`; one of them must be there.
fn read_token(table: &mut Reader<'_>) -> Option<Secret> {
    let secret = secret_or_file(table, "token", "token_file");
    if secret.is_none() && table.value("token").is_none() && table.value("token_file").is_none() {
        let span = table.span();
        table.context().absent(span, "account has no token", "add token = \"…\", or token_file = \"FILE\"");
    }
    secret
}

/// A secret as text or as the first line of a file; both are one too many.
pub(super) fn secret_or_file(
    table: &mut Reader<'_>,
    key: &'static str,
    file_key: &'static str,
) -> Option<Secret> {
    match (table.value(key), table.value(file_key)) {
        (Some(_), Some(file)) => {
            file.wrong(format_args!("stands beside {}.{key}", table.path()), "keep one of the two");
            None
        }
        (Some(direct), None) => Secret::from_toml(&direct),
        (None, Some(file)) => read_secret_file(&file),
        (None, None) => None,
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
