//! OpenWrt's network configuration (`/etc/config/network`), by the documented grammar of its WireGuard protocol handler.

use std::fmt::{self, Write};

use super::{Files, NamedFile};
use crate::export::wiped::wiped;
use crate::model::EndpointHost;
use crate::wgconf::{Dns, Document, Table};

pub(super) fn files(name: &str, document: &Document) -> Files {
    // A section's name has letters, digits and underscores alone.
    let section: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let text = wiped(|out| write(out, &section, document));
    Files {
        files: vec![NamedFile { name: format!("network-{name}"), text, secret: true }],
        problems: Vec::new(),
    }
}

fn option(out: &mut dyn Write, kind: &str, key: &str, value: impl fmt::Display) -> fmt::Result {
    // No value here can hold a quote: keys, prefixes, host names and numbers.
    writeln!(out, "\t{kind} {key} '{value}'")
}

fn write(out: &mut dyn Write, name: &str, document: &Document) -> fmt::Result {
    let i = &document.interface;
    writeln!(out, "config interface '{name}'")?;
    option(out, "option", "proto", "wireguard")?;
    if let Some(key) = &i.private_key {
        option(out, "option", "private_key", key.expose_base64().as_str())?;
    }
    if let Some(port) = i.listen_port {
        option(out, "option", "listen_port", port)?;
    }
    if let Some(mtu) = i.mtu {
        option(out, "option", "mtu", mtu)?;
    }
    for address in &i.addresses {
        option(out, "list", "addresses", address)?;
    }
    for dns in &i.dns {
        match dns {
            Dns::Server(ip) => option(out, "list", "dns", ip)?,
            Dns::Search(domain) => option(out, "list", "dns_search", domain)?,
        }
    }
    for peer in &document.peers {
        writeln!(out, "\nconfig wireguard_{name}")?;
        option(out, "option", "public_key", peer.public_key)?;
        if let Some(key) = &peer.preshared_key {
            option(out, "option", "preshared_key", key.expose_base64().as_str())?;
        }
        if let Some(endpoint) = &peer.endpoint {
            match &endpoint.host {
                EndpointHost::Ip(ip) => option(out, "option", "endpoint_host", ip)?,
                EndpointHost::Name(host) => option(out, "option", "endpoint_host", host)?,
            }
            option(out, "option", "endpoint_port", endpoint.port)?;
        }
        if let Some(keepalive) = peer.keepalive {
            option(out, "option", "persistent_keepalive", keepalive)?;
        }
        let routes = u8::from(i.table != Some(Table::Off));
        option(out, "option", "route_allowed_ips", routes)?;
        for net in &peer.allowed_ips {
            option(out, "list", "allowed_ips", net)?;
        }
    }
    Ok(())
}
