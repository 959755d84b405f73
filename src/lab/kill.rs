//! A node of a lab dies, and the others go on without it, as after a power cut.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;

use super::build::{Interrupted, Lab, LabError, ip_batch, switches};
use super::commands;
use super::topology::{Place, PlaceKind};
use crate::config::NetworkDocument;
use crate::host::agent_process::Runtime;
use crate::model::{NodeName, Timestamp};
use crate::reach::{hosts_have_gateway, without};

/// How long an agent may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

impl Lab {
    /// Takes a node's host away at once; nobody is told. What its bridges join stays joined: the switch of a site is none of its
    /// gateways.
    ///
    /// # Errors
    /// The lab has no such node, or the kernel says no.
    pub fn kill(&mut self, node: &NodeName) -> Result<(), LabError> {
        let failed = |e: &dyn std::fmt::Display| LabError::failed("kill", node.to_string(), e);
        let spaces = &self.topology.spaces;
        let space = spaces.iter().position(|s| s.node.as_ref() == Some(node));
        let space = space.ok_or_else(|| failed(&"it is not in the lab"))?;
        let (handles, network) = (&self.spaces[space], &self.network);
        let off = commands::power_off(&self.topology, space);
        handles
            .inside(|| {
                ip_batch(&off)?;
                switches(false)
            })
            .map_err(|e| failed(&e))?;
        // Its agent, and what would start it again, end with this.
        self.holds.remove(&space);
        handles
            .inside(|| {
                let runtime = Runtime::here(network).map_err(io::Error::other)?;
                ended(&runtime)?;
                match if_nametoindex(network.as_str()) {
                    // The kernel's own goes on without any process.
                    Ok(_) => ip_batch(&format!("link del {network}\n")),
                    Err(_) => Ok(()),
                }
            })
            .map_err(|e| failed(&e))
    }

    /// Has the others follow the file in which that node is disabled, and the hosts of its sites the gateway that carries them now.
    ///
    /// # Errors
    /// See [`LabError`].
    pub fn go_on_without(
        &mut self,
        node: &NodeName,
        now: Timestamp,
        interrupted: Interrupted<'_>,
    ) -> Result<(), LabError> {
        let mut document = NetworkDocument::parse(&self.files.text)?;
        document.set_enabled(node, false)?;
        self.files.text = document.to_string();
        self.all_up(interrupted)?;
        let after = without(&self.layout.as_written(), node);
        let after = after.settled(now);
        let of_sites = self.layout.nodes.get(node).into_iter().flat_map(|n| &n.sites);
        for site in of_sites {
            let Some(carrier) = after.carrier_of(site.subnet, now) else { continue };
            let own = carrier.sites.iter().find(|own| own.subnet.trunc() == site.subnet.trunc());
            let gateway = own.filter(|own| hosts_have_gateway(own));
            let gateway = gateway.and_then(|_| self.address_in(&carrier.name, site.subnet));
            let is_host = |place: &&Place| {
                place.kind == PlaceKind::HostBehind(node.clone())
                    && self.topology.spaces[place.space]
                        .addresses
                        .iter()
                        .any(|(_, a)| a.trunc() == site.subnet.trunc())
            };
            for place in self.topology.places.iter().filter(is_host) {
                let lines = commands::another_gateway(&self.topology.spaces[place.space], gateway);
                self.spaces[place.space]
                    .inside(|| ip_batch(&lines))
                    .map_err(|e| LabError::failed("give another gateway to", &place.name, &e))?;
            }
        }
        Ok(())
    }

    fn address_in(&self, node: &NodeName, subnet: IpNet) -> Option<IpAddr> {
        let space = self.topology.spaces.iter().find(|s| s.node.as_ref() == Some(node))?;
        space.addresses.iter().map(|(_, a)| a.addr()).find(|a| subnet.contains(a))
    }
}

/// Waits until no agent lives.
#[expect(clippy::disallowed_methods, reason = "a process that ends is waited for")]
fn ended(runtime: &Runtime) -> io::Result<()> {
    let deadline = Instant::now() + END_WITHIN;
    while let Some(pid) = runtime.agent_pid() {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("process {pid} does not end")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
