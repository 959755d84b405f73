//! A change on trial: it goes back by itself, whatever became of the terminal and of the process that waits, unless it is
//! confirmed. Where a test needs the time to have run out, it says so in the file of the trial instead of waiting.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::foreign_clients::clients_up;
use crate::rig::drive::{Wgrelay, backend};
use crate::rig::need::{NAMESPACES, met};
use crate::rig::node::{LONG, Node};
use crate::rig::probe::{Flow, ping, ping_within};
use crate::rig::snapshot::Snapshot;
use crate::rig::topology::{Families, Topology};

const FOLDER: &str = "/run/wgrelay/wg0";
const TRIAL: &str = "/run/wgrelay/wg0/unconfirmed.json";

pub fn waiters(node: &Node) -> Vec<u32> {
    let mut all = node.processes();
    all.retain(|(_, line)| line.contains("confirm --wait"));
    all.into_iter().map(|(pid, _)| pid).collect()
}

#[track_caller]
pub fn until(what: &str, reached: impl Fn() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < LONG, "not reached: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets the time of a trial run out.
pub fn run_out(node: &Node) {
    let text = node.read(TRIAL);
    let (head, tail) = text.split_once("\"deadline_ms\":").expect("the trial has a deadline");
    let digits = tail.chars().take_while(char::is_ascii_digit).count();
    node.write(TRIAL, &format!("{head}\"deadline_ms\":1{}", &tail[digits..]));
}

fn on_trial(relay: &Wgrelay<'_>, seconds: &str) -> String {
    relay.call(&["up", "--backend", &relay.backend, "--confirm", seconds]).ok().stderr
}

pub fn peers(node: &Node) -> usize {
    node.run(&["wg", "show", "wg0", "peers"]).stdout.lines().count()
}

/// Edits the network so that `docker`, with the VMs behind it, is cut off.
fn cut_docker(relay: &Wgrelay<'_>) {
    open_docker(relay);
    relay.edit(|text| text.replace("[node.docker]\n", "[node.docker]\nenabled = false\n"));
}

fn open_docker(relay: &Wgrelay<'_>) {
    relay.edit(|text| text.replace("enabled = false\n", ""));
}

#[test]
fn a_change_that_nobody_confirms_goes_back_and_others_keep_their_sessions() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    clients_up(&t, &relay);
    assert!(ping(&t.windows, "192.168.3.1") && ping(&t.windows, "192.168.33.71"));
    let before = Snapshot::of(&t.relay).without("files"); // they tell when it was applied
    let kept = || t.relay.read(format!("{}/wg0/.last-up.json", relay.dir));
    let last = kept();
    let flow = Flow::start(&t.windows, &t.relay, "192.168.3.1");
    cut_docker(&relay);
    // From a terminal that is gone a moment later, and takes all of its session along.
    let line = format!(
        "{} --dir {} up --backend {} --confirm 3",
        env!("CARGO_BIN_EXE_wgrelay"),
        relay.dir,
        relay.backend
    );
    let typed = t.relay.run(&["script", "-qec", &line, "/dev/null"]).ok();
    assert!(typed.stdout.contains("goes back in 3 s"), "{typed}");
    until("the change went back", || peers(&t.relay) == 2 && waiters(&t.relay).is_empty());
    // Its old session is over, as after any restart of the relay: it notices when nothing came back for 15 s.
    assert!(ping_within(LONG, &t.docker, "192.168.3.1"), "docker may come back");
    assert!(ping(&t.windows, "192.168.33.71"), "the VMs are reached again");
    let tally = flow.stop();
    assert!(tally.sent > 20 && tally.lost() == 0, "the session of windows: {tally:?}");
    before.assert_same(&Snapshot::of(&t.relay).without("files"), "after the change went back");
    assert_eq!(kept(), last, "a restart brings back what was kept");
    assert!(!t.relay.outside(TRIAL).exists() && !t.relay.outside(format!("{FOLDER}/waiter")).exists());
    assert_eq!(relay.call(&["confirm"]).exits(1).stdout, "");
    // The file is still the newer one, and waits; why it does is told until somebody decides anew.
    let status = relay.call(&["status"]);
    assert!(
        status.stderr.contains("newer") && status.stderr.contains("was not confirmed in time"),
        "{status}"
    );
    assert!(relay.status()["went_back_at"].is_u64());
    relay.up().ok();
    assert!(
        relay.status()["went_back_at"].is_null() && !relay.call(&["status"]).stderr.contains("went-back")
    );
}

#[test]
fn a_change_that_is_confirmed_stays() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    cut_docker(&relay);
    let said = on_trial(&relay, "600");
    assert!(said.contains(&format!("keep it with `wgrelay --dir {} confirm`", relay.dir)), "{said}");
    assert_eq!((peers(&t.relay), waiters(&t.relay).len()), (1, 1));
    let status = relay.status();
    assert!(status["goes_back_in"].as_u64().is_some_and(|left| (1..=600).contains(&left)), "{status}");
    assert!(relay.call(&["status"]).stderr.contains("not confirmed: goes back in"));
    let kept = || t.relay.read(format!("{}/wg0/.last-up.json", relay.dir));
    assert!(!kept().contains("enabled = false"), "what is on trial does not come back after a restart");
    let told: serde_json::Value = serde_json::from_str(&relay.ok(&["confirm", "--json"])).expect("JSON");
    assert_eq!(told["confirmed"], true);
    assert!(kept().contains("enabled = false"));
    assert_eq!(waiters(&t.relay), Vec::<u32>::new());
    assert_eq!((peers(&t.relay), relay.status()["goes_back_in"].as_u64()), (1, None));
    relay.call(&["confirm"]).exits(1);

    // An `up` without a condition keeps as well; one that finds nothing to change makes nothing wait.
    open_docker(&relay);
    let quiet = relay.call(&["-q", "up", "--backend", &relay.backend, "--confirm", "600"]).ok();
    assert!(quiet.stderr.contains("goes back in 600 s"), "however quiet: {quiet}");
    assert!(relay.up().ok().stderr.contains("is kept"));
    assert!(on_trial(&relay, "600").contains("nothing waits"));
    assert_eq!((peers(&t.relay), waiters(&t.relay).len()), (2, 0));
}

#[test]
fn a_first_up_that_nobody_confirms_leaves_nothing() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = Wgrelay::relay_of(&t, Families::Both);
    let before = Snapshot::of(&t.relay);
    let gone = |when: &str| {
        until(when, || waiters(&t.relay).is_empty());
        before.assert_same(&Snapshot::of(&t.relay), when);
    };
    // But for the word beside the network that it was so, until somebody decides anew.
    let rolled_back = |when: &str| {
        until(when, || waiters(&t.relay).is_empty());
        assert!(!t.relay.outside(FOLDER).exists(), "{when}");
        before.clone().without("files").assert_same(&Snapshot::of(&t.relay).without("files"), when);
        assert!(relay.call(&["status"]).exits(4).stderr.contains("warning[went-back]"), "{when}");
        relay.ok(&["down"]);
        assert!(!relay.call(&["status"]).stderr.contains("went-back"), "{when}");
        gone(when);
    };
    on_trial(&relay, "1");
    rolled_back("not confirmed");

    // Nor does one that is killed half-way, or whose `down` comes first, or that fails.
    let mut command = relay.command(&["up", "--backend", &relay.backend, "--confirm", "1"]);
    let mut up = t.relay.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    until("an interface", || t.relay.ip_shows("-4", "link show").contains("\"wg0\""));
    let _it_may_have_ended = up.kill();
    up.wait().expect("up was started here");
    rolled_back("killed half-way");
    on_trial(&relay, "600");
    relay.ok(&["down"]);
    gone("taken down while it waited");
    let taken = t.relay.inside(|| std::net::UdpSocket::bind("0.0.0.0:51820").expect("the port is free"));
    relay.call(&["up", "--backend", &relay.backend, "--confirm", "600"]).exits(1);
    gone("an up that failed");
    drop(taken);
}

#[test]
fn a_waiter_that_was_killed_is_stood_in_for() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let kill = || {
        for pid in waiters(&t.relay) {
            t.relay.run(&["kill", "-9", &pid.to_string()]).ok();
        }
        until("no waiter", || waiters(&t.relay).is_empty());
    };
    let change = |relay: &Wgrelay<'_>| {
        cut_docker(relay);
        on_trial(relay, "600");
        assert_eq!(peers(&t.relay), 1);
        kill();
    };
    // While there is time, `status` finds another one.
    change(&relay);
    relay.call(&["status"]);
    assert_eq!(waiters(&t.relay).len(), 1);
    kill();
    run_out(&t.relay);
    let status = relay.call(&["status"]);
    assert!(status.stderr.contains("was not confirmed in time"), "{status}");
    assert_eq!(peers(&t.relay), 2);
    // `confirm` comes too late.
    open_docker(&relay);
    relay.up().ok();
    change(&relay);
    run_out(&t.relay);
    assert!(relay.call(&["confirm"]).exits(1).stderr.contains("too late"));
    assert_eq!(peers(&t.relay), 2);
    // `up` goes back, and then does what it was asked for.
    open_docker(&relay);
    relay.up().ok();
    change(&relay);
    run_out(&t.relay);
    assert!(relay.up().ok().stderr.contains("was not confirmed in time"));
    assert_eq!(peers(&t.relay), 1);
    // `down` takes away whatever stands.
    open_docker(&relay);
    relay.up().ok();
    change(&relay);
    run_out(&t.relay);
    relay.ok(&["down"]);
    assert!(!t.relay.outside(FOLDER).exists());
}

#[test]
fn a_second_trial_goes_back_to_what_was_before_the_first_keys_too() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    let seen = || {
        let show = "wg show wg0 private-key; wg show wg0 preshared-keys; wg show wg0 allowed-ips; \
                    wg show wg0 listen-port";
        t.relay.run(&["bash", "-c", show]).ok().stdout
    };
    let before = seen();
    relay.ok(&["rotate", "windows"]);
    relay.ok(&["rotate", "wsl"]);
    on_trial(&relay, "600");
    let first = seen();
    cut_docker(&relay);
    on_trial(&relay, "700");
    assert_ne!(seen(), first);
    assert_eq!(waiters(&t.relay).len(), 1);
    // One that fails leaves the one before it waiting.
    relay.edit(|text| text.replace("51820", "51821"));
    let taken = t.relay.inside(|| std::net::UdpSocket::bind("0.0.0.0:51821").expect("the port is free"));
    relay.call(&["up", "--backend", &relay.backend, "--confirm", "800"]).exits(1);
    assert!(relay.status()["goes_back_in"].as_u64().is_some_and(|left| left <= 700), "{}", relay.status());
    drop(taken);
    run_out(&t.relay);
    until("the change went back", || waiters(&t.relay).is_empty());
    assert_eq!(seen(), before);
    // The keys of now are those of a network that waits for `up`.
    assert_eq!(relay.status()["drift"].as_array().map(Vec::len), Some(0), "{}", relay.status());
}

#[test]
fn the_trial_holds_keys_and_only_root_reads_it() {
    if !met(&NAMESPACES) {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let t = Topology::new(Families::V4);
    let relay = Wgrelay::up_on(&t);
    cut_docker(&relay);
    on_trial(&relay, "600");
    let key = t.relay.run(&["wg", "show", "wg0", "private-key"]).ok().stdout;
    assert!(t.relay.read(TRIAL).contains(key.trim()));
    let mode = std::fs::metadata(t.relay.outside(TRIAL)).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let words = t.relay.within(
        LONG,
        Command::new("bash").args(["-c", "cat /proc/[0-9]*/cmdline /run/wgrelay/wg0/waiter.log"]),
    );
    assert!(!words.stdout.contains(key.trim()));
    relay.ok(&["down"]);
}

/// The folder's name is one name however it is written: what waits under one spelling is kept, and goes back, under another.
#[test]
fn a_folder_by_another_spelling() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let program = env!("CARGO_BIN_EXE_wgrelay");
    let (parent, name) = relay.dir.rsplit_once('/').expect("the folder is absolute");
    let by = |words: &str| {
        relay.node.run(&["sh", "-c", &format!("cd {parent} && {program} --dir ./{name}/../{name} {words}")])
    };
    by("up --backend embedded").ok();
    by("add phone --platform android").ok();
    relay.call(&["up", "--confirm", "30"]).ok();
    by("confirm").ok();
    assert!(relay.call(&["confirm"]).code == Some(1));
    let before = peers(relay.node);
    by("remove phone").ok();
    by("up --confirm 2").ok();
    assert_eq!(peers(relay.node), before - 1);
    until("it goes back", || relay.status()["goes_back_in"].is_null() && peers(relay.node) == before);
    by("up").ok();
    assert!(relay.ok(&["up"]).contains("nothing to change"));
    relay.ok(&["down"]);
}

#[test]
fn a_look_leaves_an_agent_alone_that_does_not_answer() {
    if !met(&NAMESPACES) || backend() != "embedded" {
        return;
    }
    let t = Topology::new(Families::V4);
    let relay = Wgrelay::up_on(&t);
    let agent = relay.node.read("/run/wgrelay/wg0/pid").trim().to_string();
    relay.node.run(&["kill", "-STOP", &agent]).ok();
    let plan = relay.call(&["plan"]);
    assert!(plan.code == Some(1) && plan.stderr.contains("does not answer"), "{plan}");
    relay.node.run(&["kill", "-CONT", &agent]).ok();
    assert!(relay.ok(&["plan"]).contains("nothing to change"));
    relay.ok(&["down"]);
}

#[test]
fn a_change_that_cannot_go_back_is_told() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::up_on(&t);
    relay.edit(|text| text.replace(":51820\"", ":51999\""));
    on_trial(&relay, "600");
    // Somebody takes the port that it would go back to.
    let taker = "import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind((\"\",51820)); time.sleep(600)";
    let mut python = Command::new("python3");
    python.args(["-c", taker]).stdin(Stdio::null());
    let mut taker = t.relay.spawn(&mut python);
    until("the port is taken", || {
        t.relay.run(&["ss", "-Hlun", "sport", "=", ":51820"]).stdout.contains("51820")
    });
    run_out(&t.relay);
    until("it is told", || relay.status()["problems"].to_string().contains("cannot-go-back"));
    let told = relay.call(&["status"]).exits(4);
    assert!(told.stdout.contains("degraded") && told.stderr.contains("51820"), "{told}");
    taker.kill().expect("it runs");
    taker.wait().expect("it ends");
    until("it went back", || relay.status()["goes_back_in"].is_null());
    relay.ok(&["down"]);
}
