//! Which statements of the contracts have a test.
//!
//! A test says in brackets, in its doc comment or (in scripts) in any line, what it checks: `C-…` for
//! the SIP core, `R-…` and `X-…` for REFER, `T-…` for trunking, and `name number` for contracts that
//! only number their statements; several in one bracket are parted by comma and space. This test collects those marks, prints how far each contract is
//! covered, and fails on marks that cannot be right: a mark nobody can look up checks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Contracts whose statements have letters: letter, digits, how many statements.
const LETTERED: &[(char, usize, u32)] = &[('C', 3, 219), ('R', 3, 121), ('T', 3, 183), ('X', 2, 24)];

/// Contracts whose statements are numbered, with how many; a section number may stand instead.
const NUMBERED: &[(&str, u32)] =
    &[("jambonz", 45), ("rcml", 45), ("restcomm-calls", 52), ("restcomm-refers", 34), ("telnyx", 40)];

/// Folders whose files may hold tests.
const FOLDERS: &[&str] = &["src", "tests", "benches", "fuzz", "perf"];

#[derive(Debug, PartialEq, Eq)]
enum Mark {
    Lettered(char, u32),
    Numbered(&'static str, String),
    Malformed,
    /// Brackets around something else.
    Nothing,
}

#[test]
fn marks_are_sound_and_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lettered: BTreeMap<char, BTreeSet<u32>> = BTreeMap::new();
    let mut numbered: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut faults = Vec::new();
    for path in FOLDERS.iter().flat_map(|folder| files(&root.join(folder))) {
        // This file speaks of marks that are wrong on purpose.
        if path.ends_with("tests/conformance.rs") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let rust = path.extension().is_some_and(|e| e == "rs");
        for (n, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if rust && !line.starts_with("///") && !line.starts_with("//!") {
                continue;
            }
            for inner in bracketed(line).into_iter().flat_map(|inner| inner.split(", ")) {
                match mark(inner) {
                    Mark::Lettered(letter, number) => {
                        lettered.entry(letter).or_default().insert(number);
                    }
                    Mark::Numbered(name, number) => {
                        numbered.entry(name).or_default().insert(number);
                    }
                    Mark::Malformed => {
                        let path = path.strip_prefix(root).unwrap_or(&path).display();
                        faults.push(format!("{path}:{}: [{inner}]", n + 1));
                    }
                    Mark::Nothing => {}
                }
            }
        }
    }
    for &(letter, width, count) in LETTERED {
        let marks = lettered.remove(&letter).unwrap_or_default();
        println!("{letter}: {} of {count} statements have a test", marks.len());
        let ids: Vec<String> = marks.iter().map(|n| format!("{letter}-{n:0width$}")).collect();
        println!("   {}", ids.join(" "));
    }
    for &(name, count) in NUMBERED {
        let marks = numbered.remove(name).unwrap_or_default();
        println!("{name}: {} marks on {count} statements", marks.len());
        println!("   {}", marks.into_iter().collect::<Vec<_>>().join(" "));
    }
    assert!(faults.is_empty(), "marks that name no statement:\n{}", faults.join("\n"));
}

/// The check itself tells right marks from wrong ones and from other brackets.
#[test]
fn the_check_can_fail() {
    assert_eq!(mark("C-013"), Mark::Lettered('C', 13));
    assert_eq!(mark("X-24"), Mark::Lettered('X', 24));
    assert_eq!(mark("rcml 14"), Mark::Numbered("rcml", "14".into()));
    assert_eq!(mark("restcomm-calls 5.2.3"), Mark::Numbered("restcomm-calls", "5.2.3".into()));
    for wrong in [
        "C-13",
        "C-0130",
        "C-220",
        "C-000",
        "c-013",
        "C 013",
        "C013",
        "X-024",
        "R-1x",
        "C-070,C-071",
        "T-184",
        "rcml 46",
        "rcml fourteen",
        "restcomm-calls 5.",
        "restcomm-calls-3",
        "telnyx 41",
    ] {
        assert_eq!(mark(wrong), Mark::Malformed, "{wrong}");
    }
    for other in [
        "Transactions::expire",
        "RFC 3261",
        "u8; 16",
        "cfg(test)",
        "",
        "X",
        "Call-ID",
        "rcmlish",
        "rcml",
        "R",
        "T-",
    ] {
        assert_eq!(mark(other), Mark::Nothing, "{other}");
    }
}

fn mark(inner: &str) -> Mark {
    for &(name, count) in NUMBERED {
        let Some(rest) = inner.strip_prefix(name) else { continue };
        let Some(number) = rest.strip_prefix(' ') else {
            // A configuration table of that name, or another word.
            let other_word = rest.is_empty() || rest.starts_with(|c: char| c.is_alphabetic() || c == '_');
            return if other_word { Mark::Nothing } else { Mark::Malformed };
        };
        let parts: Vec<Option<u32>> = number.split('.').map(|part| part.parse().ok()).collect();
        return match parts[..] {
            [Some(n)] if n == 0 || n > count => Mark::Malformed,
            _ if parts.iter().all(Option::is_some) => Mark::Numbered(name, number.to_owned()),
            _ => Mark::Malformed,
        };
    }
    let mut chars = inner.chars();
    let Some(letter) = chars.next() else { return Mark::Nothing };
    let Some(&(letter, width, count)) = LETTERED.iter().find(|l| l.0 == letter.to_ascii_uppercase()) else {
        return Mark::Nothing;
    };
    // A letter, perhaps a sign, and a digit: somebody meant a mark.
    let meant = chars.as_str().trim_start_matches(['-', ' ']).starts_with(|c: char| c.is_ascii_digit());
    if !meant {
        return Mark::Nothing;
    }
    let digits = inner.strip_prefix(letter).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    match digits.parse() {
        Ok(number) if digits.len() == width && (1..=count).contains(&number) => {
            Mark::Lettered(letter, number)
        }
        _ => Mark::Malformed,
    }
}

/// What stands in square brackets in a line; links of Rust's documentation are in back quotes and
/// drop out by their sign.
fn bracketed(line: &str) -> Vec<&str> {
    line.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(inner, _)| inner).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden && !path.ends_with("fuzz/target") {
                folders.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
