//! The logs of this server's agents, and the disks of those that are a log themselves: what is not durable yet. Writing is the host's; here is what
//! it is asked and what its answers mean.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::hosting::Waiting;
use super::local_log::LocalLog;
use super::outputs::{Action, LogId, Outputs};
use crate::agent::{Index, Lsn, Peer, Read, Refusal, Row, Write};
use crate::store::RECORD_BYTES_MAX;

/// The most that an agent which is a log itself may have asked to be written and that is not durable, in bytes. It bounds that itself, far below.
const STORE_PENDING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Which log an agent's configuration chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogKind {
    /// None: nothing can be proposed.
    None,
    /// It lasts as long as the process.
    Memory,
    /// A folder of this box.
    Local,
    /// The agent is a log itself, on a folder of this box.
    Own,
}

#[derive(Debug)]
enum Log {
    Memory { next: u64 },
    Local(LocalLog),
    Own { id: LogId, last: Lsn, pending: VecDeque<(Lsn, usize)>, pending_bytes: usize },
    OwnFailed { id: LogId },
}

impl Log {
    /// What the host calls it.
    fn id(&self) -> Option<LogId> {
        match self {
            Self::Memory { .. } => None,
            Self::Local(log) => Some(log.id()),
            Self::Own { id, .. } | Self::OwnFailed { id } => Some(*id),
        }
    }
}

/// The logs of all agents of one server.
#[derive(Debug, Default)]
pub(super) struct Logs {
    by_agent: BTreeMap<Peer, Log>,
    ids_used: u64,
}

impl Logs {
    /// Opens the log of an agent that begins; whether it can start at once, or has to wait for what the log holds.
    pub(super) fn open(&mut self, peer: Peer, kind: LogKind, name: &str, out: &mut Outputs) -> bool {
        match kind {
            LogKind::None => true,
            LogKind::Memory => {
                self.by_agent.insert(peer, Log::Memory { next: 1 });
                true
            }
            LogKind::Local => {
                self.ids_used += 1;
                let log = LocalLog::open(LogId(self.ids_used), name, out);
                self.by_agent.insert(peer, Log::Local(log));
                false
            }
            LogKind::Own => {
                self.ids_used += 1;
                let id = LogId(self.ids_used);
                let own = Log::Own { id, last: Lsn(0), pending: VecDeque::new(), pending_bytes: 0 };
                self.by_agent.insert(peer, own);
                out.act(Action::OpenStore { log: id, name: format!("{name}.store"), former: None });
                false
            }
        }
    }

    /// The agent is gone; what was proposed before is still written.
    pub(super) fn close(&mut self, peer: Peer, out: &mut Outputs) {
        if let Some(id) = self.by_agent.remove(&peer).and_then(|log| log.id()) {
            out.act(Action::CloseLog(id));
        }
    }

    /// Whose log this is; `None` if the agent is gone.
    pub(super) fn agent_of(&self, log: LogId) -> Option<Peer> {
        self.by_agent.iter().find(|(_, state)| state.id() == Some(log)).map(|(peer, _)| *peer)
    }

    /// The log of an agent that has one on this box and is none itself.
    pub(super) fn local(&mut self, peer: Peer) -> Option<&mut LocalLog> {
        match self.by_agent.get_mut(&peer) {
            Some(Log::Local(log)) => Some(log),
            _ => None,
        }
    }

    /// The log cannot be written any more; what becomes of the records that waited.
    pub(super) fn failed(&mut self, peer: Peer, why: &str) -> Vec<Waiting> {
        match self.by_agent.get_mut(&peer) {
            Some(Log::Local(log)) => log.fail(why),
            Some(state @ (Log::Own { .. } | Log::OwnFailed { .. })) => {
                if let Some(id) = state.id() {
                    *state = Log::OwnFailed { id };
                }
                vec![Waiting::StoreFailed { why: why.to_owned() }]
            }
            Some(Log::Memory { .. }) | None => Vec::new(),
        }
    }

    /// An agent proposes a record; what it is to be told at once, if anything.
    pub(super) fn propose(&mut self, peer: Peer, record: Bytes, out: &mut Outputs) -> Option<Waiting> {
        let (record, why) = match self.by_agent.get_mut(&peer) {
            None | Some(Log::Own { .. } | Log::OwnFailed { .. }) => (record, Refusal::NoLog),
            Some(Log::Memory { .. }) if record.len() > RECORD_BYTES_MAX => {
                let bytes = record.len();
                (record, Refusal::TooLong { bytes, bytes_max: RECORD_BYTES_MAX })
            }
            Some(Log::Memory { next }) => {
                let index = Index(*next);
                *next += 1;
                return Some(Waiting::Committed { index, record });
            }
            Some(Log::Local(log)) => log.propose(record, out).err()?,
        };
        Some(Waiting::NotCommitted { record, why })
    }
}

/// The disks of agents that are a log themselves.
impl Logs {
    /// Whether an agent has such a disk.
    pub(super) fn is_own(&self, peer: Peer) -> bool {
        matches!(self.by_agent.get(&peer), Some(Log::Own { .. } | Log::OwnFailed { .. }))
    }

    /// Such an agent asks for something to be written; what it is to be told at once, if anything.
    pub(super) fn write(&mut self, peer: Peer, write: Write, out: &mut Outputs) -> Option<Waiting> {
        let Some(Log::Own { id, last, pending, pending_bytes }) = self.by_agent.get_mut(&peer) else {
            return None;
        };
        *last = last.next();
        let bytes = footprint_bytes(&write);
        pending.push_back((*last, bytes));
        *pending_bytes += bytes;
        if *pending_bytes > STORE_PENDING_BYTES_MAX {
            let (id, why) = (*id, format!("more than {STORE_PENDING_BYTES_MAX} bytes wait for the disk"));
            self.by_agent.insert(peer, Log::OwnFailed { id });
            return Some(Waiting::StoreFailed { why });
        }
        out.act(Action::Write { log: *id, write });
        None
    }

    /// Such an agent asks for something to be read.
    pub(super) fn read(&mut self, peer: Peer, read: Read, out: &mut Outputs) {
        if let Some(Log::Own { id, .. }) = self.by_agent.get(&peer) {
            out.act(Action::Read { log: *id, read });
        }
    }

    /// Its writes up to `upto` are durable; whether that means anything to it.
    pub(super) fn store_stored(&mut self, peer: Peer, upto: Lsn) -> bool {
        let Some(Log::Own { pending, pending_bytes, .. }) = self.by_agent.get_mut(&peer) else {
            return false;
        };
        while pending.front().is_some_and(|(lsn, _)| *lsn <= upto)
            && let Some((_, bytes)) = pending.pop_front()
        {
            *pending_bytes -= bytes;
        }
        true
    }
}

/// How much memory a write takes, about, in bytes.
fn footprint_bytes(write: &Write) -> usize {
    const WRITE_BYTES: usize = 64;
    let of_rows = |rows: &[Row]| -> usize {
        let of_row = |row: &Row| WRITE_BYTES + row.key.len() + row.value.as_ref().map_or(0, Bytes::len);
        rows.iter().map(of_row).sum()
    };
    let bytes = match write {
        Write::State { state } => state.len(),
        Write::Append { entry } => entry.record.len(),
        Write::Apply { applied, rows } => applied.meta.len() + of_rows(rows),
        Write::Receive { rows, .. } => of_rows(rows),
        Write::Truncate { .. } | Write::Install { .. } | Write::Compact { .. } => 0,
    };
    WRITE_BYTES + bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Peer = Peer(3);

    fn actions(out: &mut Outputs) -> Vec<Action> {
        std::iter::from_fn(|| out.next_action()).collect()
    }

    #[test]
    fn a_log_in_memory_commits_at_once_and_refuses_what_a_disk_would() {
        let (mut logs, mut out) = (Logs::default(), Outputs::default());
        assert!(logs.open(AGENT, LogKind::Memory, "a", &mut out));
        let endless = logs.propose(AGENT, Bytes::from(vec![0; RECORD_BYTES_MAX + 1]), &mut out);
        assert!(matches!(endless, Some(Waiting::NotCommitted { why: Refusal::TooLong { .. }, .. })));
        let first = logs.propose(AGENT, Bytes::from_static(b"r"), &mut out);
        assert!(matches!(first, Some(Waiting::Committed { index: Index(1), .. })));
        logs.close(AGENT, &mut out);
        assert_eq!(actions(&mut out), []);
    }

    #[test]
    fn an_answer_about_a_log_that_is_closed_finds_nobody() {
        let (mut logs, mut out) = (Logs::default(), Outputs::default());
        assert!(!logs.open(AGENT, LogKind::Local, "a", &mut out));
        let log = LogId(1);
        assert_eq!(logs.agent_of(log), Some(AGENT));
        actions(&mut out);
        logs.close(AGENT, &mut out);
        assert_eq!((actions(&mut out), logs.agent_of(log)), (vec![Action::CloseLog(log)], None));
        assert!(logs.local(AGENT).is_none());
    }

    #[test]
    fn a_disk_of_its_own_takes_writes_in_order_until_it_fails() {
        let (mut logs, mut out) = (Logs::default(), Outputs::default());
        assert!(!logs.open(AGENT, LogKind::Own, "a", &mut out));
        let log = LogId(1);
        assert_eq!(actions(&mut out), [Action::OpenStore { log, name: "a.store".into(), former: None }]);
        assert_eq!((logs.is_own(AGENT), logs.agent_of(log)), (true, Some(AGENT)));
        let write = Write::Truncate { from: Index(1) };
        assert!(logs.write(AGENT, write.clone(), &mut out).is_none());
        let read = Read::EndRows { token: 1 };
        logs.read(AGENT, read.clone(), &mut out);
        assert_eq!(
            actions(&mut out),
            [Action::Write { log, write: write.clone() }, Action::Read { log, read }]
        );
        assert!(logs.store_stored(AGENT, Lsn(1)));
        let failed = logs.failed(AGENT, "no space");
        assert!(matches!(failed[..], [Waiting::StoreFailed { .. }]));
        assert!(logs.write(AGENT, write, &mut out).is_none());
        assert!(!logs.store_stored(AGENT, Lsn(2)), "nothing more is believed of it");
        assert_eq!(actions(&mut out), []);
        logs.close(AGENT, &mut out);
        assert_eq!(actions(&mut out), [Action::CloseLog(log)]);
    }

    #[test]
    fn an_agent_whose_disk_does_not_keep_up_loses_it_before_the_server_loses_its_memory() {
        let (mut logs, mut out) = (Logs::default(), Outputs::default());
        logs.open(AGENT, LogKind::Own, "a", &mut out);
        let state = Bytes::from(vec![0; STORE_PENDING_BYTES_MAX / 4]);
        let mut write = || logs.write(AGENT, Write::State { state: state.clone() }, &mut out);
        assert!((0..3).all(|_| write().is_none()));
        assert!(matches!(write(), Some(Waiting::StoreFailed { why }) if why.contains("wait for the disk")));
    }
}
