//! Reads firewalld, and our policies in it, over the system's bus; makes them, changes them, and takes them out.
//!
//! firewalld makes a policy at run time out of its files only, so a new one costs a reload, and so does a removal. A reload
//! takes away what others set at run time: it is done where there is nothing of that kind. Links and sources that were
//! bound to zones at run time are bound again.

use std::collections::{BTreeMap, BTreeSet};

use super::dbus::{Arg, BUS, Bus, DbusError, Setting, Value};
use crate::firewall::foreign::firewalld::{
    FirewalldFacts, FirewalldPolicy, RichRule, is_our_policy, policy_names,
};
use crate::host::HostError;
use crate::model::InterfaceName;
use crate::plan::{Change, ifalias};

/// Where firewalld keeps policies (firewalld.policies(5)).
const FILES: &str = "/etc/firewalld/policies";
const NAME: &str = "org.fedoraproject.FirewallD1";
const ROOT: &str = "/org/fedoraproject/FirewallD1";
const CONFIG: &str = "/org/fedoraproject/FirewallD1/config";
/// What zones hold that others may bind at any time, and that we bind again.
const BINDINGS: [&str; 2] = ["interfaces", "sources"];

/// firewalld, asked over the bus.
struct Firewalld {
    bus: Bus,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    pub(super) facts: Option<FirewalldFacts>,
    pub(super) asleep: Option<BTreeSet<String>>,
    policies: BTreeMap<String, FirewalldPolicy>,
}

impl Reading {
    /// Reads it where it runs, and otherwise what of ours is in its files.
    pub(super) fn take(runs: bool) -> Self {
        if !runs {
            let files = std::fs::read_dir(FILES).into_iter().flatten().flatten();
            let names =
                files.filter_map(|f| f.file_name().to_str()?.strip_suffix(".xml").map(str::to_string));
            let asleep: BTreeSet<String> = names.filter(|n| is_our_policy(n)).collect();
            let policies = asleep.iter().map(|name| (name.clone(), FirewalldPolicy::asleep())).collect();
            return Self { facts: None, asleep: (!asleep.is_empty()).then_some(asleep), policies };
        }
        match Firewalld::open().and_then(|mut there| there.read()) {
            Ok((facts, policies)) => Self { facts: Some(facts), asleep: None, policies },
            Err(error) => {
                tracing::debug!("firewalld: {error}");
                let facts = FirewalldFacts { fault: Some(error.to_string()), ..FirewalldFacts::default() };
                Self { facts: Some(facts), ..Self::default() }
            }
        }
    }

    /// Returns the policies of one network.
    pub(super) fn policies(&self, network: &InterfaceName) -> BTreeMap<String, FirewalldPolicy> {
        let names = policy_names(network);
        let ours = self.policies.iter().filter(|(name, _)| names.contains(name));
        ours.map(|(name, policy)| (name.clone(), policy.clone())).collect()
    }
}

/// Carries out changes of policies: all in the files, then at run time, by one reload where that is needed.
pub(super) fn apply(network: &InterfaceName, changes: &[Change]) -> Result<(), HostError> {
    let changes: Vec<(&str, Option<&FirewalldPolicy>)> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Firewalld { name, to, .. } => Some((name.as_str(), to.as_deref())),
            _ => None,
        })
        .collect();
    let names = changes.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let mut there = match Firewalld::open() {
        Ok(there) => there,
        Err(_) if changes.iter().all(|(_, to)| to.is_none()) => return delete_files(&changes),
        Err(error) => return Err(HostError::new("reach firewalld for policy", names, error)),
    };
    let tag = ifalias(network);
    there.change(&tag, &changes).map_err(|error| {
        HostError::new("change firewalld policy", names, error)
            .hint("`firewall-cmd --state` and `journalctl -u firewalld` say more")
    })
}

/// Takes policies out of the files of a firewalld that does not run.
fn delete_files(changes: &[(&str, Option<&FirewalldPolicy>)]) -> Result<(), HostError> {
    for (name, _) in changes {
        let path = format!("{FILES}/{name}.xml");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(HostError::new("delete", path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Firewalld {
    fn open() -> Result<Self, DbusError> {
        let mut bus = Bus::system()?;
        let there = bus.call([BUS, "/org/freedesktop/DBus", BUS, "NameHasOwner"], &[Arg::Text(NAME)])?;
        match there.first() {
            Some(Value::Bool(true)) => Ok(Self { bus }),
            _ => Err(std::io::Error::other("firewalld does not answer on the bus").into()),
        }
    }

    /// Calls a method of firewalld at run time; `part` is `.zone`, `.policy`, … or nothing.
    fn now(&mut self, part: &str, method: &str, args: &[Arg<'_>]) -> Result<Value, DbusError> {
        self.ask(ROOT, &format!("{NAME}{part}"), method, args)
    }
    /// Calls a method of its files.
    fn files(&mut self, method: &str, args: &[Arg<'_>]) -> Result<Value, DbusError> {
        self.ask(CONFIG, &format!("{NAME}.config"), method, args)
    }
    fn ask(
        &mut self,
        object: &str,
        interface: &str,
        method: &str,
        args: &[Arg<'_>],
    ) -> Result<Value, DbusError> {
        let answer = self.bus.call([NAME, object, interface, method], args)?;
        Ok(answer.into_iter().next().unwrap_or(Value::List(Vec::new())))
    }
    /// Calls a method of one thing in its files, found by `finder`.
    fn in_files(&mut self, finder: &str, name: &str, method: [&str; 2]) -> Result<Value, DbusError> {
        let path = self.files(finder, &[Arg::Text(name)])?;
        let [part, method] = method;
        self.ask(path.text().unwrap_or_default(), &format!("{NAME}.config.{part}"), method, &[])
    }

    fn read(&mut self) -> Result<(FirewalldFacts, BTreeMap<String, FirewalldPolicy>), DbusError> {
        let mut facts = FirewalldFacts {
            default_zone: self.now("", "getDefaultZone", &[])?.text().unwrap_or_default().to_string(),
            ..FirewalldFacts::default()
        };
        for ((binding, link), zone) in self.bindings()? {
            if binding == BINDINGS[0] {
                facts.zones.insert(link, zone);
            }
        }
        let running: BTreeSet<String> = self.names_now()?.into_iter().filter(|n| is_our_policy(n)).collect();
        let filed = self.files("getPolicyNames", &[])?;
        let filed: BTreeSet<String> =
            filed.texts().filter(|n| is_our_policy(n)).map(str::to_string).collect();
        let mut policies = BTreeMap::new();
        for name in running.union(&filed) {
            let now = match running.contains(name) {
                true => Some(self.now(".policy", "getPolicySettings", &[Arg::Text(name)])?),
                false => None,
            };
            let in_files = match filed.contains(name) {
                true => Some(self.in_files("getPolicyByName", name, ["policy", "getSettings"])?),
                false => None,
            };
            policies.extend(policy(now.as_ref(), in_files.as_ref()).map(|policy| (name.clone(), policy)));
        }
        facts.unloaded = self.unloaded()?;
        facts.policies = running;
        let zones: BTreeSet<String> = facts.zones.values().chain([&facts.default_zone]).cloned().collect();
        for zone in zones {
            let open = self.open_ports(&zone)?;
            facts.open.insert(zone, open);
        }
        Ok((facts, policies))
    }

    /// Reads which UDP ports of this host a zone lets in: by themselves, with a service, by a rich rule, or all.
    fn open_ports(&mut self, zone: &str) -> Result<BTreeSet<(u16, u16)>, DbusError> {
        let settings = self.now(".zone", "getZoneSettings2", &[Arg::Text(zone)])?;
        let mut open = udp_ports(&settings);
        for service in texts_of(&settings, "services") {
            // A service that is named and not defined opens nothing.
            if let Ok(service) = self.now("", "getServiceSettings2", &[Arg::Text(&service)]) {
                open.extend(udp_ports(&service));
            }
        }
        open.extend(texts_of(&settings, "rich_rules").iter().filter_map(|rule| udp_port_of(rule)));
        Ok(open)
    }

    fn names_now(&mut self) -> Result<BTreeSet<String>, DbusError> {
        Ok(self.now(".policy", "getPolicies", &[])?.texts().map(str::to_string).collect())
    }

    /// Reads which zone each link and source is bound to.
    fn bindings(&mut self) -> Result<BTreeMap<(&'static str, String), String>, DbusError> {
        let active = self.now(".zone", "getActiveZones", &[])?;
        let mut bindings = BTreeMap::new();
        for (zone, bound) in active.dict().into_iter().flatten() {
            for kind in BINDINGS {
                let list = bound.dict().and_then(|b| b.get(kind));
                for name in list.into_iter().flat_map(Value::texts) {
                    bindings.insert((kind, name.to_string()), zone.clone());
                }
            }
        }
        Ok(bindings)
    }

    /// Says what a reload would change: what at run time differs from the files, ours and the bindings left out.
    fn unloaded(&mut self) -> Result<BTreeSet<String>, DbusError> {
        let mut unloaded = BTreeSet::new();
        let zones = self.now(".zone", "getZones", &[])?;
        let filed = self.files("getZoneNames", &[])?;
        for zone in zones.texts().chain(filed.texts()).collect::<BTreeSet<_>>() {
            let now = self.now(".zone", "getZoneSettings2", &[Arg::Text(zone)]);
            let filed = self.in_files("getZoneByName", zone, ["zone", "getSettings2"]);
            unloaded.extend(differs("zone", zone, now, filed)?);
        }
        let filed = self.files("getPolicyNames", &[])?;
        let policies = self.names_now()?;
        for name in policies.iter().map(String::as_str).chain(filed.texts()).collect::<BTreeSet<_>>() {
            if !is_our_policy(name) {
                let now = self.now(".policy", "getPolicySettings", &[Arg::Text(name)]);
                let filed = self.in_files("getPolicyByName", name, ["policy", "getSettings"]);
                unloaded.extend(differs("policy", name, now, filed)?);
            }
        }
        let sets = self.now(".ipset", "getIPSets", &[])?;
        for set in sets.texts() {
            let now = self.now(".ipset", "getIPSetSettings", &[Arg::Text(set)]);
            let filed = self.in_files("getIPSetByName", set, ["ipset", "getSettings"]);
            unloaded.extend(differs("ipset", set, now, filed)?);
        }
        let mut direct = Vec::new();
        for method in ["getAllChains", "getAllRules", "getAllPassthroughs"] {
            direct.push(self.now(".direct", method, &[])?);
        }
        let filed = self.ask(CONFIG, &format!("{NAME}.config.direct"), "getSettings", &[])?;
        if filed != Value::Struct(direct) {
            unloaded.insert("direct rules".into());
        }
        Ok(unloaded)
    }

    fn change(&mut self, tag: &str, changes: &[(&str, Option<&FirewalldPolicy>)]) -> Result<(), DbusError> {
        let running = self.names_now()?;
        let filed = self.files("getPolicyNames", &[])?;
        let is_new = |name: &&str| !running.contains(*name);
        // Looked at before anything is written: what cannot come to life is not to be left in the files.
        let must_load = changes.iter().any(|(name, to)| to.is_some() && is_new(name));
        let mut can_reload = true;
        if must_load || changes.iter().any(|(name, to)| to.is_none() && !is_new(name)) {
            let unloaded = self.unloaded()?;
            can_reload = unloaded.is_empty();
            if must_load && !can_reload {
                let list = unloaded.into_iter().collect::<Vec<_>>().join(", ");
                let message = format!(
                    "it needs a reload, which would change what differs at run time from the files: {list}"
                );
                return Err(DbusError::Refused { name: String::new(), message });
            }
        }
        for (name, to) in changes {
            let is_filed = filed.texts().any(|n| n == *name);
            match to {
                Some(policy) if is_filed => {
                    let path = self.files("getPolicyByName", &[Arg::Text(name)])?;
                    let settings = Arg::Settings(lasting(tag, policy));
                    let interface = format!("{NAME}.config.policy");
                    self.ask(path.text().unwrap_or_default(), &interface, "update", &[settings])?;
                }
                Some(policy) => {
                    let settings = Arg::Settings(lasting(tag, policy));
                    self.files("addPolicy", &[Arg::Text(name), settings])?;
                }
                None if is_filed => {
                    self.in_files("getPolicyByName", name, ["policy", "remove"])?;
                    // It keeps a copy of what it deletes.
                    let _ = std::fs::remove_file(format!("{FILES}/{name}.xml.old"));
                }
                None => {}
            }
        }
        for (name, to) in changes.iter().filter(|(name, _)| running.contains(*name)) {
            // A policy without rules has no effect, for as long as it is there.
            let settings = match to {
                Some(policy) => settings(policy),
                None => [("rich_rules", Setting::List(Vec::new()))].into(),
            };
            self.now(".policy", "setPolicySettings", &[Arg::Text(name), Arg::Settings(settings)])?;
        }
        let must_reload = changes.iter().any(|(name, to)| to.is_some() == is_new(name));
        if must_reload && can_reload { self.reload() } else { Ok(()) }
    }

    /// Makes firewalld read its files again, and binds again what was bound at run time.
    fn reload(&mut self) -> Result<(), DbusError> {
        let before = self.bindings()?;
        self.now("", "reload", &[])?;
        let after = self.bindings()?;
        for ((kind, name), zone) in before.iter().filter(|(key, zone)| after.get(key) != Some(zone)) {
            let method = if *kind == BINDINGS[0] { "changeZoneOfInterface" } else { "changeZoneOfSource" };
            self.now(".zone", method, &[Arg::Text(zone), Arg::Text(name)])?;
        }
        Ok(())
    }
}

/// What can be set at run time.
fn settings(policy: &FirewalldPolicy) -> BTreeMap<&'static str, Setting> {
    [
        ("ingress_zones", Setting::List(vec!["ANY".into()])),
        ("egress_zones", Setting::List(policy.egress.iter().cloned().collect())),
        ("rich_rules", Setting::List(policy.rules.iter().map(ToString::to_string).collect())),
    ]
    .into()
}

/// All of a policy, with the mark that it is ours.
fn lasting(tag: &str, policy: &FirewalldPolicy) -> BTreeMap<&'static str, Setting> {
    let mut all = settings(policy);
    all.insert("short", Setting::Text(tag.into()));
    let why = "What the network needs to be forwarded. wgrelay makes it, and `wgrelay down` takes it out.";
    all.insert("description", Setting::Text(why.into()));
    all.insert("target", Setting::Text("CONTINUE".into()));
    all
}

fn texts_of(settings: &Value, key: &str) -> BTreeSet<String> {
    let list = settings.dict().and_then(|s| s.get(key));
    list.into_iter().flat_map(Value::texts).map(str::to_string).collect()
}

/// The UDP ports of a zone's or service's settings: pairs of `51820` or `1000-2000` and a protocol. A zone that accepts
/// whatever comes has them all.
fn udp_ports(settings: &Value) -> BTreeSet<(u16, u16)> {
    let of = |key: &str| settings.dict().and_then(|s| s.get(key));
    if of("target").and_then(Value::text) == Some("ACCEPT") {
        return [(0, u16::MAX)].into();
    }
    let Some(Value::List(ports)) = of("ports") else { return BTreeSet::new() };
    let udp = ports.iter().filter_map(|pair| match pair {
        Value::Struct(pair) => match pair.as_slice() {
            [port, protocol] if protocol.text() == Some("udp") => port.text(),
            _ => None,
        },
        _ => None,
    });
    udp.filter_map(range).collect()
}

/// The UDP port that a rich rule accepts, for anybody or for some.
fn udp_port_of(rule: &str) -> Option<(u16, u16)> {
    let port = rule.split_once("port port=\"")?.1.split_once('"')?.0;
    (rule.contains("protocol=\"udp\"") && rule.ends_with(" accept")).then(|| range(port)).flatten()
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Puts together what is at run time and what is in the files. `None`: a policy without effect, to be forgotten at the
/// next reload.
fn policy(now: Option<&Value>, filed: Option<&Value>) -> Option<FirewalldPolicy> {
    let list = texts_of;
    let read = |settings: &Value| {
        let text = |key| settings.dict().and_then(|s| s.get(key));
        let any = BTreeSet::from(["ANY".to_string()]);
        let is_on = text("disable") != Some(&Value::Bool(true));
        let as_made = is_on
            && text("target").and_then(Value::text) == Some("CONTINUE")
            && list(settings, "ingress_zones") == any;
        let rules = list(settings, "rich_rules").iter().map(|rule| RichRule::parse(rule)).collect();
        FirewalldPolicy { egress: list(settings, "egress_zones"), rules, whole: as_made }
    };
    match (now.map(read), filed.map(read)) {
        (Some(now), None) if now.rules.is_empty() => None,
        (Some(now), Some(filed)) if now == filed => Some(now),
        (now, filed) => now.or(filed).map(|policy| FirewalldPolicy { whole: false, ..policy }),
    }
}

/// Compares settings at run time and in the files; one that is nowhere in either differs.
fn differs(
    kind: &str,
    name: &str,
    now: Result<Value, DbusError>,
    filed: Result<Value, DbusError>,
) -> Result<Option<String>, DbusError> {
    let (now, filed) = match (now, filed) {
        (Ok(now), Ok(filed)) => (now, filed),
        (Err(error @ DbusError::Io(_)), _) | (_, Err(error @ DbusError::Io(_))) => return Err(error),
        _ => return Ok(Some(format!("{kind} {name}"))),
    };
    let without_bindings = |settings: &Value| {
        let mut settings = settings.clone();
        if let Value::Dict(dict) = &mut settings {
            dict.retain(|key, value| !BINDINGS.contains(&key.as_str()) && *value != Value::List(Vec::new()));
        }
        settings
    };
    Ok((without_bindings(&now) != without_bindings(&filed)).then(|| format!("{kind} {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(rules: &[&str], egress: &str, more: &[(&str, Value)]) -> Value {
        let list = |texts: &[&str]| Value::List(texts.iter().map(|t| Value::Text((*t).into())).collect());
        let mut dict: BTreeMap<String, Value> = [
            ("target", Value::Text("CONTINUE".into())),
            ("ingress_zones", list(&["ANY"])),
            ("egress_zones", list(&[egress])),
            ("rich_rules", list(rules)),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        dict.extend(more.iter().map(|(key, value)| ((*key).to_string(), value.clone())));
        Value::Dict(dict)
    }

    const RULE: &str = "rule family=\"ipv4\" destination address=\"192.168.3.0/24\" accept";

    #[test]
    fn a_policy_is_whole_where_both_sides_say_the_same() {
        let same = value(&[RULE], "ANY", &[]);
        assert!(policy(Some(&same), Some(&same)).unwrap().whole);
        let is_whole = |now: Option<&Value>, filed: Option<&Value>| policy(now, filed).unwrap().whole;
        assert!(!is_whole(Some(&same), None), "gone with the next reload");
        assert!(!is_whole(None, Some(&same)), "not loaded");
        let other = value(&[], "ANY", &[]);
        assert!(!is_whole(Some(&other), Some(&same)) && !is_whole(Some(&same), Some(&other)));
        for edited in [
            ("target", Value::Text("DROP".into())),
            ("disable", Value::Bool(true)),
            ("ingress_zones", Value::List(vec![Value::Text("public".into())])),
        ] {
            let edited = value(&[RULE], "ANY", &[edited]);
            assert!(!is_whole(Some(&edited), Some(&edited)), "{edited:?}");
        }
        assert_eq!(policy(Some(&other), None), None, "what is left until the next reload has no effect");
    }

    #[test]
    fn ports_that_a_zone_lets_in() {
        let pair = |port: &str, protocol: &str| {
            Value::Struct(vec![Value::Text(port.into()), Value::Text(protocol.into())])
        };
        let ports = Value::List(vec![pair("51820", "udp"), pair("1000-2000", "udp"), pair("80", "tcp")]);
        let zone = |target: &str| {
            Value::Dict(
                [("ports".into(), ports.clone()), ("target".into(), Value::Text(target.into()))].into(),
            )
        };
        assert_eq!(udp_ports(&zone("default")), [(1000, 2000), (51820, 51820)].into());
        assert_eq!(udp_ports(&zone("ACCEPT")), [(0, 65535)].into());
        assert_eq!(udp_ports(&Value::List(vec![])), [].into());
        let rule = |end: &str| format!("rule family=\"ipv4\" port port=\"51820\" protocol=\"udp\" {end}");
        assert_eq!(udp_port_of(&rule("accept")), Some((51820, 51820)));
        assert_eq!(udp_port_of(&rule("drop")), None);
        assert_eq!(udp_port_of(&rule("accept").replace("udp", "tcp")), None);
    }

    #[test]
    fn what_a_reload_would_change() {
        let text = |t: &str| Value::List(vec![Value::Text(t.into())]);
        let bound = value(&[], "ANY", &[("interfaces", text("eth0"))]);
        let plain = value(&[], "ANY", &[]);
        assert_eq!(differs("zone", "public", Ok(bound), Ok(plain.clone())).unwrap(), None);
        let empty = value(&[], "ANY", &[("ports", Value::List(vec![]))]);
        assert_eq!(differs("zone", "public", Ok(empty), Ok(plain.clone())).unwrap(), None);
        let service = value(&[], "ANY", &[("services", text("http"))]);
        let told = Some("zone public".to_string());
        assert_eq!(differs("zone", "public", Ok(service), Ok(plain.clone())).unwrap(), told);
        let none = || DbusError::Refused { name: String::new(), message: "INVALID_ZONE".into() };
        assert_eq!(differs("zone", "public", Err(none()), Ok(plain)).unwrap(), told);
        let broken = DbusError::Io(std::io::ErrorKind::BrokenPipe.into());
        assert!(differs("zone", "public", Err(broken), Err(none())).is_err());
    }
}
