//! A REFER that a party sent during a dial (jambonz section 8).
//!
//! The dial's `referHook` decides. What it answers with runs on the leg of the party to be moved, and what
//! comes of its first dial is reported to the one that asked, whose leg is ended then.

use super::driver::Driver;
use super::facts::Referred;
use super::hook::{Failed, ask};
use super::{Program, Unheard, Word};
use crate::control::engine::Engine;
use crate::sip::command::{Action, Decision, Order};
use crate::sip::event::{CallSid, ReferAsked, ReferSid};
use std::sync::Arc;

/// What a hook that gave no status is refused with (8.2).
const FAILED: u16 = 501;

/// Whom the outcome of a transfer is reported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    refer: ReferSid,
    /// The leg of the party that asked.
    transferor: CallSid,
}

impl Report {
    pub(super) fn transferor(self) -> CallSid {
        self.transferor
    }

    /// The final code; the transferor's leg has done its part then.
    pub(super) fn done(self, engine: &Engine, code: u16) {
        let orders = engine.live.orders();
        orders.tell(Order::DecideRefer(self.refer, self.transferor, Decision::Report(code)));
        orders.tell(Order::Leg(self.transferor, Action::Hangup { status: None, reason: None }));
    }
}

impl Driver {
    /// A party asks for a transfer.
    pub(super) fn asked(&mut self, asked: &ReferAsked) {
        let own = self.sid();
        let decide = |decision| Order::DecideRefer(asked.sid, asked.call, decision);
        let engine = Arc::clone(&self.engine);
        let hook = self.dialling.as_ref().and_then(|dialling| dialling.refer.clone());
        let child = self.children.iter().any(|child| child.record.sid == asked.call);
        let ours = asked.call == own || child && !engine.helm.is_steered(asked.call);
        if !ours || !self.line.steers() {
            return;
        }
        // An attended transfer is the engine's business.
        let decision = match &hook {
            _ if asked.replaces => Some(Decision::Accept),
            None => Some(Decision::Reject(FAILED)),
            Some(_) => None,
        };
        let (hook, decision) = match (hook, decision) {
            (Some(hook), None) => (hook, asked.other),
            (_, decision) => {
                return engine.live.orders().tell(decide(decision.unwrap_or(Decision::Reject(FAILED))));
            }
        };
        let Some((referring, other)) = engine.live.call(asked.call).zip(decision) else {
            return engine.live.orders().tell(decide(Decision::Reject(404)));
        };
        let referred = engine.live.call(other).map(|call| call.record);
        let told = Referred {
            to: &asked.to,
            by: &asked.by,
            headers: &asked.headers,
            referring: &referring.record,
            referred: referred.as_ref(),
        };
        let mut fields = self.call.fields();
        fields.extend(told.fields());
        let post = self.post(hook, fields);
        let moved = Moved {
            report: Report { refer: asked.sid, transferor: asked.call },
            other,
            own,
            program: self.program(),
        };
        tokio::spawn(moved.decided(engine, post, self.sender.clone()));
    }

    /// What the call is steered by, for a leg that is steered by itself from now on.
    fn program(&self) -> Program {
        Program {
            signs: self.signs.clone(),
            status: self.status_hook().cloned(),
            application_sid: self.call.application_sid.clone(),
            ..Program::at(self.base.clone())
        }
    }

    /// A dial of this call has come to something.
    pub(super) fn report_dial(&mut self, answered: bool, code: u16) {
        let Some(report) = self.report.take() else { return };
        report.done(&self.engine, if answered { 200 } else { code.max(400) });
    }

    /// The application has ended without a dial, or the party to be moved has left.
    pub(super) fn report_none(&mut self) {
        if let Some(report) = self.report.take() {
            report.done(&self.engine, if self.ended { 487 } else { 603 });
        }
    }
}

/// A transfer that waits for its hook.
struct Moved {
    report: Report,
    /// The party to be moved.
    other: CallSid,
    /// The leg whose application was asked.
    own: CallSid,
    program: Program,
}

impl Moved {
    async fn decided(
        self,
        engine: Arc<Engine>,
        post: super::hook::Post,
        driver: tokio::sync::mpsc::Sender<Word>,
    ) {
        let orders = engine.live.orders();
        let refer = self.report.refer;
        let decide = |decision| Order::DecideRefer(refer, self.report.transferor, decision);
        let asking = ask(Arc::clone(&engine.webhooks), post);
        tokio::pin!(asking);
        let mut taken = false;
        let decision = engine.jambonz.options.decision;
        let answer = match tokio::time::timeout(decision, &mut asking).await {
            Ok(answer) => answer,
            Err(_) => {
                taken = true;
                orders.tell(decide(Decision::Take));
                asking.await
            }
        };
        let value = match answer {
            Ok(value) => value,
            Err(failed) => {
                let code = match failed {
                    Failed::Status(code) if (400..700).contains(&code) => code,
                    Failed::Status(_) | Failed::Failure(_) | Failed::Malformed => FAILED,
                };
                return orders.tell(decide(match taken {
                    true => Decision::Report(code),
                    false => Decision::Reject(code),
                }));
            }
        };
        if !taken {
            orders.tell(decide(Decision::Take));
        }
        let verbs =
            value.as_ref().and_then(|value| super::document::answered(value, Some(&self.program.hook.url)));
        let Some(Ok(verbs)) = verbs else {
            // Nothing is to become of it: the transferor is told so, and the call goes on.
            return orders.tell(decide(Decision::Report(603)));
        };
        orders.tell(Order::Leg(self.own, Action::Part));
        if self.other == self.own {
            let _ = driver.send(Word::Transfer(verbs, self.report)).await;
        } else {
            engine.live.release(self.other, self.own);
            let _ = driver.send(Word::Release(self.other)).await;
            // It may have had an application of its own before.
            let word = Word::Transfer(verbs.clone(), self.report);
            let program = Program { verbs: Some(verbs), report: Some(self.report), ..self.program };
            match engine.jambonz.say(self.other, word) {
                Ok(()) => {}
                Err(Unheard::Full) => self.report.done(&engine, 503),
                Err(Unheard::Nobody) if super::start(&engine, self.other, program) => {}
                Err(Unheard::Nobody) => self.report.done(&engine, 487),
            }
        }
    }
}
