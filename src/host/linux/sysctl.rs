//! Switches below `/proc/sys`, named by path, so that a link name with dots in it is one component.

use std::io;
use std::path::{Path, PathBuf};

use crate::host::HostError;

fn path_of(path: &str) -> Result<PathBuf, HostError> {
    let inside = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !inside {
        return Err(HostError::new("find sysctl", path, "not a path below /proc/sys"));
    }
    Ok(Path::new("/proc/sys").join(path))
}

/// Reads a switch; `None`: this host has no such switch.
pub fn read(path: &str) -> Result<Option<String>, HostError> {
    match std::fs::read_to_string(path_of(path)?) {
        Ok(text) => Ok(Some(text.trim_end().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::new("read sysctl", path, error)),
    }
}

/// Sets a switch that exists, of the network alone: what is put back was once read from a record, and no record may reach
/// the rest of the kernel.
pub fn write(path: &str, value: &str) -> Result<(), HostError> {
    if !path.starts_with("net/") {
        return Err(HostError::new("set sysctl", path, "not a switch of the network"));
    }
    let mut options = std::fs::OpenOptions::new();
    let result = options.write(true).open(path_of(path)?).and_then(|mut file| {
        use io::Write as _;
        // One write: the kernel takes every write for a whole value.
        file.write_all(format!("{value}\n").as_bytes())
    });
    result.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                "run as root; in a container /proc/sys must be writable (--privileged, or set the switch with --sysctl)"
            }
            io::ErrorKind::NotFound => "the interface is gone, or this kernel was built without the feature",
            _ => "",
        };
        HostError::new("set sysctl", path, error).hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_proc_sys() {
        for bad in ["", "/etc/passwd", "net/../../etc/passwd", "net//x", "./x", "..", "net/"] {
            assert!(path_of(bad).is_err(), "{bad}");
        }
        let dotted = path_of("net/ipv4/conf/eth0.100/forwarding").unwrap();
        assert_eq!(dotted, Path::new("/proc/sys/net/ipv4/conf/eth0.100/forwarding"));
    }

    #[test]
    fn only_the_networks_switches_are_written() {
        for other in [
            "kernel/core_pattern",
            "kernel/ostype",
            "net",
            "net/../kernel/core_pattern",
            "vm/overcommit_memory",
        ] {
            assert!(write(other, "0").is_err(), "{other}");
        }
    }

    #[test]
    fn a_switch_that_is_not_there_is_none() {
        assert_eq!(read("net/ipv4/conf/no-such-link/forwarding").unwrap(), None);
        assert!(read("kernel/ostype").unwrap().is_some());
    }
}
