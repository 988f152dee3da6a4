//! What is changed, missing or refused on a disk.

use super::*;

/// Writes without rows, all of them stored; what they come to.
fn stored(seed: u64, length: usize) -> (Memory, Model) {
    let (writes, _) = script(seed, length, false);
    let files = Memory::default();
    let synced: Vec<bool> = (1..=writes.len()).map(|place| place % 5 == 0 || place == writes.len()).collect();
    run(&files, &writes, &synced);
    (files, models(&writes).pop().expect("one at least"))
}

fn append(store: &mut LogStore<Memory>, index: u64, bytes: usize) {
    let entry = Entry { index: Index(index), term: Term(1), record: vec![7; bytes].into() };
    store.write(&Write::Append { entry }).expect("written");
}

fn keep(store: &mut LogStore<Memory>, state: &'static [u8]) {
    store.write(&Write::State { state: Bytes::from_static(state) }).expect("written");
    store.sync().expect("synced");
}

/// So many entries of so many bytes each, durable.
fn filled(count: u64, bytes: usize) -> (Memory, LogStore<Memory>) {
    let files = Memory::default();
    let Opened { mut store, .. } = open(&files).expect("opened");
    for index in 1..=count {
        append(&mut store, index, bytes);
    }
    store.sync().expect("synced");
    (files, store)
}

fn segments(files: &Memory) -> Vec<String> {
    let mut names = files.list().expect("a list");
    names.retain(|name| name.ends_with(".segment"));
    names
}

#[test]
fn no_byte_can_change_unseen_or_to_any_effect_but_loss() {
    for (seed, with) in [(20, 0x01), (21, 0xFF)] {
        let (files, model) = stored(seed, 45);
        for name in segments(&files) {
            let bytes = files.bytes(&name);
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            for at in 0..end {
                let damaged = files.copy();
                damaged.damage(&name, |bytes| bytes[at] ^= with);
                let mut opened = open(&damaged).expect("opened");
                let found = read_all(&mut opened);
                check_loss(&found, &opened.recovered, &model, &format!("{seed} {name} {at}"));
            }
        }
    }
}

/// Whatever is there is what was written, and whatever is not is told of.
fn check_loss(found: &Model, recovered: &Recovered, model: &Model, place: &str) {
    assert_eq!(found.state, model.state, "{place}: it has two copies more");
    assert!(!recovered.state_lost, "{place}");
    if recovered.suspect {
        return;
    }
    assert_eq!(found.last, model.last, "{place}");
    for (index, entry) in &model.entries {
        let lost = recovered.damaged.iter().any(|(first, last)| (first.0..=last.0).contains(index));
        assert_eq!(found.entries.get(index), (!lost).then_some(entry), "{place}: entry {index}");
    }
    assert!(found.entries.keys().all(|index| model.entries.contains_key(index)), "{place}");
}

#[test]
fn a_single_changed_byte_costs_one_entry() {
    let (files, _) = filled(20, 30);
    let name = &segments(&files)[1];
    files.damage(name, |bytes| bytes[100] ^= 0x10);
    let Opened { mut store, recovered, .. } = open(&files.copy()).expect("opened");
    let [(first, last)] = recovered.damaged[..] else { panic!("{recovered:?}") };
    assert_eq!((first, recovered.last, recovered.suspect), (last, Index(20), false));
    let read = Read::Entries { from: first, upto: Index(20), bytes_max: 1000 };
    assert_eq!(store.read(&read).expect("read"), Some(Found::Entries { from: first, entries: vec![] }));
}

#[test]
fn damage_is_forgotten_with_the_entries_that_it_struck() {
    let (files, _) = filled(20, 30);
    files.damage(&segments(&files)[1], |bytes| bytes[100] ^= 0x10);
    let damaged = files.copy();
    let Opened { mut store, recovered, .. } = open(&damaged).expect("opened");
    let first = recovered.damaged[0].0;
    store.write(&Write::Truncate { from: first }).expect("written");
    append(&mut store, first.0, 30);
    store.sync().expect("synced");
    let again = open(&damaged.copy()).expect("opened");
    assert!(again.recovered.damaged.is_empty() && !again.recovered.suspect, "{:?}", again.recovered);
    assert_eq!(again.recovered.last, first);
    assert!(!again.faults.is_empty(), "people can still see that there was something");
}

#[test]
fn a_segment_that_is_missing_costs_its_entries_and_no_others() {
    let files = Memory::default();
    let mut opened = open(&files).expect("opened");
    keep(&mut opened.store, b"before");
    for index in 1..=40 {
        append(&mut opened.store, index, 40);
    }
    opened.store.sync().expect("synced");
    let names = segments(&files);
    assert!(names.len() >= 4, "{names:?}");
    let whole = open(&files.copy()).expect("opened");
    assert!(is_whole(&whole.recovered));
    files.remove(&names[1]).expect("removed");
    let Opened { recovered, faults, .. } = open(&files.copy()).expect("opened");
    assert_eq!((recovered.damaged.len(), recovered.last), (1, Index(40)), "{faults:?}");
    assert_eq!(recovered.state.as_deref(), Some(&b"before"[..]));
    assert!(!recovered.suspect && !recovered.state_lost && faults[0].contains("missing"), "{faults:?}");
    // Without the first one, the log begins where nobody can go on.
    files.remove(&names[0]).expect("removed");
    let Opened { recovered, .. } = open(&files.copy()).expect("opened");
    assert!(recovered.first > Index(1) && recovered.suspect, "{recovered:?}");
}

#[test]
fn what_is_kept_is_lost_only_with_all_its_copies() {
    let files = Memory::default();
    let mut opened = open(&files).expect("opened");
    keep(&mut opened.store, b"term 1");
    keep(&mut opened.store, b"term 2");
    let flip_log = |files: &Memory| {
        files.damage(&segments(files)[0], |bytes| {
            let place = bytes.windows(6).rposition(|part| part == b"term 2").expect("it is there");
            bytes[place] ^= 1;
        });
    };
    let flip_slot = |files: &Memory, state: &[u8]| {
        files.damage("state", |bytes| {
            let place = bytes.windows(6).position(|part| part == state).expect("it is there");
            bytes[place] ^= 1;
        });
    };
    let recovered = |files: &Memory| open(&files.copy()).expect("opened").recovered;
    for slot in [&b"term 1"[..], b"term 2"] {
        let one = files.copy();
        flip_slot(&one, slot);
        assert_eq!(recovered(&one).state.as_deref(), Some(&b"term 2"[..]));
        assert!(is_whole(&recovered(&one)));
    }
    let one = files.copy();
    flip_log(&one);
    assert_eq!(recovered(&one).state.as_deref(), Some(&b"term 2"[..]));
    flip_slot(&one, b"term 2");
    let lost = recovered(&one);
    assert!(lost.state_lost && lost.state.is_none(), "{lost:?}");
    // That stays so until something is kept anew.
    let Opened { mut store, .. } = open(&one).expect("opened");
    let next = store.log.map().next();
    append(&mut store, next.0, 5);
    store.sync().expect("synced");
    assert!(recovered(&one).state_lost);
    keep(&mut store, b"term 9");
    let found = recovered(&one);
    assert!(!found.state_lost && found.state.as_deref() == Some(b"term 9"), "{found:?}");
}

#[test]
fn a_log_whose_end_is_gone_is_suspect_if_anything_tells_of_it() {
    let (files, mut store) = filled(9, 20);
    keep(&mut store, b"term 7");
    let last = segments(&files).pop().expect("one at least");
    files.damage(&last, |bytes| bytes.fill(0));
    let Opened { mut store, recovered, .. } = open(&files).expect("opened");
    assert!(recovered.suspect, "{recovered:?}");
    assert_eq!(recovered.state.as_deref(), Some(&b"term 7"[..]));
    // That, too, stays so until the log is cut.
    assert!(open(&files.copy()).expect("opened").recovered.suspect);
    store.write(&Write::Truncate { from: Index(recovered.last.0 + 1) }).expect("written");
    store.sync().expect("synced");
    assert!(!open(&files.copy()).expect("opened").recovered.suspect);
}

#[test]
fn rows_that_cannot_be_read_are_put_aside_and_come_of_the_log_again() {
    let (files, mut store) = filled(20, 60);
    let applied = Applied { index: Index(19), term: Term(1), meta: Bytes::new() };
    let rows = vec![Row { key: Bytes::from_static(b"k"), value: Some(Bytes::from_static(b"v")) }];
    store.write(&Write::Apply { applied, rows }).expect("written");
    store.sync().expect("synced");
    let compacted = files.copy();
    let wreck = |files: &Memory| files.damage("rows.redb", |bytes| bytes[..4096].fill(0x5A));
    wreck(&files);
    let Opened { recovered, faults, .. } = open(&files.copy()).expect("opened");
    assert!(is_whole(&recovered) && recovered.applied == Applied::default(), "{recovered:?}");
    assert!(faults[0].contains("rows.damaged"), "{faults:?}");
    let Opened { mut store, .. } = open(&compacted).expect("opened");
    store.write(&Write::Compact { upto: Index(19) }).expect("written");
    drop(store);
    wreck(&compacted);
    let Opened { recovered, .. } = open(&compacted).expect("opened");
    assert!(recovered.suspect && recovered.first > Index(1), "{recovered:?}");
}

#[test]
fn damage_that_the_rows_cover_counts_as_forgotten() {
    let (files, mut store) = filled(20, 30);
    let applied = Applied { index: Index(20), term: Term(1), meta: Bytes::new() };
    store.write(&Write::Apply { applied, rows: vec![] }).expect("written");
    files.damage(&segments(&files)[1], |bytes| bytes[100] ^= 0x10);
    let Opened { recovered, .. } = open(&files.copy()).expect("opened");
    assert!(
        is_whole(&recovered) && recovered.first > Index(1) && recovered.last == Index(20),
        "{recovered:?}"
    );
}

#[test]
fn after_an_error_nothing_more_is_written_and_nothing_stored_is_lost() {
    let (writes, synced) = script(31, 60, false);
    let models = models(&writes);
    for call in 1.. {
        let files = Memory::default();
        files.fail_at(call, false);
        let Ok(Opened { mut store, .. }) = open(&files) else { continue };
        let mut stored = 0;
        let mut failed = false;
        for (write, sync) in writes.iter().zip(&synced) {
            let written = store.write(write);
            let done = written.and_then(|()| if *sync { store.sync().map(Some) } else { Ok(None) });
            match done {
                Ok(upto) if !failed => {
                    stored = upto.map_or(stored, |upto| usize::try_from(upto.0).expect("few"));
                }
                Ok(_) => panic!("{call}: something was written after an error"),
                Err(error) => {
                    let again = error.to_string().contains("takes no more");
                    assert_eq!(again, failed, "{call}: {error}");
                    failed = true;
                }
            }
        }
        drop(store);
        for loss in [Loss::All, Loss::Nothing] {
            let mut opened = open(&files.restart(loss, call)).expect("opened");
            let found = read_all(&mut opened);
            assert!(is_whole(&opened.recovered), "{call} {loss:?}: {:?}", opened.faults);
            let fits = models[stored..].iter().any(|model| is(&found, &opened.recovered, model));
            assert!(fits, "{call} {loss:?}");
        }
        if !files.has_failed() {
            return;
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let applied = |index| Applied { index: Index(index), term: Term(1), meta: Bytes::new() };
    let entry = |index| Entry { index: Index(index), term: Term(1), record: Bytes::new() };
    let wrong = [
        Write::Append { entry: entry(5) },
        Write::Append { entry: entry(3) },
        Write::Truncate { from: Index(2) },
        Write::Truncate { from: Index(5) },
        Write::Apply { applied: applied(4), rows: vec![] },
        Write::Apply { applied: applied(1), rows: vec![] },
        Write::Install { applied: applied(1) },
        Write::Compact { upto: Index(3) },
        Write::State { state: vec![0; STATE_BYTES_MAX + 1].into() },
    ];
    for write in wrong {
        let files = Memory::default();
        let Opened { mut store, .. } = open(&files).expect("opened");
        for index in 1..=3 {
            append(&mut store, index, 3);
        }
        store.write(&Write::Apply { applied: applied(2), rows: vec![] }).expect("written");
        let error = store.write(&write).expect_err("it makes no sense");
        assert!(matches!(error, StoreError::Senseless { .. }), "{error}");
        assert!(matches!(store.sync(), Err(StoreError::Failed { .. })));
        assert_eq!(open(&files.copy()).expect("opened").recovered.last, Index(3));
    }
}
