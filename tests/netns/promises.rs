//! `[[expect]]`: `up` judges it before it changes anything, and `--force` goes on, loudly. `trace --live` takes the host as it is.

use crate::rig::drive::Wgrelay;
use crate::rig::topology::{BRIDGE, Families, Topology};

const BROKEN: &str =
    "\n[[expect]]\nfrom = \"windows\"\nto = \"192.168.33.71\"\nport = \"tcp/22\"\nverdict = \"blocked\"\n";

#[test]
fn up_breaks_no_promise_unless_forced() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let kept = t.relay.read(relay.network_file());
    relay.edit(|text| text + BROKEN);
    let line = kept.lines().count() + 3;
    let place = format!("network.toml:{line}:8: error[expectation-broken]");
    let said = relay.up().exits(4);
    assert!(said.stderr.contains(&place) && said.stderr.contains("nothing was changed"), "{said}");
    let traces = "ip link show wg0 || nft list ruleset | grep . || ls /run/wgrelay/wg0/applied.json";
    let left = t.relay.run(&["bash", "-c", traces]);
    assert!(left.code != Some(0) && left.stdout.is_empty(), "an up that was refused left this: {left}");
    let said = relay.call(&["check"]).exits(4);
    assert!(said.stderr.contains(&place), "{said}");
    let said = relay.call(&["plan"]).ok();
    assert!(said.stderr.contains(&place), "plan says what up would refuse: {said}");

    let said = relay.call(&["-q", "up", "--backend", &relay.backend, "--force"]).ok();
    assert!(
        said.stderr.contains(&place.replace("error", "warning")) && said.stderr.contains("--force applies"),
        "even with -q: {said}"
    );
    assert!(!said.stderr.contains("error") && said.stderr.contains("warning[expectation-broken]"), "{said}");
    relay.call(&["plan", "--check"]).ok();
    let status = relay.status();
    assert!(status["problems"].to_string().contains("expectation-broken"), "it is not forgotten: {status}");
    assert_ne!(status["state"], "down", "{status}");
    // A later up is refused again, and what is up stays as it is.
    relay.edit(|text| text.replace("[node.windows]", "[node.windows]\nkeepalive = 20"));
    let record = || t.relay.read("/run/wgrelay/wg0/applied.json");
    let before = record();
    relay.up().exits(4);
    assert_eq!(record(), before, "after an up that was refused");
    relay.edit(|_| kept.clone());
    relay.up().ok();
}

#[test]
fn a_trace_that_takes_the_host_as_it_is() {
    let Some(t) = Topology::possible(Families::V4) else { return };
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let trace = |to: &str, code: i32| {
        let said = relay.call(&["--json", "trace", "windows", to, "--live"]).exits(code);
        serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
    };
    // Before up there is nothing that answers.
    assert_eq!(trace("172.19.0.5", 4)["reason"]["code"], "no-endpoint");
    relay.up().ok();
    let there = trace("172.19.0.5", 0);
    assert_eq!(
        (&there["verdict"], &there["uncertain"]),
        (&"reaches".into(), &serde_json::json!([])),
        "{there}"
    );
    // The real link, with its real address.
    let hops = there["forward"].to_string();
    assert!(hops.contains(&format!("172.19.0.0/16 dev {BRIDGE}")) && hops.contains("172.19.0.1"), "{hops}");

    // Somebody else's filter, which names no link of ours.
    let drop =
        "add table inet site; add chain inet site fwd { type filter hook forward priority 0; policy drop; }";
    t.relay.run(&["nft", &drop.replace(" fwd ", " through ")]).ok();
    let dropped = trace("172.19.0.5", 4);
    assert_eq!(dropped["reason"]["code"], "forward-dropped", "{dropped}");
    // A chain without a rule leaves nothing open.
    assert_eq!(dropped["uncertain"], serde_json::json!([]), "{dropped}");
    t.relay.run(&["nft", "delete table inet site"]).ok();
    // A rule that nobody here understands may drop.
    let accept = "add table inet site; add chain inet site through { type filter hook forward priority 0; }";
    t.relay.run(&["nft", accept]).ok();
    assert_eq!(trace("172.19.0.5", 0)["uncertain"], serde_json::json!([]), "it has no rule");
    t.relay.run(&["nft", "add rule inet site through numgen random mod 2 0 drop"]).ok();
    let doubt = trace("172.19.0.5", 0);
    assert!(doubt["uncertain"].to_string().contains("inet site through"), "{doubt}");
    t.relay.run(&["nft", "delete table inet site"]).ok();
    // What the agent cannot repair.
    t.relay.ip(&format!("link set {BRIDGE} down\nlink set {BRIDGE} name br-away"));
    let missing = trace("172.19.0.5", 4);
    assert_eq!(missing["reason"]["code"], "interface-missing", "{missing}");
}
