//! Packet filters: what wgrelay needs for its own, and whose others there are.

use super::{Finding, Record};
use crate::firewall::foreign::{Iptables, IptablesFacts};

pub(super) fn findings(record: &Record) -> Vec<Finding> {
    let mut found = vec![nft(record)];
    found.extend(docker(record));
    let foreign = &record.facts.foreign;
    if let Some(why) = &foreign.unread {
        let fix = if record.root { "" } else { "`sudo wgrelay doctor`" };
        found.push(Finding::warning(
            "filters-unread",
            format!("other packet filters cannot be read: {why}"),
            fix,
        ));
    }
    let dropping: Vec<&IptablesFacts> = foreign.iptables.iter().filter(|i| i.forward_drops).collect();
    for there in &dropping {
        found.push(Finding::ok(
            "forward-policy",
            format!(
                "{} drops what is forwarded; `wgrelay up` puts accepts for the network into {}, and `down` takes them out",
                there.iptables.program(there.family),
                if there.docker_user { "DOCKER-USER" } else { "FORWARD" }
            ),
        ));
    }
    let other = |used: Iptables| dropping.iter().any(|i| i.iptables != used);
    if record.iptables.is_some_and(other) {
        found.push(Finding::warning(
            "iptables-both",
            "rules are kept by both iptables-legacy and iptables-nft, and every packet passes both",
            "where the one that `iptables` does not show is left over, clear it: `iptables-legacy -P FORWARD ACCEPT`, \
             or `iptables-nft -P FORWARD ACCEPT`",
        ));
    }
    if foreign.is_ufw() {
        found.push(Finding::ok("ufw", "ufw is active; what wgrelay accepts stands before its chains"));
    }
    found.extend(firewalld(record));
    found
}

fn firewalld(record: &Record) -> Option<Finding> {
    record.facts.foreign.firewalld_chain()?;
    let there = record.facts.foreign.firewalld.as_ref();
    let (why, fix) = match there {
        Some(there) if there.is_ready() => {
            let text = "firewalld is active; `wgrelay up` makes a policy of it for what the network forwards, and `down` takes it out";
            return Some(Finding::ok("firewalld", text));
        }
        Some(there) if there.fault.is_none() => {
            let list: Vec<&str> = there.unloaded.iter().map(String::as_str).collect();
            (
                format!(
                    "a new policy needs a reload, which would change what differs at run time: {}",
                    list.join(", ")
                ),
                "`firewall-cmd --runtime-to-permanent` keeps what is set at run time, `firewall-cmd --reload` forgets it",
            )
        }
        _ => {
            let fault = there.and_then(|t| t.fault.as_deref()).unwrap_or("it was not asked");
            (
                format!("it cannot be asked over D-Bus: {fault}"),
                "`wgrelay plan` has the commands that open it",
            )
        }
    };
    Some(Finding::warning("firewalld", format!("firewalld is active, and {why}"), fix))
}

fn nft(record: &Record) -> Finding {
    match &record.nft {
        Some(version) => Finding::ok("nft", format!("{version} is here")),
        None => Finding::error(
            "nft",
            "the program nft is missing: no forwarding rules can be made",
            "`apt-get install nftables` (Debian, Ubuntu), `dnf install nftables`, `apk add nftables`",
        ),
    }
}

fn docker(record: &Record) -> Option<Finding> {
    if let Some(value) = &record.facts.docker_elsewhere {
        return Some(Finding::new(
            super::Verdict::Ok,
            "docker-elsewhere",
            format!(
                "DOCKER_HOST={value} names an engine that is not on this host: its bridges are not here, and no site can be one"
            ),
            "for an engine of this host: unset DOCKER_HOST, or set it to unix:///PATH",
        ));
    }
    let engine = record.facts.engine.as_ref()?;
    let version = &engine.version;
    if engine.is_desktop() {
        return Some(Finding::error(
            "docker-desktop",
            format!(
                "{} runs its containers in a machine of its own: their bridges are not here, and nothing here can reach them",
                engine.platform
            ),
            "install Docker Engine in this distribution (docs.docker.com/engine/install) and switch Docker Desktop's \
             integration with it off; or run wgrelay in a container that is attached to the networks",
        ));
    }
    if record.facts.foreign.is_docker_nftables() {
        return Some(Finding::ok(
            "docker-nftables",
            format!(
                "Docker {version} filters with nftables, whose drops no rule of another table can undo: for sites that are \
                 its networks it needs settings of its own, and `wgrelay up` sets the mark that they name"
            ),
        ));
    }
    let there = match engine.drops_in_raw() {
        true => {
            "drops what does not come through a container's own bridge; for sites that are its networks, `wgrelay up` \
             puts accepts into DOCKER-USER and raw PREROUTING"
        }
        false => {
            "keeps its networks closed; for sites that are its networks, `wgrelay up` puts accepts into DOCKER-USER"
        }
    };
    Some(Finding::ok("docker", format!("Docker {version} {there}")))
}
