//! Fleets of shell scripts in the place of boxes.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::board::fake;
use super::*;

/// Nothing that is waited for takes longer, however busy the machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Boxes that are shell scripts.
fn orders(scripts: &[&str]) -> Vec<Order> {
    (1..)
        .zip(scripts)
        .map(|(port, script)| Order {
            on: format!("127.0.0.1:{port}").parse().expect("an address"),
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
        })
        .collect()
}

fn start(scripts: &[&str]) -> (Fleet, Receiver<News>, Newsroom, Board, fake::Shown) {
    let orders = orders(scripts);
    let boxes: Vec<BoxAddress> = orders.iter().map(|order| order.on).collect();
    let (mut board, shown) = fake::board(&boxes);
    // Ctrl-C goes on to end the tests.
    let (newsroom, news) = Newsroom::open(&[SIGCHLD]).expect("news");
    let fleet = Fleet::start(&orders, &newsroom, &mut board).expect("started");
    (fleet, news, newsroom, board, shown)
}

fn pid(fleet: &Fleet, number: usize) -> Pid {
    Pid::from_raw(i32::try_from(fleet.processes[number].pid()).expect("a number")).expect("a process")
}

/// Attends to the fleet until a box has printed `line`.
fn until(line: &str, fleet: &mut Fleet, news: &Receiver<News>, board: &mut Board) {
    loop {
        match news.recv_timeout(LIMIT).expect("the line in time") {
            News::Output { line: printed, .. } if printed == line => return,
            News::Signal(SIGCHLD) => fleet.reap(board).expect("reaped"),
            news => fleet.printed(news, board),
        }
    }
}

#[test]
fn the_last_words_of_the_last_box_are_shown() {
    let (mut fleet, news, _newsroom, mut board, shown) = start(&["echo why >&2; exit 2"]);
    let code = fleet.attend(&news, &mut board).expect("attended");
    assert_eq!(code, ExitCode::FAILURE);
    let mut lines = shown.lines().split_off(1);
    // Its end may be heard of before its words.
    lines.sort();
    assert_eq!(lines, ["127.0.0.1:1 DIED: exit status 2", "127.0.0.1:1 | why"]);
}

/// Reads standard input to its end, as a box that dies with its parent does, and ends on SIGTERM with status 0.
const POLITE: &str = "trap 'exit 0' TERM; echo ready; while read -r line; do :; done";

#[test]
fn how_a_box_died_is_told_and_the_others_go_on() {
    let (mut fleet, news, _newsroom, mut board, shown) = start(&["echo out; echo err >&2; exit 3", POLITE]);
    until("ready", &mut fleet, &news, &mut board);
    let second = pid(&fleet, 1);
    // The second is ended from outside when the first has been told.
    while fleet.processes[0].runs() {
        match news.recv_timeout(LIMIT).expect("its end in time") {
            News::Signal(SIGCHLD) => fleet.reap(&mut board).expect("reaped"),
            news => fleet.printed(news, &mut board),
        }
    }
    assert!(fleet.processes[1].runs());
    kill_process(second, Signal::KILL).expect("killed");
    let code = fleet.attend(&news, &mut board).expect("attended");
    assert_eq!(code, ExitCode::FAILURE);
    let lines = shown.lines();
    assert!(lines.contains(&"127.0.0.1:1 DIED: exit status 3".to_owned()), "{lines:?}");
    assert!(lines.contains(&"127.0.0.1:2 DIED: signal 9".to_owned()), "{lines:?}");
}

#[test]
fn a_stop_ends_all_in_order() {
    let (mut fleet, news, newsroom, mut board, shown) = start(&[POLITE, POLITE]);
    for _ in 0..2 {
        until("ready", &mut fleet, &news, &mut board);
    }
    newsroom.pretend(SIGTERM);
    let code = fleet.attend(&news, &mut board).expect("attended");
    assert_eq!(code, ExitCode::SUCCESS);
    let lines = shown.lines();
    assert!(
        lines.ends_with(&["stopping all boxes".to_owned(), lines[3].clone(), lines[4].clone()]),
        "{lines:?}"
    );
    assert!(
        lines[3].ends_with(" ended: exit status 0") && lines[4].ends_with(" ended: exit status 0"),
        "{lines:?}"
    );
}

#[test]
fn a_box_that_does_not_end_is_killed_at_the_second_signal() {
    let (mut fleet, news, newsroom, mut board, shown) =
        start(&["trap '' TERM; echo ready; while :; do read -r line || :; done"]);
    until("ready", &mut fleet, &news, &mut board);
    newsroom.pretend(SIGINT);
    newsroom.pretend(SIGINT);
    let code = fleet.attend(&news, &mut board).expect("attended");
    assert_eq!(code, ExitCode::FAILURE);
    let lines = shown.lines();
    assert_eq!(lines[2..], ["127.0.0.1:1 does not end; it is killed", "127.0.0.1:1 ended: signal 9"]);
}

#[test]
fn nothing_is_left_behind_by_a_fleet_that_is_dropped() {
    let (mut fleet, news, _newsroom, mut board, _) = start(&[POLITE]);
    until("ready", &mut fleet, &news, &mut board);
    let process = pid(&fleet, 0);
    assert!(test_kill_process(process).is_ok());
    drop(fleet);
    assert!(test_kill_process(process).is_err());
}

#[test]
fn a_box_is_told_what_was_asked_for() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: UpArgs,
    }
    let line = ["up", "g.json", "--loss", "0.5", "--seed=3", "-vv", "--data", "d", "--trace", "t"];
    let args = <Cli as clap::Parser>::parse_from(line).args;
    let on: BoxAddress = "127.0.0.1:4001".parse().expect("an address");
    let told: Vec<String> =
        arguments(&args, on, 2).iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    assert_eq!(
        told.join(" "),
        "grid run g.json 127.0.0.1:4001 --die-with-parent --loss=0.5 --seed=5 --data d \
         --trace t/127.0.0.1-4001.jsonl -v -v"
    );
}

#[test]
fn addresses_of_this_machine_are_known() {
    assert!(is_local("127.3.2.1:4000".parse().expect("an address")));
    // A network that is for documents alone (RFC 5737).
    assert!(!is_local("192.0.2.1:4000".parse().expect("an address")));
}
