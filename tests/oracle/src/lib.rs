//! Another Raft as a judge of ours: both are handed the same schedule, drawn from a seed, and have to come to the same.
//!
//! The other one is [raft-rs](https://docs.rs/raft/0.7), which `TiKV` runs. It is here only; see `Cargo.toml` for why this is a package of its own.
//!
//! **What is compared.**
//! - [`walk`]: one member of each, among others that are imagined. It is told to vote, to append, to commit, to lead; its disk lags, it loses what is not on
//!   the disk, it begins again. After each step both have to have the same term, vote, leader, log and commit index; whenever the disk is done, both have to
//!   have given the same votes and to have acknowledged and rejected the same entries. What the others say is what members of one Raft could say: nothing
//!   is drawn that would break the papers' promises, since an implementation may rely on these.
//! - [`cluster`]: three or five members of each. Elections, records, crashes and cut networks; messages come twice, late, or not at all. As soon as nothing
//!   is on its way any more, all members have to stand alike, and what ours hand over to their services is what the others have committed.
//!
//! **How it is run.** `cargo test --manifest-path tests/oracle/Cargo.toml`. `ORACLE_SEEDS=10000` sets how many schedules of each kind are tried (200 by itself),
//! `ORACLE_FIRST=7` the first seed. A difference is told with its seed and its steps; `ORACLE_FIRST=<seed> ORACLE_SEEDS=1` tries that one alone.
//!
//! **Where both differ and may.** Schedules are drawn, or messages carried, so that these are not taken for mistakes:
//! - *Vote requests carry no commit index.* Raft-rs puts its own into requests and refusals, and commits by it; that is an invention of its own.
//! - *Asking who would vote, in a term that the voter has already.* Raft-rs may say yes; ours says no, with its term, so that the one who asks catches up
//!   first. Such questions are not put to a walk; in a cluster they are refused in the other's name.
//! - *Entries behind an entry before the commit index.* Raft-rs answers such a message with its commit index and does not look at its entries; ours takes
//!   them. The other one is handed the message cut off at the commit index.
//! - *Acknowledgements are cumulative in ours*, and begin with what is committed. The greatest are compared, and whatever is at most committed counts as said.
//! - *Whoever gives up its leader* acknowledges no more in that term what was not on its disk then; raft-rs does.
//! - *Heartbeats commit what has been found to be the leader's*, in ours in this life. Raft-rs trusts what was acknowledged before a restart.
//! - *Where a member hears its leader and cannot answer it*, what it is sent differs: raft-rs tells of what is committed as far as it has sent entries, ours
//!   as far as they were acknowledged, or with what it sends again. In a cluster such a way is open again before both are compared.
//! - *Having heard of a leader binds ours to it for a whole election time-out*, whatever happens to its term in that time (thesis, section 6.4.1). Raft-rs is
//!   bound only while it knows a leader of its own term, which a refusal from somebody with a greater term ends. Requests are not put in between.
//! - *A leader that reaches no majority steps down* (thesis, section 6.2) when that is found out at a heartbeat, and not at a time-out of its own. The other
//!   one is told to do so when ours does. Elections begin when ours has run into its time-out: how long that is, is everybody's own affair.
//! - *What else stands in the log.* Ours has an entry for each session. What our leader puts into its log is what the other's leader is told to propose.
//! - *What a vote that is refused, and a rejection of entries say beyond that* (where to go on) differs; that it leads to the same log is compared in the cluster.
//! - *Not compared*: membership changes, snapshots, reads, repair of damage.

pub mod cluster;
mod ours;
mod theirs;
pub mod walk;

use bytes::Bytes;
use ovid::agents::replicated::MemberId;

pub use self::ours::Ours;
pub use self::theirs::Theirs;

/// One place of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// In which term it was put there.
    pub term: u64,
    /// What.
    pub record: Bytes,
}

/// What our leaders begin with; the other's is empty.
const NOTHING: &[u8] = &[0];

/// How many schedules of each kind are tried.
pub fn seeds() -> u64 {
    setting("ORACLE_SEEDS", 200)
}

/// The seed of the first one.
pub fn first_seed() -> u64 {
    setting("ORACLE_FIRST", 1)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, not {text:?}"))
    })
}

/// What members are called: the first one is number 1 to the other Raft.
fn name(number: u64) -> String {
    format!("member-{number}")
}

fn numbers(members: u64) -> Vec<u64> {
    (1..=members).collect()
}

fn names(members: u64) -> Vec<String> {
    (1..=members).map(name).collect()
}

fn id(number: u64) -> MemberId {
    MemberId::of(&name(number))
}

/// The number of a member; 0 for nobody.
fn number(members: u64, of: Option<MemberId>) -> u64 {
    of.and_then(|of| (1..=members).find(|number| id(*number) == of)).unwrap_or(0)
}

/// What is different between a member of ours and the other one; nothing if they stand alike.
fn differences(members: u64, ours: &Ours, theirs: &Theirs) -> Vec<String> {
    let status = ours.status();
    let mut found = Vec::new();
    let mut compare = |what: &str, ours: u64, theirs: u64| {
        if ours != theirs {
            found.push(format!("{what}: {ours}, and the other one {theirs}"));
        }
    };
    compare("term", status.term.0, theirs.term());
    compare("vote", number(members, ours.voted()), theirs.voted());
    compare("leads", u64::from(ours.leads()), u64::from(theirs.leads()));
    compare("leader", number(members, status.leader), theirs.leader());
    compare("committed", status.committed.0, theirs.committed());
    let (our_log, their_log) = (ours.log(), theirs.log());
    compare("last entry", status.last.0, our_log.len() as u64);
    if !is_same_log(&our_log, &their_log) {
        found.push(format!("log: {}, and the other one {}", terms(&our_log), terms(&their_log)));
    }
    found
}

fn is_same_log(ours: &[Line], theirs: &[Line]) -> bool {
    let is_same = |(ours, theirs): (&Line, &Line)| {
        let is_noop = theirs.record.is_empty() && ours.record == NOTHING;
        ours.term == theirs.term && (is_noop || ours.record == theirs.record)
    };
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(is_same)
}

fn terms(log: &[Line]) -> String {
    let terms: Vec<String> = log
        .iter()
        .map(|line| format!("{}{}", line.term, if line.record.is_empty() { "-" } else { "" }))
        .collect();
    format!("[{}]", terms.join(" "))
}

/// Puts into the other's log what our leader has put into its own.
fn follow_proposals(ours: &Ours, theirs: &mut Theirs) {
    if ours.leads() && theirs.leads() {
        let their_last = theirs.log().len();
        for line in ours.log().iter().skip(their_last) {
            theirs.propose(&line.record);
        }
    }
}
