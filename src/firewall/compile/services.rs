//! What reaches this host's own services: those behind its DNAT, and those on its loopback, which nobody else is to reach.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Addresses, Builder, Chain, Family, Hook, Match, Rule, rule};
use crate::firewall::Action;

/// RFC 1122, section 3.2.1.3.
const LOOPBACK: IpNet = IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8));

/// The chain of what this host's DNAT sends on.
pub(in crate::firewall) const SERVICES: &str = "services";

impl Builder<'_> {
    /// What was sent to an address of this host, and whose destination its owner rewrote, is a service of this host: who may
    /// reach it is his matter. What was sent elsewhere is not.
    pub(super) fn services(&mut self) -> Chain {
        let own: BTreeSet<IpNet> = self.around.own.clone();
        let mut rules = Vec::new();
        // An exported file finds the addresses when it is loaded.
        if !self.around.opened_later {
            for family in Family::BOTH {
                let Some(Addresses::Set(set)) = self.set_as_it_is("own", &own, family) else { continue };
                rules.push(rule([Match::Dnatted, Match::OriginalDaddr(family, set)], Action::Accept));
            }
        }
        Chain { name: SERVICES.into(), hook: Hook::None, rules }
    }

    /// With route_localnet a packet from the tunnel can be for 127.0.0.1, where services listen that trust this host alone. What
    /// the owner's DNAT sends there he wants there.
    pub(super) fn input(&self) -> Chain {
        let net = LOOPBACK;
        let loopback = || {
            let with = Addresses::Net(net);
            [self.iif(true), Match::Daddr { family: Family::V4, with, is: true }]
        };
        let [iif, daddr] = loopback();
        let rules: Vec<Rule> =
            vec![rule([iif, daddr, Match::Dnatted], Action::Accept), rule(loopback(), Action::Drop)];
        Chain { name: "input".into(), hook: Hook::Input, rules }
    }
}
