//! Links between nodes: veth pairs and bridges, in as few process starts as they take (each costs 50 ms in the guest).

use super::node::Node;

/// One end of a cable: a node and its link there.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Where.
    pub node: &'a Node,
    /// The link's name.
    pub link: &'a str,
}

/// Lays a cable between two nodes; both ends are down.
#[track_caller]
pub fn cable(one: End<'_>, other: End<'_>) {
    one.node.ip(&format!(
        "link add {} type veth peer name {} netns {}",
        one.link,
        other.link,
        other.node.pid()
    ));
}

/// Returns the lines that bring a link up with these addresses. Addresses of IPv6 are used at once, unasked whether
/// somebody else has them: nobody has, and asking takes a second.
pub fn up(link: &str, addresses: &[&str]) -> String {
    let mut lines: String = addresses
        .iter()
        .map(|a| format!("addr add {a} dev {link}{}\n", if a.contains(':') { " nodad" } else { "" }))
        .collect();
    lines.insert_str(0, &format!("link set {link} up\n"));
    lines
}

/// Returns the lines that make a bridge with these ports and addresses; the ports come up too.
pub fn bridge(name: &str, ports: &[&str], addresses: &[&str]) -> String {
    let mut lines = format!("link add {name} type bridge\n");
    for port in ports {
        lines += &format!("link set {port} master {name}\nlink set {port} up\n");
    }
    lines + &up(name, addresses)
}
