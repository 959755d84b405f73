//! What `status` tells of a host that is not as it was applied, of a file that is newer, and of what keeps a network down;
//! and whose network it is that is up.

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use crate::rig::drive::Wgrelay;
use crate::rig::node::PLACE;
use crate::rig::topology::{Families, Topology};

/// Returns what of the drift is about peers: their keys, and how they are.
fn drift(status: &Value) -> Vec<(String, Value)> {
    let lines = status["drift"].as_array().expect("status has drift");
    let peers = lines.iter().filter(|line| line["kind"] == "peer");
    peers.map(|line| (line["target"].as_str().unwrap_or_default().to_owned(), line["from"].clone())).collect()
}

fn has_problem(status: &Value, code: &str) -> bool {
    status["problems"].as_array().expect("status has problems").iter().any(|p| p["code"] == code)
}

/// Holds a lock of a node's.
fn lock(there: &Wgrelay<'_>, path: &str) -> Flock<std::fs::File> {
    let file = std::fs::File::open(there.node.outside(path)).expect("it is there");
    Flock::lock(file, FlockArg::LockExclusive).expect("it becomes free")
}

/// Holds the lock that every command takes which changes a network.
fn folder_lock(there: &Wgrelay<'_>) -> Flock<std::fs::File> {
    lock(there, &format!("{}/wg0/.lock", there.dir))
}

/// Keeps the agent from repairs: with the host's lock, too, because a look that is under way has given the folder's back.
fn busy(there: &Wgrelay<'_>) -> [Flock<std::fs::File>; 2] {
    [lock(there, "/run/wgrelay/wg0"), folder_lock(there)]
}

fn key_of(status: &Value, name: &str) -> String {
    let peers = status["peers"].as_array().expect("status has peers");
    let peer = peers.iter().find(|p| p["name"] == name).expect("the peer is told of");
    peer["public_key"].as_str().expect("a peer has a key").to_owned()
}

#[test]
fn drift_and_a_newer_file_are_told() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let status = relay.status();
    assert_eq!((drift(&status), has_problem(&status, "pending")), (vec![], false), "{status}");
    let (windows, docker) = (key_of(&status, "windows"), key_of(&status, "docker"));

    // As while another command is at work: nothing is repaired meanwhile.
    let held = busy(&relay);
    let wg = |words: &[&str]| t.relay.run(&[&["wg", "set", "wg0", "peer"], words].concat()).ok();
    wg(&[&windows, "remove"]);
    wg(&[&docker, "allowed-ips", "10.99.0.0/24"]);
    let stranger = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    wg(&[stranger, "allowed-ips", "10.98.0.0/24"]);
    let seen = drift(&relay.status());
    let mut keys: Vec<&str> = seen.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let mut changed = [windows.as_str(), docker.as_str(), stranger];
    changed.sort_unstable();
    assert_eq!(keys, changed, "{seen:?}");
    assert!(seen.contains(&(windows.clone(), Value::Null)), "one is gone: {seen:?}");
    drop(held);
    relay.up().ok();
    assert_eq!(drift(&relay.status()), vec![]);

    // A spoke gives its peer an endpoint, which roams; only one that is lost was taken by somebody.
    let bundle = relay.ok(&["export", "windows", "--format", "bundle"]);
    let path = format!("{PLACE}/windows.bundle");
    t.windows.write(&path, &bundle);
    let spoke = Wgrelay::on(&t.windows);
    spoke.call(&["up", "--bundle", &path, "--backend", &spoke.backend]).ok();
    let hub = key_of(&spoke.status(), "wsl");
    let wg = |words: &[&str]| t.windows.run(&[&["wg", "set", "wg0", "peer", &hub], words].concat()).ok();
    wg(&["endpoint", "192.168.39.99:4000"]);
    assert_eq!(drift(&spoke.status()), vec![]);
    let held = busy(&spoke);
    let psk = t.windows.run(&["wg", "show", "wg0", "preshared-keys"]).ok();
    let psk = psk.stdout.split_whitespace().nth(1).expect("there is a preshared key").to_owned();
    t.windows.write(format!("{PLACE}/psk"), &psk);
    wg(&["remove"]);
    wg(&[
        "preshared-key",
        &format!("{PLACE}/psk"),
        "persistent-keepalive",
        "25",
        "allowed-ips",
        "192.168.3.0/24,172.19.0.0/16,192.168.33.0/24",
    ]);
    let seen = drift(&spoke.status());
    assert_eq!(seen.len(), 1, "{seen:?}");
    drop(held);
    spoke.up().ok();
    assert_eq!(drift(&spoke.status()), vec![]);

    let file = format!("{}/wg0/network.toml", relay.dir);
    let text = t.relay.run(&["cat", &file]).ok().stdout;
    t.relay.write(&file, &format!("{text}# newer\n"));
    assert!(has_problem(&relay.status(), "pending"));
    t.relay.write(&file, &text);
    assert!(!has_problem(&relay.status(), "pending"));
    let asked = relay.call(&["--node", "windows", "status"]).exits(2);
    assert!(asked.stderr.contains("brought up as wsl, and is not windows"), "{asked}");
    assert_ne!(relay.call(&["--node", "wsl", "status"]).code, Some(2));
    spoke.ok(&["down"]);
    relay.ok(&["down"]);
}

/// A person who says once which node the host is does not have to say it again, and is never made the relay without a word.
#[test]
fn a_host_stays_the_node_that_it_was_brought_up_as() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let host = Wgrelay::relay_of(&t, Families::V4);
    host.ok(&["--node", "windows", "up"]);
    for words in [&["up"][..], &["plan", "--check"], &["rename", "windows", "laptop", "--up"]] {
        host.ok(words);
        assert!(host.call(&["doctor"]).stdout.contains("wsl"), "its one peer is the relay, after {words:?}");
        let status = host.status();
        let peers = status["peers"].as_array().expect("peers").clone();
        assert!(peers.iter().map(|peer| &peer["name"]).eq(["wsl"]), "{words:?}: {status}");
    }
    // After a restart of the host, what is to come back says it.
    host.ok(&["--node", "laptop", "up"]);
    t.relay.run(&["rm", "-f", "/run/wgrelay/wg0/applied.json"]).ok();
    let plan = host.call(&["plan"]);
    assert!(!plan.stdout.contains("docker") && !plan.stderr.contains("docker"), "{plan}");
    host.ok(&["remove", "laptop"]);
    for words in [&["up"][..], &["plan"]] {
        let said = host.call(words).exits(2);
        assert!(said.stderr.contains("this host was brought up as laptop"), "{said}");
    }
    host.ok(&["down"]);
}

#[test]
fn what_keeps_a_network_down_is_told_while_it_is_down() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let hint = |said: &str| said.lines().any(|l| l.contains("hint:") && l.ends_with("up` brings it up"));
    let down = relay.call(&["status"]).exits(4);
    assert!(hint(&down.stderr), "nothing is in its way: {down}");
    t.relay.ip("link add wg0 type bridge");
    for told in [&relay.call(&["plan"]).exits(1), &relay.call(&["status"]).exits(4)] {
        assert!(told.stderr.contains("error[foreign-interface]"), "{told}");
        assert!(!hint(&told.stderr), "{told}");
    }
    assert!(has_problem(&relay.status(), "foreign-interface"));
    t.relay.ip("link del wg0");
    let taken = t.relay.inside(|| std::net::UdpSocket::bind("0.0.0.0:51820").expect("the port is free"));
    assert!(has_problem(&relay.status(), "port-taken"));
    drop(taken);
    relay.edit(|text| text + "\n[[expect]]\nfrom = \"windows\"\nto = \"docker\"\nverdict = \"blocked\"\n");
    assert!(has_problem(&relay.status(), "expectation-broken"));
    let secrets = format!("{}/wg0/secrets.toml", relay.dir);
    relay.edit(|text| text.replace("\"blocked\"", "\"reaches\""));
    t.relay.run(&["chmod", "644", &secrets]).ok();
    assert!(has_problem(&relay.status(), "cannot-come-up"), "{}", relay.status());
}

/// Two folders with a network of one name: the interface is of the one that it was brought up from.
#[test]
fn a_network_that_is_up_from_another_folder_is_left_alone() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let key = || t.relay.run(&["wg", "show", "wg0", "private-key"]).ok().stdout;
    let before = key();
    let other = Wgrelay { dir: format!("{PLACE}/other"), ..Wgrelay::on(&t.relay) };
    other.ok(&["init", "--endpoint", "192.168.39.45:51820"]);
    let command = format!("wgrelay --dir {} --network wg0 down", relay.dir);
    for words in [&["down"][..], &["up"], &["plan"], &["up", "--confirm", "60"]] {
        let refused = other.call(words).exits(1);
        assert!(refused.stderr.contains(&relay.dir) && refused.stderr.contains(&command), "{refused}");
    }
    assert_eq!(key(), before);
    let status = other.status();
    assert!(has_problem(&status, "up-elsewhere") && status["state"] == "degraded", "{status}");
    assert!(!has_problem(&relay.status(), "up-elsewhere"));
    // What was proposed works where it is pasted.
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let program = env!("CARGO_BIN_EXE_wgrelay");
    t.relay.run(&[&[program], &words[..]].concat()).ok();
    other.ok(&["up", "--backend", &other.backend]);
    // Where no folder was named, the one that it is up from is meant: a package that goes away knows no more.
    t.relay.run(&[program, "--network", "wg0", "down"]).ok();
    assert!(!t.relay.ip_shows("-4", "link show").contains("\"wg0\""));
    assert!(!t.relay.outside(format!("{}/wg0/.last-up.json", other.dir)).exists());
}

/// The folder was moved, and a link leads to it: the network is still its own.
#[test]
fn a_folder_that_was_moved_behind_a_link_is_the_same() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let moved = format!("{PLACE}/moved");
    t.relay.run(&["mv", &relay.dir, &moved]).ok();
    let refused = Wgrelay { dir: moved.clone(), ..Wgrelay::on(&t.relay) }.call(&["plan"]).exits(1);
    assert!(refused.stderr.contains(&relay.dir), "{refused}");
    t.relay.run(&["ln", "-s", &moved, &relay.dir]).ok();
    relay.call(&["plan", "--check"]).exits(0);
    assert!(!has_problem(&relay.status(), "up-elsewhere"));
    relay.up().ok();
    t.relay.run(&["rm", &relay.dir]).ok();
    Wgrelay { dir: moved, ..Wgrelay::on(&t.relay) }.ok(&["down"]);
    assert!(!t.relay.ip_shows("-4", "link show").contains("\"wg0\""));
}

/// Who waited for a lock asks again what is up.
#[test]
fn of_two_folders_at_once_one_brings_its_network_up() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let other = Wgrelay { dir: format!("{PLACE}/other"), ..Wgrelay::on(&t.relay) };
    other.ok(&["init", "--endpoint", "192.168.39.45:51820"]);
    // The one has the host and waits for its folder; the other waits for the host.
    let held = folder_lock(&relay);
    std::thread::scope(|scope| {
        let early = scope.spawn(|| relay.up());
        std::thread::sleep(std::time::Duration::from_secs(1));
        let late = scope.spawn(|| other.up());
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(held);
        early.join().expect("it ends").ok();
        let refused = late.join().expect("it ends").exits(1);
        assert!(refused.stderr.contains(&format!("brought up from the folder {}", relay.dir)), "{refused}");
    });
    relay.call(&["plan", "--check"]).exits(0);
}

#[test]
fn the_first_line_of_doctor_is_the_answer() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let well = relay.call(&["doctor"]).exits(0);
    let first = well.stdout.lines().next().unwrap_or_default();
    // Nobody has called yet, which is no bill of health.
    assert!(first.starts_with("wg0: ") && first.contains("warning"), "{well}");
    assert!(well.stdout.contains("never heard since the interface was made"), "{well}");
    assert!(well.stdout.contains("wg0 is up"), "{well}");
    assert!(well.stdout.contains("forwards for the links of wg0 alone"), "{well}");
    // Somebody takes the interface away, and the agent, where it could put it back.
    if relay.backend == "embedded" {
        let agent = t.relay.read("/run/wgrelay/wg0/pid").trim().to_string();
        t.relay.run(&["kill", "-9", &agent]).ok();
    } else {
        t.relay.ip("link del wg0");
    }
    let ill = relay.call(&["doctor"]).exits(4);
    assert!(ill.stdout.starts_with("wg0 does not work here: 1 error"), "{ill}");
    assert!(
        ill.stdout.contains("should be up, and its interface") && !ill.stdout.contains("alone;"),
        "{ill}"
    );
    relay.ok(&["down"]);
    assert!(relay.call(&["doctor"]).exits(0).stdout.contains("wg0 is down"));
}

#[test]
fn a_port_that_a_rule_closes_is_told_with_what_opens_it() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let told = || {
        let said: Value = serde_json::from_str(&relay.ok(&["plan", "--json"])).expect("plan prints JSON");
        let problems = said["problems"].as_array().expect("plan has problems").clone();
        let hint = |p: &Value| p["hint"].as_str().unwrap_or_default().to_owned();
        problems.iter().filter(|p| p["code"] == "port-closed").map(hint).collect::<Vec<_>>()
    };
    let run = |line: &str| t.relay.run(&["sh", "-c", line]).ok();
    assert_eq!(told(), [""; 0]);
    for close in [
        "iptables -A INPUT -p udp --dport 51820 -j DROP",
        "nft 'add table inet mine; add chain inet mine in { type filter hook input priority 0; policy drop; }; \
         add rule inet mine in tcp dport 22 accept; add rule inet mine in iifname lo accept'",
    ] {
        run(close);
        let hints = told();
        assert_eq!(hints.len(), 1, "{close}: {hints:?}");
        // What is proposed is pasted, and opens it.
        let command = hints[0].split('`').nth(1).expect("the command is in backticks");
        run(command);
        assert_eq!(told(), [""; 0], "{command}");
    }
    // What a set with a name holds is not read, as it may be much.
    run("nft delete table inet mine");
    for rules in ["tcp dport @open", "udp dport @open"] {
        run(&format!(
            "nft 'add table inet mine; add set inet mine open {{ type inet_service; }}; \
             add element inet mine open {{ 53 }}; \
             add chain inet mine in {{ type filter hook input priority 0; policy drop; }}; \
             add rule inet mine in {rules} accept'"
        ));
        assert_eq!(told().len(), usize::from(rules.starts_with("tcp")), "{rules}");
        run("nft delete table inet mine");
    }
}
