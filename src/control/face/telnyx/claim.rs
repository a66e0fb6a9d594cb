//! What becomes of a command, for all who send it: the first has it carried out, and who repeats it
//! (by the same `command_id`) waits for what becomes of the first (telnyx 2.5).

use super::fault::Fault;
use std::time::Duration;
use tokio::sync::watch;

/// How long a client waits for the answer to a command: longer than a shard usually takes.
const PATIENCE: Duration = Duration::from_secs(3);

/// What becomes of a command; nothing yet, while it is on its way.
#[derive(Clone, Debug)]
pub(super) struct Outcome<T>(watch::Receiver<Option<Result<T, Fault>>>);

impl<T: Clone + Send + Sync + 'static> Outcome<T> {
    /// Has a command carried out. It goes on when nobody waits for it any more: a client that has lost
    /// patience must not leave it half done.
    pub(super) fn of(doing: impl Future<Output = Result<T, Fault>> + Send + 'static) -> Outcome<T> {
        let (told, outcome) = watch::channel(None);
        tokio::spawn(async move {
            told.send_replace(Some(doing.await));
        });
        Outcome(outcome)
    }

    /// Whether nothing becomes of it any more: who carried it out is gone without a word.
    pub(super) fn is_lost(&self) -> bool {
        self.0.has_changed().is_err() && self.0.borrow().is_none()
    }

    /// What became of it, or that nobody knows yet.
    pub(super) async fn known(mut self) -> Result<T, Fault> {
        let known = tokio::time::timeout(PATIENCE, self.0.wait_for(Option::is_some)).await;
        let unknown = || Err(Fault::unavailable("Whether the command is taken is not known yet."));
        known.ok().and_then(Result::ok).and_then(|known| known.clone()).unwrap_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [telnyx 2.5] What a command came to is kept; one whose task has failed came to nothing.
    #[tokio::test(start_paused = true)]
    async fn who_carries_it_out_is_gone() {
        let all: [Outcome<()>; 4] = [
            Outcome::of(async { Ok(()) }),
            Outcome::of(async { Err(Fault::ended()) }),
            Outcome::of(std::future::pending()),
            Outcome::of(async { panic!("a fault of our own") }),
        ];
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(all.each_ref().map(Outcome::is_lost), [false, false, false, true]);
    }
}
