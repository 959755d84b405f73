//! An answer's body: whole, or events that come one by one for as long as somebody listens (text/event-stream).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, channel};

use super::now;
use crate::web::events::{EVERY, Listening};
use crate::web::{Asked, Web};

/// So long is told on one connection; then it ends as it should, and the browser comes again.
const WHOLE: Duration = Duration::from_secs(540);
/// Ticks without news after which something is said, so that whoever went away is seen to have.
const QUIET: u32 = 4;

/// A body.
pub(super) enum Answer {
    /// As it is.
    Whole(Full<Bytes>),
    /// What comes.
    Events(Receiver<Bytes>),
}

impl From<Bytes> for Answer {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Events(events) => events.poll_recv(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// Tells news until the other end goes away, may not look any more, or the time is over. One event at most waits to be sent.
pub(super) fn events(web: Arc<Web>, asked: Asked, listening: Arc<Listening>) -> Answer {
    let (tell, told) = channel(1);
    let asked = Arc::new(asked);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(WHOLE, async {
            let (mut last, mut quiet) = (None, 0);
            loop {
                let (own, about, who) = (Arc::clone(&web), Arc::clone(&listening), Arc::clone(&asked));
                let looked = tokio::task::spawn_blocking(move || own.news(&who, &about.topic, now())).await;
                let Ok(Some(news)) = looked else { return };
                let text = match last {
                    None => format!("retry: 5000\ndata: {news:x}\n\n"),
                    Some(before) if before != news => format!("data: {news:x}\n\n"),
                    Some(_) if quiet >= QUIET => ":\n\n".to_owned(),
                    Some(_) => String::new(),
                };
                quiet = if text.is_empty() { quiet + 1 } else { 0 };
                last = Some(news);
                if !text.is_empty() && tell.send(text.into()).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = tell.closed() => return,
                    () = tokio::time::sleep(Duration::from_secs(EVERY)) => {}
                }
            }
        })
        .await;
    });
    Answer::Events(told)
}
