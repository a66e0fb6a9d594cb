//! `/openapi.json`: the description of everything this server answers, and of nothing else.

mod jambonz;
mod post;
mod telnyx;

use super::problem::Format;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};

/// `GET /openapi.json`.
pub(super) async fn show() -> Response<Body> {
    Format::Json.response(StatusCode::OK, document().to_string())
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Baton",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Calls and transfers of a SIP signaling proxy. The Restcomm-compatible paths \
                stand under /restcomm/2012-04-24, /api/2012-04-24 and /2012-04-24 alike; `.json` or \
                `.xml` may close any segment, and a slash at the end changes nothing.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [
            { "url": "/", "description": "This server." },
        ],
        "paths": paths(),
        "components": {
            "securitySchemes": { "account": {
                "type": "http", "scheme": "basic",
                "description": "Account sid and token.",
            }, "token": {
                "type": "http", "scheme": "bearer",
                "description": "The account's token.",
            } },
            "schemas": schemas(),
        },
    })
}

fn paths() -> Value {
    let mut paths = Map::new();
    for prefix in ["/restcomm/2012-04-24", "/api/2012-04-24", "/2012-04-24"] {
        let base = format!("{prefix}/Accounts/{{AccountSid}}");
        paths.insert(format!("{base}/Calls"), get_and_post(list_calls(), post::create_call()));
        let call = format!("{base}/Calls/{{CallSid}}");
        paths.insert(call, get_and_post(read_call(), post::modify_call()));
        for below in ["Notifications", "Recordings"] {
            paths.insert(format!("{base}/Calls/{{CallSid}}/{below}"), get(below_call(below)));
        }
        paths.insert(format!("{base}/Refers"), get(list_refers()));
        paths.insert(format!("{base}/Refers/{{ReferSid}}"), get(read_refer()));
    }
    paths.extend(telnyx::paths());
    paths.extend(jambonz::paths());
    let open = [
        ("/metrics", metrics()),
        ("/healthz", health()),
        ("/readyz", readiness()),
        ("/openapi.json", description()),
    ];
    paths.extend(open.map(|(path, operation)| (path.to_owned(), get(operation))));
    Value::Object(paths)
}

fn get(operation: Value) -> Value {
    json!({ "get": operation })
}

fn get_and_post(get: Value, post: Value) -> Value {
    json!({ "get": get, "post": post })
}

fn list_calls() -> Value {
    json!({
        "summary": "The calls of an account, newest first.",
        "tags": ["Calls"], "security": [{ "account": [] }],
        "parameters": [
            account_sid(),
            text("To", "The callee ends so."),
            text("From", "The caller ends so."),
            parameter("Status", "Exactly this status.", json!({ "type": "string", "enum": STATUSES })),
            text("StartTime", "Began then or later: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, UTC."),
            text("EndTime", "Ended then or earlier, in the same forms."),
            text("ParentCallSid", "Legs of this call."),
            text("CallSid", "This call."),
            parameter("SortBy", "DateCreated, From, To, Direction, Status or Duration, with :asc or \
                :desc behind.", json!({ "type": "string" })),
            page(), page_size(),
            parameter("Limit", "Items in the whole list at most.",
                json!({ "type": "integer", "minimum": 1, "default": 10_000 })),
            text("AfterSid", "Ignored; written into next_page_uri."),
        ],
        "responses": with_errors(&["400", "401", "403", "404", "503"],
            json!({ "200": both("A page of calls.", "CallList") })),
    })
}

fn read_call() -> Value {
    json!({
        "summary": "One call.",
        "tags": ["Calls"], "security": [{ "account": [] }],
        "parameters": [account_sid(), in_path("CallSid", "A call's sid.")],
        "responses": with_errors(&["401", "403", "404", "503"], json!({ "200": both("The call.", "Call") })),
    })
}

fn below_call(what: &str) -> Value {
    let name = what.to_ascii_lowercase();
    let empty = json!({
        "type": "object", "required": [name], "properties": { name.as_str(): {
            "type": "array", "maxItems": 0,
        } },
    });
    json!({
        "summary": format!("{what} of a call: always empty."),
        "tags": ["Calls"], "security": [{ "account": [] }],
        "parameters": [account_sid(), in_path("CallSid", "A call's sid.")],
        "responses": with_errors(&["401", "403", "404", "503"], json!({ "200": {
            "description": "An empty list.",
            "content": { "application/json": { "schema": empty }, "application/xml": {} },
        } })),
    })
}

fn list_refers() -> Value {
    json!({
        "summary": "The transfers of an account, newest first.",
        "tags": ["Refers"], "security": [{ "account": [] }],
        "parameters": [
            account_sid(),
            text("ReferTo", "The target contains this, whatever the case."),
            text("ReferFrom", "The referrer contains this, whatever the case."),
            parameter("ReferCallStatus", "Exactly this status.",
                json!({ "type": "string", "enum": REFER_STATUSES })),
            text("DateCreated", "Seen then or later: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, UTC."),
            text("CallSid", "On this call."),
            page(), page_size(),
            text("AfterSid", "Ignored; written into next_page_uri."),
        ],
        "responses": with_errors(&["400", "401", "403", "404", "503"],
            json!({ "200": only_json("A page of transfers.", "ReferList") })),
    })
}

fn read_refer() -> Value {
    json!({
        "summary": "One transfer.",
        "tags": ["Refers"], "security": [{ "account": [] }],
        "parameters": [account_sid(), in_path("ReferSid", "A transfer's sid.")],
        "responses": with_errors(&["401", "403", "404", "503"],
            json!({ "200": only_json("The transfer.", "Refer") })),
    })
}

fn metrics() -> Value {
    json!({
        "summary": "Metrics, as Prometheus text or, when Accept asks for it, OpenMetrics.",
        "tags": ["Operation"], "security": [],
        "responses": { "200": { "description": "All families.", "content": {
            "text/plain": { "schema": { "type": "string" } },
            "application/openmetrics-text": { "schema": { "type": "string" } },
        } } },
    })
}

fn health() -> Value {
    json!({
        "summary": "Whether the process lives.",
        "tags": ["Operation"], "security": [],
        "responses": { "200": only_json("It does.", "Health") },
    })
}

fn readiness() -> Value {
    json!({
        "summary": "Whether the node takes calls.",
        "tags": ["Operation"], "security": [],
        "responses": {
            "200": only_json("It does.", "Readiness"),
            "503": only_json("It does not, for these reasons.", "Readiness"),
        },
    })
}

fn description() -> Value {
    json!({
        "summary": "This description.",
        "tags": ["Operation"], "security": [],
        "responses": { "200": { "description": "OpenAPI 3.1.", "content": {
            "application/json": { "schema": { "type": "object" } },
        } } },
    })
}

const STATUSES: [&str; 8] =
    ["queued", "ringing", "in-progress", "canceled", "completed", "failed", "busy", "no-answer"];
const REFER_STATUSES: [&str; 5] = ["in-progress", "canceled", "failed", "busy", "no-answer"];

fn parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn text(name: &str, description: &str) -> Value {
    parameter(name, description, json!({ "type": "string" }))
}

fn page() -> Value {
    parameter(
        "Page",
        "Which page, from 0; behind the last is an error.",
        json!({ "type": "integer", "minimum": 0, "default": 0 }),
    )
}

fn page_size() -> Value {
    parameter(
        "PageSize",
        "Items on a page.",
        json!({ "type": "integer", "minimum": 1, "maximum": 1_000, "default": 50 }),
    )
}

fn in_path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": { "type": "string" },
    })
}

fn account_sid() -> Value {
    in_path("AccountSid", "The account that asks: AC and 32 hexadecimal digits.")
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn only_json(description: &str, schema: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": reference(schema) } },
    })
}

/// XML is what is sent unless the path or Accept says JSON.
fn both(description: &str, schema: &str) -> Value {
    json!({
        "description": description,
        "content": {
            "application/json": { "schema": reference(schema) },
            "application/xml": { "schema": { "type": "string" } },
        },
    })
}

/// Refusals beside what a success says. Those without a body have no content type; 404, and 400 to a
/// list, have a body in some cases only.
fn with_errors(codes: &[&str], responses: Value) -> Value {
    let mut all = match responses {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    for code in codes {
        let answer = match *code {
            "400" => json!({ "description": "A parameter cannot be used, or there is no such page." }),
            "401" => json!({
                "description": "Credentials are missing or wrong.",
                "headers": { "WWW-Authenticate": { "schema": { "type": "string" } } },
            }),
            "403" => json!({ "description": "Another account's." }),
            "404" => json!({ "description": "There is no such resource." }),
            _ => both("Reading the records took too long.", "Problem"),
        };
        all.insert((*code).to_owned(), answer);
    }
    let mut other = both("Another method is meant; Allow says which.", "Problem");
    other["headers"] = json!({ "Allow": { "schema": { "type": "string" } } });
    all.insert("405".to_owned(), other);
    Value::Object(all)
}

fn schemas() -> Value {
    let mut schemas = telnyx::schemas();
    let more = json!({
        "Problem": object(&[("message", string("What is wrong."))], &["message"]),
        "Health": object(&[("status", string("alive"))], &["status"]),
        "Readiness": object(&[
            ("ready", json!({ "type": "boolean" })),
            ("reasons", reasons("Why the node does not take calls.")),
            ("warnings", reasons("What is wrong besides.")),
        ], &["ready", "reasons", "warnings"]),
        "Call": call(),
        "CallList": list("calls", "Call", true),
        "Refer": refer(),
        "ReferList": list("refers", "Refer", false),
    });
    schemas.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(schemas)
}

fn object(properties: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn string(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn integer(description: &str) -> Value {
    json!({ "type": "integer", "description": description })
}

fn matching(pattern: &str, description: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": description })
}

fn reasons(description: &str) -> Value {
    let reason =
        object(&[("reason", string("Its name.")), ("detail", string("In words."))], &["reason", "detail"]);
    json!({ "type": "array", "description": description, "items": reason })
}

fn call() -> Value {
    let rfc2822 = "As `Tue, 7 Apr 2020 11:10:15 +0000`.";
    let iso = "As `2020-04-07T11:10:15.000Z`.";
    object(
        &[
            ("sid", matching("^ID[0-9a-f]{32}-CA[0-9a-f]{32}$", "The call.")),
            ("InstanceId", matching("^ID[0-9a-f]{32}$", "The node that handled it.")),
            ("date_created", string(rfc2822)),
            ("date_updated", string(rfc2822)),
            ("parent_call_sid", string("The call it was made for.")),
            ("account_sid", string("Its account.")),
            ("to", string("Callee.")),
            ("from", string("Caller.")),
            ("status", json!({ "type": "string", "enum": STATUSES })),
            ("start_time", string(iso)),
            ("end_time", string(iso)),
            ("duration", integer("Seconds from answer to end, rounded up; once ended.")),
            ("direction", json!({ "type": "string", "enum": ["inbound", "outbound-api", "outbound-dial"] })),
            ("api_version", json!({ "const": "2012-04-24" })),
            ("forwarded_from", string("Who diverted it.")),
            ("caller_name", string("The caller's display name.")),
            ("uri", string("Its path.")),
            ("ring_duration", integer("Seconds it rang.")),
            (
                "subresource_uris",
                object(
                    &[("notifications", string("A path.")), ("recordings", string("A path."))],
                    &["notifications", "recordings"],
                ),
            ),
            (
                "sip_response_code",
                matching("^[3-6][0-9]{2}$", "The final response to its INVITE; only when it was refused."),
            ),
            ("refer_sid", matching("^RF[0-9a-f]{32}$", "The transfer that has brought it about.")),
            (
                "refers",
                json!({ "type": "array", "items": refer_of_call(),
            "description": "The transfers it takes part in; where one call is read, and has any." }),
            ),
        ],
        &[
            "sid",
            "InstanceId",
            "date_created",
            "date_updated",
            "account_sid",
            "to",
            "from",
            "status",
            "start_time",
            "direction",
            "api_version",
            "uri",
            "subresource_uris",
        ],
    )
}

/// What was decided about a transfer, and the calls that it ties together.
fn ties() -> [(&'static str, Value); 3] {
    let decision = object(
        &[
            ("allowed", json!({ "type": "boolean", "description": "Whether it was let pass." })),
            ("rule", string("The key of the configuration that says so, or a word for what no key changes.")),
            ("role", json!({ "type": "string", "enum": ["relay", "transferor", "substitute"] })),
        ],
        &["allowed", "rule", "role"],
    );
    [
        ("decision", decision),
        (
            "moved_call_sid",
            string("The call of the party that is to talk to the target, where it is another."),
        ),
        ("target_call_sid", string("The call of the target, where Baton has one.")),
    ]
}

fn refer_of_call() -> Value {
    let own = [
        ("sid", matching("^RF[0-9a-f]{32}$", "The transfer.")),
        ("call_sid", string("The call on whose dialog the REFER went.")),
        ("to", string("The target, a SIP URI.")),
    ];
    object(&[&own[..], &ties()].concat(), &["sid", "call_sid", "to"])
}

fn refer() -> Value {
    object(
        &[
            &[
                ("sid", matching("^RF[0-9a-f]{32}$", "The transfer.")),
                ("date_created", string("As `2021-03-09T12:03:00.787Z`.")),
                ("account_sid", string("Its account.")),
                ("org_sid", matching("^OR[0-9a-fA-F]{32}$", "The account's organisation.")),
                ("call_sid", string("The call on whose dialog the REFER went.")),
                ("to", string("The target, a SIP URI.")),
                ("from", string("The referrer, a SIP URI.")),
                (
                    "call_status",
                    json!({ "type": "string", "enum": REFER_STATUSES,
            "description": "What NOTIFYs told; absent when none did." }),
                ),
                ("refer_sip_response_code", string("Final response to the REFER.")),
                ("notify_sip_response_code", string("Last code in a NOTIFY; absent when there was none.")),
                ("api_version", json!({ "const": "2012-04-24" })),
                ("uri", string("Its path.")),
            ][..],
            &ties(),
        ]
        .concat(),
        &[
            "sid",
            "date_created",
            "account_sid",
            "org_sid",
            "call_sid",
            "to",
            "from",
            "refer_sip_response_code",
            "api_version",
            "uri",
        ],
    )
}

fn list(items: &str, schema: &str, limited: bool) -> Value {
    let path = || string("A path, or the text null where there is no such page.");
    let mut properties = vec![
        ("page", integer("This page, from 0.")),
        ("num_pages", integer("The last page.")),
        ("page_size", integer("Items on a page.")),
        ("total", integer("Items in the list.")),
    ];
    if limited {
        properties.push(("limit", integer("The list is cut there.")));
    }
    properties.extend([
        ("start", string("Place of the first item here.")),
        ("end", string("Place of the last item here; on the last page, the one behind.")),
        ("uri", path()),
        ("first_page_uri", path()),
        ("previous_page_uri", path()),
        ("next_page_uri", path()),
        ("last_page_uri", path()),
    ]);
    let mut required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    properties.push((items, json!({ "type": "array", "items": reference(schema) })));
    required.push(items);
    object(&properties, &required)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference leads somewhere, and every parameter of a path is declared.
    #[test]
    fn the_description_holds_together() {
        let document = document();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().expect("a name");
            assert!(schemas.contains_key(name), "{name}");
        }
        for (path, item) in document["paths"].as_object().expect("paths") {
            for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                for operation in item.as_object().expect("operations").values() {
                    let parameters = operation["parameters"].as_array().expect("parameters");
                    assert!(parameters.iter().any(|p| p["name"] == name && p["in"] == "path"), "{path}");
                }
            }
        }
    }
}
