//! SIGTERM and SIGINT end the server in order; SIGHUP does not kill it.

use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals a server listens to; none of them ends the process by itself from here on.
#[derive(Debug)]
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over.
    pub(super) fn listen() -> io::Result<Signals> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        drop(entered);
        Ok(Signals { runtime, terminate, interrupt, hangup })
    }

    /// Waits until the process is asked to end, and says by which signal.
    pub(super) fn wait(mut self) -> io::Result<&'static str> {
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return Ok("SIGTERM"),
                    _ = self.interrupt.recv() => return Ok("SIGINT"),
                    _ = self.hangup.recv() => tracing::warn!(
                        event = "reload_unavailable",
                        "SIGHUP: reloading is not available in this version; restart to use a changed file"
                    ),
                }
            }
        })
    }
}
