//! A scope of its own for a process that is to outlive whoever started it. A process without a terminal is still in the
//! session that it was started in: logind ends that whole where `KillUserProcesses=yes`, and systemd a service.

use std::time::{Duration, Instant};

use super::dbus::{Arg, Bus, DbusError, Setting};
use super::systemd::Systemd;
use crate::model::InterfaceName;

/// systemd as one that can be called: the first two are its name on the bus and its object.
const MANAGER: [&str; 3] =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
/// How long each answer, and then the move, may take: the network is waiting.
const WITHIN: Duration = Duration::from_secs(1);

/// What a process of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It carries the packets of the embedded data plane.
    Agent,
    /// It waits for `wgrelay confirm`.
    Waiter,
}

/// Moves this process into a scope of the system's own, where systemd runs this host. Where it cannot be moved it stays
/// where it is, and works as well for as long as the session lasts.
pub fn leave_session(part: Part, network: &InterfaceName) {
    if Systemd::here().is_err() {
        return;
    }
    let name = scope_name(part, network, std::process::id());
    match Bus::system_within(WITHIN).and_then(|mut bus| move_into(&mut bus, part, network, &name)) {
        Ok(()) => wait_until_in(&name),
        Err(error) => tracing::debug!("stays in the session that it was started in: {error}"),
    }
}

fn move_into(bus: &mut Bus, part: Part, network: &InterfaceName, name: &str) -> Result<(), DbusError> {
    let what = match part {
        Part::Agent => format!("wgrelay: the agent of {network}"),
        Part::Waiter => format!("wgrelay: {network} goes back unless it is confirmed"),
    };
    let properties = [
        ("PIDs", Setting::Numbers(vec![std::process::id()])),
        ("Description", Setting::Text(what)),
        // Forgotten when it ends, however it ends.
        ("CollectMode", Setting::Text("inactive-or-failed".into())),
    ];
    let [destination, object, interface] = MANAGER;
    let args = [Arg::Text(name), Arg::Text("fail"), Arg::Properties(properties.into()), Arg::NoUnits];
    bus.call([destination, object, interface, "StartTransientUnit"], &args).map(drop)
}

/// The answer comes before the move.
fn wait_until_in(name: &str) {
    let began = Instant::now();
    while !std::fs::read_to_string("/proc/self/cgroup").is_ok_and(|text| is_in(&text, name)) {
        if began.elapsed() > WITHIN {
            tracing::debug!("systemd has not moved this process into {name}");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// With the process's number: a scope is forgotten some time after its last process has ended.
fn scope_name(part: Part, network: &InterfaceName, pid: u32) -> String {
    let part = match part {
        Part::Agent => "agent",
        Part::Waiter => "confirm",
    };
    format!("wgrelay-{part}-{network}-{pid}.scope")
}

fn is_in(cgroups: &str, scope: &str) -> bool {
    cgroups.lines().any(|line| line.rsplit('/').next() == Some(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_places() {
        let name = scope_name(Part::Waiter, &"wg0".parse().unwrap(), 77);
        assert_eq!(name, "wgrelay-confirm-wg0-77.scope");
        // cgroups(7): one hierarchy, or one for each controller.
        assert!(is_in("0::/system.slice/wgrelay-confirm-wg0-77.scope\n", &name));
        assert!(is_in("2:cpu:/\n1:name=systemd:/system.slice/wgrelay-confirm-wg0-77.scope\n0::/\n", &name));
        assert!(!is_in("0::/user.slice/user-0.slice/session-3.scope\n", &name));
        assert!(!is_in("", &name));
    }
}
