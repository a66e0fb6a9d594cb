//! The phone's client half: calls it places, requests it sends, the ACK and the CANCEL.

use super::{Act, Call, Client, GIVE_UP, PATIENCE, Phase, Phone, Repeat, Stage, T1, T2, T4};
use crate::text::Text;
use baton::sip::time::Time;

impl Phone {
    pub(super) fn dial(&mut self, now: Time, whom: &str) {
        let id = self.fresh("call");
        let call = Call {
            id: format!("{id}@{}", self.addr.ip()),
            near: format!("<sip:{}@{}>", self.user, self.addr.ip()),
            far: format!("<sip:{whom}@10.9.9.9>"),
            near_tag: self.fresh("tag"),
            far_tag: None,
            target: format!("sip:{whom}@10.9.9.9"),
            routes: Vec::new(),
            number: 0,
            phase: Phase::Early,
            ack: None,
            ok: None,
            ok_end: Time::ZERO,
        };
        self.calls.push(call);
        let n = self.calls.len() - 1;
        self.request(now, n, "INVITE", "", "");
        if let Some(after) = self.script.cancel_after {
            self.agenda.push((now + after, Act::Cancel(n)));
        }
    }

    /// Sends a request in a call and waits for its answer.
    pub(super) fn request(&mut self, now: Time, call: usize, method: &'static str, extra: &str, body: &str) {
        self.calls[call].number += 1;
        let branch = self.fresh("z9hG4bK");
        let request = self.write(call, method, self.calls[call].number, &branch, extra, body);
        self.start(now, call, method, branch, request);
    }

    pub(super) fn start(
        &mut self,
        now: Time,
        call: usize,
        method: &'static str,
        branch: String,
        request: String,
    ) {
        self.out.push(request.clone());
        let repeat = Repeat { text: request.clone(), at: now + T1, interval: T1 };
        self.clients.push(Client {
            branch,
            method,
            call,
            request,
            repeat: (!self.transport.is_reliable()).then_some(repeat),
            stage: Stage::Waiting,
            end: now + GIVE_UP,
            ack: None,
            cancel: false,
            cancelled: false,
        });
    }

    pub(super) fn write(
        &self,
        call: usize,
        method: &str,
        number: u32,
        branch: &str,
        extra: &str,
        body: &str,
    ) -> String {
        let Call { id, near, far, near_tag, far_tag, target, routes, .. } = &self.calls[call];
        let to_tag = far_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch};rport\r\n{routes}Max-Forwards: 70\r\n\
             From: {near};tag={near_tag}\r\nTo: {far}{to_tag}\r\nCall-ID: {id}\r\nCSeq: {number} {method}\r\n\
             Contact: {}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            self.transport.via_token(),
            self.addr,
            self.contact(),
            body.len(),
        )
    }

    pub(super) fn contact(&self) -> String {
        format!("<sip:{}@{};transport={}>", self.user, self.addr, self.transport.param())
    }

    pub(super) fn cancel(&mut self, now: Time, call: usize) {
        let invite = |c: &&mut Client| c.call == call && c.method == "INVITE" && c.stage != Stage::Done;
        let Some(client) = self.clients.iter_mut().find(invite) else { return };
        client.cancel = true;
        if client.stage == Stage::Waiting || client.cancelled {
            return;
        }
        client.cancelled = true;
        client.end = now + GIVE_UP;
        let (branch, cancel) = (client.branch.clone(), in_transaction(&client.request, "CANCEL", None));
        self.start(now, call, "CANCEL", branch, cancel);
    }

    pub(super) fn hang_up(&mut self, now: Time, call: usize) {
        if self.calls[call].phase == Phase::Up {
            self.calls[call].phase = Phase::Over;
            self.calls[call].ok = None;
            self.log.hung_up += 1;
            self.request(now, call, "BYE", "", "");
        }
    }

    pub(super) fn answered(&mut self, now: Time, text: &Text) {
        let (status, branch, method) = (text.status(), text.branch(), text.method());
        let same = |c: &Client| c.branch == branch && c.method == method;
        let Some(n) = self.clients.iter().position(same) else { return };
        let client = &mut self.clients[n];
        let (call, stage) = (client.call, client.stage);
        match (method, status) {
            ("INVITE", ..200) => {
                if stage == Stage::Waiting {
                    client.stage = Stage::Proceeding;
                    client.repeat = None;
                    client.end = now + PATIENCE;
                }
                if client.cancel && stage != Stage::Done {
                    self.cancel(now, call);
                }
            }
            ("INVITE", 200..300) => {
                if client.ack.is_some() {
                    return self.faults.push(format!("{status} to INVITE after another final"));
                }
                client.repeat = None;
                if stage != Stage::Done {
                    client.stage = Stage::Done;
                    client.end = now + GIVE_UP;
                }
                self.accepted(now, call, text);
            }
            ("INVITE", _) => {
                if stage != Stage::Done {
                    client.stage = Stage::Done;
                    client.repeat = None;
                    client.end = now + GIVE_UP;
                    client.ack = Some(in_transaction(&client.request, "ACK", Some(text.get("To"))));
                    self.calls[call].phase = Phase::Over;
                    self.log.refused.push(status);
                }
                self.out.extend(self.clients[n].ack.clone());
            }
            (_, ..200) => {
                client.stage = Stage::Proceeding;
                if let Some(repeat) = &mut client.repeat {
                    repeat.interval = T2;
                }
            }
            (_, _) if stage != Stage::Done => {
                client.stage = Stage::Done;
                client.repeat = None;
                client.end = now + T4;
                self.finished(call, text);
            }
            (_, _) => {}
        }
    }

    /// A 2xx to an INVITE: of the call, again, or of another phone that was called too.
    pub(super) fn accepted(&mut self, now: Time, call: usize, text: &Text) {
        let tag = text.tag("To").map(str::to_owned);
        let id = self.calls[call].id.clone();
        if let Some(known) = self.calls.iter().find(|c| c.id == id && c.far_tag == tag) {
            self.out.extend(known.ack.clone());
            return;
        }
        let mut n = call;
        if self.calls[call].far_tag.is_some() {
            // §13.2.2.4: surplus ones are acknowledged and ended.
            let Call { near, far, near_tag, .. } = &self.calls[call];
            let (near, far, near_tag) = (near.clone(), far.clone(), near_tag.clone());
            let (number, phase) = (self.calls[call].number, Phase::Early);
            let (target, routes) = (String::new(), Vec::new());
            self.calls.push(Call {
                id,
                near,
                far,
                near_tag,
                far_tag: None,
                target,
                routes,
                number,
                phase,
                ack: None,
                ok: None,
                ok_end: Time::ZERO,
            });
            n = self.calls.len() - 1;
        }
        let surplus = n != call;
        let branch = self.fresh("z9hG4bK");
        let this = &mut self.calls[n];
        this.far_tag = tag;
        this.target = text.contact().to_owned();
        this.routes = text.all("Record-Route").into_iter().rev().map(str::to_owned).collect();
        this.phase = Phase::Up;
        let number = text.cseq();
        let ack = self.write(n, "ACK", number, &branch, "", "");
        self.out.push(ack.clone());
        self.calls[n].ack = Some(ack);
        let given_up = self.clients.iter().any(|c| c.call == call && c.method == "INVITE" && c.cancel);
        if surplus || given_up {
            return self.hang_up(now, n);
        }
        self.log.answered += 1;
        self.is_up(now, n);
    }

    pub(super) fn is_up(&mut self, now: Time, call: usize) {
        if let Some(after) = self.script.hang_up_after {
            self.agenda.push((now + after, Act::HangUp(call)));
        }
        if let Some(after) = self.script.refer_after {
            self.agenda.push((now + after, Act::Refer(call)));
        }
    }

    /// A final to anything but INVITE.
    pub(super) fn finished(&mut self, call: usize, text: &Text) {
        match text.method() {
            "REFER" => self.log.refers.push(text.status()),
            "BYE" | "CANCEL" | "NOTIFY" => self.log.lost += usize::from(text.status() == 481),
            other => self.faults.push(format!("{} to {other}, call {call}", text.status())),
        }
    }

    pub(super) fn client_ended(&mut self, now: Time, n: usize) {
        let client = &mut self.clients[n];
        let call = client.call;
        if client.stage == Stage::Proceeding && client.method == "INVITE" && !client.cancelled {
            // It has rung for long enough.
            return self.cancel(now, call);
        }
        let client = self.clients.remove(n);
        if client.stage == Stage::Done {
            return;
        }
        self.log.lost += 1;
        match client.method {
            "INVITE" => {
                self.calls[call].phase = Phase::Over;
                self.log.refused.push(0);
            }
            "REFER" => {
                self.log.refers.push(0);
                self.hang_up(now, call);
            }
            _ => {}
        }
    }
}

/// The ACK to a non-2xx, or the CANCEL, of an INVITE (RFC 3261 §9.1, §17.1.1.3).
fn in_transaction(invite: &str, method: &str, to: Option<&str>) -> String {
    let invite = Text::parse(invite.as_bytes());
    let mut text = format!("{method} {} SIP/2.0\r\n", invite.uri());
    for (name, value) in &invite.headers {
        match name.as_str() {
            "CSeq" => text += &format!("CSeq: {} {method}\r\n", invite.cseq()),
            "To" => text += &format!("To: {}\r\n", to.unwrap_or(value)),
            "Contact" => {}
            _ => text += &format!("{name}: {value}\r\n"),
        }
    }
    text + "\r\n"
}
