//! The XML form of Calls (Calls API, section 8): every child is there, an unset one empty.

use super::call::Call;
use super::page::Envelope;
use crate::control::problem::Problem;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::io;

type Out = Writer<Vec<u8>>;

/// One call.
pub(super) fn call(call: &Call) -> Result<String, Problem> {
    document(|out| write_call(out, call))
}

/// A page of calls.
pub(super) fn calls(envelope: &Envelope, calls: &[Call]) -> Result<String, Problem> {
    document(|out| {
        let numbers =
            [envelope.page, envelope.num_pages, envelope.page_size, envelope.total].map(|n| n.to_string());
        let names = ["page", "numpages", "pagesize", "total"];
        let links = [
            ("start", envelope.start.as_str()),
            ("end", envelope.end.as_str()),
            ("uri", envelope.uri.as_str()),
            ("firstpageuri", envelope.first_page_uri.as_str()),
            ("previouspageuri", envelope.previous_page_uri.as_str()),
            ("nextpageuri", envelope.next_page_uri.as_str()),
            ("lastpageuri", envelope.last_page_uri.as_str()),
        ];
        let numbers = names.into_iter().zip(numbers.iter().map(String::as_str));
        out.create_element("Calls")
            .with_attributes(numbers.chain(links))
            .write_inner_content(|out| calls.iter().try_for_each(|call| write_call(out, call)))?;
        Ok(())
    })
}

fn document(content: impl FnOnce(&mut Out) -> io::Result<()>) -> Result<String, Problem> {
    let write = || -> io::Result<String> {
        let mut out = Writer::new(Vec::new());
        out.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        out.create_element("RestcommResponse").write_inner_content(content)?;
        String::from_utf8(out.into_inner()).map_err(io::Error::other)
    };
    write().map_err(|_| Problem::internal())
}

fn write_call(out: &mut Out, call: &Call) -> io::Result<()> {
    let bare = |uri: &str| uri.strip_suffix(".json").unwrap_or(uri).to_owned();
    let number = |value: Option<u64>| value.map(|n| n.to_string());
    let some = |text: &str| Some(text.to_owned());
    let children = [
        ("Sid", some(&call.sid)),
        ("InstanceId", some(&call.instance_id)),
        ("DateCreated", some(&call.date_created)),
        ("DateUpdated", some(&call.date_updated)),
        ("ParentCallSid", call.parent_call_sid.clone()),
        ("AccountSid", some(&call.account_sid)),
        ("To", some(&call.to)),
        ("From", some(&call.from)),
        ("PhoneNumberSid", None),
        ("Status", some(call.status)),
        ("StartTime", call.start_time.clone()),
        ("EndTime", call.end_time.clone()),
        ("Duration", number(call.duration)),
        ("Price", None),
        ("PriceUnit", None),
        ("Direction", some(call.direction)),
        ("AnsweredBy", None),
        ("ApiVersion", some(call.api_version)),
        ("ForwardedFrom", call.forwarded_from.clone()),
        ("CallerName", call.caller_name.clone()),
        ("Uri", Some(bare(&call.uri))),
    ];
    out.create_element("Call").write_inner_content(|out| {
        for (name, value) in &children {
            element(out, name, value.as_deref())?;
        }
        out.create_element("SubresourceUris").write_inner_content(|out| {
            element(out, "Notifications", Some(&bare(&call.subresource_uris.notifications)))?;
            element(out, "Recordings", Some(&bare(&call.subresource_uris.recordings)))
        })?;
        element(out, "Ring_duration", number(call.ring_duration).as_deref())
    })?;
    Ok(())
}

fn element(out: &mut Out, name: &str, value: Option<&str>) -> io::Result<()> {
    // What XML cannot hold at all (XML 1.0 §2.2) came from the network; it is left out.
    let text: String = value.unwrap_or("").chars().filter(|c| allowed(*c)).collect();
    out.create_element(name).write_text_content(BytesText::new(&text))?;
    Ok(())
}

const fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}
