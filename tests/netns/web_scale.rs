//! What the page costs at many spokes, while their network is up: how long a first view takes, what the processes have, and what they
//! do while somebody looks and nothing happens. `WGRELAY_SPOKES=5000`: `scripts/soak page`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use wgrelay::model::PrivateKey;

use crate::rig::drive::Wgrelay;
use crate::rig::need::{NAMESPACES, met};
use crate::rig::node::{LONG, Node, PLACE};

const AT: &str = "127.0.0.1:8480";
const PASSWORD: &str = "correct horse battery staple";
/// All processes together, in kB: of an optimised program at 5,000 spokes they have less than 60 MB, and one that is not has more.
const MEMORY: u64 = 300_000;

fn key(number: u32) -> PrivateKey {
    let mut bytes = [9; 32];
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    PrivateKey::from_random(bytes)
}

/// A relay whose network has so many spokes, in fifty groups.
fn relay(node: &Node, count: u32) -> Wgrelay<'_> {
    let relay = Wgrelay::on(node).with_backend("embedded");
    let hub = key(u32::MAX);
    let mut network = format!(
        "[network]\nname = \"wg0\"\nsubnet = \"10.77.0.0/16\"\npreshared_keys = false\n\n[node.hub]\nrole = \"relay\"\n\
         address = \"10.77.0.1\"\nendpoint = \"127.0.0.1:51820\"\npublic_key = \"{}\"\n",
        hub.public_key()
    );
    for number in 0..count {
        let (high, low, public, group) =
            (number / 250, number % 250 + 2, key(number).public_key(), number % 50);
        let _infallible = write!(
            network,
            "\n[node.spoke{number}]\naddress = \"10.77.{high}.{low}\"\npublic_key = \"{public}\"\ngroups = [\"g{group}\"]\n"
        );
    }
    node.write(relay.network_file(), &network);
    node.write(
        format!("{}/wg0/secrets.toml", relay.dir),
        &format!("[private_keys]\nhub = \"{}\"\n", &*hub.expose_base64()),
    );
    node.run(&["chmod", "700", &relay.dir, &format!("{}/wg0", relay.dir)]).ok();
    relay.up().ok();
    relay
}

/// Asks the page, and returns the whole answer.
fn ask(node: &Node, head: &str, cookie: &str, body: &str) -> String {
    let request = format!(
        "{head} HTTP/1.1\r\nHost: {AT}\r\nOrigin: http://{AT}\r\nConnection: close\r\nCookie: {cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    node.inside(|| {
        let mut stream = TcpStream::connect(AT).expect("the page listens");
        stream.set_read_timeout(Some(LONG)).expect("a limit");
        stream.write_all(request.as_bytes()).expect("the page reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the page answers");
        answer
    })
}

/// Memory in kB, and processor time in hundredths of a second.
fn cost(pid: &str) -> (u64, u64) {
    let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the process runs");
    let status = text("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let memory = line.trim().trim_end_matches(" kB").parse().expect("a number");
    let stat = text("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let time = |at: usize| fields[at].parse::<u64>().expect("a number");
    (memory, time(11) + time(12))
}

#[test]
fn a_page_of_many_spokes_comes_and_costs_little() {
    if !met(&NAMESPACES) {
        return;
    }
    let asked = std::env::var("WGRELAY_SPOKES").ok().and_then(|n| n.parse().ok());
    let count: u32 = asked.unwrap_or(60);
    let node = Node::new("relay");
    let relay = relay(&node, count);
    let database = format!("{PLACE}/web/web.db");
    let page = ["web", "--user", "nobody", "--database", &database];
    let mut add = relay.command(&[&page[..], &["user", "add", "anna", "--role", "viewer"]].concat());
    let mut adding = node.spawn(add.stdin(Stdio::piped()));
    let mut line = adding.stdin.take().expect("it is piped");
    writeln!(line, "{PASSWORD}").expect("it reads");
    drop(line);
    assert!(adding.wait().expect("it ends").success());
    let mut serving = relay.command(&[&page[..], &["--listen", AT]].concat());
    // As its unit has it.
    serving.env("MALLOC_ARENA_MAX", "1");
    let mut serving = node.spawn(serving.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut line = String::new();
    let said = BufReader::new(serving.stdout.take().expect("it is piped")).read_line(&mut line);
    assert!(said.is_ok() && line.contains(AT), "{line:?}");

    let form = format!("user=anna&password={}", PASSWORD.replace(' ', "+"));
    let signed_in = ask(&node, "POST /login", "", &form);
    let cookie = signed_in.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("she is let in");
    let cookie = cookie.split(';').next().expect("a cookie").to_owned();
    for (name, path) in [
        ("overview", "/"),
        ("nodes", "/nodes"),
        ("a node", "/nodes/spoke7"),
        ("matrix", "/matrix"),
        ("what changes", "/live"),
    ] {
        let began = Instant::now();
        let answer = ask(&node, &format!("GET {path}"), &cookie, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:.300}");
        println!("{count} spokes: {name} {} kB in {:?}", answer.len() / 1000, began.elapsed());
    }
    // The page's two processes, and the network's agent.
    let root = serving.id().to_string();
    let http = std::fs::read_to_string(format!("/proc/{root}/task/{root}/children")).expect("it has a child");
    let pids = [root, http.trim().to_owned(), host_pid(&node)];
    let costs = || pids.iter().map(|pid| cost(pid)).collect::<Vec<_>>();
    let seconds = if asked.is_some() { 60 } else { 1 };
    let cost_of = |what: &str, work: &dyn Fn()| {
        let before = costs();
        work();
        let after = costs();
        let mut together = (0, 0);
        for ((name, was), is) in
            ["half with rights", "half with HTTP", "agent"].iter().zip(&before).zip(&after)
        {
            let (memory, time) = (is.0, is.1 - was.1);
            together = (together.0 + memory, together.1 + time);
            println!(
                "{count} spokes, {what}: {name} {:.1} MB, {:.2} % of a core",
                memory as f64 / 1000.0,
                time as f64 / seconds as f64
            );
        }
        let (memory, time) = together;
        println!(
            "{count} spokes, {what}: together {:.1} MB, {:.2} % of a core",
            memory as f64 / 1000.0,
            time as f64 / seconds as f64
        );
        memory
    };
    let wait = || std::thread::sleep(Duration::from_secs(seconds));
    cost_of("nobody looks", &wait);
    let together = cost_of("one listens", &|| {
        let _listening = node.inside(|| {
            let mut stream = TcpStream::connect(AT).expect("the page listens");
            let request = format!("GET /events HTTP/1.1\r\nHost: {AT}\r\nCookie: {cookie}\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("the page reads");
            stream
        });
        wait();
    });
    assert!(together < MEMORY, "{together} kB");
    let _ = serving.kill();
    let _ = serving.wait();
}

/// The agent's number outside of its node.
fn host_pid(node: &Node) -> String {
    let inside = node.read("/run/wgrelay/wg0/pid").trim().to_owned();
    let processes = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(&node.pid().to_string());
    let is_it = |pid: &String| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let is_here = own.is_some() && namespace(pid) == own;
        is_here && numbers.split_whitespace().last() == Some(&inside)
    };
    let mut found = processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_it);
    found.next().expect("the agent runs")
}
