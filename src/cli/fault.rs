//! How a command that ended early says why.

use super::exit::Exit;
use super::output::Output;

pub use crate::app::{Fault, FaultKind};

impl From<FaultKind> for Exit {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Failed | FaultKind::Conflict => Self::Failed,
            FaultKind::Usage => Self::Usage,
            FaultKind::Invalid => Self::Invalid,
            FaultKind::No => Self::No,
            FaultKind::Undone => Self::Undone,
        }
    }
}

/// Tells it, on stderr for a person; with `--json` on stdout for a program, too.
pub fn tell(fault: &Fault, out: &Output) {
    if out.json {
        // A reader that went away was told nothing else either.
        let _ = out.json(&serde_json::json!({
            "version": 1,
            "error": { "message": fault.sentence(), "hint": fault.hint },
            "problems": fault.problems,
        }));
    }
    talk(fault, out);
}

/// Tells it on stderr alone: the command goes on.
pub fn talk(fault: &Fault, out: &Output) {
    for problem in &fault.problems {
        out.problem(problem);
    }
    if !fault.message.is_empty() {
        out.error(&fault.sentence(), &fault.hint);
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::failed(format!("cannot print: {error}"), "")
    }
}
