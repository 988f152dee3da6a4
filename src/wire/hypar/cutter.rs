//! Cutting a connection into the frames of `gen_hypar`, a read at a time.

use super::{HYPAR_OPENER, HyparError, HyparFrame, ID_BYTES, IDS_MAX, LENGTH_BYTES, Place, parse};

/// Cuts one stream into frames. Feed it reads, in order, through [`HyparCutter::cut`].
#[derive(Debug)]
pub struct HyparCutter {
    place: Place,
    /// The beginning of a frame whose end has not come yet; or, where `used` says so, one that was handed out.
    partial: Vec<u8>,
    used: usize,
    frame_bytes_max: usize,
}

impl HyparCutter {
    /// A cutter for a connection that somebody else has opened. It takes frames of at most `frame_bytes_max` bytes, their length not counted.
    pub fn accepted(frame_bytes_max: usize) -> Self {
        Self { place: Place::Opener, partial: Vec::new(), used: 0, frame_bytes_max }
    }

    /// A cutter for a connection that we have opened.
    pub fn dialled(frame_bytes_max: usize) -> Self {
        Self { place: Place::Link, ..Self::accepted(frame_bytes_max) }
    }

    /// We have opened the connection for a `NEIGHBOUR`: what comes next is its answer. To be called before anything is cut.
    pub fn expect_answer(&mut self) {
        self.place = Place::Answer;
    }

    /// Takes the next frame from the front of `bytes`; `None` when `bytes` is used up. Call it until then. After an error
    /// nothing more can be cut.
    pub fn cut<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Result<Option<HyparFrame<'s>>, HyparError> {
        self.partial.drain(..std::mem::take(&mut self.used));
        if self.place == Place::Opener && !self.pass_opener(bytes)? {
            return Ok(None);
        }
        if self.partial.is_empty() {
            self.partial.shrink_to(PARTIAL_BYTES_KEPT);
            let length = self.length_of(bytes)?;
            if bytes.len() < length {
                self.partial.extend_from_slice(std::mem::take(bytes));
                return Ok(None);
            }
            let (frame, rest) = bytes.split_at(length);
            *bytes = rest;
            return parse(&mut self.place, &frame[LENGTH_BYTES..]).map(Some);
        }
        // What is kept grows by just as much as its frame needs, so that what follows can be read where it lies.
        while !bytes.is_empty() {
            let missing = self.length_of(&self.partial)? - self.partial.len();
            self.keep(bytes, missing);
            if self.partial.len() == self.length_of(&self.partial)? {
                self.used = self.partial.len();
                return parse(&mut self.place, &self.partial[LENGTH_BYTES..]).map(Some);
            }
        }
        Ok(None)
    }

    /// How many bytes of an unfinished frame are kept now.
    pub fn pending_bytes(&self) -> usize {
        self.partial.len() - self.used
    }

    /// Takes the opener off; whether it is whole.
    fn pass_opener(&mut self, bytes: &mut &[u8]) -> Result<bool, HyparError> {
        self.keep(bytes, HYPAR_OPENER.len() - self.partial.len());
        if !HYPAR_OPENER.starts_with(&self.partial) {
            return Err(HyparError::NotHypar);
        }
        let whole = self.partial.len() == HYPAR_OPENER.len();
        if whole {
            self.partial.clear();
            self.place = Place::First;
        }
        Ok(whole)
    }

    /// Keeps the front of `bytes`, at most `missing` of them.
    fn keep(&mut self, bytes: &mut &[u8], missing: usize) {
        let (more, rest) = bytes.split_at(missing.min(bytes.len()));
        self.partial.extend_from_slice(more);
        *bytes = rest;
    }

    /// How long the frame at the front is, its length included; that of the length alone where that is not there yet. More than there is, or a
    /// whole frame: never just the length.
    fn length_of(&self, front: &[u8]) -> Result<usize, HyparError> {
        let Some(length) = front.first_chunk() else { return Ok(LENGTH_BYTES) };
        let bytes_max = match self.place {
            Place::First => self.frame_bytes_max.min(FIRST_BYTES_MAX),
            _ => self.frame_bytes_max,
        };
        match usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX) {
            0 => Err(HyparError::Empty),
            bytes if bytes > bytes_max => Err(HyparError::TooLong { bytes, bytes_max }),
            bytes => Ok(LENGTH_BYTES + bytes),
        }
    }
}

/// The longest first frame: a stranger gets little room.
const FIRST_BYTES_MAX: usize = 1 + IDS_MAX * ID_BYTES;
/// How much room an empty buffer for the next unfinished frame may keep.
const PARTIAL_BYTES_KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 2000;

    /// Cuts `stream` in pieces of the lengths in `cuts`, again and again; what each frame is when it is written again.
    fn read(cutter: &mut HyparCutter, mut stream: &[u8], cuts: &[usize]) -> Result<Vec<Vec<u8>>, HyparError> {
        let mut frames = Vec::new();
        for cut in cuts.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            let (mut piece, rest) = stream.split_at(stream.len().min(*cut));
            stream = rest;
            while let Some(frame) = cutter.cut(&mut piece)? {
                frames.push(bytes_of(&frame));
            }
        }
        Ok(frames)
    }

    fn bytes_of(frame: &HyparFrame<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes
    }

    fn some_id() -> impl Strategy<Value = SocketAddrV4> {
        (any::<Ipv4Addr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(ip, port))
    }

    fn some_ids() -> impl Strategy<Value = Vec<SocketAddrV4>> {
        proptest::collection::vec(some_id(), 0..9)
    }

    fn opening() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            some_id().prop_map(|id| bytes_of(&HyparFrame::Join(id))),
            some_id().prop_map(|id| bytes_of(&HyparFrame::JoinReply(id))),
            (some_id(), any::<bool>())
                .prop_map(|(asker, high)| bytes_of(&HyparFrame::Neighbour { asker, high })),
        ]
    }

    fn of_a_link() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100)
                .prop_map(|message| bytes_of(&HyparFrame::Message(&message))),
            (some_id(), any::<u8>())
                .prop_map(|(joiner, ttl)| bytes_of(&HyparFrame::ForwardJoin { joiner, ttl })),
            (some_id(), any::<u8>(), some_ids())
                .prop_map(|(origin, ttl, ids)| bytes_of(&HyparFrame::Shuffle { origin, ttl, ids })),
            Just(bytes_of(&HyparFrame::KeepAlive)),
            Just(bytes_of(&HyparFrame::Disconnect)),
        ]
    }

    proptest! {
        #[test]
        fn any_split_of_a_connection_gives_the_same_frames(
            first in opening(),
            others in proptest::collection::vec(of_a_link(), 0..20),
            cuts in proptest::collection::vec(1usize..40, 1..40),
        ) {
            let frames: Vec<Vec<u8>> = std::iter::once(first).chain(others).collect();
            let stream = [&HYPAR_OPENER[..], &frames.concat()].concat();
            let mut cutter = HyparCutter::accepted(BYTES_MAX);
            prop_assert_eq!(read(&mut cutter, &stream, &cuts), Ok(frames));
            prop_assert_eq!(cutter.pending_bytes(), 0);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic_and_little_is_kept(
            opened: bool,
            asked: bool,
            reads in proptest::collection::vec(proptest::collection::vec(0u8..12, 0..200), 0..20),
        ) {
            let mut cutter = HyparCutter::accepted(100);
            if opened {
                prop_assert_eq!(cutter.cut(&mut &HYPAR_OPENER[..]), Ok(None));
            }
            if asked {
                cutter.expect_answer();
            }
            for bytes in &reads {
                if read(&mut cutter, bytes, &[usize::MAX]).is_err() {
                    break;
                }
                prop_assert!(cutter.pending_bytes() < LENGTH_BYTES + 100);
            }
        }
    }

    #[test]
    fn an_answer_is_told_from_an_empty_message_by_where_it_stands() {
        let one = [0, 0, 0, 1, 1];
        let mut cutter = HyparCutter::dialled(BYTES_MAX);
        assert_eq!(cutter.cut(&mut &one[..]), Ok(Some(HyparFrame::Message(b""))));
        let mut asker = HyparCutter::dialled(BYTES_MAX);
        asker.expect_answer();
        assert_eq!(asker.cut(&mut &one[..]), Ok(Some(HyparFrame::Answer { accept: true })));
        assert_eq!(asker.cut(&mut &one[..]), Ok(Some(HyparFrame::Message(b""))));
        assert!(asker.cut(&mut &[0, 0, 0, 1, 0][..]).is_err(), "a second answer");
    }

    #[test]
    fn each_frame_has_its_place() {
        let join = bytes_of(&HyparFrame::Join("127.0.0.1:1".parse().expect("valid")));
        let message = bytes_of(&HyparFrame::Message(b"x"));
        let reply = bytes_of(&HyparFrame::ShuffleReply { ids: Vec::new() });
        let opened = |frames: &[&[u8]]| [&HYPAR_OPENER[..], &frames.concat()].concat();
        let accepted = |frames: &[&[u8]]| read(&mut HyparCutter::accepted(BYTES_MAX), &opened(frames), &[9]);
        assert!(accepted(&[&join, &message, &message]).is_ok());
        assert!(accepted(&[&reply]).is_ok());
        for bad in [&[&message[..]][..], &[&join, &join], &[&join, &reply], &[&reply, &message]] {
            assert!(matches!(accepted(bad), Err(HyparError::NoPlace { .. })), "{bad:?}");
        }
        let dialled = read(&mut HyparCutter::dialled(BYTES_MAX), &join, &[3]);
        assert_eq!(dialled, Err(HyparError::NoPlace { tag: 2, place: "on a link" }));
    }

    #[test]
    fn what_cannot_be_a_frame_ends_the_reading() {
        let read = |bytes: &[u8]| read(&mut HyparCutter::accepted(BYTES_MAX), bytes, &[usize::MAX]);
        assert_eq!(read(b"ping 127"), Err(HyparError::NotHypar));
        assert_eq!(read(b"hypar\0\0\0\0"), Err(HyparError::Empty));
        let too_long = HyparError::TooLong { bytes: 1538, bytes_max: FIRST_BYTES_MAX };
        assert_eq!(read(b"hypar\0\0\x06\x02"), Err(too_long), "before a byte of it is kept");
        assert_eq!(read(b"hypar\0\0\0\x02\x02x"), Err(HyparError::BadLength { tag: 2, bytes: 1 }));
        assert_eq!(read(b"hypar\0\0\0\x08\x02address"), Err(HyparError::BadLength { tag: 2, bytes: 7 }));
        assert_eq!(read(b"hypar\0\0\0\x03\x08ab"), Err(HyparError::BadLength { tag: 8, bytes: 2 }));
    }
}
