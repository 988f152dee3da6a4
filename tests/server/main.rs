//! The server as a process: sockets, signals, standard input, and everything that only a kernel can do to it.

mod boxes;
mod chaos;
mod chat;
mod chat_tls;
#[cfg(target_os = "linux")]
mod disks;
mod gen_hypar;
mod grid;
mod local_logs;
mod messenger;
mod outside;
mod overlay;
mod replicated;
mod small_disks;
mod tls;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;

use crate::grid::{Console, TestGrid, wait_for_exit, wait_until};

#[test]
fn a_grid_broadcasts_notices_a_kill_and_takes_the_server_back() {
    let mut grid = TestGrid::linked(3, &[]);
    let mut masters: Vec<_> = (0..3).map(|id| grid.master(id)).collect();
    masters[0].send("broadcast first, of all");
    for master in &mut masters {
        wait_until("the message is everywhere", || master.ask("get") == "messages first, of all");
    }
    grid.kill(1);
    grid.wait_until_sees(0, &[0, 2]);
    grid.wait_until_sees(2, &[0, 2]);
    assert_eq!(masters[2].ask("get"), "messages first, of all");
    // Its ports are usable at once, and its log begins anew.
    grid.start(1);
    grid.wait_until_all_see(&[0, 1, 2]);
    assert_eq!(grid.master(1).ask("get"), "messages ");
}

#[test]
fn a_stopped_server_is_not_alive_until_it_continues() {
    let grid = TestGrid::linked(3, &[]);
    grid.signal(2, Signal::STOP);
    grid.wait_until_sees(0, &[0, 1]);
    grid.wait_until_sees(1, &[0, 1]);
    grid.master(0).send("broadcast while you slept");
    grid.signal(2, Signal::CONT);
    grid.wait_until_all_see(&[0, 1, 2]);
    let mut master = grid.master(2);
    wait_until("what was queued has arrived", || master.ask("get") == "messages while you slept");
}

#[test]
fn signals_end_a_server_cleanly() {
    let mut grid = TestGrid::linked(2, &[]);
    for (id, signal) in [(0, Signal::TERM), (1, Signal::INT)] {
        grid.signal(id, signal);
        assert_eq!(grid.wait_for_end(id).code(), Some(0));
    }
}

#[test]
fn a_crash_is_a_kill() {
    use std::os::unix::process::ExitStatusExt;
    let mut grid = TestGrid::linked(2, &[]);
    let mut master = grid.master(0);
    master.send("broadcast last words\ncrash");
    assert_eq!(grid.wait_for_end(0).signal(), Some(Signal::KILL.as_raw()));
    grid.wait_until_sees(1, &[1]);
    assert_eq!(grid.master(1).ask("get"), "messages last words");
}

#[test]
fn mistakes_are_told_in_one_line_and_status_2() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let taken_port = taken.local_addr().expect("bound").port().to_string();
    assert!(taken_port.parse::<u16>().expect("a port") >= 10_000);
    let free = TestGrid::new(2, &[]);
    let (base, port) = (free.link_base.to_string(), free.master_port(0).to_string());
    let cases: [(&[&str], &str); 7] = [
        (&["0", "2", "9999", "--link-base", &base], "master port 9999 is below 10000"),
        (&["2", "2", &port, "--link-base", &base], "server id 2 is not below the number of servers, 2"),
        (&["0", "0", &port, "--link-base", &base], "at least 1 server"),
        (&["0", "7001", &port], "7001 servers"),
        (&["0", "2", &taken_port, "--link-base", &base], "in use"),
        (&["0", "2", &port, "--link-base", &base, "--peer", "2=127.0.0.1:9"], "server id 2 is not below"),
        (&["0", "2", &port, "--link-base", &base, "--peer", "1=nowhere"], "nowhere"),
    ];
    for (arguments, expected) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_ovid"))
            .arg("server")
            .args(arguments)
            .output()
            .expect("the binary runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.lines().next().is_some_and(|line| line.contains(expected)), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn standard_input_is_a_master_and_its_end_is_not_the_servers() {
    let grid = TestGrid::new(1, &["--stdin"]);
    let mut server =
        grid.command(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut console = Console::new(server.stdin.take().expect("piped"), server.stdout.take().expect("piped"));
    assert_eq!(console.ask("alive"), "alive 0");
    writeln!(console.input, "broadcast typed").expect("taken");
    assert_eq!(console.ask("get"), "messages typed");
    drop(console);
    assert_eq!(grid.master(0).ask("get"), "messages typed");
    server.kill().expect("it still runs");
    wait_for_exit(&mut server);
}

#[test]
fn a_child_without_the_flag_leaves_standard_input_to_its_parent() {
    let grid = TestGrid::new(1, &[]);
    let mut server =
        grid.command(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    server.stdin.take().expect("piped").write_all(b"broadcast stolen\n").expect("taken");
    assert_eq!(grid.master(0).ask("get"), "messages ");
    server.kill().expect("it still runs");
    wait_for_exit(&mut server);
}

#[test]
fn two_hundred_thousand_pipelined_broadcasts_arrive_everywhere_in_order() {
    const COUNT: u64 = 200_000;
    let grid = TestGrid::linked(3, &[]);
    let master = grid.master(0);
    let mut stream = master.stream().try_clone().expect("a socket");
    let writer = thread::spawn(move || {
        let lines: Vec<String> = (0..COUNT).map(|number| format!("broadcast {number}\n")).collect();
        stream.write_all(lines.concat().as_bytes()).expect("taken in time");
    });
    writer.join().expect("no panic");
    let numbers: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    let expected = format!("messages {}", numbers.join(","));
    for id in 0..3 {
        let mut master = grid.master(id);
        wait_until("all have come", || master.message_count() == COUNT);
        assert!(master.ask("get") == expected, "lost, doubled or out of order at server {id}");
    }
}

#[test]
fn a_server_that_knows_only_ping_and_msg_is_a_full_member() {
    let mut grid = TestGrid::new(3, &[]);
    grid.start(0);
    grid.start(1);
    let mut links: Vec<TcpStream> = (0..2).map(|id| grid.connect_link(id)).collect();
    for link in &mut links {
        link.write_all(b"ping 2\n").expect("taken");
    }
    grid.wait_until_sees(0, &[0, 1, 2]);
    grid.wait_until_sees(1, &[0, 1, 2]);
    for link in &mut links {
        link.write_all(b"msg 2 from elsewhere\n").expect("taken");
    }
    grid.master(0).send("broadcast to elsewhere");
    let mut heard = String::new();
    wait_until("the message has come", || {
        let mut buffer = [0; 1000];
        let count = links[0].read(&mut buffer).expect("in time");
        heard.push_str(std::str::from_utf8(&buffer[..count]).expect("UTF-8"));
        heard.contains("msg 0 to elsewhere\n")
    });
    assert!(heard.starts_with("ping 0\n"), "{heard:?}");
    let mut master = grid.master(1);
    wait_until("both messages are logged", || master.message_count() == 2);
    drop(links);
    grid.wait_until_sees(1, &[0, 1]);
}

#[test]
fn a_thousand_idle_connections_and_slow_readers_harm_nobody() {
    let grid = TestGrid::linked(2, &[]);
    let links: Vec<TcpStream> = (0..1000).map(|_| grid.connect_link(0)).collect();
    let idle: Vec<TcpStream> =
        (0..1000).map(|_| grid.master(0).stream().try_clone().expect("a socket")).collect();
    let mut busy = grid.master(0);
    busy.send(&format!("broadcast {}", "x".repeat(500_000)));
    // A master that asks for far more than it reads, and another that leaves in the middle of an answer.
    let mut lazy = grid.master(0);
    lazy.send(&"get\n".repeat(2000));
    let rude = grid.master(0);
    rude.stream().write_all(b"get\nget\nbroadcast half a li").expect("taken");
    drop(rude);
    assert_eq!(busy.ask("alive"), "alive 0,1");
    assert_eq!(grid.master(1).ask("alive"), "alive 0,1");
    assert_eq!(busy.message_count(), 1);
    drop((links, idle));
    assert_eq!(grid.master(0).ask("alive"), "alive 0,1");
}

#[cfg(target_os = "linux")]
#[test]
fn masters_that_are_reset_with_answers_unread_leave_nothing_behind() {
    let mut grid = TestGrid::new(1, &[]);
    grid.start(0);
    grid.master(0).send(&format!("broadcast {}", "x".repeat(100_000)));
    let files = || std::fs::read_dir(format!("/proc/{}/fd", grid.pid(0))).expect("it runs").count();
    let mut watch = grid.master(0);
    wait_until("the message is logged", || watch.message_count() == 1);
    let before = files();
    for gets in [30, 45, 60, 2000] {
        let master = grid.master(0);
        master.stream().write_all("get\n".repeat(gets).as_bytes()).expect("taken");
        // The answers have begun to come and stay unread, so closing resets the connection.
        master.stream().peek(&mut [0]).expect("in time");
    }
    wait_until("their files are closed", || files() <= before);
}

#[test]
fn a_master_that_sends_no_more_is_still_answered() {
    let mut grid = TestGrid::new(1, &["--reply-framing", "length"]);
    grid.start(0);
    let mut master = grid.master(0);
    master.send("alive\nbroadcast hello\nget");
    master.stream().shutdown(std::net::Shutdown::Write).expect("open");
    assert_eq!(master.rest(), "7-alive 014-messages hello");
}

#[test]
fn a_grid_can_speak_ipv6_and_be_told_where_its_peers_are() {
    let plain = TestGrid::new(3, &[]);
    // Server 2 is on another address of the same machine.
    let peers = [format!("2=[::1]:{}", plain.link_base + 2), format!("0=[::1]:{}", plain.link_base)];
    let mut grid = TestGrid::new(3, &["--bind", "::1", "--peer", &peers[0], "--peer", &peers[1]]);
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    grid.link_base = plain.link_base;
    for id in 0..3 {
        grid.start(id);
    }
    grid.wait_until_all_see(&[0, 1, 2]);
}
