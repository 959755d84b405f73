//! The program itself: two processes, what the one that speaks HTTP may, and what slow senders and garbage get.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::rig::network;

pub struct Served {
    pub child: Child,
    pub at: SocketAddr,
    pub dir: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn served() -> Served {
    served_with(&[])
}

/// Serves the page, with what else is to be said to it.
pub fn served_with(more: &[&str]) -> Served {
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
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at = line.rsplit("//").next().unwrap().trim_end().trim_end_matches('/').parse();
    Served { at: at.unwrap_or_else(|e| panic!("{e}: {line:?}")), child, dir }
}

pub fn ask(at: SocketAddr, request: &[u8]) -> String {
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
    // To a program it is told as everything else is; and what nobody serves is not read.
    let nodes = format!("POST /api/v1/nodes HTTP/1.1\r\nHost: {host}\r\nContent-Length: 400000000\r\n\r\n");
    let told = ask(host, nodes.as_bytes());
    assert!(told.starts_with("HTTP/1.1 413") && told.contains("application/json"), "{told:.300}");
    let nothing =
        format!("POST /api/v1/nothing HTTP/1.1\r\nHost: {host}\r\nContent-Length: 400000000\r\n\r\n");
    let told = ask(host, nothing.as_bytes());
    assert!(told.starts_with("HTTP/1.1 404") && told.contains("no such page"), "{told:.300}");
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
    for (user, why) in [("root", "not to have root's rights"), ("no-such-account-here", "useradd")] {
        let out = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
            .arg("--dir")
            .arg(dir.path())
            .args(["web", "--listen", "127.0.0.1:0", "--user", user])
            .output()
            .unwrap();
        assert!(!out.status.success());
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(told.contains(why) && told.contains(user), "{told}");
    }
}

/// Runs `wgrelay web …` on a database of its own, and returns whether it went well and what it printed.
pub fn administer(dir: &std::path::Path, words: &[&str], typed: &str) -> (bool, String) {
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

/// Makes a link for a new node, from the terminal's own token.
fn link(served: &Served, scheme: &str, node: &str) -> String {
    let (done, token) = administer(served.dir.path(), &["token", "add", node, "--scope", "operate"], "");
    assert!(done, "{token}");
    // It opens to its own account alone: lent for a moment, where the test is root.
    let path = served.dir.path().join("state/web.db");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&path).unwrap());
    std::os::unix::fs::chown(&path, Some(nix::unistd::geteuid().as_raw()), None).unwrap();
    let database = wgrelay::web::Database::open(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let asked = wgrelay::web::database::Enrollment {
        node: node.into(),
        platform: "linux".into(),
        maker: "anna".into(),
        expires: now + 3600,
        owner: None,
    };
    let secret = database.add_enrollment(&asked, now).unwrap();
    format!("{scheme}://127.0.0.1:{}/enroll?link={}", served.at.port(), secret.as_str())
}

fn enroll(served: &Served, words: &[&str], out: &str) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("enroll")
        .args(words)
        .arg("--out")
        .arg(served.dir.path().join(out))
        .output()
        .unwrap()
}

fn own_key(served: &Served, out: &str) -> wgrelay::model::PrivateKey {
    let path = served.dir.path().join(out);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\nPresharedKey = ") && text.contains("\nAllowedIPs = "), "{text}");
    text.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap().parse().unwrap()
}

fn network_text(served: &Served, name: &str) -> String {
    std::fs::read_to_string(served.dir.path().join("screens0").join(name)).unwrap()
}

#[test]
fn a_machine_enrols_by_command_with_a_key_that_stays_on_it() {
    let served = served();
    let url = link(&served, "http", "server1");
    // Where its file cannot be written, the link is not used up.
    std::fs::write(served.dir.path().join("there.conf"), "mine").unwrap();
    let out = enroll(&served, &[&url], "there.conf");
    assert!(!out.status.success());
    assert_eq!(std::fs::read_to_string(served.dir.path().join("there.conf")).unwrap(), "mine");
    let out = enroll(&served, &[&url], "wg0.conf");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let private = own_key(&served, "wg0.conf");
    assert!(network_text(&served, "network.toml").contains(&private.public_key().to_string()));
    let exposed = private.expose_base64().to_string();
    let told = [out.stdout, out.stderr].concat();
    for text in [network_text(&served, "secrets.toml"), String::from_utf8_lossy(&told).into_owned()] {
        assert!(!text.contains(&exposed), "the private key is nowhere else");
    }
    // Once; and where nothing came of it, no file stays.
    let out = enroll(&served, &[&url], "again.conf");
    assert!(!out.status.success() && !served.dir.path().join("again.conf").exists());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("this link is not good") && said.contains("hint"), "{said}");
    let out = enroll(&served, &["http://192.0.2.1/enroll?link=x"], "clear.conf");
    assert!(String::from_utf8_lossy(&out.stderr).contains("without TLS"));
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_machine_enrols_with_whoever_proves_to_be_the_page() {
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/web/tls");
    let file = |name: &str| kept.join(name).display().to_string();
    let tls = tempfile::tempdir().unwrap();
    std::fs::set_permissions(tls.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let read = |name: &str| {
        // Its account need not reach the sources.
        let to = tls.path().join(name);
        std::fs::copy(kept.join(name), &to).unwrap();
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o644)).unwrap();
        to.display().to_string()
    };
    let served = served_with(&["--tls-cert", &read("chain.pem"), "--tls-key", &read("key.pem")]);
    let url = link(&served, "https", "server2");
    // Neither the system's authorities nor a stranger's vouch for it, and nothing is sent.
    for words in [&[url.as_str()][..], &[url.as_str(), "--ca", &file("key.pem")]] {
        let out = enroll(&served, words, "stranger.conf");
        assert!(!out.status.success() && !served.dir.path().join("stranger.conf").exists());
    }
    // A name that the certificate does not have is another host's.
    let other = url.replace("127.0.0.1", "127.0.0.2");
    assert!(!enroll(&served, &[&other, "--ca", &file("ca.pem")], "other.conf").status.success());
    assert!(!network_text(&served, "network.toml").contains("server2"));
    let out = enroll(&served, &[&url, "--ca", &file("ca.pem")], "wg0.conf");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let private = own_key(&served, "wg0.conf");
    assert!(network_text(&served, "network.toml").contains(&private.public_key().to_string()));
}

#[test]
fn a_backup_has_the_page_and_puts_it_back_elsewhere() {
    let served = served();
    let dir = served.dir.path();
    assert!(administer(dir, &["user", "list"], "").1.is_empty());
    assert!(administer(dir, &["user", "add", "anna", "--role", "admin"], "correct horse battery staple\n").0);
    assert!(administer(dir, &["token", "add", "ci"], "").0);
    let run = |at: &std::path::Path, words: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
            .arg("--dir")
            .arg(at)
            .args(words)
            .arg("--web-database")
            .arg(at.join("state/web.db"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    // While the page runs and has what it wrote last in its journal.
    let kept = dir.join("kept");
    let said = run(dir, &["backup", kept.to_str().unwrap()]);
    assert!(said.contains("the page's users"), "{said}");
    let owner = |at: &std::path::Path| {
        let about = std::fs::metadata(at.join("state/web.db")).unwrap();
        (std::os::unix::fs::MetadataExt::uid(&about), about.permissions().mode() & 0o777)
    };
    let before = owner(dir);
    assert_eq!(before.1, 0o600);
    // A host that never had a page; and one that has another.
    let other = tempfile::tempdir().unwrap();
    std::fs::set_permissions(other.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for n in 0..2 {
        if n == 0 {
            std::fs::create_dir(other.path().join("state")).unwrap();
            std::os::unix::fs::chown(other.path().join("state"), Some(before.0), None).unwrap();
        } else {
            assert!(administer(other.path(), &["user", "remove", "bob"], "").0);
        }
        let said = run(other.path(), &["restore", kept.to_str().unwrap()]);
        assert!(said.contains("signs in again"), "{said}");
        assert_eq!(owner(other.path()), before);
        assert_eq!(administer(other.path(), &["user", "list"], "").1, "anna: admin\n");
        assert!(administer(other.path(), &["token", "list"], "").1.starts_with("ci: read"));
        assert!(administer(other.path(), &["user", "add", "bob"], "correct horse battery staple\n").0);
    }
    // A link that was put in its place leads root nowhere.
    let secret = other.path().join("secret");
    std::fs::write(&secret, "mine").unwrap();
    std::fs::remove_file(other.path().join("state/web.db")).unwrap();
    std::os::unix::fs::symlink(&secret, other.path().join("state/web.db")).unwrap();
    run(other.path(), &["restore", kept.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "mine");
    assert_eq!(owner(other.path()), before);
}

#[test]
fn root_opens_nobody_elses_database() {
    let served = served();
    let dir = served.dir.path();
    assert!(administer(dir, &["user", "add", "anna", "--role", "admin"], "correct horse battery staple\n").0);
    let (kept, calls) = (dir.join("kept"), dir.join("calls"));
    for work in ["backup", "restore"] {
        let out = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=execve,openat", "-o"])
            .arg(&calls)
            .arg(env!("CARGO_BIN_EXE_wgrelay"))
            .arg("--dir")
            .arg(dir)
            .arg(work)
            .arg(&kept)
            .arg("--web-database")
            .arg(dir.join("state/web.db"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{work}: {}", String::from_utf8_lossy(&out.stderr));
        let calls = std::fs::read_to_string(&calls).unwrap();
        let by = |line: &str| line.split(' ').next().unwrap().to_owned();
        let root = by(calls.lines().next().unwrap());
        let opened: Vec<&str> = calls.lines().filter(|line| line.contains("state/web.db")).collect();
        let opened = opened.iter().filter(|line| line.contains("openat"));
        let (roots, others): (Vec<&&str>, Vec<&&str>) = opened.partition(|line| by(line) == root);
        assert!(roots.is_empty() && !others.is_empty(), "{work}: {roots:?} {others:?}");
    }
}

/// Opens a page's database as whoever it belongs to: the page has it open, too.
fn database_of(served: &Served) -> wgrelay::web::Database {
    let path = served.dir.path().join("state/web.db");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&path).unwrap());
    std::os::unix::fs::chown(&path, Some(nix::unistd::geteuid().as_raw()), None).unwrap();
    let database = wgrelay::web::Database::open(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
    database
}

#[test]
fn a_page_that_listens_is_told_and_then_let_go() {
    let served = served();
    let database = database_of(&served);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    database.add_user("anna", wgrelay::web::view::Role::Viewer, None, now).unwrap();
    let id = database.user("anna").unwrap().unwrap().id;
    let opened = database.open_session(id, "127.0.0.1", now).unwrap();
    let mut stream = TcpStream::connect(served.at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let head = format!(
        "GET /events HTTP/1.1\r\nHost: {}\r\nCookie: wgrelay={}\r\nConnection: close\r\n\r\n",
        served.at,
        opened.cookie.as_str()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = |what: &str| {
        let found = lines.by_ref().map_while(Result::ok).find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no {what}"))
    };
    next("text/event-stream");
    let first = next("data: ");
    // What anybody changes, by whatever hand, is told.
    let file = served.dir.path().join("screens0/network.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "# edited\n").unwrap();
    assert_ne!(next("data: "), first);
    // Once the session is gone, so is the connection: it ends as it should.
    database.remove_user("anna").unwrap();
    assert!(lines.map_while(Result::ok).all(|line| !line.contains("data: ")));
}
