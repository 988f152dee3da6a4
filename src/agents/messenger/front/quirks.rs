//! What a client of the class of 2017 needs to understand a frame.
//!
//! It hands to its parser what `recv` returned, length and all, and the parser skips what it does not know. So the four bytes of a length b0 b1 b2 b3 have to read
//! as two fields that mean nothing: b0 b1 a field 0 with one byte of number, which such a parser passes over, and b2 b3 a number again under whatever field
//! b2 names. That holds for b0 = 0, b1, b2, b3 < 128 and b2 divisible by 8: then b2 names a field of numbers, and where the field is known as something else its value is
//! dropped, and where it is the id or the path of the `Route`, the true one comes behind it and counts. A frame of another length gets a field more that nobody knows.

/// The frames that [`pad`] can make fit have fewer bytes than this.
pub(super) const FRAME_BYTES_MAX: usize = 0x80_0000 - PAD_BYTES_MAX;

/// Adds to the encoded `Route` that lies in `bytes` from `start` on what its length needs to be skipped as fields. A longer one than [`FRAME_BYTES_MAX`] stays as it is.
pub(super) fn pad(bytes: &mut Vec<u8>, start: usize) {
    let length = bytes.len() - start;
    if is_skipped(length) || length >= FRAME_BYTES_MAX {
        return;
    }
    let padded = next_skipped(length + HEAD_BYTES);
    let filler = padded - length - HEAD_BYTES;
    bytes.extend_from_slice(&TAG);
    // Three bytes whatever the number is, so that every length can be reached.
    bytes.extend([filler & 0x7f | 0x80, filler >> 7 & 0x7f | 0x80, filler >> 14].map(low_byte));
    bytes.resize(start + padded, 0);
}

/// Whether the four bytes of this length are skipped by such a parser.
fn is_skipped(length: usize) -> bool {
    let [b0, b1, b2, b3] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    b0 == 0 && b1 < 128 && b2 < 128 && b2 % 8 == 0 && b3 < 128
}

/// The least length that is skipped and not below `length`.
fn next_skipped(length: usize) -> usize {
    let mut length = length;
    if length & 0x80 != 0 {
        length = (length | 0xff) + 1;
    }
    if length & 0x700 != 0 {
        length = (length | 0x7ff) + 1;
    }
    if length & 0x8000 != 0 {
        length = (length | 0xffff) + 1;
    }
    length
}

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// The tag of a field with a number that nobody uses, 1,000,000, that holds bytes.
const TAG: [u8; 4] = [0x82, 0xa4, 0xe8, 0x03];
const HEAD_BYTES: usize = TAG.len() + 3;
/// The longest gap is that between 0x7f.. and the next 64 KiB.
const PAD_BYTES_MAX: usize = 0x1_0000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::wire::proto::Route;

    proptest! {
        #[test]
        fn a_padded_frame_has_a_length_that_is_skipped_and_says_the_same(
            length in prop_oneof![0..300_usize, 0..70_000_usize, 0..FRAME_BYTES_MAX],
            before in 0..9_usize,
        ) {
            let mut route = Route { id: 7, ..Route::default() };
            let text = "x".repeat(length);
            route.payload = Some(crate::wire::proto::route::Payload::Response(crate::wire::proto::Response {
                success: Some(true),
                message: Some(text),
                error_code: None,
            }));
            let mut bytes = vec![9; before];
            route.encode(&mut bytes).expect("a vector grows");
            let plain = bytes.len();
            pad(&mut bytes, before);
            if plain - before < FRAME_BYTES_MAX {
                prop_assert!(is_skipped(bytes.len() - before), "{} bytes", bytes.len() - before);
                prop_assert!(bytes.len() - plain <= PAD_BYTES_MAX);
            } else {
                prop_assert_eq!(bytes.len(), plain);
            }
            prop_assert_eq!(Route::decode(&bytes[before..]), Ok(route));
        }
    }

    #[test]
    fn a_length_is_raised_no_further_than_it_has_to_be() {
        let mut least = 0x10_0000;
        for length in (0..=least).rev() {
            least = if is_skipped(length) { length } else { least };
            assert_eq!(next_skipped(length), least);
        }
    }

    #[test]
    fn the_tag_is_that_of_field_1_000_000() {
        let mut tag = Vec::new();
        prost::encoding::encode_key(1_000_000, prost::encoding::WireType::LengthDelimited, &mut tag);
        assert_eq!(tag, TAG);
    }
}
