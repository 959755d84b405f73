//! A peer that this host's own kernel lets nothing out to: not the peer's fault, and no closed port of it.

use super::PeerStatus;
use crate::model::Problem;

/// What the kernel calls a packet that its filter drops (`EPERM`, errno 1 on every architecture).
const NOT_PERMITTED: &str = "Operation not permitted";

/// Returns what the kernel answered, in its own words.
pub(super) fn words(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Tells it, and whom to ask.
pub(super) fn problem(peer: &PeerStatus, error: &str) -> Problem {
    let name = peer.called();
    let to = peer.endpoint.map_or_else(|| "its endpoint".into(), |endpoint| endpoint.to_string());
    let port = peer.endpoint.map_or(0, |endpoint| endpoint.port());
    let hint = if error == NOT_PERMITTED {
        format!(
            "a packet filter of this host drops them: let UDP to port {port} out there; `nft list ruleset` and `iptables-save` \
             show the chains at output"
        )
    } else {
        "`ip route get` with that address tells how this host would reach it: a route, a rule or a link is missing".into()
    };
    let message = format!("this host sends nothing to {name} at {to}: {error}");
    Problem::warning("send-error", format!("peer {name}"), message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_kernels_words() {
        assert_eq!(words(1), NOT_PERMITTED);
        assert_eq!(words(101), "Network is unreachable");
    }
}
