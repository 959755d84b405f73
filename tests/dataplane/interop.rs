//! Other implementations as the other side.

use wgrelay::model::PresharedKey;

use crate::rig::{PORT, Rig, change, eventually, key, peer, run, stream};

#[test]
fn it_talks_with_wireguard_go() {
    for own_begins in [true, false] {
        let Some(rig) = Rig::new() else { return };
        let Some(_guest) = rig.start_wireguard_go('b') else { return };
        let device = rig.start('a');
        let psk = PresharedKey::from_bytes([7; 32]);
        let mut ours = change('a', own_begins.then_some("[fd77::2]:51820"));
        ours.peers[0].preshared_key = Some(Some(psk.clone()));
        device.configure(ours).expect("a change");
        let conf = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\nPresharedKey = {}\n\
             AllowedIPs = 10.99.0.1/32, fd99::1/128\n{}",
            *key('b').expose_base64(),
            key('a').public_key(),
            *psk.expose_base64(),
            if own_begins { "" } else { "Endpoint = 10.77.0.1:51820\nPersistentKeepalive = 25\n" }
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), conf).unwrap();
        run(&format!("wg setconf {} {}", rig.wg('b'), file.path().display()));
        rig.bring_up('a');
        rig.bring_up('b');
        eventually("a handshake", || peer(&device).last_handshake.is_some());
        assert!(rig.pings('a', "10.99.0.2") && rig.pings('b', "fd99::1"));
        stream(&rig, "10.99.0.1:5000", 8 << 20);
    }
}
