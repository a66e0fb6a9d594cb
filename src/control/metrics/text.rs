//! The shards' families as text, at most so many series each (T-133).

use crate::shard::counters::{Family, FamilyKind, LabelValue, Sample, Sink, Spread};
use hashbrown::{HashMap, HashSet};
use std::fmt::Write as _;

/// What trunks and profiles are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) trunks: &'a [Box<str>],
    pub(super) tls_profiles: &'a [Box<str>],
}

type Labels = Vec<(&'static str, LabelValue)>;

/// The series that were admitted: first come, first shown, so that none moves between its own name
/// and `other`, which would make a counter fall.
#[derive(Debug)]
pub(super) struct Series {
    max: usize,
    admitted: HashMap<&'static str, HashSet<Labels>>,
    folded: u64,
}

impl Series {
    pub(super) fn new(max: usize) -> Series {
        Series { max: max.max(1), admitted: HashMap::new(), folded: 0 }
    }

    /// Series of the last scrape that were folded.
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }

    fn admits(&mut self, family: &'static str, labels: &[(&'static str, LabelValue)]) -> bool {
        let admitted = self.admitted.entry(family).or_default();
        if admitted.contains(labels) {
            return true;
        }
        let room = admitted.len() < self.max;
        if room {
            admitted.insert(labels.to_vec());
        }
        room
    }
}

/// Writes families as they come.
pub(super) struct Text<'a> {
    names: Names<'a>,
    series: &'a mut Series,
    out: String,
    family: Option<&'static Family>,
    other: Option<Other>,
}

/// What a family's folded series come to.
struct Other {
    labels: Labels,
    value: Value,
}

enum Value {
    Number(u64),
    Spread(Spread),
}

impl<'a> Text<'a> {
    pub(super) fn new(names: Names<'a>, series: &'a mut Series) -> Text<'a> {
        series.folded = 0;
        Text { names, series, out: String::with_capacity(64 * 1024), family: None, other: None }
    }

    pub(super) fn finish(mut self) -> String {
        self.end_family();
        self.out
    }

    fn end_family(&mut self) {
        let (Some(family), Some(other)) = (self.family, self.other.take()) else { return };
        match &other.value {
            Value::Number(n) => self.number(family.name, &other.labels, *n),
            Value::Spread(spread) => self.spread(family.name, &other.labels, spread),
        }
    }

    fn fold(&mut self, labels: &[(&'static str, LabelValue)], sample: Sample<'_>) {
        self.series.folded += 1;
        let other = self.other.get_or_insert_with(|| Other {
            labels: labels.iter().map(|(name, _)| (*name, LabelValue::Word("other"))).collect(),
            value: match sample {
                Sample::Count(_) | Sample::Gauge(_) => Value::Number(0),
                Sample::Spread(spread) => Value::Spread(Spread::new(spread.bounds)),
            },
        });
        match (&mut other.value, sample) {
            (Value::Number(sum), Sample::Count(n) | Sample::Gauge(n)) => *sum = sum.wrapping_add(n),
            (Value::Spread(sum), Sample::Spread(spread)) => {
                sum.sum = sum.sum.wrapping_add(spread.sum);
                for (sum, n) in sum.buckets.iter_mut().zip(spread.buckets) {
                    *sum = sum.wrapping_add(n);
                }
            }
            // A family has samples of one kind.
            (Value::Number(_), Sample::Spread(_))
            | (Value::Spread(_), Sample::Count(_) | Sample::Gauge(_)) => {}
        }
    }

    fn number(&mut self, name: &str, labels: &[(&'static str, LabelValue)], n: u64) {
        self.out.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.out, " {n}");
    }

    fn spread(&mut self, name: &str, labels: &[(&'static str, LabelValue)], spread: &Spread) {
        let bounds = spread.bounds;
        let mut below = 0;
        for (upper, n) in bounds.upper.iter().zip(spread.buckets) {
            below += n;
            let le = (*upper as f64 / bounds.per_unit as f64).to_string();
            self.bucket(name, labels, &le, below);
        }
        let count = spread.count();
        self.bucket(name, labels, "+Inf", count);
        self.out.push_str(name);
        self.out.push_str("_sum");
        self.labels(labels, None);
        let _ = writeln!(self.out, " {}", spread.sum as f64 / bounds.per_unit as f64);
        self.out.push_str(name);
        self.out.push_str("_count");
        self.labels(labels, None);
        let _ = writeln!(self.out, " {count}");
    }

    fn bucket(&mut self, name: &str, labels: &[(&'static str, LabelValue)], le: &str, n: u64) {
        self.out.push_str(name);
        self.out.push_str("_bucket");
        self.labels(labels, Some(le));
        let _ = writeln!(self.out, " {n}");
    }

    fn labels(&mut self, labels: &[(&'static str, LabelValue)], le: Option<&str>) {
        if labels.is_empty() && le.is_none() {
            return;
        }
        let mut before = '{';
        for (name, value) in labels {
            self.out.push(before);
            before = ',';
            self.out.push_str(name);
            self.out.push_str("=\"");
            self.value(*value);
            self.out.push('"');
        }
        if let Some(le) = le {
            let _ = write!(self.out, "{before}le=\"{le}\"");
        }
        self.out.push('}');
    }

    fn value(&mut self, value: LabelValue) {
        let name = match value {
            LabelValue::Word(word) => word,
            LabelValue::Number(number) => {
                let _ = write!(self.out, "{number}");
                return;
            }
            LabelValue::Trunk(None) => "none",
            LabelValue::Trunk(Some(ix)) => {
                self.names.trunks.get(usize::from(ix.0)).map_or("other", |name| &**name)
            }
            LabelValue::Profile(ix) => self.names.tls_profiles.get(ix).map_or("other", |name| &**name),
        };
        for c in name.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                c => self.out.push(c),
            }
        }
    }
}

impl Sink for Text<'_> {
    fn family(&mut self, family: &'static Family) {
        self.end_family();
        self.family = Some(family);
        let kind = match family.kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        };
        let Family { name, help, .. } = family;
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, labels: &[(&'static str, LabelValue)], sample: Sample<'_>) {
        let Some(family) = self.family else { return };
        if !self.series.admits(family.name, labels) {
            return self.fold(labels, sample);
        }
        match sample {
            Sample::Count(n) | Sample::Gauge(n) => self.number(family.name, labels, n),
            Sample::Spread(spread) => self.spread(family.name, labels, spread),
        }
    }
}

/// The same text by the rules of OpenMetrics: a counter's family is named without `_total`, no
/// empty lines, and the end is marked.
pub(super) fn open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        let bare = match (words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind @ ("HELP" | "TYPE")), Some(name)) => {
                name.strip_suffix("_total").map(|name| (kind, name))
            }
            _ => None,
        };
        match bare {
            Some((kind, name)) => {
                let _ = writeln!(out, "# {kind} {name} {}", words.next().unwrap_or(""));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::counters::{Counters, Dir, Outside, Rejection, visit};
    use crate::sip::flow::Transport;
    use crate::sip::message::Method;
    use crate::sip::plan::TrunkIx;
    use std::time::Duration;

    fn text(counters: &Counters, series: &mut Series) -> String {
        let trunks: Vec<Box<str>> = vec!["alpha".into(), "br\"avo".into()];
        let mut text = Text::new(Names { trunks: &trunks, tls_profiles: &[] }, series);
        visit(&[counters], &Outside::default(), &mut text);
        text.finish()
    }

    /// [T-130] [T-132] Trunks appear under their configured names, escaped.
    #[test]
    fn series_have_names_and_labels() {
        let counters = Counters::new(2);
        counters.request(Dir::In, Method::Invite, Transport::Udp, Some(TrunkIx(1)));
        counters.call_setup(None, Duration::from_millis(60));
        let text = text(&counters, &mut Series::new(100));
        for line in [
            "# TYPE baton_sip_requests_total counter",
            "baton_sip_requests_total{direction=\"in\",method=\"INVITE\",transport=\"udp\",\
             trunk=\"br\\\"avo\"} 1",
            "# TYPE baton_call_setup_seconds histogram",
            "baton_call_setup_seconds_bucket{trunk=\"none\",le=\"0.05\"} 0",
            "baton_call_setup_seconds_bucket{trunk=\"none\",le=\"0.1\"} 1",
            "baton_call_setup_seconds_bucket{trunk=\"none\",le=\"+Inf\"} 1",
            "baton_call_setup_seconds_sum{trunk=\"none\"} 0.06",
            "baton_call_setup_seconds_count{trunk=\"none\"} 1",
            "baton_timers_active 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    /// [T-133] What is beyond the bound is one series, and what was shown stays shown.
    #[test]
    fn families_are_bounded() {
        let counters = Counters::new(2);
        let mut series = Series::new(2);
        for code in [404, 486, 487] {
            counters.response(Dir::In, Method::Invite, code, None);
        }
        let first = text(&counters, &mut series);
        assert!(first.contains("code=\"404\"") && first.contains("code=\"486\""));
        assert!(!first.contains("code=\"487\""));
        let other = "baton_sip_responses_total{direction=\"other\",method=\"other\",code=\"other\",\
                     trunk=\"other\"}";
        assert!(first.contains(&format!("{other} 1\n")), "{first}");
        assert!(series.folded() > 0);
        counters.response(Dir::In, Method::Invite, 180, None);
        let second = text(&counters, &mut series);
        assert!(second.contains("code=\"486\"") && !second.contains("code=\"180\""));
        assert!(second.contains(&format!("{other} 2\n")));
    }

    /// [T-130] The OpenMetrics form of the same.
    #[test]
    fn open_metrics_names_counters_without_total() {
        let counters = Counters::new(0);
        counters.rejected(None, Rejection::NoRoute);
        let open = open_metrics(&text(&counters, &mut Series::new(100)));
        assert!(open.contains("# TYPE baton_rejected counter\n"));
        assert!(open.contains("\nbaton_rejected_total{trunk=\"none\",reason=\"no_route\"} 1\n"));
        assert!(open.ends_with("# EOF\n") && !open.contains("\n\n"));
    }
}
