//! How records are appended over one connection, whoever is at its other end: what a client writes, and what it makes of the bytes that come back.

use std::io::Read;
use std::net::TcpStream;

/// What a server said to one record.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bench) struct Answer {
    /// The record, as it was numbered when it was sent on this connection.
    pub(in crate::bench) number: u32,
    /// The server's reason if it did not take it.
    pub(in crate::bench) refusal: Option<String>,
}

/// One client's side of one connection. It neither reads nor writes: the load generator does.
pub(in crate::bench) trait Wire: Send {
    /// Says what has to be said before the first record, and waits for the answer.
    fn open(&mut self, stream: &mut TcpStream) -> anyhow::Result<()>;

    /// Puts the request to append `record` behind what is to be written. Numbers ascend from 0 without gaps.
    fn append(&mut self, number: u32, record: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()>;

    /// Takes what came, cut anywhere; what has to be written because of that goes behind `out`.
    fn take(&mut self, bytes: &[u8], answers: &mut Vec<Answer>, out: &mut Vec<u8>) -> anyhow::Result<()>;

    /// From now on the places of the log are kept that acknowledgements name, where they do.
    fn keep_places(&mut self) {}

    /// Those that were kept since the last time.
    fn places(&mut self) -> Vec<u64> {
        Vec::new()
    }
}

/// The next line, without its end; byte by byte, so that nothing of what follows is taken away.
pub(super) fn read_line(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut said = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            let line = String::from_utf8_lossy(&said);
            return Ok(line.trim_end_matches('\r').to_owned());
        }
        said.push(byte[0]);
        anyhow::ensure!(said.len() < LINE_BYTES_MAX, "a line of more than {LINE_BYTES_MAX} bytes came");
    }
}

/// Lines of a stream that comes in pieces.
#[derive(Debug, Default)]
pub(in crate::bench) struct Lines {
    incomplete: Vec<u8>,
}

impl Lines {
    /// Hands each whole line, without its newline, to `each`.
    pub(in crate::bench) fn take(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            if self.incomplete.is_empty() {
                each(&bytes[..end])?;
            } else {
                self.incomplete.extend_from_slice(&bytes[..end]);
                each(&self.incomplete)?;
                self.incomplete.clear();
            }
            bytes = &bytes[end + 1..];
        }
        anyhow::ensure!(self.incomplete.len() + bytes.len() < LINE_BYTES_MAX, "a line without an end came");
        self.incomplete.extend_from_slice(bytes);
        Ok(())
    }
}

const LINE_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_stream_is_cut() {
        let stream = b"ok 1\nok 22\n\nerror why\n";
        for cut in 0..=stream.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                lines
                    .take(piece, |line| {
                        found.push(String::from_utf8_lossy(line).into_owned());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(found, ["ok 1", "ok 22", "", "error why"], "cut at {cut}");
        }
    }
}
