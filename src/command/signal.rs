//! SIGTERM and SIGINT end the server in order; SIGHUP does not kill it.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until the process is asked to end, and says by which signal.
pub(super) async fn asked_to_end() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = hangup.recv() => tracing::warn!(
                event = "reload_unavailable",
                "SIGHUP: reloading is not available in this version; restart to use a changed file"
            ),
        }
    }
}
