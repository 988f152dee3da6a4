//! A digest of a run: equal for equal runs, on every machine and in every build.

/// Takes in words and bytes, in order. The algorithm is part of the contract, since digests are written down: each word is mixed in by
/// a rotation, an exclusive or and an odd factor, and the end goes through the finalizer of `SplitMix64` (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", 2014). It tells runs apart; it does not withstand anybody who wants to deceive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digest(u64);

impl Digest {
    /// Takes in a number.
    #[inline]
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }

    /// Takes in bytes, and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// The digest of all that was taken in so far.
    pub fn value(self) -> u64 {
        scramble(self.0)
    }
}

/// A number that looks nothing like `word`, always the same one for the same word.
pub fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Odd, and its bits have no pattern: the golden ratio in 64 bits.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::Digest;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut digest = Digest::default();
        for part in parts {
            digest.bytes(part);
        }
        digest.value()
    }

    #[test]
    fn order_length_and_contents_all_count() {
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"\0"]), of(&[b""]));
        assert_ne!(of(&[b"123456789"]), of(&[b"123456780"]));
    }

    #[test]
    fn the_algorithm_stays_what_it_was() {
        // Written down once: digests of runs are compared across versions.
        assert_eq!(of(&[b"ovid", b"a grid of servers"]), GOLDEN);
    }

    const GOLDEN: u64 = 6_107_386_916_702_799_701;
}
