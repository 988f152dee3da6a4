//! What is kept at most.

use crate::agent::WireError;
use crate::agents::codec::{Reader, put_number};

/// What is kept at most. Part of what all servers agree on ([`Command::Limits`](super::Command::Limits)): whether a message is still taken must not depend on who
/// looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub payload_bytes_max: usize,
    /// Messages of one conversation between two that one of them has not read (its own behind them count); a group's older ones are simply not unread any more.
    pub unread_max: u64,
    /// Messages of one conversation; older ones go, page by page.
    pub history_max: u64,
    /// Users.
    pub users_max: usize,
    /// Conversations of one user.
    pub conversations_max: usize,
    /// Members of a group.
    pub members_max: usize,
    /// Client instances that are remembered; those that were used longest ago are forgotten.
    pub clients_max: usize,
    /// Bytes of the ends of conversations that stay in memory. A conversation whose end had to leave begins another row.
    pub open_bytes_max: usize,
}

/// The longest address for e-mail, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub(in super::super) const EMAIL_BYTES_MAX: usize = 254;
/// The longest time that a client may give with a message, in bytes.
pub(in super::super) const TIMESTAMP_BYTES_MAX: usize = 128;

impl Default for Limits {
    /// What holds until the log says something else. Servers have to agree on it: these numbers stay.
    fn default() -> Self {
        Self {
            payload_bytes_max: 64 * 1024,
            unread_max: 250_000,
            history_max: 1_000_000,
            users_max: 100_000,
            conversations_max: 10_000,
            members_max: 1_000,
            clients_max: 100_000,
            open_bytes_max: 32 * 1024 * 1024,
        }
    }
}

impl Limits {
    pub(in super::super) fn encode(&self, bytes: &mut Vec<u8>) {
        let sizes = [
            self.payload_bytes_max,
            self.users_max,
            self.conversations_max,
            self.members_max,
            self.clients_max,
            self.open_bytes_max,
        ];
        put_number(bytes, self.unread_max);
        put_number(bytes, self.history_max);
        for size in sizes {
            put_number(bytes, size as u64);
        }
    }

    pub(in super::super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let size =
            |reader: &mut Reader| reader.number().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        Ok(Self {
            unread_max: reader.number()?,
            history_max: reader.number()?,
            payload_bytes_max: size(reader)?,
            users_max: size(reader)?,
            conversations_max: size(reader)?,
            members_max: size(reader)?,
            clients_max: size(reader)?,
            open_bytes_max: size(reader)?,
        })
    }
}
