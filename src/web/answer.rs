//! From a request to its answer, in the order that counts: the name it was sent to, its route, who asks, where it comes from, what
//! that one may, what it says. Nothing here waits, and nothing is written before all of it holds.

use std::net::IpAddr;
use std::sync::Arc;

use maud::Markup;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::ask::{Ask, Content, Reply};
use super::caller::{Caller, PROVED};
use super::clock::is_within;
use super::database::Entry;
use super::events::Listening;
use super::fields::{Field, Fields, Kind, must};
use super::guard::HEADERS;
use super::procedure::Refused;
use super::routes::{CSRF, Method, ROUTES, Route, Scope};
use super::throttle::Peer;
use super::view::{Frame, Language, Role};
use super::{Web, pages, secret};

/// What says the language in an address, and the cookie that keeps it.
const LANGUAGE: &str = "lang";
const LANGUAGE_COOKIE: &str = "wgrelay-lang";

/// A request, as it came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `GET` and so on.
    pub method: String,
    /// The path, undecoded.
    pub path: String,
    /// What is behind the question mark.
    pub query: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
    /// On this host, the user whose connection it came by; `None`: it is another host's, or that is not known.
    pub local_user: Option<u32>,
    /// The address of this host that was called; `None`: that is not known.
    pub called: Option<IpAddr>,
}

impl Asked {
    /// Returns it without its body.
    pub fn clone_head(&self) -> Self {
        let (method, path, query) = (self.method.clone(), self.path.clone(), self.query.clone());
        Self {
            method,
            path,
            query,
            headers: self.headers.clone(),
            body: Vec::new(),
            local_user: None,
            called: None,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        let (_, value) = found.next()?;
        // Two of one name: whoever stands between us may have read the other.
        if found.next().is_some() { None } else { Some(value) }
    }

    /// Returns a header on which it depends what is done.
    ///
    /// # Errors
    /// 400: there are two of it, and which one is meant is not known.
    fn only(&self, name: &str) -> Result<Option<&str>, Refused> {
        match self.headers.iter().filter(|(own, _)| own == name).count() {
            0 | 1 => Ok(self.header(name)),
            _ => Err(Refused::new(400, format!("{name} is given twice"), "")),
        }
    }

    /// Returns a cookie; of two of one name one may be another page's of this host, so neither counts.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.header("cookie")?.split(';').map(str::trim);
        let mut found = pairs.filter_map(|pair| pair.split_once('=')).filter(|(own, _)| *own == name);
        let (_, value) = found.next()?;
        if found.next().is_some() { None } else { Some(value) }
    }
}

/// An answer, as it goes.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body; it may hold keys.
    pub body: Zeroizing<Vec<u8>>,
    /// The user whom it goes to; `None`: he did not sign in.
    pub user: Option<String>,
    /// News instead of a body, one by one.
    pub events: Option<Arc<Listening>>,
}

/// So long may the body be of whoever is not known, or may not, in bytes.
pub const STRANGERS_BODY: usize = 16 << 10;

/// What is written down of a request besides who asked and how it ended.
#[derive(Default)]
struct Noted {
    about: String,
    is_tried: bool,
}

impl Noted {
    /// Names, and never a secret: what may hold one is not among these.
    fn of(route: &Route, fields: &Fields) -> Self {
        const NAMES: [&str; 10] =
            ["do", "node", "name", "revision", "user", "id", "to", "role", "scope", "key"];
        let is_digest = |name: &str| name == "revision" && !route.placeholders().any(|own| own == name);
        let said = NAMES.iter().filter(|name| !is_digest(name)).filter_map(|name| fields.text(name));
        let about = said.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        Self { about, is_tried: route.path == "/review" || fields.flag("dry_run") }
    }
}

/// What a path names, by the names of its route.
pub type Named = Vec<(String, String)>;

/// Says which route a request is for.
///
/// # Errors
/// 404, or 405 where it is called otherwise.
pub fn find(method: &str, path: &str) -> Result<(&'static Route, Named), Refused> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut is_there = false;
    // What is written out goes before what is named.
    let mut routes: Vec<&Route> = ROUTES.iter().collect();
    routes.sort_by_key(|route| route.placeholders().count());
    for route in routes {
        if let Some(named) = route.read(path) {
            if route.method.as_str() == method {
                return Ok((route, named));
            }
            is_there = true;
        }
    }
    if is_there {
        return Err(Refused::new(405, "this is not called so", ""));
    }
    Err(no_page())
}

fn no_page() -> Refused {
    Refused::new(404, "there is no such page", "")
}

/// How a path may be called, as HTTP lists it.
fn methods_of(path: &str) -> String {
    let of_path = ROUTES.iter().filter(|route| route.read(path).is_some());
    let mut methods: Vec<&str> = of_path.map(|route| route.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.join(", ")
}

impl Web {
    /// The name of the cookie: with TLS, one that no plain page can set, and no other host where the page has the host for itself.
    pub fn cookie_name(&self, host: Option<&str>) -> &'static str {
        match (self.place.is_tls(host), self.place.base()) {
            (true, "") => "__Host-wgrelay",
            (true, _) => "__Secure-wgrelay",
            (false, _) => "wgrelay",
        }
    }

    /// The name of the cookie that keeps what a sign-in by a provider began with.
    pub fn begun_name(&self, host: Option<&str>) -> String {
        format!("{}-begun", self.cookie_name(host))
    }

    /// What every cookie says besides: where it goes, and whether by TLS alone.
    fn cookie_bounds(&self, host: Option<&str>) -> String {
        let secure = if self.place.is_tls(host) { "; Secure" } else { "" };
        let path = if self.place.base().is_empty() { "/" } else { self.place.base() };
        format!("; Path={path}; HttpOnly{secure}")
    }

    /// Says which route a request is for.
    ///
    /// # Errors
    /// As `find`.
    pub fn route_of(&self, asked: &Asked) -> Result<(&'static Route, Named), Refused> {
        match self.place.inside(&asked.path) {
            Some(path) => find(&asked.method, path),
            None => Err(no_page()),
        }
    }

    /// Answers a request that came over a connection from an address, at a time in Unix seconds.
    pub fn answer(&self, asked: &Asked, peer: IpAddr, now: u64) -> Outgoing {
        let address = self.client(asked, peer);
        let mut frame = Frame {
            path: self.place.inside(&asked.path).unwrap_or(&asked.path).to_owned(),
            base: self.place.base().to_owned(),
            language: language(asked),
            query: kept_query(asked),
            provider: self.oidc.as_ref().map(|provider| provider.settings.label.clone()),
            ..Frame::default()
        };
        let is_api = frame.path.starts_with("/api/");
        let by = Peer {
            address,
            connected: peer,
            user: asked.local_user.filter(|_| address == peer.to_canonical()),
        };
        let done = self.try_answer(asked, by, now, &mut frame);
        let mut outgoing = match done {
            Ok(reply) => self.outgoing(reply, asked.header("host")),
            Err(refused) => self.refused(&frame, asked, &refused, is_api),
        };
        // Who comes through the tunnel keeps no place that others are to have.
        outgoing.user = frame.user.filter(|_| frame.by_tunnel.is_none());
        if !is_api && let Some(language) = chosen(asked) {
            let bounds = self.cookie_bounds(asked.header("host"));
            let cookie =
                format!("{LANGUAGE_COOKIE}={}{bounds}; Max-Age=31536000; SameSite=Lax", language.tag());
            outgoing.headers.push(("set-cookie", cookie));
        }
        outgoing
    }

    /// Returns whose request it is, where it came through proxies that are believed.
    fn client(&self, asked: &Asked, peer: IpAddr) -> IpAddr {
        let said = asked.headers.iter().filter(|(name, _)| name == "x-forwarded-for");
        self.place.proxies.client(peer, said.map(|(_, value)| value.as_str()))
    }

    fn try_answer(&self, asked: &Asked, peer: Peer, now: u64, frame: &mut Frame) -> Result<Reply, Refused> {
        self.place.is_called(asked.header("host"))?;
        let (route, named) = self.route_of(asked)?;
        let caller = self.caller(route, asked, peer, now)?;
        if let Caller::Node(node) = &caller {
            frame.by_tunnel = Some(node.clone());
            frame.user = Some(caller.name());
            frame.network.clone_from(&self.network);
            frame.role = Role::Viewer;
            self.note_by_tunnel(node, peer.address, now)?;
        }
        if let Caller::User(user, session) = &caller {
            frame.user = Some(user.name.clone());
            frame.network.clone_from(&self.network);
            frame.role = user.role;
            frame.has_devices = user.devices > 0 || user.role == Role::Owner;
            frame.csrf.clone_from(&session.csrf);
            frame.by_provider = user.by_provider;
            frame.is_proved = is_within(session.proved, PROVED, now);
        }
        let mut noted = Noted::default();
        let result = self.checked(route, &named, &caller, asked, peer, now, frame, &mut noted);
        let failed_sign_in = route.scope == Scope::Public && result.is_err();
        if route.changes() && (route.scope != Scope::Public || failed_sign_in) {
            let status = match &result {
                Ok(reply) => reply.status,
                Err(refused) => refused.status,
            };
            self.database.record(&Entry {
                at: now,
                who: caller.name(),
                address: peer.address.to_string(),
                action: format!("{} {}", route.method.as_str(), route.path),
                about: noted.about,
                status,
                is_tried: noted.is_tried,
            })?;
        }
        result
    }

    #[expect(clippy::too_many_arguments, reason = "a request is all of this")]
    fn checked(
        &self,
        route: &Route,
        named: &[(String, String)],
        caller: &Caller,
        asked: &Asked,
        peer: Peer,
        now: u64,
        frame: &Frame,
        noted: &mut Noted,
    ) -> Result<Reply, Refused> {
        if route.scope != Scope::Public {
            noted.about = named.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ");
        }
        // Whoever is nobody yet has no session that a stranger's page could misuse: he is told that first.
        if matches!(caller, Caller::Nobody) {
            caller.may(route, None, || false, now)?;
        }
        // A program that has a token sends no cookie along without knowing.
        let by_browser = !matches!(caller, Caller::Token(_)) && route.changes();
        if by_browser {
            self.place.is_from_here(asked.header("origin"), asked.header("sec-fetch-site"))?;
        }
        let node = named.iter().find(|(name, _)| name == "node").map(|(_, node)| node.as_str());
        caller.may(route, node, || node.is_some_and(|node| self.is_device_of(caller, node)), now)?;
        let (fields, csrf) = read(route, named, asked)?;
        if by_browser && let Caller::User(_, session) = caller {
            let sent = csrf.as_deref().or_else(|| asked.header("x-csrf"));
            if !sent.is_some_and(|sent| secret::same(sent, &session.csrf)) {
                return Err(Refused::new(
                    403,
                    "this form is of another session",
                    "open the page again, and try there",
                ));
            }
        }
        if route.scope != Scope::Public {
            *noted = Noted::of(route, &fields);
        }
        let if_match = asked.only("if-match")?.map(|etag| etag.trim_matches('"').to_owned());
        let frame = frame.clone();
        let host = asked.header("host").unwrap_or_default().to_ascii_lowercase();
        let begun = asked.cookie(&self.begun_name(Some(&host))).map(|kept| kept.to_owned().into());
        let address = peer.address;
        (route.does)(&Ask { web: self, caller, address, peer, frame, fields, if_match, host, begun, now })
    }

    /// Finds out who asks. A token that is wrong is not the same as none.
    fn caller(&self, route: &Route, asked: &Asked, peer: Peer, now: u64) -> Result<Caller, Refused> {
        if let Some(header) = asked.only("authorization")? {
            let token = header.strip_prefix("Bearer ").filter(|_| route.is_api());
            let wrong = || Refused::new(401, "this token is not valid", "it has ended, or was taken back");
            let found = self.database.token(token.ok_or_else(wrong)?, now)?;
            return match found {
                Some(token) => Ok(Caller::Token(token)),
                None => {
                    self.throttle().wrong_secret(peer, now)?;
                    Err(wrong())
                }
            };
        }
        let Some(cookie) = asked.cookie(self.cookie_name(asked.header("host"))) else {
            return Ok(self.nobody_or_node(route, asked, peer, now));
        };
        let found = if route.is_asked_by_itself() {
            self.database.look_at_session(cookie, now)?
        } else {
            self.database.session(cookie, now)?
        };
        Ok(match found {
            Some((user, session)) => Caller::User(user, session),
            None => self.nobody_or_node(route, asked, peer, now),
        })
    }

    /// Who has no session may be a node that comes through the tunnel. What everybody may, he does as everybody.
    fn nobody_or_node(&self, route: &Route, asked: &Asked, peer: Peer, now: u64) -> Caller {
        if route.scope == Scope::Public {
            return Caller::Nobody;
        }
        self.node_that_calls(asked, peer.connected, now).map_or(Caller::Nobody, Caller::Node)
    }

    /// Returns how long a request's body may be, in bytes: before it is read, so that a stranger fills no memory.
    pub fn body_limit(&self, asked: &Asked, peer: IpAddr, now: u64) -> usize {
        let Ok((route, named)) = self.route_of(asked) else { return 0 };
        let peer = Peer { address: self.client(asked, peer), connected: peer, user: None };
        let most = route.body_limit();
        if most <= STRANGERS_BODY {
            return most;
        }
        let node = named.iter().find(|(name, _)| name == "node").map(|(_, node)| node.as_str());
        let is_let_in = self.place.is_called(asked.header("host")).is_ok()
            && self
                .caller(route, asked, peer, now)
                .is_ok_and(|caller| caller.may(route, node, || false, now).is_ok());
        if is_let_in { most } else { STRANGERS_BODY }
    }

    fn outgoing(&self, reply: Reply, host: Option<&str>) -> Outgoing {
        let mut headers = self.headers(host);
        let mut events = None;
        let body = match reply.content {
            Content::Page(markup) => {
                headers.push(("content-type", "text/html; charset=utf-8".into()));
                markup.into_string().into_bytes()
            }
            Content::Json(value) => json_body(&mut headers, &value),
            Content::File(content_type, content) => {
                headers.push(("content-type", content_type.into()));
                content.as_bytes().to_vec()
            }
            Content::Events(listening) => {
                headers.push(("content-type", "text/event-stream".into()));
                // nginx keeps nothing back then.
                headers.push(("x-accel-buffering", "no".into()));
                events = Some(listening);
                Vec::new()
            }
            Content::Nothing => Vec::new(),
        };
        headers.extend(reply.location.map(|path| ("location", format!("{}{path}", self.place.base()))));
        headers.extend(reply.elsewhere.map(|url| ("location", url)));
        headers.extend(reply.etag.map(|etag| ("etag", format!("\"{etag}\""))));
        if let Some(cookie) = reply.cookie {
            let ends = if cookie.is_empty() { "; Max-Age=0" } else { "" };
            let (name, cookie, bounds) = (self.cookie_name(host), cookie.as_str(), self.cookie_bounds(host));
            headers.push(("set-cookie", format!("{name}={cookie}{bounds}; SameSite=Strict{ends}")));
        }
        if let Some(begun) = reply.begun {
            // The provider's page leads back with it, which the session's own cookie never comes along with.
            let age = if begun.is_empty() { 0 } else { 600 };
            let (name, kept, bounds) = (self.begun_name(host), begun.as_str(), self.cookie_bounds(host));
            headers.push(("set-cookie", format!("{name}={kept}{bounds}; SameSite=Lax; Max-Age={age}")));
        }
        Outgoing { status: reply.status, headers, body: Zeroizing::new(body), user: None, events }
    }

    fn headers(&self, host: Option<&str>) -> Vec<(&'static str, String)> {
        let mut headers: Vec<_> = HEADERS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if self.place.is_tls(host) {
            headers.push(("strict-transport-security", "max-age=31536000".into()));
        }
        headers
    }

    fn refused(&self, frame: &Frame, asked: &Asked, refused: &Refused, is_api: bool) -> Outgoing {
        let host = asked.header("host");
        let mut headers = self.headers(host);
        if refused.status == 405 {
            headers.push(("allow", methods_of(&frame.path)));
        }
        if refused.status == 401 && is_api {
            headers.push(("www-authenticate", "Bearer".into()));
        }
        // Whoever has to sign in is led there, and back to where he was going.
        if refused.status == 401 && !is_api && asked.method == "GET" && frame.user.is_none() {
            let next = if frame.path == "/" { String::new() } else { format!("?next={}", frame.path) };
            return self.outgoing(Reply::to(format!("/login{next}")), host);
        }
        // Whoever has devices of his own alone begins with those.
        if refused.status == 403 && asked.method == "GET" && frame.path == "/" && frame.has_devices {
            return self.outgoing(Reply::to("/devices"), host);
        }
        let body = if is_api {
            let error = json!({
                "version": 1, "error": {"message": refused.message, "hint": refused.hint}, "problems": refused.problems,
            });
            json_body(&mut headers, &error)
        } else {
            headers.push(("content-type", "text/html; charset=utf-8".into()));
            self.refusal(frame, refused).into_string().into_bytes()
        };
        Outgoing { status: refused.status, headers, body: Zeroizing::new(body), user: None, events: None }
    }

    fn refusal(&self, frame: &Frame, refused: &Refused) -> Markup {
        let problems: String =
            refused.problems.iter().map(|p| format!("{}: {} ", p.place, p.message)).collect();
        let hint = format!("{problems}{}", refused.hint);
        // A stranger learns no name.
        let frame = match frame.user {
            Some(_) => frame.clone(),
            None => Frame { network: String::new(), role: Role::Owner, ..frame.clone() },
        };
        pages::refused(&frame, refused.status, &refused.message, &hint)
    }
}

fn json_body(headers: &mut Vec<(&'static str, String)>, value: &Value) -> Vec<u8> {
    headers.push(("content-type", "application/json".into()));
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    body
}

/// Reads path, query and body by the route's list, and the session's token beside it.
fn read(
    route: &Route,
    named: &[(String, String)],
    asked: &Asked,
) -> Result<(Fields, Option<String>), Refused> {
    const PATH: [Field; 3] =
        [must("node", Kind::Line(64)), must("revision", Kind::Line(64)), must("name", Kind::Line(64))];
    let in_path = Fields::of_pairs(&PATH, named)?;
    let pairs =
        |bytes: &[u8]| -> Vec<(String, String)> { form_urlencoded::parse(bytes).into_owned().collect() };
    let mut query = pairs(asked.query.as_bytes());
    query.retain(|(name, _)| name != LANGUAGE);
    let in_query = matches!(route.method, Method::Get | Method::Delete);
    let (fields, csrf) = if in_query {
        (Fields::of_pairs(route.takes, &query)?, None)
    } else if !query.is_empty() {
        return Err(Refused::new(400, "this takes nothing in its address", ""));
    } else if route.is_api() {
        let is_json =
            asked.header("content-type").is_some_and(|t| t.split(';').next() == Some("application/json"));
        if asked.body.is_empty() {
            (Fields::default(), None)
        } else if !is_json {
            return Err(Refused::new(415, "this takes JSON", "content-type: application/json"));
        } else {
            let object = serde_json::from_slice(&asked.body).map_err(|e| {
                Refused::new(
                    400,
                    format!("this is no object of JSON: line {}, column {}", e.line(), e.column()),
                    "",
                )
            })?;
            (Fields::of_json(route.takes, object)?, None)
        }
    } else {
        let is_form = asked
            .header("content-type")
            .is_some_and(|t| t.split(';').next() == Some("application/x-www-form-urlencoded"));
        if !is_form {
            return Err(Refused::new(415, "this takes a form", ""));
        }
        let mut body = pairs(&asked.body);
        let at = body.iter().position(|(name, _)| name == CSRF.name);
        let csrf = at.map(|at| body.remove(at).1);
        (Fields::of_pairs(route.takes, &body)?, csrf)
    };
    fields.complete(route.takes)?;
    Ok((in_path.with(fields)?, csrf))
}

/// The language that the address asks for: a page's own switch.
fn chosen(asked: &Asked) -> Option<Language> {
    let (_, tag) = form_urlencoded::parse(asked.query.as_bytes()).find(|(name, _)| name == LANGUAGE)?;
    Language::of_tag(tag.split('-').next()?)
}

/// The one that was chosen now, or before, or else what the browser prefers.
fn language(asked: &Asked) -> Language {
    let before = || asked.cookie(LANGUAGE_COOKIE).and_then(Language::of_tag);
    let preferred = || Language::preferred(asked.header("accept-language").unwrap_or_default());
    chosen(asked).or_else(before).unwrap_or_else(preferred)
}

/// What else the address of a page says, for the switch of its language.
fn kept_query(asked: &Asked) -> String {
    if asked.method != "GET" {
        return String::new();
    }
    let kept = form_urlencoded::parse(asked.query.as_bytes()).filter(|(name, _)| name != LANGUAGE);
    form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
}
