//! One connection: heads of bounded size in bounded time, bodies as long as their route takes, answers worked out on a thread that
//! may wait.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::local_user::user_of;
use super::stream::{Answer, events};
use super::{listen::Bounds, now};
use crate::web::guard::HEADERS;
use crate::web::{Asked, Outgoing, STRANGERS_BODY, Web};

/// A request's head may be so long.
const HEAD: usize = 16 << 10;
/// What is said of what is our fault.
const WENT_WRONG: &str = "this went wrong here";
/// And have so many lines.
const LINES: usize = 64;

/// The two ends of a connection, and who signed in at the other one.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) own: SocketAddr,
    pub(super) user: Arc<OnceLock<String>>,
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    ends: Ends,
    web: Arc<Web>,
    bounds: Bounds,
) {
    let address = ends.peer.ip().to_canonical();
    let answer = move |request: Request<Incoming>| {
        let (web, ends) = (Arc::clone(&web), ends.clone());
        async move { Ok::<_, Infallible>(answer(request, ends, web, bounds).await) }
    };
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD)
        .max_headers(LINES)
        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer))
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection of {address} ended: {error}");
    }
}

async fn answer(request: Request<Incoming>, ends: Ends, web: Arc<Web>, bounds: Bounds) -> Response<Answer> {
    let address = ends.peer.ip().to_canonical();
    let (head, body) = request.into_parts();
    let is_head = head.method == hyper::Method::HEAD;
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<(String, String)> =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    // Whoever writes the name into the address as well is to mean the same: where there are two, it is none of ours.
    if let Some(authority) = head.uri.authority()
        && !headers
            .iter()
            .any(|(name, value)| name == "host" && value.eq_ignore_ascii_case(authority.as_str()))
    {
        headers.push(("host".into(), authority.to_string()));
    }
    let mut asked = Asked {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body: Vec::new(),
        local_user: None,
        called: Some(ends.own.ip()),
    };
    let Ok((route, _)) = web.route_of(&asked) else {
        // What nobody asked for is not read, however long it is.
        let refused = tokio::task::spawn_blocking(move || web.answer(&asked, address, now())).await;
        return refused
            .map_or_else(|_| plain(false, 500, WENT_WRONG), |outgoing| response(outgoing, is_head));
    };
    let is_api = route.is_api();
    let mut most = route.body_limit();
    if most > STRANGERS_BODY {
        let own = Arc::clone(&web);
        let looked = tokio::task::spawn_blocking(move || {
            let most = own.body_limit(&asked, address, now());
            (most, asked)
        });
        match looked.await {
            Ok((allowed, same)) => (most, asked) = (allowed, same),
            Err(_) => return plain(is_api, 500, WENT_WRONG),
        }
    }
    if body.size_hint().lower() > most as u64 {
        return plain(is_api, 413, "this is longer than it may be");
    }
    match tokio::time::timeout(bounds.body, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => asked.body = body.to_bytes().to_vec(),
        Ok(Err(_)) => return plain(is_api, 413, "this is longer than it may be"),
        Err(_) => return plain(is_api, 408, "this took too long to come"),
    }
    let (peer, own) = (ends.peer, ends.own);
    let (serving, listens) = (Arc::clone(&web), asked.clone_head());
    let work = move || {
        // Who guesses does so by a form, or with a token.
        let guesses = asked.method == "POST" || asked.headers.iter().any(|(name, _)| name == "authorization");
        asked.local_user = if guesses { user_of(peer, own) } else { None };
        web.answer(&asked, address, now())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outgoing) => {
            if let Some(user) = &outgoing.user {
                // Whoever signs in next over it is at that one's.
                let _ = ends.user.set(user.clone());
            }
            match outgoing.events.clone().filter(|_| !is_head) {
                Some(listening) => {
                    let mut response = response(outgoing, true);
                    *response.body_mut() = events(serving, listens, listening);
                    response
                }
                None => response(outgoing, is_head),
            }
        }
        Err(_) => plain(is_api, 500, WENT_WRONG),
    }
}

fn response(outgoing: Outgoing, is_head: bool) -> Response<Answer> {
    let mut response = Response::builder().status(outgoing.status);
    for (name, value) in outgoing.headers {
        response = response.header(name, value);
    }
    let body = if is_head { Bytes::new() } else { Bytes::copy_from_slice(&outgoing.body) };
    response.body(body.into()).unwrap_or_else(|_| plain(false, 500, WENT_WRONG))
}

/// Says no before anything else was looked at; to a program as it expects it.
fn plain(is_api: bool, status: u16, text: &'static str) -> Response<Answer> {
    let error = || serde_json::json!({"version": 1, "error": {"message": text, "hint": ""}, "problems": []});
    let (kind, body) = if is_api {
        ("application/json", Bytes::from(error().to_string()))
    } else {
        ("text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
    };
    let mut response = Response::new(body.into());
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    // What is left of its body is not read.
    response.headers_mut().insert("connection", hyper::header::HeaderValue::from_static("close"));
    response
}
