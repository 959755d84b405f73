//! Other programs' packet filters, with packets: ufw and firewalld.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::beside::{Place, can_run, iptables};
use crate::rig::need::{NAMESPACES, Need, met};
use crate::rig::net::{End, cable, up};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, no_tcp, ping, tcp};

/// The relay's site: a bridge with one host behind it.
pub const BRIDGE: &str = "br-site";
pub const HOST: &str = "172.19.0.5";

/// Lays a site behind the relay.
pub fn site(place: &Place) -> Node {
    let host = Node::new("host");
    cable(End { node: &place.relay, link: "veth1" }, End { node: &host, link: "eth0" });
    place.relay.ip(&crate::rig::net::bridge(BRIDGE, &["veth1"], &["172.19.0.1/16"]));
    host.ip(&(up("eth0", &["172.19.0.5/16"]) + "route add default via 172.19.0.1\n"));
    host
}

/// Fails unless what should pass does, both ways, and a neighbour on the LAN stays outside.
#[track_caller]
pub fn assert_open(place: &Place, host: &Node) {
    assert!(ping(&place.windows, HOST), "a client pings the site's host");
    tcp(&place.windows, host, HOST).expect("a client calls the site's host");
    assert!(ping(host, "192.168.3.2"), "the site's host pings a client");
    assert!(ping(&place.windows, "192.168.3.4"), "a client pings another client");
    assert!(no_ping(&place.lan, HOST), "a LAN host does not ping the site's host");
    assert!(no_tcp(&place.lan, host, HOST), "a LAN host does not call the site's host");
}

#[test]
fn ufw() {
    let needs: Vec<Need> = NAMESPACES.into_iter().chain([Need::Program("ufw")]).collect();
    if !met(&needs) {
        return;
    }
    let place = Place::new();
    let host = site(&place);
    // Its files are the node's own from here on, and so is what it switches on.
    place
        .relay
        .run(&[
            "sh",
            "-c",
            "mkdir /mnt/ufw /mnt/default && cp -a /etc/ufw/. /mnt/ufw && cp /etc/default/ufw /mnt/default/",
        ])
        .ok();
    place.relay.run(&["mount", "--bind", "/mnt/ufw", "/etc/ufw"]).ok();
    place.relay.run(&["mount", "--bind", "/mnt/default/ufw", "/etc/default/ufw"]).ok();
    for command in [&["ufw", "allow", "51820/udp"][..], &["ufw", "--force", "enable"], &["ufw", "reload"]] {
        place.relay.run(command).ok();
    }
    let relay = place.network();
    relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
    let before = iptables(&place.relay);
    assert!(before.iter().any(|l| l == ":FORWARD DROP"), "ufw drops what is forwarded: {before:#?}");
    relay.up().ok();
    place.clients(&relay);
    assert_open(&place, &host);
    place.relay.run(&["ufw", "reload"]).ok();
    assert_eq!(relay.call(&["plan", "--check"]).code, Some(0), "a reload of ufw leaves our rules");
    assert_open(&place, &host);
    relay.ok(&["down"]);
    assert_eq!(before, iptables(&place.relay), "after down");
}

/// A firewalld on the relay, which ends with it.
struct Firewalld<'a> {
    place: &'a Place,
    _process: Child,
}

const FIREWALLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/firewalld");
/// How long it may take to start: it is Python, and reads a hundred files.
const START: Duration = Duration::from_secs(90);

impl<'a> Firewalld<'a> {
    fn start(place: &'a Place) -> Self {
        let prepare = Command::new(FIREWALLD).arg("prepare").status().expect("the script starts");
        assert!(prepare.success(), "no firewalld: {prepare}");
        place.relay.run(&["mkdir", "/mnt/firewalld"]).ok();
        let mut run = Command::new(FIREWALLD);
        run.args(["run", "/mnt/firewalld"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let this = Self { place, _process: place.relay.spawn(&mut run) };
        let began = Instant::now();
        while place.relay.run(&[FIREWALLD, "sh", "/mnt/firewalld", "firewall-cmd --state"]).code != Some(0) {
            assert!(began.elapsed() < START, "firewalld did not come up");
            std::thread::sleep(Duration::from_millis(200));
        }
        this
    }

    /// Runs commands as an administrator would type them.
    #[track_caller]
    fn type_in(&self, commands: &str) {
        self.place.relay.run(&[FIREWALLD, "sh", "/mnt/firewalld", commands]).ok();
    }
}

#[test]
fn firewalld() {
    if !can_run() {
        return;
    }
    let place = Place::new();
    let host = site(&place);
    let firewalld = Firewalld::start(&place);
    firewalld.type_in("firewall-cmd --permanent --add-port 51820/udp && firewall-cmd --reload");
    let relay = place.network();
    relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
    let before = iptables(&place.relay);
    let told = relay.up().ok().stderr;
    place.clients(&relay);
    assert!(no_ping(&place.windows, HOST), "firewalld rejects what is in no zone");
    assert!(no_ping(&place.windows, "192.168.3.4"), "between clients too");
    let commands =
        told.lines().find_map(|l| l.trim().strip_prefix("hint: ").filter(|l| l.contains("firewall-cmd")));
    firewalld.type_in(commands.unwrap_or_else(|| panic!("the commands are told: {told}")));
    assert_open(&place, &host);
    let again = relay.up().ok().stderr;
    assert!(!again.contains("firewall-cmd"), "what was done is not asked for again: {again}");
    firewalld.type_in("firewall-cmd --reload");
    assert_eq!(relay.call(&["plan", "--check"]).code, Some(0), "a reload of firewalld leaves our rules");
    assert_open(&place, &host);
    relay.ok(&["down"]);
    assert_eq!(before, iptables(&place.relay), "after down");
}
