//! What users can do to each other, and what rows can.

use super::*;

fn numbered(from: UserId, to: Target, instance: u16, number: u64) -> Command {
    let mut client = [0; 16];
    client[..2].copy_from_slice(&instance.to_be_bytes());
    Command::Post {
        from,
        to,
        client: Some((ClientInstance(client), number)),
        timestamp: String::new(),
        payload: Bytes::from_static(b"text"),
    }
}

#[test]
fn a_message_that_was_refused_is_never_called_accepted_however_late_it_is_repeated() {
    let mut state = State::new();
    let (ann, bob) = (register(&mut state, "ann"), register(&mut state, "bob"));
    let to = |number: u64| Target::User(if number.is_multiple_of(3) { bob } else { UserId(99) });
    let take = |state: &mut State, number| state.apply(1, numbered(ann, to(number), 1, number));
    for number in 1..=2000 {
        let is_taken = matches!(take(&mut state, number), Outcome::Done(_));
        assert_eq!(is_taken, number % 3 == 0);
    }
    let mut disk = Disk::default();
    disk.keep(state.take_rows());
    for mut state in [state, disk.restore(5)] {
        let mut exact = 0;
        for number in 1..=2000 {
            match take(&mut state, number) {
                Outcome::Done(effects) => {
                    assert_eq!((number % 3, effects), (0, vec![Effect::Repeated]), "{number}");
                    exact += 1;
                }
                Outcome::Refused(Refused::NoUser) => {
                    assert_ne!(number % 3, 0, "{number}");
                    exact += 1;
                }
                // That is not known any more, and said so.
                Outcome::Refused(Refused::Forgotten) => assert_eq!(exact, 0, "the last ones are known"),
                Outcome::Refused(other) => panic!("{other}"),
            }
        }
        assert!(exact >= 90, "{exact}");
    }
}

#[test]
fn many_that_were_refused_for_one_reason_are_all_remembered() {
    let mut state = State::new();
    let ann = register(&mut state, "ann");
    for _ in 0..2 {
        for number in 1..=2000 {
            let outcome = state.apply(1, numbered(ann, Target::User(UserId(99)), 1, number));
            assert_eq!(outcome, Outcome::Refused(Refused::NoUser), "{number}");
        }
    }
}

#[test]
fn a_user_with_many_client_instances_does_not_make_those_of_others_forgotten() {
    let mut state = State::new();
    state.apply(0, Command::Limits { limits: Limits { clients_max: 1000, ..Limits::default() } });
    let (ann, bob) = (register(&mut state, "ann"), register(&mut state, "bob"));
    state.apply(1, numbered(ann, Target::User(ann), 1, 1));
    for instance in 0..2000 {
        assert!(matches!(state.apply(1, numbered(bob, Target::User(bob), instance, 1)), Outcome::Done(_)));
    }
    assert!(matches!(state.apply(1, numbered(ann, Target::User(ann), 1, 2)), Outcome::Done(_)));
    let last = state.apply(1, numbered(bob, Target::User(bob), 1999, 2));
    assert!(matches!(last, Outcome::Done(_)), "the last ones of his own stay");
}

#[test]
fn a_receiver_that_can_take_no_more_conversations_does_not_hold_up_messages_to_others() {
    let mut state = State::new();
    state.apply(0, Command::Limits { limits: Limits { conversations_max: 1, ..Limits::default() } });
    let names = ["ann", "bob", "carol"];
    let [ann, bob, carol] = names.map(|name| register(&mut state, name));
    state.apply(1, Command::CreateGroup { by: carol, name: "g".into() });
    let refused = state.apply(1, numbered(ann, Target::User(carol), 1, 1));
    assert!(matches!(refused, Outcome::Refused(why) if why.is_for_good()), "{refused:?}");
    assert_eq!(state.apply(1, numbered(ann, Target::User(carol), 1, 1)), refused);
    assert!(matches!(state.apply(1, numbered(ann, Target::User(bob), 1, 2)), Outcome::Done(_)));
}

#[test]
fn names_of_other_clusters_hold_nothing_that_could_fool_a_terminal() {
    let mut state = State::new();
    let ann = register(&mut state, "ann");
    for (sequence, sender) in (1..).zip(["bob\nann", "bob\u{1b}[2J", "b\u{fc}b"]) {
        let message = Imported {
            place: Place { conversation: ConversationId(1), sequence: Sequence(sequence) },
            sender: sender.into(),
            group: None,
            time_ms: 1,
            timestamp: String::new(),
            payload: Bytes::from_static(b"text"),
        };
        let from = Origin { tag: "west".into(), identity: None };
        state.apply(1, Command::Import { from, user: ann, messages: vec![message] });
    }
    let names: Vec<_> = state.conversations_of(ann).filter_map(|id| state.name_of(id, ann)).collect();
    assert_eq!(names, [Arc::from("b\u{fc}b")]);
}

#[test]
fn a_page_that_cannot_be_read_does_not_stop_what_comes_behind_it() {
    let mut state = State::new();
    let (ann, bob) = (register(&mut state, "ann"), register(&mut state, "bob"));
    let place = (0..100).map(|_| post(&mut state, 1, ann, bob, b"text")).last().expect("some");
    let mut disk = Disk::default();
    disk.keep(state.take_rows());
    let pages = disk.0.iter_mut().filter(|(key, _)| key.starts_with(b"m"));
    for (_, page) in pages {
        *page = page.slice(..page.len() - 1);
    }
    let state = disk.restore(3);
    for backwards in [false, true] {
        let wanted = Wanted { backwards, ..Wanted::all(bob, place.conversation) };
        assert_eq!(read_all(&state, &disk, wanted), []);
    }
}
