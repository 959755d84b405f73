//! The edits of a node's sites, for every shell.

use ipnet::IpNet;

use super::fault::Fault;
use super::session::{Loaded, find_node};
use crate::config::{NetworkDocument, SiteWords};
use crate::model::{Network, NodeName};

/// Sets keys of a node's sites; one that the node does not have is added. Returns what was done, in a sentence.
///
/// # Errors
/// There is no such node, or what was typed is no site.
pub fn set_sites(
    loaded: &Loaded,
    document: &mut NetworkDocument,
    name: &NodeName,
    typed: &[String],
) -> Result<String, Fault> {
    find_node(&loaded.network, name)?;
    let sites = SiteWords::read(typed)?;
    if sites.is_empty() {
        return Err(Fault::usage(
            "no site was given",
            format!("`wgrelay set {name} site 192.168.1.0/24 alias=10.99.1.0/24`"),
        ));
    }
    for site in &sites {
        let is_new = !has(&loaded.network, name, site.subnet);
        if is_new && site.keys.iter().any(|(_, value)| value.is_none()) {
            return Err(no_site(&loaded.network, name, site.subnet));
        }
        // What it would be, so that a value that is none is told as it was typed.
        site.site()?;
        document.set_site(name, site)?;
    }
    let subnets: Vec<String> = sites.iter().map(|site| site.subnet.to_string()).collect();
    Ok(format!("site {} of {name}", subnets.join(", ")))
}

/// Takes keys of a node's site out, or the site itself where none is named. Returns what was done, in a sentence.
///
/// # Errors
/// There is no such node or site, or one is no key.
pub fn unset_site(
    loaded: &Loaded,
    document: &mut NetworkDocument,
    name: &NodeName,
    typed: &[String],
) -> Result<String, Fault> {
    find_node(&loaded.network, name)?;
    let words: Vec<&str> = typed.iter().flat_map(|t| t.split([',', ' '])).filter(|w| !w.is_empty()).collect();
    let Some((subnet, keys)) = words.split_first() else {
        return Err(Fault::usage(
            "which site?",
            format!("`wgrelay set {name} site 192.168.1.0/24 alias --unset`"),
        ));
    };
    let [site] =
        SiteWords::read(&[subnet])?.try_into().map_err(|_| Fault::usage("one site at a time", ""))?;
    let site: SiteWords = site;
    if !has(&loaded.network, name, site.subnet) {
        return Err(no_site(&loaded.network, name, site.subnet));
    }
    let subnet = site.subnet;
    if keys.is_empty() {
        document.remove_site(name, subnet)?;
        return Ok(format!("site {subnet} of {name}"));
    }
    document.set_site(name, &SiteWords { subnet, keys: Vec::new() }.without(keys)?)?;
    Ok(format!("{} of site {subnet} of {name}", keys.join(", ")))
}

fn has(network: &Network, name: &NodeName, subnet: IpNet) -> bool {
    let node = network.nodes.get(name);
    node.is_some_and(|node| node.written_sites().iter().any(|site| site.subnet == subnet))
}

fn no_site(network: &Network, name: &NodeName, subnet: IpNet) -> Fault {
    let sites: Vec<String> = network.nodes.get(name).map_or_else(Vec::new, |node| {
        node.written_sites().iter().map(|site| site.subnet.to_string()).collect()
    });
    let hint = if sites.is_empty() { "it has none".into() } else { format!("it has {}", sites.join(", ")) };
    Fault::failed(format!("node {name} has no site {subnet}"), hint)
}
