//! Numbers, texts and bytes in the short form in which messages, entries and states are written.

use bytes::Bytes;

use crate::agent::{Index, Term, WireError};
use crate::wire;

/// Takes what was written off the front of some bytes. Whatever they are, nothing panics.
pub(super) struct Reader<'b> {
    rest: &'b [u8],
    /// What is shared with whoever reads bytes of it; without it those are copied.
    owner: Option<&'b Bytes>,
}

impl<'b> Reader<'b> {
    /// Of bytes that are shared with what is read: for what holds many bytes, or is kept as long as these.
    pub(super) fn new(bytes: &'b Bytes) -> Self {
        Self { rest: bytes, owner: Some(bytes) }
    }

    /// Of bytes of which that is copied which is read.
    pub(super) fn copying(bytes: &'b [u8]) -> Self {
        Self { rest: bytes, owner: None }
    }

    pub(super) fn byte(&mut self) -> Result<u8, WireError> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| WireError::new("cut off"))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::new(format!("neither yes nor no: {other}"))),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, WireError> {
        wire::take_number(&mut self.rest).map_err(|error| WireError::new(error.to_string()))
    }

    /// A number that does not vary in length, since all of its bits do.
    pub(super) fn word(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// So many bytes.
    pub(super) fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| WireError::new("cut off"))?;
        self.rest = rest;
        Ok(*array)
    }

    /// What is not always there.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Whether everything was read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn index(&mut self) -> Result<Index, WireError> {
        self.number().map(Index)
    }

    pub(super) fn term(&mut self) -> Result<Term, WireError> {
        self.number().map(Term)
    }

    /// Bytes, shared with those that are read, or copied.
    pub(super) fn bytes(&mut self) -> Result<Bytes, WireError> {
        let bytes = self.item()?;
        Ok(self.own(bytes))
    }

    pub(super) fn text(&mut self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.item()?).map_err(|_| WireError::new("not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// As many as a number says of what `read` reads. Nothing is set aside for more than the bytes could hold.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if len > self.rest.len() {
            return Err(WireError::new("fewer items than announced"));
        }
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(read(self)?);
        }
        Ok(items)
    }

    pub(super) fn rest(self) -> Bytes {
        self.own(self.rest)
    }

    pub(super) fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::new("something behind the end")) }
    }

    /// What comes next, by its length before it.
    fn item(&mut self) -> Result<&'b [u8], WireError> {
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (item, rest) = self.rest.split_at_checked(len).ok_or_else(|| WireError::new("cut off"))?;
        self.rest = rest;
        Ok(item)
    }

    fn own(&self, part: &[u8]) -> Bytes {
        match self.owner {
            Some(owner) => owner.slice_ref(part),
            None => Bytes::copy_from_slice(part),
        }
    }
}

pub(super) fn put_number(bytes: &mut Vec<u8>, number: u64) {
    wire::put_number(number, |byte| bytes.push(byte));
}

pub(super) fn put_word(bytes: &mut Vec<u8>, word: u64) {
    bytes.extend_from_slice(&word.to_be_bytes());
}

pub(super) fn put_bytes(bytes: &mut Vec<u8>, item: &[u8]) {
    put_number(bytes, item.len() as u64);
    bytes.extend_from_slice(item);
}

pub(super) fn put_list<T>(bytes: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_number(bytes, items.len() as u64);
    for item in items {
        put(bytes, item);
    }
}

pub(super) fn put_option<T>(bytes: &mut Vec<u8>, item: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    bytes.push(u8::from(item.is_some()));
    if let Some(item) = item {
        put(bytes, item);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_bytes_come_back(numbers: Vec<u64>, text: String) {
            let mut bytes = Vec::new();
            put_list(&mut bytes, &numbers, |bytes, number| put_number(bytes, *number));
            put_bytes(&mut bytes, text.as_bytes());
            let mut reader = Reader::copying(&bytes);
            prop_assert_eq!(reader.list(Reader::number), Ok(numbers));
            prop_assert_eq!(reader.text(), Ok(text));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
