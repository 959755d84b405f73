//! The program itself: two processes, what the one that speaks HTTP may, and what slow senders and garbage get.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::rig::network;

struct Served {
    child: Child,
    at: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn served() -> Served {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    network(dir.path());
    let database = dir.path().join("state/web.db");
    std::fs::create_dir(dir.path().join("state")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("--dir")
        .arg(dir.path())
        .args(["web", "--user", "nobody", "--listen", "127.0.0.1:0", "--database"])
        .arg(&database)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at = line.rsplit("//").next().unwrap().trim_end().trim_end_matches('/').parse();
    Served { at: at.unwrap_or_else(|e| panic!("{e}: {line:?}")), child, _dir: dir }
}

fn ask(at: SocketAddr, request: &[u8]) -> String {
    let Ok(mut stream) = TcpStream::connect(at) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Who is not listened to any more may be told so before he has said all.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status_of(pid: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().to_owned()
}

#[test]
fn the_half_that_speaks_http_has_no_rights_and_nothing_sent_to_it_costs_much() {
    let served = served();
    let children = format!("/proc/{0}/task/{0}/children", served.child.id());
    let http: u32 =
        std::fs::read_to_string(children).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(status_of(http, "NoNewPrivs"), "1");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(status_of(http, set).trim_start_matches('0'), "", "{set}");
    }
    assert_ne!(status_of(http, "Uid"), "0");
    // What is put into a terminal counts as its owner's typing: it has none, and reads none.
    let stat = std::fs::read_to_string(format!("/proc/{http}/stat")).unwrap();
    let (session, terminal) = {
        let mut fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(3);
        (fields.next().unwrap().to_owned(), fields.next().unwrap().to_owned())
    };
    assert_eq!((session, terminal.as_str()), (http.to_string(), "0"));
    assert_eq!(std::fs::read_link(format!("/proc/{http}/fd/0")).unwrap(), std::path::Path::new("/dev/null"));
    let resident = || status_of(http, "VmRSS").parse::<u64>().unwrap();
    let host = served.at;
    let asked = format!("GET /login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let page = ask(host, asked.as_bytes());
    assert!(page.starts_with("HTTP/1.1 200"), "{page:.300}");
    assert!(page.to_ascii_lowercase().contains("content-security-policy"), "{page:.900}");
    let elsewhere = asked.replace(&host.to_string(), "attacker.example");
    assert!(ask(host, elsewhere.as_bytes()).starts_with("HTTP/1.1 421"));
    // The name that counts is there once, also where it is in the address, and whatever letters the other has.
    for other in [
        asked.replace("GET /login", "GET http://attacker.example/login"),
        asked.replace("\r\nConnection", "\r\nHost: attacker.example\r\nConnection"),
    ] {
        assert!(ask(host, other.as_bytes()).starts_with("HTTP/1.1 421"), "{other}");
    }
    let letters = [asked.trim_end().as_bytes(), b"\r\nHost: \xff\r\n\r\n"].concat();
    assert!(ask(host, &letters).starts_with("HTTP/1.1 421"));
    let named = asked.replace("GET /login", &format!("GET http://{host}/login"));
    assert!(ask(host, named.as_bytes()).starts_with("HTTP/1.1 200"));
    // A long body is read from whoever may send one.
    let review = format!("POST /review HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4000000\r\n\r\n");
    assert!(ask(host, review.as_bytes()).starts_with("HTTP/1.1 413"));
    let before = resident();
    // A body that is longer than its route takes, and one without an end.
    let long = format!("POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Length: 900000000\r\n\r\n");
    assert!(ask(host, long.as_bytes()).starts_with("HTTP/1.1 413"));
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let answer = ask(host, head.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01"[..], b"\0\0\0\0", b"GET\r\n\r\n", b"\xff\xff\xff\xff\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(host).unwrap();
        let _ = stream.write_all(garbage);
    }
    // More slow senders than there are places: the page still answers whoever comes once they are gone, and grows little.
    let slow: Vec<_> = (0..400)
        .filter_map(|_| {
            let mut stream = TcpStream::connect_timeout(&host, Duration::from_secs(5)).ok()?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").ok()?;
            Some(stream)
        })
        .collect();
    assert!(!slow.is_empty());
    let grown = resident().saturating_sub(before);
    assert!(grown < 60_000, "{grown} kB for {} slow senders", slow.len());
    drop(slow);
    let answers = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        ask(host, asked.as_bytes()).starts_with("HTTP/1.1 200")
    });
    assert!(answers);
}

#[test]
fn where_there_is_no_account_without_rights_root_serves_nothing() {
    if !nix::unistd::geteuid().is_root() {
        // Whoever is no root has no rights to give up.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    network(dir.path());
    for user in ["root", "no-such-account-here"] {
        let out = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
            .arg("--dir")
            .arg(dir.path())
            .args(["web", "--listen", "127.0.0.1:0", "--user", user])
            .output()
            .unwrap();
        assert!(!out.status.success());
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(told.contains("not to be root") && told.contains("useradd"), "{told}");
    }
}

/// Runs `wgrelay web …` on a database of its own, and returns whether it went well and what it printed.
fn administer(dir: &std::path::Path, words: &[&str], typed: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("--dir")
        .arg(dir)
        .args(["web", "--user", "nobody", "--database"])
        .arg(dir.join("state/web.db"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    let out = child.wait_with_output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn the_terminal_makes_the_first_admin_users_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    network(dir.path());
    let run = |words: &[&str], typed: &str| administer(dir.path(), words, typed);
    let (done, link) = run(&["init"], "");
    let secret = link.trim_end().rsplit("/init?link=").next().unwrap().to_owned();
    assert!(done && secret.len() == 43, "{link}");
    assert!(!run(&["user", "add", "anna", "--role", "admin"], "short\n").0);
    assert!(run(&["user", "add", "anna", "--role", "admin"], "correct horse battery staple\n").0);
    assert!(!run(&["init"], "").0, "there is an admin");
    assert!(run(&["user", "list"], "").1.contains("anna: admin"));
    let (done, codes) = run(&["user", "totp", "anna"], "");
    assert!(done && codes.starts_with("otpauth://totp/") && codes.lines().count() == 10, "{codes}");
    assert!(!run(&["user", "remove", "anna"], "").0, "the last admin stays");
    let (done, token) = run(&["token", "add", "ci", "--scope", "operate", "--of", "phone"], "");
    assert!(done && token.starts_with("wgrelay_"), "{token}");
    assert!(run(&["token", "list"], "").1.contains("ci: operate of phone"));
    // Users and tokens that come from the terminal are in the audit, too.
    let file = std::fs::read(dir.path().join("state/web.db")).unwrap();
    for noted in ["the terminalweb user addanna admin", "web token addci operate phone"] {
        assert!(file.windows(noted.len()).any(|piece| piece == noted.as_bytes()), "{noted}");
    }
    for kept in [secret.as_str(), token.trim_end(), "horse"] {
        assert!(!file.windows(kept.len()).any(|piece| piece == kept.as_bytes()), "it is kept as it is");
    }
}
