//! A call that was secured goes nowhere in the clear.

use super::stage::Stage;
use crate::sip::event::{ReferReason, ReferStatus};
use crate::sip::flow::{Flow, Transport};
use crate::sip::message::Method;
use crate::sip::plan::{Action, Origin, ReferMode, Route, TrunkIx, UserMatch};
use crate::sip::refer::Policy;
use crate::sip::refer::policy::TargetRouting;
use crate::sip::registrar::Contact;

/// Alice's call, which she made as `sips:`, to Bob.
fn secured(routing: TargetRouting) -> Stage {
    let mut stage = Stage::with_policy(ReferMode::Terminate, Policy { routing, ..Policy::default() });
    stage.calls("alice", "sips:200@127.0.0.1");
    stage.log.clear();
    stage.requests.clear();
    stage
}

fn secure_target(stage: &mut Stage, trunk: usize) {
    let target = &mut stage.plan.trunks[trunk].targets[0];
    (target.secure, target.transport) = (true, Some(Transport::Tls));
}

/// What left for a phone in INVITEs that begin a call: the Request-URIs.
fn called(stage: &Stage, name: &str) -> Vec<String> {
    let uri = |m: &&crate::sip::message::Message| String::from_utf8_lossy(m.request_uri()).into_owned();
    stage.sent(name, Method::Invite).iter().map(uri).collect()
}

/// [R-111] [C-039] [C-060] A number has no scheme that could be secured: it is called by TLS, or not at all.
#[test]
fn a_number() {
    let mut stage = secured(TargetRouting::Referrer);
    stage.refers("alice", "<tel:+4930123>");
    assert_eq!(stage.count("alice REFER 503"), 1, "{:#?}", stage.log);
    assert_eq!(stage.count("carol"), 0);
    assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::Policy), Some(503), None));
    secure_target(&mut stage, 2);
    stage.refers("alice", "<tel:+4930123>");
    assert_eq!(called(&stage, "carol"), ["sips:+4930123@10.0.2.1;user=phone"]);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// Back to the referrer's peer is no way around that.
#[test]
fn back_to_the_referrer() {
    let mut stage = secured(TargetRouting::BackToReferrer);
    stage.refers("alice", "<sip:+15550100@pstn.example.net>");
    assert_eq!(stage.count("alice REFER 503"), 1, "{:#?}", stage.log);
    assert_eq!(stage.count("alice INVITE"), 0);
    secure_target(&mut stage, 0);
    stage.refers("alice", "<sip:+15550100@pstn.example.net>");
    assert_eq!(called(&stage, "alice"), ["sips:+15550100@10.0.0.1"]);
    assert_eq!(stage.ended().0, ReferStatus::Completed);
    stage.end();
}

/// [R-111] [C-060] A client that has registered in the clear is not there for such a call; one behind TLS is.
#[test]
fn a_client() {
    for (transport, code) in [(Transport::Udp, 480), (Transport::Tcp, 480), (Transport::Tls, 200)] {
        let mut stage = secured(TargetRouting::Referrer);
        let from = vec![Origin::Trunk(TrunkIx(0))];
        let user = UserMatch::Prefix("4".into());
        stage.plan.routes.push(Route { from, user, action: Action::Clients });
        stage.refers("alice", "<sip:400@example.com>");
        let (ticket, user) = stage.calls.next_lookup().expect("a question");
        assert_eq!(&*user, "400");
        let remote = "10.0.2.1:5070".parse().expect("an address");
        let destination = Flow { transport, remote, ..Flow::nowhere() }.into();
        let contact = Contact { uri: "sip:carol@10.0.2.1:5070".into(), destination, route: None };
        stage.with(|calls, cx| calls.bindings(cx, ticket, vec![contact]));
        stage.pass_s(1);
        assert_eq!(stage.count("carol INVITE"), usize::from(code == 200), "{:#?}", stage.log);
        assert_eq!(stage.ended().3, Some(code));
        stage.end();
    }
}
