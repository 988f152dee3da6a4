//! Whom a client believes that has no certificate of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::credentials::certificates;

/// An authority that vouches for servers.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Reads the authority's certificate, in PEM form. An error says what is wrong with that file.
    pub fn load(authority: &Path) -> anyhow::Result<Self> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(authority)? {
            store
                .add(certificate)
                .with_context(|| format!("{} holds no authority's certificate", authority.display()))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// How clients connect that believe it.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}
