//! What others begin with a phone, and how it answers.

use super::{Act, Agent, Early, GIVE_UP, T1, T2};
use crate::net::Dice;
use crate::owned::dialog::{Dialog, Phase};
use crate::text::Text;
use baton::sip::time::Time;
use std::time::Duration;

/// A request that came.
#[derive(Debug)]
pub(super) struct Server {
    branch: String,
    method: String,
    last: String,
    end: Time,
    /// A non-2xx to an INVITE is sent again until its ACK.
    repeat: Option<(Time, Duration)>,
}

impl Server {
    pub(super) fn next(&self) -> Time {
        self.repeat.map_or(self.end, |(at, _)| at.min(self.end))
    }
}

impl Agent {
    pub(super) fn repeat_refusals(&mut self, now: Time) {
        for server in &mut self.servers {
            if let Some((at, interval)) = server.repeat.as_mut().filter(|(at, _)| *at <= now) {
                self.out.push(server.last.clone());
                *interval = (*interval * 2).min(T2);
                *at = now + *interval;
            }
        }
        self.servers.retain(|server| server.end > now);
    }

    pub(super) fn requested(&mut self, now: Time, text: &Text, dice: &mut Dice) {
        let method = text.method().to_owned();
        if method == "ACK" {
            return self.acknowledged(text);
        }
        if let Some(server) = self.servers.iter().find(|s| s.branch == text.branch() && s.method == method) {
            if !server.last.is_empty() {
                self.out.push(server.last.clone());
            }
            return;
        }
        self.servers.push(Server {
            branch: text.branch().to_owned(),
            method: method.clone(),
            last: String::new(),
            end: now + GIVE_UP * 7,
            repeat: None,
        });
        match self.find(text) {
            _ if method == "CANCEL" => self.cancelled(now, text),
            Some(n) if self.dialogs[n].phase != Phase::Over => self.inside(now, n, &method, text, dice),
            _ if method == "INVITE" && text.tag("To").is_none() => self.called(now, text, dice),
            _ if method == "OPTIONS" && text.tag("To").is_none() => self.respond(now, text, 200, "", "", ""),
            // A BYE that crossed ours, a NOTIFY for a call that is over.
            Some(n) if method == "NOTIFY" => {
                self.respond(now, text, 200, "", "", "");
                self.notified(now, n, text, dice);
            }
            Some(_) if method == "BYE" => self.respond(now, text, 200, "", "", ""),
            _ => self.respond(now, text, 481, "", "", ""),
        }
    }

    fn acknowledged(&mut self, text: &Text) {
        let refused = |s: &&mut Server| s.branch == text.branch() && s.method == "INVITE";
        if let Some(server) = self.servers.iter_mut().find(refused) {
            server.repeat = None;
        }
        let Some(n) = self.find(text) else { return };
        let dialog = &mut self.dialogs[n];
        // Only the ACK of the 2xx that waits for it.
        if let Some(ok) = &dialog.ok
            && Text::parse(ok.text.as_bytes()).cseq() == text.cseq()
        {
            dialog.ok = None;
            dialog.heard(&text.body);
        }
    }

    /// The dialog of a request: by Call-ID and our tag.
    fn find(&self, text: &Text) -> Option<usize> {
        let tag = text.tag("To")?;
        self.dialogs.iter().position(|d| d.call_id == text.get("Call-ID") && d.near_tag == tag)
    }

    fn called(&mut self, now: Time, text: &Text, dice: &mut Dice) {
        let tag = self.fresh("tag");
        let mut dialog = Dialog::new(
            text.get("Call-ID").to_owned(),
            tag,
            text.get("To").to_owned(),
            text.get("From").split(";tag=").next().unwrap_or("").to_owned(),
            text.contact().to_owned(),
        );
        dialog.far_tag = text.tag("From").unwrap_or("").to_owned();
        dialog.far_cseq = text.cseq();
        dialog.routes = text.all("Record-Route").into_iter().map(str::to_owned).collect();
        dialog.heard(&text.body);
        dialog.invite = Some(text.clone());
        let replaces = text.get("Replaces").to_owned();
        self.dialogs.push(dialog);
        let n = self.dialogs.len() - 1;
        if !replaces.is_empty() {
            return self.replaced(now, n, &replaces);
        }
        let busy = self.calm && dice.chance(500);
        let status = if busy { 486 } else { self.manners.answer };
        if status == 0 {
            return;
        }
        self.ring(now, n);
        self.agenda.push((now + self.manners.ring, Act::Answer(n, status)));
    }

    /// A new call in place of one that is there (RFC 3891).
    fn replaced(&mut self, now: Time, n: usize, replaces: &str) {
        let id = replaces.split(';').next().unwrap_or("");
        let named = |d: &Dialog| {
            d.call_id == id && d.phase == Phase::Up && replaces.contains(&format!("to-tag={}", d.near_tag))
        };
        match self.dialogs.iter().position(named) {
            Some(old) => {
                self.answer(now, n, 200);
                self.hang_up(now, old);
            }
            None => self.answer(now, n, 481),
        }
    }

    fn ring(&mut self, now: Time, n: usize) {
        let Some(invite) = self.dialogs[n].invite.clone() else { return };
        let tag = self.dialogs[n].near_tag.clone();
        match self.manners.early {
            Early::Nothing => {}
            Early::Ringing => self.respond(now, &invite, 180, &tag, "", ""),
            Early::Media => {
                let body = self.sdp(n, true);
                self.dialogs[n].answered_early = true;
                if !self.manners.reliable || !invite.get("Supported").contains("100rel") {
                    return self.respond(now, &invite, 183, &tag, "", &body);
                }
                let extra = "Require: 100rel\r\nRSeq: 17\r\n";
                let text = self.response_text(&invite, 183, &tag, extra, &body);
                self.keep(&invite, &text);
                self.dialogs[n].reliable = Some((17, self.repeated(now, &text)));
                self.out.push(text);
            }
        }
    }

    /// RFC 3262 §3: no 2xx as long as a description waits for its PRACK.
    pub(super) fn answer_or_wait(&mut self, now: Time, n: usize, status: u16) {
        if self.dialogs[n].reliable.is_some() && status < 300 {
            self.agenda.push((now + T1, Act::Answer(n, status)));
        } else {
            self.answer(now, n, status);
        }
    }

    pub(super) fn answer(&mut self, now: Time, n: usize, status: u16) {
        let Some(invite) = self.dialogs[n].invite.take() else { return };
        let tag = self.dialogs[n].near_tag.clone();
        if status >= 300 {
            self.respond(now, &invite, status, &tag, "", "");
            return self.dialogs[n].over();
        }
        // What an earlier response has said, this one repeats.
        let anew = !self.dialogs[n].answered_early;
        let body = self.sdp(n, anew);
        let text = self.response_text(&invite, 200, &tag, "", &body);
        self.keep(&invite, &text);
        self.dialogs[n].ok = Some(self.repeated(now, &text));
        self.dialogs[n].phase = Phase::Up;
        self.out.push(text);
    }

    fn cancelled(&mut self, now: Time, text: &Text) {
        let named = |d: &Dialog| d.invite.as_ref().is_some_and(|invite| invite.branch() == text.branch());
        let found = self.dialogs.iter().position(named);
        self.respond(now, text, if found.is_some() { 200 } else { 481 }, "", "", "");
        if let Some(n) = found {
            self.answer(now, n, 487);
        }
    }

    fn inside(&mut self, now: Time, n: usize, method: &str, text: &Text, dice: &mut Dice) {
        // RFC 3261 §12.2.2
        if text.cseq() <= self.dialogs[n].far_cseq {
            return self.respond(now, text, 500, "", "", "");
        }
        self.dialogs[n].far_cseq = text.cseq();
        match method {
            "BYE" => {
                self.respond(now, text, 200, "", "", "");
                if let Some(invite) = self.dialogs[n].invite.take() {
                    self.respond(now, &invite, 487, "", "", "");
                }
                self.dialogs[n].over();
            }
            "PRACK" => {
                let number = text.get("RAck").split(' ').next().and_then(|n| n.parse::<u32>().ok());
                let waits = self.dialogs[n].reliable.take_if(|(rseq, _)| Some(*rseq) == number);
                self.dialogs[n].heard(&text.body);
                self.respond(now, text, if waits.is_some() { 200 } else { 481 }, "", "", "");
            }
            "INVITE" | "UPDATE" => self.reoffered(now, n, method, text, dice),
            "REFER" => self.referred(now, n, text, dice),
            "NOTIFY" => {
                self.respond(now, text, 200, "", "", "");
                self.notified(now, n, text, dice);
            }
            _ => self.respond(now, text, 200, "", "", ""),
        }
    }

    fn reoffered(&mut self, now: Time, n: usize, method: &str, text: &Text, dice: &mut Dice) {
        if method == "UPDATE" && text.body.is_empty() {
            return self.respond(now, text, 200, "", "", "");
        }
        if self.dialogs[n].own_offer || self.dialogs[n].ok.is_some() || self.dialogs[n].phase == Phase::Early
        {
            return self.respond(now, text, 491, "", "", "");
        }
        if dice.chance(self.manners.stubborn) {
            return self.respond(now, text, 488, "", "", "");
        }
        let dialog = &mut self.dialogs[n];
        dialog.target = text.contact().to_owned();
        dialog.heard(&text.body);
        dialog.direction = if text.body.is_empty() { "sendrecv" } else { dialog.mirrored() };
        let body = self.sdp(n, true);
        let ok = self.response_text(text, 200, "", "", &body);
        self.keep(text, &ok);
        if method == "INVITE" {
            self.dialogs[n].ok = Some(self.repeated(now, &ok));
        }
        self.out.push(ok);
    }

    pub(super) fn respond(
        &mut self,
        now: Time,
        request: &Text,
        status: u16,
        tag: &str,
        extra: &str,
        body: &str,
    ) {
        let text = self.response_text(request, status, tag, extra, body);
        self.keep(request, &text);
        if status >= 300 && request.method() == "INVITE" {
            let branch = request.branch();
            let this = |s: &&mut Server| s.branch == branch && s.method == "INVITE";
            if let Some(server) = self.servers.iter_mut().find(this) {
                server.repeat = Some((now + T1, T1));
                server.end = now + GIVE_UP;
            }
        }
        self.out.push(text);
    }

    fn keep(&mut self, request: &Text, text: &str) {
        let branch = request.branch();
        let this = |s: &&mut Server| s.branch == branch && s.method == request.method();
        if let Some(server) = self.servers.iter_mut().find(this) {
            server.last = text.to_owned();
        }
    }
}
