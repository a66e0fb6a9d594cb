use super::*;
use std::collections::BTreeMap;

/// Keeps samples by name and labels, as text.
#[derive(Default)]
pub(in crate::shard) struct Seen {
    family: &'static str,
    families: Vec<&'static str>,
    pub(in crate::shard) samples: BTreeMap<String, u64>,
    spreads: BTreeMap<String, Spread>,
}

impl Sink for Seen {
    fn family(&mut self, family: &'static Family) {
        self.family = family.name;
        self.families.push(family.name);
    }

    fn sample(&mut self, labels: &[(&'static str, LabelValue)], sample: Sample<'_>) {
        let mut key = String::from(self.family);
        for (name, value) in labels {
            let value = match value {
                LabelValue::Word(word) => word.to_string(),
                LabelValue::Trunk(Some(ix)) => ix.0.to_string(),
                LabelValue::Trunk(None) => "none".to_string(),
                LabelValue::Profile(n) | LabelValue::Number(n) => n.to_string(),
            };
            key.push_str(&format!(" {name}={value}"));
        }
        let new = match sample {
            Sample::Count(n) | Sample::Gauge(n) => self.samples.insert(key.clone(), n).is_none(),
            Sample::Spread(s) => self.spreads.insert(key.clone(), s.clone()).is_none(),
        };
        assert!(new, "twice: {key}");
    }
}

pub(in crate::shard) fn seen(shards: &[&Counters]) -> Seen {
    let mut seen = Seen::default();
    visit(shards, &Outside::default(), &mut seen);
    seen
}

/// [T-131] What two shards counted is added up under one name.
#[test]
fn shards_add_up() {
    let (a, b) = (Counters::new(3), Counters::new(3));
    a.request(Dir::In, Method::Invite, Transport::Udp, Some(TrunkIx(1)));
    b.request(Dir::In, Method::Invite, Transport::Udp, Some(TrunkIx(1)));
    b.request(Dir::In, Method::Other, Transport::Tls, None);
    a.message();
    b.message();
    b.message();
    let seen = seen(&[&a, &b]);
    let at = |key: &str| seen.samples.get(key).copied();
    assert_eq!(at("baton_sip_requests_total direction=in method=INVITE transport=udp trunk=1"), Some(2));
    assert_eq!(at("baton_sip_requests_total direction=in method=other transport=tls trunk=none"), Some(1));
    assert_eq!(at("baton_shard_messages_total shard=0"), Some(1));
    assert_eq!(at("baton_shard_messages_total shard=1"), Some(2));
}

/// [T-132] Codes outside 100 to 699 are one series; a trunk no plan has counts as none.
#[test]
fn strange_codes_and_trunks_fold() {
    let counters = Counters::new(1);
    for code in [0, 99, 700, u16::MAX] {
        counters.response(Dir::Out, Method::Bye, code, Some(TrunkIx(0)));
    }
    for code in [100, 486, 699] {
        counters.response(Dir::Out, Method::Bye, code, Some(TrunkIx(9)));
    }
    let seen = seen(&[&counters]);
    let at = |code: &str, trunk: &str| {
        let key = format!("baton_sip_responses_total direction=out method=BYE code={code} trunk={trunk}");
        seen.samples.get(&key).copied()
    };
    assert_eq!(at("other", "0"), Some(4));
    assert_eq!(at("100", "none"), Some(1));
    assert_eq!(at("486", "none"), Some(1));
    assert_eq!(at("699", "none"), Some(1));
}

/// [T-136] A gauge is never shown below zero, and stays visible at zero once it was in use.
#[test]
fn gauges_clamp_at_zero() {
    let (a, b) = (Counters::new(1), Counters::new(1));
    let trunk = Some(TrunkIx(0));
    a.call_phase(trunk, Direction::Inbound, Phase::Up, 1);
    b.call_phase(trunk, Direction::Inbound, Phase::Up, -1);
    b.call_phase(trunk, Direction::Inbound, Phase::Setup, -1);
    a.call_result(trunk, Direction::Inbound, CallResult::Answered);
    let seen = seen(&[&a, &b]);
    let at = |phase: &str| {
        seen.samples.get(&format!("baton_calls_active trunk=0 direction=inbound phase={phase}"))
    };
    assert_eq!(at("up"), Some(&0));
    assert_eq!(at("setup"), Some(&0));
}

/// [T-131] Buckets and sums of histograms hold what was observed, the last bucket the rest.
#[test]
fn histograms_spread() {
    let counters = Counters::new(0);
    for bytes in [256, 257, 70_000] {
        counters.bytes(Dir::In, bytes);
    }
    let seen = seen(&[&counters]);
    let spread = &seen.spreads["baton_sip_message_bytes direction=in"];
    assert_eq!(spread.buckets[0], 1);
    assert_eq!(spread.buckets[1], 1);
    assert_eq!(spread.buckets[spread.bounds.upper.len()], 1);
    assert_eq!((spread.count(), spread.sum), (3, 70_513));
}

/// [T-131] A Refer's result and reason are labels; one that went well has an empty reason.
#[test]
fn refers_count_by_result_and_reason() {
    let counters = Counters::new(1);
    let trunk = Some(TrunkIx(0));
    counters.refer(trunk, ReferRole::Relay, ReferStatus::Completed, None);
    counters.refer(trunk, ReferRole::Relay, ReferStatus::Failed, Some(ReferReason::ReferRejected));
    let seen = seen(&[&counters]);
    let key = "baton_refer_total trunk=0 role=relay result=";
    assert_eq!(seen.samples.get(&format!("{key}completed reason=")), Some(&1));
    assert_eq!(seen.samples.get(&format!("{key}failed reason=refer-rejected")), Some(&1));
    assert_eq!(seen.samples.get("baton_refer_active trunk=0 role=relay"), Some(&0));
}

/// [T-130] Family names are unique, counters end in `_total`, and nothing else does.
#[test]
fn family_names_follow_the_rules() {
    struct Names(Vec<&'static Family>);
    impl Sink for Names {
        fn family(&mut self, family: &'static Family) {
            self.0.push(family);
        }
        fn sample(&mut self, _: &[(&'static str, LabelValue)], _: Sample<'_>) {}
    }
    let mut names = Names(Vec::new());
    visit(&[&Counters::new(0)], &Outside::default(), &mut names);
    let mut unique: Vec<_> = names.0.iter().map(|f| f.name).collect();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.0.len());
    for family in names.0 {
        assert_eq!(family.name.ends_with("_total"), family.kind == FamilyKind::Counter);
        assert!(family.name.starts_with("baton_") && family.help.ends_with('.'));
    }
}

/// [T-135] Thousands of trunks cost little until they are used.
#[test]
fn unused_trunks_are_small() {
    let counters = Counters::new(5_000);
    assert!(size_of_val(&*counters.trunks) <= 5_001 * 16);
    assert!(size_of::<TrunkCounters>() <= 4_096);
}
