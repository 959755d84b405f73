//! What WSL means for a network that is to come up by itself. Nothing elsewhere.

use crate::firewall::foreign::wsl::{idle_shutdown, reachability};
use crate::host::{HostError, LinuxHost};
use crate::model::{Network, Node, Problem};

/// Returns what a person has to know or to do once in Windows, so that this node is reached and stays.
///
/// # Errors
/// The kernel does not list its links.
pub fn wsl_advice(network: &Network, node: &Node) -> Result<Vec<Problem>, HostError> {
    let facts = LinuxHost::open()?.surroundings()?;
    let idle = facts.wsl.map(|_| idle_shutdown());
    Ok(idle.into_iter().chain(reachability(network, node, &facts)).collect())
}
