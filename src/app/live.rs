//! An interface of this host that somebody else brought up, as `import --live` reads it, with the file that it was made from where there
//! is one.

use std::path::PathBuf;

use crate::host::HostError;
use crate::host::wg_quick;
use crate::host::wireguard::running::{Running, running};
use crate::model::{InterfaceName, PrivateKey, Problem, PublicKey, quoted};
use crate::wgconf::{Comments, Decoded, Document, Interface, Peer, decode, read, render};

/// What wg-quick gives an interface on most links, in bytes: not worth a line.
const USUAL_MTU: u32 = 1420;

/// An interface that runs, and which of the files is its.
#[derive(Debug)]
pub struct Live {
    /// Its name.
    pub interface: InterfaceName,
    /// Its file, as it is called among the files.
    pub file: String,
    /// What runs, where that file was somebody's; `None`: the file is made of what runs.
    pub document: Option<Document>,
    /// Where it was made from, outside wg-quick's own folder.
    pub path: Option<PathBuf>,
}

impl Live {
    /// Reads an interface, keys included, and puts it among the files.
    ///
    /// # Errors
    /// There is no such interface, it is no WireGuard interface, or it is wgrelay's own.
    pub fn read(interface: &InterfaceName, texts: &mut Vec<(String, Decoded)>) -> Result<Self, HostError> {
        let failed = |cause: &str, hint: &str| {
            HostError::new("read interface", interface.as_str(), cause).hint(hint.to_owned())
        };
        let found = running(interface)?
            .ok_or_else(|| failed("there is none of this name", "`wg show interfaces` lists them"))?;
        if found.is_ours {
            return Err(failed("it is wgrelay's own already", "`wgrelay list` has its network"));
        }
        let document = document(found);
        let key = document.interface.private_key.as_ref().map(PrivateKey::public_key);
        let is_its = |name: &str, text: &Decoded| key.is_some() && key_of(name, text) == key;
        if let Some((name, _)) = texts.iter().find(|(name, text)| is_its(name, text)) {
            let (file, path) = (name.clone(), Some(name.into()));
            return Ok(Self { interface: interface.clone(), file, document: Some(document), path });
        }
        let kept = wg_quick::read_conf(interface).map(|(path, bytes)| (path, decode(&bytes)));
        let (file, text, document) = match kept.filter(|(name, text)| is_its(name, text)) {
            Some((name, text)) => (name, text, Some(document)),
            None => (interface.to_string(), decode(render(&document, Comments::Keep).as_bytes()), None),
        };
        texts.push((file.clone(), text));
        Ok(Self { interface: interface.clone(), file, document, path: None })
    }

    /// Tells what an interface alone does not.
    pub fn what_it_does_not_tell(&self) -> Option<Problem> {
        if self.document.is_some() {
            return None;
        }
        Some(Problem::warning(
            "running-alone",
            format!("{}:1:1", self.file),
            "an interface does not tell what its peers are called, and which rules and commands came with it"
                .to_owned(),
            format!(
                "give the file that it was made from, too: `wgrelay import --live {} FILE`",
                quoted(self.interface.as_str())
            ),
        ))
    }
}

fn key_of(name: &str, text: &Decoded) -> Option<PublicKey> {
    read(&text.text, name).document.interface.private_key.as_ref().map(PrivateKey::public_key)
}

fn document(found: Running) -> Document {
    let Running { report, addresses, mtu, .. } = found;
    // A link-local address is the link's own doing.
    let is_own = |a: &ipnet::IpNet| !matches!(a, ipnet::IpNet::V6(net) if net.addr().is_unicast_link_local());
    let interface = Interface {
        private_key: report.private_key,
        addresses: addresses.into_iter().filter(is_own).collect(),
        listen_port: Some(report.listen_port).filter(|port| *port > 0),
        fwmark: Some(report.fwmark).filter(|mark| *mark > 0),
        mtu: u16::try_from(mtu).ok().filter(|_| mtu != USUAL_MTU),
        // Its endpoints are where peers were last heard from.
        save_config: Some(true),
        ..Interface::default()
    };
    let peers = report.peers.into_iter().map(|p| Peer {
        preshared_key: p.preshared_key,
        allowed_ips: p.allowed_ips,
        endpoint: p.endpoint.map(Into::into),
        keepalive: Some(p.keepalive).filter(|k| *k > 0),
        ..Peer::new(p.public_key)
    });
    Document { interface, peers: peers.collect(), script: Vec::new() }
}
