//! The one table of what is served. A route cannot be written without its scope: there is no default.

use super::procedure::Refused;
use super::show;
use super::show::Ask;
use maud::Markup;

/// How a route is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads, and changes nothing.
    Get,
    /// Changes.
    Post,
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody: nothing of the network is in its answer.
    Public,
    /// Whoever may look.
    Read,
    /// Whoever may change the network.
    Operate,
    /// Whoever says who may what.
    Admin,
}

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// How it is called.
    pub method: Method,
    /// Where, as axum writes it: `/nodes/{node}`.
    pub path: &'static str,
    /// Who may.
    pub scope: Scope,
    /// What it is for, for the description of the API.
    pub summary: &'static str,
    /// What answers.
    pub does: fn(&Ask<'_>) -> Result<Markup, Refused>,
}

/// What is served.
pub const ROUTES: &[Route] = &[
    page("/", "Who is online", show::overview),
    page("/nodes", "The nodes", show::nodes),
    page("/matrix", "Who reaches whom", show::matrix),
    page("/trace", "A packet there and back", show::trace),
    page("/plan", "What this host would change", show::plan),
    page("/changes", "The revisions", show::changes),
    page("/changes/{revision}", "What differs between a revision and now", show::diff),
    page("/file", "The network's file", show::file),
];

/// A page for whoever may look.
const fn page(
    path: &'static str,
    summary: &'static str,
    does: fn(&Ask<'_>) -> Result<Markup, Refused>,
) -> Route {
    Route { method: Method::Get, path, scope: Scope::Read, summary, does }
}
