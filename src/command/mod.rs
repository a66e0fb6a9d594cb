//! The `baton` command: flags, and what each subcommand does with them.
//!
//! Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.

mod api;
mod calls;
mod check;
mod records;
mod refers;
pub(crate) mod scratch;
mod serve;
pub(crate) mod server;
mod signal;
mod table;

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Failed while running.
const FAILED: u8 = 1;
/// Wrong usage or configuration.
const MISUSED: u8 = 2;

/// A SIP signaling proxy with a REFER core: carries calls between trunks at line rate, watches the
/// transfers in them, and tells both over REST.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command, baton serves. Without --config it serves SIP on udp and tcp \
                  127.0.0.1:5060 and HTTP on 127.0.0.1:8080, with one demo account and a scratch \
                  database, and prints what to try next.\n\n\
                  Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.\n\
                  Signals: SIGTERM and SIGINT end in order, records written."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carry calls: the default
    #[command(after_help = "config/baton.toml in the project explains every key with its default.")]
    Serve(ServeArgs),
    /// Validate a configuration file
    #[command(after_help = "Every error is a line FILE:LINE:COLUMN: what is wrong, what would be right. \
                      Exit code 0 when the file can be used, 2 when it cannot.")]
    Check {
        /// The TOML file to validate
        file: PathBuf,
    },
    /// Show a transfer: three phones and a server of its own, on loopback
    #[command(
        after_help = "Draws the messages that crossed the phones' sockets and prints the Refer record that \
                      the server's API shows. Exit code 0 only when the transfer completed."
    )]
    Demo,
    /// List, show, place, end and redirect calls of a running server
    #[command(
        after_help = "Examples:\n  baton calls\n  baton calls --status in-progress --from +3120555\n  \
                      baton calls show IDdb…-CA4f…\n  \
                      baton calls place --from 1000 --to sip:bob@pbx.example --document https://ivr.example.com/a.xml\n\n\
                      The commands use the server's HTTP API, with an account of its configuration:\n  \
                      export BATON_ACCOUNT=AC00000000000000000000000000000001 BATON_TOKEN=change-me"
    )]
    Calls(calls::Calls),
    /// List and show transfers of a running server
    #[command(
        after_help = "Examples:\n  baton refers\n  baton refers --status busy --json\n  baton refers show RF4f…\n\n\
                      A transfer is made by a call's document: place the call with, or redirect it to, one that \
                      holds\n  <Response><Refer><Sip>sip:carol@pbx.example</Sip></Refer></Response>\n  \
                      baton calls redirect IDdb…-CA4f… --document https://ivr.example.com/to-carol.xml"
    )]
    Refers(refers::Refers),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The TOML file to run with; without it, the embedded default
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command that `args`, the program's name first, ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) => {
            let _ = usage.print();
            // Help and version were asked for; anything else is wrong usage.
            return if usage.use_stderr() { ExitCode::from(MISUSED) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::serve(args.config.as_deref()),
        Command::Check { file } => check::check(&file),
        Command::Demo => match crate::demo::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("baton demo: {error}");
                ExitCode::from(FAILED)
            }
        },
        Command::Calls(calls) => calls::run(&calls),
        Command::Refers(refers) => refers::run(&refers),
    }
}
