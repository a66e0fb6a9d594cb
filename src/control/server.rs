//! Connections: accepted up to a number, each with a bound on every wait.

mod places;
#[cfg(test)]
mod tests;
mod wire;

use super::problem::Problem;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use places::{Places, Seat, Standing};
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wire::{Unwritten, Wire};

/// Connections at once; for one more, the one that has been silent for longest is closed.
const CONNECTIONS: usize = 256;
/// Requests at once; health probes are none of them. One more waits for its turn.
const REQUESTS: usize = 192;
/// How long a client may take for a request's header, and between two requests.
const HEADER: Duration = Duration::from_secs(15);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_secs(300);
/// How long the request that is under way then, or when the node stops, may still take.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// How long a client may take to hear that it was too slow.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Bytes of a request's header at most.
const HEADER_BYTES: usize = 32 * 1024;

/// What is told a client that began a request and did not come to the end of its header.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What is told a client whose request had no turn.
const BUSY: Problem = Problem::unavailable("Too many requests are being answered.");

/// Where connections come from.
pub(super) trait Accept: Send {
    /// What is read and written.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, and who opened it.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, IpAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, from) = TcpListener::accept(self).await?;
        let _ = stream.set_nodelay(true);
        Ok((stream, from.ip()))
    }
}

/// Serves until told to stop; returns when all connections have ended.
pub(super) async fn run(mut listener: impl Accept, router: Router, mut stopping: watch::Receiver<bool>) {
    let places = Places::new(CONNECTIONS, REQUESTS);
    let mut connections = JoinSet::new();
    let told = stopping.clone();
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = accept(&mut listener, &places) => {
                if let Some((stream, seat)) = accepted {
                    connections.spawn(connection(stream, router.clone(), told.clone(), seat));
                }
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept<L: Accept>(listener: &mut L, places: &Arc<Places>) -> Option<(L::Stream, Arc<Seat>)> {
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, places.take(from).await)),
        Err(error) => {
            // Out of file descriptors, most likely: trying at once again would only burn time.
            tracing::warn!(event = "http.accept_failed", %error, "a connection was not accepted");
            sleep(Duration::from_millis(200)).await;
            None
        }
    }
}

async fn connection<S>(stream: S, router: Router, mut stopping: watch::Receiver<bool>, seat: Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // HTTP/1 from the first byte: looking for HTTP/2 would wait for it without a bound.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(HEADER_BYTES);
    let service = TowerToHyperService::new(router);
    let (asked, unwritten) = (Arc::clone(&seat), Unwritten::default());
    let wire = Wire::new(stream, unwritten.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (seat, unwritten) = (Arc::clone(&asked), unwritten.clone());
        let probes = matches!(request.uri().path(), "/healthz" | "/readyz");
        let answer = service.call(request);
        Box::pin(async move {
            if probes {
                seat.spoke();
                return answer.await.map(|answer| unwritten.pass(answer));
            }
            let busy = match unwritten.take() {
                Some(busy) => Some(busy),
                None => seat.busy().await,
            };
            let Some(busy) = busy else { return Ok(unwritten.pass(BUSY.into_json())) };
            answer.await.map(|answer| unwritten.hold(busy, answer))
        })
    });
    let mut serving = builder.serve_connection(TokioIo::new(wire), service);
    let time = sleep(CONNECTION);
    tokio::pin!(time);
    let mut told = false;
    let late = loop {
        let rest = tokio::select! {
            // What a client does wrong is its own affair: nothing to log.
            served = poll_fn(|cx| serving.poll_without_shutdown(cx)) => {
                break served.is_err_and(|error| error.is_timeout());
            }
            // What is under way is answered first: a client that is cut off asks again for what was done.
            () = time.as_mut() => match told {
                true => return,
                false => LAST_ANSWER,
            },
            // Unless it has begun to ask in this moment, nothing is under way.
            () = seat.dismissed(), if !told => match seat.standing() {
                Standing::Silent => return,
                Standing::Waiting => {
                    seat.refuse();
                    LAST_WORD
                }
                Standing::Busy => LAST_ANSWER,
            },
            _ = stopping.wait_for(|stop| *stop), if !told => LAST_ANSWER,
        };
        told = true;
        pin::Pin::new(&mut serving).graceful_shutdown();
        time.as_mut().reset(Instant::now() + rest);
    };
    let parts = serving.into_parts();
    leave(parts.io.into_inner(), late && !parts.read_buf.is_empty()).await;
}

/// Closes a connection; a client that is late hears so, unless it asked for nothing.
async fn leave(mut stream: impl AsyncWrite + Unpin, late: bool) {
    let closing = async {
        if late {
            stream.write_all(TOO_SLOW).await?;
        }
        stream.shutdown().await
    };
    let _ = timeout(LAST_WORD, closing).await;
}
