//! The page that `export --all` puts beside its files: each node, where its file goes, and its code. One file, nothing from
//! outside, no script; printed, a node is never cut in two.

use std::fmt::{self, Write};

use zeroize::Zeroizing;

use super::graph::escaped;
use super::wiped::wiped;
use crate::model::{Network, Node, Platform, Site, Timestamp};

/// Up to so many nodes, their codes are on the page; of more, it would be too large for a browser.
pub const MOST_CODES: usize = 100;

/// A node on the page.
#[derive(Debug)]
pub struct Entry<'n> {
    /// The node.
    pub node: &'n Node,
    /// Its file, beside the page.
    pub file: String,
    /// Its code, as an SVG; it holds the private key.
    pub code: Option<Zeroizing<String>>,
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
section{border-top:1px solid #8888;padding:1rem 0;display:flex;gap:1.5rem;flex-wrap:wrap;break-inside:avoid}\
section>div{flex:1 1 20rem}h2{margin:0 0 .3rem;font-size:1.15rem}p{margin:.25rem 0}\
.off{opacity:.6}svg{width:14rem;height:14rem;border:1px solid #8888}\
@media print{body{margin:0;max-width:none}svg{width:6cm;height:6cm}}";

/// Writes the page; the text is wiped when dropped.
pub fn index_page(network: &Network, entries: &[Entry<'_>], now: Timestamp) -> Zeroizing<String> {
    wiped(|out| page(out, network, entries, now))
}

fn page(out: &mut dyn Write, network: &Network, entries: &[Entry<'_>], now: Timestamp) -> fmt::Result {
    let name = escaped(network.name.as_str());
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}: {}</h1>\n",
        match entries.len() {
            1 => "1 node".to_owned(),
            n => format!("{n} nodes"),
        }
    )?;
    let subnets: Vec<String> = network.subnets().iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "<p>Tunnel addresses {}. The files{} hold private keys: give each to its node alone, and never by mail.</p>",
        subnets.join(", "),
        if entries.iter().any(|e| e.code.is_some()) { " and the codes on this page" } else { "" },
    )?;
    for entry in entries {
        section(out, network, entry, now)?;
    }
    out.write_str("</body>\n</html>\n")
}

fn section(out: &mut dyn Write, network: &Network, entry: &Entry<'_>, now: Timestamp) -> fmt::Result {
    let node = entry.node;
    let (class, state) = match (node.is_active(now), node.enabled) {
        (true, _) => ("", ""),
        (false, true) => (" class=\"off\"", ", expired: no relay answers it"),
        (false, false) => (" class=\"off\"", ", disabled: no relay answers it"),
    };
    let role = if node.is_relay() { "relay" } else { "spoke" };
    let file = escaped(&entry.file);
    writeln!(
        out,
        "<section{class}>\n<div>\n<h2>{}</h2>\n<p>{role} on {}, {}{state}</p>",
        escaped(node.name.as_str()),
        node.platform.as_str(),
        node.address,
    )?;
    let sites: Vec<String> = node.sites_in_words(Site::in_words);
    if !sites.is_empty() {
        writeln!(out, "<p>behind it: {}</p>", sites.join(", "))?;
    }

    writeln!(
        out,
        "<p><a href=\"./{file}\">{file}</a>: {}</p>\n</div>",
        escaped(&destination(network, entry))
    )?;
    if let Some(code) = &entry.code {
        writeln!(out, "<div>\n{}</div>", code.as_str())?;
    }
    out.write_str("</section>\n")
}

/// Where the file goes, by what reads it.
fn destination(network: &Network, entry: &Entry<'_>) -> String {
    let name = &entry.node.name;
    if entry.file.ends_with(".bundle") {
        return format!("copy it to {name}; there: wgrelay up --bundle {}", entry.file);
    }
    match entry.node.platform {
        Platform::Windows => "in WireGuard for Windows, Import tunnel(s) from file".into(),
        Platform::Macos => "in WireGuard from the App Store, Import Tunnel(s) from File".into(),
        Platform::Android | Platform::Ios => {
            "scan the code in the WireGuard app, or import the file there".into()
        }
        Platform::Linux | Platform::Docker => {
            format!("as /etc/wireguard/{0}.conf, mode 0600; there: wg-quick up {0}", network.name)
        }
        Platform::Openwrt => format!("for OpenWrt itself: wgrelay export {name} --format uci"),
        Platform::Mikrotik => format!("for RouterOS itself: wgrelay export {name} --format mikrotik"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::fixture::relay_alone;
    use crate::model::Role;

    fn entries(network: &Network) -> Vec<Entry<'_>> {
        let of = |node| Entry { node, file: format!("{}.conf", node.name), code: None };
        network.nodes.values().map(of).collect()
    }

    #[test]
    fn every_node_is_on_it_and_nothing_comes_from_outside() {
        let (mut network, _) = relay_alone();
        let key = crate::model::PublicKey::from_bytes([7; 32]);
        let mut phone = Node::new("phone".parse().unwrap(), Role::Spoke, [192, 168, 3, 9].into(), key);
        phone.platform = Platform::Android;
        phone.enabled = false;
        network.nodes.insert(phone.name.clone(), phone);
        let mut entries = entries(&network);
        for entry in entries.iter_mut().filter(|e| !e.node.is_relay()) {
            entry.code = Some(Zeroizing::new("<svg></svg>\n".to_owned()));
        }
        let page = index_page(&network, &entries, Timestamp(0));
        for words in
            ["2 nodes", "<h2>phone</h2>", "disabled", "href=\"./phone.conf\"", "<svg></svg>", "scan the code"]
        {
            assert!(page.contains(words), "{words}:\n{}", page.as_str());
        }
        for words in ["http:", "https:", "//", "src=", "<script"] {
            assert!(!page.contains(words), "{words}:\n{}", page.as_str());
        }
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
    }
}
