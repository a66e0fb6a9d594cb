//! `baton calls`: lists, shows, places, ends and redirects calls of a running server.

use super::api::{Access, Api, Problem};
use super::table::{Columns, lines, member, moment, table};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use std::io::Write;
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
    match act(calls) {
        Ok(text) => {
            // Nobody may be reading to the end.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => problem.report("calls"),
    }
}

fn act(calls: &Calls) -> Result<String, Problem> {
    let api = Api::new(&calls.access)?;
    let json = calls.access.json;
    let listing = matches!(calls.what, None | Some(What::List(_)));
    if calls.list != List::default() && calls.what.is_some() {
        let text = if listing {
            "write the filters behind `list`"
        } else {
            "filters choose among many calls: they belong to `baton calls list`"
        };
        return Err(Problem::Usage(text.to_owned()));
    }
    match &calls.what {
        None => list(&api, &calls.list, json),
        Some(What::List(filters)) => list(&api, filters, json),
        Some(What::Show { sid }) => show(&api, &api.read("Calls", sid)?, json),
        Some(What::Place(place)) => {
            let timeout = place.timeout.map(|seconds| seconds.to_string());
            let fields = [
                ("From", Some(&*place.from)),
                ("To", Some(&*place.to)),
                ("Url", Some(&*place.document)),
                ("Method", place.fetch.method.map(Method::word)),
                ("FallbackUrl", place.fetch.fallback.as_deref()),
                ("StatusCallback", place.status_callback.as_deref()),
                ("StatusCallbackEvent", place.status_events.as_deref()),
                ("Timeout", timeout.as_deref()),
            ];
            acted(&api, &api.post("Calls", None, &fields)?, "is placed", json)
        }
        Some(What::Hangup { sid }) => {
            let body = api.post("Calls", Some(sid), &[("Status", Some("completed"))])?;
            acted(&api, &body, "is being ended", json)
        }
        Some(What::Cancel { sid }) => {
            let body = api.post("Calls", Some(sid), &[("Status", Some("canceled"))])?;
            acted(&api, &body, "is being canceled, unless it was answered", json)
        }
        Some(What::Redirect(redirect)) => {
            let fields = [
                ("Url", Some(&*redirect.document)),
                ("Method", redirect.fetch.method.map(Method::word)),
                ("FallbackUrl", redirect.fetch.fallback.as_deref()),
                ("ChildCallMode", redirect.child.map(Child::word)),
            ];
            acted(&api, &api.post("Calls", Some(&redirect.sid), &fields)?, "gets the document", json)
        }
    }
}

fn list(api: &Api, list: &List, json: bool) -> Result<String, Problem> {
    let filters = [
        ("Status", list.status.map(Status::word)),
        ("From", list.from.as_deref()),
        ("To", list.to.as_deref()),
        ("ParentCallSid", list.parent.as_deref()),
        ("StartTime", list.since.as_deref()),
    ];
    let calls = api.list("Calls", "calls", &filters, list.limit.unwrap_or(50) as usize)?;
    if json {
        return Ok(format!("{:#}\n", Value::from(calls)));
    }
    Ok(table(COLUMNS, &calls, "no calls"))
}

const COLUMNS: &Columns = &[
    ("STARTED (UTC)", |call| moment(call, "start_time")),
    ("STATUS", |call| member(call, "status")),
    ("DIRECTION", |call| member(call, "direction")),
    ("FROM", |call| member(call, "from")),
    ("TO", |call| member(call, "to")),
    ("SECONDS", |call| member(call, "duration")),
    ("SID", |call| member(call, "sid")),
];

fn show(api: &Api, body: &str, json: bool) -> Result<String, Problem> {
    let call = api.parse(body)?;
    if json {
        return Ok(format!("{call:#}\n"));
    }
    Ok(lines(MEMBERS, &call))
}

const MEMBERS: &[(&str, &str)] = &[
    ("Sid", "sid"),
    ("Status", "status"),
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
];

fn acted(api: &Api, body: &str, what: &str, json: bool) -> Result<String, Problem> {
    let call = api.parse(body)?;
    if json {
        return Ok(format!("{call:#}\n"));
    }
    Ok(format!("{} {what}; it was {}\n", member(&call, "sid"), member(&call, "status")))
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
