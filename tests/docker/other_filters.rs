//! ufw beside us, with packets.

use crate::beside::{Place, iptables};
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
    for command in [&["ufw", "--force", "enable"][..], &["ufw", "reload"]] {
        place.relay.run(command).ok();
    }
    let relay = place.network();
    relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
    // Its own port is for the owner to open; that it is closed is told.
    let plan = || relay.call(&["plan"]).ok().stderr;
    assert!(plan().contains("ufw allow 51820/udp"), "{}", plan());
    place.relay.run(&["ufw", "allow", "51820/udp"]).ok();
    assert!(!plan().contains("ufw allow"), "{}", plan());
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

#[test]
fn a_site_whose_way_out_is_its_own_bridge_under_a_policy_of_drop() {
    if !met(&NAMESPACES) {
        return;
    }
    let place = Place::new();
    let host = site(&place);
    let router = Node::new("router");
    cable(End { node: &place.relay, link: "veth2" }, End { node: &router, link: "eth0" });
    router.ip(&(up("eth0", &["172.20.0.1/16"]) + "address add 203.0.113.7/32 dev lo\n"));
    place.relay.ip(&format!(
        "link set veth2 master {BRIDGE} up\naddress add 172.20.0.2/16 dev {BRIDGE}\nroute replace default via 172.20.0.1\n"
    ));
    place.relay.run(&["iptables", "-P", "FORWARD", "DROP"]).ok();
    let relay = place.network();
    relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
    let before = iptables(&place.relay);
    relay.up().ok();
    assert!(no_ping(&host, "203.0.113.7"), "nothing goes out that was not asked for");
    relay.edit(|text| {
        let interface = format!("interface = \"{BRIDGE}\"");
        text.replace(&interface, &format!("{interface}\negress = true"))
    });
    relay.up().ok();
    assert!(ping(&host, "203.0.113.7"), "the site's hosts go out by the bridge that they are on");
    assert_eq!(relay.call(&["plan", "--check"]).code, Some(0), "up again would change nothing");
    relay.ok(&["down"]);
    assert_eq!(before, iptables(&place.relay), "after down");
}
