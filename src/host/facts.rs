//! Reads the foreign state that decides: names, WSL's mode, and the switches (links and routes: `link`, `route`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::sysctl;
use crate::apply::HostError;
use crate::plan::WslMode;

/// How long names may take to resolve, all together: a dead resolver must not hold `up` back.
const RESOLVE_LIMIT: Duration = Duration::from_secs(3);
/// How long `wslinfo` may take.
const WSLINFO_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
/// Switches that are always of interest.
const ALWAYS: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/// Reads switches; one that this host does not have is absent.
pub(super) fn sysctls(wanted: &BTreeSet<String>) -> Result<BTreeMap<String, String>, HostError> {
    let mut values = BTreeMap::new();
    for path in wanted.iter().map(String::as_str).chain(ALWAYS) {
        if let Some(value) = sysctl::read(path)? {
            values.insert(path.to_string(), value);
        }
    }
    Ok(values)
}

/// Resolves names, each on a thread of its own; one that does not resolve in time is absent.
pub(super) fn resolve(names: &BTreeSet<String>) -> BTreeMap<String, IpAddr> {
    let (sender, receiver) = mpsc::channel();
    for name in names {
        let (sender, name) = (sender.clone(), name.clone());
        // It is left behind where the resolver hangs, and ends by itself.
        std::thread::spawn(move || {
            let found =
                (name.as_str(), 0).to_socket_addrs().map(|list| list.map(|a| a.ip()).collect::<Vec<_>>());
            let _ = sender.send((name, found.unwrap_or_default()));
        });
    }
    drop(sender);
    let end = Instant::now() + RESOLVE_LIMIT;
    let mut resolved = BTreeMap::new();
    // Ends early when every thread has answered.
    while let Ok((name, found)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        resolved.extend(choose(&found).map(|ip| (name, ip)));
    }
    resolved
}

/// IPv4 where there is one: it is what a network without IPv6 can reach.
fn choose(found: &[IpAddr]) -> Option<IpAddr> {
    found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied()
}

/// Returns WSL's networking mode; `None`: not WSL.
pub(super) fn wsl() -> Option<WslMode> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if !is_wsl(&release) {
        return None;
    }
    let mut command = Command::new("wslinfo");
    command.arg("--networking-mode").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Some(output_within(command, WSLINFO_LIMIT).map_or(WslMode::Unknown, |text| WslMode::parse(&text)))
}

fn is_wsl(release: &str) -> bool {
    release.to_ascii_lowercase().contains("microsoft")
}

/// Runs a program that prints a line; `None`: it failed or took too long.
fn output_within(mut command: Command, limit: Duration) -> Option<String> {
    let mut child = command.spawn().ok()?;
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < end => std::thread::sleep(POLL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_preferred() {
        let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(choose(&[v6, v4]), Some(v4));
        assert_eq!(choose(&[v6]), Some(v6));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn names_resolve_or_are_absent() {
        let names = BTreeSet::from(["localhost".to_string(), "no-such-name.invalid".to_string()]);
        let resolved = resolve(&names);
        assert!(resolved["localhost"].is_loopback());
        assert_eq!(resolved.len(), 1);
    }

    #[test]
    fn wsl_is_told_by_its_kernel() {
        assert!(is_wsl("5.15.167.4-microsoft-standard-WSL2"));
        assert!(is_wsl("4.4.0-19041-Microsoft"));
        assert!(!is_wsl("6.1.0-28-amd64"));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("60").stdout(Stdio::piped());
        assert_eq!(output_within(command, Duration::from_millis(60)), None);
        let mut command = Command::new("echo");
        command.arg("nat").stdout(Stdio::piped());
        assert_eq!(output_within(command, Duration::from_secs(5)).as_deref(), Some("nat\n"));
    }
}
