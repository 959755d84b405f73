//! What a procedure tells while it is at work, in words.

use std::io::IsTerminal as _;

use super::fault;
use super::output::{Output, Role};
use super::progress::Progress;
use crate::app::{Event, Listener, Work, Working};
use crate::model::{Problem, Severity};

/// Says it on stderr.
pub struct Talk {
    out: Output,
}

impl Talk {
    /// Says it there.
    pub const fn new(out: Output) -> Self {
        Self { out }
    }
}

impl Listener for Talk {
    fn hear(&self, event: Event) {
        let out = &self.out;
        match event {
            Event::Problem(problem) => out.problem(&problem),
            Event::PromisesBroken(problems) => {
                for problem in problems {
                    out.insist_on(&Problem { severity: Severity::Warning, ..problem });
                }
                let word = out.paint_talk(Role::Warn, "warning:");
                out.insist(&format!(
                    "{word} promises are broken, and --force applies the network all the same"
                ));
            }
            Event::Failed(fault) => fault::talk(&fault, out),
            Event::NoLockFile(folder) => out.say(&format!(
                "{} is read-only and has no lock file: do not run two commands at once",
                folder.display()
            )),
            Event::AgentReplaced => {
                out.say("another version's agent carried the packets; this one's takes over");
            }
            Event::Kept => out.say("the change that waited for a confirmation is kept"),
            Event::RolledBack { network, to_before } => {
                let what = if to_before { "is as it was before that change" } else { "is down again" };
                out.say(&format!("{network} was not confirmed in time, and {what}"));
            }
            Event::Up { network, node, backend } => {
                // A service manager's log has no keys to press.
                let end = if std::io::stdin().is_terminal() { "; Ctrl-C takes it down" } else { "" };
                out.say(&format!("{network} is up: node {node}, {backend} backend{end}"));
            }
            Event::NewerFile => {
                out.say("the file is newer than what was last up, and waits: `wgrelay up` applies it");
            }
            Event::AddressMissing(ip) => {
                out.say(&format!("{ip} is no address of this host now: metrics are served once it is"));
            }
        }
    }

    fn begin(&self, work: Work) -> Working {
        let what = match work {
            Work::WaitingForFolder => "waiting for another command that is changing this network".into(),
            Work::WaitingForHost(network) => {
                format!("waiting for another command that is changing {network}")
            }
            Work::BringingUp { network, nodes } => format!("bringing up {network}: {nodes} nodes"),
            Work::TakingDown(network) => format!("taking down {network}"),
            Work::Comparing => "comparing this host with the network".into(),
            Work::Tracing => "following the packet".into(),
            Work::Checking => "working out who reaches whom".into(),
        };
        Some(Box::new(Progress::of(&self.out, what)))
    }
}
