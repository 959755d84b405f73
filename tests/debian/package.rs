//! The static program, and the Debian package made of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::need::{Need, met};
use crate::tree::Tree;

/// Builds a static program once a run; `None`: this machine cannot, and need not.
fn program(options: &[&str]) -> Option<PathBuf> {
    if !met(&[Need::Root, Need::Program("readelf")]) {
        return None;
    }
    // Built for speed of building: what it is linked to does not depend on how well it is optimised.
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/static"))
        .args(options)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_TARGET_DIR", target())
        .output()
        .expect("bash starts");
    assert!(output.status.success(), "scripts/static: {}", String::from_utf8_lossy(&output.stderr));
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Some(if path.is_absolute() { path } else { Path::new(env!("CARGO_MANIFEST_DIR")).join(path) })
}

/// A folder apart from the tests' own, whose lock cargo holds while it runs them.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("static")
}

/// Asks scripts/static for its target, with a Rust that has musl's library or not, and with musl-gcc or not.
fn target_of(has_library: bool, has_compiler: bool) -> (String, String) {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| place.path().join(name);
    std::fs::create_dir_all(path("cargo/bin")).expect("the folder is empty");
    let put = |name: &str, text: String| {
        std::fs::write(path(name), text).expect("the folder can be written to");
        std::fs::set_permissions(path(name), PermissionsExt::from_mode(0o755)).expect("the file is ours");
    };
    let sysroot = path("sysroot").display().to_string();
    let rustc = format!(
        "#!/bin/sh\ncase $1 in -vV) echo host: riscv64gc-unknown-linux-gnu ;; --print) echo {sysroot} ;; esac\n"
    );
    put("cargo/bin/rustc", rustc);
    if has_library {
        std::fs::create_dir_all(path("sysroot/lib/rustlib/riscv64gc-unknown-linux-musl"))
            .expect("it is empty");
    }
    if has_compiler {
        put("cargo/bin/musl-gcc", String::new());
    }
    // Only these of the system, which may have a musl-gcc.
    for tool in ["bash", "sed", "dirname"] {
        let found = std::env::split_paths("/usr/bin:/bin").map(|f| f.join(tool)).find(|f| f.exists());
        std::os::unix::fs::symlink(found.expect("every system has it"), path(&format!("cargo/bin/{tool}")))
            .expect("it is empty");
    }
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/static"))
        .arg("--target")
        .env("CARGO_HOME", path("cargo"))
        .env("PATH", path("cargo/bin"))
        .output()
        .expect("bash starts");
    assert!(output.status.success(), "{output:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn musl_is_the_rule_and_what_stands_for_it_is_told_with_the_reason() {
    let musl = "riscv64gc-unknown-linux-musl";
    assert_eq!(target_of(true, true), (musl.into(), "scripts/static: with musl".into()));
    let library = format!("Rust's standard library for {musl}");
    for (has, lacks) in [
        ((false, true), library.clone()),
        ((true, false), "musl-gcc".into()),
        ((false, false), format!("{library} and musl-gcc")),
    ] {
        let said = format!(
            "scripts/static: with glibc linked in, because {lacks} is not here (scripts/install-needs --static gets it)"
        );
        assert_eq!(target_of(has.0, has.1), ("riscv64gc-unknown-linux-gnu".into(), said));
    }
}

/// What the older system is asked: a name of its own, and the network up and down.
const OLDER: &str = "
    ldd --version 2>&1 | grep 'GLIBC 2.31'
    echo '192.0.2.77 relay.office' >>/etc/hosts
    # Services of this system's own, which must not be loaded: they are made for another C library.
    echo 'hosts: mymachines resolve myhostname files dns' >/etc/nsswitch.conf
    fails() { if \"$@\"; then return 1; fi; }
    ip link add br0 type bridge; ip link set br0 up; ip addr add 172.19.0.1/16 dev br0
    wgrelay init --endpoint relay.office 2>/dev/null
    sed -i 's/\"docker:[^\"]*\"/\"br0\"/' /etc/wgrelay/wg0/network.toml
    wgrelay check >/dev/null; wgrelay export windows --format png --out windows.png; wgrelay export docker --format bundle --out docker.bundle
    # As the spoke it has to resolve the relay's name.
    wgrelay --node docker plan --json >plan; grep 192.0.2.77:51820 plan
    # As the relay.
    wgrelay up --backend embedded; wgrelay up | grep 'nothing to change'
    ip -br addr show wg0 | grep 192.168.3.1/24; nft list table inet wgrelay-wg0 >/dev/null
    # Systemd is installed nowhere here, and says nothing about it.
    fails wgrelay service install 2>said; grep 'systemd does not run this host' said; grep hint: said
    wgrelay down; fails ip link show wg0; [ -z \"$(nft list tables)\" ]
    # The data plane that it carries: a node a namespace, each with this file; handshakes and packets from everywhere to everywhere.
    wgrelay lab check --backend embedded --profile wsl-docker | grep 'lab and check agree on all'";

#[test]
fn one_file_runs_where_nothing_else_is_and_in_an_older_system() {
    runs_everywhere(&[]);
}

#[test]
fn so_does_the_packages_file() {
    runs_everywhere(&["--glibc"]);
}

fn runs_everywhere(options: &[&str]) {
    let Some(program) = program(options) else { return };
    let empty = tempfile::tempdir().expect("a folder can be made");
    std::fs::copy(&program, empty.path().join("wgrelay")).expect("it was built");
    // Without /dev there is no chance, so the keys are made outside.
    let init = Command::new(&program)
        .arg("--dir")
        .arg(empty.path())
        .args(["init", "--endpoint", "192.0.2.1"])
        .output()
        .expect("it was built");
    assert!(init.status.success(), "{init:?}");
    let output = Command::new("chroot")
        .arg(empty.path())
        .args(["/wgrelay", "--dir", "/", "export", "windows", "--format", "png"])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .expect("chroot starts");
    assert!(output.status.success(), "in an empty folder: {}", String::from_utf8_lossy(&output.stderr));
    let Some(older) = Tree::new("bullseye") else { return };
    older.put(&program, "wgrelay");
    older.run(&format!("install /files/wgrelay /usr/bin/wgrelay\n{OLDER}"));
}

/// What the package manager leaves of any package: logs, caches and its own lists.
const ITS_OWN: [&str; 6] =
    ["/var/log", "/var/cache", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd", "/files"];

const INSTALLED: &str = "
    apt() { apt-get -qq -y --no-install-recommends \"$@\" >/dev/null 2>/var/log/apt.said || { cat /var/log/apt.said; return 1; }; }
    fails() { if \"$@\"; then return 1; fi; }
    list() { find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp SKIP \\) -prune -o \
        -type d -printf '%p %m\\n' -o -printf '%p %y %m %l %s\\n' | sort; }
    list >/files/before
    apt install /files/wgrelay.deb
    wgrelay --version; dpkg -s nftables >/dev/null; [ $(stat -c %a /usr/bin/wgrelay) = 755 ]
    ldd /usr/bin/wgrelay | grep 'statically linked'
    systemd-analyze verify --man=no wgrelay@wg0.service
    for f in man/man1/wgrelay.1.gz man/man1/wgrelay-up.1.gz bash-completion/completions/wgrelay zsh/vendor-completions/_wgrelay \\
        fish/vendor_completions.d/wgrelay.fish doc/wgrelay/copyright; do dpkg -L wgrelay | grep /usr/share/$f; done
    bash -n /usr/share/bash-completion/completions/wgrelay

    # Its unit is the package's: nothing is written for the folder and the program that it knows.
    ip link add br0 type bridge; ip link set br0 up; ip addr add 172.19.0.1/16 dev br0
    wgrelay init --endpoint 192.0.2.1 2>/dev/null; sed -i 's/\"docker:[^\"]*\"/\"br0\"/' /etc/wgrelay/wg0/network.toml
    wgrelay service install; fails test -e /etc/systemd/system/wgrelay@wg0.service
    wgrelay up; systemctl is-active wgrelay@wg0; ip -br addr show wg0 | grep 192.168.3.1/24

    # Removed while it is up: what the program made goes before the program; the network's files stay.
    apt remove wgrelay
    fails ip link show wg0; fails systemctl is-enabled wgrelay@wg0; fails test -e /run/wgrelay; [ -z \"$(nft list tables)\" ]
    ls /etc/wgrelay/wg0/network.toml /etc/wgrelay/wg0/secrets.toml; rm -r /etc/wgrelay
    apt purge wgrelay; apt purge --autoremove
    list >/files/after
    diff /files/before /files/after";

#[test]
fn the_package_is_installed_and_removed_without_a_trace() {
    let Some(program) = program(&["--glibc"]) else { return };
    if !met(&[Need::Program("cargo-deb")]) {
        return;
    }
    let Some(machine) = Tree::new("bookworm") else { return };
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/deb"))
        .arg(&program)
        .output()
        .expect("bash starts");
    assert!(output.status.success(), "scripts/deb: {}", String::from_utf8_lossy(&output.stderr));
    let package = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    machine.put(Path::new(env!("CARGO_MANIFEST_DIR")).join(package), "wgrelay.deb");
    let skip: String = ITS_OWN.iter().map(|path| format!("-o -path {path} ")).collect();
    machine.boot(&INSTALLED.replace("SKIP", &skip));
}
