//! A connection's bytes: it knows when an answer is out, and waits for no client that does not take what it asked for.

use super::places::Busy;
use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may take nothing of an answer.
const STALLED: Duration = Duration::from_secs(15);

/// Holds what says that a request is being answered, from the answer's last byte on, until it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Unwritten(Arc<Mutex<Option<Busy>>>);

impl Unwritten {
    /// What is there: for the next request, which a client may have sent already.
    pub(super) fn take(&self) -> Option<Busy> {
        self.put(None)
    }

    fn put(&self, busy: Option<Busy>) -> Option<Busy> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), busy)
    }

    /// The answer, which keeps its connection busy.
    pub(super) fn hold(&self, busy: Busy, answer: Response<Body>) -> Response<Answered> {
        answer.map(|body| Answered { body, busy: Some(busy), unwritten: self.clone() })
    }

    /// The answer as it is.
    pub(super) fn pass(&self, answer: Response<Body>) -> Response<Answered> {
        answer.map(|body| Answered { body, busy: None, unwritten: self.clone() })
    }
}

/// An answer's body.
#[derive(Debug)]
pub(super) struct Answered {
    body: Body,
    busy: Option<Busy>,
    unwritten: Unwritten,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        if let Some(busy) = self.busy.take() {
            drop(self.unwritten.put(Some(busy)));
        }
    }
}

/// The bytes.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    unwritten: Unwritten,
    /// While nothing can be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, unwritten: Unwritten) -> Wire<S> {
        Wire { stream, unwritten, stalled: None }
    }

    /// What came of an attempt to write.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The server asks for it when it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        drop(self.unwritten.take());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
