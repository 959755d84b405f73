//! Why a packet ends: a code that programs rely on, a sentence, and the smallest fix in the words of a line or a command.

mod words;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::foreign;
use super::host::Dev;
use super::place::Place;
use super::world::{NodeId, SiteId, World};
use crate::firewall::foreign::routing_rule::RoutingRule;
use crate::model::{Routes, Site};
use words::{denied, refusal};

/// The reason codes (docs/reasons.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "docs/reasons.md has a section for each")]
pub enum Code {
    NoRoute,
    NotInAllowedIps,
    SourceNotAllowed,
    NoEndpoint,
    PolicyDenied,
    ForwardDisabled,
    ForwardDropped,
    OutputDropped,
    InputDropped,
    DockerRawDrop,
    InterfaceMissing,
    NoReturnRoute,
    NoReturnSession,
    Disabled,
    Expired,
    Overlap,
    ReversePath,
    PolicyRule,
    UnknownPlace,
}

impl Code {
    /// Every code, in the order of docs/reasons.md.
    pub const ALL: [Self; 19] = [
        Self::NoRoute,
        Self::NotInAllowedIps,
        Self::SourceNotAllowed,
        Self::NoEndpoint,
        Self::PolicyDenied,
        Self::ForwardDisabled,
        Self::ForwardDropped,
        Self::OutputDropped,
        Self::InputDropped,
        Self::DockerRawDrop,
        Self::InterfaceMissing,
        Self::NoReturnRoute,
        Self::NoReturnSession,
        Self::Disabled,
        Self::Expired,
        Self::Overlap,
        Self::ReversePath,
        Self::PolicyRule,
        Self::UnknownPlace,
    ];
    /// Returns the code as JSON and text write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::NotInAllowedIps => "not-in-allowed-ips",
            Self::SourceNotAllowed => "source-not-allowed",
            Self::NoEndpoint => "no-endpoint",
            Self::PolicyDenied => "policy-denied",
            Self::ForwardDisabled => "forward-disabled",
            Self::ForwardDropped => "forward-dropped",
            Self::OutputDropped => "output-dropped",
            Self::InputDropped => "input-dropped",
            Self::DockerRawDrop => "docker-raw-drop",
            Self::InterfaceMissing => "interface-missing",
            Self::NoReturnRoute => "no-return-route",
            Self::NoReturnSession => "no-return-session",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Overlap => "overlap",
            Self::ReversePath => "reverse-path",
            Self::PolicyRule => "policy-rule",
            Self::UnknownPlace => "unknown-place",
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a flow does not get through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reason {
    /// The code.
    pub code: Code,
    /// Where the packet ends: a node, or the address of a site's host.
    pub node: String,
    /// What happens there, in one sentence.
    pub message: String,
    /// What to change; names the line or the command.
    pub fix: String,
}

/// Why no session can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Neither side has an endpoint of the other.
    NobodyKnows,
    /// The other side could start it, and does not keep it alive.
    NoKeepalive,
    /// This side's packets to the endpoint would go into the tunnel.
    Swallowed(IpAddr),
    /// This side drops what comes from the endpoint: its answers would not be sent back by that link.
    Strict,
    /// The other host has no such peer.
    UnknownPeer,
    /// The other host's interface is not up.
    Down,
}

/// Where and why a packet ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    Inactive(NodeId),
    Refused(NodeId),
    NotUp(NodeId),
    /// A node's interface is up without the tunnel address that the network gives it.
    AddressMissing {
        node: NodeId,
        address: IpAddr,
    },
    /// A site's host without a gateway.
    HostHasNoWay {
        site: SiteId,
        host: IpAddr,
        dst: IpAddr,
    },
    /// A host on a node's bridge that is no site's.
    NeighbourHasNoWay {
        node: NodeId,
        host: IpAddr,
        dst: IpAddr,
    },
    /// A link is asked for an address that is not there.
    NotOnLink {
        at: String,
        owner: NodeId,
        subnet: IpNet,
        dst: IpAddr,
    },
    NoAddress {
        node: NodeId,
        dst: IpAddr,
    },
    NoRoute {
        node: NodeId,
        dst: IpAddr,
        by: Option<String>,
    },
    /// The node by which a spoke leaves is not there, and the relay lets it out by no other way.
    ExitAway {
        node: NodeId,
        exit: NodeId,
    },
    /// Others' policy rule takes a packet another way.
    Ruled {
        node: NodeId,
        dst: IpAddr,
        rule: String,
        priority: u32,
        by: Option<String>,
    },
    /// Others' policy rule takes what a node answers at its endpoint another way.
    AnswersDiverted {
        node: NodeId,
        rule: Box<RoutingRule>,
    },
    NotAllowed {
        node: NodeId,
        dst: IpAddr,
    },
    NoSession {
        node: NodeId,
        peer: NodeId,
        why: Silence,
    },
    SourceNotAllowed {
        node: NodeId,
        from: NodeId,
        src: IpAddr,
    },
    OwnSource {
        node: NodeId,
        src: IpAddr,
    },
    ForwardDisabled {
        node: NodeId,
        came_by: Dev,
        ipv6: bool,
    },
    Dropped {
        node: NodeId,
        src: IpAddr,
        dst: IpAddr,
        port: String,
        rule: String,
        policy: bool,
        untracked: bool,
    },
    /// A forwarder of a connection that never sees its answers.
    OneSided {
        node: NodeId,
        src: IpAddr,
        dst: IpAddr,
    },
    /// Another program's filter drops the tunnel's own datagrams.
    Outer {
        node: NodeId,
        by: foreign::Drop,
    },
    /// Another program's filter drops it.
    Foreign {
        node: NodeId,
        src: IpAddr,
        dst: IpAddr,
        by: foreign::Drop,
    },
    InterfaceMissing {
        site: SiteId,
    },
    /// An answer with another address than the one that was spoken to.
    Mistaken {
        at: String,
        asked: IpAddr,
        answered: IpAddr,
    },
    NoAnswerFromOutside {
        node: NodeId,
        src: IpAddr,
    },
    /// The answer comes to somebody else who has the same address.
    Namesake {
        at: String,
        dst: IpAddr,
    },
    NothingInCommon,
    /// A site, every address of which belongs to longer prefixes of other sites.
    Shadowed(IpNet),
    Loop(NodeId),
}

/// The cause, and whether it was the answer that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub cause: Cause,
    pub answer: bool,
}

impl Failure {
    /// The two nodes whose session would stand if the other side had spoken.
    pub(super) const fn idle(&self) -> Option<(NodeId, NodeId)> {
        match self.cause {
            Cause::NoSession { node, peer, why: Silence::NoKeepalive } => Some((node, peer)),
            _ => None,
        }
    }

    /// Says whether policy keeps this address out of a spoke's AllowedIPs: without any rule it would be in them.
    fn is_policy(&self, world: &World) -> bool {
        let (Cause::NotAllowed { node, dst: ip } | Cause::SourceNotAllowed { node, src: ip, .. }) =
            &self.cause
        else {
            return false;
        };
        let (network, spoke) = (world.network(), world.node(*node));
        let is_place = || {
            let sites = network.nodes.values().filter(|n| n.name != spoke.name).flat_map(|n| &n.sites);
            network.subnets().into_iter().chain(sites.map(Site::prefix)).any(|net| net.contains(ip))
        };
        !network.allow.is_empty()
            && !spoke.is_relay()
            && spoke.routes == Routes::Split
            && !spoke.local.iter().any(|net| net.contains(ip))
            && !spoke.aliases().any(|(site, _)| site.subnet.contains(ip))
            && is_place()
    }

    pub(super) fn code(&self, world: &World) -> Code {
        match &self.cause {
            _ if self.is_policy(world) => Code::PolicyDenied,
            Cause::Inactive(id) if world.node(*id).enabled => Code::Expired,
            Cause::Inactive(_) => Code::Disabled,
            Cause::ExitAway { exit, .. } if !world.node(*exit).enabled => Code::Disabled,
            Cause::ExitAway { exit, .. } if !world.is_active(*exit) => Code::Expired,
            Cause::ExitAway { .. } => Code::NoRoute,
            Cause::Refused(id) => refusal(world, *id).map_or(Code::Overlap, |p| match p.code.as_str() {
                "disabled" => Code::Disabled,
                "expired" => Code::Expired,
                _ => Code::Overlap,
            }),
            Cause::NotOnLink { .. } | Cause::Shadowed(_) | Cause::Namesake { .. } => Code::Overlap,
            Cause::Ruled { .. } | Cause::AnswersDiverted { .. } => Code::PolicyRule,
            Cause::NotAllowed { .. }
            | Cause::NoRoute { .. }
            | Cause::HostHasNoWay { .. }
            | Cause::NeighbourHasNoWay { .. }
                if self.answer =>
            {
                Code::NoReturnRoute
            }
            Cause::NoAnswerFromOutside { .. } | Cause::Mistaken { .. } => Code::NoReturnRoute,
            Cause::NoSession { why: Silence::Strict, .. } => Code::ReversePath,
            Cause::NoSession { .. } if self.answer => Code::NoReturnSession,
            Cause::NoSession { .. } | Cause::NotUp(_) => Code::NoEndpoint,
            Cause::NotAllowed { .. } => Code::NotInAllowedIps,
            Cause::SourceNotAllowed { .. } | Cause::OwnSource { .. } => Code::SourceNotAllowed,
            Cause::ForwardDisabled { .. } => Code::ForwardDisabled,
            Cause::Dropped { policy: true, .. } => Code::PolicyDenied,
            Cause::Dropped { .. } | Cause::OneSided { .. } => Code::ForwardDropped,
            Cause::Foreign { by, .. } | Cause::Outer { by, .. } => by.code,
            Cause::InterfaceMissing { .. } => Code::InterfaceMissing,
            Cause::HostHasNoWay { .. }
            | Cause::NeighbourHasNoWay { .. }
            | Cause::NoAddress { .. }
            | Cause::AddressMissing { .. }
            | Cause::NoRoute { .. }
            | Cause::NothingInCommon
            | Cause::Loop(_) => Code::NoRoute,
        }
    }

    fn place(&self, world: &World) -> String {
        match &self.cause {
            Cause::HostHasNoWay { host, .. } | Cause::NeighbourHasNoWay { host, .. } => host.to_string(),
            Cause::NotOnLink { at, .. } | Cause::Mistaken { at, .. } | Cause::Namesake { at, .. } => {
                at.clone()
            }
            Cause::InterfaceMissing { site } => world.name(site.node).to_string(),
            Cause::NothingInCommon => String::new(),
            Cause::Shadowed(net) => net.to_string(),
            Cause::NoAnswerFromOutside { .. } => "internet".into(),
            Cause::Inactive(id)
            | Cause::Refused(id)
            | Cause::NotUp(id)
            | Cause::Loop(id)
            | Cause::ExitAway { node: id, .. }
            | Cause::NoAddress { node: id, .. }
            | Cause::AddressMissing { node: id, .. }
            | Cause::NoRoute { node: id, .. }
            | Cause::Ruled { node: id, .. }
            | Cause::AnswersDiverted { node: id, .. }
            | Cause::NotAllowed { node: id, .. }
            | Cause::NoSession { node: id, .. }
            | Cause::SourceNotAllowed { node: id, .. }
            | Cause::OwnSource { node: id, .. }
            | Cause::ForwardDisabled { node: id, .. }
            | Cause::Dropped { node: id, .. }
            | Cause::OneSided { node: id, .. }
            | Cause::Outer { node: id, .. }
            | Cause::Foreign { node: id, .. } => world.name(*id).to_string(),
        }
    }

    /// Puts the death of a flow between two places into words.
    pub(super) fn reason(&self, world: &World, from: &Place, to: &Place) -> Reason {
        let (mut message, fix) = match &self.cause {
            Cause::NotAllowed { node, .. } | Cause::SourceNotAllowed { node, .. }
                if self.is_policy(world) =>
            {
                denied(world.name(*node), "", "its AllowedIPs leave it out", from, to)
            }
            Cause::Dropped { node, port, rule, policy: true, .. } => {
                denied(world.name(*node), port, rule, from, to)
            }
            Cause::Dropped { node, src, dst, rule, untracked: true, .. } => (
                format!(
                    "{} never saw the flow that {src} -> {dst} answers, and drops it ({rule})",
                    world.name(*node)
                ),
                format!(
                    "masquerade {from} where it enters {to}: the answer then comes back the way the packet went"
                ),
            ),
            _ => self.words(world),
        };
        if self.answer {
            message = format!("the answer ends here: {message}");
        }
        Reason { code: self.code(world), node: self.place(world), message, fix }
    }
}
