//! A phone as transferor and as the one who is transferred.

use super::{Act, Agent, OnRefer, Promise};
use crate::net::Dice;
use crate::owned::dialog::Report;
use crate::text::{Text, uri_of};
use baton::sip::time::Time;

impl Agent {
    /// A blind transfer.
    pub(super) fn refer_to(&mut self, now: Time, n: usize, whom: &str) {
        let extra = format!("Refer-To: <sip:{whom}@{}>\r\n", self.baton);
        self.refer(now, n, &extra, whom.to_owned());
    }

    /// An attended one: the other party of a dialog is to take this phone's place in the other.
    pub(super) fn refer_attended(&mut self, now: Time, n: usize, other: usize) {
        let consulted = &self.dialogs[other];
        let escape = |text: &str| text.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
        let (call_id, to, from) = (escape(&consulted.call_id), &consulted.far_tag, &consulted.near_tag);
        let replaces = format!("{call_id}%3Bto-tag%3D{to}%3Bfrom-tag%3D{from}");
        let extra = format!("Refer-To: <{}?Replaces={replaces}>\r\n", consulted.target);
        let whom = consulted.talks_to().map(|ip| ip.to_string()).unwrap_or_default();
        self.refer(now, n, &extra, whom);
    }

    fn refer(&mut self, now: Time, n: usize, extra: &str, whom: String) {
        let extra = format!("{extra}Referred-By: <sip:{}@{}>\r\n", self.user, self.addr);
        self.request(now, n, "REFER", &extra, "");
        let dialog = &mut self.dialogs[n];
        dialog.referring = true;
        dialog.promise = dialog.talks_to().map(|ip| (ip, whom));
    }

    /// A NOTIFY came: the end of a transfer is the end of the call, most of the time.
    pub(super) fn notified(&mut self, now: Time, n: usize, text: &Text, dice: &mut Dice) {
        let code: u16 = text.body.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        if code < 200 {
            return;
        }
        let dialog = &mut self.dialogs[n];
        if !dialog.referring {
            let what = format!("a NOTIFY of {code} after the last one");
            dialog.faults.push(what);
        }
        dialog.referring = false;
        if code >= 300 {
            return;
        }
        let promise = dialog.promise.take();
        self.promises.extend(promise.map(|(who, whom)| Promise { who, whom }));
        if dice.chance(600) {
            self.agenda.push((now + dice.millis(0, 3_000), Act::Leave(n)));
        }
    }

    /// A REFER came.
    pub(super) fn referred(&mut self, now: Time, n: usize, text: &Text, dice: &mut Dice) {
        let report = Report { dialog: n, id: text.cseq() };
        match self.manners.refer {
            OnRefer::Refuse(code) => return self.respond(now, text, code, "", "", ""),
            OnRefer::Silent => return self.respond(now, text, 202, "", "", ""),
            OnRefer::HangUp => {
                self.respond(now, text, 202, "", "", "");
                return self.agenda.push((now + dice.millis(0, 1_500), Act::Leave(n)));
            }
            OnRefer::Eager => {
                self.notify(now, report, 100);
                self.respond(now, text, 202, "", "", "");
            }
            OnRefer::Perform => {
                self.respond(now, text, 202, "", "", "");
                self.notify(now, report, 100);
            }
        }
        let to = uri_of(text.get("Refer-To"));
        let (uri, headers) = to.split_once('?').unwrap_or((to, ""));
        let replaces = headers.split('&').find_map(|h| h.strip_prefix("Replaces=")).map(unescape);
        let act = Act::Dial { whom: uri.to_owned(), replaces, reports: Some(report) };
        self.agenda.push((now + dice.millis(0, 500), act));
    }

    /// How far the transfer that it was asked for is.
    pub(super) fn notify(&mut self, now: Time, report: Report, status: u16) {
        let state = if status < 200 { "active;expires=120" } else { "terminated;reason=noresource" };
        let Report { dialog, id } = report;
        let extra = format!(
            "Event: refer;id={id}\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n"
        );
        self.request(now, dialog, "NOTIFY", &extra, &format!("SIP/2.0 {status} Whatever\r\n"));
    }
}

fn unescape(value: &str) -> String {
    let pairs = [("%3B", ";"), ("%3D", "="), ("%40", "@"), ("%3b", ";"), ("%3d", "=")];
    pairs.iter().fold(value.to_owned(), |value, (from, to)| value.replace(from, to))
}
