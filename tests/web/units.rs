//! The units of the package: what the half that speaks HTTP may, as systemd judges it.

use std::path::Path;
use std::process::Command;

/// Of ten, in tenths: the most that the half that speaks HTTP is exposed.
const MOST: &str = "--threshold=15";

fn packaged(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

#[test]
fn the_half_that_speaks_http_is_in_a_tight_sandbox() {
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager", MOST])
        .arg(packaged("wgrelay-web@.service"))
        .output();
    match judged {
        Ok(judged) => {
            assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
        }
        Err(error) => assert!(std::env::var_os("WGRELAY_REAL").is_none(), "systemd-analyze: {error}"),
    }
    let text = std::fs::read_to_string(packaged("wgrelay-web@.service")).unwrap();
    for line in
        ["User=wgrelay-web", "CapabilityBoundingSet=", "InaccessiblePaths=-/etc/wgrelay -/run/wgrelay"]
    {
        assert!(text.lines().any(|own| own == line), "{line}");
    }
    let users = std::fs::read_to_string(packaged("wgrelay-web.sysusers")).unwrap();
    assert!(users.starts_with("u wgrelay-web - "), "{users}");
    // Nothing of the package starts it.
    for script in ["postinst", "prerm", "postrm"] {
        let text = std::fs::read_to_string(packaged("deb").join(script)).unwrap();
        assert!(
            !text.contains("enable --now wgrelay-web") && !text.contains("start wgrelay-web"),
            "{script}"
        );
    }
}
