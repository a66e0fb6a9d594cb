//! The files in `config/`: they load, `baton.toml` names every key, and the defaults it states hold.

use super::{Folder, project, run, stderr};
use baton::config::read::Context;
use baton::config::{Config, Loaded, load_file, load_text};
use std::collections::BTreeSet;
use std::path::Path;
use toml::Value;

fn documented() -> String {
    std::fs::read_to_string(project("config/baton.toml")).expect("config/baton.toml")
}

/// The text with the lines that begin with `mark` made active.
fn activate(text: &str, mark: &str) -> String {
    let line = |l: &str| match l.strip_prefix(mark) {
        Some(rest) if key_or_table(rest) => rest.to_owned(),
        _ => l.to_owned(),
    };
    text.lines().map(|l| line(l) + "\n").collect()
}

/// `key = …`, `[table]`, or a default within an example; not prose.
fn key_or_table(line: &str) -> bool {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let key = line.split(" = ").next().unwrap_or("");
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    line.starts_with('[') || (key.len() < line.len() && key.chars().all(word))
}

/// The file with its examples, and with its stated defaults too if asked for.
fn whole(defaults: bool) -> String {
    let text = activate(&documented(), "#: ");
    if defaults { activate(&text, "# ") } else { text }
}

/// A folder with every file that the examples name.
fn folder_with_files(name: &str) -> Folder {
    let folder = Folder::new(name);
    let key = rcgen::generate_simple_self_signed(["edge.example.com".to_owned()]).expect("a certificate");
    for cert in ["cert.pem", "ca.pem", "edge.pem", "customers.pem"] {
        folder.write(cert, &key.cert.pem());
    }
    for file in ["key.pem", "edge.key"] {
        folder.write(file, &key.signing_key.serialize_pem());
    }
    folder.write("token.txt", "from-a-file\n");
    folder
}

fn load(name: &str, text: &str, folder: &Path) -> Loaded {
    load_text(name, text, folder).unwrap_or_else(|report| panic!("{report}"))
}

fn without_tables(config: Config) -> Config {
    let none = Config::default();
    Config {
        accounts: none.accounts,
        listeners: none.listeners,
        tls_profiles: none.tls_profiles,
        trunks: none.trunks,
        groups: none.groups,
        routes: none.routes,
        applications: none.applications,
        clients: none.clients,
        ..config
    }
}

#[test]
fn it_loads_as_it_stands_and_its_active_values_are_the_defaults() {
    let loaded = load("baton.toml", &documented(), Path::new(""));
    assert!(loaded.warnings.diagnostics.is_empty(), "{}", loaded.warnings);
    assert_eq!(without_tables(loaded.config), Config::default());
}

#[test]
fn the_defaults_it_states_are_the_real_ones() {
    let folder = folder_with_files("defaults");
    for line in ["\nudp_max = 1300", "\nverify = true", "\nmode = \"auto\""] {
        assert!(whole(true).contains(line) && !whole(false).contains(line), "{line}");
    }
    let stated = load("stated", &whole(true), &folder.0).config;
    assert_eq!(stated, load("silent", &whole(false), &folder.0).config);
}

#[test]
fn its_examples_load() {
    let folder = folder_with_files("examples");
    let loaded = load("examples", &whole(false), &folder.0).config;
    assert_eq!(loaded.accounts.len(), 2);
    assert_eq!(loaded.accounts[1].token.expose(), "from-a-file");
    assert_eq!(loaded.tls_profiles.len(), 1);
    assert_eq!(loaded.applications.len(), 3);
}

/// Every key that the code asks a file for stands in `baton.toml`, active or not.
#[test]
fn it_names_every_key() {
    let folder = folder_with_files("keys");
    let cx = Context::new(&folder.0);
    let text = whole(true);
    let (table, _) = toml::de::DeTable::parse_recoverable(&text);
    Config::read(&cx, table.get_ref());
    let mut there = BTreeSet::new();
    paths(&toml::from_str(&text).expect("a TOML file"), "", &mut there);
    let missing: Vec<String> = cx.asked.borrow().difference(&there).cloned().collect();
    assert!(missing.is_empty(), "config/baton.toml does not mention {missing:?}");
}

fn paths(value: &Value, at: &str, there: &mut BTreeSet<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                there.insert(path.clone());
                paths(value, &path, there);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, at, there)),
        _ => {}
    }
}

#[test]
fn every_example_deployment_loads() {
    let folder = folder_with_files("deployments");
    let mut deployments = 0;
    for entry in std::fs::read_dir(project("config")).expect("config/") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("a readable name").to_owned();
        let copy = folder.write(&name, &std::fs::read_to_string(&path).expect("a text"));
        let loaded = load_file(&copy).unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.diagnostics.is_empty(), "{}", loaded.warnings);
        let plan = loaded.config.plan(1);
        assert!(!plan.listeners.is_empty() && !plan.routes.is_empty(), "{name}");
        deployments += 1;
    }
    assert!(deployments >= 5, "{deployments}");
}

#[test]
fn those_without_certificates_pass_check_on_a_fresh_clone() {
    for name in ["baton", "two-trunks", "pbx-failover", "pbx"] {
        let output = run(&["check", &format!("config/{name}.toml")]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}
