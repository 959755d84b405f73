//! One tunnel of this host instead of another of the same peers: wg-quick's goes, ours comes, or wg-quick's comes back.
//!
//! Sessions cannot be handed over: they are the old interface's. Where peers were last heard from can, so each is called at once, and answers
//! with a new session before it notices; a peer that only waits to be called would otherwise be lost until it speaks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::backend::BackendChoice;
use super::bring_up::{BringUp, BroughtUp, bring_up};
use super::fault::{Fault, Left};
use super::service::install_service;
use super::session::Session;
use crate::host::HostError;
use crate::host::uninterrupted;
use crate::host::wg_quick::{self, WgQuick};
use crate::host::wireguard::running::{await_peers, call_peers, running};
use crate::model::{InterfaceName, PrivateKey, PublicKey, Timestamp};
use crate::store::files::StoreError;
use crate::store::folder::Folder;
use crate::store::owned::{folder_is_own, read_own};
use crate::wgconf::read;

/// A session is used for so long (the protocol's REJECT_AFTER_TIME), in seconds: who has none older was there just now.
const LIVE_WITHIN: u64 = 180;
/// How long peers that were there are waited for: a handshake is repeated after 5 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);

/// What stands in the place that a network of ours is to have.
#[derive(Debug)]
pub struct Predecessor {
    name: InterfaceName,
    key: Option<PublicKey>,
    way: WgQuick,
    /// Where peers were last heard from.
    endpoints: BTreeMap<PublicKey, SocketAddr>,
    /// Those with a session.
    online: Vec<PublicKey>,
    was_enabled: bool,
}

/// How many of the peers that had a session have one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Before.
    pub before: usize,
    /// Again.
    pub again: usize,
}

/// A place that was taken.
#[derive(Debug)]
pub struct TakenOver {
    /// What came up.
    pub brought_up: BroughtUp,
    /// Who is there again.
    pub resumed: Resumed,
    /// The unit that comes up with this host instead of wg-quick's; `None`: that one did not.
    pub unit: Option<String>,
}

/// How wg-quick brought an interface up: by the file that has its key, which nobody but its owner may write, because its
/// commands are run.
fn way_of(
    name: &InterfaceName,
    given: Option<&Path>,
    key: Option<PublicKey>,
) -> Result<Option<WgQuick>, HostError> {
    let refused = |error: StoreError| {
        HostError::new("take over", name.as_str(), error.to_string()).hint(error.hint().to_string())
    };
    let has_key = |path: &Path| -> Result<bool, StoreError> {
        if let Some(folder) = path.parent() {
            folder_is_own(folder)?;
        }
        let text = read_own(path)?.unwrap_or_default();
        let found = read(&text, "").document.interface.private_key.as_ref().map(PrivateKey::public_key);
        Ok(key.is_some() && found == key)
    };
    if let Some(path) = wg_quick::conf(name)
        && has_key(&path).map_err(refused)?
    {
        return Ok(Some(if wg_quick::is_units(name) {
            WgQuick::Unit
        } else {
            WgQuick::Command(name.to_string())
        }));
    }
    let Some(path) = given.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()))
    else {
        return Ok(None);
    };
    let is_its = has_key(&path).map_err(refused)?;
    Ok(is_its.then(|| WgQuick::Command(path.display().to_string())))
}

impl Predecessor {
    /// Finds out how an interface came up, so that it can go and come back; `file` is where it was made from, if not wg-quick's
    /// own folder.
    ///
    /// # Errors
    /// There is no such interface, it is ours already, or wg-quick did not make it.
    pub fn find(name: &InterfaceName, file: Option<&Path>, now: Timestamp) -> Result<Self, HostError> {
        let failed = |cause: &str, hint: String| HostError::new("take over", name.as_str(), cause).hint(hint);
        let Some(found) = running(name)? else {
            return Err(failed(
                "there is no interface of this name",
                "without --take-over, `wgrelay import` makes the network, and `wgrelay up` brings it up"
                    .into(),
            ));
        };
        if found.is_ours {
            return Err(failed("it is wgrelay's own already", "`wgrelay status` tells of it".into()));
        }
        let key = found.report.private_key.as_ref().map(PrivateKey::public_key);
        let way = way_of(name, file, key)?.ok_or_else(|| {
            failed(
                "no file of wg-quick's with its key is there: neither in /etc/wireguard nor among those that were given",
                format!(
                    "take it down by the way that it came, then `wgrelay up`; NetworkManager: `nmcli connection down {name}`; by hand: `ip link delete {name}`"
                ),
            )
        })?;
        let peers = &found.report.peers;
        let endpoints = peers.iter().filter_map(|p| Some((p.public_key, p.endpoint?))).collect();
        let is_live = |p: &&crate::dataplane::PeerReport| {
            p.last_handshake.as_ref().is_some_and(|t| now.0.saturating_sub(t.seconds) <= LIVE_WITHIN)
        };
        let online = peers.iter().filter(is_live).map(|p| p.public_key).collect();
        Ok(Self { name: name.clone(), key, way, endpoints, online, was_enabled: wg_quick::is_enabled(name) })
    }

    /// Goes, for the network in this folder: it comes up with the peers called, or what was there is back.
    ///
    /// # Errors
    /// It does not go, or ours does not come up.
    pub fn give_way(&self, session: &Session, folder: &Folder) -> Result<TakenOver, Fault> {
        let session = session.of_network(folder.name()).settled();
        let stays = |message: String, fault: Fault| {
            let hint = if fault.hint.is_empty() {
                format!(
                    "the network stays in {}: `wgrelay check`; `wgrelay up` when it is right",
                    folder.path().display()
                )
            } else {
                fault.hint
            };
            Fault { message, left: Left::Untold, hint, ..fault }
        };
        // Over the very tunnel, perhaps: the terminal goes away with it, and nobody may be left without one.
        uninterrupted::until_the_end().map_err(|error| {
            stays(format!("cannot keep signals from ending this half way: {error}"), Fault::failed("", ""))
        })?;
        self.stop().map_err(|error| stays(error.to_string(), error.into()))?;
        let asked = BringUp { bundle: None, backend: BackendChoice::Auto, force: false, confirm: None };
        let brought_up = bring_up(&session, &asked).map_err(|fault| {
            let message = match self.put_back() {
                Ok(()) => format!("{}; what was there is back, its peers called", fault.sentence()),
                Err(error) => format!("{}; and what was there does not come back: {error}", fault.sentence()),
            };
            stays(message, fault)
        })?;
        let up = |fault: Fault| Fault {
            left: Left::Untold,
            message: format!("{} is up in its place; {}", self.name, fault.sentence()),
            ..fault
        };
        let resumed = self.resume(folder.name()).map_err(|error| up(error.into()))?;
        let mut unit = None;
        if self.was_enabled {
            wg_quick::disable(&self.name).map_err(|error| up(error.into()))?;
            unit = Some(install_service(&session, BackendChoice::Auto, None).map_err(up)?.unit);
        }
        Ok(TakenOver { brought_up, resumed, unit })
    }

    fn stop(&self) -> Result<(), HostError> {
        let Err(error) = self.way.down(&self.name) else { return Ok(()) };
        if matches!(running(&self.name), Ok(None)) {
            // A hook of its failed after the interface was gone.
            self.put_back()?;
        }
        Err(error)
    }

    fn put_back(&self) -> Result<(), HostError> {
        self.way.up(&self.name)?;
        let key = running(&self.name)?.and_then(|now| Some(now.report.private_key?.public_key()));
        if key != self.key {
            return Err(HostError::new("put back", self.name.as_str(), "wg-quick brought up another tunnel")
                .hint("its file was changed meanwhile"));
        }
        call_peers(&self.name, &self.endpoints)
    }

    /// Calls the peers from our interface, and waits for those that had a session.
    fn resume(&self, network: &InterfaceName) -> Result<Resumed, HostError> {
        call_peers(network, &self.endpoints)?;
        let again = await_peers(network, &self.online, ANSWER_WITHIN)?;
        Ok(Resumed { before: self.online.len(), again })
    }
}
