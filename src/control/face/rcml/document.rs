//! A document as the verbs it asks for, in their order (rcml sections 2, 4 to 6, 8).

use super::callback::Kind;
use super::tree::{self, Element, Malformed};
use crate::control::webhook::http_method;
use axum::http::Method;
use std::time::Duration;

/// Verbs of a document: what is done at once must not be done without end.
const VERBS: usize = 200;
/// Nouns of a Dial (rcml 5.1).
const NOUNS: usize = 10;

/// What one verb asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// End the call.
    Hangup,
    /// Refuse it.
    Reject {
        /// As busy, else as declined.
        busy: bool,
    },
    /// Wait.
    Pause(Duration),
    /// Go on with another document.
    Redirect(Link),
    /// Call others.
    Dial(Dial),
    /// Transfer by REFER.
    Refer(Refer),
    /// Put the party on hold.
    Hold,
    /// Take it back.
    Resume,
    /// A verb that would need media (rcml 8.2).
    Media(&'static str),
}

/// A URL that stands in a document, perhaps a relative one, and how it is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) url: String,
    pub(super) method: Method,
}

/// `<Refer>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refer {
    pub(super) action: Option<Link>,
    /// The first Sip; without one the verb fails.
    pub(super) target: Option<Sip>,
}

/// `<Sip>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sip {
    pub(super) address: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

/// `<Dial>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) action: Option<Link>,
    pub(super) timeout: Duration,
    pub(super) time_limit: Duration,
    pub(super) caller_id: Option<String>,
    pub(super) nouns: Vec<Noun>,
}

/// Who is called, and who else has a word in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noun {
    pub(super) whom: Whom,
    /// The document that its leg runs before it is joined (rcml 5.3).
    pub(super) screen: Option<Link>,
    /// Who is told what becomes of its leg (rcml 5.2).
    pub(super) notice: Option<Notice>,
}

/// Who is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Number(String),
    Client(String),
    Sip(Sip),
}

/// Who is told of a leg, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) link: Link,
    pub(super) kinds: Vec<Kind>,
}

/// Reads a document's verbs. Elements that are unknown are passed over with what they contain.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Verb>, Malformed> {
    let root = tree::read(bytes)?;
    if root.name != "Response" {
        return Err(Malformed::Root);
    }
    let verbs: Vec<Verb> = root.children.iter().filter_map(verb).collect();
    if verbs.len() > VERBS { Err(Malformed::TooLarge) } else { Ok(verbs) }
}

fn verb(element: &Element) -> Option<Verb> {
    Some(match element.name.as_str() {
        "Hangup" => Verb::Hangup,
        "Reject" => Verb::Reject { busy: element.attribute("reason") == Some("busy") },
        "Pause" => Verb::Pause(seconds(element, "length", 1)),
        // Without a URL there is nowhere to go: the next verb.
        "Redirect" if element.text.is_empty() => return None,
        "Redirect" => Verb::Redirect(Link { url: element.text.clone(), method: method(element, "method") }),
        "Dial" => Verb::Dial(dial(element)),
        "Refer" => Verb::Refer(Refer {
            action: action(element),
            target: element.children.iter().find(|child| child.name == "Sip").map(sip),
        }),
        "Hold" => Verb::Hold,
        "Resume" => Verb::Resume,
        "Say" => Verb::Media("Say"),
        "Play" => Verb::Media("Play"),
        "Gather" => Verb::Media("Gather"),
        "Record" => Verb::Media("Record"),
        name => {
            tracing::debug!(event = "rcml.unknown", name, "an unknown verb is passed over");
            return None;
        }
    })
}

fn dial(element: &Element) -> Dial {
    let mut nouns: Vec<Noun> = element.children.iter().filter_map(noun).take(NOUNS).collect();
    if nouns.is_empty() && !element.text.is_empty() && element.children.is_empty() {
        nouns.push(Noun { whom: Whom::Number(element.text.clone()), screen: None, notice: None });
    }
    Dial {
        action: action(element),
        timeout: seconds(element, "timeout", 30).max(Duration::from_secs(1)),
        time_limit: seconds(element, "timeLimit", 14_400).max(Duration::from_secs(1)),
        caller_id: element.attribute("callerId").filter(|id| !id.is_empty()).map(str::to_owned),
        nouns,
    }
}

fn noun(element: &Element) -> Option<Noun> {
    let whom = match element.name.as_str() {
        "Number" => Whom::Number(element.text.clone()),
        "Client" => Whom::Client(element.text.clone()),
        "Sip" | "Uri" => Whom::Sip(sip(element)),
        _ => return None,
    };
    let notice = link(element, "statusCallback", "statusCallbackMethod").map(|link| Notice {
        link,
        kinds: Kind::list(element.attribute("statusCallbackEvent").unwrap_or("")).0,
    });
    Some(Noun { whom, screen: link(element, "url", "method"), notice })
}

fn sip(element: &Element) -> Sip {
    let attribute = |name| element.attribute(name).filter(|value| !value.is_empty()).map(str::to_owned);
    Sip { address: element.text.clone(), username: attribute("username"), password: attribute("password") }
}

fn action(element: &Element) -> Option<Link> {
    link(element, "action", "method")
}

/// A URL in one attribute, how it is requested in another.
fn link(element: &Element, url: &str, by: &str) -> Option<Link> {
    let url = element.attribute(url).filter(|url| !url.is_empty())?;
    Some(Link { url: url.to_owned(), method: method(element, by) })
}

/// An unknown method counts as POST and is noted (rcml 1.3).
fn method(element: &Element, attribute: &str) -> Method {
    let Some(text) = element.attribute(attribute) else { return Method::POST };
    http_method(text).unwrap_or_else(|| {
        tracing::info!(event = "rcml.method", method = text, "an unknown method counts as POST");
        Method::POST
    })
}

/// Whole seconds, at most a day; what is no number is the default.
fn seconds(element: &Element, name: &str, default: u64) -> Duration {
    let seconds = element.attribute(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    Duration::from_secs(seconds.min(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(inner: &str) -> Vec<Verb> {
        parse(format!("<Response>{inner}</Response>").as_bytes()).expect("it is a document")
    }

    /// [rcml 9] [rcml 2.1] [rcml 2.4] [rcml 42]
    #[test]
    fn verbs_in_order_and_nothing_else() {
        let got = verbs(
            "<Foo><Hangup/></Foo><Say>hi</Say><hangup/><Pause length='x'/><Pause length=' 3 '/>
             <Gather><Play>a.wav</Play></Gather><Redirect> </Redirect><Redirect method='Put'>n&x</Redirect>
             <Reject reason='busy'/><Reject reason='no'/><Hold/><Resume/><Hangup/>",
        );
        let pause = |n| Verb::Pause(Duration::from_secs(n));
        let next = Link { url: "n&x".into(), method: Method::POST };
        assert_eq!(
            got,
            [
                Verb::Media("Say"),
                pause(1),
                pause(3),
                Verb::Media("Gather"),
                Verb::Redirect(next),
                Verb::Reject { busy: true },
                Verb::Reject { busy: false },
                Verb::Hold,
                Verb::Resume,
                Verb::Hangup,
            ]
        );
        assert_eq!(parse(b"<Reply/>"), Err(Malformed::Root));
        assert_eq!(parse(b"<response/>"), Err(Malformed::Root));
        assert_eq!(verbs(""), []);
    }

    /// [rcml 6.1.1] [rcml 29] The first Sip counts; method and credentials are read.
    #[test]
    fn refer_is_read() {
        let got = verbs(
            "<Refer action='after?job=7' method='get'><Sip username='u' password='p'> sip:x@y?A=1&amp;B=2 </Sip>
             <Sip>sip:z@y</Sip></Refer><Refer/>",
        );
        let sip =
            Sip { address: "sip:x@y?A=1&B=2".into(), username: Some("u".into()), password: Some("p".into()) };
        let action = Some(Link { url: "after?job=7".into(), method: Method::GET });
        let refer = Refer { action, target: Some(sip) };
        let empty = Refer { action: None, target: None };
        assert_eq!(got, [Verb::Refer(refer), Verb::Refer(empty)]);
    }

    /// [rcml 5.1] [rcml 5.2] [rcml 44]
    #[test]
    fn dial_is_read() {
        let dial = |inner: &str| match verbs(inner).pop() {
            Some(Verb::Dial(dial)) => dial,
            other => panic!("no Dial: {other:?}"),
        };
        let plain = dial("<Dial> +4930 </Dial>");
        let number = Noun { whom: Whom::Number("+4930".into()), screen: None, notice: None };
        assert_eq!(plain.nouns, [number]);
        let defaults = (Duration::from_secs(30), Duration::from_secs(14_400), None);
        assert_eq!((plain.timeout, plain.time_limit, plain.caller_id), defaults);
        let nouns = dial(
            "<Dial callerId='7' timeout='5' timeLimit='60'><Number url='n'>1</Number><Client>al</Client>
             <Uri url='s' method='get' statusCallback='/cb' statusCallbackEvent='ringing,nope'>sip:a@b</Uri>
             <Conference>c</Conference></Dial>",
        );
        let urls: Vec<_> =
            nouns.nouns.iter().map(|noun| noun.screen.as_ref().map(|s| s.url.as_str())).collect();
        assert_eq!(urls, [Some("n"), None, Some("s")]);
        assert_eq!(nouns.nouns[2].screen.as_ref().map(|s| s.method.clone()), Some(Method::GET));
        let notice =
            Notice { link: Link { url: "/cb".into(), method: Method::POST }, kinds: vec![Kind::Ringing] };
        assert_eq!(nouns.nouns[2].notice, Some(notice));
        assert_eq!(nouns.caller_id.as_deref(), Some("7"));
        assert_eq!(dial("<Dial><Conference>c</Conference></Dial>").nouns, []);
        let many = format!("<Dial>{}</Dial>", "<Number>1</Number>".repeat(12));
        assert_eq!(dial(&many).nouns.len(), NOUNS);
    }
}
