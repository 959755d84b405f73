//! The API: the JSON of the command line, changes that are tried first, and edits that are not lost.

use serde_json::Value;
use wgrelay::web::database::TokenScope;
use wgrelay::web::openapi;
use wgrelay::web::view::Role;

use crate::rig::{Rig, Who, body, header, json, with};

#[test]
fn a_change_is_tried_first_with_the_pairs_that_it_opens_and_closes() {
    let rig = Rig::new();
    let ci = rig.token("ci", TokenScope::Operate, None);
    let before = rig.text();
    let tried = rig.post(&ci, "/api/v1/nodes/windows/disable", r#"{"dry_run":true}"#);
    assert_eq!(tried.status, 200, "{}", body(&tried));
    let tried = json(&tried);
    assert_eq!(tried["dry_run"], true);
    let closes = tried["closes"].as_array().unwrap();
    assert!(closes.iter().any(|pair| pair["from"] == "windows" || pair["to"] == "windows"), "{tried}");
    assert!(tried["opens"].as_array().unwrap().is_empty());
    assert!(tried["lines"].as_array().unwrap().iter().any(|line| line["sign"] == "+"));
    assert_eq!(rig.text(), before, "nothing was written");
    let done = json(&rig.post(&ci, "/api/v1/nodes/windows/disable", ""));
    assert_eq!(done["closes"], tried["closes"]);
    assert_ne!(rig.text(), before);
    let back = json(&rig.post(&ci, "/api/v1/nodes/windows/enable", ""));
    assert_eq!(back["opens"].as_array().unwrap().len(), closes.len());
    // The history says who it was.
    let history = json(&rig.get(&ci, "/api/v1/changes"));
    let last = history["revisions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["command"], "wgrelay web, token ci", "{history}");
}

#[test]
fn what_is_refused_says_so_as_http_and_programs_expect() {
    let rig = Rig::new();
    let ci = rig.token("ci", TokenScope::Operate, None);
    let other = rig.send(&rig.request(&ci, "TRACE", "/api/v1/nodes", b""));
    assert_eq!((other.status, header(&other, "allow")), (405, Some("GET, POST, HEAD")));
    let other = rig.send(&rig.request(&ci, "DELETE", "/matrix", b""));
    assert_eq!((other.status, header(&other, "allow")), (405, Some("GET, HEAD")));
    // Whoever is nobody is told that, wherever he comes from; whoever is somebody has to come from here.
    let nobody = with(rig.request(&Who::default(), "POST", "/api/v1/links", b"{}"), "origin", None);
    let refused = rig.send(&nobody);
    assert_eq!((refused.status, header(&refused, "www-authenticate")), (401, Some("Bearer")));
    let anna = rig.signed_in("anna", Role::Operator);
    let elsewhere =
        with(rig.request(&anna, "POST", "/api/v1/links", b"{}"), "origin", Some("https://attacker.example"));
    assert_eq!(rig.send(&elsewhere).status, 403);
}

#[test]
fn who_replaces_all_says_what_he_read() {
    let rig = Rig::new();
    let ci = rig.token("ci", TokenScope::Operate, None);
    let read = rig.get(&ci, "/api/v1/network");
    let etag = header(&read, "etag").unwrap().to_owned();
    let text = json(&read)["text"].as_str().unwrap().to_owned();
    let put = |text: &str| {
        let sent = serde_json::json!({ "text": text }).to_string();
        rig.request(&ci, "PUT", "/api/v1/network", sent.as_bytes())
    };
    let edited = format!("{text}# one\n");
    assert_eq!(rig.send(&put(&edited)).status, 428);
    // Somebody else was faster, at a terminal.
    let added = rig.post(&ci, "/api/v1/nodes", r#"{"name":"tablet","platform":"android"}"#);
    assert_eq!(added.status, 200, "{}", body(&added));
    let late = rig.send(&with(put(&edited), "if-match", Some(&etag)));
    assert_eq!(late.status, 412, "{}", body(&late));
    assert!(rig.text().contains("tablet") && !rig.text().contains("# one"));
    let read = rig.get(&ci, "/api/v1/network");
    let (etag, text) =
        (header(&read, "etag").unwrap().to_owned(), json(&read)["text"].as_str().unwrap().to_owned());
    assert_eq!(rig.send(&with(put(&format!("{text}# one\n")), "if-match", Some(&etag))).status, 200);
    let broken = with(put("[network]\nname = \"screens0\"\nsubnet = 7\n"), "if-match", None);
    let now = header(&rig.get(&ci, "/api/v1/network"), "etag").unwrap().to_owned();
    let refused = rig.send(&with(broken, "if-match", Some(&now)));
    assert!((400..500).contains(&refused.status));
    assert!(!json(&refused)["problems"].as_array().unwrap().is_empty(), "every fault at its place");
}

#[test]
fn edits_from_many_hands_are_all_kept() {
    let rig = Rig::new();
    let ci = rig.token("ci", TokenScope::Operate, None);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (rig, ci) = (&rig, &ci);
            scope.spawn(move || {
                let answer = rig.post(ci, "/api/v1/nodes", &format!("{{\"name\":\"many{n}\"}}"));
                assert_eq!(answer.status, 200, "{}", body(&answer));
            });
        }
    });
    for n in 0..6 {
        assert!(rig.text().contains(&format!("[node.many{n}]")));
    }
}

#[test]
fn a_token_of_one_node_is_for_that_node() {
    let rig = Rig::new();
    let of = rig.token("of-phone", TokenScope::Keys, Some("phone"));
    assert_eq!(rig.get(&of, "/api/v1/nodes/phone").status, 200);
    assert_eq!(rig.post(&of, "/api/v1/nodes/phone/export", "").status, 200);
    for (method, path) in [
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/nodes/windows"),
        ("POST", "/api/v1/nodes/windows/export"),
        ("GET", "/api/v1/network"),
    ] {
        assert_eq!(rig.send(&rig.request(&of, method, path, b"")).status, 403, "{path}");
    }
}

#[test]
fn the_description_is_checked_in() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let now = serde_json::to_string_pretty(&openapi::description()).unwrap() + "\n";
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, now, "UPDATE_CASES=1 writes docs/openapi.json anew");
    let described: Value = serde_json::from_str(&now).unwrap();
    let paths = described["paths"].as_object().unwrap();
    assert!(paths.len() > 15 && paths.keys().all(|path| path.starts_with("/api/v1/")));
}
