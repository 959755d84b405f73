//! Says what has to change on a host for an edited network: two desired states, and the plan between them.

#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::error::Error;

use wgrelay::config::profile::{ProfileValues, instantiate};
use wgrelay::config::{NetworkDocument, parse_network};
use wgrelay::model::{Network, Node, PrivateKey, Role, Timestamp};
use wgrelay::plan::{Backend, HostState, Keys, diff, wanted};
use wgrelay::reach::assumed_facts;

fn main() -> Result<(), Box<dyn Error>> {
    let mut number = 0;
    let mut key = |_: &_| {
        number += 1;
        PrivateKey::from_random([number; 32]).public_key()
    };
    let text = instantiate("road-warrior", &ProfileValues::default(), &mut key)?;
    let mut document = NetworkDocument::parse(&text)?;
    let tablet = Node::new("tablet".parse()?, Role::Spoke, "10.88.0.9".parse()?, key(&"tablet".parse()?));
    document.add_node(&tablet)?;

    let before = relays_state(&network(&text)?)?;
    let after = relays_state(&network(document.as_str())?)?;
    // The same function plans, verifies and undoes: a change to one peer disturbs no other.
    for line in diff(&before, &after).lines() {
        let none = String::from("-");
        let (from, to) = (line.from.unwrap_or_else(|| none.clone()), line.to.unwrap_or(none));
        println!("{} {}: {from} -> {to}", line.kind, line.target);
    }
    Ok(())
}

fn network(text: &str) -> Result<Network, Box<dyn Error>> {
    let parsed = parse_network(text.as_bytes(), "network.toml");
    parsed.value.ok_or_else(|| format!("it is not valid: {:?}", parsed.problems).into())
}

/// What the relay should be, on a host as one is usually found.
fn relays_state(network: &Network) -> Result<HostState, Box<dyn Error>> {
    let relay = network.relays().next().ok_or("a network has a relay")?;
    let facts = assumed_facts(network, relay);
    Ok(wanted(network, relay, &Keys::default(), Backend::Kernel, &facts, Timestamp(0)).state)
}
