//! TLS by files: a chain and a key, as PEM.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::web::procedure::Refused;

/// Reads the files.
///
/// # Errors
/// They cannot be read, or do not fit each other.
pub(super) fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, Refused> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        Refused::new(500, format!("{}: {why}", path.display()), "PEM, which the user of the page may read")
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(chain, &e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(chain, &e))?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|e| wrong(chain, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
