//! Links by which a device enrols once, with a key that it makes itself.

use serde_json::json;
use wgrelay::model::{PresharedKey, PrivateKey};
use wgrelay::web::database::TokenScope;
use wgrelay::web::view::Role;

use crate::rig::{NOW, Rig, Who, body, header, json as told};

fn made(rig: &Rig, node: &str) -> String {
    let ci = rig.token(&format!("for-{node}"), TokenScope::Operate, None);
    let sent = json!({"name": node, "platform": "android", "hours": 2}).to_string();
    let answer = rig.post(&ci, "/api/v1/links", &sent);
    assert_eq!(answer.status, 200, "{}", body(&answer));
    let path = told(&answer)["path"].as_str().unwrap().to_owned();
    path.strip_prefix("/enroll?link=").unwrap().to_owned()
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes([n; 32])
}

fn enroll(rig: &Rig, link: &str, public_key: &str) -> wgrelay::web::Outgoing {
    let sent = json!({"link": link, "public_key": public_key}).to_string();
    rig.post(&Who::default(), "/api/v1/enroll", &sent)
}

#[test]
fn a_device_enrols_with_its_own_key_and_the_relay_never_has_it() {
    let rig = Rig::new();
    let link = made(&rig, "tablet");
    let kept = rig.secrets();
    // Whoever previews it spends nothing, and it is in no file as it is.
    for _ in 0..3 {
        let page = rig.get(&Who::default(), &format!("/enroll?link={link}"));
        assert!(page.status == 200 && body(&page).contains("tablet"), "{}", body(&page));
        assert!(!rig.text().contains("tablet"));
    }
    let own = key(7);
    let answer = enroll(&rig, &link, &own.public_key().to_string());
    assert_eq!(answer.status, 200, "{}", body(&answer));
    let content = told(&answer)["content"].as_str().unwrap().to_owned();
    // There is one place for the private key, and the preshared key came along.
    let places: Vec<&str> =
        content.lines().filter(|l| l.trim_start_matches(['#', ' ']).starts_with("PrivateKey = ")).collect();
    assert!(matches!(&places[..], [one] if one.starts_with('#')), "{content}");
    let preshared = content.lines().find_map(|line| line.strip_prefix("PresharedKey = ")).unwrap();
    assert!(preshared.parse::<PresharedKey>().is_ok());
    let (text, secrets) = (rig.text(), rig.secrets());
    assert!(text.contains(&format!("public_key = \"{}\"", own.public_key())), "{text}");
    assert!(!secrets.contains(&own.expose_base64()));
    assert!(secrets.contains(&preshared.to_owned()));
    assert_eq!(secrets.len(), kept.len() + 1, "a preshared key, and no private one");
    // Once.
    assert_eq!(enroll(&rig, &link, &key(8).public_key().to_string()).status, 404);
    let audit = serde_json::to_string(&rig.web.database.audit(10).unwrap()).unwrap();
    assert!(audit.contains("enrol") && audit.contains("a link of token for-tablet"), "{audit}");
    assert!(!audit.contains(&link));
    let ci = rig.token("ci", TokenScope::Read, None);
    let history = body(&rig.get(&ci, "/api/v1/changes"));
    assert!(history.contains("wgrelay web, a link of token for-tablet"), "{history}");
}

#[test]
fn of_two_devices_at_once_exactly_one_enrols() {
    let rig = Rig::new();
    let link = made(&rig, "tablet");
    let won: Vec<u8> = std::thread::scope(|scope| {
        let tries: Vec<_> = (1..5)
            .map(|n| {
                let (rig, link) = (&rig, &link);
                scope.spawn(move || (n, enroll(rig, link, &key(n).public_key().to_string()).status))
            })
            .collect();
        tries
            .into_iter()
            .map(|t| t.join().unwrap())
            .filter(|(_, status)| *status == 200)
            .map(|(n, _)| n)
            .collect()
    });
    let [won] = won[..] else { panic!("{won:?}") };
    let text = rig.text();
    for n in 1..5 {
        assert_eq!(text.contains(&key(n).public_key().to_string()), n == won, "{n}");
    }
}

#[test]
fn a_link_that_led_to_nothing_is_good_again() {
    let rig = Rig::new();
    let link = made(&rig, "tablet");
    let relays = rig
        .text()
        .lines()
        .find_map(|l| l.strip_prefix("public_key = \"")?.strip_suffix('"').map(str::to_owned))
        .unwrap();
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let secret = rig.secrets()[0].clone();
    for wrong in ["", "short", zeros, &relays, &secret] {
        let answer = enroll(&rig, &link, wrong);
        assert!((400..500).contains(&answer.status), "{wrong}: {}", body(&answer));
        assert!(!body(&answer).contains(&secret), "what may be a secret is not repeated");
        assert!(!rig.text().contains("tablet"));
    }
    assert_eq!(enroll(&rig, &link, &key(7).public_key().to_string()).status, 200);
}

#[test]
fn guesses_are_slowed_down_and_keep_nobody_else_out() {
    let rig = Rig::new();
    let link = made(&rig, "tablet");
    let guess = |n: u32, from: [u8; 4]| {
        let url = format!("/enroll?link={n}");
        let asked = rig.request(&Who::default(), "GET", &url, b"");
        rig.send_from(&asked, from.into(), NOW).status
    };
    let statuses: Vec<u16> = (0..32).map(|n| guess(n, [192, 0, 2, 1])).collect();
    assert!(statuses.starts_with(&[404, 404]) && statuses.ends_with(&[429]), "{statuses:?}");
    for n in 0..60 {
        guess(n, [192, 0, 2, 10 + n as u8]);
    }
    assert_eq!(enroll(&rig, &link, &key(7).public_key().to_string()).status, 200);
    // A link that has ended is none.
    let link = made(&rig, "other");
    let asked = rig.request(&Who::default(), "GET", &format!("/enroll?link={link}"), b"");
    assert_eq!(rig.send_from(&asked, [10, 0, 0, 9].into(), NOW + 7199).status, 200);
    assert_eq!(rig.send_from(&asked, [10, 0, 0, 9].into(), NOW + 7200).status, 404);
}

#[test]
fn operators_make_links_and_take_them_back() {
    let rig = Rig::new();
    let (operator, viewer) = (rig.signed_in("olga", Role::Operator), rig.signed_in("vera", Role::Viewer));
    let form = |who: &Who, rest: &str| rig.post(who, "/links", &format!("csrf={}&{rest}", who.csrf));
    assert_eq!(form(&viewer, "do=add&name=tablet").status, 403);
    assert_eq!(rig.get(&viewer, "/links").status, 403);
    for wrong in [
        "name=windows",
        "name=a%20b",
        "name=tablet&platform=toaster",
        "name=tablet&hours=0",
        "name=tablet&hours=745",
    ] {
        let answer = form(&operator, &format!("do=add&{wrong}"));
        assert!((400..500).contains(&answer.status), "{wrong}");
    }
    let page = body(&form(&operator, "do=add&name=tablet&platform=ios&hours=1"));
    let link = page.split("/enroll?link=").nth(1).unwrap()[..43].to_owned();
    assert!(!body(&rig.get(&operator, "/links")).contains(&link), "it is shown once");
    assert!(body(&rig.get(&operator, "/links")).contains("tablet"));
    assert_eq!(form(&operator, "do=remove&name=tablet").status, 303);
    assert_eq!(enroll(&rig, &link, &key(7).public_key().to_string()).status, 404);
    // A token of one node takes back the link of that one, and makes none.
    let of = rig.token("of", TokenScope::Operate, Some("tablet"));
    assert_eq!(rig.post(&of, "/api/v1/links", r#"{"name":"tablet"}"#).status, 403);
    made(&rig, "tablet");
    assert_eq!(rig.send(&rig.request(&of, "DELETE", "/api/v1/links/tablet", b"")).status, 200);
    assert_eq!(rig.send(&rig.request(&of, "DELETE", "/api/v1/links/tablet", b"")).status, 404);
}

#[test]
fn whoever_has_no_script_enrols_by_a_form_and_fills_his_key_in() {
    let rig = Rig::new();
    let link = made(&rig, "tablet");
    let key = key(9).public_key().to_string().replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let sent = format!("csrf=&link={link}&public_key={key}");
    // From a page of somebody else it is not taken.
    let asked = rig.request(&Who::default(), "POST", "/enroll", sent.as_bytes());
    let stranger = crate::rig::with(asked.clone(), "origin", Some("https://attacker.example"));
    assert_eq!(rig.send(&stranger).status, 403);
    let page = rig.send(&asked);
    assert_eq!(page.status, 200, "{}", body(&page));
    assert!(body(&page).contains("# PrivateKey = ") && body(&page).contains("PresharedKey = "));
    assert_eq!(header(&page, "cache-control"), Some("no-store"));
}

/// A link is worth what its maker may do: it does not outlive his rights.
#[test]
fn links_end_with_the_rights_of_who_made_them() {
    let rig = Rig::new();
    let made_by = |who: &Who, node: &str| {
        let answer = rig.post(who, "/api/v1/links", &json!({"name": node}).to_string());
        assert_eq!(answer.status, 200, "{}", body(&answer));
        told(&answer)["path"].as_str().unwrap().strip_prefix("/enroll?link=").unwrap().to_owned()
    };
    let (eve, carl) = (rig.signed_in("eve", Role::Operator), rig.signed_in("carl", Role::Operator));
    let stays = rig.signed_in("dora", Role::Operator);
    let ci = rig.token("ci", TokenScope::Operate, None);
    let gone = [made_by(&eve, "one"), made_by(&carl, "two"), made_by(&ci, "three")];
    let good = made_by(&stays, "four");
    rig.web.database.remove_user("eve").unwrap();
    rig.web.database.set_role("carl", Role::Viewer).unwrap();
    rig.web.database.remove_token("ci").unwrap();
    for (link, n) in gone.iter().zip(1..) {
        assert_eq!(enroll(&rig, link, &key(n).public_key().to_string()).status, 404);
    }
    assert_eq!(enroll(&rig, &good, &key(9).public_key().to_string()).status, 200);
}
