//! What the items of a log come to, read one after the other from all its segments: at the start of a server, and whenever somebody looks.
//!
//! **What is lost** is worked out, not guessed. Items are numbered, and each says which index was next when it came. Between two sound items with `lost`
//! numbers missing between them the next index has grown by `grown`:
//! - If they are equal, each lost item was an entry, and it is known which.
//! - If one item is lost and nothing has grown, it was what is kept beside the log; if the index has shrunk, it was a truncation to there.
//! - Otherwise at most `lost - 1` entries were written behind a truncation: so many before the next index are not what they seem, and count as lost,
//!   too. No entry before them can have changed.
//!
//! Only at the end, with no sound item behind, nobody can say what was there: then the log is suspect.

use std::fmt;

use super::item::{self, Found, Header, Item, What};
use super::map::{Map, Place};
use crate::agent::Index;

/// A place in a log where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The number of the segment.
    pub(super) segment: u64,
    /// How many of its bytes lie before it.
    pub(super) at_byte: u64,
    /// How many bytes it has; none where something is missing.
    pub(super) bytes: u64,
    /// What is wrong there.
    pub(super) what: Wrong,
}

/// What can be wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// These bytes are no item: they, or the marks around them, have changed.
    Unreadable,
    /// An item that is sound and has no business there.
    OutOfPlace,
    /// The segments before this one, so many of them, are not there.
    SegmentsMissing(u64),
    /// So many items are missing before this one; first and last of the entries among them, if there are any.
    ItemsMissing(u64, Option<(Index, Index)>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, at_byte, bytes, what } = self;
        match what {
            Wrong::Unreadable => {
                write!(f, "{bytes} bytes from byte {at_byte} of segment {segment} on are unreadable")
            }
            Wrong::OutOfPlace => {
                write!(f, "what stands at byte {at_byte} of segment {segment} belongs elsewhere")
            }
            Wrong::SegmentsMissing(1) => write!(f, "the segment before segment {segment} is missing"),
            Wrong::SegmentsMissing(count) => {
                write!(f, "{count} segments before segment {segment} are missing")
            }
            Wrong::ItemsMissing(count, None) => {
                write!(
                    f,
                    "{count} items are missing before byte {at_byte} of segment {segment}, none of them an entry"
                )
            }
            Wrong::ItemsMissing(count, Some((first, last))) => {
                write!(f, "{count} items are missing before byte {at_byte} of segment {segment}; ")?;
                write!(f, "entries {first} to {last} are lost")
            }
        }
    }
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With a sound item, or with nothing. Behind it there is room.
    Sound,
    /// With an item that was not written to its end; nobody was told that it is durable. So many bytes.
    Torn(u64),
    /// With something that cannot be read any more.
    Damaged,
}

/// What has been read so far.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Survey {
    pub(super) map: Map,
    /// The number of the last item.
    pub(super) seq: u64,
    pub(super) installs: u64,
    /// What is kept beside the log, and the how-manieth that is.
    pub(super) version: u64,
    pub(super) state: Vec<u8>,
    /// Whether a newer one may have been lost.
    pub(super) state_unsure: bool,
    /// Whether something was damaged of which nobody knows what it was.
    pub(super) suspect: bool,
    pub(super) faults: Vec<Fault>,
    /// The segment that is being read; 0 before the first.
    segment: u64,
    /// Whether it is known from where on is counted.
    counting: bool,
    /// Whether nothing sound of the segment has come yet.
    header_due: bool,
    /// How many headers are among what is missing since the last sound item.
    headers_lost: u64,
    /// The unreadable bytes that nothing sound has ended yet in this segment.
    run: Option<Run>,
    /// How many bodies were unreadable since the last sound item, in all segments.
    bodies_lost: u64,
    /// Room for one item.
    plain: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    from_byte: u64,
    upto_byte: u64,
    bodies: u64,
    torn: bool,
}

impl Survey {
    /// The segment of this number comes next; a greater one than those before.
    pub(super) fn begin(&mut self, number: u64) {
        self.end_run();
        self.headers_lost += u64::from(self.header_due);
        if self.segment == 0 {
            // The first segment of all begins with the first item of all. Of another one it stands in its header.
            self.counting = number == 1;
        } else if number > self.segment + 1 {
            let missing = number - self.segment - 1;
            self.headers_lost += missing;
            self.faults.push(Fault {
                segment: number,
                at_byte: 0,
                bytes: 0,
                what: Wrong::SegmentsMissing(missing),
            });
        }
        (self.segment, self.header_due) = (number, true);
    }

    /// The bytes between two marks of this segment, of which the first is byte `at_byte`. Whether they are more than the beginning of something.
    pub(super) fn body(&mut self, at_byte: u64, stuffed: &[u8]) -> bool {
        let mut plain = std::mem::take(&mut self.plain);
        let found = item::read(stuffed, &mut plain);
        match found {
            Found::Item(item) => self.item(at_byte, stuffed.len() as u64, &item),
            Found::Torn => self.unreadable(at_byte, stuffed.len() as u64, true),
            Found::Unreadable => self.unreadable(at_byte, stuffed.len() as u64, false),
        }
        let torn = matches!(found, Found::Torn);
        self.plain = plain;
        !torn
    }

    /// All segments have been read. Whatever is written from now on follows what this has come to.
    pub(super) fn finish(&mut self) -> Tail {
        let run = self.run;
        let torn = run.filter(|run| run.torn && run.bodies == 1 && self.bodies_lost == 1);
        if let Some(run) = torn.filter(|_| !self.header_due && self.headers_lost == 0) {
            return Tail::Torn(run.upto_byte - run.from_byte);
        }
        self.end_run();
        let headers = self.headers_lost + u64::from(self.header_due);
        if headers == 0 && self.bodies_lost == 0 {
            return Tail::Sound;
        }
        // So that what is written now tells whoever reads it later the same as this.
        let entries = self.bodies_lost.saturating_sub(headers);
        self.map.lose(Index(self.map.next().0 + entries));
        self.seq += entries + headers;
        (self.suspect, self.state_unsure) = (true, true);
        Tail::Damaged
    }

    fn unreadable(&mut self, at_byte: u64, bytes: u64, torn: bool) {
        self.bodies_lost += 1;
        let run = self.run.get_or_insert(Run { from_byte: at_byte, upto_byte: at_byte, bodies: 0, torn });
        run.upto_byte = at_byte + bytes;
        run.bodies += 1;
    }

    fn end_run(&mut self) {
        if let Some(Run { from_byte, upto_byte, .. }) = self.run.take() {
            let bytes = upto_byte - from_byte;
            let what = Wrong::Unreadable;
            self.faults.push(Fault { segment: self.segment, at_byte: from_byte, bytes, what });
        }
    }

    fn item(&mut self, at_byte: u64, bytes: u64, item: &Item<'_>) {
        let place = Place { segment: self.segment, at_byte };
        if self.counting && item.seq <= self.seq {
            self.faults.push(Fault { segment: self.segment, at_byte, bytes, what: Wrong::OutOfPlace });
            return;
        }
        self.end_run();
        let header = match item.what {
            What::Segment(header) if self.header_due => Some(header),
            _ => None,
        };
        self.headers_lost += u64::from(self.header_due && header.is_none());
        self.header_due = false;
        if !self.counting {
            self.counting = true;
            self.map.restart(item.next);
            self.state_unsure = header.is_none();
        } else if header.is_none_or(|header| !header.restart) {
            let lost = (item.seq - self.seq - 1).saturating_sub(self.headers_lost);
            self.fill_gap(place, lost, item.next);
        }
        (self.seq, self.headers_lost, self.bodies_lost) = (item.seq, 0, 0);
        self.take(place, item, header);
    }

    fn take(&mut self, place: Place, item: &Item<'_>, header: Option<Header<'_>>) {
        match item.what {
            What::Entry { term, .. } => self.map.append(term, place),
            What::Truncate { from } => {
                self.map.cut(from);
                self.suspect = false;
            }
            What::State { version, state } => self.keep(version, state),
            What::Segment(_) => {
                let Some(header) = header else {
                    let what = Wrong::OutOfPlace;
                    self.faults.push(Fault {
                        segment: place.segment,
                        at_byte: place.at_byte,
                        bytes: 0,
                        what,
                    });
                    return;
                };
                if header.restart {
                    self.map.restart(item.next);
                    self.suspect = false;
                }
                self.suspect |= header.suspect;
                self.installs = header.installs;
                self.keep(header.version, header.state);
                self.state_unsure = header.unsure;
            }
        }
    }

    fn keep(&mut self, version: u64, state: &[u8]) {
        self.version = version;
        self.state.clear();
        self.state.extend_from_slice(state);
        self.state_unsure = false;
    }

    /// Works out what became of `lost` items, none of them a header, before the item at `place`, when `next` was next.
    fn fill_gap(&mut self, place: Place, lost: u64, next: Index) {
        let before = self.map.next();
        if lost == 0 && next == before {
            return;
        }
        let mut entries = None;
        if next.0.checked_sub(before.0) == Some(lost) {
            entries = Some((before, Index(next.0 - 1)));
            self.map.lose(next);
        } else if lost == 1 && next < before {
            self.map.cut(next);
        } else {
            self.state_unsure = true;
            if next < before {
                self.map.cut(next);
            }
            let doubtful = Index(next.0.saturating_sub(lost.saturating_sub(1)).max(self.map.first().0));
            self.map.lose(next);
            if doubtful < next && lost > 1 {
                entries = Some((doubtful, Index(next.0 - 1)));
                self.map.damage(doubtful, Index(next.0 - 1));
            }
            // More entries than items: the log has been begun anew in between, and nobody knows where.
            self.suspect |= next.0 > before.0 + lost;
        }
        self.map.break_off();
        let what = Wrong::ItemsMissing(lost, entries);
        self.faults.push(Fault { segment: place.segment, at_byte: place.at_byte, bytes: 0, what });
    }
}
