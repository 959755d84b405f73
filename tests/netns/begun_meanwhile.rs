//! A connection that was begun while the table was away does not live on when it is back; one that policy allows does, whoever
//! speaks next, and so does each that lived before.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::foreign_clients::clients_up;
use crate::rig::drive::wg_quick_up;
use crate::rig::node::{LONG, Node, PLACE};
use crate::rig::topology::{Families, Topology};
use crate::strangers::{CONTAINER, CONTAINER6, relay};

/// Longest that a packet may take to count as arrived, and shortest that none must come.
const SOON: Duration = Duration::from_millis(700);
/// Who may go where: nobody else anywhere.
const ALLOW: &str = r#"
[[allow]]
from = ["windows"]
to = ["172.19.0.0/16", "fd00:19::/64", "internet"]
[[allow]]
from = ["docker"]
to = ["windows"]
ports = ["tcp/22"]
"#;

/// Datagrams between two sockets, one of which called the other.
struct Talk {
    what: String,
    caller: UdpSocket,
    called: UdpSocket,
    /// Where the called one answers to.
    back: SocketAddr,
}

impl Talk {
    /// Calls until an answer comes, which has to be soon: nobody is in the way.
    #[track_caller]
    fn begin(from: &Node, to: &Node, address: &str, port: u16) -> Self {
        let what = format!("{} to {address}", from.name);
        let address = SocketAddr::new(address.parse().expect("an address"), port);
        let called = to.inside(|| UdpSocket::bind(address)).expect("the port is free");
        let any = if address.is_ipv6() { "::" } else { "0.0.0.0" };
        let caller = from.inside(|| UdpSocket::bind((any, 0))).expect("a port is free");
        from.inside(|| caller.connect(address)).expect("there is a route");
        for socket in [&caller, &called] {
            socket.set_read_timeout(Some(SOON)).expect("the time is not zero");
        }
        let mut bytes = [0; 64];
        for _ in 0..20 {
            let _lost = caller.send(b"there?");
            if let Ok((_, back)) = called.recv_from(&mut bytes) {
                let _lost = called.send_to(b"yes", back);
                if caller.recv(&mut bytes).is_ok() {
                    return Self { what, caller, called, back };
                }
            }
        }
        panic!("{what}: nobody answers");
    }

    fn drained(&self) {
        let mut bytes = [0; 64];
        for socket in [&self.caller, &self.called] {
            socket.set_nonblocking(true).expect("it is a socket");
            while socket.recv(&mut bytes).is_ok() {}
            socket.set_nonblocking(false).expect("it is a socket");
        }
    }

    /// What arrives of five datagrams each way, those of the called one first.
    fn arrives(&self) -> (usize, usize) {
        self.drained();
        let count = |socket: &UdpSocket| {
            let mut bytes = [0; 64];
            std::iter::from_fn(|| socket.recv(&mut bytes).ok()).take(5).count()
        };
        for _ in 0..5 {
            let _lost = self.called.send_to(b"still there", self.back);
        }
        let back = count(&self.caller);
        for _ in 0..5 {
            let _lost = self.caller.send(b"still here");
        }
        (count(&self.called), back)
    }

    #[track_caller]
    fn goes_on(&self) {
        assert_eq!(self.arrives(), (5, 5), "{}: it is allowed", self.what);
    }

    #[track_caller]
    fn is_over(&self) {
        assert_eq!(self.arrives(), (0, 0), "{}: nobody allows it", self.what);
    }
}

/// A connection of TCP, made while nobody was in the way.
fn connected(from: &Node, to: &Node, address: &str) -> (TcpStream, TcpStream) {
    let address = SocketAddr::new(address.parse().expect("an address"), 7010);
    let listener = to.inside(|| TcpListener::bind(address)).expect("the port is free");
    let caller = from.inside(|| TcpStream::connect_timeout(&address, LONG)).expect("nothing is in the way");
    let (called, _) = listener.accept().expect("it is connected");
    for stream in [&caller, &called] {
        stream.set_read_timeout(Some(SOON)).expect("the time is not zero");
        stream.set_nodelay(true).expect("it is of TCP");
    }
    (caller, called)
}

/// Says whether bytes of either end come to the other.
fn passes((caller, called): &mut (TcpStream, TcpStream)) -> (bool, bool) {
    let mut bytes = [0; 16];
    let _lost = called.write_all(b"answer");
    let back = caller.read(&mut bytes).is_ok_and(|n| n > 0);
    let _lost = caller.write_all(b"question");
    (called.read(&mut bytes).is_ok_and(|n| n > 0), back)
}

/// Somebody else's rules, that have connections tracked and their addresses rewritten, as Docker's have.
fn others(t: &Topology) {
    let others = "table inet others { chain c { type filter hook forward priority 10; ct state established accept; }; \
                  chain n { type nat hook postrouting priority 90; }; }";
    t.relay.run(&["nft", others]).ok();
}

/// Begins connections before the rules go and while they are away, and looks at all of them when they are back.
#[track_caller]
fn none_outlives_its_gap(t: &Topology, away: impl FnOnce(), back: impl FnOnce()) {
    let mut port = 7100;
    let mut begin = |from: &Node, to: &Node, address: &str| {
        port += 1;
        Talk::begin(from, to, address, port)
    };
    let mut lived: Vec<Talk> =
        [CONTAINER, CONTAINER6].map(|to| begin(&t.windows, &t.container, to)).into_iter().collect();
    lived.push(begin(&t.windows, &t.internet, "203.0.113.1"));
    lived.push(begin(&t.windows, &t.internet, "2001:db8:1::1"));
    let mut old = connected(&t.windows, &t.container, CONTAINER);

    away();
    let mut allowed = [CONTAINER, CONTAINER6].map(|to| begin(&t.windows, &t.container, to));
    for talk in &mut allowed {
        talk.what += ", begun meanwhile";
    }
    let (windows, docker): (_, &[&str]) = (["192.168.3.2", "fd5e:1::2"], &["192.168.3.3", "fd5e:1::3"]);
    let mut over = Vec::new();
    for (at, to) in [CONTAINER, CONTAINER6].into_iter().enumerate() {
        over.push(begin(&t.internet, &t.container, to));
        over.push(begin(&t.container, &t.windows, windows[at]));
        over.push(begin(&t.docker, &t.windows, windows[at]));
        over.push(begin(&t.windows, &t.docker, docker[at]));
    }
    let mut outsider = connected(&t.internet, &t.container, CONTAINER);
    let mut insider = connected(&t.docker, &t.windows, windows[0]);
    let mut new = connected(&t.windows, &t.container, CONTAINER6);
    assert_eq!((passes(&mut outsider), passes(&mut insider)), ((true, true), (true, true)));

    back();
    std::thread::scope(|scope| {
        // Together, since most of it is waiting for what must not come.
        for talk in &over {
            scope.spawn(|| talk.is_over());
        }
        for talk in lived.iter().chain(&allowed) {
            scope.spawn(|| talk.goes_on());
        }
        for (stream, is) in
            [(&mut old, true), (&mut new, true), (&mut outsider, false), (&mut insider, false)]
        {
            scope.spawn(move || assert_eq!(passes(stream), (is, is), "{stream:?}"));
        }
    });
    // Nor does it help to go on asking.
    std::thread::scope(|scope| {
        for talk in &over {
            scope.spawn(|| talk.is_over());
        }
    });
}

#[test]
fn what_the_agent_puts_back_ends_what_was_begun_without_it() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    relay.edit(|text| text + ALLOW);
    others(&t);
    relay.up().ok();
    clients_up(&t, &relay);
    let table = || t.relay.run(&["nft", "list", "table", "inet", "wgrelay-wg0"]).stdout;
    let whole = table();
    let folder = std::fs::File::open(t.relay.outside("/run/wgrelay/wg0")).expect("the network is up");
    let held = std::cell::Cell::new(None);
    let away = || {
        held.set(Some(Flock::lock(folder, FlockArg::LockExclusive).expect("nobody holds it for long")));
        t.relay.run(&["nft", "delete", "table", "inet", "wgrelay-wg0"]).ok();
    };
    let back = || {
        drop(held.take());
        if relay.backend == "kernel" {
            relay.up().ok();
        }
        let began = std::time::Instant::now();
        while table() != whole {
            assert!(began.elapsed() < LONG, "the table does not come back");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    none_outlives_its_gap(&t, away, back);
}

#[test]
fn an_exported_files_rules_end_it_as_well() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    relay.edit(|text| text + ALLOW);
    others(&t);
    wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "wsl"])).ok();
    clients_up(&t, &relay);
    let run = |line: String| t.relay.run(&["bash", "-ec", &line]).ok();
    let name = "wgrelay-q-wg0";
    none_outlives_its_gap(
        &t,
        || drop(run(format!("nft list table inet {name} >{PLACE}/rules; nft delete table inet {name}"))),
        || drop(run(format!("nft -f {PLACE}/rules"))),
    );
}

#[test]
fn so_do_those_of_iptables_alone() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    relay.edit(|text| text + ALLOW);
    others(&t);
    let run = |line: String| t.relay.run(&["bash", "-ec", &line]).ok();
    // Every program of the system but one.
    run(format!(
        "mkdir {PLACE}/sbin; mount --bind /usr/sbin {PLACE}/sbin; mount -t tmpfs tmpfs /usr/sbin; \
         ln -s {PLACE}/sbin/* /usr/sbin/; rm /usr/sbin/nft; ! command -v nft"
    ));
    wg_quick_up(&t.relay, "wg0", &relay.ok(&["export", "wsl"])).ok();
    clients_up(&t, &relay);
    assert!(run("iptables-save; ip6tables-save".into()).stdout.contains("-ctreplsrc"), "they are iptables'");
    let each = |line: &str| format!("for f in ip ip6; do {line}; done");
    none_outlives_its_gap(
        &t,
        || {
            let flush =
                "${f}tables -P FORWARD ACCEPT; ${f}tables -F FORWARD; ${f}tables -t nat -F POSTROUTING";
            run(each(&format!("${{f}}tables-save >{PLACE}/$f; {flush}")));
        },
        || drop(run(each(&format!("${{f}}tables-restore <{PLACE}/$f")))),
    );
}

/// No flow has to begin again for a first `up`, for another one, or for an agent that starts again.
#[test]
fn what_is_allowed_lives_on() {
    let Some(t) = Topology::possible(Families::Both) else { return };
    let relay = relay(&t);
    relay.edit(|text| text + ALLOW);
    relay.up().ok();
    clients_up(&t, &relay);
    let mut port = 7200;
    let mut begin = |from: &Node, to: &Node, address: &str| {
        port += 1;
        Talk::begin(from, to, address, port)
    };
    let mut talks = vec![
        begin(&t.windows, &t.container, CONTAINER),
        begin(&t.windows, &t.container, CONTAINER6),
        begin(&t.windows, &t.internet, "203.0.113.1"),
        begin(&t.windows, &t.internet, "2001:db8:1::1"),
    ];
    // Another rule more: all of the table is another one.
    relay.edit(|text| {
        text + "[[allow]]\nfrom = [\"docker\"]\nto = [\"windows\"]\nports = [\"udp\", \"icmp\"]\n"
    });
    relay.up().ok();
    talks.push(begin(&t.docker, &t.windows, "192.168.3.2"));
    let all_go_on = |talks: &[Talk]| {
        std::thread::scope(|scope| {
            for talk in talks {
                scope.spawn(|| talk.goes_on());
            }
        });
    };
    all_go_on(&talks);
    // And one that goes takes its flows along at once.
    relay.edit(|text| {
        text.replace("[\"docker\"]\nto = [\"windows\"]", "[\"docker\"]\nto = [\"172.19.0.0/16\"]")
    });
    relay.up().ok();
    talks.pop().expect("it was begun").is_over();
    all_go_on(&talks);
    // A mark that somebody else gives to flows is his, and stays.
    let others =
        "table inet others { chain c { type filter hook forward priority -10; ct mark set 0xff0055; }; }";
    t.relay.run(&["nft", others]).ok();
    all_go_on(&talks);
    let marked =
        t.relay.run(&["nft", "insert rule inet others c ct mark 0xff0055 counter comment seen"]).ok();
    all_go_on(&talks);
    let counted = t.relay.run(&["nft", "list table inet others"]).ok().stdout;
    assert!(!counted.contains("packets 0 "), "{marked}{counted}");
}
