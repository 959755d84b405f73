//! The tests whose other side is WireGuard in the kernel, in a guest: `tests/vm/run` boots one, and runs this program in it.

use std::process::Command;

use crate::rig::GUEST;

#[test]
fn all_that_takes_the_kernels_wireguard() {
    let inside = std::env::var_os(GUEST).is_some();
    let lacks = ["qemu-system-x86_64", "depmod", "cpio", "xz"]
        .into_iter()
        .find(|program| !crate::rig::succeeds(&format!("PATH=$PATH:/usr/sbin:/sbin; command -v {program}")));
    if inside || !nix::unistd::geteuid().is_root() || lacks.is_some() {
        assert!(
            inside || std::env::var_os("WGRELAY_REAL").is_none(),
            "asked for, but root or {lacks:?} is missing"
        );
        println!("not run: in the guest already, or root or {lacks:?} is missing");
        return;
    }
    let names = std::env::var("WGRELAY_GUEST_TESTS")
        .unwrap_or_else(|_| "interop::kernel_ uapi_beside::kernel_".to_owned());
    let status = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/run"))
        .arg(std::env::current_exe().expect("a test knows its program"))
        .args(["--test-threads=2", "--nocapture", "--skip", "in_guest::"])
        .args(names.split_whitespace())
        .envs([(GUEST, "1"), ("WGRELAY_REAL", "1")])
        .status()
        .expect("tests/vm/run starts");
    assert!(status.success(), "in the guest: {status} (see above)");
}
