//! The embedded backend as the command line sees it: an agent process that hosts the device, reached by its socket.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use zeroize::Zeroizing;

use super::WireGuard;
use crate::daemon::protocol::{self, Answer, MAX_LINE, Request, packed};
use crate::dataplane::{DeviceChange, DeviceReport};
use crate::host::HostError;
use crate::host::agent_process::Runtime;
use crate::host::confine;
use crate::model::{InterfaceName, NodeName};
use crate::status::State;
use crate::store::unix_socket::connect_within;

/// How long an agent may take to answer: a change of 5,000 peers takes well under a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long an agent may take to say hello: it has nothing to look up.
const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// How much of an answer is read at a time, in bytes.
const PIECE: usize = 64 << 10;
/// How long an agent that cannot be asked may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);
/// How long a new agent may take to make its interface. The kernel makes and removes interfaces one after another, and one of
/// another network namespace can keep it for seconds; an agent that fails ends, and is not waited for.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long an agent may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Asks the agent of a network.
///
/// # Errors
/// The socket does not answer in time, or what it says is not ours.
pub fn ask(runtime: &Runtime, request: &Request) -> Result<Answer, HostError> {
    ask_within(runtime, request, ANSWER_WITHIN)
}

fn ask_within(runtime: &Runtime, request: &Request, limit: Duration) -> Result<Answer, HostError> {
    converse(runtime, request, limit).map(|(answer, _)| answer)
}

/// Asks for an answer that has bytes behind its line.
fn ask_for_bytes(runtime: &Runtime, request: &Request) -> Result<(Answer, Zeroizing<Vec<u8>>), HostError> {
    converse(runtime, request, ANSWER_WITHIN)
}

fn converse(
    runtime: &Runtime,
    request: &Request,
    limit: Duration,
) -> Result<(Answer, Zeroizing<Vec<u8>>), HostError> {
    let socket = runtime.control_socket();
    let fault = |cause: String| {
        HostError::new("ask the agent at", socket.display().to_string(), cause)
            .hint("`wgrelay down` ends an agent that does not answer")
    };
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => fault("it does not answer".into()),
        _ => fault(e.to_string()),
    };
    let mut stream = connect_within(&socket, limit).map_err(io)?;
    let bytes = Zeroizing::new(protocol::line(request).map_err(|e| fault(e.to_string()))?);
    stream.write_all(&bytes).map_err(io)?;
    let (mut line, mut piece) = (Zeroizing::new(Vec::new()), Zeroizing::new(vec![0; PIECE]));
    // Read by hand: a reader's buffer would keep keys that nobody wipes.
    let end = loop {
        let length = match stream.read(&mut piece) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(io)?,
        };
        let begins = line.len();
        line.extend_from_slice(&piece[..length]);
        if let Some(at) = line[begins..].iter().position(|byte| *byte == b'\n') {
            break begins + at;
        }
        if length == 0 || line.len() > MAX_LINE {
            return Err(fault("it ended before it answered".into()));
        }
    };
    let unknown = || fault("an answer that this version does not understand".into());
    let answer = serde_json::from_slice(&line[..end]).map_err(|_| unknown())?;
    let length = match answer {
        Answer::Status { length, .. } | Answer::Packed { length } => length,
        _ => 0,
    };
    let length = usize::try_from(length).ok().filter(|n| *n <= MAX_LINE).ok_or_else(unknown)?;
    let mut behind = Zeroizing::new(vec![0; length]);
    let came = &line[end + 1..];
    let known = came.len().min(length);
    behind[..known].copy_from_slice(&came[..known]);
    stream.read_exact(&mut behind[known..]).map_err(io)?;
    Ok((answer, behind))
}

/// Asks the agent for what `status --json` prints, and in one word; `None`: none answers, or it is another
/// program, or it cannot tell.
pub fn ask_status(runtime: &Runtime, dir: &Path) -> Option<(Vec<u8>, State)> {
    // One that hangs is found out soon.
    if !is_responsive(runtime) {
        return None;
    }
    let request = Request::Status { dir: dir.to_path_buf(), client_id: runtime.client_id() };
    let (answer, mut json) = ask_for_bytes(runtime, &request).ok()?;
    let Answer::Status { state, .. } = answer else { return None };
    Some((std::mem::take(&mut json), state))
}

/// Has spokes leave a relay, or has it carry again.
///
/// # Errors
/// No agent answers, or it cannot.
pub fn ask_to_drain(runtime: &Runtime, relay: &NodeName, drains: bool) -> Result<(), HostError> {
    if !is_responsive(runtime) {
        return Err(HostError::new("drain", relay.to_string(), "no agent runs here")
            .hint("`wgrelay service install` starts one, or `wgrelay run`"));
    }
    match ask(runtime, &Request::Drain { relay: relay.clone(), drains })? {
        Answer::Done => Ok(()),
        Answer::Refused { message, hint } => {
            Err(HostError::new("drain", relay.to_string(), message).hint(hint))
        }
        _ => {
            Err(HostError::new("drain", relay.to_string(), "an answer that this version does not understand"))
        }
    }
}

/// Says whether an agent answers at once.
pub fn is_responsive(runtime: &Runtime) -> bool {
    matches!(ask_within(runtime, &Request::Hello, HELLO_WITHIN), Ok(Answer::Hello { .. }))
}

/// Says which process hosts the device, if one answers.
pub fn agent_pid(runtime: &Runtime) -> Option<u32> {
    match ask(runtime, &Request::Hello) {
        Ok(Answer::Hello { pid, .. }) => Some(pid),
        _ => None,
    }
}

/// The agent of one network, and how to start it.
#[derive(Debug)]
pub struct Embedded {
    runtime: Runtime,
    /// `wgrelay run …`, without the MTU.
    command: Vec<String>,
}

impl Embedded {
    /// Makes the seam; `command` is what starts an agent for this network.
    pub fn new(runtime: Runtime, command: Vec<String>) -> Self {
        Self { runtime, command }
    }

    fn order(&self, request: &Request) -> Result<Answer, HostError> {
        match ask(&self.runtime, request)? {
            Answer::Refused { message, hint } => {
                Err(HostError::new("configure", "the embedded interface", message).hint(hint))
            }
            answer => Ok(answer),
        }
    }

    fn reported(&self) -> Result<Option<DeviceReport>, HostError> {
        // A report of many peers may take its time; one that hangs is found out sooner.
        ask_within(&self.runtime, &Request::Hello, HELLO_WITHIN)?;
        if let (Answer::Packed { .. }, bytes) = ask_for_bytes(&self.runtime, &Request::PackedReport)?
            && let Some(report) = packed::unpack(&bytes)
        {
            return Ok(Some(report));
        }
        // An agent of before, or one that has to say why not.
        match self.order(&Request::Report)? {
            Answer::Report { report } => Ok(Some(*report)),
            _ => Ok(None),
        }
    }

    /// Says whether the agent is on its way out, told so by a command that was killed meanwhile: it answers nobody any more.
    fn is_ending(&self) -> bool {
        let start = Instant::now();
        while self.runtime.agent_pid().is_some() {
            if start.elapsed() > GRACE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        true
    }

    /// Starts an agent that brings up what is on record, which may be nothing as yet.
    ///
    /// # Errors
    /// It is not there within its time.
    pub fn start_standing_by(&self) -> Result<(), HostError> {
        self.runtime.clear_stale_agent()?;
        self.start(0)
    }

    fn start(&self, mtu: u16) -> Result<(), HostError> {
        let mut child = self.spawn(mtu)?;
        let start = Instant::now();
        loop {
            if agent_pid(&self.runtime).is_some() {
                return Ok(());
            }
            if let Ok(Some(_)) = child.try_wait() {
                return Err(HostError::new("start", "the embedded data plane", self.last_words()));
            }
            if start.elapsed() > READY_WITHIN {
                // With the agent that it started: they are a group.
                let _ = i32::try_from(child.id()).map(|id| killpg(Pid::from_raw(id), Signal::SIGKILL));
                let _ = child.kill();
                let _ = child.wait();
                let words = self.last_words();
                let said = if words.is_empty() { String::new() } else { format!("; it said: {words}") };
                return Err(HostError::new(
                    "start",
                    "the embedded data plane",
                    format!("it was not ready within {} s{said}", READY_WITHIN.as_secs()),
                ));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn spawn(&self, mtu: u16) -> Result<Child, HostError> {
        let fault = |e: &dyn std::fmt::Display| HostError::new("start", "the agent", e);
        let (program, args) = self.command.split_first().ok_or_else(|| fault(&"no command"))?;
        let log = self.runtime.agent_log().map_err(|e| fault(&e))?;
        let err = log.try_clone().map_err(|e| fault(&e))?;
        confine::detached(program)
            .args(args)
            .args(["--attach", &mtu.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(err))
            // It makes a session of its own: neither a Ctrl-C meant for `up` nor a terminal that closes ends it.
            .spawn()
            .map_err(|e| fault(&e))
    }

    /// Returns what the agent wrote before it ended, for the error message.
    fn last_words(&self) -> String {
        let mut text = String::new();
        if let Ok(file) = File::open(self.runtime.agent_log_path()) {
            let _ = file.take(4096).read_to_string(&mut text);
        }
        text.lines().map(|l| l.trim_start_matches("error: ").trim()).collect::<Vec<_>>().join("; ")
    }
}

impl WireGuard for Embedded {
    fn create(&mut self, name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        // One that lives has no interface any more: it is ending, or hangs.
        if self.runtime.agent_pid().is_some() {
            self.delete(name)?;
        }
        self.runtime.clear_stale_agent()?;
        self.start(mtu)
    }

    fn configure(&mut self, _name: &InterfaceName, change: &DeviceChange) -> Result<(), HostError> {
        self.order(&Request::Configure { change: Box::new(change.clone()) }).map(|_| ())
    }

    fn report(&mut self, _name: &InterfaceName) -> Result<Option<DeviceReport>, HostError> {
        match self.reported() {
            Err(_) if self.is_ending() => Ok(None),
            told => told,
        }
    }

    fn delete(&mut self, name: &InterfaceName) -> Result<(), HostError> {
        // The agent itself comes here too, on its way out.
        let other = || self.runtime.agent_pid().filter(|pid| *pid != std::process::id());
        let is_there = || other().is_some() || holder(name).is_some();
        let supervisor = other().and_then(supervisor_of);
        // What it answers does not matter, only whether it goes.
        let asked = ask_within(&self.runtime, &Request::Stop, HELLO_WITHIN).is_ok();
        let mut killed = None;
        let start = Instant::now();
        while is_there() {
            // One that cannot be asked may be on its way out already.
            let limit = if asked { END_WITHIN } else { GRACE };
            if start.elapsed() > limit {
                let pid = other().or_else(|| holder(name));
                tracing::warn!(pid, "the agent does not end by itself and is killed");
                if let Some(pid) = pid {
                    // First who would start another one.
                    supervisor_of(pid).map_or(Ok(()), kill)?;
                    kill(pid)?;
                    killed = Some(pid);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        let start = Instant::now();
        // Its sockets go after its interface, and who looked after it goes last.
        let is_left = || is_there() || [killed, supervisor].into_iter().flatten().any(is_running);
        while is_left() && start.elapsed() < END_WITHIN {
            std::thread::sleep(Duration::from_millis(3));
        }
        self.runtime.clear_stale_agent()
    }
}

/// Finds who starts an agent again when it dies.
fn supervisor_of(agent: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{agent}/status")).ok()?;
    let parent: u32 = status.lines().find_map(|l| l.strip_prefix("PPid:"))?.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{parent}/cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    (is_this_program(parent) && words.contains(&&b"run"[..]) && words.contains(&&b"--attach"[..]))
        .then_some(parent)
}

/// Says whether a process runs this program, or the file that was in its place before.
fn is_this_program(pid: u32) -> bool {
    let program =
        |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).ok()?.file_name().map(OsStr::to_owned);
    // A program that was replaced while it runs is listed as deleted.
    let name = |os: std::ffi::OsString| os.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    let (theirs, own) = (program(&pid.to_string()).map(name), program("self").map(name));
    theirs.is_some() && theirs == own
}

/// Says whether a network's agent runs another file than this process: the one before an upgrade.
pub fn is_outdated(runtime: &Runtime) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let file = |pid: &str| {
        let about = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        Some((about.dev(), about.ino()))
    };
    let agent = runtime.agent_pid().and_then(|pid| file(&pid.to_string()));
    agent.is_some_and(|agent| file("self").is_some_and(|own| own != agent))
}

/// Finds the agent behind a TUN interface of this network namespace, also where its pid file and its socket were deleted:
/// its descriptor says which interface it drives (`iff:` in /proc/PID/fdinfo). Another program's interface is none of ours.
fn holder(name: &InterfaceName) -> Option<u32> {
    nix::net::if_::if_nametoindex(name.as_str()).ok()?;
    let here = std::fs::read_link("/proc/self/ns/net").ok()?;
    let ours = |pid: &u32| *pid != std::process::id() && is_this_program(*pid);
    let pids = std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(ours)
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns == here))
        .find(|pid| {
            let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
            let mut texts = infos.filter_map(|e| std::fs::read_to_string(e.path()).ok());
            texts.any(|text| {
                text.lines().any(|l| l.strip_prefix("iff:").is_some_and(|n| n.trim() == name.as_str()))
            })
        })
}

/// Says whether a process still holds anything: one that waits to be reaped does not. Its first thread may be dead before the
/// others, and its files are closed by the last.
fn is_running(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.into_iter().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state comes behind the program's name in brackets, which may hold anything (proc(5)).
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

fn kill(pid: u32) -> Result<(), HostError> {
    let fault = |e: &dyn std::fmt::Display| HostError::new("end", format!("process {pid}"), e);
    let id = i32::try_from(pid).map_err(|e| fault(&e))?;
    match nix::sys::signal::kill(Pid::from_raw(id), Signal::SIGKILL) {
        Err(e) if e != nix::errno::Errno::ESRCH => Err(fault(&e)),
        _ => Ok(()),
    }
}
