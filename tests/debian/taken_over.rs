//! `import --take-over` where systemd brings wg-quick's tunnel up: its unit goes, ours is there after a restart.

use crate::need::{Need, met};
use crate::tree::Tree;

/// wg-quick as this machine has it; the tree has none.
const FILES: [&str; 4] =
    ["/usr/bin/wg", "/usr/bin/wg-quick", "/usr/bin/wireguard-go", "/lib/systemd/system/wg-quick@.service"];

#[test]
fn the_unit_of_wg_quick_gives_way_to_ours() {
    if !met(&FILES.map(Need::At)) {
        return;
    }
    let Some(machine) = Tree::new("bookworm") else { return };
    machine.put(env!("CARGO_BIN_EXE_wgrelay"), "wgrelay");
    for file in FILES {
        machine.put(file, file.rsplit('/').next().expect("a path has a last part"));
    }
    let fails = "fails() { if \"$@\"; then return 1; fi; }";
    machine.boot(&format!(
        "{fails}
        install -m 755 /files/wgrelay /usr/local/bin/wgrelay
        install -m 755 /files/wg /files/wg-quick /files/wireguard-go /usr/bin/
        install -m 644 /files/wg-quick@.service /etc/systemd/system/; systemctl daemon-reload
        apt-get -qq -y --no-install-recommends --no-download install nftables >/dev/null 2>&1
        mkdir -p /etc/wireguard; umask 077; key=$(wg genkey); peer=$(wg genkey | wg pubkey)
        printf '[Interface]\\nAddress = 10.8.0.1/24\\nListenPort = 51820\\nPrivateKey = %s\\n\\n# alice\\n[Peer]\\nPublicKey = %s\\nAllowedIPs = 10.8.0.2/32\\n' $key $peer >/etc/wireguard/wg0.conf
        systemctl enable --quiet wg-quick@wg0; systemctl start wg-quick@wg0; wg show wg0 peers | grep $peer

        # Ours refuses, and the unit runs again; nothing of it was taken out.
        mkdir -p /etc/wgrelay/wg0; chmod 700 /etc/wgrelay/wg0; mv /usr/sbin/nft /usr/sbin/nft.away
        code=0; wgrelay import --live wg0 --take-over >said 2>&1 || code=$?; cat said; [ $code != 0 ]
        grep 'what was there is back' said; systemctl is-active wg-quick@wg0; systemctl is-enabled wg-quick@wg0; wg show wg0 peers | grep $peer
        mv /usr/sbin/nft.away /usr/sbin/nft; rm -r /etc/wgrelay/wg0

        wgrelay import --live wg0 --take-over --json >said; grep '\"taken_over\"' said; grep -c '^{{' said | grep -x 1
        fails systemctl is-active wg-quick@wg0; fails systemctl is-enabled wg-quick@wg0; systemctl is-enabled wgrelay@wg0
        [ $(wg show wg0 public-key) = $(echo $key | wg pubkey) ]; wg show wg0 peers | grep $peer; wgrelay list | grep alice"
    ));
    machine.boot(
        "for n in $(seq 300); do [ \"$(systemctl is-active wgrelay@wg0)\" = active ] && break; sleep 0.1; done
        systemctl is-active wgrelay@wg0; ip -br addr show wg0 | grep 10.8.0.1/24; wgrelay down",
    );
}
