//! What relays say of the sites that several of them have, each of its own: which is given over to another one, because it does not
//! answer here and does there.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use super::Health;
use crate::model::{GivenOver, Network, Node, NodeName};

/// A relay that was not heard of for so long, though it told of its sites before, has none that answers.
const HEARD: Duration = Duration::from_secs(25);

/// Returns the subnets of a relay's sites that other relays have as well.
pub fn shared_sites(network: &Network, relay: &Node) -> Vec<IpNet> {
    let others = || network.relays().filter(|other| other.name != relay.name && other.enabled);
    let is_shared = |net: &IpNet| others().any(|other| of_preference(other).any(|of| of == *net));
    of_preference(relay).filter(is_shared).collect()
}

fn of_preference(relay: &Node) -> impl Iterator<Item = IpNet> {
    let sites = relay.written_sites().into_iter().filter(|site| site.preference.is_some());
    sites.map(|site| site.subnet.trunc()).collect::<Vec<_>>().into_iter()
}

/// What each relay said last, and when.
#[derive(Debug, Clone, Default)]
pub struct SiteReports {
    heard: BTreeMap<NodeName, BTreeMap<IpNet, (bool, Duration)>>,
}

impl SiteReports {
    /// Hears a relay tell which of its sites answer there, and of which it does not know; it says nothing of others'.
    pub fn hear(
        &mut self,
        network: &Network,
        relay: &NodeName,
        sites: &[(IpNet, Option<bool>)],
        at: Duration,
    ) {
        let Some(node) = network.nodes.get(relay).filter(|node| node.is_relay()) else { return };
        let own = shared_sites(network, node);
        let heard = self.heard.entry(relay.clone()).or_default();
        for (net, answers) in sites.iter().map(|(net, answers)| (net.trunc(), answers)) {
            match answers {
                Some(answers) if own.contains(&net) => heard.insert(net, (*answers, at)),
                _ => heard.remove(&net),
            };
        }
    }

    /// Forgets relays that are no more, and sites that are no more shared or that nobody asks after any more: that they are not told
    /// of says nothing of them.
    pub fn retain(&mut self, network: &Network) {
        self.heard.retain(|relay, heard| {
            let Some(node) = network.nodes.get(relay).filter(|node| node.is_relay()) else { return false };
            let own = shared_sites(network, node);
            heard.retain(|net, _| own.contains(net) && !network.expected_in(net).is_empty());
            !heard.is_empty()
        });
    }

    /// Says whether nobody has told of anything.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// Says whether a relay has told of one of its sites.
    pub fn is_known(&self, relay: &NodeName, site: &IpNet) -> bool {
        self.heard.get(relay).is_some_and(|sites| sites.contains_key(site))
    }

    fn health(&self, relay: &NodeName, site: &IpNet, at: Duration) -> Health {
        match self.heard.get(relay).and_then(|sites| sites.get(site)) {
            None => Health::Unknown,
            Some((answers, heard)) if *answers && at.saturating_sub(*heard) <= HEARD => Health::Answers,
            Some(_) => Health::Silent,
        }
    }

    /// Returns the sites that are given over: silent at this relay, and known to answer at another one that has it.
    pub fn given_over(&self, network: &Network, at: Duration) -> GivenOver {
        let mut given = GivenOver::new();
        for relay in network.relays() {
            let silent = shared_sites(network, relay).into_iter();
            let silent = silent.filter(|site| self.health(&relay.name, site, at) == Health::Silent);
            for site in silent {
                let answers = |other: &&Node| {
                    other.name != relay.name
                        && of_preference(other).any(|of| of == site)
                        && self.health(&other.name, &site, at) == Health::Answers
                };
                if network.relays().any(|other| answers(&other)) {
                    given.entry(relay.name.clone()).or_default().insert(site);
                }
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    /// eu, us and ap are relays; eu and us have 10.9.0.0/16, the first of them carries it; ap has a site of its own.
    fn network() -> Network {
        with("")
    }

    fn with(more: &str) -> Network {
        let mut text = "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n".to_owned();
        for (n, relay) in ["eu", "us", "ap"].iter().enumerate() {
            let key = crate::model::PrivateKey::from_random([n as u8 + 1; 32]).public_key();
            text += &format!(
                "[node.{relay}]\nrole = \"relay\"\nendpoint = \"192.0.2.{n}:51820\"\naddress = \"10.0.0.{}\"\npublic_key = \"{key}\"\n",
                n + 1
            );
        }
        for (relay, preference) in [("eu", 2), ("us", 1)] {
            text += &format!("[[node.{relay}.site]]\nsubnet = \"10.9.0.0/16\"\npreference = {preference}\n");
        }
        text += "[[node.ap.site]]\nsubnet = \"10.8.0.0/16\"\n";
        text += more;
        crate::config::parse_network(text.as_bytes(), "f").value.unwrap()
    }

    fn given(said: &[(&str, &str, bool)], at: u64) -> Vec<String> {
        let network = network();
        let mut reports = SiteReports::default();
        for (relay, site, answers) in said {
            reports.hear(&network, &name(relay), &[(site.parse().unwrap(), Some(*answers))], Duration::ZERO);
        }
        let given = reports.given_over(&network, Duration::from_secs(at));
        let all = given.iter().flat_map(|(relay, nets)| nets.iter().map(move |net| format!("{relay} {net}")));
        all.collect()
    }

    #[test]
    fn a_site_is_given_over_where_it_is_silent_here_and_answers_there() {
        let site = "10.9.0.0/16";
        for (said, expected) in [
            (vec![], vec![]),
            (vec![("eu", site, false)], vec![]),
            (vec![("eu", site, false), ("us", site, false)], vec![]),
            (vec![("eu", site, true), ("us", site, true)], vec![]),
            (vec![("eu", site, false), ("us", site, true)], vec!["eu 10.9.0.0/16"]),
            (vec![("eu", site, true), ("us", site, false)], vec!["us 10.9.0.0/16"]),
            // Nobody speaks of what is not his.
            (vec![("eu", site, false), ("ap", site, true)], vec![]),
            (vec![("ap", "10.8.0.0/16", false), ("us", "10.8.0.0/16", true)], vec![]),
            (vec![("eu", "10.9.1.0/24", false), ("us", "10.9.1.0/24", true)], vec![]),
        ] {
            assert_eq!(given(&said, 1), expected, "{said:?}");
        }
    }

    #[test]
    fn who_is_not_heard_of_any_more_has_no_site_that_answers() {
        let network = network();
        let site: IpNet = "10.9.0.0/16".parse().unwrap();
        let mut reports = SiteReports::default();
        let second = Duration::from_secs;
        reports.hear(&network, &name("eu"), &[(site, Some(true))], second(0));
        reports.hear(&network, &name("us"), &[(site, Some(true))], second(20));
        assert_eq!(reports.given_over(&network, second(25)), GivenOver::new());
        let given = reports.given_over(&network, second(26));
        assert_eq!(given.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["eu"]);
        // Where all are silent, the file says who carries it.
        assert_eq!(reports.given_over(&network, second(60)), GivenOver::new());
    }

    #[test]
    fn that_nobody_asks_any_more_says_nothing_of_a_site() {
        let site: IpNet = "10.9.0.0/16".parse().unwrap();
        let second = Duration::from_secs;
        let given = |reports: &SiteReports, network: &Network| {
            reports.given_over(network, second(60)).keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        let asks = with("[[expect]]\nfrom = \"ap\"\nto = \"10.9.0.1\"\nverdict = \"reaches\"\n");
        let asks_not = network();
        let mut reports = SiteReports::default();
        reports.hear(&asks, &name("eu"), &[(site, Some(true))], second(0));
        reports.hear(&asks, &name("us"), &[(site, Some(true))], second(50));
        reports.retain(&asks);
        assert_eq!(given(&reports, &asks), ["eu"], "not heard of");
        // The relay says itself that it does not know.
        let mut unknown = reports.clone();
        unknown.hear(&asks, &name("eu"), &[(site, None)], second(51));
        assert_eq!(given(&unknown, &asks), Vec::<String>::new());
        // The file says that nothing of it is expected.
        reports.retain(&asks_not);
        assert!(reports.is_empty());
        assert_eq!(given(&reports, &asks_not), Vec::<String>::new());
    }
}
