//! Whom to believe that it is who it says, where this program calls others by TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::procedure::Refused;

/// Where systems keep the certificates that they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whose word counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trust<'a> {
    /// Whom this system trusts.
    System,
    /// Who signed this file's certificates, and nobody else.
    Only(&'a Path),
    /// They as well.
    Besides(&'a Path),
}

/// Makes what connections by TLS are judged by.
///
/// # Errors
/// There is no certificate to trust, or a named file has none.
pub(super) fn trust(whom: Trust<'_>) -> Result<Arc<rustls::ClientConfig>, Refused> {
    let mut roots = rustls::RootCertStore::empty();
    let system = BUNDLES.iter().map(PathBuf::from).find(|path| path.exists());
    let (named, system) = match whom {
        Trust::System => (None, system),
        Trust::Only(path) => (Some(path), None),
        Trust::Besides(path) => (Some(path), system),
    };
    if let Some(path) = &system {
        read(path, &mut roots, false)?;
    }
    if let Some(path) = named {
        read(path, &mut roots, true)?;
    }
    if roots.is_empty() {
        return Err(Refused::new(
            500,
            "this system has no certificates to trust",
            "install ca-certificates, or name a file of them",
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Refused::new(500, format!("TLS: {e}"), ""))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read(path: &Path, roots: &mut rustls::RootCertStore, is_named: bool) -> Result<(), Refused> {
    let wrong = |why: &dyn std::fmt::Display| {
        Refused::new(400, format!("{}: {why}", path.display()), "certificates as PEM")
    };
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
        match roots.add(certificate.map_err(|e| wrong(&e))?) {
            // A system's bundle may have old ones that nobody can use.
            Err(error) if is_named => return Err(wrong(&error)),
            _ => {}
        }
    }
    if is_named && roots.len() == before {
        return Err(wrong(&"there is no certificate in it"));
    }
    Ok(())
}
