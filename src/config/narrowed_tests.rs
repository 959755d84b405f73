//! What of an applied network stays when a newer one takes away, written as people write networks. Here, because the model reads no
//! files.

use crate::config::{parse_network, render_network, reread_network};
use crate::model::Network;

const BASE: &str = r#"
[network]
name = "wg0"
subnet = "10.0.0.0/24"
[node.hub]
role = "relay"
address = "10.0.0.1"
endpoint = "198.51.100.1:51820"
public_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
egress = true
[node.a]
address = "10.0.0.2"
public_key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
groups = ["staff"]
[node.b]
address = "10.0.0.3"
public_key = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
groups = ["staff"]
[[node.b.site]]
subnet = "10.55.0.0/16"
[[node.b.site]]
subnet = "10.56.0.0/16"
"#;

fn network(text: &str) -> Network {
    let parsed = parse_network(text.as_bytes(), "network.toml");
    parsed.value.unwrap_or_else(|| panic!("{:#?}", parsed.problems))
}

fn narrowed(old: &str, newer: &str) -> Network {
    let narrowed = network(old).narrowed_to(&network(newer), &"hub".parse().unwrap());
    // It is written down for whoever holds the host to it.
    assert_eq!(reread_network(&render_network(&narrowed, None)).as_ref(), Some(&narrowed));
    narrowed
}

/// The rules, each as one line.
fn rules(network: &Network) -> Vec<String> {
    let list = |places: &[crate::model::PlaceRef]| {
        places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let line = |r: &crate::model::AllowRule| {
        let ports: Vec<String> = r.ports.iter().map(ToString::to_string).collect();
        format!("{} > {} {}", list(&r.from), list(&r.to), ports.join(" ")).trim_end().to_string()
    };
    network.allow.iter().map(line).collect()
}

#[test]
fn what_is_taken_away_goes_and_what_is_added_does_not_come() {
    let newer = BASE
        .replace("[[node.b.site]]\nsubnet = \"10.56.0.0/16\"\n", "[[node.b.site]]\nsubnet = \"10.57.0.0/16\"\n")
        .replace("egress = true\n", "")
        .replace("[node.a]", "[node.new]\naddress = \"10.0.0.9\"\npublic_key = \"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"\n[node.a]\nexpires = \"2030-01-01T00:00:00Z\"");
    let narrowed = narrowed(BASE, &newer);
    assert_eq!(
        narrowed.nodes.keys().map(crate::model::NodeName::as_str).collect::<Vec<_>>(),
        ["a", "b", "hub"]
    );
    let sites: Vec<String> = narrowed.nodes["b"].sites.iter().map(|s| s.subnet.to_string()).collect();
    assert_eq!(sites, ["10.55.0.0/16"]);
    assert!(!narrowed.nodes["hub"].egress && narrowed.nodes["a"].expires.is_some());
    assert_eq!(narrowed.nodes["a"].address.to_string(), "10.0.0.2");
}

#[test]
fn a_node_goes_with_its_key_or_its_address_and_not_with_its_name() {
    let gone = |newer: &str| !narrowed(BASE, newer).nodes.contains_key("a");
    let changes = [
        ("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ="),
        ("10.0.0.2", "10.0.0.4"),
    ];
    for (old, new) in changes {
        assert!(gone(&BASE.replace(old, new)), "{new}");
    }
    assert!(!gone(&BASE.replace("node.a]", "node.z]")));
    let without = narrowed(BASE, &BASE.replace("10.0.0.2\"", "10.0.0.2\"\nenabled = false"));
    assert!(!without.nodes["a"].enabled);
    // This host's own node is what it is, whatever key it is to have.
    let rotated = BASE.replace(
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=",
    );
    assert_eq!(narrowed(BASE, &rotated).nodes["hub"], network(BASE).nodes["hub"]);
}

#[test]
fn both_policies_have_to_let_it_pass() {
    let with = |allow: &[(&str, &str, &str)]| {
        let rule = |(from, to, ports): &(&str, &str, &str)| {
            format!("[[allow]]\nfrom = {from}\nto = {to}\nports = {ports}\n")
        };
        BASE.to_string() + &allow.iter().map(rule).collect::<String>()
    };
    let of = |old: &[_], newer: &[_]| rules(&narrowed(&with(old), &with(newer)));
    let (a, b, any) = (r#"["a"]"#, r#"["b"]"#, r#"["*"]"#);
    assert_eq!(of(&[], &[]), [""; 0]);
    assert_eq!(of(&[(a, b, "[]")], &[]), ["a > b"]);
    assert_eq!(of(&[], &[(a, b, r#"["tcp/22"]"#)]), ["a > b tcp/22"]);
    let ports = (r#"["tcp/20-30", "icmp"]"#, r#"["tcp/25-40", "udp/1"]"#);
    assert_eq!(of(&[(a, b, ports.0)], &[(a, b, ports.1)]), ["a > b tcp/25-30"]);
    assert_eq!(of(&[(any, b, "[]")], &[(a, any, "[]")]), ["a > b"]);
    assert_eq!(
        of(&[(a, r#"["10.55.0.0/16"]"#, "[]")], &[(a, r#"["10.55.1.0/24"]"#, "[]")]),
        ["a > 10.55.1.0/24"]
    );
    assert_eq!(of(&[(r#"["@staff"]"#, any, "[]")], &[(a, b, "[]")]), ["a > b"]);
    // Nothing in common is nothing, and never everything.
    assert_eq!(of(&[(a, b, "[]")], &[(b, a, "[]")]), ["hub > hub"]);
    assert_eq!(of(&[(a, r#"["internet"]"#, "[]")], &[(a, any, "[]")]), ["hub > hub"]);
    // What stays as it was keeps its rule, and the new one adds nothing.
    assert_eq!(
        of(&[(a, b, "[]"), (b, a, "[]")], &[(a, b, "[]"), (b, any, r#"["icmp"]"#)]),
        ["a > b", "b > a icmp"]
    );
    // The only one that a rule is about has gone.
    let gone =
        with(&[(b, b, "[]")]).replace("[node.a]\naddress = \"10.0.0.2\"", "[node.a]\naddress = \"10.0.0.7\"");
    assert_eq!(rules(&narrowed(&with(&[(a, b, "[]")]), &gone)), ["hub > hub"]);
    // A rule of a group speaks of those who are in it in both.
    let regrouped = with(&[(r#"["@staff"]"#, b, "[]")]).replacen("groups = [\"staff\"]", "groups = []", 1);
    let narrowed = narrowed(&with(&[(r#"["@staff"]"#, b, "[]")]), &regrouped);
    assert_eq!(rules(&narrowed), ["@staff > b"]);
    assert!(narrowed.nodes["a"].groups.is_empty());
}
