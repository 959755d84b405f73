//! Where answers go, and in which form: JSON for failures too, "-" for standard output.

use crate::sandbox::Sandbox;

/// Commands that fail, with their exit codes: the file is invalid, a node is unknown, a network is there already.
const FAILING: [(&[&str], i32); 6] = [
    (&["list", "--json"], 3),
    (&["plan", "--json"], 3),
    (&["export", "windows", "--json"], 3),
    (&["show", "nobody", "--json"], 2),
    (&["init", "--json"], 1),
    (&["import", "nowhere.conf", "--json"], 1),
];

#[test]
fn a_failure_is_json_too() {
    for (words, code) in FAILING {
        let sandbox =
            if code == 3 { Sandbox::holding(b"format = 1\n[network\n") } else { Sandbox::with_network() };
        let said = sandbox.run(words).exits(code);
        let json: serde_json::Value = serde_json::from_str(&said.out)
            .unwrap_or_else(|e| panic!("{words:?}: one JSON value on standard output ({e}): {said:#?}"));
        assert_eq!(json["version"], 1, "{words:?}");
        let told = json["error"]["message"].as_str().is_some_and(|m| !m.is_empty());
        let problems = json["problems"].as_array().is_some_and(|p| !p.is_empty());
        assert!(told || problems, "{words:?}: {json}");
        assert_eq!(problems, code == 3, "{words:?}: {json}");
        said.tells(&["error"]);
    }
}

#[test]
fn exports_and_keys_are_json_too() {
    let sandbox = Sandbox::with_network();
    let json = |words: &[&str]| -> serde_json::Value {
        let said = sandbox.run(words).exits(0);
        assert_eq!(said.err, "", "{words:?}");
        let json: serde_json::Value =
            serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        assert_eq!(json["version"], 1, "{words:?}");
        json
    };
    for format in ["conf", "svg", "bundle"] {
        let plain = sandbox.run(&["export", "windows", "--format", format]).exits(0).out;
        let json = json(&["export", "windows", "--format", format, "--json"]);
        assert_eq!((json["content"].as_str(), json["format"].as_str()), (Some(plain.as_str()), Some(format)));
    }
    assert!(json(&["export", "windows", "--format", "qr", "--json"])["content"].is_string());
    let png = json(&["export", "windows", "--format", "png", "--json"]);
    assert!(
        png["content"].is_null() && png["content_base64"].as_str().is_some_and(|t| t.starts_with("iVBOR"))
    );
    // What goes to a file is not printed as well.
    let file = sandbox.path("w.conf").display().to_string();
    let told = json(&["export", "windows", "--out", &file, "--json"]);
    assert_eq!((told["file"].as_str(), told["content"].is_null()), (Some(file.as_str()), true), "{told}");
    let key = std::fs::read_to_string(&file).expect("it was written");
    let key = key.lines().find_map(|l| l.strip_prefix("PrivateKey = ")).expect("it has a key");
    assert!(!told.to_string().contains(key));
    let dir = sandbox.path("out").display().to_string();
    let all = json(&["export", "--all", "--out", &dir, "--format", "png", "--json"]);
    let mut files: Vec<String> = std::fs::read_dir(&dir)
        .expect("it was made")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(all["files"], serde_json::json!(files));
    assert_eq!(all["without_code"][0]["node"], "wsl");
    for (command, name) in [("genkey", "private_key"), ("genpsk", "preshared_key")] {
        assert_eq!(json(&[command, "--json"])[name].as_str().map(str::len), Some(44));
    }
}

#[test]
fn the_page_of_all_files_has_each_node_and_the_codes_of_phones() {
    let sandbox = Sandbox::with_network();
    sandbox.run(&["add", "phone", "--platform", "android"]).exits(0);
    sandbox.run(&["disable", "docker"]).exits(0);
    let dir = sandbox.path("out").display().to_string();
    sandbox.run(&["export", "--all", "--out", &dir]).exits(0);
    let page = std::fs::read_to_string(sandbox.path("out/index.html")).expect("it was written");
    for name in ["docker", "phone", "windows", "wsl"] {
        assert!(page.contains(&format!("<h2>{name}</h2>")), "{name}");
        assert!(sandbox.path(&format!("out/{name}.conf")).exists());
    }
    assert_eq!(page.matches("<svg").count(), 1, "of the phone alone");
    assert!(page.contains("disabled: no relay answers it"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(sandbox.path("out/index.html")).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_code_too_long_for_its_hooks_says_so() {
    let sandbox = Sandbox::with_network();
    let said = sandbox.run(&["export", "docker", "--format", "qr"]).exits(1);
    let said = said.tells(&["do not fit a QR code", "PostUp", "--format bundle"]);
    assert!(!said.err.contains("AllowedIPs"), "{said:#?}");
}

#[test]
fn a_dash_is_standard_output() {
    let sandbox = Sandbox::with_network();
    let before = sandbox.files();
    let plain = sandbox.run(&["export", "windows"]).exits(0).out;
    assert!(plain.contains("PrivateKey"), "{plain}");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut command = sandbox.command(&["export", "windows", "--out", "-"]);
    let said = crate::sandbox::said(command.current_dir(folder.path())).exits(0);
    assert_eq!(said.out, plain);
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0, "no file named -");
    assert_eq!(sandbox.files(), before);
    sandbox.run(&["export", "--all", "--out", "-"]).exits(2).tells(&["--all needs --out DIR"]);
}

#[test]
fn what_is_no_configuration_is_told_so() {
    let sandbox = Sandbox::new();
    sandbox.write("g.conf", b"garbage\n");
    let path = sandbox.path("g.conf").display().to_string();
    sandbox.run(&["import", &path]).exits(3).tells(&["has a [Peer]", "wgrelay lint"]);
    // A text in another encoding is read, with a warning.
    sandbox.write("u.conf", b"[Interface]\n# \xff\n");
    let path = sandbox.path("u.conf").display().to_string();
    sandbox.run(&["import", &path]).exits(3).tells(&["has a [Peer]", "wgrelay lint"]);
    let place = format!("{path}:1:1: warning[not-utf-8]");
    sandbox.run(&["lint", &path]).exits(0).tells(&[&place, "save it as UTF-8"]);
    // What is no text is no configuration either: of `lint` the answer is no.
    sandbox.write("n.conf", b"\x00\x01\xfe\xff\n");
    let path = sandbox.path("n.conf").display().to_string();
    sandbox.run(&["import", &path]).exits(3).tells(&["has a [Peer]", "wgrelay lint"]);
    sandbox.run(&["lint", &path]).exits(4).tells(&["error[syntax]"]);
}

#[test]
fn a_key_of_a_relay_that_does_nothing_is_refused_with_what_does() {
    let sandbox = Sandbox::with_network();
    let before = sandbox.files();
    sandbox.run(&["set", "wsl", "keepalive", "25"]).exits(2).tells(&["does nothing", "set SPOKE keepalive"]);
    assert_eq!(sandbox.files(), before);
    // What does something is set, and what somebody wrote into the file can be taken out.
    sandbox.run(&["set", "windows", "keepalive", "25"]).exits(0);
    sandbox.run(&["set", "network", "keepalive", "20"]).exits(0);
    sandbox.run(&["set", "wsl", "keepalive", "--unset"]).exits(0);
}

#[test]
fn a_name_that_a_node_has_already_is_no_change() {
    let sandbox = Sandbox::with_network();
    let before = sandbox.files();
    let said = sandbox.run(&["rename", "windows", "windows"]).exits(0);
    assert_eq!(said.out, "windows is its name already\n");
    assert_eq!(sandbox.files(), before);
}

#[test]
fn an_address_of_the_tunnel_that_is_free_is_told_with_what_makes_a_node_of_it() {
    let sandbox = Sandbox::with_network();
    for flow in [["windows", "192.168.3.77"], ["192.168.3.77", "windows"]] {
        let said = sandbox.run(&["trace", flow[0], flow[1]]).exits(4);
        for words in ["unknown-place", "a tunnel address that no node has"] {
            assert!(said.out.contains(words), "{said:#?}");
        }
        assert!(said.out.contains(" add NAME --address 192.168.3.77`"), "{said:#?}");
    }
    // What is proposed works, and is the answer then.
    sandbox.run(&["add", "tablet", "--address", "192.168.3.77"]).exits(0);
    sandbox.run(&["trace", "windows", "192.168.3.77"]).exits(0);
    // The subnet's own address is nobody's to have.
    let said = sandbox.run(&["trace", "windows", "192.168.3.0"]).exits(4);
    assert!(!said.out.contains("--address"), "{said:#?}");
}
