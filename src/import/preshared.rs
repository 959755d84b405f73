//! Preshared keys: kept where there are any, told where the two ends do not have the same.

use super::Source;
use super::finding::Findings;
use super::spokes::Spoke;
use crate::config::Secrets;
use crate::model::{Network, NodeName, PresharedKey};
use crate::wgconf::Key;

/// Keeps preshared keys where there are any; a pair without one stays without: nobody needs a new file.
pub(super) fn preshared_keys(
    sources: &[Source<'_>],
    (relay, name): (usize, &NodeName),
    spokes: &[Spoke],
    network: &mut Network,
    secrets: &mut Secrets,
    told: &mut Findings,
) {
    let hub = &sources[relay];
    // A key of zeros is none.
    let some = |key: &PresharedKey| *key != PresharedKey::NONE;
    let ours =
        |s: &Spoke| s.peer().and_then(|i| hub.reading.document.peers[i].preshared_key.clone()).filter(some);
    let theirs = |s: &Spoke| s.relay_peer(sources).and_then(|p| p.preshared_key.clone()).filter(some);
    if spokes.iter().all(|s| ours(s).is_none() && theirs(s).is_none()) {
        return;
    }
    network.preshared_keys = true;
    let keys = secrets.preshared_keys.entry(name.clone()).or_default();
    for spoke in spokes {
        let (ours, theirs) = (ours(spoke), theirs(spoke));
        let place = || {
            spoke
                .peer()
                .map_or_else(|| format!("{}:1:1", hub.name), |i| hub.place_in_peer(i, Key::PresharedKey))
        };
        let name = &spoke.node.name;
        if let (Some(a), Some(b)) = (&ours, &theirs)
            && a != b
        {
            told.add(
                "preshared-key",
                place(),
                format!(
                    "the preshared key with {name} is not the one in its own file: no handshake succeeds"
                ),
                format!("this one is taken; give {name} a new file: `wgrelay export {name}`"),
            );
        }
        // Without its file, nobody knows what the spoke has.
        if let (true, Some(of_relay), Some(source)) =
            (ours.is_some() != theirs.is_some(), spoke.peer(), spoke.source(sources))
        {
            let (has, lacks, place) = if ours.is_some() {
                (hub.name, source.name, hub.place_in_peer(of_relay, Key::PresharedKey))
            } else {
                (source.name, hub.name, spoke.relay_place(sources, Key::PresharedKey))
            };
            told.add(
                "preshared-key",
                place,
                format!("{has} has a preshared key of the relay and {name}, and {lacks} has none: no handshake succeeds"),
                format!("it is taken; give {name} a new file: `wgrelay export {name}`"),
            );
        }
        let key = ours.or(theirs).unwrap_or_else(|| {
            told.add(
                "preshared-key",
                place(),
                format!("{name} has no preshared key where others have: it stays so, written as zeros in secrets.toml"),
                format!("`wgrelay rotate {name}` makes it new keys; it needs a new file then"),
            );
            PresharedKey::NONE
        });
        keys.insert(name.clone(), key);
    }
}
