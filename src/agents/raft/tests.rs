//! The claims of the papers, one test each, named after where they stand.

mod elections;
mod replication;
