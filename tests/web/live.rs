//! What tells an open page that something changed: to whom, when, and to how many.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;
use wgrelay::web::database::TokenScope;
use wgrelay::web::events::Topic;
use wgrelay::web::procedure::{Agent, Procedure, Refused};
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
    rig.calls();
    let of_phone = rig.web.news(&asked, &phone, NOW).unwrap();
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

/// A browser comes again each 540 seconds, and asks for what changed: nobody sits before it.
#[test]
fn what_an_open_page_asks_for_by_itself_keeps_no_session_alive() {
    let rig = Rig::new();
    let anna = rig.signed_in("anna", Role::Viewer);
    for url in ["/events", "/live", "/nodes/phone/events", "/nodes/phone/live"] {
        let at = |after: u64| {
            let asked = rig.request(&anna, "GET", url, b"");
            rig.send_from(&asked, [10, 0, 0, 9].into(), NOW + after).status
        };
        for after in (0..3600).step_by(540) {
            assert_eq!(at(after), 200, "{url} after {after}");
        }
        assert_ne!(at(3600), 200, "{url}");
    }
    // Whoever sits there opens a page now and then.
    let page = rig.request(&anna, "GET", "/nodes/phone", b"");
    for after in [3000, 6000] {
        assert_eq!(rig.send_from(&page, [10, 0, 0, 9].into(), NOW + after).status, 200);
    }
}

/// The other half, which answers nothing until it is told to.
struct Slow(Arc<(Mutex<bool>, Condvar)>, Sender<()>);

impl Agent for Slow {
    fn call(&self, _: &Procedure) -> Result<Value, Refused> {
        self.1.send(()).unwrap();
        let (is_slow, changed) = &*self.0;
        drop(changed.wait_while(is_slow.lock().unwrap(), |is_slow| *is_slow).unwrap());
        Err(Refused::new(503, "it is not there", ""))
    }
}

#[test]
fn nobody_waits_for_a_look_that_somebody_else_takes() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (called, calls) = channel();
    let mut rig = Rig::new();
    rig.web.agent = Box::new(Slow(Arc::clone(&gate), called));
    let anna = rig.signed_in("anna", Role::Viewer);
    let asked = rig.request(&anna, "GET", "/events", b"");
    let first = rig.web.news(&asked, &Topic::Network, NOW).unwrap();
    while calls.try_recv().is_ok() {}
    *gate.0.lock().unwrap() = true;
    let (told, tells) = channel();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| rig.web.news(&asked, &Topic::Network, NOW + 5));
        calls.recv().unwrap();
        let others = scope.spawn(|| {
            for _ in 0..8 {
                told.send(rig.web.news(&asked, &Topic::Network, NOW + 6)).unwrap();
            }
        });
        let said: Vec<_> = (0..8).map_while(|_| tells.recv_timeout(Duration::from_secs(20)).ok()).collect();
        *gate.0.lock().unwrap() = false;
        gate.1.notify_all();
        assert_eq!(said, [Some(first); 8], "they are told what was seen before");
        assert_eq!(slow.join().unwrap(), Some(first), "nothing changed");
        others.join().unwrap();
    });
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
