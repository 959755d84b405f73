//! Hosts as people have them: IPv6 off, strict reverse-path filters, narrow links, a LAN behind a full tunnel, switches that
//! cannot be written.

use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::inet::{Inet, SERVER};
use crate::rig::probe::{ping, tcp};
use crate::rig::snapshot::Snapshot;

/// A relay with a way out and a full-tunnel spoke; what is given goes under the network, the relay, and the spoke.
fn full(network: &str, relay: &str, spoke: &str) -> String {
    format!(
        "[network]\nname = \"wg0\"\nsubnet = \"10.88.0.0/24\"\n{network}\n[node.relay]\nrole = \"relay\"\n\
         address = \"10.88.0.1\"\nendpoint = \"203.0.113.10:51820\"\negress = true\n{relay}\n[node.laptop]\n\
         address = \"10.88.0.2\"\nroutes = \"full\"\n{spoke}\n"
    )
}

const SIX: [&str; 3] = ["subnet6 = \"fd88::/64\"", "address6 = \"fd88::1\"", "address6 = \"fd88::2\""];

/// Brings both up, by wgrelay; returns them.
#[track_caller]
fn up<'t>(t: &'t Inet, text: &str) -> [Wgrelay<'t>; 2] {
    let (relay, spoke) = (Wgrelay::on(&t.relay), Wgrelay::on(&t.spoke));
    relay.write_network(text);
    relay.up().ok();
    spoke.up_with(&relay, "laptop").ok();
    [relay, spoke]
}

fn mtu(node: &crate::rig::node::Node) -> String {
    node.run(&["cat", "/sys/class/net/wg0/mtu"]).ok().stdout.trim().to_owned()
}

/// The endpoint that everybody has is one where nobody is; one client has another one of the relay.
#[test]
fn one_client_calls_the_relay_at_another_address() {
    let Some(t) = Inet::possible() else { return };
    let relay = Wgrelay::on(&t.relay);
    let text = full("", "", "endpoint_of.relay = \"203.0.113.10:51820\"");
    relay.write_network(&text.replacen("203.0.113.10:51820", "203.0.113.99:51820", 1));
    relay.up().ok();
    // The foreign client comes first: what it says of its clock is behind what the embedded data plane says.
    let file = relay.ok(&["export", "laptop"]);
    assert!(file.contains("Endpoint = 203.0.113.10:51820"), "{file}");
    wg_quick_up(&t.spoke, "wg0", &file).ok();
    assert!(ping(&t.spoke, "10.88.0.1"), "by the exported file");
    wg_quick_down(&t.spoke, "wg0").ok();
    Wgrelay::on(&t.spoke).up_with(&relay, "laptop").ok();
    assert!(ping(&t.spoke, "10.88.0.1"), "by wgrelay");
}

#[test]
fn a_host_without_ipv6_is_up_with_ipv4_alone_and_says_so() {
    let Some(t) = Inet::possible() else { return };
    for node in [&t.relay, &t.spoke] {
        for key in ["all", "default"] {
            node.set_sysctl(&format!("ipv6/conf/{key}/disable_ipv6"), "1");
        }
    }
    for (text, is_told) in [(full("", "", ""), false), (full(SIX[0], SIX[1], SIX[2]), true)] {
        let both = up(&t, &text);
        assert!(ping(&t.spoke, "10.88.0.1") && ping(&t.spoke, SERVER));
        for wgrelay in &both {
            let status = wgrelay.status();
            assert_eq!(status["state"], "up", "{status}");
            assert_eq!(status.to_string().contains("no-family"), is_told, "{status}");
            assert_eq!(wgrelay.ok(&["doctor"]).contains("IPv4 alone"), is_told);
            wgrelay.ok(&["plan", "--check"]);
            wgrelay.ok(&["down"]);
        }
        // The file that is exported has IPv6 on its own interface.
        for (node, name) in [(&t.relay, "relay"), (&t.spoke, "laptop")] {
            wg_quick_up(node, "wg0", &both[0].ok(&["export", name])).ok();
        }
        assert!(ping(&t.spoke, SERVER));
        assert!(!is_told || ping(&t.spoke, "fd88::1"));
        for node in [&t.relay, &t.spoke] {
            wg_quick_down(node, "wg0").ok();
        }
    }
}

#[test]
fn a_full_tunnel_passes_a_strict_reverse_path_filter() {
    let Some(t) = Inet::possible() else { return };
    let before = Snapshot::of(&t.spoke);
    for key in ["all", "default"] {
        t.spoke.set_sysctl(&format!("ipv4/conf/{key}/rp_filter"), "1");
    }
    let [_, spoke] = up(&t, &full("", "", ""));
    assert!(ping(&t.spoke, "10.88.0.1"), "the handshake's answer passes");
    assert_eq!(tcp(&t.spoke, &t.inet, SERVER).expect("TCP").to_string(), "203.0.113.10");
    assert_eq!(spoke.status()["state"], "up");
    // Without the rules, it is told.
    t.spoke.run(&["nft", "delete", "table", "inet", "wgrelay-wg0"]).ok();
    if spoke.backend == "kernel" {
        let trace = spoke.call(&["trace", "laptop", "relay", "--live"]).exits(4);
        assert!(trace.stdout.contains("reverse-path"), "{trace}");
    }
    spoke.ok(&["down"]);
    for key in ["all", "default"] {
        t.spoke.set_sysctl(&format!("ipv4/conf/{key}/rp_filter"), "0");
    }
    t.spoke.run(&["rm", "-r", "/mnt/wgrelay", "/mnt/laptop.bundle"]).ok();
    before.assert_same(&Snapshot::of(&t.spoke), "after down");
}

#[test]
fn the_tunnel_is_as_narrow_as_what_carries_it() {
    let Some(t) = Inet::possible() else { return };
    for (carries, fits) in [(1460, "1380"), (1280, "1200")] {
        t.relay.ip(&format!("link set eth0 mtu {carries}"));
        t.inet.ip(&format!("link set to-relay mtu {carries}"));
        // Fragments do not pass, as on many a way.
        let drop = "table ip fragments {\nchain f {\ntype filter hook prerouting priority -450\nip frag-off & 0x3fff != 0 drop\n}\n\
            chain p {\ntype filter hook postrouting priority 300\nip frag-off & 0x3fff != 0 drop\n}\n}";
        t.inet.run(&["nft", drop]).ok();
        let [relay, spoke] = up(&t, &full("", "", ""));
        assert_eq!(mtu(&t.relay), fits);
        assert!(ping(&t.spoke, "10.88.0.1"));
        for (from, to, address) in [
            (&t.spoke, &t.relay, "10.88.0.1"),
            (&t.relay, &t.spoke, "10.88.0.2"),
            (&t.spoke, &t.inet, SERVER),
        ] {
            tcp(from, to, address).unwrap_or_else(|e| panic!("300 kB from {} to {address}: {e}", from.name));
        }
        let status = relay.call(&["status"]);
        let said = status.to_string();
        assert!(said.contains(fits) && said.contains(&carries.to_string()), "{said}");
        // A file's own, too large, is warned of with the number.
        relay.edit(|text| text.replace("[network]\n", "[network]\nmtu = 1400\n"));
        let plan = relay.call(&["plan"]);
        assert!(plan.to_string().contains(&format!("mtu = {fits} under [network]")), "{plan}");
        spoke.ok(&["down"]);
        relay.ok(&["down"]);
        t.inet.run(&["nft", "delete table ip fragments"]).ok();
    }
}

#[test]
fn a_lan_behind_a_full_tunnel_goes_where_its_gateway_goes() {
    let Some(t) = Inet::possible() else { return };
    let site = "[[node.laptop.site]]\nsubnet = \"192.168.16.64/26\"\ninterface = \"eth1\"\ngateway = true\n";
    let [relay, spoke] = up(&t, &full("", "", site));
    assert!(ping(&t.spoke, "10.88.0.1"));
    assert!(ping(&t.host, SERVER), "a host of the LAN, by its gateway's tunnel");
    assert_eq!(tcp(&t.host, &t.inet, SERVER).expect("TCP").to_string(), "203.0.113.10");
    spoke.call(&["trace", "192.168.16.64/26", "internet"]).exits(0);
    spoke.ok(&["down"]);
    wg_quick_up(&t.spoke, "wg0", &relay.ok(&["export", "laptop"])).ok();
    // Who goes from the embedded data plane to another is refused for half a minute (docs/security.md).
    let passes = (0..40).any(|_| {
        let answered = ping(&t.host, SERVER);
        if !answered {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        answered
    });
    assert!(passes, "and by the exported file");
}

#[test]
fn an_exported_relay_goes_out_beside_a_forward_policy_of_drop() {
    let Some(t) = Inet::possible() else { return };
    let relay = Wgrelay::on(&t.relay);
    relay.write_network(&full("", "", ""));
    t.relay.run(&["iptables", "-P", "FORWARD", "DROP"]).ok();
    for (node, name) in [(&t.relay, "relay"), (&t.spoke, "laptop")] {
        wg_quick_up(node, "wg0", &relay.ok(&["export", name])).ok();
    }
    assert!(ping(&t.spoke, SERVER));
    wg_quick_down(&t.relay, "wg0").ok();
    let rules = t.relay.run(&["iptables", "-S", "FORWARD"]).ok().stdout;
    assert_eq!(rules.trim(), "-P FORWARD DROP");
}

#[test]
fn switches_that_cannot_be_written_are_told_with_the_containers_option() {
    let Some(t) = Inet::possible() else { return };
    let read_only = |node: &crate::rig::node::Node| {
        node.run(&["mount", "--bind", "-o", "ro", "/proc/sys", "/proc/sys"]).ok();
        node.run(&["mount", "-o", "remount,ro,bind", "/proc/sys"]).ok();
    };
    read_only(&t.relay);
    let split = full("", "", "").replace("routes = \"full\"", "").replace("egress = true", "");
    let [relay, spoke] = up(&t, &split);
    assert!(ping(&t.spoke, "10.88.0.1"), "a relay without its switches is reached itself");
    let said = relay.call(&["plan"]);
    assert!(said.to_string().contains("docker run --sysctl net.ipv4.ip_forward=1"), "{said}");
    spoke.ok(&["down"]);
    // A spoke needs none: no word.
    read_only(&t.spoke);
    let up = spoke.up_with(&relay, "laptop").ok();
    assert!(!up.to_string().contains("--sysctl"), "{up}");
    assert!(ping(&t.spoke, "10.88.0.1"));
    relay.ok(&["down"]);
}

const LIBVIRT_IPTABLES: &str = "for c in FWI FWO FWX; do iptables -N LIBVIRT_$c; done
    iptables -I FORWARD -j LIBVIRT_FWO; iptables -I FORWARD -j LIBVIRT_FWI; iptables -I FORWARD -j LIBVIRT_FWX
    iptables -A LIBVIRT_FWI -d 192.168.16.64/26 -o eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables -A LIBVIRT_FWI -o eth1 -j REJECT --reject-with icmp-port-unreachable
    iptables -A LIBVIRT_FWO -s 192.168.16.64/26 -i eth1 -j ACCEPT
    iptables -A LIBVIRT_FWO -i eth1 -j REJECT --reject-with icmp-port-unreachable
    iptables -A LIBVIRT_FWX -i eth1 -o eth1 -j ACCEPT";
const LIBVIRT_NFT: &str = "table ip libvirt_network {
    chain guest_cross {\niif eth1 oif eth1 counter accept\n}
    chain guest_input {\noif eth1 ip daddr 192.168.16.64/26 ct state established,related counter accept\noif eth1 counter reject\n}
    chain guest_output {\nip saddr 192.168.16.64/26 iif eth1 counter accept\niif eth1 counter reject\n}
    chain forward {\ntype filter hook forward priority filter; policy accept\njump guest_cross\njump guest_input\njump guest_output\n}
    }";
const LAST_RULE: &str = "table inet filter {
    chain forward {\ntype filter hook forward priority 0; policy accept\nct state established,related accept
    iifname lan0 accept\ncounter reject with icmpx admin-prohibited\n}
    }";

/// Rules of libvirt's network drivers (network_iptables.c, network_nftables.c), retyped: libvirt itself is not here.
#[test]
fn a_reject_in_a_chain_that_is_jumped_to_is_opened_or_told() {
    let Some(t) = Inet::possible() else { return };
    let site = "[[node.laptop.site]]\nsubnet = \"192.168.16.64/26\"\ninterface = \"eth1\"\ngateway = true\n";
    let text = full("", "", site).replace("routes = \"full\"\n", "");
    let prepare = |script: &str| t.spoke.run(&["bash", "-ec", script]).ok();
    prepare(LIBVIRT_IPTABLES);
    let [relay, spoke] = up(&t, &text);
    assert!(ping(&t.relay, "192.168.16.77"), "iptables' side is opened");
    spoke.call(&["trace", "relay", "192.168.16.77", "--live"]).exits(0);
    spoke.ok(&["down"]);
    let rules = t.spoke.run(&["iptables", "-S", "FORWARD"]).ok().stdout;
    assert!(!rules.contains("wgrelay"), "{rules}");
    prepare("iptables -F; iptables -X");
    for (table, told) in
        [(LIBVIRT_NFT, "<forward mode='open'/>"), (LAST_RULE, "nft insert rule inet filter forward")]
    {
        t.spoke.run(&["nft", table]).ok();
        let up = spoke.up_with(&relay, "laptop").ok();
        assert!(up.to_string().contains(told), "{up}");
        assert!(ping(&t.spoke, "10.88.0.1"));
        assert!(crate::rig::probe::no_ping(&t.relay, "192.168.16.77"));
        let trace = spoke.call(&["trace", "relay", "192.168.16.77", "--live"]).exits(4);
        assert!(trace.stdout.contains("forward-dropped"), "{trace}");
        assert!(spoke.call(&["doctor"]).stdout.contains(told));
        assert!(spoke.status().to_string().contains("forward-dropped"));
        spoke.ok(&["down"]);
        t.spoke.run(&["nft", "flush", "ruleset"]).ok();
    }
}

#[test]
fn a_full_tunnel_leaves_out_what_the_file_names() {
    let Some(t) = Inet::possible() else { return };
    // By a private prefix around the tunnel's own, by one address, and by what it is attached to.
    for (out, local) in [("\"192.0.2.90/32\", \"10.0.0.0/8\"", ""), ("", "\"192.0.2.90/32\"")] {
        let (relay, spoke) = (Wgrelay::on(&t.relay), Wgrelay::on(&t.spoke));
        relay.write_network(&full("", "", &format!("except = [{out}]\nlocal = [{local}]")));
        relay.up().ok();
        let dev = |address: &str| t.spoke.run(&["ip", "route", "get", address]).ok().stdout;
        t.spoke.set_sysctl("ipv4/conf/all/rp_filter", "1");
        for client in ["wg-quick", "wgrelay"] {
            if client == "wg-quick" {
                wg_quick_up(&t.spoke, "wg0", &relay.ok(&["export", "laptop"])).ok();
            } else {
                spoke.up_with(&relay, "laptop").ok();
            }
            let answered = (0..20).any(|_| ping(&t.spoke, "10.88.0.1"));
            assert!(answered, "{client}: the endpoint is found, and the tunnel's own subnet stays in it");
            assert!(dev(SERVER).contains("dev wg0"), "{client}");
            assert!(dev("192.0.2.90").contains("dev eth0"), "{client}");
            assert!(out.is_empty() || dev("10.1.2.3").contains("dev eth0"), "{client}");
            assert!(dev("10.88.0.7").contains("dev wg0"), "{client}");
            assert!(ping(&t.spoke, SERVER), "{client}");
            if client == "wg-quick" {
                wg_quick_down(&t.spoke, "wg0").ok();
            } else {
                spoke.ok(&["down"]);
            }
        }
        t.spoke.set_sysctl("ipv4/conf/all/rp_filter", "0");
        let rules = t.spoke.run(&["ip", "rule"]).ok().stdout;
        assert_eq!(rules.lines().count(), 3, "{rules}");
        assert!(!relay.ok(&["export", "laptop"]).contains("0.0.0.0/0"));
        relay.ok(&["down"]);
    }
}

/// Puts the addresses of the relay's name into a node's own /etc/hosts, in this order.
fn named(node: &crate::rig::node::Node, addresses: &[&str]) {
    let lines: String = addresses.iter().map(|ip| format!("{ip} relay.example\n")).collect();
    node.write("/mnt/hosts", &format!("127.0.0.1 localhost\n{lines}"));
    node.run(&["bash", "-c", "umount /etc/hosts 2>/dev/null; mount --bind /mnt/hosts /etc/hosts"]).ok();
}

#[test]
fn a_name_of_both_families_is_called_where_this_host_can_and_then_at_the_next() {
    let Some(t) = Inet::possible() else { return };
    t.relay.ip("addr add 2001:db8:1::10/64 dev eth0 nodad\nroute add default via 2001:db8:1::1");
    t.inet.ip("addr add 2001:db8:1::1/64 dev to-relay nodad\naddr add 2001:db8:2::1/64 dev to-spoke nodad");
    t.spoke.ip("addr add 2001:db8:2::20/64 dev eth0 nodad\nroute add default via 2001:db8:2::1");
    t.inet.set_sysctl("ipv6/conf/all/forwarding", "1");
    let text = full("", "", "")
        .replace("203.0.113.10:51820", "relay.example:51820")
        .replace("routes = \"full\"", "");
    named(&t.relay, &["203.0.113.10"]);
    let both = ["203.0.113.10", "2001:db8:1::10"];
    // Without IPv4.
    t.spoke.ip("addr del 198.51.100.20/24 dev eth0");
    for order in [both, [both[1], both[0]]] {
        named(&t.spoke, &order);
        let [relay, spoke] = up(&t, &text);
        assert!(ping(&t.spoke, "10.88.0.1"), "{order:?}");
        spoke.ok(&["down"]);
        relay.ok(&["down"]);
    }
    // With both, and nobody at the one that comes first.
    t.spoke.ip("addr add 198.51.100.20/24 dev eth0\nroute add default via 198.51.100.1");
    t.inet
        .run(&[
            "nft",
            "add table ip6 no; add chain ip6 no f { type filter hook forward priority 0 ; policy drop ; }",
        ])
        .ok();
    named(&t.spoke, &both);
    let [_relay, spoke] = up(&t, &text);
    // An agent looks twice a minute.
    assert!((0..60).any(|_| ping(&t.spoke, "10.88.0.1")), "{}", spoke.status());
}

#[test]
fn a_laptop_in_a_lan_like_a_site_is_up_without_that_site_and_says_so() {
    let Some(t) = Inet::possible() else { return };
    let site = "[[node.relay.site]]\nsubnet = \"192.168.77.0/24\"\ninterface = \"lan0\"\n";
    let more = "[[node.relay.site]]\nsubnet = \"192.168.78.0/24\"\ninterface = \"lan0\"\n";
    t.relay.ip("link add lan0 type bridge\naddr add 192.168.77.1/24 dev lan0\naddr add 192.168.78.1/24 dev lan0\nlink set lan0 up");
    t.spoke.ip("link add wlan0 type bridge\naddr add 192.168.77.30/24 dev wlan0\nlink set wlan0 up");
    let text = full("", &format!("{site}{more}"), "").replace("routes = \"full\"", "");
    let [_relay, spoke] = up(&t, &text);
    assert!(ping(&t.spoke, "10.88.0.1") && ping(&t.spoke, "192.168.78.1"));
    let status = spoke.status();
    assert_eq!(status["state"], "degraded");
    assert!(status.to_string().contains("192.168.77.0/24 itself, by wlan0"), "{status}");
    assert!(spoke.ok(&["doctor"]).contains("192.168.77.0/24 itself, by wlan0"));
    spoke.call(&["trace", "laptop", "192.168.77.9", "--live"]).exits(4);
    spoke.call(&["trace", "laptop", "192.168.78.9", "--live"]).exits(0);
    // It goes home, or to another LAN.
    t.spoke.ip("link del wlan0");
    assert!((0..60).any(|_| ping(&t.spoke, "192.168.77.1")), "{}", spoke.status());
    assert_eq!(spoke.status()["state"], "up");
}
