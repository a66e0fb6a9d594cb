//! Connections: accepted up to a number, each with a bound on every wait.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// How long a client may take for a request's header, and between two requests.
const HEADER: Duration = Duration::from_secs(15);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_secs(300);
/// How long the request that is under way then may still take.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// Bytes of a request's header at most.
const HEADER_BYTES: usize = 32 * 1024;

/// Serves until told to stop; returns when all connections have ended.
pub(super) async fn run(listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let told = stopping.clone();
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => {
                if let Some((stream, permit)) = accepted {
                    connections.spawn(connection(stream, router.clone(), told.clone(), permit));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of file descriptors, most likely: trying at once again would only burn time.
            tracing::warn!(event = "http.accept_failed", %error, "a connection was not accepted");
            tokio::time::sleep(Duration::from_millis(200)).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    mut stopping: watch::Receiver<bool>,
    _room: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    // HTTP/1 from the first byte: looking for HTTP/2 would wait for it without a bound.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(HEADER_BYTES);
    let service = TowerToHyperService::new(router);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let lifetime = tokio::time::sleep(CONNECTION);
    tokio::pin!(lifetime);
    let mut told = false;
    loop {
        tokio::select! {
            // What a client does wrong is its own affair: nothing to log.
            _ = serving.as_mut() => return,
            // What is under way is answered first: a client that is cut off asks again for what was done.
            () = lifetime.as_mut() => match std::mem::replace(&mut told, true) {
                true => return,
                false => {
                    serving.as_mut().graceful_shutdown();
                    lifetime.as_mut().reset(tokio::time::Instant::now() + LAST_ANSWER);
                }
            },
            _ = stopping.wait_for(|stop| *stop), if !told => {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
