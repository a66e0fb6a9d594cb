//! A document as a tree of elements, read with bounds: it comes from somebody else's server.

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::borrow::Cow;

/// Elements of a document, how deep they may stand in each other, and attributes of one: each is
/// compared with those before it.
const ELEMENTS: usize = 10_000;
const DEPTH: usize = 32;
const ATTRIBUTES: usize = 64;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    /// Its own text, CDATA and entities resolved, without what stands around it.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// An attribute's value; names are case-sensitive.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(n, _)| n == name)?;
        Some(found.1.trim())
    }
}

/// The document cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It is not text in UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// It is not well-formed.
    #[error("it is not well-formed")]
    Syntax,
    /// It declares a document type.
    #[error("it has a DOCTYPE")]
    Doctype,
    /// It has too many elements or attributes, or they stand too deep.
    #[error("it has too many elements or attributes, or they stand too deep")]
    TooLarge,
    /// Its root is not what it has to be.
    #[error("its root is not Response")]
    Root,
}

/// Reads a document and gives its root.
pub(super) fn read(bytes: &[u8]) -> Result<Element, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Encoding)?;
    let text = repaired(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut reader = Reader::from_str(&text);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut count = 0;
    loop {
        match reader.read_event().map_err(|_| Malformed::Syntax)? {
            Event::Start(start) => {
                count += 1;
                if root.is_some() || open.len() >= DEPTH || count > ELEMENTS {
                    return Err(if root.is_some() { Malformed::Syntax } else { Malformed::TooLarge });
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                count += 1;
                if root.is_some() || count > ELEMENTS {
                    return Err(if root.is_some() { Malformed::Syntax } else { Malformed::TooLarge });
                }
                let element = element(&start)?;
                close(element, &mut open, &mut root);
            }
            // The reader has checked that the names agree.
            Event::End(_) => {
                let element = open.pop().ok_or(Malformed::Syntax)?;
                close(element, &mut open, &mut root);
            }
            Event::Text(text) => add(&mut open, &text.xml_content(XmlVersion::Implicit1_0))?,
            Event::CData(text) => add(&mut open, &text.xml_content(XmlVersion::Implicit1_0))?,
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|_| Malformed::Syntax)?;
                match character {
                    Some(character) => add(&mut open, character.encode_utf8(&mut [0; 4]))?,
                    None => {
                        let name = reference.into_inner();
                        add(&mut open, resolve_xml_entity(&name).ok_or(Malformed::Syntax)?)?;
                    }
                }
            }
            Event::DocType(_) => return Err(Malformed::Doctype),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    // What is open still was never closed.
    root.filter(|_| open.is_empty()).ok_or(Malformed::Syntax)
}

fn element(start: &BytesStart<'_>) -> Result<Element, Malformed> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| Malformed::Syntax)?;
        if attributes.len() >= ATTRIBUTES {
            return Err(Malformed::TooLarge);
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| Malformed::Syntax)?;
        attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(Element { name: start.name().as_ref().to_owned(), attributes, ..Element::default() })
}

fn close(mut element: Element, open: &mut [Element], root: &mut Option<Element>) {
    element.text = element.text.trim().to_owned();
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

/// Outside the root there is nothing but white space.
fn add(open: &mut [Element], text: &str) -> Result<(), Malformed> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(Malformed::Syntax),
    }
    Ok(())
}

/// Makes `&amp;` of each `&` that begins no entity (rcml 2.2): authors write URLs as they are. CDATA
/// and comments stay as they are, too.
fn repaired(text: &str) -> Cow<'_, str> {
    let mut fixed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<']) {
        let (before, here) = rest.split_at(at);
        fixed.push_str(before);
        let kept = match here {
            _ if here.starts_with("<![CDATA[") => here.find("]]>").map_or(here.len(), |end| end + 3),
            _ if here.starts_with("<!--") => here.find("-->").map_or(here.len(), |end| end + 3),
            _ if here.starts_with('<') => 1,
            _ => entity(here),
        };
        if kept == 0 {
            fixed.push_str("&amp;");
            rest = here.get(1..).unwrap_or("");
        } else {
            let (kept, after) = here.split_at(kept);
            fixed.push_str(kept);
            rest = after;
        }
    }
    if fixed.is_empty() {
        return Cow::Borrowed(text);
    }
    fixed.push_str(rest);
    Cow::Owned(fixed)
}

/// Bytes of the entity that begins here; 0 when none does. Without a DTD there are no others.
fn entity(text: &str) -> usize {
    let Some(end) = text.bytes().take(12).position(|b| b == b';') else { return 0 };
    let name = text.get(1..end).unwrap_or("");
    let digits = |digits: &str, hex: bool| {
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || hex && b.is_ascii_hexdigit())
    };
    let known = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix('x') {
            Some(number) => digits(number, true),
            None => digits(number, false),
        },
        None => matches!(name, "amp" | "lt" | "gt" | "quot" | "apos"),
    };
    if known { end + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &str) -> Result<String, Malformed> {
        read(document.as_bytes()).map(|root| root.text)
    }

    /// [rcml 8] [rcml 2.2] [rcml 2.6] Text as authors write it.
    #[test]
    fn text_is_taken_as_meant() {
        assert_eq!(text("<R> a&b=1 &amp; &#65;&#x42;&lt; </R>"), Ok("a&b=1 & AB<".into()));
        assert_eq!(text("<R><![CDATA[ x&y<z ]]></R>"), Ok("x&y<z".into()));
        assert_eq!(text("<!-- & --><R>a<!-- b&c -->d</R><!-- -->"), Ok("ad".into()));
        assert_eq!(text("\u{feff}<?xml version='1.0'?><R>é &copy; &</R>\n"), Ok("é &copy; &".into()));
        let root = read(b"<R url='/x?a=1&b=2&amp;c=3'/>").expect("it is well-formed");
        assert_eq!(root.attribute("url"), Some("/x?a=1&b=2&c=3"));
        assert_eq!(root.attribute("Url"), None);
    }

    /// [rcml 8] [rcml 2.3] What cannot be read is refused; there is no DTD.
    #[test]
    fn what_is_not_well_formed_fails() {
        let deep = "<a>".repeat(DEPTH + 1);
        let many = format!("<R>{}</R>", "<a/>".repeat(ELEMENTS));
        let attributes: String = (0..100_000).map(|n| format!("a{n}='' ")).collect();
        let wide = format!("<R {attributes}/>");
        let cases = [
            ("<R><a></R>", Malformed::Syntax),
            ("<R>", Malformed::Syntax),
            ("<R/><R/>", Malformed::Syntax),
            ("<R/>text", Malformed::Syntax),
            ("", Malformed::Syntax),
            ("text", Malformed::Syntax),
            ("<R a='1' a='2'/>", Malformed::Syntax),
            ("<R a=1/>", Malformed::Syntax),
            ("<R>&#x0;</R>", Malformed::Syntax),
            ("<!DOCTYPE R [<!ENTITY a 'b'>]><R/>", Malformed::Doctype),
            (deep.as_str(), Malformed::TooLarge),
            (many.as_str(), Malformed::TooLarge),
            (wide.as_str(), Malformed::TooLarge),
        ];
        for (document, error) in cases {
            assert_eq!(read(document.as_bytes()), Err(error), "{}", document.get(..40).unwrap_or(document));
        }
        assert_eq!(read(b"<R>\xff</R>"), Err(Malformed::Encoding));
    }
}
