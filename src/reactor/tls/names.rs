//! Certificates of servers that are known by names: who is dialled by an address may show a certificate for a name that a configuration gives to that address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Judges certificates as usual; one that does not name the address may name one of its names.
#[derive(Debug)]
pub(super) struct Named {
    usual: Arc<WebPkiServerVerifier>,
    names: BTreeMap<IpAddr, Vec<ServerName<'static>>>,
}

impl Named {
    /// An error says which name is none.
    pub(super) fn new(
        usual: Arc<WebPkiServerVerifier>,
        names: &BTreeMap<IpAddr, BTreeSet<String>>,
    ) -> anyhow::Result<Self> {
        let read = |name: &String| {
            ServerName::try_from(name.clone())
                .with_context(|| format!("tls.names: {name:?} is not what a machine can be called"))
        };
        let names = names.iter().map(|(ip, names)| {
            let names: anyhow::Result<Vec<_>> = names.iter().map(read).collect();
            anyhow::Ok((ip.to_canonical(), names?))
        });
        Ok(Self { usual, names: names.collect::<Result<_, _>>()? })
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        first: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.usual.verify_server_cert(first, between, name, ocsp, now);
        let (
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )),
            ServerName::IpAddress(ip),
        ) = (&judged, name)
        else {
            return judged;
        };
        let others = self.names.get(&IpAddr::from(*ip).to_canonical()).into_iter().flatten();
        let judge = |name| self.usual.verify_server_cert(first, between, name, ocsp, now).ok();
        others.into_iter().find_map(judge).map_or(judged, Ok)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::config::TlsSettings;
    use crate::reactor::Credentials;

    /// What a server of this certificate, which is its own authority, would be told about an address.
    fn judged(folder: &Path, names: &[(&str, &str)], at: [u8; 4]) -> Result<(), String> {
        let file = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
        let mut by_address = BTreeMap::<IpAddr, BTreeSet<String>>::new();
        for (ip, name) in names {
            by_address.entry(ip.parse().expect("an address")).or_default().insert((*name).to_owned());
        }
        let (certificate, key) = (file("certificate.pem"), file("key.pem"));
        let settings =
            TlsSettings { authority: certificate.clone(), certificate, key, links: true, names: by_address };
        let credentials =
            Credentials::load(&settings, Path::new("")).map_err(|error| format!("{error:#}"))?;
        credentials.check(at.into()).map_err(|error| error.to_string())
    }

    fn certificate(until: i32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(vec!["chat1.example.org".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        std::fs::write(folder.path().join("certificate.pem"), certificate).expect("written");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("written");
        folder
    }

    #[test]
    fn a_certificate_may_name_what_its_address_is_called_and_nothing_else() {
        let (good, old) = (certificate(4000), certificate(2001));
        let names =
            [("10.0.0.1", "chat.example.org"), ("10.0.0.1", "chat1.example.org"), ("10.0.0.2", "chat2")];
        assert_eq!(judged(good.path(), &names, [10, 0, 0, 1]), Ok(()));
        for at in [[10, 0, 0, 2], [10, 0, 0, 3]] {
            let why = judged(good.path(), &names, at).expect_err("it names another one");
            assert!(why.contains("not valid for name"), "{why}");
        }
        let why = judged(old.path(), &names, [10, 0, 0, 1]).expect_err("it is not in force");
        assert!(why.contains("expired"), "{why}");
        let why = judged(good.path(), &[("10.0.0.1", "no name")], [10, 0, 0, 1]).expect_err("no name");
        assert!(why.contains("tls.names: \"no name\" is not what a machine can be called"), "{why}");
    }
}
