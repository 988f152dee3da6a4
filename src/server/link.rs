//! One connection between two servers: takes slices of bytes in, cuts them into pieces, and keeps a queue of bytes out.
//!
//! A link begins nameless: nobody knows who is at its other end until the first line says so. It does not know of other
//! links; which of two links of one peer lives is the link manager's to say.

use memchr::memchr;
use thiserror::Error;

use super::queue::OutQueue;
use crate::agent::Why;
use crate::grid::ServerId;
use crate::time::Time;
use crate::wire::{
    self, Cut, Frame, FrameCutter, FrameError, HyparCutter, HyparError, HyparFrame, LineCutter, LineError,
    Messages, note_bad_line,
};

/// The longest first line: a stranger gets little room before it has said who it is.
const FIRST_LINE_BYTES_MAX: usize = 64 * 1024;

/// The longest letter: some hundred addresses.
const LETTER_BYTES_MAX: usize = 16 * 1024;

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// We did, to reach this peer.
    Dialled(ServerId),
    /// The other side did.
    Accepted,
    /// We did, to leave a letter.
    Letter,
}

/// How far a link has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Dialled; the host has not yet said that it is connected.
    Connecting,
    /// Connected; the first line, of which this much has come, will tell who it is.
    Nameless {
        /// Everything that was received so far.
        heard: Vec<u8>,
    },
    /// The peer is known, but an older link of it has to be read to its end first.
    Waiting {
        /// Who it is.
        peer: ServerId,
        /// Everything that was received so far.
        heard: Vec<u8>,
    },
    /// The peer's one link.
    Up {
        /// Who it is.
        peer: ServerId,
    },
    /// Somebody leaves a letter here.
    Letter,
    /// What waits is still sent; then the other side may end it. Nothing is read any more.
    Ending,
}

/// One connection to another server, or to somebody who may turn out to be one.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) direction: Direction,
    pub(super) stage: Stage,
    pub(super) queue: OutQueue,
    pub(super) last_heard: Time,
    /// Whether the queue has grown past its high-water mark and not fallen below the low one since.
    pub(super) congested: bool,
    /// Why nothing more is sent on this link: it is closed as soon as it has been read to its end.
    pub(super) leaving: Option<(Why, &'static str)>,
    /// When bytes were last taken from the queue.
    pub(super) last_progress: Time,
    /// When it came up, if it did.
    pub(super) up_since: Option<Time>,
    /// By when the link must be connected, or have said who it is.
    pub(super) limit: Option<Time>,
    /// Names the connection at both of its ends, for traces; empty where nobody wants to know.
    pub(super) label: String,
    /// Who has to say what next, on a link of `gen_hypar`.
    pub(super) turn: Turn,
    pings: Pings,
    /// Away while what it cuts is being handled.
    reader: Option<Reader>,
}

/// Who has to say what next. A link of `gen_hypar` is opened by a frame that says what for, and one that asks something is answered by a frame
/// that has no other place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// Both may say what is said on links.
    #[default]
    Free,
    /// We have dialled, and not said what for.
    Open,
    /// The peer has asked.
    Answer,
}

/// What the last ticks of the heartbeat saw.
#[derive(Debug, Default)]
struct Pings {
    sent_since_tick: bool,
    pinged_last_tick: bool,
}

/// The receiving half: apart, so that what it cuts can be borrowed from it while the rest of the server changes.
#[derive(Debug)]
pub(super) enum Reader {
    /// The lines of a lab.
    Lines {
        cutter: LineCutter,
        /// Who sends them, and what every message of theirs begins with, known once the peer is.
        peer: ServerId,
        msg_prefix: Vec<u8>,
        bad_lines: u64,
    },
    /// The frames of agents.
    Frames(FrameCutter),
    /// Those of `gen_hypar`.
    Hypar(HyparCutter),
}

/// What a reader has cut off a stream.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// The messages among a region of lines.
    Lines(Messages<'a>),
    /// An agent's frame.
    Frame(Frame<'a>),
    /// One of `gen_hypar`.
    Hypar(HyparFrame<'a>),
    /// Something that was not understood.
    Skipped,
}

/// Why a stream cannot be read any further.
#[derive(Debug, Error)]
#[error(transparent)]
pub(super) enum CutError {
    Frame(#[from] FrameError),
    Hypar(#[from] HyparError),
}

impl Reader {
    pub(super) fn new(speaks_lines: bool, bytes_max: usize) -> Self {
        if speaks_lines {
            let cutter = LineCutter::new(bytes_max);
            Self::Lines { cutter, peer: ServerId(0), msg_prefix: Vec::new(), bad_lines: 0 }
        } else {
            Self::Frames(FrameCutter::new(bytes_max))
        }
    }

    /// Takes the next piece from the front of `bytes`; `None` when they are used up. An error says that the stream cannot be
    /// read any further.
    pub(super) fn cut<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Result<Option<Piece<'s>>, CutError> {
        match self {
            Self::Lines { cutter, peer, msg_prefix, bad_lines } => Ok(match cutter.cut(bytes) {
                None => None,
                Some(Cut::TooLong) => {
                    note_bad_line(bad_lines, *peer, "too long");
                    Some(Piece::Skipped)
                }
                Some(Cut::Lines(region)) => {
                    Some(Piece::Lines(Messages::new(region, *peer, msg_prefix, bad_lines)))
                }
            }),
            Self::Frames(cutter) => Ok(cutter.cut(bytes)?.map(Piece::Frame)),
            Self::Hypar(cutter) => Ok(cutter.cut(bytes)?.map(Piece::Hypar)),
        }
    }

    /// The peer is known.
    fn introduce(&mut self, sender: ServerId) {
        if let Self::Lines { peer, msg_prefix, .. } = self {
            *peer = sender;
            *msg_prefix = wire::msg_prefix(sender);
        }
    }
}

impl Link {
    pub(super) fn new(direction: Direction, reader: Reader, now: Time) -> Self {
        let stage = match direction {
            Direction::Dialled(_) | Direction::Letter => Stage::Connecting,
            Direction::Accepted => Stage::Nameless { heard: Vec::new() },
        };
        Self {
            direction,
            stage,
            queue: OutQueue::default(),
            last_heard: now,
            congested: false,
            leaving: None,
            last_progress: now,
            up_since: None,
            limit: None,
            turn: Turn::default(),
            pings: Pings::default(),
            label: String::new(),
            reader: Some(reader),
        }
    }

    /// The peer, once its first line has come.
    pub(super) fn peer(&self) -> Option<ServerId> {
        match self.stage {
            Stage::Waiting { peer, .. } | Stage::Up { peer } => Some(peer),
            Stage::Connecting | Stage::Nameless { .. } | Stage::Letter | Stage::Ending => None,
        }
    }

    /// Moves to [`Stage::Letter`]; what was heard behind the first line.
    pub(super) fn expect_letter(&mut self) -> Vec<u8> {
        self.reader = Some(Reader::new(false, LETTER_BYTES_MAX));
        let Stage::Nameless { mut heard } = std::mem::replace(&mut self.stage, Stage::Letter) else {
            return Vec::new();
        };
        let first_line_bytes = memchr(b'\n', &heard).map_or(heard.len(), |end| end + 1);
        heard.split_off(first_line_bytes)
    }

    /// The letter, once it is whole.
    pub(super) fn read_letter(&mut self, mut bytes: &[u8]) -> Result<Option<Vec<u8>>, CutError> {
        match self.reader.as_mut().map(|reader| reader.cut(&mut bytes)).transpose()?.flatten() {
            Some(Piece::Frame(letter)) => Ok(Some(letter.body.to_vec())),
            _ => Ok(None),
        }
    }

    /// Keeps `bytes` of a link whose peer is not known yet; the first line without its newline, once it is whole. An error
    /// says that this is no server.
    pub(super) fn hear_first(&mut self, bytes: &[u8]) -> Result<Option<&[u8]>, LineError> {
        let Stage::Nameless { heard } = &mut self.stage else { return Ok(None) };
        heard.extend_from_slice(bytes);
        match memchr(b'\n', heard) {
            _ if wire::is_tls(heard) => Err(LineError::Encrypted),
            Some(end) => Ok(Some(&heard[..end])),
            None if heard.len() > FIRST_LINE_BYTES_MAX => Err(LineError::UnknownVerb),
            None => Ok(None),
        }
    }

    /// Keeps `bytes` for the time when the link comes up.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        if let Stage::Waiting { heard, .. } = &mut self.stage {
            heard.extend_from_slice(bytes);
        }
    }

    /// Moves to [`Stage::Waiting`], keeping what was heard.
    pub(super) fn wait_as(&mut self, peer: ServerId) {
        if let Stage::Nameless { heard } = &mut self.stage {
            let heard = std::mem::take(heard);
            self.stage = Stage::Waiting { peer, heard };
        }
    }

    /// Moves to [`Stage::Up`] and returns what was heard before, to be read now.
    pub(super) fn come_up(&mut self, peer: ServerId, now: Time) -> Vec<u8> {
        self.up_since = Some(now);
        if let Some(reader) = &mut self.reader {
            reader.introduce(peer);
        }
        self.limit = None;
        match std::mem::replace(&mut self.stage, Stage::Up { peer }) {
            Stage::Nameless { heard } | Stage::Waiting { heard, .. } => heard,
            Stage::Connecting | Stage::Up { .. } | Stage::Letter | Stage::Ending => Vec::new(),
        }
    }

    /// Lends out the reader of a link whose peer is known, to be given back by [`Link::return_reader`].
    pub(super) fn lend_reader(&mut self) -> Option<(ServerId, Reader)> {
        Some((self.peer()?, self.reader.take()?))
    }

    /// The peer is asked something, which it answers next. Whether the reader was there to be told.
    pub(super) fn expect_answer(&mut self) -> bool {
        let Some(Reader::Hypar(cutter)) = &mut self.reader else { return false };
        cutter.expect_answer();
        true
    }

    /// Takes the reader back.
    pub(super) fn return_reader(&mut self, reader: Reader) {
        self.reader = Some(reader);
    }

    /// Notes that something else than a ping was queued.
    pub(super) fn note_sent(&mut self) {
        self.pings.sent_since_tick = true;
    }

    /// Whether this tick owes the peer a ping. Traffic spares one tick, never two in a row: another implementation may
    /// count nothing but pings.
    pub(super) fn owes_ping(&mut self) -> bool {
        let Pings { sent_since_tick, pinged_last_tick } = self.pings;
        let owes = !(sent_since_tick && pinged_last_tick);
        self.pings = Pings { sent_since_tick: false, pinged_last_tick: owes };
        owes
    }
}
