//! Engine 29's nftables backend, as Docker documents and prints it, with packets. No distribution has that engine yet,
//! so its rules are retyped here: two base chains that drop, and the settings that open them.

use crate::beside::{Place, iptables};
use crate::other_filters::{BRIDGE, HOST, assert_open, site};
use crate::rig::need::{NAMESPACES, met};
use crate::rig::probe::no_ping;

/// Which settings a daemon has.
#[derive(Clone, Copy, Default)]
struct Settings {
    /// `bridge-accept-fwmark`, as nft writes the condition.
    mark: Option<&'static str>,
    /// `allow-direct-routing`
    direct: bool,
    /// `com.docker.network.bridge.trusted_host_interfaces=wg0`
    trusted: bool,
}

/// The table of a daemon with one bridge and one container behind it.
fn table(settings: Settings) -> String {
    let accept = settings.mark.map_or(String::new(), |m| format!("meta mark {m} counter accept\n"));
    let raw = match settings {
        Settings { direct: true, .. } => String::new(),
        Settings { trusted: true, .. } => {
            format!("ip daddr {HOST} iifname != {{ \"{BRIDGE}\", \"wg0\" }} counter drop")
        }
        Settings { .. } => format!("ip daddr {HOST} iifname != \"{BRIDGE}\" counter drop"),
    };
    format!(
        "table ip docker-bridges
delete table ip docker-bridges
table ip docker-bridges {{
    map filter-forward-in-jumps {{
        type ifname : verdict
        elements = {{ \"{BRIDGE}\" : jump filter-forward-in__{BRIDGE} }}
    }}
    map filter-forward-out-jumps {{
        type ifname : verdict
        elements = {{ \"{BRIDGE}\" : jump filter-forward-out__{BRIDGE} }}
    }}
    chain filter-FORWARD {{
        type filter hook forward priority 0; policy accept;
        oifname vmap @filter-forward-in-jumps
        iifname vmap @filter-forward-out-jumps
    }}
    chain nat-POSTROUTING {{
        type nat hook postrouting priority 100; policy accept;
        oifname != \"{BRIDGE}\" ip saddr 172.19.0.0/16 counter masquerade
    }}
    chain raw-PREROUTING {{
        type filter hook prerouting priority -300; policy accept;
        {raw}
    }}
    chain filter-forward-in__{BRIDGE} {{
        ct state established,related counter accept
        {accept}
        iifname \"{BRIDGE}\" counter accept
        counter drop
    }}
    chain filter-forward-out__{BRIDGE} {{
        ct state established,related counter accept
        counter accept
    }}
}}
"
    )
}

#[test]
fn nftables_backend() {
    if !met(&NAMESPACES) {
        return;
    }
    let place = Place::new();
    let host = site(&place);
    let set = |settings: Settings| {
        place.relay.write("/run/docker.nft", &table(settings));
        place.relay.run(&["nft", "-f", "/run/docker.nft"]).ok();
    };
    let relay = place.network();
    relay.edit(|text| text.replace("docker:webvirtcloud_default", BRIDGE));
    set(Settings::default());
    let before = iptables(&place.relay);
    let told = |settings: Settings| {
        set(settings);
        let up = relay.up().ok().stderr;
        (up.contains("allow-direct-routing"), up.contains("bridge-accept-fwmark"))
    };
    assert_eq!(told(Settings::default()), (true, true), "both settings are told");
    place.clients(&relay);
    assert!(no_ping(&place.windows, HOST), "both drops hold");

    let bit = Some("and 16777216 == 16777216");
    assert_eq!(told(Settings { mark: bit, ..Settings::default() }), (true, false));
    assert!(no_ping(&place.windows, HOST), "the mark alone opens nothing");
    // No drop is to be seen, and no engine is here to say whether a container runs: both are told, to be sure.
    assert_eq!(told(Settings { direct: true, ..Settings::default() }), (true, true));
    assert!(no_ping(&place.windows, HOST), "direct routing alone opens nothing");
    assert_eq!(told(Settings { trusted: true, ..Settings::default() }), (false, true));
    assert!(no_ping(&place.windows, HOST), "trust alone opens nothing");

    for mark in [bit, Some("49"), Some("and 65280 == 4608")] {
        assert_eq!(told(Settings { mark, direct: true, trusted: false }), (false, false));
        assert_open(&place, &host);
    }
    assert_eq!(told(Settings { mark: bit, direct: false, trusted: true }), (false, false));
    assert_open(&place, &host);
    assert_eq!(relay.call(&["plan", "--check"]).code, Some(0), "up again would change nothing");
    assert_eq!(told(Settings::default()), (true, true), "settings taken back are told again");

    relay.ok(&["down"]);
    assert_eq!(before, iptables(&place.relay), "after down");
}
