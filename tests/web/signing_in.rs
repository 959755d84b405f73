//! The first admin, signing in, codes, and how often somebody may guess.

use wgrelay::web::database::{FIRST, Purpose};
use wgrelay::web::view::Role;

use crate::rig::{NOW, PASSWORD, Rig, Who, body, header};

fn form(pairs: &[(&str, &str)]) -> String {
    pairs
        .iter()
        .map(|(n, v)| format!("{n}={}", v.replace(' ', "+").replace('/', "%2F")))
        .collect::<Vec<_>>()
        .join("&")
}

fn login(rig: &Rig, name: &str, password: &str, code: &str) -> wgrelay::web::Outgoing {
    rig.post(&Who::default(), "/login", &form(&[("user", name), ("password", password), ("code", code)]))
}

#[test]
fn there_is_no_admin_until_a_link_of_the_terminal_makes_one() {
    let rig = Rig::new();
    for (name, password) in [("admin", "admin"), ("admin", ""), ("admin", "changeme123456"), ("root", "root")]
    {
        assert!(header(&login(&rig, name, password, ""), "set-cookie").is_none());
    }
    let link = rig.web.database.add_link(Purpose::Password, FIRST, NOW + 3600, NOW).unwrap();
    let url = format!("/init?link={}", link.as_str());
    // Whoever previews it spends nothing.
    assert_eq!(rig.get(&Who::default(), &url).status, 200);
    assert_eq!(rig.get(&Who::default(), &url).status, 200);
    let with = |link: &str, name: &str, again: &str| {
        rig.post(
            &Who::default(),
            "/init",
            &form(&[("link", link), ("user", name), ("password", PASSWORD), ("again", again)]),
        )
    };
    assert_eq!(with(&link, "anna", "another one entirely").status, 400);
    assert_eq!(with("x", "anna", PASSWORD).status, 404);
    let made = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..2)
            .map(|n| {
                let with = &with;
                let link = &link;
                scope.spawn(move || with(link, &format!("anna{n}"), PASSWORD).status)
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).filter(|status| *status == 303).count()
    });
    assert_eq!(made, 1, "of two at once exactly one wins");
    assert_eq!(with(&link, "mallory", PASSWORD).status, 404);
    // Nor is one that was made before there was an admin worth anything then.
    let late = rig.web.database.add_link(Purpose::Password, FIRST, NOW + 3600, NOW).unwrap();
    assert_eq!(rig.get(&Who::default(), &format!("/init?link={}", late.as_str())).status, 404);
    assert_eq!(with(&late, "mallory", PASSWORD).status, 404);
    let users = rig.web.database.users().unwrap();
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].role, Role::Admin);
    assert_eq!(login(&rig, &users[0].name, PASSWORD, "").status, 303);
}

#[test]
fn a_cookie_is_for_this_page_alone() {
    for (scheme, name, secure) in [("http", "wgrelay=", false), ("https", "__Host-wgrelay=", true)] {
        let rig = Rig::at(scheme);
        let before = rig.signed_in("anna", Role::Viewer);
        let answer = login(&rig, "anna", PASSWORD, "");
        let cookie = header(&answer, "set-cookie").unwrap();
        assert!(cookie.starts_with(name), "{cookie}");
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("; Secure"), secure);
        assert!(
            !cookie.contains(before.cookie.as_deref().unwrap()),
            "one that was there before is not taken on"
        );
        assert_eq!(rig.get(&before, "/changes").status, 200);
        let out = rig.post(&before, "/logout", &format!("csrf={}", before.csrf));
        assert!(header(&out, "set-cookie").unwrap().contains("Max-Age=0"));
        assert_eq!(rig.get(&before, "/changes").status, 303, "a cookie that was kept is worth nothing");
    }
}

#[test]
fn nobody_is_sent_to_a_strangers_page() {
    let rig = Rig::new();
    rig.signed_in("anna", Role::Viewer);
    for (next, expected) in [
        ("/nodes", "/nodes"),
        ("//attacker.example", "/"),
        ("https://attacker.example/", "/"),
        ("/\\attacker.example", "/"),
        ("javascript:alert(1)", "/"),
    ] {
        let text = form(&[("user", "anna"), ("password", PASSWORD), ("next", next)]);
        let answer = rig.post(&Who::default(), "/login", &text);
        assert_eq!(header(&answer, "location"), Some(expected), "{next}");
    }
}

#[test]
fn guesses_are_slowed_down_and_told_apart_by_nothing() {
    let rig = Rig::new();
    rig.signed_in("anna", Role::Viewer);
    let (wrong, nobody) = (login(&rig, "anna", "x", ""), login(&rig, "nobody", "x", ""));
    assert_eq!((wrong.status, nobody.status), (401, 401));
    assert_eq!(body(&wrong).replace("anna", ""), body(&nobody).replace("nobody", ""));
    let statuses: Vec<u16> = (0..6).map(|_| login(&rig, "anna", "x", "").status).collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(login(&rig, "anna", PASSWORD, "").status, 429, "the right one, too: it could be a guess");
    let elsewhere = rig.request(
        &Who::default(),
        "POST",
        "/login",
        form(&[("user", "anna"), ("password", PASSWORD)]).as_bytes(),
    );
    assert_eq!(
        rig.send_from(&elsewhere, [10, 0, 0, 77].into(), NOW).status,
        303,
        "she gets in from elsewhere"
    );
    // Whoever sends one wrong token after the other is not heard, and keeps nobody out.
    let guess = |n: u32| Who { token: Some(format!("wgrelay_{n}")), ..Who::default() };
    let statuses: Vec<u16> = (0..32).map(|n| rig.get(&guess(n), "/api/v1/nodes").status).collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let token = rig.token("ci", wgrelay::web::database::TokenScope::Read, None);
    assert_eq!(rig.get(&token, "/api/v1/nodes").status, 200, "who has a right one did not guess");
    let written = serde_json::to_string(&rig.web.database.audit(100).unwrap()).unwrap();
    assert!(written.contains("login failed"), "{written}");
}

#[test]
fn of_many_guesses_at_once_no_more_are_compared_than_may_be() {
    let rig = Rig::new();
    rig.signed_in("anna", Role::Viewer);
    let compared = std::thread::scope(|scope| {
        let tries: Vec<_> =
            (0..16).map(|_| scope.spawn(|| login(&rig, "anna", "wrong", "").status)).collect();
        tries.into_iter().map(|t| t.join().unwrap()).filter(|status| *status == 401).count()
    });
    assert_eq!(compared, 5);
}

#[test]
fn strangers_elsewhere_keep_nobody_from_where_he_signs_in() {
    let rig = Rig::new();
    rig.signed_in("anna", Role::Viewer);
    assert_eq!(login(&rig, "anna", PASSWORD, "").status, 303);
    let guess = rig.request(&Who::default(), "POST", "/login", b"user=anna&password=wrong");
    let last = (0..31).map(|n| rig.send_from(&guess, [10, 9, 0, n].into(), NOW).status).last();
    assert_eq!(last, Some(429), "from anywhere else nothing more is compared");
    assert_eq!(login(&rig, "anna", PASSWORD, "").status, 303);
}

#[test]
fn a_one_time_code_is_asked_for_and_good_once() {
    let rig = Rig::new();
    rig.signed_in("anna", Role::Viewer);
    let user = rig.web.database.user("anna").unwrap().unwrap();
    let codes = wgrelay::web::one_time_codes(&rig.web.database, "wg0", &user).unwrap();
    for none in ["", "000000", "123456"] {
        assert_eq!(login(&rig, "anna", PASSWORD, none).status, 401, "{none}");
    }
    let recovery = &codes.recovery[0];
    assert_eq!(login(&rig, "anna", "wrong", recovery).status, 401);
    assert_eq!(login(&rig, "anna", PASSWORD, recovery).status, 303);
    assert_eq!(login(&rig, "anna", PASSWORD, recovery).status, 401, "a second time");
    // A program's token stays good: codes are for people.
    let token = rig.token("ci", wgrelay::web::database::TokenScope::Read, None);
    assert_eq!(rig.get(&token, "/api/v1/nodes").status, 200);
}
