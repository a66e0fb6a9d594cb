//! `baton demo`: both transfers end well, the relayed one and the API's, and it says so.

use super::{run, stderr, stdout};

#[test]
fn it_draws_the_ladders_and_shows_the_finished_record() {
    let output = run(&["demo"]);
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}\n{}", stderr(&output));
    let (relayed, ordered) = shown.split_once("Now the API places a call to Bob").expect("two acts");
    for word in ["INVITE", "REFER", "202", "NOTIFY", "BYE"] {
        assert!(relayed.contains(word) && ordered.contains(word), "{word}");
    }
    // The last REFER is Baton's own: it crosses the wire once, to Bob, and its NOTIFYs end at Baton.
    assert_eq!(relayed.matches("REFER to carol").count(), 2, "{relayed}");
    assert_eq!(ordered.matches("REFER to carol").count(), 1, "{ordered}");
    assert_eq!(ordered.matches("NOTIFY 200").count(), 1, "{ordered}");
    let json = shown.get(shown.find("{\n").expect("a record")..).expect("a record");
    assert!(json.starts_with("{\n  \"sid\": "), "members in the API's order: {json}");
    let record: serde_json::Value = serde_json::from_str(json).expect("JSON at the end");
    assert_eq!(record["refer_sip_response_code"], "202");
    assert_eq!(record["notify_sip_response_code"], "200");
    assert_eq!(record["call_status"], "in-progress");
    assert_eq!(record["from"].as_str().map(|from| from.starts_with("sip:+4930100200@")), Some(true));
}
