//! The page beside a network that is up: who enrols is taken in at once, and what is applied there goes back by itself.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::confirm::{peers, run_out, until, waiters};
use crate::foreign_clients::clients_up;
use crate::rig::drive::Wgrelay;
use crate::rig::node::{LONG, Node, PLACE};
use crate::rig::probe::ping;
use crate::rig::topology::{Families, Topology};

const AT: &str = "127.0.0.1:8480";

/// Asks the API, from the host that it is on.
#[track_caller]
fn ask(node: &Node, token: &str, method: &str, path: &str, body: &Value) -> Value {
    let body = if method == "GET" { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {AT}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = node.inside(|| {
        let mut stream = TcpStream::connect(AT).expect("the page listens");
        stream.set_read_timeout(Some(LONG)).expect("a limit");
        stream.write_all(request.as_bytes()).expect("the page reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the page answers");
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

#[test]
fn a_device_that_enrols_is_taken_in_and_what_the_page_applies_goes_back() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let before = peers(&t.relay);
    let database = format!("{PLACE}/web/web.db");
    let page = ["web", "--user", "nobody", "--database", &database];
    let mut serving = relay.command(&[&page[..], &["--listen", AT]].concat());
    let mut serving = t.relay.spawn(serving.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut line = String::new();
    let said = BufReader::new(serving.stdout.take().expect("it is piped")).read_line(&mut line);
    assert!(said.is_ok() && line.contains(AT), "{line:?}");
    let token = relay.ok(&[&page[..], &["token", "add", "ci", "--scope", "operate"]].concat());
    let ask = |method: &str, path: &str, body: Value| ask(&t.relay, token.trim(), method, path, &body);

    // Nothing else waits, so whoever enrols is taken in at once, and for good.
    let made = ask("POST", "/api/v1/links", json!({"name": "server1"}));
    let url = format!("http://{AT}{}", made["path"].as_str().expect("a link has a path"));
    let conf = format!("{PLACE}/server1.conf");
    let told = relay.ok(&["--json", "enroll", &url, "--out", &conf]);
    assert!(told.contains("\"applied\": true"), "{told}");
    assert_eq!(peers(&t.relay), before + 1);
    assert!(ask("GET", "/api/v1/status", Value::Null)["goes_back_in"].is_null());

    // Now something does: a change that was saved and not applied is not applied by a device that enrols.
    ask("POST", "/api/v1/nodes/docker/disable", json!({}));
    let made = ask("POST", "/api/v1/links", json!({"name": "server2"}));
    let url = format!("http://{AT}{}", made["path"].as_str().expect("a link has a path"));
    let told = relay.ok(&["--json", "enroll", &url, "--out", &format!("{PLACE}/server2.conf")]);
    assert!(told.contains("\"applied\": false"), "{told}");
    assert_eq!(peers(&t.relay), before + 1);

    // What cuts somebody off, applied on the page and never confirmed, goes back by itself.
    let up = ask("POST", "/api/v1/up", json!({"confirm": 600}));
    assert!(up["goes_back_in"].as_u64().is_some_and(|left| left <= 600), "{up}");
    assert_eq!(peers(&t.relay), before + 1, "docker went, server2 came");
    let left = ask("GET", "/api/v1/status", Value::Null)["goes_back_in"].as_u64();
    assert!(left.is_some_and(|left| (1..=600).contains(&left)), "{left:?}");
    // Also where the page is gone by then.
    let _ = serving.kill();
    let _ = serving.wait();
    run_out(&t.relay);
    until("the change went back", || waiters(&t.relay).is_empty());
    let status = relay.status();
    assert!(status["goes_back_in"].is_null() && !status["went_back_at"].is_null(), "{status}");
    let text = t.relay.run(&["wg", "show", "wg0", "allowed-ips"]).stdout;
    let list: Value = serde_json::from_str(&relay.ok(&["list", "--json"])).expect("JSON");
    let has = |name: &str| {
        let all = list["nodes"].as_array().expect("nodes");
        let node = all.iter().find(|node| node["name"] == name).expect("it is in the file");
        text.contains(&format!("{}/32", node["address"].as_str().expect("an address")))
    };
    assert!(has("docker") && has("server1") && !has("server2"), "{text}");
}

/// What a host gets of the overview, by the status of HTTP; `None`: nobody answers.
fn looked(from: &Node, at: &str, patience: Duration) -> Option<u16> {
    from.inside(|| {
        let address = at.parse().expect("it is an address");
        let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
        stream.set_read_timeout(Some(LONG)).ok()?;
        let request = format!("GET /api/v1/nodes HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    })
}

#[test]
fn who_comes_through_the_tunnel_is_known_by_his_key() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    clients_up(&t, &relay);
    let reached = || ping(&t.windows, "192.168.3.1") && ping(&t.docker, "192.168.3.1");
    until("the tunnel carries", reached);
    let database = format!("{PLACE}/web/web.db");
    let (tunnel, outside) = ("192.168.3.1:8480", "192.168.39.45:8480");
    let page = ["web", "--user", "nobody", "--database", &database, "--tunnel-viewer", "windows"];
    let mut serving = relay.command(&[&page[..], &["--listen", tunnel, "--listen", outside]].concat());
    let mut serving = t.relay.spawn(serving.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut line = String::new();
    let said = BufReader::new(serving.stdout.take().expect("it is piped")).read_line(&mut line);
    assert!(said.is_ok() && line.contains("192.168.3.1"), "{line:?}");
    assert_eq!(looked(&t.windows, tunnel, LONG), Some(200), "it may look");
    assert_eq!(looked(&t.docker, tunnel, LONG), Some(401), "another node may not");
    assert_eq!(looked(&t.windows, outside, LONG), Some(401), "beside the tunnel nobody is known");
    assert_eq!(looked(&t.relay, tunnel, LONG), Some(401), "nor is whoever is on this host");
    // Who is not taken in any more is not known any more.
    relay.ok(&["disable", "windows", "--up"]);
    assert_ne!(looked(&t.windows, tunnel, Duration::from_secs(3)), Some(200));
    let _ = serving.kill();
    let _ = serving.wait();
}
