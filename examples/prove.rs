//! Proves a network, without touching a machine: who reaches whom, and one packet's path.
//! `cargo run --example prove [FILE FROM TO]`; without arguments, a profile with two offices.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program to look at")]

use std::error::Error;
use std::time::SystemTime;

use wgrelay::config::parse_network;
use wgrelay::config::profile::{ProfileValues, instantiate};
use wgrelay::model::PrivateKey;
use wgrelay::reach::{Flow, World, check, matrix_text, place, trace, trace_text};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (text, from, to) = match arguments.as_slice() {
        [file, from, to] => (std::fs::read_to_string(file)?, from.as_str(), to.as_str()),
        [] => (two_offices()?, "192.168.10.0/24", "192.168.20.0/24"),
        _ => return Err("usage: prove [FILE FROM TO]".into()),
    };
    let parsed = parse_network(text.as_bytes(), "network.toml");
    for problem in &parsed.problems {
        println!("{}: {} ({})", problem.place, problem.message, problem.hint);
    }
    let network = parsed.value.ok_or("the network is not valid")?;
    let now = SystemTime::now().into();
    print!("{}", matrix_text(&check(&network, now), 100));

    let flow = Flow { from: place(&network, from)?, to: place(&network, to)?, port: None };
    print!("\n{}", trace_text(&trace(&World::assumed(&network, now), &flow)));
    Ok(())
}

/// A network of a relay and two offices, with a key for each node.
fn two_offices() -> Result<String, Box<dyn Error>> {
    let mut number = 0;
    let mut key = |_: &_| {
        number += 1;
        // A program that means it takes its random numbers from the system.
        PrivateKey::from_random([number; 32]).public_key()
    };
    Ok(instantiate("site-to-site", &ProfileValues::default(), &mut key)?)
}
