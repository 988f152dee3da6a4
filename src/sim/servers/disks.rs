//! The disks of simulated machines: what was written is durable at once, and survives the process. What can go wrong with a disk is the
//! other world's to try.

use std::collections::BTreeMap;

use crate::agent::{Found, Lsn, Read, Recovered, Write};
use crate::server::LogId;
use crate::sim::world::{Contents, Reading};

/// The disks of all machines.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// What the folder of each log holds, by machine and name.
    folders: BTreeMap<(u16, String), Contents>,
    /// Which folder a process means, by machine and what the process calls it.
    open: BTreeMap<(u16, LogId), Store>,
}

/// A folder that is open.
#[derive(Debug)]
struct Store {
    name: String,
    written: Lsn,
    readings: BTreeMap<u64, Reading>,
}

impl Disks {
    /// A process opens the folder of a log.
    pub(super) fn open(&mut self, id: u16, log: LogId, name: String) -> Recovered {
        let recovered = self.folders.entry((id, name.clone())).or_default().recovered();
        self.open.insert((id, log), Store { name, written: Lsn(0), readings: BTreeMap::new() });
        recovered
    }

    /// A process writes there; the number of that write, or why it cannot be.
    pub(super) fn write(&mut self, id: u16, log: LogId, write: &Write) -> Result<Lsn, String> {
        let store = self.open.get_mut(&(id, log)).ok_or("it is not open")?;
        self.folders.entry((id, store.name.clone())).or_default().write(write)?;
        store.written = store.written.next();
        Ok(store.written)
    }

    /// A process reads there; nothing if it only gives up reading, or had not begun to.
    pub(super) fn read(&mut self, id: u16, log: LogId, read: &Read) -> Option<Found> {
        let store = self.open.get_mut(&(id, log))?;
        let contents = self.folders.get(&(id, store.name.clone()))?;
        match *read {
            Read::Look(ref look) => Some(contents.look(look)),
            Read::Entries { from, upto, bytes_max } => Some(contents.read(from, upto, bytes_max)),
            Read::Rows { token, part, bytes_max } => {
                if part == 0 {
                    store.readings.insert(token, contents.reading());
                }
                Some(store.readings.get_mut(&token)?.next(token, part, bytes_max))
            }
            Read::EndRows { token } => {
                store.readings.remove(&token);
                None
            }
        }
    }

    /// A process closes a folder.
    pub(super) fn close(&mut self, id: u16, log: LogId) {
        self.open.remove(&(id, log));
    }

    /// The process is gone, and with it what it had open.
    pub(super) fn close_all(&mut self, id: u16) {
        self.open.retain(|(machine, _), _| *machine != id);
    }
}
