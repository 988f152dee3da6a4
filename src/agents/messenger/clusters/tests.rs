use super::super::{GroupChange, Target};
use super::*;
use crate::agents::messenger::{Effect, Sequence};
use crate::rng::Probability;
use crate::wire::proto::route::Payload;

mod net;

use self::net::Net;

const EAST: usize = 0;
const WEST: usize = 1;

/// Two clusters with the same two users: ann is online in the first, bob in the second.
fn pair(seed: u64) -> (Net, [UserId; 2], [UserId; 2]) {
    let mut net = Net::new(seed, &[("east", 3), ("west", 2)]);
    let ann = [net.register(EAST, "ann"), net.register(WEST, "ann")];
    // So that nobody has the same number in both.
    net.register(WEST, "carol");
    let bob = [net.register(EAST, "bob"), net.register(WEST, "bob")];
    (net, ann, bob)
}

fn run(net: &mut Net, steps: usize) {
    for _ in 0..steps {
        net.step();
    }
}

fn texts(net: &Net, group: usize, user: UserId) -> Vec<String> {
    net.fetched(group, user).into_iter().map(|(_, _, text)| text).collect()
}

/// How far ann has read in the west what bob has written to her there.
fn read_in_west(net: &Net, ann: UserId, bob: UserId) -> Sequence {
    let state = &net.groups[WEST].state;
    state.mark(ann, state.direct(ann, bob).expect("there")).expect("a member")
}

#[test]
fn what_waits_elsewhere_and_what_comes_then_is_fetched_and_acknowledged() {
    let (mut net, ann, bob) = pair(1);
    for number in 0..600 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    net.online(EAST, 0, ann[0]);
    run(&mut net, 200);
    for number in 600..620 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
        run(&mut net, 5);
    }
    run(&mut net, 100);
    let expected: Vec<String> = (0..620).map(|number| number.to_string()).collect();
    assert_eq!(texts(&net, EAST, ann[0]), expected);
    assert!(
        net.fetched(EAST, ann[0])
            .iter()
            .all(|(cluster, sender, _)| (&**cluster, &**sender) == ("west", "bob"))
    );
    assert_eq!(read_in_west(&net, ann[1], bob[1]), Sequence(0), "she has not read anything");
    net.read(EAST, ann[0], true);
    run(&mut net, 100);
    assert_eq!(read_in_west(&net, ann[1], bob[1]), Sequence(620));
}

#[test]
fn what_waits_to_be_read_here_is_not_fetched_again_and_what_was_read_is_told_at_last() {
    let (mut net, ann, bob) = pair(11);
    for number in 0..40 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    net.online(EAST, 0, ann[0]);
    run(&mut net, 200);
    let sent = net.sent.len();
    // She goes to another server, with all of it unread.
    net.offline(EAST, 0, ann[0]);
    net.online(EAST, 1, ann[0]);
    run(&mut net, 200);
    let messages = |(_, route): &(usize, Route)| match &route.payload {
        Some(Payload::MessagesResponse(response)) => response.messages.len(),
        _ => 0,
    };
    assert_eq!(net.sent[sent..].iter().map(messages).sum::<usize>(), 0);
    // She reads it when nobody here can say so, and comes again.
    net.offline(EAST, 1, ann[0]);
    run(&mut net, 500);
    net.read(EAST, ann[0], true);
    run(&mut net, 50);
    assert_eq!(read_in_west(&net, ann[1], bob[1]), Sequence(0));
    net.online(EAST, 2, ann[0]);
    run(&mut net, 200);
    assert_eq!(read_in_west(&net, ann[1], bob[1]), Sequence(40));
    assert_eq!((texts(&net, EAST, ann[0]).len(), net.proposed(EAST)), (40, 40), "each in the log once");
}

#[test]
fn messages_are_fetched_once_and_in_order_whatever_breaks() {
    for seed in 0..40 {
        let (mut net, ann, bob) = pair(seed);
        net.trouble = Probability::percent(8);
        let (mut east, mut west) = (Vec::new(), Vec::new());
        net.online(WEST, 0, bob[1]);
        for number in 0..120_usize {
            net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
            west.push(number.to_string());
            net.post(EAST, ann[0], Target::User(bob[0]), &format!("re {number}"));
            east.push(format!("re {number}"));
            // She goes from server to server, and is on two of them sometimes; and servers come and go.
            match number % 12 {
                0 => net.read(EAST, ann[0], false),
                1 => net.online(EAST, number % 3, ann[0]),
                5 => net.online(EAST, (number + 1) % 3, ann[0]),
                7 => net.cut(WEST, number % 2, true),
                8 => net.cut(WEST, (number + 1) % 2, false),
                9 => net.offline(EAST, (number + 2) % 3, ann[0]),
                _ => {}
            }
            run(&mut net, 1 + number % 9);
        }
        net.trouble = Probability::NEVER;
        net.cut(WEST, 0, false);
        net.cut(WEST, 1, false);
        net.online(EAST, 2, ann[0]);
        run(&mut net, 4000);
        net.read(EAST, ann[0], true);
        net.read(WEST, bob[1], true);
        run(&mut net, 100);
        assert_eq!(texts(&net, EAST, ann[0]), west, "seed {seed}");
        assert_eq!(texts(&net, WEST, bob[1]), east, "seed {seed}");
        for (group, user, other) in [(WEST, ann[1], bob[1]), (EAST, bob[0], ann[0])] {
            let state = &net.groups[group].state;
            let conversation = state.direct(user, other).expect("there");
            let read = state.mark(user, conversation);
            assert_eq!(read, Some(Sequence(120)), "seed {seed}: what is read here is read there");
        }
    }
}

#[test]
fn two_servers_that_fetch_the_same_do_not_hold_each_other_up() {
    let (mut net, ann, bob) = pair(12);
    for number in 0..5_000 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    net.online(EAST, 0, ann[0]);
    run(&mut net, 30);
    net.online(EAST, 1, ann[0]);
    run(&mut net, 600);
    assert_eq!(texts(&net, EAST, ann[0]).len(), 5_000);
    net.read(EAST, ann[0], true);
    run(&mut net, 200);
    // The one goes, and the other one gets what comes then.
    net.offline(EAST, 0, ann[0]);
    for number in 5_000..5_100 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    run(&mut net, 300);
    assert_eq!(texts(&net, EAST, ann[0]).len(), 5_100);
    assert_eq!(read_in_west(&net, ann[1], bob[1]), Sequence(5_000));
}

/// How far bob's messages to ann are read in the west.
fn read_there(net: &Net, ann: UserId, bob: UserId) -> Option<Sequence> {
    let state = &net.groups[WEST].state;
    state.mark(ann, state.direct(ann, bob)?)
}

#[test]
fn what_is_read_while_a_cluster_cannot_be_reached_is_told_when_it_can_again() {
    let (mut net, ann, bob) = pair(14);
    for number in 0..10 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    net.online(EAST, 0, ann[0]);
    run(&mut net, 200);
    for (server, dead) in [(0, true), (1, true), (0, false), (1, false)] {
        net.cut(WEST, server, dead);
        if (server, dead) == (1, true) {
            run(&mut net, 50);
            net.read_upto(EAST, ann[0], 7);
        }
    }
    run(&mut net, 2000);
    assert_eq!(read_there(&net, ann[1], bob[1]), Some(Sequence(7)), "she has not read all of it");
}

#[test]
fn what_somebody_reads_who_leaves_then_is_told_all_the_same() {
    let (mut net, ann, bob) = pair(15);
    for number in 0..10 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    net.online(EAST, 0, ann[0]);
    run(&mut net, 200);
    // It takes the log a while to know of it.
    net.offline(EAST, 0, ann[0]);
    run(&mut net, 30);
    net.read_upto(EAST, ann[0], 10);
    run(&mut net, 50);
    assert_eq!(read_there(&net, ann[1], bob[1]), Some(Sequence(10)));
}

#[test]
fn who_takes_a_name_at_once_is_asked_for() {
    let (mut net, ann, bob) = pair(16);
    net.online(EAST, 0, ann[0]);
    run(&mut net, 200);
    net.offline(EAST, 0, ann[0]);
    net.apply(EAST, Command::Unregister { user: ann[0] });
    let other = net.register(EAST, "ann");
    net.online(EAST, 0, other);
    run(&mut net, 1000);
    net.post(WEST, bob[1], Target::User(ann[1]), "hello");
    run(&mut net, 100);
    assert_eq!(texts(&net, EAST, other), ["hello"]);
}

#[test]
fn groups_that_end_while_their_messages_are_on_the_way_do_not_hold_up_others() {
    let (mut net, ann, bob) = pair(13);
    net.online(EAST, 0, ann[0]);
    run(&mut net, 50);
    for _ in 0..6 {
        net.apply(WEST, Command::CreateGroup { by: bob[1], name: "friends".to_owned() });
        let group = net.groups[WEST].state.find_group("friends").expect("there");
        net.apply(WEST, Command::AddMember { group, by: bob[1], user: ann[1] });
        for number in 0..ON_THE_WAY_MAX / 4 {
            net.post(WEST, bob[1], Target::Group(group), &format!("{number}"));
        }
        run(&mut net, 2);
        net.apply(WEST, Command::DeleteGroup { group, by: bob[1] });
    }
    net.post(WEST, bob[1], Target::User(ann[1]), "to her alone");
    run(&mut net, 4000);
    assert_eq!(texts(&net, EAST, ann[0]).last().map(String::as_str), Some("to her alone"));
}

#[test]
fn nothing_counts_as_read_before_it_is_read_here() {
    for seed in 0..20 {
        let (mut net, ann, bob) = pair(seed);
        net.trouble = Probability::percent(20);
        net.online(EAST, 0, ann[0]);
        for number in 0..50 {
            net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
            for _ in 0..10 {
                net.step();
                let state = &net.groups[EAST].state;
                let here = state.foreign(ann[0], "west", "bob", false);
                let here = here.and_then(|here| state.mark(ann[0], here)).unwrap_or_default();
                let there = read_in_west(&net, ann[1], bob[1]);
                assert!(there <= here, "seed {seed}: {there:?} is read there, and {here:?} here");
            }
            net.read(EAST, ann[0], false);
        }
    }
}

#[test]
fn a_group_is_fetched_for_each_member_and_what_one_wrote_is_not() {
    let (mut net, ann, bob) = pair(3);
    net.apply(WEST, Command::CreateGroup { by: bob[1], name: "friends".to_owned() });
    let group = net.groups[WEST].state.find_group("friends").expect("there");
    let outcome = net.apply(WEST, Command::AddMember { group, by: bob[1], user: ann[1] });
    let joined = Effect::Group { group, change: GroupChange::Joined(ann[1]) };
    assert!(matches!(outcome, Outcome::Done(effects) if effects.contains(&joined)));
    net.online(EAST, 1, ann[0]);
    net.online(EAST, 1, bob[0]);
    run(&mut net, 50);
    net.post(WEST, bob[1], Target::Group(group), "from bob");
    net.post(WEST, ann[1], Target::Group(group), "from ann");
    run(&mut net, 100);
    let of = |sender: &str| ("west".to_owned(), sender.to_owned(), format!("from {sender}"));
    assert_eq!(net.fetched(EAST, ann[0]), [of("bob")]);
    assert_eq!(net.fetched(EAST, bob[0]), [of("ann")]);
}

#[test]
fn what_was_fetched_goes_no_further() {
    let mut net = Net::new(4, &[("east", 1), ("west", 1), ("north", 1)]);
    let users: Vec<[UserId; 2]> =
        (0..3).map(|group| [net.register(group, "ann"), net.register(group, "bob")]).collect();
    // She is online everywhere: each cluster asks both of the others for what she has there.
    for (group, [ann, _]) in users.iter().enumerate() {
        net.online(group, 0, *ann);
    }
    run(&mut net, 100);
    net.post(EAST, users[EAST][1], Target::User(users[EAST][0]), "hello");
    run(&mut net, 500);
    let hello = ("east".to_owned(), "bob".to_owned(), "hello".to_owned());
    assert_eq!(net.fetched(EAST, users[EAST][0]), []);
    assert_eq!(net.fetched(WEST, users[WEST][0]), std::slice::from_ref(&hello));
    assert_eq!(net.fetched(2, users[2][0]), [hello]);
    let sent_messages = net.sent.iter().filter(|(_, route)| match &route.payload {
        Some(Payload::MessagesResponse(response)) => !response.messages.is_empty(),
        _ => false,
    });
    assert!(sent_messages.clone().count() >= 2);
    assert!(
        sent_messages.clone().all(|(server, _)| *server == 0),
        "only by the cluster that it was written in"
    );
}

#[test]
fn a_user_who_is_not_known_there_is_asked_for_again() {
    let mut net = Net::new(5, &[("east", 1), ("west", 1)]);
    let ann = net.register(EAST, "ann");
    net.online(EAST, 0, ann);
    run(&mut net, 100);
    let (there, bob) = (net.register(WEST, "ann"), net.register(WEST, "bob"));
    net.post(WEST, bob, Target::User(there), "hello");
    run(&mut net, 2000);
    assert_eq!(texts(&net, EAST, ann), ["hello"]);
}

#[test]
fn whoever_takes_the_name_of_somebody_who_is_gone_is_found() {
    let (mut net, ann, bob) = pair(9);
    net.online(EAST, 0, ann[0]);
    run(&mut net, 50);
    net.apply(WEST, Command::Unregister { user: ann[1] });
    let other = net.register(WEST, "ann");
    assert_ne!(other, ann[1]);
    net.post(WEST, bob[1], Target::User(other), "hello");
    run(&mut net, 2000);
    assert_eq!(texts(&net, EAST, ann[0]), ["hello"]);
}

#[test]
fn a_cluster_that_is_begun_anew_under_its_tag_is_another_one() {
    for is_known in [true, false] {
        let (mut net, ann, bob) = pair(10);
        if is_known {
            net.begin_anew(WEST, [1; 32]);
            for name in ["ann", "carol", "bob"] {
                net.register(WEST, name);
            }
        }
        net.post(WEST, bob[1], Target::User(ann[1]), "1");
        net.post(WEST, bob[1], Target::User(ann[1]), "2");
        net.online(EAST, 0, ann[0]);
        run(&mut net, 300);
        assert_eq!(texts(&net, EAST, ann[0]), ["1", "2"]);
        net.begin_anew(WEST, [2; 32]);
        for name in ["ann", "carol", "bob"] {
            net.register(WEST, name);
        }
        run(&mut net, 3000);
        net.post(WEST, bob[1], Target::User(ann[1]), "of the new one");
        run(&mut net, 3000);
        assert_eq!(texts(&net, EAST, ann[0]), ["1", "2", "of the new one"], "known: {is_known}");
    }
}

#[test]
fn a_cluster_that_is_down_delays_nobody() {
    let mut net = Net::new(6, &[("east", 1), ("west", 1), ("north", 1)]);
    let ann: Vec<UserId> = (0..3).map(|group| net.register(group, "ann")).collect();
    let bob = net.register(2, "bob");
    net.cut(WEST, 0, true);
    net.post(2, bob, Target::User(ann[2]), "hello");
    net.online(EAST, 0, ann[EAST]);
    run(&mut net, 30);
    assert_eq!(texts(&net, EAST, ann[EAST]), ["hello"]);
    assert_eq!(net.counter(EAST, 0, "clusters_up"), 1);
    net.cut(WEST, 0, false);
    run(&mut net, 4000);
    assert_eq!(net.counter(EAST, 0, "clusters_up"), 2);
}

#[test]
fn an_inbox_that_is_full_waits_until_there_is_room() {
    let (mut net, ann, bob) = pair(7);
    let limits = super::super::Limits { unread_max: 10, ..super::super::Limits::default() };
    net.apply(EAST, Command::Limits { limits });
    net.online(EAST, 0, ann[0]);
    for number in 0..12 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    run(&mut net, 300);
    // As long as there is room for one, all of a batch are taken.
    let taken = texts(&net, EAST, ann[0]).len();
    assert!((10..=12).contains(&taken), "{taken}");
    for number in 12..25 {
        net.post(WEST, bob[1], Target::User(ann[1]), &format!("{number}"));
    }
    run(&mut net, 1500);
    assert_eq!(texts(&net, EAST, ann[0]).len(), taken, "there is no room");
    for _ in 0..3 {
        let state = &net.groups[EAST].state;
        let unread = state.unread(ann[0]).map(|(conversation, _)| Place {
            conversation,
            sequence: state.conversation(conversation).expect("there").last(),
        });
        let marks = unread.map(|place| (ann[0], place)).collect();
        net.apply(EAST, Command::Read { marks });
        run(&mut net, 1500);
    }
    let expected: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    assert_eq!(texts(&net, EAST, ann[0]), expected);
}

#[test]
fn a_connection_that_nobody_needs_is_closed() {
    let (mut net, ann, _) = pair(8);
    net.online(EAST, 0, ann[0]);
    run(&mut net, 50);
    assert_eq!(net.counter(EAST, 0, "clusters_up"), 1);
    net.offline(EAST, 0, ann[0]);
    run(&mut net, 5000);
    assert_eq!(net.counter(EAST, 0, "clusters_up"), 0);
    assert_eq!(net.counter(WEST, 0, "clusters_served") + net.counter(WEST, 1, "clusters_served"), 0);
    net.online(EAST, 0, ann[0]);
    run(&mut net, 50);
    assert_eq!(net.counter(EAST, 0, "clusters_up"), 1);
}
