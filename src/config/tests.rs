//! The configuration as a whole: what loads, what is reported, and what the plan makes of it.

use super::schema::HttpMethod;
use super::*;
use crate::sip::auth::Algorithm;
use crate::sip::plan::{
    Action, Ban, CallPlan, Credentials, Mode, Origin, ReferMode, Registrar, Secret as PlanSecret,
    SessionTimer, TrunkIx, UserMatch,
};
use crate::sip::refer::policy::{
    MissingReferredBy, NotifyDetail, OutOfDialog, Policy, Release, ReplacesMode, TargetRouting, TargetRule,
};
use std::path::Path;
use std::time::Duration;

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
    // Also where its calls come from anywhere and so from it, and for what is never proxied.
    let trunk = "[[trunk]]\nname = \"a\"\ntargets = [\"sip:127.0.0.1\"]\nmatch.source = [\"127.0.0.1\"]\n";
    let other = "[[trunk]]\nname = \"b\"\ntargets = [\"sip:127.0.0.1\"]\n";
    let open = findings(&format!(
        "{trunk}refer.mode = \"terminate\"\n{other}[[route]]\nto = [\"b\"]\nmode = \"proxy\"\n"
    ));
    assert!(open[0].contains("of the trunk \"a\""), "{open:?}");
    let clients = findings(
        "[[client]]\nuser = \"a\"\npassword = \"p\"\n[[route]]\nto = [\"clients\"]\nmode = \"proxy\"\n",
    );
    assert!(clients[0].contains("cannot be for calls to clients, which Baton owns"), "{clients:?}");
}

/// [C-154] [R-020] [R-107] [R-109] What a trunk says about calls that Baton owns.
#[test]
fn trunks_say_how_owned_calls_go() {
    let plan = config(
        r#"
[[trunk]]
name = "a"
targets = ["sip:127.0.0.1:1"]
[[trunk]]
name = "b"
targets = ["sip:127.0.0.1:2"]
auth = { user = "b@example.com", password = "p" }
session_timer = { expires = "0s", min_se = "2m" }
[trunk.refer]
mode = "terminate"
accept_code = 200
notify = "final"
notify_on_answer = true
notify_after_bye = false
release = "at-once"
release_after = "1s"
peer_bye = "completed"
silence = "completed"
replaces = "local"
max_transfers = 2
max_rate = 9
deny = ["+1900@"]
allow = ["+1@Example.com", "@pbx.example"]
routing = "back"
referred_by = "refuse"
headers = ["X-Ticket"]
strict_headers = true
refer_to = "return"
out_of_dialog = "target-dialog"
"#,
    )
    .plan(1);
    let [a, b] = &plan.trunks[..] else { panic!("two trunks") };
    assert_eq!((a.refer, &a.owned.policy), (ReferMode::Relay, &Policy::default()));
    assert_eq!(a.owned.session, SessionTimer { interval: 1_800, min: 90 });
    assert!(a.owned.credentials.is_none());
    assert_eq!(b.refer, ReferMode::Terminate);
    assert_eq!(b.owned.session, SessionTimer { interval: 0, min: 120 });
    let expected = Credentials { user: "b@example.com".into(), secret: PlanSecret::Password("p".into()) };
    assert!(b.owned.credentials.as_deref() == Some(&expected));
    let rule = |allow, prefix: &str, domain: &str| TargetRule {
        allow,
        domain: domain.into(),
        prefix: prefix.into(),
    };
    let expected = Policy {
        accept_code: 200,
        notify: NotifyDetail::Final,
        release: Release::AtOnce,
        release_after: Duration::from_secs(1),
        bye_is_success: true,
        silence_is_success: true,
        replaces: ReplacesMode::LocalOnly,
        max_transfers: 2,
        max_rate: 9,
        targets: vec![
            rule(false, "+1900", ""),
            rule(true, "+1", "example.com"),
            rule(true, "", "pbx.example"),
            rule(false, "", ""),
        ],
        routing: TargetRouting::BackToReferrer,
        referred_by: MissingReferredBy::Refuse,
        allow_headers: vec!["X-Ticket".into()],
        strict_headers: true,
        notify_after_bye: false,
        notify_on_answer: true,
        returns: true,
        out_of_dialog: OutOfDialog::TargetDialog,
    };
    assert_eq!(b.owned.policy, expected);
}

/// [C-156] [C-160] [C-169] [C-196] [T-021] [T-025] [T-026] Applications, clients, the registrar, and routes to and from them.
#[test]
fn owned_calls_become_a_plan() {
    let loaded = config(
        r#"
[http]
direct_calls = false
[timers]
target_ring = "20s"
[limits]
legs = 10
[registrar]
domains = ["Example.com", "example.net"]
min_expires = "2m"
default_expires = "5m"
max_expires = "10m"
max_contacts = 3
max_size = 1000
refer = "reject"
refer_to = "return"
[auth]
algorithms = ["SHA-512-256", "SHA-256"]
[acl]
never_ban = ["192.0.2.0/24", "2001:db8::1"]
ban = { threshold = 3, window = "10s", duration = "1h", include_trunks = true }
[[account]]
sid = "AC00000000000000000000000000000001"
token = "t"
[[application]]
name = "plain"
kind = "rcml"
url = "https://ivr.example.com"
[[application]]
name = "ivr"
kind = "rcml"
url = "https://u:p@ivr.example.com/voice"
method = "GET"
refer_url = "https://ivr.example.com/refer"
account = "AC00000000000000000000000000000001"
[[client]]
user = "alice"
password = "p"
account = "AC00000000000000000000000000000001"
[[client]]
user = "bob"
ha1_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
[[trunk]]
name = "a"
targets = ["sip:127.0.0.1:1"]
[[route]]
user = "1000"
application = "ivr"
[[route]]
from = ["clients", "api"]
to = ["a"]
mode = "b2bua"
[[route]]
to = ["clients"]
"#,
    );
    assert_eq!(loaded.applications[1].method, HttpMethod::Get);
    assert!(!format!("{:?}", loaded.applications).contains("u:p"));
    let plan = loaded.plan(1);
    let calls = &plan.calls;
    let applications: Vec<_> = calls.applications.iter().map(|a| (&*a.name, a.decides_refers)).collect();
    assert_eq!(applications, [("plain", false), ("ivr", true)]);
    assert_eq!(calls.applications[1].account.as_deref(), Some("AC00000000000000000000000000000001"));
    assert!(matches!(plan.routes[0].action, Action::Application(1)));
    assert_eq!(plan.routes[1].from, [Origin::Clients, Origin::Api]);
    assert!(matches!(&plan.routes[1].action, Action::Trunks { mode: Mode::B2bua, .. }));
    assert!(matches!(plan.routes[2].action, Action::Clients));
    assert!(calls.clients["alice"].credentials.secret == PlanSecret::Password("p".into()));
    assert!(matches!(
        &calls.clients["bob"].credentials.secret,
        PlanSecret::Ha1 { md5: None, sha256: Some(_), sha512_256: None }
    ));
    assert_eq!(calls.auth.algorithms, [Algorithm::Sha512_256, Algorithm::Sha256]);
    let (window, duration) = (Duration::from_secs(10), Duration::from_secs(3_600));
    assert_eq!(calls.auth.ban, Ban { threshold: 3, window, duration, include_trunks: true });
    let exempt: Vec<String> = calls.auth.never_ban.iter().map(ToString::to_string).collect();
    assert_eq!(exempt, ["192.0.2.0/24", "2001:db8::1/128"]);
    let registrar = &calls.registrar;
    assert_eq!(registrar.domains, ["example.com".into(), "example.net".into()]);
    assert_eq!((&*registrar.realm, registrar.refer), ("example.com", ReferMode::Reject(603)));
    assert!(registrar.returns);
    let lives = (registrar.min_expires, registrar.default_expires, registrar.max_expires);
    assert_eq!((lives, registrar.max_bindings, registrar.max_size), ((120, 300, 600), 3, 1_000));
    assert_eq!((calls.direct_calls, calls.ring_time.as_secs(), calls.capacity), (false, 20, 10));
}

/// What is left out is as the plan has it, except that fewer bindings are allowed.
#[test]
fn owned_calls_by_default() {
    let calls = config("").plan(1).calls;
    let default = CallPlan::default();
    let expected = Registrar { realm: "127.0.0.1".into(), max_bindings: 5, ..default.registrar };
    assert_eq!(calls.registrar, expected);
    assert_eq!(calls.auth, default.auth);
    let both = (calls.direct_calls, calls.ring_time, calls.capacity);
    assert_eq!(both, (default.direct_calls, default.ring_time, default.capacity));
}

#[test]
fn a_hash_needs_to_know_its_realm() {
    let client = format!("[[client]]\nuser = \"a\"\nha1 = \"{}\"\n", "0".repeat(32));
    let found = findings(&client);
    assert!(found[0].contains("holds for the realm \"127.0.0.1\" only"), "{found:?}");
    assert_eq!(findings(&format!("{client}[registrar]\nrealm = \"x\"\n")), Vec::<String>::new());
}

#[test]
fn routes_about_clients_need_some() {
    let found = findings("[[route]]\nfrom = [\"clients\"]\nreject = 403\n");
    assert!(found[0].contains("nobody may register"), "{found:?}");
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

/// [C-060] [T-152] A trunk that TLS alone reaches, without a target for calls to sips: addresses.
#[test]
fn transport_tls_is_not_sips() {
    let tls = "[[tls_profile]]\nname = \"t\"\ncert = \"a\"\nkey = \"b\"\n\
               [[listener]]\nname = \"s\"\nbind = \"tls:127.0.0.1:5061\"\ntls_profile = \"t\"\n";
    let trunk = |targets: &str, to: &str| {
        let found = findings(&format!(
            "{tls}[[trunk]]\nname = \"a\"\ntargets = [{targets}]\n[[trunk]]\nname = \"b\"\n\
             targets = [\"sip:127.0.0.2\"]\n[[trunk_group]]\nname = \"g\"\nmembers = [\"a\"]\n[[route]]\nto = [\"{to}\"]\n"
        ));
        found.into_iter().filter(|found| found.contains("sips")).collect::<Vec<_>>()
    };
    let only = "\"sip:x@h.example:5071;transport=tls\"";
    for to in ["a", "g"] {
        let found = trunk(only, to);
        assert!(found.len() == 1 && found[0].contains("warning"), "{found:?}");
        assert!(found[0].contains("the trunk \"a\", and are answered 503"), "{found:?}");
        assert!(found[0].contains("write \"sips:x@h.example:5071\""), "{found:?}");
    }
    assert_eq!(trunk(only, "b"), [""; 0]);
    assert_eq!(trunk(&format!("{only}, \"sips:h.example\""), "a"), [""; 0]);
    assert_eq!(trunk("\"sip:h.example\"", "a"), [""; 0]);
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

/// [T-152] [telnyx 3] Two accounts with one token cannot be told apart by it, which is said; the token itself is not.
#[test]
fn accounts_with_one_token() {
    let account = |n: u8, token: &str| format!("[[account]]\nsid = \"AC{n:032x}\"\ntoken = \"{token}\"\n");
    let text = [account(1, "one"), account(2, "two"), account(3, "one")].concat();
    let found = findings(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("f:11:7: warning: the accounts "), "{found:?}");
    assert!(found[0].ends_with("the first, give each a token of its own"), "{found:?}");
    assert!(!found[0].contains("one\""), "{found:?}");
    assert_eq!(findings(&[account(1, "one"), account(2, "two")].concat()), [""; 0]);
}
