//! A hub with many spokes, each with a /24 behind it: as wgrelay's files, and as what wg-quick and wg(8) read.

use std::fmt::Write as _;

use wgrelay::model::{PresharedKey, PrivateKey, PublicKey};

/// The interface, and the network's name.
pub const INTERFACE: &str = "wg0";
/// The relay's port.
pub const PORT: u16 = 51820;

/// The relay's address for its spokes.
pub const ENDPOINT: &str = "192.0.2.1";

/// The keys of a hub and its spokes; everything else follows from the numbers of the spokes.
pub struct Hub {
    private_key: PrivateKey,
    spokes: Vec<Spoke>,
    /// How many of them have a site.
    sites: usize,
    /// What the relay is called.
    relay: &'static str,
    /// Whether each has IPv6, in the tunnel and behind it.
    has_ipv6: bool,
}

struct Spoke {
    /// `None`: it made its key itself, and nobody here knows it.
    private_key: Option<PrivateKey>,
    public_key: PublicKey,
    preshared_key: PresharedKey,
}

impl Hub {
    /// Makes a hub with this many spokes, at most 200,000, each with a site; the same keys every time. Nobody has the spokes'
    /// private keys.
    #[must_use]
    pub fn with_spokes(count: usize) -> Self {
        Self::with_known_spokes(count, 0)
    }

    /// The same, where the private keys of the first spokes are known here.
    #[must_use]
    pub fn with_known_spokes(count: usize, known: usize) -> Self {
        assert!(count <= 200_000, "a spoke's site is one of 10.64.0.0/24 to 13.255.255.0/24");
        let spoke = |number: usize| {
            let private_key = (number <= known).then(|| PrivateKey::from_random(bytes(1, number)));
            Spoke {
                public_key: private_key
                    .as_ref()
                    .map_or(PublicKey::from_bytes(bytes(4, number)), PrivateKey::public_key),
                private_key,
                preshared_key: PresharedKey::from_bytes(bytes(2, number)),
            }
        };
        let spokes: Vec<Spoke> = (1..=count).map(spoke).collect();
        let private_key = PrivateKey::from_random(bytes(3, 0));
        Self { private_key, sites: spokes.len(), relay: "hub", has_ipv6: false, spokes }
    }

    /// Leaves the first of the sites only.
    #[must_use]
    pub fn with_sites(self, sites: usize) -> Self {
        Self { sites, ..self }
    }

    /// Calls the relay what comes last by name.
    #[must_use]
    pub fn with_relay_last(self) -> Self {
        Self { relay: "wsl", ..self }
    }

    /// Gives each spoke IPv6, in the tunnel and, where it has a site, behind it.
    #[must_use]
    pub fn with_ipv6(self) -> Self {
        Self { has_ipv6: true, ..self }
    }

    /// Returns a spoke's keys, where they are known: its private key and its preshared key. Spokes count from 1.
    #[must_use]
    pub fn keys_of(&self, number: usize) -> Option<(&PrivateKey, &PresharedKey)> {
        let spoke = self.spokes.get(number - 1)?;
        Some((spoke.private_key.as_ref()?, &spoke.preshared_key))
    }

    /// Returns the hub's public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.private_key.public_key()
    }

    /// Returns network.toml.
    #[must_use]
    pub fn network(&self) -> String {
        // The larger one is no spoke's site either: those begin at 10.64.0.0.
        let length = if self.spokes.len() < 1 << 15 { 16 } else { 14 };
        let (subnet6, address6) = match self.has_ipv6 {
            true => ("subnet6 = \"fd00::/64\"\n", "address6 = \"fd00::1\"\n"),
            false => ("", ""),
        };
        let mut text = format!(
            "format = 1\n\n[network]\nname = \"{INTERFACE}\"\nsubnet = \"10.0.0.0/{length}\"\n{subnet6}\n\
             [node.{}]\nrole = \"relay\"\naddress = \"10.0.0.1\"\n{address6}endpoint = \"{ENDPOINT}:{PORT}\"\npublic_key = \"{}\"\n",
            self.relay,
            self.public_key()
        );
        for (number, spoke) in self.numbered() {
            let (address, key) = (address(number), spoke.public_key);
            let _infallible =
                write!(text, "\n[node.spoke{number}]\naddress = \"{address}\"\npublic_key = \"{key}\"\n");
            if self.has_ipv6 {
                let (high, low) = ((number + 1) >> 16, (number + 1) & 0xffff);
                let _infallible = writeln!(text, "address6 = \"fd00::{high:x}:{low:x}\"");
            }
            if number <= self.sites {
                let _infallible = write!(
                    text,
                    "\n[[node.spoke{number}.site]]\nsubnet = \"{}\"\ninterface = \"eth1\"\n",
                    site(number)
                );
            }
            if number <= self.sites && self.has_ipv6 {
                let (high, low) = (number >> 16, number & 0xffff);
                let _infallible = write!(
                    text,
                    "\n[[node.spoke{number}.site]]\nsubnet = \"fd01:{high:x}:{low:x}::/64\"\ninterface = \"eth1\"\n"
                );
            }
        }
        text
    }

    /// Returns secrets.toml, with the private keys that are known.
    #[must_use]
    pub fn secrets(&self) -> String {
        let relay = self.relay;
        let mut text = format!("[private_keys]\n{relay} = \"{}\"\n", &*self.private_key.expose_base64());
        for (number, spoke) in self.numbered() {
            if let Some(key) = &spoke.private_key {
                let _infallible = writeln!(text, "spoke{number} = \"{}\"", &*key.expose_base64());
            }
        }
        let _infallible = writeln!(text, "\n[preshared_keys.{relay}]");
        for (number, spoke) in self.numbered() {
            let _infallible = writeln!(text, "spoke{number} = \"{}\"", &*spoke.preshared_key.expose_base64());
        }
        text
    }

    /// Returns the hub's configuration for wg-quick, without rules of a firewall: it has less to do than `wgrelay up`.
    #[must_use]
    pub fn wg_quick(&self) -> String {
        // Said, the MTU need not be found out.
        let own = "Address = 10.0.0.1/16\nMTU = 1420\n";
        self.wg().replacen("[Peer]", &format!("{own}\n[Peer]"), 1)
    }

    /// Returns the hub's configuration for `wg setconf` and `wg syncconf`.
    #[must_use]
    pub fn wg(&self) -> String {
        let mut text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n",
            &*self.private_key.expose_base64()
        );
        for (number, spoke) in self.numbered() {
            let _infallible = write!(
                text,
                "[Peer]\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = {}/32{}\n",
                spoke.public_key,
                &*spoke.preshared_key.expose_base64(),
                address(number),
                if number <= self.sites { format!(", {}", site(number)) } else { String::new() }
            );
        }
        text
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &Spoke)> {
        (1..).zip(&self.spokes)
    }
}

/// Returns a spoke's tunnel address.
#[must_use]
pub fn address(number: usize) -> String {
    let number = number + 1;
    format!("10.{}.{}.{}", number / 65_536, number / 256 % 256, number % 256)
}

/// Returns the subnet behind a spoke.
#[must_use]
pub fn site(number: usize) -> String {
    let number = number - 1 + 64 * 256;
    format!("{}.{}.{}.0/24", 10 + number / 65_536, number / 256 % 256, number % 256)
}

/// A key's bytes, different for every kind and number.
fn bytes(kind: u8, number: usize) -> [u8; 32] {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}
