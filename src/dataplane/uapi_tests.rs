//! Requests as `wg(8)` writes them, answers as it reads them, and what is wrong in both.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::dataplane::PeerReport;

const KEY_A: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
const KEY_B: &str = "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376";

fn set(body: &str) -> Result<DeviceChange, Errno> {
    let text = format!("set=1\n{body}\n");
    match next_request(text.as_bytes(), 0) {
        Some((length, Ok(Request::Set(change)))) => {
            assert_eq!(length, text.len());
            Ok(change)
        }
        Some((_, Err(errno))) => Err(errno),
        other => panic!("{other:?}"),
    }
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|p| p.parse().unwrap()).collect()
}

#[test]
fn what_setconf_sends() {
    let change = set(&format!(
        "private_key={KEY_B}\nlisten_port=51820\nfwmark=0\nreplace_peers=true\npublic_key={KEY_A}\n\
         preshared_key={KEY_B}\nendpoint=[abcd:23::33%2]:51820\npersistent_keepalive_interval=25\n\
         replace_allowed_ips=true\nallowed_ip=192.168.4.4/32\nallowed_ip=fd00::1/64\n"
    ))
    .unwrap();
    assert!(change.private_key.is_some() && change.replace_peers);
    assert_eq!((change.listen_port, change.fwmark), (Some(51820), Some(0)));
    let [peer] = &change.peers[..] else { panic!("one peer") };
    assert_eq!(peer.endpoint, Some("[abcd:23::33%2]:51820".parse().unwrap()));
    assert!(matches!(peer.preshared_key, Some(Some(_))) && peer.replace_allowed_ips);
    assert_eq!(peer.keepalive, Some(25));
    assert_eq!(peer.allowed_ips, nets(&["192.168.4.4/32", "fd00::/64"]), "host bits are masked");
}

#[test]
fn what_set_and_syncconf_send() {
    let change = set(&format!(
        "public_key={KEY_A}\nremove=true\npublic_key={KEY_B}\nupdate_only=true\npreshared_key={}\n\
         allowed_ip=+10.0.0.0/8\nallowed_ip=-10.0.0.0/8\nallowed_ip=10.1.0.0/16\nprotocol_version=1\n",
        "0".repeat(64)
    ))
    .unwrap();
    let [gone, added, taken] = &change.peers[..] else { panic!("{change:?}") };
    assert!(gone.remove);
    assert!(added.update_only);
    assert_eq!(added.preshared_key, Some(None), "zeroes take the key away");
    assert_eq!(added.allowed_ips, nets(&["10.0.0.0/8"]));
    assert_eq!(taken.public_key, added.public_key);
    assert_eq!(taken.remove_allowed_ips, nets(&["10.0.0.0/8"]));
    assert_eq!(taken.allowed_ips, nets(&["10.1.0.0/16"]));
    assert_eq!(set("").unwrap(), DeviceChange::default());
}

#[test]
fn requests_come_in_pieces_and_in_a_row() {
    for cut in ["", "g", "get=1", "get=1\n", "set=1\nlisten_port=1\n"] {
        assert_eq!(next_request(cut.as_bytes(), 0), None, "{cut:?}");
    }
    assert_eq!(next_request(b"get=1\n\nset=1\n\n", 6), Some((7, Ok(Request::Get))));
    for nonsense in ["\n", "get=2\n\n", "GET / HTTP/1.1\r\n\r\n", "\0\0"] {
        assert_eq!(
            next_request(nonsense.as_bytes(), 0),
            Some((nonsense.len(), Err(Errno::Protocol))),
            "{nonsense:?}"
        );
    }
    assert_eq!(next_request(b"get=1\nfwmark=1\n\n", 0), Some((16, Err(Errno::Invalid))));
    assert_eq!(next_request(b"set=1\nfwmark=\xff\n\n", 0), Some((16, Err(Errno::Invalid))));
}

#[test]
fn bad_values_end_in_einval() {
    let peer = format!("public_key={KEY_A}\n");
    for line in [
        "private_key=xyz",
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=+1",
        "fwmark=foo",
        "replace_peers=false",
        "public_key=abcd",
        "remove=true",
        "foo=bar=baz",
        "nothing",
        "=",
    ] {
        assert_eq!(set(&format!("{line}\n")), Err(Errno::Invalid), "{line}");
    }
    for line in [
        "endpoint=foo",
        "endpoint=example.org:1",
        "endpoint=1.2.3.4",
        "allowed_ip=foo",
        "allowed_ip=10.0.0.0",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=--10.0.0.0/8",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "update_only=1",
        "protocol_version=2",
        "listen_port=1",
        "preshared_key=",
    ] {
        assert_eq!(set(&format!("{peer}{line}\n")), Err(Errno::Invalid), "{line}");
    }
}

#[test]
fn the_answer_to_get() {
    let key = |text| *hex_key(text).unwrap();
    let report = DeviceReport {
        private_key: Some(PrivateKey::from_bytes(key(KEY_B))),
        listen_port: 12912,
        fwmark: 1,
        peers: vec![
            PeerReport {
                public_key: PublicKey::from_bytes(key(KEY_A)),
                preshared_key: Some(PresharedKey::from_bytes(key(KEY_B))),
                endpoint: Some("[abcd:23::33%2]:51820".parse().unwrap()),
                keepalive: 111,
                allowed_ips: nets(&["192.168.4.4/32"]),
                last_handshake: Some(Duration::new(1, 2).into()),
                rx_bytes: 2224,
                tx_bytes: 38333,
                send_error: None,
            },
            PeerReport {
                public_key: PublicKey::from_bytes([0; 32]),
                preshared_key: None,
                endpoint: None,
                keepalive: 0,
                allowed_ips: vec![],
                last_handshake: None,
                rx_bytes: 0,
                tx_bytes: 0,
                send_error: None,
            },
        ],
        ..Default::default()
    };
    let zeroes = "0".repeat(64);
    assert_eq!(
        *render_get(&report),
        format!(
            "private_key={KEY_B}\nlisten_port=12912\nfwmark=1\npublic_key={KEY_A}\npreshared_key={KEY_B}\n\
             protocol_version=1\nendpoint=[abcd:23::33%2]:51820\nlast_handshake_time_sec=1\n\
             last_handshake_time_nsec=2\ntx_bytes=38333\nrx_bytes=2224\npersistent_keepalive_interval=111\n\
             allowed_ip=192.168.4.4/32\npublic_key={zeroes}\nprotocol_version=1\nlast_handshake_time_sec=0\n\
             last_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\nerrno=0\n\n"
        )
    );
    assert_eq!(render_outcome(Err(Errno::PortInUse)), "errno=-98\n\n");
    assert_eq!(*render_get(&DeviceReport::default()), "errno=0\n\n");
}

/// Another implementation's samples: what is a setting there has to be one here, what is bad there must not pass.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads its data")]
fn agrees_with_wgctrl() {
    let corpus = std::env::var("WGRELAY_CORPUS").unwrap_or_else(|_| "../shared/corpus".into());
    let read = |file: &str| {
        [&corpus[..], "../../shared/corpus"]
            .iter()
            .find_map(|dir| std::fs::read_to_string(format!("{dir}/wgctrl-go/{file}")).ok())
    };
    let (Some(good), Some(bad)) = (read("uapi-get-ok.txt"), read("uapi-get-bad.tsv")) else {
        println!("not run: no wgctrl-go samples (set WGRELAY_CORPUS)");
        return;
    };
    let settings: String = good
        .lines()
        .filter(|l| !["errno", "last_", "tx_", "rx_"].iter().any(|p| l.starts_with(p)) && !l.is_empty())
        .map(|l| format!("{l}\n"))
        // protocol_version belongs to a peer; the sample has it last.
        .collect();
    let change = set(&settings).unwrap();
    assert_eq!((change.peers.len(), change.listen_port), (3, Some(12912)));
    assert_eq!(change.peers.iter().map(|p| p.allowed_ips.len()).collect::<Vec<_>>(), [1, 1, 2]);
    let mut count = 0;
    for line in bad.lines().skip(1) {
        let (case, input) = line.split_once('\t').unwrap();
        let input: String = serde_json::from_str(input).unwrap();
        if !input.starts_with("errno") {
            let prefix = if ["endpoint", "allowed_ip"].iter().any(|p| input.starts_with(p)) {
                format!("public_key={KEY_A}\n")
            } else {
                String::new()
            };
            assert_eq!(set(&format!("{prefix}{input}\n")), Err(Errno::Invalid), "{case}");
            count += 1;
        }
    }
    assert!(count >= 6);
}

#[test]
fn changes_and_reports_travel_as_json() {
    let mut change = set(&format!(
        "private_key={KEY_B}\npublic_key={KEY_A}\npreshared_key={}\nendpoint=1.2.3.4:5\nallowed_ip=10.0.0.0/8\n\
         public_key={KEY_B}\npreshared_key={KEY_A}\n",
        "0".repeat(64)
    ))
    .unwrap();
    change.peers.push(PeerChange::new(PublicKey::from_bytes([3; 32])));
    let text = serde_json::to_string(&change).unwrap();
    assert_eq!(
        serde_json::from_str::<DeviceChange>(&text).unwrap(),
        change,
        "all three states of a preshared key"
    );
    assert!(!format!("{change:?}").contains("4b5a6d"));
}

proptest! {
    #[test]
    fn no_request_does_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = next_request(&bytes, bytes.len() / 2);
        let _ = next_request(&[b"set=1\n", &bytes[..], b"\n\n"].concat(), 0);
    }

    #[test]
    fn no_line_does_harm(lines in prop::collection::vec("(public_key|allowed_ip|endpoint|fwmark)=[-+0-9a-f.:/%\\[\\]]{0,70}", 0..6)) {
        let _ = set(&lines.iter().map(|l| format!("{l}\n")).collect::<String>());
    }
}
