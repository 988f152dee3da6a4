//! What is going to happen: the world goes from one of these to the next.

use super::network::EndName;

/// Something that is due at its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// An attempt to connect reaches the machine that was dialled.
    Knock {
        /// The connection that this would become.
        connection: u64,
    },
    /// The dialler's machine hears that it is connected.
    Answered {
        /// Which connection.
        connection: u64,
    },
    /// The dialler's machine hears that nobody listens.
    Refused {
        /// Which connection.
        connection: u64,
    },
    /// What is first on its way to this end arrives.
    Arrive(EndName),
    /// The holder of this end reads on.
    Read(EndName),
    /// There is room again for what the holder of this end writes.
    Flush(EndName),
    /// A server's deadline has come.
    Timer {
        /// Whose.
        server: u16,
        /// Of which of its incarnations.
        incarnation: u32,
    },
}
