//! Servers of an overlay as processes: they join through one contact, broadcast, die in numbers, and serve programs outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::grid::{Master, TestGrid, wait_until};

/// What is done now and then is done often, so that tests need not wait for it. Not the keep-alive: on a busy machine a server may get no turn for
/// some time, and would be given up.
const QUICK: [&str; 6] = ["--shuffle-period-ms", "1000", "--probe-period-ms", "500", "--timeout-ms", "2000"];

/// A grid of `n` servers that join through server 0, none of them started.
fn overlay(n: u16) -> TestGrid {
    let mut grid = TestGrid::new(n, &["--overlay"]);
    grid.add_flags(&QUICK);
    let contact = address(&grid, 0);
    grid.add_flags(&["--join", &contact]);
    grid
}

/// The same, started, and all see all.
fn joined(n: u16) -> TestGrid {
    let mut grid = overlay(n);
    for id in 0..n {
        grid.start(id);
    }
    grid.wait_until_all_see(&(0..n).collect::<Vec<_>>());
    grid
}

fn address(grid: &TestGrid, id: u16) -> String {
    format!("127.0.0.1:{}", grid.link_base + id)
}

fn peers(master: &mut Master) -> BTreeSet<String> {
    let answer = master.ask("peers");
    let peers = answer.strip_prefix("peers ").expect("an answer to peers");
    peers.split(',').filter(|peer| !peer.is_empty()).map(str::to_owned).collect()
}

/// Reads on until `line` has come.
fn hear(master: &mut Master, line: &str) {
    hear_one(master, |heard| heard == line);
}

/// Reads on until a line has come that is wanted.
fn hear_one(master: &mut Master, is_wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let line = master.answer();
        if is_wanted(&line) {
            return line;
        }
    }
}

/// Waits until each of these has `count` messages, and checks that those of one sender, `<sender>-<number>`, are numbered from 0 without a gap.
fn check_logs(grid: &TestGrid, ids: &[u16], count: u64) {
    for &id in ids {
        let mut master = grid.master(id);
        wait_until(&format!("server {id} has {count} messages"), || master.message_count() >= count);
        let log = master.ask("get");
        let mut next = BTreeMap::new();
        for message in log.strip_prefix("messages ").expect("an answer to get").split(',') {
            let (sender, number) = message.split_once('-').expect("a sender and a number");
            let due: &mut u32 = next.entry(sender.to_owned()).or_default();
            assert_eq!(number, due.to_string(), "server {id}, of sender {sender}: {log}");
            *due += 1;
        }
        assert_eq!(u64::from(next.values().sum::<u32>()), count, "server {id}: {log}");
    }
}

#[test]
fn half_of_a_grid_dies_at_once_and_the_rest_goes_on_and_takes_it_back() {
    const N: u16 = 16;
    let mut grid = joined(N);
    let all: Vec<u16> = (0..N).collect();
    for &id in &all {
        let mut master = grid.master(id);
        wait_until(&format!("server {id} has some neighbours"), || {
            (1..=5).contains(&peers(&mut master).len())
        });
        assert!(!peers(&mut master).contains(&address(&grid, id)), "server {id} is its own neighbour");
    }
    for number in 0..5 {
        for &id in &all {
            grid.master(id).send(&format!("broadcast {id}-{number}"));
        }
    }
    check_logs(&grid, &all, 5 * u64::from(N));

    // The contact is among those that die.
    let (dead, living): (Vec<u16>, Vec<u16>) = all.iter().partition(|&&id| id % 3 != 1 && id < 12);
    assert_eq!((dead.len(), dead[0]), (8, 0));
    let mut masters: Vec<Master> = living.iter().map(|&id| grid.master(id)).collect();
    for &id in &dead {
        grid.signal(id, Signal::KILL);
    }
    for (id, master) in living.iter().zip(&mut masters) {
        master.send(&format!("broadcast {id}-5"));
    }
    for &id in &dead {
        grid.wait_for_end(id);
    }
    check_logs(&grid, &living, 5 * u64::from(N) + 8);
    grid.wait_until_all_see(&living);

    // They find the others though their contact is as new as they are.
    for &id in &dead {
        grid.start(id);
    }
    grid.wait_until_all_see(&all);
    grid.master(living[0]).send(&format!("broadcast {}-6", living[0]));
    check_logs(&grid, &living, 5 * u64::from(N) + 9);
}

#[test]
fn programs_watch_a_server_and_send_to_its_neighbours() {
    let mut grid = joined(3);
    let (contact, first, second) = (address(&grid, 0), address(&grid, 1), address(&grid, 2));
    let mut watcher = grid.master(1);
    wait_until("all are neighbours", || peers(&mut watcher) == [&contact, &second].map(String::clone).into());
    assert_eq!(watcher.ask("watch broadcasts"), "watching");
    let mut sender = grid.master(2);
    let (command, sent) = (format!("send {first} aGVsbG8="), format!("sent {first}"));
    wait_until("it is sent to a neighbour", || sender.ask(&command) == sent);
    hear(&mut watcher, &format!("message {second} aGVsbG8="));
    sender.send("broadcast to all, at once");
    hear(&mut watcher, "msg 2 to all, at once");

    grid.kill(0);
    // A reset tells of it, long before its silence would.
    let down = format!("link_down {contact} ");
    let line = hear_one(&mut watcher, |line| line.starts_with(&down));
    assert_ne!(line, format!("{down}silent"));
    grid.start(0);
    // Nobody told it about the others; they have remembered it.
    hear(&mut watcher, &format!("link_up {contact}"));
}

#[test]
fn what_programs_ask_wrongly_is_answered_by_an_error() {
    let mut grid = overlay(2);
    grid.start(0);
    let own = address(&grid, 0);
    let mut master = grid.master(0);
    assert_eq!(master.ask("peers"), "peers ");
    for (command, word) in [
        ("send", "usage"),
        ("send nowhere aGVsbG8=", "address"),
        ("send 127.0.0.1:9 a", "base64"),
        ("send 127.0.0.1:9 aGVsbG8=", "peer"),
        ("watch everything", "usage"),
        ("join", "address"),
        ("join nowhere", "address"),
        (&format!("join {own}"), "address"),
        ("dance", "unknown"),
    ] {
        let answer = master.ask(command);
        assert!(answer.starts_with(&format!("error {word} ")), "{command}: {answer}");
    }
    assert_eq!(master.ask("alive"), "alive 0");
}

#[test]
fn one_word_joins_two_overlays() {
    let mut grid = TestGrid::new(6, &["--overlay"]);
    grid.add_flags(&QUICK);
    let contacts = [address(&grid, 0), address(&grid, 3)];
    for (contact, ids) in contacts.iter().zip([[0, 1, 2], [3, 4, 5]]) {
        for id in ids {
            grid.start_with(id, &["--join", contact]);
        }
        grid.wait_until_all_see(&ids);
    }
    let mut master = grid.master(5);
    assert_eq!(master.ask(&format!("join {}", contacts[0])), format!("joining {}", contacts[0]));
    grid.wait_until_all_see(&[0, 1, 2, 3, 4, 5]);
    grid.master(2).send("broadcast 2-0");
    master.send("broadcast 5-0");
    check_logs(&grid, &[0, 1, 2, 3, 4, 5], 2);
}

#[test]
fn a_stopped_server_is_silent_until_it_continues() {
    let mut grid = overlay(4);
    grid.add_flags(&["--keep-alive-ms", "300"]);
    for id in 0..4 {
        grid.start(id);
    }
    grid.wait_until_all_see(&[0, 1, 2, 3]);
    let mut watchers: Vec<Master> = (0..3).map(|id| grid.master(id)).collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.ask("watch"), "watching");
    }
    let stopped = address(&grid, 3);
    let mut near: Vec<Master> = watchers
        .into_iter()
        .zip(0..)
        .filter_map(|(watcher, id)| peers(&mut grid.master(id)).contains(&stopped).then_some(watcher))
        .collect();
    assert!(!near.is_empty());
    grid.signal(3, Signal::STOP);
    for watcher in &mut near {
        hear(watcher, &format!("link_down {stopped} silent"));
    }
    for id in 0..3 {
        grid.wait_until_sees(id, &[0, 1, 2]);
    }
    grid.signal(3, Signal::CONT);
    grid.wait_until_all_see(&[0, 1, 2, 3]);
}

#[test]
fn a_script_of_the_lab_says_the_same_on_an_overlay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let story = folder.join("tests/chatroom/sixteen-servers-half-crash");
    let read = |kind: &str| fs::read_to_string(story.with_extension(kind)).expect("a script of the lab");
    let grid = TestGrid::new(16, &[]);
    let elsewhere = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [id, "start", n, _] => format!("{id} start {n} {}\n", grid.master_port(id.parse().expect("an id"))),
        _ => format!("{line}\n"),
    };
    let script: String = read("input").lines().map(elsewhere).collect();
    let mut master = Command::new("python3")
        .arg(folder.join("master/master.py"))
        .arg("--directory")
        .arg(folder.join("master"))
        .env("OVID_BIN", env!("CARGO_BIN_EXE_ovid"))
        .env("OVID_SERVER_FLAGS", format!("--overlay --link-base {} {}", grid.link_base, QUICK.join(" ")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    master.stdin.take().expect("piped").write_all(script.as_bytes()).expect("taken");
    let output = master.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), read("output"), "{said}");
}

#[test]
fn a_server_that_is_ended_in_order_says_good_bye() {
    let mut grid = joined(3);
    let leaving = address(&grid, 2);
    wait_until("they are neighbours", || peers(&mut grid.master(1)).contains(&leaving));
    let mut watcher = grid.master(1);
    assert_eq!(watcher.ask("watch"), "watching");
    grid.signal(2, Signal::TERM);
    // It was not lost: its last word came before its connection ended.
    hear(&mut watcher, &format!("link_down {leaving} demoted"));
    grid.wait_for_end(2);
    grid.wait_until_all_see(&[0, 1]);
}
