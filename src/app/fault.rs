//! Why a procedure ended early: what kind of end it is, a sentence, a hint, and the problems of a file.

use super::refused::with_told;
use super::revisions::NotRestored;
use super::transaction::Failure;
use super::up::Refusal;
use crate::host::HostError;
use crate::model::{Problem, masked};
use crate::store::files::{SECRETS_FILE, StoreError};

/// What kind of end it is; a shell makes an exit code or a status of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It failed.
    Failed,
    /// What was asked for makes no sense.
    Usage,
    /// The network file is invalid, or what belongs to it.
    Invalid,
    /// The answer is no.
    No,
    /// It was applied, did not verify, and was undone.
    Undone,
    /// What was to be changed is not what it was any more.
    Conflict,
}

/// What a procedure had changed when it ended, as far as its sentence is to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The sentence says all that there is to say.
    Untold,
    /// Nothing.
    Unchanged,
    /// What restricts was put right or taken away, and nothing added.
    Restricted,
}

/// What went wrong.
#[derive(Debug)]
pub struct Fault {
    /// What kind of end it is.
    pub kind: FaultKind,
    /// Faults of a file or a network, told first.
    pub problems: Vec<Problem>,
    /// The sentence, without what was [`Self::left`]; empty where the problems say it all.
    pub message: String,
    /// What had been changed by then.
    pub left: Left,
    /// What to do.
    pub hint: String,
}

impl Fault {
    /// Makes a failure.
    pub fn failed(message: impl std::fmt::Display, hint: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Failed,
            problems: Vec::new(),
            message: message.to_string(),
            left: Left::Untold,
            hint: hint.into(),
        }
    }
    /// The same, where it is worth saying that nothing was changed.
    #[must_use]
    pub fn unchanged(self) -> Self {
        Self { left: Left::Unchanged, ..self }
    }
    /// The whole sentence; empty where the problems say it all.
    pub fn sentence(&self) -> String {
        let left = match self.left {
            Left::Untold => return self.message.clone(),
            Left::Unchanged => "nothing was changed",
            Left::Restricted => "nothing was added",
        };
        if self.message.is_empty() { String::new() } else { format!("{}; {left}", self.message) }
    }
    /// Makes a usage error. It quotes what was typed, and a key may have been typed in the wrong place.
    pub fn usage(message: impl std::fmt::Display, hint: impl Into<String>) -> Self {
        let (message, hint) = (masked(&message.to_string()), masked(&hint.into()));
        Self { kind: FaultKind::Usage, ..Self::failed(message, hint) }
    }
    /// Makes a fault of the network file, or of its secrets. What must be put right is told before the rest.
    pub fn invalid(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| !problem.is_error());
        let errors: Vec<&Problem> = problems.iter().filter(|p| p.is_error()).collect();
        let of_secrets = errors.iter().all(|p| p.place.contains(&format!("{SECRETS_FILE}:")));
        let file = if of_secrets { "the file of the secrets" } else { "the network file" };
        let message = match errors.len() {
            0 => String::new(),
            1 => format!("{file} has a fault"),
            n => format!("{file} has {n} faults"),
        };
        Self { kind: FaultKind::Invalid, problems, ..Self::failed(message, "").unchanged() }
    }
}

impl From<NotRestored> for Fault {
    fn from(error: NotRestored) -> Self {
        match error {
            NotRestored::Store(error) => error.into(),
            NotRestored::Invalid(problems) => {
                let problems = problems.into_iter().filter(Problem::is_error).collect();
                let message = "it holds no network that is valid now";
                Self { kind: FaultKind::Invalid, problems, ..Self::failed(message, "").unchanged() }
            }
            not @ NotRestored::NotABackup(_) => Self::failed(not, "`wgrelay backup FILE` writes one"),
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
            StoreError::Conflict { .. } | StoreError::Shared { code: "store-changed", .. } => {
                return Self { kind: FaultKind::Conflict, ..Self::failed(error, hint) };
            }
            _ => return Self::failed(error, hint),
        };
        // A fault of the whole file is at its beginning.
        let place = format!("{}:1:1", path.display());
        Self::invalid(vec![Problem::error(code, place, error.to_string(), hint)])
    }
}

impl From<Refusal> for Fault {
    fn from(error: Refusal) -> Self {
        match error {
            Refusal::Problems(problems, restricted) => {
                let message = if problems.iter().filter(|p| p.is_error()).count() == 1 {
                    "this host cannot take the network as it is"
                } else {
                    "this host cannot take the network as it is, for more than one reason"
                };
                with_told(Self { problems, ..Self::failed(message, "").unchanged() }, &restricted)
            }
            Refusal::Host(error) => error.into(),
            Refusal::Failure(failure) => failure.into(),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Undone { error } => {
                let hint = error.hint.clone();
                Self::failed(format!("{error}; what had been changed was undone"), hint)
            }
            Failure::Unread(error) => error.into(),
            not @ Failure::NotVerified { .. } => Self {
                kind: FaultKind::Undone,
                ..Self::failed(not, "something else on this host changes it back: `wgrelay plan` shows what")
            },
            stuck @ Failure::Stuck { .. } => Self::failed(stuck, "`wgrelay down` takes away what is left"),
        }
    }
}
