//! Exported files on hosts as people have them: sites inside sites, gateways that send everything into the tunnel, ways out
//! to the Internet; by `wg-quick` and wireguard-go on both sides.

use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::inet::{Inet, SERVER};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, ping, tcp};
use crate::rig::snapshot::Snapshot;

const FULL: &str = r#"[network]
name = "wg0"
subnet = "10.46.0.0/24"
[node.hub]
role = "relay"
address = "10.46.0.1"
endpoint = "203.0.113.10:51820"
egress = true
[node.office]
address = "10.46.0.2"
routes = "full"
[[node.office.site]]
subnet = "192.168.16.64/26"
interface = "eth1"
gateway = true
[[node.office.site]]
subnet = "192.168.16.0/24"
interface = "eth2"
"#;

/// Both nodes by wg-quick, from what the relay exports.
#[track_caller]
fn both(t: &Inet, text: &str) {
    let relay = Wgrelay::on(&t.relay);
    relay.write_network(text);
    wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "hub"])).ok();
    wg_quick_up(&t.spoke, "wg0", &relay.ok(&["export", "office"])).ok();
}

/// A snapshot for which the folder of wireguard-go's sockets and the file of this test are nobody's.
fn snapshot(node: &Node) -> Snapshot {
    node.run(&["mkdir", "-p", "/run/wireguard"]).ok();
    Snapshot::of(node)
}

#[test]
fn a_gateway_with_a_full_tunnel_is_reached_by_its_tunnel_address_and_reaches_the_internet() {
    let Some(t) = Inet::possible() else { return };
    let before = [snapshot(&t.relay), snapshot(&t.spoke)];
    both(&t, FULL);
    assert!(ping(&t.spoke, "10.46.0.1"));
    // The relay's uplink forwards what comes back.
    assert!(ping(&t.spoke, SERVER), "the spoke, by the relay, to the Internet");
    assert_eq!(tcp(&t.spoke, &t.inet, SERVER).expect("TCP").to_string(), "203.0.113.10");
    // wg-quick's own rule would drop what comes to the tunnel address by another link.
    assert!(ping(&t.host, "10.46.0.2"), "a site's host, to its gateway's own tunnel address");
    assert_eq!(tcp(&t.host, &t.spoke, "10.46.0.2").expect("TCP").to_string(), "192.168.16.77");
    // What is no site of its may still not call it there.
    t.inet.ip("route add 10.46.0.2/32 via 198.51.100.20");
    assert!(no_ping(&t.inet, "10.46.0.2"), "the rule of wg-quick holds for everybody else");

    for (node, before) in [(&t.relay, &before[0]), (&t.spoke, &before[1])] {
        wg_quick_down(node, "wg0").ok();
        node.run(&["rm", "-r", "/etc/wireguard/wg0.conf"]).ok();
        node.run(&["sh", "-c", "rm -rf /mnt/wgrelay"]).ok();
        for (switch, value) in [("send_redirects", "1"), ("src_valid_mark", "0")] {
            node.set_sysctl(&format!("ipv4/conf/all/{switch}"), value);
        }
        before.assert_same(&Snapshot::of(node), &format!("on {} after wg-quick down", node.name));
    }
}

#[test]
fn a_wider_sites_masquerade_leaves_a_narrower_one_alone() {
    let Some(t) = Inet::possible() else { return };
    both(&t, &FULL.replace("routes = \"full\"\n", ""));
    assert_eq!(tcp(&t.relay, &t.host, "192.168.16.77").expect("TCP").to_string(), "10.46.0.1", "as it is");
    assert_eq!(
        tcp(&t.relay, &t.wide, "192.168.16.5").expect("TCP").to_string(),
        "192.168.16.1",
        "masqueraded"
    );
}

#[test]
fn two_sites_on_one_link_leave_its_switch_as_it_was() {
    let Some(t) = Inet::possible() else { return };
    t.spoke.ip("addr add 10.9.0.1/24 dev eth2");
    let site = "[[node.office.site]]\nsubnet = \"10.9.0.0/24\"\ninterface = \"eth2\"\negress = true\n";
    let switch =
        |link: &str| t.spoke.run(&["cat", &format!("/proc/sys/net/ipv4/conf/{link}/forwarding")]).ok().stdout;
    let before = ["eth0", "eth1", "eth2"].map(switch);
    both(&t, &format!("{FULL}{site}").replace("routes = \"full\"\n", ""));
    assert_eq!(["eth0", "eth1", "eth2"].map(switch), ["1\n"; 3], "the uplink, too: a site leaves by it");
    wg_quick_down(&t.spoke, "wg0").ok();
    assert_eq!(["eth0", "eth1", "eth2"].map(switch), before);
}
