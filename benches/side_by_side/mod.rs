//! Two programs doing the same work in one run, in turns, and the table that tells it. A time is printed, never asserted;
//! that both sides did the same work is asserted by the bench.
//!
//! Every bench takes `--smoke`: the smallest size, one round, so that it cannot rot. Numbers of a smoke are worth nothing.
//! WGRELAY_PROGRAM=PATH measures another build of the program.

pub mod measured;
pub mod table;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much a bench is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As much as docs/performance.md tells of.
    Full,
    /// The least that runs every line.
    Smoke,
}

impl Effort {
    /// Reads the program's arguments; what cargo adds (`--bench`) is passed over.
    #[must_use]
    pub fn asked_for() -> Self {
        if std::env::args().any(|a| a == "--smoke") { Self::Smoke } else { Self::Full }
    }

    /// Returns the first where everything is to be done, else the second.
    #[must_use]
    pub fn pick<T>(self, full: T, smoke: T) -> T {
        match self {
            Self::Full => full,
            Self::Smoke => smoke,
        }
    }
}

/// Returns the program that is measured: WGRELAY_PROGRAM, else the one that cargo built with the bench.
#[must_use]
pub fn program() -> PathBuf {
    std::env::var_os("WGRELAY_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_wgrelay").into(), PathBuf::from)
}

/// Prints what was measured on: processors, kernel, and which build of the program.
#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
pub fn print_machine() {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // The series says enough; the rest of a release may name a machine.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let built_here = std::env::var_os("WGRELAY_PROGRAM").is_none();
    let build = match (built_here, cfg!(debug_assertions)) {
        (true, true) => "debug build: its times mean nothing".to_owned(),
        (true, false) => "release build".to_owned(),
        (false, _) => program().display().to_string(),
    };
    println!("{cores} cores ({}), Linux {kernel}, {build}\n", model.trim_start_matches([' ', '\t', ':']));
}

/// Runs a command to its end and returns what it said and how long it took; it must exit with this code.
///
/// # Panics
/// Where the command does not start or ends otherwise: a bench measures work that is done.
#[track_caller]
pub fn timed(code: i32, command: &mut Command, spawn: impl FnOnce(&mut Command) -> Child) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let child = spawn(command);
    let output = child.wait_with_output().expect("a child can be waited for");
    let took = began.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(code), "{command:?}: {}: {stderr}", output.status);
    Run { took, stdout: String::from_utf8_lossy(&output.stdout).into_owned(), stderr }
}

/// A command that did its work.
#[derive(Debug)]
pub struct Run {
    /// From its start to its end.
    pub took: Duration,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}
