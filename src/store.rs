//! What survives a crash: logs of records, each record with a checksum, and what has come of them.
//!
//! A [`LogStore`] is the disk of one log, be it an agent's own or a member's of one that several agree on: a log in segments that can be cut at both ends and
//! read in pieces, a few bytes beside it, and rows.
//!
//! Before, a log of one agent was one file of records, one behind the other ([`encode`], [`scan`]). Such a file is still taken over ([`LogStore::open_with_former`]), and the
//! simulated world keeps logs in that form in its memory, where it tears and damages them.
//!
//! This room knows bytes and files. It knows no agent, no protocol and no thread; a server calls it from its disk thread.
//!
//! **What holds.**
//! - A record that was appended is found again, as it was, for as long as its own bytes are.
//! - The tail of a write that a crash cut short is recognised and cut off: nobody was told that it is durable.
//! - A record whose bytes have changed is never handed out. It is reported with its place, it stays in the file for whoever wants
//!   to look at it, and the records before and behind it are found.
//! - Entries that were removed never come back: what removes them is an item of the log, and items are numbered, so that one that is lost is missed.
//! - Whatever the bytes are, reading them ends without a panic.
//!
//! What cannot be seen: whole records that are missing at the end, or whose bytes have all become zeros there, since nothing behind them tells of them.

mod bodies;
mod error;
mod files;
mod former;
mod inspect;
mod item;
mod log_store;
mod map;
mod record;
mod rows;
mod segments;
mod slots;
mod stuffing;
mod survey;
#[cfg(test)]
mod testing;

pub use self::error::StoreError;
pub use self::files::{Files, Folder};
pub use self::inspect::{Inspection, RowsView, SegmentView, SlotView, StateView, TermRun};
pub use self::item::STATE_BYTES_MAX;
pub use self::log_store::{LogStore, Opened};
pub use self::record::{Damage, Fault, RECORD_BYTES_MAX, Scan, encode, scan};
