//! The procedure of `init`: a whole network from a profile, with what this machine tells about itself filled in.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::fault::Fault;
use super::session::Session;
use crate::config::profile::{self, ProfileError, ProfileValues};
use crate::config::{Secrets, parse_network, rehome};
use crate::firewall::foreign::wsl;
use crate::host::discover::{self, Discovery};
use crate::host::random;
use crate::model::{
    Bridge, Endpoint, EndpointHost, Network, NodeName, PresharedKey, PrivateKey, Site, SiteInterface, nearest,
};
use crate::plan::DockerContainer;
use crate::store::Contents;
use crate::store::folder::Folder;

/// What a new network is made of.
#[derive(Debug, Clone)]
pub struct NewNetwork {
    /// The profile's name.
    pub profile: String,
    /// Where the relay is reached, as typed; `None`: the profile's, else what this machine tells.
    pub endpoint: Option<String>,
    /// The tunnel's subnet; `None`: the profile's.
    pub subnet: Option<Ipv4Net>,
    /// The same in IPv6.
    pub subnet6: Option<Ipv6Net>,
}

/// A network that was written.
#[derive(Debug)]
pub struct Made {
    /// Where.
    pub folder: Folder,
    /// What it is.
    pub network: Network,
    /// What was taken over from Docker's engine, a phrase each.
    pub taken: Vec<String>,
    /// Whether nobody said where the relay is reached.
    pub endpoint_is_guessed: bool,
    /// What to look at: what was guessed, and what this machine does not have.
    pub to_check: Vec<String>,
    /// What to do first, where nothing can be brought up on this machine as it is.
    pub first: Option<String>,
}

/// Writes a new network.
///
/// # Errors
/// There is no such profile, what was asked for does not fit it, or the folder is taken or cannot be written.
pub fn init(session: &Session, asked: &NewNetwork) -> Result<Made, Fault> {
    let found = discover::discover();
    let typed = asked.endpoint.as_deref().map(Endpoint::parse_with_default_port).transpose();
    let typed = typed.map_err(|e| {
        let meant = asked.endpoint.as_deref().and_then(Endpoint::of_url);
        let hint =
            meant.map_or("such as vpn.example.org or 203.0.113.7:51820".into(), |m| format!("write {m}"));
        Fault::usage(format!("--endpoint: {e}"), hint)
    })?;
    // A profile's own endpoint stands: it is an example to correct. What this machine tells fills a gap.
    let endpoint =
        typed.clone().or_else(|| if has_endpoint(&asked.profile) { None } else { found.endpoint() });
    let values = ProfileValues {
        name: session.network_name()?,
        endpoint: endpoint.clone(),
        subnet: asked.subnet,
        subnet6: asked.subnet6,
    };
    let mut private_keys: BTreeMap<NodeName, PrivateKey> = BTreeMap::new();
    let mut make = |name: &NodeName| {
        let key = random::private_key();
        let public = key.public_key();
        private_keys.insert(name.clone(), key);
        public
    };
    let text = profile::instantiate(&asked.profile, &values, &mut make).map_err(|e| profile_fault(&e))?;
    let network = parse_network(text.as_bytes(), "profile").value.ok_or_else(|| {
        Fault::failed(
            "the profile does not make a valid network",
            "this is a fault of wgrelay: please report it",
        )
    })?;
    let (text, network, taken) = take_over(text, network, &found);
    let secrets = Secrets { private_keys, preshared_keys: preshared(&network) };

    let folder = Folder::new(&session.dir, &network.name);
    let contents = Contents::new(text.as_bytes(), Some(secrets.render().as_bytes()));
    folder.create(&contents, session.note(format!("made from the profile {}", asked.profile)))?;
    let endpoint_is_guessed = typed.is_none();
    let to_check = warnings(&network, &asked.profile, &found, endpoint_is_guessed);
    let first = found.wsl.and_then(wsl::refusal).map(|refused| refused.hint);
    Ok(Made { folder, network, taken, endpoint_is_guessed, to_check, first })
}

/// Takes over the subnets that Docker's engine tells of the networks that the profile names, and the address of the one
/// container that may be the node on them; says what it took.
fn take_over(text: String, network: Network, found: &Discovery) -> (String, Network, Vec<String>) {
    let mut taken = Vec::new();
    let mut new = text.clone();
    let named = |s: &Site| match &s.interface {
        Some(SiteInterface::Docker(name)) => Some((name.clone(), s.subnet)),
        _ => None,
    };
    let sites: Vec<(String, IpNet)> = network.relays().flat_map(|r| &r.sites).filter_map(named).collect();
    for (name, subnet) in sites {
        let (Some(there), IpNet::V4(from)) = (found.docker.as_ref().and_then(|d| d.get(&name)), subnet)
        else {
            continue;
        };
        let subnets = there.subnets.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some(net.trunc()),
            IpNet::V6(_) => None,
        });
        let to = subnets.clone().find(|net| *net == from).or_else(|| subnets.clone().next());
        let Some(to) = to else { continue };
        let known = container_addresses(&network, &name, from, found);
        let moved = rehome(&new, from, to, &known);
        if to != from {
            taken.push(format!("{to} of Docker's network {name}, in place of {from}"));
        }
        taken.extend(
            known
                .iter()
                .filter(|(a, b)| a != b)
                .map(|(a, b)| format!("{b} of its container, in place of {a}")),
        );
        new = moved;
        let second = second_home(&network, &name, from, found).map(|second| {
            let known = [(second.own, second.real)].into();
            (rehome(&new, second.from, second.to, &known), second)
        });
        if let Some((moved, second)) = second.filter(|(moved, _)| *moved != new) {
            taken.push(format!("{} of its container, in place of {}", second.real, second.own));
            new = moved;
        }
    }
    match parse_network(new.as_bytes(), "profile").value {
        Some(network) if !taken.is_empty() => (new, network, taken),
        _ => (text, network, Vec::new()),
    }
}

/// The addresses that bridges of nodes have on a Docker network, with those of the only container with a second home there.
fn container_addresses(
    network: &Network,
    name: &str,
    subnet: Ipv4Net,
    found: &Discovery,
) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
    let bridges = network.spokes().flat_map(|n| &n.bridges).flat_map(|b| &b.addresses);
    let own = bridges.filter_map(|a| match a.addr() {
        std::net::IpAddr::V4(ip) if subnet.contains(&ip) => Some(ip),
        _ => None,
    });
    let own: Vec<Ipv4Addr> = own.collect();
    match (own.as_slice(), two_homed(name, found).as_slice()) {
        ([own], [container]) => container.addresses.get(name).map(|ip| (*own, *ip)).into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

/// The containers on a Docker network that have a second home.
fn two_homed<'f>(name: &str, found: &'f Discovery) -> Vec<&'f DockerContainer> {
    found.containers.iter().filter(|c| c.networks.contains_key(name) && c.networks.len() > 1).collect()
}

/// The other home of the only container with two: the prefix and the address that the node's other bridge has by the profile, and
/// what the engine tells of them.
struct SecondHome {
    from: Ipv4Net,
    to: Ipv4Net,
    own: Ipv4Addr,
    real: Ipv4Addr,
}

fn second_home(network: &Network, name: &str, subnet: Ipv4Net, found: &Discovery) -> Option<SecondHome> {
    let &[container] = two_homed(name, found).as_slice() else { return None };
    let mut others = container.addresses.iter().filter(|(other, _)| *other != name);
    let ((other, real), None) = (others.next()?, others.next()) else { return None };
    let v4 = |net: &IpNet| if let IpNet::V4(net) = net { Some(*net) } else { None };
    let subnets = &found.docker.as_ref()?.get(other)?.subnets;
    let to = subnets.iter().filter_map(v4).find(|net| net.contains(real))?.trunc();
    let bridges = network.spokes().flat_map(|n| &n.bridges).filter(|b| !b.ports.is_empty());
    let addresses = |b: &Bridge| -> Vec<Ipv4Net> { b.addresses.iter().filter_map(v4).collect() };
    let mut bridges =
        bridges.map(addresses).filter(|nets| !nets.iter().any(|net| subnet.contains(&net.addr())));
    let (Some(nets), None) = (bridges.next(), bridges.next()) else { return None };
    let &[net] = nets.as_slice() else { return None };
    Some(SecondHome { from: net.trunc(), to, own: net.addr(), real: *real })
}

/// Says whether a profile tells where its relay is.
fn has_endpoint(name: &str) -> bool {
    profile::text(name).is_some_and(|text| text.lines().any(|line| line.trim_start().starts_with("endpoint")))
}

fn preshared(network: &Network) -> BTreeMap<NodeName, BTreeMap<NodeName, PresharedKey>> {
    if !network.preshared_keys {
        return BTreeMap::new();
    }
    let spokes = || network.spokes().map(|s| (s.name.clone(), random::preshared_key())).collect();
    network.relays().map(|r| (r.name.clone(), spokes())).collect()
}

/// Tells why a profile makes no network.
pub fn profile_fault(error: &ProfileError) -> Fault {
    match error {
        ProfileError::Unknown { name } => {
            let near = nearest(name, profile::names());
            Fault::usage(error, near.map_or_else(String::new, |n| format!("did you mean {n}?")))
        }
        ProfileError::TooSmall { .. } => Fault::usage(error, "use a larger --subnet"),
        ProfileError::Invalid(problems) => Fault {
            problems: problems.clone(),
            ..Fault::usage("these values do not make a valid network", "")
        },
        ProfileError::Edit(_) => Fault::failed(error, "this is a fault of wgrelay: please report it"),
    }
}

/// What was guessed, and what this machine does not have.
fn warnings(network: &Network, profile: &str, found: &Discovery, guessed: bool) -> Vec<String> {
    let mut list = Vec::new();
    if profile == profile::DEFAULT && found.wsl.is_none() && found.docker.is_none() {
        list.push(
            "this profile is for WSL with Docker, and this host has neither: road-warrior (phones and laptops) or \
             site-to-site (two offices) may suit better; remove the folder, and `wgrelay init --profile NAME`"
                .into(),
        );
    }
    for relay in network.relays().filter(|_| guessed) {
        match &relay.endpoint {
            Some(endpoint) => list.extend(endpoint_warning(endpoint, found)),
            None => list.push(format!("{} has no endpoint: give it one, or no spoke finds it", relay.name)),
        }
    }
    for relay in network.relays() {
        let told = found.wsl.and_then(|mode| wsl::of_new(mode, relay, found.address));
        list.extend(told.map(|problem| format!("{}: {}", problem.message, problem.hint)));
    }
    let wanted = network.relays().flat_map(|r| &r.sites).filter_map(|s| match &s.interface {
        Some(SiteInterface::Docker(name)) => Some((name, s.subnet)),
        _ => None,
    });
    for (name, subnet) in wanted {
        let with_bridges = network.spokes().find(|n| n.bridges.iter().any(|b| !b.ports.is_empty()));
        if let (Some(node), [_, _, ..]) = (with_bridges, two_homed(name, found).as_slice()) {
            let names: Vec<&str> = two_homed(name, found).iter().map(|c| c.name.as_str()).collect();
            list.push(format!(
                "the containers {} are on {name} and on another network: which of them is {}? The addresses of its bridges are the \
                 profile's; `docker inspect` has the container's own",
                names.join(", "),
                node.name
            ));
        }
        match found.docker.as_ref().map(|d| d.get(name)) {
            None => list
                .push(format!("no Docker engine answers here; the site {subnet} expects its network {name}")),
            Some(None) => {
                list.push(format!("Docker has no network {name} yet; the site {subnet} waits for it"));
            }
            Some(Some(n)) if !n.subnets.contains(&subnet) => {
                let has: Vec<String> = n.subnets.iter().map(ToString::to_string).collect();
                list.push(format!(
                    "Docker's network {name} is {}, not {subnet}: correct the site's `subnet`",
                    has.join(", ")
                ));
            }
            Some(Some(_)) => {}
        }
    }
    list
}

fn endpoint_warning(endpoint: &Endpoint, found: &Discovery) -> Option<String> {
    let EndpointHost::Ip(ip) = endpoint.host else {
        return Some(format!(
            "the endpoint {endpoint} is the profile's example: correct it, or use --endpoint"
        ));
    };
    if !found.is_local(ip) {
        let here = found.address.map_or_else(String::new, |a| format!(" (it has {a})"));
        let right = match found.wsl {
            // Nobody can forward UDP to it there.
            Some(mode) if mode.is_nat() => String::new(),
            _ => format!("right where a router forwards UDP {} here, otherwise ", endpoint.port),
        };
        return Some(format!(
            "the endpoint {endpoint} is not an address of this machine{here}: {right}correct `endpoint`"
        ));
    }
    Some(format!(
        "the endpoint {endpoint} is a guess from this machine's address: correct it where it is wrong"
    ))
}
