//! A relay whose site is a network of Podman's: netavark, the real program, makes bridge, address and rules. What is said of flows into
//! it is what packets do, with iptables' FORWARD open and closed; and `down` leaves its rules as they were.

use crate::rig::drive::Wgrelay;
use crate::rig::inet::Inet;
use crate::rig::need::{Need, met};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, ping};

const NETAVARK: &str = "/usr/lib/podman/netavark";

/// What podman asks netavark for: a container `web` on the network `podman`, with port 8080 of the host leading to its port 80.
const ASKED: &str = r#"{"container_id":"c0ffee0000000000000000000000000000000000000000000000000000000000","container_name":"web",
"networks":{"podman":{"interface_name":"eth0","static_ips":["10.88.0.5"]}},
"port_mappings":[{"container_port":80,"host_ip":"","host_port":8080,"protocol":"tcp","range":1}],
"network_info":{"podman":{"name":"podman","id":"2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9","driver":"bridge",
"network_interface":"podman0","subnets":[{"subnet":"10.88.0.0/16","gateway":"10.88.0.1"}],"ipv6_enabled":false,"internal":false,
"dns_enabled":false,"ipam_options":{"driver":"host-local"}}}}"#;

const NETWORK: &str = "[network]\nname = \"wg0\"\nsubnet = \"10.46.0.0/24\"\n[node.relay]\nrole = \"relay\"\naddress = \"10.46.0.1\"\n\
    endpoint = \"203.0.113.10:51820\"\n[[node.relay.site]]\nsubnet = \"10.88.0.0/16\"\ninterface = \"podman0\"\ngateway = true\n\
    [node.laptop]\naddress = \"10.46.0.2\"\n";

/// A container that says `web` to whoever calls its port 80.
fn container(host: &Node) {
    let server = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5) or die; \
                  while (my $c = $s->accept) { print $c \"web\\n\"; close $c }";
    let script = format!(
        "ip netns add web; {NETAVARK} --config /run/netavark setup /run/netns/web <<<'{ASKED}' >&2
         setsid ip netns exec web perl -e '{server}' >/dev/null 2>&1 </dev/null &"
    );
    host.run(&["bash", "-ec", &script]).ok();
}

/// Says whether the container answers there.
fn web(from: &Node, address: &str, port: u16) -> bool {
    let call = format!("exec 3<>/dev/tcp/{address}/{port} && read -t 2 -u 3 line && [ \"$line\" = web ]");
    (0..3).any(|_| from.run(&["timeout", "3", "bash", "-c", &call]).code == Some(0))
}

fn rules(host: &Node) -> String {
    let all = host.run(&["bash", "-c", "iptables-save | grep NETAVARK"]).ok().stdout;
    all.lines().map(|line| format!("{line}\n")).collect()
}

#[test]
fn podmans_network_is_a_site_and_what_is_said_of_it_is_so() {
    let Some(t) = Inet::possible() else { return };
    if !met(&[Need::At(NETAVARK), Need::Program("perl")]) {
        return;
    }
    t.relay.set_sysctl("ipv4/ip_forward", "1");
    container(&t.relay);
    let before = rules(&t.relay);
    assert!(
        before.contains("NETAVARK_FORWARD") && before.contains("--to-destination 10.88.0.5:80"),
        "{before}"
    );
    let (relay, spoke) = (Wgrelay::on(&t.relay), Wgrelay::on(&t.spoke));
    relay.write_network(NETWORK);
    for policy in ["ACCEPT", "DROP"] {
        t.relay.run(&["iptables", "-P", "FORWARD", policy]).ok();
        let told = relay.up();
        told.clone().ok();
        spoke.up_with(&relay, "laptop").ok();
        let pings = ping(&t.spoke, "10.88.0.5");
        for (there, to, port) in [
            (pings, "10.88.0.5", "icmp"),
            (web(&t.spoke, "10.88.0.5", 80), "10.88.0.5", "tcp/80"),
            (web(&t.spoke, "10.46.0.1", 8080), "10.46.0.1", "tcp/8080"),
        ] {
            let traced = relay.call(&["trace", "laptop", to, "--port", port, "--live"]);
            assert_eq!(traced.code == Some(0), there, "{policy}, {to} {port}: packets {there}, {traced}");
            assert!(there, "{policy}: {to} {port}: {told}");
        }
        let back =
            t.relay.run(&["ip", "netns", "exec", "web", "ping", "-n", "-c", "2", "-W", "1", "10.46.0.2"]);
        let traced = relay.call(&["trace", "10.88.0.5", "laptop", "--port", "icmp", "--live"]);
        assert_eq!(
            traced.code,
            back.code.map(|code| if code == 0 { 0 } else { 4 }),
            "{policy}: {back} {traced}"
        );
        assert_eq!(back.code, Some(0), "{policy}: {traced}");
        assert_eq!(rules(&t.relay), before, "{policy}: nobody edits Podman's rules");
        let said = relay.call(&["doctor"]).to_string();
        assert!(!said.contains("uncertain"), "{said}");
        relay.ok(&["down"]);
        assert!(no_ping(&t.spoke, "10.88.0.5"));
        assert_eq!(rules(&t.relay), before, "{policy}: they are as they were");
    }
}
