//! What a relay does not take: a store that was wiped, put back or tampered with, a text that takes too much away, a removed relay's
//! signature. The network goes on as it was, and it is told.

use std::io::{Read as _, Write as _};

use serde_json::Value;
use wgrelay::model::NodeName;
use wgrelay::store::cluster::record::{Signed, SigningPair};
use wgrelay::store::cluster::{Pulled, Shared};
use wgrelay::store::folder::Folder;

use crate::rig::drive::Wgrelay;
use crate::stage::{Stage, nodes, pulled, standing};

const HEAD: &str = "/wgrelay/wg0/head";

/// Whether a relay holds back for this reason, and says so wherever it is asked.
#[track_caller]
fn holds(relay: &Wgrelay<'_>, code: &str) -> Value {
    let before = nodes(relay);
    let output = relay.call(&["cluster", "status", "--json"]).exits(4);
    let standing: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(standing["held"]["code"], code, "{standing}");
    let told: Value = serde_json::from_str(&relay.call(&["status", "--json"]).stdout).expect("JSON");
    let codes: Vec<&str> =
        told["problems"].as_array().expect("a list").iter().filter_map(|p| p["code"].as_str()).collect();
    assert!(codes.contains(&code), "status says so, too: {codes:?}");
    let refused = relay.call(&["add", "refused"]).exits(1);
    assert!(refused.stderr.contains("nothing is changed while the store"), "{refused}");
    assert_eq!(nodes(relay), before, "the copy is as it was");
    standing
}

#[test]
fn a_store_that_was_wiped_put_back_or_tampered_with_is_told_and_not_taken() {
    let Some(mut stage) = Stage::possible() else { return };
    let [eu, us, _] = stage.founded();
    let eu_dir = eu.dir.clone();
    let old = stage.stored();
    eu.ok(&["add", "later"]);
    pulled(&us);

    // What somebody who may write puts there: an old head, bytes that changed, another's signature, nothing that can be read.
    let head = stage.stored()[HEAD].clone();
    stage.write(HEAD, &old[HEAD]);
    holds(&us, "store-older");
    let changed =
        String::from_utf8(head.clone()).expect("text").replacen("\\\"number\\\":", "\\\"number\\\":1", 1);
    stage.write(HEAD, changed.as_bytes());
    holds(&us, "unsigned-revision");
    let signed = Signed::parse(&head).expect("a record");
    let mut record = signed.unverified().expect("it can be read");
    record.previous = Some(signed.digest());
    record.number += 1;
    let stranger = SigningPair::random().expect("randomness");
    let forged = Signed::new(&record, &stranger);
    stage.write(HEAD, &forged.render());
    holds(&eu, "unsigned-revision");
    let never = eu.call(&["up", "--accept", &record.number.to_string()]).exits(1);
    assert!(never.stderr.contains("never taken"), "{never}");
    stage.write(HEAD, b"{}");
    holds(&eu, "unsigned-revision");
    // Of the same number: nobody says that it is the same.
    record.number -= 1;
    stage.write(HEAD, &Signed::new(&record, &stranger).render());
    holds(&eu, "store-diverged");
    let status = eu.call(&["cluster", "status"]).exits(4);
    assert!(!status.stdout.contains("as the store"), "{status}");
    record.number += 1;
    // A text that is not what was signed.
    let blob = format!("/wgrelay/wg0/blobs/{}/0000", record.text.as_str());
    let text = stage.stored()[&blob].clone();
    stage.write(HEAD, &head);
    assert_eq!(pulled(&us)["held"], Value::Null, "what is good again is taken");
    us.ok(&["add", "more"]);
    let head = stage.stored()[HEAD].clone();
    let newer = Signed::parse(&head).expect("a record").unverified().expect("it can be read");
    stage.write(&format!("/wgrelay/wg0/blobs/{}/0000", newer.text.as_str()), &text);
    holds(&eu, "bad-revision");

    // Wiped: nobody loses a peer, and a member writes it back.
    let before = nodes(&us);
    let urls = stage.etcd_urls();
    drop((eu, us));
    stage.wipe();
    let (eu, us) = (stage.relay(0), stage.relay(1));
    assert_eq!(eu.dir, eu_dir);
    holds(&us, "store-wiped");
    holds(&eu, "store-wiped");
    let back = us.ok(&["cluster", "create", "--etcd", &urls]);
    assert!(back.contains("back into the store"), "{back}");
    eu.ok(&["add", "after"]);
    assert_eq!(pulled(&us)["held"], Value::Null);
    assert!(before.iter().all(|node| nodes(&us).contains(node)) && nodes(&us).contains(&"after".into()));
}

/// What is told and taken of the past is what this relay's own revision names: a record of long ago, written anew by whoever may
/// write, is no revision.
#[test]
fn a_forged_past_is_not_told_and_nobody_goes_back_to_it() {
    let Some(stage) = Stage::possible() else { return };
    let [eu, us, _] = stage.founded();
    let export = us.ok(&["export", "phone"]);
    // The first revision in the store: us joined after it, and has no copy of it.
    let stored = stage.stored();
    let (key, first) = stored.iter().find(|(key, _)| key.contains("/revisions/")).expect("there is one");
    let mut record = Signed::parse(first).expect("a record").unverified().expect("it can be read");
    let number = record.number.to_string();
    assert!(us.ok(&["history"]).lines().any(|line| line.starts_with(&number)));
    us.ok(&["diff", &number]);
    let mut packed = &stored[&format!("/wgrelay/wg0/blobs/{}/0000", record.text.as_str())][..];
    let mut text = String::new();
    flate2::read::DeflateDecoder::new(&mut packed).read_to_string(&mut text).expect("it is packed");
    let forged = text.replacen("[node.laptop]", "[node.strange]", 1);
    assert_ne!(forged, text);
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(forged.as_bytes()).expect("memory");
    record.text = wgrelay::store::Digest::of(forged.as_bytes());
    record.note.why = "the past as a stranger has it".into();
    stage.write(
        &format!("/wgrelay/wg0/blobs/{}/0000", record.text.as_str()),
        &encoder.finish().expect("memory"),
    );
    let stranger = SigningPair::random().expect("randomness");
    stage.write(key, &Signed::new(&record, &stranger).render());
    assert!(!us.ok(&["history"]).contains("stranger"));
    for command in ["diff", "revert"] {
        let refused = us.call(&[command, &number]);
        assert!(refused.code != Some(0) && refused.stderr.contains("no revision"), "{refused}");
    }
    assert!(!nodes(&us).contains(&"strange".into()));
    assert_eq!(us.ok(&["export", "phone"]), export);
    // Where the store has nothing of it any more, the copy's own is told.
    eu.ok(&["add", "later"]);
    stage.etcdctl(&["del", "--prefix", "/wgrelay/wg0/revisions/"]).ok();
    assert!(eu.ok(&["history"]).contains("added later"));
}

#[test]
fn a_text_that_takes_too_much_away_waits_for_somebody_who_says_so() {
    let Some(stage) = Stage::possible() else { return };
    let [eu, us, ap] = stage.founded();
    for n in 0..5 {
        eu.ok(&["add", &format!("n{n}")]);
    }
    pulled(&us);
    // Three of ten at once, by hand.
    let text = eu.node.read(eu.network_file());
    let kept: Vec<&str> = text
        .split("\n[node.")
        .filter(|part| !["n0]", "n1]", "n2]"].iter().any(|n| part.starts_with(n)))
        .collect();
    eu.node.write(eu.network_file(), &kept.join("\n[node."));
    eu.call(&["up", "--backend", "embedded"]).ok();
    assert_eq!(nodes(&eu).len(), 7, "who edits takes it himself");
    let standing = holds(&us, "mass-removal");
    assert_eq!(nodes(&us).len(), 10);
    // Also where the file that it would be held against is gone: an agent follows all the same.
    let file = us.network_file();
    us.node.run(&["mv", &file, "/mnt/aside"]).ok();
    let shared = Shared::of(&Folder::new(&us.node.outside(&us.dir), &"wg0".parse().expect("a name")));
    let shared = shared.expect("it can be read").expect("us is a member");
    let weighed = us.node.inside(|| {
        shared.weigh(&mut shared.client().expect("there is nothing to read")).expect("it is reached")
    });
    assert!(matches!(&weighed, Pulled::Held(held) if held.code == "mass-removal"), "{weighed:?}");
    us.node.run(&["mv", "/mnt/aside", &file]).ok();
    let waits = standing["held"]["revision"].to_string();
    us.call(&["up", "--accept", "1"]).exits(2);
    us.call(&["up", "--accept", &waits, "--backend", "embedded"]).ok();
    assert_eq!(nodes(&us).len(), 7);

    // A relay that is removed gets nothing new, and does not take itself down.
    for command in [&["remove", "ap"][..], &["rotate", "--all-shared"], &["add", "after"]] {
        us.ok(command);
        let head =
            Signed::parse(&stage.stored()[HEAD]).expect("a record").unverified().expect("it can be read");
        let named = |names: Vec<&NodeName>| names.iter().any(|name| name.as_str() == "ap");
        let told = format!("{command:?}: {:?} {:?}", head.sealed_to.keys(), head.own.keys());
        assert!(!named(head.sealed_to.keys().chain(head.own.keys()).collect()), "{told}");
        assert!(!named(head.signers.keys().collect()), "{told}");
    }
    let standing = holds(&ap, "not-in-revision");
    let phone = |relay: &Wgrelay<'_>| relay.ok(&["export", "phone"]);
    assert_ne!(phone(&us), phone(&ap), "what it knew is no key any more");
    assert_eq!(pulled(&eu)["held"], Value::Null);
    assert_eq!(phone(&us), phone(&eu));
    ap.call(&["up", "--accept", &standing["held"]["revision"].to_string()]).ok();
    assert!(!nodes(&ap).contains(&"ap".into()));
    let left = ap.call(&["cluster", "leave"]).ok();
    assert!(left.stdout.contains("left the cluster"), "{left}");
    // Who leaves by himself goes on alone, and may come back.
    us.ok(&["cluster", "leave"]);
    us.call(&["cluster", "status"]).exits(1);
    assert!(nodes(&us).contains(&"us".into()));
    let back = us.call(&["--node", "us", "cluster", "join", "--etcd", &stage.etcd_urls()]).ok();
    assert!(back.stdout.contains("us joined"), "{back}");
    us.ok(&["add", "again"]);
    assert!(crate::stage::standing(&us)["held"].is_null());
}

#[test]
fn who_joins_must_be_known_and_the_store_is_outside_of_the_tunnel() {
    let Some(stage) = Stage::possible() else { return };
    let [eu, us, _] = stage.founded();
    // One more relay, on a host that is none of the three.
    eu.ok(&["add", "sa"]);
    eu.ok(&["set", "sa", "endpoint", "192.0.2.254:51820"]);
    eu.ok(&["set", "sa", "role", "relay"]);
    let urls = stage.etcd_urls();
    let sa = Wgrelay::on(&stage.switch);
    // Inside the tunnel, by its address or by a way that leads through it.
    let inside = us.call(&["cluster", "leave"]).ok();
    drop(inside);
    let refused = us.call(&["--node", "us", "cluster", "join", "--etcd", "http://10.88.0.9:2379"]).exits(1);
    assert!(
        refused.stderr.contains("through the tunnel") && refused.stderr.contains("10.88.0.0/24"),
        "{refused}"
    );
    // A spoke is no member.
    let refused = us.call(&["--node", "laptop", "cluster", "join", "--etcd", &urls]).exits(1);
    assert!(refused.stderr.contains("no relay"), "{refused}");
    // Somebody's store whose signer the bundle does not know.
    let forged = {
        let head = Signed::parse(&stage.stored()[HEAD]).expect("a record");
        let stranger = SigningPair::random().expect("randomness");
        let mut record = head.unverified().expect("it can be read");
        for key in record.signers.values_mut() {
            *key = stranger.public();
        }
        Signed::new(&record, &stranger)
    };
    let head = stage.stored()[HEAD].clone();
    let bundle = eu.ok(&["export", "sa", "--format", "bundle"]);
    stage.write(HEAD, &forged.render());
    sa.node.write("/mnt/sa.bundle", &bundle);
    let join = ["cluster", "join", "--bundle", "/mnt/sa.bundle", "--etcd", &urls];
    let refused = sa.call(&join).exits(1);
    assert!(refused.stderr.contains("not believed"), "{refused}");
    stage.write(HEAD, &head);
    sa.call(&join).ok();
    assert_eq!(standing(&sa)["held"], Value::Null);
    sa.ok(&["add", "by-sa"]);
    eu.ok(&["enable", "by-sa"]);
    // Twice is one too many.
    assert!(sa.call(&["cluster", "join", "--etcd", &urls]).exits(1).stderr.contains("member already"));
    assert!(eu.call(&["cluster", "create", "--etcd", &urls]).exits(1).stderr.contains("already"));
}
