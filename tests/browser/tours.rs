//! One network each, its page on the relay's loopback, and a browser on that host.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::rig::drive::{Wgrelay, wg_quick_up};
use crate::rig::need::{NAMESPACES, Need, met};
use crate::rig::node::PLACE;
use crate::rig::probe::ping;
use crate::rig::topology::{Families, Topology};

const AT: &str = "127.0.0.1:8480";
const PASSWORD: &str = "correct horse battery staple";
const TOOLS: [Need; 4] =
    [Need::Program("chromium"), Need::Program("node"), Need::Program("npm"), Need::Program("zbarimg")];

/// A relay with its page.
struct Page<'a> {
    relay: Wgrelay<'a>,
    serving: Child,
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let _ = self.serving.kill();
        let _ = self.serving.wait();
    }
}

/// Returns nodes where a browser can be had, with what drives it.
fn possible() -> Option<Topology> {
    if !met(&NAMESPACES) || !met(&TOOLS) {
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/browser/install");
    assert!(
        Command::new(script).status().is_ok_and(|done| done.success()),
        "scripts/browser/install (see above)"
    );
    Some(Topology::new(Families::V4))
}

const WORDS: [&str; 3] = ["web", "--user", "nobody"];

impl<'a> Page<'a> {
    fn of(relay: Wgrelay<'a>) -> Self {
        Self::with(relay, &[])
    }

    fn with(relay: Wgrelay<'a>, more: &[&str]) -> Self {
        let mut command = relay.command(&WORDS);
        command.args(["--listen", AT, "--database", &database()]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut serving = relay.node.spawn(&mut command);
        let mut line = String::new();
        let said = BufReader::new(serving.stdout.take().expect("it is piped")).read_line(&mut line);
        assert!(said.is_ok() && line.contains(AT), "{line:?}");
        Self { relay, serving }
    }

    /// The same, with an admin `anna`.
    fn with_admin(relay: Wgrelay<'a>) -> Self {
        let this = Self::of(relay);
        let mut command = this.relay.command(&WORDS);
        command.args(["--database", &database(), "user", "add", "anna", "--role", "admin"]);
        let mut adding = this.relay.node.spawn(command.stdin(Stdio::piped()));
        let typed = format!("{PASSWORD}\n");
        adding.stdin.take().expect("it is piped").write_all(typed.as_bytes()).expect("it reads");
        assert!(adding.wait().expect("it ends").success(), "no admin was made (see above)");
        this
    }

    /// Has a browser on the relay go through the page; it must find no fault.
    #[track_caller]
    fn tour(&self, name: &str, words: &[&str]) {
        let script = format!("{}/scripts/browser/{name}.mjs", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("node");
        // Its profile and downloads go with the node.
        command.arg(script).args(words).env("TMPDIR", PLACE).env("HOME", PLACE);
        self.relay.node.command(&mut command).ok();
    }
}

/// What a phone reads off a picture is the file, but for what is only for people.
#[track_caller]
fn reads(t: &Topology, picture: &str, conf: &str) {
    let code = t.relay.run(&["zbarimg", "--quiet", "--raw", &format!("{PLACE}/{picture}")]).ok().stdout;
    let said: Vec<&str> = conf.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(code.trim(), said.join("\n"));
}

fn database() -> String {
    format!("{PLACE}/web/web.db")
}

#[test]
fn from_the_first_link_to_the_code_of_windows_by_mouse() {
    let Some(t) = possible() else { return };
    let page = Page::of(Wgrelay::relay_of(&t, Families::V4));
    let relay = &page.relay;
    let link = relay.ok(&[&WORDS[..], &["--database", &database(), "init"]].concat());
    page.tour("seed", &[link.trim(), "anna", PASSWORD, PLACE]);
    let conf = t.relay.read(format!("{PLACE}/windows.conf"));
    assert_eq!(conf, relay.ok(&["export", "windows"]), "the page's file is the program's");
    reads(&t, "qr.png", &conf);
    assert!(relay.status()["goes_back_in"].is_null(), "it was kept");
    wg_quick_up(&t.windows, "wg0", &conf).ok();
    assert!(ping(&t.windows, "192.168.3.1") && ping(&t.windows, "172.19.0.5"), "windows is in");
    // What locks him out, and is not confirmed, goes back: he is not told to wait for anybody.
    page.tour("back", &[&format!("http://{AT}"), "anna", PASSWORD]);
    let status = relay.status();
    assert!(status["goes_back_in"].is_null() && !status["went_back_at"].is_null(), "{status}");
    assert!(ping(&t.windows, "172.19.0.5"), "windows is in again");
}

#[test]
fn a_phone_makes_its_own_key_in_the_browser() {
    let Some(t) = possible() else { return };
    let page = Page::with_admin(Wgrelay::up_on(&t));
    page.tour("phone", &[&format!("http://{AT}"), "anna", PASSWORD, PLACE]);
    let conf = t.relay.read(format!("{PLACE}/pixel.conf"));
    reads(&t, "pixel.png", &conf);
    let private = conf.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).expect("it has its key");
    let secrets = t.relay.read(format!("{}/wg0/secrets.toml", page.relay.dir));
    assert!(!secrets.contains(private), "the relay never has it");
    wg_quick_up(&t.windows, "wg0", &conf).ok();
    assert!(ping(&t.windows, "192.168.3.1") && ping(&t.windows, "172.19.0.5"), "the phone is in");
}

#[test]
fn a_blocked_pair_is_mended_and_all_of_it_goes_by_keyboard() {
    let Some(t) = possible() else { return };
    let page = Page::with_admin(Wgrelay::relay_of(&t, Families::V4));
    page.relay.edit(|text| text + "\n[[allow]]\nfrom = [\"windows\"]\nto = [\"172.19.0.0/16\"]\n");
    page.tour("flow", &[&format!("http://{AT}"), "anna", PASSWORD]);
}

#[test]
fn a_real_provider_lets_in_whom_its_groups_let_in() {
    const PORT: &str = "8490";
    // Both have what is written otherwise in a form.
    const CLIENT: &str = "wg relay";
    const SECRET: &str = "a:b&c+d=%25";
    let Some(t) = possible() else { return };
    let secret = format!("{PLACE}/oidc.secret");
    t.relay.write(&secret, SECRET);
    // The half that speaks HTTP is nobody's.
    t.relay.run(&["chown", "nobody:", &secret]).ok();
    t.relay.run(&["chmod", "0400", &secret]).ok();
    let issuer = format!("http://127.0.0.1:{PORT}");
    let relay = Wgrelay::relay_of(&t, Families::V4);
    let said =
        ["--oidc", &issuer, "--oidc-client", CLIENT, "--oidc-secret", &secret, "--oidc-scope", "groups"];
    let roles = ["--oidc-role", "wg-admins=admin", "--oidc-role", "ops=operator"];
    let page = Page::with(relay, &[said.as_slice(), &roles].concat());
    page.tour("sign-in", &[&format!("http://{AT}"), PORT, CLIENT, SECRET]);
}
