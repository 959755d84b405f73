//! What WSL means for a network that is to come up by itself. Nothing elsewhere.

use super::fault::Fault;
use crate::firewall::foreign::wsl::to_stay;
use crate::host::LinuxHost;
use crate::model::{Network, Node, Problem};

/// Returns what a person has to know or to do once in Windows, so that this node is reached and stays.
///
/// # Errors
/// Nothing can be brought up in this WSL, or the kernel does not list its links.
pub fn wsl_advice(network: &Network, node: &Node) -> Result<Vec<Problem>, Fault> {
    let facts = LinuxHost::open()?.surroundings()?;
    to_stay(network, node, &facts).map_err(|refused| Fault {
        problems: vec![refused],
        ..Fault::failed("no unit is installed: this host cannot take the network", "")
    })
}
