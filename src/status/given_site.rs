//! Sites that a relay has given over to another one, because they do not answer there.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{GivenOver, Network, NodeName, Problem, Timestamp};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenSite {
    /// The site.
    pub subnet: IpNet,
    /// The relay that has given it over.
    pub node: NodeName,
    /// Who carries it now; `null`: nobody.
    pub carrier: Option<NodeName>,
    /// Since when it has not answered; `null`: that is known on the relay itself.
    pub since: Option<Timestamp>,
    /// Which hosts were asked; `null`: that is known on the relay itself.
    pub asked: Option<String>,
}

impl GivenSite {
    /// Finds all of them in a network as it was applied.
    pub fn all(network: &Network, given: &GivenOver, now: Timestamp) -> Vec<Self> {
        let all = given.iter().flat_map(|(node, nets)| nets.iter().map(move |net| (node, *net)));
        let of = |(node, subnet): (&NodeName, IpNet)| Self {
            subnet,
            node: node.clone(),
            carrier: network.carrier_of(subnet, now).map(|carrier| carrier.name.clone()),
            since: None,
            asked: None,
        };
        all.map(of).filter(|given| given.carrier.as_ref() != Some(&given.node)).collect()
    }

    /// Tells of it.
    pub fn problem(&self) -> Problem {
        let Self { subnet, node, carrier, since, asked } = self;
        let carrier = carrier.as_ref().map_or("nobody", NodeName::as_str);
        let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
        let asked = asked.as_ref().map(|asked| format!(" (asked: {asked})")).unwrap_or_default();
        Problem::warning(
            "site-given-over",
            format!("site {subnet} of node {node}"),
            format!("{subnet} does not answer at {node}{since}{asked}: {carrier} carries it"),
            format!("look at the site at {node}; once it has answered for a minute {node} carries it again"),
        )
    }
}
