//! A Docker engine that has the network otherwise than the file says: `init` takes it over, and later it is told.

use std::io::{BufRead, BufReader, Read as _, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox::{Said, Sandbox, said};

/// Two networks, the cloud's on another subnet than the profile's.
const NETWORKS: &str = r#"[{"Name":"webvirtcloud_default","Id":"6a7541fe74a1c0ffee","Driver":"bridge","IPAM":{"Config":[{"Subnet":"172.20.0.0/16"}]}},
    {"Name":"bridge","Id":"aa00","Driver":"bridge","IPAM":{"Config":[{"Subnet":"172.17.0.0/16"}]}}]"#;
/// The controller on one of them, the compute node on both.
const CONTAINERS: &str = r#"[{"Names":["/backend"],"NetworkSettings":{"Networks":{"webvirtcloud_default":{"IPAddress":"172.20.0.2"}}}},
    {"Names":["/compute1"],"NetworkSettings":{"Networks":{"webvirtcloud_default":{"IPAddress":"172.20.0.4"},"bridge":{"IPAddress":"172.17.0.2"}}}}]"#;

/// Answers what is asked at a socket in the sandbox for as long as the test runs.
fn engine(sandbox: &Sandbox) -> String {
    engine_that_takes(sandbox, Duration::ZERO)
}

fn engine_that_takes(sandbox: &Sandbox, time: Duration) -> String {
    let path = sandbox.path("engine.sock");
    let listener = UnixListener::bind(&path).expect("the folder is new");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // The whole question: what is not read when this end closes takes the answer away from who asked.
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let line = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let body = match line.split(' ').nth(1).map(|path| path.rsplit('/').next().unwrap_or_default()) {
                Some("networks") => NETWORKS,
                Some("json") => CONTAINERS,
                Some("version") => r#"{"Version":"28.5.2"}"#,
                _ => "[]",
            };
            std::thread::sleep(time);
            let _whoever_asked_may_be_gone =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    format!("unix://{}", path.display())
}

fn run(sandbox: &Sandbox, engine: &str, arguments: &[&str]) -> Said {
    said(sandbox.command(arguments).env("DOCKER_HOST", engine))
}

#[test]
fn init_takes_over_the_subnet_and_the_containers_address() {
    let sandbox = Sandbox::new();
    let engine = engine(&sandbox);
    let init = run(&sandbox, &engine, &["init", "--profile", "webvirtcloud", "--endpoint", "192.0.2.1"]);
    init.exits(0).tells(&["172.20.0.0/16", "in place of 172.19.0.0/16", "172.20.0.4"]);
    let text = std::fs::read_to_string(sandbox.path("wg0/network.toml")).expect("init wrote it");
    assert!(!text.contains("172.19."), "{text}");
    for kept in [
        "subnet = \"172.20.0.0/16\"",
        "local = [\"172.20.0.0/16\"]",
        "\"172.20.0.4/16\"",
        "\"172.17.0.2/16\"",
    ] {
        assert!(text.contains(kept), "{kept} is not in {text}");
    }
    let check = run(&sandbox, &engine, &["check"]).exits(0);
    assert!(!check.err.contains("172.19"), "{check:?}");
}

#[test]
fn a_file_that_says_otherwise_is_told() {
    let sandbox = Sandbox::new();
    run(&sandbox, "unix:///nowhere", &["init", "--profile", "webvirtcloud", "--endpoint", "192.0.2.1"])
        .exits(0);
    let engine = engine(&sandbox);
    let told = ["webvirtcloud_default", "172.20.0.0/16", "172.19.0.0/16"];
    run(&sandbox, &engine, &["check"]).exits(0).tells(&told);
    let doctor = run(&sandbox, &engine, &["doctor"]);
    assert!(told.iter().all(|word| doctor.out.contains(word)), "{doctor:?}");
    // Another node's host knows nothing of the relay's Docker.
    let other = run(&sandbox, &engine, &["check", "--node", "docker"]).exits(0);
    assert!(!other.err.contains("172.20"), "{other:?}");
}

/// A terminal that stops a program and lets it go on, like the end of a child, interrupts what waits with a limit.
#[test]
fn a_signal_while_it_thinks_does_not_make_it_silent() {
    let sandbox = Sandbox::new();
    run(&sandbox, "unix:///nowhere", &["init", "--profile", "webvirtcloud", "--endpoint", "192.0.2.1"])
        .exits(0);
    let engine = engine_that_takes(&sandbox, Duration::from_millis(300));
    let mut command = sandbox.command(&["doctor"]);
    let mut doctor =
        command.env("DOCKER_HOST", engine).stdout(Stdio::piped()).spawn().expect("the program is there");
    let pid = Pid::from_raw(doctor.id().try_into().expect("a pid"));
    while doctor.try_wait().expect("it is a child of this one").is_none() {
        for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
            kill(pid, signal).expect("it was not waited for");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut said = String::new();
    doctor.stdout.take().expect("a pipe").read_to_string(&mut said).expect("it is text");
    assert!(said.contains("172.20.0.0/16"), "{said}");
}

#[test]
fn the_next_steps_are_the_persons_own_and_the_containers_bundle() {
    let sandbox = Sandbox::new();
    let init = run(&sandbox, "unix:///nowhere", &["init", "--profile", "webvirtcloud"]).exits(0);
    let next = init.err.lines().find(|line| line.contains("next:")).expect("a line").to_string();
    let at = |words: &str| next.find(words).unwrap_or_else(|| panic!("{words} is not in {next}"));
    assert!(at(" up ") < at("export windows") && at("export windows") < at("export docker --format bundle"));
    let show = sandbox.run(&["show", "docker"]).exits(0);
    for line in
        ["ip route replace default via 192.168.33.1", "via: \"192.168.33.1\"", "no_proxy", "192.168.33.0/24"]
    {
        assert!(show.out.contains(line), "{line} is not in {show:?}");
    }
}
