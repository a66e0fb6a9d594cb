use super::stage::{Stage, text};
use crate::sip::event::{ReferReason, ReferRole, ReferStatus};
use crate::sip::message::{HeaderId, Method};
use crate::sip::plan::ReferMode;
use crate::sip::refer::Policy;

fn relaying() -> Stage {
    Stage::talking_with(ReferMode::Relay, Policy::default()).0
}

/// The REFER goes on in the other dialog, its NOTIFYs come back in this one.
#[test]
fn passed_on_and_back() {
    let mut stage = relaying();
    stage.refers("alice", "<sip:300@example.com;method=INVITE;x=y?X-A=1>");
    let refer = stage.sent("bob", Method::Refer)[0].clone();
    assert_eq!(text(&refer, HeaderId::ReferTo), "<sip:300@example.com;method=INVITE;x=y?X-A=1>");
    assert_eq!(text(&refer, HeaderId::CallId), stage.dialog("bob").call_id);
    assert_eq!(stage.count("alice REFER 202"), 1);
    stage.notifies("bob", 100, "active;expires=60");
    let far = refer.cseq().expect("CSeq").number;
    stage.request(
        "bob",
        "NOTIFY",
        &format!("Event: refer;id={far}\nSubscription-State: terminated;reason=noresource\nContent-Type: message/sipfrag\n"),
        "SIP/2.0 200 OK\n",
    );
    assert_eq!(stage.count("bob NOTIFY 200"), 2, "answered when the referrer has answered");
    let notifies = stage.sent("alice", Method::Notify);
    assert_eq!(text(notifies[0], HeaderId::Event), "refer");
    let near = stage.dialog("alice").cseq;
    assert_eq!(text(notifies[1], HeaderId::Event), format!("refer;id={near}"));
    assert_eq!(text(notifies[1], HeaderId::SubscriptionState), "terminated;reason=noresource");
    // In the referrer's dialog, with what is Baton's there, and the body as it came.
    let dialog = stage.dialog("alice");
    for notify in &notifies {
        assert_eq!(text(notify, HeaderId::CallId), dialog.call_id);
        assert!(text(notify, HeaderId::To).ends_with(&format!(";tag={}", dialog.tag)));
        assert!(text(notify, HeaderId::From).ends_with(&format!(";tag={}", dialog.baton)));
        assert_eq!(text(notify, HeaderId::Contact), "<sip:127.0.0.1:5060>");
    }
    let number = |n: usize| notifies[n].cseq().expect("CSeq").number;
    assert_eq!(number(1), number(0) + 1);
    assert!(notifies[1].body().starts_with(b"SIP/2.0 200 OK"));
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    assert!(stage.told().iter().all(|refer| refer.role == ReferRole::Relay));
    stage.end();
}

/// A referee that names no REFER means the first one in its dialog, which is not the referrer's first
/// when that was refused: towards the referrer it is named.
#[test]
fn named_from_the_second_one_on() {
    let mut stage = relaying();
    stage.refers("alice", "<sip:300@example.com>");
    stage.notifies("bob", 486, "terminated;reason=noresource");
    stage.pass_s(3);
    stage.refers("alice", "<sip:300@example.com>");
    let near = stage.dialog("alice").cseq;
    stage.notifies("bob", 200, "terminated;reason=noresource");
    let notifies = stage.sent("alice", Method::Notify);
    assert_eq!(text(notifies[0], HeaderId::Event), "refer");
    assert_eq!(text(notifies[1], HeaderId::Event), format!("refer;id={near}"));
    stage.end();
}

/// The referrer hangs up with a NOTIFY unanswered: who sent it need not know, and it is still passed on.
#[test]
fn a_notify_that_the_referrer_does_not_answer() {
    let mut stage = relaying();
    stage.manner("alice").notify = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.notifies("bob", 180, "active;expires=60");
    assert_eq!(stage.count("bob NOTIFY"), 0);
    stage.request("alice", "BYE", "", "");
    assert_eq!((stage.count("bob NOTIFY 200"), stage.count("bob BYE")), (1, 1), "{:#?}", stage.log);
    stage.manner("alice").notify = Some(481);
    stage.pass_s(5);
    assert_eq!(stage.count("alice NOTIFY 180"), 2, "{:#?}", stage.log);
    assert_eq!(stage.count("bob NOTIFY"), 1, "{:#?}", stage.log);
    stage.end();
}

/// A refusal comes back with its code.
#[test]
fn refused_by_the_other_party() {
    for code in [603, 405, 407] {
        let mut stage = relaying();
        stage.manner("bob").refer = Some(code);
        stage.refers("alice", "<sip:300@example.com>");
        assert_eq!(stage.count(&format!("alice REFER {code}")), 1);
        assert_eq!(stage.ended(), (ReferStatus::Failed, Some(ReferReason::ReferRejected), Some(code), None));
        stage.end();
    }
}

/// A BYE ends the call, not the Refer; the grace, then canceled.
#[test]
fn a_bye_in_between() {
    let mut stage = relaying();
    stage.refers("alice", "<sip:300@example.com>");
    stage.notifies("bob", 180, "active;expires=60");
    stage.request("alice", "BYE", "", "");
    assert_eq!(stage.count("bob BYE"), 1);
    stage.pass_s(1);
    stage.notifies("bob", 200, "terminated;reason=noresource");
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    stage.end();
}

/// A Replaces that names a leg of Baton's becomes what the receiver of the INVITE knows.
#[test]
fn replaces_is_translated() {
    let mut stage = relaying();
    stage.calls("consult", "300");
    let ours = stage.dialog("consult");
    stage.refers(
        "alice",
        &format!(
            "<sip:300@127.0.0.1?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}&Require=replaces>",
            ours.call_id, ours.baton, ours.tag
        ),
    );
    let theirs = stage.dialog("carol");
    let refer = stage.sent("bob", Method::Refer)[0];
    let expected = format!(
        "<sip:carol@{}?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}&Require=replaces>",
        theirs.address,
        theirs.call_id.replace('@', "%40"),
        theirs.tag,
        theirs.baton
    );
    assert_eq!(text(refer, HeaderId::ReferTo), expected);
    stage.end();
}

/// [C-200] The referrer hears the referee's challenge, and its answer is heard there; what is for Baton's own
/// realm goes no further.
#[test]
fn a_challenge_is_answered() {
    let mut stage = relaying();
    stage.plan.calls.registrar.realm = "baton".into();
    stage.manner("bob").refer = Some(407);
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.count("alice REFER 407"), 1);
    let digest = |realm: &str| {
        format!(
            "Proxy-Authorization: Digest username=\"u\", realm=\"{realm}\", nonce=\"n\", uri=\"sip:a\", response=\"0\"\n"
        )
    };
    let fields = format!("Refer-To: <sip:300@example.com>\n{}{}", digest("baton"), digest("biloxi"));
    stage.request("alice", "REFER", &fields, "");
    assert_eq!(stage.count("alice REFER 202"), 1, "{:#?}", stage.log);
    let passed = *stage.sent("bob", Method::Refer).last().expect("a REFER");
    let credentials: Vec<_> = passed.values(HeaderId::ProxyAuthorization).collect();
    assert!(credentials.len() == 1 && text(passed, HeaderId::ProxyAuthorization).contains("biloxi"));
    stage.notifies("bob", 200, "terminated;reason=noresource");
    stage.end();
}

/// The REFER that answers a challenge is no other one in the rate; the one after it is.
#[test]
fn a_challenged_one_is_counted_once() {
    let policy = Policy { max_rate: 1, ..Policy::default() };
    let (mut stage, _, _) = Stage::talking_with(ReferMode::Relay, policy);
    stage.manner("bob").refer = Some(407);
    stage.refers("alice", "<sip:300@example.com>");
    assert_eq!(stage.count("alice REFER 407"), 1);
    let digest =
        "Proxy-Authorization: Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"0\"\n";
    let fields = format!("Refer-To: <sip:300@example.com>\n{digest}");
    stage.request("alice", "REFER", &fields, "");
    assert_eq!(stage.count("alice REFER 202"), 1, "{:#?}", stage.log);
    stage.notifies("bob", 486, "terminated;reason=noresource");
    stage.request("alice", "REFER", &fields, "");
    assert_eq!(stage.count("alice REFER 503"), 1, "{:#?}", stage.log);
    stage.end();
}

/// A referee that takes its time, and then asks for Baton's credentials, gets them: the REFER is not called off
/// because it has been out for long.
#[test]
fn a_late_challenge_is_answered() {
    let mut stage = relaying();
    let secret = crate::sip::plan::Secret::Password("s".into());
    let credentials = crate::sip::plan::Credentials { user: "desk".into(), secret };
    stage.plan.trunks[1].owned.credentials = Some(std::sync::Arc::new(credentials));
    stage.manner("bob").refer = None;
    stage.refers("alice", "<sip:300@example.com>");
    stage.pass_s(17);
    assert_eq!(stage.count("alice REFER"), 0, "{:#?}", stage.log);
    let bob = stage.manner("bob");
    bob.refer = Some(407);
    bob.refer_headers = "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n\"\n";
    stage.pass_s(5);
    assert_eq!(stage.count("alice REFER 202"), 1, "{:#?}", stage.log);
    stage.notifies("bob", 200, "terminated;reason=noresource");
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    stage.end();
}

/// SUBSCRIBE goes on under the id that the referee knows.
#[test]
fn subscribe_goes_on() {
    let mut stage = relaying();
    stage.refers("alice", "<sip:300@example.com>");
    let far = stage.sent("bob", Method::Refer)[0].cseq().expect("CSeq").number;
    stage.request("alice", "SUBSCRIBE", "Event: refer\nExpires: 0\n", "");
    let subscribe = stage.sent("bob", Method::Subscribe)[0];
    assert_eq!(text(subscribe, HeaderId::Event), format!("refer;id={far}"));
    assert_eq!(text(subscribe, HeaderId::Expires), "0");
    assert_eq!(stage.count("alice SUBSCRIBE 200"), 1);
    stage.end();
}

/// Where the trunk wants the call back, Refer-To leads to Baton, under the Refer's own token; the result
/// is what the NOTIFYs say, as ever.
#[test]
fn a_target_that_leads_back() {
    let policy = Policy { returns: true, ..Policy::default() };
    let (mut stage, _, _) = Stage::talking_with(ReferMode::Relay, policy);
    stage.refers("alice", "<tel:+31600>");
    let to = text(stage.sent("bob", Method::Refer)[0], HeaderId::ReferTo);
    assert!(to.starts_with("<sip:+31600@127.0.0.1:5060;user=phone;r="), "{to}");
    let uri = to.trim_matches(['<', '>']).to_owned();
    let now = stage.now;
    let uri = crate::sip::message::Uri::parse(uri.as_bytes()).expect("a URI");
    let taken = stage
        .with(|_, cx| cx.observer.returns.read(now, &uri, b"c", b"t"))
        .expect("a token")
        .expect("a good one");
    assert_eq!(&*taken.target, b"tel:+31600");
    assert_eq!(taken.cause.refer, stage.told()[0].sid);
    stage.notifies("bob", 200, "terminated;reason=noresource");
    assert_eq!(stage.ended(), (ReferStatus::Completed, None, Some(202), Some(200)));
    stage.end();
}

/// What a trunk may want of its REFERs, the registrar may of those of clients; neither says anything about
/// the other's.
#[test]
fn a_clients_target_that_leads_back() {
    for (client, returns, trunks) in [(true, true, false), (true, false, true), (false, true, false)] {
        let policy = Policy { returns: trunks, ..Policy::default() };
        let (mut stage, alice, _) = Stage::talking_with(ReferMode::Relay, policy);
        stage.plan.calls.registrar.returns = returns;
        if client && let Some(party) = stage.calls.party_mut(alice) {
            (party.trunk, party.client) = (None, Some("alice".into()));
        }
        stage.refers("alice", "<sip:300@example.com>");
        let to = text(stage.sent("bob", Method::Refer)[0], HeaderId::ReferTo);
        assert_eq!(to.starts_with("<sip:300@127.0.0.1:5060;r="), client && returns, "{to}");
        assert_eq!(to == "<sip:300@example.com>", !(client && returns), "{to}");
        let rule = stage.told()[0].rule.expect("a rule").to_string();
        assert_eq!(rule, if client { "registrar.refer" } else { "refer.mode" });
        stage.end();
    }
}
