//! Behind which link of this host its sites are that other relays have as well, as the plan finds it: by the file's `interface`, else
//! by the address that a link has there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::host::site_probe::links;
use crate::model::{Site, SiteInterface};
use crate::plan::{Facts, resolve_site};

/// How often Docker is asked for its networks, where the bridge of one is not known or went away.
const ASK_DOCKER: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Default)]
pub(super) struct SiteLinks {
    known: BTreeMap<IpNet, String>,
    asked_docker: Option<Instant>,
}

impl SiteLinks {
    /// Finds the link of each of these sites; `None`: it had one, or is to have one, and has none now. A site that nothing says a link
    /// of, and that never had one, is not among them: it may be behind a router, and nobody knows.
    pub fn find(
        &mut self,
        sites: &[&Site],
        tunnel: &str,
        given_over: &BTreeSet<IpNet>,
    ) -> BTreeMap<IpNet, Option<String>> {
        let is_docker = |site: &&&Site| matches!(site.interface, Some(SiteInterface::Docker(_)));
        let here = links(tunnel, false);
        let stands = |net: &IpNet| self.known.get(net).is_some_and(|link| here.links.contains_key(link));
        let asks = sites.iter().filter(is_docker).any(|site| !stands(&site.subnet.trunc()))
            && self.asked_docker.is_none_or(|last| last.elapsed() >= ASK_DOCKER);
        let asked = asks.then(|| {
            self.asked_docker = Some(Instant::now());
            links(tunnel, true)
        });
        self.find_in(sites, &here, asked.as_ref(), given_over)
    }

    fn find_in(
        &mut self,
        sites: &[&Site],
        here: &Facts,
        docker: Option<&Facts>,
        given_over: &BTreeSet<IpNet>,
    ) -> BTreeMap<IpNet, Option<String>> {
        let mut found = BTreeMap::new();
        for site in sites {
            let net = site.subnet.trunc();
            let known = self.known.get(&net).filter(|link| here.links.contains_key(*link)).cloned();
            let link = match &site.interface {
                // The engine's answer of before holds for as long as the bridge is there.
                Some(SiteInterface::Docker(_)) => {
                    known.or_else(|| Some(resolve_site(site, docker?).name()?.to_owned()))
                }
                _ => resolve_site(site, here).name().map(ToOwned::to_owned),
            };
            if let Some(link) = &link {
                self.known.insert(net, link.clone());
            }
            if link.is_some()
                || site.interface.is_some()
                || self.known.contains_key(&net)
                || given_over.contains(&net)
            {
                found.insert(net, link);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Link;

    fn facts(links: &[(&str, &[&str])]) -> Facts {
        let link = |(name, addresses): &(&str, &[&str])| {
            let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
            ((*name).to_owned(), Link { addresses, ..Link::default() })
        };
        Facts { links: links.iter().map(link).collect(), ..Facts::default() }
    }

    fn site(subnet: &str, interface: Option<SiteInterface>) -> Site {
        let key = crate::model::PrivateKey::from_random([1; 32]).public_key();
        let text = format!(
            "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n[node.eu]\nrole = \"relay\"\nendpoint = \"192.0.2.1:51820\"\npublic_key = \"{key}\"\n\
             address = \"10.0.0.1\"\n[[node.eu.site]]\nsubnet = \"{subnet}\"\n"
        );
        let network = crate::config::parse_network(text.as_bytes(), "f").value.unwrap();
        let site = network.nodes["eu"].sites[0].clone();
        Site { interface, ..site }
    }

    fn find(links: &mut SiteLinks, site: &Site, here: &Facts) -> Option<Option<String>> {
        links.find_in(&[site], here, None, &BTreeSet::new()).remove(&site.subnet)
    }

    #[test]
    fn the_files_interface_counts_and_a_docker_bridge_in_a_wide_site_does_not() {
        let here = facts(&[
            ("docker0", &["10.17.0.1/16"]),
            ("lan0", &["10.9.0.2/24"]),
            ("vlan7", &["192.0.2.9/24"]),
        ]);
        let mut links = SiteLinks::default();
        let by_name = |name: &str| Some(SiteInterface::Link(name.into()));
        assert_eq!(find(&mut links, &site("10.8.0.0/13", by_name("lan0")), &here), Some(Some("lan0".into())));
        // Behind a router on a link that has no address of it.
        assert_eq!(
            find(&mut links, &site("172.16.0.0/16", by_name("vlan7")), &here),
            Some(Some("vlan7".into()))
        );
        assert_eq!(find(&mut links, &site("10.8.0.0/13", by_name("gone0")), &here), Some(None));
        assert_eq!(find(&mut links, &site("10.9.0.0/24", None), &here), Some(Some("lan0".into())));
    }

    #[test]
    fn what_never_had_a_link_is_unknown_and_what_lost_it_is_silent() {
        let (here, without) = (facts(&[("lan0", &["10.9.0.2/24"])]), facts(&[("lan0", &["192.0.2.9/24"])]));
        let site = site("10.9.0.0/24", None);
        let mut links = SiteLinks::default();
        assert_eq!(find(&mut links, &site, &without), None);
        assert_eq!(find(&mut links, &site, &here), Some(Some("lan0".into())));
        assert_eq!(find(&mut links, &site, &without), Some(None));
        // One that was given over before this agent began had one.
        let given: BTreeSet<IpNet> = [site.subnet].into();
        let found = SiteLinks::default().find_in(&[&site], &without, None, &given);
        assert_eq!(found, [(site.subnet, None)].into());
    }

    #[test]
    fn a_docker_networks_bridge_is_asked_for_once() {
        let site = site("172.19.0.0/16", Some(SiteInterface::Docker("vlab".into())));
        let mut here = facts(&[("br-1", &["172.19.0.1/16"])]);
        let mut engine = here.clone();
        engine.docker = Some(
            serde_json::from_value(
                serde_json::json!({"vlab": {"bridge": "br-1", "subnets": ["172.19.0.0/16"]}}),
            )
            .unwrap(),
        );
        let mut links = SiteLinks::default();
        let found = links.find_in(&[&site], &here, Some(&engine), &BTreeSet::new());
        assert_eq!(found[&site.subnet].as_deref(), Some("br-1"));
        assert_eq!(find(&mut links, &site, &here), Some(Some("br-1".into())), "known");
        here.links.clear();
        assert_eq!(find(&mut links, &site, &here), Some(None));
    }
}
