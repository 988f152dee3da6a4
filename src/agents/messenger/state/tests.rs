//! The state against a model of it that keeps everything in plain lists, and against itself behind a restore.

mod hostile;
mod imports;
mod model;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use self::model::Model;
use super::*;
use crate::agent::{Look, Row};
use crate::agents::messenger::{Imported, Origin, Target};
use crate::rng::{Probability, Rng};

/// The rows that were taken.
#[derive(Clone, Debug, Default, PartialEq)]
struct Disk(BTreeMap<Bytes, Bytes>);

impl Disk {
    fn keep(&mut self, rows: Vec<Row>) {
        assert!(rows.is_sorted_by(|one, other| one.key < other.key), "each row once");
        for row in rows {
            match row.value {
                Some(value) => drop(self.0.insert(row.key, value)),
                None => drop(self.0.remove(&row.key)),
            }
        }
    }

    fn look(&self, look: &Look) -> Vec<Row> {
        let range = self.0.range(look.from.clone()..look.until.clone());
        let mut rows: Vec<Row> = range.map(row).collect();
        if look.backwards {
            rows.reverse();
        }
        look.gather::<()>(rows.into_iter().map(Ok)).expect("no errors").rows
    }

    /// A state that is made of these rows, in parts.
    fn restore(&self, part_rows: usize) -> State {
        let rows: Vec<Row> = self.0.iter().map(row).collect();
        let (mut state, parts) = (State::new(), rows.chunks(part_rows).count().max(1));
        state.apply(0, Command::Register { name: "old".into(), email: None, hash: String::new() });
        if rows.is_empty() {
            state.restore(&[], true, true).expect("no rows");
        }
        for (number, part) in rows.chunks(part_rows).enumerate() {
            state.restore(part, number == 0, number + 1 == parts).expect("rows that were taken");
        }
        state
    }
}

fn row((key, value): (&Bytes, &Bytes)) -> Row {
    Row { key: key.clone(), value: Some(value.clone()) }
}

/// Everything that is wanted, by as many readings as it takes.
fn read_all(state: &State, disk: &Disk, mut wanted: Wanted) -> Vec<Stored> {
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let found = match state.read(7, &wanted) {
            Reading::Messages(found) => found,
            Reading::Look { look, wanted } => {
                assert_eq!(look.token, 7);
                state.read_looked(&wanted, &disk.look(&look))
            }
        };
        assert!(found.messages.len() <= wanted.messages_max.max(1));
        if wanted.backwards {
            all.splice(0..0, found.messages);
        } else {
            all.extend(found.messages);
        }
        match found.next {
            Some(next) if wanted.backwards => {
                assert!(next < wanted.upto, "it goes on");
                wanted.upto = next;
            }
            Some(next) => {
                assert!(next > wanted.from, "it goes on");
                wanted.from = next;
            }
            None => return all,
        }
    }
}

fn small_limits() -> Limits {
    Limits {
        payload_bytes_max: 3000,
        unread_max: 70,
        history_max: 100,
        users_max: 5,
        conversations_max: 5,
        members_max: 3,
        clients_max: 4,
        open_bytes_max: 2000,
    }
}

/// Draws a command that makes sense about half of the time.
fn command(rng: &mut Rng, at: u64) -> Command {
    let user = |rng: &mut Rng| UserId(rng.between(1..=7));
    let group = |rng: &mut Rng| ConversationId(rng.between(1..=12));
    let name = |rng: &mut Rng| format!("n{}", rng.below(8));
    let place = |rng: &mut Rng| Place {
        conversation: ConversationId(rng.between(1..=12)),
        sequence: Sequence(rng.between(1..=60)),
    };
    let payload = |rng: &mut Rng| {
        let bytes = if rng.chance(Probability::percent(5)) { rng.index(3100) } else { rng.index(20) };
        Bytes::from(vec![b'x'; bytes])
    };
    match rng.below(100) {
        0..5 => Command::Register { name: name(rng), email: None, hash: format!("h{at}") },
        5 => Command::Unregister { user: user(rng) },
        6..9 => Command::CreateGroup { by: user(rng), name: name(rng) },
        9..14 => Command::AddMember { group: group(rng), by: user(rng), user: user(rng) },
        14..16 => Command::RemoveMember { group: group(rng), by: user(rng), user: user(rng) },
        16 => Command::DeleteGroup { group: group(rng), by: user(rng) },
        17..27 => Command::Read { marks: (0..rng.below(4)).map(|_| (user(rng), place(rng))).collect() },
        27..33 => Command::Import {
            from: Origin {
                tag: format!("c{}", rng.below(2)),
                identity: rng
                    .chance(Probability::percent(50))
                    .then(|| ClusterIdentity([u8::try_from(rng.below(2)).expect("small"); 16])),
            },
            user: user(rng),
            messages: (0..rng.below(4))
                .map(|_| Imported {
                    place: place(rng),
                    sender: name(rng),
                    group: rng.chance(Probability::percent(30)).then(|| name(rng)),
                    time_ms: at.saturating_sub(rng.below(50)),
                    timestamp: "t".into(),
                    payload: payload(rng),
                })
                .collect(),
        },
        33..36 => Command::Refuse {
            from: user(rng),
            client: ClientInstance([u8::try_from(rng.below(2)).expect("small"); 16]),
            number: rng.between(1..=8),
            why: Refused::NoUser,
        },
        36 => Command::Limits { limits: Limits { open_bytes_max: 500 + rng.index(4000), ..small_limits() } },
        _ => Command::Post {
            from: user(rng),
            to: if rng.chance(Probability::percent(60)) {
                Target::User(user(rng))
            } else {
                Target::Group(group(rng))
            },
            client: rng.chance(Probability::percent(50)).then(|| {
                (ClientInstance([u8::try_from(rng.below(2)).expect("small"); 16]), rng.between(1..=8))
            }),
            timestamp: format!("t{at}"),
            payload: payload(rng),
        },
    }
}

fn wanted(rng: &mut Rng, at: u64) -> Wanted {
    let whole = rng.chance(Probability::percent(30));
    let reader = UserId(rng.between(1..=7));
    let all = Wanted::all(reader, ConversationId(rng.between(1..=12)));
    if whole {
        return Wanted { backwards: rng.chance(Probability::percent(50)), ..all };
    }
    Wanted {
        from: Sequence(rng.below(80)),
        upto: Sequence(rng.below(150)),
        since_ms: rng.below(at + 2),
        until_ms: if rng.chance(Probability::percent(50)) { u64::MAX } else { rng.below(at + 2) },
        backwards: rng.chance(Probability::percent(50)),
        messages_max: rng.index(40),
        bytes_max: rng.index(10_000),
        ..all
    }
}

/// A state with its disk.
struct Server {
    state: State,
    disk: Disk,
}

impl Server {
    fn keep(&mut self) {
        self.disk.keep(self.state.take_rows());
    }
}

/// Runs drawn commands through a model, a server and, from some moment on, a server that was restored from its rows.
fn run(seed: u64, steps: u64) {
    let mut rng = Rng::new(seed);
    let mut model = Model::default();
    let mut server = Server { state: State::new(), disk: Disk::default() };
    let mut restored: Option<Server> = None;
    let mut looked: Option<(Wanted, Vec<Row>)> = None;
    let (mut at, limits) = (1000, small_limits());
    let begin = [
        Command::Limits { limits },
        Command::Register { name: "n0".into(), email: None, hash: String::new() },
        Command::Register { name: "n1".into(), email: None, hash: String::new() },
    ];
    let mut begin = begin.into_iter();
    for step in 0..steps {
        at = if rng.chance(Probability::percent(5)) { at - rng.below(30) } else { at + rng.below(3) };
        let command = begin.next().unwrap_or_else(|| command(&mut rng, at));
        let outcome = server.state.apply(at, command.clone());
        let expected = model.apply(at, command.clone());
        assert_eq!(outcome, expected, "seed {seed} step {step}: {command:?}");
        if let Some(restored) = &mut restored {
            assert_eq!(restored.state.apply(at, command), outcome, "restored");
        }
        if rng.chance(Probability::percent(5)) {
            server.keep();
            if rng.chance(Probability::percent(20)) {
                let state = server.disk.restore(1 + rng.index(20));
                restored = Some(Server { state, disk: server.disk.clone() });
            }
        }
        if let Some(restored) = restored.as_mut().filter(|_| rng.chance(Probability::percent(5))) {
            restored.keep();
        }
        for server in restored.iter().chain([&server]) {
            let wanted = wanted(&mut rng, at);
            let expected = model.read(&server.state, &wanted);
            assert_eq!(read_all(&server.state, &server.disk, wanted), expected, "seed {seed}: {wanted:?}");
        }
        // What was looked for some records ago.
        if let Some((wanted, rows)) = looked.take_if(|_| rng.chance(Probability::percent(30))) {
            let found = server.state.read_looked(&wanted, &rows);
            model.agrees_with_part(&server.state, &wanted, &found);
        }
        if looked.is_none() {
            let wanted = wanted(&mut rng, at);
            if let Reading::Look { look, wanted } = server.state.read(0, &wanted) {
                looked = Some((wanted, server.disk.look(&look)));
            }
        }
    }
    model.agrees_with(&server.state);
    if let Some(mut restored) = restored {
        // Rows that have to go are gone some records later.
        for server in [&mut server, &mut restored] {
            for _ in 0..100 {
                server.state.apply(at, Command::Read { marks: Vec::new() });
            }
            server.keep();
        }
        model.agrees_with(&restored.state);
        assert_eq!(restored.disk, server.disk, "seed {seed}: the same rows, too");
    }
}

fn register(state: &mut State, name: &str) -> UserId {
    let command = Command::Register { name: name.into(), email: None, hash: "h".into() };
    match state.apply(1, command) {
        Outcome::Done(effects) => match effects[..] {
            [Effect::Registered(user)] => user,
            ref other => panic!("{other:?}"),
        },
        Outcome::Refused(why) => panic!("{why}"),
    }
}

fn post(state: &mut State, at_ms: u64, from: UserId, to: UserId, payload: &'static [u8]) -> Place {
    let (timestamp, payload) = (String::new(), Bytes::from_static(payload));
    let command = Command::Post { from, to: Target::User(to), client: None, timestamp, payload };
    match state.apply(at_ms, command) {
        Outcome::Done(effects) => match &effects[..] {
            [Effect::Posted { conversation, message }] => {
                Place { conversation: *conversation, sequence: message.sequence }
            }
            other => panic!("{other:?}"),
        },
        Outcome::Refused(why) => panic!("{why}"),
    }
}

#[test]
fn names_are_short_and_plain() {
    for name in ["a", "Ann-2_b.c", &"x".repeat(64)] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "a b", "a\n", "ä", "аnn", "a/b", &"x".repeat(65)] {
        assert!(!is_name(name), "{name}");
        let command = Command::Register { name: name.into(), email: None, hash: String::new() };
        assert_eq!(State::new().apply(1, command), Outcome::Refused(Refused::BadName));
    }
}

#[test]
fn the_first_key_stays() {
    let mut state = State::new();
    let (key, other) = (ClusterKey::new([1; 32]), ClusterKey::new([2; 32]));
    state.apply(1, Command::Key { key: key.clone() });
    state.apply(1, Command::Key { key: other });
    assert_eq!(state.key(), Some(&key));
    let mut disk = Disk::default();
    disk.keep(state.take_rows());
    assert_eq!(disk.restore(1).key(), Some(&key));
}

#[test]
fn who_takes_a_name_again_gets_nothing_of_who_had_it() {
    let mut state = State::new();
    let (ann, bob) = (register(&mut state, "ann"), register(&mut state, "bob"));
    let place = post(&mut state, 5, ann, bob, b"for the old bob, from the old ann");
    state.apply(6, Command::Unregister { user: ann });
    let new = register(&mut state, "ann");
    assert_ne!(new, ann);
    assert_eq!(state.conversations_of(new).count(), 0);
    assert_eq!(state.direct(new, bob), None);
    assert_eq!(read_all(&state, &Disk::default(), Wanted::all(new, place.conversation)), []);
    // What was acknowledged to the one who is gone reaches its receiver nevertheless.
    assert_eq!(state.unread(bob).collect::<Vec<_>>(), [(place.conversation, Sequence(1))]);
    assert_eq!(read_all(&state, &Disk::default(), Wanted::all(bob, place.conversation)).len(), 1);
    assert_eq!(state.name_of(place.conversation, bob).as_deref(), Some("ann"));
    assert_eq!(post(&mut state, 7, new, bob, b"hello").sequence, Sequence(1));
}

#[test]
fn who_was_taken_into_a_group_does_not_see_what_was_said_before() {
    let mut state = State::new();
    let (ann, bob) = (register(&mut state, "ann"), register(&mut state, "bob"));
    state.apply(1, Command::CreateGroup { by: ann, name: "g".into() });
    let group = state.find_group("g").expect("it was made");
    let say = |payload: &'static [u8]| Command::Post {
        from: ann,
        to: Target::Group(group),
        client: None,
        timestamp: String::new(),
        payload: Bytes::from_static(payload),
    };
    state.apply(2, say(b"bob must not know"));
    assert_eq!(read_all(&state, &Disk::default(), Wanted::all(bob, group)), []);
    state.apply(3, Command::AddMember { group, by: ann, user: bob });
    state.apply(4, say(b"welcome"));
    let seen = read_all(&state, &Disk::default(), Wanted::all(bob, group));
    assert_eq!(seen.iter().map(|message| &message.payload[..]).collect::<Vec<_>>(), [b"welcome"]);
    state.apply(5, Command::RemoveMember { group, by: ann, user: bob });
    assert_eq!(read_all(&state, &Disk::default(), Wanted::all(bob, group)), []);
}

#[test]
fn a_time_is_found_by_one_look() {
    let (mut state, mut disk) = (State::new(), Disk::default());
    let (ann, bob) = (register(&mut state, "ann"), register(&mut state, "bob"));
    let mut place = post(&mut state, 0, ann, bob, b"first");
    for at_ms in 1..10_000 {
        place = post(&mut state, at_ms, ann, bob, b"a message of some length");
    }
    disk.keep(state.take_rows());
    for (since_ms, backwards) in [(0, false), (5_000, false), (5_000, true), (9_000, true), (77, false)] {
        let all = Wanted::all(bob, place.conversation);
        let wanted = Wanted { since_ms, until_ms: since_ms + 100, backwards, messages_max: 100, ..all };
        let Reading::Look { look, wanted } = state.read(1, &wanted) else { panic!("it is on the disk") };
        let rows = disk.look(&look);
        assert!(rows.len() <= 4, "{} pages for 100 messages", rows.len());
        let found = state.read_looked(&wanted, &rows);
        let times: Vec<u64> = found.messages.iter().map(|message| message.time_ms).collect();
        let missing = 100 - times.len() as u64;
        let begin = if backwards { since_ms + missing } else { since_ms };
        assert_eq!(times, (begin..begin + 100 - missing).collect::<Vec<_>>());
        // What stands on the edge of a page that had to be read in part is left for the next reading.
        assert!(missing < 64 && (missing == 0 || found.next.is_some()), "{missing} are missing");
    }
}

#[test]
fn the_pages_of_a_group_that_ends_go_some_with_each_record() {
    let (mut state, mut disk) = (State::new(), Disk::default());
    let ann = register(&mut state, "ann");
    state.apply(1, Command::CreateGroup { by: ann, name: "g".into() });
    let group = state.find_group("g").expect("it was made");
    for _ in 0..100 * 64 {
        let payload = Bytes::from_static(b"text");
        let (to, timestamp) = (Target::Group(group), String::new());
        state.apply(2, Command::Post { from: ann, to, client: None, timestamp, payload });
    }
    disk.keep(state.take_rows());
    let pages = |disk: &Disk| disk.0.keys().filter(|key| key.starts_with(b"m")).count();
    assert_eq!(pages(&disk), 100);
    state.apply(3, Command::DeleteGroup { group, by: ann });
    disk.keep(state.take_rows());
    assert_eq!(pages(&disk), 100);
    // Others go on with it, too.
    for left in [84, 68, 52, 36, 20, 4, 0] {
        state = disk.restore(7);
        state.apply(4, Command::Read { marks: Vec::new() });
        let rows = state.take_rows();
        assert!(rows.len() <= 17, "{}", rows.len());
        disk.keep(rows);
        assert_eq!(pages(&disk), left);
    }
}

#[test]
fn of_a_million_messages_memory_holds_a_bounded_part() {
    const USERS: u64 = 2_000;
    let mut state = State::new();
    let limits = Limits { open_bytes_max: 4 * 1024 * 1024, ..Limits::default() };
    state.apply(0, Command::Limits { limits });
    for user in 1..=USERS {
        register(&mut state, &format!("u{user}"));
    }
    let mut rng = Rng::new(1);
    let (mut written_bytes, mut unwritten_max, mut open_max) = (0, 0, 0);
    for number in 0..1_000_000 {
        let from = UserId(rng.between(1..=USERS));
        // Each writes with ten others: ten thousand conversations.
        let to = UserId((from.0 + rng.between(1..=5) * 7) % USERS + 1);
        post(&mut state, number, from, to, b"a message that is not very long");
        if number % 8_192 == 8_191 {
            written_bytes +=
                state.take_rows().iter().filter_map(|row| row.value.as_ref()).map(Bytes::len).sum::<usize>();
        }
        if number % 64 == 0 {
            let counted: BTreeMap<_, _> = state.counters().into();
            open_max = open_max.max(counted["pages_open_bytes"]);
            unwritten_max = unwritten_max.max(counted["pages_unwritten_bytes"]);
        }
    }
    let counted: BTreeMap<_, _> = state.counters().into();
    assert_eq!(counted["conversations"], USERS * 5);
    assert!(open_max <= 4 * 1024 * 1024, "{open_max}");
    assert!(unwritten_max <= 2 * 1024 * 1024, "{unwritten_max}");
    assert!(written_bytes > 50_000_000, "the rest is in rows: {written_bytes}");
    assert!(counted["pages"] < 200_000, "memory knows of each page where it begins: {}", counted["pages"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_state_does_as_its_model_and_as_itself_behind_a_restore(seed: u64) {
        run(seed, 400);
    }

    #[test]
    fn no_rows_make_it_panic(rows in proptest::collection::vec(
        (proptest::sample::select(b"ciklmnruxz".to_vec()), proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 0..40)),
        0..10,
    )) {
        let row = |(sort, key, value): (u8, Vec<u8>, Vec<u8>)| Row { key: [vec![sort], key].concat().into(), value: Some(value.into()) };
        let rows: Vec<Row> = rows.into_iter().map(row).collect();
        let _ = State::new().restore(&rows, true, true);
    }
}
