//! What a person who opens the file reads above its hooks: what each does, and where the rules can be seen.

use super::Hooks;
use crate::model::{Bridge, Node};

/// Returns the lines of a comment; none where there are no hooks.
pub(super) fn about(node: &Node, hooks: &Hooks) -> Vec<String> {
    let Hooks { pre_up, post_up, post_down, .. } = hooks;
    if pre_up.is_empty() && post_up.is_empty() && post_down.is_empty() {
        return Vec::new();
    }
    let mut before = Vec::new();
    if !node.bridges.is_empty() {
        let bridges: Vec<String> = node.bridges.iter().map(bridge).collect();
        before.push(format!(
            "makes {}, and moves the addresses and routes of a port to its bridge",
            bridges.join(", ")
        ));
    }
    let has_table = !post_up.is_empty();
    if has_table {
        before.push("loads the rules that drop what the network does not allow".into());
    }
    let mut lines = vec![
        "What `wgrelay up` does on this node, for wg-quick(8): PreUp, PostUp and PostDown run the script that ends this file, in lines".into(),
        "that begin with a number sign and a bar. They are no comments: without them wg-quick refuses to bring the interface up.".into(),
        format!("PreUp {}.", before.join("; ")),
    ];
    if has_table {
        lines.push("PostUp switches forwarding on where it is needed, and passes other firewalls of this host that drop it.".into());
    }
    lines.push("PostDown takes all of it away again.".into());
    if has_table {
        lines.push(
            "To see the rules: nft list table inet wgrelay-q-NAME, or iptables-save where there is no nft; NAME is this file's, without .conf."
                .into(),
        );
    }
    lines
}

fn bridge(bridge: &Bridge) -> String {
    match bridge.ports.as_slice() {
        [] => format!("the bridge {}", bridge.name),
        ports => format!("the bridge {} of {}", bridge.name, ports.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use crate::firewall::fixture::relay_alone;
    use crate::firewall::hooks::{Hooks, hooks};
    use crate::model::{Bridge, Timestamp};

    #[test]
    fn it_speaks_of_what_is_there() {
        let (network, relay) = relay_alone();
        let now = Timestamp::from(std::time::UNIX_EPOCH);
        let mut node = network.nodes[&relay].clone();
        let text = hooks(&network, &node, now).about.join("\n");
        assert!(text.contains("PostUp") && !text.contains("bridge"), "{text}");
        node.bridges = vec![Bridge {
            name: "br-x".parse().unwrap(),
            addresses: Vec::new(),
            ports: vec!["eth0".into()],
            stp: false,
            mtu: None,
        }];
        let text = hooks(&network, &node, now).about.join("\n");
        assert!(text.contains("the bridge br-x of eth0") && !text.contains('#'), "{text}");
        assert_eq!(super::about(&node, &Hooks::default()), [""; 0]);
    }
}
