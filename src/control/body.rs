//! The body of a request, read as a whole: with a bound on its length, and on the time it takes.

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use std::time::Duration;

/// Bytes of a body at most (Calls API, 12).
const LONGEST: usize = 64 * 1024;
/// How long a client may take for it, as for the head before it.
const TIME: Duration = Duration::from_secs(15);

/// Why a body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// 413.
    TooLong,
    /// 408.
    TooSlow,
}

/// Reads it.
pub(super) async fn read(body: Body) -> Result<Bytes, Unread> {
    match tokio::time::timeout(TIME, to_bytes(body, LONGEST)).await {
        Ok(read) => read.map_err(|_| Unread::TooLong),
        Err(_) => Err(Unread::TooSlow),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use axum::body::HttpBody;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body that never comes.
    struct Never;

    impl HttpBody for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    /// A body that never comes, for the tests of those who read one.
    pub(in crate::control) fn never() -> Body {
        Body::new(Never)
    }

    /// [restcomm-calls 12] A body has a length, and a time.
    #[tokio::test(start_paused = true)]
    async fn bodies_have_bounds() {
        assert_eq!(read(Body::from(vec![b'x'; LONGEST])).await.map(|body| body.len()), Ok(LONGEST));
        assert_eq!(read(Body::from(vec![b'x'; LONGEST + 1])).await, Err(Unread::TooLong));
        let began = tokio::time::Instant::now();
        assert_eq!(read(never()).await, Err(Unread::TooSlow));
        assert_eq!(began.elapsed(), TIME);
    }
}
