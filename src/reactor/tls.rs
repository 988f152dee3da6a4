//! TLS between a socket and the server: takes what came from the network and gives plain bytes, and the other way round. Without a socket of its own; it never waits.

mod credentials;
mod names;
mod trust;

use std::io::{self, BufRead as _, Write};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection,
};

pub use self::credentials::Credentials;
pub use self::trust::Trust;
use crate::server::OutQueue;

/// One encrypted connection.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    /// What was decrypted and not taken.
    plain: BytesMut,
    /// The other side has said that it sends no more.
    ended: bool,
    /// We have said so.
    finished: bool,
}

impl Session {
    /// The side that is connected to.
    pub(super) fn accept(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self::of(ServerConnection::new(config).map_err(|error| io_error(&error))?.into()))
    }

    /// The side that connects to `peer`, whose certificate has to name that address.
    pub(super) fn dial(config: Arc<ClientConfig>, peer: IpAddr) -> io::Result<Self> {
        let name = ServerName::IpAddress(peer.to_canonical().into());
        Ok(Self::of(ClientConnection::new(config, name).map_err(|error| io_error(&error))?.into()))
    }

    fn of(connection: Connection) -> Self {
        Self { connection, plain: BytesMut::new(), ended: false, finished: false }
    }

    /// Whether the two sides have not agreed yet.
    pub(super) fn is_shaking_hands(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the other side has said that it sends no more, and everything before was taken.
    pub(super) fn has_ended(&self) -> bool {
        self.ended && self.plain.is_empty()
    }

    /// Whether something waits to be put on the network.
    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Takes what came from the network. An error ends the connection; what [`Session::push`] then sends tells the other side.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && !self.ended {
            // Nothing is read after the end that the other side has told.
            if self.connection.read_tls(&mut bytes)? == 0 {
                break;
            }
            let state = self.connection.process_new_packets().map_err(|error| io_error(&error))?;
            self.ended = state.peer_has_closed();
            self.decrypt();
        }
        Ok(())
    }

    /// Sets aside what was decrypted: more is not taken before that.
    fn decrypt(&mut self) {
        let mut reader = self.connection.reader();
        while let Ok(part) = reader.fill_buf()
            && !part.is_empty()
        {
            self.plain.extend_from_slice(part);
            let taken = part.len();
            reader.consume(taken);
        }
    }

    /// Fills the front of `buffer` with plain bytes; how many.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.plain.len().min(buffer.len());
        self.plain.copy_to_slice(&mut buffer[..count]);
        if self.plain.is_empty() {
            // An idle connection keeps no room for what has been taken.
            self.plain = BytesMut::new();
        }
        count
    }

    /// Encrypts the front of `queue`; how many bytes of it were taken.
    pub(super) fn encrypt(&mut self, queue: &OutQueue) -> usize {
        let mut taken = 0;
        for part in queue.slices() {
            let count = self.connection.writer().write(&part).unwrap_or(0);
            taken += count;
            if count < part.len() {
                break;
            }
        }
        taken
    }

    /// Says that nothing more is sent.
    pub(super) fn finish(&mut self) {
        self.connection.send_close_notify();
        self.finished = true;
    }

    /// Whether nothing more is to be sent but what waits already.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Puts what waits on the network, as far as that goes.
    pub(super) fn push(&mut self, network: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(network) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What went wrong, for people.
fn io_error(error: &Error) -> io::Error {
    let text = match error {
        Error::InvalidMessage(_) => {
            format!("what comes is not TLS ({error}); does the other side speak without it?")
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("{error}: it comes from another authority than the one that is believed here")
        }
        Error::NoCertificatesPresented => "the other side shows no certificate".to_owned(),
        Error::AlertReceived(_) => format!("the other side has refused: {error}"),
        _ => error.to_string(),
    };
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::OnceLock;

    use bytes::Bytes;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::TlsSettings;
    use crate::rng::Rng;

    fn credentials() -> &'static Credentials {
        static CREDENTIALS: OnceLock<Credentials> = OnceLock::new();
        CREDENTIALS.get_or_init(|| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
            let certificate = params.self_signed(&key).expect("a certificate").pem();
            let folder = tempfile::tempdir().expect("a scratch folder");
            std::fs::write(folder.path().join("certificate"), certificate).expect("written");
            std::fs::write(folder.path().join("key"), key.serialize_pem()).expect("written");
            let settings = TlsSettings {
                certificate: "certificate".into(),
                key: "key".into(),
                authority: "certificate".into(),
                links: true,
                names: BTreeMap::new(),
            };
            Credentials::load(&settings, folder.path()).expect("they fit")
        })
    }

    fn pair() -> (Session, Session) {
        let dialled = credentials().dial(IpAddr::from([127, 0, 0, 1])).expect("it fits");
        (dialled, credentials().accept_link().expect("it fits"))
    }

    /// A network that takes some bytes at a time and then none.
    struct Network<'a> {
        taken: &'a mut Vec<u8>,
        room: usize,
    }

    impl Write for Network<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lets `from` send what it can, and `to` take a part of it.
    fn carry(from: &mut Session, to: &mut Session, way: &mut Vec<u8>, rng: &mut Rng) {
        let room = rng.index(40_000);
        let _ = from.push(&mut Network { taken: way, room });
        let arrived = rng.index(way.len() + 1);
        to.feed(&way[..arrived]).expect("it is whole");
        way.drain(..arrived);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_sent_arrives_however_the_network_cuts_it(
            parts in proptest::collection::vec(1..70_000_usize, 1..6),
            seed: u64,
        ) {
            let ((mut one, mut other), mut rng) = (pair(), Rng::new(seed));
            let mut queue = OutQueue::default();
            let mut sent = Vec::new();
            for (number, length) in parts.into_iter().enumerate() {
                let part = vec![u8::try_from(number).expect("few"); length];
                sent.extend_from_slice(&part);
                queue.push(Bytes::from(part));
            }
            let (mut there, mut back) = (Vec::new(), Vec::new());
            let (mut buffer, mut arrived) = (vec![0; 10_000], Vec::new());
            for _ in 0..10_000 {
                if !one.is_shaking_hands() && !one.wants_write() {
                    let taken = one.encrypt(&queue);
                    queue.advance(taken);
                    if queue.is_empty() && taken > 0 {
                        one.finish();
                    }
                }
                carry(&mut one, &mut other, &mut there, &mut rng);
                carry(&mut other, &mut one, &mut back, &mut rng);
                let count = other.take(&mut buffer);
                arrived.extend_from_slice(&buffer[..count]);
                if other.has_ended() {
                    break;
                }
            }
            prop_assert!(arrived == sent, "{} of {} bytes", arrived.len(), sent.len());
            prop_assert!(other.has_ended());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes: Vec<u8>) {
            let (mut one, mut other) = pair();
            let _ = one.feed(&bytes);
            let _ = other.feed(&bytes);
        }
    }

    #[test]
    fn plain_bytes_are_called_that() {
        let (_, mut server) = pair();
        let error = server.feed(b"hello, is anybody there?").expect_err("no TLS");
        assert!(error.to_string().contains("does the other side speak without it?"), "{error}");
    }
}
