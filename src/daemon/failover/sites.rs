//! A relay's part in sites that several relays have: asks hosts of its own whether they answer, on a thread, tells the other relays,
//! and works out with what they say which sites are given over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Letters;
use super::site_links::SiteLinks;
use crate::daemon::agent::Looking;
use crate::failover::site_health::{PATIENCE, ROUND, TRIES};
use crate::failover::{Health, Message, SiteHealth, SiteReports, shared_sites};
use crate::host::site_probe::{Probe, Question, answering};
use crate::model::{GivenOver, Network, Node, NodeName, Timestamp};

/// How often all is told again, and how soon what is new is told once more.
const AGAIN: Duration = Duration::from_secs(10);
const TWICE: Duration = Duration::from_millis(500);
/// So often it is worked out what is given over.
const OFTEN: Duration = Duration::from_millis(200);
/// What is on record from before this agent began counts so long, where nobody has said anything yet.
const RECORDED: Duration = Duration::from_secs(20);
/// So many hosts of a site are asked at most.
const HOSTS: usize = 8;

/// What a site of this relay is like. Every clone of [`OwnSites`] means the same.
#[derive(Debug, Clone, Default)]
struct OwnSite {
    health: SiteHealth,
    since: Option<Timestamp>,
    asked: Vec<String>,
}

/// How the shared sites of this relay are.
#[derive(Clone, Default)]
pub(in crate::daemon) struct OwnSites {
    inner: Arc<Mutex<BTreeMap<IpNet, OwnSite>>>,
}

impl OwnSites {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpNet, OwnSite>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reports(&self) -> Vec<(IpNet, Option<bool>)> {
        let known = |(net, site): (&IpNet, &OwnSite)| match site.health.health() {
            Health::Unknown => None,
            health => Some((*net, Some(health == Health::Answers))),
        };
        self.lock().iter().filter_map(known).collect()
    }

    /// Says since when a site of this relay has not answered, and what was asked; `None`: it does, or nobody asks.
    pub fn silent(&self, site: &IpNet) -> Option<(Timestamp, String)> {
        let all = self.lock();
        let own = all.get(site).filter(|own| own.health.health() == Health::Silent)?;
        Some((own.since?, own.asked.join(", ")))
    }
}

/// Begins to ask, on a thread that ends with the process.
pub(super) fn keep(looking: Looking) {
    let work = move || {
        let began = Instant::now();
        let mut links = SiteLinks::default();
        loop {
            let round = Instant::now();
            ask(&looking, &mut links, began);
            std::thread::sleep(ROUND.saturating_sub(round.elapsed()));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("sites".into()).spawn(work) {
        tracing::warn!("no thread that asks sites whether they answer: {error}");
    }
}

fn ask(looking: &Looking, links: &mut SiteLinks, began: Instant) {
    let own = &looking.told.sites;
    let now = looking.session.later().now;
    let target = looking.target().filter(|target| target.network.failover && target.this().is_active(now));
    let asked = target.as_ref().map_or_else(BTreeMap::new, |target| whom(&target.network, target.this()));
    let mut questions: Vec<(IpNet, Question)> = Vec::new();
    if let Some(target) = target.as_ref().filter(|_| !asked.is_empty()) {
        let given_over = looking.given_over().remove(&target.this().name).unwrap_or_default();
        let sites = target.this().written_sites().into_iter();
        let sites = sites.filter(|site| asked.contains_key(&site.subnet.trunc()));
        let found = links.find(&sites.collect::<Vec<_>>(), looking.name.as_str(), &given_over);
        // Without a link there nobody answers.
        let question = |(net, link): (IpNet, Option<String>)| {
            let probes = link.is_some().then(|| asked.get(&net).cloned()).flatten();
            (net, (link.unwrap_or_default(), probes.unwrap_or_default()))
        };
        questions.extend(found.into_iter().map(question));
    }
    own.lock().retain(|site, _| questions.iter().any(|(net, _)| net == site));
    let (nets, questions): (Vec<IpNet>, Vec<Question>) = questions.into_iter().unzip();
    let since = began.elapsed();
    let answers = answering(&questions, TRIES, PATIENCE);
    for (site, answers) in nets.into_iter().zip(answers) {
        let mut all = own.lock();
        let entry = all.entry(site).or_default();
        let words = |probe: &Probe| match probe.port {
            Some(port) => format!("{} (tcp/{port})", probe.address),
            None => probe.address.to_string(),
        };
        entry.asked = asked.get(&site).into_iter().flatten().map(words).collect();
        if entry.health.round(answers, since, began.elapsed()) {
            entry.since = Some(now);
            if entry.health.health() == Health::Silent {
                tracing::warn!("{site} does not answer here: asked {}", entry.asked.join(", "));
            } else {
                tracing::info!("{site} answers here");
            }
        }
    }
}

/// Returns the sites that other relays have as well, with the hosts that are expected to answer there.
fn whom(network: &Network, this: &Node) -> BTreeMap<IpNet, Vec<Probe>> {
    let shared = shared_sites(network, this).into_iter();
    let hosts = shared.map(|site| (site, network.expected_in(&site)));
    let probe = |(address, port)| Probe { address, port };
    hosts
        .map(|(site, hosts)| (site, hosts.into_iter().take(HOSTS).map(probe).collect::<Vec<_>>()))
        .filter(|(_, probes)| !probes.is_empty())
        .collect()
}

/// What relays say, and what follows.
pub(super) struct SiteSide {
    reports: SiteReports,
    recorded: GivenOver,
    given: GivenOver,
    said: Vec<(IpNet, Option<bool>)>,
    all_told: Duration,
    tell_again: Option<Duration>,
    began: Duration,
    /// When it was worked out last.
    worked_out: Option<Duration>,
}

impl SiteSide {
    pub fn new(recorded: GivenOver, at: Duration) -> Self {
        Self {
            reports: SiteReports::default(),
            given: recorded.clone(),
            recorded,
            said: Vec::new(),
            all_told: Duration::ZERO,
            tell_again: None,
            began: at,
            worked_out: None,
        }
    }

    /// Returns which sites are given over.
    pub const fn given(&self) -> &GivenOver {
        &self.given
    }

    /// Hears another relay.
    pub fn heard(
        &mut self,
        network: &Network,
        from: &NodeName,
        sites: &[(IpNet, Option<bool>)],
        at: Duration,
    ) {
        self.reports.hear(network, from, sites, at);
    }

    /// Says what is to be told, and works out what is given over.
    pub fn poll(&mut self, network: &Network, this: &NodeName, own: &OwnSites, at: Duration) -> Letters {
        // Thousands of spokes ask in the same second, and wait for answers.
        if self.worked_out.is_some_and(|last| at.saturating_sub(last) < OFTEN) {
            return Letters::new();
        }
        self.worked_out = Some(at);
        let mut sites = own.reports();
        // What was told before and is not known any more is told as that, as long as others have it too.
        let shared = network.nodes.get(this).map_or_else(Vec::new, |node| shared_sites(network, node));
        let unknown = self.said.iter().map(|(net, _)| *net);
        let unknown = unknown.filter(|net| shared.contains(net) && !sites.iter().any(|(of, _)| of == net));
        let unknown: Vec<_> = unknown.map(|net| (net, None)).collect();
        sites.extend(unknown);
        sites.sort();
        if sites.is_empty() && self.said.is_empty() && self.reports.is_empty() && self.given.is_empty() {
            return Letters::new();
        }
        self.reports.retain(network);
        if !sites.is_empty() || !self.said.is_empty() {
            self.reports.hear(network, this, &sites, at);
        }
        let mut given = self.reports.given_over(network, at);
        if at.saturating_sub(self.began) < RECORDED {
            for (relay, nets) in &self.recorded {
                let unknown = nets.iter().filter(|net| !self.reports.is_known(relay, net));
                let unknown: BTreeSet<IpNet> = unknown.copied().collect();
                if !unknown.is_empty() {
                    given.entry(relay.clone()).or_default().extend(unknown);
                }
            }
        }
        if given != self.given {
            tracing::info!("sites that are given over: {}", words(&given));
            self.given = given;
        }
        let is_news = sites != self.said;
        let is_due = !sites.is_empty() && at.saturating_sub(self.all_told) >= AGAIN;
        let is_again = self.tell_again.take_if(|when| at >= *when).is_some();
        if is_news {
            (self.said, self.tell_again) = (sites.clone(), Some(at + TWICE));
        }
        if !(is_news || is_due || is_again) {
            return Letters::new();
        }
        self.all_told = at;
        let others = network.relays().filter(|relay| relay.name != *this && relay.enabled);
        others
            .flat_map(|relay| Message::sites(&sites).into_iter().map(|message| (relay.name.clone(), message)))
            .collect()
    }
}

fn words(given: &GivenOver) -> String {
    let all = given.iter().flat_map(|(relay, nets)| nets.iter().map(move |net| format!("{net} by {relay}")));
    let all: Vec<String> = all.collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "10.9.0.0/16";

    /// eu and us have the site, ap hears of it.
    fn network() -> Network {
        let mut text = "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n".to_owned();
        for (n, relay) in ["eu", "us", "ap"].iter().enumerate() {
            let key = crate::model::PrivateKey::from_random([n as u8 + 1; 32]).public_key();
            text += &format!(
                "[node.{relay}]\nrole = \"relay\"\nendpoint = \"192.0.2.{n}:51820\"\naddress = \"10.0.0.{}\"\npublic_key = \"{key}\"\n",
                n + 1
            );
        }
        for (relay, preference) in [("eu", 2), ("us", 1)] {
            text += &format!("[[node.{relay}.site]]\nsubnet = \"{SITE}\"\npreference = {preference}\n");
        }
        text += "[[expect]]\nfrom = \"ap\"\nto = \"10.9.0.1\"\nverdict = \"reaches\"\n";
        crate::config::parse_network(text.as_bytes(), "f").value.unwrap()
    }

    fn own(answers: bool) -> OwnSites {
        let own = OwnSites::default();
        let mut site = OwnSite::default();
        for round in 1..=3 {
            let at = Duration::from_secs(round);
            site.health.round(answers, at, at);
        }
        own.lock().insert(SITE.parse().unwrap(), site);
        own
    }

    #[test]
    fn news_are_told_twice_and_all_of_it_again_and_again() {
        let (network, eu) = (network(), "eu".parse().unwrap());
        let mut side = SiteSide::new(GivenOver::new(), Duration::ZERO);
        let second = Duration::from_secs;
        let told = |side: &mut SiteSide, own: &OwnSites, at: Duration| {
            side.poll(&network, &eu, own, at).into_iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>()
        };
        let (none, others) = (Vec::<String>::new(), vec!["us".to_owned(), "ap".to_owned()]);
        assert_eq!(told(&mut side, &OwnSites::default(), second(1)), none, "nothing to tell");
        assert_eq!(told(&mut side, &own(true), second(20)), others);
        assert_eq!(told(&mut side, &own(true), second(21)), others, "once more");
        assert_eq!(told(&mut side, &own(true), second(22)), none);
        assert_eq!(told(&mut side, &own(false), second(23)), others, "it fell silent");
        assert_eq!(told(&mut side, &own(false), second(24)), others);
        assert_eq!(told(&mut side, &own(false), second(30)), none);
        assert_eq!(told(&mut side, &own(false), second(34)), others);
    }

    #[test]
    fn what_nobody_asks_any_more_is_told_as_unknown_and_given_over_by_nobody() {
        let (network, eu) = (network(), "eu".parse().unwrap());
        let site: IpNet = SITE.parse().unwrap();
        let second = Duration::from_secs;
        let mut side = SiteSide::new(GivenOver::new(), Duration::ZERO);
        side.poll(&network, &eu, &own(true), second(20));
        side.heard(&network, &"us".parse().unwrap(), &[(site, Some(true))], second(50));
        let letters = side.poll(&network, &eu, &OwnSites::default(), second(55));
        assert!(
            letters.iter().all(|(_, letter)| *letter == Message::Sites { sites: vec![(site, None)] })
                && letters.len() == 2,
            "{letters:?}"
        );
        assert_eq!(*side.given(), GivenOver::new());
        // Nobody shares it any more, and nothing is told.
        let mut alone = network;
        for node in alone.nodes.values_mut() {
            node.sites.clear();
            node.standby.clear();
        }
        for at in 60..70 {
            side.poll(&alone, &eu, &OwnSites::default(), second(at));
        }
        assert!(side.poll(&alone, &eu, &OwnSites::default(), second(80)).is_empty());
    }

    #[test]
    fn what_was_on_record_holds_until_somebody_says_otherwise() {
        let (network, eu) = (network(), "eu".parse().unwrap());
        let site: IpNet = SITE.parse().unwrap();
        let recorded: GivenOver = [("eu".parse().unwrap(), [site].into())].into();
        let second = Duration::from_secs;
        let mut side = SiteSide::new(recorded.clone(), second(100));
        side.poll(&network, &eu, &OwnSites::default(), second(101));
        assert_eq!(*side.given(), recorded);
        // Silent here, and answered there.
        side.heard(&network, &"us".parse().unwrap(), &[(site, Some(true))], second(110));
        side.poll(&network, &eu, &own(false), second(111));
        assert_eq!(*side.given(), recorded);
        // Answered here.
        side.poll(&network, &eu, &own(true), second(112));
        assert_eq!(*side.given(), GivenOver::new());
        // Nobody says anything for long enough.
        let mut side = SiteSide::new(recorded, second(100));
        side.poll(&network, &eu, &OwnSites::default(), second(121));
        assert_eq!(*side.given(), GivenOver::new());
    }
}
