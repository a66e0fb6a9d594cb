//! Answers come back: provisional ones pass, final ones compete, failed attempts make room for the
//! next (RFC 3261 §16.7, §16.8).

use crate::shard::{AttemptResult, Dir};
use crate::sip::message::{HeaderId, Message, Method, Ready};
use crate::sip::proxy::answer::Extra;
use crate::sip::proxy::context::{Context, Progress};
use crate::sip::proxy::forward::{Failure, PROXY_TIMER, ring_deadline, timer_key};
use crate::sip::proxy::{Cx, Entry, Proxy};
use crate::sip::transaction::ClientId;
use bytes::Bytes;

/// C-106: tells a branch that lost from one whose caller gave up (RFC 3326 §2).
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
const REFUSED: &str = "SIP;cause=600;text=\"Refused by another branch\"";

impl Proxy {
    /// Handles one well-formed response.
    pub fn response(&mut self, cx: &mut Cx<'_>, message: &Message, ready: &Ready<'_>) {
        // C-050; what matches no transaction is dropped too (RFC 6026 §7.3, C-072).
        if !self.itself.wrote_via(ready.via.host, ready.via.port) {
            return;
        }
        // C-112: without another Via there is nobody to pass it to; only our CANCEL is answered so.
        if ready.cseq.method != Method::Cancel && message.values(HeaderId::Via).nth(1).is_none() {
            return;
        }
        let status = message.status();
        let Some((client, slot)) = cx.transactions.receive_response(cx.now, message, ready, cx.fx) else {
            return;
        };
        if let Some(Entry::Answered { server, call, .. }) = self.entries.get(slot as usize) {
            // C-071: each 2xx to INVITE, also of branches that lost; nothing else any more.
            let (server, call) = (*server, *call);
            if message.method() == Method::Invite && (200..300).contains(&status) {
                let bytes = self.strip(message);
                if let Some(call) = call {
                    self.saw_another_answer(call, ready.to_tag);
                }
                cx.transactions.respond(cx.now, server, status, bytes, cx.fx);
            }
            return;
        }
        let Some(context) = self.take(slot) else { return };
        let Some(at) = context.branch_of(client) else {
            // An attempt given up earlier: only its 2xx still matters, somebody picked up.
            if (200..300).contains(&status) && message.method() == Method::Invite {
                self.answered(cx, slot, context, usize::MAX, message);
            } else {
                self.put_back(slot, context);
            }
            return;
        };
        cx.counters.response(Dir::In, message.method(), status, context.branches[at].trunk);
        match status {
            ..=100 => self.trying(cx, slot, context, at),
            101..=199 => self.provisional(cx, slot, context, at, message),
            200..=299 => self.answered(cx, slot, context, at, message),
            _ => self.refused(cx, slot, context, at, message),
        }
    }

    /// A 100 goes no further (C-102), but somebody is there.
    fn trying(&mut self, cx: &mut Cx<'_>, slot: u32, mut context: Box<Context>, at: usize) {
        let invite = context.method() == Method::Invite;
        if let Some(branch) = context.branches.get_mut(at)
            && branch.progress == Progress::Sent
        {
            branch.progress = Progress::Trying;
            branch.deadline =
                if invite { ring_deadline(cx, branch) } else { cx.now + cx.plan.timings.t1 * 64 };
        }
        self.put_back(slot, context);
    }

    /// C-102, C-107: passed on at once; Timer C begins anew.
    fn provisional(
        &mut self,
        cx: &mut Cx<'_>,
        slot: u32,
        mut context: Box<Context>,
        at: usize,
        message: &Message,
    ) {
        if let Some(branch) = context.branches.get_mut(at) {
            let first = branch.progress != Progress::Ringing;
            branch.progress = Progress::Ringing;
            // A trunk's ring time runs from the first ring; Timer C from the last.
            if first || branch.trunk.is_none() {
                branch.deadline = ring_deadline(cx, branch);
            }
        }
        self.saw_ringing(cx, &mut context, at, message.status());
        let bytes = self.strip(message);
        let server = context.server;
        cx.counters.response(Dir::Out, message.method(), message.status(), context.trunk_in);
        cx.transactions.respond(cx.now, server, message.status(), bytes, cx.fx);
        self.put_back(slot, context);
    }

    /// RFC 3261 §16.7 steps 5 and 10: the first 2xx wins, the others are called off (C-105).
    fn answered(
        &mut self,
        cx: &mut Cx<'_>,
        slot: u32,
        mut context: Box<Context>,
        at: usize,
        message: &Message,
    ) {
        let bytes = self.strip(message);
        let server = context.server;
        context.closed = true;
        if let Some(branch) = context.branches.get_mut(at) {
            branch.progress = Progress::Done;
            if branch.trunk.is_some() {
                cx.counters.attempt(branch.trunk, AttemptResult::Answered);
            }
        }
        cx.counters.response(Dir::Out, message.method(), message.status(), context.trunk_in);
        cx.transactions.respond(cx.now, server, message.status(), bytes, cx.fx);
        let to = message.to().ok();
        let callee = to.as_ref().and_then(|to| to.tag());
        self.saw_final(cx, &context, at, message.status(), callee);
        self.cancel_branches(cx, &mut context, Some(ELSEWHERE));
        self.finish(cx, slot, context);
    }

    /// A 3xx to 6xx: it competes, and may make the next candidate be tried (T-040).
    fn refused(
        &mut self,
        cx: &mut Cx<'_>,
        slot: u32,
        mut context: Box<Context>,
        at: usize,
        message: &Message,
    ) {
        let status = message.status();
        let mut best = std::mem::take(&mut context.best);
        best.offer(status, Some(message), || self.strip(message));
        context.best = best;
        if status >= 600 {
            context.closed = true;
            if let Some(branch) = context.branches.get_mut(at) {
                branch.progress = Progress::Done;
            }
            self.cancel_branches(cx, &mut context, Some(REFUSED));
        }
        if cx.plan.routing.retry_on.contains(&status) && !context.in_dialog {
            self.failed_attempt(cx, slot, &mut context, at, Failure::Code(status));
        } else if let Some(branch) = context.branches.get_mut(at) {
            // A peer that answers is a peer that works: its other addresses would say the same.
            branch.progress = Progress::Done;
            if branch.trunk.is_some() {
                cx.counters.attempt(branch.trunk, AttemptResult::Rejected);
            }
        }
        self.conclude(cx, slot, context);
    }

    /// A client transaction ended without an answer: Timer B, F, or the wait after a CANCEL.
    pub fn timed_out(&mut self, cx: &mut Cx<'_>, client: ClientId, slot: u32) {
        self.attempt_ended(cx, client, slot, Failure::NoResponse);
    }

    /// A client transaction could not be sent (C-064).
    pub fn unsendable(&mut self, cx: &mut Cx<'_>, client: ClientId, slot: u32) {
        self.attempt_ended(cx, client, slot, Failure::Transport);
    }

    fn attempt_ended(&mut self, cx: &mut Cx<'_>, client: ClientId, slot: u32, failure: Failure) {
        let Some(mut context) = self.take(slot) else { return };
        if let Some(at) = context.branch_of(client)
            && context.branches[at].progress != Progress::Done
        {
            self.lost(cx, slot, &mut context, at, failure);
        }
        self.conclude(cx, slot, context);
    }

    fn lost(&mut self, cx: &mut Cx<'_>, slot: u32, context: &mut Context, at: usize, failure: Failure) {
        let status = if context.cancelled { 487 } else { failure.status() };
        context.best.offer(status, None, Bytes::new);
        self.failed_attempt(cx, slot, context, at, failure);
    }

    /// One of our own timers fired: no response in time, or Timer C.
    pub fn timer(&mut self, cx: &mut Cx<'_>, key: u64) {
        let (slot, at) = (((key & !PROXY_TIMER) >> 8) as u32, (key & 0xff) as usize);
        let Some(mut context) = self.take(slot) else { return self.unjudged(cx, slot) };
        let Some(branch) = context.branches.get_mut(at) else {
            return self.put_back(slot, context);
        };
        branch.timer = None;
        if branch.progress == Progress::Done {
            return self.conclude(cx, slot, context);
        }
        if branch.deadline > cx.now {
            // It was put off since; the wheel is only told now.
            branch.timer = Some(cx.transactions.set_tu_timer(cx.now, branch.deadline, timer_key(slot, at)));
            return self.put_back(slot, context);
        }
        let (client, progress) = (branch.client, branch.progress);
        if let Some(client) = client {
            cx.transactions.cancel_client(cx.now, client, None, cx.fx);
        }
        match progress {
            // RFC 3261 §16.8: with a provisional response the CANCEL brings the final one, or its
            // own time-out does; the branch waits for that.
            Progress::Ringing | Progress::Trying if context.method() == Method::Invite => {
                context.best.offer(408, None, Bytes::new);
                context.closed = true;
                self.conclude(cx, slot, context);
            }
            Progress::Ringing | Progress::Trying | Progress::Sent | Progress::Resolving => {
                self.lost(cx, slot, &mut context, at, Failure::NoResponse);
                self.conclude(cx, slot, context);
            }
            Progress::Done => self.conclude(cx, slot, context),
        }
    }

    /// A client transaction is gone for good; with the last one, the request is forgotten.
    pub fn client_ended(&mut self, slot: u32) {
        match self.entries.get_mut(slot as usize) {
            Some(Entry::Active(context)) => context.live = context.live.saturating_sub(1),
            Some(Entry::Answered { live, .. }) => {
                *live = live.saturating_sub(1);
                if *live == 0 {
                    self.entries.remove(slot as usize);
                }
            }
            Some(Entry::Busy | Entry::Returning(_)) | None => {}
        }
    }

    /// Sends the best answer once every branch has ended (RFC 3261 §16.7 step 6).
    pub(super) fn conclude(&mut self, cx: &mut Cx<'_>, slot: u32, context: Box<Context>) {
        if !context.all_done() {
            return self.put_back(slot, context);
        }
        let tried = context.attempts > 0 || context.in_dialog;
        let (status, made_here) = match context.best.status {
            _ if context.cancelled && context.best.bytes.is_empty() => (487, true),
            0 if !tried => (cx.plan.routing.none_usable, true),
            // C-205, C-109: that a peer is out of service or reach says nothing about us.
            0 | 503 if tried => (500, true),
            status => (status, context.best.bytes.is_empty()),
        };
        let server = context.server;
        // The records are told what the branch said, not what it is called upstream.
        let said = if status == 500 { context.best.status.max(500) } else { status };
        self.saw_final(cx, &context, usize::MAX, said, None);
        // C-078: nobody waits for a 408 to a non-INVITE any more (RFC 4320 §4.2).
        if status == 408 && context.method() != Method::Invite {
            cx.transactions.forget_server(server, cx.fx);
            return self.finish(cx, slot, context);
        }
        cx.counters.response(Dir::Out, context.method(), status, context.trunk_in);
        if made_here {
            let request = context.request.clone();
            let flow = context.flow;
            let extra = if status == 503 { Extra::RetryAfter } else { Extra::None };
            self.answer(cx, server, &request, &flow, status, extra);
        } else {
            let bytes = self.with_challenges(cx, &context);
            cx.transactions.respond(cx.now, server, status, bytes, cx.fx);
        }
        self.finish(cx, slot, context);
    }

    /// C-104: a 401 or 407 carries the challenges of all branches.
    fn with_challenges(&mut self, cx: &Cx<'_>, context: &Context) -> Bytes {
        let best = &context.best;
        if !matches!(best.status, 401 | 407) || best.challenges.len() < 2 {
            return best.bytes.clone();
        }
        let Ok(message) = Message::parse(best.bytes.clone(), &cx.plan.limits) else {
            return best.bytes.clone();
        };
        self.edits.clear();
        for (id, value) in &best.challenges {
            let there = message.headers().any(|line| line.id == *id && line.value == &value[..]);
            if !there {
                self.edits.insert(&message, id.as_str(), value);
            }
        }
        self.scratch.clear();
        self.edits.write(&message, &mut self.scratch);
        Bytes::copy_from_slice(&self.scratch)
    }

    /// The final answer is out: all that is kept is where further 2xx go, while they can come.
    fn finish(&mut self, cx: &mut Cx<'_>, slot: u32, mut context: Box<Context>) {
        for branch in &mut context.branches {
            if let Some(timer) = branch.timer.take() {
                cx.transactions.cancel_timer(timer);
            }
        }
        let (server, live, call) = (context.server, context.live, context.subject.call());
        if live == 0 {
            self.entries.try_remove(slot as usize);
        } else if let Some(entry) = self.entries.get_mut(slot as usize) {
            *entry = Entry::Answered { server, live, call };
        }
    }

    /// A response as it goes upstream: without our Via (C-112), otherwise untouched (C-100).
    fn strip(&mut self, message: &Message) -> Bytes {
        self.edits.clear();
        self.edits.pop_via(message);
        if message.header(HeaderId::ContentLength).is_none() {
            // It may have come by datagram or WebSocket and go on by a stream (RFC 3261 §20.14).
            self.edits.set_content_length(message, message.body().len());
        }
        self.scratch.clear();
        self.edits.write(message, &mut self.scratch);
        Bytes::copy_from_slice(&self.scratch)
    }
}
