//! What boxes of a configuration say to each other: heartbeats by name, and agents' frames.
//!
//! `ping <box>` is a line. A frame is a line `frame <sender> <destination> <port> <length>` and then `length` bytes. Sender and
//! destination are agents' ids. After a header that is not understood nobody knows where the next one begins, so the link has to
//! be closed.

use bytes::Bytes;
use memchr::memchr;
use thiserror::Error;

use crate::grid::{BoxAddress, BoxAddressError, Port};

/// The longest header line, newline included: two ids, two numbers and the verb fit several times.
const HEADER_BYTES_MAX: usize = 1024;
/// How much room an empty buffer for the next unfinished frame may keep.
const PARTIAL_BYTES_KEPT: usize = 64 * 1024;

/// One agent's message to another, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The id of the agent that sent it.
    pub sender: &'a str,
    /// The id of the agent that it is for.
    pub destination: &'a str,
    /// The entrance of that agent.
    pub port: Port,
    /// The encoded message.
    pub body: &'a [u8],
}

/// Why a link to a box cannot be read any further. The peer is at fault; close the link.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A line that is neither a heartbeat nor the header of a frame.
    #[error("neither a ping nor the header of a frame: {0:?}")]
    BadHeader(String),
    /// The frame is longer than this box takes.
    #[error("a frame of {bytes} bytes is longer than {bytes_max}")]
    TooLong {
        /// How long it says it is.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// What stands at the front of the stream.
enum Front<'a> {
    /// Nothing whole yet.
    Unfinished,
    /// A heartbeat of so many bytes.
    Ping(usize),
    /// A frame of so many bytes, header included.
    Frame(Frame<'a>, usize),
}

/// Cuts one stream into frames. Feed it reads, in order, through [`FrameCutter::cut`].
#[derive(Debug)]
pub struct FrameCutter {
    /// The beginning of a frame whose end has not come yet; or, where `used` says so, one that was handed out.
    partial: Vec<u8>,
    used: usize,
    body_bytes_max: usize,
}

impl FrameCutter {
    /// A cutter that takes frames of at most `body_bytes_max` bytes.
    pub fn new(body_bytes_max: usize) -> Self {
        Self { partial: Vec::new(), used: 0, body_bytes_max }
    }

    /// Takes the next frame from the front of `bytes`; `None` when `bytes` is used up. Call it until then. Heartbeats are
    /// passed over.
    pub fn cut<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Result<Option<Frame<'s>>, FrameError> {
        self.partial.drain(..std::mem::take(&mut self.used));
        if self.partial.is_empty() {
            self.partial.shrink_to(PARTIAL_BYTES_KEPT);
            return self.cut_whole(bytes);
        }
        // What is kept grows by just as much as its frame needs, so that what follows can be read where it lies.
        while !bytes.is_empty() {
            let missing = self.missing()?.min(bytes.len());
            let (more, rest) = bytes.split_at(missing);
            self.partial.extend_from_slice(more);
            *bytes = rest;
            match front(&self.partial, self.body_bytes_max)? {
                Front::Unfinished => {}
                Front::Ping(_) => {
                    self.partial.clear();
                    return self.cut_whole(bytes);
                }
                Front::Frame(..) => {
                    self.used = self.partial.len();
                    let Front::Frame(frame, _) = front(&self.partial, self.body_bytes_max)? else { break };
                    return Ok(Some(frame));
                }
            }
        }
        Ok(None)
    }

    /// How many bytes of an unfinished frame are kept now.
    pub fn pending_bytes(&self) -> usize {
        self.partial.len() - self.used
    }

    /// As `cut`, with nothing kept from earlier.
    fn cut_whole<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Result<Option<Frame<'s>>, FrameError> {
        loop {
            match front(bytes, self.body_bytes_max)? {
                Front::Unfinished => {
                    self.partial.extend_from_slice(bytes);
                    *bytes = &[];
                    return Ok(None);
                }
                Front::Ping(length) => *bytes = &bytes[length..],
                Front::Frame(frame, length) => {
                    *bytes = &bytes[length..];
                    return Ok(Some(frame));
                }
            }
        }
    }

    /// How many bytes the kept beginning lacks: up to its end where the header is known, else one.
    fn missing(&self) -> Result<usize, FrameError> {
        let Some(end) = memchr(b'\n', &self.partial) else { return Ok(1) };
        let header = Header::parse(&self.partial[..end], self.body_bytes_max)?;
        let length = header.map_or(0, |header| header.body_bytes);
        Ok((end + 1 + length - self.partial.len()).max(1))
    }
}

/// Looks at the front of `bytes`.
fn front(bytes: &[u8], body_bytes_max: usize) -> Result<Front<'_>, FrameError> {
    let Some(end) = memchr(b'\n', &bytes[..bytes.len().min(HEADER_BYTES_MAX)]) else {
        if bytes.len() >= HEADER_BYTES_MAX {
            return Err(bad_header(bytes));
        }
        return Ok(Front::Unfinished);
    };
    let Some(header) = Header::parse(&bytes[..end], body_bytes_max)? else {
        return Ok(Front::Ping(end + 1));
    };
    let length = end + 1 + header.body_bytes;
    if bytes.len() < length {
        return Ok(Front::Unfinished);
    }
    let Header { sender, destination, port, .. } = header;
    Ok(Front::Frame(Frame { sender, destination, port, body: &bytes[end + 1..length] }, length))
}

/// The header line of a frame.
struct Header<'a> {
    sender: &'a str,
    destination: &'a str,
    port: Port,
    body_bytes: usize,
}

impl<'a> Header<'a> {
    /// Reads a line without its newline; `None` for a heartbeat.
    fn parse(line: &'a [u8], body_bytes_max: usize) -> Result<Option<Self>, FrameError> {
        let error = || bad_header(line);
        let text = std::str::from_utf8(line).map_err(|_| error())?;
        if text.starts_with("ping ") {
            return Ok(None);
        }
        let mut words = text.split(' ');
        let [Some("frame"), Some(sender), Some(destination), Some(port), Some(length), None] =
            [(); 6].map(|()| words.next())
        else {
            return Err(error());
        };
        if sender.is_empty() || destination.is_empty() {
            return Err(error());
        }
        let port = Port(number(port).ok_or_else(error)?);
        let body_bytes = number(length).ok_or_else(error)?;
        if body_bytes > body_bytes_max {
            return Err(FrameError::TooLong { bytes: body_bytes, bytes_max: body_bytes_max });
        }
        Ok(Some(Self { sender, destination, port, body_bytes }))
    }
}

/// A number in the one spelling that is written: digits only.
fn number<N: std::str::FromStr>(word: &str) -> Option<N> {
    if word.starts_with('+') { None } else { word.parse().ok() }
}

fn bad_header(line: &[u8]) -> FrameError {
    let shown = &line[..line.len().min(SHOWN_BYTES_MAX)];
    FrameError::BadHeader(String::from_utf8_lossy(shown).into_owned())
}

/// How much of a header that was not understood is shown.
const SHOWN_BYTES_MAX: usize = 60;

/// The bytes of one frame.
pub fn frame(sender: &str, destination: &str, port: Port, body: &[u8]) -> Bytes {
    let header = format!("frame {sender} {destination} {port} {}\n", body.len());
    let mut bytes = Vec::with_capacity(header.len() + body.len());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    Bytes::from(bytes)
}

/// The heartbeat of a box, newline included. As the first line of a link it says who the peer is.
pub fn box_ping_line(sender: BoxAddress) -> Bytes {
    Bytes::from(format!("ping {sender}\n"))
}

/// The first line of a connection that carries one letter to a server of an overlay and is closed behind it.
pub fn letter_line(sender: BoxAddress) -> Bytes {
    Bytes::from(format!("letter {sender}\n"))
}

/// Who says this first line, given without its newline, and whether a letter follows. An error is no server of any overlay.
pub fn overlay_first_line(line: &[u8]) -> Result<(BoxAddress, bool), BoxAddressError> {
    match line.strip_prefix(b"letter ") {
        Some(name) => String::from_utf8_lossy(&name[..name.len().min(HEADER_BYTES_MAX)])
            .parse()
            .map(|sender| (sender, true)),
        None => box_of_first_line(line).map(|sender| (sender, false)),
    }
}

/// Which box a first line, given without its newline, says it is from. An error is no box of any configuration.
pub fn box_of_first_line(line: &[u8]) -> Result<BoxAddress, BoxAddressError> {
    let text = String::from_utf8_lossy(&line[..line.len().min(HEADER_BYTES_MAX)]);
    let name = text.strip_prefix("ping ").ok_or_else(|| BoxAddressError::NotAnAddress(text.to_string()))?;
    name.parse()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (String, String, u16, Vec<u8>);

    fn read(cutter: &mut FrameCutter, mut bytes: &[u8]) -> Result<Vec<Owned>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = cutter.cut(&mut bytes)? {
            let Frame { sender, destination, port, body } = frame;
            frames.push((sender.to_owned(), destination.to_owned(), port.0, body.to_vec()));
        }
        Ok(frames)
    }

    fn owned_frame() -> impl Strategy<Value = Owned> {
        ("[a-z]{1,8}", "[a-z]{1,8}", any::<u16>(), proptest::collection::vec(any::<u8>(), 0..60))
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            frames in proptest::collection::vec(owned_frame(), 0..20),
            cuts in proptest::collection::vec(1usize..40, 1..40),
        ) {
            let mut stream = Vec::new();
            for (sender, destination, port, body) in &frames {
                stream.extend_from_slice(b"ping 127.0.0.1:4000\n");
                stream.extend_from_slice(&frame(sender, destination, Port(*port), body));
            }
            let mut cutter = FrameCutter::new(60);
            let mut rest = &stream[..];
            let mut got = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(rest.len().min(*cut));
                got.extend(read(&mut cutter, piece).expect("sound frames"));
                rest = after;
            }
            prop_assert_eq!(got, frames);
            prop_assert_eq!(cutter.pending_bytes(), 0);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic_and_little_is_kept(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
        ) {
            let mut cutter = FrameCutter::new(100);
            for piece in &pieces {
                if read(&mut cutter, piece).is_err() {
                    break;
                }
                prop_assert!(cutter.pending_bytes() <= HEADER_BYTES_MAX + 100);
            }
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_reading() {
        for bad in [
            "msg 1 x\n",
            "frame a b 1\n",
            "frame a b 1 +2\nxx",
            "frame a b 70000 0\n",
            "frame a  1 0\n",
            "\n",
        ] {
            let result = read(&mut FrameCutter::new(10), bad.as_bytes());
            assert!(matches!(result, Err(FrameError::BadHeader(_))), "{bad:?}: {result:?}");
        }
        assert_eq!(
            read(&mut FrameCutter::new(10), b"frame a b 1 11\n"),
            Err(FrameError::TooLong { bytes: 11, bytes_max: 10 })
        );
        assert!(read(&mut FrameCutter::new(10), &[b'x'; HEADER_BYTES_MAX]).is_err());
    }

    #[test]
    fn the_first_line_names_the_box() {
        let address: BoxAddress = "[::1]:4000".parse().expect("valid");
        let line = box_ping_line(address);
        assert_eq!(&line[..], b"ping [::1]:4000\n");
        assert_eq!(box_of_first_line(line.strip_suffix(b"\n").expect("a newline")), Ok(address));
        assert!(box_of_first_line(b"ping 3").is_err());
        assert!(
            box_of_first_line(b"[::1]:4000").is_err(),
            "no link comes up that cannot be read any further"
        );
    }
}
