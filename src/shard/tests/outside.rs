//! REFERs from outside the dialog that they name (RFC 4538), of somebody who has no part in it.

use super::edges::{requests, status};
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
