//! Reading the store from the control plane: a few at a time, none for too long.

use super::problem::Problem;
use crate::record::{QueryError, Reader, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Readers at once; others wait.
const READERS: usize = 4;
/// How long a reader may wait for its turn, and how long it may read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The store as the control plane reads it.
#[derive(Debug)]
pub(super) struct Records {
    reader: Reader,
    turns: Arc<Semaphore>,
}

impl Records {
    pub(super) fn new(reader: Reader) -> Records {
        Records { reader, turns: Arc::new(Semaphore::new(READERS)) }
    }

    /// Reads, after everything that was sent to the store before has been written.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Session) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Problem::busy())?.map_err(|_| Problem::internal())?;
        let reader = self.reader.clone();
        let session = spawn_blocking(move || {
            // A writer in trouble must not hide what is written already.
            if reader.failing() || !reader.settle() {
                tracing::warn!(event = "records.behind", "the newest records are not yet readable");
            }
            reader.session()
        });
        let session = session.await.map_err(|_| Problem::internal())?.map_err(problem)?;
        let interrupt = session.interrupt_handle();
        let reading = spawn_blocking(move || {
            let result = query(&session);
            // The turn is over when the reading is, not when the client has lost patience.
            drop(turn);
            result
        });
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(result) => result.map_err(|_| Problem::internal())?.map_err(problem),
            Err(_) => {
                if let Some(interrupt) = interrupt {
                    interrupt.interrupt();
                }
                Err(Problem::busy())
            }
        }
    }
}

fn problem(error: QueryError) -> Problem {
    match error {
        QueryError::Interrupted => Problem::busy(),
        QueryError::Store(error) => {
            tracing::error!(event = "records.read_failed", %error, "records cannot be read");
            Problem::internal()
        }
    }
}
