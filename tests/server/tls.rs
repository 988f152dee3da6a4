//! Encrypted connections: of agents with their clients and with each other, and between boxes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use ovid::config::TlsSettings;
use ovid::reactor::Credentials;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::boxes::Boxes;
use crate::grid::{connect, wait_until};
use crate::outside::{EchoBox, frame, read_frames};

fn make(folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
    command.arg("cert").arg("--out").arg(folder).args(more).output().expect("the binary runs")
}

/// Certificates of an authority of their own.
pub(crate) fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let made = make(folder.path(), &[]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

fn credentials(certificate: &Path, authority: &Path) -> Credentials {
    let text = |path: &Path, name: &str| path.join(name).to_str().expect("UTF-8").to_owned();
    let settings = TlsSettings {
        certificate: text(certificate, "certificate.pem"),
        key: text(certificate, "key.pem"),
        authority: text(authority, "authority.pem"),
        links: false,
        names: BTreeMap::new(),
    };
    Credentials::load(&settings, Path::new("")).expect("they fit")
}

fn own(folder: &Path) -> EchoBox {
    EchoBox::with(Some(credentials(folder, folder)))
}

/// A client that believes the authority of `folder`.
fn client(echo: &EchoBox, folder: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut authority = RootCertStore::empty();
    let pem = fs::read(folder.join("authority.pem")).expect("it was made");
    authority.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("it fits");
    let config = ClientConfig::builder().with_root_certificates(authority).with_no_client_auth();
    let at = echo.address(0);
    let name = ServerName::IpAddress(at.ip().into());
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("it fits"), connect(at))
}

#[test]
fn certificates_are_made_once_and_their_keys_are_secret() {
    let folder = certificates();
    for (name, mode) in [
        ("authority.pem", 0o644),
        ("authority-key.pem", 0o600),
        ("certificate.pem", 0o644),
        ("key.pem", 0o600),
    ] {
        let found = fs::metadata(folder.path().join(name)).expect("it was made").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    let key = fs::read(folder.path().join("key.pem")).expect("it was made");
    let again = make(folder.path(), &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"));
    assert_eq!(fs::read(folder.path().join("key.pem")).expect("it is there"), key);
    let elsewhere = tempfile::tempdir().expect("a scratch folder");
    let wrong = make(elsewhere.path(), &["--name", "no name"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--name"), "{wrong:?}");
}

#[test]
fn encrypted_clients_are_served_as_others_are() {
    let folder = certificates();
    let echo = own(folder.path());
    let mut client = client(&echo, folder.path());
    let texts: Vec<String> = (0..2000).map(|number| format!("{number}")).collect();
    let stream: Vec<u8> = texts.iter().flat_map(|text| frame(text.as_bytes())).collect();
    client.write_all(&stream).expect("taken");
    let found = read_frames(&mut client, texts.len());
    assert!(found.iter().zip(&texts).all(|(found, text)| found == text.as_bytes()));
    // Longer than one record, and than what is encrypted at a time.
    let large: Vec<u8> = (0..1 << 20).map(|number: u32| number.to_le_bytes()[0]).collect();
    for _ in 0..4 {
        client.write_all(&frame(&large)).expect("taken");
        assert!(read_frames(&mut client, 1) == [&large[..]]);
    }
    client.write_all(&[frame(&large), frame(b"bye")].concat()).expect("taken");
    let rest = read_frames(&mut client, 2);
    assert!(rest[0] == large && rest[1] == b"bye");
    let mut end = Vec::new();
    client.read_to_end(&mut end).expect("it says that this is the end");
    assert!(end.is_empty());
}

#[test]
fn who_speaks_plainly_to_an_encrypted_port_harms_only_himself() {
    let folder = certificates();
    let echo = own(folder.path());
    let mut plain = connect(echo.address(0));
    plain.write_all(&frame(b"hello")).expect("taken");
    let mut answer = Vec::new();
    // An alert, and the end.
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.len() < 16, "{answer:?}");
    // The agent has not even heard of it: the next that it is told of is the client that encrypts.
    let mut client = client(&echo, folder.path());
    client.write_all(&frame(b"hello")).expect("taken");
    assert_eq!(read_frames(&mut client, 1), [b"hello"]);
}

#[test]
fn agents_dial_only_whom_their_authority_vouches_for() {
    let (folder, other) = (certificates(), certificates());
    let good = own(folder.path());
    let foreign = own(other.path());
    let mut session = good.session();
    let second = own(folder.path());
    session.send(&format!("dial {}", second.address(0)));
    assert_eq!(session.answer(), "dialled");
    session.send(&format!("dial {}", foreign.address(0)));
    let answer = session.answer();
    assert!(answer.starts_with("unreachable 5: invalid peer certificate"), "{answer}");

    // One of the right authority would do, if it were still good, and if it named that address.
    for (name, year, expected) in [("127.0.0.1", 2001, "expired"), ("127.0.0.9", 4000, "not valid for name")]
    {
        let worse = tempfile::tempdir().expect("a scratch folder");
        self_signed(worse.path(), name, year);
        let dialler = EchoBox::with(Some(credentials(folder.path(), worse.path())));
        let called = own(worse.path());
        let mut session = dialler.session();
        session.send(&format!("dial {}", called.address(0)));
        let answer = session.answer();
        assert!(answer.starts_with("unreachable 5: ") && answer.contains(expected), "{answer}");
    }
}

/// A certificate for `name` that is its own authority, good until that year.
pub(crate) fn self_signed(folder: &Path, name: &str, year: i32) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("an address");
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    for (name, text) in [
        ("authority.pem", &certificate),
        ("certificate.pem", &certificate),
        ("key.pem", &key.serialize_pem()),
    ] {
        fs::write(folder.join(name), text).expect("written");
    }
}

#[test]
fn links_are_encrypted_and_boxes_without_a_certificate_of_the_authority_have_none() {
    let tls = r#", "tls": {"certificate": "tls/certificate.pem", "key": "tls/key.pem", "authority": "tls/authority.pem", "links": true}"#;
    let more = |id| match id {
        0 | 1 => tls.to_owned(),
        // Another authority.
        2 => tls.replace("tls/", "other/"),
        _ => String::new(),
    };
    let text = r#"
        "store": {"type": "kvs", "box": "{0}", "attrs": {"log": "memory"}},
        "client": {"type": "client", "box": "{1}", "routes": {"kvs": {"store": 1}}},
        "foreign": {"type": "client", "box": "{2}", "routes": {"kvs": {"store": 1}}},
        "plain": {"type": "client", "box": "{3}", "routes": {"kvs": {"store": 1}}}"#;
    let mut boxes = Boxes::with(4, text, more);
    for folder in ["tls", "other"] {
        assert!(make(&boxes.folder().join(folder), &[]).status.success());
    }
    for id in 0..4 {
        boxes.start(id, &[]);
    }
    let mut session = boxes.attach(1, "client");
    wait_until("the store answers", || session.ask("put a 1") == "ok");
    let states = || {
        let status: serde_json::Value =
            serde_json::from_str(&boxes.control_session(0).ask("status")).expect("JSON");
        let others = status["boxes"].as_array().expect("a list");
        others.iter().map(|other| other["state"].as_str().expect("a word").to_owned()).collect::<Vec<_>>()
    };
    // Long enough for the others to have tried several times.
    for _ in 0..10 {
        assert_eq!(states(), ["alive", "absent", "absent"]);
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
