//! The answer to a REFER that came in on a call of Baton's own, from facts alone.
//!
//! Refusals first, the cheap and certain ones before those that need the request read; then the
//! application is asked, if the call has one that wants to be; then the trunk's mode decides.

use super::policy::{OutOfDialog, Policy};
use super::request::{Request, Wish};
use super::rule::ReferRule;
use super::target::Verdict;
use crate::sip::plan::ReferMode;
use std::time::Duration;

/// What is known of the call and its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What the referrer's trunk wants done with REFERs.
    pub mode: ReferMode,
    /// Where that is written.
    pub by: ReferRule,
    /// How the REFER names its call.
    pub reach: Reach,
    /// Another party is there that can be moved.
    pub survivor: bool,
    /// Another Refer of this dialog has no result yet.
    pub active: bool,
    /// Transfers that the call has gone through.
    pub transfers: u8,
    /// How long the trunk must wait before it may send one more.
    pub wait: Option<Duration>,
    /// The shard takes no new calls.
    pub overloaded: bool,
    /// Whether an application decides.
    pub asks: bool,
    /// The remote target of the party to be moved.
    pub survivor_target: Option<&'a [u8]>,
    /// Whether Replaces names the very call that is being transferred.
    pub replaces_itself: bool,
}

/// How a REFER names the call it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It came in its dialog.
    InDialog,
    /// Target-Dialog names a dialog of Baton's by Call-ID and both tags.
    TargetDialog,
    /// It names none, or none that there is.
    Nothing,
}

/// What is done with a REFER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answered with this code, and performed.
    Accept(Acceptance),
    /// Passed on to the other leg.
    Relay,
    /// The application is asked first.
    Ask,
    /// Refused.
    Refuse(Refusal),
}

/// How a REFER is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// 202 or 200.
    pub code: u16,
    /// Whether the response says `Refer-Sub: false`.
    pub refer_sub_false: bool,
    /// Whether NOTIFYs go out.
    pub notifies: bool,
}

/// How a REFER is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: u16,
    /// Option tags for Unsupported, with 420.
    pub unsupported: Vec<Box<str>>,
    /// Seconds for Retry-After, with 503.
    pub retry_after: Option<u32>,
    /// The rule that wants it so.
    pub rule: ReferRule,
}

impl Refusal {
    /// A refusal that needs no explanation.
    pub const fn by(rule: ReferRule, code: u16) -> Refusal {
        Refusal { code, unsupported: Vec::new(), retry_after: None, rule }
    }

    /// The header fields that go with it.
    pub fn headers(&self) -> Vec<(Box<str>, Box<[u8]>)> {
        let mut headers: Vec<(Box<str>, Box<[u8]>)> = Vec::new();
        if !self.unsupported.is_empty() {
            headers.push(("Unsupported".into(), self.unsupported.join(", ").into_bytes().into()));
        }
        if let Some(seconds) = self.retry_after {
            headers.push(("Retry-After".into(), seconds.to_string().into_bytes().into()));
        }
        if self.code == 405 {
            // RFC 3261 §21.4.6: what may be sent instead.
            headers.push((
                "Allow".into(),
                b"INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK, UPDATE, NOTIFY".as_slice().into(),
            ));
        }
        headers
    }
}

/// What can be said without reading the REFER.
pub fn admit(policy: &Policy, situation: &Situation<'_>) -> Result<(), Refusal> {
    let reached = match situation.reach {
        Reach::InDialog => true,
        Reach::TargetDialog => policy.out_of_dialog == OutOfDialog::TargetDialog,
        Reach::Nothing => false,
    };
    if !reached {
        return Err(Refusal::by(ReferRule::OutOfDialog, 403));
    }
    if let ReferMode::Reject(code) = situation.mode {
        return Err(Refusal::by(situation.by, code));
    }
    // RFC 3261 §21.5.4.
    if situation.overloaded {
        return Err(Refusal { retry_after: Some(5), ..Refusal::by(ReferRule::Limits, 503) });
    }
    if let Some(wait) = situation.wait {
        let seconds = wait.as_secs().saturating_add(1);
        return Err(Refusal {
            retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
            ..Refusal::by(ReferRule::MaxRate, 503)
        });
    }
    // one at a time; the next may come when this one has failed.
    if situation.active {
        return Err(Refusal::by(ReferRule::Glare, 491));
    }
    if situation.transfers >= policy.max_transfers {
        return Err(Refusal::by(ReferRule::MaxTransfers, 403));
    }
    Ok(())
}

/// What is done with a REFER that was read and may be there.
pub fn decide(request: &Request, policy: &Policy, situation: &Situation<'_>) -> Answer {
    match check(request, policy, situation) {
        Err(refusal) => Answer::Refuse(refusal),
        Ok(()) if situation.asks => Answer::Ask,
        Ok(()) => match situation.mode {
            ReferMode::Terminate => Answer::Accept(accept(request, policy)),
            ReferMode::Relay => Answer::Relay,
            ReferMode::Reject(code) => Answer::Refuse(Refusal::by(situation.by, code)),
        },
    }
}

/// What forbids acting on it.
fn check(request: &Request, policy: &Policy, situation: &Situation<'_>) -> Result<(), Refusal> {
    // RFC 3261 §21.4.21: the new INVITE would have no hop left.
    if request.hops == 0 {
        return Err(Refusal::by(ReferRule::MaxForwards, 483));
    }
    // A party cannot be moved to itself, nor into the place it has.
    if situation.replaces_itself || situation.survivor_target.is_some_and(|at| request.target.is_at(at)) {
        return Err(Refusal::by(ReferRule::Loop, 482));
    }
    if let Verdict::Denied(at) = request.target.judge(policy) {
        return Err(Refusal::by(ReferRule::of_target(policy, at), 403));
    }
    if !situation.survivor {
        return Err(Refusal::by(ReferRule::Alone, 603));
    }
    Ok(())
}

/// The rule by which a REFER may be acted on, where `mode` is what else decides.
pub fn allowed(request: &Request, policy: &Policy, mode: ReferRule) -> ReferRule {
    match request.target.judge(policy) {
        Verdict::Allowed(at) => ReferRule::of_target(policy, at),
        Verdict::Denied(_) | Verdict::Routes => mode,
    }
}

/// How it is accepted.
pub fn accept(request: &Request, policy: &Policy) -> Acceptance {
    Acceptance {
        code: if request.modern { 200 } else { policy.accept_code },
        refer_sub_false: request.wish == Wish::ReferSub,
        notifies: request.wish == Wish::Implicit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::refer::policy::TargetRule;
    use crate::sip::refer::request::tests::refer;

    const SITUATION: Situation<'static> = Situation {
        mode: ReferMode::Terminate,
        by: ReferRule::Mode,
        reach: Reach::InDialog,
        survivor: true,
        active: false,
        transfers: 0,
        wait: None,
        overloaded: false,
        asks: false,
        survivor_target: Some(b"sip:bob@192.0.2.7"),
        replaces_itself: false,
    };

    fn request(fields: &str) -> Request {
        let fields = format!("Refer-To: <sip:carol@chicago.example.com>\r\n{fields}");
        Request::read(&refer(&fields), &Policy::default()).expect("a request")
    }

    fn answer(situation: &Situation<'_>) -> Result<Answer, u16> {
        let policy = Policy::default();
        admit(&policy, situation).map_err(|refusal| refusal.code)?;
        match decide(&request(""), &policy, situation) {
            Answer::Refuse(refusal) => Err(refusal.code),
            answer => Ok(answer),
        }
    }

    /// [R-013] [R-104] What refuses, and with which code.
    #[test]
    fn refusals() {
        let it = SITUATION;
        for (situation, code) in [
            (Situation { reach: Reach::Nothing, ..it }, 403),
            (Situation { reach: Reach::TargetDialog, ..it }, 403),
            (Situation { mode: ReferMode::Reject(603), ..it }, 603),
            (Situation { mode: ReferMode::Reject(405), ..it }, 405),
            (Situation { overloaded: true, ..it }, 503),
            (Situation { wait: Some(Duration::from_millis(300)), ..it }, 503),
            (Situation { active: true, ..it }, 491),
            (Situation { transfers: 5, ..it }, 403),
            (Situation { survivor: false, ..it }, 603),
            (Situation { replaces_itself: true, ..it }, 482),
            (Situation { survivor_target: Some(b"sip:carol@CHICAGO.example.com:5060"), ..it }, 482),
        ] {
            assert_eq!(answer(&situation), Err(code), "{situation:?}");
        }
        let policy = Policy::default();
        let spent = request("Max-Forwards: 0\r\n");
        assert_eq!(decide(&spent, &policy, &it), Answer::Refuse(Refusal::by(ReferRule::MaxForwards, 483)));
    }

    /// A denied target: 403, and which rule said so.
    #[test]
    fn denied_targets() {
        let rule = TargetRule { allow: false, domain: "example.com".into(), prefix: "".into() };
        let policy = Policy { targets: vec![rule], ..Policy::default() };
        let Answer::Refuse(refusal) = decide(&request(""), &policy, &SITUATION) else { panic!("taken") };
        assert_eq!((refusal.code, refusal.rule), (403, ReferRule::Deny(0)));
    }

    /// Target-Dialog counts where the trunk lets it.
    #[test]
    fn target_dialog() {
        let policy = Policy { out_of_dialog: OutOfDialog::TargetDialog, ..Policy::default() };
        let named = Situation { reach: Reach::TargetDialog, ..SITUATION };
        assert_eq!(admit(&policy, &named), Ok(()));
        assert!(admit(&policy, &Situation { reach: Reach::Nothing, ..named }).is_err());
    }

    /// How it is accepted.
    #[test]
    fn acceptances() {
        let accepted = |fields: &str, policy: &Policy| accept(&request(fields), policy);
        let plain = Policy::default();
        let usual = Acceptance { code: 202, refer_sub_false: false, notifies: true };
        assert_eq!(accepted("", &plain), usual);
        assert_eq!(
            accepted("", &Policy { accept_code: 200, ..plain.clone() }),
            Acceptance { code: 200, ..usual }
        );
        assert_eq!(accepted("Supported: nosub\r\n", &plain), Acceptance { code: 200, ..usual });
        assert_eq!(
            accepted("Refer-Sub: false\r\n", &plain),
            Acceptance { code: 202, refer_sub_false: true, notifies: false }
        );
        assert_eq!(
            accepted("Require: nosub\r\n", &plain),
            Acceptance { code: 200, refer_sub_false: false, notifies: false }
        );
    }

    /// The application is asked after what is certain was refused; without one the mode decides.
    #[test]
    fn who_decides() {
        assert!(matches!(answer(&SITUATION), Ok(Answer::Accept(_))));
        assert_eq!(answer(&Situation { mode: ReferMode::Relay, ..SITUATION }), Ok(Answer::Relay));
        assert_eq!(answer(&Situation { asks: true, ..SITUATION }), Ok(Answer::Ask));
        assert_eq!(answer(&Situation { asks: true, survivor: false, ..SITUATION }), Err(603));
    }

    /// What goes with a refusal.
    #[test]
    fn headers_of_refusals() {
        let names = |refusal: Refusal| -> Vec<String> {
            refusal.headers().iter().map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v))).collect()
        };
        let late = admit(&Policy::default(), &Situation { wait: Some(Duration::from_secs(2)), ..SITUATION });
        assert_eq!(names(late.expect_err("too many")), ["Retry-After: 3"]);
        let strange =
            Refusal { unsupported: vec!["a".into(), "b".into()], ..Refusal::by(ReferRule::Request, 420) };
        assert_eq!(names(strange), ["Unsupported: a, b"]);
        assert!(names(Refusal::by(ReferRule::Mode, 405))[0].starts_with("Allow: INVITE"));
    }
}
