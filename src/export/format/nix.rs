//! A NixOS module for `networking.wg-quick`. Keys stay out of it, because everybody on the host may read the Nix store: they
//! are files beside it, and the module names where they belong.

use std::fmt::{self, Write};

use zeroize::Zeroizing;

use super::{Files, NamedFile};
use crate::export::wiped::wiped;
use crate::wgconf::{Document, Table};

/// Where the keys belong on the host.
const KEYS: &str = "/etc/wireguard";

pub(super) fn files(name: &str, document: &Document) -> Files {
    let module = wiped(|out| write(out, name, document));
    let mut files = vec![NamedFile { name: format!("{name}.nix"), text: module, secret: false }];
    let line = |text: Zeroizing<String>| wiped(|out| writeln!(out, "{}", text.as_str()));
    if let Some(key) = &document.interface.private_key {
        files.push(NamedFile { name: format!("{name}.key"), text: line(key.expose_base64()), secret: true });
    }
    for (n, peer) in document.peers.iter().enumerate() {
        if let Some(key) = &peer.preshared_key {
            let text = line(key.expose_base64());
            files.push(NamedFile { name: preshared(name, n), text, secret: true });
        }
    }
    Files { files, problems: Vec::new() }
}

fn preshared(name: &str, peer: usize) -> String {
    format!("{name}-{}.psk", peer + 1)
}

fn list(out: &mut dyn Write, values: impl Iterator<Item = impl fmt::Display>) -> fmt::Result {
    out.write_str("[")?;
    // No value here can hold a quote, a dollar or a backslash: prefixes, addresses and domains.
    for value in values {
        write!(out, " \"{value}\"")?;
    }
    out.write_str(" ];\n")
}

fn write(out: &mut dyn Write, name: &str, document: &Document) -> fmt::Result {
    let i = &document.interface;
    writeln!(out, "{{ ... }}:\n{{\n  networking.wg-quick.interfaces.\"{name}\" = {{")?;
    writeln!(out, "    privateKeyFile = \"{KEYS}/{name}.key\";")?;
    out.write_str("    address = ")?;
    list(out, i.addresses.iter())?;
    if !i.dns.is_empty() {
        out.write_str("    dns = ")?;
        list(out, i.dns.iter())?;
    }
    if let Some(mtu) = i.mtu {
        writeln!(out, "    mtu = {mtu};")?;
    }
    if let Some(port) = i.listen_port {
        writeln!(out, "    listenPort = {port};")?;
    }
    match &i.table {
        None | Some(Table::Auto) => {}
        Some(table) => writeln!(out, "    table = \"{table}\";")?,
    }
    out.write_str("    peers = [\n")?;
    for (n, peer) in document.peers.iter().enumerate() {
        writeln!(out, "      {{\n        publicKey = \"{}\";", peer.public_key)?;
        if peer.preshared_key.is_some() {
            writeln!(out, "        presharedKeyFile = \"{KEYS}/{}\";", preshared(name, n))?;
        }
        out.write_str("        allowedIPs = ")?;
        list(out, peer.allowed_ips.iter())?;
        if let Some(endpoint) = &peer.endpoint {
            writeln!(out, "        endpoint = \"{endpoint}\";")?;
        }
        if let Some(keepalive) = peer.keepalive {
            writeln!(out, "        persistentKeepalive = {keepalive};")?;
        }
        out.write_str("      }\n")?;
    }
    out.write_str("    ];\n  };\n}\n")
}
