//! `/metrics`: what shards, I/O and store counted, as Prometheus or OpenMetrics text.
//!
//! What there is one of per process goes through the `metrics` crate, copied in as absolute values
//! when scraped. The shards' families do not: thousands of trunks make tens of thousands of series,
//! which have to be shown within T-135's 100 ms, and their histograms are bucketed already; they are
//! written straight from the counters by [`text`].

mod text;

use super::engine::Engine;
use super::webhook::Outcome;
use super::{App, Readiness};
use crate::io;
use crate::record::Stats;
use crate::shard::counters::{Counters, Outside, Queue, visit};
use crate::sip::time::Time;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use text::{Names, Series, Text};

/// What is shown.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) shards: Vec<Arc<Counters>>,
    pub(super) io: Vec<Arc<io::Counters>>,
    pub(super) records: Arc<Stats>,
    pub(super) trunks: Vec<Box<str>>,
    pub(super) tls_profiles: Vec<Box<str>>,
    pub(super) readiness: Readiness,
    pub(super) started: Time,
    pub(super) max_series: usize,
    pub(super) engine: Arc<Engine>,
}

/// Shows them.
pub(super) struct Metrics {
    sources: Sources,
    process: PrometheusRecorder,
    /// The series shown so far; a scrape at a time.
    series: Mutex<Series>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl Metrics {
    pub(super) fn new(sources: Sources) -> Metrics {
        let process = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&process, describe);
        let series = Mutex::new(Series::new(sources.max_series));
        Metrics { sources, process, series }
    }

    /// Everything, as Prometheus text.
    fn text(&self) -> String {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let names = Names { trunks: &self.sources.trunks, tls_profiles: &self.sources.tls_profiles };
        let shards: Vec<&Counters> = self.sources.shards.iter().map(|shard| &**shard).collect();
        let mut text = Text::new(names, &mut series);
        visit(&shards, &self.outside(), &mut text);
        let text = text.finish();
        let folded = series.folded();
        metrics::with_local_recorder(&self.process, || self.copy_process(folded));
        let mut all = self.process.handle().render();
        all.push_str(&text);
        all
    }

    /// What I/O counted for families that the shards have too.
    fn outside(&self) -> Outside {
        let io = || self.sources.io.iter();
        let sum = |count: fn(&io::Counters) -> u64| io().map(|io| count(io)).sum::<u64>();
        Outside {
            handoffs: io().map(|io| io.handed_over.get()).collect(),
            queue_depth: vec![
                (Queue::Events, sum(|io| io.events_waiting.get())),
                (Queue::Webhook, self.sources.engine.webhooks.waiting() as u64),
            ],
            queue_dropped: vec![
                (Queue::Handoff, sum(|io| io.handover_dropped.get())),
                (Queue::Events, sum(|io| io.events_dropped.get() + io.events_lost.get())),
                (Queue::Stream, sum(|io| io.stream_sends_failed.get())),
                (Queue::Datagram, sum(|io| io.datagrams_failed.get())),
                (Queue::Dns, sum(|io| io.dns_refused.get())),
                (Queue::Webhook, self.sources.engine.webhooks.stats().of(Outcome::Dropped)),
            ],
        }
    }

    fn copy_process(&self, folded: u64) {
        let revision = option_env!("BATON_REVISION").unwrap_or("unknown");
        gauge!("baton_build_info", "version" => env!("CARGO_PKG_VERSION"), "revision" => revision).set(1.0);
        gauge!("baton_process_start_time_seconds").set(self.sources.started.micros() as f64 / 1e6);
        counter!("baton_cdr_written_total", "sink" => "sqlite").absolute(self.sources.records.written());
        counter!("baton_cdr_dropped_total", "sink" => "sqlite").absolute(self.sources.records.dropped());
        let draining = self.sources.readiness.stands(Readiness::DRAINING);
        gauge!("baton_draining").set(if draining { 1.0 } else { 0.0 });
        gauge!("baton_metrics_folded_series").set(folded as f64);
        self.copy_steering();
        for (name, value) in summed(&self.sources.io) {
            match name {
                "connections" => gauge!("baton_io_connections").set(value as f64),
                "events_waiting" => gauge!("baton_io_events_waiting").set(value as f64),
                name => counter!("baton_io_total", "what" => name).absolute(value),
            }
        }
    }
}

impl Metrics {
    /// What came of steering calls.
    fn copy_steering(&self) {
        let engine = &self.sources.engine;
        for (outcome, result) in Outcome::ALL {
            let count = engine.webhooks.stats().of(outcome);
            counter!("baton_webhook_deliveries_total", "result" => result).absolute(count);
        }
        let (fetches, deliveries) = engine.webhooks.on_their_way();
        gauge!("baton_webhook_turns", "of" => "fetches").set(fetches as f64);
        gauge!("baton_webhook_turns", "of" => "deliveries").set(deliveries as f64);
        for (result, count) in engine.rcml.documents().all() {
            counter!("baton_documents_total", "result" => result).absolute(count);
        }
        for (result, count) in engine.live.orders().stats().all() {
            counter!("baton_orders_total", "result" => result).absolute(count);
        }
        let (calls, lost) = engine.live.counts();
        let (documents, skipped) = engine.rcml.counts();
        let (verbs, skipped_verbs) = engine.jambonz.counts();
        gauge!("baton_owned_calls").set(calls as f64);
        gauge!("baton_steered_calls").set((documents + verbs) as f64);
        counter!("baton_steering_events_lost_total").absolute(lost);
        counter!("baton_media_verbs_skipped_total").absolute(skipped + skipped_verbs);
    }
}

fn summed(io: &[Arc<io::Counters>]) -> Vec<(&'static str, u64)> {
    let mut sums: Vec<(&'static str, u64)> = Vec::new();
    for counters in io {
        for (place, (name, value)) in counters.all().into_iter().enumerate() {
            match sums.get_mut(place) {
                Some((_, sum)) => *sum = sum.wrapping_add(value),
                None => sums.push((name, value)),
            }
        }
    }
    sums
}

fn describe() {
    let none = Unit::Count;
    describe_gauge!("baton_build_info", none, "Version and revision of this build; always 1.");
    describe_gauge!(
        "baton_process_start_time_seconds",
        Unit::Seconds,
        "When the process began, in seconds since 1970."
    );
    describe_counter!("baton_cdr_written_total", none, "Records of ended calls and refers written.");
    describe_counter!("baton_cdr_dropped_total", none, "Records that the store lost.");
    describe_gauge!("baton_draining", none, "1 while the node takes no new calls because it ends.");
    describe_gauge!(
        "baton_metrics_folded_series",
        none,
        "Series that families beyond their bound show as one named other."
    );
    describe_counter!(
        "baton_webhook_deliveries_total",
        none,
        "Requests to programs that steer calls or are told of them, by what came of it."
    );
    describe_gauge!("baton_webhook_turns", none, "Requests to such programs that are on their way now.");
    describe_counter!(
        "baton_documents_total",
        none,
        "Documents fetched for calls, by what came of it: malformed is one that cannot be read."
    );
    describe_counter!("baton_orders_total", none, "Orders to shards, by what came of them.");
    describe_gauge!("baton_owned_calls", none, "Legs that Baton owns and the control plane knows of.");
    describe_gauge!("baton_steered_calls", none, "Calls steered by documents now.");
    describe_counter!(
        "baton_steering_events_lost_total",
        none,
        "Events that who steers a call did not take in time."
    );
    describe_counter!(
        "baton_media_verbs_skipped_total",
        none,
        "Verbs of documents that need media and were skipped."
    );
    describe_gauge!("baton_io_connections", none, "Stream connections open now.");
    describe_gauge!("baton_io_events_waiting", none, "Final events a shard keeps until they are taken.");
    describe_counter!("baton_io_total", none, "What sockets and threads did, by what it was.");
}

/// `GET /metrics`, in OpenMetrics when the client asks for it.
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response<Body> {
    const OPEN: &str = "application/openmetrics-text";
    let open = headers
        .get_all(ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains(OPEN)));
    let text = tokio::task::spawn_blocking(move || {
        let text = app.metrics.text();
        if open { text::open_metrics(&text) } else { text }
    });
    let Ok(text) = text.await else { return super::problem::Problem::internal().into_json() };
    let mut response = Response::new(Body::from(text));
    let content_type = HeaderValue::from_static(match open {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    });
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
