//! Connections where nothing goes wrong, and their bounds.

use ovid::agent::{DRAINED_BYTES, QUEUE_BYTES_MAX};
use ovid::sim::{Carrier, Settings, World};

use super::caller::{
    A, B, Caller, address, apart, caller, connected, dial, frames, heard, later, news, send_many, tell, wait,
};

#[test]
fn frames_arrive_whole_and_in_order_in_reads_of_any_size() {
    let mut world = connected(|_| ());
    let texts = send_many(&mut world, 300);
    tell(&mut world, B, "send back");
    wait(&mut world, 4);
    assert!(frames(&world, B).is_empty(), "they take their time");
    wait(&mut world, 1);
    assert_eq!((frames(&world, B), frames(&world, A)), (texts, vec!["back".to_owned()]));
    let reads = &caller(&world, B).reads;
    assert!(reads.iter().any(|frames| *frames > 1), "several at once");
    tell(&mut world, A, "flood 100000");
    wait(&mut world, 100);
    assert_eq!(caller(&world, B).frames.last().map(Vec::len), Some(100_000), "one in several reads");
}

#[test]
fn a_dial_that_reaches_nobody_says_so() {
    let mut world = apart(|_| ());
    tell(&mut world, A, &format!("dial {}:1001", address(B)));
    tell(&mut world, A, &format!("{} tls", dial(B)));
    wait(&mut world, 10);
    let refused = "dial 77: connection refused";
    let differ = "dial 77: one side wants the connection encrypted, and the other does not";
    assert_eq!(news(&world, A), [refused, differ]);
    tell(&mut world, B, "shut");
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    world.crash(B);
    tell(&mut world, A, &dial(B));
    wait(&mut world, 10);
    assert_eq!(news(&world, A)[2..], [refused; 2]);
    tell(&mut world, A, "dial 10.9.9.9:1000");
    wait(&mut world, 2_999);
    assert_eq!(news(&world, A).len(), 4);
    wait(&mut world, 1);
    assert_eq!(news(&world, A)[4..], ["dial 77: nobody answers"]);
}

#[test]
fn ports_are_the_agents_own_and_open_once() {
    let mut world = apart(|_| ());
    tell(&mut world, A, "listen 10.9.9.9:1");
    tell(&mut world, A, &format!("listen {}:2000", address(A)));
    wait(&mut world, 0);
    assert_eq!(
        news(&world, A),
        [
            "no port 1: 10.9.9.9 is no address of this server, which has 10.0.0.1",
            "no port 1: this agent has a port of that number already",
        ]
    );
    tell(&mut world, A, "shut");
    tell(&mut world, A, "listen 0.0.0.0:0");
    wait(&mut world, 0);
    assert_eq!(news(&world, A)[2..], ["port 1 at 10.0.0.1:49152"]);
    // A restart closes them, and others may have them.
    world.crash(A);
    world.restart(A, Caller::default());
    wait(&mut world, 0);
    assert_eq!(heard(&world, A), ["port 1 at 10.0.0.1:1000", "port 2 at 10.0.0.1:8888"]);
}

#[test]
fn what_was_sent_before_hanging_up_arrives_and_then_the_end() {
    let mut world = connected(|_| ());
    tell(&mut world, A, "send one two");
    tell(&mut world, A, "hang-up");
    tell(&mut world, A, "send three");
    tell(&mut world, B, "send back");
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: closed"], "all has left");
    wait(&mut world, 100);
    assert_eq!(frames(&world, B), ["one", "two"]);
    assert_eq!(later(&world, B), ["closed: closed"]);
    assert!(frames(&world, A).is_empty(), "nothing comes after the end");
    assert_eq!(later(&world, A).len(), 1);
    assert_eq!(world.connections().count(), 0);
}

#[test]
fn nobody_hears_frames_after_hanging_up_even_of_the_same_read() {
    for frames_taken in [1, 2, 3] {
        let mut world = connected(|_| ());
        world.crash(B);
        world.restart(B, Caller { hangs_up_after: Some(frames_taken), ..Caller::default() });
        tell(&mut world, A, &dial(B));
        wait(&mut world, 10);
        send_many(&mut world, 50);
        wait(&mut world, 100);
        let caller = caller(&world, B);
        let before: usize = caller.reads[..caller.reads.len() - 1].iter().sum();
        assert!(before < frames_taken, "it was handed a read after it hung up");
        assert_eq!(heard(&world, B).last().map(String::as_str), Some("closed: closed"));
        assert_eq!(heard(&world, A).last().map(String::as_str), Some("closed: closed"));
    }
}

#[test]
fn who_sends_much_is_told_when_it_has_left() {
    let mut world = connected(|_| ());
    tell(&mut world, A, &format!("flood {}", DRAINED_BYTES - 5));
    wait(&mut world, 100);
    assert_eq!(later(&world, A).len(), 0);
    tell(&mut world, A, "send x");
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["drained"], "so much was sent");

    // Something that waits leaves as what was before it arrives.
    let mut world = connected(|settings| settings.on_the_way_bytes_max = 100);
    tell(&mut world, A, "flood 150");
    tell(&mut world, A, "send x");
    wait(&mut world, 4);
    assert_eq!(later(&world, A).len(), 0);
    wait(&mut world, 1);
    assert_eq!(later(&world, A), ["drained"]);
    wait(&mut world, 5);
    assert_eq!(caller(&world, B).frames.len(), 2);
    tell(&mut world, A, "flood 150");
    tell(&mut world, A, "hang-up");
    wait(&mut world, 4);
    assert_eq!(later(&world, A), ["drained"], "not closed before all has left");
    wait(&mut world, 100);
    assert_eq!(later(&world, A), ["drained", "closed: closed"]);
    assert_eq!(caller(&world, B).frames.len(), 3);
}

#[test]
fn too_much_that_waits_ends_a_connection() {
    let mut world = connected(|settings| settings.on_the_way_bytes_max = 100);
    for _ in 0..=QUEUE_BYTES_MAX / 1_000_000 {
        tell(&mut world, A, "flood 1000000");
    }
    wait(&mut world, 0);
    assert_eq!(later(&world, A), ["closed: queue full"]);
    assert_eq!(later(&world, B), ["closed: broken"]);
}

#[test]
fn a_frame_that_is_too_long_ends_a_connection() {
    let mut world = connected(|_| ());
    tell(&mut world, A, "send fine");
    tell(&mut world, A, &format!("flood {}", (1 << 20) + 1));
    wait(&mut world, 100);
    assert_eq!(frames(&world, B), ["fine"]);
    assert_eq!(
        (later(&world, A), later(&world, B)),
        (vec!["closed: broken".into()], vec!["closed: broken".into()])
    );
}

#[test]
fn an_agent_may_speak_with_itself() {
    let mut world = apart(|_| ());
    tell(&mut world, A, "dial 127.0.0.1:1000");
    wait(&mut world, 10);
    tell(&mut world, A, "send me");
    wait(&mut world, 5);
    assert_eq!(frames(&world, A), ["me"]);
    world.crash(A);
    assert_eq!(world.connections().count(), 0);
}

#[test]
fn only_links_carry_connections_so_a_world_of_datagrams_refuses_them() {
    let mut world: World<Caller> = World::new(Settings::new(1, Carrier::Datagram));
    world.add(Caller::default());
    world.run_until(world.now());
    assert_eq!(world.wrong().map(|wrong| wrong.law), Some("outputs"));
}
