//! Runs of good servers, and of broken ones: each rule is broken by somebody, and seen.

use super::*;
use crate::server::Door;
use crate::sim::FailureModel;

fn plan(servers: u32, seed: u64, steps: u64) -> Plan {
    Plan { servers, seed, steps, ..Chatroom.default_plan() }
}

#[test]
fn good_servers_keep_all_rules_whatever_goes_wrong() {
    let mut delivered = 0;
    for seed in 0..40 {
        let failure_model = if seed % 2 == 0 { FailureModel::Rst } else { FailureModel::Send };
        let servers = 2 + u32::try_from(seed % 4).expect("small");
        let plan = Plan { failure_model, ..plan(servers, seed, 150) };
        let outcome = Chatroom.run(&plan, None);
        assert_eq!(outcome.violation, None, "{plan:?}");
        delivered += outcome.figures.messages;
    }
    assert!(delivered > 5_000, "only {delivered} messages were delivered, in all runs together");
}

#[test]
fn servers_on_an_overlay_keep_all_rules_whatever_goes_wrong() {
    for seed in 0..6 {
        let failure_model = if seed % 2 == 0 { FailureModel::Rst } else { FailureModel::Send };
        let plan = Plan { failure_model, seed, steps: 80, ..OverlayChatroom.default_plan() };
        let outcome = OverlayChatroom.run(&plan, None);
        assert_eq!(outcome.violation, None, "{plan:?}");
        assert!(outcome.figures.messages > 100, "{:?}", outcome.figures);
    }
}

#[test]
fn a_seed_gives_the_same_run_on_every_machine() {
    // Written down once, and anew whenever servers or streams behave differently.
    let mut trace = Vec::new();
    let watched = Chatroom.run(&plan(4, 42, 120), Some(&mut trace));
    let unwatched = Chatroom.run(&plan(4, 42, 120), None);
    assert_eq!(watched, unwatched);
    assert_eq!(watched.figures.digest, GOLDEN, "{:?}", watched.figures);
    assert_ne!(Chatroom.run(&plan(4, 43, 120), None).figures.digest, GOLDEN);
}

const GOLDEN: u64 = 1_306_541_379_935_695_712;

#[test]
fn a_shorter_plan_is_the_beginning_of_a_longer_one() {
    let (mut short, mut long) = (Vec::new(), Vec::new());
    let outcome = Chatroom.run(&plan(3, 7, 60), Some(&mut short));
    assert_eq!(outcome.violation, None);
    Chatroom.run(&plan(3, 7, 120), Some(&mut long));
    let common = short.iter().zip(&long).take_while(|(one, other)| one == other).count();
    let is_command = |event: &&Event| matches!(event.what, crate::trace::What::Command { .. });
    let commands = short.iter().filter(is_command).count();
    // All but those that healing brings.
    assert!(
        short[..common].iter().filter(is_command).count() + 10 >= commands,
        "{common} of {}",
        short.len()
    );
}

/// Changes what one server says.
type Change = Box<dyn FnMut(u64, &[u8], &mut Vec<u8>)>;

/// A server whose words are changed: those to other servers, or its answers.
struct Broken {
    server: u16,
    door: Door,
    change: Change,
}

impl Saboteur for Broken {
    fn line(&mut self, server: u16, door: Door, connection: u64, line: &[u8], out: &mut Vec<u8>) {
        let heartbeat = line.starts_with(b"ping ");
        if server == self.server && door == self.door && !heartbeat {
            (self.change)(connection, line, out);
        } else {
            out.extend_from_slice(line);
        }
    }
}

/// Lets broken servers run, with a few seeds and all faults. Every violation must be of `checker`, and some seeds must show it.
fn assert_caught(checker: &str, door: Door, make: impl Fn() -> Change) {
    assert_caught_in(&plan(3, 0, 150), checker, door, make);
}

/// The same, with another plan.
fn assert_caught_in(plan: &Plan, checker: &str, door: Door, make: impl Fn() -> Change) {
    let mut caught = 0;
    for seed in 0..12 {
        let saboteur = Broken { server: 1, door, change: make() };
        let plan = Plan { seed, ..plan.clone() };
        if let Some(violation) =
            Run::new(&plan, Graph::Complete, None, Some(Box::new(saboteur))).run().violation
        {
            assert_eq!(violation.checker, checker, "seed {seed}: {violation:?}");
            caught += 1;
        }
    }
    assert!(caught > 2, "seen in {caught} of 12 runs");
}

/// Calls `strange` for every seventh line, and leaves the others as they are.
fn every_seventh(mut strange: impl FnMut(&[u8], &mut Vec<u8>) + 'static) -> Change {
    let mut lines = 0;
    Box::new(move |_, line, out| {
        lines += 1;
        if lines % 7 == 0 { strange(line, out) } else { out.extend_from_slice(line) }
    })
}

#[test]
fn a_message_that_is_dropped_leaves_a_gap() {
    assert_caught("gap", Door::Links, || every_seventh(|_, _| {}));
}

#[test]
fn messages_that_change_places_leave_a_gap() {
    assert_caught("gap", Door::Links, || {
        let mut held: Option<(u64, Vec<u8>)> = None;
        let mut lines = 0;
        Box::new(move |connection, line, out| {
            lines += 1;
            if lines % 7 == 0 && held.is_none() {
                held = Some((connection, line.to_vec()));
                return;
            }
            out.extend_from_slice(line);
            if let Some((_, earlier)) = held.take_if(|(held_on, _)| *held_on == connection) {
                out.extend_from_slice(&earlier);
            }
        })
    });
}

#[test]
fn a_message_that_is_repeated_is_seen() {
    assert_caught("once", Door::Links, || every_seventh(|line, out| out.extend_from_slice(&line.repeat(2))));
}

#[test]
fn a_message_that_is_invented_is_seen() {
    assert_caught("forged", Door::Links, || {
        every_seventh(|_, out| out.extend_from_slice(b"msg 1 nobody said this\n"))
    });
}

#[test]
fn what_an_old_link_held_and_a_new_one_brings_too_late_is_out_of_order() {
    // From the seventh message on nothing gets over the first link, and the seventh comes behind the first message of the next link. Two
    // servers that do not crash, so that a new connection is one to the same life of the same peer; and long before the end, so that there is a
    // next link.
    let plan = Plan { faults: [Fault::Break].into(), ..plan(2, 0, 1500) };
    assert_caught_in(&plan, "fifo", Door::Links, || {
        let mut lines = 0;
        let mut held: Option<(u64, Vec<u8>)> = None;
        Box::new(move |connection, line, out| {
            lines += 1;
            match &held {
                None if lines % 7 == 0 && lines < 200 => held = Some((connection, line.to_vec())),
                Some((held_on, _)) if *held_on == connection => {}
                _ => {
                    out.extend_from_slice(line);
                    out.extend(held.take().into_iter().flat_map(|(_, earlier)| earlier));
                }
            }
        })
    });
}

#[test]
fn a_log_that_lacks_the_last_own_message_is_seen() {
    assert_caught("own", Door::Masters, || {
        Box::new(|_, line, out| {
            let end = line.iter().rposition(|byte| *byte == b',').filter(|_| line.starts_with(b"messages "));
            out.extend_from_slice(end.map_or(line, |end| &line[..end]));
            if end.is_some() {
                out.push(b'\n');
            }
        })
    });
}

#[test]
fn a_log_that_forgets_is_seen() {
    assert_caught("grow", Door::Masters, || {
        let mut shown_bytes = 0;
        Box::new(move |_, line, out| {
            // The first message is left out once the log has been shown with a few. A shorter log is that of a new life.
            let text = String::from_utf8_lossy(line);
            let Some(log) = text.strip_prefix("messages ") else { return out.extend_from_slice(line) };
            match log.split_once(',') {
                Some((_, rest)) if (100..=log.len()).contains(&shown_bytes) => {
                    out.extend_from_slice(format!("messages {rest}").as_bytes());
                }
                _ => out.extend_from_slice(line),
            }
            shown_bytes = log.len();
        })
    });
}

#[test]
fn answers_that_are_none_are_seen() {
    // Only what masters are told is changed; what the world sees inside is right.
    let to_masters = |wrong: &'static [u8]| -> Change {
        Box::new(move |connection, line, out| {
            out.extend_from_slice(if connection == 0 || !line.starts_with(b"alive ") { line } else { wrong });
        })
    };
    assert_caught("answer", Door::Masters, || to_masters(b"alive 0,2\n"));
    assert_caught("answer", Door::Masters, || to_masters(b"alive 2,1\n"));
    assert_caught("answer", Door::Masters, || to_masters(b"messages \n"));
}

#[test]
fn a_server_that_never_reports_a_death_is_seen() {
    assert_caught("alive", Door::Masters, || {
        Box::new(|_, line, out| {
            let all = line.starts_with(b"alive ").then_some(&b"alive 0,1,2\n"[..]);
            out.extend_from_slice(all.unwrap_or(line));
        })
    });
}

#[test]
fn a_server_that_falls_silent_but_for_its_heartbeats_is_seen() {
    assert_caught("reach", Door::Links, || {
        let mut lines = 0;
        Box::new(move |_, line, out| {
            lines += 1;
            if lines < 30 {
                out.extend_from_slice(line);
            }
        })
    });
}
