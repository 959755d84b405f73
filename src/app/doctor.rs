//! The procedure of `doctor`: this host, what is wrong with it for a node, and what to do.

use std::collections::BTreeSet;

use serde::Serialize;

use super::fault::Fault;
use super::session::Session;
use super::status::seen;
use crate::doctor::{Finding, Verdict, answer, findings, observed};
use crate::host::examine::examine;
use crate::host::resolver;
use crate::model::EndpointHost;
use crate::plan::bridge;
use crate::status::State;
use crate::store::folder::Folder;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The format's version, 1.
    pub version: u32,
    /// The worst of the findings.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub answer: String,
    /// One by one.
    pub findings: Vec<Finding>,
}

/// Examines this host, and what it makes of the network, where there is one.
///
/// # Errors
/// The network or this host cannot be read.
pub fn diagnose(session: &Session) -> Result<Diagnosis, Fault> {
    let none = session.network_name()?.is_none() && Folder::list(&session.dir)?.is_empty();
    let loaded = if none { None } else { Some(session.load_network()?) };
    let node = loaded.as_ref().map(|loaded| session.this_node(loaded)).transpose()?;
    let nodes = loaded.iter().flat_map(|l| l.network.nodes.values());
    let names: BTreeSet<String> = nodes
        .filter(|n| node.is_none_or(|this| this.name != n.name))
        .filter_map(|n| match &node.map_or(n.endpoint.as_ref(), |this| this.calls(n))?.host {
            EndpointHost::Name(name) => Some(name.clone()),
            EndpointHost::Ip(_) => None,
        })
        .collect();
    let folder = loaded.as_ref().map(|l| (session.dir.as_path(), &l.folder));
    let record = examine(&names, folder)?;
    let member = loaded.as_ref().map(|l| &l.network).zip(node);
    let mut findings = findings(&record, member, session.now);
    findings.extend(
        loaded.iter().filter_map(|l| l.folder.exposed_secrets(l.network.nodes.keys())).map(Finding::from),
    );
    if let Some((_, node)) = member.filter(|(_, node)| bridge::has_ports(node)) {
        findings.extend(bridge::silent_resolvers(node, &resolver::silent()).map(Finding::from));
    }
    if let Some((network, _)) = member
        && let Ok(status) = seen(session, &network.name)
        && status.state != State::Down
    {
        let added = observed(&status, &findings);
        findings.extend(added);
    }
    let (verdict, answer) = answer(&findings, member.map(|(network, _)| network));
    Ok(Diagnosis { version: 1, verdict, answer, findings })
}
