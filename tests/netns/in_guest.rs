//! The same tests with WireGuard in the kernel, in a guest: `tests/vm/run` boots one, and runs this very program in it.

use std::process::Command;

use crate::rig::need::{NAMESPACES, Need, met};

/// What the guest takes besides.
const GUEST: [Need; 5] = [
    Need::Program("qemu-system-x86_64"),
    Need::Program("depmod"),
    Need::Program("cpio"),
    Need::Program("xz"),
    Need::Program("apt-get"),
];

#[test]
fn all_passes_with_wireguard_in_the_kernel() {
    let inside = std::env::var_os("WGRELAY_GUEST").is_some();
    if inside || !met(&NAMESPACES) || !met(&GUEST) {
        return;
    }
    let this = std::env::current_exe().expect("a test knows its program");
    let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/run"))
        .arg(this)
        // What the backend can change. The guest is slow, a process start alone takes 50 ms; the rest runs there with
        // scripts/soak. Two at a time: it has two processors.
        .args(["--test-threads=2", "--skip", "rig_works::", "--skip", "in_guest::"])
        .args(chosen())
        .env("WGRELAY_GUEST", "1")
        .env("WGRELAY_REAL", "1")
        .env("WGRELAY_BACKEND", "kernel")
        .status()
        .expect("tests/vm/run starts");
    assert!(status.success(), "in the guest: {status} (see above)");
}

/// The tests to run: those named in WGRELAY_GUEST_TESTS, else those that a backend can change.
fn chosen() -> Vec<String> {
    match std::env::var("WGRELAY_GUEST_TESTS") {
        Ok(names) => names.split_whitespace().map(str::to_owned).collect(),
        Err(_) => [
            "foreign_clients::windows",
            "foreign_clients::both",
            "kernel_glance::",
            "own_nodes::",
            "nothing_left::down",
            "sessions::",
            "taken_over::",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}
