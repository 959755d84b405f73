//! What tells an open page that something changed: to whom, when, and to how many.

use wgrelay::web::database::TokenScope;
use wgrelay::web::events::Topic;
use wgrelay::web::view::Role;

use crate::rig::{NOW, Rig, body, header};

#[test]
fn a_page_is_told_of_a_change_once_and_by_one_look_for_all() {
    let rig = Rig::new();
    let anna = rig.signed_in("anna", Role::Viewer);
    let ci = rig.token("ci", TokenScope::Operate, None);
    let asked = rig.request(&anna, "GET", "/events", b"");
    let answer = rig.send(&asked);
    assert_eq!((answer.status, header(&answer, "content-type")), (200, Some("text/event-stream")));
    assert!(answer.events.is_some() && answer.body.is_empty());
    let (all, phone) = (Topic::Network, Topic::Node("phone".into()));
    let first = rig.web.news(&asked, &all, NOW).unwrap();
    let of_phone = rig.web.news(&asked, &phone, NOW).unwrap();
    rig.calls();
    for _ in 0..50 {
        assert_eq!(rig.web.news(&asked, &all, NOW + 4), Some(first));
    }
    assert_eq!(rig.calls(), 0, "one look serves all");
    assert_eq!(rig.web.news(&asked, &all, NOW + 5), Some(first), "nothing changed");
    assert_eq!(rig.post(&ci, "/api/v1/nodes/windows/disable", "").status, 200);
    let second = rig.web.news(&asked, &all, NOW + 10).unwrap();
    assert_ne!(second, first);
    assert_ne!(rig.web.news(&asked, &phone, NOW + 10), Some(of_phone));
    assert_eq!(rig.web.news(&asked, &all, NOW + 15), Some(second));
    assert!(body(&rig.get(&anna, "/nodes/phone/live")).contains("<section"));
}

#[test]
fn whoever_may_not_look_any_more_is_told_nothing_more() {
    let rig = Rig::new();
    let anna = rig.signed_in("anna", Role::Viewer);
    let asked = rig.request(&anna, "GET", "/events", b"");
    assert!(rig.web.news(&asked, &Topic::Network, NOW).is_some());
    // Listening keeps no session alive.
    for minute in (0..3600).step_by(300) {
        assert!(rig.web.news(&asked, &Topic::Network, NOW + minute).is_some());
    }
    assert_eq!(rig.web.news(&asked, &Topic::Network, NOW + 3600), None);
    rig.web.database.add_user("otto", Role::Admin, None, NOW).unwrap();
    rig.web.database.set_role("anna", Role::Owner).unwrap();
    assert_eq!(rig.web.news(&asked, &Topic::Network, NOW), None, "who sees nothing else");
    let vera = rig.signed_in("vera", Role::Viewer);
    let asked = rig.request(&vera, "GET", "/events", b"");
    assert!(rig.web.news(&asked, &Topic::Network, NOW).is_some());
    rig.web.database.remove_user("vera").unwrap();
    assert_eq!(rig.web.news(&asked, &Topic::Network, NOW), None);
    // No page of one user listens more than eight times; another's does.
    let eve = rig.signed_in("eve", Role::Viewer);
    let open: Vec<_> = (0..8).map(|_| rig.get(&eve, "/nodes/phone/events")).collect();
    assert!(open.iter().all(|answer| answer.status == 200));
    assert_eq!(rig.get(&eve, "/events").status, 503);
    assert_eq!(rig.get(&rig.signed_in("carl", Role::Viewer), "/events").status, 200);
    drop(open);
    assert_eq!(rig.get(&eve, "/events").status, 200);
    assert_eq!(rig.get(&eve, "/nodes/nowhere/events").status, 400);
}
