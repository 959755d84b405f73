//! What every command starts from: the procedures' session, and where words go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::args::Global;
use super::events::Talk;
use super::output::Output;
use super::typed::Typed;
use crate::app::{Asked, Session};
use crate::model::{NodeName, Timestamp, quoted};

/// Where networks are unless told otherwise.
const DEFAULT_DIR: &str = "/etc/wgrelay";

/// The options and the surroundings of one run.
#[derive(Clone)]
pub struct Context {
    /// Where words go.
    pub out: Output,
    /// What the procedures start from.
    session: Session,
}

impl std::ops::Deref for Context {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Context {
    /// Makes the context of a run.
    pub fn new(global: Global, out: Output) -> Self {
        let named = global.dir.or_else(dir_of_environment);
        let asked = Asked {
            dir_is_named: named.is_some(),
            dir: named.unwrap_or_else(|| PathBuf::from(DEFAULT_DIR)),
            network: global.network,
            node: global.node,
            command: Some(command_line()),
            clock: now,
        };
        let out = proposing(out, &asked.dir, asked.network.as_deref(), asked.node.as_ref());
        let talk = Arc::new(Talk::new(out.clone()));
        Self { out, session: Session::new(asked, talk) }
    }

    /// Returns the same context at this moment, for a command that goes on.
    pub fn later(&self) -> Self {
        Self { session: self.session.later(), ..self.clone() }
    }

    /// Returns the same with the folder's one name, for commands that record it or compare it with what is recorded.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self { session: self.session.settled(), ..self.clone() }
    }

    /// Returns the same with a folder of another name, which proposed commands then name, too.
    #[must_use]
    pub fn in_folder(&self, dir: PathBuf) -> Self {
        let out = proposing(self.out.clone(), &dir, self.network_as_typed(), self.node_as_typed());
        let talk = Arc::new(Talk::new(out.clone()));
        Self { session: self.session.in_folder(dir, talk), out }
    }
}

/// Lets what is printed propose commands for the same network in the same folder.
fn proposing(out: Output, dir: &Path, network: Option<&str>, node: Option<&NodeName>) -> Output {
    let dir = Some(dir).filter(|dir| *dir != Path::new(DEFAULT_DIR));
    out.proposing(Typed::new(dir, network, node.map(NodeName::as_str)))
}

#[expect(clippy::disallowed_methods, reason = "the command line is where the clock is read")]
fn now() -> Timestamp {
    SystemTime::now().into()
}

#[expect(clippy::disallowed_methods, reason = "the environment is the command line's to read")]
fn dir_of_environment() -> Option<PathBuf> {
    std::env::var_os("WGRELAY_DIR").filter(|d| !d.is_empty()).map(PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "the arguments are the command line's to read")]
fn command_line() -> String {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    std::iter::once("wgrelay".into()).chain(words).collect::<Vec<String>>().join(" ")
}
