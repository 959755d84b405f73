//! The real programs that files are shown to, and a terminal's screen as a picture.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use wgrelay::export::qr::Style;

/// Says whether a program is there; where the real parts are required, a missing one fails the test.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return true;
    }
    assert!(std::env::var_os("WGRELAY_REAL").is_none_or(|v| v != "1"), "{program} is required and missing");
    eprintln!("not checked: {program} is missing");
    false
}

/// `wg-quick strip`: refuses what wg-quick itself reads wrong, and returns what is left for wg.
pub fn wg_quick_strip(text: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wgr-case.conf");
    private_file(&path, text);
    verdict(&alone("wg-quick").arg("strip").arg(&path).output().unwrap())
}

/// `wg setconf` on an interface that does not exist: reads the whole file first, then fails at the interface.
pub fn wg_setconf(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conf");
    private_file(&path, text);
    let output = alone("wg")
        .args(["setconf", "wgr-none"])
        .arg(&path)
        .env("WG_ENDPOINT_RESOLUTION_RETRIES", "0")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if stderr.contains("Unable to modify interface") { Ok(()) } else { Err(stderr) }
}

/// A program in a network namespace of its own: no interface to touch, no name server to ask.
pub fn alone(program: &str) -> Command {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        // wg-quick wants to be root, also for reading.
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", program]);
    command
}

/// Reads the one code in a picture.
pub fn zbarimg(png: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("code.png");
    fs::write(&path, png).unwrap();
    let output = Command::new("zbarimg")
        .args(["--quiet", "--raw", "--oneshot", "-Sdisable", "-Sqrcode.enable"])
        .arg(&path)
        .output()
        .unwrap();
    verdict(&output).unwrap_or_else(|e| panic!("zbarimg finds no code: {e}"))
}

/// Draws what a terminal shows: plain letters on a dark one, as the case that they are made for.
pub fn screenshot(art: &str, style: Style) -> Vec<u8> {
    const PIXELS: usize = 4;
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for line in art.lines() {
        let letters = match style {
            Style::Plain => line,
            Style::Colour => {
                line.strip_prefix("\x1b[38;5;16;48;5;231m").and_then(|l| l.strip_suffix("\x1b[0m")).unwrap()
            }
        };
        let (foreground, background) = if style == Style::Plain { (0xff, 0x00) } else { (0x00, 0xff) };
        for upper in [true, false] {
            let row: Vec<u8> = letters
                .chars()
                .map(|c| c == '█' || c == if upper { '▀' } else { '▄' })
                .flat_map(|on| [if on { foreground } else { background }; PIXELS])
                .collect();
            rows.extend(std::iter::repeat_n(row, PIXELS));
        }
    }
    let (width, height) = (rows[0].len() as u32, rows.len() as u32);
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&rows.concat()).unwrap();
    writer.finish().unwrap();
    out
}

fn private_file(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn verdict(output: &Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
