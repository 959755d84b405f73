//! `genkey`, `pubkey`, `genpsk`: as `wg(8)` has them.

use std::io::Read;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use zeroize::Zeroizing;

use super::exit::Exit;
use super::fault::Fault;
use super::output::Output;
use crate::app::random;
use crate::model::PrivateKey;

/// Prints a new private key.
pub fn genkey(out: &Output) -> Result<Exit, Fault> {
    print(out, "private_key", &random::private_key().expose_base64())
}

/// Prints a new preshared key.
pub fn genpsk(out: &Output) -> Result<Exit, Fault> {
    print(out, "preshared_key", &random::preshared_key().expose_base64())
}

/// Prints the public key of the private key on standard input.
pub fn pubkey(out: &Output) -> Result<Exit, Fault> {
    let mut text = Zeroizing::new(String::new());
    // A key has 44 characters; more than a page is something else.
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut text)
        .map_err(|e| Fault::failed(format!("cannot read the key from standard input: {e}"), ""))?;
    let key: PrivateKey = text.trim().parse().map_err(|e| {
        Fault::failed(format!("standard input is no private key: {e}"), "`wgrelay genkey | wgrelay pubkey`")
    })?;
    print(out, "public_key", &key.public_key().to_string())
}

/// A key under its name.
struct Key<'a> {
    name: &'a str,
    key: &'a str,
}

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.name, self.key)?;
        map.serialize_entry("version", &1)?;
        map.end()
    }
}

/// Prints a key by itself, as `wg(8)` does, or under its name.
fn print(out: &Output, name: &str, key: &str) -> Result<Exit, Fault> {
    if out.json {
        out.secret_json(&Key { name, key })?;
    } else {
        out.result(key)?;
    }
    Ok(Exit::Done)
}
