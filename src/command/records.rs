//! What `baton calls` and `baton refers` have in common: lists of records, one record, and how either
//! is printed.

use super::api::{Api, Problem};
use super::table::{Columns, lines, table};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// Records listed when nobody says how many.
const USUAL: u32 = 50;

/// One kind of records, as the API has it and as people read it.
pub(super) struct Kind {
    /// Its path below the account.
    pub(super) resource: &'static str,
    /// The member of a page that holds the records.
    pub(super) member: &'static str,
    /// Of a list.
    pub(super) columns: &'static Columns,
    /// Of one: what a line is called, and the member it shows.
    pub(super) members: &'static [(&'static str, &'static str)],
    /// Said instead of an empty list.
    pub(super) none: &'static str,
}

impl Kind {
    /// The newest records that these filters choose.
    pub(super) fn list(
        &self,
        api: &Api,
        filters: &[(&str, Option<&str>)],
        limit: Option<u32>,
        json: bool,
    ) -> Result<String, Problem> {
        let records = api.list(self.resource, self.member, filters, limit.unwrap_or(USUAL) as usize)?;
        Ok(if json { whole(&Value::from(records)) } else { table(self.columns, &records, self.none) })
    }

    /// One record, with all that is known of it.
    pub(super) fn show(&self, api: &Api, sid: &str, json: bool) -> Result<String, Problem> {
        let record = api.parse(&api.read(self.resource, sid)?)?;
        Ok(if json { whole(&record) } else { lines(self.members, &record) })
    }
}

/// A record, or several, as the API says it.
pub(super) fn whole(json: &Value) -> String {
    format!("{json:#}\n")
}

/// Filters stand behind the list that they are for: before another word they choose nothing.
pub(super) fn misplaced(filters: bool, command: &str, listing: Option<bool>) -> Result<(), Problem> {
    match listing {
        Some(true) if filters => Err(Problem::Usage("write the filters behind `list`".to_owned())),
        Some(false) if filters => Err(Problem::Usage(format!(
            "filters choose among many {command}: they belong to `baton {command} list`"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Prints what a command has to say.
pub(super) fn print(said: Result<String, Problem>, command: &str) -> ExitCode {
    match said {
        Ok(text) => {
            // Nobody may be reading to the end.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => problem.report(command),
    }
}
