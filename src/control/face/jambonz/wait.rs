//! Waiting, while the call goes on: whatever a verb waits for, the call's events and the API's words
//! are heard meanwhile, and may put an end to it.

use super::driver::Driver;
use std::time::Duration;

/// Why waiting ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The call has ended.
    Gone,
    /// There is another application.
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

impl Driver {
    /// Waits for something, unless the call ends or gets another application.
    pub(super) async fn until<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Interrupt> {
        self.wait(what, Heed::All).await
    }

    pub(super) async fn wait<T>(
        &mut self,
        what: impl Future<Output = T>,
        heed: Heed,
    ) -> Result<T, Interrupt> {
        tokio::pin!(what);
        loop {
            self.interrupted(heed)?;
            tokio::select! {
                biased;
                () = self.hear() => {}
                value = &mut what => return Ok(value),
            }
        }
    }

    /// Waits until something is known; `None` when that takes too long.
    pub(super) async fn until_known<T>(
        &mut self,
        within: Option<Duration>,
        heed: Heed,
        known: impl Fn(&Driver) -> Option<T>,
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
            self.interrupted(heed)?;
            tokio::select! {
                biased;
                () = self.hear() => {}
                () = &mut deadline => return Ok(None),
            }
        }
    }

    fn interrupted(&self, heed: Heed) -> Result<(), Interrupt> {
        match heed {
            Heed::Nothing => Ok(()),
            Heed::All if self.ended => Err(Interrupt::Gone),
            Heed::Changes if self.ended => Ok(()),
            Heed::All | Heed::Changes if self.verbs.is_some() => Err(Interrupt::Changed),
            Heed::All | Heed::Changes => Ok(()),
        }
    }

    /// Takes note of one event, or hears one word.
    async fn hear(&mut self) {
        tokio::select! {
            biased;
            event = self.watch.next() => match event {
                Some(event) => self.note(event),
                None => self.ended = true,
            },
            // It holds a sender itself, so that this never ends.
            word = self.words.recv() => if let Some(word) = word {
                self.heed(word);
            },
        }
    }
}
