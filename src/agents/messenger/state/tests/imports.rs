//! How far what was fetched from another cluster is read, in the places of that one.

use super::*;

const THERE: ConversationId = ConversationId(70);

fn west() -> Origin {
    Origin { tag: "west".into(), identity: None }
}

/// Messages of bob's in the west, at these places there.
fn import(state: &mut State, ann: UserId, sequences: impl Iterator<Item = u64>, sender: &str) -> Outcome {
    let imported = |sequence| Imported {
        place: Place { conversation: THERE, sequence: Sequence(sequence) },
        sender: sender.into(),
        group: None,
        time_ms: 1,
        timestamp: String::new(),
        payload: Bytes::from_static(b"text"),
    };
    let messages = sequences.map(imported).collect();
    state.apply(1, Command::Import { from: west(), user: ann, messages })
}

/// Reads a message in the conversation here and all before it; how far that is there, if it is further than before.
fn read(state: &mut State, ann: UserId, sequence: u64) -> Option<u64> {
    let conversation = state.foreign(ann, "west", "bob", false).expect("there");
    let marks = vec![(ann, Place { conversation, sequence: Sequence(sequence) })];
    let Outcome::Done(effects) = state.apply(1, Command::Read { marks }) else { panic!("marks are taken") };
    let mut told = effects.into_iter().filter_map(|effect| match effect {
        Effect::ReadThere { user, from, upto } => {
            assert_eq!((user, from, upto.conversation), (ann, west(), THERE));
            Some(upto.sequence.0)
        }
        _ => None,
    });
    told.next()
}

/// The state behind a restart, from its rows.
fn again(state: &mut State) -> State {
    let mut disk = Disk::default();
    disk.keep(state.take_rows());
    disk.restore(1)
}

#[test]
fn what_is_read_here_is_read_there_and_never_more() {
    let mut state = State::new();
    let ann = register(&mut state, "ann");
    // Every third is hers, and was not fetched.
    import(&mut state, ann, (1..=9).filter(|sequence| sequence % 3 > 0), "bob");
    assert_eq!(read(&mut state, ann, 1), Some(1));
    let mut state = again(&mut state);
    assert_eq!(read(&mut state, ann, 4), Some(5));
    assert_eq!(read(&mut state, ann, 4), None);
    let progress = Progress { upto: Sequence(8), read: Sequence(5) };
    assert_eq!(state.imported(ann, &west())(THERE), progress);
    assert_eq!(state.unread_imports(ann, &west()).collect::<Vec<_>>(), [(THERE, progress)]);
    assert_eq!(read(&mut state, ann, 100), Some(8));
    assert_eq!(state.unread_imports(ann, &west()).count(), 0);
}

#[test]
fn of_very_many_the_middle_counts_with_the_last_and_all_counts_in_the_end() {
    let mut state = State::new();
    let ann = register(&mut state, "ann");
    import(&mut state, ann, 1..=40, "bob");
    let mut state = again(&mut state);
    assert_eq!(read(&mut state, ann, 5), Some(5));
    assert_eq!(read(&mut state, ann, 30), Some(15), "of some in the middle it is not known where they stand");
    // Those that come meanwhile do not keep her from getting on.
    import(&mut state, ann, 41..=50, "bob");
    assert_eq!(read(&mut state, ann, 40), Some(40));
    assert_eq!(read(&mut state, ann, 43), Some(43));
    assert_eq!(read(&mut state, ann, 50), Some(50));
}

#[test]
fn what_is_passed_over_counts_as_read_with_what_stands_around_it() {
    let mut state = State::new();
    let ann = register(&mut state, "ann");
    import(&mut state, ann, 1..=2, "nobody\ncan be called so");
    let progress = |sequence| Progress { upto: Sequence(sequence), read: Sequence(sequence) };
    assert_eq!(state.imported(ann, &west())(THERE), progress(2));
    import(&mut state, ann, 3..=3, "bob");
    import(&mut state, ann, 4..=4, "nobody\ncan be called so");
    assert_eq!(state.imported(ann, &west())(THERE), Progress { upto: Sequence(4), read: Sequence(2) });
    assert_eq!(read(&mut state, ann, 1), Some(4));
}

#[test]
fn what_would_push_unread_messages_out_of_the_history_waits_where_it_was_written() {
    let mut state = State::new();
    state.apply(1, Command::Limits { limits: Limits { history_max: 300, ..Limits::default() } });
    let ann = register(&mut state, "ann");
    import(&mut state, ann, 1..=200, "bob");
    let is_full = |outcome: Outcome| outcome == Outcome::Refused(Refused::InboxFull);
    assert!(is_full(import(&mut state, ann, 201..=400, "bob")));
    read(&mut state, ann, 99);
    assert!(is_full(import(&mut state, ann, 201..=400, "bob")));
    read(&mut state, ann, 100);
    assert!(!is_full(import(&mut state, ann, 201..=400, "bob")));
    let conversation = state.foreign(ann, "west", "bob", false).expect("there");
    assert_eq!(state.mark(ann, conversation), Some(Sequence(100)), "all that is unread is there");
    // More than the whole history comes as well once all is read: else nothing would ever.
    read(&mut state, ann, 400);
    assert!(!is_full(import(&mut state, ann, 401..=800, "bob")));
}

#[test]
fn who_takes_the_name_of_somebody_who_has_gone_begins_anew() {
    let mut state = State::new();
    let ann = register(&mut state, "ann");
    import(&mut state, ann, 1..=3, "bob");
    state.apply(1, Command::Unregister { user: ann });
    let mut state = again(&mut state);
    let other = register(&mut state, "ann");
    for user in [ann, other] {
        assert_eq!(state.imported(user, &west())(THERE), Progress::default());
    }
    import(&mut state, other, 1..=3, "bob");
    assert_eq!(read(&mut state, other, 3), Some(3));
}
