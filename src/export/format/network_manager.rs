//! NetworkManager's keyfile (nm-settings-keyfile(5)): one file, mode 0600, which `nmcli connection load` takes.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::{Files, NamedFile, has_own_table, is_full};
use crate::export::wiped::wiped;
use crate::model::{FULL_TUNNEL, Node, Problem};
use crate::wgconf::{Dns, Document, Table};

pub(super) fn files(name: &str, node: &Node, document: &Document) -> Files {
    let text = wiped(|out| write(out, name, document));
    let file = NamedFile { name: format!("{name}.nmconnection"), text, secret: true };
    let mut problems = Vec::new();
    let has_ipv6 = document.interface.addresses.iter().any(|net| net.addr().is_ipv6());
    let mut allowed = document.peers.iter().flat_map(|peer| &peer.allowed_ips);
    if !has_ipv6 && allowed.any(|net| net.prefix_len() == 0 && net.addr().is_ipv6()) {
        problems.push(Problem::warning(
            "ipv6-beside-tunnel",
            format!("node.{}", node.name),
            "the tunnel has no IPv6 address, and NetworkManager then leaves IPv6 where it is: it goes past the tunnel, in clear",
            "subnet6 under [network] gives the tunnel IPv6; or switch IPv6 off in the other connections of that host",
        ));
    }
    Files { files: vec![file], problems }
}

fn write(out: &mut dyn Write, name: &str, document: &Document) -> fmt::Result {
    let i = &document.interface;
    writeln!(out, "[connection]\nid={name}\ntype=wireguard\ninterface-name={name}\n\n[wireguard]")?;
    if let Some(key) = &i.private_key {
        writeln!(out, "private-key={}", key.expose_base64().as_str())?;
    }
    if let Some(port) = i.listen_port {
        writeln!(out, "listen-port={port}")?;
    }
    if let Some(mark) = i.fwmark {
        writeln!(out, "fwmark={mark}")?;
    }
    if let Some(mtu) = i.mtu {
        writeln!(out, "mtu={mtu}")?;
    }
    if i.table == Some(Table::Off) {
        writeln!(out, "peer-routes=false")?;
    }
    for peer in &document.peers {
        writeln!(out, "\n[wireguard-peer.{}]", peer.public_key)?;
        if let Some(key) = &peer.preshared_key {
            writeln!(out, "preshared-key={}\npreshared-key-flags=0", key.expose_base64().as_str())?;
        }
        if let Some(endpoint) = &peer.endpoint {
            writeln!(out, "endpoint={endpoint}")?;
        }
        if let Some(keepalive) = peer.keepalive {
            writeln!(out, "persistent-keepalive={keepalive}")?;
        }
        out.write_str("allowed-ips=")?;
        peer.allowed_ips.iter().try_for_each(|net| write!(out, "{net};"))?;
        out.write_char('\n')?;
    }
    family(out, document, "ipv4", IpAddr::is_ipv4)?;
    family(out, document, "ipv6", IpAddr::is_ipv6)
}

/// The addresses and name servers of one family.
fn family(
    out: &mut dyn Write,
    document: &Document,
    section: &str,
    is_own: impl Fn(&IpAddr) -> bool,
) -> fmt::Result {
    let i = &document.interface;
    let addresses: Vec<_> = i.addresses.iter().filter(|net| is_own(&net.addr())).collect();
    if addresses.is_empty() {
        return writeln!(out, "\n[{section}]\nmethod=disabled");
    }
    writeln!(out, "\n[{section}]\nmethod=manual")?;
    for (n, address) in addresses.iter().enumerate() {
        writeln!(out, "address{}={address}", n + 1)?;
    }
    if has_own_table(document) {
        // What has a more exact route than the default one keeps it; the tunnel's own datagrams go outside.
        let all = if section == "ipv4" { "0.0.0.0/0" } else { "::/0" };
        writeln!(
            out,
            "route-table={FULL_TUNNEL}\nrouting-rule1=priority 32400 from {all} suppress_prefixlength 0 table 254\n\
             routing-rule2=priority 32401 not from {all} fwmark {FULL_TUNNEL:#x} table {FULL_TUNNEL}"
        )?;
    }
    let servers = || i.dns.iter().filter(|dns| matches!(dns, Dns::Server(ip) if is_own(ip)));
    if servers().next().is_some() {
        out.write_str("dns=")?;
        servers().try_for_each(|server| write!(out, "{server};"))?;
        out.write_char('\n')?;
        if is_full(document) && i.table != Some(Table::Off) {
            // Below zero no other connection's servers are asked, as everything else goes this way.
            out.write_str("dns-priority=-50\n")?;
        }
    }
    let domains = || i.dns.iter().filter(|dns| matches!(dns, Dns::Search(_)));
    if section == "ipv4" && domains().next().is_some() {
        out.write_str("dns-search=")?;
        domains().try_for_each(|domain| write!(out, "{domain};"))?;
        out.write_char('\n')?;
    }
    Ok(())
}
