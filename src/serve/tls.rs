//! The server's certificate. A broken one stops the server: it never falls back to talking in the clear.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result};

/// What the doors speak TLS with.
#[derive(Clone)]
pub(super) struct Certificate(ServerConfig);

impl Certificate {
    /// Reads a certificate with its chain, and its key.
    ///
    /// # Errors
    /// `serve.tls` for files that cannot be read, hold something else, or do not belong together.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let shown = |path: &Path| path.display().to_string();
        let bad = |path: &Path, why: String| {
            Error::definition("serve.tls", why).in_file(shown(path)).with_hint(
                "`[serve] tls_certificate` and `tls_key` name PEM files: the server's certificate first, and its key",
            )
        };
        let read = |path: &Path| std::fs::read(path).map_err(|error| bad(path, error.to_string()));
        let chain: std::result::Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(&read(certificate)?).collect();
        let chain = chain.map_err(|error| bad(certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(bad(certificate, "there is no certificate in it".to_owned()));
        }
        // What is wrong with a key is told without its text.
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| bad(key, "there is no private key in it".to_owned()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| bad(certificate, error.to_string()))?;
        Ok(Self(config))
    }

    /// For a door that speaks this protocol.
    pub(super) fn speaking(&self, protocol: &[u8]) -> TlsAcceptor {
        let mut config = self.0.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}
