//! `trunk.refer`, `trunk.auth` and `trunk.session_timer`: how a trunk takes part in calls that Baton
//! owns (refer-core section 4).

use super::account::secret_or_file;
use super::service::at_least;
use crate::config::read::{At, FromToml, Reader, Value};
use crate::config::secret::Secret;
use crate::sip::message::HeaderId;
use crate::sip::plan::{ReferMode, SessionTimer};
use crate::sip::refer::policy::{
    MissingReferredBy, NotifyDetail, OutOfDialog, Policy, Release, ReplacesMode, TargetRouting, TargetRule,
};
use std::time::Duration;

/// `auth = { user, password }`: for challenges by the trunk's peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkAuth {
    /// The user.
    pub user: AuthUser,
    /// The password.
    pub password: Secret,
}

impl TrunkAuth {
    /// `None` when the table is not there.
    pub(super) fn read(trunk: &mut Reader<'_>) -> Option<TrunkAuth> {
        trunk.value("auth")?;
        let mut table = trunk.table("auth");
        let user = table.need::<AuthUser>("user", "\"baton\"");
        let password = secret_or_file(&mut table, "password", "password_file");
        let given = ["password", "password_file"].into_iter().any(|key| table.value(key).is_some());
        if !given {
            let span = table.span();
            table.context().absent(
                span,
                "trunk.auth has no password",
                "add password = \"…\", or password_file = \"FILE\"",
            );
        }
        table.later(&["digest", "algorithms", "realm"]);
        table.finish();
        Some(TrunkAuth { user: user?, password: password? })
    }
}

/// A user as peers name it for digest; often an address, with its `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthUser(pub String);

impl FromToml for AuthUser {
    fn from_toml(value: &Value<'_>) -> Option<AuthUser> {
        let text = value.string("a user such as \"baton\"")?;
        // RFC 7616 §3.4.2: a colon would end it where it is hashed.
        if text.is_empty() || text.contains(':') || text.chars().any(char::is_control) {
            value.wrong(format_args!("= {text:?} is no user"), "write text on one line without a colon");
            return None;
        }
        Some(AuthUser(text.to_owned()))
    }
}

/// `session_timer = { expires, min_se }` (RFC 4028).
pub(super) fn read_session_timer(trunk: &mut Reader<'_>) -> SessionTimer {
    let default = SessionTimer::default();
    let mut table = trunk.table("session_timer");
    let seconds = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
    // RFC 4028 §5: 90 s is the floor.
    let min = at_least(&mut table, "min_se", Duration::from_secs(90)).map_or(default.min, seconds);
    let expires = table.take::<At<Duration>>("expires");
    let interval = expires.as_ref().map_or(default.interval.max(min), |at| seconds(at.value));
    if let Some(at) = expires.filter(|_| interval != 0 && interval < min) {
        table.context().error(
            at.span,
            format!("trunk.session_timer.expires = {:?} is shorter than min_se = {min}s", at.value),
            format!("write \"{min}s\" or more, or \"0s\" to ask for none"),
        );
    }
    table.later(&["mode"]);
    table.finish();
    SessionTimer { interval, min }
}

/// `refer = { mode, code, … }`: what happens to a REFER of the trunk's, and how transfers are done.
pub(super) fn read_refer(trunk: &mut Reader<'_>) -> (At<ReferMode>, Policy) {
    let mut refer = trunk.table("refer");
    let mode = read_mode(&mut refer);
    let policy = read_policy(&mut refer);
    refer.finish();
    (mode, policy)
}

fn read_mode(refer: &mut Reader<'_>) -> At<ReferMode> {
    const REFUSED: u16 = 603;
    let span = refer.value("mode").map_or(refer.span(), |v| v.span());
    let mode = refer.value("mode").and_then(|v| {
        v.word(&[
            ("relay", ReferMode::Relay),
            ("terminate", ReferMode::Terminate),
            ("reject", ReferMode::Reject(REFUSED)),
        ])
    });
    let code = refer.take::<At<RefusalCode>>("code");
    let value = match (mode.unwrap_or_default(), code) {
        (ReferMode::Reject(_), Some(code)) => ReferMode::Reject(code.value.0),
        (mode @ ReferMode::Reject(_), None) => mode,
        (mode @ (ReferMode::Relay | ReferMode::Terminate), Some(code)) => {
            refer.context().error(
                code.span,
                "trunk.refer.code is the answer of mode \"reject\", which this is not",
                "remove code, or write mode = \"reject\"",
            );
            mode
        }
        (mode @ (ReferMode::Relay | ReferMode::Terminate), None) => mode,
    };
    At { value, span }
}

fn read_policy(refer: &mut Reader<'_>) -> Policy {
    let d = Policy::default();
    Policy {
        accept_code: refer.take::<AcceptCode>("accept_code").map_or(d.accept_code, |code| code.0),
        notify: word(
            refer,
            "notify",
            &[("all", NotifyDetail::All), ("initial", NotifyDetail::Initial), ("final", NotifyDetail::Final)],
        ),
        release: word(
            refer,
            "release",
            &[("wait", Release::Wait), ("at-once", Release::AtOnce), ("never", Release::Never)],
        ),
        release_after: refer.or("release_after", d.release_after),
        bye_is_success: word(refer, "peer_bye", &[("canceled", false), ("completed", true)]),
        silence_is_success: word(refer, "silence", &[("failed", false), ("completed", true)]),
        replaces: word(
            refer,
            "replaces",
            &[
                ("match", ReplacesMode::MatchElseSend),
                ("local", ReplacesMode::LocalOnly),
                ("send", ReplacesMode::AlwaysSend),
            ],
        ),
        max_transfers: refer
            .int("max_transfers", 1..=255)
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(d.max_transfers),
        max_rate: refer
            .int("max_rate", 0..=1_000_000)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(d.max_rate),
        targets: read_targets(refer),
        routing: word(
            refer,
            "routing",
            &[
                ("referrer", TargetRouting::Referrer),
                ("survivor", TargetRouting::Survivor),
                ("back", TargetRouting::BackToReferrer),
            ],
        ),
        referred_by: word(
            refer,
            "referred_by",
            &[
                ("add", MissingReferredBy::Add),
                ("leave-out", MissingReferredBy::LeaveOut),
                ("refuse", MissingReferredBy::Refuse),
            ],
        ),
        allow_headers: refer.or("headers", Vec::<FieldName>::new()).into_iter().map(|name| name.0).collect(),
        strict_headers: refer.or("strict_headers", d.strict_headers),
        notify_after_bye: refer.or("notify_after_bye", d.notify_after_bye),
        notify_on_answer: refer.or("notify_on_answer", d.notify_on_answer),
        returns: word(refer, "refer_to", &[("keep", false), ("return", true)]),
        out_of_dialog: word(
            refer,
            "out_of_dialog",
            &[
                ("reject", OutOfDialog::Reject),
                ("target-dialog", OutOfDialog::TargetDialog),
                ("relay", OutOfDialog::Relay),
            ],
        ),
    }
}

/// One of a few words; the default is the type's.
fn word<T: Copy + Default>(table: &mut Reader<'_>, key: &'static str, words: &[(&'static str, T)]) -> T {
    table.value(key).and_then(|v| v.word(words)).unwrap_or_default()
}

/// `deny` before `allow`; with any `allow`, what none of them names is denied.
fn read_targets(refer: &mut Reader<'_>) -> Vec<TargetRule> {
    let mut rules = Vec::new();
    for (key, allow) in [("deny", false), ("allow", true)] {
        let patterns = refer.or(key, Vec::<TargetPattern>::new());
        let rule = |pattern: TargetPattern| TargetRule { allow, ..pattern.0 };
        rules.extend(patterns.into_iter().map(rule));
    }
    if rules.iter().any(|rule| rule.allow) {
        rules.push(TargetRule { allow: false, domain: "".into(), prefix: "".into() });
    }
    rules
}

/// `PREFIX@DOMAIN`, either of them left out for any.
struct TargetPattern(TargetRule);

impl FromToml for TargetPattern {
    fn from_toml(value: &Value<'_>) -> Option<TargetPattern> {
        let wanted = "\"PREFIX@DOMAIN\": \"+31@\" for a number, \"@example.com\" for a domain, or both";
        let text = value.string(wanted)?;
        let graphic = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
        match text.split_once('@').filter(|_| graphic) {
            Some((prefix, domain)) if !(domain.contains('@') || prefix.is_empty() && domain.is_empty()) => {
                let domain = domain.to_ascii_lowercase().into();
                Some(TargetPattern(TargetRule { allow: false, domain, prefix: prefix.into() }))
            }
            _ => {
                value.wrong(format_args!("= {text:?} is no pattern for targets"), format!("write {wanted}"));
                None
            }
        }
    }
}

/// The name of a header field that a Refer-To may set. What makes a dialog, frames a message or says
/// who is calling is never taken from there (C-036, R-107).
struct FieldName(Box<str>);

impl FromToml for FieldName {
    fn from_toml(value: &Value<'_>) -> Option<FieldName> {
        let text = value.string("the name of a header field such as \"X-Ticket\"")?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
        if text.is_empty() || !text.bytes().all(token) {
            value.wrong(
                format_args!("= {text:?} is no name of a header field"),
                "write one such as \"X-Ticket\"",
            );
            return None;
        }
        if !may_be_set(HeaderId::from_bytes(text.as_bytes())) {
            value.wrong(
                format_args!("names {text:?}, which a Refer-To must never set"),
                "remove it; name fields that only inform, such as \"X-Ticket\" or \"Subject\"",
            );
            return None;
        }
        Some(FieldName(text.into()))
    }
}

/// Whether a field only informs.
fn may_be_set(id: HeaderId) -> bool {
    use HeaderId as Id;
    matches!(
        id,
        Id::Other
            | Id::Subject
            | Id::Priority
            | Id::ResourcePriority
            | Id::Organization
            | Id::CallInfo
            | Id::AlertInfo
            | Id::UserToUser
            | Id::InReplyTo
            | Id::ReplyTo
            | Id::Accept
            | Id::AcceptContact
            | Id::RejectContact
            | Id::RequestDisposition
            | Id::AcceptLanguage
            | Id::AnswerMode
            | Id::Reason
            | Id::Diversion
            | Id::HistoryInfo
            | Id::Replaces
            | Id::ReferredBy
    )
}

/// 603, 403 or 405 (refer-core section 4).
struct RefusalCode(u16);

impl FromToml for RefusalCode {
    fn from_toml(value: &Value<'_>) -> Option<RefusalCode> {
        match value.int(100..=699)? {
            code @ (403 | 405 | 603) => u16::try_from(code).ok().map(RefusalCode),
            code => {
                value.wrong(format_args!("= {code} is no way to refuse a REFER"), "write 603, 403 or 405");
                None
            }
        }
    }
}

/// 202 or 200.
struct AcceptCode(u16);

impl FromToml for AcceptCode {
    fn from_toml(value: &Value<'_>) -> Option<AcceptCode> {
        match value.int(100..=699)? {
            code @ (200 | 202) => u16::try_from(code).ok().map(AcceptCode),
            code => {
                value.wrong(format_args!("= {code} is no way to accept a REFER"), "write 202 or 200");
                None
            }
        }
    }
}
