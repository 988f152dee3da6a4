//! As much of HTTP/2 (RFC 9113) as calls of one gRPC method need: requests of one message each, many under way on one connection.
//!
//! A library that does all of HTTP/2 would bring a runtime of its own along, whose work would be charged to the server that is measured. What is
//! not needed is left out: nothing is read from header fields. An answer that failed has, in gRPC, no message; that is how it is known.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context;

use crate::wire::{put_number, take_number};

/// What a client says first, before any frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
/// A gRPC message's own head: whether it is compressed, and its length.
const MESSAGE_HEAD_BYTES: usize = 5;
/// What both sides may send before anything else was agreed on.
const WINDOW_BYTES: i64 = 65_535;
/// What we let the server send at once, and after how many bytes we say so again.
const OWN_WINDOW_BYTES: u32 = 1 << 30;
const OWN_WINDOW_TOP_UP: u32 = 1 << 20;
/// The largest frame that either side sends unless it was asked to.
const FRAME_BYTES_MAX: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// On DATA and HEADERS; the same bit means ACK on SETTINGS and PING.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What became of one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The call, counted from 0.
    pub(super) call: u32,
    /// The message that came back; none if the call failed.
    pub(super) message: Option<Vec<u8>>,
}

/// A connection on which one method is called.
#[derive(Debug)]
pub(super) struct Calls {
    path: &'static str,
    authority: String,
    /// How many calls were made.
    made: u32,
    /// What the server still takes of all streams together.
    window: i64,
    /// Frames that wait for the window, and how much of it each needs.
    waiting: VecDeque<(Vec<u8>, i64)>,
    /// Messages that have come of calls that have not ended.
    messages: BTreeMap<u32, Vec<u8>>,
    /// An incomplete frame.
    inbox: Vec<u8>,
    /// What was taken since we last widened the server's window.
    taken: u32,
}

impl Calls {
    /// Calls of the method at `path`; the connection's first bytes go behind `out`.
    pub(super) fn new(path: &'static str, authority: String, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(PREFACE);
        frame(out, SETTINGS, 0, 0, &[]);
        let increment = OWN_WINDOW_BYTES - 65_535;
        frame(out, WINDOW_UPDATE, 0, 0, &increment.to_be_bytes());
        Self {
            path,
            authority,
            made: 0,
            window: WINDOW_BYTES,
            waiting: VecDeque::new(),
            messages: BTreeMap::new(),
            inbox: Vec::new(),
            taken: 0,
        }
    }

    /// Calls the method with an encoded message.
    pub(super) fn call(&mut self, message: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        let data_bytes = MESSAGE_HEAD_BYTES + message.len();
        anyhow::ensure!(data_bytes <= FRAME_BYTES_MAX, "a record must fit into one frame of HTTP/2");
        let stream = self.made.checked_mul(2).context("too many calls on one connection")? + 1;
        let mut call = Vec::with_capacity(data_bytes + 2 * HEAD_BYTES + 8);
        let fields = self.header_fields();
        frame(&mut call, HEADERS, END_HEADERS, stream, &fields);
        frame_head(&mut call, data_bytes, DATA, END_STREAM, stream);
        call.push(0);
        call.extend_from_slice(&u32::try_from(message.len()).context("a long message")?.to_be_bytes());
        call.extend_from_slice(message);
        self.made += 1;
        self.waiting.push_back((call, i64::try_from(data_bytes).context("a long message")?));
        self.send_what_fits(out);
        Ok(())
    }

    /// Takes what came; answers that have ended go into `replies`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        replies: &mut Vec<Reply>,
        out: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        while let Some((head, body, behind)) = cut(rest) {
            self.take_frame(head, body, replies, out)?;
            rest = behind;
        }
        // What is left is at most one frame, mostly nothing: the buffer is kept.
        let left = rest.len();
        let begin = inbox.len() - left;
        self.inbox = inbox;
        self.inbox.drain(..begin);
        self.send_what_fits(out);
        Ok(())
    }

    fn take_frame(
        &mut self,
        head: Head,
        body: &[u8],
        replies: &mut Vec<Reply>,
        out: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        let call = head.stream.saturating_sub(1) / 2;
        match head.kind {
            DATA => {
                self.messages.entry(call).or_default().extend_from_slice(body);
                self.widen(body.len(), out)?;
            }
            SETTINGS if head.flags & END_STREAM == 0 => frame(out, SETTINGS, END_STREAM, 0, &[]),
            PING if head.flags & END_STREAM == 0 => frame(out, PING, END_STREAM, 0, body),
            WINDOW_UPDATE if head.stream == 0 => self.window += i64::from(number(body)?),
            GOAWAY => anyhow::bail!(
                "the server ends the connection: {}",
                String::from_utf8_lossy(body.get(8..).unwrap_or_default())
            ),
            RST_STREAM => {
                self.messages.remove(&call);
                replies.push(Reply { call, message: None });
                return Ok(());
            }
            _ => {}
        }
        if matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0 {
            let message = self.messages.remove(&call);
            let message = message.and_then(|message| message.get(MESSAGE_HEAD_BYTES..).map(<[u8]>::to_vec));
            replies.push(Reply { call, message });
        }
        Ok(())
    }

    fn send_what_fits(&mut self, out: &mut Vec<u8>) {
        while let Some((call, needed)) = self.waiting.front() {
            if *needed > self.window {
                break;
            }
            self.window -= needed;
            out.extend_from_slice(call);
            self.waiting.pop_front();
        }
    }

    fn widen(&mut self, bytes: usize, out: &mut Vec<u8>) -> anyhow::Result<()> {
        self.taken += u32::try_from(bytes).context("a frame's length fits")?;
        if self.taken >= OWN_WINDOW_TOP_UP {
            frame(out, WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes());
            self.taken = 0;
        }
        Ok(())
    }

    /// The header fields of a call (HPACK, RFC 7541): with the first call the server is asked to remember those that are not in its own table, and then
    /// each is one byte.
    fn header_fields(&self) -> Vec<u8> {
        // :method POST and :scheme http stand in the table that everybody has.
        let mut fields = vec![0x83, 0x86];
        if self.made > 0 {
            // Places 65 down to 62 of the table: what was added last stands first.
            fields.extend_from_slice(&[0xc1, 0xc0, 0xbf, 0xbe]);
            return fields;
        }
        // Names that everybody's table has are said by their place: 4, 1 and 31.
        let mut remember = |name: &[u8], value: &str| {
            fields.extend_from_slice(name);
            fields.push(u8::try_from(value.len()).expect("a short text"));
            fields.extend_from_slice(value.as_bytes());
        };
        remember(&[0x44], self.path);
        remember(&[0x41], &self.authority);
        remember(&[0x5f], "application/grpc");
        remember(b"\x40\x02te", "trailers");
        fields
    }
}

/// The first field of the given number of a protobuf message, if it is a plain number.
pub(super) fn field(mut message: &[u8], wanted: u64) -> Option<u64> {
    while !message.is_empty() {
        let key = take_number(&mut message).ok()?;
        match key & 7 {
            0 => {
                let value = take_number(&mut message).ok()?;
                if key >> 3 == wanted {
                    return Some(value);
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(take_number(&mut message).ok()?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    None
}

/// The first field of the given number of a protobuf message, if it is bytes, a text or a message.
pub(super) fn bytes_field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let key = take_number(&mut message).ok()?;
        match key & 7 {
            0 => drop(take_number(&mut message).ok()?),
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(take_number(&mut message).ok()?).ok()?;
                if key >> 3 == wanted {
                    return message.get(..length);
                }
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    None
}

/// Appends a field of bytes to a protobuf message.
pub(super) fn push_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push((field << 3) | 2);
    put_number(bytes.len() as u64, |byte| message.push(byte));
    message.extend_from_slice(bytes);
}

#[derive(Clone, Copy)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// The first whole frame, and what stands behind it.
fn cut(bytes: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let body = rest.get(..length)?;
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Some((Head { kind: head[3], flags: head[4], stream }, body, &rest[length..]))
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    frame_head(out, body.len(), kind, flags, stream);
    out.extend_from_slice(body);
}

fn frame_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let length = u32::try_from(length).expect("a frame is short").to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn number(body: &[u8]) -> anyhow::Result<u32> {
    let bytes = body.first_chunk::<4>().context("a frame of HTTP/2 is too short")?;
    Ok(u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as a server of gRPC gives it: fields, a message, fields that end the stream.
    fn answer(stream: u32, message: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame(&mut bytes, HEADERS, END_HEADERS, stream, b"fields");
        let body = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message].concat();
        frame(&mut bytes, DATA, 0, stream, &body);
        frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, stream, b"more");
        bytes
    }

    #[test]
    fn answers_are_the_same_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        frame(&mut stream, SETTINGS, 0, 0, &[]);
        stream.extend(answer(3, b"second"));
        frame(&mut stream, HEADERS, END_HEADERS | END_STREAM, 5, b"refused");
        stream.extend(answer(1, b"first"));
        for cut in 0..=stream.len() {
            let (mut out, mut replies) = (Vec::new(), Vec::new());
            let mut calls = Calls::new("/a/b", "host".to_owned(), &mut Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                calls.take(piece, &mut replies, &mut out).unwrap();
            }
            let reply = |call, message: Option<&[u8]>| Reply { call, message: message.map(<[u8]>::to_vec) };
            let expected = [reply(1, Some(b"second")), reply(2, None), reply(0, Some(b"first"))];
            assert_eq!(replies, expected, "cut at {cut}");
            assert_eq!(out, [0, 0, 0, SETTINGS, END_STREAM, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn calls_wait_for_the_servers_window() {
        let (mut out, mut replies) = (Vec::new(), Vec::new());
        let mut calls = Calls::new("/a/b", "host".to_owned(), &mut Vec::new());
        let record = vec![b'x'; 16_000];
        for _ in 0..5 {
            calls.call(&record, &mut out).unwrap();
        }
        let heads = |out: &[u8]| {
            let mut rest = out;
            std::iter::from_fn(|| {
                let (head, _, behind) = cut(rest)?;
                rest = behind;
                Some((head.kind, head.stream))
            })
            .filter(|&(kind, _)| kind == DATA)
            .map(|(_, stream)| stream)
            .collect::<Vec<u32>>()
        };
        assert_eq!(heads(&out), [1, 3, 5, 7]);
        out.clear();
        let mut more = Vec::new();
        frame(&mut more, WINDOW_UPDATE, 0, 0, &20_000_u32.to_be_bytes());
        calls.take(&more, &mut replies, &mut out).unwrap();
        assert_eq!(heads(&out), [9]);
    }

    #[test]
    fn fields_of_messages_are_found_behind_others() {
        let mut message = vec![0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8];
        push_bytes(&mut message, 3, &[b'v'; 300]);
        message.extend_from_slice(&[0x20, 0x07]);
        assert_eq!(field(&message, 1), Some(150));
        assert_eq!(field(&message, 4), Some(7));
        assert_eq!(field(&message, 9), None);
        assert_eq!(bytes_field(&message, 3).map(<[u8]>::len), Some(300));
        assert_eq!(field(&[0x08, 0xff], 1), None, "cut off");
    }
}
