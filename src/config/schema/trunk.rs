//! `[[trunk]]` and `[[trunk_group]]`.

use super::refer::{TrunkAuth, read_refer, read_session_timer};
use super::service::at_least;
use super::{Name, named};
use crate::config::endpoint::{SourceEntry, parse_target, report};
use crate::config::read::{At, FromToml, Reader, Value};
use crate::sip::plan::{ReferMode, SessionTimer, Target};
use crate::sip::refer::Policy;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::de::DeValue;

/// `[[trunk]]`: a peer or group of peers.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// Its name.
    pub name: At<Name>,
    /// Where calls to it go.
    pub targets: Vec<At<Target>>,
    /// Which source addresses are this trunk's.
    pub sources: Vec<At<SourceEntry>>,
    /// The owner of the records of its calls.
    pub account: Option<At<String>>,
    /// What happens to a REFER it sends.
    pub refer: At<ReferMode>,
    /// How transfers are done (refer-core section 4).
    pub policy: Policy,
    /// For challenges by its peer.
    pub auth: Option<TrunkAuth>,
    /// Session timers of calls that Baton owns.
    pub session: SessionTimer,
    /// Larger requests leave over a stream transport where the trunk has one.
    pub udp_max: usize,
    /// An attempt without any response is given up after this (T-061).
    pub no_response_timeout: Duration,
    /// An attempt that rings longer is cancelled (T-067).
    pub ring_timeout: Duration,
    /// A proxied call whose BYE never comes is closed in the records after this.
    pub max_duration: Duration,
    /// Free words for the operator (T-014).
    pub labels: BTreeMap<String, String>,
}

/// Keys of a trunk that belong to later versions.
const LATER: &[&str] = &[
    "direction",
    "admin",
    "listener",
    "allow_preloaded_route",
    "number_plan_in",
    "number_plan_out",
    "strip",
    "prefix",
    "trust",
    "caller_id",
    "probe",
    "passive",
    "connections",
    "limits",
    "nat",
    "topology",
    "headers",
    "response_map",
    "overload_feedback",
    "require_registration",
];

impl Trunk {
    /// T-001: a name and one target are enough.
    pub(super) fn read(mut table: Reader<'_>) -> Option<Trunk> {
        let name = named(&mut table, "trunk", "\"carrier\"");
        let targets = table.need::<Vec<At<Target>>>("targets", "[\"sip:192.0.2.1:5060\"]");
        if let Some(value) = table.value("targets").filter(Value::is_empty_array) {
            value.wrong("is empty", "name at least one URI such as \"sip:192.0.2.1:5060\"");
        }
        let mut matched = table.table("match");
        let sources = matched.or("source", Vec::new());
        matched.later(&["tls_names"]);
        matched.finish();
        let account = table.take("account");
        let (refer, policy) = read_refer(&mut table);
        let auth = TrunkAuth::read(&mut table);
        let session = read_session_timer(&mut table);
        let udp_max = table.int("udp_max", 200..=65_535).and_then(|n| usize::try_from(n).ok());
        let no_response_timeout = at_least(&mut table, "no_response_timeout", MIN);
        let ring_timeout = at_least(&mut table, "ring_timeout", MIN);
        let max_duration = at_least(&mut table, "max_duration", Duration::from_secs(1));
        let labels = read_labels(&mut table);
        table.later(LATER);
        table.finish();
        Some(Trunk {
            name: name?,
            targets: targets?,
            sources,
            account,
            refer,
            policy,
            auth,
            session,
            udp_max: udp_max.unwrap_or(1_300),
            no_response_timeout: no_response_timeout.unwrap_or(Duration::from_secs(3)),
            ring_timeout: ring_timeout.unwrap_or(Duration::from_secs(180)),
            max_duration: max_duration.unwrap_or(Duration::from_secs(6 * 3_600)),
            labels,
        })
    }
}

/// No trunk timer is finer than ten ticks of the wheel.
const MIN: Duration = Duration::from_millis(100);

impl FromToml for Target {
    fn from_toml(value: &Value<'_>) -> Option<Target> {
        const PRIORITY: u16 = 10;
        const WEIGHT: u16 = 100;
        let DeValue::Table(inner) = value.raw.get_ref() else {
            let text = value.string("a URI such as \"sip:192.0.2.1:5060\", or { uri, priority, weight }")?;
            return report(value, text, parse_target(text, PRIORITY, WEIGHT));
        };
        let mut table = Reader::new(value.context(), Some(inner), &value.path, value.span());
        let priority = table.int("priority", 0..=65_535).and_then(|n| u16::try_from(n).ok());
        let weight = table.int("weight", 0..=65_535).and_then(|n| u16::try_from(n).ok());
        let uri = table.need::<Uri>("uri", "\"sip:192.0.2.1:5060\"");
        table.finish();
        Some(Target { priority: priority.unwrap_or(PRIORITY), weight: weight.unwrap_or(WEIGHT), ..uri?.0 })
    }
}

/// A target's `uri`.
struct Uri(Target);

impl FromToml for Uri {
    fn from_toml(value: &Value<'_>) -> Option<Uri> {
        let text = value.string("a URI such as \"sip:192.0.2.1:5060\"")?;
        report(value, text, parse_target(text, 0, 0)).map(Uri)
    }
}

fn read_labels(table: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some(value) = table.value("labels") else { return BTreeMap::new() };
    let DeValue::Table(inner) = value.raw.get_ref() else {
        value.wrong_type(value.raw.get_ref(), "a table of strings: labels = { site = \"ams\" }");
        return BTreeMap::new();
    };
    let mut labels = BTreeMap::new();
    for (key, entry) in inner {
        match entry.get_ref() {
            DeValue::String(text) => {
                labels.insert(key.get_ref().to_string(), text.to_string());
            }
            other => value.context().error(
                entry.span(),
                format!("trunk.labels.{} is of type {}", key.get_ref(), other.type_str()),
                "write a string in quotes",
            ),
        }
    }
    labels
}

/// `[[trunk_group]]`: a name for several trunks in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name; shares its space with the trunks' names.
    pub name: At<Name>,
    /// Trunks, tried in this order.
    pub members: Vec<At<Name>>,
}

impl Group {
    pub(super) fn read(mut table: Reader<'_>) -> Option<Group> {
        let name = named(&mut table, "trunk", "\"carriers\"");
        let members = table.need("members", "[\"alpha\", \"bravo\"]");
        table.later(&["policy", "fallback"]);
        table.finish();
        Some(Group { name: name?, members: members.unwrap_or_default() })
    }
}
