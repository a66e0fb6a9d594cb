//! The `baton` command as users meet it: flags, exit codes, what it says, signals.

mod api;
mod check;
mod demo;
mod documented;
#[path = "../port/mod.rs"]
mod port;
mod serve;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The command under test.
fn baton() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.env_clear().current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn run(args: &[&str]) -> Output {
    baton().args(args).output().expect("the command runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("baton-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder for the test");
        Folder(dir)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file for the test");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn help_names_the_commands_and_exits_0() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for word in ["serve", "check", "demo", "--config", "SIGTERM", "Exit codes"] {
        assert!(stdout(&output).contains(word), "{word}");
    }
}

#[test]
fn wrong_usage_exits_2() {
    for args in [&["transfer"][..], &["check"], &["serve", "--port", "1"], &["check", "a", "b"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("Usage"), "{args:?}");
    }
}

#[test]
fn version_is_the_crates() {
    let output = run(&["--version"]);
    assert_eq!(stdout(&output).trim(), concat!("baton ", env!("CARGO_PKG_VERSION")));
}
