//! Who is told when something happens: what becomes a message, where messages go, and where they do not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wgrelay::web::Watching;
use wgrelay::web::database::{Database, Entry, LOGIN_FAILED};
use wgrelay::web::notify::{Given, Target};
use wgrelay::web::view::Role;

use crate::over_sockets::{Served, administer, served_with};
use crate::rig::{NOW, Rig, body, json as told};

/// So long is waited for what comes within seconds, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Somebody who listens, answers each request with this, and tells what came.
fn receiver(answer: &'static str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, came) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut request, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                request += &line;
            }
            let mut bytes = vec![0; length];
            let _ = reader.read_exact(&mut bytes);
            let _ = stream.write_all(answer.as_bytes());
            request = request + "\r\n" + &String::from_utf8_lossy(&bytes);
            if send.send(request).is_err() {
                return;
            }
        }
    });
    (port, came)
}

/// A server that takes mail in clear, with these offers, and tells what was said to it.
fn mailbox(offers: &'static str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, came) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            let (mut said, mut is_text) = (String::new(), false);
            let _ = stream.write_all(b"220 mail.example\r\n");
            for line in reader.lines() {
                let Ok(line) = line else { break };
                let answer = match line.split(' ').next().unwrap() {
                    "." if is_text => {
                        is_text = false;
                        "250 taken\r\n"
                    }
                    _ if is_text => "",
                    "EHLO" => offers,
                    "DATA" => {
                        is_text = true;
                        "354 go on\r\n"
                    }
                    "STARTTLS" => "454 not now\r\n",
                    _ => "250 OK\r\n",
                };
                said += &(line + "\n");
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
            if send.send(said).is_err() {
                return;
            }
        }
    });
    (port, came)
}

fn list(served: &Served) -> String {
    administer(served.dir.path(), &["notify", "list"], "").1
}

/// Waits until the list says something.
fn told_of(served: &Served, what: &str) {
    let until = Instant::now() + PATIENCE;
    while !list(served).contains(what) {
        assert!(Instant::now() < until, "{what:?} is not in {}", list(served));
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn notify(served: &Served, words: &[&str]) -> String {
    let all: Vec<&str> = ["notify"].iter().chain(words).copied().collect();
    let (done, said) = administer(served.dir.path(), &all, "tk_hunter2\n");
    assert!(done, "{words:?}: {said}");
    said
}

#[test]
fn messages_arrive_signed_where_they_may_go_and_nowhere_else() {
    let served = served_with(&["--notify-allow", "127.0.0.1"]);
    let (port, came) = receiver("HTTP/1.1 204 No Content\r\n\r\n");
    let (ntfy_port, to_phone) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    let (other_port, elsewhere) = receiver("HTTP/1.1 200 OK\r\n\r\n");
    let leads =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{other_port}/\r\n\r\n");
    let (leading_port, led) = receiver(leads.leak());
    let hook = format!("http://127.0.0.1:{port}/hook/in-the-path");
    let secret =
        notify(&served, &["add", "chat", "--kind", "webhook", "--url", &hook, "--events", "failed-login"]);
    let topic = format!("http://127.0.0.1:{ntfy_port}/my-topic");
    notify(
        &served,
        &["add", "phone", "--kind", "ntfy", "--url", &topic, "--events", "failed-login", "--secret"],
    );
    let leading = format!("http://127.0.0.1:{leading_port}/");
    notify(&served, &["add", "leads", "--kind", "webhook", "--url", &leading, "--events", "drift"]);
    // An address of this host that is not allowed, and one of a network that nobody may be sent to.
    let own = format!("http://127.0.0.2:{other_port}/");
    notify(&served, &["add", "own", "--kind", "webhook", "--url", &own, "--events", "drift"]);
    let metadata = "http://169.254.169.254/latest/meta-data";
    notify(&served, &["add", "metadata", "--kind", "webhook", "--url", metadata, "--events", "drift"]);
    for name in ["chat", "phone", "leads", "own", "metadata"] {
        notify(&served, &["test", name]);
    }
    let test = came.recv_timeout(PATIENCE).unwrap();
    let (head, sent) = test.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook/in-the-path HTTP/1.1"), "{head}");
    let sent_json: Value = serde_json::from_str(sent).unwrap();
    assert_eq!(
        (&sent_json["test"], &sent_json["events"], &sent_json["network"]),
        (&json!(true), &json!([]), &json!("screens0"))
    );
    let value = |name: &str| {
        let line =
            head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {head}"));
        line.trim_start_matches(':').trim().to_owned()
    };
    let (id, at) = (value("webhook-id"), value("webhook-timestamp"));
    let key = STANDARD.decode(secret.trim().strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let signature = STANDARD.decode(value("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    ring::hmac::verify(&key, format!("{id}.{at}.{sent}").as_bytes(), &signature).unwrap();
    let test = to_phone.recv_timeout(PATIENCE).unwrap();
    assert!(test.starts_with("POST /my-topic HTTP/1.1") && test.contains("Bearer tk_hunter2"), "{test}");
    led.recv_timeout(PATIENCE).unwrap();
    told_of(&served, "leads: webhook to http://127.0.0.1");
    told_of(&served, "it answers 307: it leads elsewhere, and that is not followed");
    told_of(&served, &format!("127.0.0.2:{other_port} is not sent to"));
    told_of(&served, "169.254.169.254:80 is not sent to: that is no public address");
    assert!(elsewhere.try_recv().is_err(), "a message went where nobody sent it");
    // What was said once is not said again.
    let shown = list(&served);
    for hidden in ["in-the-path", "my-topic", "tk_hunter2", "whsec_", "meta-data"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
    // Somebody is not let in.
    let failed = format!(
        "POST /login HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 31\r\nConnection: close\r\n\r\nuser=mallory&password=password1",
        served.at
    );
    assert!(crate::over_sockets::ask(served.at, failed.as_bytes()).starts_with("HTTP/1.1 401"));
    let event = came.recv_timeout(PATIENCE).unwrap();
    assert!(event.contains("failed-login") && event.contains("127.0.0.1 tried to sign in"), "{event}");
    assert!(
        !event.contains("mallory") && !event.contains("password1"),
        "what was typed is told to nobody: {event}"
    );
    assert!(to_phone.recv_timeout(PATIENCE).unwrap().contains("tried to sign in"));
}

#[test]
fn mail_is_handed_in_and_no_password_goes_in_clear() {
    let served = served_with(&["--notify-allow", "127.0.0.1"]);
    let (port, came) = mailbox("250-mail.example\r\n250 AUTH PLAIN\r\n");
    let (torn_port, torn) = mailbox("250-mail.example\r\n250 STARTTLS\r\n");
    let from_to = ["--from", "wgrelay@example.com", "--to", "anna@example.com"];
    for (name, port, more) in [
        ("mail", port, &[][..]),
        ("password", port, &["--account", "anna", "--secret"]),
        ("torn", torn_port, &["--account", "anna", "--secret"]),
    ] {
        let url = format!("smtp://127.0.0.1:{port}");
        let words = [&["add", name, "--kind", "mail", "--url", &url][..], &from_to, more].concat();
        notify(&served, &words);
        notify(&served, &["test", name]);
    }
    let said = [came.recv_timeout(PATIENCE).unwrap(), came.recv_timeout(PATIENCE).unwrap()];
    let mail = said.iter().find(|said| said.contains("DATA")).unwrap_or_else(|| panic!("{said:?}"));
    for line in
        ["MAIL FROM:<wgrelay@example.com>\n", "RCPT TO:<anna@example.com>\n", "To: <anna@example.com>\n"]
    {
        assert!(mail.contains(line), "{mail}");
    }
    told_of(&served, "it does not offer STARTTLS");
    told_of(&served, "it answers 454");
    let torn = torn.recv_timeout(PATIENCE).unwrap();
    for said in said.iter().chain([&torn]) {
        assert!(!said.contains("AUTH"), "{said}");
    }
    told_of(&served, "of node-online,node-offline,drift,broken-promise,failed-login; the last message");
}

#[test]
fn a_broken_promise_and_what_is_over_become_messages() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    let add = json!({"name": "chat", "kind": "webhook", "url": "https://hooks.example/x", "events": ["broken-promise", "failed-login"]});
    let added = told(&rig.post(&admin, "/api/v1/notifications", &add.to_string()));
    assert!(added["secret"].as_str().unwrap().starts_with("whsec_"), "{added}");
    let mut watching = Watching::new(Vec::new());
    assert!(watching.look(&rig.web, NOW).unwrap().is_empty());
    let before = rig.text();
    let broken = r#"expect = [{ from = "windows", to = "docker", verdict = "blocked", port = "tcp/22" }]"#;
    let path = rig.dir.path().join("screens0/network.toml");
    std::fs::write(&path, before.replace("format = 1\n", &format!("format = 1\n{broken}\n"))).unwrap();
    let look = |watching: &mut Watching, at: u64| watching.look(&rig.web, NOW + at).unwrap();
    assert!(look(&mut watching, 10).is_empty(), "it has to hold");
    let due = look(&mut watching, 60);
    let events = &due[0].sending.events;
    assert_eq!((due.len(), events.len()), (1, 1));
    assert!(events[0].message.contains("windows -> docker") && !events[0].over, "{events:?}");
    // It does not arrive, and is the same one when it is tried again; the tunnel is no place for it, whatever was asked.
    watching.ended(&rig.web, "chat", &Err("it answers 500".into()), NOW + 60).unwrap();
    assert!(look(&mut watching, 65).is_empty());
    let again = look(&mut watching, 75);
    assert_eq!(again[0].sending.id, due[0].sending.id);
    let shown = body(&rig.get(&admin, "/notifications"));
    assert!(
        shown.contains("it answers 500") && !shown.contains("whsec_") && !shown.contains("hooks.example/x")
    );
    let reach = watching.reach().unwrap();
    assert!(reach.tunnel.iter().any(|net| net.to_string() == "192.168.33.0/24"), "{:?}", reach.tunnel);
    watching.ended(&rig.web, "chat", &Ok(()), NOW + 75).unwrap();
    assert!(look(&mut watching, 100).is_empty(), "once");
    std::fs::write(&path, &before).unwrap();
    assert!(look(&mut watching, 200).is_empty());
    let over = look(&mut watching, 240);
    assert!(over[0].sending.events[0].over, "{over:?}");
    // Of a file that makes no sense nothing follows.
    watching.ended(&rig.web, "chat", &Ok(()), NOW + 240).unwrap();
    std::fs::write(&path, "no network").unwrap();
    assert!(look(&mut watching, 300).is_empty() && look(&mut watching, 400).is_empty());
    assert!(!watching.reach().unwrap().tunnel.is_empty(), "what was known of the tunnel holds");
}

#[test]
fn what_strangers_do_is_one_message_in_a_while() {
    let rig = Rig::new();
    let given = Given { name: "chat", kind: "webhook", url: "https://hooks.example/x", ..Given::default() };
    rig.web.database.add_target(&Target::read(&given).unwrap(), NOW).unwrap();
    let fail = |database: &Database| {
        let entry = Entry {
            who: "anna".into(),
            address: "192.0.2.7".into(),
            action: LOGIN_FAILED.into(),
            status: 401,
            ..Entry::default()
        };
        database.record(&entry).unwrap();
    };
    let mut watching = Watching::new(Vec::new());
    fail(&rig.web.database);
    assert!(watching.look(&rig.web, NOW).unwrap().is_empty(), "what was before is not told");
    let mut messages = 0;
    for at in (5..305).step_by(5) {
        (0..10).for_each(|_| fail(&rig.web.database));
        for due in watching.look(&rig.web, NOW + at).unwrap() {
            messages += 1;
            assert!(due.sending.events.len() <= 50);
            watching.ended(&rig.web, "chat", &Ok(()), NOW + at).unwrap();
        }
    }
    assert!((5..=11).contains(&messages), "{messages}");
}

#[test]
fn nobody_but_an_admin_says_who_is_told() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    let add = |name: &str, url: &str| {
        let form = format!("csrf={}&do=add&kind=webhook&name={name}&url={url}&drift=yes", admin.csrf);
        rig.post(&admin, "/notifications", &form)
    };
    let made = add("chat", "https%3A%2F%2Fhooks.example%2Fsecret-path");
    assert!(body(&made).contains("whsec_"), "{}", body(&made));
    assert_eq!(add("chat", "https%3A%2F%2Fhooks.example").status, 409);
    assert_eq!(add("file", "file%3A%2F%2F%2Fetc%2Fpasswd").status, 400);
    let without =
        format!("csrf={}&do=add&kind=webhook&name=none&url=https%3A%2F%2Fhooks.example", admin.csrf);
    assert_eq!(rig.post(&admin, "/notifications", &without).status, 400, "of nothing");
    let shown = told(&rig.get(&admin, "/api/v1/notifications"));
    let expected = json!([{
        "name": "chat", "kind": "webhook", "to": "https://hooks.example", "recipient": null, "events": ["drift"], "tried": null,
        "failure": null,
    }]);
    assert_eq!(shown["notifications"], expected);
    let audit = body(&rig.get(&admin, "/api/v1/audit"));
    assert!(
        audit.contains("add chat") && !audit.contains("secret-path") && !audit.contains("whsec_"),
        "{audit}"
    );
    assert_eq!(rig.post(&admin, "/api/v1/notifications/chat/test", "").status, 200);
    assert_eq!(rig.post(&admin, "/api/v1/notifications/nobody/test", "").status, 404);
    assert_eq!(rig.send(&rig.request(&admin, "DELETE", "/api/v1/notifications/chat", b"")).status, 200);
    assert_eq!(rig.send(&rig.request(&admin, "DELETE", "/api/v1/notifications/chat", b"")).status, 404);
}

#[test]
fn whoever_does_not_prove_to_be_that_host_is_told_nothing() {
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/web/tls");
    let tls = tempfile::tempdir().unwrap();
    std::fs::set_permissions(tls.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let read = |name: &str| {
        // Its account need not reach the sources.
        let to = tls.path().join(name);
        std::fs::copy(kept.join(name), &to).unwrap();
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        to.display().to_string()
    };
    let there = served_with(&["--tls-cert", &read("chain.pem"), "--tls-key", &read("key.pem")]);
    let allow = ["--notify-allow", "127.0.0.1"];
    let (known, unknown) =
        (served_with(&[&allow[..], &["--notify-ca", &read("ca.pem")]].concat()), served_with(&allow));
    let url = format!("https://127.0.0.1:{}/nothing", there.at.port());
    for (served, told) in [(&known, "it answers 404"), (&unknown, "does not prove who it is")] {
        notify(served, &["add", "there", "--kind", "webhook", "--url", &url]);
        notify(served, &["test", "there"]);
        told_of(served, told);
    }
}
