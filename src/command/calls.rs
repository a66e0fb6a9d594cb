//! `baton calls`: lists, shows, places, ends and redirects calls of a running server.

use super::api::{Access, Api, Problem};
use super::records::{self, Kind};
use super::table::{member, moment};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use std::process::ExitCode;

/// What `baton calls` was asked.
#[derive(Debug, Args)]
pub(super) struct Calls {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The calls of the account, newest first: the default
    #[command(after_help = "Example: baton calls list --status in-progress")]
    List(List),
    /// One call, with all that is known of it
    #[command(after_help = "Example: baton calls show IDdb…-CA4f…\n\nThe list has the sids.")]
    Show {
        /// The call
        sid: String,
    },
    /// Call somebody; once they answer, a document says what happens
    #[command(after_help = "Example: baton calls place --from +3120555 --to sip:bob@pbx.example \
                            --document https://ivr.example.com/welcome.xml\n\n\
                            --to takes a number (routed by the [[route]]s of \"api\"), a sip: address, or client:NAME. \
                            The document is RCML; a <Refer> in it transfers the call.")]
    Place(Place),
    /// End a call, answered or not
    #[command(after_help = "Example: baton calls hangup IDdb…-CA4f…")]
    Hangup {
        /// The call
        sid: String,
    },
    /// End a call that is not answered yet; one that is goes on
    #[command(after_help = "Example: baton calls cancel IDdb…-CA4f…")]
    Cancel {
        /// The call
        sid: String,
    },
    /// Give a running call another document
    #[command(
        after_help = "Example: baton calls redirect IDdb…-CA4f… --document https://ivr.example.com/queue.xml\n\n\
                            A document with <Refer> transfers the call."
    )]
    Redirect(Redirect),
}

#[derive(Clone, Debug, Default, PartialEq, Args)]
struct List {
    /// Only calls with this status
    #[arg(long)]
    status: Option<Status>,
    /// Only calls whose caller ends so
    #[arg(long)]
    from: Option<String>,
    /// Only calls whose callee ends so
    #[arg(long)]
    to: Option<String>,
    /// Only the legs that this call made
    #[arg(long, value_name = "SID")]
    parent: Option<String>,
    /// Only calls that began then or later: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, UTC
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// So many at most; 50 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Status {
    Queued,
    Ringing,
    InProgress,
    Canceled,
    Completed,
    Failed,
    Busy,
    NoAnswer,
}

#[derive(Debug, Args)]
struct Place {
    /// Who calls, as the callee sees it
    #[arg(long)]
    from: String,
    /// Who is called: a number, a sip: address, or client:NAME
    #[arg(long)]
    to: String,
    /// Where the document is: http or https
    #[arg(long, value_name = "URL")]
    document: String,
    #[command(flatten)]
    fetch: Fetch,
    /// Where the call's progress is told
    #[arg(long, value_name = "URL")]
    status_callback: Option<String>,
    /// Of what: initiated, ringing, answered, completed, with commas between
    #[arg(long, value_name = "EVENTS", requires = "status_callback")]
    status_events: Option<String>,
    /// Seconds it may ring, 1 to 600; 60 if not given
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    timeout: Option<u32>,
}

#[derive(Debug, Args)]
struct Redirect {
    /// The call
    sid: String,
    /// Where the document is: http or https
    #[arg(long, value_name = "URL")]
    document: String,
    #[command(flatten)]
    fetch: Fetch,
    /// What happens to the leg that the call has dialled; hangup if not given
    #[arg(long)]
    child: Option<Child>,
}

/// How documents are fetched.
#[derive(Debug, Args)]
struct Fetch {
    /// How the document is asked for; POST if not given
    #[arg(long, value_enum, ignore_case = true)]
    method: Option<Method>,
    /// Where another one is, for when the first cannot be had
    #[arg(long, value_name = "URL")]
    fallback: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
    Get,
    Post,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Child {
    /// It is ended
    Hangup,
    /// It gets the same document
    Move,
    /// It stays connected
    Stay,
}

/// Does what was asked.
pub(super) fn run(calls: &Calls) -> ExitCode {
    records::print(act(calls), "calls")
}

fn act(calls: &Calls) -> Result<String, Problem> {
    let api = Api::new(&calls.access)?;
    let json = calls.access.json;
    let listing = calls.what.as_ref().map(|what| matches!(what, What::List(_)));
    records::misplaced(calls.list != List::default(), "calls", listing)?;
    match &calls.what {
        None => calls.list.ask(&api, json),
        Some(What::List(list)) => list.ask(&api, json),
        Some(What::Show { sid }) => KIND.show(&api, sid, json),
        Some(What::Place(place)) => acted(&api, &place.ask(&api)?, json, |sid, status| {
            format!("{sid} is {status}; `baton calls show {sid}` says what becomes of it\n")
        }),
        Some(What::Hangup { sid }) => {
            let body = api.post("Calls", Some(sid), &[("Status", Some("completed"))])?;
            acted(&api, &body, json, |sid, status| format!("{sid} is being ended; it was {status}\n"))
        }
        Some(What::Cancel { sid }) => {
            let body = api.post("Calls", Some(sid), &[("Status", Some("canceled"))])?;
            acted(&api, &body, json, |sid, status| {
                if status == Status::InProgress.word() {
                    return format!("{sid} is answered and goes on; `baton calls hangup {sid}` ends it\n");
                }
                format!("{sid} is being canceled; it was {status}\n")
            })
        }
        Some(What::Redirect(redirect)) => acted(&api, &redirect.ask(&api)?, json, |sid, status| {
            format!("{sid} gets the document; it was {status}\n")
        }),
    }
}

/// What came of an action, and what to do next where that is not all.
fn acted(
    api: &Api,
    body: &str,
    json: bool,
    said: impl FnOnce(&str, &str) -> String,
) -> Result<String, Problem> {
    let call = api.parse(body)?;
    Ok(if json { records::whole(&call) } else { said(&member(&call, "sid"), &member(&call, "status")) })
}

impl List {
    fn ask(&self, api: &Api, json: bool) -> Result<String, Problem> {
        let filters = [
            ("Status", self.status.map(Status::word)),
            ("From", self.from.as_deref()),
            ("To", self.to.as_deref()),
            ("ParentCallSid", self.parent.as_deref()),
            ("StartTime", self.since.as_deref()),
        ];
        KIND.list(api, &filters, self.limit, json)
    }
}

impl Place {
    fn ask(&self, api: &Api) -> Result<String, Problem> {
        let timeout = self.timeout.map(|seconds| seconds.to_string());
        let fields = [
            ("From", Some(&*self.from)),
            ("To", Some(&*self.to)),
            ("Url", Some(&*self.document)),
            ("Method", self.fetch.method.map(Method::word)),
            ("FallbackUrl", self.fetch.fallback.as_deref()),
            ("StatusCallback", self.status_callback.as_deref()),
            ("StatusCallbackEvent", self.status_events.as_deref()),
            ("Timeout", timeout.as_deref()),
        ];
        api.post("Calls", None, &fields)
    }
}

impl Redirect {
    fn ask(&self, api: &Api) -> Result<String, Problem> {
        let fields = [
            ("Url", Some(&*self.document)),
            ("Method", self.fetch.method.map(Method::word)),
            ("FallbackUrl", self.fetch.fallback.as_deref()),
            ("ChildCallMode", self.child.map(Child::word)),
        ];
        api.post("Calls", Some(&self.sid), &fields)
    }
}

const KIND: Kind = Kind {
    resource: "Calls",
    member: "calls",
    columns: &[
        ("STARTED (UTC)", |call| moment(call, "start_time")),
        ("STATUS", status),
        ("DIRECTION", |call| member(call, "direction")),
        ("FROM", |call| member(call, "from")),
        ("TO", |call| member(call, "to")),
        ("SECONDS", |call| member(call, "duration")),
        ("SID", |call| member(call, "sid")),
    ],
    members: &[
        ("Sid", "sid"),
        ("Status", "status"),
        ("SIP response", "sip_response_code"),
        ("Direction", "direction"),
        ("From", "from"),
        ("To", "to"),
        ("Caller's name", "caller_name"),
        ("Forwarded from", "forwarded_from"),
        ("Started", "start_time"),
        ("Ended", "end_time"),
        ("Seconds", "duration"),
        ("Rang, seconds", "ring_duration"),
        ("Parent", "parent_call_sid"),
        ("Account", "account_sid"),
        ("Changed", "date_updated"),
    ],
    none: "no calls",
};

/// How far a call is, or how it ended: with the code that refused it, where one did.
fn status(call: &Value) -> String {
    let status = member(call, "status");
    match call.get("sip_response_code") {
        Some(_) => format!("{status} {}", member(call, "sip_response_code")),
        None => status,
    }
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Ringing => "ringing",
            Status::InProgress => "in-progress",
            Status::Canceled => "canceled",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Busy => "busy",
            Status::NoAnswer => "no-answer",
        }
    }
}

impl Method {
    fn word(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

impl Child {
    fn word(self) -> &'static str {
        match self {
            Child::Hangup => "Hangup",
            Child::Move => "Move",
            Child::Stay => "StayConnected",
        }
    }
}
