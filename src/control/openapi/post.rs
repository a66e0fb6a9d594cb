//! What can be posted to: calls.

use super::{account_sid, both, in_path, with_errors};
use serde_json::{Map, Value, json};

/// `POST …/Calls`.
pub(super) fn create_call() -> Value {
    let mut fields = Map::new();
    for (name, description) in [
        ("From", "The caller."),
        ("To", "A number, sip:user@host or client:name; header fields of the INVITE behind a `?`."),
        ("Url", "Where the document is that steers the call once it is answered."),
    ] {
        fields.insert(name.into(), text(description));
    }
    urls(&mut fields);
    fields.insert(
        "StatusCallbackEvent".into(),
        text("initiated, ringing, answered, completed; parted by commas. Without any, completed."),
    );
    fields.insert(
        "Timeout".into(),
        json!({ "type": "integer", "minimum": 1, "maximum": 600, "default": 60,
            "description": "Seconds of ringing." }),
    );
    fields.insert("Username".into(), text("For a challenge."));
    fields.insert("Password".into(), text("For a challenge."));
    json!({
        "summary": "Places a call. The answer does not wait for the callee.",
        "tags": ["Calls"], "security": [{ "account": [] }],
        "parameters": [account_sid()],
        "requestBody": form(fields, &["From", "To", "Url"]),
        "responses": refusals(&[], json!({ "200": both("The call, queued.", "Call") })),
    })
}

/// `POST …/Calls/{CallSid}`.
pub(super) fn modify_call() -> Value {
    let mut fields = Map::new();
    fields.insert("Url".into(), text("A document that takes the place of the one that runs."));
    urls(&mut fields);
    for (name, description, words) in [
        (
            "Status",
            "canceled ends a call that is not answered, completed any call.",
            &["canceled", "completed"][..],
        ),
        ("Mute", "Accepted, without effect: Baton carries no media.", &["true", "false"]),
        (
            "ChildCallMode",
            "What becomes of the leg dialled for this one; Hangup unless said otherwise.",
            &["Hangup", "Move", "StayConnected"],
        ),
        ("MoveConnectedCallLeg", "True is ChildCallMode=Move; ignored beside it.", &["True", "False"]),
    ] {
        let schema = json!({ "type": "string", "enum": words, "description": description });
        fields.insert(name.into(), schema);
    }
    let responses = refusals(
        &[
            ("409", "Url, Status and Mute are all missing, or the call is only proxied."),
            ("410", "The call is over."),
        ],
        json!({ "200": both("The call as it was when this was taken.", "Call") }),
    );
    json!({
        "summary": "Redirects or ends a call that is alive.",
        "tags": ["Calls"], "security": [{ "account": [] }],
        "parameters": [account_sid(), in_path("CallSid", "A call's sid.")],
        "requestBody": form(fields, &[]),
        "responses": responses,
    })
}

fn urls(fields: &mut Map<String, Value>) {
    for (name, description) in [
        ("Method", "How Url is requested."),
        ("FallbackMethod", "How FallbackUrl is requested."),
        ("StatusCallbackMethod", "How StatusCallback is requested."),
    ] {
        let schema = json!({ "type": "string", "enum": ["GET", "POST"], "default": "POST",
            "description": description });
        fields.insert(name.into(), schema);
    }
    fields.insert("FallbackUrl".into(), text("Where a document is when the one at Url cannot be had."));
    fields.insert("StatusCallback".into(), text("Who is told what becomes of the call."));
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn form(fields: Map<String, Value>, required: &[&str]) -> Value {
    let schema = json!({ "type": "object", "properties": fields, "required": required });
    json!({ "required": true, "content": { "application/x-www-form-urlencoded": { "schema": schema } } })
}

fn refusals(more: &[(&str, &str)], responses: Value) -> Value {
    let mut all = with_errors(&["400", "401", "403", "404", "503"], responses);
    for (code, description) in [
        ("400", "A parameter cannot be used; the message says which."),
        ("408", "The body did not come within 15 s."),
        ("413", "The body is longer than 64 KiB."),
        ("415", "The body is no form."),
        ("503", "The node takes no calls, or its shard no orders, now."),
    ]
    .iter()
    .chain(more)
    {
        all[*code] = both(description, "Problem");
    }
    all
}
