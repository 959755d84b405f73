//! The procedure of `check`: is the file sound, who reaches whom, and are the promises kept?

use super::event::Work;
use super::fault::Fault;
use super::session::{Loaded, Session, find_node};
use crate::config::Secrets;
use crate::host::docker::Engine;
use crate::model::{Node, NodeName, Problem, Severity, Site, SiteInterface};
use crate::plan::wrong_docker_subnets;
use crate::reach::{self, Check, Losses};

/// The code of what the file says of this host and this host does not have.
pub const NOT_HERE: &str = "interface-missing";

/// Checks a network. The problems are those of its file, of its secrets, of who reaches whom, and of Docker on this host, in
/// that order; what both the reader and the check warn of is told once.
///
/// # Errors
/// The network's file is invalid, or cannot be read.
pub fn check(session: &Session) -> Result<Check, Fault> {
    let folder = session.folder()?;
    let work = session.begin(Work::Checking);
    let loaded = session.load_from(folder)?;
    let mut check = reach::check(&loaded.network, session.now);
    drop(work);
    let mut problems = loaded.warnings.clone();
    let told: Vec<String> = problems.iter().map(|p| p.code.clone()).collect();
    problems.extend(loaded.folder.exposed_secrets(loaded.network.nodes.keys()));
    problems.extend(misfitting_secrets(&loaded));
    let found = check.problems.drain(..).filter(|p| p.is_error() || !told.contains(&p.code));
    problems.extend(loaded.located(found.collect()));
    problems.extend(wrong_here(session, &loaded));
    check.problems = problems;
    Ok(check)
}

/// What stands for each node that carries anything; a node called `any` has its name for itself, and `*` is nobody's.
const EACH: [&str; 2] = ["*", "any"];

/// Works out who loses whom when a node dies; for `any` or `*`, when each relay and each node with a site does, one at a time.
///
/// # Errors
/// The network's file is invalid, or has no such node.
pub fn losses(session: &Session, node: &str) -> Result<Losses, Fault> {
    let folder = session.folder()?;
    let work = session.begin(Work::Checking);
    let loaded = session.load_from(folder)?;
    let network = &loaded.network;
    let is_name = network.nodes.keys().any(|name| name.as_str() == node);
    let nodes = if EACH.contains(&node) && !is_name {
        let carries = |n: &&Node| n.is_active(session.now) && (n.is_relay() || n.has_sites());
        network.nodes.values().filter(carries).map(|n| n.name.clone()).collect()
    } else {
        let name = node.parse::<NodeName>().map_err(|why| {
            Fault::usage(
                format!("--without {node:?}: {why}"),
                "a node, or any; '*' where a node is called any",
            )
        })?;
        vec![find_node(network, &name)?.name.clone()]
    };
    let losses = reach::losses(network, &nodes, session.now);
    drop(work);
    Ok(losses)
}

/// Tells what is wrong with the keys that are here, such as those that a relay made by hand lacks: nobody comes up with them. Where
/// they are not here, or not ours to read, nothing is: a network is checked without them as well.
fn misfitting_secrets(loaded: &Loaded) -> Vec<Problem> {
    let Ok(None) = loaded.snapshot.installed_bundle() else { return Vec::new() };
    let Ok(bytes) = loaded.snapshot.secrets() else { return Vec::new() };
    let file = loaded.folder.secrets_path().display().to_string();
    let problems = Secrets::parse_to_use(bytes.as_bytes(), &file, &loaded.network).problems;
    problems.into_iter().map(|p| Problem { severity: Severity::Warning, ..p }).collect()
}

/// Tells where Docker, on the host that is a node, has another subnet than the file.
fn wrong_here(session: &Session, loaded: &Loaded) -> Vec<Problem> {
    let is_docker = |site: &Site| matches!(site.interface, Some(SiteInterface::Docker(_)));
    let here =
        session.this_node(loaded).ok().map(Node::ready).filter(|node| node.sites.iter().any(is_docker));
    let networks = here.as_ref().and_then(|_| Engine::here()?.networks());
    here.zip(networks).map_or_else(Vec::new, |(node, networks)| wrong_docker_subnets(&node, &networks))
}
