//! Bytes without zeros, so that a zero can only be a mark between records.
//!
//! A damaged length would otherwise lose everything behind it, and a search for the next record could find one that somebody had put
//! *into* a record. Source: Cheshire and Baker, "Consistent Overhead Byte Stuffing" (SIGCOMM 1997). Unlike there, each run is closed
//! by a group of its own, even an empty one, so that a reader knows whether the end is missing.

use memchr::memchr;

/// The longest group, which does not end its run.
const LONG_GROUP: u8 = 0xFF;
/// How many bytes follow the code of the longest group.
const LONG_GROUP_BYTES: usize = LONG_GROUP as usize - 1;

/// Appends `plain` to `stuffed`, without a zero: a run of bytes up to the next zero becomes groups, each a code (how many bytes
/// follow, plus 1) and these bytes.
pub(super) fn stuff(plain: &[u8], stuffed: &mut Vec<u8>) {
    stuffed.reserve(plain.len() + plain.len() / LONG_GROUP_BYTES + 1);
    let mut rest = plain;
    loop {
        let end = memchr(0, rest).unwrap_or(rest.len());
        let mut run = &rest[..end];
        while let Some((group, behind)) = run.split_at_checked(LONG_GROUP_BYTES) {
            stuffed.push(LONG_GROUP);
            stuffed.extend_from_slice(group);
            run = behind;
        }
        stuffed.push(u8::try_from(run.len() + 1).expect("shorter than the longest group"));
        stuffed.extend_from_slice(run);
        if end == rest.len() {
            return;
        }
        rest = &rest[end + 1..];
    }
}

/// Stuffs what comes in pieces, as one.
pub(super) struct Stuffer<'a> {
    stuffed: &'a mut Vec<u8>,
    /// Where the code of the group stands that is being filled.
    code_at: usize,
}

impl<'a> Stuffer<'a> {
    /// Appends to `stuffed`.
    pub(super) fn new(stuffed: &'a mut Vec<u8>) -> Self {
        let code_at = stuffed.len();
        stuffed.push(1);
        Self { stuffed, code_at }
    }

    /// The next piece.
    pub(super) fn push(&mut self, mut plain: &[u8]) {
        while !plain.is_empty() {
            let room = LONG_GROUP_BYTES - self.filled();
            if room == 0 {
                self.close(LONG_GROUP);
                continue;
            }
            let part = &plain[..room.min(plain.len())];
            if let Some(zero) = memchr(0, part) {
                self.stuffed.extend_from_slice(&part[..zero]);
                let code = self.code();
                self.close(code);
                plain = &plain[zero + 1..];
            } else {
                self.stuffed.extend_from_slice(part);
                plain = &plain[part.len()..];
            }
        }
    }

    /// The last piece was the last.
    pub(super) fn finish(mut self) {
        if self.filled() == LONG_GROUP_BYTES {
            self.close(LONG_GROUP);
        }
        self.stuffed[self.code_at] = self.code();
    }

    fn filled(&self) -> usize {
        self.stuffed.len() - self.code_at - 1
    }

    fn code(&self) -> u8 {
        u8::try_from(self.filled() + 1).expect("no longer than the longest group")
    }

    fn close(&mut self, code: u8) {
        self.stuffed[self.code_at] = code;
        self.code_at = self.stuffed.len();
        self.stuffed.push(1);
    }
}

/// What `stuffed`, which holds no zero, stands for, as far as it goes; and whether it is whole.
pub(super) fn unstuff(stuffed: &[u8]) -> (Vec<u8>, bool) {
    let mut plain = Vec::with_capacity(stuffed.len());
    let whole = unstuff_into(stuffed, &mut plain);
    (plain, whole)
}

/// As [`unstuff`], behind what `plain` holds.
pub(super) fn unstuff_into(stuffed: &[u8], plain: &mut Vec<u8>) -> bool {
    plain.reserve(stuffed.len());
    let mut rest = stuffed;
    let mut closed = false;
    while let Some((&code, behind)) = rest.split_first() {
        if closed {
            plain.push(0);
        }
        let bytes = usize::from(code).saturating_sub(1);
        let Some((group, next)) = behind.split_at_checked(bytes) else {
            plain.extend_from_slice(behind);
            return false;
        };
        plain.extend_from_slice(group);
        closed = code != LONG_GROUP;
        rest = next;
    }
    closed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed(plain: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        stuff(plain, &mut bytes);
        bytes
    }

    #[test]
    fn runs_become_groups() {
        assert_eq!(stuffed(b""), [1]);
        assert_eq!(stuffed(b"\0"), [1, 1]);
        assert_eq!(stuffed(b"ab\0c"), [3, b'a', b'b', 2, b'c']);
        let long = [7; 254];
        assert_eq!(stuffed(&long), [&[255], &long[..], &[1]].concat());
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_back(plain in runs()) {
            let bytes = stuffed(&plain);
            prop_assert!(!bytes.contains(&0));
            prop_assert_eq!(unstuff(&bytes), (plain, true));
        }

        #[test]
        fn pieces_are_stuffed_as_one(plain in runs(), cut: prop::sample::Index) {
            let (front, back) = plain.split_at(cut.index(plain.len() + 1));
            let mut bytes = Vec::new();
            let mut stuffer = Stuffer::new(&mut bytes);
            stuffer.push(front);
            stuffer.push(back);
            stuffer.finish();
            prop_assert_eq!(bytes, stuffed(&plain));
        }

        #[test]
        fn what_is_cut_off_comes_back_as_far_as_it_goes(plain in runs(), cut: prop::sample::Index) {
            let bytes = stuffed(&plain);
            let (part, whole) = unstuff(&bytes[..cut.index(bytes.len())]);
            prop_assert!(plain.starts_with(&part));
            prop_assert!(!whole || part.len() < plain.len());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            unstuff(&bytes);
        }
    }

    /// Bytes with zeros in them, and with runs about as long as the longest group.
    fn runs() -> impl Strategy<Value = Vec<u8>> {
        let run = prop_oneof![0usize..4, 252usize..258, 506usize..512].prop_map(|len| vec![9; len]);
        prop::collection::vec(run, 1..4).prop_map(|runs| runs.join(&0))
    }
}
