//! The phone's server half: calls it is offered, requests in them, and their answers.

use super::{Act, Answer, Call, GIVE_UP, Phase, Phone, Repeat, Server, T1, T4};
use crate::text::{Text, uri_of};
use baton::sip::time::Time;
use std::time::Duration;

impl Phone {
    pub(super) fn requested(&mut self, now: Time, text: &Text) {
        let (method, branch) = (text.method().to_owned(), text.branch().to_owned());
        if self.script.answer == Answer::Dead {
            return;
        }
        if method == "ACK" {
            return self.acknowledged(now, text);
        }
        let same = |s: &&Server| s.branch == branch && s.method == method;
        if let Some(server) = self.servers.iter().find(same) {
            self.out.extend(server.last.clone());
            return;
        }
        let from = text.tag("From").unwrap_or_default().to_owned();
        if !self.seen.insert((text.get("Call-ID").to_owned(), from, text.cseq(), method.clone()))
            && !self.merged
        {
            self.faults.push(format!("{method} came on a second branch"));
        }
        let call = self.calls.iter().position(|call| call.is_for(text));
        match (method.as_str(), call) {
            ("INVITE", None) => self.called(now, text),
            // §8.2.2.2: the same request on another way.
            ("INVITE", Some(call)) => self.respond_to(now, call, text, 482),
            ("CANCEL", _) => self.give_up(now, text),
            (_, None) => self.respond_to(now, usize::MAX, text, 481),
            (_, Some(call)) => self.in_dialog(now, call, &method, text),
        }
    }

    pub(super) fn in_dialog(&mut self, now: Time, call: usize, method: &str, text: &Text) {
        match method {
            "BYE" => {
                if self.calls[call].phase == Phase::Up {
                    self.log.hung_up_by_peer += 1;
                }
                self.calls[call].phase = Phase::Over;
                self.calls[call].ok = None;
                self.respond_to(now, call, text, 200);
            }
            _ if self.calls[call].phase == Phase::Over => self.respond_to(now, call, text, 481),
            "REFER" => {
                self.respond_to(now, call, text, 202);
                let (status, after) = self.script.transfer;
                self.agenda.push((now, Act::Notify(call, 100)));
                self.agenda.push((now + after, Act::Notify(call, status)));
            }
            "NOTIFY" => {
                self.respond_to(now, call, text, 200);
                let code = text.body.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
                self.log.notified.push(code);
                if code >= 200 {
                    self.agenda.push((now, Act::HangUp(call)));
                }
            }
            _ => self.respond_to(now, call, text, 405),
        }
    }

    pub(super) fn called(&mut self, now: Time, text: &Text) {
        let near_tag = self.fresh("tag");
        self.calls.push(Call {
            id: text.get("Call-ID").to_owned(),
            near: text.get("To").to_owned(),
            far: format!("<{}>", uri_of(text.get("From"))),
            near_tag,
            far_tag: text.tag("From").map(str::to_owned),
            target: text.contact().to_owned(),
            routes: text.all("Record-Route").into_iter().map(str::to_owned).collect(),
            number: 0,
            phase: Phase::Early,
            ack: None,
            ok: None,
            ok_end: Time::ZERO,
        });
        let call = self.calls.len() - 1;
        self.servers.push(Server {
            branch: text.branch().to_owned(),
            method: "INVITE".into(),
            call,
            request: text.clone(),
            last: None,
            repeat: None,
            done: false,
            // Should nobody ever want anything of it again.
            end: now + Duration::from_secs(600),
        });
        self.respond(now, call, 180);
        if self.script.answer != Answer::Ring {
            self.agenda.push((now + self.script.answer_after, Act::Answer(call)));
        }
    }

    pub(super) fn answer(&mut self, now: Time, call: usize) {
        if self.calls[call].phase != Phase::Early {
            return;
        }
        match self.script.answer {
            Answer::Accept => self.respond(now, call, 200),
            Answer::Refuse(status) => self.respond(now, call, status),
            Answer::Ring | Answer::Dead => {}
        }
    }

    pub(super) fn give_up(&mut self, now: Time, cancel: &Text) {
        let same = |s: &Server| s.branch == cancel.branch() && s.method == "INVITE";
        let Some(n) = self.servers.iter().position(same) else {
            return self.respond_to(now, usize::MAX, cancel, 481);
        };
        let (call, done) = (self.servers[n].call, self.servers[n].done);
        self.respond_to(now, call, cancel, 200);
        if !done {
            self.log.cancelled += 1;
            self.respond(now, call, 487);
        }
    }

    /// Answers a call's INVITE.
    pub(super) fn respond(&mut self, now: Time, call: usize, status: u16) {
        let invite = |s: &Server| s.call == call && s.method == "INVITE" && !s.done;
        let Some(n) = self.servers.iter().position(invite) else { return };
        let tag = self.calls[call].near_tag.clone();
        let text = self.response(&self.servers[n].request, status, Some(&tag));
        self.out.push(text.clone());
        let reliable = self.transport.is_reliable();
        let server = &mut self.servers[n];
        let repeat = Repeat { text: text.clone(), at: now + T1, interval: T1 };
        match status {
            ..200 => server.last = Some(text),
            200..300 => {
                // §13.3.1.4: the 2xx is repeated by the dialog, over streams too.
                (server.last, server.done, server.end) = (None, true, now + GIVE_UP);
                self.calls[call].phase = Phase::Up;
                self.calls[call].ok = Some(repeat);
                self.calls[call].ok_end = now + GIVE_UP;
            }
            300.. => {
                (server.last, server.done, server.end) = (Some(text), true, now + GIVE_UP);
                server.repeat = (!reliable).then_some(repeat);
                self.calls[call].phase = Phase::Over;
            }
        }
    }

    /// Answers a request that is no INVITE.
    pub(super) fn respond_to(&mut self, now: Time, call: usize, request: &Text, status: u16) {
        let tag = self.calls.get(call).map(|call| call.near_tag.clone());
        let text = self.response(request, status, tag.as_deref());
        self.out.push(text.clone());
        self.servers.push(Server {
            branch: request.branch().to_owned(),
            method: request.method().to_owned(),
            call,
            request: request.clone(),
            last: Some(text),
            repeat: None,
            done: true,
            end: now + GIVE_UP,
        });
    }

    pub(super) fn response(&self, request: &Text, status: u16, tag: Option<&str>) -> String {
        let mut text = format!("SIP/2.0 {status} Whatever\r\n");
        for (name, value) in &request.headers {
            match name.as_str() {
                "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => {
                    text += &format!("{name}: {value}\r\n")
                }
                "To" => {
                    let tag = tag.filter(|_| request.tag("To").is_none());
                    let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
                    text += &format!("To: {value}{tag}\r\n");
                }
                _ => {}
            }
        }
        text + &format!("Contact: {}\r\nContent-Length: 0\r\n\r\n", self.contact())
    }

    pub(super) fn acknowledged(&mut self, now: Time, ack: &Text) {
        let same =
            |s: &&mut Server| s.branch == ack.branch() && s.method == "INVITE" && s.last.is_some() && s.done;
        if let Some(server) = self.servers.iter_mut().find(same) {
            if server.repeat.take().is_some() || server.end > now + T4 {
                (server.last, server.end) = (None, now + T4);
            }
            return;
        }
        let Some(call) = self.calls.iter().position(|call| call.is_for(ack)) else { return };
        if self.calls[call].ok.take().is_some() {
            self.log.answered += 1;
            self.is_up(now, call);
        }
    }
}

impl Call {
    fn is_for(&self, text: &Text) -> bool {
        self.id == text.get("Call-ID")
            && self.far_tag.as_deref() == text.tag("From")
            && text.tag("To").is_none_or(|tag| tag == self.near_tag)
    }
}
