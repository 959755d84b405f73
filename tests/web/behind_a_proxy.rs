//! Behind a proxy: below a path, under the proxy's name, and whose word counts on where a request came from.

use wgrelay::web::guard::Place;
use wgrelay::web::proxy::{Proxies, Public};
use wgrelay::web::routes::{Method, ROUTES};
use wgrelay::web::view::Role;

use crate::rig::{HOST, NOW, PASSWORD, Rig, Who, body, header, json, with};

const NAME: &str = "vpn.example";

fn rig() -> Rig {
    let public = Some(Public::read("https://vpn.example/wg").unwrap());
    let proxies = Proxies(vec!["10.0.0.9/32".parse().unwrap()]);
    Rig::in_place(Place { scheme: "http", hosts: vec![HOST.into()], public, proxies })
}

/// As the proxy passes it on: its cookie has another name, by TLS.
fn through(rig: &Rig, who: &Who, method: &str, url: &str, text: &[u8]) -> wgrelay::web::Asked {
    let asked = with(rig.request(who, method, url, text), "host", Some(NAME));
    let kind = if url.contains("/api/") { "application/json" } else { "application/x-www-form-urlencoded" };
    let asked = with(asked, "content-type", Some(kind));
    let origin = (method != "GET").then_some("https://vpn.example");
    let cookie = who.cookie.as_ref().map(|cookie| format!("__Secure-wgrelay={cookie}"));
    with(with(asked, "origin", origin), "cookie", cookie.as_deref())
}

#[test]
fn below_a_path_nothing_leads_out_of_it() {
    let rig = rig();
    let admin = rig.signed_in("admin", Role::Admin);
    for route in ROUTES.iter().filter(|route| route.method == Method::Get) {
        let path =
            route.path.replace("{node}", "phone").replace("{revision}", "1").replace("{name}", "page.js");
        let answer = rig.send(&through(&rig, &admin, "GET", &format!("/wg{path}"), b""));
        // There is no provider to sign in by here.
        let is_absent = path.contains("revision") || path.contains("changes/1") || path.starts_with("/oidc/");
        assert!(answer.status != 404 || is_absent, "{path}");
        let page = body(&answer);
        if header(&answer, "content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            for name in ["href", "src", "action", "data-live", "data-enroll"] {
                for link in page.split(&format!(" {name}=\"")).skip(1) {
                    let link = link.split('"').next().unwrap();
                    let stays = link.starts_with("/wg/") || link.starts_with(['#', '?']);
                    assert!(stays, "{path}: {name}={link}");
                }
            }
        }
        // Beside it, there is nothing.
        for outside in [path.clone(), format!("/wgx{path}"), format!("/x/wg{path}"), format!("//wg{path}")] {
            assert_eq!(rig.send(&through(&rig, &admin, "GET", &outside, b"")).status, 404, "{outside}");
        }
    }
    let nobody = rig.send(&through(&rig, &Who::default(), "GET", "/wg/nodes", b""));
    assert_eq!(header(&nobody, "location"), Some("/wg/login?next=/nodes"));
    let token = rig.token("ci", wgrelay::web::database::TokenScope::Operate, None);
    let made = rig.send(&through(&rig, &token, "POST", "/wg/api/v1/links", br#"{"name":"tablet"}"#));
    assert!(json(&made)["path"].as_str().unwrap().starts_with("/wg/enroll?link="), "{}", body(&made));
}

#[test]
fn a_session_behind_a_proxy_is_by_tls_and_for_that_path() {
    let rig = rig();
    let admin = rig.signed_in("admin", Role::Admin);
    let form = format!("user=admin&password={}&next=%2Fnodes", PASSWORD.replace(' ', "+"));
    let in_ = rig.send(&through(&rig, &Who::default(), "POST", "/wg/login", form.as_bytes()));
    assert_eq!(header(&in_, "location"), Some("/wg/nodes"));
    let cookie = header(&in_, "set-cookie").unwrap();
    assert!(cookie.starts_with("__Secure-wgrelay=") && cookie.contains("; Path=/wg;"), "{cookie}");
    assert!(
        cookie.contains("; Secure") && cookie.contains("; SameSite=Strict") && cookie.contains("; HttpOnly")
    );
    assert_eq!(header(&in_, "strict-transport-security"), Some("max-age=31536000"));
    // A change comes from the proxy's own name by TLS, or from ours; by nothing else.
    let confirm = through(&rig, &admin, "POST", "/wg/review", b"");
    for (origin, is_ours) in [
        ("https://vpn.example", true),
        ("http://vpn.example", false),
        ("https://vpn.example.attacker.example", false),
        ("https://relay.example:8480", false),
        ("http://relay.example:8480", true),
    ] {
        let answer = rig.send(&with(confirm.clone(), "origin", Some(origin)));
        assert_eq!(answer.status == 403, !is_ours, "{origin}: {}", body(&answer));
    }
    // What a proxy is told by others about the name is not listened to.
    let mut asked = rig.request(&admin, "GET", "/wg/nodes", b"");
    asked.headers.push(("x-forwarded-host".into(), NAME.into()));
    assert_eq!(rig.send(&with(asked, "host", Some("attacker.example"))).status, 421);
    // Called directly, it is as it was: a plain cookie, without what only TLS keeps.
    let direct = rig.post(&Who::default(), "/wg/login", &form);
    let cookie = header(&direct, "set-cookie").unwrap();
    assert!(cookie.starts_with("wgrelay=") && !cookie.contains("Secure"), "{cookie}");
    assert!(header(&direct, "strict-transport-security").is_none());
}

#[test]
fn where_a_request_came_from_is_said_by_listed_proxies_alone() {
    let rig = rig();
    rig.signed_in("anna", Role::Viewer);
    let login = |said: &[&str], from: [u8; 4], password: &str| {
        let text = format!("user=anna&password={}", password.replace(' ', "+"));
        let mut asked = through(&rig, &Who::default(), "POST", "/wg/login", text.as_bytes());
        asked.headers.extend(said.iter().map(|said| ("x-forwarded-for".to_owned(), (*said).to_owned())));
        // Others' headers of the kind say nothing.
        asked.headers.extend(
            ["x-real-ip", "forwarded", "x-client-ip"].map(|name| (name.to_owned(), "203.0.113.9".to_owned())),
        );
        rig.send_from(&asked, from.into(), NOW).status
    };
    let proxy = [10, 0, 0, 9];
    // Each visitor guesses for himself, whatever he writes before what the proxy says.
    let statuses: Vec<u16> =
        (0..7).map(|n| login(&[&format!("198.51.100.{n}, 192.0.2.1")], proxy, "wrong")).collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(login(&["192.0.2.2"], proxy, PASSWORD), 303, "another one gets in");
    // Who is no proxy does not get away by claiming to be many.
    let statuses: Vec<u16> =
        (0..7).map(|n| login(&[&format!("198.51.100.{n}")], [192, 0, 2, 77], "wrong")).collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let said = rig.web.database.audit(100).unwrap();
    let from: std::collections::BTreeSet<&str> = said.iter().map(|entry| entry.address.as_str()).collect();
    assert_eq!(from.into_iter().collect::<Vec<_>>(), ["192.0.2.1", "192.0.2.2", "192.0.2.77"]);
}
