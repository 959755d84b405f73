//! What `export` writes, compared with the files in tests/cases/export and shown to the real programs.
//!
//! `UPDATE_CASES=1` rewrites the files. The programs (`wg`, `wg-quick`, `zbarimg`) must be there where `WGRELAY_REAL=1`;
//! elsewhere a test that misses one says so and checks nothing.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests read their cases and run the real programs; a fault in their own set-up ends them"
)]

#[path = "export/networks.rs"]
mod networks;
#[path = "export/real.rs"]
mod real;

use std::fs;
use std::path::{Path, PathBuf};

use networks::{
    Case, HOOKS, NOW, dual_stack, every_case, home, node_mut, preshared_key, private_key, road_warrior,
};
use wgrelay::export::qr::{Code, Style};
use wgrelay::export::{ExportError, Exported, Hooks, Keys, node_conf};
use wgrelay::firewall::hooks;
use wgrelay::model::{NodeName, Platform, PresharedKey, Problem, Routes};
use wgrelay::wgconf::{self, Client, Comments, Document, Key};

/// Exports with hooks of the tests' own, so that a changed firewall changes no kept file.
fn export(case: &Case, name: &str) -> Result<Exported, ExportError> {
    let node = &case.network.nodes[name];
    let gateway = node.is_relay() || !node.sites.is_empty();
    export_with(case, name, if gateway { &HOOKS } else { &NO_HOOKS })
}

fn export_with(case: &Case, name: &str, hooks: &Hooks) -> Result<Exported, ExportError> {
    let node = &case.network.nodes[name];
    let own = private_key(name);
    let stored = !case.without_private_key.contains(&name);
    let keys = Keys {
        private_key: stored.then_some(&own),
        preshared_key: &|relay: &NodeName, spoke: &NodeName| Some(preshared_key(relay, spoke)),
    };
    node_conf(&case.network, keys, node, hooks, NOW)
}

static NO_HOOKS: Hooks = Hooks {
    about: Vec::new(),
    functions: Vec::new(),
    pre_up: Vec::new(),
    post_up: Vec::new(),
    post_down: Vec::new(),
};

fn every_file() -> Vec<(String, Exported)> {
    let mut out = Vec::new();
    for case in every_case() {
        for name in case.network.nodes.keys() {
            let exported =
                export(&case, name.as_str()).unwrap_or_else(|e| panic!("{} {name}: {e}", case.name));
            out.push((format!("{}/{name}", case.name), exported));
        }
    }
    out
}

fn golden(path: &Path, fresh: &str) {
    if std::env::var_os("UPDATE_CASES").is_some() {
        if fresh.is_empty() {
            let _ = fs::remove_file(path);
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, fresh).unwrap();
        }
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == fresh, "{} differs (UPDATE_CASES=1 rewrites it); now:\n{fresh}", path.display());
}

fn case_path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/export").join(file)
}

#[test]
fn files_are_as_kept() {
    for (file, exported) in every_file() {
        golden(&case_path(&format!("{file}.conf")), &exported.text());
        let problems: Vec<String> = exported.problems.iter().map(ToString::to_string).collect();
        let problems = if problems.is_empty() { String::new() } else { problems.join("\n") + "\n" };
        golden(&case_path(&format!("{file}.problems")), &problems);
    }
}

#[test]
fn no_kept_file_is_left_over() {
    let made: Vec<PathBuf> = every_file().iter().map(|(f, _)| case_path(f)).collect();
    for folder in fs::read_dir(case_path("")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            assert!(made.contains(&path.with_extension("")), "{} belongs to no case", path.display());
        }
    }
}

#[test]
fn each_client_takes_its_file() {
    for (file, exported) in every_file() {
        assert_eq!(wgconf::rejected_keys(exported.client, &exported.document), [], "{file}");
        for text in [exported.text(), exported.short_text()] {
            let errors: Vec<Problem> =
                wgconf::lint(&text, &file, exported.client).into_iter().filter(Problem::is_error).collect();
            // A file whose key is to be filled in is told to be so, by us and by the strict clients.
            let expected = usize::from(!exported.complete && exported.client.rules().needs_private_key);
            assert_eq!(errors.len(), expected, "{file}: {errors:?}");
        }
    }
}

#[test]
fn what_is_written_reads_back() {
    for (file, exported) in every_file() {
        assert_eq!(wgconf::parse(&exported.text(), &file).as_ref(), Ok(&exported.document), "{file}");
        let mut bare = exported.document.clone();
        bare.interface.comments.clear();
        bare.interface.notes.clear();
        bare.peers.iter_mut().for_each(|p| p.comments.clear());
        assert_eq!(wgconf::parse(&exported.short_text(), &file), Ok(bare), "{file}");
    }
}

#[test]
fn applications_get_the_common_subset() {
    let common = [
        Key::PrivateKey,
        Key::Address,
        Key::ListenPort,
        Key::Dns,
        Key::Mtu,
        Key::PublicKey,
        Key::PresharedKey,
        Key::AllowedIps,
        Key::Endpoint,
        Key::PersistentKeepalive,
    ];
    for (file, exported) in every_file() {
        if exported.client != Client::WgQuick {
            assert!(exported.document.keys().iter().all(|k| common.contains(k)), "{file}");
        }
    }
}

#[test]
fn a_relay_has_each_active_spoke_once() {
    let exported = export(&road_warrior(), "gate").unwrap();
    let names: Vec<&str> = exported.document.peers.iter().map(|p| p.comments[0].as_str()).collect();
    assert_eq!(names, ["laptop", "macbook", "phone", "tablet"], "stolen is disabled and guest has expired");
    // Of a spoke the relay knows an endpoint only where the network does, and never sends it keepalives.
    assert!(exported.document.peers.iter().all(|p| p.endpoint.is_none() && p.keepalive.is_none()));
}

#[test]
fn both_ends_of_a_pair_agree() {
    for case in every_case() {
        for spoke in case.network.spokes().filter(|s| s.is_active(NOW)) {
            let far = export(&case, spoke.name.as_str()).unwrap();
            for relay in case.network.relays() {
                let near = export(&case, relay.name.as_str()).unwrap();
                let to_spoke = near.document.peers.iter().find(|p| p.public_key == spoke.public_key).unwrap();
                let to_relay = far.document.peers.iter().find(|p| p.public_key == relay.public_key).unwrap();
                assert_eq!(to_spoke.preshared_key, to_relay.preshared_key);
                assert!(to_spoke.allowed_ips.contains(&spoke.host_prefixes()[0]));
            }
        }
    }
}

#[test]
fn faults() {
    let no_hooks = Hooks::default();
    let own = private_key("windows");
    let none = |_: &NodeName, _: &NodeName| -> Option<PresharedKey> { None };
    let some = |r: &NodeName, s: &NodeName| Some(preshared_key(r, s));
    let keys = Keys { private_key: Some(&own), preshared_key: &some };
    let mut network = home().network;
    let code = |r: Result<Exported, ExportError>| r.map(|_| ()).unwrap_err();

    let docker = network.nodes["docker"].clone();
    assert!(matches!(
        code(node_conf(&network, keys, &docker, &no_hooks, NOW)),
        ExportError::WrongPrivateKey { .. }
    ));
    let windows = network.nodes["windows"].clone();
    let unshared = Keys { preshared_key: &none, ..keys };
    let fault = code(node_conf(&network, unshared, &windows, &no_hooks, NOW));
    assert_eq!(fault.to_string(), "no preshared key is stored for relay wsl and windows");
    network.preshared_keys = false;
    assert!(node_conf(&network, unshared, &windows, &no_hooks, NOW).is_ok());

    let mut injected = windows.clone();
    injected.dns = vec!["1.1.1.1\nPostUp = touch /tmp/x".into()];
    let exported = node_conf(&network, keys, &injected, &no_hooks, NOW).unwrap();
    assert!(!exported.text().contains("PostUp") && exported.document.interface.dns.is_empty());
    assert_eq!(exported.problems.len(), 1, "{:?}", exported.problems);
    for (platform, taken) in [(Platform::Android, 1), (Platform::Windows, 2)] {
        let mut odd = windows.clone();
        (odd.platform, odd.dns) =
            (platform, ["9.9.9.9", "my_home.lan", "münchen.de"].map(str::to_owned).into());
        let exported = node_conf(&network, keys, &odd, &no_hooks, NOW).unwrap();
        assert_eq!(exported.document.interface.dns.len(), taken, "{platform:?}");
        let client = exported.client;
        assert!(!wgconf::lint(&exported.text(), "f", client).iter().any(Problem::is_error), "{platform:?}");
        assert_eq!(exported.problems.iter().filter(|p| p.code == "bad-search-domain").count(), 3 - taken);
    }

    let wsl_key = private_key("wsl");
    let wsl_keys = Keys { private_key: Some(&wsl_key), ..keys };
    let hooks = Hooks { post_up: vec!["iptables -A X # y".into()], ..Hooks::default() };
    let wsl = network.nodes["wsl"].clone();
    assert!(matches!(code(node_conf(&network, wsl_keys, &wsl, &hooks, NOW)), ExportError::Hook { .. }));

    node_mut(&mut network, "wsl").endpoint = None;
    let exported = node_conf(&network, keys, &windows, &no_hooks, NOW).unwrap();
    assert_eq!(exported.problems.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["no-endpoint"]);

    node_mut(&mut network, "wsl").enabled = false;
    let fault = code(node_conf(&network, keys, &windows, &no_hooks, NOW));
    assert_eq!(fault.to_string(), "windows has no relay to connect to: none that it may use is enabled");
    assert!(!fault.hint().is_empty());
}

#[test]
fn mtu_is_written_only_where_asked_for() {
    let mut case = dual_stack();
    let name = case.network.spokes().next().unwrap().name.clone();
    assert_eq!(export(&case, name.as_str()).unwrap().document.interface.mtu, None);
    case.network.mtu = 1380;
    assert_eq!(export(&case, name.as_str()).unwrap().document.interface.mtu, Some(1380));
    node_mut(&mut case.network, name.as_str()).mtu = Some(1420);
    assert_eq!(export(&case, name.as_str()).unwrap().document.interface.mtu, Some(1420));
}

#[test]
fn wg_quick_and_wg_take_every_file() {
    if !real::has("wg-quick") || !real::has("wg") {
        return;
    }
    for (file, exported) in every_file() {
        // Any client's file is a wg-quick file, too. No name is to be resolved here.
        let text = exported.text().replace("vpn.example.org", "192.0.2.1");
        let stripped = real::wg_quick_strip(&text).unwrap_or_else(|e| panic!("{file}: wg-quick: {e}"));
        real::wg_setconf(&stripped).unwrap_or_else(|e| panic!("{file}: wg: {e}"));
    }
    // Both can say no.
    assert!(real::wg_quick_strip("[Interface]\nSaveConfig = maybe\n").is_err());
    assert!(real::wg_setconf("[Interface]\nAddress = 10.0.0.1/24\n").is_err());
}

/// wg-quick's reading costs the square of a line's length; with lines of many kilobytes it took half a minute here.
#[test]
fn many_sites_are_read_at_once() {
    let mut network = home().network;
    let template = network.nodes["docker"].sites[0].clone();
    let sites = (0..34).map(|n| wgrelay::model::Site {
        subnet: format!("10.{n}.0.0/16").parse().unwrap(),
        ..template.clone()
    });
    node_mut(&mut network, "docker").sites = sites.collect();
    let case = Case { network, ..home() };
    let exported =
        export_with(&case, "docker", &hooks(&case.network, &case.network.nodes["docker"], NOW)).unwrap();
    let text = exported.text();
    let longest = text.lines().map(str::len).max().unwrap();
    assert!(longest < 1000, "a line of {longest} bytes");
    if real::has("wg-quick") {
        let began = std::time::Instant::now();
        real::wg_quick_strip(&text).unwrap();
        let took = began.elapsed();
        eprintln!("wg-quick reads the file of 34 sites in {took:?}");
        assert!(took < std::time::Duration::from_secs(100), "{took:?}");
    }
}

/// The script is read by bash out of the file as wg-quick's own shell does it, with and without Windows' line ends, and each
/// function that a hook calls is there; without the script the hook fails, and so does wg-quick.
#[test]
fn hooks_find_their_script_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("wg9.conf");
    for case in every_case() {
        for (name, node) in &case.network.nodes {
            let exported = export_with(&case, name.as_str(), &hooks(&case.network, node, NOW)).unwrap();
            let Document { interface, script, .. } = &exported.document;
            if script.is_empty() {
                continue;
            }
            assert!(wgconf::script::is_as_sealed(script), "{} {name}", case.name);
            assert!(!script.iter().any(|line| line.contains("%i")), "{script:#?}");
            for hook in interface.pre_up.iter().chain(&interface.post_up).chain(&interface.post_down) {
                let hook = hook.as_str().replace("%i", "wg9");
                let (read, called) = hook.rsplit_once("; ").unwrap();
                let function = called.strip_suffix(" wg9").unwrap();
                // Nothing is called: only whether it is there.
                let command = format!(
                    "set -e -o pipefail; (eval {}); ",
                    quoted(&format!("{read}; declare -F {function}"))
                );
                let text = exported.text();
                for (text, is_there) in [
                    (text.to_string(), true),
                    (text.replace('\n', "\r\n"), true),
                    (text.lines().filter(|l| !l.starts_with("#|")).collect::<Vec<_>>().join("\n"), false),
                ] {
                    fs::write(&conf, text).unwrap();
                    let output = std::process::Command::new("bash")
                        .args(["-c", &format!("CONFIG_FILE={}; {command}", conf.display())])
                        .output()
                        .unwrap();
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.success(), is_there, "{} {name} {function}: {said}", case.name);
                    assert!(said.is_empty(), "{} {name} {function}: {said}", case.name);
                }
            }
        }
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Whatever a node's file does besides, the interface's name reaches each command: bash fills it in nowhere between single quotes.
#[test]
fn a_gateway_with_a_table_of_its_own_names_its_interface() {
    let mut network = home().network;
    let node = node_mut(&mut network, "docker");
    node.routes = Routes::Full;
    node.except = vec!["203.0.113.0/24".parse().unwrap()];
    let case = Case { network, ..home() };
    let exported =
        export_with(&case, "docker", &hooks(&case.network, &case.network.nodes["docker"], NOW)).unwrap();
    let script = exported.document.script.join("\n");
    assert!(script.contains("table inet wgrelay-q-$i-m {"), "{script}");
    let said = std::process::Command::new("bash")
        .args([
            "-c",
            &format!(
                "nft() {{ cat; }}; ip() {{ :; }}; sysctl() {{ :; }}; i=wg9; {}",
                line_of(&script, "-m {")
            ),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("table inet wgrelay-q-wg9-m {") && !said.contains("$i"), "{said}");
}

fn line_of<'a>(text: &'a str, part: &str) -> &'a str {
    text.lines().find(|line| line.contains(part)).unwrap_or_default()
}

#[test]
fn the_firewall_fits_its_lines() {
    let wg_quick = real::has("wg-quick");
    for case in every_case() {
        for (name, node) in &case.network.nodes {
            let lines = hooks(&case.network, node, NOW);
            let exported = export_with(&case, name.as_str(), &lines).unwrap();
            let written = &exported.document.interface;
            let has_script = node.platform.is_linux() && !lines.functions.is_empty();
            assert_eq!(!exported.document.script.is_empty(), has_script, "{} {name}", case.name);
            for line in written.pre_up.iter().chain(&written.post_up).chain(&written.post_down) {
                assert!(line.as_str().len() < 200, "{} {name}: {}", case.name, line.as_str());
            }
            assert_eq!(wgconf::parse(&exported.text(), "x").as_ref(), Ok(&exported.document));
            // Without its comments the file does the same.
            assert_eq!(
                wgconf::parse(&exported.short_text(), "x").map(|short| short.script).as_ref(),
                Ok(&exported.document.script)
            );
            if wg_quick {
                real::wg_quick_strip(&exported.text())
                    .unwrap_or_else(|e| panic!("{} {name}: {e}", case.name));
            }
        }
        let relay = case.network.relays().next().unwrap();
        assert!(!hooks(&case.network, relay, NOW).post_up.is_empty(), "{}: a relay forwards", case.name);
    }
}

#[test]
fn every_code_is_read_by_zbarimg() {
    if !real::has("zbarimg") {
        return;
    }
    for (file, exported) in every_file() {
        let text = exported.short_text();
        let code = Code::new(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(real::zbarimg(&code.png()), text.as_str(), "{file}: png");
        for style in [Style::Colour, Style::Plain] {
            let art = code.terminal(style, None).unwrap();
            assert_eq!(real::zbarimg(&real::screenshot(&art, style)), text.as_str(), "{file}: {style:?}");
        }
    }
}

#[test]
fn the_largest_code_is_read_by_zbarimg() {
    if !real::has("zbarimg") {
        return;
    }
    let exported = export(&home(), "windows").unwrap();
    let mut document = exported.document;
    while wgconf::render(&document, Comments::Drop).len() < 2900 {
        let n = document.peers[0].allowed_ips.len();
        document.peers[0].allowed_ips.push(format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap());
    }
    let text = wgconf::render(&document, Comments::Drop);
    assert_eq!(real::zbarimg(&Code::new(&text).unwrap().png()), text.as_str());
}
