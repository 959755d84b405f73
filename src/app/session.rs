//! What every procedure starts from: where the networks are, which one is meant, what its files say, the clock, and who hears
//! of what happens.

use std::path::PathBuf;
use std::sync::Arc;

use super::event::{Event, Listener, Work, Working};
use super::fault::Fault;
use super::recorded_node::recorded_node;
use crate::config::{Bundle, Secrets, parse_network, places_of};
use crate::host::user::User;
use crate::model::{InterfaceName, Network, Node, NodeName, Problem, Timestamp, nearest};
use crate::store::cluster::Place;
use crate::store::files::{StoreError, WriterLock};
use crate::store::folder::{Folder, settled};
use crate::store::{NetworkStore, Note, Snapshot, Store as _, Turn};

/// What was asked for, and by what clock.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Folder with one folder per network.
    pub dir: PathBuf,
    /// Whether somebody named that folder.
    pub dir_is_named: bool,
    /// Which network, as typed; `None`: the only one.
    pub network: Option<String>,
    /// Which node this host is; `None`: see [`Session::this_node`].
    pub node: Option<NodeName>,
    /// The command as it was given, for the history.
    pub command: Option<String>,
    /// Tells the time.
    pub clock: fn() -> Timestamp,
}

/// One run of a procedure, for one shell.
#[derive(Clone)]
pub struct Session {
    /// Folder with one folder per network.
    pub dir: PathBuf,
    /// Whether somebody named that folder.
    pub dir_is_named: bool,
    network: Option<String>,
    node: Option<NodeName>,
    command: Option<String>,
    /// The time of this run.
    pub now: Timestamp,
    clock: fn() -> Timestamp,
    listener: Arc<dyn Listener>,
}

/// A network file that was read without errors.
pub struct Loaded {
    /// Its folder.
    pub folder: Folder,
    /// What it says.
    pub network: Network,
    /// Its text.
    pub text: String,
    /// Warnings.
    pub warnings: Vec<Problem>,
    /// The files of the same revision, for what else is read of them.
    pub snapshot: Snapshot,
}

impl Loaded {
    /// Gives problems that were found in the network their places in its file.
    pub fn located(&self, problems: Vec<Problem>) -> Vec<Problem> {
        if problems.is_empty() {
            return problems;
        }
        let places = places_of(self.text.as_bytes(), &self.folder.network_path().display().to_string());
        problems.into_iter().map(|p| places.located(p)).collect()
    }
}

impl Session {
    /// Begins one, at this moment.
    pub fn new(asked: Asked, listener: Arc<dyn Listener>) -> Self {
        let Asked { dir, dir_is_named, network, node, command, clock } = asked;
        Self { dir, dir_is_named, network, node, command, now: clock(), clock, listener }
    }

    /// Returns the same at this moment, for a procedure that goes on.
    #[must_use]
    pub fn later(&self) -> Self {
        Self { now: (self.clock)(), ..self.clone() }
    }

    /// Returns the same with a folder of another name, heard by another listener.
    #[must_use]
    pub fn in_folder(&self, dir: PathBuf, listener: Arc<dyn Listener>) -> Self {
        Self { dir, listener, ..self.clone() }
    }

    /// Returns the same with the folder's one name, for what is recorded or compared with what is recorded.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self { dir: settled(self.dir.clone()), ..self.clone() }
    }

    /// Returns the same on behalf of somebody who typed no command: the history has that instead.
    #[must_use]
    pub fn on_behalf_of(&self, command: String) -> Self {
        Self { command: Some(command), ..self.clone() }
    }

    /// Returns the same for one network, whatever was typed.
    #[must_use]
    pub fn of_network(&self, name: &InterfaceName) -> Self {
        Self { network: Some(name.to_string()), ..self.clone() }
    }

    /// Tells whoever listens.
    pub fn tell(&self, event: Event) {
        self.listener.hear(event);
    }

    /// Tells of a problem that ends nothing.
    pub fn warn(&self, problem: &Problem) {
        self.tell(Event::Problem(problem.clone()));
    }

    /// Tells that work begins; it is over when what is returned is dropped.
    pub fn begin(&self, work: Work) -> Working {
        self.listener.begin(work)
    }

    /// Returns the network's name as typed, checked; `None`: not given.
    pub fn network_name(&self) -> Result<Option<InterfaceName>, Fault> {
        let parse = |text: &String| {
            text.parse().map_err(|e| {
                Fault::usage(format!("--network {text:?}: {e}"), "it is the interface's name, such as wg0")
            })
        };
        self.network.as_ref().map(parse).transpose()
    }

    /// Finds the folder of the network that is meant.
    pub fn folder(&self) -> Result<Folder, Fault> {
        if let Some(name) = self.network_name()? {
            return self.named(&name);
        }
        let names = Folder::list(&self.dir)?;
        let lost = if names.is_empty() { Folder::list_lost(&self.dir) } else { Vec::new() };
        if let [lost] = lost.as_slice() {
            return Err(Fault::failed(
                format!("{} is gone", Folder::new(&self.dir, lost).network_path().display()),
                format!(
                    "`wgrelay --network {lost} history` lists what it was, `wgrelay --network {lost} revert REV` brings it \
                     back; `wgrelay init` makes a new one"
                ),
            ));
        }
        match names.as_slice() {
            [only] => Ok(Folder::new(&self.dir, only)),
            [] => Err(Fault::failed(
                format!("there is no network in {}", self.dir.display()),
                "`wgrelay init` writes one; `--dir DIR` looks elsewhere",
            )),
            many => {
                let list: Vec<String> = many.iter().map(ToString::to_string).collect();
                Err(Fault::usage(
                    format!(
                        "there are {} networks in {}: {}",
                        many.len(),
                        self.dir.display(),
                        list.join(", ")
                    ),
                    "say which one with --network NAME",
                ))
            }
        }
    }

    /// Finds the folder of a network by its name; of one that is not there, the names that it may have been meant for.
    fn named(&self, name: &InterfaceName) -> Result<Folder, Fault> {
        let folder = Folder::new(&self.dir, name);
        let names = Folder::list(&self.dir)?;
        if folder.exists() || names.is_empty() {
            return Ok(folder);
        }
        let names: Vec<&str> = names.iter().map(InterfaceName::as_str).collect();
        let near = nearest(name.as_str(), names.iter().copied());
        let hint = near.map_or_else(|| known(&names), |n| format!("did you mean {n}?"));
        Err(Fault::usage(format!("there is no network {name} in {}", self.dir.display()), hint))
    }

    /// Returns where a network is kept, and the right to change it, waiting for others; what others changed is here by then.
    pub fn turn(&self, folder: &Folder) -> Result<(NetworkStore, Turn), Fault> {
        is_there(folder)?;
        let _work = self.begin(Work::WaitingForFolder);
        let store = NetworkStore::of(folder)?;
        let turn = store.turn()?;
        Ok((store, turn))
    }

    /// Takes the same lock for a command that changes the host: a read-only folder keeps nobody from that.
    pub fn lock_to_apply(&self, folder: &Folder) -> Result<WriterLock, Fault> {
        is_there(folder)?;
        let _work = self.begin(Work::WaitingForFolder);
        let lock = folder.lock_to_apply()?;
        if !lock.excludes() {
            self.tell(Event::NoLockFile(folder.path().to_path_buf()));
        }
        Ok(lock)
    }

    /// Reads the network; every fault of the file at once.
    pub fn load_network(&self) -> Result<Loaded, Fault> {
        let folder = self.folder()?;
        let loaded = self.load_from(folder)?;
        for warning in &loaded.warnings {
            self.warn(warning);
        }
        Ok(loaded)
    }

    /// Reads the network of a folder, saying nothing.
    pub fn load_from(&self, folder: Folder) -> Result<Loaded, Fault> {
        let snapshot = folder.snapshot()?;
        let bytes = snapshot.network()?;
        let file = folder.network_path().display().to_string();
        let parsed = parse_network(&bytes, &file);
        let Some(mut network) = parsed.value else { return Err(Fault::invalid(parsed.problems)) };
        network.settle(|node| node.is_active(self.now));
        if network.name.as_str() != folder.name().as_str() {
            return Err(Fault::invalid(vec![Problem::error(
                "name-mismatch",
                format!("{file}:1:1"),
                format!(
                    "the folder is {}, and the network in it calls itself {}",
                    folder.name(),
                    network.name
                ),
                "rename the folder, or correct `name`",
            )]));
        }
        // `parse_network` accepted it, so it is UTF-8.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut warnings = parsed.problems;
        if let Some(bundle) = snapshot.installed_bundle()?
            && Bundle::is_edited(&network, &bundle.this, &bundle.made_from)
        {
            warnings.push(Problem::warning(
                "edited-bundle",
                format!("{file}:1:1"),
                "this network was edited after its bundle was made: the other nodes may not have it so",
                "change it where the bundle was made, and export it again",
            ));
        }
        for relay in network.relays().filter(|r| r.enabled && !r.is_active(self.now)) {
            warnings.push(Problem::warning(
                "expired",
                format!("node {}", relay.name),
                format!("the relay {} has expired: nobody reaches anybody through it", relay.name),
                format!("correct its `expires`: `wgrelay set {} expires DATE`", relay.name),
            ));
        }
        Ok(Loaded { folder, network, text, warnings, snapshot })
    }

    /// Reads the secrets that belong to a network.
    pub fn load_secrets(&self, loaded: &Loaded) -> Result<Secrets, Fault> {
        let nodes = loaded.network.nodes.keys();
        let exposed = |error: StoreError| Fault {
            hint: loaded.folder.replaced_keys(&error, nodes.clone()),
            ..Fault::from(error)
        };
        let bytes = loaded.snapshot.secrets().map_err(exposed)?;
        let file = loaded.folder.secrets_path().display().to_string();
        // A bundle brings one node's secrets only, and that is the point of it.
        let parsed = if loaded.snapshot.installed_bundle()?.is_some() {
            Secrets::parse(bytes.as_bytes(), &file)
        } else {
            Secrets::parse_to_use(bytes.as_bytes(), &file, &loaded.network)
        };
        let Some(secrets) = parsed.value else { return Err(Fault::invalid(parsed.problems)) };
        for problem in &parsed.problems {
            self.warn(problem);
        }
        Ok(secrets)
    }

    /// Reads the secrets without asking whether they fit the network: for the command that makes them fit.
    pub fn load_secrets_as_they_are(&self, loaded: &Loaded) -> Result<Secrets, Fault> {
        let bytes = loaded.snapshot.secrets()?;
        let parsed = Secrets::parse(bytes.as_bytes(), &loaded.folder.secrets_path().display().to_string());
        parsed.value.ok_or_else(|| Fault::invalid(parsed.problems))
    }

    /// Reads a network as an `up` found it, with the secrets of today; `None`: they do not fit each other any more.
    pub fn load_as_it_was(&self, folder: &Folder, text: &str) -> Option<(Network, Secrets)> {
        let network = parse_network(text.as_bytes(), "the network last up").value?;
        let snapshot = folder.snapshot().ok()?;
        let bytes = snapshot.secrets().ok()?;
        let parsed = if snapshot.installed_bundle().ok()?.is_some() {
            Secrets::parse(bytes.as_bytes(), "secrets.toml")
        } else {
            Secrets::parse_to_use(bytes.as_bytes(), "secrets.toml", &network)
        };
        Some((network, parsed.value?))
    }

    /// Says for the history who changes the network, by what command, and why.
    pub fn note(&self, why: impl Into<String>) -> Note {
        let User { uid, name } = User::of_this_process();
        Note { at: self.now.0, uid: Some(uid), user: name, command: self.command.clone(), why: why.into() }
    }

    /// Returns which network was asked for, as typed.
    pub fn network_as_typed(&self) -> Option<&str> {
        self.network.as_deref()
    }

    /// Returns which node this host was said to be.
    pub const fn node_as_typed(&self) -> Option<&NodeName> {
        self.node.as_ref()
    }

    /// Finds the node that this host is: `--node`, else the installed bundle's, else the one that it is in its cluster, else the one that it was brought up as, else the
    /// only relay.
    pub fn this_node<'n>(&self, loaded: &'n Loaded) -> Result<&'n Node, Fault> {
        let name = match &self.node {
            Some(name) => Some(name.clone()),
            None => match loaded.snapshot.installed_bundle()? {
                Some(bundle) => Some(bundle.this),
                None => Place::of(loaded.folder.path()).membership()?.map(|member| member.node),
            },
        };
        if let Some(name) = name {
            return find_node(&loaded.network, &name);
        }
        if let Some(node) = recorded_node(&self.dir, loaded)? {
            return Ok(node);
        }
        let relays: Vec<&Node> = loaded.network.relays().collect();
        match relays.as_slice() {
            [only] => Ok(only),
            _ => Err(Fault::usage("which node is this host?", "say it with --node NAME")),
        }
    }
}

/// Tells of a network that is not there as such, and not of its lock.
fn is_there(folder: &Folder) -> Result<(), Fault> {
    if !folder.exists() {
        folder.read_network()?;
    }
    Ok(())
}

/// Finds a node by name, or tells which there are.
pub fn find_node<'n>(network: &'n Network, name: &NodeName) -> Result<&'n Node, Fault> {
    network.nodes.get(name).ok_or_else(|| {
        let names: Vec<&str> = network.nodes.keys().map(NodeName::as_str).collect();
        let near = nearest(name.as_str(), names.iter().copied());
        let hint = near.map_or_else(|| known(&names), |n| format!("did you mean {n}?"));
        Fault::usage(format!("there is no node {name} in {}", network.name), hint)
    })
}

fn known(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let more = names.len().saturating_sub(SHOWN);
    let list = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match (names.len(), more) {
        (1, _) => format!("there is {list} alone"),
        (_, 0) => format!("there are {list}"),
        _ => format!("there are {list} and {more} more"),
    }
}
