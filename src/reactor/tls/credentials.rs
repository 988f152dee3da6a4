//! What a server shows to others, and whom it believes: files that an administrator has put there, read once.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};

use super::Session;
use super::names::Named;
use crate::config::TlsSettings;

/// A server's certificate with its key, and the authority by which it judges the certificates of others.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// For ports of agents: clients show nothing.
    ports: Arc<ServerConfig>,
    /// For links: the other box has to show a certificate of the authority.
    links_in: Arc<ServerConfig>,
    /// For all who are dialled.
    out: Arc<ClientConfig>,
    links: bool,
    own: Own,
}

/// What others see, and how they judge it.
#[derive(Clone, Debug)]
struct Own {
    path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    as_dialled: Arc<Named>,
    as_dialling: Arc<dyn ClientCertVerifier>,
}

impl Credentials {
    /// Reads what `settings` names, paths being relative to `folder`. An error says which file is not what it should be.
    pub fn load(settings: &TlsSettings, folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(&settings.certificate);
        let chain = certificates(&path).context("tls.certificate")?;
        let key = private_key(&folder.join(&settings.key)).context("tls.key")?;
        let mut authority = RootCertStore::empty();
        for certificate in certificates(&folder.join(&settings.authority)).context("tls.authority")? {
            authority.add(certificate).context("tls.authority")?;
        }
        let (authority, provider) = (Arc::new(authority), Arc::new(ring::default_provider()));
        let server = || {
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()
        };
        let boxes =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&authority), Arc::clone(&provider))
                .build()
                .context("tls.authority")?;
        let servers =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&authority), Arc::clone(&provider))
                .build()
                .context("tls.authority")?;
        let servers = Arc::new(Named::new(servers, &settings.names)?);
        let as_dialling = Arc::clone(&boxes);
        let own_chain = chain.clone();
        let own = "tls.certificate and tls.key";
        let ports = server()?.with_no_client_auth().with_single_cert(chain.clone(), key.clone_key());
        let links_in =
            server()?.with_client_cert_verifier(boxes).with_single_cert(chain.clone(), key.clone_key());
        let out = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Named>::clone(&servers))
            .with_client_auth_cert(chain, key);
        Ok(Self {
            ports: Arc::new(ports.context(own)?),
            links_in: Arc::new(links_in.context(own)?),
            out: Arc::new(out.context(own)?),
            links: settings.links,
            own: Own { path, chain: own_chain, as_dialled: servers, as_dialling },
        })
    }

    /// Whether others can believe this server now: an error says why they will not. Of links both ends have the same authority, which has to vouch for the certificate, and they are dialled at `at`, which it has to name.
    /// Who connects to a port may believe another authority, and reach it by another name; only a certificate that is not in force is of no use to them either.
    pub fn check(&self, at: IpAddr) -> anyhow::Result<()> {
        let Own { path, chain, as_dialled, as_dialling } = &self.own;
        let Some((first, between)) = chain.split_first() else { return Ok(()) };
        let (name, now) = (ServerName::IpAddress(at.to_canonical().into()), UnixTime::now());
        let judged = as_dialled.verify_server_cert(first, between, &name, &[], now).map(|_| ());
        let judged = judged.and_then(|()| as_dialling.verify_client_cert(first, between, now).map(|_| ()));
        let Err(Error::InvalidCertificate(why)) = judged else { return Ok(()) };
        let what_to_do = match &why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "have another one made, or set the clock right".to_owned()
            }
            _ if !self.links => return Ok(()),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "other servers reach this one at {at}; `ovid cert --name {at}` makes one that names it, \
                     and \"names\" says what else it may name"
                )
            }
            CertificateError::UnknownIssuer => {
                "tls.authority has to be the one that it comes from".to_owned()
            }
            _ => "servers have to be able to show it to those whom they dial, and to those who dial them"
                .to_owned(),
        };
        bail!("tls.certificate: nobody would believe {}: {why}; {what_to_do}", path.display())
    }

    /// Whether links between boxes are encrypted.
    pub(in crate::reactor) fn for_links(&self) -> bool {
        self.links
    }

    /// Somebody has connected to an agent's port.
    pub(in crate::reactor) fn accept(&self) -> io::Result<Session> {
        Session::accept(Arc::clone(&self.ports))
    }

    /// Somebody has connected to the port for links.
    pub(in crate::reactor) fn accept_link(&self) -> io::Result<Session> {
        Session::accept(Arc::clone(&self.links_in))
    }

    /// Somebody is dialled.
    pub(in crate::reactor) fn dial(&self, peer: IpAddr) -> io::Result<Session> {
        Session::dial(Arc::clone(&self.out), peer)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path)
        .with_context(|| format!("cannot read {}; `ovid cert` makes certificates for tests", path.display()))
}

/// The certificates in a file.
pub(super) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.with_context(|| format!("{} is not in PEM form", path.display()))?;
    if found.is_empty() {
        bail!("{} holds no certificate in PEM form", path.display());
    }
    Ok(found)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .with_context(|| format!("{} holds no private key in PEM form", path.display()))
}
