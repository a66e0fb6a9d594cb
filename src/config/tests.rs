//! The configuration as a whole: what loads, what is reported, and what the plan makes of it.

use super::*;
use crate::sip::plan::{Action, Origin, TrunkIx, UserMatch};
use std::path::Path;

const LISTENER: &str = "[[listener]]\nname = \"lan\"\nbind = \"udp:127.0.0.1:5060\"\n";

/// All findings of a text after a listener that is right, one a line, without the file's name.
fn findings(text: &str) -> Vec<String> {
    let text = format!("{LISTENER}{text}");
    let report = match load_text("f", &text, Path::new("/nonexistent")) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    };
    report.diagnostics.iter().map(|d| report.line(d)).collect()
}

fn config(text: &str) -> Config {
    let text = format!("{LISTENER}{text}");
    load_text("f", &text, Path::new("")).unwrap_or_else(|report| panic!("{report}")).config
}

#[test]
fn the_embedded_default_loads_without_a_warning() {
    let loaded = load_text("embedded", EMBEDDED, Path::new("")).unwrap();
    assert_eq!(loaded.warnings.diagnostics, Vec::new());
    let plan = loaded.config.plan(1);
    let binds: Vec<_> = plan.listeners.iter().map(|l| (l.transport.param(), l.bind.to_string())).collect();
    assert_eq!(binds, [("udp", "127.0.0.1:5060".to_owned()), ("tcp", "127.0.0.1:5060".to_owned())]);
    assert_eq!(loaded.config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(loaded.config.accounts.len(), 1);
}

/// [T-001] a name and a target are enough.
#[test]
fn a_trunk_needs_a_name_and_a_target_only() {
    let plan = config("[[trunk]]\nname = \"a\"\ntargets = [\"sip:127.0.0.1:5080\"]\n").plan(1);
    let trunk = plan.trunk(TrunkIx(0)).unwrap();
    assert_eq!((trunk.udp_max, trunk.no_response_timeout.as_secs()), (1_300, 3));
    assert_eq!((trunk.targets[0].priority, trunk.targets[0].weight), (10, 100));
}

#[test]
fn every_error_of_a_file_is_found_in_one_run() {
    let found = findings(
        r#"
[http]
lsiten = "127.0.0.1:8080"

[[trunk]]
name = "Alpha"
targets = ["sip:127.0.0.1:5080", "nonsense", 7]
match = { source = ["127.0.0.1", "10.0.0.0/99"] }
udp_max = "big"
topology = "full"

[[route]]
to = ["beta"]
regex = "("

[cluster]
engine = "none"
"#,
    );
    let expected = [
        "f:6:1: unknown key http.lsiten, did you mean listen?",
        "f:9:8: trunk.name = \"Alpha\" is no name, use",
        "f:10:34: trunk.targets = \"nonsense\" is no URI, write",
        "f:10:46: trunk.targets is an integer, write",
        "f:11:34: trunk.match.source = \"10.0.0.0/99\" is no CIDR: \"99\" is no prefix length, write a length from 0 to 32",
        "f:12:11: trunk.udp_max is a string, write an integer from 200 to 65535",
        "f:13:1: trunk.topology is not available in this version of Baton, remove it",
        "f:16:7: there is no trunk \"beta\", add a table [[trunk]] for it",
        "f:17:9: route.regex is no regular expression: unclosed group, write",
        "f:19:2: cluster is not available in this version of Baton, remove it",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, start) in found.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
}

#[test]
fn several_syntax_errors_and_other_errors_show_together() {
    let found = findings("[http]\nlisten = 127.0.0.1\n[shards]\ncount = \"two\"\n[log\nlevel = \"info\"\n");
    assert!(found.iter().any(|l| l.starts_with("f:5:")), "{found:#?}");
    assert!(found.iter().any(|l| l.starts_with("f:7:9: shards.count is a string")), "{found:#?}");
    assert!(found.iter().any(|l| l.starts_with("f:8:")), "{found:#?}");
}

/// [T-017] both names in the message; overlapping prefixes are allowed.
#[test]
fn identical_sources_of_two_trunks_fail_the_load() {
    let trunks = |a: &str, b: &str| {
        findings(&format!(
            "[[trunk]]\nname = \"a\"\ntargets = [\"sip:127.0.0.1\"]\nmatch.source = [\"{a}\"]\n\
             [[trunk]]\nname = \"b\"\ntargets = [\"sip:127.0.0.1\"]\nmatch.source = [\"{b}\"]\n"
        ))
    };
    let same = trunks("192.0.2.0/24", "192.0.2.0/24");
    assert!(same[0].contains("the trunks \"a\" and \"b\" have the same source"), "{same:?}");
    assert_eq!(trunks("192.0.2.0/24", "192.0.2.0/25"), Vec::<String>::new());
    assert_eq!(trunks("192.0.2.1", "192.0.2.1:5060"), Vec::<String>::new());
}

#[test]
fn proxy_mode_contradicts_terminating_refers() {
    let found = findings(
        "[[trunk]]\nname = \"a\"\ntargets = [\"sip:127.0.0.1\"]\nrefer = { mode = \"terminate\" }\n\
         [[trunk_group]]\nname = \"g\"\nmembers = [\"a\"]\n\
         [[route]]\nto = [\"g\"]\nmode = \"proxy\"\n",
    );
    assert!(found.iter().any(|l| l.contains("contradicts refer.mode = \"terminate\"")), "{found:?}");
    assert!(found.iter().any(|l| l.contains("\"terminate\" is not available")), "{found:?}");
}

/// [T-030] [T-011] routes keep file order; groups expand in order.
#[test]
fn routes_and_groups_become_a_plan() {
    let plan = config(
        r#"
[[trunk]]
name = "a"
targets = ["sip:127.0.0.1:1"]
match.source = ["127.0.0.1:1"]
[[trunk]]
name = "b"
targets = [{ uri = "sip:127.0.0.1:2", priority = 20, weight = 5 }, "sip:127.0.0.1:3;transport=udp"]
refer = { mode = "reject", code = 403 }
[[trunk_group]]
name = "g"
members = ["b", "a"]
[[route]]
from = ["a"]
user = "1000"
reject = { code = 480, reason = "Gone fishing" }
[[route]]
prefix = "+31"
to = ["a", "g"]
fork = "parallel"
[[route]]
from = ["clients"]
regex = "^[0-9]+$"
reject = 404
"#,
    )
    .plan(7);
    assert_eq!(plan.node, 7);
    assert_eq!(plan.routes.len(), 3);
    assert_eq!(plan.routes[0].from, [Origin::Trunk(TrunkIx(0))]);
    assert!(
        matches!(&plan.routes[0].action, Action::Reject { code: 480, reason } if &**reason == "Gone fishing")
    );
    assert!(
        matches!(&plan.routes[1].action, Action::Trunks { to, .. } if *to == [TrunkIx(0), TrunkIx(1), TrunkIx(0)])
    );
    assert!(matches!(&plan.routes[1].user, UserMatch::Prefix(p) if &**p == "+31"));
    assert!(plan.routes[2].user.matches(b"123") && !plan.routes[2].user.matches(b"12a"));
    assert!(
        matches!(&plan.routes[2].action, Action::Reject { code: 404, reason } if &**reason == "Not Found")
    );
    // Lower priority values come first.
    assert_eq!(plan.trunks[1].targets[0].port, Some(3));
}

#[test]
fn listeners_say_how_peers_reach_them() {
    let found = findings("[[listener]]\nname = \"any\"\nbind = \"udp:0.0.0.0:5070\"\n");
    assert!(found[0].contains("add advertise"), "{found:?}");
    let plan =
        config("[[listener]]\nname = \"v6\"\nbind = \"tcp:[::]:5070\"\nadvertise = \"SIP.example.com\"\n")
            .plan(1);
    assert_eq!(plan.listeners[1].sent_by(), "sip.example.com:5070");
    assert_eq!(plan.listeners[0].sent_by(), "127.0.0.1");
}

/// [T-149]
#[test]
fn http_beyond_loopback_needs_an_account() {
    let found = findings("[http]\nlisten = \"0.0.0.0:8080\"\n");
    assert!(found[0].contains("no account protects it"), "{found:?}");
}

#[test]
fn a_target_needs_a_listener_of_its_transport_and_family() {
    let target =
        |uri: &str| findings(&format!("[[trunk]]\nname = \"a\"\ntargets = [\"{uri}\"]\n")).join("\n");
    assert!(target("sip:127.0.0.1;transport=tcp").contains("needs tcp, and no listener has it"));
    assert!(target("sips:carrier.example").contains("needs tls"));
    assert!(target("sip:[::1]").contains("no listener for it"));
    assert_eq!(target("sip:carrier.example"), "");
}

#[test]
fn a_missing_reference_suggests_a_neighbour() {
    let found = findings(
        "[[trunk]]\nname = \"alpha\"\ntargets = [\"sip:127.0.0.1\"]\naccount = \"AC00000000000000000000000000000001\"\n\
         [[route]]\nto = [\"alhpa\"]\n",
    );
    assert!(found[0].ends_with("add a table [[account]] for it"), "{found:?}");
    assert!(found[1].ends_with("there is no trunk \"alhpa\", did you mean \"alpha\"?"), "{found:?}");
}

/// [T-023] whatever is wrong with a token, it is not repeated.
#[test]
fn secrets_do_not_show_in_configuration_or_report() {
    let config = config("[[account]]\nsid = \"AC00000000000000000000000000000001\"\ntoken = \"s3cr3t\"\n");
    assert!(!format!("{config:?}").contains("s3cr3t"));
    let text = format!("{LISTENER}[[account]]\nsid = \"AC1\"\ntoken = \"s3cr3t\" \"more\"\n");
    let report = load_text("f", &text, Path::new("")).unwrap_err();
    assert!(!report.to_string().contains("s3cr3t"), "{report}");
}
