//! Reads the foreign state that decides: WSL's mode, and the switches (links and routes: `link`, `route`; names: `names`).

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::sysctl;
use crate::host::HostError;
use crate::plan::WslMode;

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

/// Returns the UDP ports that are bound in the calling thread's network namespace; kernel sockets are among them.
pub(super) fn udp_ports() -> BTreeSet<u16> {
    let read = |file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    ["udp", "udp6"].map(read).iter().flat_map(|text| text.lines().filter_map(local_port)).collect()
}

/// Reads the second column of a line of /proc/net/udp: an address and a port in hexadecimal.
fn local_port(line: &str) -> Option<u16> {
    let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok()
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
    fn bound_ports_are_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = std::net::UdpSocket::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            assert!(udp_ports().contains(&port), "{address}");
        }
        assert_eq!(local_port("  sl  local_address rem_address   st tx_queue"), None);
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
