//! The sentence and the fix for every cause.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Cause, Code, Failure, Silence};
use crate::model::{Node, NodeName, Problem, Routes, SiteInterface};
use crate::plan::SiteLink;
use crate::reach::foreign::Fix;
use crate::reach::place::Place;
use crate::reach::world::{NodeId, SiteId, World};

impl Failure {
    pub(super) fn words(&self, world: &World) -> (String, String) {
        let name = |id: &NodeId| world.name(*id);
        match &self.cause {
            Cause::Inactive(id) => inactive(world, *id),
            Cause::Refused(id) => refusal(world, *id).map_or_else(Default::default, |p| {
                (format!("{} is not up: {}", name(id), p.message), p.hint.clone())
            }),
            Cause::NotUp(id) => (
                format!("{} has no interface {} that is up", name(id), world.network().name),
                format!("run wgrelay up on {}", name(id)),
            ),
            Cause::HostHasNoWay { site, host, dst } => {
                host_has_no_way(world, *site, *host, *dst, self.answer)
            }
            Cause::NeighbourHasNoWay { node, host, dst } => (
                format!(
                    "host {host} knows no way to {dst}: it is on a link of {} that is no site",
                    name(node)
                ),
                format!(
                    "make its network a [[node.{}.site]]: wgrelay then masquerades what enters it",
                    name(node)
                ),
            ),
            Cause::NotOnLink { at, owner, subnet, dst } => (
                format!(
                    "{at} looks for {dst} on its own link, because {subnet} contains it, and it is not there{}",
                    whose(world, *dst)
                ),
                format!(
                    "two networks use the same addresses: give each an alias that the others see, renumber one, or make \
                     {subnet} of {} narrower",
                    name(owner)
                ),
            ),
            Cause::AddressMissing { node, address } => (
                format!(
                    "the interface {} of {} lacks its address {address}",
                    world.network().name,
                    name(node)
                ),
                format!("run wgrelay up on {}: it puts it back", name(node)),
            ),
            Cause::NoAddress { node, dst } => {
                let family = if dst.is_ipv6() { "IPv6" } else { "IPv4" };
                let key = if dst.is_ipv6() { "subnet6 under [network], and address6" } else { "address" };
                (
                    format!("{} has no {family} address to send from to {dst}", name(node)),
                    format!("write {key} under [node.{}]", name(node)),
                )
            }
            Cause::NoRoute { node, dst, .. } if lost_address(world, *node, *dst).is_some() => {
                let address = lost_address(world, *node, *dst);
                (
                    format!(
                        "{} has no route to {dst}, because its interface {} lacks its address {}",
                        name(node),
                        world.network().name,
                        address.map_or_else(String::new, |a| a.to_string())
                    ),
                    format!("run wgrelay up on {}: it puts it back", name(node)),
                )
            }
            Cause::NoRoute { node, dst, by } => {
                let how = by.as_ref().map_or_else(
                    || "has no route to it".into(),
                    |link| format!("sends it out by {link}, not into the tunnel"),
                );
                (
                    format!("AllowedIPs on {} hold {dst}, and {} {how}", name(node), name(node)),
                    format!(
                        "ip route add {} dev {} on {}, or wgrelay up there",
                        world.prefix_of(*dst),
                        world.network().name,
                        name(node)
                    ),
                )
            }
            Cause::ExitAway { node, exit } => {
                let (why, fix) = if world.is_active(*exit) {
                    (
                        format!("{} has no way to it", name(node)),
                        format!(
                            "egress = true under [node.{0}], and wgrelay up on {1}",
                            name(exit),
                            name(node)
                        ),
                    )
                } else {
                    inactive(world, *exit)
                };
                (
                    format!(
                        "it leaves to the Internet by {}, and not by {} instead: {why}",
                        name(exit),
                        name(node)
                    ),
                    fix,
                )
            }
            Cause::Ruled { node, dst, rule, priority, by } => {
                let way = by.as_ref().map_or_else(|| "nowhere".into(), |link| format!("by {link}"));
                let ip = if dst.is_ipv6() { "ip -6" } else { "ip" };
                (
                    format!("policy rule {rule} of {} sends what is for {dst} {way}", name(node)),
                    format!(
                        "{ip} rule add pref {} to {} lookup main on {}",
                        priority.saturating_sub(1),
                        world.prefix_of(*dst),
                        name(node)
                    ),
                )
            }
            Cause::AnswersDiverted { node, rule } => (
                format!(
                    "policy rule {rule} of {} sends what it answers at its endpoint another way",
                    name(node)
                ),
                match rule.spares() {
                    Some(mark) => format!(
                        "fwmark = {mark:#x} under [node.{}]: the rule leaves out what bears it",
                        name(node)
                    ),
                    None => format!(
                        "fwmark = 0xca6c under [node.{}], and ip rule add pref {} fwmark 0xca6c lookup main there",
                        name(node),
                        rule.priority.saturating_sub(1)
                    ),
                },
            ),
            Cause::NotAllowed { node, dst } => not_allowed(world, *node, *dst),
            Cause::NoSession { node, peer, why } => no_session(world, *node, *peer, *why),
            Cause::SourceNotAllowed { node, from, src } => source_not_allowed(world, *node, *from, *src),
            Cause::OwnSource { node, src } => (
                format!("{} drops what comes from elsewhere with its own address {src}", name(node)),
                "nothing to change: only a forged packet looks like this".into(),
            ),
            Cause::ForwardDisabled { node, came_by, ipv6 } => {
                let switch = world.host(*node).forwarding_switch(came_by, *ipv6);
                let dotted = switch.replace('/', ".");
                (
                    format!(
                        "{} forwards nothing that comes in by {}: {switch} is 0",
                        name(node),
                        world.host(*node).name_of(came_by)
                    ),
                    // What `up` sets is known of the links that it plans for, and of no other.
                    if world.host(*node).state.sysctls.contains_key(&switch) {
                        format!("run wgrelay up on {} (it sets sysctl -w {dotted}=1)", name(node))
                    } else {
                        format!(
                            "sysctl -w {dotted}=1 on {}, if what comes in there is to be forwarded",
                            name(node)
                        )
                    },
                )
            }
            Cause::Dropped { .. } => self.dropped(world),
            Cause::OneSided { node, src, dst } => (
                format!(
                    "{} forwards {src} -> {dst} and never sees an answer, which takes another way: it drops the third packet \
                     of each TCP connection (ct state invalid)",
                    name(node)
                ),
                one_sided(world, *src, *dst),
            ),
            Cause::Outer { node, by } => (
                format!(
                    "{} does not let {} the tunnel's own datagrams: {} drops them",
                    name(node),
                    if by.code == Code::OutputDropped { "out" } else { "in" },
                    by.by
                ),
                words_of(&by.fix, name(node)),
            ),
            Cause::Foreign { node, src, dst, by } => (
                {
                    let does = match by.code {
                        Code::OutputDropped => "does not let out",
                        Code::InputDropped => "does not let in",
                        _ => "does not forward",
                    };
                    format!("{} {does} {src} -> {dst}: {} drops it", name(node), by.by)
                },
                words_of(&by.fix, name(node)),
            ),
            Cause::InterfaceMissing { site } => match world.host(site.node).site_links.get(site.index) {
                // A bridge of the file is made by wgrelay itself.
                Some(SiteLink::Missing(problem)) if is_own_bridge(world, *site) => (
                    problem.message.clone(),
                    format!("run wgrelay up on {}: it makes the bridge", name(&site.node)),
                ),
                Some(SiteLink::Missing(problem)) => (problem.message.clone(), problem.hint.clone()),
                _ => (format!("the interface of {} is not there", world.site(*site).subnet), String::new()),
            },
            Cause::Mistaken { at, asked, answered } => (
                format!(
                    "{at} asked {asked} and is answered by {answered}: the answer took another way and was rewritten there"
                ),
                format!(
                    "nat = \"masquerade\" under {}: the answer then comes back the way the packet went",
                    owner_table(world, *asked)
                ),
            ),
            Cause::Namesake { at, dst } => (
                format!("{at} has the address {dst} too, and takes what is sent there"),
                format!("give {at} another address than {dst}"),
            ),
            Cause::NoAnswerFromOutside { node, src } => (
                format!("nobody outside knows a way to {src}: it left {} without masquerade", name(node)),
                format!("egress = true under [node.{}]", name(node)),
            ),
            Cause::NothingInCommon => (
                "the two ends have no address of the same family".into(),
                "give both an address of one family: subnet6 under [network] gives every node IPv6".into(),
            ),
            Cause::Shadowed(net) => (
                format!("every address of {net} belongs to a longer prefix of another site, or to a node"),
                format!("take {net} away, or make the sites inside it smaller"),
            ),
            Cause::Loop(id) => (
                format!("the packet comes back to {} and goes round", name(id)),
                "look at the trace: two nodes send each other the same prefix".into(),
            ),
        }
    }

    fn dropped(&self, world: &World) -> (String, String) {
        let Cause::Dropped { node, src, dst, rule, .. } = &self.cause else {
            return Default::default();
        };
        let name = world.name(*node);
        let fix = if world.is_internet(*dst) && world.node(*node).egress {
            // A way out there is, and it leads to the Internet alone.
            format!("egress = \"all\" under [node.{name}], or a [[node.NAME.site]] that holds {dst}")
        } else if world.is_internet(*dst) {
            let spoke = world
                .by_tunnel_address(*src)
                .map(|id| world.node(id))
                .filter(|n| !matches!(n.routes, Routes::Split));
            let or = spoke
                .map_or_else(String::new, |n| format!(", or routes = \"split\" under [node.{}]", n.name));
            format!("egress = true under [node.{name}]{or}")
        } else {
            format!("{src} or {dst} is in no place of the network: add it as a [[node.NAME.site]]")
        };
        (format!("{name} does not forward {src} -> {dst} ({rule})"), fix)
    }
}

/// What makes both ways one: the end that is attached to the other's site forgets it, or the hosts go there by their link.
fn one_sided(world: &World, src: IpAddr, dst: IpAddr) -> String {
    let attached = |ip: IpAddr, other: IpAddr| {
        let id = world.by_tunnel_address(ip)?;
        let local = world.node(id).local.iter().find(|net| net.contains(&other))?;
        Some(format!(
            "take {local} out of local of [node.{}], or let the one call the other by its address in {local}",
            world.name(id)
        ))
    };
    attached(dst, src).or_else(|| attached(src, dst)).unwrap_or_else(|| {
        format!("let {src} and {dst} meet on one way: by their own link, or both by the tunnel")
    })
}

pub(super) fn denied(node: &NodeName, port: &str, rule: &str, from: &Place, to: &Place) -> (String, String) {
    let (what, ports) =
        if port.is_empty() { ("a flow", String::new()) } else { (port, format!(", ports = [\"{port}\"]")) };
    (
        format!("no [[allow]] lets {from} start {what} to {to}; {node} drops it ({rule})"),
        format!("add [[allow]] with from = [\"{from}\"], to = [\"{to}\"]{ports}"),
    )
}

pub(super) fn refusal(world: &World, id: NodeId) -> Option<&Problem> {
    world.host(id).refused.first()
}

fn inactive(world: &World, id: NodeId) -> (String, String) {
    let node = world.node(id);
    if node.enabled {
        let when = node.expires.map_or_else(String::new, |t| format!(" on {t}"));
        (
            format!("{} has expired{when}: it is no member of the network", node.name),
            format!("a later expires under [node.{}], or take the line away", node.name),
        )
    } else {
        (
            format!("{} is disabled: it is no member of the network", node.name),
            format!("`wgrelay enable {}`", node.name),
        )
    }
}

/// `[[node.NAME.site]]`, where a site's lines are.
fn site_table(world: &World, site: SiteId) -> String {
    format!("[[node.{}.site]] {}", world.name(site.node), world.site(site).subnet)
}

fn owner_table(world: &World, ip: IpAddr) -> String {
    world.site_of(ip).map_or_else(|| "the site".into(), |site| site_table(world, site))
}

fn host_has_no_way(world: &World, site: SiteId, host: IpAddr, dst: IpAddr, answer: bool) -> (String, String) {
    let (name, subnet) = (world.name(site.node), world.site(site).subnet);
    let own = world.host(site.node).facts.links.values().flat_map(|l| &l.addresses);
    let via =
        own.map(IpNet::addr).find(|a| subnet.contains(a)).map_or_else(|| name.to_string(), |a| a.to_string());
    let gateway = format!("gateway = true under {}", site_table(world, site));
    let route = format!("ip route add {} via {via} on the hosts", world.prefix_of(dst));
    let message = format!("host {host} knows no way to {dst}: {name} is not the gateway of {subnet}");
    if answer {
        (message, format!("nat = \"masquerade\" under {}, or {route} and {gateway}", site_table(world, site)))
    } else {
        (message, format!("{route}, and {gateway}"))
    }
}

fn words_of(fix: &Fix, node: &NodeName) -> String {
    match fix {
        Fix::Up(place) => format!("run wgrelay up on {node}: it puts the accept into {place}"),
        Fix::Owner(words) => words.clone(),
    }
}

/// Who has an address that somebody looks for in vain, where the file says it.
fn whose(world: &World, dst: IpAddr) -> String {
    let Some(around) = world.site_of(dst).and_then(|site| world.kept_around(site, dst)) else {
        return String::new();
    };
    format!(
        ": it is the address of {} in its site {}",
        world.name(around.node),
        world.site(around).in_words()
    )
}

fn not_allowed(world: &World, id: NodeId, dst: IpAddr) -> (String, String) {
    let node = world.node(id);
    let prefix = world.prefix_of(dst);
    let message =
        format!("no peer's AllowedIPs on {} hold {dst}: nothing of {prefix} goes into its tunnel", node.name);
    let fix = match &node.routes {
        _ if node.is_relay() => {
            format!("give {dst} to a node: its address, or a [[node.NAME.site]] that holds it")
        }
        Routes::Only(_) => extend_routes(world, node, prefix),
        _ if node.local.iter().any(|l| l.contains(&dst)) => {
            format!("connect {} to {prefix}, or take it out of local under [node.{}]", node.name, node.name)
        }
        _ => format!("give {dst} to a node: its address, or a [[node.NAME.site]] that holds it"),
    };
    (message, fix)
}

/// The line of a spoke whose `routes` are a list: in the network file, and in the client's own.
fn extend_routes(world: &World, node: &Node, prefix: IpNet) -> String {
    let relay = world.home(node).map_or("the relay", |r| r.name.as_str());
    let name = &node.name;
    format!(
        "extend AllowedIPs of [Peer] {relay} in {name}.conf with {prefix}: add it to routes under [node.{name}], \
         or routes = \"split\""
    )
}

fn no_session(world: &World, node: NodeId, peer: NodeId, why: Silence) -> (String, String) {
    let (name, other) = (world.name(node), world.name(peer));
    let relay = if world.node(node).is_relay() { name } else { other };
    match why {
        Silence::NobodyKnows => (
            format!("neither {name} nor {other} has an endpoint of the other: nobody can start the session"),
            format!("endpoint = \"HOST:51820\" under [node.{relay}]"),
        ),
        Silence::NoKeepalive => (
            format!(
                "{name} has no endpoint of {other}, and {other} keeps no session alive: {name} cannot speak first"
            ),
            // Relays send no keepalives: their spokes do.
            if world.node(peer).is_relay() {
                format!("endpoint = \"HOST:51820\" under [node.{other}]")
            } else {
                format!("keepalive = 25 under [node.{other}], or an endpoint there")
            },
        ),
        Silence::Swallowed(endpoint) => (
            format!("{name} would send its packets to the endpoint {endpoint} into the tunnel itself"),
            format!(
                "local = [\"{}\"] under [node.{name}], if it is attached to that network; else another endpoint",
                world.prefix_of(endpoint)
            ),
        ),
        Silence::Strict => (
            format!(
                "{name} drops all that comes from {other}: a strict reverse-path filter (rp_filter 1) and a full tunnel, and no \
                 rule that marks the answers"
            ),
            format!(
                "run wgrelay up on {name}: it adds the rules; or sysctl -w net.ipv4.conf.all.rp_filter=2"
            ),
        ),
        Silence::UnknownPeer => (
            format!("{other} has no peer with the public key of {name}: it answers no handshake"),
            format!("run wgrelay up on {other}"),
        ),
        Silence::Down => (
            format!("{other} has no interface {} that is up", world.network().name),
            format!("run wgrelay up on {other}"),
        ),
    }
}

fn source_not_allowed(world: &World, id: NodeId, from: NodeId, src: IpAddr) -> (String, String) {
    let (node, sender) = (world.node(id), world.node(from));
    let prefix = world.prefix_of(src);
    let message = format!(
        "{} drops a packet from {src} that comes from peer {}: AllowedIPs of that peer do not hold it",
        node.name, sender.name
    );
    let fix = if node.is_relay() {
        if world.by_tunnel_address(src).is_some() || world.site_of(src).is_some() {
            format!(
                "{src} belongs to {}: {} has to answer by the link the packet came by, so let that site be masqueraded \
                 (nat = \"masquerade\")",
                world.label(src),
                sender.name
            )
        } else {
            format!("a [[node.{}.site]] with {prefix}, or masquerade it there", sender.name)
        }
    } else if let Some(standby) = node.standby.iter().find(|s| s.site.subnet.contains(&src)) {
        let subnet = standby.site.subnet;
        format!("{0} stands by for {subnet}: speak to {0} at its address there, as its hosts can", node.name)
    } else if node.local.iter().any(|l| l.contains(&src)) {
        format!(
            "local under [node.{0}] keeps {prefix} out of its tunnel: speak to {0} at its address in {prefix}, or take it \
             out of local",
            node.name
        )
    } else if let Some(site) = node.sites.iter().find(|s| s.subnet.contains(&src)) {
        format!(
            "{} of {} holds {src} too and is kept out of its tunnel: give both sites an alias, make that site narrower, or renumber \
             one of the two",
            site.subnet, node.name
        )
    } else if matches!(node.routes, Routes::Only(_)) {
        extend_routes(world, node, prefix)
    } else {
        format!("a [[node.NAME.site]] that holds {src}, so that every AllowedIPs do")
    };
    (message, fix)
}

/// A node's tunnel address that its interface lacks, where the way to `dst` would come with it.
fn lost_address(world: &World, id: NodeId, dst: IpAddr) -> Option<IpAddr> {
    let node = world.node(id);
    let own = if dst.is_ipv6() { node.address6.map(IpAddr::V6) } else { Some(IpAddr::V4(node.address)) };
    let in_tunnel = world.network().subnets().iter().any(|net| net.contains(&dst));
    own.filter(|own| in_tunnel && world.host(id).owns(*own).is_none())
}

/// Whether the link that a site is behind is a bridge that its node's tables ask for.
fn is_own_bridge(world: &World, site: SiteId) -> bool {
    let link = world.site(site).interface.as_ref();
    let node = world.node(site.node);
    matches!(link, Some(SiteInterface::Link(link)) if node.bridges.iter().any(|bridge| bridge.name.as_str() == link.as_str()))
}
