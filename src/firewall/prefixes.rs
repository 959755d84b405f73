//! Prefixes as nft's interval sets want them: none inside another.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Family;

/// Returns the fewest prefixes of a family that cover exactly the same addresses.
pub fn aggregate(nets: impl IntoIterator<Item = IpNet>, family: Family) -> BTreeSet<IpNet> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for net in nets {
        match net.trunc() {
            IpNet::V4(n) if family == Family::V4 => v4.push(n),
            IpNet::V6(n) if family == Family::V6 => v6.push(n),
            _ => {}
        }
    }
    Ipv4Net::aggregate(&v4)
        .into_iter()
        .map(IpNet::V4)
        .chain(Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_the_same_with_fewer() {
        let nets: Vec<IpNet> = ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7/32", "fd00::/64", "192.168.3.0/24"]
            .iter()
            .map(|t| t.parse().unwrap())
            .collect();
        let v4: Vec<String> = aggregate(nets.clone(), Family::V4).iter().map(ToString::to_string).collect();
        assert_eq!(v4, ["10.0.0.0/24", "192.168.3.0/24"]);
        assert_eq!(aggregate(nets, Family::V6).len(), 1);
    }
}
