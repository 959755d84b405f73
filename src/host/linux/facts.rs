//! Reads the foreign state that decides: WSL's mode, and the switches (links and routes: `link`, `route`; names: `names`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::program;
use super::sysctl;
use crate::firewall::foreign::wsl::{WslMode, WslSigns};
use crate::host::HostError;
use crate::plan::{Facts, IFALIAS_PREFIX};

/// How long `wslinfo` may take.
const WSLINFO_LIMIT: Duration = Duration::from_secs(2);
/// Where WSL puts it.
const WSLINFO: &str = "/usr/bin/wslinfo";
/// Switches that are always of interest.
const ALWAYS: [&str; 6] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    IPV6_OFF,
    "net/ipv4/conf/all/rp_filter",
];
/// The switch that a new link's own begins as.
const IPV6_OFF: &str = "net/ipv6/conf/default/disable_ipv6";

/// Returns the switches that decide for these facts besides: the reverse-path filters of the ways out, IPv6 on our own link,
/// and where none can be written, those that would be.
pub(super) fn deciding(facts: &Facts) -> BTreeSet<String> {
    let ways_out = facts.routes.iter().filter(|r| r.dst.prefix_len() == 0 && !r.device.is_empty());
    let mut paths: BTreeSet<String> =
        ways_out.map(|r| format!("net/ipv4/conf/{}/rp_filter", r.device)).collect();
    let ours = facts.links.iter().filter(|(_, l)| l.alias.starts_with(IFALIAS_PREFIX));
    paths.extend(ours.map(|(name, _)| format!("net/ipv6/conf/{name}/disable_ipv6")));
    if facts.switches_are_read_only {
        let links = facts.links.keys().map(String::as_str).chain(["default"]);
        paths.extend(links.map(|link| format!("net/ipv4/conf/{link}/forwarding")));
        paths.insert("net/ipv4/conf/all/src_valid_mark".into());
    }
    paths
}

/// Says whether switches cannot be written: a container has /proc/sys read-only, unless it is privileged.
pub(super) fn switches_are_read_only() -> bool {
    // Opened, and nothing written.
    let opened = std::fs::File::options().write(true).open("/proc/sys/net/ipv4/conf/all/send_redirects");
    opened.is_err_and(|e| e.kind() == std::io::ErrorKind::ReadOnlyFilesystem)
}

/// Reads switches; one that this host does not have is absent.
pub(super) fn sysctls(wanted: impl Iterator<Item = String>) -> Result<BTreeMap<String, String>, HostError> {
    let mut values = BTreeMap::new();
    for path in wanted.chain(ALWAYS.map(String::from)) {
        if let Some(value) = sysctl::read(&path)? {
            values.insert(path, value);
        }
    }
    // A kernel without IPv6 is one that has it off.
    values.entry(IPV6_OFF.to_string()).or_insert_with(|| "1".into());
    Ok(values)
}

/// Returns the UDP ports that are bound in the calling thread's network namespace; kernel sockets are among them.
pub(super) fn udp_ports() -> BTreeSet<u16> {
    let read = |file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    ["udp", "udp6"].map(read).iter().flat_map(|text| text.lines().filter_map(local_port)).collect()
}

/// Returns the TCP ports that are listened on in the calling thread's network namespace.
pub(super) fn tcp_ports() -> BTreeSet<u16> {
    /// `TCP_LISTEN` (include/net/tcp_states.h), the fourth column.
    const LISTEN: &str = "0A";
    let read = |file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let listening = |line: &&str| line.split_whitespace().nth(3) == Some(LISTEN);
    ["tcp", "tcp6"]
        .map(read)
        .iter()
        .flat_map(|text| text.lines().filter(listening).filter_map(local_port))
        .collect()
}

/// Returns the name of the program that has a port, `tcp` or `udp`; `None`: nobody was found.
pub fn owner_of(protocol: &str, port: u16) -> Option<String> {
    let read =
        |file: String| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let text = read(protocol.into()) + &read(format!("{protocol}6"));
    let of_port = text.lines().filter(|line| local_port(line) == Some(port));
    let sockets: Vec<String> = of_port
        .filter_map(|line| line.split_whitespace().nth(9))
        .filter(|inode| *inode != "0")
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let has_it = |process: &std::path::PathBuf| {
        let open = std::fs::read_dir(process.join("fd")).ok();
        let links = open.into_iter().flatten().flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.into_iter().any(|link| sockets.iter().any(|s| link.as_os_str() == s.as_str()))
    };
    let process = processes.into_iter().find(has_it)?;
    let name = std::fs::read_to_string(process.join("comm")).ok()?;
    Some(name.trim().to_owned())
}

/// Reads the second column of a line of /proc/net/udp: an address and a port in hexadecimal.
fn local_port(line: &str) -> Option<u16> {
    let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

/// Returns WSL's networking mode; `None`: not WSL.
pub(super) fn wsl() -> Option<WslMode> {
    let there = |path: &str| Path::new(path).exists();
    let mut signs = WslSigns {
        release: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default(),
        // What Docker and Podman leave for whoever asks.
        container: ["/.dockerenv", "/run/.containerenv"].into_iter().any(there),
        systemd_container: std::fs::read_to_string("/run/systemd/container").unwrap_or_default(),
        interop: [
            "/run/WSL",
            "/proc/sys/fs/binfmt_misc/WSLInterop",
            "/proc/sys/fs/binfmt_misc/WSLInterop-late",
        ]
        .into_iter()
        .any(there),
        wslinfo: None,
        loopback0: there("/sys/class/net/loopback0"),
    };
    // The program stands in any WSL from 2.0.4 on; nothing else has one of this name.
    if signs.mode().is_some() || there(WSLINFO) {
        let output = program::run_within(WSLINFO_LIMIT, "wslinfo", &["--networking-mode"], None).ok();
        signs.wslinfo =
            output.filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    }
    signs.mode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_ports_are_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = std::net::UdpSocket::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            assert!(udp_ports().contains(&port), "{address}");
        }
        assert_eq!(local_port("  sl  local_address rem_address   st tx_queue"), None);
    }
}
