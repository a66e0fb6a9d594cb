//! A phone as small as a phone can be: what the demo's three parties are.
//!
//! It speaks just the SIP of the show: INVITE, ACK, REFER, NOTIFY and BYE with their answers, all by
//! way of one proxy. It holds no socket and knows no time: messages come in through
//! [`Phone::receive`], what it sends lies in [`Phone::sent`] until the show carries it to the wire,
//! and what happened is told as a [`Happening`], for the show to decide what the person does next.

use crate::sip::message::write::Builder;
use crate::sip::message::{HeaderId, Message, Method, default_reason, sipfrag};
use std::net::SocketAddr;

/// The session a phone offers and answers; nobody sends media in the show.
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 9 RTP/AVP 0\r\na=inactive\r\n";

/// A call of a phone, by its place in the phone's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallIx(usize);

/// What happened at a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Somebody calls.
    Invited(CallIx),
    /// The other side of a call that this phone placed is alerted.
    Rings(CallIx),
    /// It answered; the ACK is sent.
    Answered(CallIx),
    /// The caller acknowledged the answer.
    Confirmed(CallIx),
    /// The other side asks to call somebody else.
    Referred(CallIx, Transfer),
    /// The other side answered a REFER.
    ReferAnswered(CallIx, u16),
    /// A NOTIFY told how the new call goes.
    Notified(CallIx, Option<u16>),
    /// A NOTIFY of this phone was answered.
    NotifyAnswered(CallIx),
    /// The other side hung up.
    HungUp(CallIx),
    /// The other side took the BYE.
    Ended(CallIx),
    /// A request of this phone was refused.
    Refused(Method, u16),
}

/// What a REFER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Refer-To.
    pub to: String,
    /// Referred-By.
    pub by: String,
    /// The CSeq of the REFER, the `id` of its subscription (RFC 3515 §2.4.6).
    pub id: u32,
}

/// One side of a dialog.
#[derive(Debug)]
struct Call {
    call_id: String,
    /// This side's From, or To, with its tag.
    local: String,
    /// The other side's; without tag until it is known.
    remote: String,
    /// Where requests go: the other side's Contact.
    target: String,
    /// The Record-Route of the first request, in the order of this side (RFC 3261 §12.1).
    routes: Vec<String>,
    cseq: u32,
    /// The INVITE of the other side, for its answers.
    invite: Option<Message>,
}

/// A phone.
#[derive(Debug)]
pub struct Phone {
    /// Who it belongs to, with a capital letter.
    pub name: &'static str,
    /// What is to be sent to the proxy, in order.
    pub sent: Vec<Vec<u8>>,
    address: SocketAddr,
    proxy: SocketAddr,
    calls: Vec<Call>,
    branches: u32,
    /// The last answer to each request seen, for retransmissions (RFC 3261 §17.2).
    answers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Phone {
    /// A phone at `address` that sends everything to `proxy`.
    pub fn new(name: &'static str, address: SocketAddr, proxy: SocketAddr) -> Phone {
        Phone { name, sent: Vec::new(), address, proxy, calls: Vec::new(), branches: 0, answers: Vec::new() }
    }

    /// A person's address at the proxy.
    pub fn address_of(&self, name: &str) -> String {
        format!("sip:{}@{}", name.to_ascii_lowercase(), self.proxy)
    }

    /// Calls `uri`; `referred_by` says on whose word (RFC 3892 §2.2).
    pub fn call(&mut self, uri: &str, referred_by: Option<&str>) -> CallIx {
        let ix = self.calls.len();
        let name = self.name.to_ascii_lowercase();
        self.calls.push(Call {
            call_id: format!("{name}-{ix}-{}@demo.invalid", self.address.port()),
            local: format!("{} <{}>;tag={name}{ix}", self.name, self.address_of(self.name)),
            remote: format!("<{uri}>"),
            target: uri.to_owned(),
            routes: Vec::new(),
            cseq: 0,
            invite: None,
        });
        let referred_by: Vec<_> = referred_by.map(|by| ("Referred-By", by.to_owned())).into_iter().collect();
        self.request(CallIx(ix), "INVITE", &referred_by, Some(("application/sdp", SDP.as_bytes())));
        CallIx(ix)
    }

    /// Answers the INVITE of a call: 180 to ring, 200 to talk.
    pub fn answer(&mut self, call: CallIx, status: u16) {
        let Some(invite) = self.calls.get(call.0).and_then(|call| call.invite.clone()) else { return };
        self.respond(&invite, status, Some(call));
    }

    /// Asks the other side of a call to call `uri`.
    pub fn refer(&mut self, call: CallIx, uri: &str) {
        let me = self.address_of(self.name);
        let headers = [("Refer-To", format!("<{uri}>")), ("Referred-By", format!("<{me}>"))];
        self.request(call, "REFER", &headers, None);
    }

    /// Tells the referrer how the new call goes; a final status ends the subscription.
    pub fn notify(&mut self, call: CallIx, id: u32, status: u16) {
        let state = if status < 200 { "active;expires=60" } else { "terminated;reason=noresource" };
        let headers = [("Event", format!("refer;id={id}")), ("Subscription-State", state.to_owned())];
        let mut body = Vec::new();
        sipfrag::write(&mut body, status, default_reason(status).as_bytes());
        self.request(call, "NOTIFY", &headers, Some(("message/sipfrag;version=2.0", &body)));
    }

    /// Hangs up.
    pub fn hang_up(&mut self, call: CallIx) {
        self.request(call, "BYE", &[], None);
    }

    /// Takes a message from the wire.
    pub fn receive(&mut self, message: &Message) -> Option<Happening> {
        if message.is_request() { self.asked(message) } else { self.answered(message) }
    }

    fn asked(&mut self, request: &Message) -> Option<Happening> {
        let key = transaction(request);
        if let Some((_, answer)) = self.answers.iter().find(|(known, _)| *known == key) {
            self.sent.push(answer.clone());
            return None;
        }
        let call = self.find(request);
        match (request.method(), call) {
            (Method::Invite, None) => {
                let call = self.called(request);
                Some(Happening::Invited(call))
            }
            (Method::Ack, Some(call)) => Some(Happening::Confirmed(call)),
            (Method::Refer, Some(call)) => {
                self.respond(request, 202, Some(call));
                let uri = |id| request.header(id).map(text).unwrap_or_default();
                let transfer = Transfer {
                    to: uri(HeaderId::ReferTo).trim_matches(['<', '>']).to_owned(),
                    by: uri(HeaderId::ReferredBy),
                    id: request.cseq().map_or(0, |cseq| cseq.number),
                };
                Some(Happening::Referred(call, transfer))
            }
            (Method::Notify, Some(call)) => {
                self.respond(request, 200, Some(call));
                Some(Happening::Notified(call, sipfrag::parse(request.body()).map(|(code, _)| code)))
            }
            (Method::Bye, Some(call)) => {
                self.respond(request, 200, Some(call));
                Some(Happening::HungUp(call))
            }
            (Method::Ack, None) => None,
            (_, None) => {
                self.respond(request, 481, None);
                None
            }
            (_, Some(_)) => {
                self.respond(request, 501, None);
                None
            }
        }
    }

    fn answered(&mut self, response: &Message) -> Option<Happening> {
        let call = self.find(response)?;
        let (method, status) = (response.method(), response.status());
        match (method, status) {
            (_, 100) => None,
            (Method::Invite, 101..=199) => Some(Happening::Rings(call)),
            (Method::Invite, 200..=299) => {
                self.established(call, response);
                self.request(call, "ACK", &[], None);
                Some(Happening::Answered(call))
            }
            (Method::Refer, 200..=299) => Some(Happening::ReferAnswered(call, status)),
            (Method::Notify, 200..=299) => Some(Happening::NotifyAnswered(call)),
            (Method::Bye, 200..=299) => Some(Happening::Ended(call)),
            (method, _) => Some(Happening::Refused(method, status)),
        }
    }

    /// A new call from outside.
    fn called(&mut self, invite: &Message) -> CallIx {
        let ix = self.calls.len();
        let field = |id| invite.header(id).map(text).unwrap_or_default();
        let name = self.name.to_ascii_lowercase();
        self.calls.push(Call {
            call_id: field(HeaderId::CallId),
            local: format!("{};tag={name}{ix}", field(HeaderId::To)),
            remote: field(HeaderId::From),
            target: contact(invite),
            routes: invite.values(HeaderId::RecordRoute).map(text).collect(),
            cseq: 0,
            invite: Some(invite.clone()),
        });
        CallIx(ix)
    }

    /// RFC 3261 §12.1.2: what the answer says of the other side.
    fn established(&mut self, call: CallIx, response: &Message) {
        let Some(call) = self.calls.get_mut(call.0) else { return };
        call.remote = response.header(HeaderId::To).map(text).unwrap_or_default();
        call.target = contact(response);
        call.routes = response.values(HeaderId::RecordRoute).map(text).collect();
        call.routes.reverse();
    }

    fn find(&self, message: &Message) -> Option<CallIx> {
        let call_id = message.call_id()?;
        self.calls.iter().position(|call| call.call_id.as_bytes() == call_id).map(CallIx)
    }

    /// Writes a request of a call.
    fn request(
        &mut self,
        call: CallIx,
        method: &str,
        headers: &[(&str, String)],
        body: Option<(&str, &[u8])>,
    ) {
        let (name, address) = (self.name.to_ascii_lowercase(), self.address);
        self.branches += 1;
        let via = format!("SIP/2.0/UDP {address};branch=z9hG4bK-{name}-{};rport", self.branches);
        let Some(call) = self.calls.get_mut(call.0) else { return };
        if method != "ACK" {
            call.cseq += 1; // RFC 3261 §13.2.2.4: an ACK has the number of its INVITE
        }
        let mut out = Vec::new();
        let mut message = Builder::request(&mut out, method, call.target.as_bytes())
            .header("Via", via.as_bytes())
            .number("Max-Forwards", 70)
            .header("From", call.local.as_bytes())
            .header("To", call.remote.as_bytes())
            .header("Call-ID", call.call_id.as_bytes())
            .cseq(call.cseq, method)
            .header("Contact", format!("<sip:{name}@{address}>").as_bytes());
        for route in &call.routes {
            message = message.header("Route", route.as_bytes());
        }
        for (name, value) in headers {
            message = message.header(name, value.as_bytes());
        }
        match body {
            Some((content_type, body)) => message.body(content_type, body),
            None => message.finish(),
        }
        self.sent.push(out);
    }

    /// Writes a response (RFC 3261 §8.2.6).
    fn respond(&mut self, request: &Message, status: u16, call: Option<CallIx>) {
        let mut out = Vec::new();
        let mut message = Builder::response(&mut out, status, "");
        for via in request.values(HeaderId::Via) {
            message = message.header("Via", via);
        }
        for route in request.values(HeaderId::RecordRoute) {
            message = message.header("Record-Route", route);
        }
        let local = call.and_then(|call| self.calls.get(call.0)).map(|call| call.local.as_bytes());
        let to = if request.to().is_ok_and(|to| to.tag().is_some()) { None } else { local };
        let copy = |id| request.header(id).unwrap_or_default();
        message = message
            .header("From", copy(HeaderId::From))
            .header("To", to.unwrap_or(copy(HeaderId::To)))
            .header("Call-ID", copy(HeaderId::CallId))
            .header("CSeq", copy(HeaderId::CSeq))
            .header(
                "Contact",
                format!("<sip:{}@{}>", self.name.to_ascii_lowercase(), self.address).as_bytes(),
            );
        match (request.method(), status) {
            (Method::Invite, 200..=299) => message.body("application/sdp", SDP.as_bytes()),
            _ => message.finish(),
        }
        let key = transaction(request);
        self.answers.retain(|(known, _)| *known != key);
        self.answers.push((key, out.clone()));
        self.sent.push(out);
    }
}

/// What a retransmission has in common with the request it repeats (RFC 3261 §17.2.3).
fn transaction(request: &Message) -> Vec<u8> {
    let mut key = request.method_bytes().to_vec();
    key.push(b' ');
    key.extend_from_slice(request.values(HeaderId::Via).next().unwrap_or_default());
    key
}

fn contact(message: &Message) -> String {
    message.contacts().find_map(Result::ok).map(|contact| text(contact.uri)).unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
