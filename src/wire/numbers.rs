//! Numbers in groups of seven bits, the lowest first, each in a byte whose high bit says whether another one follows: small numbers are short.

use thiserror::Error;

/// The longest of these numbers, in bytes.
pub const NUMBER_BYTES_MAX: usize = 10;

/// Why some bytes are no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NumberError {
    /// It goes on behind the last byte that there is.
    #[error("cut off")]
    CutOff,
    /// It does not fit into 64 bits.
    #[error("a number of more than 64 bits")]
    TooLong,
}

/// Hands the bytes of a number to `put`, one after the other.
pub fn put_number(mut number: u64, mut put: impl FnMut(u8)) {
    while number >= MORE.into() {
        put(low_bits(number) | MORE);
        number >>= 7;
    }
    put(low_bits(number));
}

/// Takes a number off the front of `bytes`. After an error some of its bytes may be gone from there.
pub fn take_number(bytes: &mut &[u8]) -> Result<u64, NumberError> {
    let mut number = 0;
    for place in 0..NUMBER_BYTES_MAX {
        let (&byte, rest) = bytes.split_first().ok_or(NumberError::CutOff)?;
        *bytes = rest;
        if place == NUMBER_BYTES_MAX - 1 && byte > 1 {
            break;
        }
        number |= u64::from(byte & !MORE) << (7 * place);
        if byte < MORE {
            return Ok(number);
        }
    }
    Err(NumberError::TooLong)
}

fn low_bits(number: u64) -> u8 {
    u8::try_from(number & 0x7f).expect("seven bits")
}

/// Set in every byte but the last.
const MORE: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_and_leave_what_is_behind_them(number: u64, bits in 0..64u32, behind: Vec<u8>) {
            let number = number >> bits;
            let mut bytes = Vec::new();
            put_number(number, |byte| bytes.push(byte));
            let len = bytes.len();
            prop_assert!(len <= NUMBER_BYTES_MAX);
            let mut cut = &bytes[..len - 1];
            prop_assert_eq!(take_number(&mut cut), Err(NumberError::CutOff));
            bytes.extend_from_slice(&behind);
            let mut rest = &bytes[..];
            prop_assert_eq!(take_number(&mut rest), Ok(number));
            prop_assert_eq!(rest, &behind[..]);
        }
    }

    #[test]
    fn a_number_of_too_many_bits_is_refused() {
        let mut bytes = [0xff; 10];
        bytes[9] = 0x01;
        assert_eq!(take_number(&mut &bytes[..]), Ok(u64::MAX));
        for last in [0x02, 0x81, 0xff] {
            bytes[9] = last;
            assert_eq!(take_number(&mut &bytes[..]), Err(NumberError::TooLong));
        }
    }
}
