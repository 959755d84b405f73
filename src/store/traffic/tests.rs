//! Counters that grow, begin again and are looked at late; what is kept, and how much it takes.

use super::*;

const NOW: u64 = 1_800_000_000 - 1_800_000_000 % DAY;

struct File {
    _dir: tempfile::TempDir,
    folder: Folder,
}

fn file() -> File {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path(), &"wg0".parse().unwrap());
    std::fs::create_dir_all(folder.path()).unwrap();
    File { folder, _dir: dir }
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn peer(node: &str, key: u8, rx: u64, tx: u64) -> Counted {
    Counted { node: name(node), key: PublicKey::from_bytes([key; 32]), rx, tx, session: None }
}

fn look(at: u64, device: &str, peers: Vec<Counted>) -> Look {
    Look { at, device: device.into(), is_new: true, peers, without: Vec::new() }
}

fn total(bytes: &[Bytes]) -> (u64, u64) {
    bytes.iter().fold((0, 0), |(rx, tx), one| (rx + one.rx_bytes, tx + one.tx_bytes))
}

#[test]
fn counters_that_begin_again_lose_and_double_nothing() {
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    let mut at = NOW;
    let mut step = |db: &mut TrafficFile, device: &str, rx, tx| {
        at += MINUTE;
        db.record(&look(at, device, vec![peer("phone", 1, rx, tx)])).unwrap();
        total(&db.of(&name("phone"), Timestamp(at)).unwrap().minutes)
    };
    assert_eq!(step(&mut db, "a", 100, 10), (100, 10));
    assert_eq!(step(&mut db, "a", 150, 10), (150, 10));
    // The agent is another one, its device is not.
    drop(db);
    let mut db = TrafficFile::open(&file.folder).unwrap();
    assert_eq!(step(&mut db, "a", 150, 20), (150, 20));
    // The peer was taken out and put in again.
    assert_eq!(step(&mut db, "a", 5, 1), (155, 21));
    // Another device, which counted more since than the last one had.
    assert_eq!(step(&mut db, "b", 500, 500), (655, 521));
    assert_eq!(step(&mut db, "b", 500, 500), (655, 521));
}

#[test]
fn what_a_device_counted_before_anybody_looked_is_not_of_this_minute() {
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    let old = Look {
        is_new: false,
        ..look(NOW, "kernel", vec![peer("phone", 1, 1 << 40, 1 << 40), peer("pad", 3, 1 << 40, 0)])
    };
    db.record(&old).unwrap();
    for node in ["phone", "pad"] {
        assert_eq!(db.of(&name(node), Timestamp(NOW)).unwrap().minutes, []);
    }
    // Of a peer that came since, all is new.
    let next = |at, peers| Look { is_new: false, ..look(at, "kernel", peers) };
    db.record(&next(NOW + 60, vec![peer("phone", 1, (1 << 40) + 7, 1 << 40), peer("tablet", 2, 9, 9)]))
        .unwrap();
    assert_eq!(total(&db.of(&name("phone"), Timestamp(NOW + 60)).unwrap().minutes), (7, 0));
    assert_eq!(total(&db.of(&name("tablet"), Timestamp(NOW + 60)).unwrap().minutes), (9, 9));
}

#[test]
fn a_node_keeps_its_history_with_another_name_and_another_key() {
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    db.record(&look(NOW, "a", vec![peer("phone", 1, 10, 0)])).unwrap();
    db.record(&look(NOW + 60, "a", vec![peer("mobile", 1, 15, 0)])).unwrap();
    db.record(&look(NOW + 120, "a", vec![peer("mobile", 2, 3, 0)])).unwrap();
    assert_eq!(total(&db.of(&name("mobile"), Timestamp(NOW + 120)).unwrap().hours), (18, 0));
    assert_eq!(db.of(&name("phone"), Timestamp(NOW + 120)).unwrap(), Traffic::default());
    // Two that swap their names are each other from then on.
    db.record(&look(NOW + 180, "a", vec![peer("mobile", 2, 3, 0), peer("tablet", 3, 7, 0)])).unwrap();
    db.record(&look(NOW + 240, "a", vec![peer("tablet", 2, 4, 0), peer("mobile", 3, 8, 0)])).unwrap();
    let both = ["mobile", "tablet"].map(|n| total(&db.of(&name(n), Timestamp(NOW + 240)).unwrap().hours).0);
    assert_eq!(both.iter().sum::<u64>(), 18 + 7 + 1 + 1, "{both:?}");
}

#[test]
fn off_is_off_and_what_there_was_goes() {
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    let there = Counted { session: Some((NOW, "192.0.2.7:5".parse().unwrap())), ..peer("phone", 1, 10, 0) };
    db.record(&look(NOW, "a", vec![there])).unwrap();
    assert_eq!(db.of(&name("phone"), Timestamp(NOW)).unwrap().sessions.len(), 1);
    db.record(&Look { without: vec![name("phone")], ..look(NOW + 60, "a", vec![]) }).unwrap();
    assert_eq!(db.of(&name("phone"), Timestamp(NOW + 60)).unwrap(), Traffic::default());
    drop(db);
    let left = std::fs::read(file.folder.path().join("traffic.db")).unwrap();
    assert!(!left.windows(9).any(|piece| piece == b"192.0.2.7"), "its address is still in the file");
}

#[test]
fn minutes_become_hours_and_hours_end() {
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    let of = |db: &TrafficFile, at| db.of(&name("phone"), Timestamp(at)).unwrap();
    for n in 0..180 {
        db.record(&look(NOW + n * MINUTE, "a", vec![peer("phone", 1, n + 1, 0)])).unwrap();
    }
    let now = of(&db, NOW + 180 * MINUTE);
    assert_eq!((now.minutes.len(), now.hours.len(), total(&now.hours)), (180, 3, (180, 0)));
    let later = NOW + MINUTES_KEPT + 10 * HOUR;
    db.record(&look(later, "a", vec![peer("phone", 1, 180, 5)])).unwrap();
    let then = of(&db, later);
    assert_eq!((then.minutes.len(), total(&then.hours)), (1, (180, 5)));
    assert_eq!(then.hours.iter().map(|hour| hour.rx_bytes).collect::<Vec<_>>(), [60, 60, 60, 0]);
    // A clock that was wrong for a moment, and looked back, counts in the hour that it says.
    db.record(&look(NOW, "a", vec![peer("phone", 1, 190, 5)])).unwrap();
    db.record(&look(later + MINUTE, "a", vec![peer("phone", 1, 190, 5)])).unwrap();
    assert_eq!(of(&db, later + MINUTE).hours[0].rx_bytes, 70);
    let end = NOW + KEPT + 2 * DAY;
    db.record(&look(end, "a", vec![peer("phone", 1, 190, 5)])).unwrap();
    assert_eq!(total(&of(&db, end).hours), (0, 5), "what is older is gone, a day late at most");
}

#[test]
fn a_session_goes_on_while_the_node_is_seen_there() {
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    let mut at = |at: u64, endpoint: Option<&str>| {
        let session = endpoint.map(|endpoint| (at - 20, endpoint.parse().unwrap()));
        db.record(&look(at, "a", vec![Counted { session, ..peer("phone", 1, 0, 0) }])).unwrap();
        db.of(&name("phone"), Timestamp(at)).unwrap().sessions
    };
    for n in 0..10 {
        at(NOW + n * MINUTE, Some("192.0.2.7:5"));
    }
    let one = at(NOW + 10 * MINUTE, Some("192.0.2.7:6"));
    assert_eq!((one.len(), one[0].duration), (1, 10 * MINUTE + 20));
    assert_eq!(at(NOW + 11 * MINUTE, Some("198.51.100.1:5")).len(), 2, "it moved");
    at(NOW + 30 * MINUTE, None);
    let three = at(NOW + 31 * MINUTE, Some("198.51.100.1:5"));
    assert_eq!((three.len(), three[0].duration), (3, 20), "it was away");
    for n in 0..300 {
        at(NOW + DAY + n * HOUR, Some("192.0.2.7:5"));
    }
    assert_eq!(at(NOW + DAY + 300 * HOUR, Some("192.0.2.7:5")).len(), SESSIONS as usize);
}

#[test]
fn a_node_takes_a_bounded_place() {
    /// In bytes: at 5,000 nodes that all send and receive a gigabit all the time, 1.2 GB.
    const OF_ONE: u64 = 240_000;
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    let nodes = 3;
    let endpoint = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap();
    {
        let change = db.connection.transaction().unwrap();
        for node in 1..=nodes {
            change.execute("INSERT INTO node (id, name) VALUES (?1, ?1)", [node]).unwrap();
            let gigabit = 7_500_000_000;
            let hour: Vec<_> = (0..60).map(|n| (n, gigabit, gigabit)).collect();
            let day: Vec<_> = (0..24).map(|n| (n, gigabit * 60, gigabit * 60)).collect();
            for n in (0..49).rev() {
                add(&change, &Table::MINUTES, (NOW / HOUR - n, node), &hour).unwrap();
            }
            for n in (0..401).rev() {
                add(&change, &Table::HOURS, (NOW / DAY - n, node), &day).unwrap();
            }
            for n in 0..u64::from(SESSIONS) {
                be_there(&change, node, n, n * DAY, endpoint).unwrap();
            }
        }
        change.commit().unwrap();
    }
    let size = |text: &str| db.connection.query_row(text, [], |row| row.get::<_, u64>(0)).unwrap();
    let taken = size("PRAGMA page_count") * size("PRAGMA page_size") / nodes.unsigned_abs();
    assert!(taken < OF_ONE, "{taken} bytes a node");
}

#[test]
fn nobody_elses_file_is_written() {
    let file = file();
    let path = file.folder.path().join("traffic.db");
    assert!(TrafficFile::open_to_read(&file.folder).unwrap().is_none());
    let other = file.folder.path().join("other");
    // Also one that could become a database: an empty one, and one that is not there.
    for there in [Some("mine"), Some(""), None] {
        there.iter().for_each(|text| std::fs::write(&other, text).unwrap());
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(TrafficFile::open(&file.folder).is_err());
        assert_eq!(std::fs::read_to_string(&other).ok().as_deref(), there);
        std::fs::remove_file(&path).unwrap();
        let _gone = std::fs::remove_file(&other);
    }
    std::fs::write(&path, "this is no database, and long enough to be read as one".repeat(100)).unwrap();
    assert!(TrafficFile::open(&file.folder).is_err());
    std::fs::remove_file(&path).unwrap();
    TrafficFile::open(&file.folder).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(TrafficFile::open_to_read(&file.folder).unwrap().is_some());
}

#[test]
fn a_file_of_a_newer_version_or_with_moments_that_are_none_is_no_panic() {
    let file = file();
    let mut db = TrafficFile::open(&file.folder).unwrap();
    db.record(&look(NOW, "a", vec![peer("phone", 1, 10, 3)])).unwrap();
    for text in ["UPDATE minutes SET hour = ?1", "INSERT INTO hours SELECT ?1, node, bytes FROM minutes"] {
        db.connection.execute(text, [i64::MAX]).unwrap();
    }
    db.of(&name("phone"), Timestamp(NOW)).unwrap();
    db.record(&look(NOW + 60, "a", vec![peer("phone", 1, 20, 3)])).unwrap();
    db.connection.pragma_update(None, "user_version", 2).unwrap();
    for opened in
        [TrafficFile::open(&file.folder).map(drop), TrafficFile::open_to_read(&file.folder).map(drop)]
    {
        assert!(opened.unwrap_err().to_string().contains("a newer wgrelay wrote it"));
    }
}

#[test]
fn a_copy_is_whole_while_somebody_writes_and_comes_back_elsewhere() {
    let (file, other) = (file(), file());
    let mut db = TrafficFile::open(&file.folder).unwrap();
    db.record(&look(NOW, "a", vec![peer("phone", 1, 10, 3)])).unwrap();
    let copy = TrafficFile::open_to_read(&file.folder).unwrap().unwrap().copy().unwrap();
    db.record(&look(NOW + 60, "a", vec![peer("phone", 1, 20, 3)])).unwrap();
    let mut before = TrafficFile::open(&other.folder).unwrap();
    before.record(&look(NOW, "b", vec![peer("tablet", 2, 10, 3)])).unwrap();
    TrafficFile::restore(&other.folder, &copy).unwrap();
    let restored = TrafficFile::open_to_read(&other.folder).unwrap().unwrap();
    assert_eq!(total(&restored.of(&name("phone"), Timestamp(NOW)).unwrap().hours), (10, 3));
    assert_eq!(restored.of(&name("tablet"), Timestamp(NOW)).unwrap(), Traffic::default());
    // What is none, or torn, replaces nothing.
    for wrong in [&b"no database"[..], &copy[..copy.len() / 2]] {
        assert!(TrafficFile::restore(&file.folder, wrong).is_err(), "{} bytes", wrong.len());
        assert!(!file.folder.path().join("traffic.db.new").exists());
    }
    assert_eq!(total(&db.of(&name("phone"), Timestamp(NOW)).unwrap().hours), (20, 3));
}
