//! REFERs that name a leg of Baton's own to be replaced: which of them open it to whoever is referred.

use super::edges::{requests, status};
use super::owned::{authorized_as, own, talking, with_sdp};
use super::*;
use crate::sip::plan::{Client, Credentials, Secret};
use crate::sip::refer::policy::OutOfDialog;

const CAROL: &str = "10.7.7.7:5060";
const MALLORY: &str = "10.8.8.8:5060";
/// Of Bob's trunk, not of Alice's.
const DAVE: &str = "10.0.1.2:5060";

/// Carol and Mallory are clients, who may call Bob's trunk.
fn clients(plan: &mut Plan) {
    own(plan);
    for user in ["carol", "mallory"] {
        let secret = Secret::Password("secret".into());
        let credentials = Arc::new(Credentials { user: user.into(), secret });
        plan.calls.clients.insert(user.into(), Client { credentials, account: None });
    }
    plan.routes[0].from.push(Origin::Clients);
}

/// A request of a client's, with this field more.
fn of(user: &str, more: &str, text: &str) -> String {
    text.replace("\"Alice\" <sip:alice@10.0.0.5>", &format!("<sip:{user}@127.0.0.1>"))
        .replace("c1@10.0.0.5", &format!("{user}@10.0.0.5"))
        .replace("z9hG4bKa", &format!("z9hG4bK{user}"))
        .replace("Max-Forwards", &format!("{more}Max-Forwards"))
}

/// Sends a client's request twice, the second time with what answers the challenge: that one, and what follows it.
fn proves(stage: &mut Stage, from: &str, user: &str, text: &str) -> (String, Vec<Sent>) {
    let challenged = stage.receive(from, &of(user, "", text));
    assert_eq!(status(&challenged), Some("407"));
    let method = text.split(' ').next().expect("a method");
    let fields = authorized_as(user, &challenged[0].text, method, "sip:1000@127.0.0.1:5060");
    let proved = of(user, &fields, text).replace("z9hG4bK", "z9hG4bKproved");
    let sent = stage.receive(from, &proved);
    (proved, sent)
}

/// A client's call to Bob, up; Baton's tag in its dialog.
fn calls(stage: &mut Stage, from: &str, user: &str) -> String {
    let (_, sent) = proves(stage, from, user, &with_sdp(&invite()));
    let invited = requests(&sent, "INVITE")[0].text.clone();
    let contact = "Contact: <sip:bob@10.0.1.1:5060>\n";
    let sent = stage.receive(BOB, &with_sdp(&response(&invited, "200 OK", ";tag=bt", contact)));
    let answer = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200")).expect("an answer");
    let tag = header(&answer.text, "To")[0].split(";tag=").nth(1).expect("a tag").to_owned();
    let uri = header(&answer.text, "Contact")[0].trim_matches(['<', '>']).to_owned();
    stage.receive(from, &of(user, "", &request("ACK", &uri, "", &format!(";tag={tag}"), 1)));
    tag
}

/// Refer-To for whom is to replace a caller's leg.
fn refer_to(call_id: &str, tag: &str) -> String {
    format!("Refer-To: <sip:1001@127.0.0.1?Replaces={call_id}%3Bto-tag%3D{tag}%3Bfrom-tag%3Dat>\n")
}

/// What Dave is answered who wants to replace a caller's leg.
fn daves(stage: &mut Stage, call_id: &str, tag: &str) -> Option<String> {
    let replaces = format!("Replaces: {call_id};to-tag={tag};from-tag=at\n");
    let text = request("INVITE", "sip:127.0.0.1:5060", &replaces, "", 1)
        .replace("Call-ID: c1@10.0.0.5", "Call-ID: dave@10.0.1.2")
        .replace("z9hG4bKa", "z9hG4bKd")
        .replace("10.0.0.5:5060", DAVE);
    let sent = stage.receive(DAVE, &with_sdp(&text));
    // It is asked of the party at the other end whether it may.
    let asked = requests(&sent, "INVITE").len();
    let code = sent.iter().filter(|s| s.to.to_string() == DAVE).find_map(|s| s.text.get(8..11));
    assert_eq!(asked, usize::from(code != Some("403")), "{:?}", status(&sent));
    code.map(str::to_owned)
}

/// [R-090] [C-199] A REFER that repeats another's branch and Call-ID proves nothing, whatever it says in From: who has
/// sent one as himself does not open somebody else's leg by another.
#[test]
fn a_repeat_opens_nobodys_leg() {
    let mut stage = Stage::with(clients);
    let tag = calls(&mut stage, CAROL, "carol");
    let refer = request("REFER", "sip:1000@127.0.0.1:5060", "Refer-To: <sip:1001@127.0.0.1>\n", "", 2);
    let (own, refused) = proves(&mut stage, MALLORY, "mallory", &refer);
    assert_eq!(status(&refused), Some("403"));
    let lines = own.lines().filter(|line| !line.starts_with("Proxy-Authorization"));
    let forged = lines.map(|line| format!("{line}\n")).collect::<String>() + "\n";
    let forged = forged
        .replace("<sip:mallory@127.0.0.1>", "<sip:carol@127.0.0.1>")
        .replace("Refer-To: <sip:1001@127.0.0.1>\n", &refer_to("carol@10.0.0.5", &tag));
    assert!(forged.contains("From: <sip:carol@") && forged.contains("Replaces=carol@"));
    let again = stage.receive(MALLORY, &forged);
    assert_eq!((status(&again), again.len()), (Some("403"), 1), "the same answer");
    assert_eq!(again[0].text, refused[0].text);
    assert_eq!(daves(&mut stage, "carol@10.0.0.5", &tag).as_deref(), Some("403"));
}

/// A REFER opens its sender's leg if it is passed on. One that is refused does not, nor one that repeats
/// another's branch and says something else.
#[test]
fn only_what_is_passed_on_opens_a_leg() {
    for (outside, max_rate, repeats, expected) in [
        (OutOfDialog::Relay, 0, false, None),
        (OutOfDialog::Relay, 1, false, Some("403")),
        (OutOfDialog::Relay, 0, true, Some("403")),
        (OutOfDialog::Reject, 0, false, Some("403")),
    ] {
        let mut stage = Stage::with(|plan| {
            own(plan);
            plan.trunks[0].owned.policy.out_of_dialog = outside;
            plan.trunks[0].owned.policy.max_rate = max_rate;
        });
        let (tag, _) = talking(&mut stage);
        let refer = |to: &str, n| request("REFER", "sip:1000@127.0.0.1:5060", to, "", n);
        let before = refer("Refer-To: <sip:1001@127.0.0.1>\n", 7);
        stage.receive(ALICE, &before);
        let naming = refer(&refer_to("c1@10.0.0.5", &tag), if repeats { 7 } else { 8 });
        let sent = stage.receive(ALICE, &naming);
        let passed = requests(&sent, "REFER").len();
        assert_eq!(passed, usize::from(expected.is_none()), "{:?}", status(&sent));
        let code = daves(&mut stage, "c1@10.0.0.5", &tag);
        assert_eq!(code.as_deref(), expected, "{outside:?} {max_rate} {repeats}");
    }
}
