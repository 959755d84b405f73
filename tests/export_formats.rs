//! `export --format` for other programs: what is written, as data (`tests/cases/export-formats/NAME/network.toml`,
//! `secrets.toml`, and a file a format), and what those programs themselves make of it.
//!
//! A new case is a new folder; `UPDATE_CASES=1` writes what the program says now, to be read before it is committed.
#![expect(clippy::disallowed_methods, reason = "a test reads its data from files and runs the program")]
#![expect(clippy::print_stderr, reason = "what was not checked is told")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const CLIENTS: [&str; 5] = ["networkmanager", "networkd", "uci", "mikrotik", "nix"];

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/export-formats");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 2, "only {} cases were found", folders.len());
    folders
}

/// A `--dir` with the case's network in it.
fn installed(case: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("wg0");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    for file in ["network.toml", "secrets.toml"] {
        fs::copy(case.join(file), folder.join(file)).unwrap();
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    dir
}

fn export(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgrelay"))
        .arg("--dir")
        .arg(dir)
        .arg("export")
        .args(arguments)
        .env("NO_COLOR", "1")
        .env_remove("COLUMNS")
        .env_remove("WSL_DISTRO_NAME")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_format_of_every_case_as_looked_at() {
    let mut wrong = Vec::new();
    for case in cases() {
        let dir = installed(&case);
        let mut check = |name: &str, arguments: &[&str]| {
            let output = export(dir.path(), arguments);
            let problems = String::from_utf8_lossy(&output.stderr).into_owned();
            let mut now = done(&output);
            if !problems.is_empty() {
                now += &format!("=== said:\n{problems}");
            }
            let path = case.join(format!("expected.{name}"));
            if std::env::var_os("UPDATE_CASES").is_some() {
                fs::write(path, now).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != now {
                wrong.push(format!("{}: now\n{now}", path.display()));
            }
        };
        for format in CLIENTS {
            check(format, &["laptop", "--format", format]);
            check(&format!("relay.{format}"), &["wsl", "--format", format]);
        }
        check("prometheus", &["--format", "prometheus"]);
        check("ansible", &["--format", "ansible"]);
        check("powershell", &["windows", "--format", "powershell"]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns a program that `scripts/fetch-tools` unpacked, or that is installed; where the real parts are required, a missing
/// one fails the test.
fn tool(program: &str) -> Option<PathBuf> {
    let store = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| "/var/tmp".into(), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(store.join("wgrelay-tools/bin")).chain(std::env::split_paths(&path));
    let found = folders.map(|dir| dir.join(program)).find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var_os("WGRELAY_REAL").is_some_and(|v| v == "1");
        assert!(!required, "{program} is required and missing: scripts/fetch-tools");
        eprintln!("not checked: {program} is missing");
    }
    found
}

fn piped(program: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The lines of a keyfile with their sections, sorted: NetworkManager writes them in an order of its own.
fn keyfile(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            section = line.into();
        } else {
            lines.push(format!("{section} {line}"));
        }
    }
    lines.sort();
    lines
}

/// `nmcli --offline` reads a keyfile as the daemon does and writes what it understood.
#[test]
fn network_manager_reads_all_of_its_file() {
    let Some(nmcli) = tool("nmcli") else { return };
    for case in cases() {
        let dir = installed(&case);
        for node in ["laptop", "wsl"] {
            let text = done(&export(dir.path(), &[node, "--format", "networkmanager"]));
            let output =
                piped(&nmcli, &["--offline", "connection", "modify", "connection.zone", "trusted"], &text);
            let read = done(&output);
            let understood = keyfile(&read);
            for line in keyfile(&text) {
                assert!(
                    understood.contains(&line),
                    "{}: NetworkManager lost {line} of\n{read}",
                    case.display()
                );
            }
            // The control: what it does not know it does not write.
            let wrong = text.replace("allowed-ips=", "allowed-ip=");
            let output =
                piped(&nmcli, &["--offline", "connection", "modify", "connection.zone", "trusted"], &wrong);
            assert!(!String::from_utf8_lossy(&output.stdout).contains("allowed-ips="), "the control passed");
        }
    }
}

/// Nix itself evaluates the module: what it makes of it is what the `.conf` says, and no key is in it.
#[test]
fn nix_evaluates_its_module() {
    let Some(nix) = tool("nix-instantiate") else { return };
    for case in cases() {
        let dir = installed(&case);
        for node in ["laptop", "wsl"] {
            let folder = tempfile::tempdir().unwrap();
            done(&export(dir.path(), &[node, "--format", "nix", "-o", folder.path().to_str().unwrap()]));
            let file = folder.path().join("wg0.nix");
            let evaluated = || {
                let import = format!("import {} {{ }}", file.display());
                let mut command = Command::new(&nix);
                command.args(["--eval", "--strict", "--json", "--store", "dummy://", "-E", &import]);
                command.env("HOME", folder.path()).env("NIX_STATE_DIR", folder.path().join("state"));
                command.output().unwrap()
            };
            let text = done(&evaluated());
            let module: serde_json::Value = serde_json::from_str(&text).unwrap();
            let interface = &module["networking"]["wg-quick"]["interfaces"]["wg0"];
            let conf = done(&export(dir.path(), &[node]));
            let conf = wgrelay::wgconf::read(&conf, "wg0.conf").document;
            let list = |value: &serde_json::Value| -> Vec<String> {
                value.as_array().into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_owned())).collect()
            };
            let written = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
            let what = format!("{}, {node}: {text}", case.display());
            assert_eq!(list(&interface["address"]), written(&conf.interface.addresses), "{what}");
            let peers = interface["peers"].as_array().unwrap();
            assert_eq!(peers.len(), conf.peers.len(), "{what}");
            for (peer, said) in peers.iter().zip(&conf.peers) {
                assert_eq!(peer["publicKey"], said.public_key.to_string(), "{what}");
                assert_eq!(list(&peer["allowedIPs"]), written(&said.allowed_ips), "{what}");
                let endpoint = said.endpoint.as_ref().map(ToString::to_string);
                assert_eq!(peer.get("endpoint").and_then(|e| e.as_str()), endpoint.as_deref(), "{what}");
            }
            let secrets = fs::read_to_string(case.join("secrets.toml")).unwrap();
            let keys = secrets.split('"').filter(|part| part.len() == 44);
            assert!(keys.clone().count() > 2 && !keys.into_iter().any(|key| text.contains(key)), "{what}");
            // The control: what is no module is refused.
            fs::write(&file, fs::read_to_string(&file).unwrap().replacen("];", "]", 1)).unwrap();
            assert!(!evaluated().status.success(), "Nix takes anything");
        }
    }
}

#[test]
fn prometheus_takes_the_targets() {
    let Some(promtool) = tool("promtool") else { return };
    for case in cases() {
        let dir = installed(&case);
        let folder = tempfile::tempdir().unwrap();
        let targets = folder.path().join("wg0.json");
        let output = export(dir.path(), &["--format", "prometheus", "--out", targets.to_str().unwrap()]);
        done(&output);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("key"), "a list of targets holds no key");
        let config = folder.path().join("prometheus.yml");
        let text =
            "scrape_configs:\n  - job_name: wgrelay\n    file_sd_configs:\n      - files: [wg0.json]\n";
        fs::write(&config, text).unwrap();
        let check = || Command::new(&promtool).arg("check").arg("config").arg(&config).output().unwrap();
        done(&check());
        fs::write(&targets, fs::read_to_string(&targets).unwrap().replace("targets", "target")).unwrap();
        assert!(!check().status.success(), "promtool takes anything");
    }
}

#[test]
fn ansible_lists_the_hosts() {
    let Some(inventory_program) = tool("ansible-inventory") else { return };
    let case = cases().remove(0);
    let dir = installed(&case);
    let inventory = dir.path().join("wg0.yaml");
    done(&export(dir.path(), &["--format", "ansible", "-o", inventory.to_str().unwrap()]));
    let output = Command::new(inventory_program).arg("-i").arg(&inventory).arg("--list").output().unwrap();
    let list: serde_json::Value = serde_json::from_str(&done(&output)).unwrap();
    assert_eq!(list["_meta"]["hostvars"]["wsl"]["ansible_host"], "192.168.3.1");
    assert_eq!(list["wgrelay_relays"]["hosts"], serde_json::json!(["wsl"]));
}

#[test]
fn several_files_go_into_a_folder_and_keys_are_private() {
    let dir = installed(&cases()[0]);
    let out = dir.path().join("out");
    let output = export(dir.path(), &["laptop", "--format", "nix", "--out", out.to_str().unwrap()]);
    done(&output);
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["wg0-1.psk", "wg0.key", "wg0.nix"]);
    let secrets = fs::read_to_string(cases()[0].join("secrets.toml")).unwrap();
    let module = fs::read_to_string(out.join("wg0.nix")).unwrap();
    for key in secrets.lines().filter_map(|line| line.split('"').nth(1)) {
        assert!(!module.contains(key), "everybody may read the Nix store");
    }
    for name in names {
        let mode = fs::metadata(out.join(&name)).unwrap().permissions().mode() & 0o777;
        // The module is for everybody to read; keys are in files of their own.
        let expected = if name.ends_with(".nix") { 0o644 } else { 0o600 };
        assert_eq!(mode, expected, "{name}");
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    let dir = installed(&cases()[0]);
    let refused = |arguments: &[&str], expected: &str| {
        let output = export(dir.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    refused(&["laptop", "--format", "prometheus"], "takes none");
    refused(&["laptop", "--format", "powershell"], "laptop is no Windows node");
    refused(&["laptop", "--format", "compose"], "laptop runs in no container");
    refused(&["--all", "--out", "x", "--format", "uci"], "--all does not go with --format uci");
    refused(&[], "which node?");
}

/// What Podman's own generator makes of a unit: it refuses keys that it does not know.
#[test]
fn podman_makes_a_service_of_the_quadlet() {
    let Some(quadlet) = tool("quadlet") else { return };
    for case in cases() {
        let dir = installed(&case);
        for (node, expected) in [
            (
                "laptop",
                &["--cap-add net_admin", "--device /dev/net/tun", "/laptop.bundle:/etc/wgrelay.bundle:ro"][..],
            ),
            ("wsl", &["--privileged", "--publish 51820:51820/udp", "/wsl.bundle:/etc/wgrelay.bundle:ro"]),
        ] {
            let units = tempfile::tempdir().unwrap();
            let file = units.path().join(format!("{node}.container"));
            done(&export(dir.path(), &[node, "--format", "quadlet", "--out", file.to_str().unwrap()]));
            let bundle = units.path().join(format!("{node}.bundle"));
            assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
            let made = Command::new(&quadlet)
                .arg("--dryrun")
                .env("QUADLET_UNIT_DIRS", units.path())
                .output()
                .unwrap();
            let (service, said) = (done(&made), String::from_utf8_lossy(&made.stderr).into_owned());
            assert!(!said.contains("unsupported") && !said.contains("rror"), "{said}");
            let command =
                service.lines().find(|l| l.starts_with("ExecStart=")).unwrap_or_else(|| panic!("{service}"));
            for words in expected {
                assert!(command.contains(words), "{words}: {command}");
            }
            // No key is in the unit.
            let secret = String::from_utf8_lossy(&fs::read(&bundle).unwrap()).into_owned();
            let keys = secret.split('"').filter(|word| word.len() == 44 && word.ends_with('='));
            let public = fs::read_to_string(dir.path().join("wg0/network.toml")).unwrap();
            for key in keys.filter(|key| !public.contains(key)) {
                assert!(!service.contains(key));
            }
            // A key that it does not know is refused: the words above mean something.
            let text = fs::read_to_string(&file).unwrap().replace("Tmpfs=", "Tempfs=");
            fs::write(&file, text).unwrap();
            let refused = Command::new(&quadlet)
                .arg("--dryrun")
                .env("QUADLET_UNIT_DIRS", units.path())
                .output()
                .unwrap();
            assert!(!refused.status.success(), "{refused:?}");
        }
    }
    // Of what runs in no container there is none.
    let refused = export(installed(&cases()[0]).path(), &["windows", "--format", "quadlet"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

/// What `systemd-networkd` makes of its two files, with WireGuard in the kernel: run in the guest, by hand there.
const NETWORKD: &str = r#"
# Where it may not write, links are configured without udev.
mount -o remount,ro /sys || mount -o remount,ro,bind /sys
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network: /run/systemd/netif
cp "$1"/*.netdev "$1"/*.network /run/systemd/network/
chown root:systemd-network /run/systemd/network/*.netdev
chmod 640 /run/systemd/network/*.netdev
timeout 120 /lib/systemd/systemd-networkd >/tmp/networkd.log 2>&1 &
for i in $(seq 90); do
    ip -4 address show dev wg0 2>/dev/null | grep -q 'inet ' && [ "$(ip route show dev wg0 | wc -l)" -ge "$2" ] && break
    sleep 1
done
ip -brief address show dev wg0
ip route show dev wg0
ip -6 route show dev wg0
wg showconf wg0
cat /tmp/networkd.log >&2
"#;

#[test]
fn networkd_has_what_the_conf_says_in_guest() {
    let real = std::env::var_os("WGRELAY_REAL").is_some_and(|v| v == "1");
    let here = |program: &str| Path::new(program).exists();
    let can = nix::unistd::geteuid().is_root()
        && here("/lib/systemd/systemd-networkd")
        && here("/usr/bin/qemu-system-x86_64");
    assert!(can || !real, "root, systemd-networkd and QEMU are required: scripts/install-needs --test");
    if !can {
        eprintln!("not checked: root, systemd-networkd or QEMU is missing");
        return;
    }
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/export-formats/split");
    let dir = installed(&case);
    let conf = done(&export(dir.path(), &["laptop"]));
    let files = dir.path().join("files");
    done(&export(dir.path(), &["laptop", "--format", "networkd", "--out", files.to_str().unwrap()]));
    let value = |key: &str| conf.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(" = ")).unwrap();
    let allowed: Vec<&str> = value("AllowedIPs").split(", ").collect();
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/run"))
        .args(["bash", "-c", NETWORKD, "bash"])
        .arg(&files)
        .arg(allowed.len().to_string())
        .output()
        .unwrap();
    let (there, said) = (done(&output), String::from_utf8_lossy(&output.stderr).into_owned());
    let has = |words: &str| assert!(there.contains(words), "{words} is not in\n{there}{said}");
    has(value("Address").split(", ").next().unwrap());
    for net in &allowed {
        has(&net.replace("/32", ""));
    }
    for key in ["PrivateKey", "PublicKey", "PresharedKey", "Endpoint", "PersistentKeepalive"] {
        // As wg prints what the kernel has.
        has(&format!("{key} = {}\n", value(key)));
    }
    let peers = there.lines().find_map(|l| l.strip_prefix("AllowedIPs = ")).unwrap();
    let sorted = |list: &mut Vec<&str>| list.sort_unstable();
    let (mut before, mut after) = (allowed.clone(), peers.split(", ").collect());
    sorted(&mut before);
    sorted(&mut after);
    assert_eq!(before, after, "{there}{said}");
}
