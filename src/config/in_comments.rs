//! A network as comment lines, so that the `.conf` of a relay tells what no key of a `.conf` can, and can be read back.

use crate::model::Network;

use super::render_network;

/// What a line of the network begins with, behind the comment's own sign.
const SIGN: &str = "|";

/// Writes a network as comments; there are no secrets in it.
pub fn network_as_comments(network: &Network) -> Vec<String> {
    let about =
        "What follows is for `wgrelay import`: the network, which no other program reads here".to_owned();
    let text = render_network(network, None);
    let lines = text.lines().filter(|l| !l.trim().is_empty()).map(|l| format!("{SIGN} {l}"));
    std::iter::once(about).chain(lines).collect()
}

/// Finds a network among comments, as the text of its file; `None`: there is none.
pub fn network_of_comments(comments: &[String]) -> Option<String> {
    let lines = comments.iter().filter_map(|c| c.strip_prefix(SIGN));
    let text: String = lines.map(|l| format!("{}\n", l.trim_start())).collect();
    (!text.is_empty()).then_some(text)
}
