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
    pub phase: Phase,
    pub caller: bool,
    /// Its INVITE, until it is answered.
    pub invite: Option<Text>,
    /// A 2xx until its ACK: text, next time, interval, end.
    pub ok: Option<(String, Time, Duration, Time)>,
    /// A re-INVITE of its own is open.
    pub own_invite: bool,
    /// It has sent a REFER whose result is open.
    pub referring: bool,
    /// CSeq of the REFER it got.
    pub refer_id: u32,
    /// The dialog in which its outcome is to be notified.
    pub reports: Option<usize>,
    pub version: u32,
    pub direction: &'static str,
    /// Where the other side wants its media, and its direction; `None` before any was heard.
    pub media: Option<(IpAddr, String)>,
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
            phase: Phase::Early,
            caller: false,
            invite: None,
            ok: None,
            own_invite: false,
            referring: false,
            refer_id: 0,
            reports: None,
            version: 0,
            direction: "sendrecv",
            media: None,
        }
    }

    /// An offer or a REFER of its own is under way.
    pub fn open(&self) -> bool {
        self.own_invite || self.ok.is_some() || self.referring
    }

    pub fn over(&mut self) {
        self.phase = Phase::Over;
        self.ok = None;
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
        let direction = ["sendrecv", "sendonly", "recvonly", "inactive"]
            .into_iter()
            .find(|d| body.contains(&format!("a={d}")))
            .unwrap_or("sendrecv");
        self.media = Some((ip, direction.to_owned()));
    }

    /// The direction that answers the other side's.
    pub fn mirrored(&self) -> &'static str {
        match self.media.as_ref().map(|(_, direction)| direction.as_str()) {
            Some("sendonly") => "recvonly",
            Some("recvonly") => "sendonly",
            Some("inactive") => "inactive",
            _ => "sendrecv",
        }
    }
}

/// A session description: one audio stream.
pub struct Sdp<'a> {
    pub user: &'a str,
    pub ip: IpAddr,
    pub version: u32,
    pub direction: &'a str,
}

impl Sdp<'_> {
    pub fn text(&self) -> String {
        let Sdp { user, ip, version, direction } = self;
        format!(
            "v=0\r\no={user} 77 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 \
             8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
        )
    }
}
