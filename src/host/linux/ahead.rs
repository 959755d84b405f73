//! What is on the machine whatever the network says, read side by side and before it is asked for.

use std::thread::JoinHandle;

use serde_json::Value;

use super::docker::Engine;
use super::foreign_firewall::Reading;
use super::{LinuxHost, backend_of};
use super::{facts, name_servers, nft, route};
use crate::dataplane::DeviceReport;
use crate::firewall::foreign::ForeignFirewall;
use crate::firewall::foreign::routing_rule::RuleDoes;
use crate::host::HostError;
use crate::host::join::join;
use crate::model::InterfaceName;
use crate::plan::{Backend, Facts, ifalias, table_name};

/// What nft says of a table; `None`: there is none.
type Listing = Result<Option<Value>, HostError>;

/// What was read before it is asked for.
#[derive(Default)]
pub(super) struct Ahead {
    /// Those but for switches and names, which depend on the network.
    pub(super) facts: Option<Facts>,
    /// What a data plane told.
    pub(super) report: Option<(Backend, Result<Option<DeviceReport>, HostError>)>,
    /// Our table, by its name; nft may still be at it.
    pub(super) listing: Option<(String, JoinHandle<Listing>)>,
}

impl LinuxHost {
    /// Reads all that the next facts and the next observation of a network will want, whatever its file says; for a
    /// caller who reads the file meanwhile. What then changes before it is asked for goes unseen.
    ///
    /// # Errors
    /// The kernel does not list its links or routes.
    pub fn look_ahead(&mut self, network: &InterfaceName) -> Result<(), HostError> {
        let table = table_name(network);
        let name = table.clone();
        // Without a thread to be had, it is listed when it is asked for.
        let listing = std::thread::Builder::new().spawn(move || nft::list(&name));
        self.ahead.listing = listing.ok().map(|listing| (table, listing));
        self.ahead.facts = Some(self.gather(Some(network))?);
        Ok(())
    }

    /// Reads the facts that are the same for every network, and where one is named, asks its data plane meanwhile.
    pub(super) fn gather(&mut self, network: Option<&InterfaceName>) -> Result<Facts, HostError> {
        let known = self.foreign.take();
        // It runs programs, and waits for them.
        let read = move || known.map_or_else(Reading::take, Ok);
        let (reading, rest) = join(read, || self.gather_the_rest(network));
        let rest = rest?;
        // Who may not read them can still ask for what would be done.
        let foreign = match reading {
            Ok(reading) => self.foreign.insert(reading).facts(),
            Err(error) => ForeignFirewall { unread: Some(error.to_string()), ..ForeignFirewall::default() },
        };
        Ok(Facts { foreign, ..rest })
    }

    /// All but the filters of others.
    fn gather_the_rest(&mut self, network: Option<&InterfaceName>) -> Result<Facts, HostError> {
        let links = self.links()?;
        let mut routes = self.routes(&links)?;
        self.routes = Some(routes.own);
        let rules = route::read_foreign_rules(&mut self.netlink)
            .map_err(|e| HostError::new("list", "policy rules", e))?;
        // Without a rule that looks into it no table decides anything.
        routes.tables.retain(|table, _| rules.iter().any(|r| r.does == RuleDoes::Lookup(*table)));
        if let Some(network) = network
            && let Some(found) = links.get(network.as_str()).filter(|l| l.link.alias == ifalias(network))
        {
            let backend = backend_of(found);
            self.ahead.report =
                self.wireguard(backend).ok().map(|wireguard| (backend, wireguard.report(network)));
        }
        let (docker, unbridged) = self.docker.as_ref().and_then(Engine::all_networks).unzip();
        let engine = docker.as_ref().and_then(|_| self.docker.as_ref()?.version());
        let containers = docker.as_ref().and_then(|_| self.docker.as_ref()?.containers());
        Ok(Facts {
            links: links.into_iter().map(|(name, l)| (name, l.link)).collect(),
            routes: routes.foreign,
            rules,
            tables: routes.tables,
            engine,
            containers: containers.unwrap_or_default(),
            docker_elsewhere: if self.docker.is_none() { Engine::elsewhere() } else { None },
            docker,
            docker_unbridged: unbridged.unwrap_or_default(),
            wsl: facts::wsl(),
            switches_are_read_only: facts::switches_are_read_only(),
            resolver: name_servers::keeper(),
            tcp_ports: facts::tcp_ports(),
            udp_ports: facts::udp_ports(),
            ..Facts::default()
        })
    }
}
