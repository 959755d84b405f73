//! What `status` sees of a network that is up, as findings: who calls well what `status` does not is not believed again.

use super::Finding;
use crate::status::{Health, Status};

/// How many peers are named.
const NAMED: usize = 6;

/// Tells what a status adds to what was found.
pub fn observed(status: &Status, found: &[Finding]) -> Vec<Finding> {
    let is_new =
        |finding: &Finding| !found.iter().any(|f| f.code == finding.code && f.message == finding.message);
    let mut added: Vec<Finding> = status.problems.iter().cloned().map(Finding::from).filter(is_new).collect();
    if !status.drift.is_empty() {
        let count = status.drift.len();
        let things = if count == 1 { "1 thing differs".into() } else { format!("{count} things differ") };
        added.push(Finding::warning(
            "drift",
            format!("{things} from what was applied"),
            "`wgrelay status` names them; `wgrelay up` puts them back, where the agent does not",
        ));
    }
    // Those that this host depends on are told one by one, by `status`.
    let never: Vec<String> = status
        .peers
        .iter()
        .filter(|peer| peer.health == Health::Never && !peer.matters && peer.send_error.is_none())
        .map(|peer| peer.name.as_ref().map_or_else(|| peer.public_key.to_string(), ToString::to_string))
        .collect();
    if !never.is_empty() {
        let more = never.len().saturating_sub(NAMED);
        let mut names = never[..never.len().min(NAMED)].join(", ");
        if more > 0 {
            names += &format!(" and {more} more");
        }
        added.push(Finding::warning(
            "never-heard",
            format!("never heard since the interface was made: {names}"),
            "start the tunnel there; where it is started: do its datagrams get to this host's port, and are the keys of both \
             files the same?",
        ));
    }
    added
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Problem, PublicKey};
    use crate::status::{PeerStatus, State};

    fn peer(name: &str, health: Health, matters: bool) -> PeerStatus {
        PeerStatus {
            name: Some(name.parse().unwrap()),
            public_key: PublicKey::from_bytes([1; 32]),
            endpoint: None,
            last_handshake: None,
            handshake_age: None,
            health,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: Vec::new(),
            matters,
            standby: false,
            send_error: None,
        }
    }

    #[test]
    fn what_status_says_is_said_once() {
        let known = Finding::warning("wsl-nat", "behind Windows", "");
        let problem = |code, message| Problem::warning(code, "here", message, "hint");
        let status = Status {
            version: 1,
            network: "wg0".into(),
            node: None,
            backend: None,
            state: State::Degraded,
            peers: vec![
                peer("phone", Health::Never, false),
                peer("docker", Health::Never, true),
                peer("laptop", Health::Idle, false),
            ],
            drift: Vec::new(),
            problems: vec![
                problem("wsl-nat", "behind Windows"),
                problem("peer-away", "docker was never heard"),
            ],
            rolls_back_in: None,
            rolled_back_at: None,
            repairs_in_a_minute: None,
            repaired_after: Default::default(),
            store: None,
            relay: None,
            attached: Vec::new(),
            given_over: Vec::new(),
            drains: false,
            to_leave: Vec::new(),
            floating: None,
        };
        let codes: Vec<String> = observed(&status, &[known]).into_iter().map(|f| f.code).collect();
        assert_eq!(codes, ["peer-away", "never-heard"]);
    }
}
