//! `wg(8)` with our device and with another one, command by command: the same exit codes, and the same to see.

use std::collections::BTreeSet;
use std::process::Command;

use wgrelay::model::PrivateKey;

use crate::other::Other;
use crate::rig::{Rig, key};

/// Commands as `wg` takes them after the interface's name, or files for its `*conf` commands; `$1` to `$3` are peers.
const STEPS: [&str; 33] = [
    "set DEV private-key OWN listen-port 7001",
    "set DEV peer $1 allowed-ips 10.0.0.1/24,fd00::5/64 endpoint 192.0.2.1:1 persistent-keepalive 25",
    "set DEV peer $1 allowed-ips 10.0.0.0/24,10.0.1.0/24",
    "set DEV peer $2 allowed-ips 10.0.1.0/24 endpoint [2001:db8::1]:65535",
    "set DEV peer $2 preshared-key PSK",
    "set DEV peer $2 preshared-key NONE persistent-keepalive off",
    "set DEV fwmark 0x42",
    "set DEV peer $3",
    "set DEV peer $3 allowed-ips 0.0.0.0/0,::/0",
    "set DEV peer $3 allowed-ips ",
    "set DEV peer $2 remove",
    "set DEV peer $2 remove",
    "set DEV peer SELF allowed-ips 10.9.0.0/16",
    "set DEV peer $1 persistent-keepalive 65535",
    "set DEV peer $1 persistent-keepalive 65536",
    "set DEV peer $1 endpoint 192.0.2.1",
    "set DEV peer $1 allowed-ips 10.0.0.0/33",
    "set DEV peer nonsense",
    "set DEV fwmark 0",
    "setconf DEV [Interface]\\nListenPort=7002\\n[Peer]\\nPublicKey=$1\\nAllowedIPs=10.1.0.0/16\\nEndpoint=192.0.2.9:9",
    "setconf DEV [Interface]\\nPrivateKey=OWNKEY\\nFwMark=7\\nListenPort=7003",
    "addconf DEV [Peer]\\nPublicKey=$2\\nPresharedKey=PSKKEY\\nPersistentKeepalive=off\\nAllowedIPs=10.2.0.0/16,fd02::/48",
    "addconf DEV [Peer]\\nPublicKey=$3\\nAllowedIPs=10.3.0.0/16\\n[Peer]\\nPublicKey=$2\\nAllowedIPs=10.4.0.0/16",
    "syncconf DEV [Interface]\\nPrivateKey=OWNKEY\\nListenPort=7004\\n[Peer]\\nPublicKey=$2\\nAllowedIPs=10.2.0.0/24",
    "syncconf DEV [Interface]\\nPrivateKey=OWNKEY\\nListenPort=7004\\n[Peer]\\nPublicKey=$1\\nAllowedIPs=0.0.0.0/0\\nPersistentKeepalive=3",
    "setconf DEV [Interface]\\nListenPrt=7002",
    "setconf DEV [Peer]\\nAllowedIPs=10.1.0.0/16",
    "set DEV private-key NONE",
    "set DEV peer $1 preshared-key PSK allowed-ips 10.0.0.0/8",
    "set DEV private-key OWN",
    "set DEV peer $1 remove peer $2 allowed-ips 10.7.0.0/16 peer $3 remove",
    "showconf DEV",
    "show DEV",
];

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn with(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// Runs one step; returns the exit code and what was said, without the interface's name.
fn step(rig: &Rig, side: char, files: &Files, step: &str) -> (Option<i32>, String) {
    let peers = [1u8, 2, 3].map(|i| PrivateKey::from_random([i; 32]).public_key().to_string());
    let psk = "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=";
    let own = key('a').expose_base64();
    let mut text = step
        .replace("OWNKEY", &own)
        .replace("PSKKEY", psk)
        .replace("SELF", &key('a').public_key().to_string());
    for (i, peer) in peers.iter().enumerate() {
        text = text.replace(&format!("${}", i + 1), peer);
    }
    let mut words: Vec<String> =
        text.splitn(if step.contains("conf ") { 3 } else { 99 }, ' ').map(str::to_owned).collect();
    for word in &mut words {
        *word = match &**word {
            "DEV" => rig.wg(side),
            "OWN" => files.with("own", &own),
            "PSK" => files.with("psk", psk),
            "NONE" => "/dev/null".to_owned(),
            text if text.starts_with('[') && text.contains("\\n") => {
                files.with("conf", &text.replace("\\n", "\n"))
            }
            other => other.to_owned(),
        };
    }
    // A process start is slow in the guest: no `ip netns exec` around it.
    let output = rig.inside(side, || Command::new("wg").args(&words).output()).unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).replace(&rig.wg(side), "DEV").replace(&rig.ns(side), ""),
    )
}

/// What can be seen of a device: peers and prefixes have no order, times and counters are the moment's.
fn seen(rig: &Rig, side: char, files: &Files) -> BTreeSet<String> {
    let (code, dump) = step(rig, side, files, "show DEV dump");
    assert_eq!(code, Some(0), "{dump}");
    dump.lines()
        .map(|line| {
            let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
            if fields.len() == 8 {
                let prefixes: BTreeSet<&str> = fields[3].split(',').collect();
                fields[3] = format!("{prefixes:?}");
                fields.drain(4..7);
            }
            fields.join(" ")
        })
        .collect()
}

fn the_same(other: Other) {
    let Some(rig) = Rig::new() else { return };
    let Some(_other) = other.start(&rig, 'b') else { return };
    let _device = rig.start('a');
    rig.bring_up('a');
    rig.bring_up('b');
    let files = Files { folder: tempfile::tempdir().unwrap() };
    for text in STEPS {
        let [ours, theirs] = ['a', 'b'].map(|side| step(&rig, side, &files, text));
        assert_eq!(ours.0, theirs.0, "{text}: {} {}", ours.1, theirs.1);
        if ours.0 != Some(0) {
            assert_eq!(ours.1, theirs.1, "{text}");
        }
        assert_eq!(seen(&rig, 'a', &files), seen(&rig, 'b', &files), "after {text}");
    }
}

#[test]
fn wg_sees_the_same_of_wireguard_go() {
    the_same(Other::WireguardGo);
}

#[test]
fn kernel_shows_wg_the_same() {
    the_same(Other::Kernel);
}
