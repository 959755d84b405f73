//! A request that may be answered, and the answer.

use std::net::IpAddr;
use std::sync::Arc;

use maud::Markup;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Web;
use super::caller::Caller;
use super::events::Listening;
use super::fields::Fields;
use super::procedure::{Procedure, Refused};
use super::throttle::Peer;
use super::view::Frame;

/// A request: who asks has been seen to, and every field is of its route's kind.
pub struct Ask<'a> {
    /// Who answers.
    pub web: &'a Web,
    /// Who asks.
    pub caller: &'a Caller,
    /// From where.
    pub address: IpAddr,
    /// By whose connection.
    pub peer: Peer,
    /// What is around a page.
    pub frame: Frame,
    /// What path, query and body say.
    pub fields: Fields,
    /// The revision that a change is meant for.
    pub if_match: Option<String>,
    /// The name that was called, as a browser has it.
    pub host: String,
    /// What the browser kept of a sign-in that it began; `None`: nothing.
    pub begun: Option<Zeroizing<String>>,
    /// When, in Unix seconds.
    pub now: u64,
}

impl Ask<'_> {
    /// Asks the half that has rights.
    ///
    /// # Errors
    /// It says no, or something else than is expected.
    pub fn call<T: DeserializeOwned>(&self, procedure: &Procedure) -> Result<T, Refused> {
        serde_json::from_value(self.web.agent.call(procedure)?).map_err(|error| {
            let message = format!("the other half of wgrelay answers something else: {error}");
            Refused::new(502, message, "both halves must be of one version: restart them")
        })
    }

    /// Returns a field; `None`: it was not given, or is empty.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.text(name).filter(|text| !text.is_empty())
    }
}

/// What is in an answer.
pub enum Content {
    /// A page.
    Page(Markup),
    /// JSON.
    Json(Value),
    /// A file that is served as it is.
    File(&'static str, &'static str),
    /// News, one by one.
    Events(Arc<Listening>),
    /// Nothing: it leads elsewhere.
    Nothing,
}

/// An answer.
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// What is in it.
    pub content: Content,
    /// Where it leads, a path of ours.
    pub location: Option<String>,
    /// Where it leads that is not ours: to the provider that was named when the page was started, and nowhere else.
    pub elsewhere: Option<String>,
    /// What the browser keeps of a sign-in that it begins; an empty one ends that.
    pub begun: Option<Zeroizing<String>>,
    /// The cookie that it sets; an empty one ends the session.
    pub cookie: Option<Zeroizing<String>>,
    /// The revision of what it shows.
    pub etag: Option<String>,
}

impl Reply {
    fn of(content: Content) -> Self {
        Self { status: 200, content, location: None, elsewhere: None, begun: None, cookie: None, etag: None }
    }
    /// A page.
    pub fn page(markup: Markup) -> Self {
        Self::of(Content::Page(markup))
    }
    /// JSON.
    pub fn json(value: Value) -> Self {
        Self::of(Content::Json(value))
    }
    /// A file.
    pub fn file(content_type: &'static str, content: &'static str) -> Self {
        Self::of(Content::File(content_type, content))
    }
    /// News, for as long as somebody listens.
    pub fn events(listening: Arc<Listening>) -> Self {
        Self::of(Content::Events(listening))
    }
    /// Leads to a page of ours.
    pub fn to(path: impl Into<String>) -> Self {
        Self { status: 303, location: Some(path.into()), ..Self::of(Content::Nothing) }
    }
    /// Leads to the provider, and has the browser keep what it began.
    pub fn elsewhere(location: String, begun: Zeroizing<String>) -> Self {
        Self { status: 303, elsewhere: Some(location), begun: Some(begun), ..Self::of(Content::Nothing) }
    }
    /// The same with another status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}
