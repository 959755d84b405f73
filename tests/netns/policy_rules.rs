//! Policy rules of others on a relay or a gateway: what they take off its way is told with the rule, alike everywhere, and
//! nothing of the network leaves in clear.

use crate::rig::drive::Wgrelay;
use crate::rig::inet::{Inet, SERVER};
use crate::rig::node::Node;
use crate::rig::probe::{no_ping, ping};

const SITE: &str =
    "[[node.laptop.site]]\nsubnet = \"192.168.16.64/26\"\ninterface = \"eth1\"\ngateway = true\n";

const COUNT: &str = "add table ip seen; add chain ip seen c { type filter hook HOOK priority 300 ; }; add rule ip seen c WHAT counter";

fn split(relay: &str, spoke: &str) -> String {
    format!(
        "[network]\nname = \"wg0\"\nsubnet = \"10.88.0.0/24\"\n[node.relay]\nrole = \"relay\"\naddress = \"10.88.0.1\"\n\
         endpoint = \"203.0.113.10:51820\"\n{relay}\n[node.laptop]\naddress = \"10.88.0.2\"\n{spoke}\n"
    )
}

/// Brings both up, by wgrelay; returns them.
#[track_caller]
fn up<'t>(t: &'t Inet, text: &str) -> [Wgrelay<'t>; 2] {
    let (relay, spoke) = (Wgrelay::on(&t.relay), Wgrelay::on(&t.spoke));
    relay.write_network(text);
    relay.up().ok();
    spoke.up_with(&relay, "laptop").ok();
    [relay, spoke]
}

/// What Tailscale sets (util/linuxfw, wgengine/router in its source), retyped: its rules, and routes that it accepted.
fn tailscale(node: &Node, routes: &[&str]) {
    let mut script = String::from(
        "ip link add tailscale0 type veth peer name tsx; ip link set tsx up; ip addr add 100.101.102.103/32 dev tailscale0
        ip link set tailscale0 up; ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
        ip rule add pref 5230 fwmark 0x80000/0xff0000 lookup default
        ip rule add pref 5250 fwmark 0x80000/0xff0000 unreachable; ip rule add pref 5270 lookup 52\n",
    );
    for route in routes {
        script += &format!("ip route add {route} table 52\n");
    }
    node.run(&["bash", "-ec", &script]).ok();
}

/// All that says how the network is says it, and names the rule and the code.
#[track_caller]
fn is_told(wgrelay: &Wgrelay<'_>, rule: &str, flow: [&str; 2]) {
    let status = wgrelay.status();
    assert_eq!(status["state"], "degraded", "{status}");
    let told = |text: &str| text.contains("policy-rule") && text.contains(rule);
    assert!(told(&status.to_string()), "{status}");
    let plan = wgrelay.call(&["plan"]).to_string();
    assert!(told(&plan), "{plan}");
    let doctor = wgrelay.ok(&["doctor"]);
    assert!(doctor.contains(rule) && !doctor.contains("nothing to put right"), "{doctor}");
    let trace = wgrelay.call(&["trace", flow[0], flow[1], "--live"]).exits(4);
    assert!(told(&trace.stdout), "{trace}");
}

#[test]
fn a_table_that_comes_before_the_main_one_is_told_and_nothing_leaves_in_clear() {
    let Some(t) = Inet::possible() else { return };
    tailscale(
        &t.relay,
        &["100.100.100.100 dev tailscale0", "192.168.16.64/26 dev tailscale0", "10.88.0.0/16 dev tailscale0"],
    );
    let [relay, spoke] = up(&t, &split("", SITE));
    assert!(no_ping(&t.spoke, "10.88.0.1"), "the answer goes to Tailscale");
    let rule = "5270: from all lookup 52";
    is_told(&relay, rule, ["laptop", "relay"]);
    is_told(&relay, rule, ["relay", "192.168.16.77"]);
    // What answers for the network is dropped instead: here in postrouting.
    t.relay
        .run(&[
            "nft",
            &COUNT.replace("HOOK", "postrouting").replace("WHAT", "oifname tailscale0 ip saddr 10.88.0.1"),
        ])
        .ok();
    assert!(no_ping(&t.spoke, "10.88.0.1"));
    let counted = t.relay.run(&["nft", "list", "table", "ip", "seen"]).ok().stdout;
    assert!(counted.contains("counter packets 0"), "an answer left in clear: {counted}");
    // The fix, as it is told.
    for net in ["10.88.0.0/24", "192.168.16.64/26"] {
        t.relay.ip(&format!("rule add pref 5269 to {net} lookup main"));
    }
    assert!(ping(&t.spoke, "10.88.0.1") && ping(&t.relay, "192.168.16.77"));
    relay.up().ok();
    assert_eq!(relay.status()["state"], "up", "{}", relay.status());
    relay.call(&["trace", "laptop", "relay", "--live"]).exits(0);
    assert!(!relay.ok(&["doctor"]).contains("policy rule"));
    spoke.ok(&["down"]);
    relay.ok(&["down"]);
    // A table that has nothing of the network's decides nothing.
    t.relay.ip("rule del pref 5269\nrule del pref 5269\nroute flush table 52\nroute add 100.100.100.100 dev tailscale0 table 52");
    let [relay, _spoke] = up(&t, &split("", SITE));
    assert!(ping(&t.spoke, "10.88.0.1") && ping(&t.relay, "192.168.16.77"));
    assert_eq!(relay.status()["state"], "up");
}

#[test]
fn a_part_of_the_network_that_goes_another_way_is_told() {
    let Some(t) = Inet::possible() else { return };
    tailscale(&t.relay, &["192.168.16.96/28 dev tailscale0"]);
    let [relay, _spoke] = up(&t, &split("", SITE));
    assert!(ping(&t.spoke, "10.88.0.1"));
    is_told(&relay, "5270: from all lookup 52", ["relay", "192.168.16.98"]);
    assert!(relay.status().to_string().contains("192.168.16.96/28"));
    assert!(ping(&t.relay, "192.168.16.77"), "the rest of it is reached");
    relay.call(&["trace", "relay", "192.168.16.77", "--live"]).exits(0);
}

#[test]
fn answers_of_a_site_that_its_source_sends_elsewhere_are_stopped() {
    let Some(t) = Inet::possible() else { return };
    t.spoke.ip("route add default via 198.51.100.1 dev eth0 table 100\nrule add pref 900 from 192.168.16.64/26 lookup 100");
    let [relay, spoke] = up(&t, &split("", SITE));
    assert!(ping(&t.spoke, "10.88.0.1"));
    assert!(no_ping(&t.relay, "192.168.16.77"));
    let rule = "900: from 192.168.16.64/26 lookup 100";
    is_told(&spoke, rule, ["relay", "192.168.16.77"]);
    // What it seeks outside is its owner's matter.
    t.spoke.run(&["nft", "add table ip n; add chain ip n p { type nat hook postrouting priority 100 ; }; add rule ip n p oifname eth0 masquerade"]).ok();
    t.spoke.set_sysctl("ipv4/ip_forward", "1");
    assert!(ping(&t.host, SERVER));
    t.inet.ip("route add 10.88.0.0/24 dev to-relay");
    t.inet.run(&["nft", &COUNT.replace("HOOK", "prerouting").replace("WHAT", "ip daddr 10.88.0.0/24")]).ok();
    assert!(no_ping(&t.relay, "192.168.16.77"));
    let counted = t.inet.run(&["nft", "list", "table", "ip", "seen"]).ok().stdout;
    assert!(counted.contains("counter packets 0"), "an answer left in clear: {counted}");
    // The fix, as it is told.
    t.spoke.ip("rule add pref 899 to 10.88.0.0/24 lookup main");
    assert!(ping(&t.relay, "192.168.16.77"));
    spoke.up().ok();
    assert_eq!(spoke.status()["state"], "up", "{}", spoke.status());
    drop(relay);
}

/// wg-quick's own rules for a provider that gets everything: what the relay answers leaves by the provider's tunnel.
#[test]
fn answers_to_endpoints_leave_by_the_mark_that_the_owner_spares() {
    let Some(t) = Inet::possible() else { return };
    let provider = "ip link add vpn0 type veth peer name vpx; ip link set vpx up; ip addr add 10.2.0.2/32 dev vpn0; ip link set vpn0 up
        ip route add default dev vpn0 table 51820; ip rule add pref 32764 not fwmark 0xca6c lookup 51820
        ip rule add pref 32763 lookup main suppress_prefixlength 0";
    t.relay.run(&["bash", "-ec", provider]).ok();
    let [relay, spoke] = up(&t, &split("", SITE));
    assert!(no_ping(&t.spoke, "10.88.0.1"));
    let rule = "32764: not from all fwmark 0xca6c lookup 51820";
    is_told(&relay, rule, ["laptop", "relay"]);
    assert!(relay.call(&["plan"]).to_string().contains("fwmark = 0xca6c under [node.relay]"));
    relay.edit(|text| text.replace("role = \"relay\"", "role = \"relay\"\nfwmark = 0xca6c"));
    relay.up().ok();
    assert!((0..10).any(|_| ping(&t.spoke, "10.88.0.1")));
    assert_eq!(relay.status()["state"], "up", "{}", relay.status());
    relay.call(&["trace", "laptop", "relay", "--live"]).exits(0);
    assert!(relay.ok(&["export", "relay"]).contains("FwMark = "));
    // Two uplinks, each with its own table: what comes by one is answered by it, and nothing is to be told.
    t.relay.ip("rule del pref 32763\nrule del pref 32764\nroute add default via 203.0.113.1 table 200\nrule add pref 800 from 203.0.113.10 lookup 200");
    relay.up().ok();
    assert_eq!(relay.status()["state"], "up", "{}", relay.status());
    spoke.call(&["trace", "laptop", "relay", "--live"]).exits(0);
}

/// Rules and tables by chance: whom they take off the way is what the kernel says when it is asked for each route (`ip route get`).
#[test]
fn whom_rules_take_off_the_way_is_as_the_kernel_says() {
    const NETS: [&str; 2] = ["10.88.0.0/24", "192.168.16.64/26"];
    // Of one priority, the first that was added is the first that is asked.
    const FIRST: &str = "route add unreachable default table 102\nrule add pref 50 from 10.88.0.0/24 lookup main\n\
                         rule add pref 50 iif wg0 lookup 102\n";
    let Some(t) = Inet::possible() else { return };
    let [relay, _spoke] = up(&t, &split("", SITE));
    t.relay.ip("link add other0 type veth peer name other1\nlink set other0 up\nlink set other1 up");
    let asked_for =
        |name: &str, else_: u32| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(else_);
    let mut seed = asked_for("WGRELAY_SEED", 20_261_130);
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as usize % n
    };
    let mut both = [0, 0];
    for round in 0..asked_for("WGRELAY_ROUNDS", 60) {
        let mut lines = String::new();
        for table in 100..103 {
            for net in ["10.88.0.0/16", "10.88.0.0/24", "192.168.16.0/24", "192.168.16.64/26", "default"] {
                let kind = ["", "", "", "throw ", "unreachable ", "blackhole "][below(6)];
                let by = match kind {
                    "" => ["dev other0", "dev wg0", "via 203.0.113.1"][below(3)],
                    _ => "",
                };
                if below(3) == 0 {
                    lines += &format!("route add {kind}{net} {by} table {table}\n");
                }
            }
        }
        let priorities = [5, 6, 50, 51, 32_765, 32_770, 40_000];
        for _ in 0..1 + below(4) {
            let mut pick = |from: &[&str]| from[below(from.len())].to_owned();
            let not = pick(&["", "", "", "not "]);
            let from = pick(&["", "", "from 10.88.0.1 ", "from 10.88.0.0/24 ", "from 203.0.113.0/24 "]);
            let to = pick(&["", "", "to 10.88.0.0/24 ", "to 192.168.16.0/24 ", "to 192.168.16.80/28 "]);
            let more = pick(&[
                "",
                "",
                "",
                "iif wg0 ",
                "iif lo ",
                "oif eth0 ",
                "fwmark 7 ",
                "fwmark 0/0xff ",
                "tos 0x10 ",
                "ipproto tcp ",
            ]);
            // What is not TCP is another matter for each packet: a doubt, and no finding.
            let not =
                if more.starts_with("ipproto") || more.starts_with("tos") { String::new() } else { not };
            let does = pick(&[
                "lookup 100",
                "lookup 101",
                "lookup 102",
                "lookup 102 suppress_prefixlength 0",
                "lookup 100 suppress_prefixlength 20",
                "lookup main",
                "lookup main suppress_prefixlength 0",
                "unreachable",
                "goto 51",
                "goto 49",
                "goto 32766",
                "nop",
            ]);
            let priority = priorities[below(priorities.len())];
            // The kernel takes leaps forward only.
            let leap = does.strip_prefix("goto ").and_then(|to| to.parse::<u32>().ok());
            if leap.is_none_or(|to| to > priority) {
                lines += &format!("rule add pref {priority} {not}{from}{to}{more}{does}\n");
            }
        }
        if round == 0 {
            FIRST.clone_into(&mut lines);
        }
        t.relay.write("/run/rules", &lines);
        t.relay.run(&["ip", "-force", "-batch", "/run/rules"]);
        let output = relay.call(&["plan", "--json"]);
        let plan: serde_json::Value =
            serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"));
        let told: Vec<&str> =
            plan["problems"].as_array().into_iter().flatten().filter_map(|p| p["message"].as_str()).collect();
        for net in NETS {
            let dst = if net == NETS[0] { "10.88.0.2" } else { "192.168.16.66" };
            let astray: Vec<String> =
                [vec![], vec!["from", "10.88.0.1"], vec!["from", "10.88.0.2", "iif", "wg0"]]
                    .into_iter()
                    .map(|more| [vec!["ip", "route", "get", dst], more].concat())
                    .map(|asked| t.relay.run(&asked).to_string())
                    .filter(|answer| !answer.contains(" dev wg0 "))
                    .collect();
            let is_told = told.iter().any(|m| {
                // The rule has prefixes of its own.
                m.split_once("what is for ")
                    .is_some_and(|(_, of)| of.contains("not into wg0") && of.contains(net))
            });
            both[usize::from(is_told)] += 1;
            let rules = || t.relay.run(&["bash", "-c", "ip rule; ip route show table all"]).stdout;
            assert_eq!(
                is_told,
                !astray.is_empty(),
                "round {round}, {net}: {astray:?} {told:#?}\n{lines}\n{}",
                rules()
            );
        }
        let clean = "for t in 100 101 102; do ip route flush table $t; done; ip rule | sed -n 's/^\\([0-9]*\\):.*/\\1/p' | \
                     grep -vxE '0|32766|32767' | while read -r p; do ip rule del pref $p; done";
        t.relay.run(&["bash", "-c", clean]).ok();
    }
    assert!(both[0] > 20 && both[1] > 20, "{both:?}");
}
