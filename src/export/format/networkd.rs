//! systemd-networkd's two files (systemd.netdev(5), systemd.network(5)), for systemd 250 and later.

use std::fmt::{self, Write};

use ipnet::IpNet;

use super::{Files, NamedFile, has_own_table, is_full};
use crate::export::wiped::wiped;
use crate::model::{FULL_TUNNEL, Problem};
use crate::wgconf::{Dns, Document, Table};

pub(super) fn files(name: &str, document: &Document) -> Files {
    let netdev = wiped(|out| write_netdev(out, name, document));
    let network = wiped(|out| write_network(out, name, document));
    Files {
        files: vec![
            NamedFile { name: format!("50-{name}.netdev"), text: netdev, secret: true },
            NamedFile { name: format!("50-{name}.network"), text: network, secret: false },
        ],
        problems: vec![Problem::warning(
            "networkd-owner",
            format!("50-{name}.netdev"),
            "networkd reads its files as its own user, and this one holds a key",
            format!("in /etc/systemd/network: chown root:systemd-network 50-{name}.netdev; chmod 640 it"),
        )],
    }
}

fn write_netdev(out: &mut dyn Write, name: &str, document: &Document) -> fmt::Result {
    let i = &document.interface;
    writeln!(out, "[NetDev]\nName={name}\nKind=wireguard")?;
    if let Some(mtu) = i.mtu {
        writeln!(out, "MTUBytes={mtu}")?;
    }
    writeln!(out, "\n[WireGuard]")?;
    if let Some(key) = &i.private_key {
        writeln!(out, "PrivateKey={}", key.expose_base64().as_str())?;
    }
    if let Some(port) = i.listen_port {
        writeln!(out, "ListenPort={port}")?;
    }
    let full = is_full(document);
    match i.fwmark.or_else(|| full.then_some(FULL_TUNNEL)) {
        Some(mark) if mark > 0 => writeln!(out, "FirewallMark={mark}")?,
        _ => {}
    }
    match &i.table {
        Some(Table::Off) => {}
        Some(Table::Named(table)) => writeln!(out, "RouteTable={table}")?,
        _ if full => writeln!(out, "RouteTable={FULL_TUNNEL}")?,
        _ => writeln!(out, "RouteTable=main")?,
    }
    for peer in &document.peers {
        writeln!(out, "\n[WireGuardPeer]\nPublicKey={}", peer.public_key)?;
        if let Some(key) = &peer.preshared_key {
            writeln!(out, "PresharedKey={}", key.expose_base64().as_str())?;
        }
        for net in &peer.allowed_ips {
            writeln!(out, "AllowedIPs={net}")?;
        }
        if let Some(endpoint) = &peer.endpoint {
            writeln!(out, "Endpoint={endpoint}")?;
        }
        if let Some(keepalive) = peer.keepalive {
            writeln!(out, "PersistentKeepalive={keepalive}")?;
        }
    }
    Ok(())
}

fn write_network(out: &mut dyn Write, name: &str, document: &Document) -> fmt::Result {
    let i = &document.interface;
    writeln!(out, "[Match]\nName={name}\n\n[Network]")?;
    for address in &i.addresses {
        writeln!(out, "Address={address}")?;
    }
    for dns in &i.dns {
        match dns {
            Dns::Server(ip) => writeln!(out, "DNS={ip}")?,
            Dns::Search(domain) => writeln!(out, "Domains={domain}")?,
        }
    }
    let full = is_full(document);
    if full && i.dns.iter().any(|dns| matches!(dns, Dns::Server(_))) {
        // All names by these servers, as everything else goes this way.
        writeln!(out, "Domains=~.")?;
    }
    let has_own_table = has_own_table(document);
    if !full || (!has_own_table && matches!(i.table, Some(Table::Off | Table::Named(_)))) {
        return Ok(());
    }
    let families = [("ipv4", IpNet::V4(Default::default())), ("ipv6", IpNet::V6(Default::default()))];
    let allowed = || document.peers.iter().flat_map(|peer| &peer.allowed_ips);
    let is_led = |all: &IpNet| {
        allowed().any(|net| net == all || (has_own_table && net.addr().is_ipv4() == all.addr().is_ipv4()))
    };
    for (family, _) in families.iter().filter(|(_, all)| is_led(all)) {
        // What has a more exact route than the default one keeps it; the tunnel's own datagrams go outside.
        writeln!(
            out,
            "\n[RoutingPolicyRule]\nFamily={family}\nTable=main\nSuppressPrefixLength=0\nPriority=32764\n\n\
             [RoutingPolicyRule]\nFamily={family}\nFirewallMark={FULL_TUNNEL}\nInvertRule=yes\nTable={FULL_TUNNEL}\nPriority=32765"
        )?;
    }
    Ok(())
}
