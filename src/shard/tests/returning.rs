//! REFERs whose target is turned to Baton, and the calls that come back (R-027), proxied and owned.

use super::edges::{requests, status};
use super::moved::talk;
use super::*;
use crate::shard::owner::HashKey;
use crate::sip::refer::policy::OutOfDialog;

/// Alpha wants the calls of its transfers back; bravo may call numbers with 2, which are alpha's.
fn returning(plan: &mut Plan) {
    plan.trunks[0].owned.policy.returns = true;
    let to_alpha = Action::Trunks { to: vec![TrunkIx(0)], fork: Fork::Serial, mode: Mode::Auto };
    plan.routes.push(Route {
        from: vec![Origin::Trunk(TrunkIx(1))],
        user: UserMatch::Prefix("2".into()),
        action: to_alpha,
    });
}

/// The same with calls of Baton's own.
fn owning(plan: &mut Plan) {
    returning(plan);
    for route in &mut plan.routes {
        let Action::Trunks { mode, .. } = &mut route.action else { continue };
        *mode = Mode::B2bua;
    }
}

fn one(sent: &[Sent], begins: &str) -> String {
    let found = sent.iter().find(|sent| sent.text.starts_with(begins));
    let all =
        || sent.iter().map(|sent| sent.text.lines().next().unwrap_or("").to_owned()).collect::<Vec<_>>();
    found.unwrap_or_else(|| panic!("no {begins}: {:?}", all())).text.clone()
}

/// Alice, who talks to Bob, refers him to this: what he is told.
fn referred(stage: &mut Stage, refer_to: &str) -> String {
    let invite = one(&stage.receive(ALICE, &invite()), "INVITE");
    let ok = response(&invite, "200 OK", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
    let ok = one(&stage.receive(BOB, &ok), "SIP/2.0 200");
    let to_tag = format!(";tag={}", header(&ok, "To")[0].split(";tag=").nth(1).expect("a tag"));
    let contact = header(&ok, "Contact")[0].trim_matches(['<', '>']).to_owned();
    let route =
        header(&ok, "Record-Route").first().map_or(String::new(), |route| format!("Route: {route}\n"));
    stage.receive(ALICE, &request("ACK", &contact, &route, &to_tag, 1));
    let refer = request("REFER", &contact, &format!("{route}Refer-To: {refer_to}\n"), &to_tag, 2);
    let refer = one(&stage.receive(ALICE, &refer), "REFER");
    assert_eq!(header(&refer, "Refer-To").len(), 1);
    header(&refer, "Refer-To")[0].to_owned()
}

/// Bob calls it.
fn calls(stage: &mut Stage, n: u32, refer_to: &str) -> Vec<Sent> {
    let uri = refer_to.trim_matches(['<', '>']).split('?').next().expect("a URI");
    stage.receive(BOB, &bobs_invite(n, uri))
}

fn bobs_invite(n: u32, uri: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\nVia: SIP/2.0/UDP 10.0.1.1:5060;branch=z9hG4bKb{n};rport\nMax-Forwards: 70\n\
         From: <sip:bob@10.0.1.1>;tag=b{n}\nTo: <{uri}>\nCall-ID: back{n}@10.0.1.1\nCSeq: 1 INVITE\n\
         Contact: <sip:bob@10.0.1.1:5060>\nContent-Length: 0\n\n"
    )
}

const TARGET: &str = "<sip:2000@pbx.example;x=aZ%7e?X-A=1>";

/// [R-027] [R-025] [R-114] The triggered call comes back, once, and goes to the target that was meant. A call of Baton's
/// own tells nobody further on of its token.
#[test]
fn the_call_comes_back() {
    for (change, owned) in [(returning as fn(&mut Plan), false), (owning, true)] {
        let mut stage = Stage::with(change);
        let told = referred(&mut stage, TARGET);
        assert!(told.starts_with("<sip:2000@127.0.0.1:5060;r=") && told.ends_with("?X-A=1>"), "{told}");
        let sent = calls(&mut stage, 1, &told);
        let invite = one(&sent, "INVITE");
        assert!(invite.starts_with("INVITE sip:2000@10.0.0.9;x=aZ%7e SIP/2.0\n"), "{invite}");
        let to = if owned { "<sip:2000@pbx.example;x=aZ%7e>" } else { told.trim_end_matches("?X-A=1>") };
        assert!(header(&invite, "To")[0].starts_with(to) && owned != invite.contains(";r="), "{invite}");
        // A repetition is the same call, a second one is too much.
        assert_ne!(status(&calls(&mut stage, 1, &told)), Some("403"));
        let again = calls(&mut stage, 2, &told);
        assert_eq!((status(&again), requests(&again, "INVITE").len()), (Some("403"), 0));
        stage.pass(Duration::from_secs(1_000));
        // The operator is told once of each which Refer it comes of.
        let (mut refers, mut returned) = (Vec::new(), Vec::new());
        for output in stage.out.drain() {
            match output {
                Output::Event(Event::Refer(refer)) | Output::Control(Event::Refer(refer)) => {
                    refers.push(refer.sid);
                }
                Output::Returned { refer, call_id, admitted } => returned.push((refer, call_id, admitted)),
                _ => {}
            }
        }
        let call = |n: u8| Box::from(format!("back{n}@10.0.1.1").into_bytes());
        assert_eq!(returned, [(refers[0], call(1), true), (refers[0], call(2), false)]);
    }
}

/// [R-027] [R-114] What a returned call is told to begin with says which Refer it comes of, and which call
/// was transferred; a call that nobody was referred to says nothing of the kind.
#[test]
fn the_call_names_its_refer() {
    for change in [returning as fn(&mut Plan), owning] {
        let mut stage = Stage::with(change);
        let told = referred(&mut stage, TARGET);
        one(&calls(&mut stage, 1, &told), "INVITE");
        one(&calls(&mut stage, 2, "<sip:2000@127.0.0.1:5060>"), "INVITE");
        stage.pass(Duration::from_secs(1_000));
        let (mut refers, mut began) = (Vec::new(), Vec::new());
        for output in stage.out.drain() {
            match output {
                Output::Event(Event::Refer(refer)) | Output::Control(Event::Refer(refer)) => {
                    refers.push(refer)
                }
                Output::Event(Event::CallStarted(call)) | Output::Control(Event::CallStarted(call)) => {
                    began.push(call);
                }
                _ => {}
            }
        }
        let (first, refer) = (&began[0], &refers[0]);
        assert_eq!((refer.call, refer.rule), (first.sid, Some(crate::sip::refer::ReferRule::Mode)));
        let causes: Vec<_> =
            began.iter().filter_map(|call| Some((call.call_id.as_str(), call.parent, call.cause?))).collect();
        let cause = crate::sip::event::Cause { refer: refer.sid, call: first.sid };
        assert_eq!(causes, [("back1@10.0.1.1", None, cause)]);
    }
}

/// An INVITE as its sender repeats it after an answer that asked for something.
fn repeated(invite: &str, extra: &str) -> String {
    let later = invite.replace("CSeq: 1 ", "CSeq: 2 ").replace("branch=z9hG4bK", "branch=z9hG4bKagain");
    later.replace("Contact:", &format!("{extra}Contact:"))
}

/// [R-027] [C-182] [C-200] What a first answer asks for, the same call may bring, whoever answered.
#[test]
fn the_invite_comes_again() {
    let mut stage = Stage::with(owning);
    let told = referred(&mut stage, "<sip:2000@pbx.example>");
    let first = bobs_invite(1, told.trim_matches(['<', '>']));
    let hasty = first.replace("Contact:", "Supported: timer\nSession-Expires: 60\nContact:");
    assert_eq!(status(&stage.receive(BOB, &hasty)), Some("422"));
    one(&stage.receive(BOB, &repeated(&first, "Supported: timer\nSession-Expires: 1800\n")), "INVITE");
    // RFC 3261 §8.2.2.2 (C-082): the same request by another way is none of a second call.
    let merged = repeated(&first, "").replace("again", "another");
    assert_eq!(status(&stage.receive(BOB, &merged)), Some("482"));

    let mut stage = Stage::with(returning);
    let told = referred(&mut stage, "<sip:2000@pbx.example>");
    let first = bobs_invite(1, told.trim_matches(['<', '>']));
    let invite = one(&stage.receive(BOB, &first), "INVITE");
    let challenge = "Proxy-Authenticate: Digest realm=\"a\", nonce=\"n\"\n";
    let challenge = response(&invite, "407 Proxy Authentication Required", ";tag=pbx", challenge);
    assert!(stage.receive("10.0.0.9:5060", &challenge).iter().any(|sent| sent.text.contains(" 407 ")));
    let credentials = "Proxy-Authorization: Digest username=\"u\", realm=\"a\", nonce=\"n\", \
                       uri=\"sip:a\", response=\"0\"\n";
    let invite = one(&stage.receive(BOB, &repeated(&first, credentials)), "INVITE");
    assert!(invite.starts_with("INVITE sip:2000@10.0.0.9 SIP/2.0\n"), "{invite}");
    let other = repeated(&first, credentials).replace("back1@", "back2@").replace("again", "other");
    assert_eq!(status(&stage.receive(BOB, &other)), Some("403"));
}

/// [R-027] Too late is too late; what was bent is refused, and what has no token is a call like any, other
/// people's parameters of the same name included (RFC 3261 §19.1.1).
#[test]
fn worthless_tokens() {
    for change in [returning, owning] {
        let mut stage = Stage::with(change);
        let told = referred(&mut stage, TARGET);
        let at = told.find(";r=").expect("a token") + 20;
        let bent =
            format!("{}{}{}", &told[..at], if &told[at..=at] == "A" { "B" } else { "A" }, &told[at + 1..]);
        let sent = calls(&mut stage, 10, &bent);
        assert_eq!((status(&sent), requests(&sent, "INVITE").len()), (Some("403"), 0), "{bent}");
        for (n, r) in (11..).zip([";r=AAAA", ";r=", ";r", ";r=on", ";r=1"]) {
            let uri = format!("<sip:2000@127.0.0.1:5060{r};x=y>");
            let invite = one(&calls(&mut stage, n, &uri), "INVITE");
            assert!(header(&invite, "To")[0].starts_with(&uri), "{invite}");
        }
        one(&calls(&mut stage, 20, "<sip:2000@127.0.0.1:5060>"), "INVITE");
        stage.pass(Duration::from_secs(301));
        let late = calls(&mut stage, 30, &told);
        assert_eq!((status(&late), requests(&late, "INVITE").len()), (Some("403"), 0));
        stage.pass(Duration::from_secs(1_000));
    }
}

/// [R-027] [R-055] [R-106] The way back opens no door: who calls may call what its own rules let it; somebody
/// unknown does not even spend the token.
#[test]
fn the_rules_decide() {
    for change in [returning, owning] {
        let mut stage = Stage::with(change);
        let told = referred(&mut stage, "<sip:9000@pbx.example>");
        let sent = calls(&mut stage, 1, &told);
        assert_eq!((status(&sent), requests(&sent, "INVITE").len()), (Some("404"), 0));
        let mut stage = Stage::with(change);
        let told = referred(&mut stage, TARGET);
        let uri = told.trim_matches(['<', '>']).split('?').next().expect("a URI");
        assert!(stage.receive("10.9.9.9:5060", &bobs_invite(1, uri)).is_empty());
        one(&calls(&mut stage, 2, &told), "INVITE");
    }
}

/// [R-017] [R-027] Without the knob, nothing of a Refer-To is touched in a proxied call.
#[test]
fn not_unless_it_is_wanted() {
    let mut stage = Stage::with(|plan| {
        returning(plan);
        plan.trunks[0].owned.policy.returns = false;
        plan.trunks[1].owned.policy.returns = true;
    });
    assert_eq!(referred(&mut stage, TARGET), TARGET);
}

/// [R-027] [R-028] A REFER outside a dialog keeps its target: it may go to several, by ways that are not known yet,
/// and one token is good for one call.
#[test]
fn not_outside_a_dialog() {
    let mut stage = Stage::with(|plan| {
        returning(plan);
        plan.trunks[0].owned.policy.out_of_dialog = OutOfDialog::Relay;
    });
    let refer = request("REFER", "sip:1000@127.0.0.1:5060", &format!("Refer-To: {TARGET}\n"), "", 1);
    let refer = one(&stage.receive(ALICE, &refer), "REFER");
    assert_eq!(header(&refer, "Refer-To"), [TARGET]);
}

/// Two shards of one process.
fn two(change: fn(&mut Plan)) -> [Stage; 2] {
    let place = |index| Place { index, shards: 2, key: HashKey::new([6; 16]) };
    let plan = Stage::with(change).shard.plan.clone();
    [0, 1].map(|n| {
        let mut stage = Stage::new();
        let counters = Arc::new(Counters::new(2));
        stage.shard = Shard::new(plan.clone(), place(n), [n as u8; 32], [4; 16], counters);
        stage
    })
}

/// [R-027] Whichever shard the call lands on takes it, and no other does after that; not even one that comes to
/// another shard at the same moment, in whatever order they ask.
#[test]
fn one_call_on_all_shards() {
    for change in [returning as fn(&mut Plan), owning] {
        for order in [[0, 1], [1, 0]] {
            let mut stages = two(change);
            let told = referred(&mut stages[0], TARGET);
            talk(&mut stages);
            let mut sent = Vec::new();
            for at in order {
                // What it says to the other is not carried over yet.
                sent.append(&mut calls(&mut stages[at], at as u32 + 1, &told));
            }
            sent.extend(talk(&mut stages));
            let passed = requests(&sent, "INVITE");
            let refused: Vec<&Sent> =
                sent.iter().filter(|sent| sent.text.starts_with("SIP/2.0 403 ")).collect();
            assert_eq!((passed.len(), refused.len()), (1, 1), "{order:?}");
            assert!(passed[0].text.starts_with("INVITE sip:2000@10.0.0.9;x=aZ%7e SIP/2.0\n"));
            let again = calls(&mut stages[1], 3, &told);
            let again = again.into_iter().chain(talk(&mut stages)).collect::<Vec<_>>();
            assert_eq!((status(&again), requests(&again, "INVITE").len()), (Some("403"), 0));
            for stage in &mut stages {
                stage.pass(Duration::from_secs(1_000));
                assert_eq!(stage.shard.remains(), 0);
            }
        }
    }
}

/// [R-027] [C-182] The INVITE that another shard was asked about may come again, and goes on once.
#[test]
fn asked_about_again() {
    let mut stages = two(returning);
    let told = referred(&mut stages[0], TARGET);
    talk(&mut stages);
    let first = bobs_invite(1, told.trim_matches(['<', '>']).split('?').next().expect("a URI"));
    stages[1].receive(BOB, &first);
    assert!(requests(&stages[1].receive(BOB, &first), "INVITE").is_empty(), "a retransmission is absorbed");
    let sent = talk(&mut stages);
    assert_eq!(requests(&sent, "INVITE").len(), 1);
    let challenge = "Proxy-Authenticate: Digest realm=\"a\", nonce=\"n\"\n";
    let invite = one(&sent, "INVITE");
    stages[1].receive(
        "10.0.0.9:5060",
        &response(&invite, "407 Proxy Authentication Required", ";tag=p", challenge),
    );
    stages[1].receive(BOB, &repeated(&first, "X-B: 1\n"));
    assert_eq!(requests(&talk(&mut stages), "INVITE").len(), 1);
}

/// [R-027] [C-071] A caller that gives up while the other shard is asked gets its 487, and the answer to the
/// question finds nobody; no answer at all is no reason to wait for ever.
#[test]
fn nobody_waits_for_ever() {
    let mut stages = two(returning);
    let told = referred(&mut stages[0], TARGET);
    talk(&mut stages);
    let uri = told.trim_matches(['<', '>']).split('?').next().expect("a URI");
    let first = bobs_invite(1, uri);
    stages[1].receive(BOB, &first);
    let cancel = first.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    let sent = stages[1].receive(BOB, &cancel);
    let codes = |sent: &[Sent]| -> Vec<String> {
        sent.iter().map(|sent| sent.text.lines().next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(codes(&sent), ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    assert!(talk(&mut stages).iter().all(|sent| !sent.text.starts_with("INVITE")));

    stages[1].receive(BOB, &bobs_invite(2, uri));
    stages[1].out.drain().for_each(drop);
    let sent = stages[1].pass(Duration::from_secs(3));
    assert!(codes(&sent).iter().any(|line| line.starts_with("SIP/2.0 503 ")), "{:?}", codes(&sent));
    for stage in &mut stages {
        stage.pass(Duration::from_secs(1_000));
        assert_eq!(stage.shard.remains(), 0);
    }
}

/// [R-027] [X-22] [R-055] After a restart nobody knows the Refer any more. Its token still leads to the target
/// that was meant, once, and only where the caller's own rules let it: nowhere that it could not call without.
#[test]
fn after_a_restart() {
    let mut stages = two(returning);
    let told = referred(&mut stages[1], TARGET);
    let closed = referred(&mut stages[0], "<sip:9000@pbx.example>");
    for shards in [1, 2] {
        // The same key in the state directory, and fewer shards perhaps.
        let mut again = two(returning);
        if shards == 1 {
            let plan = again[0].shard.plan.clone();
            again[0].shard = Shard::new(plan, Place::alone(), [9; 32], [4; 16], Arc::new(Counters::new(2)));
        }
        let mut come = |n, to: &str| -> Vec<Sent> {
            let at = calls(&mut again[0], n, to);
            at.into_iter().chain(talk(&mut again)).collect()
        };
        assert!(one(&come(1, &told), "INVITE").starts_with("INVITE sip:2000@10.0.0.9;x=aZ%7e "));
        assert_eq!(status(&come(2, &told)), Some("403"));
        let nowhere = come(3, &closed);
        assert_eq!((status(&nowhere), requests(&nowhere, "INVITE").len()), (Some("404"), 0));
    }
}
