//! A Podman quadlet that runs a node in a container under systemd: wgrelay brings it up from its bundle at each start. The bundle is
//! mounted from beside the unit: the unit holds no key. Keys as in podman-systemd.unit(5) of Podman 4.6 and later.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::NamedFile;
use crate::model::{Network, Node};

/// An image with a shell and nothing that wgrelay needs: a static one brings all of it.
const IMAGE: &str = "docker.io/library/debian:stable-slim";
/// The same with nft, which whoever forwards for others needs.
const NFT: &str = "needs nft (package nftables)";

/// Makes the unit. `program` is the path of wgrelay on the host, `bundle` the bundle's file name beside the unit.
pub fn quadlet(network: &Network, node: &Node, program: &str, bundle: &str) -> NamedFile {
    let (name, forwards) = (&node.name, node.is_relay() || !node.sites.is_empty());
    let mut text = String::new();
    let image = if forwards { format!("The image is yours: it {NFT}. ") } else { String::new() };
    let _ = write!(
        text,
        "# {name} of {} in a container of Podman's, by systemd. As root, beside its bundle:\n\
         #   /etc/containers/systemd/{name}.container and {bundle} (mode 0600); systemctl daemon-reload; systemctl start {name}\n\
         # {image}wgrelay is this host's own; a static one runs in every image.\n\
         [Unit]\nDescription=WireGuard network {}: {name}\n\n\
         [Container]\nContainerName={name}\nImage={IMAGE}\nAddDevice=/dev/net/tun\n",
        network.name, network.name,
    );
    if forwards {
        // It switches forwarding on below /proc/sys, which is read-only in any other container.
        text += "PodmanArgs=--privileged\n";
    } else {
        text += "AddCapability=NET_ADMIN\n";
    }
    if let (Some(port), true) = (node.listen_port(), node.is_relay()) {
        let _ = writeln!(text, "PublishPort={port}:{port}/udp");
    }
    for dns in node.dns.iter().filter(|d| d.parse::<std::net::IpAddr>().is_ok()) {
        let _ = writeln!(text, "DNS={dns}");
    }
    let _ = write!(
        text,
        "Tmpfs=/run\nVolume={}:/usr/local/bin/wgrelay:ro\nVolume=./{bundle}:/etc/wgrelay.bundle:ro\n\
         Entrypoint=/bin/sh\n\
         Exec=-c \"/usr/local/bin/wgrelay up --bundle /etc/wgrelay.bundle && exec sleep infinity\"\n\n\
         [Service]\nRestart=on-failure\nRestartSec=10\n\n[Install]\nWantedBy=multi-user.target\n",
        percents(program),
    );
    NamedFile { name: format!("{name}.container"), text: Zeroizing::new(text), secret: false }
}

/// A path in which systemd finds no specifier and no end of a word.
fn percents(path: &str) -> String {
    let kept: String = path.chars().filter(|c| !c.is_control()).collect();
    kept.replace('\\', "\\\\").replace('%', "%%")
}
