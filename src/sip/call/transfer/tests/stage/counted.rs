//! What the counters say.

use super::Stage;
use crate::shard::counters::{Family, LabelValue, Outside, Sample, Sink, visit};

impl Stage {
    /// What the counters say of Refers: `baton_refer_total`, `baton_refer_active`, with their labels.
    pub(in super::super) fn counted(&self) -> Vec<String> {
        let mut counted = Counted::default();
        visit(&[&self.counters], &Outside::default(), &mut counted);
        counted.lines
    }
}

/// Samples of the families about Refers that are not zero, as text.
#[derive(Default)]
struct Counted {
    family: &'static str,
    lines: Vec<String>,
}

impl Sink for Counted {
    fn family(&mut self, family: &'static Family) {
        self.family = family.name;
    }

    fn sample(&mut self, labels: &[(&'static str, LabelValue)], sample: Sample<'_>) {
        let n = match sample {
            Sample::Count(n) | Sample::Gauge(n) => n,
            Sample::Spread(spread) => spread.count(),
        };
        if n == 0 || !self.family.starts_with("baton_refer_") {
            return;
        }
        let mut line = String::from(self.family);
        for (name, value) in labels {
            let value = match value {
                LabelValue::Word(word) => (*word).to_string(),
                LabelValue::Trunk(trunk) => trunk.map_or("none".into(), |ix| ix.0.to_string()),
                LabelValue::Profile(n) | LabelValue::Number(n) => n.to_string(),
            };
            line.push_str(&format!(" {name}={value}"));
        }
        self.lines.push(format!("{line} {n}"));
    }
}
