//! Smaller variants of a network: one thing less each, the largest first.

use super::network::{Interface, Random, Routes};

/// Everything that is one step smaller.
pub fn smaller(net: &Random) -> Vec<Random> {
    let mut out = Vec::new();
    let mut push = |change: &dyn Fn(&mut Random)| {
        let mut less = net.clone();
        change(&mut less);
        if less != *net {
            out.push(less);
        }
    };
    for i in (1..net.nodes.len()).rev() {
        push(&|n| drop(n.nodes.remove(i)));
    }
    for i in 0..net.allow.len() {
        push(&|n| drop(n.allow.remove(i)));
    }
    for i in 0..net.forwards.len() {
        push(&|n| drop(n.forwards.remove(i)));
        push(&|n| n.forwards[i].from.clear());
        push(&|n| n.forwards[i].source = None);
    }
    for i in 0..net.nodes.len() {
        for s in (0..net.nodes[i].sites.len()).rev() {
            push(&|n| drop(n.nodes[i].sites.remove(s)));
        }
    }
    push(&|n| n.dual = false);
    push(&|n| n.keepalive = 25);
    for i in 0..net.nodes.len() {
        push(&|n| n.nodes[i].relay = false);
        push(&|n| n.nodes[i].relays.clear());
        push(&|n| n.nodes[i].via = None);
        push(&|n| n.nodes[i].local.clear());
        push(&|n| n.nodes[i].routes = Routes::Split);
        push(&|n| n.nodes[i].keepalive = None);
        push(&|n| n.nodes[i].absent = None);
        push(&|n| n.nodes[i].endpoint = i == 0);
        push(&|n| n.nodes[i].egress = false);
        for s in 0..net.nodes[i].sites.len() {
            push(&|n| n.nodes[i].sites[s].egress = false);
            push(&|n| n.nodes[i].sites[s].address = None);
            push(&|n| n.nodes[i].sites[s].alias = None);
            push(&|n| n.nodes[i].sites[s].nat = None);
            push(&|n| n.nodes[i].sites[s].interface = Interface::Link(s));
        }
        if !net.nodes[i].sites.iter().any(|s| matches!(s.interface, Interface::Bridge(_))) {
            push(&|n| n.nodes[i].bridges.clear());
        }
    }
    for i in 0..net.allow.len() {
        push(&|n| n.allow[i].ports.clear());
        push(&|n| n.allow[i].from.truncate(1));
        push(&|n| n.allow[i].to.truncate(1));
    }
    out
}
