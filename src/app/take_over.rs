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
use super::fault::Fault;
use super::service::install_service;
use super::session::Session;
use crate::host::HostError;
use crate::host::wg_quick::{self, WgQuick};
use crate::host::wireguard::running::{await_peers, call_peers, running};
use crate::model::{InterfaceName, PublicKey, Timestamp};
use crate::store::folder::Folder;

/// A session is used for so long (the protocol's REJECT_AFTER_TIME), in seconds: who has none older was there just now.
const LIVE_WITHIN: u64 = 180;
/// How long peers that were there are waited for: a handshake is repeated after 5 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);

/// What stands in the place that a network of ours is to have.
#[derive(Debug)]
pub struct Predecessor {
    name: InterfaceName,
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
        let path = file.map(|f| std::path::absolute(f).unwrap_or_else(|_| f.to_path_buf()));
        let way = match (wg_quick::is_units(name), path, wg_quick::conf(name)) {
            (true, ..) => WgQuick::Unit,
            (false, _, Some(_)) => WgQuick::Command(name.to_string()),
            (false, Some(path), None) => WgQuick::Command(path.display().to_string()),
            (false, None, None) => {
                return Err(failed(
                    "no wg-quick made it: there is no unit of it that runs, and no file in /etc/wireguard",
                    format!(
                        "take it down by the way that it came, then `wgrelay up`; NetworkManager: `nmcli connection down {name}`; by hand: `ip link delete {name}`"
                    ),
                ));
            }
        };
        let peers = &found.report.peers;
        let endpoints = peers.iter().filter_map(|p| Some((p.public_key, p.endpoint?))).collect();
        let is_live = |p: &&crate::dataplane::PeerReport| {
            p.last_handshake.as_ref().is_some_and(|t| now.0.saturating_sub(t.seconds) <= LIVE_WITHIN)
        };
        let online = peers.iter().filter(is_live).map(|p| p.public_key).collect();
        Ok(Self { name: name.clone(), way, endpoints, online, was_enabled: wg_quick::is_enabled(name) })
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
            Fault { message, hint, ..fault }
        };
        self.stop().map_err(|error| stays(error.to_string(), error.into()))?;
        let asked = BringUp { bundle: None, backend: BackendChoice::Auto, force: false, confirm: None };
        let brought_up = bring_up(&session, &asked).map_err(|fault| {
            let message = match self.put_back() {
                Ok(()) => format!("{}; what was there is back, its peers called", fault.message),
                Err(error) => format!("{}; and what was there does not come back: {error}", fault.message),
            };
            stays(message, fault)
        })?;
        let resumed = self.resume(folder.name())?;
        let mut unit = None;
        if self.was_enabled {
            wg_quick::disable(&self.name)?;
            unit = Some(install_service(&session, BackendChoice::Auto, None)?.unit);
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
        call_peers(&self.name, &self.endpoints)
    }

    /// Calls the peers from our interface, and waits for those that had a session.
    fn resume(&self, network: &InterfaceName) -> Result<Resumed, HostError> {
        call_peers(network, &self.endpoints)?;
        let again = await_peers(network, &self.online, ANSWER_WITHIN)?;
        Ok(Resumed { before: self.online.len(), again })
    }
}
