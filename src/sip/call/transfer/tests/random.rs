use super::stage::Stage;
use crate::sip::command::{Action, Order};
use crate::sip::event::{ReferReason, ReferRole, ReferSid, ReferStatus};
use crate::sip::plan::ReferMode;
use crate::sip::refer::Policy;
use crate::sip::refer::policy::{NotifyDetail, Release};
use std::time::Duration;

/// Numbers without meaning, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.roll(list.len() as u64) as usize]
    }
}

/// Any order of REFERs in all roles, answers, hang-ups, holds, orders, changed sessions and
/// silence: each Refer has one result, told in sequence, every re-INVITE, UPDATE, OPTIONS and NOTIFY has its answer,
/// and nothing is left when all is over.
#[test]
fn any_order_of_everything() {
    let mut seen = Vec::new();
    for seed in 1..=2_000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for result in play(&mut dice) {
            if !seen.contains(&result) {
                seen.push(result);
            }
        }
    }
    // The scripts go everywhere.
    use ReferRole::{Relay, Substitute, Transferor};
    for (role, reason) in [
        (Transferor, None),
        (Transferor, Some(ReferReason::ReferRejected)),
        (Transferor, Some(ReferReason::NotifyTimeout)),
        (Transferor, Some(ReferReason::CallEnded)),
        (Transferor, Some(ReferReason::ApiCancel)),
        (Relay, None),
        (Relay, Some(ReferReason::TargetBusy)),
        (Substitute, None),
        (Substitute, Some(ReferReason::TargetBusy)),
        (Substitute, Some(ReferReason::TargetNoAnswer)),
        (Substitute, Some(ReferReason::BridgeFailed)),
        (Substitute, Some(ReferReason::CallEnded)),
        (Substitute, Some(ReferReason::ApiCancel)),
        (Substitute, Some(ReferReason::Policy)),
    ] {
        assert!(seen.contains(&(role, reason)), "{role:?} {reason:?}: {seen:?}");
    }
}

fn play(dice: &mut Dice) -> Vec<(ReferRole, Option<ReferReason>)> {
    let policy = Policy {
        notify: dice.pick(&[NotifyDetail::All, NotifyDetail::Initial, NotifyDetail::Final]),
        release: dice.pick(&[Release::Wait, Release::AtOnce, Release::Never]),
        notify_on_answer: dice.roll(2) == 0,
        ..Policy::default()
    };
    let mode = dice.pick(&[ReferMode::Terminate, ReferMode::Terminate, ReferMode::Relay]);
    let (mut stage, alice, bob) = Stage::talking_with(mode, policy);
    let mut consultation = None;
    let mut next = 100;
    for _ in 0..18 {
        let name = dice.pick(&["alice", "bob", "carol", "consult"]);
        let phone = dice.pick(&["alice", "bob", "carol"]);
        match dice.roll(17) {
            0 | 1 if stage.has(name) => {
                let to = dice.pick(&["<sip:300@x>", "<sip:200@x>", "<sip:900@x>", "<sip:300@x;method=BYE>"]);
                stage.refers(name, to);
            }
            2 if consultation.is_none() => consultation = Some(stage.calls("consult", "300")),
            3 | 4 if stage.has("consult") => {
                let dialog = stage.dialog("consult");
                let to = format!(
                    "<sip:300@x?Replaces={}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
                    dialog.call_id, dialog.baton, dialog.tag
                );
                if !dialog.baton.is_empty() {
                    stage.refers("alice", &to);
                }
            }
            5 if stage.has(name) => stage.request(name, "BYE", "", ""),
            6 => {
                next += 1;
                let (sid, held) = (ReferSid(next), dice.roll(3) == 0);
                let at = dice.pick(&[alice, bob]);
                let replaces = consultation.filter(|_| dice.roll(3) == 0);
                let _ =
                    stage.refer(at, |order| (order.sid, order.hold, order.replaces) = (sid, held, replaces));
            }
            7 | 8 if stage.has(name) => {
                let code = dice.pick(&[100, 180, 200, 486, 404]);
                let state = dice.pick(&["active;expires=60", "terminated;reason=noresource"]);
                stage.notifies(name, code, state);
            }
            9 => stage.manner(phone).invite = dice.pick(&[None, Some(200), Some(486)]),
            10 => {
                let manner = stage.manner(phone);
                manner.refer = dice.pick(&[Some(202), Some(202), None, Some(603), Some(491), Some(407)]);
                manner.notify = dice.pick(&[Some(200), Some(200), None, Some(481)]);
                manner.reinvite = dice.pick(&[200, 200, 488, 491, 481]);
                manner.codecs = dice.pick(&["0 8", "0", "8"]);
            }
            11 if stage.rings(phone) => match dice.roll(2) {
                0 => stage.picks_up(phone),
                _ => stage.refuses(phone, 480),
            },
            12 => {
                let told = stage.told().last().map(|refer| (refer.sid, refer.call));
                if let Some((sid, call)) = told {
                    let _ = stage.order(Order::CancelRefer(sid, call));
                }
            }
            13 => {
                let leg = dice.pick(&[alice, bob]);
                let hangup = Action::Hangup { status: None, reason: None };
                let action = dice.pick(&[0, 1, 2, 2]);
                let action = [Action::Hold, Action::Resume, hangup][action].clone();
                let _ = stage.order(Order::Leg(leg, action));
            }
            14 if stage.has(name) => stage.request(name, "OPTIONS", "", ""),
            15 if stage.has(name) => {
                let sdp = stage.sdp(phone);
                let body = dice.pick(&["", &*sdp]).to_owned();
                let contact = format!("Contact: <sip:{name}@{}>\n", stage.dialog(name).address);
                stage.request(name, dice.pick(&["INVITE", "UPDATE"]), &contact, &body);
            }
            _ => stage.pass(Duration::from_millis(dice.pick(&[10, 300, 1_100, 4_000, 33_000, 70_000]))),
        }
    }
    let told = stage.told().into_iter().filter(|refer| refer.status != ReferStatus::InProgress);
    let results = told.map(|refer| (refer.role, refer.reason)).collect();
    stage.end();
    results
}
