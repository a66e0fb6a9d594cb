//! The text of a phone's messages.

use super::Agent;
use crate::text::Text;

impl Agent {
    /// The address at which it is to be reached.
    pub(super) fn contact(&self) -> String {
        let transport = if self.stream { ";transport=tcp" } else { "" };
        format!("<sip:{}@{}{transport}>", self.user, self.addr)
    }

    fn via(&self, branch: &str) -> String {
        let transport = if self.stream { "TCP" } else { "UDP" };
        format!("Via: SIP/2.0/{transport} {};branch={branch};rport\r\n", self.addr)
    }

    /// What it can do.
    fn abilities(&self) -> String {
        let update = if self.manners.updates { ", UPDATE" } else { "" };
        let (prack, reliable) = if self.manners.reliable { (", PRACK", ", 100rel") } else { ("", "") };
        format!(
            "Contact: {}\r\nAllow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY, OPTIONS, \
             INFO{update}{prack}\r\nSupported: replaces{reliable}\r\n",
            self.contact()
        )
    }

    pub(super) fn request_text(
        &self,
        n: usize,
        branch: &str,
        cseq: u32,
        method: &str,
        extra: &str,
        body: &str,
    ) -> String {
        let dialog = &self.dialogs[n];
        let abilities = if method == "ACK" { String::new() } else { self.abilities() };
        format!(
            "{method} {} SIP/2.0\r\n{}Max-Forwards: 70\r\n{}From: {};tag={}\r\nTo: {}{}\r\nCall-ID: {}\r\nCSeq: \
             {cseq} {method}\r\n{abilities}{extra}{}Content-Length: {}\r\n\r\n{body}",
            dialog.target,
            self.via(branch),
            dialog.route_lines(),
            dialog.near,
            dialog.near_tag,
            dialog.far,
            dialog.far_tag_param(),
            dialog.call_id,
            content_type(body),
            body.len(),
        )
    }

    pub(super) fn response_text(
        &self,
        request: &Text,
        status: u16,
        tag: &str,
        extra: &str,
        body: &str,
    ) -> String {
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
        let (abilities, content) = (self.abilities(), content_type(body));
        text + &format!("{abilities}{extra}{content}Content-Length: {}\r\n\r\n{body}", body.len())
    }
}

fn content_type(body: &str) -> &'static str {
    if body.starts_with("v=0") { "Content-Type: application/sdp\r\n" } else { "" }
}

/// The CANCEL of an INVITE, made from its text.
pub(super) fn cancel_of(invite: &str) -> String {
    in_transaction(invite, "CANCEL", None)
}

/// The ACK to a non-2xx.
pub(super) fn ack_of(invite: &str, to: &str) -> String {
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
