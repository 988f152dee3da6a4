//! One connection between two servers: takes slices of bytes in, cuts them into messages, and keeps a queue of bytes out.
//!
//! A link begins nameless: nobody knows who is at its other end until the first line says so. It does not know of other
//! links; which of two links of one peer lives is the link manager's to say.

use memchr::memchr;

use super::outputs::ConnId;
use super::queue::OutQueue;
use crate::grid::ServerId;
use crate::time::Time;
use crate::wire::{Cut, LineCutter, LineError, Messages, PeerLine, msg_prefix, note_bad_line};

/// The longest first line: a stranger gets little room before it has said who it is.
const FIRST_LINE_BYTES_MAX: usize = 64 * 1024;

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// We did, to reach this peer.
    Dialled(ServerId),
    /// The other side did.
    Accepted,
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
    pub(super) leaving: Option<&'static str>,
    /// When bytes were last taken from the queue.
    pub(super) last_progress: Time,
    /// When it came up, if it did.
    pub(super) up_since: Option<Time>,
    /// By when the link must be connected, or have said who it is.
    pub(super) limit: Option<Time>,
    pings: Pings,
    reader: Reader,
}

/// What the last ticks of the heartbeat saw.
#[derive(Debug, Default)]
struct Pings {
    sent_since_tick: bool,
    pinged_last_tick: bool,
}

/// The receiving half: apart, so that lines can be borrowed from it while the rest of the link changes.
#[derive(Debug)]
struct Reader {
    cutter: LineCutter,
    /// What every message of the peer begins with, known once the peer is.
    msg_prefix: Vec<u8>,
    bad_lines: u64,
}

impl Link {
    pub(super) fn new(direction: Direction, line_bytes_max: usize, now: Time) -> Self {
        let stage = match direction {
            Direction::Dialled(_) => Stage::Connecting,
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
            pings: Pings::default(),
            reader: Reader { cutter: LineCutter::new(line_bytes_max), msg_prefix: Vec::new(), bad_lines: 0 },
        }
    }

    /// The peer, once its first line has come.
    pub(super) fn peer(&self) -> Option<ServerId> {
        match self.stage {
            Stage::Waiting { peer, .. } | Stage::Up { peer } => Some(peer),
            Stage::Connecting | Stage::Nameless { .. } => None,
        }
    }

    /// Keeps `bytes` of a link whose peer is not known yet; the first line, once it is whole. An error says that this is
    /// no server.
    pub(super) fn hear_first(&mut self, bytes: &[u8]) -> Result<Option<ServerId>, LineError> {
        let Stage::Nameless { heard } = &mut self.stage else { return Ok(None) };
        heard.extend_from_slice(bytes);
        match memchr(b'\n', heard) {
            Some(end) => PeerLine::parse(&heard[..end]).map(|line| Some(line.sender())),
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
        self.reader.msg_prefix = msg_prefix(peer);
        self.limit = None;
        match std::mem::replace(&mut self.stage, Stage::Up { peer }) {
            Stage::Nameless { heard } | Stage::Waiting { heard, .. } => heard,
            Stage::Connecting | Stage::Up { .. } => Vec::new(),
        }
    }

    /// Hands the messages in `bytes` to `deliver`, a region of lines at a time.
    pub(super) fn read(
        &mut self,
        conn: ConnId,
        mut bytes: &[u8],
        deliver: &mut impl FnMut(ServerId, Messages<'_>),
    ) {
        let Some(peer) = self.peer() else { return };
        let Reader { cutter, msg_prefix, bad_lines } = &mut self.reader;
        while let Some(cut) = cutter.cut(&mut bytes) {
            match cut {
                Cut::Lines(region) => deliver(peer, Messages::new(region, peer, msg_prefix, bad_lines)),
                Cut::TooLong => note_bad_line(bad_lines, peer, &format!("too long (conn {})", conn.0)),
            }
        }
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
