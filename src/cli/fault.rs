//! Why a command ended early: an exit code, a sentence, a hint, and the problems of a file.

use super::exit::Exit;
use super::output::Output;
use crate::host::HostError;
use crate::model::{Problem, masked};
use crate::store::files::{SECRETS_FILE, StoreError};

/// What went wrong.
#[derive(Debug)]
pub struct Fault {
    /// The exit code.
    pub exit: Exit,
    /// Faults of a file or a network, told first.
    pub problems: Vec<Problem>,
    /// The sentence; empty where the problems say it all.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    /// Makes a failure (exit code 1).
    pub fn failed(message: impl std::fmt::Display, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, problems: Vec::new(), message: message.to_string(), hint: hint.into() }
    }
    /// Makes a usage error (exit code 2). It quotes what was typed, and a key may have been typed in the wrong place.
    pub fn usage(message: impl std::fmt::Display, hint: impl Into<String>) -> Self {
        let (message, hint) = (masked(&message.to_string()), masked(&hint.into()));
        Self { exit: Exit::Usage, ..Self::failed(message, hint) }
    }
    /// Makes a fault of the network file, or of its secrets (exit code 3). What must be put right is told before the rest.
    pub fn invalid(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| !problem.is_error());
        let errors: Vec<&Problem> = problems.iter().filter(|p| p.is_error()).collect();
        let of_secrets = errors.iter().all(|p| p.place.contains(&format!("{SECRETS_FILE}:")));
        let file = if of_secrets { "the file of the secrets" } else { "the network file" };
        let message = match errors.len() {
            0 => String::new(),
            1 => format!("{file} has a fault; nothing was changed"),
            n => format!("{file} has {n} faults; nothing was changed"),
        };
        Self { exit: Exit::Invalid, problems, message, hint: String::new() }
    }
    /// Tells it, on stderr for a person; with `--json` on stdout for a program, too.
    pub fn tell(&self, out: &Output) {
        if out.json {
            // A reader that went away was told nothing else either.
            let _ = out.json(&serde_json::json!({
                "version": 1,
                "error": { "message": self.message, "hint": self.hint },
                "problems": self.problems,
            }));
        }
        for problem in &self.problems {
            out.problem(problem);
        }
        if !self.message.is_empty() {
            out.error(&self.message, &self.hint);
        }
    }
}

impl From<HostError> for Fault {
    fn from(error: HostError) -> Self {
        let hint = error.hint.clone();
        Self::failed(error, hint)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        let (code, path) = match &error {
            StoreError::TooLarge { path } => ("too-large", path),
            StoreError::NotText { path, .. } => ("not-text", path),
            _ => return Self::failed(error, hint),
        };
        // A fault of the whole file is at its beginning.
        let place = format!("{}:1:1", path.display());
        Self::invalid(vec![Problem::error(code, place, error.to_string(), hint)])
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::failed(format!("cannot print: {error}"), "")
    }
}
