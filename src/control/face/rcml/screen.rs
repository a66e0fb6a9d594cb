//! Whom a Dial reaches may have a document of its own first: it runs on the called leg, and unless it
//! ends that leg, the two parties are joined (rcml 5.3).
//!
//! Here, too, is who tells of a called leg's life (rcml 5.2).

use super::callback::{Callback, Kind};
use super::dial::Dialling;
use super::driver::{Driver, Role};
use super::{CHANGES, Change, Program, Source};
use crate::control::engine::Engine;
use crate::control::wait::{Heed, Interrupt, Waits};
use crate::record::CallRecord;
use crate::sip::command::Action;
use crate::sip::event::{CallSid, CallStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

impl Driver {
    /// Waits for who answers first, lets it run its document, and joins it.
    pub(super) async fn screen(&mut self, longest: Duration) -> Result<(), Interrupt> {
        let answered = |driver: &Driver| driver.dialling.as_ref().and_then(Dialling::answer);
        let Some(Some(sid)) = self.until_known(Some(longest), Heed::All, answered).await? else {
            return Ok(());
        };
        if let Some((record, source)) = self.to_screen(sid) {
            let verdict = screening(&self.engine, record, source);
            // Somebody else may steer that leg by now: then it is no longer this Dial's to join.
            if !self.until(verdict).await?.unwrap_or(false) {
                return Ok(());
            }
        }
        if let Err(error) = self.order(Action::Join(sid)).await? {
            tracing::info!(event = "rcml.screened", call = %self.sid(), ?error, "a leg was not joined");
            self.unjoined();
        }
        Ok(())
    }

    /// The document of a leg. One that a trunk called beside the others has no noun of its own: what
    /// numbers have to pass, it has to pass.
    fn to_screen(&self, sid: CallSid) -> Option<(CallRecord, Source)> {
        let legs = &self.dialling.as_ref()?.legs;
        let known = legs.iter().find(|leg| leg.record.sid == sid);
        let leg = known.or_else(|| legs.iter().find(|leg| leg.screen.is_some()))?;
        let record = CallRecord { sid, status: CallStatus::InProgress, ..leg.record.clone() };
        Some((record, leg.screen.clone()?))
    }
}

/// Runs a document on a leg that has answered; tells whether the leg may be joined.
fn screening(engine: &Arc<Engine>, record: CallRecord, source: Source) -> oneshot::Receiver<bool> {
    let sid = record.sid;
    if engine.live.call(sid).is_none() {
        // No account, no record: nothing was told of its beginning.
        engine.live.expect(record);
    }
    let (verdict, told) = oneshot::channel();
    super::start(engine, sid, None, Role::Now, |driver| {
        driver.verdict = Some(verdict);
        Some(Program { first: source, fallback: None })
    });
    told
}

/// Tells of a leg that is about to be dialled.
pub(super) struct Observer {
    driver: Driver,
    /// Words that nobody gives: without it the driver would think itself abandoned.
    words: mpsc::Sender<Change>,
}

impl Observer {
    /// Made before the leg is ordered, so that nothing is missed.
    pub(super) fn new(
        engine: &Arc<Engine>,
        record: CallRecord,
        source: Source,
        kinds: &[Kind],
    ) -> Option<Observer> {
        let sid = record.sid;
        engine.live.expect(record);
        let (words, changes) = mpsc::channel(CHANGES);
        let callback = Callback::new(engine, source, kinds);
        let driver = Driver::new(engine, sid, Some(callback), changes, Role::Observer)?;
        Some(Observer { driver, words })
    }

    /// Begins to tell; of this call.
    pub(super) fn begin(self) -> CallRecord {
        let Observer { driver, words } = self;
        let record = driver.call.record.clone();
        tokio::spawn(async move {
            driver.run(None).await;
            drop(words);
        });
        record
    }
}
