//! Other implementations of WireGuard as one side of the rig, each with its own device: the kernel's, which is there in the
//! guest, and programs that are started here.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::rig::{GUEST, Rig, eventually, run, succeeds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    Kernel,
    WireguardGo,
    Gotatun,
}

impl Other {
    /// Makes its interface on one side; `None` where it is not to be had and nobody insists.
    pub fn start(self, rig: &Rig, side: char) -> Option<Running> {
        let (ns, wg) = (rig.ns(side), rig.wg(side));
        let (program, from) = match self {
            Self::Kernel => {
                let made = succeeds(&format!("ip -n {ns} link add {wg} type wireguard"));
                if !made {
                    assert!(std::env::var_os(GUEST).is_none(), "the guest's kernel has WireGuard");
                    println!("not run here, but in the guest: the kernel has no WireGuard");
                }
                return made.then_some(Running { program: None });
            }
            Self::WireguardGo => ("wireguard-go", "scripts/install-needs"),
            Self::Gotatun => ("gotatun", "cargo install --locked gotatun-cli@0.10.2"),
        };
        for (program, from) in [(program, from), ("wg", "scripts/install-needs")] {
            if !succeeds(&format!("command -v {program}")) {
                assert!(
                    std::env::var_os("WGRELAY_REAL").is_none(),
                    "asked for, but {program} is missing: {from}"
                );
                println!("not run: {program} is missing: {from}");
                return None;
            }
        }
        let child = Command::new("ip")
            .args(["netns", "exec", &ns, program, "-f", &wg])
            // gotatun would become the user who logged in, whom a container does not have.
            .env("WG_SUDO", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip runs");
        let running = Running { program: Some((child, rig.socket(side))) };
        eventually(program, || rig.socket(side).exists() && succeeds(&format!("wg show {wg}")));
        // As the others have it by themselves.
        run(&format!("ip -n {ns} link set {wg} mtu 1420"));
        Some(running)
    }
}

/// What runs until dropped: a process, and the socket file that it would leave.
pub struct Running {
    program: Option<(Child, PathBuf)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((child, socket)) = &mut self.program {
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// Takes away an interface that [`Other::start`] made, after its value was dropped.
pub fn remove(rig: &Rig, side: char) {
    succeeds(&format!("ip -n {} link del {}", rig.ns(side), rig.wg(side)));
    eventually("the interface is gone", || {
        !succeeds(&format!("ip -n {} link show {}", rig.ns(side), rig.wg(side)))
    });
}
