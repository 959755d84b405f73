//! A script for MikroTik RouterOS 7, by its documented grammar: `/import file-name=NAME.rsc`.

use std::fmt::{self, Write};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Files, NamedFile, is_full};
use crate::export::wiped::wiped;
use crate::model::{EndpointHost, Node, Problem};
use crate::wgconf::{Dns, Document, Table};

pub(super) fn files(name: &str, node: &Node, document: &Document) -> Files {
    let text = wiped(|out| write(out, name, document));
    let mut problems = Vec::new();
    if is_full(document) && document.interface.table != Some(Table::Off) {
        problems.push(Problem::warning(
            "mikrotik-full-tunnel",
            format!("node.{}", node.name),
            "everything goes into the tunnel, and RouterOS needs a route for the tunnel's own datagrams beside that",
            "before the script: /ip route add dst-address=ENDPOINT/32 gateway=YOUR-GATEWAY",
        ));
    }
    if !document.interface.dns.is_empty() {
        problems.push(Problem::warning(
            "dns-by-hand",
            format!("node.{}", node.name),
            "RouterOS has one resolver for all links, so the script leaves it alone",
            "/ip dns set servers=…, where these are wanted for everything",
        ));
    }
    Files { files: vec![NamedFile { name: format!("{name}.rsc"), text, secret: true }], problems }
}

/// What goes into the tunnel and is not on it already.
fn routes(document: &Document) -> impl Iterator<Item = &IpNet> {
    let connected = |net: &IpNet| document.interface.addresses.iter().any(|own| own.trunc().contains(net));
    let is_on = document.interface.table != Some(Table::Off);
    document.peers.iter().flat_map(|p| &p.allowed_ips).filter(move |net| is_on && !connected(net))
}

fn write(out: &mut dyn Write, name: &str, document: &Document) -> fmt::Result {
    let i = &document.interface;
    write!(out, "/interface wireguard add name=\"{name}\"")?;
    if let Some(key) = &i.private_key {
        write!(out, " private-key=\"{}\"", key.expose_base64().as_str())?;
    }
    if let Some(port) = i.listen_port {
        write!(out, " listen-port={port}")?;
    }
    if let Some(mtu) = i.mtu {
        write!(out, " mtu={mtu}")?;
    }
    out.write_char('\n')?;
    for address in &i.addresses {
        match address.addr() {
            IpAddr::V4(_) => writeln!(out, "/ip address add address={address} interface=\"{name}\"")?,
            IpAddr::V6(_) => {
                writeln!(out, "/ipv6 address add address={address} interface=\"{name}\" advertise=no")?;
            }
        }
    }
    for peer in &document.peers {
        write!(
            out,
            "/interface wireguard peers add interface=\"{name}\" public-key=\"{}\"",
            peer.public_key
        )?;
        if let Some(key) = &peer.preshared_key {
            write!(out, " preshared-key=\"{}\"", key.expose_base64().as_str())?;
        }
        if let Some(endpoint) = &peer.endpoint {
            match &endpoint.host {
                EndpointHost::Ip(ip) => write!(out, " endpoint-address={ip}")?,
                EndpointHost::Name(host) => write!(out, " endpoint-address={host}")?,
            }
            write!(out, " endpoint-port={}", endpoint.port)?;
        }
        if let Some(keepalive) = peer.keepalive.filter(|seconds| *seconds > 0) {
            write!(out, " persistent-keepalive={keepalive}s")?;
        }
        out.write_str(" allowed-address=")?;
        for (n, net) in peer.allowed_ips.iter().enumerate() {
            write!(out, "{}{net}", if n > 0 { "," } else { "" })?;
        }
        out.write_char('\n')?;
    }
    for net in routes(document) {
        let ip = if net.addr().is_ipv4() { "/ip" } else { "/ipv6" };
        writeln!(out, "{ip} route add dst-address={net} gateway=\"{name}\"")?;
    }
    let servers: Vec<String> =
        i.dns.iter().filter(|dns| matches!(dns, Dns::Server(_))).map(ToString::to_string).collect();
    if !servers.is_empty() {
        writeln!(out, "# name servers: {}", servers.join(", "))?;
    }
    Ok(())
}
