//! A profile's text with another subnet in it: what `init` takes over from Docker's engine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Writes `to` wherever `from` is in a text, comments included, and moves the addresses in it: to where `known` says, else to
/// the same place in the new subnet. An address that has none there stays.
pub fn rehome(text: &str, from: Ipv4Net, to: Ipv4Net, known: &BTreeMap<Ipv4Addr, Ipv4Addr>) -> String {
    let moved = |address: Ipv4Addr| {
        let place = u32::from(address) - u32::from(from.network());
        let same = u32::from(to.network()).checked_add(place).map(Ipv4Addr::from);
        known.get(&address).copied().or_else(|| same.filter(|a| to.contains(a) && *a != to.broadcast()))
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, word) = rest.split_at(start);
        let end = word.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '/')).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        // A sentence may end with an address.
        let bare = word.trim_end_matches(['.', '/']);
        let (address, prefix) = bare.split_once('/').map_or((bare, None), |(a, p)| (a, Some(p)));
        let new = match address.parse::<Ipv4Addr>() {
            Ok(_) if bare.parse() == Ok(from) => Some(to.to_string()),
            Ok(ip) if from.contains(&ip) && ip != from.network() => moved(ip).map(|ip| match prefix {
                Some(p) if p == from.prefix_len().to_string() => format!("{ip}/{}", to.prefix_len()),
                Some(p) => format!("{ip}/{p}"),
                None => ip.to_string(),
            }),
            _ => None,
        };
        out += before;
        out += new.as_deref().unwrap_or(bare);
        out += &word[bare.len()..];
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_and_its_addresses_move_and_nothing_else() {
        let net = |text: &str| text.parse().unwrap();
        let text = "subnet = \"172.19.0.0/16\" # 172.19.0.9, not 172.190.0.9 or 1172.19.0.9.\n\
                    a = [\"172.19.0.9/16\", \"172.19.3.4/32\", \"192.168.33.1/24\"] # by 172.19.0.1.\nn = 51820\n";
        let moved = rehome(text, net("172.19.0.0/16"), net("172.20.0.0/16"), &BTreeMap::new());
        assert_eq!(
            moved,
            "subnet = \"172.20.0.0/16\" # 172.20.0.9, not 172.190.0.9 or 1172.19.0.9.\n\
             a = [\"172.20.0.9/16\", \"172.20.3.4/32\", \"192.168.33.1/24\"] # by 172.20.0.1.\nn = 51820\n"
        );
        let known = [([172, 19, 0, 9].into(), [10, 1, 2, 3].into())].into();
        let moved = rehome("172.19.0.9/16 172.19.9.9", net("172.19.0.0/16"), net("10.1.2.0/24"), &known);
        assert_eq!(moved, "10.1.2.3/24 172.19.9.9");
    }
}
