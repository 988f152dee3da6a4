//! Cutting a stream of bytes into lines, a whole read at a time.
//!
//! A read usually holds many whole lines and the beginning of one more. The whole ones are handed out as one slice of the
//! read itself, uncopied; only the beginning of the unfinished line is kept. What is kept is bounded: a line longer than
//! the limit is dropped as it arrives, up to its newline, and reported once.

use memchr::{memchr, memrchr};

/// Cuts one stream into lines. Feed it reads, in order, through [`LineCutter::cut`].
#[derive(Debug)]
pub struct LineCutter {
    /// The beginning of a line whose newline has not come yet; or, when `finished`, a whole line that was handed out.
    partial: Vec<u8>,
    finished: bool,
    /// Inside a line that is too long: everything up to the next newline is dropped.
    skipping: bool,
    line_bytes_max: usize,
}

/// What [`LineCutter::cut`] found at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// One or more whole lines, each ended by its newline. A line among them may be longer than the limit only if it
    /// came whole within one read.
    Lines(&'a [u8]),
    /// A line passed the limit; it is dropped. Said once a line.
    TooLong,
}

impl LineCutter {
    /// A cutter that keeps at most `line_bytes_max` bytes of an unfinished line.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { partial: Vec::new(), finished: false, skipping: false, line_bytes_max }
    }

    /// Takes from the front of `bytes` what can be handed out next; `None` when `bytes` is used up. Call it until then.
    pub fn cut<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Option<Cut<'s>> {
        if self.finished {
            self.finished = false;
            self.partial.clear();
            // A long line must not pin its memory for the life of the connection.
            self.partial.shrink_to(PARTIAL_BYTES_KEPT);
        }
        if self.skipping {
            match memchr(b'\n', bytes) {
                Some(end) => {
                    *bytes = &bytes[end + 1..];
                    self.skipping = false;
                }
                None => *bytes = &[],
            }
        }
        if bytes.is_empty() {
            return None;
        }
        if !self.partial.is_empty() {
            return self.finish_partial(bytes);
        }
        if let Some(end) = memrchr(b'\n', bytes) {
            let (whole, rest) = bytes.split_at(end + 1);
            *bytes = rest;
            return Some(Cut::Lines(whole));
        }
        self.keep(bytes)
    }

    /// How many bytes of an unfinished line are kept now.
    pub fn pending_bytes(&self) -> usize {
        if self.finished { 0 } else { self.partial.len() }
    }

    /// The line that was begun by an earlier read goes on at the front of `bytes`.
    fn finish_partial<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Option<Cut<'s>> {
        let Some(end) = memchr(b'\n', bytes) else { return self.keep(bytes) };
        let (last, rest) = bytes.split_at(end + 1);
        if self.partial.len() + end > self.line_bytes_max {
            *bytes = rest;
            self.finished = true;
            return Some(Cut::TooLong);
        }
        self.partial.extend_from_slice(last);
        self.finished = true;
        *bytes = rest;
        Some(Cut::Lines(&self.partial))
    }

    /// No newline in sight: keep what came, or begin to drop it.
    fn keep(&mut self, bytes: &mut &[u8]) -> Option<Cut<'static>> {
        let came = std::mem::take(bytes);
        if self.partial.len() + came.len() > self.line_bytes_max {
            self.partial = Vec::new();
            self.skipping = true;
            return Some(Cut::TooLong);
        }
        self.partial.extend_from_slice(came);
        None
    }
}

/// How much room an empty buffer for the next unfinished line may keep.
const PARTIAL_BYTES_KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All lines of a stream that arrives in `reads`, and how many were too long.
    fn lines_of(reads: &[&[u8]], line_bytes_max: usize) -> (Vec<Vec<u8>>, usize) {
        let mut cutter = LineCutter::new(line_bytes_max);
        let (mut lines, mut too_long) = (Vec::new(), 0);
        for read in reads {
            let mut rest: &[u8] = read;
            while let Some(cut) = cutter.cut(&mut rest) {
                match cut {
                    Cut::Lines(region) => {
                        assert_eq!(region.last(), Some(&b'\n'));
                        for line in region.split_inclusive(|byte| *byte == b'\n') {
                            lines.push(line.to_vec());
                        }
                    }
                    Cut::TooLong => too_long += 1,
                }
            }
            assert!(cutter.pending_bytes() <= line_bytes_max, "more kept than allowed");
        }
        (lines, too_long)
    }

    fn split_at_all<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_lines(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let whole: Vec<Vec<u8>> = stream
                .split_inclusive(|byte| *byte == b'\n')
                .filter(|line| line.ends_with(b"\n"))
                .map(<[u8]>::to_vec)
                .collect();
            let (lines, too_long) = lines_of(&split_at_all(&stream, &cuts), stream.len());
            prop_assert_eq!(lines, whole);
            prop_assert_eq!(too_long, 0);
        }

        #[test]
        fn what_is_kept_is_bounded_and_short_lines_survive_long_ones(
            lengths in proptest::collection::vec(0usize..40, 1..20),
            read_bytes in 1usize..9,
        ) {
            let stream: Vec<u8> = lengths
                .iter()
                .flat_map(|length| std::iter::repeat_n(b'x', *length).chain([b'\n']))
                .collect();
            let reads: Vec<&[u8]> = stream.chunks(read_bytes).collect();
            let (lines, too_long) = lines_of(&reads, 16);
            let short = lengths.iter().filter(|length| **length <= 16).count();
            // A line that fits a single read may be longer than the limit; reads here are shorter than it.
            prop_assert_eq!(lines.len(), short);
            prop_assert_eq!(too_long, lengths.len() - short);
        }
    }

    #[test]
    fn an_unfinished_line_waits_for_its_end() {
        let (lines, too_long) = lines_of(&[b"pi", b"ng 1", b"\nmsg 1 a\nm"], 100);
        assert_eq!(lines, [b"ping 1\n".to_vec(), b"msg 1 a\n".to_vec()]);
        assert_eq!(too_long, 0);
    }
}
