//! The pages, made from what the proof says of a real network: what they show, that nobody's text becomes markup, that nothing on
//! them comes from outside or runs in the page, and that every form says whose it is.
//!
//! `tests/cases/web/NAME.html` holds a page each; `UPDATE_CASES=1` writes what is made now, to be read before it is committed.
#![expect(clippy::disallowed_methods, reason = "a test reads its data from files")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use maud::Markup;
use serde_json::{Value, json};
use wgrelay::config::parse_network;
use wgrelay::model::{Network, Timestamp};
use wgrelay::reach;
use wgrelay::status::Health;
use wgrelay::web::database::{Enrollment, TargetRow};
use wgrelay::web::guard::HEADERS;
use wgrelay::web::notify::{Given, Target};
use wgrelay::web::pages::{self, AccountView, Enrolled, LoginView, NodeFile, NodesQuery};
use wgrelay::web::view::{
    AuditEntry, Changed, Check, Device, Diff, Doctor, Frame, History, Language, List, Mend, NetworkFile,
    Notice, People, Plan, Problem, Role, Session, Shown, Status, Token, Trace, User, Waiting,
};

use need::{Need, met};

#[path = "rig/need.rs"]
#[expect(dead_code, reason = "a browser needs no root")]
mod need;

/// What nobody may get into a page as it is.
const HOSTILE: &str = "</title><img src=x onerror=alert(1)>\"' style='x' &amp;{{7*7}}";

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/web")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn network() -> Network {
    let text = fs::read(cases().join("network.toml")).unwrap();
    parse_network(&text, "network.toml").value.unwrap()
}

const NOW: Timestamp = Timestamp(1_800_000_000);

/// All that pages are made from.
struct Known {
    frame: Frame,
    list: List,
    check: Check,
    status: Status,
    network: Network,
}

fn known() -> Known {
    let network = network();
    let frame = Frame {
        network: "wg0".into(),
        user: Some("anna".into()),
        role: Role::Admin,
        csrf: "c0ffee".into(),
        ..Frame::default()
    };
    let peer = |name: &str, health: &str, age: Option<u64>| {
        let node = &network.nodes[name];
        json!({"name": name, "public_key": node.public_key, "endpoint": "203.0.113.7:51820", "last_handshake": null,
            "handshake_age": age, "health": health, "rx_bytes": 1536, "tx_bytes": 5_368_709_120_u64,
            "allowed_ips": [format!("{}/32", node.address)], "matters": false})
    };
    let status = read(
        json!({"version": 1, "network": "wg0", "node": "wsl", "backend": "kernel", "state": "degraded",
        "peers": [peer("docker", "online", Some(42)), peer("windows", "down", Some(90_061))],
        "drift": [{"kind": "route", "target": "192.168.33.0/24", "from": null, "to": "dev wg0"}],
        "problems": [{"code": "peer-away", "severity": "warning", "where": "peer windows",
            "message": "windows has been silent for 90061 s", "hint": "check that it is running and has a network"}],
        "goes_back_in": null, "went_back_at": null}),
    );
    let list = read(serde_json::to_value(wgrelay::app::list(&network, NOW)).unwrap());
    let check = read(serde_json::to_value(reach::check(&network, NOW)).unwrap());
    Known { frame, list, check, status, network }
}

fn trace_of(network: &Network, from: &str, to: &str) -> Trace {
    let flow = reach::Flow {
        from: reach::place(network, from).unwrap(),
        to: reach::place(network, to).unwrap(),
        port: None,
    };
    let world = reach::World::assumed(network, NOW);
    read(serde_json::to_value(reach::trace(&world, &flow)).unwrap())
}

fn shown(name: &str) -> Shown {
    read(
        json!({"name": name, "role": "spoke", "platform": "windows", "enabled": true, "active": true, "expires": null,
        "address": "192.168.3.2", "address6": null, "endpoint": null, "public_key": "5dYw", "routes": ["split"],
        "dns": [HOSTILE], "mtu": 1420, "keepalive": 25, "listen_port": null, "local": [],
        "sites": [{"subnet": "10.0.0.0/8", "interface": format!("docker:{HOSTILE}"), "masqueraded": true, "egress": false}],
        "allowed_ips": [{"peer": "wsl", "allowed_ips": ["172.19.0.0/16", "192.168.3.0/24"]}],
        "rules": ["@staff to 172.19.0.0/16: tcp/22"], "groups": ["staff"]}),
    )
}

fn changed(said: &str) -> Changed {
    read(json!({"said": said, "dry_run": true, "revision": "abc123",
        "lines": [{"sign": "@", "text": "@@ -1 +1,4 @@"}, {"sign": "+", "text": "[[allow]]"}, {"sign": "-", "text": HOSTILE}],
        "keys": [{"of": "docker", "kind": "private", "change": "changed"}],
        "opens": [{"from": "windows", "to": "192.168.33.0/24", "ports": "all"}],
        "closes": [{"from": "docker", "to": "phone", "ports": ["tcp/22"]}], "plan": [{"kind": "rule", "target": HOSTILE, "from": HOSTILE, "to": HOSTILE}], "unlisted": 7,
        "problems": [{"code": "nested-sites", "severity": "warning", "where": "network.toml:3:1", "message": HOSTILE, "hint": HOSTILE}]}))
}

fn people() -> People {
    let user = |name: &str, role| User {
        name: name.into(),
        role,
        has_second_factor: false,
        by_provider: false,
        most_devices: 5,
        devices: vec![HOSTILE.into()],
    };
    People {
        users: vec![user("anna", Role::Admin), user(HOSTILE, Role::Viewer)],
        sessions: [true, false]
            .map(|is_own| Session {
                id: "7".into(),
                user: "anna".into(),
                address: HOSTILE.into(),
                seen: NOW.0,
                is_own,
            })
            .into(),
        tokens: vec![Token {
            id: "9".into(),
            name: HOSTILE.into(),
            scope: "read".into(),
            expires: Some(NOW.0),
            seen: None,
        }],
    }
}

fn device() -> Device {
    Device {
        name: "anna-phone".into(),
        platform: HOSTILE.into(),
        address: "10.20.0.7".into(),
        address6: None,
        enabled: true,
        active: true,
        expires: Some(HOSTILE.into()),
        public_key: HOSTILE.into(),
        health: Some(Health::Online),
        handshake_age: Some(42),
        rx_bytes: Some(1536),
        tx_bytes: Some(1 << 30),
    }
}

/// A node's history, with what nobody may get into a page.
fn drawn_history(frame: &Frame) -> Markup {
    let bytes = |n: u64| json!({"at": NOW.0 - n * 1800, "rx_bytes": n << 20, "tx_bytes": 1_u64 << (n % 40)});
    let all: Vec<Value> = (0..90).map(bytes).collect();
    let told = read(
        json!({"version": 1, "network": "wg0", "node": "windows", "kept": true, "minutes": all, "hours": all,
        "sessions": [{"began": NOW.0 - 3600, "seen": NOW.0, "duration": 3600, "endpoint": HOSTILE}]}),
    );
    pages::node_history(frame, Some(&told), NOW)
}

/// Every page, by name, with whatever strangers may have written in it.
/// Somebody who is told, and what the other end said of it.
fn targets() -> Vec<TargetRow> {
    let given =
        Given { name: "chat", kind: "webhook", url: "https://hooks.example/secret-path", ..Given::default() };
    let target = Target { recipient: HOSTILE.into(), ..Target::read(&given).unwrap() };
    vec![TargetRow { target, tried: Some(NOW.0), failure: Some(HOSTILE.into()) }]
}

fn every_page(known: &Known) -> Vec<(&'static str, Markup)> {
    let Known { frame, list, check, status, network } = known;
    let problem: Problem = read(json!({"code": "bad-key", "severity": "error", "where": "network.toml:3:9",
        "message": HOSTILE, "hint": HOSTILE}));
    let line = json!({"kind": "rule", "target": HOSTILE, "from": HOSTILE, "to": HOSTILE});
    let plan: Plan = read(json!({"node": "wsl", "changes": [line], "problems": []}));
    let history: History = read(json!({"edited": true, "revisions": [
        {"revision": 1, "at": 1_790_000_000, "user": "anna", "command": null, "why": "init", "current": false},
        {"revision": 2, "at": 1_790_000_100, "user": HOSTILE, "command": null, "why": HOSTILE, "current": true}]}));
    let diff: Diff =
        read(json!({"from": 1, "to": null, "lines": [{"sign": "+", "text": HOSTILE}], "keys": []}));
    let doctor: Doctor = read(json!({"answer": HOSTILE, "findings": [
        {"code": "nft", "verdict": "ok", "message": "nft 1.0.6", "fix": ""},
        {"code": "docker", "verdict": "error", "message": HOSTILE, "fix": HOSTILE}]}));
    let file =
        NetworkFile { text: format!("format = 1\n\n# {HOSTILE}\n</textarea>\n"), revision: "abc123".into() };
    let blocked = trace_of(network, "windows", "192.168.33.0/24");
    let mut uncertain = trace_of(network, "windows", "172.19.0.0/16");
    uncertain.uncertain.push(HOSTILE.into());
    uncertain.notes.push(HOSTILE.into());
    let mend = Mend {
        fields: [("do", "allow"), ("from", "windows"), ("to", HOSTILE)]
            .map(|(n, v)| (n.into(), v.into()))
            .into(),
    };
    let fields = vec![("do".to_string(), "allow".to_string()), ("from".to_string(), HOSTILE.to_string())];
    let node_file = NodeFile {
        name: HOSTILE,
        file_name: "wg0.conf",
        conf: HOSTILE,
        qr: Ok("<svg></svg>"),
        href: "data:text/plain,x",
    };
    let entry = AuditEntry {
        at: NOW.0,
        who: HOSTILE.into(),
        address: HOSTILE.into(),
        action: HOSTILE.into(),
        what: HOSTILE.into(),
        is_done: false,
    };
    let typed = |_: &str| HOSTILE;
    let broken: BTreeMap<usize, String> = [(0, HOSTILE.to_string())].into();
    let search = NodesQuery { search: HOSTILE.into(), sort: HOSTILE.into(), ..NodesQuery::default() };
    let link = Enrollment {
        node: HOSTILE.into(),
        platform: HOSTILE.into(),
        maker: HOSTILE.into(),
        expires: NOW.0,
        owner: None,
    };
    let waiting = Waiting { node: HOSTILE.into(), platform: HOSTILE.into(), expires: NOW.0 };
    vec![
        ("login", pages::login(frame, LoginView::Wrong(HOSTILE), HOSTILE)),
        ("login-wait", pages::login(frame, LoginView::Wait(30), "/")),
        ("first-admin", pages::first_admin(frame, HOSTILE, Some(HOSTILE))),
        ("links", pages::links(frame, std::slice::from_ref(&link), Some((HOSTILE, HOSTILE)))),
        ("account", pages::account(frame, true, &people().sessions, &AccountView::Fresh)),
        (
            "account-new",
            pages::account(
                frame,
                false,
                &people().sessions,
                &AccountView::Begun { svg: "<svg></svg>", secret: HOSTILE, is_wrong: true },
            ),
        ),
        (
            "account-codes",
            pages::account(frame, true, &[], &AccountView::Recovery { codes: &[HOSTILE.into()] }),
        ),
        ("devices", pages::devices(frame, &[device()], &[waiting], 5, Some((HOSTILE, HOSTILE)))),
        ("enroll", pages::enroll(frame, &link, HOSTILE)),
        ("enrolled", pages::enrolled(frame, &Enrolled { node: HOSTILE, file: HOSTILE, is_applied: false })),
        ("overview", pages::overview(frame, Some(status), list, check)),
        ("overview-alone", pages::overview(frame, None, list, check)),
        ("nodes", pages::nodes(frame, list, Some(status), &NodesQuery::default())),
        ("nodes-none", pages::nodes(frame, list, None, &search)),
        ("node", pages::node(frame, &shown("windows"), Some(status), check, &drawn_history(frame))),
        ("node-file", pages::node_file(frame, &node_file)),
        ("node-add", pages::add_form(frame, &typed, Some((HOSTILE, HOSTILE)))),
        ("node-edit", pages::edit_form(frame, &shown(HOSTILE), &|_| "", None)),
        ("matrix", pages::matrix(frame, check, false)),
        ("matrix-blocked", pages::matrix(frame, check, true)),
        ("trace-blocked", pages::trace(frame, ("windows", HOSTILE, HOSTILE), Some(&blocked), &[mend])),
        ("trace-uncertain", pages::trace(frame, ("", "", ""), Some(&uncertain), &[])),
        ("plan", pages::plan(frame, &plan)),
        ("review", pages::review(frame, &changed(HOSTILE), &fields)),
        (
            "review-unknown",
            pages::review(
                frame,
                &Changed { plan: None, plan_unknown: Some(HOSTILE.into()), ..changed("added x") },
                &fields,
            ),
        ),
        ("rules", pages::rules(frame, network, &broken)),
        ("file", pages::file(frame, &file, &[problem])),
        ("changes", pages::changes(frame, &history)),
        ("diff", pages::diff(frame, &diff)),
        ("doctor", pages::doctor(frame, &doctor)),
        ("people", pages::people(frame, &people(), Some(HOSTILE))),
        ("audit", pages::audit(frame, &[entry])),
        ("notifications", pages::notifications(frame, &targets(), Some((HOSTILE, HOSTILE)))),
        ("refused", pages::refused(frame, 409, HOSTILE, HOSTILE)),
    ]
}

/// Every element's start, as `name` and what is in it.
fn tags(html: &str) -> Vec<(&str, &str)> {
    html.split('<')
        .skip(1)
        .filter_map(|part| {
            // An attribute may hold no `>`, as maud escapes it.
            let inside = part.split_once('>')?.0;
            let name = inside.split([' ', '\n']).next()?;
            (!name.starts_with('/')).then_some((name, inside))
        })
        .collect()
}

fn attribute<'h>(inside: &'h str, name: &str) -> Option<&'h str> {
    let (_, rest) = inside.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[test]
fn strangers_texts_are_text() {
    for (name, page) in every_page(&known()) {
        let html = page.into_string();
        assert!(!html.contains("<img"), "{name}: an element came in");
        assert!(!html.contains("&amp;{{7*7}}\"'"), "{name}");
        // It is shown all the same, escaped, wherever it was put in.
        if html.contains("onerror") {
            assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;"), "{name}");
        }
        let ends = html.matches("</textarea>").count();
        assert_eq!(ends, html.matches("<textarea").count(), "{name}: the editor ends early");
    }
}

/// A strict policy forbids it, and then nothing would work; without one, it would be a door.
#[test]
fn no_page_runs_or_loads_what_is_not_ours() {
    for (name, page) in every_page(&known()) {
        let html = page.into_string();
        for (tag, inside) in tags(&html) {
            let handler = inside.split(' ').find(|part| part.starts_with("on") && part.contains("=\""));
            assert_eq!(handler, None, "{name}: <{inside}>");
            assert!(attribute(inside, "style").is_none() && tag != "style", "{name}: <{inside}>");
            if tag == "script" {
                let own = ["/assets/page.js", "/assets/qr.js", "/assets/enroll.js"];
                assert!(attribute(inside, "src").is_some_and(|src| own.contains(&src)), "{name}");
                assert!(html.contains("defer></script>"), "{name}: text in a script");
            }
            for link in ["href", "src", "action", "formaction"].iter().filter_map(|a| attribute(inside, a)) {
                let ours = link.starts_with('/') && !link.starts_with("//") && !link.starts_with("/\\");
                let file = name == "node-file" && link.starts_with("data:text/plain");
                assert!(ours || file || link.starts_with(['#', '?']), "{name}: {link}");
            }
        }
        // Where messages go is told there, as text.
        let told = ["https://hooks.example", "https://…", "https://ntfy.sh/TOPIC"];
        let html = told
            .iter()
            .fold(html, |html, told| if name == "notifications" { html.replace(told, "") } else { html });
        for scheme in ["http://", "https://", "javascript:", "@import", "url("] {
            assert!(!html.contains(scheme), "{name}: {scheme}");
        }
    }
    let sheet = fs::read_to_string("src/web/assets/page.css").unwrap();
    let script = ["page.js", "enroll.js"]
        .map(|name| fs::read_to_string(format!("src/web/assets/{name}")).unwrap())
        .concat();
    for word in ["http://", "https://", "@import", "url(", "innerHTML", "eval(", "document.write"] {
        assert!(!sheet.contains(word) && !script.contains(word), "{word}");
    }
}

#[test]
fn every_form_that_changes_gives_the_token_back() {
    for (name, page) in every_page(&known()) {
        let html = page.into_string();
        for form in html.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap();
            let posts = form.split_once('>').unwrap().0.contains("method=\"post\"");
            let tokens = form.matches("name=\"csrf\" value=\"c0ffee\"").count();
            assert_eq!(tokens, usize::from(posts), "{name}: {form}");
        }
    }
}

/// What a change is made of comes from the page before; the token and the revision from this one, once.
#[test]
fn a_review_gives_back_what_was_asked_for() {
    let known = known();
    let mut fields = vec![("do".into(), "allow".into()), ("csrf".into(), "stolen".into())];
    fields.push(("revision".into(), "old".into()));
    let html = pages::review(&known.frame, &changed("x"), &fields).into_string();
    assert!(
        html.contains("name=\"do\" value=\"allow\"") && html.contains("name=\"revision\" value=\"abc123\"")
    );
    assert!(!html.contains("stolen") && !html.contains("value=\"old\""));
    let mut broken = changed("x");
    broken.problems[0].severity = "error".into();
    let html = pages::review(&known.frame, &broken, &fields).into_string();
    assert!(!html.contains("action=\"/apply\""), "what is not valid cannot be saved");
}

/// Labels, headings, tables and landmarks: what axe-core looks for, where it can be told from the text.
#[test]
fn everything_is_named() {
    for (name, page) in every_page(&known()) {
        let html = page.into_string();
        let tags = tags(&html);
        let mut ids = BTreeSet::new();
        for id in tags.iter().filter_map(|(_, inside)| attribute(inside, "id")) {
            assert!(ids.insert(id), "{name}: id {id} twice");
        }
        for (tag, inside) in &tags {
            for to in
                ["for", "aria-labelledby", "aria-describedby"].iter().filter_map(|a| attribute(inside, a))
            {
                assert!(ids.contains(to), "{name}: <{inside}> names {to}");
            }
            let is_field = matches!(*tag, "input" | "select" | "textarea");
            if is_field && attribute(inside, "type") != Some("hidden") {
                let id = attribute(inside, "id").unwrap_or_else(|| panic!("{name}: <{inside}>"));
                assert!(html.contains(&format!("for=\"{id}\"")), "{name}: {id} has no label");
            }
        }
        assert_eq!((html.matches("<h1").count(), html.matches("<main").count()), (1, 1), "{name}");
        assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{name}");
    }
}

#[test]
fn who_may_look_only_gets_no_button() {
    let mut known = known();
    known.frame.role = Role::Viewer;
    let looks = [
        "overview",
        "nodes",
        "node",
        "matrix",
        "trace-blocked",
        "plan",
        "rules",
        "file",
        "changes",
        "diff",
        "doctor",
    ];
    for (name, page) in every_page(&known).into_iter().filter(|(name, _)| looks.contains(name)) {
        let html = page.into_string();
        let posts: Vec<&str> = tags(&html)
            .into_iter()
            .filter(|(tag, inside)| *tag == "form" && inside.contains("\"post\""))
            .filter_map(|(_, inside)| attribute(inside, "action"))
            .filter(|action| *action != "/logout" && !(name == "file" && *action == "/review"))
            .collect();
        assert!(posts.is_empty(), "{name}: {posts:?}");
        assert!(!html.contains("href=\"/audit\"") && !html.contains("href=\"/people\""), "{name}");
    }
}

/// Below a path, behind a proxy: no link leaves it.
#[test]
fn a_sub_path_is_kept() {
    let mut known = known();
    known.frame.base = "/wg".into();
    for (name, page) in every_page(&known) {
        let html = page.into_string();
        for (_, inside) in tags(&html) {
            for link in ["href", "src", "action", "data-live", "data-events"]
                .iter()
                .filter_map(|a| attribute(inside, a))
            {
                let ours =
                    link.starts_with("/wg/") || link.starts_with(['#', '?']) || link.starts_with("data:");
                assert!(ours, "{name}: {link}");
            }
        }
    }
}

/// "Reaches" is said where it was looked at, "uncertain" where something unknown may decide.
#[test]
fn the_first_line_says_what_is_known() {
    let known = known();
    let answer = |page: Markup| {
        let html = page.into_string();
        html.split_once("<p class=\"answer\">").unwrap().1.split_once("</p>").unwrap().0.to_owned()
    };
    let mut trace = trace_of(&known.network, "windows", "172.19.0.0/16");
    assert_eq!(trace.verdict, "reaches");
    trace.uncertain.clear();
    let said = |trace: &Trace| answer(pages::trace(&known.frame, ("", "", ""), Some(trace), &[]));
    assert!(said(&trace).contains("windows reaches 172.19.0.0/16"), "{}", said(&trace));
    trace.uncertain.push("another home".into());
    assert!(said(&trace).contains("uncertain") && !said(&trace).contains("reaches 172"), "{}", said(&trace));
    let blocked = trace_of(&known.network, "windows", "192.168.33.0/24");
    assert!(said(&blocked).contains("windows does not reach 192.168.33.0/24"), "{}", said(&blocked));
    let overview = |status| answer(pages::overview(&known.frame, status, &known.list, &known.check));
    assert!(overview(Some(&known.status)).contains("1 of 2 peers online"));
    assert!(overview(None).contains("who is online is not known"));
    let (blocked, all) = known.check.counts();
    assert!(overview(None).contains(&format!("{blocked} of {all} pairs of places blocked")));
}

/// Five thousand nodes are a page of fifty, found and sorted by the server.
#[test]
fn many_nodes_are_paged() {
    let known = known();
    let node = |n: usize| {
        json!({"name": format!("n{n:04}"), "role": "spoke", "platform": "linux",
            "address": format!("10.1.{}.{}", n / 250, n % 250 + 1), "address6": null, "active": true, "enabled": !n.is_multiple_of(10), "expires": null,
            "endpoint": null, "public_key": format!("key{n}"), "sites": [format!("10.{}.{}.0/24", 100 + n / 250, n % 250)]})
    };
    let list: List = read(json!({"network": "wg0", "nodes": (0..5_000).map(node).collect::<Vec<_>>()}));
    let page = |query: &NodesQuery| pages::nodes(&known.frame, &list, None, query).into_string();
    let rows = |html: &str| html.matches("<th scope=\"row\">").count();
    let first = page(&NodesQuery::default());
    assert_eq!(rows(&first), 50);
    assert!(first.contains("5000 nodes") && first.contains("Page 1 of 100"));
    assert!(first.len() < 50_000, "{} bytes", first.len());
    let by = |search: &str| page(&NodesQuery { search: search.into(), ..NodesQuery::default() });
    assert_eq!(rows(&by("N0042")), 1);
    assert_eq!(rows(&by("10.100.42.0/24")), 1);
    assert!(by("N0042").contains("1 of 5000 nodes"));
    let off = page(&NodesQuery { state: "disabled".into(), ..NodesQuery::default() });
    assert!(off.contains("500 of 5000 nodes") && off.contains("Page 1 of 10"));
    // 10.1.0.9 comes before 10.1.0.10.
    let sorted = page(&NodesQuery { sort: "address".into(), ..NodesQuery::default() });
    assert!(sorted.find(">10.1.0.9<").unwrap() < sorted.find(">10.1.0.10<").unwrap());
    let last = page(&NodesQuery { page: 9_999, ..NodesQuery::default() });
    assert!(last.contains("n4999") && last.contains("rel=\"prev\"") && !last.contains("rel=\"next\""));
}

/// A picture of three hundred is drawn by groups.
#[test]
fn three_hundred_are_drawn_by_groups() {
    let known = known();
    let names: Vec<String> = (0..300).map(|n| format!("n{n:03}")).collect();
    let node = |name: &String| {
        json!({"name": name, "role": "spoke", "platform": "linux", "address": "10.0.0.1", "address6": null,
            "enabled": true, "active": true, "expires": null, "endpoint": null, "public_key": "k", "sites": []})
    };
    let mut nodes: Vec<Value> = names.iter().map(node).collect();
    nodes[0]["role"] = "relay".into();
    let list: List = read(json!({"network": "wg0", "nodes": nodes}));
    let check: Check =
        read(json!({"classes": [[names[0]], names[1..200].to_vec(), names[200..].to_vec()], "problems": [],
        "pairs": [{"from": names[1], "to": names[200], "verdict": "blocked", "ports": [], "reason": null},
            {"from": names[1], "to": names[0], "verdict": "reaches", "ports": "all", "reason": null}]}));
    assert_eq!(check.counts(), (199 * 100, 199 * 100 + 199));
    let html = pages::overview(&known.frame, None, &list, &check).into_string();
    assert!(html.contains("199 nodes") && html.contains("100 nodes"));
    assert!(html.matches("<rect").count() == 3 && html.len() < 20_000, "{}", html.len());
}

/// What a page that is open asks for after a change, at most once in five seconds: less than 50 kB a second, of however many nodes.
#[test]
fn what_changes_of_a_page_is_small() {
    let known = known();
    for count in [300, 5_000] {
        let names: Vec<String> = (0..count).map(|n| format!("n{n:04}")).collect();
        let node = |name: &String| {
            json!({"name": name, "role": if name == "n0000" { "relay" } else { "spoke" }, "platform": "linux",
                "address": "10.0.0.1", "address6": null, "enabled": true, "active": true, "expires": null,
                "endpoint": null, "public_key": "k", "sites": []})
        };
        let list: List = read(json!({"network": "wg0", "nodes": names.iter().map(node).collect::<Vec<_>>()}));
        let classes: Vec<Vec<String>> = names.chunks(100).map(<[String]>::to_vec).collect();
        let pairs: Vec<Value> = classes
            .iter()
            .map(|class| json!({"from": class[0], "to": names[0], "verdict": "blocked", "ports": [], "reason": null}))
            .collect();
        let check: Check = read(json!({"classes": classes, "problems": [], "pairs": pairs}));
        let bytes = pages::live(&known.frame, Some(&known.status), &list, &check).into_string().len();
        let node = pages::node_live(&known.frame, "windows", Some(&known.status)).into_string().len();
        println!("{count} nodes: {bytes} bytes of the overview, {node} of a node's page");
        assert!(bytes < 5 * 50_000 && node < 2_000, "{count} nodes: {bytes} and {node} bytes");
    }
}

#[test]
fn pages_are_as_they_were_read() {
    let mut known = known();
    let page = |name: &str, html: Markup| {
        let html = html.into_string().replace("><", ">\n<") + "\n";
        let path = cases().join(format!("{name}.html"));
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&path, &html).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(html == expected, "{name}: differs; UPDATE_CASES=1 writes it, to be read");
    };
    page("overview", pages::overview(&known.frame, Some(&known.status), &known.list, &known.check));
    page("matrix", pages::matrix(&known.frame, &known.check, false));
    let blocked = trace_of(&known.network, "windows", "192.168.33.0/24");
    page("trace", pages::trace(&known.frame, ("windows", "192.168.33.0/24", ""), Some(&blocked), &[]));
    known.frame.notices = vec![Notice::Done("added phone".into()), Notice::GoesBack(55)];
    known.frame.language = Language::Chinese;
    page("nodes-zh", pages::nodes(&known.frame, &known.list, Some(&known.status), &NodesQuery::default()));
    page("rules-zh", pages::rules(&known.frame, &known.network, &BTreeMap::new()));
}

#[test]
fn chromium_finds_no_fault_in_any_page() {
    const TOOLS: [Need; 3] = [Need::Program("chromium"), Need::Program("node"), Need::Program("npm")];
    if !met(&TOOLS) {
        return;
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/browser");
    assert!(Command::new(scripts.join("install")).status().unwrap().success(), "see above");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let (_, policy) = HEADERS.iter().find(|(name, _)| *name == "content-security-policy").unwrap();
    write("policy", policy);
    let mut known = known();
    for (tag, language) in [("", Language::English), ("-zh", Language::Chinese)] {
        known.frame.language = language;
        for (name, page) in every_page(&known) {
            write(&format!("{name}{tag}.html"), &page.into_string());
        }
    }
    let looked = Command::new("node").arg(scripts.join("pages.mjs")).arg(folder.path()).output().unwrap();
    let told = [looked.stdout, looked.stderr].concat();
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&told));
}
