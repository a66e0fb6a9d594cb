//! A phone that does as chance tells it: it calls, answers, holds, transfers in every role, replaces
//! calls, and hangs up. Transactions and dialogs are its own; nothing here is Baton's.

use crate::net::Dice;
use crate::text::{Text, uri_of};
use baton::sip::time::Time;
use std::net::SocketAddr;
use std::time::Duration;

use super::dialog::{Dialog, Phase, Sdp};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const GIVE_UP: Duration = Duration::from_secs(32);

/// What a phone may do of its own accord, and when.
#[derive(Clone, Debug)]
pub enum Act {
    Dial {
        whom: String,
        replaces: Option<String>,
        reports: Option<usize>,
    },
    Answer(usize, u16),
    HangUp(usize),
    Cancel(usize),
    Hold(usize, bool),
    /// A blind transfer of the dialog's other party.
    Refer(usize, String),
    /// An attended transfer: the other party of the first is to take the second's.
    Attended(usize, usize),
    Notify(usize, u16),
}

/// How it takes part in what others begin.
#[derive(Clone, Debug)]
pub struct Manners {
    pub ring: Duration,
    pub answer: u16,
    pub refer: OnRefer,
    /// It refuses a re-INVITE now and then, in per mille.
    pub stubborn: u64,
}

/// What becomes of a REFER it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefer {
    Perform,
    Refuse(u16),
    /// 202, and not a word more.
    Silent,
    /// 202, then it hangs up.
    HangUp,
    /// The NOTIFY comes before the 202.
    Eager,
}

/// A request of its own that is not answered.
#[derive(Debug)]
struct Client {
    branch: String,
    method: String,
    dialog: usize,
    text: String,
    at: Time,
    interval: Duration,
    end: Time,
    proceeding: bool,
    /// A final came: an INVITE's ACK is repeated with its response.
    done: Option<String>,
    cancelled: bool,
}

#[derive(Debug)]
struct Server {
    branch: String,
    method: String,
    last: String,
    end: Time,
    /// A non-2xx to an INVITE is sent again until its ACK.
    repeat: Option<(Time, Duration)>,
}

#[derive(Debug)]
pub struct Agent {
    pub user: String,
    pub addr: SocketAddr,
    pub baton: SocketAddr,
    pub manners: Manners,
    pub out: Vec<String>,
    pub dialogs: Vec<Dialog>,
    pub agenda: Vec<(Time, Act)>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    made: u64,
    /// Calls are no longer begun, held or transferred.
    pub calm: bool,
}

impl Agent {
    pub fn new(user: &str, addr: SocketAddr, baton: SocketAddr, manners: Manners) -> Agent {
        Agent {
            user: user.to_owned(),
            addr,
            baton,
            manners,
            out: Vec::new(),
            dialogs: Vec::new(),
            agenda: Vec::new(),
            clients: Vec::new(),
            servers: Vec::new(),
            made: 0,
            calm: false,
        }
    }

    pub fn next(&self) -> Option<Time> {
        let clients = self.clients.iter().map(|c| if c.done.is_some() { c.end } else { c.at.min(c.end) });
        let servers = self.servers.iter().map(|s| s.repeat.map_or(s.end, |(at, _)| at.min(s.end)));
        let oks = self.dialogs.iter().filter_map(|d| d.ok.as_ref().map(|(_, at, _, end)| (*at).min(*end)));
        let agenda = self.agenda.iter().map(|(at, _)| *at);
        clients.chain(servers).chain(oks).chain(agenda).min()
    }

    /// Calls that are up, by their place.
    pub fn up(&self) -> Vec<usize> {
        (0..self.dialogs.len()).filter(|&n| self.dialogs[n].phase == Phase::Up).collect()
    }

    pub fn tick(&mut self, now: Time, dice: &mut Dice) {
        while let Some(at) = self.agenda.iter().position(|(at, _)| *at <= now) {
            let (_, act) = self.agenda.remove(at);
            self.act(now, act, dice);
        }
        for client in self.clients.iter_mut().filter(|c| c.done.is_none() && c.at <= now && c.end > now) {
            if !(client.method == "INVITE" && client.proceeding) {
                self.out.push(client.text.clone());
            }
            client.interval = match client.method.as_str() {
                "INVITE" => client.interval * 2,
                _ => (client.interval * 2).min(T2),
            };
            client.at = now + client.interval;
        }
        for server in self.servers.iter_mut() {
            if let Some((at, interval)) = server.repeat.as_mut().filter(|(at, _)| *at <= now) {
                self.out.push(server.last.clone());
                *interval = (*interval * 2).min(T2);
                *at = now + *interval;
            }
        }
        self.servers.retain(|s| s.end > now);
        for n in 0..self.dialogs.len() {
            let Some((text, at, interval, end)) = self.dialogs[n].ok.as_mut() else { continue };
            if *end <= now {
                self.dialogs[n].ok = None;
                self.hang_up(now, n);
            } else if *at <= now {
                *interval = (*interval * 2).min(T2);
                *at = now + *interval;
                let text = text.clone();
                self.out.push(text);
            }
        }
        while let Some(n) = self.clients.iter().position(|c| c.end <= now) {
            let client = self.clients.remove(n);
            if client.done.is_none() {
                self.finished(now, &client, 408, None, dice);
            }
        }
    }

    fn act(&mut self, now: Time, act: Act, dice: &mut Dice) {
        let up = |agent: &Agent, n: usize| agent.dialogs.get(n).is_some_and(|d| d.phase == Phase::Up);
        match act {
            Act::Dial { whom, replaces, reports } => self.dial(now, &whom, replaces, reports),
            Act::Answer(n, status) => self.answer(now, n, status),
            Act::HangUp(n) if up(self, n) => self.hang_up(now, n),
            Act::Cancel(n) => self.cancel(n),
            Act::Hold(n, hold) if up(self, n) && !self.calm && !self.dialogs[n].open() => {
                self.dialogs[n].direction = if hold { "sendonly" } else { "sendrecv" };
                self.reinvite(now, n);
            }
            Act::Refer(n, whom) if up(self, n) && !self.calm && !self.dialogs[n].open() => {
                let extra = format!("Refer-To: <sip:{whom}@{}>\r\n", self.baton);
                self.refer(now, n, &extra);
            }
            Act::Attended(n, other) if up(self, n) && up(self, other) && !self.calm && n != other => {
                let consulted = &self.dialogs[other];
                let escape = |text: &str| text.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
                let replaces = format!(
                    "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
                    escape(&consulted.call_id),
                    consulted.far_tag,
                    consulted.near_tag
                );
                let extra = format!("Refer-To: <{}?Replaces={replaces}>\r\n", consulted.target);
                self.refer(now, n, &extra);
            }
            Act::Notify(n, status) if self.dialogs[n].phase != Phase::Over => self.notify(now, n, status),
            Act::HangUp(_) | Act::Hold(..) | Act::Refer(..) | Act::Attended(..) | Act::Notify(..) => {
                let _ = dice;
            }
        }
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}{}", self.user, self.made)
    }

    fn dial(&mut self, now: Time, whom: &str, replaces: Option<String>, reports: Option<usize>) {
        let (call_id, tag) = (self.fresh("call"), self.fresh("tag"));
        let target =
            if whom.starts_with("sip:") { whom.to_owned() } else { format!("sip:{whom}@{}", self.baton) };
        let mut dialog = Dialog::new(
            call_id,
            tag,
            format!("<sip:{}@{}>", self.user, self.addr),
            format!("<{target}>"),
            target,
        );
        dialog.reports = reports;
        dialog.caller = true;
        self.dialogs.push(dialog);
        let n = self.dialogs.len() - 1;
        let extra = replaces.map_or_else(String::new, |value| format!("Replaces: {value}\r\n"));
        let body = self.sdp(n, true);
        self.request(now, n, "INVITE", &extra, &body);
    }

    fn reinvite(&mut self, now: Time, n: usize) {
        let body = self.sdp(n, true);
        self.request(now, n, "INVITE", "", &body);
        self.dialogs[n].own_invite = true;
    }

    fn refer(&mut self, now: Time, n: usize, extra: &str) {
        let extra = format!("{extra}Referred-By: <sip:{}@{}>\r\n", self.user, self.addr);
        self.request(now, n, "REFER", &extra, "");
        self.dialogs[n].referring = true;
    }

    fn notify(&mut self, now: Time, n: usize, status: u16) {
        let state = if status < 200 { "active;expires=120" } else { "terminated;reason=noresource" };
        let id = self.dialogs[n].refer_id;
        let extra = format!(
            "Event: refer;id={id}\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n"
        );
        self.request(now, n, "NOTIFY", &extra, &format!("SIP/2.0 {status} Whatever\r\n"));
    }

    fn hang_up(&mut self, now: Time, n: usize) {
        self.request(now, n, "BYE", "", "");
        self.dialogs[n].over();
    }

    fn cancel(&mut self, n: usize) {
        let Some(client) =
            self.clients.iter_mut().find(|c| c.dialog == n && c.method == "INVITE" && c.done.is_none())
        else {
            return;
        };
        client.cancelled = true;
        if client.proceeding {
            let text = cancel_of(&client.text);
            self.out.push(text);
        }
    }

    /// The session description of a dialog; a new offer gets a new version.
    fn sdp(&mut self, n: usize, anew: bool) -> String {
        let dialog = &mut self.dialogs[n];
        if anew {
            dialog.version += 1;
        }
        Sdp { user: &self.user, ip: self.addr.ip(), version: dialog.version, direction: dialog.direction }
            .text()
    }

    fn request(&mut self, now: Time, n: usize, method: &str, extra: &str, body: &str) {
        let branch = self.fresh("z9hG4bK");
        let (addr, user) = (self.addr, self.user.clone());
        let dialog = &mut self.dialogs[n];
        dialog.cseq += 1;
        let content = if body.starts_with("v=0") { "Content-Type: application/sdp\r\n" } else { "" };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch={branch};rport\r\nMax-Forwards: 70\r\n{}From: \
             {};tag={}\r\nTo: {}{}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nContact: <sip:{user}@{addr}>\r\nAllow: \
             INVITE, ACK, CANCEL, BYE, REFER, NOTIFY, OPTIONS, INFO\r\nSupported: replaces\r\n{extra}{content}Content-Length: {}\r\n\r\n{body}",
            dialog.target,
            dialog.route_lines(),
            dialog.near,
            dialog.near_tag,
            dialog.far,
            dialog.far_tag_param(),
            dialog.call_id,
            dialog.cseq,
            body.len(),
        );
        self.out.push(text.clone());
        self.clients.push(Client {
            branch,
            method: method.to_owned(),
            dialog: n,
            text,
            at: now + T1,
            interval: T1,
            end: now + if method == "INVITE" { GIVE_UP * 6 } else { GIVE_UP },
            proceeding: false,
            done: None,
            cancelled: false,
        });
    }

    pub fn receive(&mut self, now: Time, text: &Text, dice: &mut Dice) {
        if text.is_request() {
            self.requested(now, text, dice);
        } else {
            self.responded(now, text, dice);
        }
    }

    fn responded(&mut self, now: Time, text: &Text, dice: &mut Dice) {
        let Some(at) =
            self.clients.iter().position(|c| c.branch == text.branch() && c.method == text.method())
        else {
            return;
        };
        let status = text.status();
        let client = &mut self.clients[at];
        if let Some(ack) = &client.done {
            if client.method == "INVITE" {
                let ack = ack.clone();
                self.out.push(ack);
            }
            return;
        }
        if status < 200 {
            if !client.proceeding && client.cancelled {
                let text = cancel_of(&client.text);
                self.out.push(text);
            }
            client.proceeding = true;
            return;
        }
        let mut client = self.clients.remove(at);
        if client.method == "INVITE" {
            let ack = if status < 300 {
                self.take_answer(client.dialog, text);
                self.ack(client.dialog, &client.text)
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

    /// A request of its own is answered for good.
    fn finished(&mut self, now: Time, client: &Client, status: u16, _text: Option<&Text>, dice: &mut Dice) {
        let n = client.dialog;
        match client.method.as_str() {
            "INVITE" if self.dialogs[n].phase == Phase::Early => {
                if (200..300).contains(&status) {
                    self.dialogs[n].phase = Phase::Up;
                    if client.cancelled {
                        self.hang_up(now, n);
                    }
                } else {
                    self.dialogs[n].over();
                }
                if let Some(parent) = self.dialogs[n].reports.take() {
                    let code = if status < 300 { 200 } else { status };
                    self.agenda.push((now + dice.millis(0, 800), Act::Notify(parent, code)));
                }
            }
            "INVITE" => {
                self.dialogs[n].own_invite = false;
                if matches!(status, 408 | 481) {
                    self.hang_up(now, n);
                }
            }
            "REFER" if !(200..300).contains(&status) => self.dialogs[n].referring = false,
            "NOTIFY" | "INFO" => {}
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

    fn ack(&mut self, n: usize, invite: &str) -> String {
        let branch = self.fresh("z9hG4bKa");
        let addr = self.addr;
        let number = Text::parse(invite.as_bytes()).cseq();
        let dialog = &self.dialogs[n];
        format!(
            "ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch={branch};rport\r\nMax-Forwards: 70\r\n{}From: \
             {};tag={}\r\nTo: {}{}\r\nCall-ID: {}\r\nCSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
            dialog.target,
            dialog.route_lines(),
            dialog.near,
            dialog.near_tag,
            dialog.far,
            dialog.far_tag_param(),
            dialog.call_id,
        )
    }

    fn requested(&mut self, now: Time, text: &Text, dice: &mut Dice) {
        let method = text.method().to_owned();
        if method == "ACK" {
            if let Some(server) =
                self.servers.iter_mut().find(|s| s.branch == text.branch() && s.method == "INVITE")
            {
                server.repeat = None;
            }
            if let Some(n) = self.find(text) {
                let dialog = &mut self.dialogs[n];
                if dialog.ok.take().is_some() {
                    dialog.heard(&text.body);
                }
                if dialog.phase == Phase::Early {
                    dialog.phase = Phase::Up;
                }
            }
            return;
        }
        if let Some(server) = self.servers.iter().find(|s| s.branch == text.branch() && s.method == method) {
            if !server.last.is_empty() {
                let last = server.last.clone();
                self.out.push(last);
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
            Some(n) if self.dialogs[n].phase != Phase::Over => self.inside(now, n, &method, text, dice),
            _ if method == "CANCEL" => self.cancelled(now, text),
            _ if method == "INVITE" && text.tag("To").is_none() => self.called(now, text, dice),
            _ if method == "OPTIONS" && text.tag("To").is_none() => self.respond(now, text, 200, "", "", ""),
            // A BYE that crossed ours, a NOTIFY for a call that is over.
            Some(_) if matches!(method.as_str(), "BYE" | "NOTIFY") => {
                self.respond(now, text, 200, "", "", "")
            }
            _ => self.respond(now, text, 481, "", "", ""),
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
        dialog.routes = text.all("Record-Route").into_iter().map(str::to_owned).collect();
        dialog.heard(&text.body);
        dialog.invite = Some(text.clone());
        let replaces = text.get("Replaces").to_owned();
        self.dialogs.push(dialog);
        let n = self.dialogs.len() - 1;
        if !replaces.is_empty() {
            let id = replaces.split(';').next().unwrap_or("");
            let old = self.dialogs.iter().position(|d| {
                d.call_id == id
                    && d.phase == Phase::Up
                    && replaces.contains(&format!("to-tag={}", d.near_tag))
            });
            return match old {
                Some(old) => {
                    self.answer(now, n, 200);
                    self.hang_up(now, old);
                }
                None => self.answer(now, n, 481),
            };
        }
        let busy = self.calm && dice.chance(500);
        let status = if busy { 486 } else { self.manners.answer };
        if status != 0 {
            let invite = text.clone();
            if dice.chance(700) {
                let tag = self.dialogs[n].near_tag.clone();
                self.respond(now, &invite, 180, &tag, "", "");
            }
            self.agenda.push((now + self.manners.ring, Act::Answer(n, status)));
        }
    }

    fn answer(&mut self, now: Time, n: usize, status: u16) {
        let Some(invite) = self.dialogs[n].invite.take() else { return };
        let tag = self.dialogs[n].near_tag.clone();
        if status < 300 {
            let body = self.sdp(n, true);
            let text = self.respond_text(&invite, 200, &tag, "", &body);
            self.keep(&invite, &text);
            self.dialogs[n].ok = Some((text.clone(), now + T1, T1, now + GIVE_UP));
            self.dialogs[n].phase = Phase::Up;
            self.out.push(text);
        } else {
            self.respond(now, &invite, status, &tag, "", "");
            self.dialogs[n].over();
        }
    }

    fn cancelled(&mut self, now: Time, text: &Text) {
        let found = self
            .dialogs
            .iter()
            .position(|d| d.invite.as_ref().is_some_and(|invite| invite.branch() == text.branch()));
        self.respond(now, text, if found.is_some() { 200 } else { 481 }, "", "", "");
        if let Some(n) = found {
            self.answer(now, n, 487);
        }
    }

    fn inside(&mut self, now: Time, n: usize, method: &str, text: &Text, dice: &mut Dice) {
        match method {
            "BYE" => {
                self.respond(now, text, 200, "", "", "");
                if let Some(invite) = self.dialogs[n].invite.take() {
                    self.respond(now, &invite, 487, "", "", "");
                }
                self.dialogs[n].over();
            }
            "INVITE" | "UPDATE" => {
                if self.dialogs[n].own_invite || self.dialogs[n].ok.is_some() {
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
                let ok = self.respond_text(text, 200, "", "", &body);
                self.keep(text, &ok);
                if method == "INVITE" {
                    self.dialogs[n].ok = Some((ok.clone(), now + T1, T1, now + GIVE_UP));
                }
                self.out.push(ok);
            }
            "REFER" => self.referred(now, n, text, dice),
            "NOTIFY" => {
                self.respond(now, text, 200, "", "", "");
                let code: u16 = text.body.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
                if code >= 200 {
                    self.dialogs[n].referring = false;
                    if code < 300 && dice.chance(600) {
                        self.agenda.push((now + dice.millis(0, 3_000), Act::HangUp(n)));
                    }
                }
            }
            _ => self.respond(now, text, 200, "", "", ""),
        }
    }

    fn referred(&mut self, now: Time, n: usize, text: &Text, dice: &mut Dice) {
        self.dialogs[n].refer_id = text.cseq();
        match self.manners.refer {
            OnRefer::Refuse(code) => return self.respond(now, text, code, "", "", ""),
            OnRefer::Silent => return self.respond(now, text, 202, "", "", ""),
            OnRefer::HangUp => {
                self.respond(now, text, 202, "", "", "");
                return self.agenda.push((now + dice.millis(0, 1_500), Act::HangUp(n)));
            }
            OnRefer::Eager => {
                self.notify(now, n, 100);
                self.respond(now, text, 202, "", "", "");
            }
            OnRefer::Perform => {
                self.respond(now, text, 202, "", "", "");
                self.notify(now, n, 100);
            }
        }
        let to = uri_of(text.get("Refer-To"));
        let (uri, headers) = to.split_once('?').unwrap_or((to, ""));
        let replaces = headers.split('&').find_map(|h| h.strip_prefix("Replaces=")).map(|value| {
            value
                .replace("%3B", ";")
                .replace("%3D", "=")
                .replace("%40", "@")
                .replace("%3b", ";")
                .replace("%3d", "=")
        });
        let whom = uri.to_owned();
        self.agenda.push((now + dice.millis(0, 500), Act::Dial { whom, replaces, reports: Some(n) }));
    }

    fn respond(&mut self, now: Time, request: &Text, status: u16, tag: &str, extra: &str, body: &str) {
        let text = self.respond_text(request, status, tag, extra, body);
        self.keep(request, &text);
        if status >= 300 && request.method() == "INVITE" {
            let branch = request.branch();
            if let Some(server) = self.servers.iter_mut().find(|s| s.branch == branch && s.method == "INVITE")
            {
                server.repeat = Some((now + T1, T1));
                server.end = now + GIVE_UP;
            }
        }
        self.out.push(text);
    }

    fn keep(&mut self, request: &Text, text: &str) {
        let branch = request.branch();
        if let Some(server) =
            self.servers.iter_mut().find(|s| s.branch == branch && s.method == request.method())
        {
            server.last = text.to_owned();
        }
    }

    fn respond_text(&self, request: &Text, status: u16, tag: &str, extra: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status} Whatever\r\n");
        for (name, value) in &request.headers {
            match name.to_ascii_lowercase().as_str() {
                "via" | "from" | "call-id" | "cseq" | "record-route" => {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                "to" if request.tag("To").is_none() && !tag.is_empty() => {
                    text.push_str(&format!("To: {value};tag={tag}\r\n"));
                }
                "to" => text.push_str(&format!("To: {value}\r\n")),
                _ => {}
            }
        }
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        text.push_str(&format!(
            "Contact: <sip:{}@{}>\r\nAllow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY\r\nSupported: \
             replaces\r\n{extra}{content}Content-Length: {}\r\n\r\n{body}",
            self.user,
            self.addr,
            body.len()
        ));
        text
    }
}

/// The CANCEL of an INVITE, made from its text.
fn cancel_of(invite: &str) -> String {
    in_transaction(invite, "CANCEL", None)
}

/// The ACK to a non-2xx.
fn ack_of(invite: &str, to: &str) -> String {
    in_transaction(invite, "ACK", Some(to))
}

fn in_transaction(invite: &str, method: &str, to: Option<&str>) -> String {
    let invite = Text::parse(invite.as_bytes());
    let mut text = format!("{method} {} SIP/2.0\r\n", invite.uri());
    for (name, value) in &invite.headers {
        match (name.as_str(), to) {
            ("Via" | "From" | "Call-ID" | "Max-Forwards" | "Route", _) | ("To", None) => {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            ("To", Some(to)) => text.push_str(&format!("To: {to}\r\n")),
            _ => {}
        }
    }
    text.push_str(&format!("CSeq: {} {method}\r\nContent-Length: 0\r\n\r\n", invite.cseq()));
    text
}
