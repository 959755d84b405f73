//! `import --live` and `--take-over`: a tunnel of wg-quick's that runs, its peers online, becomes one of ours; or stays what it was.

use wgrelay::model::PrivateKey;

use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::node::Node;
use crate::rig::probe::{ping, ping_within};
use crate::rig::topology::{Families, RELAY, Topology};

/// The clients: which, its address in the tunnel, and what keeps its session alive.
const CLIENTS: [(&str, &str, &str); 2] =
    [("laptop", "10.8.0.2", "PersistentKeepalive = 25\n"), ("quiet", "10.8.0.3", "")];

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_random([n; 32])
}

/// The relay's file as people write it, with a name above each peer.
fn hub() -> String {
    let mut text = format!(
        "[Interface]\nAddress = 10.8.0.1/24\nListenPort = 51820\nPrivateKey = {}\n\
         PostUp = iptables -A FORWARD -i %i -j ACCEPT\nPostUp = sysctl -w net.ipv4.conf.all.forwarding=1\n\
         PostDown = iptables -D FORWARD -i %i -j ACCEPT\nPostDown = sysctl -w net.ipv4.conf.all.forwarding=0\n",
        key(1).expose_base64().as_str()
    );
    for (i, (name, address, _)) in (2..).zip(CLIENTS) {
        text +=
            &format!("\n# {name}\n[Peer]\nPublicKey = {}\nAllowedIPs = {address}/32\n", key(i).public_key());
    }
    text
}

fn client(n: u8, address: &str, keepalive: &str) -> String {
    format!(
        "[Interface]\nPrivateKey = {}\nAddress = {address}/24\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.8.0.0/24\n\
         Endpoint = {RELAY}:51820\n{keepalive}",
        key(n).expose_base64().as_str(),
        key(1).public_key()
    )
}

/// wg-quick's tunnel on the relay, with both clients online.
fn by_wg_quick(t: &Topology) {
    wg_quick_up(&t.relay, "wg0", &hub()).ok();
    for ((i, (name, address, keepalive)), node) in (2..).zip(CLIENTS).zip([&t.windows, &t.docker]) {
        wg_quick_up(node, "wg0", &client(i, address, keepalive)).ok();
        assert!(ping(node, "10.8.0.1"), "{name}");
    }
}

fn public_key(node: &Node) -> String {
    node.run(&["wg", "show", "wg0", "public-key"]).ok().stdout.trim().to_owned()
}

/// What is on the host but for the number of a link that was made anew, and what is random in it.
fn seen(node: &Node) -> String {
    let script = "wg showconf wg0 | sort; ip -br -4 addr; ip -4 route show table all; ip rule; nft -s list ruleset; iptables-save | grep -v '^#'
        grep -H . /proc/sys/net/ipv4/conf/*/forwarding; ls /run/wgrelay /run/wireguard";
    node.run(&["bash", "-c", script]).stdout
}

#[test]
fn wg_quicks_tunnel_becomes_ours_and_everybody_is_there_at_once() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    by_wg_quick(&t);
    let relay = Wgrelay::on(&t.relay);
    let said = relay.call(&["import", "--live", "wg0", "--take-over"]).ok();
    assert!(said.stdout.contains("taken over: 2 of 2 peers that had a session have one again"), "{said}");

    // The relay speaks first to one that nothing keeps alive: without its endpoint, it would be lost until it speaks.
    assert!(ping_within(std::time::Duration::from_secs(5), &t.relay, "10.8.0.3"));
    assert!(ping(&t.windows, "10.8.0.3") && ping(&t.docker, "10.8.0.2"));
    // Ours, by the same key; nothing of wg-quick's is left.
    assert_eq!(public_key(&t.relay), key(1).public_key().to_string());
    let status = relay.status();
    assert!(status["state"] == "up" && status["drift"].as_array().is_some_and(Vec::is_empty), "{status}");
    let names: Vec<&str> =
        status["peers"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["laptop", "quiet"]);
    let rules = t.relay.run(&["iptables", "-S", "FORWARD"]).ok().stdout;
    assert!(!rules.contains("-i wg0 -j ACCEPT"), "{rules}");
    assert_eq!(t.relay.processes().iter().filter(|(_, line)| line.contains("wireguard-go")).count(), 0);
    relay.call(&["plan", "--check"]).ok();
    // Nobody keeps a keepalive that was only a call.
    let kept = t.relay.run(&["wg", "show", "wg0", "persistent-keepalive"]).ok().stdout;
    assert!(kept.lines().all(|l| l.ends_with("off")), "{kept}");
    relay.ok(&["down"]);
}

#[test]
fn where_ours_does_not_come_up_theirs_is_back() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    by_wg_quick(&t);
    let before = seen(&t.relay);
    // What ours cannot do without, and is seen only when it is used.
    t.relay.run(&["mount", "--bind", "/bin/false", "/usr/sbin/nft"]).ok();
    let relay = Wgrelay::on(&t.relay);
    let said = relay.call(&["import", "--take-over", "/etc/wireguard/wg0.conf"]).exits(1);
    assert!(said.stderr.contains("what was there is back, its peers called"), "{said}");
    t.relay.run(&["umount", "/usr/sbin/nft"]).ok();
    assert_eq!(before, seen(&t.relay), "after a take-over that was undone");
    assert!(
        ping_within(std::time::Duration::from_secs(5), &t.relay, "10.8.0.3"),
        "its endpoint came back, too"
    );
    assert!(ping(&t.windows, "10.8.0.3"));
}

/// wg-quick runs what its files say: neither another tunnel's of the same name, nor one that others may write.
#[test]
fn no_file_but_its_own_brings_it_down() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    by_wg_quick(&t);
    let relay = Wgrelay::on(&t.relay);
    let file = t.relay.read("/etc/wireguard/wg0.conf");
    let stale = file.replace(key(1).expose_base64().as_str(), key(5).expose_base64().as_str())
        + "\n[Interface]\nPostDown = touch /mnt/ran\n";
    t.relay.write("/etc/wireguard/wg0.conf", &stale);
    let said = relay.call(&["import", "--live", "wg0", "--take-over"]).exits(1);
    assert!(said.stderr.contains("no file of wg-quick's with its key"), "{said}");
    t.relay.run(&["rm", "/etc/wireguard/wg0.conf"]).ok();
    t.relay.run(&["mkdir", "-p", "/mnt/theirs"]).ok();
    t.relay.write("/mnt/theirs/wg0.conf", &file);
    for (who, what) in
        [("/mnt/theirs/wg0.conf", "somebody's file"), ("/mnt/theirs", "a file in somebody's folder")]
    {
        t.relay.run(&["chown", "65534", who]).ok();
        let said = relay.call(&["import", "--live", "wg0", "--take-over", "/mnt/theirs/wg0.conf"]).exits(1);
        assert!(said.stderr.contains("65534") || said.stderr.contains("nobody"), "{what}: {said}");
        t.relay.run(&["chown", "0", who]).ok();
    }
    t.relay.run(&["ls", "/mnt/ran"]).exits(2);
    assert_eq!(public_key(&t.relay), key(1).public_key().to_string());
    assert!(ping(&t.windows, "10.8.0.3"));
}

/// Over the very tunnel, the terminal goes away with it.
#[test]
fn a_terminal_that_goes_away_ends_nothing_half_way() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    by_wg_quick(&t);
    let relay = Wgrelay::on(&t.relay);
    let file = t.relay.read("/etc/wireguard/wg0.conf");
    t.relay.write(
        "/etc/wireguard/wg0.conf",
        &file.replace("[Interface]\n", "[Interface]\nPostDown = touch /mnt/gone; sleep 2\n"),
    );
    let script = format!(
        "{} --dir {} import --live wg0 --take-over & pid=$!
         until [ -e /mnt/gone ]; do sleep 0.05; done; kill -HUP $pid; kill -INT $pid; kill -TERM $pid; wait $pid",
        env!("CARGO_BIN_EXE_wgrelay"),
        relay.dir
    );
    // bash lets its jobs in the background ignore Ctrl-C; a terminal's own do not.
    let said = t.relay.run(&["bash", "-m", "-c", &script]).ok();
    assert!(said.stdout.contains("2 of 2 peers"), "{said}");
    assert!(ping(&t.windows, "10.8.0.3"));
    assert_eq!(relay.status()["state"], "up");
    relay.ok(&["down"]);
}

#[test]
fn an_interface_is_read_as_it_runs() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    by_wg_quick(&t);
    let relay = Wgrelay::on(&t.relay);
    // What changed since its file was written: a peer more, and one with a site.
    let (more, psk) = (key(9).public_key().to_string(), key(8).public_key().to_string());
    t.relay.write("/mnt/psk", &psk);
    let first = key(2).public_key().to_string();
    t.relay
        .run(&["wg", "set", "wg0", "peer", &more, "preshared-key", "/mnt/psk", "allowed-ips", "10.8.0.9/32"])
        .ok();
    t.relay.run(&["wg", "set", "wg0", "peer", &first, "allowed-ips", "10.8.0.2/32,192.168.77.0/24"]).ok();
    let said = relay.call(&["import", "--live", "wg0", "--network", "one"]).ok();
    for told in ["wg0.conf:13:1: warning[differs-from-running]: AllowedIPs", "warning[not-in-file]"] {
        assert!(said.stderr.contains(told), "{told}: {said}");
    }
    let text = t.relay.read(format!("{}/one/network.toml", relay.dir));
    for part in ["[node.laptop]", "[node.quiet]", "192.168.77.0/24", &more] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let secrets = t.relay.read(format!("{}/one/secrets.toml", relay.dir));
    assert!(secrets.contains(key(1).expose_base64().as_str()) && secrets.contains(&psk));
    // Nothing on the host is changed, and nothing is printed that is secret.
    assert!(ping(&t.windows, "10.8.0.3"));
    assert!(!said.stderr.contains(&psk) && !said.stdout.contains(&psk));

    // Without any file, the interface alone.
    t.relay.run(&["rm", "/etc/wireguard/wg0.conf"]).ok();
    let said = relay.call(&["import", "--live", "wg0", "--network", "two"]).ok();
    assert!(said.stderr.contains("warning[running-alone]"), "{said}");
    let text = t.relay.read(format!("{}/two/network.toml", relay.dir));
    assert!(text.contains("192.168.77.0/24") && !text.contains(&format!("{RELAY}:")), "{text}");
    // What no wg-quick can take down is not taken over, and neither is what is no tunnel.
    for (words, why) in [
        (["--live", "wg0", "--take-over"], "no file of wg-quick's with its key"),
        (["--live", "eth0", "--network=x"], "it is no WireGuard interface"),
        (["--live", "wg7", "--network=x"], "there is none of this name"),
    ] {
        let said = relay.call(&["import", words[0], words[1], words[2]]).exits(1);
        assert!(said.stderr.contains(why), "{why}: {said}");
    }
    assert!(ping(&t.windows, "10.8.0.3"));
}
