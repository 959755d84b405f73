//! Outsiders on every link: beside the hosts of each site, and on every node's uplink. They know the way to everything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use std::os::fd::AsRawFd as _;

use super::lab::Lab;

/// Who they are; no generated network has these addresses.
pub const OUTSIDE4: &str = "203.0.113.66";
pub const OUTSIDE6: &str = "2001:db8:66::66";
/// The next hop of whatever they send; its link layer address is the node's.
const VIA: [&str; 2] = ["203.0.113.254", "fe80::fe"];
/// Tables of routes in the space that stands for the Internet.
const TABLES: usize = 6600;

/// An outsider's place: a link of a node, and where to send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The space of the node.
    pub node: usize,
    /// The node's bridge; `None`: its uplink.
    pub bridge: Option<String>,
    /// The outsider's own link.
    device: String,
}

/// All of them.
pub struct Outsiders {
    /// Where they are.
    pub links: Vec<Link>,
    net: File,
}

fn batch(lines: &str) -> io::Result<()> {
    of_family("-4", lines)
}

/// Runs lines for ip(8); those about routes and rules are about this family's.
fn of_family(family: &str, lines: &str) -> io::Result<()> {
    let mut child = Command::new("ip").args([family, "-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().expect("it is piped").write_all(lines.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err(io::Error::other(format!("ip -batch:\n{lines}"))) }
}

/// The link layer addresses of a space, by link.
fn addresses(lab: &Lab, space: usize) -> BTreeMap<String, String> {
    let shown = lab.run(space, "ip -br link show");
    let shown = String::from_utf8(shown.stdout).unwrap();
    let lines = shown.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?.split('@').next()?.to_owned();
        Some((name, words.nth(1)?.to_owned()))
    });
    lines.collect()
}

impl Outsiders {
    /// Puts one on every link of the lab.
    pub fn of(lab: &Lab) -> Self {
        let net = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                for family in ["ipv4", "ipv6"] {
                    // Any address may be theirs.
                    fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1")?;
                }
                File::open("/proc/thread-self/ns/net")
            });
            made.join().unwrap().unwrap()
        });
        let mut this = Self { links: Vec::new(), net };
        for (node, _) in lab.nodes() {
            let space = &lab.topology.spaces[node];
            for bridge in &space.bridges {
                let number = this.links.len();
                let device = format!("o{number}");
                this.links.push(Link { node, bridge: Some(bridge.clone()), device });
            }
            let uplink = lab.topology.cables.iter().find(|c| c.0.space == 0 && c.1.space == node);
            let device = uplink.expect("every node has its uplink").0.link.clone();
            this.links.push(Link { node, bridge: None, device });
        }
        this.join(lab);
        this
    }

    fn join(&self, lab: &Lab) {
        let here = format!("/proc/{}/fd/", std::process::id());
        for link in &self.links {
            let Some(bridge) = &link.bridge else { continue };
            let (device, number) = (&link.device, &link.device[1..]);
            let there = lab.spaces[link.node].net.as_raw_fd();
            let lines = format!(
                "link add {device} netns {here}{} type veth peer name x{number} netns {here}{there}\n",
                self.net.as_raw_fd()
            );
            batch(&lines).unwrap();
            // A bridge takes the least address of its ports unless it has been given one.
            let mac = &addresses(lab, link.node)[bridge];
            let lines = format!(
                "link set {bridge} address {mac}\nlink set x{number} master {bridge}\nlink set x{number} up\n"
            );
            lab.inside(link.node, || batch(&lines));
            self.inside(|| {
                batch(&format!("link set lo up\nlink set {device} up\n"))?;
                ways(device, mac, None)
            });
        }
        for (number, link) in self.links.iter().enumerate().filter(|(_, l)| l.bridge.is_none()) {
            let cable = lab.topology.cables.iter().find(|c| c.0.space == 0 && c.1.space == link.node);
            let mac = &addresses(lab, link.node)[&cable.expect("found before").1.link];
            lab.inside(0, || {
                for family in ["ipv4", "ipv6"] {
                    fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1")?;
                }
                ways(&link.device, mac, Some(TABLES + number))
            });
        }
    }

    fn inside(&self, work: impl FnOnce() -> io::Result<()> + Send) {
        let net = &self.net;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                nix::sched::setns(net, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            inside.join().unwrap().unwrap();
        });
    }

    /// A socket of the outsider on a link, with that address of its own.
    pub fn socket(&self, lab: &Lab, link: &Link, own: IpAddr) -> UdpSocket {
        let mut socket = None;
        let make = || -> io::Result<()> {
            let bound = UdpSocket::bind((own, 0))?;
            setsockopt(&bound, BindToDevice, &OsString::from(&link.device))?;
            socket = Some(bound);
            Ok(())
        };
        match link.bridge {
            Some(_) => self.inside(make),
            None => lab.inside(0, make),
        }
        socket.expect("it was made")
    }
}

/// Has everything go to the node by its link; in the Internet's own space only what is bound to that link (`table`).
fn ways(device: &str, mac: &str, table: Option<usize>) -> io::Result<()> {
    for (family, via) in ["-4", "-6"].into_iter().zip(VIA) {
        let metric = 1 + device[1..].parse::<usize>().unwrap_or(0);
        let mut lines = format!("neigh replace {via} lladdr {mac} dev {device} nud permanent\n");
        let mut route = format!("route add default via {via} dev {device} onlink metric {metric}");
        if let Some(table) = table {
            lines += &format!("rule add oif {device} table {table}\n");
            route += &format!(" table {table}");
        }
        of_family(family, &format!("{lines}{route}\n"))?;
    }
    Ok(())
}
