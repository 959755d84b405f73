//! What lives as long as an interface does: `/run/wgrelay/NETWORK/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::configuration::{self, Configuration};
use crate::model::{Attachments, GivenOver, InterfaceName};
use crate::plan::bridge::Links;
use crate::plan::{HostState, PolicyRule};
use crate::store::files::{self, StoreError};
use crate::store::folder::is_same;
use crate::store::owned;

/// Where runtime state is kept.
pub const DEFAULT_DIR: &str = "/run/wgrelay";
const APPLIED_FILE: &str = "applied.json";
const PID_FILE: &str = "pid";
const SOCKET_FILE: &str = "control";
/// What is known of the embedded device's peers.
pub(super) const LEDGER_FILE: &str = "peers";
/// What a change on trial goes back to.
pub(super) const UNCONFIRMED_FILE: &str = "unconfirmed.json";
/// Locked by the process that waits for its confirmation.
pub(super) const WAITER_FILE: &str = "waiter";
/// What that process has to say.
pub(super) const WAITER_LOG: &str = "waiter.log";

/// A boot of this machine and a network namespace of it: interfaces do not outlive either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `/proc/sys/kernel/random/boot_id`
    pub boot_id: String,
    /// Inode number of the network namespace.
    pub netns: u64,
}

impl Place {
    /// Reads where the calling thread is.
    pub fn here() -> io::Result<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_string();
        Ok(Self { boot_id, netns: fs::metadata("/proc/thread-self/ns/net")?.ino() })
    }
}

/// What was applied last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Where.
    pub place: Place,
    /// The folder that holds the networks.
    pub dir: PathBuf,
    /// The network.
    #[serde(flatten)]
    pub configuration: Configuration,
    /// Of the state that was wanted, what neither the network nor the host tells: see [`HostState::to_record`].
    pub state: HostState,
    /// The values that switches had before they were first set, by path below `/proc/sys`.
    #[serde(rename = "displaced")]
    pub saved_sysctls: BTreeMap<String, String>,
    /// What bridges and ports were before they were first changed; `None`: there was no such link.
    #[serde(rename = "displaced_links", default, skip_serializing_if = "Links::is_empty")]
    pub saved_links: Links,
    /// Where spokes are, of those that ever left their home relay.
    #[serde(default, skip_serializing_if = "Attachments::is_empty")]
    pub attached: Attachments,
    /// Which sites relays have given over to others, because they do not answer there.
    #[serde(default, skip_serializing_if = "GivenOver::is_empty")]
    pub given_over: GivenOver,
    /// Whether spokes are asked to leave this relay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drains: bool,
    /// Of a relay that several hosts carry: whether this one does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carries: bool,
}

/// The runtime folder of one network, mode 0700.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// Names the folder of `network` in `base` (usually [`DEFAULT_DIR`]); touches nothing.
    pub fn new(base: &Path, network: &InterfaceName) -> Self {
        Self { path: base.join(network.as_str()) }
    }
    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Returns the path of the agent's control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path.join(SOCKET_FILE)
    }
    /// Returns the path of the record of what was applied.
    pub fn applied_path(&self) -> PathBuf {
        self.path.join(APPLIED_FILE)
    }
    /// Makes the folder.
    pub fn create(&self) -> Result<(), StoreError> {
        files::create_private_dir(&self.path)?;
        // A folder that an older version made under another umask is closed now; the one around it is for reading.
        for (path, mode) in [(Some(self.path.as_path()), 0o700), (self.path.parent(), 0o755)] {
            let Some(path) = path else { continue };
            owned::folder_is_own(path)?;
            close(path, mode)?;
        }
        Ok(())
    }

    /// Reads what was applied last; `None`: nothing, or not here, or not from `dir`, or not readable as such.
    pub fn read_applied(&self, place: &Place, dir: &Path) -> Result<Option<Applied>, StoreError> {
        let Some(text) = self.read(APPLIED_FILE)? else { return Ok(None) };
        // Without a record the host itself is read anyway.
        let applied = configuration::parse::<Applied>(Some(&text));
        Ok(applied.filter(|a| a.place == *place && is_same(&a.dir, dir)))
    }

    /// Reads the policy rules of what was applied last, from whichever folder; `None`: nothing, or not here, or not readable as such.
    pub fn read_rules(&self, place: &Place) -> Option<BTreeSet<PolicyRule>> {
        #[derive(Deserialize)]
        struct Recorded {
            place: Place,
            state: Rules,
        }
        #[derive(Deserialize)]
        struct Rules {
            rules: BTreeSet<PolicyRule>,
        }
        let text = self.read(APPLIED_FILE).ok()??;
        let read = serde_json::from_str::<Recorded>(&text).ok()?;
        (read.place == *place).then_some(read.state.rules)
    }

    /// Returns the folder that a record here is from, where that is not `dir`.
    pub fn applied_from_other_dir(&self, place: &Place, dir: &Path) -> Result<Option<PathBuf>, StoreError> {
        #[derive(Deserialize)]
        struct Where {
            place: Place,
            dir: PathBuf,
        }
        let Some(text) = self.read(APPLIED_FILE)? else { return Ok(None) };
        let read = serde_json::from_str::<Where>(&text).ok();
        Ok(read.filter(|r| r.place == *place && !is_same(&r.dir, dir)).map(|r| r.dir))
    }

    /// Writes what is applied, mode 0600; displaced values must be in it before they are displaced.
    pub fn write_applied(&self, mut applied: Applied) -> Result<(), StoreError> {
        applied.state = applied.state.to_record();
        self.create()?;
        configuration::write(&self.path.join(APPLIED_FILE), &applied)
    }

    /// Reads the agent's process number; `None`: no agent wrote one. The process may be gone.
    pub fn read_pid(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.read(PID_FILE)?.and_then(|text| text.trim().parse().ok()))
    }
    /// Writes the agent's process number.
    pub fn write_pid(&self, pid: u32) -> Result<(), StoreError> {
        self.create()?;
        files::write_atomic(&self.path.join(PID_FILE), 0o600, format!("{pid}\n").as_bytes())
    }
    /// Removes the agent's files: process number and socket.
    pub fn remove_agent(&self) -> Result<(), StoreError> {
        self.remove_file(PID_FILE)?;
        self.remove_file(SOCKET_FILE)
    }

    /// Removes the files, the folder, and the folder around it when it is empty.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.remove_agent()?;
        let pending = [LEDGER_FILE, UNCONFIRMED_FILE, ".unconfirmed.json.new", WAITER_FILE, WAITER_LOG];
        for name in [APPLIED_FILE, ".applied.json.new", ".pid.new"].into_iter().chain(pending) {
            self.remove_file(name)?;
        }
        match fs::remove_dir(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // Somebody's own file in there is theirs to remove.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(source) => {
                return Err(StoreError::Io { operation: "remove", path: self.path.clone(), source });
            }
            Ok(()) => {}
        }
        if let Some(base) = self.path.parent() {
            // Another network's folder keeps it.
            let _ = fs::remove_dir(base);
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<String>, StoreError> {
        owned::read_own(&self.path.join(name))
    }

    fn remove_file(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { operation: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

/// Takes from a folder of ours what others may do in it.
fn close(path: &Path, most: u32) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { operation: "close", path: path.into(), source };
    let about = fs::metadata(path).map_err(failed)?;
    if about.mode() & 0o022 == 0 || about.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    fs::set_permissions(path, PermissionsExt::from_mode(about.mode() & most)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::{Family, Set, Table};
    use crate::model::{PresharedKey, PublicKey};
    use crate::plan::{Backend, Device, Peer, Route};

    fn applied(place: &Place) -> Applied {
        let peer = |endpoint: Option<&str>| Peer {
            preshared_key: Some(PresharedKey::from_bytes([8; 32])),
            endpoint: endpoint.map(|e| e.parse().unwrap()),
            keepalive: Some(25),
            allowed_ips: ["10.0.0.2/32".parse().unwrap()].into(),
        };
        let device = Device {
            backend: Backend::Kernel,
            private_key: Some(crate::model::PrivateKey::from_random([9; 32])),
            listen_port: Some(51820),
            fwmark: 0,
            mtu: 1420,
            up: true,
            addresses: ["10.0.0.1/24".parse().unwrap()].into(),
            detached: [].into(),
            peers: [
                (PublicKey::from_bytes([1; 32]), peer(None)),
                (PublicKey::from_bytes([2; 32]), peer(Some("192.0.2.1:51820"))),
            ]
            .into(),
        };
        let set = Set { family: Family::V4, elements: ["10.0.0.0/24".parse().unwrap()].into() };
        let table =
            Table { name: "wgrelay-wg0".into(), sets: [("places4".into(), set)].into(), chains: vec![] };
        Applied {
            place: place.clone(),
            dir: "/etc/wgrelay".into(),
            configuration: Configuration {
                node: "wsl".parse().unwrap(),
                backend: Backend::Kernel,
                network_text: "format = 1\n# \"é\"\r\n".into(),
            },
            state: HostState {
                device: Some(device),
                routes: [Route { dst: "10.1.0.0/24".parse().unwrap(), table: 254 }].into(),
                firewall: Some(table),
                ..HostState::default()
            },
            saved_sysctls: BTreeMap::from([("net/ipv4/ip_forward".into(), "0".into())]),
            saved_links: [("br-ext".into(), None)].into(),
            attached: Attachments::new(),
            given_over: GivenOver::new(),
            drains: false,
            carries: false,
        }
    }

    #[test]
    fn a_record_counts_only_where_it_was_written() {
        let base = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::new(&base.path().join("run"), &"wg0".parse().unwrap());
        let place = Place { boot_id: "a".into(), netns: 1 };
        let applied = applied(&place);
        assert_eq!(dir.read_applied(&place, &applied.dir).unwrap(), None);
        dir.write_applied(applied.clone()).unwrap();
        let read = dir.read_applied(&place, &applied.dir).unwrap().unwrap();
        let device = read.state.device.as_ref().unwrap();
        assert_eq!(device.private_key, None);
        // The one that was given an endpoint, and of it that alone.
        let [peer] = device.peers.values().collect::<Vec<_>>()[..] else { panic!("{device:?}") };
        assert_eq!((&peer.preshared_key, peer.endpoint), (&None, Some("192.0.2.1:51820".parse().unwrap())));
        assert_eq!((device.listen_port, device.addresses.len()), (Some(51820), 1));
        assert!(read.state.routes.is_empty());
        assert!(read.state.firewall.as_ref().unwrap().sets["places4"].elements.is_empty());
        assert_eq!(Applied { state: applied.state.clone(), ..read }, applied);
        assert_eq!(fs::metadata(dir.path().join(APPLIED_FILE)).unwrap().mode() & 0o777, 0o600);
        let elsewhere = Place { netns: 2, ..place.clone() };
        assert_eq!(dir.read_applied(&elsewhere, &applied.dir).unwrap(), None);
        assert_eq!(dir.read_applied(&place, Path::new("/other")).unwrap(), None);
        assert_eq!(
            dir.applied_from_other_dir(&place, Path::new("/other")).unwrap().as_ref(),
            Some(&applied.dir)
        );
        assert_eq!(dir.applied_from_other_dir(&place, &applied.dir).unwrap(), None);
        assert_eq!(dir.applied_from_other_dir(&elsewhere, Path::new("/other")).unwrap(), None);
        dir.write_pid(12).unwrap();
        assert_eq!(dir.read_pid().unwrap(), Some(12));
        dir.remove().unwrap();
        dir.remove().unwrap();
        assert!(!base.path().join("run").exists());
    }

    #[test]
    fn a_folder_that_a_link_leads_to_is_the_recorded_one() {
        let base = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir::new(&base.path().join("run"), &"wg0".parse().unwrap());
        let place = Place { boot_id: "a".into(), netns: 1 };
        let [before, moved, other] = ["before", "moved", "other"].map(|name| base.path().join(name));
        fs::create_dir(&before).unwrap();
        fs::create_dir(&other).unwrap();
        runtime.write_applied(Applied { dir: before.clone(), ..applied(&place) }).unwrap();
        fs::rename(&before, &moved).unwrap();
        assert_eq!(runtime.applied_from_other_dir(&place, &moved).unwrap().as_ref(), Some(&before));
        std::os::unix::fs::symlink(&moved, &before).unwrap();
        for dir in [&before, &moved] {
            assert_eq!(runtime.applied_from_other_dir(&place, dir).unwrap(), None);
            assert!(runtime.read_applied(&place, dir).unwrap().is_some());
        }
        assert_eq!(runtime.applied_from_other_dir(&place, &other).unwrap().as_ref(), Some(&before));
        assert_eq!(runtime.read_applied(&place, &other).unwrap(), None);
    }

    #[test]
    fn what_another_version_wrote_is_read_or_is_no_record() {
        let base = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::new(&base.path().join("run"), &"wg0".parse().unwrap());
        let place = Place { boot_id: "a".into(), netns: 1 };
        dir.create().unwrap();
        // Before 0.2 every peer, route and element was in it.
        let mut whole = applied(&place);
        let device = whole.state.device.as_mut().unwrap();
        device.private_key = None;
        device.peers.values_mut().for_each(|peer| peer.preshared_key = None);
        let text = serde_json::to_string(&whole).unwrap();
        let written =
            r#"{"place":{"boot_id":"a","netns":1},"dir":"/etc/wgrelay","node":"wsl","backend":"kernel","#;
        assert!(text.starts_with(&format!("{written}\"network_text\":")), "{text:.150}");
        fs::write(dir.path().join(APPLIED_FILE), &text).unwrap();
        assert_eq!(dir.read_applied(&place, &whole.dir).unwrap().as_ref(), Some(&whole));
        for other in ["", "{}", "{\"format\": 9}", &text[..text.len() / 2]] {
            fs::write(dir.path().join(APPLIED_FILE), other).unwrap();
            assert_eq!(dir.read_applied(&place, &whole.dir).unwrap(), None, "{other:.40}");
        }
    }

    #[test]
    fn this_place_has_a_name() {
        let place = Place::here().unwrap();
        assert_eq!(place.boot_id.len(), 36);
        assert!(place.netns > 0);
    }
}
