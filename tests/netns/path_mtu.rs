//! Links behind the tunnel that take less than the tunnel does: the sender is told, through the tunnel, and streams go on.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::foreign_clients::clients_up;
use crate::rig::drive::Wgrelay;
use crate::rig::node::Node;
use crate::rig::probe::{ping, tcp};
use crate::rig::topology::{BRIDGE, Families, Topology};

/// Connects, narrows the path, and only then sends what fills many segments: the connection has to learn.
fn stream_over(from: &Node, to: &Node, address: &str, narrow: impl FnOnce()) {
    const LENGTH: usize = 300_000;
    let at: (IpAddr, u16) = (address.parse().expect("an address"), 7020);
    let listener = to.inside(|| TcpListener::bind(at)).expect("the address is there");
    let mut sender = from.inside(|| TcpStream::connect(at)).expect("it connects");
    let (mut receiver, _) = listener.accept().expect("a connection");
    receiver.set_read_timeout(Some(Duration::from_secs(25))).expect("a socket can");
    narrow();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&[7; LENGTH]).expect("it is taken"));
        receiver
            .read_exact(&mut vec![0; LENGTH])
            .unwrap_or_else(|e| panic!("{} to {address}: {e}", from.name));
    });
}

#[test]
fn a_narrow_link_is_told_through_the_tunnel() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = Wgrelay::relay_of(&t, Families::Both);
    relay.up().ok();
    clients_up(&t, &relay);
    // Behind the relay, which says so itself, and behind a spoke, whose word the relay forwards.
    for (router, link, server, addresses) in [
        (&t.relay, BRIDGE, &t.container, ["172.19.0.5", "fd00:19::5"]),
        (&t.docker, "br-ext", &t.vm, ["192.168.33.71", "fd00:33::71"]),
    ] {
        // What is left of 1280 bytes for a ping's data.
        for (to, largest) in addresses.into_iter().zip([1252, 1232]) {
            router.ip(&format!("link set {link} mtu 1500"));
            assert!(ping(&t.windows, to));
            stream_over(&t.windows, server, to, || router.ip(&format!("link set {link} mtu 1280")));
            let learned = || t.windows.run(&["ip", "route", "get", to]).ok().stdout.contains(" mtu 1280");
            assert!(learned(), "the stream has made {} learn the path to {to}", t.windows.name);
            for family in ["-4", "-6"] {
                t.windows.run(&["ip", family, "route", "flush", "cache"]).ok();
            }
            assert!(!learned());
            let whole = |size: u32| {
                let size = size.to_string();
                t.windows.run(&["ping", "-n", "-M", "do", "-c", "1", "-W", "5", "-s", &size, to])
            };
            let told = whole(largest + 1);
            let said = format!("{}{}", told.stdout, told.stderr);
            assert!(
                told.code != Some(0) && (said.contains("mtu = 1280") || said.contains("mtu=1280")),
                "{to}: {said}"
            );
            assert!(learned());
            whole(largest).ok();
            tcp(&t.windows, server, to).unwrap_or_else(|e| panic!("TCP to {to}: {e}"));
        }
    }
}
