//! The disks of simulated machines: what was appended is durable at once, and survives the process. What can go wrong with a disk is the
//! other world's to try.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::agent::Index;
use crate::server::LogId;

/// The log files of all machines.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// The records of each file, by machine and name.
    files: BTreeMap<(u16, String), Vec<Bytes>>,
    /// Which file a process means, by machine and what the process calls it.
    open: BTreeMap<(u16, LogId), String>,
}

impl Disks {
    /// A process opens a file: its records, and the place of the next one.
    pub(super) fn open(&mut self, id: u16, log: LogId, name: String) -> (Vec<(Index, Vec<u8>)>, Index) {
        let file = self.files.entry((id, name.clone())).or_default();
        let records = (1..).map(Index).zip(file.iter().map(|record| record.to_vec())).collect();
        let next = Index(file.len() as u64 + 1);
        self.open.insert((id, log), name);
        (records, next)
    }

    /// A process appends a record; whether it had opened the file.
    pub(super) fn append(&mut self, id: u16, log: LogId, record: Bytes) -> bool {
        let name = self.open.get(&(id, log)).cloned();
        let file = name.and_then(|name| self.files.get_mut(&(id, name)));
        file.map(|file| file.push(record)).is_some()
    }

    /// A process closes a file.
    pub(super) fn close(&mut self, id: u16, log: LogId) {
        self.open.remove(&(id, log));
    }

    /// The process is gone, and with it what it had open.
    pub(super) fn close_all(&mut self, id: u16) {
        self.open.retain(|(machine, _), _| *machine != id);
    }
}
