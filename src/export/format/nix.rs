//! A NixOS module for `networking.wg-quick`. Keys stay out of it, because everybody on the host may read the Nix store: they
//! are files beside it, and the module names where they belong.

use std::fmt::{self, Write};

use zeroize::Zeroizing;

use super::{Files, NamedFile, has_own_table};
use crate::export::wiped::wiped;
use crate::firewall::hooks::plain::into_own_table;
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

/// Commands that NixOS writes into a script: the interface's name has to stand in them.
fn hook(
    out: &mut dyn Write,
    option: &str,
    name: &str,
    first: &Option<String>,
    lines: &[String],
) -> fmt::Result {
    // No command here has two quotes in a row, or a dollar before a brace.
    writeln!(out, "    {option} = ''")?;
    for line in first.iter().chain(lines) {
        writeln!(out, "      {}", line.replace("%i", name))?;
    }
    writeln!(out, "    '';")
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
    if has_own_table(document) {
        hook(
            out,
            "postUp",
            name,
            &i.fwmark.map(|mark| format!("wg set %i fwmark {mark}")),
            &into_own_table(true),
        )?;
        hook(out, "postDown", name, &None, &into_own_table(false))?;
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
