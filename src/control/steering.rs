//! What steering calls needs to know, from the configuration and from what runs already.

use super::orders::Shards;
use crate::config::Secret;
pub use crate::config::schema::ApplicationKind;
use crate::io::DnsOptions;
use crate::sip::event::Event;
use crossbeam::channel::Sender;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver};

/// Events of owned calls that may wait for the control plane.
const EVENTS: usize = 16_384;

/// The queue by which shards tell the control plane of the calls that Baton owns: one end for
/// [`crate::io::IoConfig::control`], the other for [`Steering::events`].
pub fn events() -> (mpsc::Sender<Event>, Receiver<Event>) {
    mpsc::channel(EVENTS)
}

/// How calls are steered.
#[derive(Debug)]
pub struct Steering {
    /// This node's 128 bits.
    pub node: u128,
    /// The way to the shards.
    pub shards: Arc<dyn Shards>,
    /// What they tell; from [`events`].
    pub events: Receiver<Event>,
    /// Where events go to be recorded.
    pub store: Sender<Event>,
    /// The applications, in the order of [`crate::sip::plan::CallPlan::applications`].
    pub applications: Vec<Application>,
    /// Outgoing HTTP.
    pub webhook: WebhookOptions,
    /// The host by which Baton names itself.
    pub host: Box<str>,
    /// Whether a verb that needs media fails its document; else it is skipped.
    pub media_fails: bool,
    /// The key that signs webhooks: an Ed25519 seed.
    pub webhook_key: [u8; 32],
    /// What applications of kind `jambonz` are told, and how.
    pub jambonz: JambonzOptions,
}

/// What applications of kind `jambonz` are told, and how.
#[derive(Clone, Debug)]
pub struct JambonzOptions {
    /// A hook that has not answered after this has failed.
    pub timeout: Duration,
    /// A transfer whose hook has not answered after this is taken: the shard waits two seconds for a decision.
    pub decision: Duration,
    /// Whether `call_status` in event hooks is a number; else it is a text.
    pub integer_event_status: bool,
}

impl Default for JambonzOptions {
    fn default() -> JambonzOptions {
        JambonzOptions {
            timeout: Duration::from_secs(10),
            decision: Duration::from_millis(1_500),
            integer_event_status: false,
        }
    }
}

/// Outgoing HTTP.
#[derive(Clone, Debug, Default)]
pub struct WebhookOptions {
    /// Whether loopback and private addresses may be reached.
    pub allow_private: bool,
    /// How names are resolved.
    pub dns: DnsOptions,
    /// Its bounds.
    pub limits: WebhookLimits,
}

/// The bounds of outgoing HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookLimits {
    /// A whole exchange is given up after this, redirects included.
    pub timeout: Duration,
    /// Documents fetched at once; others wait, and their time runs.
    pub fetches: usize,
    /// Notifications on their way at once; others wait, and only then does their time run: a receiver
    /// that is down must not cost others their one attempt.
    pub deliveries: usize,
    /// Notifications that may wait altogether; further ones are dropped.
    pub waiting: usize,
    /// Notifications of one call that may wait; further ones are dropped.
    pub waiting_per_call: usize,
}

impl Default for WebhookLimits {
    fn default() -> WebhookLimits {
        WebhookLimits {
            timeout: Duration::from_secs(6),
            fetches: 1_024,
            deliveries: 1_024,
            waiting: 16_384,
            waiting_per_call: 64,
        }
    }
}

/// How an application is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMethod {
    /// Parameters in the query.
    Get,
    /// Parameters in the body.
    #[default]
    Post,
}

/// A program that steers calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// What it speaks.
    pub kind: ApplicationKind,
    /// The account whose calls it steers.
    pub account: Option<Box<str>>,
    /// Where its first document is, or who is told of events.
    pub url: String,
    /// How all its URLs are requested.
    pub method: HttpMethod,
    /// Where a document is when the first cannot be had.
    pub fallback_url: Option<String>,
    /// Who is told when a call of it has ended.
    pub status_callback: Option<String>,
    /// Who decides on a REFER in its calls.
    pub refer_url: Option<String>,
    /// `jambonz`: who is told what happens to its calls.
    pub status_url: Option<String>,
    /// `jambonz`: signs what is sent to it.
    pub webhook_secret: Option<Secret>,
    /// `telnyx`: how commands name it.
    pub connection_id: Option<Box<str>>,
    /// `telnyx`: who is told when `url` cannot be reached.
    pub failover_url: Option<String>,
    /// `telnyx`: how long an attempt to tell it something may take; `None`: 5 s.
    pub timeout: Option<Duration>,
    /// `telnyx`: how long after a transfer Baton ends the leg, unless the party does; `None`: 1 s.
    pub bye_after: Option<Duration>,
}

impl Application {
    /// An application with nothing but what it must have.
    pub fn new(name: &str, kind: ApplicationKind, url: impl Into<String>) -> Application {
        Application {
            name: name.into(),
            kind,
            account: None,
            url: url.into(),
            method: HttpMethod::default(),
            fallback_url: None,
            status_callback: None,
            refer_url: None,
            status_url: None,
            webhook_secret: None,
            connection_id: None,
            failover_url: None,
            timeout: None,
            bye_after: None,
        }
    }
}
