//! Renders what each spoke's own WireGuard client reads, from one description of the network.

#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::collections::BTreeMap;
use std::error::Error;

use wgrelay::config::parse_network;
use wgrelay::config::profile::{ProfileValues, instantiate};
use wgrelay::export::{Hooks, Keys, node_conf};
use wgrelay::model::{NodeName, PresharedKey, PrivateKey, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    // Keys belong to the caller: a program that means it takes its random numbers from the system.
    let mut keys: BTreeMap<NodeName, PrivateKey> = BTreeMap::new();
    let mut make = |name: &NodeName| {
        let key = PrivateKey::from_random([u8::try_from(keys.len()).unwrap_or_default(); 32]);
        let public = key.public_key();
        keys.insert(name.clone(), key);
        public
    };
    let text = instantiate("site-to-site", &ProfileValues::default(), &mut make)?;
    let network = parse_network(text.as_bytes(), "network.toml").value.ok_or("a profile is a network")?;

    for spoke in network.spokes() {
        let keys = Keys {
            private_key: keys.get(&spoke.name),
            preshared_key: &|_, _| Some(PresharedKey::from_bytes([7; 32])),
        };
        let file = node_conf(&network, keys, spoke, &Hooks::default(), Timestamp(0))?;
        println!("# {}.conf, for {:?}\n{}", spoke.name, file.client, file.text().as_str());
        for problem in &file.problems {
            println!("# {}: {}", problem.code, problem.message);
        }
    }
    Ok(())
}
