//! Reading traces: JSON lines, from one file or from those of several processes laid beside each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::names::natural_order;
use super::{Event, What};

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In the order of time; those of one server in the order in which they happened there. No [`What::Origin`] is among them.
    pub events: Vec<Event>,
    /// The names of all servers, in the order in which people count.
    pub servers: Vec<String>,
    /// What was odd about the files, for people.
    pub remarks: Vec<String>,
}

/// Why a trace cannot be read. Each says where.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read at all.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line is no event.
    #[error("{}:{line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// There are several traces, and one of them does not say when it began.
    #[error(
        "{}: it does not begin with an origin event, so nobody knows when it began; give this trace alone",
        path.display()
    )]
    NoOrigin {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to look at.
    #[error("no event in {0}")]
    Empty(String),
}

impl Trace {
    /// The trace of a run whose events are at hand. Those of one server have to be in the order in which they happened; a time that
    /// runs backwards there is taken for the latest one before.
    pub fn new(mut events: Vec<Event>) -> Self {
        let mut latest = Latest::default();
        for event in &mut events {
            latest.lift(event);
        }
        Self::assemble(events)
    }

    fn assemble(mut events: Vec<Event>) -> Self {
        events.retain(|event| !matches!(event.what, What::Origin { .. }));
        events.sort_by_key(|event| event.at_ns);
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for event in &events {
            if !event.what.is_of_network() {
                names.insert(&event.server);
            }
            names.extend(event.what.names());
        }
        names.remove("");
        let mut servers: Vec<String> = names.into_iter().map(str::to_owned).collect();
        servers.sort_by(|a, b| natural_order(a, b));
        Self { events, servers, remarks: Vec::new() }
    }

    /// Reads files, and all `*.jsonl` of folders, as one trace.
    ///
    /// Several traces are laid beside each other by their [`What::Origin`] events. A last line that ends in its middle is what a
    /// crash leaves; it is passed over with a remark. Every other line that is no event is an error.
    pub fn read(paths: &[PathBuf]) -> Result<Self, ReadError> {
        let mut sections = Vec::new();
        let mut remarks = Vec::new();
        for path in &files(paths)? {
            let file = File::open(path).map_err(|error| file_error(path, error))?;
            remarks.extend(read_sections(path, BufReader::new(file), &mut sections)?);
        }
        if sections.is_empty() {
            let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            return Err(ReadError::Empty(names.join(", ")));
        }
        let (events, more) = lay_beside(sections)?;
        remarks.extend(more);
        let mut trace = Self::assemble(events);
        trace.remarks = remarks;
        Ok(trace)
    }
}

/// The latest time so far at each server.
#[derive(Default)]
struct Latest(BTreeMap<String, u64>);

impl Latest {
    /// Makes sure that an event is not earlier than the ones before it; whether it was.
    fn lift(&mut self, event: &mut Event) -> bool {
        let Some(latest) = self.0.get_mut(&event.server) else {
            self.0.insert(event.server.clone(), event.at_ns);
            return false;
        };
        let is_earlier = event.at_ns < *latest;
        event.at_ns = event.at_ns.max(*latest);
        *latest = event.at_ns;
        is_earlier
    }
}

/// What one process wrote: its clock has one origin.
struct Section {
    path: PathBuf,
    unix_ns: Option<u64>,
    events: Vec<Event>,
}

/// The files that `paths` mean.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = path.read_dir().map_err(|error| file_error(path, error))?;
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry.map_err(|error| file_error(path, error))?.path();
                if entry.extension().is_some_and(|ending| ending == "jsonl") {
                    found.push(entry);
                }
            }
            if found.is_empty() {
                return Err(ReadError::Empty(format!("{}: it holds no *.jsonl", path.display())));
            }
            found.sort();
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn file_error(path: &Path, error: io::Error) -> ReadError {
    ReadError::File { path: path.to_owned(), error }
}

/// Reads one file into `sections`; remarks about what was odd.
fn read_sections(
    path: &Path,
    mut lines: impl BufRead,
    sections: &mut Vec<Section>,
) -> Result<Vec<String>, ReadError> {
    let mut line = Vec::new();
    let mut section: Option<Section> = None;
    let mut latest = Latest::default();
    let mut remarks = Vec::new();
    let mut backwards: Option<(u64, u64)> = None;
    for number in 1.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(|error| file_error(path, error))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let mut event: Event = match serde_json::from_slice(&line) {
            Ok(event) => event,
            Err(_) if line.last() != Some(&b'\n') => {
                remarks
                    .push(format!("{}:{number}: the last line is cut off; it was left out", path.display()));
                break;
            }
            Err(why) => {
                let why = format!("this is no event of a trace: {why}");
                return Err(ReadError::Line { path: path.to_owned(), line: number, why });
            }
        };
        if let What::Origin { unix_ns } = event.what {
            let next = Section { path: path.to_owned(), unix_ns: Some(unix_ns), events: Vec::new() };
            sections.extend(section.replace(next));
            latest = Latest::default();
            continue;
        }
        if latest.lift(&mut event) {
            backwards = Some(backwards.map_or((number, 1), |(first, count)| (first, count + 1)));
        }
        let alone = || Section { path: path.to_owned(), unix_ns: None, events: Vec::new() };
        section.get_or_insert_with(alone).events.push(event);
    }
    sections.extend(section);
    remarks.extend(backwards.map(|(first, count)| {
        let place = path.display();
        format!("{place}:{first}: here a server's time runs backwards, and {count} times in all; it is taken for the latest time before")
    }));
    Ok(remarks)
}

/// The events of all sections, and remarks, on one scale of time, which begins with the earliest origin. Events of one time stay in the order of
/// their sections, so that a restarted server goes on after what it was before.
fn lay_beside(mut sections: Vec<Section>) -> Result<(Vec<Event>, Vec<String>), ReadError> {
    if sections.len() > 1
        && let Some(lost) = sections.iter().find(|section| section.unix_ns.is_none())
    {
        return Err(ReadError::NoOrigin { path: lost.path.clone() });
    }
    sections.sort_by_key(|section| section.unix_ns);
    let first = sections.first().and_then(|section| section.unix_ns).unwrap_or(0);
    for section in &mut sections {
        let later_by = section.unix_ns.map_or(0, |unix_ns| unix_ns - first);
        for event in &mut section.events {
            event.at_ns = event.at_ns.saturating_add(later_by);
        }
    }
    let remarks = complete(&mut sections);
    Ok((sections.into_iter().flat_map(|section| section.events).collect(), remarks))
}

/// Who is killed cannot write it down. Where a process fell silent without a last word, and others lost it or it began again, a crash
/// is put in: at the time when somebody noticed it.
fn complete(sections: &mut [Section]) -> Vec<String> {
    let mut remarks = Vec::new();
    for number in 0..sections.len() {
        let Some(last) = sections[number].events.last() else { continue };
        if matches!(last.what, What::Stop | What::Crash) {
            continue;
        }
        let (server, silent_ns) = (last.server.clone(), last.at_ns);
        let began_again = sections[number + 1..]
            .iter()
            .filter_map(|later| later.events.first())
            .find(|event| event.server == server)
            .map(|event| event.at_ns);
        let until_ns = began_again.unwrap_or(u64::MAX);
        let noticed =
            others_lost(sections, &server).filter(|at_ns| (silent_ns..=until_ns).contains(at_ns)).min();
        let Some(at_ns) = noticed.or(began_again) else { continue };
        let section = &mut sections[number];
        remarks.push(format!(
            "{}: server {server} ended without a last word; a crash is shown where others noticed it",
            section.path.display()
        ));
        section.events.push(Event { at_ns, server, what: What::Crash });
    }
    remarks
}

/// When others saw their links to `server` go down.
fn others_lost(sections: &[Section], server: &str) -> impl Iterator<Item = u64> {
    sections.iter().flat_map(|section| &section.events).filter_map(move |event| match &event.what {
        What::Down { peer, .. } if peer == server => Some(event.at_ns),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Trace, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let paths: Vec<PathBuf> =
            (0..texts.len()).map(|number| folder.path().join(format!("{number}.jsonl"))).collect();
        for (path, text) in paths.iter().zip(texts) {
            std::fs::write(path, text).expect("written");
        }
        let place = format!("{}/", folder.path().display());
        let mut trace = Trace::read(&paths).map_err(|error| error.to_string().replace(&place, ""))?;
        for remark in &mut trace.remarks {
            *remark = remark.replace(&place, "");
        }
        Ok(trace)
    }

    fn times(trace: &Trace) -> Vec<(u64, &str)> {
        trace.events.iter().map(|event| (event.at_ns, event.server.as_str())).collect()
    }

    const START: &str = "{\"at_ns\":7,\"server\":\"10\",\"event\":\"start\"}\n";

    #[test]
    fn traces_are_laid_beside_each_other_by_their_origins() {
        let early = "{\"at_ns\":0,\"server\":\"2\",\"event\":\"origin\",\"unix_ns\":1000}\n\
                     {\"at_ns\":50,\"server\":\"2\",\"event\":\"start\"}\n{\"at_ns\":90,\"server\":\"2\",\"event\":\"stop\"}\n";
        let late =
            "{\"at_ns\":0,\"server\":\"10\",\"event\":\"origin\",\"unix_ns\":1060}\n".to_owned() + START;
        let trace = read(&[&late, early]).expect("readable");
        assert_eq!(times(&trace), [(50, "2"), (67, "10"), (90, "2")]);
        assert_eq!(trace.servers, ["2", "10"]);
        // The same, if somebody has joined the files.
        assert_eq!(times(&read(&[&(late + early)]).expect("readable")), times(&trace));
    }

    #[test]
    fn who_was_killed_is_shown_as_crashed_when_others_noticed() {
        let origin = |server: &str, unix_ns| {
            format!("{{\"at_ns\":0,\"server\":\"{server}\",\"event\":\"origin\",\"unix_ns\":{unix_ns}}}\n")
        };
        let event = |server: &str, at_ns, rest: &str| {
            format!("{{\"at_ns\":{at_ns},\"server\":\"{server}\",\"event\":{rest}}}\n")
        };
        let down = |server: &str, at_ns, peer: &str| {
            event(server, at_ns, &format!("\"down\",\"peer\":\"{peer}\",\"link\":\"x\",\"why\":\"closed\""))
        };
        let killed = origin("1", 0) + &event("1", 5, "\"start\"");
        let noticed =
            origin("0", 0) + &event("0", 4, "\"start\"") + &down("0", 9, "1") + &event("0", 20, "\"stop\"");
        let crashes = |texts: &[&str]| -> Vec<(u64, String)> {
            let trace = read(texts).expect("readable");
            let crashes = trace.events.iter().filter(|event| event.what == What::Crash);
            let crashes: Vec<_> = crashes.map(|event| (event.at_ns, event.server.clone())).collect();
            assert_eq!(crashes.len(), trace.remarks.len(), "each is told");
            crashes
        };
        assert_eq!(crashes(&[&killed, &noticed]), [(9, "1".to_owned())]);
        // Nobody noticed, but it began again.
        let again = origin("1", 12) + &event("1", 3, "\"start\"");
        assert_eq!(crashes(&[&killed, &again]), [(15, "1".to_owned())]);
        assert_eq!(crashes(&[&killed, &again, &noticed]), [(9, "1".to_owned())]);
        // It may still run, or it ended in order.
        assert_eq!(crashes(&[&killed]), []);
        let stopped = killed.clone() + &event("1", 6, "\"stop\"");
        assert_eq!(crashes(&[&stopped, &noticed]), []);
    }

    #[test]
    fn a_trace_without_origin_has_to_be_alone() {
        assert_eq!(times(&read(&[START]).expect("readable")), [(7, "10")]);
        let error = read(&[START, START]).expect_err("no common scale");
        assert!(error.starts_with("0.jsonl: it does not begin with an origin event"), "{error}");
    }

    #[test]
    fn a_line_cut_by_a_crash_is_passed_over_with_a_remark() {
        for cut in 1..START.len() - 1 {
            let trace = read(&[&format!("{START}{}", &START[..cut])]).expect("readable");
            assert_eq!(times(&trace), [(7, "10")]);
            assert_eq!(trace.remarks, ["0.jsonl:2: the last line is cut off; it was left out"]);
        }
        // Only its newline is missing: it is whole.
        assert_eq!(read(&[&format!("{START}{}", START.trim_end())]).expect("readable").events.len(), 2);
    }

    #[test]
    fn a_time_that_runs_backwards_is_told_and_changes_no_order() {
        let at = |at_ns: &str| START.replace('7', at_ns);
        let trace = read(&[&(at("7") + &at("6") + &at("5") + &at("9"))]).expect("readable");
        assert_eq!(times(&trace), [(7, "10"), (7, "10"), (7, "10"), (9, "10")]);
        let remark = "0.jsonl:2: here a server's time runs backwards, and 2 times in all; it is taken for the latest time before";
        assert_eq!(trace.remarks, [remark]);
    }

    #[test]
    fn every_other_bad_line_is_an_error_with_its_place() {
        for bad in [
            "{\"at_ns\":7}\n",
            "hello\n",
            "{\"at_ns\":7,\"server\":\"1\",\"event\":\"dance\"}\n",
            "\u{fffd}\n",
        ] {
            let error = read(&[START, &format!("{START}\n{bad}{START}")]).expect_err("a bad line");
            assert!(error.starts_with("1.jsonl:3: this is no event of a trace: "), "{error}");
        }
        assert_eq!(read(&["\n"]).expect_err("nothing there"), "no event in 0.jsonl");
    }
}
