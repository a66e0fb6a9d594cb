//! What a phone begins: its requests, and what comes of them.

use super::message::{ack_of, cancel_of};
use super::{Act, Agent, GIVE_UP, How, T1, T2};
use crate::net::Dice;
use crate::owned::dialog::{Dialog, Phase, Report};
use crate::text::Text;
use baton::sip::time::Time;
use std::time::Duration;

/// A request of its own.
#[derive(Debug)]
pub(super) struct Client {
    branch: String,
    method: String,
    dialog: usize,
    text: String,
    offerless: bool,
    at: Time,
    interval: Duration,
    end: Time,
    proceeding: bool,
    /// A final came: an INVITE's ACK is repeated with its response.
    done: Option<String>,
    cancelled: bool,
}

impl Client {
    pub(super) fn next(&self) -> Time {
        if self.done.is_some() { self.end } else { self.at.min(self.end) }
    }
}

impl Agent {
    pub(super) fn dial(
        &mut self,
        now: Time,
        whom: &str,
        replaces: Option<String>,
        reports: Option<Report>,
        dice: &mut Dice,
    ) {
        let (call_id, tag) = (self.fresh("call"), self.fresh("tag"));
        let target =
            if whom.starts_with("sip:") { whom.to_owned() } else { format!("sip:{whom}@{}", self.baton) };
        let (near, far) = (format!("<sip:{}@{}>", self.user, self.addr), format!("<{target}>"));
        let mut dialog = Dialog::new(call_id, tag, near, far, target);
        dialog.reports = reports;
        dialog.caller = true;
        self.dialogs.push(dialog);
        let n = self.dialogs.len() - 1;
        let extra = replaces.map_or_else(String::new, |value| format!("Replaces: {value}\r\n"));
        let body = if dice.chance(self.manners.offerless) { String::new() } else { self.sdp(n, true) };
        self.request(now, n, "INVITE", &extra, &body);
    }

    /// Changes the session to what the dialog says of it.
    pub(super) fn reoffer(&mut self, now: Time, n: usize, how: How) {
        match how {
            How::Offerless => self.request(now, n, "INVITE", "", ""),
            How::Update if self.manners.updates => {
                let body = self.sdp(n, true);
                self.request(now, n, "UPDATE", "", &body);
            }
            How::Invite | How::Update => {
                let body = self.sdp(n, true);
                self.request(now, n, "INVITE", "", &body);
            }
        }
        self.dialogs[n].own_offer = true;
    }

    pub(super) fn hang_up(&mut self, now: Time, n: usize) {
        self.request(now, n, "BYE", "", "");
        self.dialogs[n].over();
    }

    pub(super) fn cancel(&mut self, n: usize) {
        let waits = |c: &&mut Client| c.dialog == n && c.method == "INVITE" && c.done.is_none();
        let Some(client) = self.clients.iter_mut().find(waits) else { return };
        client.cancelled = true;
        if client.proceeding {
            self.out.push(cancel_of(&client.text));
        }
    }

    pub(super) fn request(&mut self, now: Time, n: usize, method: &str, extra: &str, body: &str) {
        let branch = self.fresh("z9hG4bK");
        self.dialogs[n].cseq += 1;
        let text = self.request_text(n, &branch, self.dialogs[n].cseq, method, extra, body);
        self.out.push(text.clone());
        self.clients.push(Client {
            branch,
            method: method.to_owned(),
            dialog: n,
            text,
            offerless: body.is_empty(),
            at: now + T1,
            interval: T1,
            end: now + if method == "INVITE" { GIVE_UP * 6 } else { GIVE_UP },
            proceeding: false,
            done: None,
            cancelled: false,
        });
    }

    pub(super) fn repeat_requests(&mut self, now: Time) {
        for client in self.clients.iter_mut().filter(|c| c.done.is_none() && c.at <= now && c.end > now) {
            let invite = client.method == "INVITE";
            if !(self.stream || invite && client.proceeding) {
                self.out.push(client.text.clone());
            }
            client.interval = if invite { client.interval * 2 } else { (client.interval * 2).min(T2) };
            client.at = now + client.interval;
        }
    }

    pub(super) fn give_up_requests(&mut self, now: Time, dice: &mut Dice) {
        while let Some(n) = self.clients.iter().position(|c| c.end <= now) {
            let client = self.clients.remove(n);
            if client.done.is_none() {
                self.finished(now, &client, 408, None, dice);
            }
        }
    }

    pub(super) fn responded(&mut self, now: Time, text: &Text, dice: &mut Dice) {
        let known = |c: &Client| c.branch == text.branch() && c.method == text.method();
        let Some(at) = self.clients.iter().position(known) else { return };
        let status = text.status();
        let client = &mut self.clients[at];
        if let Some(ack) = &client.done {
            if client.method == "INVITE" {
                self.out.push(ack.clone());
            }
            return;
        }
        if status < 200 {
            if !client.proceeding && client.cancelled {
                self.out.push(cancel_of(&client.text));
            }
            client.proceeding = true;
            let n = client.dialog;
            if status > 100 && client.method == "INVITE" {
                self.rings(now, n, text);
            }
            return;
        }
        let mut client = self.clients.remove(at);
        if client.method == "INVITE" {
            let ack = if status < 300 {
                self.take_answer(client.dialog, text);
                self.ack(&client)
            } else {
                ack_of(&client.text, text.get("To"))
            };
            self.out.push(ack.clone());
            client.done = Some(ack);
            client.end = now + GIVE_UP;
            self.finished(now, &client, status, Some(text), dice);
            self.clients.push(client);
        } else {
            self.finished(now, &client, status, Some(text), dice);
        }
    }

    /// A provisional response above 100; a reliable one is acknowledged (RFC 3262 §4).
    fn rings(&mut self, now: Time, n: usize, text: &Text) {
        if self.dialogs[n].phase != Phase::Early {
            return;
        }
        let number: u32 = text.get("RSeq").parse().unwrap_or(0);
        if number == 0 || !text.get("Require").contains("100rel") {
            return;
        }
        let key = format!("{number} {}", text.get("To"));
        if self.dialogs[n].acknowledged.contains(&key) {
            return;
        }
        self.dialogs[n].acknowledged.push(key);
        self.take_answer(n, text);
        // An offer that came in a response is answered in the PRACK.
        let ours = self.dialogs[n].version > 0;
        let body = if text.body.is_empty() || ours { String::new() } else { self.sdp(n, true) };
        let extra = format!("RAck: {number} {} INVITE\r\n", text.cseq());
        self.request(now, n, "PRACK", &extra, &body);
    }

    /// A request of its own is answered for good.
    fn finished(&mut self, now: Time, client: &Client, status: u16, text: Option<&Text>, dice: &mut Dice) {
        let n = client.dialog;
        let success = (200..300).contains(&status);
        match client.method.as_str() {
            "INVITE" if self.dialogs[n].phase == Phase::Early => {
                if success {
                    self.dialogs[n].phase = Phase::Up;
                    if client.cancelled {
                        self.hang_up(now, n);
                    }
                } else {
                    self.dialogs[n].over();
                }
                if let Some(report) = self.dialogs[n].reports.take() {
                    let code = if success { 200 } else { status };
                    self.agenda.push((now + dice.millis(0, 800), Act::Notify(report, code)));
                }
            }
            "INVITE" | "UPDATE" => {
                let dialog = &mut self.dialogs[n];
                if status == 491 {
                    // RFC 3261 §14.1: who owns the Call-ID waits longer.
                    let wait = if dialog.caller { dice.millis(2_100, 4_000) } else { dice.millis(0, 2_000) };
                    let how = match (client.method.as_str(), client.offerless) {
                        ("UPDATE", _) => How::Update,
                        (_, true) => How::Offerless,
                        (_, false) => How::Invite,
                    };
                    self.agenda.push((now + wait, Act::HoldAgain(n, dialog.direction, how)));
                }
                // Two that wait for each other wait until both give up.
                if text.is_none() && client.proceeding && dialog.phase == Phase::Up {
                    dialog.faults.push("a re-INVITE was never answered".to_owned());
                }
                dialog.own_offer = false;
                if success && client.method == "UPDATE" {
                    dialog.heard(text.map_or("", |text| &text.body));
                } else if !success {
                    dialog.direction = dialog.before;
                }
                if matches!(status, 408 | 481) && self.dialogs[n].phase == Phase::Up {
                    self.hang_up(now, n);
                }
            }
            "REFER" if !success => self.dialogs[n].referring = false,
            _ => {}
        }
    }

    fn take_answer(&mut self, n: usize, text: &Text) {
        let dialog = &mut self.dialogs[n];
        if dialog.phase == Phase::Early {
            dialog.far_tag = text.tag("To").unwrap_or("").to_owned();
            dialog.routes = text.all("Record-Route").into_iter().rev().map(str::to_owned).collect();
        }
        if !text.contact().is_empty() {
            dialog.target = text.contact().to_owned();
        }
        dialog.heard(&text.body);
    }

    /// The ACK to a 2xx; if the INVITE had no offer, the 2xx had, and this has the answer, unless
    /// both were exchanged before.
    fn ack(&mut self, client: &Client) -> String {
        let branch = self.fresh("z9hG4bKa");
        let n = client.dialog;
        let dialog = &mut self.dialogs[n];
        let open = client.offerless && (dialog.phase == Phase::Up || dialog.version == 0);
        let body = if open {
            dialog.direction = dialog.mirrored();
            self.sdp(n, true)
        } else {
            String::new()
        };
        let number = Text::parse(client.text.as_bytes()).cseq();
        self.request_text(n, &branch, number, "ACK", "", &body)
    }
}
