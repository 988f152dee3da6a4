//! What the paper leaves open, on a single node: requests that cross or come late, signs of life, islands, and exchanges.

use std::mem::offset_of;
use std::time::Duration;

use super::lone::{ACCEPT, DECLINE, Lone, linked, options, sent};
use super::net::Overlay;
use crate::agent::{Epoch, Peer, Why};
use crate::agents::overlay::{Control, Dialect, Effect, Island, Options, Reason};

fn ask(high: bool) -> Control<Peer> {
    Control::Neighbour { high }
}

#[test]
fn two_that_ask_each_other_at_once_become_neighbours() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[7]);
    lone.down(1, Why::Broken);
    assert_eq!(sent(&lone.up(7)), [(7, ask(false))]);
    let effects = lone.hear(7, ask(false));
    assert_eq!(effects, [Effect::Send(Peer(7), ACCEPT), Effect::Up(Peer(7))]);
    assert!(lone.hear(7, ACCEPT).is_empty());
    assert_eq!(lone.active(), [2, 3, 4, 5, 7]);
}

#[test]
fn a_request_whose_link_was_closed_for_the_other_ends_dial_is_made_on_that() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[7]);
    lone.down(1, Why::Broken);
    lone.up(7);
    assert!(lone.down(7, Why::Closed).is_empty());
    assert_eq!(sent(&lone.up(7)), [(7, ask(false))]);
    lone.hear(7, ACCEPT);
    assert_eq!(lone.active(), [2, 3, 4, 5, 7]);
}

#[test]
fn an_answer_that_comes_late_makes_nobody_a_neighbour() {
    let mut lone = Lone::new(options(), &[1, 2, 3, 4, 5], &[7]);
    lone.down(1, Why::Broken);
    lone.up(7);
    while !lone.wait().contains(&Effect::Unlink(Peer(7))) {}
    assert!(lone.hear(7, ACCEPT).is_empty());
    lone.up(7);
    assert!(lone.hear(7, ACCEPT).is_empty());
    assert_eq!(lone.active(), [2, 3, 4, 5]);
}

#[test]
fn the_end_of_an_older_link_says_nothing_about_the_present_one() {
    let mut lone = Lone::new(options(), &[1, 2], &[]);
    let epoch = lone.node.active.notes()[0].epoch;
    lone.opened(1, Control::Join);
    lone.node.link_down(lone.now, Peer(1), epoch, Why::Broken);
    assert!(lone.effects().is_empty());
    assert_eq!(lone.active(), [1, 2]);
}

#[test]
fn who_comes_back_on_a_new_link_was_gone_in_between() {
    let mut lone = Lone::new(options(), &[1, 2], &[]);
    let effects = lone.opened(1, Control::Join);
    let told: Vec<_> =
        effects.iter().filter(|effect| matches!(effect, Effect::Up(_) | Effect::Down(..))).cloned().collect();
    assert_eq!(told, [Effect::Down(Peer(1), Reason::Lost(Why::Broken)), Effect::Up(Peer(1))]);
}

#[test]
fn who_takes_itself_for_a_neighbour_is_told_that_it_is_none() {
    let mut lone = Lone::new(options(), &[1], &[]);
    lone.up(9);
    assert_eq!(sent(&lone.hear(9, Control::KeepAlive(None))), [(9, Control::Disconnect)]);
    lone.up(8);
    let now = lone.now;
    assert!(!lone.node.heard(now, Peer(8)));
    assert_eq!(sent(&lone.effects()), [(8, Control::Disconnect)]);
}

#[test]
fn links_on_which_nothing_is_said_are_closed_and_bounded() {
    let mut lone = Lone::new(options(), &[], &[]);
    let mut closed = Vec::new();
    for peer in 1..=300 {
        closed.extend(lone.up(peer));
    }
    assert_eq!(closed, (1..=172).map(|peer| Effect::Unlink(Peer(peer))).collect::<Vec<_>>());
    let mut effects = lone.wait();
    while !effects.contains(&Effect::Unlink(Peer(300))) {
        effects = lone.wait();
    }
    assert_eq!(lone.now.as_nanos(), 10_000_000_000);
    assert!(lone.node.links.is_empty());
}

#[test]
fn contacts_are_asked_in_turn_until_one_has_answered() {
    let mut lone = Lone::new(options(), &[], &[]);
    let mut asked = Vec::new();
    for contact in [0, 3, 1, 2] {
        lone.node.join(lone.now, Peer(contact));
        asked.extend(linked(&lone.effects()));
    }
    for _ in 0..9 {
        let last = *asked.last().expect("the first is asked at once");
        let mut links = linked(&lone.down(last, Why::Unreachable));
        if links.is_empty() {
            links = lone.wait_for_link();
        }
        asked.extend(links);
    }
    assert_eq!(asked[..9], [3, 1, 2, 3, 1, 2, 3, 1, 2]);
    let last = asked[9];
    assert_eq!(sent(&lone.up(last)), [(last, Control::Join)]);
    lone.hear(last, ACCEPT);
    assert_eq!(lone.active(), [last]);
}

#[test]
fn a_contact_more_than_there_is_room_for_takes_the_place_of_the_oldest() {
    let mut lone = Lone::new(options(), &[], &[]);
    (1..=10_000).for_each(|contact| lone.node.join(lone.now, Peer(contact)));
    assert_eq!(linked(&lone.effects()), [1]);
    lone.up(1);
    lone.hear(1, ACCEPT);
    lone.node.join(lone.now, Peer(20_000));
    assert_eq!(linked(&lone.effects()), [20_000]);
    assert_eq!(lone.node.requests.contacts.len(), 10_000);
}

#[test]
fn one_name_that_is_lost_again_and_again_is_remembered_once() {
    let mut lone = Lone::new(options(), &[2], &[]);
    for _ in 0..5 {
        lone.opened(1, Control::Join);
        lone.down(1, Why::Broken);
    }
    assert_eq!(lone.node.memory.names().ids(), [Peer(1)]);
}

#[test]
fn a_node_that_is_alone_asks_all_it_remembers_for_ever() {
    let mut lone = Lone::new(options(), &[1], &[2, 3]);
    let mut open = linked(&lone.down(1, Why::Broken));
    let mut times = [0; 4];
    for _ in 0..40 {
        while let Some(peer) = open.pop() {
            times[peer as usize] += 1;
            open.extend(linked(&lone.down(peer, Why::Unreachable)));
        }
        open = lone.wait_for_link();
    }
    assert!(times[1..].iter().all(|times| *times >= 40), "{times:?}");
}

#[test]
fn a_quiet_link_carries_a_sign_of_life_and_a_busy_one_none() {
    let never = Duration::from_secs(24 * 3600);
    let options = Options { probe_period: Duration::ZERO, shuffle_period: never, ..Options::default() };
    let mut lone = Lone::new(options, &[1, 2], &[]);
    let (mut first, mut second) = (0, 0);
    for _ in 0..20 {
        let now = lone.node.deadline().expect("a sign of life is due");
        assert!(
            lone.node.may_send(now, Peer(1))
                && lone.node.heard(now, Peer(1))
                && lone.node.heard(now, Peer(2))
        );
        for (peer, control) in sent(&lone.wait()) {
            let sign = usize::from(control == Control::KeepAlive(None));
            *(if peer == 1 { &mut first } else { &mut second }) += sign;
        }
    }
    assert!(first == 0 && second >= 15, "{first}, {second}");
}

#[test]
fn a_node_that_did_not_run_itself_calls_nobody_silent() {
    let mut lone = Lone::new(Options::default(), &[1, 2, 3], &[]);
    lone.now = lone.now + Duration::from_secs(60);
    lone.node.timeout(lone.now);
    lone.effects();
    assert_eq!(lone.active(), [1, 2, 3]);
}

#[test]
fn a_node_of_gen_hypar_is_not_answered_and_may_be_silent() {
    let mut lone = Lone::new(Options { dialect: Dialect::GenHypar, ..Options::default() }, &[], &[]);
    assert_eq!(lone.opened(1, Control::Join), [Effect::Up(Peer(1))]);
    assert_eq!(lone.opened(2, Control::JoinReply), [Effect::Up(Peer(2))]);
    lone.node.join(lone.now, Peer(3));
    assert_eq!(linked(&lone.effects()), [3]);
    assert_eq!(lone.up(3), [Effect::Send(Peer(3), Control::Join), Effect::Up(Peer(3))]);
    lone.hear(2, Control::KeepAlive(None));
    let mut shuffles = Vec::new();
    for _ in 0..30 {
        shuffles.extend(sent(&lone.wait()).into_iter().filter(|(_, control)| control.kind() == "shuffle"));
    }
    // Number 2 has given signs, and has stopped.
    assert_eq!(lone.active(), [1, 3]);
    assert!(matches!(shuffles[0].1, Control::Shuffle { number: 0, .. }));
    lone.node.received_by_post(lone.now, Control::ShuffleReply { number: 0, ids: [Peer(9)].into() });
    assert!(lone.passive().contains(&9));
}

/// Lets so many keep-alive periods pass, in which neighbour 1 tells `island` each time.
fn told(lone: &mut Lone, periods: u64, mut island: impl FnMut(u64) -> Option<Island<Peer>>) {
    let end = lone.now + Duration::from_secs(periods);
    let mut beat = 0;
    while lone.now < end {
        beat += 1;
        lone.hear(1, Control::KeepAlive(island(beat)));
        lone.wait();
    }
}

#[test]
fn the_smallest_name_is_taken_and_given_up_when_nobody_renews_it() {
    let mut lone = Lone::new(Options::default(), &[1], &[]);
    lone.node.me = Peer(5);
    lone.node.start_islands(lone.now);
    let (root, now) = (Peer(3), lone.now);
    let beat = |beat| Some(Island { root: Peer(3), beat });
    lone.node.island_heard(now, Island { root: Peer(4), beat: 9 });
    lone.node.island_heard(now, Island { root, beat: 1 });
    lone.node.island_heard(now, Island { root: Peer(4), beat: 10 });
    assert_eq!(lone.node.island(), beat(1));
    told(&mut lone, 25, beat);
    assert_eq!(lone.node.island().map(|island| island.root), Some(root));
    let last = lone.node.island();
    told(&mut lone, 25, |_| last);
    assert_ne!(lone.node.island().map(|island| island.root), Some(root), "{last:?}");
    told(&mut lone, 2, |later| last.map(|last| Island { beat: last.beat + later, ..last }));
    assert_eq!(lone.node.island().map(|island| island.root), Some(root));
}

#[test]
fn a_beat_beyond_all_measure_does_not_silence_a_root() {
    let mut lone = Lone::new(Options::default(), &[1], &[]);
    let own = |lone: &Lone| lone.node.island().expect("islands are looked for");
    let first = own(&lone).beat;
    for beat in [u64::MAX, 1 << 62, 1 << 40] {
        lone.node.island_heard(lone.now, Island { root: Peer(0), beat });
    }
    told(&mut lone, 3, |_| None);
    assert!((first + 2..first + 9).contains(&own(&lone).beat), "{:?} after {first}", own(&lone));
    // What it may have said before it was started anew.
    lone.node.island_heard(lone.now, Island { root: Peer(0), beat: first + 5_000 });
    lone.wait();
    assert_eq!(own(&lone), Island { root: Peer(0), beat: first + 5_001 });
}

#[test]
fn names_of_one_root_are_of_two_islands_if_their_beats_are_far_apart() {
    for (beats, followed) in [(0, false), (-10, false), (10, false), (-11, true), (11, true)] {
        let mut lone = Lone::new(Options::default(), &[1], &[]);
        told(&mut lone, 20, |_| None);
        let own = lone.node.island().expect("islands are looked for");
        let island = Island { beat: own.beat.checked_add_signed(beats).expect("neither end"), ..own };
        lone.node.received_by_post(lone.now, Control::Probe { origin: Peer(70), island });
        assert_eq!(linked(&lone.effects()), if followed { vec![70] } else { vec![] }, "{beats} beats later");
    }
}

#[test]
fn a_name_is_compared_with_others_only_after_it_has_stood_for_some_time() {
    let mut lone = Lone::new(Options::default(), &[1], &[]);
    lone.node.me = Peer(5);
    lone.node.start_islands(lone.now);
    told(&mut lone, 20, |beat| Some(Island { root: Peer(3), beat }));
    let probe = Control::Probe { origin: Peer(70), island: Island { root: Peer(4), beat: 1 } };
    // The root was started anew.
    told(&mut lone, 3, |beat| Some(Island { root: Peer(3), beat: beat + 5_000 }));
    lone.node.received_by_post(lone.now, probe.clone());
    assert!(linked(&lone.effects()).is_empty());
    told(&mut lone, 3, |beat| Some(Island { root: Peer(3), beat: beat + 6_000 }));
    lone.node.received_by_post(lone.now, probe.clone());
    assert!(linked(&lone.effects()).is_empty());
    told(&mut lone, 5, |beat| Some(Island { root: Peer(3), beat: beat + 6_010 }));
    lone.node.received_by_post(lone.now, probe);
    assert_eq!(linked(&lone.effects()), [70]);
}

#[test]
fn a_name_that_was_given_up_is_believed_of_a_root_that_was_started_anew() {
    let mut lone = Lone::new(Options::default(), &[1], &[]);
    lone.node.me = Peer(5);
    lone.node.start_islands(lone.now);
    let (root, last) = (Peer(3), 1_000_000);
    told(&mut lone, 25, |_| Some(Island { root, beat: last }));
    assert_eq!(lone.node.island().map(|island| island.root), Some(Peer(5)));
    for echo in [last, last - 1, last - 10] {
        lone.node.island_heard(lone.now, Island { root, beat: echo });
        assert_eq!(lone.node.island().map(|island| island.root), Some(Peer(5)), "{echo}");
    }
    lone.node.island_heard(lone.now, Island { root, beat: last - 11 });
    assert_eq!(lone.node.island(), Some(Island { root, beat: last - 11 }));
}

#[test]
fn the_name_of_another_island_is_passed_on_soon_and_a_later_beat_with_the_next_sign() {
    let mut lone = Lone::new(Options::default(), &[1, 2], &[]);
    lone.node.me = Peer(5);
    lone.node.start_islands(lone.now);
    let told_2 = |lone: &mut Lone| {
        let begin = lone.now;
        loop {
            let signs = sent(&lone.wait());
            let sign = signs.into_iter().find_map(|(peer, control)| match control {
                Control::KeepAlive(island) if peer == 2 => island,
                _ => None,
            });
            if let Some(island) = sign {
                return (island.beat, lone.now.since(begin));
            }
        }
    };
    // Just after a sign, so that the next is due in a period.
    told_2(&mut lone);
    lone.hear(1, Control::KeepAlive(Some(Island { root: Peer(3), beat: 100 })));
    assert_eq!(told_2(&mut lone), (100, Duration::from_micros(62_500)));
    lone.hear(1, Control::KeepAlive(Some(Island { root: Peer(3), beat: 101 })));
    assert_eq!(told_2(&mut lone), (101, Duration::from_secs(1)));
}

#[test]
fn a_probe_from_another_island_is_followed_at_most_once_in_a_period() {
    let mut lone = Lone::new(Options::default(), &[1, 2, 3, 4, 5], &[]);
    told(&mut lone, 20, |_| None);
    let probe = |origin, island| Control::Probe { origin: Peer(origin), island };
    // Only number 1 has been heard of; the others were silent.
    let own = lone.node.island().expect("islands are looked for");
    lone.node.received_by_post(lone.now, probe(70, own));
    assert!(linked(&lone.effects()).is_empty());
    for origin in 70..90 {
        lone.node.received_by_post(lone.now, probe(origin, Island { root: Peer(60), beat: 1 }));
    }
    assert_eq!(linked(&lone.effects()), [70]);
    assert_eq!(sent(&lone.up(70)), [(70, ask(true))]);
}

/// Node 0 with five measured neighbours, of which number 5 is the slowest and number 4 the next.
fn measured() -> Lone {
    let options = Options { optimise_period: Duration::from_secs(1), ..options() };
    let mut lone = Lone::new(options, &[1, 2, 3, 4, 5], &[]);
    for (index, rtt_us) in [100, 200, 300, 400, 500].into_iter().enumerate() {
        lone.node.active.notes_mut()[index].rtt_us = rtt_us;
    }
    lone
}

// X-BOT, Section 4: the initiator.
#[test]
fn an_initiator_puts_a_nearer_candidate_in_the_place_of_its_slowest_neighbour_but_one() {
    let mut lone = measured();
    lone.node.add_passive(Peer(9), true);
    assert_eq!(lone.wait_for_link(), [9]);
    assert_eq!(sent(&lone.up(9)), [(9, Control::Ping { number: 0 })]);
    lone.now = lone.now + Duration::from_micros(100);
    let offer = Control::Optimise { old: Peer(4), gain_us: 300 };
    assert_eq!(sent(&lone.hear(9, Control::Pong { number: 0 })), [(9, offer)]);
    let effects = lone.hear(9, ACCEPT);
    assert_eq!(sent(&effects), [(4, Control::Disconnect), (9, ACCEPT)]);
    assert_eq!(lone.active(), [1, 2, 3, 5, 9]);
}

// X-BOT, Section 4: the candidate.
#[test]
fn a_candidate_takes_the_initiator_when_its_own_neighbour_agrees() {
    let offer = || Control::Optimise { old: Peer(8), gain_us: 300 };
    let mut lone = measured();
    let replace = Control::Replace { initiator: Peer(9), old: Peer(8), limit_us: 700 };
    assert_eq!(sent(&lone.opened(9, offer())), [(4, replace)]);
    // One exchange at a time.
    assert_eq!(sent(&lone.opened(7, offer())), [(7, DECLINE)]);
    let agreed = Control::ReplaceReply { initiator: Peer(9), accept: true };
    assert_eq!(sent(&lone.hear(4, agreed)), [(9, ACCEPT)]);
    assert_eq!(lone.active(), [1, 2, 3, 4, 5]);
    assert_eq!(sent(&lone.hear(9, ACCEPT))[0], (4, Control::Disconnect));
    assert_eq!(lone.active(), [1, 2, 3, 5, 9]);
}

// X-BOT, Section 4: the disconnected node.
#[test]
fn a_displaced_neighbour_has_another_one_before_it_loses_this() {
    let mut lone = measured();
    let replace = Control::Replace { initiator: Peer(9), old: Peer(8), limit_us: 700 };
    assert_eq!(linked(&lone.hear(4, replace)), [8]);
    lone.up(8);
    lone.now = lone.now + Duration::from_micros(600);
    let switch = Control::Switch { initiator: Peer(9) };
    assert_eq!(sent(&lone.hear(8, Control::Pong { number: 0 })), [(8, switch)]);
    let agreed = Control::ReplaceReply { initiator: Peer(9), accept: true };
    assert_eq!(sent(&lone.hear(8, ACCEPT)), [(4, agreed)]);
    assert_eq!(lone.active(), [1, 2, 3, 4, 5]);
    assert_eq!(sent(&lone.hear(4, Control::Disconnect)), [(8, ACCEPT)]);
    assert_eq!(lone.active(), [1, 2, 3, 5, 8]);
}

// X-BOT, Section 4: the old node.
#[test]
fn an_old_neighbour_gets_the_displaced_one_when_the_initiator_leaves() {
    let mut lone = measured();
    assert_eq!(sent(&lone.opened(8, Control::Switch { initiator: Peer(4) })), [(8, ACCEPT)]);
    assert_eq!(lone.active(), [1, 2, 3, 4, 5]);
    assert_eq!(sent(&lone.hear(4, Control::Disconnect)), [(8, ACCEPT)]);
    assert_eq!(lone.active(), [1, 2, 3, 5, 8]);
    assert_eq!(sent(&lone.opened(7, Control::Switch { initiator: Peer(6) })), [(7, DECLINE)]);
}

#[test]
fn an_exchange_that_is_not_finished_changes_nothing() {
    let mut lone = measured();
    let replace = Control::Replace { initiator: Peer(9), old: Peer(8), limit_us: 700 };
    assert_eq!(linked(&lone.hear(4, replace)), [8]);
    let refused = Control::ReplaceReply { initiator: Peer(9), accept: false };
    assert_eq!(sent(&lone.down(8, Why::Unreachable)), [(4, refused)]);
    lone.opened(8, Control::Switch { initiator: Peer(4) });
    assert!(lone.down(8, Why::Broken).is_empty());
    lone.node.link_down(lone.now, Peer(8), Epoch(0), Why::Broken);
    assert_eq!(lone.active(), [1, 2, 3, 4, 5]);
}

#[test]
fn nobody_exchanges_what_it_does_not_gain_by() {
    // The initiator: the candidate is not much nearer than the neighbour.
    let mut lone = measured();
    lone.node.add_passive(Peer(9), true);
    lone.wait_for_link();
    lone.up(9);
    lone.now = lone.now + Duration::from_micros(390);
    assert_eq!(lone.hear(9, Control::Pong { number: 0 }), [Effect::Unlink(Peer(9))]);
    // The displaced one: the old neighbour is too far away, or is its own neighbour already.
    let mut lone = measured();
    let replace = |old| Control::Replace { initiator: Peer(9), old: Peer(old), limit_us: 700 };
    let refused = Control::ReplaceReply { initiator: Peer(9), accept: false };
    assert_eq!(sent(&lone.hear(4, replace(3))), [(4, refused.clone())]);
    lone.hear(4, replace(8));
    lone.up(8);
    lone.now = lone.now + Duration::from_micros(800);
    assert_eq!(sent(&lone.hear(8, Control::Pong { number: 0 })), [(4, refused)]);
    // The candidate: a place is free, which others fill without anybody's loss.
    lone.hear(1, Control::Disconnect);
    assert_eq!(sent(&lone.opened(9, Control::Optimise { old: Peer(8), gain_us: 1 })), [(9, DECLINE)]);
}

#[test]
fn a_node_stays_small() {
    let bytes = size_of::<Overlay>();
    assert!(bytes <= 448, "{bytes} bytes, as often as there are nodes in a simulated world");
    // What most steps look at fills four lines of a processor's cache, with what a host keeps in front of it.
    assert!(offset_of!(Overlay, optimising) <= 4 * 64 - 32);
}
