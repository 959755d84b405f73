//! `via`: a spoke, and a site behind it, leave to the Internet by another spoke's egress, by way of a relay that has one of its
//! own and never lends it; by `up` and by the exported files.

use crate::rig::drive::{Wgrelay, wg_quick_down, wg_quick_up};
use crate::rig::inet::{Inet, SERVER};
use crate::rig::net::{End, cable, up};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, no_tcp, ping, tcp};
use crate::rig::snapshot::Snapshot;

const NETWORK: &str = r#"[network]
name = "wg0"
subnet = "10.46.0.0/24"
[node.hub]
role = "relay"
address = "10.46.0.1"
endpoint = "203.0.113.10:51820"
egress = true
[node.phone]
address = "10.46.0.2"
routes = "full"
via = "exit"
[[node.phone.site]]
subnet = "192.168.16.64/26"
interface = "eth1"
gateway = true
[node.exit]
address = "10.46.0.3"
egress = true
"#;
/// Where the server sees the exit.
const EXIT: &str = "198.18.0.20";

struct Trial {
    t: Inet,
    exit: Node,
}

impl Trial {
    fn possible() -> Option<Self> {
        let t = Inet::possible()?;
        let exit = Node::new("exit");
        for key in ["all", "default"] {
            // As distributions have it; what comes back by the tunnel has the way there by its source.
            t.relay.set_sysctl(&format!("ipv4/conf/{key}/rp_filter"), "1");
            exit.set_sysctl(&format!("ipv4/conf/{key}/rp_filter"), "1");
        }
        let end = |node, link| End { node, link };
        cable(end(&exit, "eth0"), end(&t.inet, "to-exit"));
        t.inet.ip(&up("to-exit", &["198.18.0.1/24"]));
        exit.ip(&(up("eth0", &[&format!("{EXIT}/24")]) + "route add default via 198.18.0.1\n"));
        Some(Self { t, exit })
    }

    #[track_caller]
    fn leaves_by_the_exit(&self) {
        let t = &self.t;
        assert!(ping(&t.spoke, "10.46.0.3"), "the network itself");
        for (who, from) in [("the spoke", &t.spoke), ("a host of its site", &t.host)] {
            assert!(ping(from, SERVER), "{who}, to the Internet");
            assert_eq!(tcp(from, &t.inet, SERVER).expect("TCP").to_string(), EXIT, "{who}");
        }
        // What is inside goes where it went.
        assert_eq!(tcp(&t.spoke, &t.relay, "10.46.0.1").expect("TCP").to_string(), "10.46.0.2");
    }

    #[track_caller]
    fn leaves_by_nobody(&self, why: &str) {
        let t = &self.t;
        assert!(no_ping(&t.spoke, SERVER), "{why}, and the spoke leaves");
        assert!(no_tcp(&t.host, &t.inet, SERVER), "{why}, and a host of its site leaves");
        assert!(ping(&t.spoke, "10.46.0.1"), "{why}: the relay itself");
    }
}

#[test]
fn a_spoke_leaves_by_another_ones_egress_or_not_at_all() {
    let Some(trial) = Trial::possible() else { return };
    let t = &trial.t;
    let before = Snapshot::of(&t.relay);
    let relay = Wgrelay::on(&t.relay);
    relay.write_network(NETWORK);
    relay.up().ok();
    let (spoke, exit) = (Wgrelay::on(&t.spoke), Wgrelay::on(&trial.exit));
    spoke.up_with(&relay, "phone").ok();
    exit.up_with(&relay, "exit").ok();
    trial.leaves_by_the_exit();
    relay.call(&["plan", "--check"]).ok();
    let traced = relay.ok(&["trace", "phone", "internet", "--live"]);
    assert!(traced.contains("reaches") && traced.contains("@exit4"), "{traced}");

    // Somebody takes the way there: it is put back.
    t.relay.ip("route flush table 151820");
    relay.up().ok();
    trial.leaves_by_the_exit();
    // The exit's host is gone.
    trial.exit.ip("link set eth0 down");
    trial.leaves_by_nobody("the exit is away");
    relay.call(&["disable", "exit", "--up"]).ok();
    trial.leaves_by_nobody("the exit is disabled");
    let traced = relay.call(&["trace", "phone", "internet"]).exits(4);
    assert!(traced.stdout.contains("disabled") && traced.stdout.contains("enable exit"), "{}", traced.stdout);
    // Without `via` it leaves where spokes leave.
    relay.call(&["set", "phone", "via", "--unset", "--up"]).ok();
    assert_eq!(tcp(&t.spoke, &t.inet, SERVER).expect("TCP").to_string(), "203.0.113.10");
    relay.ok(&["down"]);
    t.relay.run(&["sh", "-c", "rm -rf /mnt/wgrelay"]).ok();
    before.assert_same(&Snapshot::of(&t.relay), "on the relay after down");
}

#[test]
fn exported_files_do_the_same() {
    let Some(trial) = Trial::possible() else { return };
    let t = &trial.t;
    let rules = || t.relay.ip_shows("-4", "rule show") + &t.relay.ip_shows("-4", "route show table all");
    let before = rules();
    let relay = Wgrelay::on(&t.relay);
    relay.write_network(NETWORK);
    for (node, name) in [(&t.relay, "hub"), (&t.spoke, "phone"), (&trial.exit, "exit")] {
        wg_quick_up(node, "wg0", &relay.ok(&["export", name])).ok();
    }
    trial.leaves_by_the_exit();
    // The relay's own way out is not the tunnel.
    assert_eq!(tcp(&t.relay, &t.inet, SERVER).expect("TCP").to_string(), "203.0.113.10");
    t.relay.ip("route flush table 151820");
    trial.leaves_by_nobody("no route to the exit");
    wg_quick_down(&t.relay, "wg0").ok();
    assert_eq!(rules(), before);
}
