//! Devices of one's own: added within limits, fetched by whose they are, and nothing else seen; whatever node a request names.

use serde_json::json;
use wgrelay::model::PrivateKey;
use wgrelay::web::database::TokenScope;
use wgrelay::web::routes::{ROUTES, Scope};
use wgrelay::web::view::Role;

use crate::rig::{NOW, PASSWORD, Rig, Who, body, json as told, with};

fn owner(rig: &Rig, name: &str, most: u64) -> Who {
    let who = rig.signed_in(name, Role::Owner);
    rig.web.database.set_devices(name, most).unwrap();
    who
}

fn form(rig: &Rig, who: &Who, url: &str, rest: &str) -> wgrelay::web::Outgoing {
    rig.post(who, url, &format!("csrf={}&{rest}", who.csrf))
}

fn add(rig: &Rig, who: &Who, name: &str) -> wgrelay::web::Outgoing {
    form(rig, who, "/devices", &format!("do=add&name={name}&platform=android"))
}

fn names(rig: &Rig, who: &Who) -> Vec<String> {
    let answer = told(&rig.get(who, "/api/v1/devices"));
    let devices = answer["devices"].as_array().unwrap().iter();
    devices.map(|device| device["name"].as_str().unwrap().to_owned()).collect()
}

fn password() -> String {
    format!("password={}", PASSWORD.replace(' ', "+"))
}

#[test]
fn one_adds_fetches_and_removes_a_device_of_ones_own() {
    let rig = Rig::new();
    let anna = owner(&rig, "anna", 2);
    assert_eq!(crate::rig::header(&rig.get(&anna, "/"), "location"), Some("/devices"), "she begins there");
    let added = add(&rig, &anna, "phone");
    assert_eq!(added.status, 303, "{}", body(&added));
    assert_eq!(names(&rig, &anna), ["anna-phone"]);
    let page = body(&rig.get(&anna, "/devices"));
    assert!(page.contains("anna-phone") && page.contains("1 devices, of 2"), "{page}");
    let file = form(&rig, &anna, "/devices/anna-phone/file", &password());
    assert_eq!(file.status, 200, "{}", body(&file));
    assert!(body(&file).contains("PrivateKey = ") && !body(&file).contains("/nodes/"));
    assert_eq!(form(&rig, &anna, "/devices/anna-phone/file", "password=wrong").status, 403);
    // By the API the password that she typed counts for five minutes.
    let export = rig.request(&anna, "POST", "/api/v1/devices/anna-phone/export", b"");
    assert_eq!(rig.send(&export).status, 200);
    assert_eq!(rig.send_from(&export, [10, 0, 0, 9].into(), NOW + 301).status, 401);
    assert_eq!(told(&rig.get(&anna, "/api/v1/devices/anna-phone"))["device"]["name"], "anna-phone");
    let history = body(&rig.get(&rig.token("ci", TokenScope::Read, None), "/api/v1/changes"));
    assert!(history.contains("wgrelay web, anna"), "{history}");
    // A change is said in one way, with what it takes and no more, by her own page.
    for (url, sent) in [("file", "&role=admin"), ("remove", "&node=windows"), ("remove", "&dry_run=yes")] {
        let url = format!("/devices/anna-phone/{url}");
        assert_eq!(form(&rig, &anna, &url, &format!("{}{sent}", password())).status, 400, "{url} {sent}");
        let asked = rig.request(&anna, "POST", &url, b"");
        assert_eq!(rig.send(&with(asked.clone(), "content-type", Some("text/plain"))).status, 415);
        assert_eq!(rig.send(&with(asked.clone(), "origin", Some("http://attacker.example"))).status, 403);
        assert_ne!(rig.send(&with(asked, "x-csrf", Some("x"))).status, 303);
    }
    assert_eq!(names(&rig, &anna), ["anna-phone"]);
    assert_eq!(form(&rig, &anna, "/devices/anna-phone/remove", "").status, 303);
    assert!(names(&rig, &anna).is_empty() && !rig.text().contains("anna-phone"));
}

/// Every route of the table that names a node, or could, tried with everybody else's.
#[test]
fn nobody_elses_device_is_reached_by_naming_it() {
    let rig = Rig::new();
    let (anna, otto) = (owner(&rig, "anna", 3), owner(&rig, "otto", 3));
    assert_eq!((add(&rig, &anna, "phone").status, add(&rig, &otto, "laptop").status), (303, 303));
    let before = rig.text();
    let (nodes, secrets) =
        (["phone", "windows", "wsl", "otto-laptop", "nowhere", "OTTO-LAPTOP"], rig.secrets());
    let mut said = std::collections::BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.placeholders().any(|name| name == "node")) {
        for node in nodes {
            let url = route.path.replace("{node}", node);
            let sent =
                if route.is_api() { String::new() } else { format!("csrf={}&{}", anna.csrf, password()) };
            let answer = rig.send(&rig.request(&anna, route.method.as_str(), &url, sent.as_bytes()));
            assert_eq!(answer.status, 403, "{} {url}: {}", route.method.as_str(), body(&answer));
            let text = body(&answer);
            assert!(secrets.iter().all(|key| !text.contains(key.as_str())), "{url}");
            if route.scope == Scope::Device && route.is_api() {
                said.insert(text);
            }
        }
    }
    assert_eq!(said.len(), 1, "whether there is such a node is not told: {said:?}");
    // Nor by a field, a query or a form of another route.
    for (url, rest) in [
        ("/devices", "do=remove_link&name=otto-laptop"),
        ("/devices", "do=remove&name=otto-laptop"),
        ("/devices", "do=add&name=..%2Fotto-laptop"),
        ("/devices/anna-phone/file", "password=x&node=otto-laptop"),
        ("/devices/anna-phone/remove", "node=otto-laptop"),
        ("/review", "do=remove&name=otto-laptop"),
        ("/apply", "do=remove&name=otto-laptop&revision=x"),
        ("/links", "do=add&name=x"),
        ("/people", "do=give_device&node=otto-laptop&user=anna"),
    ] {
        let answer = form(&rig, &anna, url, rest);
        assert!((400..500).contains(&answer.status), "{url} {rest}: {}", answer.status);
    }
    assert_eq!(rig.text(), before);
    // What she sees of the network is hers.
    for url in ["/devices", "/api/v1/devices", "/api/v1/devices/anna-phone"] {
        let text = body(&rig.get(&anna, url));
        // The choice of platforms has the words that nodes are called by here.
        let (before, rest) = text.split_once("<select").unwrap_or((&text, ""));
        let said = format!("{before}{}", rest.split_once("</select>").map_or("", |(_, after)| after));
        for other in ["otto", "windows", "wsl", "docker"] {
            assert!(!said.contains(other), "{url} names {other}: {said}");
        }
    }
}

#[test]
fn a_device_is_whose_key_it_has_and_not_whose_name() {
    let rig = Rig::new();
    let anna = owner(&rig, "anna", 3);
    let ci = rig.token("ci", TokenScope::Keys, None);
    assert_eq!(add(&rig, &anna, "phone").status, 303);
    // Under another name it stays hers, and with new keys that an operator makes.
    assert_eq!(rig.post(&ci, "/api/v1/nodes/anna-phone/rename", r#"{"to":"mobile"}"#).status, 200);
    assert_eq!(names(&rig, &anna), ["mobile"]);
    assert_eq!(rig.post(&ci, "/api/v1/nodes/mobile/rotate", r#"{"dry_run":true}"#).status, 200);
    assert_eq!(rig.post(&ci, "/api/v1/nodes/mobile/rotate", "").status, 200);
    assert_eq!(names(&rig, &anna), ["mobile"]);
    assert_eq!(form(&rig, &anna, "/devices/mobile/file", &password()).status, 200);
    // What somebody else makes under the old name, or under this one once it is gone, is not.
    assert_eq!(rig.post(&ci, "/api/v1/nodes", r#"{"name":"anna-phone"}"#).status, 200);
    assert_eq!(form(&rig, &anna, "/devices/anna-phone/file", &password()).status, 403);
    assert_eq!(rig.send(&rig.request(&ci, "DELETE", "/api/v1/nodes/mobile", b"")).status, 200);
    assert_eq!(rig.post(&ci, "/api/v1/nodes", r#"{"name":"mobile"}"#).status, 200);
    assert_eq!(form(&rig, &anna, "/devices/mobile/file", &password()).status, 403);
    assert!(names(&rig, &anna).is_empty());
}

#[test]
fn nobody_has_more_devices_than_he_may() {
    let rig = Rig::new();
    let anna = owner(&rig, "anna", 2);
    assert_eq!(add(&rig, &anna, "one").status, 303);
    let link = form(&rig, &anna, "/devices", "do=link&name=two&platform=ios&hours=2");
    assert_eq!(link.status, 200, "{}", body(&link));
    let again = add(&rig, &anna, "three");
    assert!(again.status == 409 && body(&again).contains("may have 2"), "{}", body(&again));
    assert_eq!(form(&rig, &anna, "/devices", "do=link&name=three").status, 409, "links count");
    assert!(!body(&rig.get(&anna, "/devices")).contains("name=\"do\" value=\"add\""));
    assert_eq!(form(&rig, &anna, "/devices", "do=remove_link&name=anna-two").status, 303);
    assert_eq!(add(&rig, &anna, "three").status, 303);
    // A link is good for three days at most, a name is one, and nobody who was given no number may have any.
    for wrong in [
        "do=link&name=four&hours=73",
        "do=link&name=four&hours=0",
        "do=add&name=A%20b",
        "do=add&name=four&platform=x",
    ] {
        assert_eq!(form(&rig, &anna, "/devices", wrong).status, 400, "{wrong}");
    }
    for (name, role) in [("vera", Role::Viewer), ("olga", Role::Operator)] {
        let who = rig.signed_in(name, role);
        let no = add(&rig, &who, "one");
        assert!(no.status == 409 && body(&no).contains("no devices of your own"), "{}", body(&no));
    }
    // Fewer later: what there is stays, and nothing is added.
    rig.web.database.set_devices("anna", 1).unwrap();
    assert_eq!(names(&rig, &anna).len(), 2);
    assert_eq!(add(&rig, &anna, "four").status, 409);
}

#[test]
fn a_link_of_ones_own_makes_a_device_of_ones_own() {
    let rig = Rig::new();
    let (anna, otto) = (owner(&rig, "anna", 3), owner(&rig, "otto", 3));
    let made = |who: &Who, name: &str| {
        let answer = rig.post(who, "/api/v1/devices/links", &json!({"name": name}).to_string());
        assert_eq!(answer.status, 200, "{}", body(&answer));
        told(&answer)["path"].as_str().unwrap().strip_prefix("/enroll?link=").unwrap().to_owned()
    };
    let enroll = |link: &str, key: &PrivateKey| {
        let sent = json!({"link": link, "public_key": key.public_key().to_string()}).to_string();
        rig.post(&Who::default(), "/api/v1/enroll", &sent)
    };
    let key = |n: u8| PrivateKey::from_bytes([n; 32]);
    let (link, other) = (made(&anna, "tablet"), made(&otto, "tablet"));
    assert_eq!(enroll(&link, &key(7)).status, 200);
    assert_eq!(names(&rig, &anna), ["anna-tablet"]);
    // With her key, it is not his: neither while hers is there nor when it is gone.
    assert!((400..500).contains(&enroll(&other, &key(7)).status));
    assert_eq!(names(&rig, &otto), Vec::<String>::new());
    let ci = rig.token("ci", TokenScope::Operate, None);
    assert_eq!(rig.send(&rig.request(&ci, "DELETE", "/api/v1/nodes/anna-tablet", b"")).status, 200);
    assert_eq!(enroll(&other, &key(7)).status, 409);
    let sent = json!({"name": "mine", "public_key": key(7).public_key().to_string()}).to_string();
    assert_eq!(rig.post(&otto, "/api/v1/devices", &sent).status, 409);
    assert_eq!(enroll(&other, &key(8)).status, 200);
    assert_eq!(names(&rig, &otto), ["otto-tablet"]);
    // A link that anna made ends with her.
    let late = made(&anna, "late");
    rig.web.database.remove_user("anna").unwrap();
    assert_eq!(enroll(&late, &key(9)).status, 404);
}

#[test]
fn an_admin_says_who_has_what() {
    let rig = Rig::new();
    let admin = rig.signed_in("admin", Role::Admin);
    let people = |rest: &str| form(&rig, &admin, "/people", rest).status;
    assert_eq!(people(&format!("do=add_user&user=otto&role=owner&{}", password())), 303);
    assert_eq!(rig.web.database.user("otto").unwrap().unwrap().devices, 5, "usually");
    assert_eq!(people("do=set_user&user=otto&role=owner&devices=9"), 303);
    assert_eq!(people("do=set_user&user=otto&role=owner&devices=1001"), 400);
    assert_eq!(people("do=set_user&user=nobody&role=owner"), 404);
    assert_eq!(people("do=set_user&user=admin&role=owner"), 409, "the last admin stays one");
    assert_eq!(people("do=give_device&node=phone&user=otto"), 303);
    assert_eq!(people("do=give_device&node=wsl&user=otto"), 409, "a relay is nobody's");
    assert_eq!(people("do=give_device&node=phone&user=nobody"), 404);
    let page = body(&rig.get(&admin, "/people"));
    assert!(page.contains("1/9: phone"), "{page}");
    let id = rig.web.database.user("otto").unwrap().unwrap().id;
    let opened = rig.web.database.open_session(id, "10.0.0.9", NOW).unwrap();
    let otto = Who { cookie: Some(opened.cookie.to_string()), csrf: opened.csrf, token: None };
    assert_eq!(names(&rig, &otto), ["phone"]);
    assert_eq!(people("do=give_device&node=phone&user="), 303);
    assert!(names(&rig, &otto).is_empty());
}

/// Each change is a revision, of which 50 are kept: nobody wipes them by adding and removing.
#[test]
fn nobody_uses_up_the_history_nor_the_files_that_may_leave() {
    let rig = Rig::new();
    let (anna, otto) = (owner(&rig, "anna", 5), owner(&rig, "otto", 5));
    // The first change keeps what was before as a revision, too.
    assert_eq!(add(&rig, &otto, "phone").status, 303);
    let ci = rig.token("ci", TokenScope::Read, None);
    let revisions = || told(&rig.get(&ci, "/api/v1/changes"))["revisions"].as_array().unwrap().len();
    let before = revisions();
    let remove = |name: &str, now: u64| {
        let form = format!("csrf={}", anna.csrf);
        rig.send_from(
            &rig.request(&anna, "POST", &format!("/devices/anna-{name}/remove"), form.as_bytes()),
            [10, 0, 0, 9].into(),
            now,
        )
    };
    let mut done = 0;
    for _ in 0..20 {
        done += usize::from(add(&rig, &anna, "phone").status == 303);
        done += usize::from(remove("phone", NOW).status == 303);
        // What comes to nothing is not counted, and neither is done more often.
        let taken = form(&rig, &anna, "/devices", "do=add&name=a+b&platform=android");
        assert!([400, 429].contains(&taken.status), "{}", body(&taken));
    }
    assert_eq!((done, revisions() - before), (12, 12));
    for refused in [
        add(&rig, &anna, "phone"),
        form(&rig, &anna, "/devices", "do=link&name=tablet&platform=android"),
        rig.post(&anna, "/api/v1/devices", &json!({"name": "tablet"}).to_string()),
        rig.post(&anna, "/api/v1/devices/links", &json!({"name": "tablet"}).to_string()),
    ] {
        assert_eq!(refused.status, 429, "{}", body(&refused));
        assert!(body(&refused).contains("again in 1440 minutes"), "{}", body(&refused));
    }
    assert_eq!(add(&rig, &otto, "laptop").status, 303, "others are not kept waiting");
    // Files: five of one owner in a minute, by whichever way; others get theirs.
    let taken = (0..10).filter(|n| {
        let answer = if n % 2 == 0 {
            form(&rig, &otto, "/devices/otto-phone/file", &password())
        } else {
            rig.post(&otto, "/api/v1/devices/otto-phone/export", "")
        };
        assert!([200, 429].contains(&answer.status), "{}", body(&answer));
        answer.status == 200
    });
    assert_eq!(taken.count(), 5);
    let keys = rig.token("keys", TokenScope::Keys, None);
    let taken = (0..20).filter(|_| rig.post(&keys, "/api/v1/nodes/phone/export", "").status == 200);
    assert_eq!(taken.count(), 15, "nor does one program take all");
    let operator = rig.signed_in("operator", Role::Operator);
    assert_eq!(rig.post(&operator, "/api/v1/nodes/phone/export", "").status, 200);
}

/// A key out of the past is that of a node which a `revert` brings back, and that node is nobody's who gave its key to a device.
#[test]
fn a_key_out_of_the_past_makes_nobody_the_owner_of_somebody_elses_node() {
    let rig = Rig::new();
    let operator = rig.signed_in("operator", Role::Operator);
    let (anna, otto) = (owner(&rig, "anna", 5), owner(&rig, "otto", 5));
    // A node of the network's, one that was removed, one that had its keys made anew, and a device of somebody else's.
    let key_of = |name: &str| {
        told(&rig.get(&operator, &format!("/api/v1/nodes/{name}")))["public_key"].as_str().unwrap().to_owned()
    };
    assert_eq!(add(&rig, &otto, "phone").status, 303);
    let keys = [key_of("phone"), key_of("office"), key_of("otto-phone"), key_of("windows")];
    let remove =
        |node: &str| rig.send(&rig.request(&operator, "DELETE", &format!("/api/v1/nodes/{node}"), b""));
    assert_eq!(remove("phone").status, 200);
    assert_eq!(rig.post(&operator, "/api/v1/nodes/office/rotate", "").status, 200);
    assert_eq!(form(&rig, &otto, "/devices/otto-phone/remove", "").status, 303);
    for (n, key) in keys.iter().enumerate() {
        let asked = json!({"name": format!("d{n}"), "public_key": key});
        let refused = rig.post(&anna, "/api/v1/devices", &asked.to_string());
        assert_eq!(refused.status, 409, "{key}: {}", body(&refused));
        let link =
            told(&rig.post(&anna, "/api/v1/devices/links", &json!({"name": format!("l{n}")}).to_string()));
        let secret = link["path"].as_str().unwrap().rsplit("link=").next().unwrap().to_owned();
        let asked = json!({"link": secret, "public_key": key}).to_string();
        let refused = rig.post(&Who::default(), "/api/v1/enroll", &asked);
        assert_eq!(refused.status, 409, "{key}: {}", body(&refused));
    }
    assert!(names(&rig, &anna).is_empty());
    let fresh = PrivateKey::from_bytes([77; 32]).public_key().to_string();
    let asked = json!({"name": "fresh", "public_key": fresh}).to_string();
    assert_eq!(rig.post(&anna, "/api/v1/devices", &asked).status, 200);
    let first = rig.post(&operator, "/api/v1/changes/1/revert", "");
    assert_eq!(first.status, 200, "{}", body(&first));
    assert!(names(&rig, &anna).is_empty(), "nothing that came back is hers");
}
