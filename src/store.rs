//! What survives a crash: append-only logs of records, each record with a checksum.
//!
//! This room knows bytes and, in [`FileLog`], one file. It knows no agent, no protocol and no thread; a server calls it from its
//! disk thread, and the simulated world keeps the same bytes on its simulated disks.
//!
//! **What holds.**
//! - A record that was appended is found again, as it was, for as long as its own bytes are.
//! - The tail of a write that a crash cut short is recognised and cut off: nobody was told that it is durable.
//! - A record whose bytes have changed is never handed out. It is reported with its place, it stays in the file for whoever wants
//!   to look at it, and the records before and behind it are found.
//! - Whatever the bytes are, reading them ends without a panic.
//!
//! What cannot be seen: whole records that are missing at the end of the file, since nothing behind them tells of them.

mod log;
mod record;
mod stuffing;

pub use self::log::{FileLog, LOG_BYTES_MAX, StoreError};
pub use self::record::{Damage, Fault, RECORD_BYTES_MAX, Scan, encode, scan};
