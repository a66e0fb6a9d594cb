//! `baton check`: everything that is wrong with a configuration file, in one run (T-152).

use super::MISUSED;
use crate::config::load_file;
use std::path::Path;
use std::process::ExitCode;

/// Warnings and errors go to standard error, the good news to standard output.
pub(super) fn check(file: &Path) -> ExitCode {
    match load_file(file) {
        Ok(loaded) => {
            eprint!("{}", loaded.warnings);
            let config = &loaded.config;
            println!(
                "{}: ok: {}, {}, {}, {}",
                file.display(),
                count(config.listeners.len(), "listener"),
                count(config.trunks.len(), "trunk"),
                count(config.routes.len(), "route"),
                count(config.accounts.len(), "account"),
            );
            ExitCode::SUCCESS
        }
        Err(report) => {
            eprint!("{report}");
            eprintln!("{}: {}", file.display(), count(report.errors(), "error"));
            ExitCode::from(MISUSED)
        }
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
