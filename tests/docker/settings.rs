//! Docker's own settings that change what has to stand beside it: nothing is added that need not be there.

use crate::beside::{PATIENCE, PORT, Place, can_run, iptables, page};
use crate::engine::Engine;
use crate::rig::drive::Wgrelay;
use crate::rig::probe::{no_ping, ping};

/// Docker networks with a setting each: name, third number of the subnet, options.
pub const NETWORKS: [(&str, u8, &[&str]); 4] = [
    ("plain", 1, &[]),
    ("trusting", 2, &["-o", "com.docker.network.bridge.trusted_host_interfaces=wg0"]),
    ("unprotected", 3, &["-o", "com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected"]),
    ("routed", 4, &["-o", "com.docker.network.bridge.gateway_mode_ipv4=routed"]),
];

/// Makes the networks with a container each, and the relay with all of them as its sites.
pub fn lay<'a>(place: &'a Place, engine: &Engine<'_>) -> Wgrelay<'a> {
    let relay = place.network();
    let mut sites = String::new();
    for (name, n, options) in NETWORKS {
        let subnet = format!("172.31.{n}.0/24");
        engine.ok(&[&["network", "create", "--subnet", &subnet][..], options, &[name]].concat());
        engine.serve(name, &["--network", name, "--ip", &format!("172.31.{n}.5")]);
        sites += &format!("[[node.wsl.site]]\nsubnet = \"{subnet}\"\ninterface = \"docker:{name}\"\n\n");
    }
    relay.edit(|text| {
        let begin = text.find("[[node.wsl.site]]").expect("the relay has a site");
        let end = text[begin..].find("\n[node.").expect("a node follows") + begin;
        format!("{}{sites}{}", &text[..begin], &text[end..])
    });
    relay
}

/// Fails unless a client reaches every container, and a neighbour none but those that Docker opens.
#[track_caller]
pub fn assert_reached(place: &Place) {
    for (name, n, _) in NETWORKS {
        let address = format!("172.31.{n}.5");
        assert!(ping(&place.windows, &address), "a client pings the container on {name}");
        assert!(page(&place.windows, &address, PORT, PATIENCE), "a client reads the page on {name}");
    }
    for address in ["172.31.1.5", "172.31.2.5"] {
        assert!(no_ping(&place.lan, address), "a LAN host does not ping {address}");
    }
    assert!(ping(&place.lan, "172.31.3.5"), "Docker opens what is unprotected");
}

fn ours(place: &Place) -> Vec<String> {
    iptables(&place.relay).into_iter().filter(|l| l.contains("wgrelay:wg0")).collect()
}

#[test]
fn only_what_docker_drops_is_let_through() {
    if !can_run() {
        return;
    }
    let place = Place::new();
    let engine = Engine::start(&place.relay, "28", "nft");
    let relay = lay(&place, &engine);
    relay.up().ok();
    place.clients(&relay);
    assert_reached(&place);
    let rules = ours(&place);
    let raw: Vec<&String> = rules.iter().filter(|l| l.contains("PREROUTING")).collect();
    assert!(
        raw.len() == 1 && raw[0].contains("172.31.1.0/24"),
        "one bypass, of the plain network: {rules:#?}"
    );
    assert!(rules.iter().all(|l| !l.contains("172.31.3.0/24")), "nothing for what Docker opens: {rules:#?}");
}

#[test]
fn a_daemon_that_allows_direct_routing() {
    if !can_run() {
        return;
    }
    let place = Place::new();
    let engine = Engine::start_with(&place.relay, "28", "nft", &["--allow-direct-routing"]);
    let relay = lay(&place, &engine);
    relay.up().ok();
    place.clients(&relay);
    assert_reached(&place);
    assert!(ours(&place).iter().all(|l| !l.contains("PREROUTING")), "no bypass: {:#?}", ours(&place));
}
