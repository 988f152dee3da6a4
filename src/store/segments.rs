//! A log in segments: files of a folder, made one after the other with all their room, written from front to back.
//!
//! A segment is not begun before everything in those before it is durable, so only the last one can end in an unfinished write. Its name appears once its
//! header is on the disk. What was cut off is never written again in place: the file is made shorter, and then longer by zeros.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use super::bodies::Bodies;
use super::files::Files;
use super::item::{self, Found, Header, Item, MARK, What};
use super::map::{Map, Place};
use super::survey::{Fault, Survey, Tail};
use crate::agent::{Entry, Index};

/// A log that is open for writing.
#[derive(Debug)]
pub(super) struct Segments<F: Files> {
    files: F,
    /// From the oldest to the one that is written.
    all: VecDeque<Segment<F::File>>,
    map: Map,
    seq: u64,
    installs: u64,
    version: u64,
    state: Vec<u8>,
    suspect: bool,
    /// Whether a newer one may have been lost than what is kept.
    unsure: bool,
    /// Items that are not in the file of the last segment yet.
    buffer: Vec<u8>,
    /// Whether that file holds anything that may not be durable.
    unsynced: bool,
    /// How long segments are to be.
    sizes: Sizes,
}

/// How long segments are made, in bytes. Short logs stay short, long ones are few files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The first one.
    pub(super) first: u64,
    /// Each is twice as long as the one before, up to this.
    pub(super) most: u64,
}

#[derive(Debug)]
struct Segment<H> {
    number: u64,
    file: H,
    /// How many of its bytes are written.
    used: u64,
    /// How many it has.
    len: u64,
    /// Up to where its blocks have been written, be it by zeros.
    blocks_written: u64,
}

/// What was found when a log was opened, beside the log.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Whether there was no log at all.
    pub(super) new: bool,
    /// How many bytes of an unfinished write were cut off.
    pub(super) torn_bytes: u64,
    /// What is wrong with it.
    pub(super) faults: Vec<Fault>,
}

/// What went wrong, and with what.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) doing: &'static str,
    pub(super) name: String,
    pub(super) source: io::Error,
}

impl<F: Files> Segments<F> {
    /// Opens the log, or makes it. An unfinished write at its end is cut off, durably; what is damaged stays where it is.
    pub(super) fn open(files: F, sizes: Sizes) -> Result<(Self, Opening), Trouble> {
        let names = files.list().map_err(trouble("list the files of", "the folder"))?;
        if names.iter().any(|name| name == UNFINISHED) {
            files.remove(UNFINISHED).map_err(trouble("remove", UNFINISHED))?;
        }
        let mut survey = Survey::default();
        let mut all = VecDeque::new();
        for number in numbers(&names) {
            let name = name_of(number);
            let file = files.open(&name).map_err(trouble("open", &name))?;
            let len = files.len(&file).map_err(trouble("measure", &name))?;
            let used = read_through(&files, &file, number, &mut survey).map_err(trouble("read", &name))?;
            all.push_back(Segment { number, file, used, len, blocks_written: used });
        }
        let tail = survey.finish();
        let opening = Opening {
            new: all.is_empty(),
            torn_bytes: if let Tail::Torn(bytes) = tail { bytes } else { 0 },
            faults: std::mem::take(&mut survey.faults),
        };
        let Survey { map, seq, installs, version, state, suspect, state_unsure: unsure, .. } = survey;
        let version = version.max(NO_STATE);
        let (buffer, unsynced) = (Vec::new(), false);
        let mut log =
            Self { files, all, map, seq, installs, version, state, suspect, unsure, buffer, unsynced, sizes };
        log.mend_end(tail)?;
        Ok((log, opening))
    }

    /// Makes the end of what was found something that can be written on.
    fn mend_end(&mut self, tail: Tail) -> Result<(), Trouble> {
        let Some(last) = self.all.back_mut() else { return self.begin_segment(false, 0) };
        let name = name_of(last.number);
        if let Tail::Torn(_) = tail {
            self.files.set_len(&last.file, last.used).map_err(trouble("cut the torn end off", &name))?;
        }
        // What was read may have been in the system's memory only: a process that died, not a machine. It is about to be relied on.
        self.files.sync(&last.file).map_err(trouble("sync", &name))?;
        self.files.sync_folder().map_err(trouble("sync", "the folder"))?;
        if let Tail::Damaged = tail {
            return self.begin_segment(false, 0);
        }
        if let Tail::Torn(_) = tail {
            self.files.preallocate(&last.file, last.len).map_err(trouble("make room in", &name))?;
        }
        Ok(())
    }

    /// Which entries there are.
    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// How many times rows have been installed.
    pub(super) fn installs(&self) -> u64 {
        self.installs
    }

    /// What is kept beside the log, and the how-manieth that is.
    pub(super) fn state(&self) -> (u64, &[u8]) {
        (self.version, &self.state)
    }

    /// Whether something was damaged of which nobody knows what it was.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Whether what was kept beside the log may have been something newer than what it tells.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// From now on, and after each start, the log is suspect, until it is truncated or begun anew.
    pub(super) fn doubt(&mut self) -> Result<(), Trouble> {
        if std::mem::replace(&mut self.suspect, true) { Ok(()) } else { self.begin_segment(false, 0) }
    }

    /// From now on, and after each start, what is kept beside the log is unsure, until something is kept.
    pub(super) fn doubt_state(&mut self) -> Result<(), Trouble> {
        if std::mem::replace(&mut self.unsure, true) { Ok(()) } else { self.begin_segment(false, 0) }
    }

    /// Puts an entry behind the last one; its index is the next.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), Trouble> {
        debug_assert_eq!(entry.index, self.map.next());
        let place = self.put(What::Entry { term: entry.term, record: &entry.record })?;
        self.map.append(entry.term, place);
        Ok(())
    }

    /// Removes this entry and those behind it.
    pub(super) fn truncate(&mut self, from: Index) -> Result<(), Trouble> {
        self.put(What::Truncate { from })?;
        self.map.cut(from);
        self.suspect = false;
        Ok(())
    }

    /// Keeps a state.
    pub(super) fn keep(&mut self, version: u64, state: &[u8]) -> Result<(), Trouble> {
        self.put(What::State { version, state })?;
        (self.version, self.unsure) = (version, false);
        self.state = state.to_vec();
        Ok(())
    }

    /// Removes the whole log; it goes on with `next`, after rows were installed for the `installs`-th time. Durable when this returns.
    pub(super) fn restart(&mut self, next: Index, installs: u64, suspect: bool) -> Result<(), Trouble> {
        self.write_out()?;
        self.map.restart(next);
        (self.installs, self.suspect) = (installs, suspect);
        self.begin_segment(true, 0)?;
        while self.all.len() > 1 {
            self.remove_first()?;
        }
        self.files.sync_folder().map_err(trouble("sync", "the folder"))
    }

    /// Allows entries up to this one to be forgotten, which goes by whole segments.
    pub(super) fn compact(&mut self, upto: Index) -> Result<(), Trouble> {
        let mut removed = false;
        while let Some(second) = self.all.get(1) {
            let first = self.map.first_from(second.number);
            if first.0 > upto.0 + 1 {
                break;
            }
            // It may be a truncation that nobody needs its entries for, which has to be durable then.
            self.sync()?;
            self.remove_first()?;
            self.map.forget_before(first);
            removed = true;
        }
        if removed {
            self.files.sync_folder().map_err(trouble("sync", "the folder"))?;
        }
        Ok(())
    }

    /// The entries before this one count as forgotten: they are covered by rows, and not all of them can be read.
    pub(super) fn forget_before(&mut self, first: Index) {
        self.map.forget_before(first);
    }

    /// Returns once everything is durable.
    pub(super) fn sync(&mut self) -> Result<(), Trouble> {
        self.write_out()?;
        if self.unsynced
            && let Some(last) = self.all.back()
        {
            self.files.sync(&last.file).map_err(trouble("sync", &name_of(last.number)))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Entries that follow one another, from `from` up to `upto`, with at most so many bytes, but at least one if it is there.
    pub(super) fn read(&mut self, from: Index, upto: Index, bytes_max: usize) -> Result<Vec<Entry>, Trouble> {
        // What is read has to be in the file, durable or not.
        self.write_out()?;
        let mut entries = Vec::new();
        let mut room = bytes_max;
        let mut next = from;
        // Some of those that are lost could be read, and would not be what they seem.
        let upto = self.map.damage_behind(from).map_or(upto, |(first, _)| upto.min(Index(first.0 - 1)));
        while next <= upto && next < self.map.next() && next >= self.map.first() {
            let Some((place, end)) = self.map.find(next) else { break };
            let end = end.min(Index(upto.0 + 1));
            let before = entries.len();
            let full = self.read_run(place, next, end, &mut room, &mut entries)?;
            next = Index(next.0 + (entries.len() - before) as u64);
            if full || next < end {
                break;
            }
        }
        Ok(entries)
    }

    /// Reads entries from `next` to before `end`, which stand one behind the other from `place` on; whether there was no room for another.
    fn read_run(
        &self,
        place: Place,
        mut next: Index,
        end: Index,
        room: &mut usize,
        entries: &mut Vec<Entry>,
    ) -> Result<bool, Trouble> {
        let Some(segment) = self.all.iter().find(|segment| segment.number == place.segment) else {
            return Ok(false);
        };
        let name = name_of(segment.number);
        let mut bodies = Bodies::new(place.at_byte, segment.used, READ_BYTES);
        let mut plain = Vec::new();
        while next < end {
            let Some((_, stuffed)) =
                bodies.next(&self.files, &segment.file).map_err(trouble("read", &name))?
            else {
                break;
            };
            let Found::Item(Item { next: index, what, .. }) = item::read(stuffed, &mut plain) else { break };
            let What::Entry { term, record } = what else { continue };
            if index > next {
                break;
            }
            if index < next {
                continue;
            }
            let cost = record.len() + ENTRY_BYTES;
            if cost > *room && !entries.is_empty() {
                return Ok(true);
            }
            *room = room.saturating_sub(cost);
            entries.push(Entry { index, term, record: Bytes::copy_from_slice(record) });
            next = Index(next.0 + 1);
        }
        Ok(*room == 0)
    }

    /// Puts an item behind the last one; where it is.
    fn put(&mut self, what: What<'_>) -> Result<Place, Trouble> {
        let mut mark = self.buffer.len();
        self.encode(what);
        let last = self.last();
        if last.used + self.buffer.len() as u64 > last.len {
            let bytes = self.buffer.len() - mark + NUMBERS_GROW_BYTES;
            self.buffer.truncate(mark);
            self.seq -= 1;
            self.begin_segment(false, bytes as u64)?;
            mark = 0;
            self.encode(what);
        }
        let last = self.last();
        let place = Place { segment: last.number, at_byte: last.used + mark as u64 };
        if self.buffer.len() > BUFFER_BYTES_MAX {
            self.write_out()?;
        }
        Ok(place)
    }

    fn last(&self) -> &Segment<F::File> {
        self.all.back().expect("an open log has one")
    }

    fn encode(&mut self, what: What<'_>) {
        self.seq += 1;
        item::encode(&Item { seq: self.seq, next: self.map.next(), what }, &mut self.buffer);
    }

    /// Hands what has gathered to the system.
    fn write_out(&mut self) -> Result<(), Trouble> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let last = self.all.back_mut().expect("an open log has one");
        let end = last.used + self.buffer.len() as u64;
        if end > last.blocks_written {
            // A file system has to note each block that is written for the first time, which makes a sync slow; so that comes seldom. Writes that are
            // long themselves would only become longer.
            let short = (self.buffer.len() as u64) < AHEAD_BYTES / 8;
            let ahead = if short { AHEAD_BYTES.min(last.len / 4) } else { 0 };
            last.blocks_written = (end + ahead).min(last.len);
            let bytes = usize::try_from(last.blocks_written - last.used).expect("a part of a segment");
            self.buffer.resize(bytes, MARK);
        }
        let failed = trouble("write to", &name_of(last.number));
        self.files.write_at(&last.file, &self.buffer, last.used).map_err(failed)?;
        last.used = end;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        self.unsynced = true;
        Ok(())
    }

    /// Makes the next segment, with room for `bytes` at least, and everything before it durable.
    fn begin_segment(&mut self, restart: bool, bytes: u64) -> Result<(), Trouble> {
        self.sync()?;
        let number = self.all.back().map_or(1, |last| last.number + 1);
        let doubled = self.all.back().map_or(self.sizes.first, |last| last.len.saturating_mul(2));
        let mut header = Vec::new();
        let (suspect, installs, version) = (self.suspect, self.installs, self.version);
        let unsure = self.unsure;
        let header_is = Header { number, restart, suspect, unsure, installs, version, state: &self.state };
        let (seq, next) = (self.seq + 1, self.map.next());
        item::encode(&Item { seq, next, what: What::Segment(header_is) }, &mut header);
        let len = doubled.min(self.sizes.most).max(header.len() as u64 + bytes);
        let file = self.make_file(number, &header, len).inspect_err(|_| {
            // On a full disk it may hold the last room that there was, and nobody would think of looking here for it.
            let _ = self.files.remove(UNFINISHED);
        })?;
        self.seq = seq;
        self.map.break_off();
        let used = header.len() as u64;
        self.all.push_back(Segment { number, file, used, len, blocks_written: used });
        Ok(())
    }

    /// Makes the file of a segment, durably.
    fn make_file(&self, number: u64, header: &[u8], len: u64) -> Result<F::File, Trouble> {
        let name = name_of(number);
        let file = self.files.create(UNFINISHED).map_err(trouble("create", &name))?;
        self.files.preallocate(&file, len).map_err(trouble("make room for", &name))?;
        self.files.write_at(&file, header, 0).map_err(trouble("write to", &name))?;
        self.files.sync(&file).map_err(trouble("sync", &name))?;
        self.files.rename(UNFINISHED, &name).map_err(trouble("create", &name))?;
        self.files.sync_folder().map_err(trouble("sync", "the folder"))?;
        Ok(file)
    }

    fn remove_first(&mut self) -> Result<(), Trouble> {
        let Some(first) = self.all.pop_front() else { return Ok(()) };
        let name = name_of(first.number);
        self.files.remove(&name).map_err(trouble("remove", &name))
    }
}

/// Reads a whole segment into `survey`; how many of its bytes belong to what is sound or damaged, without what was not written to its end.
pub(super) fn read_through<F: Files>(
    files: &F,
    file: &F::File,
    number: u64,
    survey: &mut Survey,
) -> io::Result<u64> {
    survey.begin(number);
    let mut used = 0;
    let mut bodies = Bodies::new(0, files.len(file)?, SCAN_BYTES);
    while let Some((at_byte, stuffed)) = bodies.next(files, file)? {
        if survey.body(at_byte, stuffed) {
            // The mark behind it belongs to it.
            used = at_byte + stuffed.len() as u64 + 1;
        }
    }
    Ok(used)
}

/// The numbers of all segments, ascending.
pub(super) fn numbers(names: &[String]) -> Vec<u64> {
    let number = |name: &String| {
        let digits = name.strip_suffix(SUFFIX)?;
        digits.parse().ok().filter(|&number| name_of(number) == *name)
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// What the file of a segment is called.
pub(super) fn name_of(number: u64) -> String {
    format!("{number:010}{SUFFIX}")
}

fn trouble(doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> Trouble + use<> {
    let name = name.to_owned();
    move |source| Trouble { doing, name, source }
}

const SUFFIX: &str = ".segment";
/// The version of what is kept beside a log when nothing was kept yet.
pub(super) const NO_STATE: u64 = 1;
/// A segment that nobody relies on yet.
const UNFINISHED: &str = "unfinished";
/// How much is encoded before it is handed to the system.
const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How far a segment is filled with zeros before it is written.
const AHEAD_BYTES: u64 = 1024 * 1024;
/// How much is read at a time where everything is read, and where a few entries are.
const SCAN_BYTES: usize = 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;
/// What an entry costs of the room for an answer beside its record, so that empty records cannot be without number.
const ENTRY_BYTES: usize = 16;
/// By how much an item may grow when it is put into the next segment, where its number is greater.
const NUMBERS_GROW_BYTES: usize = 8;
