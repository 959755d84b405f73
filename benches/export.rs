//! `export --all` with PNG codes beside the pipeline that people write: wg genkey, wg pubkey, a conf, qrencode.
#![expect(clippy::disallowed_methods, reason = "a bench runs programs, reads clocks and writes files")]

#[expect(dead_code, reason = "it serves other benches as well")]
mod hub;
#[expect(dead_code, reason = "it serves other benches as well")]
mod side_by_side;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hub::{Hub, INTERFACE};
use side_by_side::measured::{Better, Measured, in_turns};
use side_by_side::table::Table;
use side_by_side::{Effort, print_machine, program, timed};

/// A client a turn: keys, conf, code. As little as does it: builtins, and no process more than the tools themselves.
const PIPELINE: &str = r#"umask 077
for ((i = 1; i <= $1; i++)); do
    key=$(wg genkey); pub=$(wg pubkey <<<"$key"); psk=$(wg genpsk)
    printf '[Interface]\nPrivateKey = %s\nAddress = 10.0.%d.%d/32\n\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.0.0.0/16\nEndpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n' \
        "$key" $((i / 256)) $((i % 256)) "$2" "$psk" >"spoke$i.conf"
    echo "$pub" >>peers
    qrencode -o "spoke$i.png" <"spoke$i.conf"
done"#;

fn main() {
    let effort = Effort::asked_for();
    print_machine();
    let clients = effort.pick(1000, 5);
    let rounds = effort.pick(5, 1);
    let began = Instant::now();
    let hub = Hub::with_known_spokes(clients, clients).with_sites(0);
    // The pipeline makes keys as it goes; what that takes here is told, and part of the ratio.
    let keys = began.elapsed();
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = dir.path().join(INTERFACE);
    std::fs::create_dir_all(&folder).expect("the network's folder can be made");
    std::fs::write(folder.join("network.toml"), hub.network()).expect("the network can be written");
    let secrets = folder.join("secrets.toml");
    std::fs::write(&secrets, hub.secrets()).expect("the secrets can be written");
    std::fs::set_permissions(&secrets, Permissions::from_mode(0o600)).expect("the secrets are ours");

    let (mut one, mut other) = (Measured::default(), Measured::default());
    in_turns(
        rounds,
        || {
            let out = tempfile::tempdir().expect("a temporary folder can be made");
            let mut command = Command::new(program());
            command.arg("--dir").arg(dir.path()).args(["export", "--all", "--format", "png", "--out"]);
            let took = run(command.arg(out.path().join("files")));
            assert_codes(&out.path().join("files"), clients);
            took + keys
        },
        || {
            let out = tempfile::tempdir().expect("a temporary folder can be made");
            let key = hub.public_key().to_string();
            let mut command = Command::new("bash");
            command.args(["-c", PIPELINE, "pipeline", &clients.to_string(), &key]).current_dir(out.path());
            let took = run(&mut command);
            assert_codes(out.path(), clients);
            took
        },
        |a, b| {
            one.add_time(a);
            other.add_time(b);
        },
    );
    let mut table = Table::new(
        &format!("A conf and a PNG code for each of {clients} clients"),
        &["clients", "wgrelay", "of these, keys", "pipeline", "times faster", "rounds"],
    );
    let ratio = one.times_better_than(&other, Better::Less);
    table.row([
        clients.to_string(),
        one.time(),
        format!("{:.1} ms", keys.as_secs_f64() * 1e3),
        other.time(),
        format!("{ratio:.1}"),
        rounds.to_string(),
    ]);
    table.print();
}

fn run(command: &mut Command) -> Duration {
    timed(0, command, |c| c.spawn().expect("the program starts")).took
}

/// Checks that there is a conf and a code for every client.
fn assert_codes(folder: &Path, clients: usize) {
    for extension in ["conf", "png"] {
        let is_one = |number: &usize| {
            let file = folder.join(format!("spoke{number}.{extension}"));
            std::fs::metadata(file).is_ok_and(|m| m.len() > 100)
        };
        assert_eq!((1..=clients).filter(is_one).count(), clients, "every client has its .{extension}");
    }
}
