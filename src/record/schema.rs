//! The tables, and how enums and identifiers stand in them.
//!
//! Records are clustered by account and time, which is how they are listed; the identifier has the
//! only other index that every row pays for. Rows of ended calls are found by their end for
//! removal, open ones by an index that short calls never enter.

use super::StoreError;
use crate::sip::event::{CallStatus, Direction, ReferReason, ReferRole, ReferStatus};
use crate::sip::time::Time;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The format this version writes.
const FORMAT: i64 = 2;

const TABLES: &str = "
CREATE TABLE account (id INTEGER PRIMARY KEY, sid TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE node (id INTEGER PRIMARY KEY, bits BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE call (
  account INTEGER NOT NULL, created INTEGER NOT NULL, sid BLOB NOT NULL, node INTEGER NOT NULL,
  direction INTEGER NOT NULL, status INTEGER NOT NULL, code INTEGER NOT NULL,
  updated INTEGER NOT NULL, ringing INTEGER, answered INTEGER, ended INTEGER, duration INTEGER,
  caller TEXT NOT NULL, callee TEXT NOT NULL, caller_name TEXT, forwarded_from TEXT,
  call_id TEXT NOT NULL, parent BLOB, refer BLOB,
  PRIMARY KEY (account, created, sid)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX call_sid ON call (sid);
CREATE INDEX call_ended ON call (ended) WHERE ended IS NOT NULL;
CREATE INDEX call_open ON call (created) WHERE ended IS NULL;
CREATE INDEX call_parent ON call (parent) WHERE parent IS NOT NULL;
CREATE TABLE refer (
  account INTEGER NOT NULL, created INTEGER NOT NULL, sid BLOB NOT NULL, node INTEGER NOT NULL,
  call BLOB NOT NULL, role INTEGER NOT NULL, seq INTEGER NOT NULL, status INTEGER NOT NULL,
  reason INTEGER, refer_code INTEGER NOT NULL, notify_code INTEGER, updated INTEGER NOT NULL,
  ended INTEGER, referrer TEXT NOT NULL, target TEXT NOT NULL,
  rule TEXT, moved BLOB, target_call BLOB,
  PRIMARY KEY (account, created, sid)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX refer_sid ON refer (sid);
CREATE INDEX refer_call ON refer (call);
CREATE INDEX refer_ended ON refer (ended) WHERE ended IS NOT NULL;
CREATE INDEX refer_open ON refer (node) WHERE ended IS NULL;
";

/// What links calls and the transfers that they come of, or take part in.
const LINKS: &str = "
CREATE INDEX call_refer ON call (refer) WHERE refer IS NOT NULL;
CREATE INDEX refer_moved ON refer (moved) WHERE moved IS NOT NULL;
CREATE INDEX refer_target ON refer (target_call) WHERE target_call IS NOT NULL;
";

/// What makes the second format of the first.
const TO_SECOND: &str = "
ALTER TABLE call ADD COLUMN refer BLOB;
ALTER TABLE refer ADD COLUMN rule TEXT;
ALTER TABLE refer ADD COLUMN moved BLOB;
ALTER TABLE refer ADD COLUMN target_call BLOB;
";

/// Opens the database for writing, making its tables when it is new.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    make_private(path);
    let connection = Connection::open(path).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match found {
        0 => make(&connection, TABLES).map_err(failed)?,
        1 => make(&connection, TO_SECOND).map_err(failed)?,
        FORMAT => {}
        _ => return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT }),
    }
    Ok(connection)
}

/// Records say who spoke with whom: a new file is for its owner's eyes only. What SQLite puts beside
/// it takes the same mode. A failure shows when the database is opened.
fn make_private(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    let _ = options.write(true).create_new(true).mode(0o600).open(path);
}

/// Opens the database for reading beside the writer.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2000; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // Nobody else should write; while somebody does, events are better kept than waited with.
    connection.busy_timeout(Duration::from_millis(250))?;
    connection.set_prepared_statement_cache_capacity(32);
    // The checkpoint comes every 16 MiB: a page that is written again and again is copied once.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000;
         PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;
         PRAGMA journal_size_limit = 67108864;",
    )
}

/// Brings the database to the present format, as a whole or not at all.
fn make(connection: &Connection, tables: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("BEGIN; {tables} {LINKS} PRAGMA user_version = {FORMAT}; COMMIT;"))
}

/// A moment as it stands in a row: microseconds.
pub(super) fn micros(time: Time) -> i64 {
    i64::try_from(time.micros()).unwrap_or(i64::MAX)
}

/// A moment from a row.
pub(super) fn time(micros: i64) -> Time {
    Time::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// An enum that stands in a row as a number. The numbers never change.
pub(super) trait Coded: Copy + PartialEq + Sized + 'static {
    const CODES: &'static [(i64, Self)];

    fn code(self) -> i64 {
        Self::CODES.iter().find(|(_, value)| *value == self).map_or(-1, |(code, _)| *code)
    }

    fn from_code(code: i64) -> Option<Self> {
        Self::CODES.iter().find(|(c, _)| *c == code).map(|(_, value)| *value)
    }
}

/// The final statuses begin at 3; SQL relies on it.
impl Coded for CallStatus {
    const CODES: &'static [(i64, CallStatus)] = &[
        (0, CallStatus::Queued),
        (1, CallStatus::Ringing),
        (2, CallStatus::InProgress),
        (3, CallStatus::Completed),
        (4, CallStatus::Busy),
        (5, CallStatus::NoAnswer),
        (6, CallStatus::Canceled),
        (7, CallStatus::Failed),
    ];
}

impl Coded for Direction {
    const CODES: &'static [(i64, Direction)] =
        &[(0, Direction::Inbound), (1, Direction::OutboundApi), (2, Direction::OutboundDial)];
}

impl Coded for ReferRole {
    const CODES: &'static [(i64, ReferRole)] =
        &[(0, ReferRole::Relay), (1, ReferRole::Transferor), (2, ReferRole::Substitute)];
}

/// 0 is the one status that is not final; SQL relies on it.
impl Coded for ReferStatus {
    const CODES: &'static [(i64, ReferStatus)] = &[
        (0, ReferStatus::InProgress),
        (1, ReferStatus::Completed),
        (2, ReferStatus::Busy),
        (3, ReferStatus::NoAnswer),
        (4, ReferStatus::Failed),
        (5, ReferStatus::Canceled),
    ];
}

impl Coded for ReferReason {
    const CODES: &'static [(i64, ReferReason)] = &[
        (0, ReferReason::TargetBusy),
        (1, ReferReason::TargetNoAnswer),
        (2, ReferReason::TargetRejected),
        (3, ReferReason::ReferRejected),
        (4, ReferReason::ReferTimeout),
        (5, ReferReason::NotifyTimeout),
        (6, ReferReason::OutcomeUnknown),
        (7, ReferReason::Policy),
        (8, ReferReason::Unmonitored),
        (9, ReferReason::BridgeFailed),
        (10, ReferReason::CallEnded),
        (11, ReferReason::ApiCancel),
    ];
}
