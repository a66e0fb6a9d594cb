//! The law of `src/sip` and `src/shard`: no socket, clock, randomness, thread, lock or await, and no
//! word of the layers around them. And of the whole crate: unsafe code in one file only.
//!
//! What counts is what the compiler sees: comments, strings, and items under `#[cfg(test)]` are left
//! out before names are looked for.

use std::fs;
use std::path::{Path, PathBuf};

/// Names that mean a socket, a clock, chance, a thread, a lock or waiting.
const FORBIDDEN: &[&str] = &[
    // sockets and the systems that drive them
    "mio",
    "tokio",
    "socket2",
    "libc",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "hickory_resolver",
    "rustls",
    "axum",
    "hyper_util",
    "rusqlite",
    // clocks
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "jiff",
    // chance that no argument brought
    "getrandom",
    "OsRng",
    "SysRng",
    "ThreadRng",
    "thread_rng",
    "from_os_rng",
    "from_entropy",
    "RandomState",
    "uuid",
    // threads, locks, waiting
    "thread",
    "thread_local",
    "crossbeam",
    "mpsc",
    "Mutex",
    "RwLock",
    "Condvar",
    "Barrier",
    "LazyLock",
    "async",
    "await",
    // files and terminals
    "File",
    "OpenOptions",
    "stdin",
    "stdout",
    "stderr",
    "println",
    "eprintln",
    "print",
    "eprint",
    "dbg",
];

/// Paths of two names, where each name alone is harmless.
const FORBIDDEN_PATHS: &[(&str, &str)] = &[
    ("std", "fs"),
    ("std", "process"),
    ("std", "os"),
    ("crate", "io"),
    ("crate", "control"),
    ("crate", "record"),
    ("crate", "observe"),
    ("crate", "config"),
    ("crate", "demo"),
    ("crate", "cluster"),
];

#[test]
fn sip_and_shard_are_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    let mut files = 0;
    for folder in ["src/sip", "src/shard"] {
        for path in product_files(&root.join(folder)) {
            files += 1;
            let text = fs::read_to_string(&path).expect("a readable source file");
            for (line, name) in impurities(&text) {
                let path = path.strip_prefix(root).unwrap_or(&path).display();
                faults.push(format!("{path}:{line}: `{name}` does not belong in a pure folder"));
            }
        }
    }
    assert!(files > 20, "only {files} files found: is the test looking in the right place?");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for path in rust_files(&root.join("src")) {
        let place = path.strip_prefix(root).unwrap_or(&path).to_owned();
        if place == Path::new("src/io/mmsg.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a readable source file");
        for (line, name) in names(&without_comments(&text)) {
            if name == "unsafe" {
                faults.push(format!("{}:{line}", place.display()));
            }
        }
    }
    assert!(faults.is_empty(), "unsafe code outside src/io/mmsg.rs:\n{}", faults.join("\n"));
}

/// The check itself sees what it should see and passes what it should pass.
#[test]
fn the_check_can_fail() {
    let found = |text: &str| impurities(text).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(found("use std::time::Instant;"), ["Instant"]);
    assert_eq!(found("fn f() { std::thread::sleep(d) }"), ["thread"]);
    assert_eq!(found("let x = std :: fs :: read(p);"), ["std::fs"]);
    assert_eq!(found("use crate::io::clock;"), ["crate::io"]);
    assert_eq!(found("use crate::{io, sip};"), ["crate::io"]);
    assert_eq!(found("let s = r#\"\"#; let m: Mutex<u8>;"), ["Mutex"]);
    assert_eq!(found("#[cfg(test)] mod tests { use std::thread; } fn f() { tokio::spawn(g) }"), ["tokio"]);
    for innocent in [
        "// Mutex\n/// RwLock\n//! thread\n/* tokio /* mio */ await */",
        "let s = \"Mutex \\\" thread\"; let r = r##\"tokio\"# \"##; let c = '\"'; let b = b\"mio\";",
        "fn f<'thread>(x: &'thread u8) {}",
        "#[cfg(test)]\n#[allow(dead_code)]\nmod tests { fn f() { let x = \"}\"; thread } }",
        "#[cfg(test)] use std::thread;",
        "use std::io::Write; mod instant_reply; struct Threads;",
    ] {
        assert_eq!(found(innocent), Vec::<String>::new(), "{innocent}");
    }
}

/// Lines and names that break the law.
fn impurities(text: &str) -> Vec<(usize, String)> {
    let code = without_tests(&without_comments(text));
    let names = names(&code);
    let mut found = Vec::new();
    for (at, (line, name)) in names.iter().enumerate() {
        if FORBIDDEN.contains(&name.as_str()) {
            found.push((*line, name.clone()));
        }
        if name != "std" && name != "crate" {
            continue;
        }
        // `crate::io`, or `crate::{sip, io}`: every name that may stand right behind.
        for second in seconds(&names, at) {
            if FORBIDDEN_PATHS.contains(&(name.as_str(), second.as_str())) {
                found.push((*line, format!("{name}::{second}")));
            }
        }
    }
    found
}

/// The names that follow `std` or `crate` directly, in a brace list too.
fn seconds(names: &[(usize, String)], at: usize) -> Vec<String> {
    let word = |n: usize| names.get(n).map_or("", |(_, name)| name.as_str());
    if (word(at + 1), word(at + 2)) != (":", ":") {
        return Vec::new();
    }
    if word(at + 3) != "{" {
        return vec![word(at + 3).to_owned()];
    }
    let (mut depth, mut found) = (0, Vec::new());
    for n in at + 3..names.len() {
        match word(n) {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && matches!(word(n - 1), "{" | ",") => found.push(name.to_owned()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Names and single signs of a text without comments and strings, with their lines.
fn names(code: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut line = 1;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\n' {
            line += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let mut name = String::from(c);
            while let Some(&next) = chars.peek().filter(|c| c.is_alphanumeric() || **c == '_') {
                name.push(next);
                chars.next();
            }
            names.push((line, name));
        } else if !c.is_whitespace() {
            names.push((line, c.to_string()));
        }
    }
    names
}

/// The text with comments, strings, characters and lifetimes blanked; lines stay where they are.
fn without_comments(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        let to = to.min(bytes.len());
        out.extend(bytes[from..to].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        to
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['r', '"' | '#', ..] if !in_name(&bytes, at) => raw_string(&rest[1..]).map_or(0, |n| n + 1),
            ['b', 'r', '"' | '#', ..] if !in_name(&bytes, at) => raw_string(&rest[2..]).map_or(0, |n| n + 2),
            ['\'', '\\', ..] => 2 + rest[2..].iter().skip(1).position(|&c| c == '\'').map_or(0, |n| n + 2),
            ['\'', _, '\'', ..] => 3,
            ['\'', ..] => 1 + rest[1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count(),
            _ => 0,
        };
        if end == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            at = blank(&mut out, at, at + end);
        }
    }
    out
}

fn in_name(bytes: &[char], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_alphanumeric() || bytes[at - 1] == '_')
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// A raw string from its first `#` or `"`; `None` for a raw identifier.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|&&c| c == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let mut at = hashes + 1;
    while at < rest.len() {
        let closes =
            rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(at)
}

/// The code with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(found) = rest.find(MARK) {
        out.push_str(&rest[..found]);
        let after = &rest[found..];
        let length = item_len(&after[MARK.len()..]) + MARK.len();
        out.extend(after[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &after[length..];
    }
    out.push_str(rest);
    out
}

/// Bytes of the item that begins here: up to its `;`, or the brace that closes its body.
fn item_len(code: &str) -> usize {
    let (mut round, mut curly) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => curly += 1,
            '}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return at + 1;
                }
            }
            ';' if round == 0 && curly == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The Rust files below a folder that are part of the product: those a parent declares under
/// `#[cfg(test)] mod name;` are not.
fn product_files(folder: &Path) -> Vec<PathBuf> {
    let all = rust_files(folder);
    let mut tests = Vec::new();
    for path in &all {
        let code = without_comments(&fs::read_to_string(path).unwrap_or_default());
        let product = without_tests(&code);
        let home = if path.file_name().is_some_and(|name| name == "mod.rs") {
            path.with_file_name("")
        } else {
            path.with_extension("")
        };
        let declared = |code: &str| modules(code);
        let kept = declared(&product);
        tests.extend(declared(&code).into_iter().filter(|m| !kept.contains(m)).map(|m| home.join(m)));
    }
    let is_test = |path: &Path| tests.iter().any(|t| path.with_extension("") == *t || path.starts_with(t));
    all.into_iter().filter(|path| !is_test(path)).collect()
}

/// The modules a file declares in files of their own.
fn modules(code: &str) -> Vec<String> {
    let names = names(code);
    let word = |n: usize| names.get(n).map_or("", |(_, name)| name.as_str());
    (0..names.len())
        .filter(|&n| word(n) == "mod" && word(n + 2) == ";")
        .map(|n| word(n + 1).to_owned())
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
