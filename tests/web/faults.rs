//! What others' pages fell to, each for every route of the table.

use wgrelay::web::STRANGERS_BODY;
use wgrelay::web::database::{FIRST, NOBODY, Purpose, TokenScope};
use wgrelay::web::routes::{Method, ROUTES, Route, Scope};
use wgrelay::web::view::Role;

use crate::rig::{NOW, PASSWORD, Rig, Who, body, header, json, with};

/// A path that a route answers to.
fn path(route: &Route) -> String {
    route.path.replace("{node}", "phone").replace("{revision}", "1").replace("{name}", "page.css")
}

fn changing() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.changes())
}

/// Whether it is about a device of one's own, which is looked for before anything else is: tests/web/devices.rs.
fn is_of_device(route: &Route) -> bool {
    matches!(route.scope, Scope::Device | Scope::DeviceKeys)
}

#[test]
fn a_strangers_name_for_this_host_gets_nothing() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    for route in ROUTES {
        let asked = rig.request(&admin, route.method.as_str(), &path(route), b"");
        for host in [Some("attacker.example:8480"), Some("relay.example"), Some("relay.example:8480.x"), None]
        {
            let answer = rig.send(&with(asked.clone(), "host", host));
            assert_eq!(answer.status, 421, "{} {host:?}", route.path);
        }
    }
    assert_eq!(rig.calls(), 0);
}

#[test]
fn every_answer_says_to_the_browser_what_it_must() {
    let rig = Rig::at("https");
    let admin = rig.signed_in("admin", Role::Admin);
    let mut answers: Vec<_> =
        ROUTES.iter().filter(|r| r.method == Method::Get).map(|r| rig.get(&admin, &path(r))).collect();
    answers.push(rig.get(&Who::default(), "/"));
    answers.push(rig.get(&Who::default(), "/api/v1/nodes"));
    answers.push(rig.get(&admin, "/nowhere"));
    answers.push(rig.post(&admin, "/nodes", ""));
    answers.push(rig.send(&with(rig.request(&admin, "GET", "/", b""), "host", None)));
    for answer in &answers {
        let csp = header(answer, "content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(csp.contains(part), "{csp}");
        }
        assert!(!csp.contains("unsafe"), "{csp}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(header(answer, name), Some(value), "{name}");
        }
        assert!(header(answer, "access-control-allow-origin").is_none());
        // Nothing runs or is styled from within a page.
        let page = body(answer);
        for inline in ["<script>", " style=", "<style", " onclick=", " onload=", "javascript:"] {
            assert!(!page.contains(inline), "{inline} in {page:.400}");
        }
    }
}

#[test]
fn nobody_gets_what_is_not_his() {
    let rig = Rig::new();
    let viewer = rig.signed_in("viewer", Role::Viewer);
    let operator = rig.signed_in("operator", Role::Operator);
    let read = rig.token("read", TokenScope::Read, None);
    let operate = rig.token("operate", TokenScope::Operate, None);
    let of_node = rig.token("laptop", TokenScope::Keys, Some("laptop"));
    let owner = rig.signed_in("owner", Role::Owner);
    let before = rig.text();
    rig.calls();
    let refused = |who: &Who, route: &Route, statuses: &[u16]| {
        let answer = rig.send(&rig.request(who, route.method.as_str(), &path(route), b""));
        assert!(
            statuses.contains(&answer.status),
            "{} {}: {}",
            route.method.as_str(),
            route.path,
            answer.status
        );
        assert_eq!(rig.calls(), 0, "{}: the other half was asked", route.path);
    };
    for route in ROUTES.iter().filter(|r| r.scope != Scope::Public) {
        // A browser is led to where it signs in.
        refused(&Who::default(), route, if route.changes() || route.is_api() { &[401, 403] } else { &[303] });
        let forged = Who { cookie: Some("x".repeat(43)), csrf: "x".into(), token: None };
        refused(&forged, route, if route.changes() || route.is_api() { &[401, 403] } else { &[303] });
        // Who has devices of his own sees nothing else; and somebody else's device is nobody's but his, whoever asks.
        if route.scope != Scope::Own {
            refused(&owner, route, if route.path == "/" { &[303] } else { &[403] });
        }
        if matches!(route.scope, Scope::Device | Scope::DeviceKeys) {
            refused(&operator, route, &[403]);
        }
        if matches!(route.scope, Scope::Operate | Scope::Keys | Scope::Admin) {
            refused(&viewer, route, &[403]);
            refused(&read, route, if route.is_api() { &[403] } else { &[401, 303] });
        }
        if route.scope == Scope::Admin {
            refused(&operator, route, &[403]);
        }
        if route.is_api()
            && matches!(
                route.scope,
                Scope::Keys | Scope::Admin | Scope::Own | Scope::Device | Scope::DeviceKeys
            )
        {
            refused(&operate, route, &[403]);
        }
        if route.is_api() {
            refused(&of_node, route, &[403]);
        } else {
            // A token is for the API alone.
            refused(&operate, route, &[401, 303]);
        }
    }
    assert_eq!(rig.text(), before);
    assert!(rig.web.database.audit(10_000).unwrap().iter().any(|e| e.who == "viewer" && e.status == 403));
}

#[test]
fn a_change_is_not_made_because_a_strangers_page_had_it_sent() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    for route in changing() {
        let asked = rig.request(&admin, route.method.as_str(), &path(route), b"");
        for origin in [
            None,
            Some("null"),
            Some("http://attacker.example"),
            Some("http://relay.example:8480.attacker.example"),
            Some("https://relay.example:8480"),
            Some("http://relay.example:84800"),
        ] {
            let answer = rig.send(&with(asked.clone(), "origin", origin));
            assert_eq!(answer.status, 403, "{} from {origin:?}", route.path);
        }
        let cross = with(asked.clone(), "sec-fetch-site", Some("cross-site"));
        assert_eq!(rig.send(&cross).status, 403, "{}", route.path);
        if route.scope != Scope::Public && !route.takes.iter().any(|field| field.required) {
            for csrf in [None, Some(""), Some("x"), Some("0000000000000000000000000000000000000000000")] {
                let answer = rig.send(&with(asked.clone(), "x-csrf", csrf));
                assert_eq!(answer.status, 403, "{} with {csrf:?}", route.path);
            }
        }
    }
    assert_eq!(rig.calls(), 0);
    // Of a form that is whole, too.
    let form = "do=add&name=intruder&csrf=wrong";
    assert_eq!(rig.post(&Who { csrf: "x".into(), ..admin.clone() }, "/review", form).status, 403);
    let other = rig.signed_in("other", Role::Admin);
    let borrowed = format!("do=add&name=intruder&csrf={}", other.csrf);
    assert_eq!(rig.post(&admin, "/review", &borrowed).status, 403, "another session's");
    assert_eq!(rig.calls(), 0);
    // Nothing changes by looking.
    for route in ROUTES.iter().filter(|r| r.method == Method::Get) {
        rig.get(&admin, &path(route));
    }
}

#[test]
fn a_field_that_nobody_asked_for_is_refused() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    rig.calls();
    for route in changing().filter(|r| r.scope != Scope::Public && !is_of_device(r)) {
        for name in ["role", "post_up", "is_admin", "private_key", "__proto__"] {
            if route.takes.iter().any(|field| field.name == name) {
                continue;
            }
            let url = path(route);
            let answer = if route.method == Method::Delete {
                rig.send(&rig.request(&admin, "DELETE", &format!("{url}?{name}=admin"), b""))
            } else {
                let text = if route.is_api() {
                    format!("{{\"{name}\":\"admin\"}}")
                } else {
                    format!("{name}=admin")
                };
                rig.send(&rig.request(&admin, route.method.as_str(), &url, text.as_bytes()))
            };
            assert_eq!(answer.status, 400, "{} {name}", route.path);
        }
    }
    assert_eq!(rig.calls(), 0);
}

#[test]
fn what_is_typed_as_a_name_stays_a_name() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    let before = rig.text();
    for name in [
        "x\\nPostUp = touch /tmp/owned",
        "x\\r\\n[Interface]",
        "x\\u0000",
        "x\\u2028y",
        "$(id)",
        "`id`",
        "../../etc/passwd",
        "<img src=x onerror=alert(1)>",
        "{{7*7}}",
        "x' OR '1'='1",
        "",
    ] {
        for (url, text) in [
            ("/api/v1/nodes".to_owned(), format!("{{\"name\":\"{name}\"}}")),
            ("/api/v1/nodes/phone/rename".to_owned(), format!("{{\"to\":\"{name}\"}}")),
        ] {
            let answer = rig.post(&admin, &url, &text);
            assert!((400..500).contains(&answer.status), "{name:?}: {} {}", answer.status, body(&answer));
        }
    }
    for field in ["address", "platform", "public_key"] {
        let text = format!("{{\"name\":\"tablet\",\"{field}\":\"1.2.3.4\\nPostUp = id\"}}");
        assert_eq!(rig.post(&admin, "/api/v1/nodes", &text).status, 400, "{field}");
    }
    let site = r#"{"name":"tablet","sites":["10.77.0.0/16@eth0\"; id; \""]}"#;
    assert!((400..500).contains(&rig.post(&admin, "/api/v1/nodes", site).status));
    assert_eq!(rig.text(), before);
    // What a page shows of what was typed is text.
    let page = body(&rig.get(&admin, "/trace?from=%3Cimg%20src=x%20onerror=alert(1)%3E&to=phone"));
    assert!(!page.contains("<img src=x"), "{page}");
}

#[test]
fn keys_leave_to_whoever_may_and_typed_his_password_again() {
    let rig = Rig::new();
    let secrets = rig.secrets();
    let holds = |text: &str| secrets.iter().any(|key| text.contains(key.as_str()));
    let admin = rig.signed_in("admin", Role::Admin);
    for route in ROUTES.iter().filter(|r| r.method == Method::Get) {
        let answer = rig.get(&admin, &path(route));
        assert!(!holds(&body(&answer)), "{} shows a key", route.path);
    }
    let form = format!("password={}&csrf={}", PASSWORD.replace(' ', "+"), admin.csrf);
    let viewer = rig.signed_in("viewer", Role::Viewer);
    let file = "/nodes/phone/file";
    assert_eq!(
        rig.post(&viewer, file, &format!("password={}&csrf={}", PASSWORD.replace(' ', "+"), viewer.csrf))
            .status,
        403
    );
    assert_eq!(rig.post(&admin, file, &format!("csrf={}", admin.csrf)).status, 400);
    let wrong = rig.post(&admin, file, &format!("password=wrong&csrf={}", admin.csrf));
    assert_eq!(wrong.status, 403);
    assert!(!holds(&body(&wrong)));
    let shown = rig.post(&admin, file, &form);
    assert_eq!(shown.status, 200, "{}", body(&shown));
    assert!(holds(&body(&shown)));
    assert_eq!(header(&shown, "cache-control"), Some("no-store"));
    // Never the relay's, whoever asks.
    let relay = json(&rig.get(&admin, "/api/v1/nodes"))["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["role"] == "relay")
        .unwrap()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let keys = rig.token("keys", TokenScope::Keys, None);
    for (who, url) in
        [(&admin, format!("/nodes/{relay}/file")), (&keys, format!("/api/v1/nodes/{relay}/export"))]
    {
        let answer = rig.post(who, &url, if who.token.is_some() { "" } else { &form });
        assert_eq!(answer.status, 409, "{url}");
        assert!(!holds(&body(&answer)));
    }
    // By the API, a session's password counts for five minutes.
    let export = rig.request(&admin, "POST", "/api/v1/nodes/phone/export", b"");
    assert_eq!(rig.send(&export).status, 200);
    assert_eq!(rig.send_from(&export, [10, 0, 0, 9].into(), NOW + 301).status, 401);
    let written = serde_json::to_string(&rig.web.database.audit(1000).unwrap()).unwrap();
    assert!(!holds(&written) && !written.contains("horse"), "{written}");
    assert!(written.contains("/nodes/{node}/file") && written.contains("phone"), "{written}");
}

#[test]
fn a_relays_key_stays_when_it_is_made_a_spoke() {
    let rig = Rig::new();
    let keys = rig.token("keys", TokenScope::Keys, None);
    let relays = |text: &str| {
        let text = text.replace("[node.wsl]\nrole = \"relay\"", "[node.wsl]");
        text.replace("[node.windows]\n", "[node.windows]\nrole = \"relay\"\nendpoint = \"192.0.2.1:51820\"\n")
    };
    let put = |text: &str| {
        let etag = header(&rig.get(&keys, "/api/v1/network"), "etag").unwrap().to_owned();
        let sent = serde_json::json!({ "text": text }).to_string();
        let asked = rig.request(&keys, "PUT", "/api/v1/network", sent.as_bytes());
        rig.send(&with(asked, "if-match", Some(&etag)))
    };
    let exported = |name: &str| rig.post(&keys, &format!("/api/v1/nodes/{name}/export"), "");
    assert_eq!(exported("windows").status, 200);
    let made_a_spoke = relays(&rig.text());
    assert_eq!(put(&made_a_spoke).status, 200);
    let refused = exported("wsl");
    assert_eq!(refused.status, 409, "{}", body(&refused));
    assert!(body(&refused).contains("was, a relay's") && !body(&refused).contains("PrivateKey"));
    // Nor under another name; with a new key it is a spoke like any other.
    assert_eq!(rig.post(&keys, "/api/v1/nodes/wsl/rename", r#"{"to":"harmless"}"#).status, 200);
    assert_eq!(exported("harmless").status, 409);
    let rotated = rig.post(&keys, "/api/v1/nodes/harmless/rotate", "");
    assert_eq!(rotated.status, 200, "{}", body(&rotated));
    assert_eq!(exported("harmless").status, 200);
}

#[test]
fn a_strangers_body_is_short_before_it_is_read() {
    let rig = Rig::new();
    let (admin, viewer) = (rig.signed_in("admin", Role::Admin), rig.signed_in("viewer", Role::Viewer));
    let of_node = rig.token("laptop", TokenScope::Keys, Some("laptop"));
    let from = std::net::IpAddr::from([10, 0, 0, 9]);
    for route in changing() {
        let limit = |who: &Who, host: Option<&str>| {
            let asked = rig.request(who, route.method.as_str(), &path(route), b"");
            rig.web.body_limit(&with(asked, "host", host), from, NOW)
        };
        let host = Some(crate::rig::HOST);
        assert!(limit(&Who::default(), host) <= STRANGERS_BODY, "{}", route.path);
        assert!(limit(&of_node, host) <= STRANGERS_BODY.max(limit(&admin, host)), "{}", route.path);
        assert_eq!(limit(&admin, host), route.body_limit(), "{}", route.path);
        if route.scope == Scope::Public {
            assert!(route.body_limit() <= STRANGERS_BODY, "{}", route.path);
        }
        if route.scope == Scope::Operate {
            assert!(limit(&viewer, host) <= STRANGERS_BODY, "{}", route.path);
        }
        assert!(limit(&admin, Some("attacker.example")) <= STRANGERS_BODY, "{}", route.path);
    }
}

#[test]
fn a_stranger_learns_no_name_and_writes_little() {
    let rig = Rig::new();
    let link = rig.web.database.add_link(Purpose::Password, FIRST, NOW + 3600, NOW).unwrap();
    let nobody = Who::default();
    for url in
        ["/", "/login", &format!("/init?link={}", link.as_str()), "/init?link=x", "/nowhere", "/api/v1/nodes"]
    {
        let page = body(&rig.get(&nobody, url));
        assert!(!page.contains("screens0"), "{url}: {page:.600}");
    }
    for route in changing() {
        rig.send(&rig.request(&nobody, route.method.as_str(), &path(route), b""));
    }
    assert!(rig.web.database.audit(1000).unwrap().iter().all(|entry| entry.who == NOBODY));
}

#[test]
fn what_is_given_twice_is_not_chosen_from() {
    let rig = Rig::new();
    let ci = rig.token("ci", TokenScope::Operate, None);
    let admin = rig.signed_in("admin", Role::Admin);
    let before = rig.text();
    for name in ["if-match", "authorization"] {
        let mut asked = rig.request(&ci, "POST", "/api/v1/nodes/windows/disable", b"");
        asked.headers.retain(|(own, _)| own != name);
        asked.headers.extend(["\"x\"", "\"y\""].map(|value| (name.to_owned(), value.to_owned())));
        assert_eq!(rig.send(&asked).status, 400, "{name}");
    }
    // A name for this host, and where a form was: of two, neither.
    for (name, other, status) in
        [("host", "attacker.example", 421), ("origin", "http://attacker.example", 403)]
    {
        let mut asked = rig.request(&admin, "POST", "/confirm", b"");
        asked.headers.push((name.into(), other.into()));
        assert_eq!(rig.send(&asked).status, status, "{name}");
    }
    let own = admin.cookie.as_deref().unwrap();
    for cookies in [format!("wgrelay={own}; wgrelay=x"), format!("wgrelay=x; wgrelay={own}")] {
        assert_eq!(
            rig.send(&with(rig.request(&admin, "GET", "/nodes", b""), "cookie", Some(&cookies))).status,
            303
        );
    }
    assert_eq!(rig.text(), before);
}

#[test]
fn a_token_of_one_node_learns_nothing_of_the_host() {
    let rig = Rig::new();
    let tried = |who: &Who| json(&rig.post(who, "/api/v1/nodes/phone/enable", r#"{"dry_run":true}"#));
    let (all, own) = (
        tried(&rig.token("all", TokenScope::Operate, None)),
        tried(&rig.token("own", TokenScope::Operate, Some("phone"))),
    );
    assert_eq!(own["lines"], all["lines"]);
    assert!(own["plan"].is_null(), "{own}");
}

#[test]
fn the_audit_says_who_did_what_to_whom() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    let csrf = &admin.csrf;
    let form =
        format!("csrf={csrf}&do=add_user&user=otto&role=operator&password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(rig.post(&admin, "/people", &form).status, 303);
    rig.post(&admin, "/review", &format!("csrf={csrf}&do=disable&name=windows"));
    rig.post(&admin, "/api/v1/nodes/phone/rename", r#"{"to":"mobile"}"#);
    let text = form_of_login("otto");
    assert_eq!(rig.post(&Who::default(), "/login", &text).status, 303);
    let audit = rig.web.database.audit(100).unwrap();
    let said: Vec<(&str, &str, &str)> =
        audit.iter().rev().map(|e| (e.who.as_str(), e.action.as_str(), e.about.as_str())).collect();
    assert_eq!(
        said,
        [
            ("admin", "POST /people", "add_user otto operator"),
            ("admin", "POST /review", "disable windows"),
            ("admin", "POST /api/v1/nodes/{node}/rename", "phone mobile"),
            ("otto", "signed in", ""),
        ]
    );
}

fn form_of_login(name: &str) -> String {
    format!("user={name}&password={}", PASSWORD.replace(' ', "+"))
}

#[test]
fn a_change_is_said_in_one_way_alone() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    rig.calls();
    for route in changing().filter(|route| route.method != Method::Delete && !is_of_device(route)) {
        let asked = rig.request(&admin, route.method.as_str(), &path(route), b"{}");
        // What a form of a stranger's page can send without being asked.
        for kind in [None, Some("text/plain"), Some("multipart/form-data; boundary=x")] {
            let answer = rig.send(&with(asked.clone(), "content-type", kind));
            assert_eq!(answer.status, 415, "{} as {kind:?}", route.path);
        }
        let url = format!("{}?dry_run=no", path(route));
        let answer = rig.send(&rig.request(&admin, route.method.as_str(), &url, b""));
        assert_eq!(answer.status, 400, "{url}");
    }
    assert_eq!(rig.calls(), 0);
}

#[test]
fn whoever_only_looks_sees_no_key_that_was_pasted() {
    let rig = Rig::new();
    let key = rig.secrets()[0].clone();
    let (viewer, read) = (rig.signed_in("viewer", Role::Viewer), rig.token("read", TokenScope::Read, None));
    let operate = rig.token("operate", TokenScope::Operate, None);
    let put = |text: &str| {
        let etag = header(&rig.get(&operate, "/api/v1/network"), "etag").unwrap().to_owned();
        let sent = serde_json::json!({ "text": text }).to_string();
        let asked = rig.request(&operate, "PUT", "/api/v1/network", sent.as_bytes());
        assert_eq!(rig.send(&with(asked, "if-match", Some(&etag))).status, 200);
    };
    let before = rig.text();
    put(&format!("{before}# of wsl: {key}\n"));
    assert!(
        json(&rig.get(&operate, "/api/v1/network"))["text"].as_str().unwrap().contains(&key),
        "who edits has it"
    );
    let urls = |revision: u64| {
        let all = ["/file", "/rules", "/api/v1/network", "/api/v1/check", "/api/v1/nodes"].map(str::to_owned);
        let of = [format!("/changes/{revision}"), format!("/api/v1/changes/{revision}")];
        all.into_iter().chain(of).collect::<Vec<_>>()
    };
    let looked = |revision: u64| {
        for url in urls(revision) {
            for who in [&viewer, &read] {
                let answer = rig.get(who, &url);
                assert!(!body(&answer).contains(&key), "{url}: {}", body(&answer));
            }
        }
    };
    looked(1);
    put(&before);
    looked(2);
}

#[test]
fn a_path_is_not_read_twice() {
    let rig = Rig::new();
    for path in [
        "/api/v1/nodes/%2e%2e",
        "/api/v1/nodes/..",
        "//api/v1/nodes",
        "/api/v1/nodes/phone/",
        "/assets/..%2f..%2fetc%2fpasswd",
        "/assets/../../../etc/passwd",
        "/assets/%2e%2e",
        "/login/../api/v1/nodes",
        "/login;/api/v1/nodes",
        "/API/V1/nodes",
    ] {
        let answer = rig.get(&Who::default(), path);
        assert!([404, 401].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!body(&answer).contains("root:"));
    }
    assert_eq!(rig.get(&Who::default(), "/assets/passwd").status, 404);
    assert_eq!(rig.calls(), 0);
}
