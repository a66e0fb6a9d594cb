//! `baton refers`: lists and shows the transfers of a running server.

use super::api::{Access, Api, Problem};
use super::table::{Columns, lines, member, moment, table};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// What `baton refers` was asked.
#[derive(Debug, Args)]
pub(super) struct Refers {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The transfers of the account, newest first: the default
    #[command(after_help = "Example: baton refers list --status busy")]
    List(List),
    /// One transfer
    #[command(after_help = "Example: baton refers show RF4f…\n\nThe list has the sids.")]
    Show {
        /// The transfer
        sid: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Args)]
struct List {
    /// Only transfers whose new call came to this; one that succeeded stays in-progress
    #[arg(long)]
    status: Option<Status>,
    /// Only transfers whose referrer contains this
    #[arg(long)]
    from: Option<String>,
    /// Only transfers whose target contains this
    #[arg(long)]
    to: Option<String>,
    /// Only transfers of this call
    #[arg(long, value_name = "SID")]
    call: Option<String>,
    /// Only transfers seen then or later: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, UTC
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// So many at most; 50 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Status {
    InProgress,
    Canceled,
    Failed,
    Busy,
    NoAnswer,
}

/// Does what was asked.
pub(super) fn run(refers: &Refers) -> ExitCode {
    match act(refers) {
        Ok(text) => {
            // Nobody may be reading to the end.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => problem.report("refers"),
    }
}

fn act(refers: &Refers) -> Result<String, Problem> {
    let api = Api::new(&refers.access)?;
    let json = refers.access.json;
    if refers.list != List::default() && refers.what.is_some() {
        return Err(Problem::Usage("write the filters behind `list`".to_owned()));
    }
    match &refers.what {
        None => list(&api, &refers.list, json),
        Some(What::List(filters)) => list(&api, filters, json),
        Some(What::Show { sid }) => {
            let refer = api.parse(&api.read("Refers", sid)?)?;
            Ok(if json { format!("{refer:#}\n") } else { lines(MEMBERS, &refer) })
        }
    }
}

fn list(api: &Api, list: &List, json: bool) -> Result<String, Problem> {
    let filters = [
        ("ReferCallStatus", list.status.map(Status::word)),
        ("ReferFrom", list.from.as_deref()),
        ("ReferTo", list.to.as_deref()),
        ("CallSid", list.call.as_deref()),
        ("DateCreated", list.since.as_deref()),
    ];
    let refers = api.list("Refers", "refers", &filters, list.limit.unwrap_or(50) as usize)?;
    if json {
        return Ok(format!("{:#}\n", Value::from(refers)));
    }
    Ok(table(COLUMNS, &refers, "no transfers"))
}

const COLUMNS: &Columns = &[
    ("SEEN (UTC)", |refer| moment(refer, "date_created")),
    ("NEW CALL", |refer| member(refer, "call_status")),
    ("REFER", |refer| member(refer, "refer_sip_response_code")),
    ("NOTIFY", |refer| member(refer, "notify_sip_response_code")),
    ("FROM", |refer| member(refer, "from")),
    ("TO", |refer| member(refer, "to")),
    ("SID", |refer| member(refer, "sid")),
];

const MEMBERS: &[(&str, &str)] = &[
    ("Sid", "sid"),
    ("New call", "call_status"),
    ("REFER answered", "refer_sip_response_code"),
    ("NOTIFY said", "notify_sip_response_code"),
    ("From", "from"),
    ("To", "to"),
    ("Call", "call_sid"),
    ("Seen", "date_created"),
    ("Account", "account_sid"),
    ("Organisation", "org_sid"),
];

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::InProgress => "in-progress",
            Status::Canceled => "canceled",
            Status::Failed => "failed",
            Status::Busy => "busy",
            Status::NoAnswer => "no-answer",
        }
    }
}
