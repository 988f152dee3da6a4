//! Masters: commands in, answers out in their order, and nobody harmed by a bad one.

use ovid::server::{Door, ReplyFraming};
use proptest::prelude::*;

use crate::world::World;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn answers_come_in_the_order_of_the_commands(
        commands in proptest::collection::vec(prop_oneof![
            Just("get"), Just("alive"), Just("broadcast m"), Just("nonsense"), Just(""), Just("broadcast"),
        ], 0..60),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(1, seed);
        world.start(0);
        let master = world.connect(0, Door::Masters);
        let mut expected = Vec::new();
        let mut messages = Vec::new();
        for command in &commands {
            world.send(master, format!("{command}\n").as_bytes());
            match *command {
                "get" => expected.push(format!("messages {}", messages.join(","))),
                "alive" => expected.push("alive 0".to_owned()),
                "broadcast m" => messages.push("m"),
                "nonsense" => expected.push("error".to_owned()),
                _ => {}
            }
        }
        world.run_ms(200);
        let answers = String::from_utf8(world.take(master)).expect("UTF-8");
        let answers: Vec<&str> = answers.lines().collect();
        prop_assert_eq!(answers.len(), expected.len());
        for (answer, expected) in answers.iter().zip(&expected) {
            let same = if expected == "error" { answer.starts_with("error ") } else { answer == expected };
            prop_assert!(same, "{} instead of {}", answer, expected);
        }
    }

    #[test]
    fn any_bytes_of_a_master_harm_nobody(
        seed in any::<u64>(),
        rubbish in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..2000),
    ) {
        // The one command that is meant to do harm.
        prop_assume!(!String::from_utf8_lossy(&rubbish).contains("crash"));
        let mut world = World::new(1, seed);
        world.start(0);
        let master = world.connect(0, Door::Masters);
        world.send(master, &rubbish);
        world.run_ms(100);
        world.hang_up(master);
        prop_assert_eq!(world.ask(0, "alive"), "alive 0");
    }
}

#[test]
fn broadcasts_never_answer_and_keep_every_byte() {
    let mut world = World::linked(2, 1);
    let master = world.connect(0, Door::Masters);
    let message = "  msg 1 ping 0, \u{1F600}\t tail  ";
    world.send(master, format!("broadcast {message}\nbroadcast\nbroadcast \nbroadcast \u{e9}\n").as_bytes());
    world.send(master, b"broadcast \xff\xfe\nbroadcast\ttab\nbroadcast\r\n  broadcast early\n");
    world.run_ms(50);
    assert!(world.take(master).is_empty());
    for id in 0..2 {
        assert_eq!(world.ask(id, "get"), format!("messages {message},\u{e9},early"));
    }
}

#[test]
fn a_crash_ends_the_server_behind_what_it_had_sent() {
    let mut world = World::linked(3, 2);
    let master = world.connect(1, Door::Masters);
    world.send(master, b"broadcast last words\ncrash\nget\n");
    world.run_ms(50);
    assert_eq!(world.running(), [0, 2]);
    world.assert_all_see(&[0, 2]);
    assert_eq!(world.log(0), ["last words"]);
    assert!(world.take(master).is_empty());
}

#[test]
fn answers_of_the_2018_edition_carry_their_length() {
    let mut world = World::new(2, 3);
    world.tune(|settings| settings.server.reply_framing = ReplyFraming::Length);
    world.start(0);
    world.start(1);
    world.run_ms(50);
    let master = world.connect(0, Door::Masters);
    world.send(master, b"alive\nget\nbroadcast a b\nget\n");
    world.run_ms(50);
    assert_eq!(
        String::from_utf8(world.take(master)).expect("UTF-8"),
        "9-alive 0,19-messages 12-messages a b"
    );
}

#[test]
fn a_master_that_does_not_read_its_answers_is_not_read_either() {
    let mut world = World::new(1, 4);
    world.start(0);
    let other = world.connect(0, Door::Masters);
    world.send(other, format!("broadcast {}\n", "x".repeat(100_000)).as_bytes());
    world.run_ms(50);
    let lazy = world.connect(0, Door::Masters);
    world.send(lazy, &b"get\n".repeat(1000));
    world.run_ms(300);
    // It holds what fits its stream and its bounded queue; nobody else waits for it.
    assert_eq!(world.ask(0, "alive"), "alive 0");
    let mut came = Vec::new();
    for _ in 0..20_000 {
        came.extend(world.take(lazy));
        world.run_ms(1);
        if came.len() >= 1000 * 100_010 {
            break;
        }
    }
    assert_eq!(came.split_inclusive(|byte| *byte == b'\n').count(), 1000);
}

#[test]
fn a_master_that_has_said_all_it_had_to_say_still_gets_its_answers() {
    let mut world = World::new(1, 5);
    world.start(0);
    let master = world.connect(0, Door::Masters);
    world.send(master, b"alive\nget\nunfinished");
    world.end_sending(master);
    world.run_ms(50);
    assert_eq!(world.take(master), b"alive 0\nmessages \n");
    assert!(world.is_closed(master));
}

#[test]
fn too_many_masters_push_out_the_quietest() {
    let mut world = World::new(1, 6);
    world.start(0);
    let mut masters: Vec<_> = (0..8).map(|_| world.connect(0, Door::Masters)).collect();
    world.run_ms(10);
    // The first one speaks, so the second is the quietest when a ninth comes.
    world.send(masters[0], b"alive\n");
    world.run_ms(10);
    masters.push(world.connect(0, Door::Masters));
    world.run_ms(10);
    let closed: Vec<usize> = (0..9).filter(|index| world.is_closed(masters[*index])).collect();
    assert_eq!(closed, [1]);
    assert_eq!(world.take(masters[0]), b"alive 0\n");
}

#[test]
fn a_full_log_refuses_broadcasts_and_says_so_in_the_status() {
    let mut world = World::new(2, 7);
    world.tune(|settings| settings.log_bytes_max = 10);
    world.start(0);
    world.start(1);
    world.run_ms(50);
    let master = world.connect(0, Door::Masters);
    world.send(master, b"broadcast 12345\nbroadcast 67890\n");
    world.run_ms(50);
    assert_eq!(world.log(0), ["12345"]);
    assert_eq!(world.log(1), ["12345"]);
    let status = world.status(0);
    assert_eq!((status.messages, status.log_bytes, status.broadcasts_refused), (1, 6, 1));
}
