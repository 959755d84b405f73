//! The one table of what is served: dispatch, who may, limits, the audit, the description of the API and the tests are made of it.
//! A route cannot be written without its scope: there is no default.

use super::database::MOST_DEVICES;
use super::fields::{Field, Kind, may, must};
pub use super::route::{CSRF, Concerns, Does, Method, Route, Scope};
use super::{account, api, by_provider, devices, enroll, events, notifications, people, show, sign_in};

/// A node's name, as path and fields have it.
const NAME: Kind = Kind::Line(64);
/// The longest network.toml.
const TEXT: Kind = Kind::Text(4 << 20);
/// A password.
const PASSWORD: Kind = Kind::Line(256);
/// A secret of a link.
const SECRET: Kind = Kind::Line(64);
/// Anything else that is typed.
const LINE: Kind = Kind::Line(1024);

const fn route(
    method: Method,
    path: &'static str,
    scope: Scope,
    takes: &'static [Field],
    summary: &'static str,
    does: Does,
) -> Route {
    Route { method, path, scope, concerns: Concerns::Network, takes, summary, does }
}

const fn of_node(route: Route) -> Route {
    Route { concerns: Concerns::Node, ..route }
}

use Method::{Delete, Get, Post, Put};
use Scope::{Admin, Device, DeviceKeys, Keys, Operate, Own, Public, Read};

/// What is tried before it is done.
const DRY_RUN: Field = may("dry_run", Kind::Flag);

/// What the forms of changes send.
const CHANGE: &[Field] = &[
    must("do", NAME),
    may("name", NAME),
    may("to", LINE),
    may("from", LINE),
    may("platform", NAME),
    may("address", NAME),
    may("endpoint", LINE),
    may("site", LINE),
    may("sites", Kind::Text(4096)),
    may("had_sites", Kind::Text(4096)),
    may("public_key", NAME),
    may("routes", LINE),
    may("dns", LINE),
    may("groups", LINE),
    may("expires", NAME),
    may("key", NAME),
    may("value", LINE),
    may("kind", NAME),
    may("index", NAME),
    may("port", NAME),
    may("ports", LINE),
    may("verdict", NAME),
    may("on", NAME),
    may("source", NAME),
    may("text", TEXT),
    may("revision", SECRET),
    may("confirm", Kind::Number(600)),
    may("up", NAME),
];

/// For how many hours a link is good.
const HOURS: Kind = Kind::Number(enroll::MOST_HOURS);

/// The same of a device of one's own.
const OWN_HOURS: Kind = Kind::Number(devices::MOST_HOURS);

/// What providers send back with the browser; what is not looked at is known by name.
const BROUGHT: &[Field] = &[
    must("state", SECRET),
    may("code", CODE),
    may("iss", LINE),
    may("error", LINE),
    may("error_description", LONG),
    may("error_uri", LINE),
    may("session_state", LINE),
    may("scope", LONG),
    may("authuser", LINE),
    may("prompt", LINE),
    may("hd", LINE),
];
/// A code of a provider's: some are tokens themselves.
const CODE: Kind = Kind::Line(8192);
const LONG: Kind = Kind::Line(2048);

/// What is served.
pub const ROUTES: &[Route] = &[
    // Before anybody is known.
    route(Get, "/login", Public, &[may("next", LINE)], "Asks who it is", sign_in::form),
    route(
        Post,
        "/login",
        Public,
        &[must("user", NAME), must("password", PASSWORD), may("code", SECRET), may("next", LINE)],
        "Signs in",
        sign_in::login,
    ),
    route(
        Get,
        "/init",
        Public,
        &[must("link", SECRET)],
        "Asks for a password, by a link",
        sign_in::init_form,
    ),
    route(
        Post,
        "/init",
        Public,
        &[must("link", SECRET), must("user", NAME), must("password", PASSWORD), must("again", PASSWORD)],
        "Sets a password, by a link that is good once",
        sign_in::init,
    ),
    route(
        Get,
        "/oidc/login",
        Public,
        &[may("next", LINE), may("again", Kind::Flag)],
        "Leads to the provider by which one signs in",
        by_provider::begin,
    ),
    route(
        Get,
        "/oidc/callback",
        Public,
        BROUGHT,
        "Takes in whoever comes back from there",
        by_provider::callback,
    ),
    route(Get, "/enroll", Public, &[must("link", SECRET)], "Enrols this device, by a link", enroll::form),
    route(
        Post,
        "/enroll",
        Public,
        &[must("link", SECRET), must("public_key", NAME)],
        "Enrols a device whose key was made elsewhere, by a link that is good once",
        enroll::by_hand,
    ),
    route(Get, "/assets/{name}", Public, &[], "Style, script, icon", show::asset),
    // Pages that look.
    route(Post, "/logout", Own, &[], "Signs out", sign_in::logout),
    // Of one's own, for people alone.
    route(Get, "/account", Own, &[], "One's own account", account::show),
    route(
        Post,
        "/account",
        Own,
        &[
            must("do", NAME),
            may("password", PASSWORD),
            may("code", SECRET),
            may("new", PASSWORD),
            may("again", PASSWORD),
            may("id", NAME),
        ],
        "Changes one's own password and one-time codes, and ends one's own sessions",
        account::change,
    ),
    route(Get, "/devices", Own, &[], "One's own devices", devices::show),
    route(
        Post,
        "/devices",
        Own,
        &[must("do", NAME), may("name", NAME), may("platform", NAME), may("hours", OWN_HOURS)],
        "Adds a device of one's own, makes a link for one, or takes it back",
        devices::change,
    ),
    of_node(route(
        Post,
        "/devices/{node}/file",
        Device,
        &[may("password", PASSWORD)],
        "The file of a device of one's own, to whoever types his password again",
        devices::file,
    )),
    of_node(route(
        Post,
        "/devices/{node}/remove",
        Device,
        &[],
        "Removes a device of one's own",
        devices::remove,
    )),
    route(Get, "/", Read, &[], "Who is online", show::overview),
    route(Get, "/live", Read, &[], "What changes of that page", show::live),
    route(Get, "/events", Read, &[], "Tells when it did, for as long as somebody listens", events::network),
    route(
        Get,
        "/nodes",
        Read,
        &[may("q", LINE), may("role", NAME), may("state", NAME), may("sort", NAME), may("page", NAME)],
        "The nodes",
        show::nodes,
    ),
    route(Get, "/new", Operate, &[], "The form of a new node", show::add_form),
    route(Get, "/links", Operate, &[], "The links by which devices enrol", enroll::links),
    route(
        Post,
        "/links",
        Operate,
        &[must("do", NAME), must("name", NAME), may("platform", NAME), may("hours", HOURS)],
        "Makes such a link, or takes it back",
        enroll::change,
    ),
    of_node(route(Get, "/nodes/{node}", Read, &[], "A node", show::node)),
    of_node(route(Get, "/nodes/{node}/live", Read, &[], "What changes of that page", show::node_live)),
    of_node(route(
        Get,
        "/nodes/{node}/events",
        Read,
        &[],
        "Tells when it did, for as long as somebody listens",
        events::node,
    )),
    of_node(route(Get, "/nodes/{node}/edit", Operate, &[], "The form of a node", show::edit_form)),
    of_node(route(
        Post,
        "/nodes/{node}/file",
        Operate,
        &[may("password", PASSWORD)],
        "A spoke's file with its keys, to whoever types his password again",
        sign_in::node_file,
    )),
    route(Get, "/matrix", Read, &[may("show", NAME)], "Who reaches whom", show::matrix),
    route(
        Get,
        "/trace",
        Read,
        &[may("from", LINE), may("to", LINE), may("port", NAME)],
        "A packet there and back",
        show::trace,
    ),
    route(Get, "/rules", Read, &[], "Who may talk to whom", show::rules),
    route(Get, "/plan", Read, &[], "What this host would change", show::plan),
    route(Get, "/changes", Read, &[], "The revisions", show::changes),
    route(Get, "/changes/{revision}", Read, &[], "What differs between a revision and now", show::diff),
    route(Get, "/file", Read, &[], "The network's file", show::file),
    route(Get, "/doctor", Read, &[], "What is wrong with this host", show::doctor),
    // Changes: shown, then done.
    route(Post, "/review", Operate, CHANGE, "Shows what a change would do", show::review),
    route(Post, "/apply", Operate, CHANGE, "Saves a change that was looked at, and applies it", show::apply),
    route(Post, "/confirm", Operate, &[], "Keeps what was applied", show::confirm),
    route(Get, "/people", Admin, &[], "Who may what", people::show),
    route(
        Post,
        "/people",
        Admin,
        &[
            must("do", NAME),
            may("id", NAME),
            may("user", NAME),
            may("password", PASSWORD),
            may("role", NAME),
            may("name", NAME),
            may("scope", NAME),
            may("node", NAME),
            may("expires", NAME),
            may("devices", Kind::Number(MOST_DEVICES)),
        ],
        "Says who may what",
        people::change,
    ),
    route(Get, "/audit", Admin, &[], "What was done, by whom", people::audit),
    route(Get, "/notifications", Admin, &[], "Who is told when something happens", notifications::show),
    route(
        Post,
        "/notifications",
        Admin,
        &[
            must("do", NAME),
            may("name", NAME),
            may("kind", NAME),
            may("url", LINE),
            may("secret", PASSWORD),
            may("account", PASSWORD),
            may("sender", PASSWORD),
            may("recipient", PASSWORD),
            may("node-online", Kind::Flag),
            may("node-offline", Kind::Flag),
            may("drift", Kind::Flag),
            may("broken-promise", Kind::Flag),
            may("failed-login", Kind::Flag),
        ],
        "Has somebody told, or not any more, or sends a test",
        notifications::change,
    ),
    // The API. Answers are what `--json` prints.
    route(Get, "/api/v1/openapi.json", Public, &[], "This description", api::description),
    route(Get, "/api/v1/status", Read, &[], "Who is online", api::status),
    route(Get, "/api/v1/nodes", Read, &[], "The nodes", api::nodes),
    of_node(route(Get, "/api/v1/nodes/{node}", Read, &[], "A node", api::node)),
    of_node(route(
        Get,
        "/api/v1/nodes/{node}/traffic",
        Read,
        &[],
        "What passed between this host and a node, and when the node was there",
        api::traffic,
    )),
    route(Get, "/api/v1/check", Read, &[], "Who reaches whom, and what is wrong", api::check),
    route(
        Get,
        "/api/v1/trace",
        Read,
        &[must("from", LINE), must("to", LINE), may("port", NAME)],
        "A packet there and back",
        api::trace,
    ),
    route(Get, "/api/v1/plan", Read, &[], "What this host would change", api::plan),
    route(Get, "/api/v1/doctor", Read, &[], "What is wrong with this host", api::doctor),
    route(Get, "/api/v1/network", Read, &[], "network.toml, with its revision as ETag", api::network),
    route(Get, "/api/v1/changes", Read, &[], "The revisions", api::changes),
    route(
        Get,
        "/api/v1/changes/{revision}",
        Read,
        &[may("to", Kind::Number(u64::MAX))],
        "What differs between a revision and another, or now",
        api::diff,
    ),
    route(
        Put,
        "/api/v1/network",
        Operate,
        &[must("text", TEXT), DRY_RUN],
        "Replaces network.toml; If-Match says which one was read",
        api::write,
    ),
    route(
        Post,
        "/api/v1/nodes",
        Operate,
        &[
            must("name", NAME),
            may("platform", NAME),
            may("address", NAME),
            may("sites", Kind::Lines(128)),
            may("public_key", NAME),
            DRY_RUN,
        ],
        "Adds a spoke, with its keys",
        api::add,
    ),
    of_node(route(
        Delete,
        "/api/v1/nodes/{node}",
        Operate,
        &[DRY_RUN],
        "Removes a node and its keys",
        api::remove,
    )),
    of_node(route(
        Post,
        "/api/v1/nodes/{node}/enable",
        Operate,
        &[DRY_RUN],
        "Lets a node take part",
        api::enable,
    )),
    of_node(route(
        Post,
        "/api/v1/nodes/{node}/disable",
        Operate,
        &[DRY_RUN],
        "Keeps a node out",
        api::disable,
    )),
    of_node(route(
        Post,
        "/api/v1/nodes/{node}/rename",
        Operate,
        &[must("to", NAME), DRY_RUN],
        "Gives a node another name",
        api::rename,
    )),
    of_node(route(
        Post,
        "/api/v1/nodes/{node}/expire",
        Operate,
        &[may("at", NAME), DRY_RUN],
        "Says when a node stops to take part; unset: never",
        api::expire,
    )),
    of_node(route(
        Post,
        "/api/v1/nodes/{node}/rotate",
        Operate,
        &[may("public_key", NAME), DRY_RUN],
        "Gives a node new keys",
        api::rotate,
    )),
    of_node(route(
        Post,
        "/api/v1/nodes/{node}/export",
        Keys,
        &[],
        "A spoke's file with its keys, and its QR code",
        api::export,
    )),
    route(
        Post,
        "/api/v1/changes/{revision}/revert",
        Operate,
        &[DRY_RUN],
        "Makes the network what it was in a revision",
        api::revert,
    ),
    route(
        Post,
        "/api/v1/up",
        Operate,
        &[must("confirm", Kind::Number(600))],
        "Makes this host match the network; it goes back unless it is confirmed within these seconds",
        api::up,
    ),
    route(Post, "/api/v1/confirm", Operate, &[], "Keeps what was applied", api::confirm),
    route(Get, "/api/v1/links", Operate, &[], "The links by which devices enrol", enroll::api_links),
    route(
        Post,
        "/api/v1/links",
        Operate,
        &[must("name", NAME), may("platform", NAME), may("hours", HOURS)],
        "Makes a link by which a device enrols once, with a key that it makes itself",
        enroll::api_add,
    ),
    of_node(route(
        Delete,
        "/api/v1/links/{node}",
        Operate,
        &[],
        "Takes the link of a node back",
        enroll::api_remove,
    )),
    route(
        Post,
        "/api/v1/enroll",
        Public,
        &[must("link", SECRET), must("public_key", NAME)],
        "Enrols a device by such a link, which it uses up: takes its public key, returns its file without the private one",
        enroll::api_enroll,
    ),
    route(Get, "/api/v1/devices", Own, &[], "One's own devices, and the links for such", devices::api_list),
    route(
        Post,
        "/api/v1/devices",
        Own,
        &[must("name", NAME), may("platform", NAME), may("public_key", NAME)],
        "Adds a device of one's own, with keys that are made here or a public key",
        devices::api_add,
    ),
    route(
        Post,
        "/api/v1/devices/links",
        Own,
        &[must("name", NAME), may("platform", NAME), may("hours", OWN_HOURS)],
        "Makes a link by which a device of one's own enrols once, with a key that it makes itself",
        devices::api_link,
    ),
    of_node(route(Get, "/api/v1/devices/{node}", Device, &[], "A device of one's own", devices::api_show)),
    of_node(route(
        Delete,
        "/api/v1/devices/{node}",
        Device,
        &[],
        "Removes a device of one's own",
        devices::api_remove,
    )),
    of_node(route(
        Post,
        "/api/v1/devices/{node}/export",
        DeviceKeys,
        &[],
        "The file of a device of one's own with its keys, and its QR code",
        devices::api_export,
    )),
    route(Get, "/api/v1/audit", Admin, &[], "What was done, by whom", api::audit),
    route(
        Get,
        "/api/v1/notifications",
        Admin,
        &[],
        "Who is told when something happens, and whether the last message arrived",
        notifications::api_list,
    ),
    route(
        Post,
        "/api/v1/notifications",
        Admin,
        &[
            must("name", NAME),
            must("kind", NAME),
            must("url", LINE),
            may("events", Kind::Lines(32)),
            may("secret", PASSWORD),
            may("account", PASSWORD),
            may("sender", PASSWORD),
            may("recipient", PASSWORD),
        ],
        "Has a webhook, a topic of ntfy or a mailbox told; returns what signs a webhook's messages, this once",
        notifications::api_add,
    ),
    route(
        Delete,
        "/api/v1/notifications/{name}",
        Admin,
        &[],
        "Has somebody not told any more",
        notifications::api_remove,
    ),
    route(
        Post,
        "/api/v1/notifications/{name}/test",
        Admin,
        &[],
        "Sends a test within seconds; how that ended is in the list",
        notifications::api_test,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_about_what_its_path_names() {
        for route in ROUTES {
            let of_node = route.placeholders().any(|name| name == "node");
            assert_eq!(route.concerns == Concerns::Node, of_node, "{}", route.path);
            assert!(!route.summary.is_empty());
            for name in route.placeholders() {
                assert!(route.takes.iter().all(|field| field.name != name), "{}: {name} twice", route.path);
            }
            let same = ROUTES.iter().filter(|r| r.path == route.path && r.method == route.method);
            assert_eq!(same.count(), 1, "{}", route.path);
        }
    }

    #[test]
    fn what_everybody_may_is_this_and_no_more() {
        let public: Vec<String> = ROUTES
            .iter()
            .filter(|r| r.scope == Public)
            .map(|r| format!("{} {}", r.method.as_str(), r.path))
            .collect();
        let expected = [
            "GET /login",
            "POST /login",
            "GET /init",
            "POST /init",
            "GET /oidc/login",
            "GET /oidc/callback",
            "GET /enroll",
            "POST /enroll",
            "GET /assets/{name}",
            "GET /api/v1/openapi.json",
            "POST /api/v1/enroll",
        ];
        assert_eq!(public, expected);
        let keys: Vec<&str> =
            ROUTES.iter().filter(|r| matches!(r.scope, Keys | DeviceKeys)).map(|r| r.path).collect();
        assert_eq!(keys, ["/api/v1/nodes/{node}/export", "/api/v1/devices/{node}/export"]);
        // What is about one's own says so of each node that it names.
        for route in ROUTES.iter().filter(|r| r.path.contains("/devices")) {
            let expected: &[Scope] =
                if route.concerns == Concerns::Node { &[Device, DeviceKeys] } else { &[Own] };
            assert!(expected.contains(&route.scope), "{}", route.path);
        }
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        let node = ROUTES.iter().find(|r| r.path == "/api/v1/nodes/{node}").unwrap();
        assert_eq!(node.read("/api/v1/nodes/phone").unwrap(), [("node".to_owned(), "phone".to_owned())]);
        for other in [
            "/api/v1/nodes/",
            "/api/v1/nodes/..",
            "/api/v1/nodes/%2e%2e",
            "/api/v1/nodes/a/b",
            "//api/v1/nodes/phone",
            "/api/v1/nodes/phone/",
            "/API/v1/nodes/phone",
            "/x/../api/v1/nodes/phone",
            "/api/v1/nodes/a\nb",
        ] {
            assert!(node.read(other).is_none(), "{other}");
        }
    }
}
