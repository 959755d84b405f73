//! A message by HTTP: one request, one status, and nothing that the other end says is followed or shown.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::connect::{connect, secure};
use super::{ALLOWED_BY, Means};
use crate::web::notify::{Message, Scheme, Target, Url};

/// An answer's head may be so long, and have so many lines.
const HEAD: usize = 16 << 10;
const LINES: usize = 64;

/// Sends JSON, signed.
pub(super) async fn webhook(message: &Message<'_>, target: &Target, means: &Means) -> Result<(), String> {
    let body = message.json();
    let secret = target.secret.as_ref().ok_or("it has no secret that signs")?;
    let signature = message.signature(secret, &body).map_err(|refused| refused.message)?;
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", message.sending.id.clone()),
        ("webhook-timestamp", message.now.to_string()),
        ("webhook-signature", signature),
    ];
    post(&target.url, means, &headers, body).await
}

/// Sends a text to a topic.
pub(super) async fn ntfy(message: &Message<'_>, target: &Target, means: &Means) -> Result<(), String> {
    // A head is ASCII: the title goes into the text where it is not.
    let title = message.title();
    let (title, text) = if title.is_ascii() {
        (title, message.text())
    } else {
        ("wgrelay".to_owned(), format!("{title}\n{}", message.text()))
    };
    let mut headers = vec![
        ("content-type", "text/plain; charset=utf-8".to_owned()),
        ("title", title),
        ("priority", if message.is_bad() { "high" } else { "default" }.to_owned()),
        ("tags", if message.is_bad() { "warning" } else { "information_source" }.to_owned()),
    ];
    headers
        .extend(target.secret.as_ref().map(|token| ("authorization", format!("Bearer {}", token.as_str()))));
    post(&target.url, means, &headers, text).await
}

async fn post(url: &Url, means: &Means, headers: &[(&str, String)], body: String) -> Result<(), String> {
    let mut request = Request::post(&url.path)
        .header("host", url.authority())
        .header("user-agent", concat!("wgrelay/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    // What is in it is said to nobody: there may be a token.
    let request =
        request.body(Full::new(Bytes::from(body))).map_err(|_| "this cannot be asked".to_owned())?;
    let stream = connect(url, &means.reach, ALLOWED_BY).await?;
    let status = match url.scheme {
        Scheme::Https => exchange(secure(stream, url, &means.tls).await?, request).await?,
        _ => exchange(stream, request).await?,
    };
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(format!("it answers {status}: it leads elsewhere, and that is not followed")),
        _ => Err(format!("it answers {status}")),
    }
}

/// Returns the status; the rest is not read.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<u16, String> {
    let lost = |e: hyper::Error| format!("no answer: {e}");
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD).max_headers(LINES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let answered = sender.send_request(request);
    tokio::pin!(answered);
    let answer = tokio::select! {
        answer = &mut answered => answer,
        // It drives the answer; where it ends first, what came is there.
        ended = connection => {
            ended.map_err(lost)?;
            answered.await
        }
    };
    Ok(answer.map_err(lost)?.status().as_u16())
}
