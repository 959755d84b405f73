//! Makes a lab's namespaces, starts this program in each node's, and takes everything away again.
//!
//! A namespace lives as long as something holds it: here open files, and the agents. So taking a lab away is ending the
//! agents, by pid, and closing the files. Each space has its own mounts with an empty /run; nothing is written elsewhere.

#![expect(clippy::disallowed_methods, reason = "the lab makes namespaces, and runs programs in them")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::commands;
use super::hold::Hold;
use super::topology::{Topology, TopologyError, topology};
use crate::config::{EditError, NetworkDocument, Secrets, Setting};
use crate::host::agent_process::Runtime;
use crate::host::{program, random};
use crate::model::{Endpoint, EndpointHost, InterfaceName, Network, Node, NodeName, Timestamp};
use crate::plan::Backend;
use crate::store::files::StoreError;
use crate::store::folder::Folder;
use crate::store::{InstalledBundle, Note};

/// Where a node's network folder is, inside its space.
pub const DIR: &str = "/run/lab";
/// How many spaces are worked on at once.
const AT_ONCE: usize = 8;

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The network does not fit.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The kernel, or a program, said no.
    #[error("cannot {operation} {what}: {cause}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// On what.
        what: String,
        /// What came back.
        cause: String,
    },
    /// A node's `up` failed.
    #[error("`wgrelay up` failed on {node}: {said}")]
    Up {
        /// The node.
        node: NodeName,
        /// What it said.
        said: String,
    },
    /// The lab's copy of the network cannot be made.
    #[error("cannot give the network fresh keys: {0}")]
    Edit(#[from] EditError),
    /// The copy cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Ctrl-C, or a signal.
    #[error("interrupted; everything was removed")]
    Interrupted,
}

impl LabError {
    pub(super) fn failed(
        operation: &'static str,
        what: impl Into<String>,
        cause: &dyn std::fmt::Display,
    ) -> Self {
        Self::Failed { operation, what: what.into(), cause: cause.to_string() }
    }
}

/// A space's namespaces; they live as long as this.
#[derive(Debug)]
pub struct Handles {
    /// The network namespace.
    pub net: File,
    /// The mount namespace.
    pub mount: File,
}

/// A lab that stands. Dropping it takes it away.
#[derive(Debug)]
pub struct Lab {
    /// What it consists of.
    pub topology: Topology,
    /// The network's name.
    pub network: InterfaceName,
    /// The network as it was laid out.
    pub layout: Network,
    /// The namespaces, as the topology numbers them.
    pub spaces: Vec<Handles>,
    /// What the agents of a space end with, where this process is killed; dropped after they were ended in good order.
    pub(super) holds: BTreeMap<usize, Hold>,
    /// What the nodes are brought up from.
    pub(super) files: Files,
}

/// What the nodes of a lab are brought up from: a copy of the network's file with keys of its own.
#[derive(Debug)]
pub(super) struct Files {
    pub text: String,
    pub secrets: Secrets,
    pub backend: Option<Backend>,
}

/// Says whether to stop.
pub type Interrupted<'a> = &'a (dyn Fn() -> bool + Sync);

impl Lab {
    /// Builds the lab of a network and brings every node up. The keys are fresh: the network's own are not read.
    ///
    /// # Errors
    /// See [`LabError`]; nothing is left then.
    pub fn build(
        network: &Network,
        text: &str,
        backend: Option<Backend>,
        now: Timestamp,
        interrupted: Interrupted<'_>,
    ) -> Result<Self, LabError> {
        let topology = topology(network, now)?;
        // An agent that outlives its `up` is ours to end and to bury.
        let _ = nix::sys::prctl::set_child_subreaper(true);
        let (text, secrets) = fresh_copy(network, text, &topology)?;
        let mut lab = Self {
            topology,
            network: network.name.clone(),
            layout: network.clone(),
            spaces: Vec::new(),
            holds: BTreeMap::new(),
            files: Files { text, secrets, backend },
        };
        for (number, space) in lab.topology.spaces.iter().enumerate() {
            let handles = space_handles(space.forwards)
                .map_err(|e| LabError::failed("make a namespace for", &space.name, &e))?;
            if space.node.is_some() {
                let hold = handles.inside(Hold::take);
                lab.holds.insert(number, hold.map_err(|e| LabError::failed("hold", &space.name, &e))?);
            }
            lab.spaces.push(handles);
        }
        let fd = |i: usize| format!("/proc/{}/fd/{}", std::process::id(), lab.spaces[i].net.as_raw_fd());
        lab.spaces[0]
            .inside(|| ip_batch(&commands::cables(&lab.topology, fd)))
            .map_err(|e| LabError::failed("join", "the namespaces", &e))?;
        let all: Vec<usize> = (0..lab.spaces.len()).collect();
        lab.each(&all, interrupted, |i| {
            let settle = commands::settle(&lab.topology, i);
            lab.spaces[i]
                .inside(|| ip_batch(&settle))
                .map_err(|e| LabError::failed("set up", &lab.topology.spaces[i].name, &e))
        })?;
        lab.all_up(interrupted)?;
        Ok(lab)
    }

    /// Brings up every node that lives, from the lab's files.
    pub(super) fn all_up(&self, interrupted: Interrupted<'_>) -> Result<(), LabError> {
        // The relay first: a spoke whose first greeting is lost waits five seconds before the next (REKEY_TIMEOUT).
        let (relays, spokes): (Vec<usize>, Vec<usize>) = self
            .holds
            .keys()
            .copied()
            .partition(|i| self.node_of(*i).is_some_and(|n| self.layout.nodes[n].is_relay()));
        for group in [relays, spokes] {
            self.each(&group, interrupted, |i| self.up(i))?;
        }
        Ok(())
    }

    fn node_of(&self, space: usize) -> Option<&NodeName> {
        self.topology.spaces[space].node.as_ref()
    }

    /// Does something to spaces, several at a time; the first error counts.
    fn each(
        &self,
        spaces: &[usize],
        interrupted: Interrupted<'_>,
        work: impl Fn(usize) -> Result<(), LabError> + Sync,
    ) -> Result<(), LabError> {
        let next = AtomicUsize::new(0);
        let worker = || {
            while let Some(space) = spaces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if interrupted() {
                    return Err(LabError::Interrupted);
                }
                work(*space)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE.min(spaces.len())).map(|_| scope.spawn(worker)).collect();
            let results: Vec<_> =
                workers.into_iter().map(|w| w.join().unwrap_or(Err(LabError::Interrupted))).collect();
            if interrupted() { Err(LabError::Interrupted) } else { results.into_iter().collect() }
        })
    }

    fn up(&self, space: usize) -> Result<(), LabError> {
        let Files { text, secrets, backend } = &self.files;
        let Some(node) = self.node_of(space) else { return Ok(()) };
        let handles = &self.spaces[space];
        // As if a bundle had brought it: the space knows which node it is, and no other node's secrets.
        let mark = InstalledBundle { this: node.clone(), made_from: String::new() };
        let said = handles
            .inside(|| {
                Folder::new(Path::new(DIR), &self.network)
                    .install(text, &secrets.of(node).render(), &mark, Note::default())
                    .map_err(io::Error::other)?;
                let backend = backend.map_or_else(|| "auto".into(), |b| b.to_string());
                let mut command = this_program(&self.network);
                command.args(["-q", "up", "--backend", &backend]);
                command.stdin(Stdio::null()).output()
            })
            .map_err(|e| LabError::failed("bring up", node.to_string(), &e))?;
        if said.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said.stderr).trim().to_string();
        Err(LabError::Up { node: node.clone(), said })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for (space, handles) in self.topology.spaces.iter().zip(&self.spaces) {
            if space.node.is_none() {
                continue;
            }
            // The namespaces take links, routes and rules along; only the agent has to be ended.
            let ended = handles.inside(|| {
                let runtime = Runtime::here(&self.network).map_err(io::Error::other)?;
                match runtime.agent_pid() {
                    Some(pid) => {
                        runtime.kill_agent(pid).map_err(io::Error::other)?;
                        // It became this process's child when its `up` ended; see `build`.
                        let _ = i32::try_from(pid).map(|pid| waitpid(Pid::from_raw(pid), None));
                        Ok(())
                    }
                    None => Ok(()),
                }
            });
            if let Err(error) = ended {
                tracing::warn!("the agent of {} in the lab may still run: {error}", space.name);
            }
        }
    }
}

impl Handles {
    /// Runs something in this space, on a thread of its own.
    ///
    /// # Errors
    /// The space cannot be entered, or what the work returns.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(self.net.as_fd(), self.mount.as_fd())?;
                work()
            });
            inside.join().unwrap_or_else(|_| Err(io::Error::other("the work in the namespace panicked")))
        })
    }
}

/// Moves this thread into a space.
///
/// # Errors
/// The kernel refuses.
pub fn enter(net: BorrowedFd<'_>, mount: BorrowedFd<'_>) -> io::Result<()> {
    // Threads share their root and working directory until told otherwise, and the kernel moves only who shares nothing.
    unshare(CloneFlags::CLONE_FS)?;
    setns(net, CloneFlags::CLONE_NEWNET)?;
    setns(mount, CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

/// This program, for a network of the space that this thread is in.
fn this_program(network: &InterfaceName) -> Command {
    // Also where the file was replaced, or is out of sight in the space.
    let mut command = Command::new("/proc/self/exe");
    command.args(["--dir", DIR, "--network", network.as_str()]).current_dir("/");
    command.env_remove("DOCKER_HOST").env_remove("WGRELAY_DIR").env("NO_COLOR", "1");
    command
}

fn space_handles(forwards: bool) -> io::Result<Handles> {
    thread::scope(|scope| {
        let made = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
            let none: Option<&str> = None;
            // What is mounted from here on stays here.
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, Some("mode=0755"))?;
            own_resolver()?;
            switches(forwards)?;
            Ok(Handles {
                net: File::open("/proc/thread-self/ns/net")?,
                mount: File::open("/proc/thread-self/ns/mnt")?,
            })
        });
        made.join().unwrap_or_else(|_| Err(io::Error::other("panicked")))
    })
}

/// Puts a file of the lab's over the machine's list of name servers, which no node of a lab is to change.
fn own_resolver() -> io::Result<()> {
    const THEIRS: &str = "/etc/resolv.conf";
    const OURS: &str = "/run/resolv.conf";
    // A link leads into /run, which is the lab's already, or is a file of the distribution's.
    if !std::fs::symlink_metadata(THEIRS).is_ok_and(|there| there.is_file()) {
        return Ok(());
    }
    std::fs::write(OURS, "# Generated by wgrelay for a lab\n")?;
    let none: Option<&str> = None;
    mount(Some(OURS), THEIRS, none, MsFlags::MS_BIND, none)?;
    Ok(())
}

/// New namespaces inherit some of the machine's switches; a lab starts from the same ones everywhere. Links take over the
/// defaults when they are made, so this comes before them.
pub(super) fn switches(forwards: bool) -> io::Result<()> {
    let set = |path: &str, value: &str| std::fs::write(PathBuf::from("/proc/sys/net").join(path), value);
    let where_there_is = |path: &str, value: &str| match set(path, value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    set("ipv4/ip_forward", if forwards { "1" } else { "0" })?;
    for which in ["all", "default"] {
        set(&format!("ipv4/conf/{which}/rp_filter"), "0")?;
        // Nobody else is here: an IPv6 address need not wait to be found unique.
        where_there_is(&format!("ipv6/conf/{which}/accept_dad"), "0")?;
    }
    // What a bridge passes on between its own ports is nobody's to forward, though Docker wants it filtered on its hosts.
    for table in ["iptables", "ip6tables", "arptables"] {
        where_there_is(&format!("bridge/bridge-nf-call-{table}"), "0")?;
    }
    Ok(())
}

pub(super) fn ip_batch(lines: &str) -> io::Result<()> {
    let mut child = program::command("ip")
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run ip(8): {e}")))?
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run ip(8): {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")))
}

/// The network with fresh keys, and with endpoints that the lab has.
fn fresh_copy(network: &Network, text: &str, topology: &Topology) -> Result<(String, Secrets), LabError> {
    let mut document = NetworkDocument::parse(text)?;
    let mut secrets = Secrets { private_keys: BTreeMap::new(), preshared_keys: BTreeMap::new() };
    if network.relays().nth(1).is_some() {
        // What is predicted is the network with every spoke where its file has it: nobody goes elsewhere meanwhile by himself.
        document.set_network_value("failover", Some(&Setting::Flag(false)))?;
    }
    for node in network.nodes.values() {
        let key = random::private_key();
        document.set_public_key(&node.name, &key.public_key())?;
        secrets.private_keys.insert(node.name.clone(), key);
        if node.floating.is_some() {
            // A node is one host here, and carries what it carries.
            document.set_value(&node.name, "floating", None)?;
            document.set_value(&node.name, "hosts", None)?;
        }
        if let (Some(endpoint), Some(here)) = (&node.endpoint, topology.underlay.get(&node.name)) {
            let moved = Endpoint { host: EndpointHost::Ip((*here).into()), port: endpoint.port };
            if moved != *endpoint || node.floating.is_some() {
                document.set_value(&node.name, "endpoint", Some(&Setting::Text(moved.to_string())))?;
            }
        }
    }
    for node in network.nodes.values() {
        for (other, endpoint) in &node.endpoint_of {
            let Some(here) = topology.underlay.get(other) else { continue };
            // The lab has one way to each node: at the port that it listens on.
            let port = network.nodes.get(other).and_then(Node::listen_port).unwrap_or(endpoint.port);
            let moved = Endpoint { host: EndpointHost::Ip((*here).into()), port };
            document.set_endpoint_of(&node.name, other, &Setting::Text(moved.to_string()))?;
        }
    }
    if network.preshared_keys {
        for (relay, other) in network.key_pairs() {
            secrets.set_preshared_key(&relay.name, &other.name, random::preshared_key());
        }
    }
    Ok((document.to_string(), secrets))
}
