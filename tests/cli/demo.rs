//! `baton demo`: the show ends well, and says so.

use super::{run, stderr, stdout};

#[test]
fn it_draws_the_ladder_and_shows_the_finished_record() {
    let output = run(&["demo"]);
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}\n{}", stderr(&output));
    for word in ["INVITE", "REFER", "202", "NOTIFY", "BYE"] {
        assert!(shown.contains(word), "{word}");
    }
    let json = shown.get(shown.find("{\n").expect("a record")..).expect("a record");
    assert!(json.starts_with("{\n  \"sid\": "), "members in the API's order: {json}");
    let record: serde_json::Value = serde_json::from_str(json).expect("JSON at the end");
    assert_eq!(record["refer_sip_response_code"], "202");
    assert_eq!(record["notify_sip_response_code"], "200");
    assert_eq!(record["call_status"], "in-progress");
}
