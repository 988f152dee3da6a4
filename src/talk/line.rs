//! One connection to a server: frames go out, frames come in.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use prost::Message as _;

use super::stream::Stream;
use crate::reactor::Trust;
use crate::wire::proto::route::{Path, Payload};
use crate::wire::proto::{Route, User, put_frame, user};
use crate::wire::{FrameTooLong, LengthFrames};

/// A connection on which nobody has logged in by itself.
#[derive(Debug)]
pub struct Line {
    stream: Stream,
    /// What has come of the next frame, its length included: nothing behind it is read.
    partial: Vec<u8>,
}

impl Line {
    /// Connects, within this time; encrypted if `trust` says whom to believe.
    pub fn connect(to: SocketAddr, patience: Duration, trust: Option<&Trust>) -> anyhow::Result<Self> {
        let stream = Stream::connect(to, patience, trust)?;
        stream.socket().set_write_timeout(Some(WRITE_LIMIT))?;
        Ok(Self { stream, partial: Vec::new() })
    }

    /// A connection that there is already. What it reads ends with a frame, so the stream can be used by others in between.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), partial: Vec::new() }
    }

    /// Writes frames, lengths included.
    pub fn write(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(frames).context("the server does not take what is written")?;
        self.stream.flush().context("the server does not take what is written")
    }

    /// Asks, and waits for the answer for this long; what else comes meanwhile is dropped.
    pub fn ask(&mut self, route: &Route, patience: Duration) -> anyhow::Result<Route> {
        let mut frame = Vec::new();
        put_frame(&Route { id: ASKED, ..route.clone() }, &mut frame);
        self.write(&frame)?;
        let limit = Instant::now() + patience;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let Some(frame) = self.receive_frame(left)? else {
                bail!("no answer within {} s", patience.as_secs())
            };
            let answer = Route::decode(frame.as_slice()).context("the server says what is no Route")?;
            if answer.id == ASKED {
                return Ok(answer);
            }
        }
    }

    /// The next frame, without its length; none if it is not whole within this time.
    pub fn receive_frame(&mut self, patience: Duration) -> anyhow::Result<Option<Vec<u8>>> {
        // Zero would mean forever.
        self.stream.socket().set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        loop {
            let wanted = match self.partial.first_chunk() {
                None => LENGTH_BYTES,
                Some(length) => LENGTH_BYTES + u32::from_be_bytes(*length) as usize,
            };
            if let Some(front) = self.partial.first_chunk() {
                check_length(*front)?;
            }
            let have = self.partial.len();
            if have == wanted {
                let frame = self.partial.split_off(LENGTH_BYTES);
                self.partial.clear();
                return Ok(Some(frame));
            }
            self.partial.resize(wanted, 0);
            let read = self.stream.read(&mut self.partial[have..]);
            self.partial.truncate(have + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => bail!("the server has closed the connection"),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
                    ErrorKind::Interrupted => {}
                    _ => return Err(error).context("the connection is gone"),
                },
            }
        }
    }
}

/// A connection whose next frame is longer than is taken is of no use any more. Servers that encrypt answer by records whose front reads like a length.
fn check_length(front: [u8; LENGTH_BYTES]) -> Result<(), FrameTooLong> {
    LengthFrames::split(&front, FRAME_BYTES_MAX).map(|_| ())
}

/// What registers a user, or logs them in or deletes them.
pub fn user_route(name: &str, password: &str, action: user::Action) -> Route {
    let user = User {
        uname: name.to_owned(),
        password: Some(password.to_owned()),
        action: action.into(),
        ..User::default()
    };
    Route { path: Path::User.into(), payload: Some(Payload::User(user)), ..Route::default() }
}

/// The number of a question that somebody waits for.
const ASKED: i64 = -1;
const LENGTH_BYTES: usize = 4;
/// The longest frame that is taken.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// A server that takes nothing for so long is as good as gone.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn frames_come_whole_however_they_were_cut_and_nothing_behind_them_is_read() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut line = Line::connect(listener.local_addr().unwrap(), Duration::from_secs(5), None).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        for id in [1, 2] {
            put_frame(&Route { id, ..Route::default() }, &mut bytes);
        }
        let (front, back) = bytes.split_at(bytes.len() / 2 - 1);
        server.write_all(front).unwrap();
        assert_eq!(line.receive_frame(Duration::from_millis(1)).unwrap(), None, "it is not whole");
        server.write_all(back).unwrap();
        let frame = line.receive_frame(Duration::from_secs(5)).unwrap().expect("whole");
        assert_eq!(Route::decode(frame.as_slice()).unwrap().id, 1);
        let mut rest = vec![0; bytes.len() / 2];
        line.stream.read_exact(&mut rest).unwrap();
        assert_eq!(rest, bytes[bytes.len() / 2..], "the second frame is left");
        drop(server);
        assert!(line.receive_frame(Duration::from_secs(5)).is_err());
    }
}
