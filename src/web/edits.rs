//! What forms ask for, as the text of network.toml that would come of it, and the changes that mend a blocked pair: each was tried
//! on the text first. Pure.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use super::view::Mend;
use crate::config::{EditError, NetworkDocument, NoSite, Setting, SiteWords, parse_network};
use crate::model::{
    Destination, DestinationError, ForwardSource, Network, Node, NodeName, PlaceRef, PortSpec, Routes,
    Timestamp, Verdict,
};
use crate::reach::{Code, Flow, Trace, World, destination, place, trace};

/// Why a form is no edit: a sentence, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoEdit {
    /// What is wrong with it.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

fn no(message: impl Into<String>, hint: impl Into<String>) -> NoEdit {
    NoEdit { message: message.into(), hint: hint.into() }
}

/// The keys of a node that a form sets, with how their value is written.
const NODE_KEYS: [(&str, Kind); 7] = [
    ("platform", Kind::Text),
    ("address", Kind::Text),
    ("endpoint", Kind::Text),
    ("routes", Kind::Routes),
    ("dns", Kind::List),
    ("groups", Kind::List),
    ("expires", Kind::Text),
];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    List,
    /// A word, or a list of prefixes.
    Routes,
}

/// Returns the text of network.toml as a form would have it. `field`: what was typed, trimmed; empty where there is no such field.
///
/// # Errors
/// The form is none of these, or what was typed is no place, port or node. Whether the network is valid then is for a reading of the
/// text to say.
pub fn edited<'f>(text: &str, field: &dyn Fn(&str) -> &'f str) -> Result<String, NoEdit> {
    match field("do") {
        "allow" => {
            let mut rule = Table::new();
            rule.insert("from", list(places(field("from"))?));
            rule.insert("to", list(places(field("to"))?));
            let ports = ports(field("ports"))?;
            if !ports.is_empty() {
                rule.insert("ports", list(ports));
            }
            append(text, "allow", rule)
        }
        "expect" => {
            let mut promise = Table::new();
            promise.insert("from", one(places(field("from"))?)?);
            promise.insert("to", one(places(field("to"))?)?);
            let ports = ports(field("port"))?;
            if !ports.is_empty() {
                promise.insert("port", one(ports)?);
            }
            let verdict = if field("verdict") == "blocked" { "blocked" } else { "reaches" };
            promise.insert("verdict", Item::Value(verdict.into()));
            append(text, "expect", promise)
        }
        "forward" => {
            let mut forward = Table::new();
            if !field("on").is_empty() {
                forward.insert("on", Item::Value(node_name(field("on"))?.to_string().into()));
            }
            forward.insert("port", one(ports(field("port"))?)?);
            let to: Destination =
                field("to").parse().map_err(|why: DestinationError| no(why.to_string(), ""))?;
            forward.insert("to", Item::Value(to.to_string().into()));
            if !field("from").is_empty() {
                forward.insert("from", list(places(field("from"))?));
            }
            match field("source") {
                "" | "auto" => {}
                word if ForwardSource::ALL.iter().any(|(known, _)| *known == word) => {
                    forward.insert("source", Item::Value(word.into()));
                }
                other => return Err(no(format!("{other:?} is no source"), "auto, keep or masquerade")),
            }
            append(text, "forward", forward)
        }
        "remove_rule" => remove_rule(text, field("kind"), field("index")),
        "set" => {
            let (name, mut document) = (node_name(field("name"))?, NetworkDocument::of_network(text));
            let (key, kind) = known(field("key"))?;
            set(&mut document, &name, key, kind, field("value"))?;
            Ok(document.to_string())
        }
        "edit" => edit(text, field),
        "enable" => {
            let (name, mut document) = (node_name(field("name"))?, NetworkDocument::of_network(text));
            document.set_enabled(&name, true).map_err(|why| no(why.to_string(), ""))?;
            Ok(document.to_string())
        }
        other => Err(no(format!("{other:?} is no change of the file"), "")),
    }
}

fn known(typed: &str) -> Result<(&'static str, Kind), NoEdit> {
    let found = NODE_KEYS.iter().find(|(key, _)| *key == typed).copied();
    found.ok_or_else(|| no(format!("{typed:?} is no key that is set here"), "edit the file"))
}

fn node_name(text: &str) -> Result<NodeName, NoEdit> {
    text.parse().map_err(|why| no(format!("node {text:?}: {why}"), ""))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty())
}

/// Reads places, so that nothing but places gets into the file.
fn places(text: &str) -> Result<Vec<String>, NoEdit> {
    let read = |word: &str| {
        let place = PlaceRef::parse(word).ok_or_else(|| {
            no(format!("{word:?} is no place"), "a node, @group, a subnet, an address, * or internet")
        })?;
        Ok(place.to_string())
    };
    let list = words(text).map(read).collect::<Result<Vec<_>, _>>()?;
    if list.is_empty() {
        Err(no("no place was given", "a node, a subnet, an address or *"))
    } else {
        Ok(list)
    }
}

fn ports(text: &str) -> Result<Vec<String>, NoEdit> {
    let read = |word: &str| Ok(word.parse::<PortSpec>().map_err(|why| no(why.to_string(), ""))?.to_string());
    words(text).map(read).collect()
}

fn list(values: Vec<String>) -> Item {
    Item::Value(Value::Array(values.into_iter().collect::<Array>()))
}

fn one(values: Vec<String>) -> Result<Item, NoEdit> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (Some(only), None) => Ok(Item::Value(only.into())),
        _ => Err(no(
            "one was expected, and there is another number of them",
            "one place from, one to, one port",
        )),
    }
}

/// Adds a table of an array at the end: every byte before it stays.
fn append(text: &str, key: &str, table: Table) -> Result<String, NoEdit> {
    let mut added = DocumentMut::new();
    let mut tables = ArrayOfTables::new();
    tables.push(table);
    added.insert(key, Item::ArrayOfTables(tables));
    let end = if text.is_empty() || text.ends_with('\n') { "\n" } else { "\n\n" };
    Ok(format!("{text}{end}{}", added.to_string().trim_start()))
}

fn remove_rule(text: &str, kind: &str, index: &str) -> Result<String, NoEdit> {
    let Some(kind) = ["allow", "expect", "forward"].into_iter().find(|known| *known == kind) else {
        return Err(no(format!("{kind:?} is no kind of rule"), "allow, expect or forward"));
    };
    let gone = || no(format!("there is no {kind} {index}"), "look at the rules as they are now");
    let index: usize = index.parse().map_err(|_| gone())?;
    let mut document: DocumentMut =
        text.parse().map_err(|_| no("the file is no TOML now", "edit the file"))?;
    let tables = document.get_mut(kind).and_then(Item::as_array_of_tables_mut).ok_or_else(gone)?;
    if index >= tables.len() {
        return Err(gone());
    }
    tables.remove(index);
    if tables.is_empty() {
        document.remove(kind);
    }
    Ok(document.to_string())
}

fn set(
    document: &mut NetworkDocument,
    name: &NodeName,
    key: &str,
    kind: Kind,
    typed: &str,
) -> Result<(), NoEdit> {
    let many = || Setting::List(words(typed).map(Into::into).collect());
    let value = match kind {
        _ if typed.is_empty() => None,
        Kind::Text => Some(Setting::Text(typed.into())),
        Kind::List => Some(many()),
        Kind::Routes if matches!(typed, "split" | "full") => Some(Setting::Text(typed.into())),
        Kind::Routes => Some(many()),
    };
    document.set_value(name, key, value.as_ref()).map_err(|why| no(why.to_string(), "edit the file"))
}

/// Sets the keys of a node that differ from what the file has: what was not touched stays as it was typed there.
fn edit<'f>(text: &str, field: &dyn Fn(&str) -> &'f str) -> Result<String, NoEdit> {
    let name = node_name(field("name"))?;
    let parsed = parse_network(text.as_bytes(), "network.toml");
    let network = parsed.value.ok_or_else(|| no("the file is not valid now", "edit the file"))?;
    let node = network.nodes.get(&name).ok_or_else(|| no(format!("there is no node {name}"), ""))?;
    let mut document = NetworkDocument::of_network(text);
    for (key, kind) in NODE_KEYS {
        if words(field(key)).ne(words(&current(node, key))) {
            set(&mut document, &name, key, kind, field(key))?;
        }
    }
    // A form that showed none takes none away.
    if !(field("sites").is_empty() && field("had_sites").is_empty()) {
        sites(&mut document, node, field("sites"))?;
    }
    Ok(document.to_string())
}

/// Makes the sites of a node what was typed: what differs alone.
fn sites(document: &mut NetworkDocument, node: &Node, typed: &str) -> Result<(), NoEdit> {
    let by_hand = |why: EditError| no(why.to_string(), "edit the file");
    let not_one = |why: NoSite| no(why.message, why.hint);
    let wanted = SiteWords::read(&[typed]).map_err(not_one)?;
    for site in node.written_sites() {
        match wanted.iter().find(|words| words.subnet == site.subnet) {
            None => _ = document.remove_site(&node.name, site.subnet).map_err(by_hand)?,
            Some(words) => {
                let had = SiteWords::read(&[SiteWords::of(site)]).map_err(not_one)?;
                let keys = words.since(had.first());
                if words.site().map_err(not_one)? != *site {
                    let words = SiteWords { keys, ..words.clone() };
                    document.set_site(&node.name, &words).map_err(by_hand)?;
                }
            }
        }
    }
    for words in wanted.iter().filter(|w| node.written_sites().iter().all(|site| site.subnet != w.subnet)) {
        words.site().map_err(not_one)?;
        document.set_site(&node.name, words).map_err(by_hand)?;
    }
    Ok(())
}

fn current(node: &Node, key: &str) -> String {
    let joined = |list: Vec<String>| list.join(", ");
    match key {
        "platform" => node.platform.as_str().into(),
        "address" => node.address.to_string(),
        "endpoint" => node.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
        "routes" => match &node.routes {
            Routes::Split => "split".into(),
            Routes::Full => "full".into(),
            Routes::Only(list) => joined(list.iter().map(ToString::to_string).collect()),
        },
        "dns" => joined(node.dns.clone()),
        "groups" => joined(node.groups.iter().map(ToString::to_string).collect()),
        "expires" => node.expires.map(|at| at.to_string()).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Returns the changes after which a blocked pair reaches: each was made on the text, and the pair was followed again.
pub fn mends(text: &str, (from, to, port): (&str, &str, &str), now: Timestamp) -> Vec<Mend> {
    let Some((network, traced)) = follow(text, (from, to, port), now) else { return Vec::new() };
    let Some(reason) = traced.reason.filter(|_| traced.verdict == Verdict::Blocked) else {
        return Vec::new();
    };
    let reaches = |mend: &Mend| {
        let field = |name: &str| {
            mend.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
        };
        let Ok(after) = edited(text, &field) else { return false };
        follow(&after, (from, to, port), now).is_some_and(|(_, traced)| traced.verdict == Verdict::Reaches)
    };
    let mut found = candidates(&network, reason.code, &reason.node, (from, to, port));
    found.retain(reaches);
    found
}

fn follow(text: &str, (from, to, port): (&str, &str, &str), now: Timestamp) -> Option<(Network, Trace)> {
    let network = parse_network(text.as_bytes(), "network.toml").value?;
    let port: Option<PortSpec> = if port.is_empty() { None } else { Some(port.parse().ok()?) };
    let (from, to) = (place(&network, from).ok()?, destination(&network, to).ok()?);
    let world = World::assumed(&network, now).with_outside(&to);
    let traced = trace(&world, &Flow { from, to, port });
    Some((network, traced))
}

fn candidates(network: &Network, code: Code, node: &str, (from, to, port): (&str, &str, &str)) -> Vec<Mend> {
    let mend = |fields: &[(&str, &str)]| Mend {
        fields: fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    };
    let mut found = Vec::new();
    // A reason names the node where the packet ends, which need not be the one that is switched off.
    let ends = [node, from, to];
    let mut nodes: Vec<&Node> = ends
        .iter()
        .filter_map(|name| network.nodes.get(*name))
        .chain(owner(network, to))
        .chain(owner(network, from))
        .collect();
    nodes.dedup_by(|a, b| a.name == b.name);
    match code {
        Code::PolicyDenied => {
            found.push(mend(&[("do", "allow"), ("from", from), ("to", to), ("ports", port)]));
        }
        Code::Disabled => found.extend(
            nodes.iter().filter(|n| !n.enabled).map(|n| mend(&[("do", "enable"), ("name", n.name.as_str())])),
        ),
        Code::Expired => {
            found.extend(nodes.iter().filter(|n| n.expires.is_some()).map(|n| {
                mend(&[("do", "set"), ("name", n.name.as_str()), ("key", "expires"), ("value", "")])
            }));
        }
        _ => found.extend(nodes.iter().filter_map(|n| {
            let Routes::Only(list) = &n.routes else { return None };
            let further = prefix(network, if n.name.as_str() == from { to } else { from })?;
            let routes: Vec<String> = list.iter().map(ToString::to_string).chain([further]).collect();
            Some(mend(&[
                ("do", "set"),
                ("name", n.name.as_str()),
                ("key", "routes"),
                ("value", &routes.join(", ")),
            ]))
        })),
    }
    let mut seen = Vec::new();
    found.retain(|mend| {
        !seen.contains(mend) && {
            seen.push(mend.clone());
            true
        }
    });
    found
}

/// The node behind which a site or an address is.
fn owner<'n>(network: &'n Network, text: &str) -> Option<&'n Node> {
    let net = prefix(network, text)?.parse::<ipnet::IpNet>().ok()?;
    network.nodes.values().find(|node| node.sites.iter().any(|site| site.prefix().contains(&net)))
}

/// What has to be in routes so that a place is reached.
fn prefix(network: &Network, text: &str) -> Option<String> {
    if let Some(node) = network.nodes.get(text) {
        return node.host_prefixes().first().map(ToString::to_string);
    }
    match PlaceRef::parse(text)? {
        PlaceRef::Prefix(net) => Some(net.to_string()),
        PlaceRef::Address(ip) => Some(ipnet::IpNet::from(ip).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn text() -> String {
        std::str::from_utf8(include_bytes!("../../tests/cases/web/network.toml")).unwrap().to_owned()
    }

    fn asked(text: &str, fields: &[(&str, &str)]) -> Result<String, NoEdit> {
        edited(text, &|name| fields.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| *v))
    }

    fn said(mends: &[Mend]) -> Vec<String> {
        let words = |mend: &Mend| mend.fields.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>().join(" ");
        mends.iter().map(words).collect()
    }

    #[test]
    fn a_rule_comes_at_the_end_and_nothing_else_changes() {
        let after = asked(
            &text(),
            &[("do", "allow"), ("from", "windows, @staff"), ("to", "*"), ("ports", "tcp/22 icmp")],
        )
        .unwrap();
        let added = after.strip_prefix(&text()).unwrap();
        assert_eq!(
            added,
            "\n[[allow]]\nfrom = [\"windows\", \"@staff\"]\nto = [\"*\"]\nports = [\"tcp/22\", \"icmp\"]\n"
        );
        assert!(parse_network(after.as_bytes(), "network.toml").value.is_some());
        // And it goes again, every other byte as it was.
        let index = [("do", "remove_rule"), ("kind", "allow"), ("index", "2")];
        assert_eq!(asked(&after, &index).unwrap().trim_end(), text().trim_end());
        assert!(asked(&text(), &index).is_err());
    }

    #[test]
    fn nothing_but_places_and_ports_gets_into_the_file() {
        for (key, value) in [
            ("from", "a\"]\n[network]"),
            ("from", ""),
            ("to", "x\ny"),
            ("ports", "tcp/22\"]"),
            ("ports", "tcp/0"),
        ] {
            let mut fields = vec![("do", "allow"), (key, value)];
            fields.extend([("from", "*"), ("to", "*")].iter().filter(|(n, _)| *n != key));
            assert!(asked(&text(), &fields).is_err(), "{key} {value:?}");
        }
        assert!(
            asked(&text(), &[("do", "set"), ("name", "windows"), ("key", "public_key"), ("value", "x")])
                .is_err()
        );
        assert!(asked(&text(), &[("do", "remove_rule"), ("kind", "node"), ("index", "0")]).is_err());
        assert!(asked(&text(), &[("do", "shell")]).is_err());
        // A value with a line break stays one value.
        let after = asked(
            &text(),
            &[("do", "set"), ("name", "windows"), ("key", "endpoint"), ("value", "a\n[node.x]\nb=1")],
        )
        .unwrap();
        assert!(!after.contains("\n[node.x]\n"), "{after}");
    }

    #[test]
    fn an_edit_touches_what_differs_alone() {
        let same = [
            ("do", "edit"),
            ("name", "windows"),
            ("platform", "windows"),
            ("address", "192.168.3.2"),
            ("routes", "split"),
            ("groups", "staff"),
        ];
        assert_eq!(asked(&text(), &same).unwrap(), text());
        let mut other = same.to_vec();
        other.retain(|(name, _)| *name != "groups");
        other.extend([("groups", "staff, admins"), ("dns", "9.9.9.9")]);
        let after = parse_network(asked(&text(), &other).unwrap().as_bytes(), "n").value.unwrap();
        let node = &after.nodes["windows"];
        assert_eq!((node.groups.len(), node.dns.as_slice()), (2, ["9.9.9.9".to_string()].as_slice()));
    }

    #[test]
    fn sites_are_edited_as_they_are_typed_and_come_back() {
        let parsed = |text: &str| parse_network(text.as_bytes(), "n").value.unwrap();
        let network = parsed(&text());
        let node = &network.nodes["docker"];
        let typed: Vec<String> = node.written_sites().into_iter().map(SiteWords::of).collect();
        let (routes, groups) = (current(node, "routes"), current(node, "groups"));
        let (address, platform) = (current(node, "address"), current(node, "platform"));
        let had = typed.join(", ");
        let silent = [
            ("do", "edit"),
            ("name", "docker"),
            ("platform", platform.as_str()),
            ("address", address.as_str()),
            ("routes", routes.as_str()),
            ("groups", groups.as_str()),
        ];
        let with = |sites: &str| {
            asked(&text(), &[&silent[..], &[("sites", sites), ("had_sites", had.as_str())]].concat())
        };
        assert_eq!(with(&typed.join(", ")).unwrap(), text());
        let more = format!("{} alias=10.99.1.0/24, 10.7.0.0/24@eth7 preference=3", typed.join(", "));
        let after = parsed(&with(&more).unwrap());
        let sites = after.nodes["docker"].written_sites();
        assert_eq!(sites.len(), typed.len() + 1);
        assert_eq!(sites[typed.len() - 1].alias.map(|net| net.to_string()).as_deref(), Some("10.99.1.0/24"));
        assert_eq!(SiteWords::of(sites[typed.len()]), "10.7.0.0/24@eth7 preference=3");
        assert!(parsed(&with("").unwrap()).nodes["docker"].written_sites().is_empty());
        // Whoever does not speak of sites takes none away.
        assert_eq!(asked(&text(), &silent).unwrap(), text());
        assert!(with("10.7.0.0/24 alias=x").is_err() && with("alias=10.7.0.0/24").is_err());
    }

    #[test]
    fn a_blocked_pair_is_mended_by_what_was_tried() {
        let mended = |from, to, port| said(&mends(&text(), (from, to, port), NOW));
        assert_eq!(mended("windows", "192.168.33.0/24", ""), ["allow windows 192.168.33.0/24 "]);
        assert_eq!(mended("windows", "docker", "tcp/443"), ["allow windows docker tcp/443"]);
        // What reaches needs nothing; a place that is none cannot be helped.
        assert!(mended("windows", "172.19.0.0/16", "tcp/22").is_empty());
        assert!(mended("windows", "nobody", "").is_empty());
        let open = text().replace(
            "[[allow]]\nfrom = [\"@staff\"]",
            "[[allow]]\nfrom = [\"*\"]\nto = [\"*\"]\n\n[[allow]]\nfrom = [\"@staff\"]",
        );
        assert_eq!(said(&mends(&open, ("windows", "phone", ""), NOW)), ["enable phone"]);
        // Here it would still be refused then: one button would not mend it.
        assert!(mended("windows", "phone", "").is_empty());
    }

    #[test]
    fn every_mend_reaches() {
        let routes =
            text().replace("groups = [\"staff\"]", "groups = [\"staff\"]\nroutes = [\"192.168.3.0/24\"]");
        let expired = text().replace("enabled = false", "expires = \"2020-01-01T00:00:00Z\"");
        for (text, from, to) in [
            (text(), "phone", "windows"),
            (text(), "docker", "phone"),
            (routes.clone(), "windows", "172.19.0.0/16"),
            (routes, "windows", "192.168.33.0/24"),
            (expired, "docker", "phone"),
        ] {
            for mend in mends(&text, (from, to, ""), NOW) {
                let field =
                    |name: &str| mend.fields.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
                let after = edited(&text, &field).unwrap();
                let (_, traced) = follow(&after, (from, to, ""), NOW).unwrap();
                assert_eq!(traced.verdict, Verdict::Reaches, "{from} {to} {mend:?}");
            }
        }
    }

    #[test]
    fn a_port_that_leads_on_is_added_as_it_is_meant_and_nothing_else_is() {
        let text =
            std::str::from_utf8(include_bytes!("../../tests/cases/screens/network/network.toml")).unwrap();
        let form = |pairs: &'static [(&'static str, &'static str)]| {
            let field = move |name: &str| match name {
                "do" => "forward",
                name => pairs.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| *value),
            };
            edited(text, &field)
        };
        let added =
            form(&[("port", "tcp/8443"), ("to", "phone:443"), ("source", "keep"), ("from", "192.0.2.0/24")]);
        let network = parse_network(added.unwrap().as_bytes(), "network.toml").value.unwrap();
        let forward = network.forward.last().unwrap();
        assert_eq!(
            (forward.port.to_string(), forward.to.to_string()),
            ("tcp/8443".into(), "phone:443".into())
        );
        assert_eq!((forward.source, forward.from.len(), &forward.on), (ForwardSource::Keep, 1, &None));
        for wrong in [
            &[("to", "phone")][..],
            &[("port", "tcp/80 tcp/81"), ("to", "phone")],
            &[("port", "tcp/x"), ("to", "phone")],
            &[("port", "tcp/80")],
            &[("port", "tcp/80"), ("to", "phone\"\n[node.x]")],
            &[("port", "tcp/80"), ("to", "phone"), ("on", "a b")],
            &[("port", "tcp/80"), ("to", "phone"), ("source", "x")],
            &[("port", "tcp/80"), ("to", "phone"), ("from", "$x")],
        ] {
            assert!(form(wrong).is_err(), "{wrong:?}");
        }
    }
}
