//! What a procedure tells while it is at work. A shell puts it into words, or on a page.

use std::any::Any;
use std::net::IpAddr;
use std::path::PathBuf;

use super::fault::Fault;
use crate::model::{InterfaceName, NodeName, Problem};
use crate::plan::Backend;

/// Something that happened on the way.
#[derive(Debug)]
pub enum Event {
    /// Something is wrong, or worth a look; the work goes on.
    Problem(Problem),
    /// Promises that the network breaks, which is applied all the same because somebody insisted.
    PromisesBroken(Vec<Problem>),
    /// A part failed; the rest goes on.
    Failed(Fault),
    /// A read-only folder has no lock file: nobody is kept out.
    NoLockFile(PathBuf),
    /// An agent of another version carried the packets, and this one's takes over.
    AgentReplaced,
    /// A change that waited for its confirmation is kept.
    Kept,
    /// A change was not confirmed in time; `to_before`: to the network that was there, else to nothing.
    RolledBack {
        /// The network.
        network: InterfaceName,
        /// Whether a network of this name was there before.
        to_before: bool,
    },
    /// The agent holds the network from here on.
    Up {
        /// The network.
        network: InterfaceName,
        /// The node that this host is.
        node: NodeName,
        /// The data plane.
        backend: Backend,
    },
    /// The file is newer than what the agent holds.
    NewerFile,
    /// An address to serve metrics at is none of this host's now.
    AddressMissing(IpAddr),
}

/// Work that may take its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Another command is changing the network's files.
    WaitingForFolder,
    /// Another command is changing the network on this host.
    WaitingForHost(InterfaceName),
    /// A network is brought up.
    BringingUp {
        /// The network.
        network: InterfaceName,
        /// How many nodes it has.
        nodes: usize,
    },
    /// A network is taken down.
    TakingDown(InterfaceName),
    /// The host is compared with the network.
    Comparing,
    /// A packet is followed.
    Tracing,
    /// It is worked out who reaches whom.
    Checking,
}

/// Work under way; over when dropped.
pub type Working = Option<Box<dyn Any>>;

/// Who hears of it.
pub trait Listener: Send + Sync {
    /// Hears what happened.
    fn hear(&self, event: Event);
    /// Hears that work begins. What it returns is dropped when the work is done.
    fn begin(&self, work: Work) -> Working {
        let _ = work;
        None
    }
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Listener for Nobody {
    fn hear(&self, _: Event) {}
}
