//! Waiting, while a call goes on: whatever a driver waits for, the call's events and word for it are heard
//! meanwhile, and may put an end to the waiting.

use super::live::Watch;
use super::reins::{Helm, Reins};
use crate::sip::event::{CallSid, Event};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Why waiting ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The call has ended.
    Gone,
    /// Something else is to be done, or somebody else steers.
    Changed,
}

/// What interrupts a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heed {
    /// Both.
    All,
    /// Not the end of the call.
    Changes,
    /// Neither.
    Nothing,
}

/// What a driver hears.
#[derive(Debug)]
pub(super) enum Heard<W> {
    /// Something has happened to its call.
    Event(Event),
    /// No event will come any more.
    Over,
    /// Word for it.
    Word(W),
    /// Nobody will give it another word.
    Abandoned,
    /// Somebody else takes the call from it.
    Taken,
}

/// What a driver hears by, and whether it steers.
#[derive(Debug)]
pub(super) struct Line<W> {
    watch: Watch,
    words: mpsc::Receiver<W>,
    abandoned: bool,
    reins: Option<Reins>,
}

impl<W> Line<W> {
    pub(super) fn new(watch: Watch, words: mpsc::Receiver<W>) -> Line<W> {
        Line { watch, words, abandoned: false, reins: None }
    }

    /// Whether the call is this driver's to steer.
    pub(super) fn steers(&self) -> bool {
        self.reins.is_some()
    }

    /// It steers no longer.
    pub(super) fn let_go(&mut self) {
        self.reins = None;
    }

    /// Takes no more words: whoever has one turns to another driver. Answers those that came before.
    pub(super) fn close(&mut self) -> Vec<W> {
        self.words.close();
        std::iter::from_fn(|| self.words.try_recv().ok()).collect()
    }

    async fn next(&mut self) -> Heard<W> {
        let lost = async {
            match &mut self.reins {
                Some(reins) => reins.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // A word that was taken before the end counts at the end: to whom that is told, for one.
            word = self.words.recv(), if !self.abandoned => match word {
                Some(word) => Heard::Word(word),
                None => {
                    self.abandoned = true;
                    Heard::Abandoned
                }
            },
            event = self.watch.next() => event.map_or(Heard::Over, Heard::Event),
            () = lost => Heard::Taken,
        }
    }
}

/// A driver that waits while its call goes on.
pub(super) trait Waits: Sized {
    /// What it may be told.
    type Word;

    /// What it hears by.
    fn line(&mut self) -> &mut Line<Self::Word>;

    /// Takes note of what it has heard.
    fn heard(&mut self, heard: Heard<Self::Word>);

    /// Whether its call has ended.
    fn has_ended(&self) -> bool;

    /// Whether something else is to be done than what it is at.
    fn has_changed(&self) -> bool;

    /// Waits for something, unless the call ends or something else is to be done.
    async fn until<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Interrupt> {
        self.wait(what, Heed::All).await
    }

    /// Waits for something, unless what is heeded happens.
    async fn wait<T>(&mut self, what: impl Future<Output = T>, heed: Heed) -> Result<T, Interrupt> {
        tokio::pin!(what);
        loop {
            interrupted(self, heed)?;
            tokio::select! {
                biased;
                heard = self.line().next() => self.heard(heard),
                value = &mut what => return Ok(value),
            }
        }
    }

    /// Waits until something is known; `None` when that takes too long.
    async fn until_known<T>(
        &mut self,
        within: Option<Duration>,
        heed: Heed,
        known: impl Fn(&Self) -> Option<T>,
    ) -> Result<Option<T>, Interrupt> {
        let deadline = async {
            match within {
                Some(within) => tokio::time::sleep(within).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        loop {
            if let Some(value) = known(self) {
                return Ok(Some(value));
            }
            interrupted(self, heed)?;
            tokio::select! {
                biased;
                heard = self.line().next() => self.heard(heard),
                () = &mut deadline => return Ok(None),
            }
        }
    }

    /// Takes the call, unless this driver steers it already, and waits until who steered it has let go.
    /// `true` when somebody did.
    async fn take(&mut self, helm: &Arc<Helm>, sid: CallSid) -> Result<bool, Interrupt> {
        let reins = self.line().reins.get_or_insert_with(|| helm.take(sid));
        if reins.are_held() {
            return Ok(false);
        }
        let (free, from_another) = (reins.free(), reins.are_from_another());
        let free = self.wait(free, Heed::All).await?;
        if let Some(reins) = &mut self.line().reins {
            reins.hold(free);
        }
        Ok(from_another)
    }
}

fn interrupted(driver: &impl Waits, heed: Heed) -> Result<(), Interrupt> {
    match heed {
        Heed::Nothing => Ok(()),
        // When the call has ended, there is nothing left to be steered.
        Heed::All if driver.has_ended() => Err(Interrupt::Gone),
        Heed::Changes if driver.has_ended() => Ok(()),
        Heed::All | Heed::Changes if driver.has_changed() => Err(Interrupt::Changed),
        Heed::All | Heed::Changes => Ok(()),
    }
}
