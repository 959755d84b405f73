//! The log: warnings on stderr, and more for the agent and with `-v`. It never ends the program.

use tracing_subscriber::filter::LevelFilter;

use super::args::Command;
use crate::app::Log;

/// Starts to log. A process that was started without a terminal has its log to itself.
pub fn log(verbose: u8, command: &Command) {
    let (agent, own) = match command {
        Command::Run(args) => (true, args.is_detached()),
        Command::Confirm(args) => (false, args.wait),
        _ => (false, false),
    };
    let level = match (verbose, agent) {
        (0, false) => LevelFilter::WARN,
        (0, true) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::sync::Arc::new(Log::to_stderr(own)))
        // Its own way to tell of a failed write is a print that panics.
        .log_internal_errors(false)
        .with_target(false)
        .init();
}
