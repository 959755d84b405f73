//! What happens on a bad day, to one node after the other, in random order and at random moments.

use std::process::Child;
use std::time::{Duration, Instant};

use super::lab::Lab;
use super::windows::{Guard, Windows};
use crate::dice::Dice;

/// Longest that the rules may stay away, on a machine that does much else.
const BOUND: Duration = Duration::from_secs(60);
/// What is nobody's fault takes so long to be over once the rules are back: what was on its way in a tunnel.
const AFTER: Duration = Duration::from_millis(30);

/// What an event takes away, and is put back by the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing that keeps anybody out.
    Nothing,
    /// The rules.
    Rules,
    /// The rules of routing, by which a full tunnel keeps its node's packets.
    Routing,
}

/// A fault: its name, what makes it, what goes with it.
type Fault = (&'static str, &'static str, Takes);

const FAULTS: [Fault; 20] = [
    ("the table is flushed", "nft flush table inet wgrelay-$NET", Takes::Rules),
    ("the table is deleted", "nft delete table inet wgrelay-$NET", Takes::Rules),
    ("all tables go", "nft flush ruleset", Takes::Rules),
    ("a chain is flushed", "nft flush chain inet wgrelay-$NET forward", Takes::Rules),
    ("a rule lets all pass", "nft insert rule inet wgrelay-$NET forward accept", Takes::Rules),
    ("the agent is killed", "kill -9 $(cat /run/wgrelay/$NET/pid)", Takes::Nothing),
    ("the tunnel is set down", "ip link set $NET down", Takes::Nothing),
    ("the tunnel is deleted", "ip link del $NET", Takes::Nothing),
    ("its routes go", "ip route flush proto 87; ip -6 route flush proto 87", Takes::Nothing),
    ("its address goes", "ip addr flush dev $NET", Takes::Nothing),
    ("its routes go from all tables", "ip route flush table all proto 87", Takes::Nothing),
    ("rules of routing go", "ip rule flush; ip rule add priority 32766 table main", Takes::Routing),
    ("the tunnel's mark goes", "wg set $NET fwmark 0", Takes::Nothing),
    ("forwarding by the tunnel goes", "sysctl -qw net.ipv4.conf.$NET.forwarding=0", Takes::Nothing),
    ("forwarding of IPv6 goes", "sysctl -qw net.ipv6.conf.all.forwarding=0", Takes::Nothing),
    ("a peer goes", "wg set $NET peer $(wg show $NET peers | head -1) remove", Takes::Nothing),
    (
        "a peer may say that it is everybody",
        "wg set $NET peer $(wg show $NET peers | head -1) allowed-ips 0.0.0.0/0,::/0",
        Takes::Rules,
    ),
    ("the port changes", "wg set $NET listen-port 4444", Takes::Nothing),
    (
        "an address inside the tunnel's subnet appears, and the table is flushed",
        "ip link add vpn0 type bridge; ip addr add 10.77.0.200/32 dev vpn0; sleep 0.2; \
         nft flush table inet wgrelay-$NET; sleep 1; ip link del vpn0",
        Takes::Rules,
    ),
    (
        "the sites' links go and come",
        "for l in $(ip -br link show type bridge | cut -d' ' -f1); do ip link set $l down; ip link set $l up; done",
        Takes::Nothing,
    ),
];
/// What commands do, in between.
const COMMANDS: u64 = 8;

/// A bad day on a lab.
pub struct Day<'a> {
    lab: &'a Lab,
    windows: &'a Windows,
    dice: Dice,
    /// The spaces of the nodes.
    nodes: Vec<usize>,
    /// What happened, for people.
    pub told: Vec<String>,
}

impl<'a> Day<'a> {
    /// Of a seed.
    pub fn of(lab: &'a Lab, windows: &'a Windows, dice: Dice) -> Self {
        let nodes = lab.nodes().map(|(space, _)| space).collect();
        Self { lab, windows, dice, nodes, told: Vec::new() }
    }

    fn tell(&mut self, node: usize, what: &str) {
        let name = &self.lab.topology.spaces[node].name;
        self.told.push(format!("{:?} {name}: {what}", self.windows.now()));
    }

    fn pause(&mut self, at_most: u64) {
        std::thread::sleep(Duration::from_millis(self.dice.below(at_most)));
    }

    /// Some nodes forward before the network is up, some do not.
    pub fn begin(&mut self) {
        for node in self.nodes.clone() {
            if self.dice.one_in(3) {
                self.down_and_up(node);
            }
        }
    }

    /// One event, and what follows from it.
    pub fn event(&mut self) {
        let node = *self.dice.pick(&self.nodes);
        // What must be over before the guards count again.
        let mut broken = Vec::new();
        let mut running = None;
        if self.dice.one_in(3) {
            // In the middle of a command, on this node or another.
            let other = if self.dice.one_in(2) { node } else { *self.dice.pick(&self.nodes) };
            self.tell(other, "an `up` begins");
            let up = || self.lab.shell("$WGRELAY up").stderr(std::process::Stdio::null()).spawn();
            running = Some((other, self.lab.inside(other, up)));
            self.pause(250);
        }
        match usize::try_from(self.dice.below(FAULTS.len() as u64 + COMMANDS)).unwrap() {
            at if at < FAULTS.len() => {
                self.fault(node, &FAULTS[at]);
                broken.push(node);
                // Another one at once, sometimes.
                if self.dice.one_in(4) {
                    let (node, fault) = (*self.dice.pick(&self.nodes), *self.dice.pick(&FAULTS));
                    self.fault(node, &fault);
                    broken.push(node);
                }
            }
            at => self.command(node, at - FAULTS.len()),
        }
        if let Some((other, child)) = running {
            self.ended(other, child);
            broken.push(other);
        }
        for node in broken {
            self.settle(node);
        }
        // Whichever node judges a flow.
        self.windows.close(Guard::Policy);
        self.pause(200);
    }

    fn fault(&mut self, node: usize, (name, line, takes): &Fault) {
        self.tell(node, name);
        if *takes == Takes::Rules {
            for guard in [Guard::Beside(node), Guard::Tunnel(node), Guard::Policy] {
                self.windows.open(guard);
            }
        }
        if *takes == Takes::Routing {
            self.windows.open(Guard::Full(node));
        }
        // Where that is not there just now, nothing happens.
        self.lab.run(node, line);
    }

    /// An `up` that something else disturbed may fail, and is asked again.
    fn ended(&mut self, node: usize, mut child: Child) {
        let status = child.wait().unwrap();
        if !status.success() {
            self.lab.done(node, "$WGRELAY up");
        }
        self.tell(node, &format!("the `up` ends ({status})"));
    }

    fn command(&mut self, node: usize, which: usize) {
        // Half a file may be a whole one, of a smaller network without its policy: that is nobody's fault.
        let cut = |name: &str| {
            format!(
                "f=/run/lab/$NET/{name}; cp -p $f /run/whole; head -c $(($(stat -c %s $f) / 2)) /run/whole >$f; \
                 $WGRELAY check >/dev/null 2>&1; [ $? != 3 ] || {{ $WGRELAY up; sleep 0.3; }}; cp -p /run/whole $f"
            )
        };
        match which {
            0 | 1 => {
                let name = ["secrets.toml", "network.toml"][which];
                self.tell(node, &format!("half of {name}"));
                self.lab.run(node, &cut(name));
                self.lab.done(node, "$WGRELAY up");
            }
            2 => {
                self.tell(node, "an `up` is killed, and one that is not follows");
                let up = || self.lab.shell("$WGRELAY up").stderr(std::process::Stdio::null()).spawn();
                let mut child = self.lab.inside(node, up);
                self.pause(300);
                // `timeout` has a group of its own with what it runs.
                self.lab.run(node, &format!("kill -9 -{}", child.id()));
                child.wait().unwrap();
                self.lab.done(node, "$WGRELAY up");
            }
            3 => {
                self.tell(node, "an `up`");
                self.lab.done(node, "$WGRELAY up");
            }
            4 => {
                self.tell(node, "the agent ends in good order, and an `up` follows");
                self.windows.open(Guard::Full(node));
                self.lab.run(node, "kill $(cat /run/wgrelay/$NET/pid)");
                self.pause(300);
                self.lab.done(node, "$WGRELAY up");
                self.settle(node);
            }
            _ => self.down_and_up(node),
        }
    }

    /// `down`, and `up` again: on a host that forwards of its own accord, or on one that does not.
    fn down_and_up(&mut self, node: usize) {
        let forwards = self.dice.one_in(3);
        self.tell(
            node,
            &format!(
                "`down`, and `up` on a host that {} forward",
                if forwards { "does" } else { "does not" }
            ),
        );
        self.windows.open(Guard::Full(node));
        self.lab.done(node, "$WGRELAY down");
        if forwards {
            // From here on until a `down` after which it is not so, what passes beside the network is the host's own matter.
            self.windows.open(Guard::Beside(node));
        }
        let value = u8::from(forwards);
        let line = format!("sysctl -qw net.ipv4.ip_forward={value} net.ipv6.conf.all.forwarding={value}");
        self.lab.done(node, &line);
        if !forwards {
            std::thread::sleep(AFTER);
            self.windows.close(Guard::Beside(node));
        }
        self.pause(150);
        self.lab.done(node, "$WGRELAY up");
        self.settle(node);
    }

    /// Waits until everything of a node is as it should be, and has its guards count again.
    #[track_caller]
    fn settle(&mut self, node: usize) {
        let began = Instant::now();
        loop {
            let plan = self.lab.run(node, "$WGRELAY plan --check");
            if plan.status.success() {
                break;
            }
            assert!(
                began.elapsed() < BOUND,
                "{}: not repaired after {BOUND:?}: {}{}\n{}\n{}",
                self.lab.topology.spaces[node].name,
                String::from_utf8_lossy(&plan.stdout),
                String::from_utf8_lossy(&plan.stderr),
                self.told.join("\n"),
                String::from_utf8_lossy(&self.lab.run(node, "tail -30 /run/wgrelay/$NET/agent.log").stdout),
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(AFTER);
        let forwards = self.lab.run(node, "test $(sysctl -n net.ipv4.ip_forward) = 0").status.success();
        for guard in [Guard::Tunnel(node), Guard::Full(node)] {
            self.windows.close(guard);
        }
        // Of a host that forwards of its own accord this is never closed.
        if forwards {
            self.windows.close(Guard::Beside(node));
        }
    }
}
