//! A table as the JSON that `nft -j -f -` takes, and the elements out of the JSON that it lists.
//!
//! The types are the nftables crate's; running `nft` is host/'s, because the crate loses what nft says on failure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use nftables::batch::Batch;
use nftables::expr::{
    BinaryOperation, CT, CTDir, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix,
    RT, RTKey, Range, TcpOption,
};
use nftables::schema::{
    Chain, Element, NfCmd, NfListObject, Nftables, Rule, Set, SetFlag, SetType, SetTypeValue, Table,
};
use nftables::stmt::{JumpTarget, Mangle, Match, NAT, NATFamily, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::rule;

/// Returns the batch that replaces the table whole, in one transaction.
pub fn load_table(table: &rule::Table) -> Load {
    let mut batch = Batch::new();
    // Adding first makes the deletion succeed where there is no table yet.
    batch.add(object(&table.name));
    batch.delete(object(&table.name));
    batch.add(object(&table.name));
    for (name, set) in &table.sets {
        batch.add(NfListObject::Set(Box::new(Set {
            family: NfFamily::INet,
            table: table.name.clone().into(),
            name: name.clone().into(),
            set_type: SetTypeValue::Single(match set.family {
                rule::Family::V4 => SetType::Ipv4Addr,
                rule::Family::V6 => SetType::Ipv6Addr,
            }),
            flags: Some(HashSet::from([SetFlag::Interval])),
            elem: (!set.elements.is_empty()).then(|| set.elements.iter().map(prefix).collect()),
            ..Set::default()
        })));
    }
    for chain in &table.chains {
        batch.add(NfListObject::Chain(chain_object(&table.name, chain)));
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            batch.add(NfListObject::Rule(rule_object(&table.name, &chain.name, rule)));
        }
    }
    let is_prefix =
        |rule: &rule::Rule| matches!(rule.action, rule::Action::DnatPrefix(_) | rule::Action::SnatPrefix(_));
    let translates = table.chains.iter().flat_map(|chain| &chain.rules).any(is_prefix);
    Load { batch: batch.to_nftables(), translates }
}

/// Returns the batch that takes the table away.
pub fn delete_table(name: &str) -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.delete(object(name));
    batch.to_nftables()
}

/// Returns the command that adds elements to a set.
pub fn add_elements(table: &str, set: &str, elements: &BTreeSet<IpNet>) -> NfCmd<'static> {
    NfCmd::Add(NfListObject::Element(element(table, set, elements)))
}

/// Returns the command that takes elements out of a set.
pub fn delete_elements(table: &str, set: &str, elements: &BTreeSet<IpNet>) -> NfCmd<'static> {
    NfCmd::Delete(NfListObject::Element(element(table, set, elements)))
}

fn element(table: &str, set: &str, elements: &BTreeSet<IpNet>) -> Element<'static> {
    Element {
        family: NfFamily::INet,
        table: table.to_string().into(),
        name: set.to_string().into(),
        elem: elements.iter().map(prefix).collect(),
    }
}

fn object(table: &str) -> NfListObject<'static> {
    NfListObject::Table(Table { family: NfFamily::INet, name: table.to_string().into(), ..Table::default() })
}

fn chain_object(table: &str, chain: &rule::Chain) -> Chain<'static> {
    let (kind, hook, prio) = match chain.hook {
        rule::Hook::Forward => (Some(NfChainType::Filter), Some(NfHook::Forward), Some(0)),
        rule::Hook::Postrouting => (Some(NfChainType::NAT), Some(NfHook::Postrouting), Some(100)),
        rule::Hook::Srcnat => (Some(NfChainType::NAT), Some(NfHook::Postrouting), Some(99)),
        rule::Hook::Dstnat => (Some(NfChainType::NAT), Some(NfHook::Prerouting), Some(-100)),
        rule::Hook::Output => (Some(NfChainType::NAT), Some(NfHook::Output), Some(-100)),
        rule::Hook::Input => (Some(NfChainType::Filter), Some(NfHook::Input), Some(0)),
        rule::Hook::Mark => (Some(NfChainType::Filter), Some(NfHook::Forward), Some(-150)),
        rule::Hook::Incoming => (Some(NfChainType::Filter), Some(NfHook::Prerouting), Some(-150)),
        rule::Hook::Outgoing => (Some(NfChainType::Filter), Some(NfHook::Postrouting), Some(-150)),
        rule::Hook::None => (None, None, None),
    };
    Chain {
        family: NfFamily::INet,
        table: table.to_string().into(),
        name: chain.name.clone().into(),
        _type: kind,
        hook,
        prio,
        policy: hook.map(|_| NfChainPolicy::Accept),
        ..Chain::default()
    }
}

fn rule_object(table: &str, chain: &str, rule: &rule::Rule) -> Rule<'static> {
    let mut expr: Vec<Statement<'static>> = rule.matches.iter().flat_map(statements).collect();
    expr.push(action(&rule.action));
    Rule {
        family: NfFamily::INet,
        table: table.to_string().into(),
        chain: chain.to_string().into(),
        expr: expr.into(),
        ..Rule::default()
    }
}

fn string(text: &str) -> Expression<'static> {
    Expression::String(text.to_string().into())
}

fn prefix(net: &IpNet) -> Expression<'static> {
    let addr = string(&net.network().to_string());
    if net.prefix_len() == net.max_prefix_len() {
        return addr;
    }
    Expression::Named(NamedExpression::Prefix(Prefix { addr: Box::new(addr), len: net.prefix_len().into() }))
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

/// A key of connection tracking. nft 1.0.6 takes the family as part of it.
fn ct(key: &str, dir: Option<CTDir>) -> Expression<'static> {
    Expression::Named(NamedExpression::CT(CT { key: key.to_string().into(), family: None, dir }))
}

fn payload(protocol: &str, field: &str) -> Expression<'static> {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: protocol.to_string().into(),
        field: field.to_string().into(),
    })))
}

fn is(left: Expression<'static>, right: Expression<'static>, is: bool) -> Statement<'static> {
    Statement::Match(Match { left, right, op: if is { Operator::EQ } else { Operator::NEQ } })
}

fn addresses(with: &rule::Addresses) -> Expression<'static> {
    match with {
        rule::Addresses::Set(name) => string(&format!("@{name}")),
        rule::Addresses::Net(net) => prefix(net),
    }
}

fn range(first: u16, last: u16) -> Expression<'static> {
    let number = |n: u16| Expression::Number(n.into());
    if first == last {
        return number(first);
    }
    Expression::Range(Box::new(Range { range: [number(first), number(last)] }))
}

/// A flow's protocol, and the port that answers. nft 1.0.6 knows what a port is where the protocol is the packet's.
fn flow_ports(protocol: &str, first: u16, last: u16) -> Vec<Statement<'static>> {
    vec![
        is(meta(MetaKey::L4proto), string(protocol), true),
        is(ct("proto-src", Some(CTDir::Reply)), range(first, last), true),
    ]
}

/// The address that a flow's packets of one direction come from.
fn flow_end(dir: CTDir, family: rule::Family, with: &rule::Addresses, yes: bool) -> Statement<'static> {
    is(ct(&format!("{} saddr", family.nft()), Some(dir)), addresses(with), yes)
}

const fn icmp(family: rule::Family) -> &'static str {
    match family {
        rule::Family::V4 => "icmp",
        rule::Family::V6 => "ipv6-icmp",
    }
}

fn status(name: &str) -> Statement<'static> {
    Statement::Match(Match { left: ct("status", None), right: string(name), op: Operator::IN })
}

fn statements(m: &rule::Match) -> Vec<Statement<'static>> {
    match m {
        rule::Match::Iif { name, is: yes } => vec![is(meta(MetaKey::Iifname), string(name), *yes)],
        rule::Match::Oif { name, is: yes } => vec![is(meta(MetaKey::Oifname), string(name), *yes)],
        rule::Match::Saddr { family, with, is: yes } => {
            vec![is(payload(family.nft(), "saddr"), addresses(with), *yes)]
        }
        rule::Match::Daddr { family, with, is: yes } => {
            vec![is(payload(family.nft(), "daddr"), addresses(with), *yes)]
        }
        rule::Match::Dnatted => vec![status("dnat")],
        rule::Match::Expected => vec![status("expected")],
        rule::Match::Answer => vec![is(ct("direction", None), string("reply"), true)],
        rule::Match::FlowFrom { family, with } => vec![flow_end(CTDir::Original, *family, with, true)],
        rule::Match::FlowTo { family, with, is: yes } => vec![flow_end(CTDir::Reply, *family, with, *yes)],
        rule::Match::FlowTcp(first, last) => flow_ports("tcp", *first, *last),
        rule::Match::FlowUdp(first, last) => flow_ports("udp", *first, *last),
        rule::Match::OriginalDaddr(family, set) => {
            vec![is(
                ct(&format!("{} daddr", family.nft()), Some(CTDir::Original)),
                string(&format!("@{set}")),
                true,
            )]
        }
        rule::Match::Nfproto(family) => {
            let name = match family {
                rule::Family::V4 => "ipv4",
                rule::Family::V6 => "ipv6",
            };
            vec![is(meta(MetaKey::Nfproto), string(name), true)]
        }
        rule::Match::Ct(state) => {
            let left = ct("state", None);
            let right = match state {
                rule::CtState::Invalid => string("invalid"),
                rule::CtState::Untracked => string("untracked"),
                rule::CtState::Stray => Expression::List(vec![string("invalid"), string("untracked")]),
                rule::CtState::Related => string("related"),
                rule::CtState::EstablishedRelated => {
                    Expression::List(vec![string("established"), string("related")])
                }
            };
            vec![Statement::Match(Match { left, right, op: Operator::IN })]
        }
        rule::Match::Marked(mark) => vec![is(meta(MetaKey::Mark), Expression::Number(*mark), true)],
        rule::Match::FlowMarked(mark) => vec![is(ct("mark", None), Expression::Number(*mark), true)],
        rule::Match::Tcp(first, last) => vec![is(payload("tcp", "dport"), range(*first, *last), true)],
        rule::Match::Udp(first, last) => vec![is(payload("udp", "dport"), range(*first, *last), true)],
        rule::Match::Icmp(family) => vec![is(meta(MetaKey::L4proto), string(icmp(*family)), true)],
        rule::Match::TcpSyn => {
            vec![Statement::Match(Match {
                left: payload("tcp", "flags"),
                right: string("syn"),
                op: Operator::IN,
            })]
        }
    }
}

fn action(action: &rule::Action) -> Statement<'static> {
    match action {
        rule::Action::Accept => Statement::Accept(None),
        rule::Action::Drop => Statement::Drop(None),
        rule::Action::Jump(chain) => Statement::Jump(JumpTarget { target: chain.clone().into() }),
        rule::Action::Dnat(ip, port) => Statement::DNAT(Some(NAT {
            addr: Some(string(&ip.to_string())),
            family: Some(if ip.is_ipv6() { NATFamily::IP6 } else { NATFamily::IP }),
            port: port.map(|p| Expression::Number(p.into())),
            flags: None,
        })),
        rule::Action::DnatPrefix(net) => Statement::DNAT(Some(to_prefix(net))),
        rule::Action::SnatPrefix(net) => Statement::SNAT(Some(to_prefix(net))),
        rule::Action::Masquerade => Statement::Masquerade(None),
        rule::Action::ClampMss => Statement::Mangle(Mangle {
            key: Expression::Named(NamedExpression::TcpOption(TcpOption {
                name: "maxseg".into(),
                field: Some("size".into()),
            })),
            value: Expression::Named(NamedExpression::RT(RT { key: RTKey::MTU, family: None })),
        }),
        rule::Action::SaveMark => {
            Statement::Mangle(Mangle { key: ct("mark", None), value: meta(MetaKey::Mark) })
        }
        rule::Action::RestoreMark => {
            Statement::Mangle(Mangle { key: meta(MetaKey::Mark), value: ct("mark", None) })
        }
        rule::Action::Mark(mark) => {
            Statement::Mangle(Mangle { key: meta(MetaKey::Mark), value: marked(*mark) })
        }
    }
}

/// [`Load`] says that the host's bits stay.
fn to_prefix(net: &IpNet) -> NAT<'static> {
    let family = if net.addr().is_ipv6() { NATFamily::IP6 } else { NATFamily::IP };
    NAT { addr: Some(prefix(net)), family: Some(family), port: None, flags: None }
}

/// A batch that nft is to take.
pub struct Load {
    batch: Nftables<'static>,
    /// Whether a rule translates prefixes, which the crate's types cannot say.
    translates: bool,
}

impl Serialize for Load {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if !self.translates {
            return self.batch.serialize(s);
        }
        let mut value = serde_json::to_value(&self.batch).map_err(S::Error::custom)?;
        one_to_one(&mut value);
        value.serialize(s)
    }
}

/// Says of each translation to a prefix that it keeps the host's bits: without it, nft takes the prefix for a range to choose from.
fn one_to_one(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(one_to_one),
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                // One address for one address needs no word.
                if matches!(key.as_str(), "dnat" | "snat") && inner["addr"].is_object() {
                    inner["flags"] = "netmap".into();
                    inner["type_flags"] = "prefix".into();
                } else {
                    one_to_one(inner);
                }
            }
        }
        _ => {}
    }
}

/// What a packet's mark becomes.
fn marked(mark: rule::Mark) -> Expression<'static> {
    let value = Expression::Number(mark.value);
    if mark.mask == u32::MAX {
        return value;
    }
    let others = BinaryOperation::AND(meta(MetaKey::Mark), Expression::Number(!mark.mask));
    let others = Expression::BinaryOperation(Box::new(others));
    Expression::BinaryOperation(Box::new(BinaryOperation::OR(vec![others, value])))
}

/// Reads the elements of every set out of a listing (`nft -j list table …`).
/// An element that is not a prefix, an address or a range is left out: it is not ours, and the
/// difference shows up as drift.
pub fn elements(listing: &Value) -> BTreeMap<String, BTreeSet<IpNet>> {
    let objects = listing.get("nftables").and_then(Value::as_array);
    objects
        .into_iter()
        .flatten()
        .filter_map(|o| o.get("set"))
        .filter_map(|set| {
            let name = set.get("name")?.as_str()?.to_string();
            let list = set.get("elem").and_then(Value::as_array);
            Some((name, list.into_iter().flatten().flat_map(listed_prefixes).collect()))
        })
        .collect()
}

fn listed_prefixes(value: &Value) -> Vec<IpNet> {
    let ip = |v: &Value| v.as_str().and_then(|t| t.parse::<IpAddr>().ok());
    if let Some(ip) = ip(value) {
        return vec![ip.into()];
    }
    if let Some(p) = value.get("prefix") {
        let net = p.get("addr").and_then(ip).zip(p.get("len").and_then(Value::as_u64));
        return net.and_then(|(a, l)| IpNet::new(a, u8::try_from(l).ok()?).ok()).into_iter().collect();
    }
    // nft joins neighbours of one transaction into a range when it lists them.
    if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        return match (ip(first), ip(last)) {
            (Some(IpAddr::V4(a)), Some(IpAddr::V4(b))) => {
                ipnet::Ipv4Subnets::new(a, b, 0).map(IpNet::V4).collect()
            }
            (Some(IpAddr::V6(a)), Some(IpAddr::V6(b))) => {
                ipnet::Ipv6Subnets::new(a, b, 0).map(IpNet::V6).collect()
            }
            _ => Vec::new(),
        };
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_elements_are_read() {
        let listing = serde_json::json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"set": {"name": "places4", "elem": [
                "10.0.0.1", {"prefix": {"addr": "192.168.3.0", "len": 24}}, {"range": ["10.1.0.0", "10.1.0.2"]}]}},
            {"set": {"name": "empty4"}}]});
        let sets = elements(&listing);
        let texts: Vec<String> = sets["places4"].iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.1/32", "10.1.0.0/31", "10.1.0.2/32", "192.168.3.0/24"]);
        assert!(sets["empty4"].is_empty());
    }
}
