//! Who steers a call: one driver at most, whatever face it is of.
//!
//! Who begins to steer takes the [`Reins`] from who has them. The former hears of it, gives up what it is
//! at without a word to its application, and lets go; the new one waits for that, so that its orders come
//! behind the former's. A driver without the reins may go on to follow the call and to tell of it.

use crate::sip::event::CallSid;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// Held by who steers.
type Turn = tokio::sync::Mutex<()>;

/// The last who took each call.
#[derive(Debug, Default)]
pub(super) struct Helm {
    calls: Mutex<HashMap<CallSid, Claim>>,
    claims: AtomicU64,
}

#[derive(Debug)]
struct Claim {
    id: u64,
    /// Dropped when somebody else takes the call.
    _theirs: oneshot::Sender<Infallible>,
    turn: Arc<Turn>,
}

/// The right to steer a call, until somebody else takes it, or it is dropped.
#[derive(Debug)]
pub(super) struct Reins {
    helm: Arc<Helm>,
    sid: CallSid,
    id: u64,
    lost: Option<oneshot::Receiver<Infallible>>,
    turn: Arc<Turn>,
    held: Option<OwnedMutexGuard<()>>,
    from_another: bool,
}

impl Helm {
    /// Takes a call from who steers it, if anybody does.
    pub(super) fn take(self: &Arc<Helm>, sid: CallSid) -> Reins {
        let id = self.claims.fetch_add(1, Relaxed);
        let (theirs, lost) = oneshot::channel();
        let mut calls = self.calls();
        let turn = calls.get(&sid).map(|former| Arc::clone(&former.turn));
        let from_another = turn.is_some();
        let turn = turn.unwrap_or_default();
        // Where nobody steers, nobody has to let go first.
        let free = Arc::clone(&turn);
        let held = if from_another { None } else { free.try_lock_owned().ok() };
        calls.insert(sid, Claim { id, _theirs: theirs, turn: Arc::clone(&turn) });
        drop(calls);
        let helm = Arc::clone(self);
        Reins { helm, sid, id, lost: Some(lost), turn, held, from_another }
    }

    /// Whether somebody steers a call.
    pub(super) fn is_steered(&self, sid: CallSid) -> bool {
        self.calls().contains_key(&sid)
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<CallSid, Claim>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reins {
    /// Whether somebody else steered the call until now.
    pub(super) fn are_from_another(&self) -> bool {
        self.from_another
    }

    /// Whether the former has let go.
    pub(super) fn are_held(&self) -> bool {
        self.held.is_some()
    }

    /// Ends when the former has let go; to be given to [`Reins::hold`].
    pub(super) fn free(&self) -> impl Future<Output = OwnedMutexGuard<()>> + Send + use<> {
        Arc::clone(&self.turn).lock_owned()
    }

    /// From here on the call is steered by who has these.
    pub(super) fn hold(&mut self, free: OwnedMutexGuard<()>) {
        self.held = Some(free);
    }

    /// Ends when somebody else takes the call: once.
    pub(super) async fn lost(&mut self) {
        match &mut self.lost {
            Some(lost) => {
                let _ = lost.await;
                self.lost = None;
            }
            None => std::future::pending().await,
        }
    }
}

impl Drop for Reins {
    fn drop(&mut self) {
        let mut calls = self.helm.calls();
        if calls.get(&self.sid).is_some_and(|claim| claim.id == self.id) {
            calls.remove(&self.sid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const CALL: CallSid = CallSid(1);

    async fn is_free(reins: &mut Reins) -> bool {
        if reins.are_held() {
            return true;
        }
        match timeout(Duration::from_secs(1), reins.free()).await {
            Ok(free) => reins.hold(free),
            Err(_) => return false,
        }
        reins.are_held()
    }

    async fn is_lost(reins: &mut Reins) -> bool {
        timeout(Duration::from_secs(1), reins.lost()).await.is_ok()
    }

    /// Each takes the call from the one before, and has it when that one has let go.
    #[tokio::test(start_paused = true)]
    async fn one_after_the_other() {
        let helm = Arc::new(Helm::default());
        assert!(!helm.is_steered(CALL));
        let mut first = helm.take(CALL);
        assert!(first.are_held());
        assert!(!first.are_from_another() && is_free(&mut first).await && !is_lost(&mut first).await);
        let mut second = helm.take(CALL);
        assert!(is_lost(&mut first).await);
        // It is told once.
        assert!(!is_lost(&mut first).await);
        assert!(second.are_from_another() && !is_free(&mut second).await);
        // Who gives up before its turn gives the call to nobody.
        let mut third = helm.take(CALL);
        assert!(is_lost(&mut second).await);
        drop(second);
        assert!(!is_free(&mut third).await);
        drop(first);
        assert!(is_free(&mut third).await && helm.is_steered(CALL));
        let mut other = helm.take(CallSid(2));
        assert!(!other.are_from_another() && is_free(&mut other).await);
        drop(third);
        assert!(!helm.is_steered(CALL) && helm.is_steered(CallSid(2)));
        assert!(!helm.take(CALL).are_from_another());
    }
}
