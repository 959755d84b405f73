//! The embedded backend as the command line sees it: an agent process that hosts the device, reached by its socket.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::WireGuard;
use crate::apply::HostError;
use crate::control::{self, Answer, MAX_LINE, Request};
use crate::dataplane::{DeviceChange, DeviceReport};
use crate::host::agent_process::Runtime;
use crate::model::InterfaceName;

/// How long an agent may take to answer: a change of 5,000 peers takes well under a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a new agent may take to make its interface.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Asks the agent of a network.
///
/// # Errors
/// The socket does not answer in time, or what it says is not ours.
pub fn ask(runtime: &Runtime, request: &Request) -> Result<Answer, HostError> {
    let socket = runtime.control_socket();
    let fault = |cause: String| HostError::new("ask the agent at", socket.display().to_string(), cause);
    let mut stream = UnixStream::connect(&socket).map_err(|e| fault(e.to_string()))?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&stream, Some(ANSWER_WITHIN)).map_err(|e| fault(e.to_string()))?;
    }
    let bytes = zeroize::Zeroizing::new(control::line(request).map_err(|e| fault(e.to_string()))?);
    stream.write_all(&bytes).map_err(|e| fault(e.to_string()))?;
    let mut line = zeroize::Zeroizing::new(Vec::new());
    BufReader::new(stream.take(MAX_LINE as u64))
        .read_until(b'\n', &mut line)
        .map_err(|e| fault(e.to_string()))?;
    serde_json::from_slice(&line).map_err(|_| fault("an answer that this version does not understand".into()))
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

    fn spawn(&self, mtu: u16) -> Result<Child, HostError> {
        let fault = |e: &dyn std::fmt::Display| HostError::new("start", "the agent", e);
        let (program, args) = self.command.split_first().ok_or_else(|| fault(&"no command"))?;
        let log = self.runtime.agent_log().map_err(|e| fault(&e))?;
        let err = log.try_clone().map_err(|e| fault(&e))?;
        Command::new(program)
            .args(args)
            .args(["--attach", &mtu.to_string()])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(err))
            // A group of its own: a Ctrl-C meant for `up` must not end the agent.
            .process_group(0)
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
    fn create(&mut self, _name: &InterfaceName, mtu: u16) -> Result<(), HostError> {
        self.runtime.clear_stale_agent()?;
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
                let _ = child.kill();
                let _ = child.wait();
                return Err(HostError::new(
                    "start",
                    "the embedded data plane",
                    "it was not ready within 10 s",
                ));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn configure(&mut self, _name: &InterfaceName, change: &DeviceChange) -> Result<(), HostError> {
        self.order(&Request::Configure { change: Box::new(change.clone()) }).map(|_| ())
    }

    fn report(&mut self, _name: &InterfaceName) -> Result<Option<DeviceReport>, HostError> {
        match self.order(&Request::Report)? {
            Answer::Report { report } => Ok(Some(*report)),
            _ => Ok(None),
        }
    }

    fn delete(&mut self, _name: &InterfaceName) -> Result<(), HostError> {
        if let Some(pid) = agent_pid(&self.runtime) {
            self.order(&Request::Stop)?;
            let start = Instant::now();
            while self.runtime.agent_pid().is_some() {
                if start.elapsed() > END_WITHIN {
                    tracing::warn!(pid, "the agent did not end in time and is killed");
                    self.runtime.kill_agent(pid)?;
                    break;
                }
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        self.runtime.clear_stale_agent()
    }
}
