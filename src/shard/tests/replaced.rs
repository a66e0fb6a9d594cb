//! Two shards: an INVITE with Replaces on one of them, for a leg on the other.

use super::edges::{requests, status};
use super::moved::{CAROL, call_id, pair, receives, tag, talk, up};
use super::owned::with_sdp;
use super::*;

/// Carol's INVITE on the second shard, which is to replace Bob's dialog of this INVITE.
fn carols(invited: &str, early_only: &str) -> String {
    let bobs = header(invited, "Call-ID")[0];
    let replaces = format!("Replaces: {bobs};to-tag={};from-tag=bt{early_only}\n", tag(invited, "From"));
    let carol = request("INVITE", "sip:127.0.0.1:5060", &replaces, "", 1)
        .replace("c1@10.0.0.5", &call_id(1, "c"))
        .replace("z9hG4bKa", "z9hG4bKc")
        .replace("10.0.0.5", "10.0.1.2");
    with_sdp(&carol)
}

/// What Replaces names is on another shard, and may not be replaced any more: it has ended, or it is up and only
/// a ringing one was meant. The code says which, and the old dialog is untouched.
#[test]
fn a_leg_elsewhere_that_is_not_to_be_replaced() {
    for (ended, early_only, code) in [(true, "", "603"), (false, ";early-only", "486")] {
        let mut shards = pair();
        let id = call_id(0, "a");
        let (invited, ours, uri) = up(&mut shards, 0, &id);
        if ended {
            let bye = request("BYE", &uri, "", &format!(";tag={ours}"), 2).replace("c1@10.0.0.5", &id);
            let sent = receives(&mut shards, 0, ALICE, &bye);
            let bye = requests(&sent, "BYE")[0].text.clone();
            receives(&mut shards, 0, BOB, &response(&bye, "200 OK", "", ""));
        }
        let sent = receives(&mut shards, 1, CAROL, &carols(&invited, early_only));
        assert_eq!(status(&sent), Some(code), "{early_only}");
        assert!(requests(&sent, "INVITE").is_empty() && requests(&sent, "BYE").is_empty());
        let info = request("INFO", &uri, "", &format!(";tag={ours}"), 3).replace("c1@10.0.0.5", &id);
        let sent = receives(&mut shards, 0, ALICE, &info);
        assert_eq!(requests(&sent, "INFO").len(), usize::from(!ended));
    }
}

/// A leg that Baton calls from another shard, and that still rings, is picked up: who does so and the
/// caller are answered, and whoever rang is called off. They are one call from then on, also for a BYE that comes
/// before the two halves of it are on one shard.
#[test]
fn a_ringing_leg_elsewhere_is_picked_up() {
    for at_once in [false, true] {
        let mut shards = pair();
        let id = call_id(0, "a");
        let sent = receives(&mut shards, 0, ALICE, &with_sdp(&invite().replace("c1@10.0.0.5", &id)));
        let invited = requests(&sent, "INVITE")[0].text.clone();
        let ringing = response(&invited, "180 Ringing", ";tag=bt", "Contact: <sip:bob@10.0.1.1:5060>\n");
        receives(&mut shards, 0, BOB, &ringing);
        let sent = receives(&mut shards, 1, CAROL, &carols(&invited, ""));
        let answer = |to: &str| {
            let found = sent.iter().find(|s| s.text.starts_with("SIP/2.0 200") && s.to.to_string() == to);
            found.unwrap_or_else(|| panic!("no answer to {to}: {:?}", status(&sent))).text.clone()
        };
        let [cancel] = &requests(&sent, "CANCEL")[..] else { panic!("one CANCEL") };
        let bobs = header(&invited, "Call-ID");
        assert_eq!((cancel.to.to_string().as_str(), header(&cancel.text, "Call-ID")), (BOB, bobs));
        let (alices, carols) = (answer(ALICE), answer(CAROL));
        let ack = |answer: &str, host: &str| {
            let uri = header(answer, "Contact")[0].trim_matches(['<', '>']).to_owned();
            let text = request("ACK", &uri, "", &format!(";tag={}", tag(answer, "To")), 1);
            let text = text.replace("c1@10.0.0.5", header(answer, "Call-ID")[0]);
            text.replace("10.0.0.5", host)
        };
        receives(&mut shards, 1, CAROL, &ack(&carols, "10.0.1.2"));
        receives(&mut shards, 0, ALICE, &ack(&alices, "10.0.0.5"));
        let bye = ack(&alices, "10.0.0.5").replace("ACK", "BYE").replace("CSeq: 1", "CSeq: 2");
        let mut sent = if at_once { Vec::new() } else { later(&mut shards) };
        sent.extend(receives(&mut shards, 0, ALICE, &bye));
        sent.extend(later(&mut shards));
        let ended: Vec<&Sent> = requests(&sent, "BYE");
        let first = ended.first().unwrap_or_else(|| panic!("a BYE, {at_once}: {:?}", status(&sent)));
        assert_eq!(
            (first.to.to_string().as_str(), header(&first.text, "Call-ID")),
            (CAROL, header(&carols, "Call-ID"))
        );
    }
}

/// A tenth of a second and a little more goes by on both shards.
fn later(shards: &mut [Stage; 2]) -> Vec<Sent> {
    let mut sent = Vec::new();
    for _ in 0..12 {
        sent.extend(shards.iter_mut().flat_map(|stage| stage.pass(Duration::from_millis(10))));
        sent.extend(talk(shards));
    }
    sent
}
