//! The claims of the papers, one test each, named after where they stand.

mod chance;
mod clients;
mod elections;
mod membership;
mod messages;
mod reads;
mod repair;
mod replication;
mod scripts;
mod snapshots;
mod transfer;
