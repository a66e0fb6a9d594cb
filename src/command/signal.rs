//! SIGTERM and SIGINT end the server in order; SIGHUP does not kill it.

use std::io;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals a server listens to; none of them ends the process by itself from here on.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over.
    pub(super) fn listen(runtime: &Runtime) -> io::Result<Signals> {
        let _inside = runtime.enter();
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the process is asked to end, and says by which signal.
    pub(super) fn wait(mut self, runtime: &Runtime) -> &'static str {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return "SIGTERM",
                    _ = self.interrupt.recv() => return "SIGINT",
                    _ = self.hangup.recv() => tracing::warn!(
                        event = "reload_unavailable",
                        "SIGHUP: reloading is not available in this version; restart to use a changed file"
                    ),
                }
            }
        })
    }
}
