//! What agents say to each other, a datagram each, inside the session that two peers have: who speaks is known by the address, which
//! nobody else's session may carry.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::NodeName;

/// The UDP port, of those that only root may have.
pub const PORT: u16 = 821;
/// The version of this conversation; one of another version is not understood.
const VERSION: u8 = 1;
/// The longest datagram in bytes: it fits the least MTU of IPv6.
const LONGEST: usize = 1200;

/// A datagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Message {
    /// A spoke to a relay of its list: are you well? And where it is.
    Probe {
        /// Comes back with the answer.
        number: u64,
        /// How manyth choice it is.
        epoch: u64,
        /// The relay that carries it.
        at: NodeName,
    },
    /// The relay's answer, with what it knows of where the spoke is.
    Answer {
        /// The probe's.
        number: u64,
        /// The newest choice that it has heard of; 0: none.
        epoch: u64,
        /// Where the spoke is; `None`: as the file has it.
        at: Option<NodeName>,
        /// It is about to go: spokes shall leave.
        drains: bool,
    },
    /// A relay to a spoke that it carries: it is about to go.
    Drains,
    /// A relay to another one: the spokes that are here.
    Attached {
        /// Spoke, relay, epoch.
        spokes: Vec<(NodeName, NodeName, u64)>,
        /// Whether it is about to go.
        drains: bool,
    },
    /// A relay to another one: the sites that both have, and whether they answer here.
    Sites {
        /// Subnet, and whether any host answers; `None`: nobody asks there.
        sites: Vec<(IpNet, Option<bool>)>,
    },
    /// A relay to another one, for whoever types there: send your spokes away, or carry again.
    Drain {
        /// Which of both.
        drains: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u8,
    #[serde(flatten)]
    message: T,
}

impl Message {
    /// Writes it as a datagram.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Names and numbers always have a JSON.
        serde_json::to_vec(&Versioned { v: VERSION, message: self }).unwrap_or_default()
    }

    /// Reads a datagram; `None`: it is none of this conversation.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let read = (bytes.len() <= LONGEST).then(|| serde_json::from_slice::<Versioned<Self>>(bytes).ok());
        read.flatten().filter(|read| read.v == VERSION).map(|read| read.message)
    }
}

impl Message {
    /// Tells of sites in as many datagrams as that takes.
    pub fn sites(sites: &[(IpNet, Option<bool>)]) -> Vec<Self> {
        /// Each entry has some 60 bytes at most.
        const IN_ONE: usize = 16;
        sites.chunks(IN_ONE).map(|chunk| Self::Sites { sites: chunk.to_vec() }).collect()
    }
}

/// Splits a list of where spokes are into datagrams; one at least, which says whether the relay drains.
pub fn chunks(spokes: impl IntoIterator<Item = (NodeName, NodeName, u64)>, drains: bool) -> Vec<Message> {
    /// Besides the entries, and besides the names of one.
    const AROUND: usize = 64;
    let mut messages = Vec::new();
    let (mut chunk, mut length) = (Vec::new(), AROUND);
    for entry in spokes {
        let more = entry.0.as_str().len() + entry.1.as_str().len() + 32;
        if length + more > LONGEST && !chunk.is_empty() {
            messages.push(Message::Attached { spokes: std::mem::take(&mut chunk), drains });
            length = AROUND;
        }
        chunk.push(entry);
        length += more;
    }
    if !chunk.is_empty() || messages.is_empty() {
        messages.push(Message::Attached { spokes: chunk, drains });
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_said_is_understood_and_nothing_else() {
        for message in [
            Message::Probe { number: 7, epoch: u64::MAX, at: name("eu") },
            Message::Answer { number: 7, epoch: 0, at: None, drains: true },
            Message::Attached { spokes: vec![(name("a"), name("eu"), 3)], drains: false },
            Message::Drains,
            Message::Sites {
                sites: vec![
                    ("10.9.0.0/16".parse().unwrap(), Some(true)),
                    ("10.8.0.0/16".parse().unwrap(), None),
                ],
            },
            Message::Drain { drains: true },
        ] {
            let bytes = message.to_bytes();
            assert_eq!(Message::parse(&bytes), Some(message));
            for cut in 0..bytes.len() {
                assert_eq!(Message::parse(&bytes[..cut]), None);
            }
        }
        for text in [
            "",
            "{}",
            r#"{"v":2,"say":"probe","number":1,"epoch":1,"at":"eu"}"#,
            r#"{"v":1,"say":"probe","number":1,"epoch":1,"at":"no name!"}"#,
            r#"{"v":1,"say":"probe","number":-1,"epoch":1,"at":"eu"}"#,
            r#"{"v":1,"say":"dance"}"#,
        ] {
            assert_eq!(Message::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Message::parse(&[b' '; 1201]), None);
    }

    #[test]
    fn a_long_list_goes_in_datagrams_that_fit() {
        let long = "n".repeat(20);
        let all: Vec<_> = (0..500).map(|n| (name(&format!("{long}{n}")), name("relay"), u64::MAX)).collect();
        let messages = chunks(all.clone(), true);
        assert!(messages.iter().all(|m| m.to_bytes().len() <= LONGEST), "{}", messages[0].to_bytes().len());
        let back = messages.into_iter().flat_map(|message| match message {
            Message::Attached { spokes, drains: true } => spokes,
            other => panic!("{other:?}"),
        });
        assert_eq!(back.collect::<Vec<_>>(), all);
        assert_eq!(chunks([], true), [Message::Attached { spokes: vec![], drains: true }]);
    }
}
