//! The stuffed items of a file, one after the other, a piece of the file in memory at a time.

use std::io;

use super::files::Files;
use super::item::MARK;

/// What is between the marks of a stretch of a file, one after the other.
pub(super) struct Bodies {
    /// Bytes of the file, from byte `from` on.
    bytes: Vec<u8>,
    from: u64,
    /// Up to where they have been gone through.
    done: usize,
    /// Where the stretch ends.
    end: u64,
    step: usize,
}

impl Bodies {
    /// From byte `from` of a file to before byte `end`, `step` bytes at a time.
    pub(super) fn new(from: u64, end: u64, step: usize) -> Self {
        Self { bytes: Vec::new(), from, done: 0, end, step }
    }

    /// The next one, and where it begins. The last one may end without a mark.
    pub(super) fn next<F: Files>(&mut self, files: &F, file: &F::File) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            self.skip_marks();
            let rest = &self.bytes[self.done..];
            let ended = self.from + self.bytes.len() as u64 >= self.end;
            let length = match memchr::memchr(MARK, rest) {
                Some(length) => length,
                None if ended && rest.is_empty() => return Ok(None),
                None if ended => rest.len(),
                None => {
                    self.read_on(files, file)?;
                    continue;
                }
            };
            let (at_byte, begin) = (self.from + self.done as u64, self.done);
            self.done += length;
            return Ok(Some((at_byte, &self.bytes[begin..self.done])));
        }
    }

    /// Most of a preallocated file is marks, so they are skipped many at a time.
    fn skip_marks(&mut self) {
        const MARKS: [u8; 1024] = [MARK; 1024];
        while self.bytes[self.done..].starts_with(&MARKS) {
            self.done += MARKS.len();
        }
        while self.bytes.get(self.done) == Some(&MARK) {
            self.done += 1;
        }
    }

    fn read_on<F: Files>(&mut self, files: &F, file: &F::File) -> io::Result<()> {
        self.bytes.drain(..self.done);
        self.from += self.done as u64;
        self.done = 0;
        let held = self.bytes.len();
        let at = self.from + held as u64;
        let wanted = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(self.step.max(held));
        self.bytes.resize(held + wanted, 0);
        let read = files.read_at(file, &mut self.bytes[held..], at)?;
        self.bytes.truncate(held + read);
        if read < wanted {
            self.end = at + read as u64;
        }
        Ok(())
    }
}
