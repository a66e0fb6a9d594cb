//! The jambonz-compatible calls under `/v1`.

use super::{in_path, integer, object, string};
use serde_json::{Map, Value, json};

/// Their paths.
pub(super) fn paths() -> Map<String, Value> {
    let base = "/v1/Accounts/{account_sid}";
    Map::from_iter([
        (format!("{base}/Calls"), json!({ "get": list(), "post": create() })),
        (
            format!("{base}/Calls/{{call_sid}}"),
            json!({ "get": read(), "put": update("put"), "post": update("post"), "delete": delete() }),
        ),
        (format!("{base}/CallCount"), json!({ "get": count() })),
    ])
}

fn operation(summary: &str, parameters: Value, responses: &[(&str, Value)]) -> Value {
    let mut all = Map::from_iter(responses.iter().map(|(code, answer)| ((*code).to_owned(), answer.clone())));
    all.insert("400".to_owned(), problem("A sid, a field or a parameter that cannot be used."));
    all.insert("401".to_owned(), text("No token, or an unknown one."));
    all.insert("403".to_owned(), problem("Another account's token."));
    all.insert("405".to_owned(), problem("Another method is meant; Allow says which."));
    all.insert("500".to_owned(), problem("The request could not be answered."));
    all.insert(
        "503".to_owned(),
        problem("The node takes no calls or orders, or cannot read its records, now."),
    );
    json!({
        "summary": summary, "tags": ["jambonz"], "security": [{ "token": [] }],
        "parameters": parameters, "responses": all,
    })
}

fn list() -> Value {
    let query = |name: &str, description: &str| json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } });
    let parameters = json!([
        account(),
        query("direction", "inbound or outbound."),
        query("from", "Exactly this caller."),
        query("to", "Exactly this callee."),
        query("callStatus", "Exactly this status."),
    ]);
    let calls = json!({ "type": "array", "items": call() });
    operation(
        "Calls that live or ended within the hour.",
        parameters,
        &[("200", content("The calls, newest first.", &calls))],
    )
}

fn create() -> Value {
    let to = object(
        &[
            ("type", json!({ "type": "string", "enum": ["phone", "sip", "user"] })),
            ("number", string("Of type phone.")),
            ("sipUri", string("Of type sip.")),
            ("name", string("Of type user: a client that has registered.")),
            (
                "auth",
                object(&[("username", string("For a challenge.")), ("password", string("Likewise."))], &[]),
            ),
        ],
        &["type"],
    );
    let fields = object(
        &[
            ("from", string("The caller.")),
            ("to", to),
            ("call_hook", hook("Asked for verbs when the callee answers; absolute.")),
            ("application_sid", string("An application of the configuration: its UUID or its name.")),
            ("call_status_hook", hook("Told of the call's statuses.")),
            ("timeout", seconds("Seconds of ringing, 600 at most.")),
            ("timeLimit", seconds("Seconds that the call may last.")),
            ("tag", json!({ "type": "object", "description": "customerData in every hook." })),
            ("headers", json!({ "type": "object", "description": "Further header fields of the INVITE." })),
            ("callerName", string("From's display name.")),
            ("app_json", string("The first verbs, in place of asking call_hook for them.")),
        ],
        &["from", "to"],
    );
    let placed = object(
        &[("sid", uuid("The call.")), ("callId", string("The SIP Call-ID; empty when none was made."))],
        &["sid", "callId"],
    );
    let mut operation = operation(
        "Places a call. The answer does not wait for the callee.",
        json!([account()]),
        &[
            ("201", content("It is being placed.", &placed)),
            ("408", problem("The body did not come within 15 s.")),
            ("413", problem("The body is longer than 64 KiB.")),
        ],
    );
    operation["requestBody"] = body(&fields);
    operation
}

fn read() -> Value {
    let responses = [("200", content("The call.", &call())), ("404", text("There is no such call."))];
    operation("One call.", named(), &responses)
}

fn update(method: &str) -> Value {
    let request = object(
        &[
            ("method", string("INFO, MESSAGE, NOTIFY or OPTIONS.")),
            ("content_type", string("Of the content.")),
            ("content", string("The body.")),
            ("headers", json!({ "type": "object" })),
        ],
        &["method"],
    );
    let fields = object(
        &[
            ("call_hook", hook("Asked for verbs that take the place of those that run.")),
            (
                "child_call_hook",
                hook("The same for the leg that was dialled for this one, which is detached."),
            ),
            ("call_status_hook", hook("Beside call_hook: told of statuses from now on.")),
            ("call_status", json!({ "type": "string", "enum": ["completed", "no-answer"] })),
            ("sip_request", request),
            ("tag", json!({ "type": "object", "description": "customerData from now on." })),
        ],
        &[],
    );
    let sent = object(
        &[("status", integer("The response.")), ("reason", string("Its phrase."))],
        &["status", "reason"],
    );
    let mut operation = operation(
        &format!("Changes a call that lives; one thing at a time. PUT and POST are the same ({method})."),
        named(),
        &[
            ("200", content("What sip_request was answered with.", &sent)),
            ("202", json!({ "description": "It is being done." })),
            ("404", text("There is no such call.")),
            ("408", problem("The body did not come within 15 s.")),
            ("413", problem("The body is longer than 64 KiB.")),
            ("422", problem("The call is over, or in no state for this.")),
        ],
    );
    operation["requestBody"] = body(&fields);
    operation
}

fn delete() -> Value {
    let responses = [
        ("204", json!({ "description": "It is not shown any more, and ended if it lived." })),
        ("404", text("There is no such call.")),
    ];
    operation("Deletes a call.", named(), &responses)
}

fn count() -> Value {
    let counts = object(
        &[("inbound", integer("Came in.")), ("outbound", integer("Were placed."))],
        &["inbound", "outbound"],
    );
    operation("How many calls live.", json!([account()]), &[("200", content("The counts.", &counts))])
}

fn call() -> Value {
    object(
        &[
            ("call_sid", uuid("The call.")),
            ("account_sid", uuid("Its account.")),
            ("application_sid", uuid("Its application.")),
            ("parent_call_sid", uuid("The call it was dialled for.")),
            ("direction", json!({ "type": "string", "enum": ["inbound", "outbound"] })),
            ("from", string("Caller.")),
            ("to", string("Callee.")),
            ("caller_id", string("The caller of an inbound call.")),
            ("caller_name", string("The caller's display name.")),
            ("call_id", string("SIP Call-ID.")),
            ("sbc_callid", string("The same.")),
            ("sip_status", integer("The last status of the INVITE.")),
            ("sip_reason", string("Its phrase.")),
            (
                "call_status",
                json!({ "type": "string", "enum": ["trying", "ringing", "early-media", "in-progress",
                    "completed", "failed", "busy", "no-answer", "queued"] }),
            ),
            ("trace_id", string("32 hexadecimal digits.")),
            ("duration", integer("Seconds from answer to end; once completed.")),
            ("customerData", json!({ "description": "What its application has put there." })),
        ],
        &[
            "call_sid",
            "account_sid",
            "direction",
            "from",
            "to",
            "call_id",
            "sbc_callid",
            "sip_status",
            "sip_reason",
            "call_status",
            "trace_id",
        ],
    )
}

fn account() -> Value {
    in_path("account_sid", "The account that asks: its UUID, or AC and 32 hexadecimal digits.")
}

fn named() -> Value {
    json!([account(), in_path("call_sid", "A call: its UUID, or ID…-CA….")])
}

fn hook(description: &str) -> Value {
    let parts = object(
        &[
            ("url", string("Where.")),
            ("method", json!({ "type": "string", "enum": ["GET", "POST"], "default": "POST" })),
            ("username", string("For Basic authentication.")),
            ("password", string("Likewise.")),
        ],
        &["url"],
    );
    json!({ "description": description, "anyOf": [{ "type": "string" }, parts] })
}

fn seconds(description: &str) -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 86_400, "description": description })
}

fn uuid(description: &str) -> Value {
    json!({ "type": "string", "format": "uuid", "description": description })
}

fn body(schema: &Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn content(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn problem(description: &str) -> Value {
    content(description, &object(&[("msg", string("What is wrong."))], &["msg"]))
}

fn text(description: &str) -> Value {
    json!({ "description": description, "content": { "text/plain": { "schema": { "type": "string" } } } })
}
