//! One transaction: snapshot, apply, verify, keep or undo.

use crate::host::{Host, HostError, Scope};
use crate::plan::{Backend, HostState, Line, Plan, diff};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was changed; empty: the host was as wanted already.
    pub plan: Plan,
}

/// Why the host is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A change failed, and what had been done was undone.
    #[error("{error}")]
    Undone {
        /// What failed.
        error: HostError,
    },
    /// Every change went through, but the host is not as wanted; it was undone.
    #[error("applied, but the host is not as wanted: {}", describe(.differences))]
    NotVerified {
        /// What still differs.
        differences: Vec<Line>,
    },
    /// Something failed, and so did undoing it.
    #[error("{error}; undoing it failed too: {undo}")]
    Stuck {
        /// What failed first.
        error: Box<Failure>,
        /// What failed while undoing.
        undo: HostError,
    },
    /// The host could not be read; nothing was changed.
    #[error("{0}")]
    Unread(HostError),
}

fn describe(lines: &[Line]) -> String {
    let text = |l: &Line| format!("{} {}", l.kind, l.target);
    lines.iter().take(3).map(text).collect::<Vec<_>>().join(", ")
}

/// Makes the host as `wanted`, or leaves it as it was.
/// `before` is the state that undoing goes back to, as observed just now, with the values that switches had.
pub fn apply<H: Host>(
    host: &mut H,
    scope: &Scope,
    before: &HostState,
    wanted: &HostState,
    backend: Backend,
) -> Result<Outcome, Failure> {
    apply_plan(host, scope, before, wanted, diff(before, wanted), backend)
}

/// The same for a caller who knows the difference of the two already: it takes its time where peers are many.
///
/// # Errors
/// See [`apply`].
pub fn apply_plan<H: Host>(
    host: &mut H,
    scope: &Scope,
    before: &HostState,
    wanted: &HostState,
    plan: Plan,
    backend: Backend,
) -> Result<Outcome, Failure> {
    if plan.is_empty() {
        return Ok(Outcome { plan });
    }
    let failure = match host.apply(&scope.network, backend, &plan.changes) {
        Err(error) => Failure::Undone { error },
        Ok(()) => match verify(host, scope, wanted) {
            Ok(differences) if differences.is_empty() => return Ok(Outcome { plan }),
            Ok(differences) => Failure::NotVerified { differences },
            Err(error) => Failure::Undone { error },
        },
    };
    match undo(host, scope, before, backend) {
        Ok(()) => Err(failure),
        Err(undo) => Err(Failure::Stuck { error: Box::new(failure), undo }),
    }
}

fn verify<H: Host>(host: &mut H, scope: &Scope, wanted: &HostState) -> Result<Vec<Line>, HostError> {
    // What was just applied is what the observation is to be read with.
    tracing::debug!("applied; looking again");
    let scope = Scope { applied: Some(wanted.to_record()), ..scope.clone() };
    let now = host.observe(&scope)?;
    tracing::debug!("looked again");
    Ok(diff(&now, wanted).lines())
}

/// Goes back, past errors: each change is tried by itself, and the first error is reported at the end.
fn undo<H: Host>(host: &mut H, scope: &Scope, before: &HostState, backend: Backend) -> Result<(), HostError> {
    let now = host.observe(scope)?;
    let backend = before.device.as_ref().map_or(backend, |d| d.backend);
    let mut first = None;
    for change in diff(&now, before).changes {
        if let Err(error) = host.apply(&scope.network, backend, std::slice::from_ref(&change)) {
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(()), Err)
}
