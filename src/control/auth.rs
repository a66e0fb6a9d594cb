//! Who asks: HTTP Basic authentication with account and token (Calls API, section 2), or a Bearer token.

use super::problem::Problem;
use crate::config::Secret;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq};

/// The organisation of accounts that have none of their own: one for the installation.
const NO_ORGANISATION: &str = "OR00000000000000000000000000000000";

/// An account of the API.
#[derive(Clone, Debug)]
pub struct Account {
    /// `AC` and 32 hexadecimal digits.
    pub sid: String,
    /// Its password.
    pub token: Secret,
    /// `OR` and 32 hexadecimal digits.
    pub org_sid: Option<String>,
    /// Signs what is sent for its calls, where their application has none of its own.
    pub webhook_secret: Option<Secret>,
}

impl Account {
    /// The organisation it belongs to.
    pub fn organisation(&self) -> &str {
        self.org_sid.as_deref().unwrap_or(NO_ORGANISATION)
    }
}

/// All accounts.
#[derive(Debug)]
pub(super) struct Accounts(Vec<Account>);

impl Accounts {
    pub(super) fn new(accounts: Vec<Account>) -> Accounts {
        Accounts(accounts)
    }

    /// The account whose credentials a request carries, allowed to see what is under `path_account`.
    ///
    /// Credentials come first, so that nobody without learns which accounts there are.
    pub(super) fn admit(&self, headers: &HeaderMap, path_account: Option<&str>) -> Result<&Account, Problem> {
        let account = self.authenticate(headers).ok_or(Problem::unauthorized())?;
        match path_account {
            Some(sid) if sid == account.sid => Ok(account),
            Some(sid) if self.0.iter().any(|other| other.sid == sid) => {
                Err(Problem::bare(StatusCode::FORBIDDEN))
            }
            Some(_) => Err(Problem::bare(StatusCode::NOT_FOUND)),
            None => Ok(account),
        }
    }

    /// The account whose token a request bears; with several of one token, the one named `sid`, else the
    /// first (RFC 6750 §2.1).
    pub(super) fn bearer(&self, headers: &HeaderMap, sid: Option<&str>) -> Option<&Account> {
        let token = authorization(headers, "bearer")?.trim().as_bytes();
        let mut found = None;
        for account in &self.0 {
            let meant = sid.is_none_or(|sid| sid == account.sid);
            if bool::from(same(account.token.expose(), token)) && meant && found.is_none() {
                found = Some(account);
            }
        }
        found
    }

    /// The account that somebody calls so.
    pub(super) fn named(&self, is: impl Fn(&str) -> bool) -> Option<&str> {
        self.0.iter().map(|account| account.sid.as_str()).find(|sid| is(sid))
    }

    /// Compares with every account, so that the time tells neither account nor token.
    fn authenticate(&self, headers: &HeaderMap) -> Option<&Account> {
        let (user, password) = basic(headers)?;
        let mut found = None;
        for account in &self.0 {
            if bool::from(same(&account.sid, &user) & same(account.token.expose(), &password)) {
                found = Some(account);
            }
        }
        found
    }
}

fn same(ours: &str, theirs: &[u8]) -> Choice {
    ours.as_bytes().ct_eq(theirs)
}

/// What the one Authorization header says behind its scheme, if it is this one.
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (said, credentials) = value.to_str().ok()?.split_once(' ')?;
    said.eq_ignore_ascii_case(scheme).then_some(credentials)
}

/// User and password of the one Authorization header (RFC 7617 §2).
fn basic(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let credentials = authorization(headers, "basic")?;
    let decoded = STANDARD.decode(credentials.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, rest) = decoded.split_at(colon);
    Some((user.to_vec(), rest.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accounts() -> Accounts {
        let account = |sid: &str| Account {
            sid: sid.into(),
            token: Secret::new("to:ken"),
            org_sid: None,
            webhook_secret: None,
        };
        Accounts::new(vec![account("ACa"), account("ACb")])
    }

    fn headers(value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).expect("a header value");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    fn status(value: &str, path: &str) -> Option<u16> {
        let accounts = accounts();
        let problem = accounts.admit(&headers(value), Some(path)).err()?;
        Some(problem.into_json().status().as_u16())
    }

    /// [restcomm-calls 2.1] The token may hold colons; the scheme's case does not matter.
    #[test]
    fn right_credentials_pass() {
        let credentials = STANDARD.encode("ACa:to:ken");
        assert_eq!(status(&format!("Basic {credentials}"), "ACa"), None);
        assert_eq!(status(&format!("bAsIc  {credentials}"), "ACa"), None);
    }

    /// [telnyx 3] The token alone, in the one scheme it is meant for.
    #[test]
    fn a_token_is_enough() {
        let accounts = accounts();
        let sid = |value: &str, sid| accounts.bearer(&headers(value), sid).map(|a| a.sid.as_str());
        assert_eq!(sid("Bearer to:ken", None), Some("ACa"));
        assert_eq!(sid("bearer  to:ken", Some("ACb")), Some("ACb"));
        for wrong in ["Bearer token", "Bearer", "to:ken", "Basic to:ken"] {
            assert_eq!(sid(wrong, None), None, "{wrong}");
        }
        assert_eq!(sid("Bearer to:ken", Some("ACc")), None);
    }

    /// [restcomm-calls 2.2] [restcomm-calls 2.3] [restcomm-calls 2.5]
    #[test]
    fn others_are_told_as_little_as_possible() {
        let right = format!("Basic {}", STANDARD.encode("ACa:to:ken"));
        assert_eq!(status(&right, "ACb"), Some(403));
        assert_eq!(status(&right, "ACc"), Some(404));
        let wrong = [
            format!("Basic {}", STANDARD.encode("ACa:token")),
            format!("Basic {}", STANDARD.encode("ACa:")),
            format!("Basic {}", STANDARD.encode("ACa")),
            format!("Basic {}", STANDARD.encode("ACc:to:ken")),
            "Basic !".into(),
            "Basic".into(),
            "Bearer to:ken".into(),
            String::new(),
        ];
        for value in wrong {
            assert_eq!(status(&value, "ACc"), Some(401), "{value}");
        }
        let none = accounts().admit(&HeaderMap::new(), None).map(|a| a.sid.clone());
        assert_eq!(none, Err(Problem::unauthorized()));
        let mut twice = headers(&right);
        twice.append(AUTHORIZATION, HeaderValue::from_static("Basic x"));
        assert!(accounts().admit(&twice, Some("ACa")).is_err());
    }
}
