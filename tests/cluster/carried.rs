//! A relay that two hosts carry, eu-a and eu-b, for a stock client that knows nothing of it: IPv4 or IPv6 outside. Counters on the
//! wire judge that never two hosts answer.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::node::PLACE;
use crate::stage::{Stage, until};

/// The relay's address in the tunnel.
const INSIDE: &str = "10.88.0.1";
/// The hosts' ports of the switch.
const PORTS: [&str; 2] = ["eu", "us"];
const HOSTS: [&str; 2] = ["eu-a", "eu-b"];
/// Longer than whatever happens takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// The stage with the relay on its first two hosts, and the client on the third.
pub struct Carried {
    pub stage: Stage,
    /// The floating address.
    pub floating: &'static str,
}

/// What was seen while something happened.
#[derive(Debug)]
pub struct Seen {
    /// The longest that the client was not answered.
    pub gap: Duration,
    /// Who sent in the floating address's name, one after the other.
    pub senders: Vec<usize>,
}

impl Carried {
    /// Makes it, with nothing up; `None`: this machine cannot, and nobody insists.
    pub fn founded(v6: bool) -> Option<Self> {
        let stage = Stage::possible()?;
        let floating = if v6 { "2001:db8:2::100" } else { "192.0.2.100" };
        let this = Self { stage, floating };
        (0..3).for_each(|n| this.addressed(n));
        let (a, b) = (this.host(0), this.host(1));
        let endpoint = if v6 { format!("[{floating}]") } else { floating.to_owned() };
        a.ok(&["init", "--profile", "road-warrior", "--endpoint", &endpoint]);
        a.ok(&["rename", "relay", "eu"]);
        a.ok(&["set", "laptop", "routes", "split"]);
        a.ok(&["set", "laptop", "dns", "--unset"]);
        a.ok(&["set", "eu", "hosts", "eu-a", "eu-b"]);
        a.ok(&["set", "eu", "floating", &format!("{floating}/{}", if v6 { 64 } else { 24 })]);
        // Without a store nobody says which of them it is.
        let refused = a.up();
        assert!(refused.code == Some(3) && refused.stderr.contains("floating-without-cluster"), "{refused}");
        let urls = this.stage.etcd_urls();
        a.ok(&["cluster", "create", "--etcd", &urls, "--host", "eu-a"]);
        let bundle = format!("{PLACE}/eu.bundle");
        b.node.write(&bundle, &a.ok(&["export", "eu", "--format", "bundle"]));
        b.ok(&["cluster", "join", "--bundle", &bundle, "--etcd", &urls, "--host", "eu-b"]);
        this.judge();
        Some(this)
    }

    /// wgrelay on one of the hosts.
    pub fn host(&self, n: usize) -> Wgrelay<'_> {
        self.stage.relay(n)
    }

    /// Gives a host its address of IPv6, which goes with its link.
    fn addressed(&self, n: usize) {
        if self.floating.contains(':') {
            let own = format!("2001:db8:2::{}/64", n + 1);
            self.stage.relays[n].run(&["ip", "addr", "replace", &own, "dev", "eth0", "nodad"]).ok();
        }
    }

    /// A host loses its power: all that runs there, and its link.
    pub fn power_off(&self, host: usize) {
        self.stage.relays[host].ip("link set eth0 down");
        self.signal_all(host, "KILL");
    }

    /// It has power again, and nothing runs.
    pub fn power_on(&self, host: usize) {
        self.stage.relays[host].ip("link set eth0 up");
        self.addressed(host);
    }

    /// Brings the client up, and waits until it is answered.
    pub fn client(&self) {
        let conf = self.host(0).ok(&["export", "laptop"]);
        assert!(conf.contains(self.floating), "{conf}");
        wg_quick_up(&self.stage.relays[2], "wg0", &conf).ok();
        until("the client is answered", || self.pings());
    }

    pub fn pings(&self) -> bool {
        self.stage.relays[2].run(&["ping", "-n", "-c", "1", "-W", "0.2", INSIDE]).code == Some(0)
    }

    /// Who carries it, as a host has it.
    pub fn holder(&self, of: usize) -> Option<usize> {
        let status = self.host(of).status();
        let holder = status["floating"]["holder"].as_str()?;
        HOSTS.iter().position(|host| *host == holder)
    }

    /// Waits until one carries it, and the other can take over.
    pub fn settles(&self) -> usize {
        let mut holder = None;
        until("one carries it, and the other stands by", || {
            holder = self.holder(0).filter(|holder| self.holder(1) == Some(*holder));
            holder.is_some_and(|n| self.host(n).status()["floating"]["ready"][0] == HOSTS[1 - n])
        });
        holder.expect("it was waited for")
    }

    /// Has a host carry it, and the other one stand by: on a busy machine a lease may be over by itself.
    pub fn held_by(&self, host: usize) {
        let other = HOSTS[1 - host];
        let began = Instant::now();
        while self.settles() != host {
            assert!(began.elapsed() < LONG, "{other} keeps it");
            self.host(host).call(&["drain", other]);
            self.host(host).call(&["undrain", other]);
        }
    }

    /// What each host sent in the floating address's name: on its port of the switch.
    pub fn counters(&self) -> [u64; 2] {
        let output = self.stage.switch.run(&["nft", "-j", "list", "counters"]).ok().stdout;
        let listed: serde_json::Value = serde_json::from_str(&output).expect("JSON");
        let count = |name: &str| {
            let all = listed["nftables"].as_array().expect("a list").iter().map(|o| &o["counter"]);
            all.filter(|c| c["name"] == name).filter_map(|c| c["packets"].as_u64()).sum()
        };
        ["a", "b"].map(count)
    }

    fn judge(&self) {
        let floating = self.floating;
        let rules = |name: &str| {
            if floating.contains(':') {
                format!("ip6 saddr {floating} counter name {name}\n")
            } else {
                format!(
                    "ip saddr {floating} counter name {name}\n arp saddr ip {floating} counter name {name}\n"
                )
            }
        };
        let chain = |name: &str, port: &str| {
            format!(
                "counter {name} {{ }}\n chain {name} {{ type filter hook ingress device \"{port}\" priority 0\n {} }}\n",
                rules(name)
            )
        };
        let rules = format!("table netdev judge {{\n{}{}}}\n", chain("a", PORTS[0]), chain("b", PORTS[1]));
        self.load("judge", &rules);
    }

    fn load(&self, name: &str, rules: &str) {
        let path = format!("{PLACE}/{name}.nft");
        self.stage.switch.write(&path, rules);
        self.stage.switch.run(&["nft", "-f", &path]).ok();
    }

    /// Cuts a host off from those ports of the switch, until [`Self::joined`].
    pub fn cut_off(&self, host: usize, from: &[&str]) {
        let port = PORTS[host];
        let both = |other: &&str| {
            format!(
                " iifname \"{port}\" oifname \"{other}\" drop\n iifname \"{other}\" oifname \"{port}\" drop\n"
            )
        };
        let rules: String = from.iter().map(both).collect();
        self.load(
            "cut",
            &format!(
                "table bridge cut {{\n chain cut {{ type filter hook forward priority 0\n{rules} }}\n}}\n"
            ),
        );
    }

    pub fn joined(&self) {
        self.stage.switch.run(&["nft", "delete", "table", "bridge", "cut"]).ok();
    }

    /// Sends a signal to all that runs on a host.
    pub fn signal_all(&self, host: usize, signal: &str) {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("kill -{signal} -1")]).stdin(Stdio::null());
        drop(self.stage.relays[host].spawn(&mut command).wait());
    }

    /// Looks on, from a moment at which the client was answered by `holder`, until that long after it happened at least, and until the
    /// client is answered again; fails where two hosts answer, or one after the other and back.
    #[track_caller]
    pub fn watched(
        &self,
        what: &str,
        holder: usize,
        at_least: Duration,
        happens: impl FnOnce() + Send,
    ) -> Seen {
        until("the client is answered before", || self.pings());
        let mut answered = Instant::now();
        let mut before = self.counters();
        let began = Instant::now();
        let mut seen = Seen { gap: Duration::ZERO, senders: vec![holder] };
        std::thread::scope(|scope| {
            let happens = scope.spawn(happens);
            let mut happened: Option<Instant> = None;
            // Whoever lost it may be silent for some time before the other begins; afterwards it is silent for good.
            while happened.is_none_or(|then| then.elapsed() < at_least)
                || answered.elapsed() > Duration::from_secs(1)
            {
                if happened.is_none() && happens.is_finished() {
                    happened = Some(Instant::now());
                }
                if self.pings() {
                    seen.gap = seen.gap.max(answered.elapsed());
                    answered = Instant::now();
                }
                // After that, so that whoever answered is known.
                let now = self.counters();
                let last = seen.senders.last().copied().unwrap_or_default();
                for n in [last, 1 - last] {
                    if now[n] > before[n] && seen.senders.last() != Some(&n) {
                        seen.senders.push(n);
                    }
                }
                before = now;
                assert!(began.elapsed() < LONG, "{what}: the client is not answered");
                assert!(seen.senders.len() <= 2, "{what}: they answer in turns: {seen:?}");
            }
        });
        seen
    }
}
