//! `baton refers`: lists and shows the transfers of a running server.

use super::api::{Access, Api, Problem};
use super::records::{self, Kind};
use super::table::{member, moment};
use clap::{Args, Subcommand, ValueEnum};
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
    records::print(act(refers), "refers")
}

fn act(refers: &Refers) -> Result<String, Problem> {
    let api = Api::new(&refers.access)?;
    let json = refers.access.json;
    let listing = refers.what.as_ref().map(|what| matches!(what, What::List(_)));
    records::misplaced(refers.list != List::default(), "refers", listing)?;
    match &refers.what {
        None => refers.list.ask(&api, json),
        Some(What::List(list)) => list.ask(&api, json),
        Some(What::Show { sid }) => KIND.show(&api, sid, json),
    }
}

impl List {
    fn ask(&self, api: &Api, json: bool) -> Result<String, Problem> {
        let filters = [
            ("ReferCallStatus", self.status.map(Status::word)),
            ("ReferFrom", self.from.as_deref()),
            ("ReferTo", self.to.as_deref()),
            ("CallSid", self.call.as_deref()),
            ("DateCreated", self.since.as_deref()),
        ];
        KIND.list(api, &filters, self.limit, json)
    }
}

const KIND: Kind = Kind {
    resource: "Refers",
    member: "refers",
    columns: &[
        ("SEEN (UTC)", |refer| moment(refer, "date_created")),
        ("NEW CALL", |refer| member(refer, "call_status")),
        ("REFER", |refer| member(refer, "refer_sip_response_code")),
        ("NOTIFY", |refer| member(refer, "notify_sip_response_code")),
        ("FROM", |refer| member(refer, "from")),
        ("TO", |refer| member(refer, "to")),
        ("SID", |refer| member(refer, "sid")),
    ],
    members: &[
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
    ],
    none: "no transfers",
};

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
