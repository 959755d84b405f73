//! Filters of this host's owner at output: what they let nobody send is told as theirs, alike everywhere, and no port is blamed.

use std::time::{Duration, Instant};

use crate::rig::drive::Wgrelay;
use crate::rig::inet::Inet;
use crate::rig::probe::{no_ping, ping};

/// What a host has whose owner lets out what he names, and nothing else.
const HARD: &str = "add table inet hard
add chain inet hard input { type filter hook input priority 0 ; policy drop ; }
add rule inet hard input ct state established,related accept
add rule inet hard input iif lo accept
add chain inet hard output { type filter hook output priority 0 ; policy drop ; }
add rule inet hard output ct state established,related accept
add rule inet hard output oif lo accept
add rule inet hard output udp dport 53 accept
add rule inet hard output tcp dport { 80, 443 } accept
";

fn network(routes: &str) -> String {
    format!(
        "[network]\nname = \"wg0\"\nsubnet = \"10.88.0.0/24\"\n[node.relay]\nrole = \"relay\"\naddress = \"10.88.0.1\"\n\
         endpoint = \"203.0.113.10:51820\"\negress = true\n[node.laptop]\naddress = \"10.88.0.2\"\nroutes = \"{routes}\"\n"
    )
}

/// Waits until something is so; other work may be going on.
#[track_caller]
fn becomes(so: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn what_the_kernel_refuses_to_send_is_told_as_this_hosts_own_doing() {
    let Some(t) = Inet::possible() else { return };
    let (relay, spoke) = (Wgrelay::on(&t.relay), Wgrelay::on(&t.spoke));
    relay.write_network(&network("split"));
    relay.up().ok();
    t.spoke.run(&["nft", HARD]).ok();
    spoke.up_with(&relay, "laptop").ok();
    let error = || spoke.status()["peers"][0]["send_error"].clone();
    if spoke.backend == "embedded" {
        becomes(|| error() == "Operation not permitted", "the device tells what the kernel answered");
        let status = spoke.status();
        assert_eq!(status["state"], "degraded", "{status}");
        for said in [status.to_string(), spoke.call(&["status"]).to_string(), spoke.ok(&["doctor"])] {
            assert!(
                said.contains("sends nothing to relay at 203.0.113.10:51820: Operation not permitted"),
                "{said}"
            );
            assert!(!said.contains("never answered") && !said.contains("nothing to put right"), "{said}");
        }
    }
    // A way that is missing is another error.
    let trace = || spoke.call(&["trace", "laptop", "relay", "--port", "icmp", "--live"]);
    let told = spoke.call(&["trace", "laptop", "relay", "--port", "tcp/443", "--live"]).exits(4);
    assert!(told.stdout.contains("output-dropped") && told.stdout.contains("UDP to port 51820"), "{told}");
    t.spoke.run(&["nft", "insert rule inet hard output udp dport 51820 accept"]).ok();
    // The datagrams of the tunnel pass now, and what the host itself sends into it does not.
    becomes(|| error().is_null(), "the kernel takes them");
    assert!(no_ping(&t.spoke, "10.88.0.1"));
    let told = trace().exits(4);
    assert!(told.stdout.contains("laptop does not let out 10.88.0.2 -> 10.88.0.1"), "{told}");
    for said in [spoke.status().to_string(), spoke.call(&["plan"]).to_string(), spoke.ok(&["doctor"])] {
        assert!(said.contains("nft inet hard output (policy drop)"), "{said}");
    }
    assert!(spoke.call(&["trace", "laptop", "relay", "--port", "tcp/443", "--live"]).code == Some(0));
    // And what comes in.
    let told = spoke.call(&["trace", "relay", "laptop", "--port", "icmp", "--live"]).exits(4);
    assert!(told.stdout.contains("input-dropped"), "{told}");
    t.spoke.run(&["nft", "insert rule inet hard output oifname wg0 accept"]).ok();
    trace().ok();
    becomes(|| ping(&t.spoke, "10.88.0.1"), "what may go out goes out");
    assert_eq!(error(), serde_json::Value::Null);
    assert_eq!(spoke.status()["state"], "up", "{}", spoke.status());
    if spoke.backend == "embedded" {
        t.spoke.ip("route del default");
        spoke.call(&["down"]).ok();
        spoke.up().ok();
        becomes(|| error() == "Network is unreachable", "the device tells what the kernel answered");
        let hint = spoke.call(&["status"]).to_string();
        assert!(hint.contains("send-error") && hint.contains("ip route get"), "{hint}");
    }
    spoke.ok(&["down"]);
    relay.ok(&["down"]);
}

/// What Tailscale keeps in INPUT (util/linuxfw/iptables_runner.go), retyped: of its own range it takes nothing by another link.
#[test]
fn tailscales_input_chain_is_told_to_a_network_in_its_range() {
    let Some(t) = Inet::possible() else { return };
    let (relay, spoke) = (Wgrelay::on(&t.relay), Wgrelay::on(&t.spoke));
    let chain = "iptables -N ts-input; iptables -I INPUT -j ts-input
        iptables -A ts-input -s 100.101.102.103/32 -i lo -j ACCEPT
        iptables -A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN
        iptables -A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP
        iptables -A ts-input -i tailscale0 -j ACCEPT; iptables -A ts-input -p udp -m udp --dport 41641 -j ACCEPT";
    t.relay.run(&["bash", "-ec", chain]).ok();
    for (subnet, is_told) in [("100.88.0.0/24", true), ("10.88.0.0/24", false)] {
        let [first, second] = ["1", "2"].map(|n| subnet.replace("0/24", n));
        relay.write_network(
            &network("split")
                .replace("10.88.0.0/24", subnet)
                .replace("10.88.0.1", &first)
                .replace("10.88.0.2", &second),
        );
        relay.up().ok();
        spoke.up_with(&relay, "laptop").ok();
        let there = if is_told { !no_ping(&t.spoke, &first) } else { ping(&t.spoke, &first) };
        assert_eq!(there, !is_told, "{subnet}");
        let trace = relay.call(&["trace", "laptop", "relay", "--live"]);
        assert_eq!(trace.code, Some(if is_told { 4 } else { 0 }), "{trace}");
        for said in [
            trace.stdout,
            relay.status().to_string(),
            relay.ok(&["doctor"]),
            relay.call(&["plan"]).to_string(),
        ] {
            assert_eq!(said.contains("ts-input"), is_told, "{said}");
        }
        spoke.ok(&["down"]);
        relay.ok(&["down"]);
    }
}

/// All that Tailscale keeps on a subnet router (util/linuxfw/iptables_runner.go, wgengine/router), retyped: chains, marks, policy rules.
/// A gateway beside it forwards as before, with FORWARD open and closed, is said to, and leaves it as it was.
#[test]
fn a_gateway_beside_tailscales_chains_and_rules_forwards_and_says_so() {
    let Some(t) = Inet::possible() else { return };
    let (relay, spoke) = (Wgrelay::on(&t.relay), Wgrelay::on(&t.spoke));
    let chains = "ip link add tailscale0 type veth peer name tsx; ip link set tsx up; ip addr add 100.101.102.103/32 dev tailscale0
        ip link set tailscale0 up; for pref in 5210 5230 5250 5270; do case $pref in
        5210) ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main ;;
        5230) ip rule add pref 5230 fwmark 0x80000/0xff0000 lookup default ;;
        5250) ip rule add pref 5250 fwmark 0x80000/0xff0000 unreachable ;;
        5270) ip rule add pref 5270 lookup 52; ip route add 100.100.100.100 dev tailscale0 table 52 ;; esac; done
        for chain in ts-input ts-forward; do iptables -N $chain; done; iptables -t nat -N ts-postrouting
        iptables -I INPUT -j ts-input; iptables -I FORWARD -j ts-forward; iptables -t nat -I POSTROUTING -j ts-postrouting
        iptables -A ts-input -s 100.101.102.103/32 -i lo -j ACCEPT
        iptables -A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN; iptables -A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP
        iptables -A ts-input -i tailscale0 -j ACCEPT; iptables -A ts-input -p udp -m udp --dport 41641 -j ACCEPT
        iptables -A ts-forward -i tailscale0 -j MARK --set-mark 0x40000/0xff0000
        iptables -A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
        iptables -A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP; iptables -A ts-forward -o tailscale0 -j ACCEPT
        iptables -t nat -A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE";
    t.spoke.run(&["bash", "-ec", chains]).ok();
    let theirs = || {
        let all = t.spoke.run(&["bash", "-c", "iptables-save | grep -- ts-; ip rule | grep 52"]);
        all.ok().stdout
    };
    let before = theirs();
    let site = "[[node.laptop.site]]\nsubnet = \"192.168.16.64/26\"\ninterface = \"eth1\"\ngateway = true\n";
    relay.write_network(&(network("split") + site));
    relay.up().ok();
    for policy in ["ACCEPT", "DROP"] {
        t.spoke.run(&["iptables", "-P", "FORWARD", policy]).ok();
        spoke.up_with(&relay, "laptop").ok();
        assert!(ping(&t.relay, "192.168.16.77") && ping(&t.host, "10.88.0.1"), "{policy}");
        for (from, to) in [("relay", "192.168.16.77"), ("192.168.16.77", "relay")] {
            let traced = spoke.call(&["trace", from, to, "--port", "icmp", "--live"]);
            assert_eq!(traced.code, Some(0), "{policy}: {traced}");
            assert!(!traced.stdout.contains("uncertain"), "{policy}: {traced}");
        }
        assert_eq!(spoke.status()["state"], "up", "{policy}: {}", spoke.status());
        assert_eq!(theirs(), before, "{policy}");
        spoke.ok(&["down"]);
        assert_eq!(theirs(), before, "{policy}: after down");
    }
    relay.ok(&["down"]);
}
