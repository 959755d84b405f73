//! Configurations made by hand, made networks: a folder of tests/cases/import is a case.
//!
//! `*.conf` are the files, the relay's and its clients'; `expected` is what came of them: the network's file, what was wrong in
//! the files, and what `check` then says. `UPDATE_CASES=1` rewrites it. The user's own files are read where
//! `WGRELAY_SEED`, else ../shared/seed beside the checkout, has them; other projects' as in tests/conf.rs.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests read their cases and run the program; a fault of a case is a failure"
)]

#[path = "import/kept.rs"]
mod kept;
#[path = "import/live.rs"]
mod live;
#[path = "import/managers.rs"]
mod managers;
#[path = "import/round_trip.rs"]
mod round_trip;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use wgrelay::config::{Secrets, check_secrets, parse_network};
use wgrelay::firewall::foreign::docker::DockerNetwork;
use wgrelay::import::{File, ImportOptions, Imported, import};
use wgrelay::model::{PresharedKey, Problem, Timestamp};
use wgrelay::reach::{check, matrix_text};

/// 2026-11-24T00:00:00Z.
const NOW: Timestamp = Timestamp(1_795_478_400);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `.conf` files of a folder, each with the name that problems call it.
fn confs(folder: &Path) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "conf"));
    paths.sort();
    let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
    let text = |p: &PathBuf| wgrelay::wgconf::decode(&fs::read(p).unwrap()).text.to_string();
    paths.iter().map(|p| (name(p), text(p))).collect()
}

fn run(files: &[(String, String)]) -> Result<Imported, Vec<Problem>> {
    let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text }).collect();
    let mut preshared_key = || PresharedKey::from_bytes([7; 32]);
    import(
        &files,
        ImportOptions {
            name: None,
            relay: None,
            running: None,
            disabled: &[],
            expires: &[],
            now: NOW,
            docker: &BTreeMap::new(),
            preshared_key: &mut preshared_key,
        },
    )
}

/// The files' secrets: every word of a line that sets one.
fn secrets(files: &[(String, String)]) -> Vec<&str> {
    let lines = files.iter().flat_map(|(_, text)| text.lines());
    let values = lines.filter_map(|l| l.split_once('=')).filter(|(key, _)| {
        ["privatekey", "presharedkey"].contains(&key.trim().to_ascii_lowercase().as_str())
    });
    values.map(|(_, value)| value.trim()).filter(|v| v.len() > 40).collect()
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn report(made: &Imported) -> String {
    let printed = matrix_text(&check(&made.network, NOW), 100);
    format!("{}\n--- told\n{}\n--- check\n{printed}", made.text, told(&made.findings))
}

#[test]
fn every_case_makes_its_network() {
    let cases = fs::read_dir(root().join("tests/cases/import")).unwrap().map(|e| e.unwrap().path());
    for case in cases {
        let files = confs(&case);
        let made = run(&files);
        let now = match &made {
            Ok(made) => report(made),
            Err(problems) => format!("--- refused\n{}", told(problems)),
        };
        for secret in secrets(&files) {
            assert!(!now.contains(secret), "{}: a secret is told", case.display());
        }
        if let Ok(made) = &made {
            assert_eq!(check_secrets(&made.network, &made.secrets, "secrets.toml"), [], "{}", case.display());
        }
        let path = case.join("expected");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&path, now).unwrap();
            continue;
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == now, "{} differs (UPDATE_CASES=1 rewrites it); now:\n{now}", path.display());
    }
}

#[test]
fn the_order_of_the_files_does_not_matter() {
    let mut files = confs(&root().join("tests/cases/import/by-hand"));
    let first = run(&files).unwrap();
    files.reverse();
    let second = run(&files).unwrap();
    assert_eq!((&first.network, &first.findings), (&second.network, &second.findings));
}

#[test]
fn without_a_relay_there_is_no_network() {
    let files = confs(&root().join("tests/cases/import/by-hand"));
    let clients: Vec<_> = files.into_iter().filter(|(name, _)| name != "wsl-wg0.conf").collect();
    let codes = |files: &[(String, String)]| run(files).unwrap_err().last().unwrap().code.clone();
    assert_eq!(codes(&clients[..1]), "no-relay");
    assert_eq!(codes(&clients), "no-relay");
    assert_eq!(codes(&[("empty.conf".into(), String::new())]), "no-relay");
    assert_eq!(codes(&[]), "no-relay");
}

/// The hand-made files, each under another name where one is given.
fn renamed(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut files = confs(&root().join("tests/cases/import/by-hand"));
    for (name, _) in &mut files {
        if let Some((_, new)) = names.iter().find(|(old, _)| old == name) {
            *name = (*new).to_owned();
        }
    }
    files
}

#[test]
fn a_file_whose_name_cannot_be_its_nodes_is_told() {
    for (file, name) in [
        ("network.conf", "network"),
        ("internet.conf", "internet"),
        ("10.9.0.9.conf", "10.9.0.9"),
        ("all.conf", "all"),
        ("my laptop.conf", "my laptop"),
        ("docker.conf", "docker"),
    ] {
        let made =
            run(&renamed(&[("windows.conf", file)])).unwrap_or_else(|p| panic!("{file}: {}", told(&p)));
        let other: Vec<&Problem> = made.findings.iter().filter(|p| p.code == "other-name").collect();
        // Which of two files of one name gets it is the order of the relay's peers.
        let [finding] = other[..] else { panic!("{file}: {}", told(&made.findings)) };
        assert!(finding.place == format!("{file}:1:1") && finding.message.starts_with(name), "{finding}");
        let node = finding.message.rsplit(' ').next().unwrap();
        assert!(made.network.nodes.contains_key(node), "{finding}");
    }
    let made = run(&renamed(&[("wsl-wg0.conf", "internet-wg0.conf")])).unwrap();
    assert!(made.findings.iter().any(|p| p.message.ends_with("the node of this file is relay")));
    assert!(!run(&renamed(&[])).unwrap().findings.iter().any(|p| p.code == "other-name"));
}

#[test]
fn a_file_that_is_given_twice_is_told_with_the_other() {
    for (name, again) in [("windows.conf", "copy/windows.conf"), ("wsl-wg0.conf", "wsl-wg0.conf")] {
        let mut files = renamed(&[]);
        let text = files.iter().find(|(n, _)| n == name).unwrap().1.clone();
        let once = run(&files).unwrap();
        files.push((again.to_owned(), text.clone()));
        let made = run(&files).unwrap_or_else(|p| panic!("{name}: {}", told(&p)));
        assert_eq!(made.network, once.network, "{name}");
        let twice: Vec<&Problem> = made.findings.iter().filter(|p| p.code == "given-twice").collect();
        let [finding] = twice[..] else { panic!("{name}: {}", told(&made.findings)) };
        assert!(finding.message.contains(name), "{finding}");
        assert!(!made.findings.iter().any(|p| p.code == "file-left-out"), "{}", told(&made.findings));
    }
    // Also where the relay knows neither.
    let mut files = renamed(&[]);
    let stranger = files[1].1.lines().map(|l| match l.split_once('=') {
        Some((key, _)) if key.trim() == "PrivateKey" => {
            format!("{key}= {}", wgrelay::model::PrivateKey::from_random([3; 32]).expose_base64().as_str())
        }
        _ => l.to_owned(),
    });
    let stranger: String = stranger.map(|l| l + "\n").collect();
    files.push(("a.conf".into(), stranger.clone()));
    files.push(("b.conf".into(), stranger));
    let codes: Vec<String> = run(&files).unwrap().findings.into_iter().map(|p| p.code).collect();
    assert!(
        codes.contains(&"unknown-to-relay".to_owned()) && codes.contains(&"given-twice".to_owned()),
        "{codes:?}"
    );
}

#[test]
fn a_docker_network_is_called_by_its_name_where_an_engine_answers() {
    let files = confs(&root().join("tests/cases/import/by-hand"));
    let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text }).collect();
    let docker = [("cloud_default".to_owned(), docker_network("br-0123456789ab", &["172.19.0.0/16"]))].into();
    let mut none = || panic!("nothing asks for one");
    let made = import(
        &files,
        ImportOptions {
            name: Some("home".parse().unwrap()),
            relay: None,
            running: None,
            disabled: &[],
            expires: &[],
            now: NOW,
            docker: &docker,
            preshared_key: &mut none,
        },
    );
    let made = made.unwrap();
    assert_eq!(made.network.name.as_str(), "home");
    let site = &made.network.nodes["wsl"].sites[0];
    assert_eq!(site.interface.as_ref().unwrap().to_string(), "docker:cloud_default");
}

fn docker_network(bridge: &str, subnets: &[&str]) -> DockerNetwork {
    let subnets = subnets.iter().map(|s| s.parse().unwrap()).collect();
    DockerNetwork { bridge: bridge.into(), subnets, ..DockerNetwork::default() }
}

/// A relay's file with these hooks and a client's that sends these prefixes to it, imported beside an engine.
fn beside_engine(
    hooks: &str,
    allowed: &str,
    docker: &BTreeMap<String, DockerNetwork>,
) -> (Vec<(String, Option<String>)>, Vec<Problem>) {
    let [hub, client] = [1, 2].map(|n| wgrelay::model::PrivateKey::from_random([n; 32]));
    let (hub_key, client_key) = (hub.expose_base64(), client.expose_base64());
    let wg0 = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.8.0.1/24\nListenPort = 51820\n{hooks}[Peer]\nPublicKey = {}\n\
         AllowedIPs = 10.8.0.2/32\n",
        hub_key.as_str(),
        client.public_key()
    );
    let laptop = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.8.0.2/24\n[Peer]\nPublicKey = {}\nAllowedIPs = {allowed}\n\
         Endpoint = 192.0.2.1:51820\n",
        client_key.as_str(),
        hub.public_key()
    );
    let files = [("wg0.conf", wg0.as_str()), ("laptop.conf", laptop.as_str())];
    let files = files.map(|(name, text)| File { name, text });
    let mut preshared_key = || PresharedKey::from_bytes([7; 32]);
    let options = ImportOptions {
        name: None,
        relay: None,
        running: None,
        disabled: &[],
        expires: &[],
        now: NOW,
        docker,
        preshared_key: &mut preshared_key,
    };
    let made = import(&files, options).unwrap();
    let relay = made.network.relays().next().unwrap();
    let shown =
        |s: &wgrelay::model::Site| (s.subnet.to_string(), s.interface.as_ref().map(ToString::to_string));
    (relay.sites.iter().map(shown).collect(), made.findings)
}

/// Whoever runs Docker on the relay has a bridge's name in his hooks; what is behind it the engine alone tells.
#[test]
fn the_engine_is_asked_what_is_behind_a_bridge() {
    const A: &str = "br-6a7541fe74a1";
    const B: &str = "br-0123456789ab";
    let masquerade =
        |link: &str| format!("PostUp = iptables -t nat -A POSTROUTING -o {link} -j MASQUERADE\n");
    let docker: BTreeMap<String, DockerNetwork> = [
        ("cloud_default".to_owned(), docker_network(A, &["172.19.0.0/16"])),
        ("web".to_owned(), docker_network(B, &["172.21.0.0/16", "fd00:21::/64"])),
        ("bridge".to_owned(), docker_network("docker0", &["172.17.0.0/16"])),
    ]
    .into();
    let none = BTreeMap::new();
    let site = |net: &str, interface: &str| (net.to_owned(), Some(interface.to_owned()));
    let codes = |told: &[Problem]| told.iter().map(|p| p.code.clone()).collect::<Vec<_>>();
    let has = |told: &[Problem], code: &str| codes(told).iter().any(|c| c == code);

    // No client names the subnet: with the engine it is a site, without one it is told that nothing says what it is.
    let (sites, told) = beside_engine(&masquerade(A), "10.8.0.0/24", &docker);
    assert_eq!(sites, [site("172.19.0.0/16", "docker:cloud_default")]);
    assert!(has(&told, "docker-site"), "{told:?}");
    let (sites, told) = beside_engine(&masquerade(A), "10.8.0.0/24", &none);
    assert!(sites.is_empty() && !has(&told, "docker-site"), "{told:?}");

    // A part of it, or all: the network is called by its name.
    for part in ["172.19.0.0/16", "172.19.0.9/32", "172.19.4.0/24"] {
        let (sites, told) = beside_engine(&masquerade(A), &format!("10.8.0.0/24, {part}"), &docker);
        assert_eq!(sites, [site(part, "docker:cloud_default")]);
        assert!(!has(&told, "docker-subnet") && !has(&told, "docker-site"), "{part}: {told:?}");
    }

    // Two bridges, of which the lines alone do not tell which is whose.
    let both = masquerade(A) + &masquerade(B);
    let (sites, _) = beside_engine(&both, "10.8.0.0/24, 172.21.0.0/16, 172.19.0.0/16", &docker);
    assert_eq!(sites, [site("172.19.0.0/16", "docker:cloud_default"), site("172.21.0.0/16", "docker:web")]);
    let (sites, _) = beside_engine(&both, "10.8.0.0/24", &docker);
    let expected = [site("172.19.0.0/16", "docker:cloud_default"), site("172.21.0.0/16", "docker:web")];
    assert_eq!(sites, expected);

    // It has another subnet than the files say: told, and nothing is put in its place.
    let (sites, told) = beside_engine(&masquerade(A), "10.8.0.0/24, 172.30.0.0/16", &docker);
    assert_eq!(sites, [site("172.30.0.0/16", "docker:cloud_default")]);
    assert!(has(&told, "docker-subnet"), "{told:?}");

    // A name that lasts is kept, and a bridge that no engine knows is as it was.
    let (sites, _) = beside_engine(&masquerade("docker0"), "10.8.0.0/24", &docker);
    assert_eq!(sites, [site("172.17.0.0/16", "docker0")]);
    let (sites, told) = beside_engine(&masquerade("br-aaaaaaaaaaaa"), "10.8.0.0/24", &docker);
    assert!(sites.is_empty() && !has(&told, "docker-site"), "{told:?}");
}

fn program(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("--dir")
        .arg(dir)
        .args(args)
        .env_remove("WGRELAY_DIR")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What the issue asks for, word by word: the three files in, and `check` names the line of windows.conf to extend.
fn windows_lacks_a_prefix(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let files = ["wsl-wg0.conf", "windows.conf", "docker.conf"].map(|f| folder.join(f).display().to_string());
    let words: Vec<&str> = std::iter::once("import").chain(files.iter().map(String::as_str)).collect();
    let (code, _, talk) = program(dir.path(), &words);
    assert_eq!(code, 0, "{talk}");
    for code in ["missing-section", "forwards-everything", "masquerades-everything", "docker-bridge"] {
        assert!(talk.contains(&format!("warning[{code}]")), "{code}: {talk}");
    }
    let line = fs::read_to_string(folder.join("windows.conf")).unwrap();
    let line = line.lines().position(|l| l.starts_with("AllowedIPs")).unwrap() + 1;
    assert!(talk.contains(&format!("windows.conf:{line}:1: warning[narrow-allowed-ips]")), "{talk}");
    let (code, answer, talk) = program(dir.path(), &["check"]);
    assert_eq!(code, 0, "blocked pairs do not count: {talk}");
    let fix = "windows -> 192.168.33.0/24\n  not-in-allowed-ips at windows: no peer's AllowedIPs on windows hold \
               192.168.33.2: nothing of 192.168.33.0/24 goes into its tunnel\n  fix: extend AllowedIPs of [Peer] wsl in \
               windows.conf with 192.168.33.0/24: add it to routes under [node.windows], or routes = \"split\"\n";
    assert!(answer.contains(fix), "{answer}");
    // And the fix helps.
    let (code, _, talk) = program(dir.path(), &["set", "windows", "routes", "split"]);
    assert_eq!(code, 0, "{talk}");
    assert_eq!(program(dir.path(), &["trace", "windows", "192.168.33.71"]).0, 0);
    // Its keys are the files' own, and nobody else reads them.
    let secrets = dir.path().join("wg0/secrets.toml");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o600);
    let network = parse_network(&fs::read(dir.path().join("wg0/network.toml")).unwrap(), "f").value.unwrap();
    let kept = Secrets::parse_for(&fs::read(&secrets).unwrap(), "s", &network).value.unwrap();
    assert_eq!(kept.private_keys.len(), 3);
    let (code, _, talk) = program(dir.path(), &words);
    assert!(code == 1 && talk.contains("exists"), "what is there is kept: {talk}");
}

#[test]
fn check_finds_what_windows_cannot_reach() {
    windows_lacks_a_prefix(&root().join("tests/cases/import/by-hand"));
}

#[test]
fn check_finds_it_in_the_users_own_files() {
    let beside = || root().join("../shared/seed");
    let folder = std::env::var_os("WGRELAY_SEED").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("not checked: no {} (set WGRELAY_SEED)", folder.display());
        return;
    }
    windows_lacks_a_prefix(&folder);
}

/// Whatever comes in: no panic; a network that is made reads back; no secret is told.
fn holds(files: &[(String, String)]) -> Result<(), String> {
    let (words, made) = match run(files) {
        Ok(made) => (report(&made), Some(made)),
        Err(problems) => (told(&problems), None),
    };
    // A key in the wrong place is a public one, or a word; those of the right places must not be told.
    let known: Vec<String> =
        made.iter().flat_map(|m| m.network.nodes.values()).map(|n| n.public_key.to_string()).collect();
    if secrets(files).iter().any(|s| words.contains(s) && !known.iter().any(|k| k == s)) {
        return Err("a secret is told".into());
    }
    let Some(made) = made else { return Ok(()) };
    let back = parse_network(made.text.as_bytes(), "network.toml").value;
    if back.as_ref() == Some(&made.network) {
        Ok(())
    } else {
        Err(format!("it reads back otherwise:\n{}", made.text))
    }
}

/// The files of other projects' tests; none where the folder is absent.
fn corpus() -> Vec<(String, String)> {
    let beside = || root().join("../shared/corpus");
    let folder = std::env::var_os("WGRELAY_CORPUS").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("not checked: no {} (set WGRELAY_CORPUS)", folder.display());
        return Vec::new();
    }
    let projects = ["wireguard-tools", "wgconfig", "NetworkManager", "wireguard-android"];
    let kinds = projects.iter().flat_map(|p| ["good", "bad"].map(|k| folder.join(p).join(k)));
    kinds.filter(|f| f.is_dir()).flat_map(|f| confs(&f)).collect()
}

#[test]
fn other_projects_files_break_nothing() {
    let own: Vec<(String, String)> = ["by-hand", "relay-alone", "at-odds"]
        .iter()
        .flat_map(|c| confs(&root().join("tests/cases/import").join(c)))
        .collect();
    let files: Vec<(String, String)> = corpus().into_iter().chain(own).collect();
    // Each alone, and each with each.
    for (i, a) in files.iter().enumerate() {
        holds(std::slice::from_ref(a)).unwrap_or_else(|e| panic!("{}: {e}", a.0));
        for b in &files[i + 1..] {
            holds(&[a.clone(), b.clone()]).unwrap_or_else(|e| panic!("{} and {}: {e}", a.0, b.0));
        }
    }
}

/// A file of lines that occur, with keys and addresses that meet those of other such files.
fn made_up() -> impl Strategy<Value = String> {
    let key = || (0u8..6).prop_map(|n| wgrelay::model::PrivateKey::from_bytes([n + 1; 32]));
    let net = prop_oneof![
        (0u8..6, 8u8..=32).prop_map(|(n, len)| format!("10.9.0.{n}/{len}")),
        (0u8..4).prop_map(|n| format!("192.168.{n}.0/24")),
        (0u8..4, 48u8..=128).prop_map(|(n, len)| format!("fd09::{n}/{len}")),
        Just("0.0.0.0/0".to_owned()),
        Just("128.0.0.0/1".to_owned()),
    ];
    let line = prop_oneof![
        Just("[Interface]".to_owned()),
        Just("[Peer]".to_owned()),
        Just("# laptop client".to_owned()),
        key().prop_map(|k| format!("PrivateKey = {}", *k.expose_base64())),
        key().prop_map(|k| format!("[Peer]\nPublicKey = {}", k.public_key())),
        key().prop_map(|k| format!("PresharedKey = {}", k.public_key())),
        net.clone().prop_map(|n| format!("Address = {n}")),
        prop::collection::vec(net, 1..4).prop_map(|n| format!("AllowedIPs = {}", n.join(", "))),
        Just("Endpoint = 10.9.0.1:51820".to_owned()),
        Just("Endpoint = vpn.example.org:7".to_owned()),
        Just("ListenPort = 51820".to_owned()),
        Just("DNS = 9.9.9.9, a..b".to_owned()),
        Just("MTU = 80".to_owned()),
        Just("PersistentKeepalive = 25".to_owned()),
        Just("PostUp = iptables -t nat -A POSTROUTING -o br-0123456789ab -j MASQUERADE".to_owned()),
        Just(
            "PostUp = iptables -t nat -A POSTROUTING -o a-name/too.long.for.any -j MASQUERADE; x".to_owned()
        ),
        "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..14).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_files_break_the_import(texts in prop::collection::vec(made_up(), 1..4)) {
        let names = ["wg0.conf", "a.conf", "a/a.conf"];
        let files: Vec<(String, String)> =
            names.iter().map(ToString::to_string).zip(texts).collect();
        if let Err(why) = holds(&files) {
            return Err(TestCaseError::fail(why));
        }
    }
}

/// What no network comes of is told with what is wrong in the files themselves, and that first.
#[test]
fn a_files_own_faults_come_before_what_follows_from_them() {
    let private = PresharedKey::from_bytes([9; 32]);
    let hub = format!(
        "[Interface]\nPrivateKey = {0}\nAddress = 10.8.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = {0}\nAllowedIPs = 10.8.0.2/32\n",
        private.expose_base64().as_str()
    );
    let faulty = [
        ("[Pear]\nPublicKey = x\n", "unknown-section", 1),
        ("", "empty-file", 1),
        ("\r\n \n", "empty-file", 1),
        ("[Interface\nAddress = 10.8.0.2/24\n", "unknown-section", 1),
        ("# mine\nAddress 10.8.0.2\n", "syntax", 2),
        ("[Interface]\nPrivateKey = abc\n", "bad-key", 2),
    ];
    for (text, code, line) in faulty {
        let alone = run(&[("a.conf".into(), text.into())]).unwrap_err();
        let beside = run(&[("a.conf".into(), text.into()), ("wg0.conf".into(), hub.clone())]).unwrap_err();
        for (told_all, last) in [(alone, "no-relay"), (beside, "foreign-file")] {
            let first = told_all.first().unwrap();
            let place = format!("a.conf:{line}:");
            assert!(first.code == code && first.place.starts_with(&place), "{text:?}: {}", told(&told_all));
            assert_eq!(told_all.last().unwrap().code, last, "{text:?}: {}", told(&told_all));
            // That a file is another network's is said of a sound one alone.
            assert!(!told(&told_all).contains("another network"), "{text:?}: {}", told(&told_all));
        }
    }
}
