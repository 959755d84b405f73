//! What a route is: how it is called, who may, what it is about and what it takes. The table of them is `routes`.

use super::ask::{Ask, Reply};
use super::fields::{Field, Kind, may};
use super::procedure::Refused;

/// How a route is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads, and changes nothing.
    Get,
    /// Changes. So the others.
    Post,
    /// Replaces.
    Put,
    /// Takes away.
    Delete,
}

impl Method {
    /// Returns its name in HTTP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody: nothing of the network is in its answer.
    Public,
    /// Whoever signed in, about himself.
    Own,
    /// Whose device it is: the node that the path names is one of his own.
    Device,
    /// The same, once the password was typed again: its key is in the answer.
    DeviceKeys,
    /// Whoever may look.
    Read,
    /// Whoever may change the network.
    Operate,
    /// The same, once the password was typed again: keys are in the answer.
    Keys,
    /// Whoever says who may what.
    Admin,
}

/// What a route is about: a token of one node may call those of that node alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concerns {
    /// The network.
    Network,
    /// The node that its path names.
    Node,
}

/// What answers.
pub type Does = fn(&Ask<'_>) -> Result<Reply, Refused>;

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// How it is called.
    pub method: Method,
    /// Where: `/nodes/{node}`.
    pub path: &'static str,
    /// Who may.
    pub scope: Scope,
    /// What it is about.
    pub concerns: Concerns,
    /// What it takes besides its path: in the query where it reads or takes away, else in the body.
    pub takes: &'static [Field],
    /// What it is for, for the description of the API.
    pub summary: &'static str,
    /// What answers.
    pub does: Does,
}

/// What forms send besides: the session's token.
pub const CSRF: Field = may("csrf", Kind::Line(64));

impl Route {
    /// Says whether it is of the API.
    pub fn is_api(&self) -> bool {
        self.path.starts_with("/api/")
    }
    /// Says whether open pages ask for it by themselves: that is no use of a session, and keeps none alive.
    pub fn is_asked_by_itself(&self) -> bool {
        matches!(self.path.rsplit('/').next(), Some("events" | "live"))
    }
    /// Says whether it changes something.
    pub fn changes(&self) -> bool {
        !matches!(self.method, Method::Get)
    }
    /// Returns how long its body may be, in bytes: as long as what it takes, however it is written.
    pub fn body_limit(&self) -> usize {
        let of = |field: &Field| match field.kind {
            Kind::Line(most) | Kind::Text(most) => most,
            Kind::Lines(most) => 64 * (most + 4),
            Kind::Number(_) | Kind::Flag => 32,
        };
        if !self.changes() {
            return 0;
        }
        // A form writes a byte as three characters, and JSON as six, of what is no letter: a line is short, and a text is not all so.
        let longest = |field: &Field| match field.kind {
            Kind::Text(_) => of(field) * 2,
            _ => of(field).min(4096) * 6,
        };
        1024 + self.takes.iter().map(|field| 64 + longest(field)).sum::<usize>()
    }
    /// Returns the names in braces that its path has, in their order.
    pub fn placeholders(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
    /// Reads a path; `None`: it is another's. Nothing in it is decoded: what is written otherwise than plainly is none of ours.
    pub fn read(&self, path: &str) -> Option<Vec<(String, String)>> {
        let (mut own, mut theirs) = (self.path.split('/'), path.split('/'));
        let mut found = Vec::new();
        loop {
            match (own.next(), theirs.next()) {
                (None, None) => return Some(found),
                (Some(own), Some(theirs)) => {
                    match own.strip_prefix('{').and_then(|own| own.strip_suffix('}')) {
                        Some(name) if is_plain(theirs) => found.push((name.to_owned(), theirs.to_owned())),
                        None if own == theirs => {}
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
    }
}

fn is_plain(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&part.len()) && part != "." && part != ".." && part.bytes().all(plain)
}
