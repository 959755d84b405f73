//! A compose file that runs a node in a container: its Docker networks, what virtual machines need, and its network brought up
//! at each start, so that it is there again after `docker restart`. The bundle is mounted, not copied: the file holds no key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::NamedFile;
use crate::model::{Network, Node, SiteInterface};

/// Docker's own network. The engine refuses aliases on it and compose always gives them, so that no service can name it.
const OWN: &str = "bridge";
/// Who answers names where the node says nothing: as in `docker run --dns 8.8.8.8`.
const RESOLVER: &str = "8.8.8.8";
/// By what an engine is told the name of a container's link, from 28 on.
const IFNAME: &str = "com.docker.network.endpoint.ifname";
/// Seconds that the start waits for the container's second link.
const PATIENCE: u32 = 10;

/// A Docker network that the container is on, and the link that it has there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    network: String,
    address: Option<IpAddr>,
    /// `None`: no bridge of the node takes that link.
    port: Option<String>,
}

/// Makes the file. `program` is the path of wgrelay on the host, `bundle` the bundle's file name beside the compose file.
pub fn compose(network: &Network, node: &Node, program: &str, bundle: &str) -> NamedFile {
    let homes = homes(network, node);
    let (own, named): (Vec<&Home>, Vec<&Home>) = homes.iter().partition(|home| home.network == OWN);
    let name = &node.name;
    let mut text = String::new();
    let _ = write!(
        text,
        "# {name} of {} in a container. Beside this file: {bundle} (`wgrelay export {name} --format bundle`).\n\
         #   docker compose -p {} -f THIS-FILE up -d\n\
         # The image is yours: it needs nft (package nftables). wgrelay is this host's own, a static one runs in every image.\n\
         services:\n  {}:\n    \
             image: ${{IMAGE:-ubuntu_system}}\n    container_name: {}\n    privileged: true\n    \
             restart: unless-stopped\n    devices:\n      - /dev/kvm\n    dns:\n",
        network.name,
        project(network.name.as_str()),
        quoted(name),
        quoted(name),
    );
    let resolvers: Vec<&str> =
        node.dns.iter().map(String::as_str).filter(|d| d.parse::<IpAddr>().is_ok()).collect();
    for resolver in if resolvers.is_empty() { &[RESOLVER] } else { resolvers.as_slice() } {
        let _ = writeln!(text, "      - {}", quoted(resolver));
    }
    let searched: Vec<&String> = node.dns.iter().filter(|d| d.parse::<IpAddr>().is_err()).collect();
    if !searched.is_empty() {
        text += "    dns_search:\n";
        searched.iter().for_each(|domain| _ = writeln!(text, "      - {}", quoted(domain)));
    }
    let _ = write!(
        text,
        "    volumes:\n      - {}\n      - {}\n    \
             tmpfs:                # an init that finds them mounted leaves them, and what wgrelay keeps there\n      \
               - /run\n      - /run/lock\n    \
             entrypoint:\n      - /bin/sh\n      - -c\n      - |\n",
        quoted(format_args!("{}:/usr/local/bin/wgrelay:ro", dollars(program))),
        quoted(format_args!("./{bundle}:/etc/wgrelay.bundle:ro")),
    );
    if let Some(port) = own.iter().find_map(|home| home.port.as_ref()) {
        let _ = write!(
            text,
            "        n=0  # the link of Docker's own network comes a moment later\n        \
                     while [ ! -e /sys/class/net/{port} ] && [ $$n -lt {PATIENCE} ]; do sleep 1; n=$$((n + 1)); done\n"
        );
    }
    let _ = write!(
        text,
        "        /usr/local/bin/wgrelay up --bundle /etc/wgrelay.bundle || echo \"wgrelay is not up: see above\" >&2\n        \
                 exec \"$$@\"\n      - start\n    \
             command: [\"/sbin/init\"]\n"
    );
    if named.iter().any(|home| home.address.is_some()) {
        text += "    # An address of one's own takes a network whose subnet was asked for (`docker network create --subnet`; in the compose\n    \
                 # file that makes it, below networks: default: ipam: config: - subnet: …). Else the engine refuses it.\n";
    }
    let names = link_names(&named, own.first().and_then(|home| home.port.as_deref()));
    if !names.is_empty() {
        text += "    # Each link gets its name here, and one network the default route (Docker Engine 28, compose 2.33 and later): else the engine\n    \
                 # decides both, by whatever order it joins the networks in.\n";
    }
    if !named.is_empty() {
        text += "    networks:\n";
    }
    for (home, priority) in named.iter().zip((1..=named.len()).rev()) {
        let _ = writeln!(text, "      {}:", quoted(&home.network));
        if let Some(address) = home.address {
            let word = if address.is_ipv6() { "ipv6_address" } else { "ipv4_address" };
            let _ = writeln!(text, "        {word}: {}", quoted(address));
        }
        if let Some(link) = names.get(home.network.as_str()) {
            let _ = write!(text, "        driver_opts:\n          {IFNAME}: {}\n", quoted(link));
        }
        if !names.is_empty() && own.is_empty() && priority == named.len() {
            text += "        gw_priority: 1\n";
        }
        if named.len() > 1 {
            // The highest is the container's first link.
            let _ = writeln!(text, "        priority: {priority}");
        } else if names.is_empty() && home.address.is_none() {
            text.truncate(text.len() - 1);
            text += " {}\n";
        }
    }
    if let Some(home) = own.first() {
        text += &second_home(node, home.port.as_deref(), !names.is_empty());
    }
    if !named.is_empty() {
        text += "networks:\n";
    }
    for home in &named {
        let key = quoted(&home.network);
        let _ = write!(text, "  {key}:\n    name: {key}\n    external: true\n");
    }
    NamedFile { name: format!("{name}.yaml"), text: Zeroizing::new(text), secret: false }
}

/// Returns the name of each link by its network, where the engine's own names are not certain: there are several, or a bridge's port
/// is not the first one. `own` is the port in Docker's own network.
fn link_names<'n>(named: &[&'n Home], own: Option<&'n str>) -> BTreeMap<&'n str, String> {
    let is_certain = match named {
        [] => true,
        [only] => only.port.as_deref().is_none_or(|port| port == "eth0"),
        _ => false,
    };
    if is_certain {
        return BTreeMap::new();
    }
    let ports: BTreeSet<&str> = named.iter().filter_map(|home| home.port.as_deref()).chain(own).collect();
    let mut free = (0_u32..).map(|n| format!("eth{n}")).filter(|name| !ports.contains(name.as_str()));
    let name = |home: &&'n Home| {
        let link = home.port.clone().or_else(|| free.next()).unwrap_or_default();
        (home.network.as_str(), link)
    };
    named.iter().map(name).collect()
}

/// What connects the container with Docker's own network, once: the engine remembers it. The link gets its name here, because an
/// engine joins the networks in whatever order at the next start, and the other link has the name that is left.
/// Among several others it has to be said that the container's default route goes out there.
fn second_home(node: &Node, port: Option<&str>, among_several: bool) -> String {
    let name = &node.name;
    let named = port.map_or_else(String::new, |port| format!("--driver-opt {IFNAME}={port} "));
    let way_out = if among_several { "--gw-priority 1 " } else { "" };
    let connect = format!("docker network connect {named}{way_out}{OWN} {name}");
    format!(
        "  # Compose cannot put a service on Docker's own network beside others: this does, and ends. The same by hand:\n\
         \x20 #   {connect}\n\
         \x20 {}:\n    image: docker:cli\n    restart: \"no\"\n    network_mode: none\n    depends_on:\n      - {}\n    \
             volumes:\n      - /var/run/docker.sock:/var/run/docker.sock\n    entrypoint:\n      - /bin/sh\n      - -c\n      - |\n        \
                 {connect} 2>/tmp/error || grep -q already /tmp/error || {{ cat /tmp/error >&2; exit 1; }}\n",
        quoted(format_args!("{name}-{OWN}")),
        quoted(name),
    )
}

/// Finds the networks that the container is on, in the order of its links: where its bridges' addresses are, and what the node
/// is attached to besides. A bridge with a port and no address in a relay's Docker network has it from Docker's own.
fn homes(network: &Network, node: &Node) -> Vec<Home> {
    let docker: Vec<(&str, IpNet)> = network
        .relays()
        .flat_map(|relay| &relay.sites)
        .filter_map(|site| match &site.interface {
            Some(SiteInterface::Docker(name)) => Some((name.as_str(), site.subnet)),
            _ => None,
        })
        .collect();
    let mut homes: Vec<Home> = Vec::new();
    for bridge in &node.bridges {
        let there = bridge.addresses.iter().find_map(|a| {
            docker.iter().find(|(_, net)| net.contains(&a.addr())).map(|(n, _)| (*n, a.addr()))
        });
        let port = bridge.ports.first().cloned();
        match there {
            Some((name, address)) => {
                homes.push(Home { network: name.into(), address: Some(address), port });
            }
            None if port.is_some() => homes.push(Home { network: OWN.into(), address: None, port }),
            None => {}
        }
    }
    for (name, net) in &docker {
        let is_on = node.local.iter().any(|local| local.contains(net) || net.contains(local));
        if is_on && !homes.iter().any(|home| home.network == *name) {
            homes.push(Home { network: (*name).into(), address: None, port: None });
        }
    }
    homes.sort_by(|a, b| a.port.is_none().cmp(&b.port.is_none()).then_with(|| a.port.cmp(&b.port)));
    homes.dedup_by(|a, b| a.network == b.network);
    homes
}

/// A name that compose takes for a project: without one it would be the folder's, in which others' files are as well.
fn project(network: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    network.chars().map(kept).collect::<String>().trim_start_matches(['-', '_']).to_owned()
}

/// A text between double quotes of YAML.
fn quoted(text: impl std::fmt::Display) -> String {
    let text: String = text.to_string().chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text in which compose finds no variable.
fn dollars(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{parse_network, profile};

    /// A profile's network, with a node changed.
    fn of_profile(name: &str) -> Network {
        let mut made = 0;
        let mut key = |_: &crate::model::NodeName| {
            made += 1;
            crate::model::PrivateKey::from_bytes([made; 32]).public_key()
        };
        let text = profile::instantiate(name, &profile::ProfileValues::default(), &mut key).unwrap();
        parse_network(text.as_bytes(), "profile").value.unwrap()
    }

    fn homes_of(network: &Network) -> Vec<(String, Option<String>, Option<String>)> {
        let list = homes(network, &network.nodes["docker"]);
        list.into_iter().map(|h| (h.network, h.address.map(|a| a.to_string()), h.port)).collect()
    }

    #[test]
    fn homes_are_where_the_addresses_are() {
        let owned = |n: &str, a: Option<&str>, p: Option<&str>| {
            (n.to_string(), a.map(String::from), p.map(String::from))
        };
        let mut network = of_profile("webvirtcloud");
        assert_eq!(
            homes_of(&network),
            [
                owned("webvirtcloud_default", Some("172.19.0.9"), Some("eth0")),
                owned("bridge", None, Some("eth1"))
            ]
        );
        // Without bridges, what it is attached to is a home all the same.
        network.nodes.get_mut("docker").unwrap().bridges.clear();
        assert_eq!(homes_of(&network), [owned("webvirtcloud_default", None, None)]);
        network.nodes.get_mut("docker").unwrap().local.clear();
        assert_eq!(homes_of(&network), []);
    }

    #[test]
    fn links_have_names_where_the_order_is_not_certain() {
        let home = |network: &str, port: Option<&str>| Home {
            network: network.into(),
            address: None,
            port: port.map(Into::into),
        };
        let names = |homes: &[Home], own| {
            let all = link_names(&homes.iter().collect::<Vec<_>>(), own);
            all.into_iter().map(|(network, link)| format!("{network}={link}")).collect::<Vec<_>>()
        };
        let none = Vec::<String>::new();
        assert_eq!(names(&[], Some("eth1")), none);
        assert_eq!(names(&[home("a", Some("eth0"))], Some("eth1")), none);
        assert_eq!(names(&[home("a", None)], None), none);
        assert_eq!(names(&[home("a", Some("lan0"))], None), ["a=lan0"]);
        // The one without a bridge takes nobody's name.
        assert_eq!(names(&[home("b", Some("eth0")), home("a", None)], Some("eth1")), ["a=eth2", "b=eth0"]);
        assert_eq!(
            names(&[home("b", Some("eth1")), home("a", None), home("c", None)], None),
            ["a=eth0", "b=eth1", "c=eth2"]
        );
    }

    #[test]
    fn nothing_of_a_path_is_a_variable_or_ends_its_quotes() {
        let network = of_profile("webvirtcloud");
        let file = compose(&network, &network.nodes["docker"], "/opt/$HOME/a\"b", "docker.bundle");
        assert!(file.text.contains(r#"- "/opt/$$HOME/a\"b:/usr/local/bin/wgrelay:ro""#), "{}", *file.text);
    }
}
