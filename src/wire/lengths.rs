//! Frames with their length before them, four bytes, the most significant first: what clients of services speak.

use thiserror::Error;

/// A frame is longer than is taken. Whoever sent it is at fault; nothing after it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.what())]
pub struct FrameTooLong {
    /// How long it says it is.
    pub bytes: usize,
    /// The limit.
    pub bytes_max: usize,
}

impl FrameTooLong {
    /// What is wrong, for people.
    fn what(&self) -> String {
        let Self { bytes, bytes_max } = self;
        if u32::try_from(*bytes).is_ok_and(|bytes| super::is_tls(&bytes.to_be_bytes())) {
            return "what comes is TLS, and here nothing is encrypted".to_owned();
        }
        format!("a frame of {bytes} bytes is longer than {bytes_max}")
    }
}

/// Whole frames that follow one another, borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LengthFrames<'a> {
    whole: &'a [u8],
}

impl<'a> LengthFrames<'a> {
    /// The whole frames at the front of `bytes`, up to one that is too long, and what is left of it. An error says that there is nothing before that one.
    pub fn split(bytes: &'a [u8], frame_bytes_max: usize) -> Result<(Self, &'a [u8]), FrameTooLong> {
        let mut end = 0;
        while let Some(length) = length_at(&bytes[end..]) {
            if length > frame_bytes_max && end > 0 {
                break;
            }
            if length > frame_bytes_max {
                return Err(FrameTooLong { bytes: length, bytes_max: frame_bytes_max });
            }
            if bytes.len() - end - LENGTH_BYTES < length {
                break;
            }
            end += LENGTH_BYTES + length;
        }
        let (whole, rest) = bytes.split_at(end);
        Ok((Self { whole }, rest))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }
}

impl<'a> Iterator for LengthFrames<'a> {
    type Item = &'a [u8];

    /// The next frame, without its length.
    fn next(&mut self) -> Option<&'a [u8]> {
        let length = length_at(self.whole)?;
        let (frame, rest) = self.whole[LENGTH_BYTES..].split_at(length);
        self.whole = rest;
        Some(frame)
    }
}

/// Cuts one stream into frames. Feed it reads, in order, through [`LengthCutter::cut`].
#[derive(Debug)]
pub struct LengthCutter {
    /// The beginning of a frame whose end has not come yet; or, where `used` says so, one that was handed out.
    partial: Vec<u8>,
    used: bool,
    frame_bytes_max: usize,
}

impl LengthCutter {
    /// A cutter that takes frames of at most `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { partial: Vec::new(), used: false, frame_bytes_max }
    }

    /// Takes the frames from the front of `bytes`; none when `bytes` is used up. Call it until then.
    pub fn cut<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Result<LengthFrames<'s>, FrameTooLong> {
        if std::mem::take(&mut self.used) {
            self.partial.clear();
            self.partial.shrink_to(PARTIAL_BYTES_KEPT);
        }
        if self.partial.is_empty() {
            let (frames, rest) = LengthFrames::split(bytes, self.frame_bytes_max)?;
            if length_at(rest).is_some_and(|length| length > self.frame_bytes_max) {
                // That is for the next call to say: what lies before it is read, however the stream was split.
                *bytes = rest;
                return Ok(frames);
            }
            *bytes = &[];
            self.partial.extend_from_slice(rest);
            return Ok(frames);
        }
        // What is kept grows by just as much as its frame needs, so that what follows can be read where it lies.
        for _ in 0..2 {
            let wanted = length_at(&self.partial).map_or(LENGTH_BYTES, |length| LENGTH_BYTES + length);
            let missing = (wanted - self.partial.len()).min(bytes.len());
            let (more, rest) = bytes.split_at(missing);
            self.partial.extend_from_slice(more);
            *bytes = rest;
            if let Some(length) = length_at(&self.partial)
                && length > self.frame_bytes_max
            {
                return Err(FrameTooLong { bytes: length, bytes_max: self.frame_bytes_max });
            }
        }
        let (frames, rest) = LengthFrames::split(&self.partial, self.frame_bytes_max)?;
        self.used = rest.is_empty();
        Ok(frames)
    }

    /// How many bytes of an unfinished frame are kept now.
    pub fn pending_bytes(&self) -> usize {
        if self.used { 0 } else { self.partial.len() }
    }
}

/// The length that stands at the front of `bytes`, if all of it is there.
fn length_at(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?);
    Some(usize::try_from(length).unwrap_or(usize::MAX))
}

const LENGTH_BYTES: usize = 4;
/// How much room an empty buffer for the next unfinished frame may keep.
const PARTIAL_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_encrypts_where_nobody_else_does_is_told_so() {
        let said = |front: [u8; 4]| {
            let mut cutter = LengthCutter::new(1 << 20);
            cutter.cut(&mut &front[..]).expect_err("too long").to_string()
        };
        // An alert of TLS 1.2, and the first record of a client.
        for front in [[0x15, 3, 3, 0], [0x16, 3, 1, 2]] {
            assert!(said(front).contains("what comes is TLS"), "{front:?}");
        }
        assert_eq!(said([0x16, 0, 0, 0]), "a frame of 369098752 bytes is longer than 1048576");
    }

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(&u32::try_from(frame.len()).expect("short").to_be_bytes());
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_frames(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            reads in proptest::collection::vec(1..30_usize, 1..40),
        ) {
            let bytes = stream(&frames);
            let (mut cutter, mut found) = (LengthCutter::new(40), Vec::new());
            let (mut rest, mut reads) = (bytes.as_slice(), reads.iter().cycle());
            while !rest.is_empty() {
                let (mut read, after) = rest.split_at((*reads.next().expect("some")).min(rest.len()));
                rest = after;
                while !read.is_empty() {
                    found.extend(cutter.cut(&mut read).expect("short frames").map(<[u8]>::to_vec));
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert_eq!(cutter.pending_bytes(), 0);
        }

        #[test]
        fn any_bytes_are_cut_without_a_panic(bytes: Vec<u8>) {
            let mut cutter = LengthCutter::new(100);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                if cutter.cut(&mut rest).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_length_alone() {
        let mut cutter = LengthCutter::new(3);
        assert_eq!(cutter.cut(&mut [0, 0].as_slice()).map(Iterator::count), Ok(0));
        let error = cutter.cut(&mut [0, 4].as_slice()).expect_err("too long");
        assert_eq!(error.to_string(), "a frame of 4 bytes is longer than 3");
    }

    #[test]
    fn frames_before_one_that_is_too_long_are_read_however_the_stream_is_split() {
        let bytes = stream(&[vec![1], vec![2, 2], vec![3; 4]]);
        for split in 0..bytes.len() {
            let (mut cutter, mut found, mut refused) = (LengthCutter::new(3), Vec::new(), false);
            for mut read in [&bytes[..split], &bytes[split..]] {
                while !read.is_empty() && !refused {
                    match cutter.cut(&mut read) {
                        Ok(frames) => found.extend(frames.map(<[u8]>::to_vec)),
                        Err(_) => refused = true,
                    }
                }
            }
            assert_eq!((found, refused), (vec![vec![1], vec![2, 2]], true), "{split}");
        }
    }
}
