//! Who may see what, by which path and method, and in which form.

use crate::harness::*;

/// [restcomm-calls 2] [restcomm-calls 2.2] [restcomm-refers 19] No or wrong credentials: 401 with a
/// Basic realm and nothing else, whatever the path.
#[test]
fn without_credentials_there_is_only_401() {
    let server = Server::start();
    server.send([started(start(1, 0))]);
    let wrong = [
        None,
        Some(basic(ACCOUNT, "wrong")),
        Some(basic(ACCOUNT, "")),
        Some(basic("AC00000000000000000000000000000009", TOKEN)),
        Some("Bearer change-me".to_owned()),
        Some("Basic ???".to_owned()),
    ];
    let paths = [
        path("Calls"),
        path(&format!("Calls/{}", call_sid(1))),
        path("Refers"),
        path("Refers/RF00000000000000000000000000000000.json"),
        path("Nothing"),
        "/2012-04-24/Accounts/AC0/Calls".to_owned(),
        "/2012-04-24/Else".to_owned(),
        "/2012-04-24/Accounts/%4".to_owned(),
        path("Calls/%ff"),
    ];
    for credentials in &wrong {
        for path in &paths {
            let headers: Vec<_> = credentials.iter().map(|c| ("Authorization", c.as_str())).collect();
            let answer = server.request("GET", path, &headers);
            assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{path} {credentials:?}");
            let realm = answer.header("www-authenticate").expect("a challenge");
            assert!(realm.starts_with("Basic realm="));
        }
    }
    assert_eq!(server.get("/2012-04-24/Accounts/%4").status, 400);
}

/// [restcomm-calls 3] [restcomm-calls 2.3] [restcomm-calls 2.5]
#[test]
fn another_accounts_path_is_forbidden_and_an_unknown_one_not_found() {
    let server = Server::start();
    for resource in ["Calls", "Refers", "Calls/x", "Refers/x"] {
        let foreign = format!("/restcomm/2012-04-24/Accounts/{OTHER}/{resource}");
        let answer = server.get(&foreign);
        assert_eq!((answer.status, answer.body.as_str()), (403, ""));
        let unknown = format!("/2012-04-24/Accounts/AC0000000000000000000000000000000f/{resource}");
        let answer = server.get(&unknown);
        assert_eq!((answer.status, answer.body.as_str()), (404, ""));
    }
}

/// [restcomm-calls 52] [restcomm-calls 2.6] [restcomm-refers 20] [restcomm-refers 1.5]
#[test]
fn records_of_another_account_are_neither_listed_nor_read() {
    let server = Server::start();
    server.send([
        started(start(1, 0)),
        referred(refer(2, baton::sip::event::ReferStatus::Busy, 202, Some(486))),
    ]);
    for resource in ["Calls", "Refers"] {
        let list = format!("/2012-04-24/Accounts/{OTHER}/{resource}.json");
        let list = server.get_as(OTHER, &list, &[]).json();
        assert_eq!(list["total"], 0);
    }
    let call = format!("/2012-04-24/Accounts/{OTHER}/Calls/{}.json", call_sid(1));
    let answer = server.get_as(OTHER, &call, &[]);
    assert_eq!((answer.status, answer.body.as_str()), (403, ""));
    let refer = format!("/2012-04-24/Accounts/{OTHER}/Refers/{}", refer_sid(2));
    let answer = server.get_as(OTHER, &refer, &[]);
    assert_eq!((answer.status, answer.message().as_str()), (404, "Refer not found."));
}

/// [restcomm-calls 51] [restcomm-calls 1.8] [restcomm-refers 18] What a resource does not take.
#[test]
fn other_methods_are_refused_with_allow() {
    let server = Server::start();
    server.send([started(start(1, 0))]);
    let credentials = basic(ACCOUNT, TOKEN);
    let sid = format!("Calls/{}", call_sid(1));
    let below = format!("{sid}/Recordings");
    let (calls, others) = ("GET, HEAD, POST", "GET, HEAD");
    for (resource, allow) in
        [("Calls.json", calls), (&sid, calls), (&below, others), ("Refers", others), ("Refers/RF0", others)]
    {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            if allow.ends_with(method) {
                continue;
            }
            let headers = [("Authorization", credentials.as_str()), ("Content-Length", "0")];
            let answer = server.request(method, &path(resource), &headers);
            assert_eq!(answer.status, 405, "{method} {resource}");
            assert_eq!(answer.header("allow"), Some(allow));
        }
    }
    for path in ["/metrics", "/healthz", "/readyz", "/openapi.json"] {
        let answer = server.request("POST", path, &[("Content-Length", "0")]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")), "{path}");
    }
}

/// [restcomm-calls 10] [restcomm-calls 1.1] [restcomm-calls 1.3] Three prefixes, one resource; a
/// slash at the end changes nothing; HEAD has the same header.
#[test]
fn prefixes_and_slashes_are_equal() {
    let server = Server::start();
    server.send(completed(start(1, 0), 0, 1_000));
    let lists: Vec<_> = ["/restcomm/2012-04-24", "/api/2012-04-24", "/2012-04-24"]
        .iter()
        .flat_map(|prefix| ["Calls.json", "Calls.json/"].map(|c| format!("{prefix}/Accounts/{ACCOUNT}/{c}")))
        .map(|path| server.get(&path))
        .collect();
    for list in &lists {
        assert_eq!((list.status, &list.body), (200, &lists[0].body));
    }
    let uri = server.json("Calls.json")["calls"][0]["uri"].as_str().expect("a uri").to_owned();
    assert!(uri.ends_with(".json"));
    for prefix in ["", "/restcomm", "/api"] {
        let answer = server.get(&format!("{prefix}{uri}"));
        assert_eq!((answer.status, &answer.json()["sid"]), (200, &call_sid(1).into()));
    }
    let credentials = basic(ACCOUNT, TOKEN);
    let head = server.request("HEAD", &uri, &[("Authorization", &credentials)]);
    let get = server.get(&uri);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

/// [restcomm-calls 11] [restcomm-calls 12] [restcomm-calls 13] [restcomm-calls 1.2] [restcomm-calls 1.4]
/// [restcomm-calls 1.5]
#[test]
fn suffix_and_accept_choose_the_form() {
    let server = Server::start();
    server.send(completed(start(1, 0), 0, 1_000));
    let sid = call_sid(1);
    let forms = [
        (format!("Calls/{sid}.json"), None),
        (format!("Calls.json/{sid}"), None),
        (format!("Calls/{sid}"), Some("application/json")),
        (format!("Calls/{sid}"), Some("text/html, Application/JSON;q=0.1")),
        (format!("Calls/{sid}.json"), Some("application/xml")),
        (format!("Calls.json/{sid}"), Some("text/plain")),
    ];
    let reference = server.json(&forms[0].0);
    for (resource, accept) in &forms {
        let headers: Vec<_> = accept.iter().map(|a| ("Accept", *a)).collect();
        let answer = server.get_as(ACCOUNT, &path(resource), &headers);
        assert_eq!(answer.json(), reference, "{resource} {accept:?}");
    }
    for (resource, accept) in [
        (format!("Calls/{sid}"), None),
        (format!("Calls/{sid}"), Some("*/*")),
        (format!("Calls/{sid}.xml"), Some("application/json")),
        ("Calls".to_owned(), None),
    ] {
        let headers: Vec<_> = accept.iter().map(|a| ("Accept", *a)).collect();
        let answer = server.get_as(ACCOUNT, &path(&resource), &headers);
        assert_eq!(answer.header("content-type"), Some("application/xml"));
        assert!(answer.body.contains("<RestcommResponse>"), "{}", answer.body);
    }
}

/// [restcomm-refers 17] JSON is the only form of Refers.
#[test]
fn refers_are_json_whatever_is_asked() {
    let server = Server::start();
    for resource in ["Refers", "Refers.json", "Refers.xml", "Refers/"] {
        for accept in [None, Some("application/xml"), Some("*/*"), Some("application/json")] {
            let headers: Vec<_> = accept.iter().map(|a| ("Accept", *a)).collect();
            let answer = server.get_as(ACCOUNT, &path(resource), &headers);
            assert_eq!((answer.status, &answer.json()["total"]), (200, &0.into()), "{resource}");
        }
    }
    let missing = server.get_as(ACCOUNT, &path("Refers/RFx"), &[("Accept", "text/xml")]);
    assert_eq!((missing.status, missing.message().as_str()), (404, "Refer not found."));
}

/// What cannot be read is 400, what is not there is 404.
#[test]
fn strange_paths_and_queries_are_refused() {
    let server = Server::start();
    for wrong in ["Calls.json?From=%", "Calls.json?From=%zz", "Calls/%4.json", "Refers?x=%FF"] {
        assert_eq!(server.get(&path(wrong)).status, 400, "{wrong}");
    }
    for missing in ["Nothing", "Calls/a/b", "Calls//", "Refers/a/b", "Calls/a/Notifications"] {
        assert_eq!(server.get(&path(missing)).status, 404, "{missing}");
    }
    assert_eq!(server.get("/").status, 404);
    assert_eq!(server.get("/restcomm/2011-01-01/Accounts").status, 404);
}

/// An error has the form that was asked for.
#[test]
fn errors_are_json_or_xml() {
    let server = Server::start();
    let json = server.get(&path("Calls.json?Page=x"));
    assert_eq!((json.status, json.message().as_str()), (400, "Page must be a number, 0 or above."));
    let xml = server.get(&path("Calls?Page=x"));
    let body = "<RestcommResponse><Message>Page must be a number, 0 or above.</Message></RestcommResponse>";
    assert_eq!((xml.status, xml.body.as_str()), (400, body));
}
