//! `baton check`: what it says of files that are right and of files that are not.

use super::{Folder, project, run, stderr, stdout};
use std::path::Path;

/// Each file in `broken/` has beside it, in `NAME.expected`, the lines `LINE:COLUMN: …` that
/// `baton check` says of it, all of them and no others.
#[test]
fn every_error_of_a_broken_file_is_named_with_line_column_and_remedy() {
    let mut files = 0;
    for entry in std::fs::read_dir(project("tests/cli/broken")).expect("the broken files") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        files += 1;
        let name = path.to_str().expect("a readable name");
        let output = run(&["check", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert_eq!(stdout(&output), "", "{name}");
        let said = stderr(&output);
        let said: Vec<&str> = said.lines().filter_map(|l| l.strip_prefix(&format!("{name}:"))).collect();
        let (summary, said) = said.split_last().expect("a summary");
        let expected = std::fs::read_to_string(path.with_extension("expected")).expect("what is expected");
        let folder = path.parent().and_then(Path::to_str).expect("a readable folder");
        let expected = expected.replace("{folder}", folder);
        assert_eq!(said, expected.lines().collect::<Vec<_>>(), "{name}");
        let errors = said.iter().filter(|l| !l.contains(": warning: ")).count();
        assert_eq!(summary.trim(), format!("{errors} error{}", if errors == 1 { "" } else { "s" }));
        for line in said {
            let mut parts = line.splitn(3, ':');
            let mut number = || parts.next().and_then(|n| n.parse::<usize>().ok());
            assert!(number().is_some_and(|n| n > 0) && number().is_some_and(|n| n > 0), "{line}");
            assert!(line.contains(", "), "{name}: no remedy in {line}");
        }
    }
    assert!(files >= 10, "{files} broken files");
}

#[test]
fn the_offending_line_is_shown() {
    let output = run(&["check", "tests/cli/broken/wrong-type.toml"]);
    let said = stderr(&output);
    let lines: Vec<&str> = said.lines().collect();
    let at = lines.iter().position(|l| l.contains("udp_max")).expect("the error");
    assert_eq!(lines[at + 1], "  14 | udp_max = \"1300\"");
    assert_eq!(lines[at + 2], "     |           ^^^^^^");
}

/// [T-152]
#[test]
fn a_right_file_exits_0_and_says_what_it_holds() {
    let output = run(&["check", "config/two-trunks.toml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), "config/two-trunks.toml: ok: 2 listeners, 2 trunks, 2 routes, 1 account\n");
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_file_that_cannot_be_read_exits_2() {
    let output = run(&["check", "no-such-file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("no-such-file.toml:1:1: cannot be read"), "{}", stderr(&output));
    let output = run(&["serve", "--config", "no-such-file.toml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn warnings_do_not_fail_a_file() {
    let folder = Folder::new("warnings");
    let file = folder.write(
        "w.toml",
        "[[listener]]\nname = \"a\"\nbind = \"udp:127.0.0.1:5060\"\n[[route]]\nreject = 403\n[[route]]\nreject = 404\n",
    );
    let output = run(&["check", file.to_str().expect("a name")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains(":6:1: warning: this route is never reached"), "{}", stderr(&output));
}

#[test]
fn text_that_is_not_utf8_is_an_error_with_a_place() {
    let folder = Folder::new("latin1");
    let file = folder.0.join("l.toml");
    std::fs::write(&file, b"# fine\nx = \"caf\xe9\"\n").expect("a file");
    let output = run(&["check", file.to_str().expect("a name")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(":2:9: the file is not UTF-8"), "{}", stderr(&output));
}
