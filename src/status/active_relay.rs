//! Which relay carries a spoke, and since when; on a relay, which spokes are away from home.

use serde::{Deserialize, Serialize};

use crate::model::{Attachments, Network, Node, NodeName, Problem, Timestamp};

/// The relay that carries this spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveRelay {
    /// The relay.
    pub name: NodeName,
    /// Since when; `null`: no agent tells.
    pub since: Option<Timestamp>,
    /// The first of its list that takes part.
    pub preferred: NodeName,
    /// What each relay of the list was heard to be; empty where no agent asks.
    pub relays: Vec<RelayAnswers>,
}

/// How a relay is, as a spoke has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayAnswers {
    /// The relay.
    pub name: NodeName,
    /// How it is.
    pub state: RelayState,
}

/// What is known of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayState {
    /// It answers.
    Answers,
    /// It does not.
    Silent,
    /// It is about to go.
    Drains,
    /// Its agent was never heard, or was not asked of late.
    Unknown,
}

impl RelayState {
    /// Returns it in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Silent => "does not answer",
            Self::Drains => "drains",
            Self::Unknown => "not heard",
        }
    }
}

/// A spoke that is not at its home relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedSpoke {
    /// The spoke.
    pub node: NodeName,
    /// Where it is.
    pub relay: NodeName,
    /// Since when this host knows of it.
    pub since: Timestamp,
}

impl ActiveRelay {
    /// Finds it as it was applied; `None`: the node is a relay, or has one relay alone.
    pub fn of(network: &Network, node: &Node, attached: &Attachments, now: Timestamp) -> Option<Self> {
        if !network.can_fail_over(node, now) {
            return None;
        }
        let (home, preferred) = (network.home_of(node, now)?, network.relays_of(node, now).next()?);
        let since = attached.get(&node.name).filter(|at| at.relay == home.name).map(|at| at.since);
        let (name, preferred) = (home.name.clone(), preferred.name.clone());
        Some(Self { name, since, preferred, relays: Vec::new() })
    }

    /// Tells that another one than the preferred carries; `None`: it does not.
    pub fn problem(&self) -> Option<Problem> {
        let Self { name, preferred, relays, .. } = self;
        if name == preferred {
            return None;
        }
        let state = relays.iter().find(|relay| relay.name == *preferred).map(|relay| relay.state);
        let why = match state {
            Some(RelayState::Answers) => "is well again, and has to be for a while".to_owned(),
            Some(state) => state.as_str().to_owned(),
            None => "was left".to_owned(),
        };
        Some(Problem::warning(
            "failed-over",
            format!("relay {name}"),
            format!("{name} carries this node instead of {preferred}, which {why}"),
            match relays.is_empty() {
                // Only the agent knows how they are.
                true => format!(
                    "an agent would bring it back to {preferred}, and none runs: `wgrelay service install`"
                ),
                false => format!("nothing has to be done here: it comes back to {preferred} by itself"),
            },
        ))
    }
}

impl AttachedSpoke {
    /// Finds all of them.
    pub fn all(network: &Network, attached: &Attachments, now: Timestamp) -> Vec<Self> {
        let away = attached.iter().filter(|(name, at)| {
            let spoke = network.nodes.get(*name).filter(|spoke| network.can_fail_over(spoke, now));
            spoke
                .and_then(|spoke| network.relays_of(spoke, now).next())
                .is_some_and(|home| home.name != at.relay)
        });
        away.map(|(name, at)| Self { node: name.clone(), relay: at.relay.clone(), since: at.since }).collect()
    }
}

/// Tells that a relay drains.
pub fn drains(node: &NodeName) -> Problem {
    Problem::warning(
        "drains",
        format!("relay {node}"),
        format!("{node} drains: spokes that run wgrelay and have another relay are carried by that one"),
        format!("`wgrelay undrain {node}` has it carry again"),
    )
}
