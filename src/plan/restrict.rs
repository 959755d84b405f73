//! Which changes only take away or protect: they come first, and whatever else is wrong.

use super::change::{Change, Plan};
use super::state::{MAIN_TABLE, RuleSelector};

impl Plan {
    /// Parts the changes of a host that is up into those that restrict and the rest, each in its order. An error of anything
    /// may forbid the rest, and never the first.
    pub fn restrictions_first(self) -> (Self, Self) {
        // What belongs to an interface that is not there, or is about to go, waits for it.
        let stays = !self
            .changes
            .iter()
            .any(|c| matches!(c, Change::CreateDevice { .. } | Change::DeleteDevice { .. }));
        let (first, rest) = self.changes.into_iter().partition(|change| restricts(change, stays));
        (Self { changes: first }, Self { changes: rest })
    }
}

/// Says whether a change takes a right away or puts a protection back. `stays`: the interface is there before and after.
fn restricts(change: &Change, stays: bool) -> bool {
    match change {
        // The table is whole or not at all, and what it lets through is what the network allows.
        Change::LoadTable { .. } | Change::Elements { .. } | Change::RemoveForeign { .. } => true,
        Change::Firewalld { to, .. } => to.is_none(),
        Change::Sysctl { path, to, .. } => path.ends_with("/forwarding") && to == "0",
        // A peer that is there gets back what it should have: its preshared key, its prefixes and no others. What concerns
        // the whole interface (its key, its mark) admits nobody.
        Change::Peer { from, .. } => from.is_some() && stays,
        Change::Configure { .. } | Change::RemoveRoute { .. } => stays,
        // Without these a full tunnel leaks into the open; the rule that refuses asks for no interface.
        Change::LinkUp => stays,
        Change::AddRule { rule } => {
            stays || matches!(rule.selector, RuleSelector::Refused { .. } | RuleSelector::FromRefused { .. })
        }
        Change::AddRoute { route } => route.table != MAIN_TABLE && stays,
        Change::DeleteTable { .. }
        | Change::AddForeign { .. }
        | Change::Link { .. }
        | Change::CreateDevice { .. }
        | Change::Mtu { .. }
        | Change::AddAddress { .. }
        | Change::RemoveAddress { .. }
        | Change::Attach { .. }
        | Change::RemoveRule { .. }
        | Change::Carry { .. }
        | Change::NameServers { .. }
        | Change::DeleteDevice { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Table;
    use crate::plan::{Backend, Peer, PolicyRule, Route};

    fn kinds(plan: &Plan) -> Vec<String> {
        plan.lines().into_iter().map(|l| format!("{} {}", l.kind, l.target)).collect()
    }

    #[test]
    fn what_protects_comes_first_and_what_adds_waits() {
        let key = |n: u8| crate::model::PublicKey::from_bytes([n; 32]);
        let peer = || {
            let allowed_ips = ["10.0.0.2/32".parse().unwrap()].into();
            Box::new(Peer { preshared_key: None, endpoint: None, keepalive: None, allowed_ips })
        };
        let route = |dst: &str, table| Route { dst: dst.parse().unwrap(), table };
        let rule =
            PolicyRule { ipv6: false, priority: 1, selector: RuleSelector::NotMarked { mark: 1, table: 1 } };
        let table = Table { name: "wgrelay-wg0".into(), sets: [].into(), chains: vec![] };
        let sysctl = |to: &str| Change::Sysctl {
            path: "net/ipv4/conf/br0/forwarding".into(),
            from: None,
            to: to.into(),
        };
        let changes = vec![
            Change::LoadTable { from: None, to: Box::new(table) },
            Change::Peer { key: key(1), from: None, to: Some(peer()) },
            Change::Peer { key: key(2), from: Some(peer()), to: None },
            Change::Peer { key: key(3), from: Some(peer()), to: Some(peer()) },
            Change::AddAddress { address: "10.0.0.1/24".parse().unwrap() },
            Change::AddRoute { route: route("10.1.0.0/16", MAIN_TABLE) },
            Change::AddRoute { route: route("0.0.0.0/0", 51820) },
            Change::RemoveRoute { route: route("10.2.0.0/16", MAIN_TABLE) },
            Change::AddRule { rule: rule.clone() },
            Change::RemoveRule { rule },
            sysctl("1"),
            sysctl("0"),
        ];
        let plan = Plan { changes: changes.clone() };
        let (first, rest) = plan.restrictions_first();
        assert_eq!(
            kinds(&first),
            [
                "nft-table inet wgrelay-wg0".to_string(),
                format!("peer {}", key(2)),
                format!("peer {}", key(3)),
                "route 0.0.0.0/0".into(),
                "route 10.2.0.0/16".into(),
                "rule ipv4 priority 1".into(),
                "sysctl net.ipv4.conf.br0.forwarding".into(),
            ]
        );
        assert_eq!(first.changes.len() + rest.changes.len(), changes.len());
        // Without an interface only what needs none is first.
        let mut changes = changes;
        changes.insert(1, Change::CreateDevice { backend: Backend::Embedded, mtu: 1420 });
        let (first, _) = Plan { changes }.restrictions_first();
        assert_eq!(kinds(&first), ["nft-table inet wgrelay-wg0", "sysctl net.ipv4.conf.br0.forwarding"]);
    }
}
