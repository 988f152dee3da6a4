//! What a line goes over: a socket, plain or encrypted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::reactor::Trust;

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Encrypted(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects, and agrees on how to encrypt if `trust` says whom to believe; both within this time. The server's certificate has to name its address.
    pub(super) fn connect(to: SocketAddr, patience: Duration, trust: Option<&Trust>) -> anyhow::Result<Self> {
        let mut socket =
            TcpStream::connect_timeout(&to, patience).with_context(|| format!("cannot connect to {to}"))?;
        socket.set_nodelay(true)?;
        let Some(trust) = trust else { return Ok(Self::Plain(socket)) };
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        let name = ServerName::IpAddress(to.ip().to_canonical().into());
        let mut session = ClientConnection::new(trust.config(), name)?;
        while session.is_handshaking() {
            session
                .complete_io(&mut socket)
                .with_context(|| format!("{to}: no agreement on how to encrypt"))?;
        }
        Ok(Self::Encrypted(Box::new(StreamOwned::new(session, socket))))
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Encrypted(stream) => stream.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Encrypted(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}
