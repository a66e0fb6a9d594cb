//! REFERs from outside the dialog that they name (RFC 4538), of somebody who has no part in it.

use super::edges::{requests, status};
use super::moved::{call_id, pair_with, receives, up};
use super::owned::{by_name, outside, talking};
use super::*;

/// Names Alice's dialog, by Baton's tag in it.
fn target_dialog(tag: &str) -> String {
    format!("Target-Dialog: c1@10.0.0.5;local-tag={tag};remote-tag=at\nRefer-To: <sip:1@127.0.0.1>\n")
}

/// What somebody else sends about a leg is refused, and says nothing about whether that one's own REFER is
/// counted: when it is challenged, what answers the challenge is not counted once more.
#[test]
fn a_stranger_does_not_count() {
    for strange in [false, true] {
        let mut stage = Stage::with(|plan| {
            by_name(plan);
            plan.trunks[0].refer = ReferMode::Relay;
            plan.trunks[0].owned.policy.max_rate = 1;
        });
        let (tag, uri) = talking(&mut stage);
        let refer = |extra: &str, n| {
            let extra = format!("Refer-To: <sip:1001@127.0.0.1>\n{extra}");
            request("REFER", &uri, &extra, &format!(";tag={tag}"), n)
        };
        let sent = stage.receive(ALICE, &refer("", 2));
        let [passed] = &requests(&sent, "REFER")[..] else { panic!("one REFER: {:?}", status(&sent)) };
        if strange {
            let sent = stage.receive(BOB, &outside(&target_dialog(&tag), 1));
            assert_eq!((status(&sent), sent.len()), (Some("403"), 1));
        }
        let challenge = "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n\"\n";
        let challenged = response(&passed.text, "407 Proxy Authentication Required", "", challenge);
        assert_eq!(status(&stage.receive(BOB, &challenged)), Some("407"));
        let fields = "Digest username=\"u\", realm=\"pbx\", nonce=\"n\", uri=\"u\", response=\"0\"";
        let sent = stage.receive(ALICE, &refer(&format!("Proxy-Authorization: {fields}\n"), 3));
        assert_eq!(requests(&sent, "REFER").len(), 1, "{strange}: {:?}", status(&sent));
    }
}

/// What the shards say to each other reaches them, until they are quiet: what is sent, and the rules that the records
/// of calls tell of.
fn talk(shards: &mut [Stage; 2]) -> (Vec<Sent>, Vec<String>) {
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    loop {
        let mut said = Vec::new();
        for stage in shards.iter_mut() {
            sent.extend(stage.sent());
            for output in stage.out.drain() {
                match output {
                    Output::Peer(to, message) => said.push((to, message)),
                    Output::Control(Event::Refer(refer)) => {
                        told.extend(refer.rule.map(|rule| rule.to_string()))
                    }
                    _ => {}
                }
            }
        }
        if said.is_empty() {
            return (sent, told);
        }
        for (to, message) in said {
            let stage = &mut shards[usize::from(to)];
            stage.shard.handle(stage.now, Input::Peer(message), &mut stage.out);
        }
    }
}

/// Who names a leg of somebody else's is refused where the leg is, at once: the call stays on its
/// shard, whatever is under way in it, and its record says so, with no more than a few. For its own party it comes to
/// the shard of the REFER.
#[test]
fn a_stranger_moves_no_call_between_shards() {
    let mut shards = pair_with(by_name);
    let id = call_id(0, "a");
    let (_, tag, uri) = up(&mut shards, 0, &id);
    let refer = |name: &str| {
        let target = target_dialog(&tag).replace("c1@10.0.0.5", &id);
        let text = outside(&target, 1).replace("aREFER1", name);
        text.replace("r1@10.0.0.5", &call_id(1, name))
    };
    // Her re-INVITE waits for Bob's answer.
    let hold = request("INVITE", &uri, "", &format!(";tag={tag}"), 2).replace("c1@10.0.0.5", &id);
    let sent = receives(&mut shards, 0, ALICE, &hold);
    let asked = requests(&sent, "INVITE")[0].text.clone();
    let mut records = Vec::new();
    for n in 0..40 {
        let mut sent = shards[1].receive(BOB, &refer(&format!("s{n}x")));
        let (more, told) = talk(&mut shards);
        sent.extend(more);
        assert_eq!((status(&sent), sent.len()), (Some("403"), 1), "{n}");
        assert_eq!(shards[0].shard.calls.redirect(id.as_bytes()), None, "the call stays where it is");
        records.extend(told);
    }
    assert_eq!(records, ["peer"].repeat(16));

    let sent = receives(&mut shards, 0, BOB, &response(&asked, "488 Not Acceptable Here", "", ""));
    assert!(sent.iter().any(|s| s.to.to_string() == ALICE && s.text.starts_with("SIP/2.0 488")));
    receives(&mut shards, 0, ALICE, &hold.replace("INVITE sip", "ACK sip").replace("2 INVITE", "2 ACK"));
    let mut sent = shards[1].receive(ALICE, &refer("own"));
    sent.extend(talk(&mut shards).0);
    for _ in 0..100 {
        sent.extend(shards.iter_mut().flat_map(|stage| stage.pass(Duration::from_millis(50))));
        sent.extend(talk(&mut shards).0);
    }
    assert_eq!(shards[0].shard.calls.redirect(id.as_bytes()), Some(1));
    let code = sent.iter().find(|s| s.text.starts_with("SIP/2.0 ") && s.text.contains(" REFER\n"));
    assert_eq!(code.map(|s| &s.text[8..11]), Some("202"));
}
