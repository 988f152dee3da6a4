//! Work that takes too long for the loop: the host has it done by a thread of its own, one piece after the other.

use std::fmt;

use bytes::Bytes;

/// Something that is never shown: what `Debug` prints of it says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// What hashing a password costs whoever tries many (Argon2id, RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory, in KiB; at least 8.
    pub memory_kib: u32,
    /// How many times that is gone over; at least 1.
    pub passes: u32,
}

/// A piece of work. The same work gives the same result everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Hash a password; the result is its text in PHC's form, which holds salt and cost.
    HashPassword {
        /// The password.
        password: Secret,
        /// Sixteen bytes at random.
        salt: [u8; 16],
        /// What it costs.
        cost: PasswordCost,
    },
    /// See whether a password is the one that was hashed.
    CheckPassword {
        /// The password.
        password: Secret,
        /// What [`Work::HashPassword`] came to.
        hash: String,
    },
}

/// What a piece of work came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A password's hash.
    Hash(String),
    /// Whether the password is right.
    Matches(bool),
    /// It cannot be done; why, for people.
    Failed(String),
}
