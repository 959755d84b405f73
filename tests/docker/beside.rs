//! The relay on a Docker host: what must pass passes, through restarts of everything, and what was closed stays closed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::need::{NAMESPACES, Need, met};
use crate::rig::net::{End, bridge, cable, up};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, ping};

/// Docker's network that is a site.
pub const NETWORK: &str = "webvirtcloud_default";
/// The container there that publishes nothing.
pub const CONTAINER: &str = "172.19.0.5";
/// Where containers serve.
pub const PORT: u16 = 7007;
/// How long an answer may take: a handshake, and a container on its way up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A Docker host with two clients and a neighbour on its LAN.
pub struct Place {
    pub lan: Node,
    pub relay: Node,
    pub windows: Node,
    pub phone: Node,
}

impl Place {
    pub fn new() -> Self {
        let [lan, relay, windows, phone] = ["lan", "relay", "windows", "phone"].map(Node::new);
        for (node, port, address) in [
            (&relay, "relay", "192.168.39.45/24"),
            (&windows, "windows", "192.168.39.50/24"),
            (&phone, "phone", "192.168.39.51/24"),
        ] {
            cable(End { node, link: "eth0" }, End { node: &lan, link: port });
            node.ip(&(up("eth0", &[address]) + "route add default via 192.168.39.1\n"));
        }
        lan.ip(&bridge("br0", &["relay", "windows", "phone"], &["192.168.39.1/24"]));
        // The neighbour knows the way to the containers: it is not for want of a route that it stays outside.
        lan.ip("route add 172.16.0.0/12 via 192.168.39.45");
        Self { lan, relay, windows, phone }
    }

    /// Writes the relay's network.
    pub fn network(&self) -> Wgrelay<'_> {
        let relay = Wgrelay::on(&self.relay);
        relay.ok(&["init", "--endpoint", "192.168.39.45:51820"]);
        relay.ok(&["add", "phone"]);
        relay
    }

    /// Brings the clients up, by `wg-quick`.
    pub fn clients(&self, relay: &Wgrelay<'_>) {
        for (node, name) in [(&self.windows, "windows"), (&self.phone, "phone")] {
            wg_quick_up(node, "wg0", &relay.ok(&["export", name])).ok();
        }
    }

    /// The same anew: a client notices only after some time that the relay's sessions are gone.
    pub fn clients_again(&self, relay: &Wgrelay<'_>) {
        for node in [&self.windows, &self.phone] {
            wg_quick_down(node, "wg0").ok();
            // wireguard-go ends a little later than its link, and its socket with it.
            let (socket, began) = (node.outside("/run/wireguard/wg0.sock"), Instant::now());
            while socket.exists() && began.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.clients(relay);
    }

    /// Fails unless everything that should passes, both ways, and what should not does not.
    #[track_caller]
    pub fn assert_beside(&self, engine: &Engine<'_>, when: &str) {
        let mut wrong = Vec::new();
        let mut must = |what: &str, is: bool| {
            if !is {
                wrong.push(what.to_owned());
            }
        };
        must("a client pings a container", ping(&self.windows, CONTAINER));
        must("a client reads a container's page", page(&self.windows, CONTAINER, PORT, PATIENCE));
        must(
            "a container pings a client",
            engine.exec("site", &["ping", "-c", "1", "-W", "5", "192.168.3.2"]),
        );
        must("a container reads a client's page", self.container_reads_client(engine));
        must("a client pings another client", ping(&self.windows, "192.168.3.4"));
        must("a LAN host reads a published page", page(&self.lan, "192.168.39.45", 8080, PATIENCE));
        must(
            "a LAN host does not read an unpublished page",
            !page(&self.lan, CONTAINER, PORT, Duration::from_secs(2)),
        );
        must("a LAN host does not ping a container", no_ping(&self.lan, CONTAINER));
        must(
            "a container pings its gateway",
            engine.exec("other", &["ping", "-c", "1", "-W", "5", "172.30.0.1"]),
        );
        let across = ["ping", "-c", "1", "-W", "2", CONTAINER];
        must("a container of another network does not ping it", !engine.exec("other", &across));
        must("a client does not ping another network's container", no_ping(&self.windows, "172.30.0.5"));
        let rules = self
            .relay
            .run(&["sh", "-c", "iptables-save; nft list ruleset; ip addr; cat /run/dockerd.log | tail"])
            .stdout;
        assert!(wrong.is_empty(), "{when}: not so:\n{}\n{rules}", wrong.join("\n"));
    }

    /// Fails unless what should pass does, and a neighbour stays outside: the quick look between restarts.
    #[track_caller]
    pub fn assert_passes(&self, engine: &Engine<'_>, when: &str) {
        assert!(ping(&self.windows, CONTAINER), "{when}: a client pings a container");
        assert!(page(&self.windows, CONTAINER, PORT, PATIENCE), "{when}: a client reads a container's page");
        let back = ["ping", "-c", "1", "-W", "5", "192.168.3.2"];
        assert!(engine.exec("site", &back), "{when}: a container pings a client");
        assert!(ping(&self.windows, "192.168.3.4"), "{when}: a client pings another client");
        assert!(no_ping(&self.lan, CONTAINER), "{when}: a LAN host does not ping a container");
    }

    fn container_reads_client(&self, engine: &Engine<'_>) -> bool {
        let listener =
            self.windows.inside(|| TcpListener::bind(("192.168.3.2", PORT))).expect("the client is up");
        listener.set_nonblocking(true).expect("a socket can be told not to wait");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let began = Instant::now();
                while began.elapsed() < PATIENCE {
                    if let Ok((mut stream, _)) = listener.accept() {
                        let _ = stream.set_nonblocking(false);
                        let _ = stream.read(&mut [0; 512]);
                        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhere\n");
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            // Not wget: Debian 12's static busybox crashes in it.
            let read = "printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | nc -w 20 192.168.3.2 7007 | /bin/busybox grep -q here";
            engine.exec("site", &["/bin/sh", "-c", read])
        })
    }
}

/// Says whether a node gets the page of a server within some time.
pub fn page(from: &Node, address: &str, port: u16, limit: Duration) -> bool {
    let address = SocketAddr::new(address.parse().expect("an address is written"), port);
    let began = Instant::now();
    loop {
        let got = from.inside(|| -> std::io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            Ok(text.ends_with("here\n"))
        });
        if got.unwrap_or(false) {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Everything that iptables keeps, without counters and remarks.
pub fn iptables(node: &Node) -> Vec<String> {
    let text = node
        .run(&["sh", "-c", "iptables-save; ip6tables-save; iptables-legacy-save; nft list tables"])
        .ok()
        .stdout;
    let plain = |line: &str| line.split(" [").next().unwrap_or(line).to_owned();
    text.lines().filter(|l| !l.starts_with('#')).map(plain).collect()
}

pub fn makes_networks(engine: &Engine<'_>) {
    engine.ok(&["network", "create", "--subnet", "172.19.0.0/16", NETWORK]);
    engine.serve("site", &["--network", NETWORK, "--ip", CONTAINER]);
}

/// Every rule of every packet filter, in order, without counters and remarks.
pub fn all_rules(node: &Node) -> Vec<String> {
    let text = node.run(&["nft", "-s", "list", "ruleset"]).ok().stdout;
    iptables(node).into_iter().chain(text.lines().map(str::to_owned)).collect()
}

/// Takes our rules out behind our back.
fn spoil(node: &Node) {
    let script = "for t in raw filter; do iptables -t $t -S | sed -n '/wgrelay:wg0/s/^-A/-D/p' | \
                  while read -r rule; do eval iptables -t $t \"$rule\"; done; done";
    node.run(&["sh", "-c", script]).ok();
}

/// Says whether this machine can run an engine.
pub fn can_run() -> bool {
    let needs =
        [Need::Program("debootstrap"), Need::Program("chroot"), Need::Program("iptables-legacy-save")];
    met(&NAMESPACES.into_iter().chain(needs).collect::<Vec<_>>())
}

fn beside(version: &'static str, variant: &'static str) {
    if !can_run() {
        return;
    }
    let place = Place::new();
    let mut engine = Engine::start(&place.relay, version, variant);
    engine.ok(&["network", "create", "--subnet", "172.30.0.0/16", "other"]);
    engine.serve("other", &["--network", "other", "--ip", "172.30.0.5", "-p", "8080:7007"]);
    makes_networks(&engine);
    let relay = place.network();
    let before = iptables(&place.relay);
    let exactly = all_rules(&place.relay);

    relay.up().ok();
    place.clients(&relay);
    place.assert_beside(&engine, "after up");
    relay.ok(&["down"]);
    assert_eq!(exactly, all_rules(&place.relay), "after the first down");
    relay.up().ok();
    place.clients_again(&relay);
    place.assert_passes(&engine, "after wgrelay's restart");
    let again = relay.call(&["plan", "--check"]);
    assert_eq!(again.code, Some(0), "up again would change nothing: {again}");

    engine.restart();
    place.assert_beside(&engine, "after the engine's restart");

    engine.ok(&["rm", "-f", "site"]);
    engine.ok(&["network", "rm", NETWORK]);
    makes_networks(&engine);
    if relay.backend != "embedded" {
        relay.up().ok(); // no agent is there to hear of it
    }
    place.assert_beside(&engine, "after the network was made anew");

    if variant == "nft" {
        spoil(&place.relay);
        if relay.backend != "embedded" {
            relay.up().ok();
        }
        place.assert_beside(&engine, "after somebody took our rules out");
    }

    let here = iptables(&place.relay);
    assert!(here.iter().any(|l| l.contains("wgrelay:wg0")), "what `down` takes away is there: {here:#?}");
    relay.ok(&["down"]);
    let after = iptables(&place.relay);
    assert_eq!(settled(&before), settled(&after), "after down");
    assert!(page(&place.lan, "192.168.39.45", 8080, PATIENCE), "Docker works on");
}

/// The lines without what a network made anew changes: the bridge's name, and where its rules stand among Docker's own.
fn settled(lines: &[String]) -> Vec<String> {
    let masquerade = lines.iter().find(|l| l.contains("-s 172.19.0.0/16 ! -o ")).expect("Docker masquerades");
    let bridge = masquerade.split("! -o ").nth(1).and_then(|rest| rest.split(' ').next());
    let bridge = bridge.expect("a rule names its link");
    let mut lines: Vec<String> = lines.iter().map(|l| l.replace(bridge, "BRIDGE")).collect();
    lines.sort();
    lines
}

#[test]
fn engine_28_5() {
    beside("28", "nft");
}

#[test]
fn engine_28_5_on_iptables_legacy() {
    beside("28", "legacy");
}

#[test]
fn engine_20_10() {
    beside("20", "nft");
}

/// The relay's exported file, with `wg-quick` alone: its hooks do beside Docker what `up` does.
fn exported(with_nft: bool) {
    if !can_run() {
        return;
    }
    let place = Place::new();
    place.relay.set_sysctl("ipv4/ip_forward", "0");
    let engine = Engine::start(&place.relay, "28", "nft");
    engine.ok(&["network", "create", "--subnet", "172.30.0.0/16", "other"]);
    engine.serve("other", &["--network", "other", "--ip", "172.30.0.5", "-p", "8080:7007"]);
    makes_networks(&engine);
    let relay = place.network();
    place.relay.run(&["mkdir", "/run/wireguard"]).ok(); // wireguard-go makes it, and leaves it
    let before = all_rules(&place.relay);
    place.relay.write("/etc/wireguard/wg0.conf", &relay.ok(&["export", "wsl"]));
    let without = "mkdir /mnt/sbin && ln -sf /sbin/* /usr/sbin/* /mnt/sbin/ && rm /mnt/sbin/nft";
    place.relay.run(&["sh", "-c", without]).ok();
    let path = format!(
        "PATH={}:/usr/local/bin:/usr/bin:/bin",
        if with_nft { "/usr/sbin:/sbin" } else { "/mnt/sbin" }
    );
    let userspace = "WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go";
    let wg_quick = |what| place.relay.run(&["env", &path, userspace, "wg-quick", what, "wg0"]).ok();
    wg_quick("up");
    place.clients(&relay);
    place.assert_beside(&engine, "with the exported file");
    let ours = all_rules(&place.relay);
    assert_eq!(ours.iter().any(|l| l.contains("table inet wgrelay-q-wg0")), with_nft, "{ours:#?}");
    wg_quick("down");
    assert_eq!(before, all_rules(&place.relay), "after wg-quick down");
}

#[test]
fn an_exported_file() {
    exported(true);
}

#[test]
fn an_exported_file_without_nft() {
    exported(false);
}

/// wgrelay first, then the engine; then either one restarted, in both orders.
fn after_wgrelay(variant: &'static str) {
    if !can_run() {
        return;
    }
    let place = Place::new();
    place.relay.set_sysctl("ipv4/ip_forward", "0");
    let relay = place.network();
    let before = iptables(&place.relay);
    assert!(before.is_empty(), "a host without rules: {before:#?}");
    let up = relay.up().ok();
    assert!(up.stderr.contains(NETWORK), "the site is missing, and that is said: {up}");
    assert!(
        iptables(&place.relay).iter().all(|l| l.contains("wgrelay-wg0")),
        "nothing is needed beside our table"
    );
    place.clients(&relay);
    let mut engine = Engine::start(&place.relay, "28", variant);
    engine.ok(&["network", "create", "--subnet", "172.30.0.0/16", "other"]);
    engine.serve("other", &["--network", "other", "--ip", "172.30.0.5", "-p", "8080:7007"]);
    makes_networks(&engine);
    if relay.backend != "embedded" {
        relay.up().ok();
    }
    place.assert_beside(&engine, "after the engine came");
    engine.restart();
    place.assert_passes(&engine, "after the engine's restart");
    relay.ok(&["down"]);
    engine.restart();
    relay.up().ok();
    place.clients_again(&relay);
    place.assert_passes(&engine, "after the restart of both, the engine first");
    relay.ok(&["down"]);
    relay.up().ok();
    engine.restart();
    place.clients_again(&relay);
    place.assert_passes(&engine, "after the restart of both, the engine last");
    relay.ok(&["down"]);
    let left = iptables(&place.relay);
    assert!(left.iter().all(|l| !l.contains("wg")), "nothing of ours is left: {left:#?}");
}

#[test]
fn an_engine_that_starts_after_wgrelay() {
    after_wgrelay("nft");
}

#[test]
fn an_engine_that_starts_after_wgrelay_on_iptables_legacy() {
    after_wgrelay("legacy");
}
