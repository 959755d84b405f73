//! What a member, or whoever is between, may send that etcd never does: nothing of it is kept without a bound, and nothing that is
//! left out counts as given.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::{Access, Client, EtcdError, LINE, News, SAID};

/// Answers each request on one address with what `answer` writes, for as long as the test runs.
fn member(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            answer(&String::from_utf8_lossy(&request[..length]), &mut stream);
        }
    });
    let access = Access { endpoints: vec![url.parse().unwrap()], ..Access::default() };
    Client::new(&access, |_, _| None).unwrap()
}

fn whole(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn a_watch_without_an_end_of_line_is_over() {
    let mut client = member(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 x\r\n\r\n");
        let some = [b'x'; 1 << 16];
        // It hangs up on us: what is sent is bounded by what is read.
        for _ in 0..64 * LINE / some.len() {
            if stream.write_all(&some).is_err() {
                return;
            }
        }
        std::thread::sleep(Duration::from_secs(60));
    });
    let mut watch = client.watch("/wgrelay/wg0/head", 1).unwrap();
    assert_eq!(client.next(&mut watch, Duration::from_secs(30)), News::Over);
    assert!(watch.read.len() < 2 * LINE, "{}", watch.read.len());
}

#[test]
fn what_a_member_says_is_one_short_line() {
    for status in [400, 500] {
        for words in ["no", "timed out"] {
            let mut client = member(move |_, stream| {
                let said = format!("{words} \\u001b[2J\\n{}", "x".repeat(100_000));
                let _ = stream.write_all(whole(status, &format!("{{\"message\":\"{said}\"}}")).as_bytes());
            });
            let error = client.range("a", None).unwrap_err().to_string();
            assert!(error.contains(words) && error.len() < SAID + 100, "{}", error.len());
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}

#[test]
fn a_lease_without_a_number_is_none() {
    let mut client = member(|_, stream| {
        let _ = stream.write_all(whole(200, "{\"header\":{\"revision\":\"7\"}}").as_bytes());
    });
    assert!(matches!(client.grant(10), Err(EtcdError::Refused(_))));
}

#[test]
fn a_membership_that_names_no_member_of_etcd_is_refused() {
    let none = Client::new(&Access::default(), |_, _| None);
    assert!(matches!(none.err(), Some(EtcdError::Setup(_))));
}
