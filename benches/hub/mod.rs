//! A hub with many spokes, each with a /24 behind it: as wgrelay's files, and as what wg-quick and wg(8) read.

use std::fmt::Write as _;

use wgrelay::model::{PresharedKey, PrivateKey, PublicKey};

/// The interface, and the network's name.
pub const INTERFACE: &str = "wg0";
/// The relay's port.
pub const PORT: u16 = 51820;

/// The keys of a hub and its spokes; everything else follows from the numbers of the spokes.
pub struct Hub {
    private_key: PrivateKey,
    spokes: Vec<Spoke>,
}

struct Spoke {
    /// `None`: it made its key itself, and nobody here knows it.
    private_key: Option<PrivateKey>,
    public_key: PublicKey,
    preshared_key: PresharedKey,
}

impl Hub {
    /// Makes a hub with this many spokes, at most 49,152; the same keys every time. Nobody has the spokes' private keys.
    #[must_use]
    pub fn with_spokes(count: usize) -> Self {
        Self::new(count, |number| (None, PublicKey::from_bytes(bytes(1, number))))
    }

    /// The same with spokes whose private keys are known here.
    #[must_use]
    pub fn with_known_spokes(count: usize) -> Self {
        Self::new(count, |number| {
            let private_key = PrivateKey::from_random(bytes(1, number));
            let public_key = private_key.public_key();
            (Some(private_key), public_key)
        })
    }

    fn new(count: usize, keys: impl Fn(usize) -> (Option<PrivateKey>, PublicKey)) -> Self {
        assert!(count <= 192 * 256, "a spoke's site is one of 10.64.0.0/24 to 10.255.255.0/24");
        let spoke = |number: usize| {
            let (private_key, public_key) = keys(number);
            Spoke { private_key, public_key, preshared_key: PresharedKey::from_bytes(bytes(2, number)) }
        };
        Self { private_key: PrivateKey::from_random(bytes(3, 0)), spokes: (1..=count).map(spoke).collect() }
    }

    /// Returns network.toml.
    #[must_use]
    pub fn network(&self) -> String {
        let mut text = format!(
            "format = 1\n\n[network]\nname = \"{INTERFACE}\"\nsubnet = \"10.0.0.0/16\"\n\n\
             [node.hub]\nrole = \"relay\"\naddress = \"10.0.0.1\"\nendpoint = \"192.0.2.1:{PORT}\"\npublic_key = \"{}\"\n",
            self.private_key.public_key()
        );
        for (number, spoke) in self.numbered() {
            let (address, site) = (address(number), site(number));
            let key = spoke.public_key;
            // Few networks this size are written by hand: the layout is the one that `wgrelay add` writes.
            let _infallible = write!(
                text,
                "\n[node.spoke{number}]\naddress = \"{address}\"\npublic_key = \"{key}\"\n\n\
                 [[node.spoke{number}.site]]\nsubnet = \"{site}\"\ninterface = \"eth1\"\n"
            );
        }
        text
    }

    /// Returns secrets.toml, with the private keys that are known.
    #[must_use]
    pub fn secrets(&self) -> String {
        let mut text = format!("[private_keys]\nhub = \"{}\"\n", &*self.private_key.expose_base64());
        for (number, spoke) in self.numbered() {
            if let Some(key) = &spoke.private_key {
                let _infallible = writeln!(text, "spoke{number} = \"{}\"", &*key.expose_base64());
            }
        }
        text += "\n[preshared_keys.hub]\n";
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
                "[Peer]\nPublicKey = {}\nPresharedKey = {}\nAllowedIPs = {}/32, {}\n",
                spoke.public_key,
                &*spoke.preshared_key.expose_base64(),
                address(number),
                site(number)
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
    format!("10.0.{}.{}", number / 256, number % 256)
}

/// Returns the subnet behind a spoke.
#[must_use]
pub fn site(number: usize) -> String {
    let number = number - 1;
    format!("10.{}.{}.0/24", 64 + number / 256, number % 256)
}

/// A key's bytes, different for every kind and number.
fn bytes(kind: u8, number: usize) -> [u8; 32] {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}
