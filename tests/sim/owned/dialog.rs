//! What a phone of the owned-call flows keeps of a dialog, and how it describes its media.

use crate::text::Text;
use baton::sip::time::Time;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Early,
    Up,
    Over,
}

/// A message that is sent again until the other side has said that it came.
#[derive(Clone, Debug)]
pub struct Repeated {
    pub text: String,
    pub at: Time,
    pub interval: Duration,
    pub end: Time,
}

/// A REFER that somebody waits for the result of: its dialog and its CSeq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub dialog: usize,
    pub id: u32,
}

/// Somebody's media: where he wants it, and which way it is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub ip: IpAddr,
    pub direction: &'static str,
}

#[derive(Debug)]
pub struct Dialog {
    pub call_id: String,
    pub near_tag: String,
    pub far_tag: String,
    pub near: String,
    pub far: String,
    pub target: String,
    pub routes: Vec<String>,
    pub cseq: u32,
    /// The number of the last request of the other side.
    pub far_cseq: u32,
    pub phase: Phase,
    pub caller: bool,
    /// Its INVITE, until it is answered.
    pub invite: Option<Text>,
    /// A 2xx until its ACK.
    pub ok: Option<Repeated>,
    /// A reliable provisional response until its PRACK, and its number.
    pub reliable: Option<(u32, Repeated)>,
    /// The answer went out with a provisional response.
    pub answered_early: bool,
    /// Reliable provisional responses that it has acknowledged.
    pub acknowledged: Vec<String>,
    /// A re-INVITE or UPDATE of its own is open.
    pub own_offer: bool,
    /// Its description of itself before that.
    pub before: &'static str,
    /// It has sent a REFER whose result is open.
    pub referring: bool,
    /// What its REFER will bring about, if it comes true: who talks to whom.
    pub promise: Option<(IpAddr, String)>,
    /// Where its outcome is to be notified.
    pub reports: Option<Report>,
    pub version: u32,
    pub direction: &'static str,
    /// Where the other side wants its media; `None` before any was heard.
    pub media: Option<Media>,
    /// The origin and text of the other side's last description.
    pub origin: Option<(String, u64, String)>,
    /// What the other side did wrong.
    pub faults: Vec<String>,
}

impl Dialog {
    pub fn new(call_id: String, near_tag: String, near: String, far: String, target: String) -> Dialog {
        Dialog {
            call_id,
            near_tag,
            far_tag: String::new(),
            near,
            far,
            target,
            routes: Vec::new(),
            cseq: 0,
            far_cseq: 0,
            phase: Phase::Early,
            caller: false,
            invite: None,
            ok: None,
            reliable: None,
            answered_early: false,
            acknowledged: Vec::new(),
            own_offer: false,
            before: "sendrecv",
            referring: false,
            promise: None,
            reports: None,
            version: 0,
            direction: "sendrecv",
            media: None,
            origin: None,
            faults: Vec::new(),
        }
    }

    /// An offer or a REFER of its own is under way.
    pub fn open(&self) -> bool {
        self.own_offer || self.ok.is_some() || self.referring
    }

    pub fn over(&mut self) {
        self.phase = Phase::Over;
        self.ok = None;
        self.reliable = None;
    }

    pub fn route_lines(&self) -> String {
        self.routes.iter().map(|route| format!("Route: {route}\r\n")).collect()
    }

    pub fn far_tag_param(&self) -> String {
        if self.far_tag.is_empty() { String::new() } else { format!(";tag={}", self.far_tag) }
    }

    /// Takes in a description of the other side.
    pub fn heard(&mut self, body: &str) {
        let line = |start: &str| body.lines().find_map(|line| line.strip_prefix(start));
        let Some(ip) = line("c=IN IP4 ").and_then(|ip| ip.trim().parse().ok()) else { return };
        let refused = line("m=audio ").is_some_and(|media| media.starts_with("0 "));
        let said = ["sendrecv", "sendonly", "recvonly", "inactive"]
            .into_iter()
            .find(|d| body.contains(&format!("a={d}")))
            .unwrap_or("sendrecv");
        self.media = Some(Media { ip, direction: if refused { "inactive" } else { said } });
        self.heard_origin(line("o=").unwrap_or(""), body);
    }

    /// RFC 3264 §8: one session in a dialog, and a new version of it for whatever differs.
    fn heard_origin(&mut self, line: &str, body: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let [user, id, version, _, _, _] = words[..] else {
            return self.faults.push(format!("o={line} is no origin"));
        };
        let (session, version) = (format!("{user} {id}"), version.parse().unwrap_or(0));
        if let Some((old, last, said)) = &self.origin
            && self.phase == Phase::Up
        {
            if *old != session {
                self.faults.push(format!("session {old} became {session}"));
            } else if version < *last || (version == *last && said != body) {
                self.faults.push(format!("session {old}: version {last}, then {version}, and another text"));
            }
        }
        self.origin = Some((session, version, body.to_owned()));
    }

    /// The direction that answers the other side's.
    pub fn mirrored(&self) -> &'static str {
        match self.media.as_ref().map(|media| media.direction) {
            Some("sendonly") => "recvonly",
            Some("recvonly") => "sendonly",
            Some("inactive") => "inactive",
            _ => "sendrecv",
        }
    }

    /// Whom it sends its media to, if it does.
    pub fn talks_to(&self) -> Option<IpAddr> {
        let media = self.media.as_ref().filter(|_| self.phase == Phase::Up)?;
        (media.direction != "inactive" && !media.ip.is_unspecified()).then_some(media.ip)
    }
}

/// A session description: one audio stream.
pub struct Sdp<'a> {
    pub user: &'a str,
    pub id: usize,
    pub ip: IpAddr,
    pub version: u32,
    pub direction: &'a str,
}

impl Sdp<'_> {
    pub fn text(&self) -> String {
        let Sdp { user, id, ip, version, direction } = self;
        format!(
            "v=0\r\no={user} {id} {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 \
             8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
        )
    }
}
