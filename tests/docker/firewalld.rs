//! firewalld beside us, the real one, with packets: its policies of ours come, stay, and go.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::beside::{Place, all_rules, can_run, makes_networks};
use crate::engine::Engine;
use crate::other_filters::{BRIDGE, HOST, assert_open, site};
use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, no_tcp, ping, ping_within};

const FIREWALLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/firewalld");
const FILES: &str = "/mnt/firewalld";
/// How long it may take to start: it is Python, and reads a hundred files.
const START: Duration = Duration::from_secs(90);

/// A firewalld on a node, which ends with it.
pub struct Firewalld<'a> {
    node: &'a Node,
    process: Child,
}

impl<'a> Firewalld<'a> {
    /// Starts it, with WireGuard's port open and nothing else.
    pub fn start(node: &'a Node) -> Self {
        prepare("");
        // Its bus and its files are where they are on a host.
        let script = "mkdir -p /mnt/firewalld/dbus /mnt/firewalld/etc /run/dbus && cp -a /etc /mnt/etc && \
                      mkdir -p /mnt/etc/firewalld && mount --rbind /mnt/etc /etc && \
                      mount --bind /mnt/firewalld/dbus /run/dbus";
        node.run(&["sh", "-c", script]).ok();
        node.run(&[FIREWALLD, "sh", FILES, "firewall-offline-cmd --add-port 51820/udp"]).ok();
        node.run(&["mount", "--bind", "/mnt/firewalld/etc", "/etc/firewalld"]).ok();
        let mut this = Self { node, process: Self::process(node) };
        this.is_there();
        this
    }

    fn process(node: &Node) -> Child {
        let mut run = Command::new(FIREWALLD);
        run.args(["run", FILES]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        node.spawn(&mut run)
    }

    #[track_caller]
    fn is_there(&mut self) {
        let began = Instant::now();
        while self.call("firewall-cmd --state").is_none() {
            assert!(began.elapsed() < START, "firewalld did not come up");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn stop(&mut self) {
        let pid = i32::try_from(self.process.id()).expect("a process number fits");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("firewalld is there");
        self.process.wait().expect("firewalld ends");
    }

    fn start_again(&mut self) {
        self.process = Self::process(self.node);
        self.is_there();
    }

    fn call(&self, commands: &str) -> Option<String> {
        let output = self.node.run(&[FIREWALLD, "sh", FILES, commands]);
        (output.code == Some(0)).then_some(output.stdout)
    }

    /// Runs commands as an administrator would type them.
    #[track_caller]
    pub fn type_in(&self, commands: &str) -> String {
        self.call(commands).unwrap_or_else(|| panic!("{commands} failed"))
    }

    /// Everything that it is configured to, at run time and in its files.
    fn settings(&self) -> Vec<String> {
        let all = "firewall-cmd --list-all-zones; firewall-cmd --list-all-policies; firewall-cmd --direct --get-all-rules; \
                   find /etc/firewalld -type f | sort | xargs md5sum";
        self.type_in(all).lines().map(str::to_owned).collect()
    }
}

/// Fetches a firewalld, once for a machine: "" is the newest.
pub fn prepare(version: &str) {
    let status = Command::new(FIREWALLD).arg("prepare").env("FIREWALLD", version).status();
    assert!(status.is_ok_and(|s| s.success()), "no firewalld {version}");
}

/// How many pings a host has seen: what is sent with a false source has no answer that its sender sees.
fn pings_seen(host: &Node) -> u32 {
    let text = host.run(&["nft", "list", "counter", "ip", "seen", "pings"]).ok().stdout;
    let count = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// A neighbour that writes a client's address into its packets gets no further than with its own.
fn assert_not_fooled(place: &Place, host: &Node) {
    place.lan.ip("address add 192.168.3.2/32 dev lo");
    let before = pings_seen(host);
    let _ = place.lan.run(&["ping", "-n", "-c", "2", "-i", "0.3", "-W", "1", "-I", "192.168.3.2", HOST]);
    assert_eq!(before, pings_seen(host), "a false source is dropped");
    place.lan.ip("address del 192.168.3.2/32 dev lo");
    assert!(ping(&place.windows, HOST) && pings_seen(host) > before, "what is true is seen");
}

fn count_pings(host: &Node) {
    let table = "table ip seen { counter pings { }; chain in { type filter hook input priority 0; \
                 icmp type echo-request counter name pings; }; }";
    host.run(&["nft", table]).ok();
}

fn relay_with_site<'a>(place: &'a Place) -> Wgrelay<'a> {
    let relay = place.network();
    relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
    relay
}

#[test]
fn firewalld() {
    if !can_run() {
        return;
    }
    let place = Place::new();
    let host = site(&place);
    count_pings(&host);
    place.relay.set_sysctl("ipv4/ip_forward", "1");
    place.relay.set_sysctl("ipv4/conf/all/rp_filter", "0");
    place.relay.set_sysctl("ipv4/conf/eth0/rp_filter", "0");
    assert!(ping(&place.lan, HOST), "nothing but firewalld keeps a LAN host out");
    let mut firewalld = Firewalld::start(&place.relay);
    assert!(no_ping(&place.lan, HOST), "firewalld does");
    let relay = relay_with_site(&place);
    let (rules, settings) = (all_rules(&place.relay), firewalld.settings());

    // What somebody set at run time would be lost with a reload: there is none, and that is said.
    firewalld.type_in("firewall-cmd --add-service http");
    let told = relay.up().ok().stderr;
    assert!(told.contains("zone public") && told.contains("firewall-cmd --reload"), "{told}");
    place.clients(&relay);
    assert!(no_ping(&place.windows, HOST), "firewalld rejects what no policy of it accepts");
    assert!(no_ping(&place.windows, "192.168.3.4"), "between clients too");
    firewalld.type_in("firewall-cmd --query-service http && firewall-cmd --remove-service http");

    // Now nothing is in the way of the reload that the agent was kept from, and what is set before it would be lost with it.
    let began = Instant::now();
    while relay.call(&["plan", "--check"]).code != Some(0) {
        assert!(began.elapsed() < START, "{}", relay.call(&["plan"]));
        std::thread::sleep(Duration::from_millis(200));
    }

    // What reaches the host itself is not ours to open; that WireGuard's port is closed is told, with the command.
    let open = "firewall-cmd --zone public --add-port 51820/udp";
    assert!(!relay.call(&["plan"]).ok().stderr.contains(open), "it is open");
    firewalld.type_in("firewall-cmd --zone public --remove-port 51820/udp");
    let told = relay.call(&["plan"]).ok().stderr;
    assert!(told.contains(open), "{told}");
    firewalld.type_in(open);

    relay.ok(&["down"]);

    // A link that was bound to another zone at run time stays there.
    firewalld.type_in(&format!("firewall-cmd --zone internal --add-interface {BRIDGE}"));
    let plan = relay.ok(&["plan"]);
    assert!(plan.contains("wgrelay-wg0") && plan.contains("from 192.168.3.0/24 to 172.19.0.0/16"), "{plan}");
    let told = relay.up().ok().stderr;
    assert!(!told.contains("firewall-cmd"), "nothing is left to do by hand: {told}");
    place.clients_again(&relay);
    assert_open(&place, &host);
    assert_not_fooled(&place, &host);
    assert_eq!(firewalld.type_in(&format!("firewall-cmd --get-zone-of-interface {BRIDGE}")), "internal\n");
    assert_eq!(relay.call(&["plan", "--check"]).code, Some(0), "up again would change nothing");

    for reload in ["firewall-cmd --reload", "firewall-cmd --complete-reload"] {
        firewalld.type_in(reload);
        assert_open(&place, &host);
        assert_eq!(relay.call(&["plan", "--check"]).code, Some(0), "after {reload}");
    }
    let rule = "rule family=\"ipv4\" destination address=\"192.168.3.0/24\" accept";
    firewalld.type_in(&format!("firewall-cmd --policy wgrelay-wg0 --remove-rich-rule '{rule}'"));
    if relay.backend != "embedded" {
        relay.up().ok(); // no agent is there to hear of it
    }
    assert!(ping_within(Duration::from_secs(60), &host, "192.168.3.2"), "what somebody took out is put back");
    firewalld.stop();
    firewalld.start_again();
    assert_open(&place, &host);
    relay.ok(&["down"]);
    assert_eq!(settings, firewalld.settings(), "after down");
    assert_eq!(rules, all_rules(&place.relay), "after down");
    assert!(no_ping(&place.lan, HOST), "firewalld works on");

    relay.up().ok();
    firewalld.type_in("firewall-cmd --info-policy wgrelay-wg0");
    firewalld.stop();
    if relay.backend != "embedded" {
        relay.up().ok();
    }
    // The table that goes with the policies is the agent's to change.
    let began = Instant::now();
    while relay.call(&["plan", "--check"]).code != Some(0) {
        let plan = relay.ok(&["plan"]);
        assert!(began.elapsed() < START, "what is in its files stays while it does not run: {plan}");
        std::thread::sleep(Duration::from_millis(200));
    }
    relay.ok(&["down"]);
    firewalld.start_again();
    assert_eq!(settings, firewalld.settings(), "after a down without firewalld");
}

#[test]
fn a_firewalld_that_starts_after_wgrelay_and_a_way_out() {
    if !can_run() {
        return;
    }
    let place = Place::new();
    let host = site(&place);
    let relay = relay_with_site(&place);
    relay.edit(|text| {
        text.replace("role = \"relay\"", "role = \"relay\"\negress = true")
            .replace("[node.windows]", "[node.windows]\nroutes = [\"0.0.0.0/1\", \"128.0.0.0/1\"]")
    });
    relay.up().ok();
    place.clients(&relay);
    // An address behind the way out, and one behind another link, which firewalld has in another zone.
    place.lan.ip("address add 203.0.113.7/32 dev lo");
    let other = Node::new("other");
    crate::rig::net::cable(
        crate::rig::net::End { node: &place.relay, link: "dmz" },
        crate::rig::net::End { node: &other, link: "eth0" },
    );
    place.relay.ip(&crate::rig::net::up("dmz", &["10.99.0.1/24"]));
    other.ip(&(crate::rig::net::up("eth0", &["10.99.0.2/24"]) + "route add default via 10.99.0.1\n"));
    place.relay.set_sysctl("ipv4/conf/dmz/forwarding", "1");
    assert!(ping(&place.windows, HOST), "a client pings the site's host");
    assert!(ping(&place.windows, "203.0.113.7"), "a client goes out by the relay");
    assert!(no_ping(&place.windows, "10.99.0.2"), "a private network is no way out");
    let firewalld = Firewalld::start(&place.relay);
    firewalld.type_in("firewall-cmd --permanent --zone dmz --add-interface dmz && firewall-cmd --reload");
    if relay.backend != "embedded" {
        relay.up().ok();
    }
    assert!(ping_within(Duration::from_secs(60), &place.windows, HOST), "the agent makes the policies");
    assert_open(&place, &host);
    assert!(ping(&place.windows, "203.0.113.7"), "a client goes out by the relay");
    assert!(no_ping(&place.windows, "10.99.0.2"), "and not into a private one of another zone");
    assert!(no_tcp(&place.windows, &other, "10.99.0.2"), "and not into a private one of another zone");
    relay.ok(&["down"]);
    let left = firewalld.type_in("firewall-cmd --list-all-policies; firewall-cmd --permanent --get-policies");
    assert!(!left.contains("wgr"), "{left}");
}

/// Docker keeps a zone and a policy of its own in firewalld, and makes its chains anew after each reload.
#[test]
fn docker_and_firewalld_together() {
    if !can_run() {
        return;
    }
    let place = Place::new();
    place.relay.set_sysctl("ipv4/ip_forward", "0");
    let firewalld = Firewalld::start(&place.relay);
    let engine = Engine::start(&place.relay, "28", "nft");
    engine.ok(&["network", "create", "--subnet", "172.30.0.0/16", "other"]);
    engine.serve("other", &["--network", "other", "--ip", "172.30.0.5", "-p", "8080:7007"]);
    makes_networks(&engine);
    let zones = firewalld.type_in("firewall-cmd --get-active-zones; firewall-cmd --get-policies");
    assert!(zones.contains("docker-forwarding"), "Docker found firewalld: {zones}");
    let settings = firewalld.settings();
    let relay = place.network();
    relay.up().ok();
    place.clients(&relay);
    place.assert_beside(&engine, "after up");
    let again = relay.call(&["plan", "--check"]);
    assert_eq!(again.code, Some(0), "up again would change nothing: {again}");
    firewalld.type_in("firewall-cmd --reload");
    if relay.backend != "embedded" {
        relay.up().ok();
    }
    // Docker hears of the reload, makes its chains anew, and the agent what stood in them: a packet meanwhile is lost.
    let began = Instant::now();
    let to_client = ["ping", "-c", "1", "-W", "2", "192.168.3.2"];
    while relay.call(&["plan", "--check"]).code != Some(0) || !engine.exec("site", &to_client) {
        assert!(began.elapsed() < START, "nothing passes after a reload: {}", relay.ok(&["plan"]));
        std::thread::sleep(Duration::from_millis(200));
    }
    place.assert_passes(&engine, "after a reload");
    relay.ok(&["down"]);
    assert_eq!(settings, firewalld.settings(), "after down");
    let left = all_rules(&place.relay);
    assert!(left.iter().all(|l| !l.contains("wg")), "nothing of ours is left: {left:#?}");
}
