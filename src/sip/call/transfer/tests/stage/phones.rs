//! What the phones of the stage do with what comes to them.

use super::*;

/// What a phone demands to be shown whom it hears.
const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"phones\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\n";

impl Stage {
    pub(super) fn arrives(&mut self, to: &str, message: &Message) {
        let call_id = text(message, HeaderId::CallId);
        let Some((phone, _)) = PHONES.iter().copied().find(|(_, ip)| to.starts_with(ip)) else {
            if !message.is_request() {
                self.log.push(format!("{to} {} {}", message.method().as_str(), message.status()));
            }
            return;
        };
        let name = self.dialogs.get(&call_id).map_or(phone.to_owned(), |dialog| dialog.name.clone());
        if !message.is_request() {
            return self.answered(&name, &call_id, message);
        }
        let method = message.method();
        let mut line = format!("{name} {}", method.as_str());
        if method == Method::Notify {
            let body = String::from_utf8_lossy(message.body()).trim().to_owned();
            let state = text(message, HeaderId::SubscriptionState);
            line = format!(
                "{line} {} {}",
                body.trim_start_matches("SIP/2.0 "),
                state.split(';').next().unwrap_or("")
            );
        }
        self.log.push(line);
        self.requests.push((name, message.clone()));
        let manner = self.manners.get(phone).expect("a phone").clone();
        let sdp = format!("Contact: <sip:{phone}@{to}>\n{}", manner.allow);
        let new = !text(message, HeaderId::To).contains(";tag=");
        match method {
            Method::Ack => {}
            Method::Invite if new => {
                self.serial += 1;
                let tag = format!("{phone}{}", self.serial);
                let dialog = Dialog {
                    name: phone.into(),
                    address: to.into(),
                    call_id: call_id.clone(),
                    tag,
                    baton: tag_of(&text(message, HeaderId::From)),
                    uri: contact(message),
                    cseq: 100,
                };
                self.dialogs.insert(call_id, dialog.clone());
                let answers = message.has(HeaderId::Authorization);
                match manner.invite {
                    Some(401) if answers => self.reply(message, 200, &dialog.tag, &sdp, &self.sdp(phone)),
                    Some(200) => self.reply(message, 200, &dialog.tag, &sdp, &self.sdp(phone)),
                    Some(code) => self.reply(message, code, &dialog.tag, manner.invite_headers, ""),
                    None => {
                        self.ringing.insert(phone, message.clone());
                        self.reply(message, 180, &dialog.tag, &sdp, "");
                    }
                }
            }
            Method::Invite => match manner.reinvite {
                200 => self.reply(message, 200, "", &sdp, &self.answer_to(phone, message)),
                0 => {
                    self.ringing.insert(phone, message.clone());
                }
                code => self.reply(message, code, "", "", ""),
            },
            Method::Cancel => {
                self.reply(message, 200, "", "", "");
                if !manner.crosses
                    && let Some(invite) = self.ringing.remove(phone)
                {
                    self.reply(&invite, 487, "gone", "", "");
                }
            }
            Method::Refer => match manner.refer {
                Some(407) if message.has(HeaderId::ProxyAuthorization) => {
                    self.reply(message, 202, "", "", "");
                }
                Some(code) => self.reply(message, code, "", manner.refer_headers, ""),
                None => {}
            },
            Method::Notify => match manner.notify {
                Some(401) if message.has(HeaderId::Authorization) => self.reply(message, 200, "", "", ""),
                Some(401) => self.reply(message, 401, "", CHALLENGE, ""),
                Some(code) => self.reply(message, code, "", "", ""),
                None => {}
            },
            Method::Bye => {
                if let Some(code) = manner.bye {
                    self.reply(message, code, "", "", "");
                }
            }
            Method::Subscribe => {
                let granted = format!("Expires: {}\n", text(message, HeaderId::Expires));
                self.reply(message, 200, "", &granted, "");
            }
            _ => self.reply(message, 200, "", "", ""),
        }
    }

    /// A response to a phone.
    pub(super) fn answered(&mut self, name: &str, call_id: &str, message: &Message) {
        let (method, status) = (message.method(), message.status());
        if status == 100 {
            return;
        }
        self.log.push(format!("{name} {} {status}", method.as_str()));
        let answers = (call_id.to_owned(), text(message, HeaderId::CSeq));
        if let Some(at) = self.unanswered.iter().position(|one| *one == answers).filter(|_| status >= 200) {
            self.unanswered.remove(at);
            self.heard.push((name.to_owned(), message.clone()));
        }
        self.responses.push((name.to_owned(), message.clone()));
        if method == Method::Invite
            && (101..200).contains(&status)
            && let Some(dialog) = self.dialogs.get_mut(call_id)
        {
            dialog.baton = tag_of(&text(message, HeaderId::To));
        }
        if method == Method::Invite && (200..300).contains(&status) {
            if let Some(dialog) = self.dialogs.get_mut(call_id) {
                dialog.baton = tag_of(&text(message, HeaderId::To));
                dialog.uri = contact(message);
            }
            let cseq = message.cseq().expect("CSeq").number;
            let ack = self.text_of(call_id, "ACK", cseq, "", "");
            if self.acknowledging {
                self.receive(call_id, &ack);
            }
        }
    }

    /// A caller acknowledges, at last, the answer to its call.
    pub(in super::super) fn acknowledges(&mut self, name: &str) {
        self.acknowledging = true;
        let call_id = self.dialog(name).call_id;
        let ack = self.text_of(&call_id, "ACK", 1, "", "");
        self.receive(&call_id, &ack);
        self.run();
    }

    /// The INVITE that called a phone has reached others as well, further on: one of them answers under this tag.
    pub(in super::super) fn forks(&mut self, phone: &'static str, tag: &str, status: u16) {
        let new = |m: &&Message| m.to().expect("To").tag().is_none();
        let invite = self.sent(phone, Method::Invite).into_iter().rfind(new).expect("an INVITE").clone();
        let address = self.dialogs.get(&text(&invite, HeaderId::CallId)).expect("a dialog").address.clone();
        let headers = format!("Contact: <sip:{tag}@{address}>\n{}", self.manners[phone].allow);
        let body = if status == 200 { self.sdp(phone) } else { String::new() };
        self.reply(&invite, status, tag, &headers, &body);
        self.run();
    }

    /// A phone that rings picks up.
    pub(in super::super) fn picks_up(&mut self, phone: &'static str) {
        let invite = self.ringing.remove(phone).expect("it rings");
        let dialog = self.dialogs.get(&text(&invite, HeaderId::CallId)).expect("a dialog").clone();
        let headers = format!("Contact: <sip:{phone}@{}>\n{}", dialog.address, self.manners[phone].allow);
        let body = self.answer_to(phone, &invite);
        self.reply(&invite, 200, &dialog.tag, &headers, &body);
        self.run();
    }

    /// A phone that rings sends early media, and wants to know that this was heard (RFC 3262).
    pub(in super::super) fn plays(&mut self, phone: &'static str) {
        let invite = self.ringing.get(phone).expect("it rings").clone();
        let dialog = self.dialogs.get(&text(&invite, HeaderId::CallId)).expect("a dialog").clone();
        let headers = format!("Contact: <sip:{phone}@{}>\nRequire: 100rel\nRSeq: 7\n", dialog.address);
        self.reply(&invite, 183, &dialog.tag, &headers, &self.sdp(phone));
        self.run();
    }

    /// A phone answers, at last, the latest request of a method that it has got.
    pub(in super::super) fn answers(&mut self, name: &str, method: Method, status: u16) {
        self.answers_with(name, method, status, "");
    }

    /// The same with header fields.
    pub(in super::super) fn answers_with(&mut self, name: &str, method: Method, status: u16, headers: &str) {
        let request = self.sent(name, method).last().copied().expect("a request").clone();
        self.reply(&request, status, "", headers, "");
        self.run();
    }

    /// A phone that rings refuses.
    pub(in super::super) fn refuses(&mut self, phone: &'static str, code: u16) {
        let invite = self.ringing.remove(phone).expect("it rings");
        self.reply(&invite, code, "refused", "", "");
        self.run();
    }

    /// What a phone answers to an offer: who is put on hold does not send (RFC 3264 §6.1).
    fn answer_to(&self, phone: &str, offer: &Message) -> String {
        let offered = |direction: &str| {
            let line = format!("a={direction}");
            String::from_utf8_lossy(offer.body()).lines().any(|l| l.trim_end() == line)
        };
        let direction = match () {
            () if offered("sendonly") => "a=recvonly\n",
            () if offered("recvonly") => "a=sendonly\n",
            () if offered("inactive") => "a=inactive\n",
            () => "",
        };
        self.sdp(phone) + direction
    }

    pub(in super::super) fn sdp(&self, phone: &str) -> String {
        let Manner { codecs, port, .. } = self.manners[phone];
        let ip = PHONES.iter().find(|(name, _)| *name == phone).expect("a phone").1;
        let serial = self.serial;
        format!(
            "v=0\no={phone} 1 {serial} IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\nm=audio {port} RTP/AVP {codecs}\n"
        )
    }

    pub(super) fn reply(&mut self, request: &Message, status: u16, tag: &str, headers: &str, body: &str) {
        let get = |id| text(request, id);
        let to = get(HeaderId::To);
        let to = if to.contains(";tag=") || tag.is_empty() { to } else { format!("{to};tag={tag}") };
        let text = format!(
            "SIP/2.0 {status} Whatever\nVia: {}\nFrom: {}\nTo: {to}\nCall-ID: {}\nCSeq: {}\n{headers}{}",
            get(HeaderId::Via),
            get(HeaderId::From),
            get(HeaderId::CallId),
            get(HeaderId::CSeq),
            ending(body)
        );
        let message = parsed(&text);
        let ready = message.ready().expect("a sound message");
        let found = self.transactions.receive_response(self.now, &message, &ready, &mut self.fx);
        match found {
            Some((client, owner)) => {
                self.quietly(|calls, cx| calls.response_in(cx, client, owner, &message, &ready));
            }
            None => self.effects(),
        }
    }
}
