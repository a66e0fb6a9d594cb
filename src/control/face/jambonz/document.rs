//! Documents: arrays of verbs, in both spellings (jambonz section 5, 6.1 and 7).
//!
//! A document is read as a whole before any of it is carried out: one wrong verb rejects all.

use super::facts::may_be_given;
use super::hook::{Hook, Unusable};
use super::text::{is_tag, print};
use crate::sip::command::Party;
use crate::sip::message::Uri;
use crate::sip::plan::{Credentials, Secret};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Verbs of a document at most.
const VERBS: usize = 200;
/// Targets of a dial at most.
const TARGETS: usize = 10;
/// Seconds of ringing unless a dial says otherwise.
const RING: Duration = Duration::from_secs(60);
/// Nothing lasts longer: a day.
const LONGEST: f64 = 86_400.0;

/// A verb, and how hooks name it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verb {
    pub(super) id: Option<String>,
    pub(super) action: Action,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Answer,
    Decline {
        status: u16,
        reason: Option<String>,
        headers: Headers,
    },
    Dial(Box<Dial>),
    Hangup {
        headers: Headers,
    },
    Pause(Duration),
    Redirect {
        hook: Hook,
        status: Option<Hook>,
    },
    Refer(Box<Refer>),
    Request(Box<Request>),
    Tag(Value),
    /// What needs media; whether it would answer the call.
    Media(&'static str, bool),
}

/// Names and values, checked.
pub(super) type Headers = Vec<(String, String)>;

/// `sip:refer`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refer {
    /// A URI, or a user.
    pub(super) to: String,
    pub(super) by: Option<String>,
    pub(super) by_name: Option<String>,
    pub(super) headers: Headers,
    pub(super) action: Option<Hook>,
    pub(super) event: Option<Hook>,
}

/// `sip:request`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) headers: Headers,
    /// Content-Type and text.
    pub(super) body: Option<(String, String)>,
    pub(super) action: Option<Hook>,
}

/// `dial`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dial {
    pub(super) targets: Vec<Target>,
    pub(super) action: Option<Hook>,
    pub(super) answer_on_bridge: bool,
    pub(super) caller_id: Option<String>,
    pub(super) timeout: Duration,
    pub(super) time_limit: Option<Duration>,
    pub(super) refer: Option<Hook>,
}

/// Whom it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) party: Party,
    /// As records show it.
    pub(super) shown: String,
    pub(super) headers: Headers,
    pub(super) credentials: Option<Arc<Credentials>>,
}

/// Why a document is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    /// It is no array of objects.
    #[error("not an array of verbs")]
    Shape,
    /// It has more verbs than one may have.
    #[error("more than {VERBS} verbs")]
    TooMany,
    /// There is no such verb.
    #[error("unknown verb \"{0}\"")]
    Verb(String),
    /// A property that must be there is not.
    #[error("{0}: missing value for {1}")]
    Missing(&'static str, &'static str),
    /// A property has the wrong type or value.
    #[error("{0}: {1} has a value that it cannot have")]
    Value(&'static str, &'static str),
}

/// Reads what a hook was answered with: `None` when that is no document (2.6).
pub(super) fn answered(value: &Value, base: Option<&Url>) -> Option<Result<Vec<Verb>, Wrong>> {
    match value {
        Value::Array(_) => Some(parse(value, base)),
        Value::Object(members) => {
            let one =
                members.len() == 1 && members.iter().all(|(name, v)| v.is_object() && known(name).is_some());
            (one || members.contains_key("verb")).then(|| parse(value, base))
        }
        _ => None,
    }
}

/// Reads a document; a single verb is as an array of one (5.1).
pub(super) fn parse(value: &Value, base: Option<&Url>) -> Result<Vec<Verb>, Wrong> {
    match value {
        Value::Array(items) if items.len() > VERBS => Err(Wrong::TooMany),
        Value::Array(items) => items.iter().map(|item| verb(item, base)).collect(),
        Value::Object(_) => Ok(vec![verb(value, base)?]),
        _ => Err(Wrong::Shape),
    }
}

fn verb(value: &Value, base: Option<&Url>) -> Result<Verb, Wrong> {
    let members = value.as_object().ok_or(Wrong::Shape)?;
    let (name, members) = match members.get("verb") {
        Some(name) => (name.as_str().ok_or(Wrong::Shape)?, members),
        None => {
            let mut all = members.iter();
            let (name, inner) = all.next().ok_or(Wrong::Shape)?;
            if all.next().is_some() {
                return Err(Wrong::Shape);
            }
            (name.as_str(), inner.as_object().ok_or(Wrong::Shape)?)
        }
    };
    let verb = known(name).ok_or_else(|| Wrong::Verb(name.chars().take(64).collect()))?;
    let read = Read { verb, members, base };
    Ok(Verb { id: read.text("id")?, action: read.action()? })
}

/// The verbs; those that need media answer a call first, or not.
fn known(name: &str) -> Option<&'static str> {
    const OWN: &[&str] =
        &["answer", "dial", "hangup", "pause", "redirect", "sip:decline", "sip:refer", "sip:request", "tag"];
    // The older names, without the colon.
    let name = match name {
        "sip-refer" | "refer" => "sip:refer",
        "sip-request" => "sip:request",
        "sip-decline" => "sip:decline",
        name => name,
    };
    let media = MEDIA.iter().map(|(name, _)| *name);
    OWN.iter().copied().chain(media).find(|known| *known == name)
}

const MEDIA: &[(&str, bool)] = &[
    ("agent", true),
    ("alert", false),
    ("conference", true),
    ("config", false),
    ("deepgram_s2s", true),
    ("dequeue", true),
    ("dialogflow", true),
    ("dtmf", true),
    ("dub", true),
    ("elevenlabs_s2s", true),
    ("enqueue", true),
    ("gather", true),
    ("google_s2s", true),
    ("leave", true),
    ("lex", true),
    ("listen", true),
    ("llm", true),
    ("message", false),
    ("openai_s2s", true),
    ("play", true),
    ("rasa", true),
    ("rest:dial", false),
    ("s2s", true),
    ("say", true),
    ("stream", true),
    ("transcribe", true),
    ("ultravox_s2s", true),
];

/// One verb's properties; a null is as if absent.
struct Read<'a> {
    verb: &'static str,
    members: &'a Map<String, Value>,
    base: Option<&'a Url>,
}

impl Read<'_> {
    fn action(&self) -> Result<Action, Wrong> {
        Ok(match self.verb {
            "answer" => Action::Answer,
            "sip:decline" => {
                let status = self.get("status").ok_or(self.missing("status"))?;
                let status = status.as_u64().and_then(|n| u16::try_from(n).ok());
                let status = status.filter(|n| (400..700).contains(n)).ok_or(self.wrong("status"))?;
                Action::Decline { status, reason: self.line("reason")?, headers: self.headers("headers")? }
            }
            "dial" => Action::Dial(Box::new(self.dial()?)),
            "hangup" => Action::Hangup { headers: self.headers("headers")? },
            "pause" => Action::Pause(self.seconds("length")?.ok_or(self.missing("length"))?),
            "redirect" => Action::Redirect {
                hook: self.hook("actionHook")?.ok_or(self.missing("actionHook"))?,
                status: self.hook("statusHook")?,
            },
            "sip:refer" => Action::Refer(Box::new(self.refer()?)),
            "sip:request" => Action::Request(Box::new(self.request()?)),
            "tag" => {
                let data = self.get("data").ok_or(self.missing("data"))?;
                Action::Tag(is_tag(data).then(|| data.clone()).ok_or(self.wrong("data"))?)
            }
            media => {
                let early = self.get("earlyMedia").and_then(Value::as_bool).unwrap_or(false);
                let answers = MEDIA.iter().any(|(name, answers)| *name == media && *answers);
                Action::Media(media, answers && !early)
            }
        })
    }

    fn refer(&self) -> Result<Refer, Wrong> {
        Ok(Refer {
            to: self.need("referTo")?,
            by: self.line("referredBy")?,
            by_name: self.line("referredByDisplayName")?,
            headers: self.headers("headers")?,
            action: self.hook("actionHook")?,
            event: self.hook("eventHook")?,
        })
    }

    fn request(&self) -> Result<Request, Wrong> {
        let method = self.need("method")?.to_ascii_uppercase();
        let token = method.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b));
        if !token || matches!(method.as_str(), "BYE" | "INVITE" | "REFER" | "CANCEL" | "ACK") {
            return Err(self.wrong("method"));
        }
        let given = self.members.get("headers").and_then(Value::as_object);
        let content_type = given
            .into_iter()
            .flatten()
            .find(|(name, _)| name.eq_ignore_ascii_case("Content-Type"))
            .and_then(|(_, value)| value.as_str().map(str::to_owned));
        let body = match self.get("body") {
            None => None,
            Some(Value::String(text)) => Some((content_type.unwrap_or("text/plain".into()), text.clone())),
            Some(object @ Value::Object(_)) => {
                Some((content_type.unwrap_or("application/json".into()), print(object)))
            }
            Some(_) => return Err(self.wrong("body")),
        };
        Ok(Request { method, headers: self.headers("headers")?, body, action: self.hook("actionHook")? })
    }

    fn dial(&self) -> Result<Dial, Wrong> {
        let targets = match self.get("target").ok_or(self.missing("target"))? {
            Value::Array(items) => {
                items.iter().map(|item| self.target(item)).collect::<Result<Vec<_>, _>>()?
            }
            one => vec![self.target(one)?],
        };
        if targets.is_empty() || targets.len() > TARGETS {
            return Err(self.wrong("target"));
        }
        let mut dial = Dial {
            targets,
            action: self.hook("actionHook")?,
            answer_on_bridge: self.flag("answerOnBridge")?,
            caller_id: self.line("callerId")?,
            timeout: self.seconds("timeout")?.unwrap_or(RING).max(Duration::from_secs(1)),
            time_limit: self.seconds("timeLimit")?.filter(|limit| !limit.is_zero()),
            refer: self.hook("referHook")?,
        };
        let headers = self.headers("headers")?;
        for target in &mut dial.targets {
            target.headers.extend(headers.iter().cloned());
        }
        Ok(dial)
    }

    fn target(&self, value: &Value) -> Result<Target, Wrong> {
        let members = value.as_object().ok_or(self.wrong("target"))?;
        let mut target = target(members).map_err(|_| self.wrong("target"))?;
        if let Some(headers) = members.get("headers") {
            target.headers = headers_of(headers).ok_or(self.wrong("target"))?;
        }
        Ok(target)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, Wrong> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(name)),
        }
    }

    /// A text that stays within its line.
    fn line(&self, name: &'static str) -> Result<Option<String>, Wrong> {
        let text = self.text(name)?.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        match text {
            Some(text) if text.chars().any(char::is_control) => Err(self.wrong(name)),
            text => Ok(text),
        }
    }

    fn need(&self, name: &'static str) -> Result<String, Wrong> {
        if self.get(name).is_none() {
            return Err(self.missing(name));
        }
        self.line(name)?.ok_or(self.wrong(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, Wrong> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(yes)) => Ok(*yes),
            Some(_) => Err(self.wrong(name)),
        }
    }

    fn seconds(&self, name: &'static str) -> Result<Option<Duration>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|n| (0.0..=LONGEST).contains(n)).ok_or(self.wrong(name))?;
        Ok(Some(Duration::from_secs_f64(seconds)))
    }

    fn headers(&self, name: &'static str) -> Result<Headers, Wrong> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(value) => headers_of(value).ok_or(self.wrong(name)),
        }
    }

    fn hook(&self, name: &'static str) -> Result<Option<Hook>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        Hook::read(value, self.base).map(Some).map_err(|_: Unusable| self.wrong(name))
    }

    fn missing(&self, name: &'static str) -> Wrong {
        Wrong::Missing(self.verb, name)
    }

    fn wrong(&self, name: &'static str) -> Wrong {
        Wrong::Value(self.verb, name)
    }
}

/// Header fields as an object of texts and numbers. What may not be given is left out (6.1.4); a name or
/// a value that would not stay within its line is wrong.
pub(super) fn headers_of(value: &Value) -> Option<Headers> {
    let mut headers = Headers::new();
    for (name, value) in value.as_object()? {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) => print(value),
            _ => return None,
        };
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
        let fits = !name.is_empty() && name.bytes().all(token);
        if !fits || value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return None;
        }
        if may_be_given(name) {
            headers.push((name.clone(), value));
        }
    }
    Some(headers)
}

/// What is wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrongTarget {
    Type,
    Number,
    SipUri,
    Name,
    Unsupported,
}

/// Whom to call: `{type, number | sipUri | name, auth?}`.
pub(super) fn target(members: &Map<String, Value>) -> Result<Target, WrongTarget> {
    let text =
        |name: &str| members.get(name).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
    let clean = |text: &str| text.len() < 256 && !text.chars().any(|c| c.is_control() || c == ' ');
    let (party, shown) = match text("type").ok_or(WrongTarget::Type)? {
        "phone" => {
            let number = text("number").ok_or(WrongTarget::Number)?;
            let number: String = number.chars().filter(|c| !matches!(c, ' ' | '(' | ')')).collect();
            if !clean(&number) || number.contains([':', '@', '<', '>']) {
                return Err(WrongTarget::Number);
            }
            (Party::Number(number.clone()), number)
        }
        "sip" => {
            let given = text("sipUri").ok_or(WrongTarget::SipUri)?;
            let bare = given.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(given);
            let whole = if bare.contains(':') { bare.to_owned() } else { format!("sip:{bare}") };
            let uri = Uri::parse(whole.as_bytes()).ok().filter(|uri| uri.is_sip() && uri.headers.is_empty());
            let uri = uri.filter(|_| clean(&whole)).ok_or(WrongTarget::SipUri)?;
            let shown = String::from_utf8_lossy(uri.user.unwrap_or(uri.host)).into_owned();
            (Party::Uri(whole), shown)
        }
        "user" => {
            let name = text("name").ok_or(WrongTarget::Name)?;
            let user = name.split('@').next().unwrap_or("");
            if user.is_empty() || !clean(user) {
                return Err(WrongTarget::Name);
            }
            (Party::Client(user.to_owned()), user.to_owned())
        }
        "teams" => return Err(WrongTarget::Unsupported),
        _ => return Err(WrongTarget::Type),
    };
    let auth = members.get("auth").and_then(Value::as_object);
    let credentials = auth.and_then(|auth| {
        let text = |name: &str| auth.get(name).and_then(Value::as_str);
        let secret = Secret::Password(text("password").unwrap_or("").into());
        Some(Arc::new(Credentials { user: text("username")?.into(), secret }))
    });
    Ok(Target { party, shown, headers: Vec::new(), credentials })
}
