//! Which node this host was brought up as last: what nobody says otherwise stays so.

use std::path::Path;

use super::fault::Fault;
use super::session::Loaded;
use crate::config::reread_network;
use crate::host::agent_process::Runtime;
use crate::host::boot_config;
use crate::host::configuration::Configuration;
use crate::model::Node;

/// Finds the node that this host was brought up as, by its name or, where that was given away, by its key; `None`: it is not up,
/// or was up as a relay that is gone.
///
/// # Errors
/// It was brought up as a spoke that is gone: nothing says that it is to be the relay instead.
pub(super) fn recorded_node<'n>(dir: &Path, loaded: &'n Loaded) -> Result<Option<&'n Node>, Fault> {
    let network = &loaded.network;
    let Some(record) = record(dir, loaded) else { return Ok(None) };
    if let Some(node) = network.nodes.get(&record.node) {
        return Ok(Some(node));
    }
    let before = reread_network(&record.network_text);
    let Some(before) = before.as_ref().and_then(|network| network.nodes.get(&record.node)) else {
        return Ok(None);
    };
    let renamed = network.nodes.values().find(|node| node.public_key == before.public_key);
    if renamed.is_none() && !before.is_relay() {
        return Err(Fault::usage(
            format!(
                "this host was brought up as {}, and {} has no such node any more",
                record.node, network.name
            ),
            "say with --node NAME which node it is; `wgrelay down` takes what is up away",
        ));
    }
    Ok(renamed)
}

/// What was applied since this host started, else what is to come back after a restart.
fn record(dir: &Path, loaded: &Loaded) -> Option<Configuration> {
    // Who may not read it asks as if there were none.
    let applied = Runtime::here(loaded.folder.name()).ok()?.read_applied(dir).ok().flatten();
    applied.map(|applied| applied.configuration).or_else(|| boot_config::read(&loaded.folder))
}
