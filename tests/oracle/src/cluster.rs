//! Several members of each Raft.
