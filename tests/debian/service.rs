//! `service`: a network comes back by itself, as it was last brought up, and is held.

use crate::tree::Tree;

/// The relay of the default profile, beside a bridge that plays the Docker network's.
const HOST: &str = "ip link add br0 type bridge; ip link set br0 up; ip addr add 172.19.0.1/16 dev br0";
/// Waits until the network's unit is what it should be.
const WAIT: &str = "until_is() { for n in $(seq 300); do [ \"$(systemctl is-active wgrelay@wg0)\" = \"$1\" ] && return; sleep 0.1; done
    systemctl status --no-pager wgrelay@wg0; return 1; }
    fails() { if \"$@\"; then return 1; fi; }";

#[test]
fn a_network_comes_back_after_a_restart_as_it_was_last_up() {
    let Some(machine) = Tree::new("bookworm") else { return };
    machine.put(env!("CARGO_BIN_EXE_wgrelay"), "wgrelay");
    machine.boot(&format!(
        "{HOST}; {WAIT}
        install -m 755 /files/wgrelay /usr/local/bin/wgrelay
        apt-get -qq -y --no-install-recommends --no-download install nftables >/dev/null 2>&1
        wgrelay init --endpoint 192.0.2.1 2>/dev/null; sed -i 's/\"docker:[^\"]*\"/\"br0\"/' /etc/wgrelay/wg0/network.toml

        # Elsewhere than systemd is, it can do nothing.
        fails unshare --net wgrelay service install 2>said; grep 'another network or mount namespace' said; grep hint: said

        # Before it is up, and while an agent of `up` has it: enabled, and nothing is disturbed.
        wgrelay service install; systemctl is-enabled wgrelay@wg0; fails systemctl is-active wgrelay@wg0
        systemd-analyze verify --man=no /etc/systemd/system/wgrelay@wg0.service
        wgrelay service remove; fails test -e /etc/systemd/system/wgrelay@wg0.service
        wgrelay up; agent=$(cat /run/wgrelay/wg0/pid)
        wgrelay service install; fails systemctl is-active wgrelay@wg0; [ $agent = $(cat /run/wgrelay/wg0/pid) ]

        # From the next `up` on the unit's agent carries the packets; a second `up` finds nothing to change.
        wgrelay down; wgrelay up; until_is active
        [ $(systemctl show -P MainPID wgrelay@wg0) = $(cat /run/wgrelay/wg0/pid) ]
        wgrelay up | grep 'nothing to change'; [ $(cat /proc/sys/net/ipv4/conf/br0/forwarding) = 1 ]
        nft list table inet wgrelay-wg0 >/dev/null

        # Killed, it comes back; the sandbox lets it hold the network.
        old=$(cat /run/wgrelay/wg0/pid); kill -9 $old
        for n in $(seq 300); do systemctl show -P MainPID wgrelay@wg0 | grep -qvx \"0\\|$old\" && break; sleep 0.1; done
        until_is active; wgrelay up | grep 'nothing to change'
        ip addr del 192.168.3.1/24 dev wg0
        for n in $(seq 100); do ip -br addr show wg0 | grep -q 192.168.3.1/24 && break; sleep 0.1; done
        ip -br addr show wg0 | grep 192.168.3.1/24

        # Applied by a reload; and a file that is being edited when the machine goes down.
        wgrelay add phone --platform android; systemctl reload wgrelay@wg0; {{ wgrelay status --json || :; }} | grep '\"phone\"'
        echo 'half a line [' >>/etc/wgrelay/wg0/network.toml"
    ));
    machine.boot(&format!(
        "{WAIT}; until_is active
        fails wgrelay check 2>/dev/null
        # br0 is not there yet: the network is up all the same, and finished when the bridge appears.
        ip -br addr show wg0 | grep 192.168.3.1/24; {HOST}
        for n in $(seq 100); do [ $(cat /proc/sys/net/ipv4/conf/br0/forwarding) = 1 ] && break; sleep 0.1; done
        [ $(cat /proc/sys/net/ipv4/conf/br0/forwarding) = 1 ]
        wgrelay status --json 2>/dev/null >now || :; grep '\"phone\"' now; grep pending now

        # Taken out of the start, it stays up; down, nothing of it is left.
        wgrelay service remove; ip link show wg0 >/dev/null; wgrelay down; until_is inactive
        fails ip link show wg0; [ -z \"$(nft list tables)\" ]; fails test -e /run/wgrelay
        [ $(cat /proc/sys/net/ipv4/conf/br0/forwarding) = 0 ]
        fails ls /etc/systemd/system/wgrelay@wg0.service; fails ls /etc/systemd/system/multi-user.target.wants/wgrelay@wg0.service
        wgrelay service remove | grep 'nothing to remove'"
    ));
    // And what is not brought back.
    machine.boot("fails() { if \"$@\"; then return 1; fi; }; fails ip link show wg0");
}

#[test]
fn a_change_on_trial_beside_the_service() {
    let Some(machine) = Tree::new("bookworm") else { return };
    machine.put(env!("CARGO_BIN_EXE_wgrelay"), "wgrelay");
    let phone = "phone_is() { for n in $(seq 100); do
        { wgrelay status --json 2>/dev/null || :; } >now; if grep -q '\"name\": \"phone\"' now; then is=on; else is=off; fi
        [ $is = $1 ] && return; sleep 0.1; done; cat now; return 1; }";
    machine.boot(&format!(
        "{HOST}; {WAIT}; {phone}
        install -m 755 /files/wgrelay /usr/local/bin/wgrelay
        apt-get -qq -y --no-install-recommends --no-download install nftables >/dev/null 2>&1
        wgrelay init --endpoint 192.0.2.1 2>/dev/null; sed -i 's/\"docker:[^\"]*\"/\"br0\"/' /etc/wgrelay/wg0/network.toml
        wgrelay service install; wgrelay up; until_is active; agent=$(cat /run/wgrelay/wg0/pid)

        # It is made, and goes back: the unit and its agent stay, with everybody's sessions.
        wgrelay add phone --platform android; wgrelay up --confirm 4 2>said; grep 'goes back in' said; phone_is on
        phone_is off; until_is active; [ $agent = $(cat /run/wgrelay/wg0/pid) ]; fails wgrelay confirm 2>said; cat said
        fails test -e /run/wgrelay/wg0/unconfirmed.json

        # And the machine goes down while one waits.
        wgrelay up --confirm 3600 2>/dev/null; phone_is on"
    ));
    machine.boot(&format!(
        "{WAIT}; {phone}; until_is active; phone_is off
        wgrelay up --confirm 3600 2>/dev/null; phone_is on; wgrelay confirm | grep kept; phone_is on"
    ));
    machine.boot(&format!("{WAIT}; {phone}; until_is active; phone_is on"));
}

#[test]
fn metrics_of_the_service() {
    let Some(machine) = Tree::new("bookworm") else { return };
    machine.put(env!("CARGO_BIN_EXE_wgrelay"), "wgrelay");
    // A bash without curl beside it asks like this.
    let metrics = "metrics() { for n in $(seq 100); do
        if exec 7<>/dev/tcp/$1/9586; then printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&7; grep 'wgrelay_up{' <&7 && return; fi 2>/dev/null
        sleep 0.1; done; return 1; }
        started_anew() { for n in $(seq 300); do systemctl show -P MainPID wgrelay@wg0 | grep -qvx \"0\\|$1\" && return; sleep 0.1; done; return 1; }";
    machine.boot(&format!(
        "{HOST}; {WAIT}; {metrics}
        install -m 755 /files/wgrelay /usr/local/bin/wgrelay
        apt-get -qq -y --no-install-recommends --no-download install nftables >/dev/null 2>&1
        wgrelay init --endpoint 192.0.2.1 2>/dev/null; sed -i 's/\"docker:[^\"]*\"/\"br0\"/' /etc/wgrelay/wg0/network.toml
        wgrelay service install --metrics 127.0.0.1:9586
        systemd-analyze verify --man=no /etc/systemd/system/wgrelay@wg0.service
        wgrelay up; until_is active; metrics 127.0.0.1 | grep 'node=\"wsl\"}} 1'

        # Another address, the tunnel's own: for the next agent, which serves there although the address comes after it.
        wgrelay service install --metrics 192.168.3.1:9586 2>said; grep 'goes on as it was started' said; metrics 127.0.0.1
        wgrelay service install --metrics 192.168.3.1:9586 2>said; fails grep 'goes on' said
        old=$(cat /run/wgrelay/wg0/pid); kill -9 $old; started_anew $old; until_is active; metrics 192.168.3.1
        # An `up` leaves the unit as it is.
        wgrelay add phone --platform android; wgrelay up; metrics 192.168.3.1; grep 'metrics 192.168.3.1:9586' /etc/systemd/system/wgrelay@wg0.service

        # By hand, a port that somebody has is an error; a unit's network is not kept down by it.
        wgrelay down; until_is inactive; wgrelay service install --metrics 127.0.0.1:9586
        perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, ReuseAddr => 1, LocalAddr => \"127.0.0.1:9586\") or die; $| = 1; print \"here\\n\"; sleep 600' >taken &
        for n in $(seq 100); do grep here taken && break; sleep 0.1; done; grep here taken
        code=0; timeout 60 wgrelay run --metrics 127.0.0.1:9586 2>said || code=$?; [ $code = 1 ]; grep 'metrics cannot be served at 127.0.0.1:9586' said
        fails ip link show wg0
        wgrelay up; until_is active; ip -br addr show wg0 | grep 192.168.3.1/24; journalctl -u wgrelay@wg0 | grep 'metrics cannot be served'
        kill %1; wgrelay service install --metrics 192.168.3.1:9586"
    ));
    machine.boot(&format!("{WAIT}; {metrics}; until_is active; metrics 192.168.3.1"));
}

#[test]
fn a_session_that_ends_takes_neither_agent_nor_waiter_with_it() {
    let Some(machine) = Tree::new("bookworm") else { return };
    machine.put(env!("CARGO_BIN_EXE_wgrelay"), "wgrelay");
    // As logind ends a session where KillUserProcesses=yes: its scope is stopped, with all that is in it.
    machine.boot(&format!(
        "{HOST}; {WAIT}
        install -m 755 /files/wgrelay /usr/local/bin/wgrelay
        apt-get -qq -y --no-install-recommends --no-download install nftables >/dev/null 2>&1
        wgrelay init --endpoint 192.0.2.1 2>/dev/null; sed -i 's/\"docker:[^\"]*\"/\"br0\"/' /etc/wgrelay/wg0/network.toml
        systemd-run --quiet --scope --unit=session-7 sh -c 'wgrelay up 2>&1 && wgrelay add phone --platform android &&
            wgrelay up --confirm 5 2>&1 && touch made && sleep 600' >said 2>&1 &
        for n in $(seq 300); do [ -e made ] && break; sleep 0.1; done; cat said; ls made
        # What wgrelay started is not in it.
        agent=$(cat /run/wgrelay/wg0/pid); waiter=$(cat /run/wgrelay/wg0/waiter)
        grep -E 'system.slice/wgrelay-agent-wg0-[0-9]+.scope' /proc/$agent/cgroup
        grep system.slice/wgrelay-confirm-wg0-$waiter.scope /proc/$waiter/cgroup
        systemctl show -P Description wgrelay-confirm-wg0-$waiter.scope | grep 'goes back unless it is confirmed'
        systemctl stop session-7.scope; fails systemctl is-active session-7.scope

        # It goes back, and nothing of the scopes is left when it is over.
        for n in $(seq 100); do [ -e /run/wgrelay/wg0/unconfirmed.json ] || break; sleep 0.1; done
        fails test -e /run/wgrelay/wg0/unconfirmed.json
        wgrelay status --json 2>/dev/null >now || :; fails grep '\"name\": \"phone\"' now; grep '\"name\": \"docker\"' now
        [ $agent = $(cat /run/wgrelay/wg0/pid) ]
        wgrelay down
        for n in $(seq 100); do [ -n \"$(systemctl list-units --all --plain --no-legend 'wgrelay-*')\" ] || break; sleep 0.1; done
        [ -z \"$(systemctl list-units --all --plain --no-legend 'wgrelay-*')\" ]"
    ));
}
