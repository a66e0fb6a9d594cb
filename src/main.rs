//! The `baton` command.

fn main() -> std::process::ExitCode {
    baton::command::run(std::env::args_os())
}
