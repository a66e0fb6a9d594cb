//! The Telnyx-compatible commands.

use super::{in_path, object, only_json, reference, string};
use serde_json::{Map, Value, json};

/// The paths under `/v2`.
pub(super) fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    paths.insert("/v2/public_key".into(), json!({ "get": public_key() }));
    paths.insert("/v2/calls".into(), json!({ "post": dial() }));
    paths.insert("/v2/calls/{call_control_id}".into(), json!({ "get": read() }));
    for (name, summary, fields, required) in commands() {
        let method = if name == "client_state_update" { "put" } else { "post" };
        let operation = json!({
            "summary": summary,
            "tags": ["Call commands"], "security": [{ "token": [] }],
            "parameters": [call_control_id()],
            "requestBody": body(with_common(fields), &required),
            "responses": responses("It is taken; what comes of it is told by webhooks.", "CommandResult"),
        });
        paths.insert(format!("/v2/calls/{{call_control_id}}/actions/{name}"), json!({ method: operation }));
    }
    paths
}

type Fields = Vec<(&'static str, Value)>;

fn commands() -> Vec<(&'static str, &'static str, Fields, Vec<&'static str>)> {
    vec![
        (
            "refer",
            "Transfers the call by REFER: call.refer.started, then call.refer.completed or call.refer.failed.",
            vec![
                ("sip_address", string("To whom: a SIP URI.")),
                ("custom_headers", headers("Header fields for the INVITE of the party that is referred.")),
                ("sip_headers", user_to_user()),
                ("sip_auth_username", string("For a challenge; with sip_auth_password.")),
                ("sip_auth_password", string("For a challenge; with sip_auth_username.")),
            ],
            vec!["sip_address"],
        ),
        (
            "answer",
            "Answers an inbound call.",
            [
                vec![
                    ("custom_headers", headers("Header fields of the 200.")),
                    ("sip_headers", user_to_user()),
                ],
                hooks(),
            ]
            .concat(),
            vec![],
        ),
        ("reject", "Refuses an inbound call.", vec![("cause", words(CAUSES, "Why."))], vec!["cause"]),
        (
            "hangup",
            "Ends the call.",
            vec![("custom_headers", headers("Header fields of the BYE, or of the final response."))],
            vec![],
        ),
        (
            "transfer",
            "Calls another party and joins it with this one when it answers.",
            [
                vec![
                    ("to", string("Whom: a number or a SIP URI.")),
                    ("from", string("The caller that is shown; else the party that is transferred.")),
                    ("target_leg_client_state", base64("For the events of the new leg.")),
                ],
                calling(),
            ]
            .concat(),
            vec!["to"],
        ),
        (
            "bridge",
            "Joins this call with another.",
            vec![("call_control_id", string("The other call."))],
            vec!["call_control_id"],
        ),
        (
            "send_sip_info",
            "Sends an INFO in the call.",
            vec![("content_type", string("Its Content-Type.")), ("body", string("Its body."))],
            vec!["content_type", "body"],
        ),
        (
            "client_state_update",
            "Sets the client state.",
            vec![("client_state", base64("Stands in the call's events from now on."))],
            vec!["client_state"],
        ),
    ]
}

const CAUSES: &[&str] = &["CALL_REJECTED", "USER_BUSY", "NOT_FOUND", "TEMPORARILY_UNAVAILABLE"];

fn public_key() -> Value {
    json!({
        "summary": "The key by which webhooks are verified: Ed25519, Base64 of 32 bytes.",
        "tags": ["Call commands"], "security": [{ "token": [] }],
        "parameters": [],
        "responses": responses("The key.", "PublicKey"),
    })
}

fn dial() -> Value {
    let fields = [
        vec![
            ("connection_id", string("The application of kind telnyx that is told of the call.")),
            ("from", string("The caller: a number or a SIP URI.")),
            ("to", json!({
                "description": "The callee: a number or a SIP URI, or a list of one.",
                "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "maxItems": 1 }],
            })),
            ("link_to", string("A call whose session the new one shares.")),
        ],
        calling(),
    ]
    .concat();
    json!({
        "summary": "Places a call. The answer does not wait for the callee.",
        "tags": ["Call commands"], "security": [{ "token": [] }],
        "parameters": [],
        "requestBody": body(with_common(fields), &["connection_id", "from", "to"]),
        "responses": responses("The call, not yet alive.", "CommandedCall"),
    })
}

fn read() -> Value {
    json!({
        "summary": "A call, until ten minutes after its end.",
        "tags": ["Call commands"], "security": [{ "token": [] }],
        "parameters": [call_control_id()],
        "responses": responses("The call.", "CommandedCall"),
    })
}

fn call_control_id() -> Value {
    in_path("call_control_id", "A call, as dial or an event named it.")
}

/// What all commands take.
fn with_common(fields: Fields) -> Fields {
    let has_state = fields.iter().any(|(name, _)| *name == "client_state");
    let common = [
        ("client_state", base64("Stands in the call's events from now on.")),
        (
            "command_id",
            json!({ "type": "string", "maxLength": 255,
            "description": "A command whose id was executed already is not executed again." }),
        ),
    ];
    fields.into_iter().chain(common.into_iter().filter(|_| !has_state)).collect()
}

/// What those that call somebody take.
fn calling() -> Fields {
    let seconds = |least: u64, most: u64, default: u64, description: &str| {
        json!({ "type": "integer", "minimum": least, "maximum": most, "default": default,
            "description": description })
    };
    let own = vec![
        ("timeout_secs", seconds(5, 600, 30, "Seconds of ringing.")),
        ("time_limit_secs", seconds(30, 14_400, 14_400, "Seconds of the call.")),
        ("custom_headers", headers("Header fields of the INVITE.")),
        ("sip_headers", user_to_user()),
        ("sip_auth_username", string("For a challenge; with sip_auth_password.")),
        ("sip_auth_password", string("For a challenge; with sip_auth_username.")),
        ("sip_transport_protocol", words(&["UDP", "TCP", "TLS"], "How a SIP URI is reached.")),
        ("from_display_name", string("The caller's name.")),
        ("privacy", words(&["id", "none"], "id: the INVITE says Privacy: id.")),
    ];
    [own, hooks()].concat()
}

fn hooks() -> Fields {
    vec![
        ("webhook_url", string("Where the call's events go from now on.")),
        ("webhook_url_method", words(&["POST", "GET"], "How.")),
        (
            "webhook_urls",
            json!({ "type": "object", "additionalProperties": { "type": "string" },
            "description": "Where events of one type go, by type." }),
        ),
        ("webhook_urls_method", words(&["POST", "GET"], "How.")),
    ]
}

fn words(words: &[&str], description: &str) -> Value {
    json!({ "type": "string", "enum": words, "description": description })
}

fn base64(description: &str) -> Value {
    json!({ "type": "string", "contentEncoding": "base64", "description": description })
}

fn headers(description: &str) -> Value {
    let header =
        object(&[("name", string("Its name.")), ("value", string("Its value."))], &["name", "value"]);
    json!({ "type": "array", "maxItems": 64, "description": description, "items": header })
}

fn user_to_user() -> Value {
    let name = json!({ "type": "string", "enum": ["User-to-User"] });
    let header = object(&[("name", name), ("value", string("Its value."))], &["name", "value"]);
    json!({ "type": "array", "maxItems": 64, "description": "User-to-User.", "items": header })
}

fn body(fields: Fields, required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({ "required": !required.is_empty(), "content": { "application/json": { "schema": schema } } })
}

fn responses(description: &str, schema: &str) -> Value {
    let data = object(&[("data", reference(schema))], &["data"]);
    let mut all = json!({
        "200": { "description": description, "content": { "application/json": { "schema": data } } },
    });
    for (code, description) in [
        ("400", "The body is no JSON object."),
        ("401", "The token is missing or wrong."),
        ("404", "There is no such path or command."),
        ("405", "Another method is meant; Allow says which."),
        ("408", "The body did not come within 15 s."),
        ("413", "The body is longer than 64 KiB."),
        ("415", "The body is not said to be JSON."),
        ("422", "A field is missing or wrong, or the call cannot take the command: its code says why."),
        ("503", "The node takes no calls, or its shard no orders, now."),
    ] {
        all[code] = only_json(description, "CommandErrors");
    }
    all
}

/// What the paths refer to.
pub(super) fn schemas() -> Map<String, Value> {
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let error = object(
        &[
            ("code", json!({ "type": "string", "pattern": "^[0-9]+$" })),
            ("title", string("What is wrong.")),
            ("detail", string("What is wrong, in words.")),
            (
                "source",
                object(
                    &[
                        ("pointer", string("A JSON pointer into the body.")),
                        ("parameter", string("A parameter of path or query.")),
                    ],
                    &[],
                ),
            ),
            ("meta", json!({ "type": "object" })),
        ],
        &["code", "title"],
    );
    let errors = json!({ "type": "array", "minItems": 1, "items": error });
    let call = object(
        &[
            ("record_type", json!({ "const": "call" })),
            ("call_control_id", string("The call's name in commands.")),
            ("call_leg_id", uuid()),
            ("call_session_id", uuid()),
            ("client_state", base64("As last set.")),
            ("is_alive", json!({ "type": "boolean" })),
            ("call_duration", json!({ "type": "integer", "minimum": 0 })),
            ("start_time", json!({ "type": "string", "format": "date-time" })),
            ("end_time", json!({ "type": "string", "format": "date-time" })),
        ],
        &["record_type", "call_control_id", "call_leg_id", "call_session_id", "is_alive"],
    );
    [
        ("CommandResult", object(&[("result", json!({ "const": "ok" }))], &["result"])),
        ("CommandErrors", object(&[("errors", errors)], &["errors"])),
        ("CommandedCall", call),
        ("PublicKey", object(&[("public", string("Base64 of 32 bytes."))], &["public"])),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect()
}
