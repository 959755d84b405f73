//! The pages that look: each asks for the data of procedures, and hands it to its page.

use std::collections::BTreeMap;

use maud::Markup;
use serde::de::DeserializeOwned;

use super::pages;
use super::procedure::{Agent, Procedure, Refused};
use super::view::{self, Frame};

/// A request that may be answered: who asks has been seen to.
pub struct Ask<'a> {
    /// Who answers.
    pub agent: &'a dyn Agent,
    /// What is around the page.
    pub frame: Frame,
    /// What path and query say.
    pub fields: BTreeMap<String, String>,
}

impl Ask<'_> {
    fn call<T: DeserializeOwned>(&self, procedure: &Procedure) -> Result<T, Refused> {
        serde_json::from_value(self.agent.call(procedure)?).map_err(|error| {
            let message = format!("the other half of wgrelay answers something else: {error}");
            Refused::new(502, message, "both halves must be of one version: restart them")
        })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }
}

/// Who is online.
pub fn overview(ask: &Ask<'_>) -> Result<Markup, Refused> {
    let (list, check) = (ask.call(&Procedure::List)?, ask.call(&Procedure::Check)?);
    // A host that cannot be looked at is no reason to say nothing of the file.
    let status: Option<view::Status> = ask.call(&Procedure::Status).ok();
    Ok(pages::overview(&ask.frame, status.as_ref(), &list, &check))
}

/// The nodes.
pub fn nodes(ask: &Ask<'_>) -> Result<Markup, Refused> {
    let status: Option<view::Status> = ask.call(&Procedure::Status).ok();
    let query = pages::NodesQuery::read(|name| ask.field(name));
    Ok(pages::nodes(&ask.frame, &ask.call(&Procedure::List)?, status.as_ref(), &query))
}

/// Who reaches whom.
pub fn matrix(ask: &Ask<'_>) -> Result<Markup, Refused> {
    Ok(pages::matrix(&ask.frame, &ask.call(&Procedure::Check)?, ask.field("show") == Some("blocked")))
}

/// A packet there and back.
pub fn trace(ask: &Ask<'_>) -> Result<Markup, Refused> {
    let (Some(from), Some(to)) = (ask.field("from"), ask.field("to")) else {
        return Ok(pages::trace(&ask.frame, ("", "", ""), None, &[]));
    };
    let asked = (from, to, ask.field("port").unwrap_or_default());
    let port = ask.field("port").map(Into::into);
    let trace: view::Trace = ask.call(&Procedure::Trace { from: from.into(), to: to.into(), port })?;
    Ok(pages::trace(&ask.frame, asked, Some(&trace), &[]))
}

/// What this host would change.
pub fn plan(ask: &Ask<'_>) -> Result<Markup, Refused> {
    Ok(pages::plan(&ask.frame, &ask.call(&Procedure::Plan)?))
}

/// The revisions.
pub fn changes(ask: &Ask<'_>) -> Result<Markup, Refused> {
    Ok(pages::changes(&ask.frame, &ask.call(&Procedure::History)?))
}

/// What differs between a revision and now.
pub fn diff(ask: &Ask<'_>) -> Result<Markup, Refused> {
    let revision = ask
        .field("revision")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Refused::new(404, "a revision is a number", ""))?;
    Ok(pages::diff(&ask.frame, &ask.call(&Procedure::Diff { from: revision, to: None })?))
}

/// The network's file.
pub fn file(ask: &Ask<'_>) -> Result<Markup, Refused> {
    Ok(pages::file(&ask.frame, &ask.call(&Procedure::NetworkFile)?, &[]))
}
