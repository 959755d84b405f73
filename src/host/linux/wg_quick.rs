//! wg-quick(8) as somebody else's: an interface of its is taken down, and brought up again, by the way that it came.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::program;
use super::systemd::Systemd;
use crate::host::HostError;
use crate::model::InterfaceName;

/// Where wg-quick looks for a name.
const FOLDER: &str = "/etc/wireguard";
/// The largest file of it that is read, in bytes.
const MAX_CONF: u64 = 64 << 20;
/// How long its hooks may take, with a thousand peers and their routes.
const WITHIN: Duration = Duration::from_secs(120);
/// How long an interface may be there still after wg-quick has ended: a program lets go of it a moment later.
const GONE_WITHIN: Duration = Duration::from_secs(3);

/// How an interface of wg-quick's comes up and goes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WgQuick {
    /// `systemctl start wg-quick@NAME`.
    Unit,
    /// `wg-quick up` with the name, or with a file elsewhere.
    Command(String),
}

/// Returns the file that wg-quick takes for a name, where there is one.
pub fn conf(name: &InterfaceName) -> Option<PathBuf> {
    Some(Path::new(FOLDER).join(format!("{name}.conf"))).filter(|path| path.is_file())
}

/// Reads that file; `None`: there is none, or only root may.
pub fn read_conf(name: &InterfaceName) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let path = conf(name)?;
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(&path).ok()?.take(MAX_CONF).read_to_end(&mut bytes).ok()?;
    Some((path.display().to_string(), bytes))
}

/// Says whether the name's unit runs here.
pub fn is_units(name: &InterfaceName) -> bool {
    Systemd::here().is_ok() && asked("is-active", name)
}

/// Says whether the name's unit comes up with this host.
pub fn is_enabled(name: &InterfaceName) -> bool {
    Systemd::here().is_ok() && asked("is-enabled", name)
}

/// Takes the name's unit out of the start of this host.
///
/// # Errors
/// systemd says no.
pub fn disable(name: &InterfaceName) -> Result<(), HostError> {
    run("disable", &["systemctl", "disable", "--quiet", &unit(name)])
}

impl WgQuick {
    /// Takes the interface down, and waits until it is gone.
    ///
    /// # Errors
    /// A command failed, or the interface is there still.
    pub fn down(&self, name: &InterfaceName) -> Result<(), HostError> {
        match self {
            Self::Unit => run("stop", &["systemctl", "stop", &unit(name)])?,
            Self::Command(what) => run("take down", &["wg-quick", "down", what])?,
        }
        let began = Instant::now();
        while nix::net::if_::if_nametoindex(name.as_str()).is_ok() {
            if began.elapsed() > GONE_WITHIN {
                return Err(HostError::new(
                    "take down",
                    name.as_str(),
                    "wg-quick ended well, and the interface is there still",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Brings the interface up.
    ///
    /// # Errors
    /// A command failed.
    pub fn up(&self, name: &InterfaceName) -> Result<(), HostError> {
        match self {
            Self::Unit => run("start", &["systemctl", "start", &unit(name)]),
            Self::Command(what) => run("bring up", &["wg-quick", "up", what]),
        }
    }
}

fn unit(name: &InterfaceName) -> String {
    format!("wg-quick@{name}.service")
}

fn asked(question: &str, name: &InterfaceName) -> bool {
    program::run("systemctl", &[question, "--quiet", &unit(name)], None).is_ok_and(|o| o.status.success())
}

fn run(operation: &'static str, words: &[&str]) -> Result<(), HostError> {
    let (program, args) = words.split_first().expect("every caller names a program");
    let target = words.last().copied().unwrap_or_default();
    let failed = |cause: String| HostError::new(operation, target, cause);
    let output = program::run_within(WITHIN, program, args, None).map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    // The last thing that it says is what went wrong; before it, wg-quick shows its commands.
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = words.lines().rev().map(str::trim).find(|l| !l.is_empty() && !l.starts_with("[#]"));
    Err(failed(
        last.map_or_else(|| output.status.to_string(), |l| crate::model::masked_to_pieces(l).to_string()),
    ))
}
