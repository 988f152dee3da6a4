//! Servers that speak the frames of `gen_hypar`, as processes, and a node of that sort that is played here.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Stdio;

use ovid::wire::{HYPAR_OPENER, HyparCutter, HyparFrame};

use crate::grid::{LIMIT, TestGrid, wait_until};

fn frame(frame: &HyparFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// Reads on until `wanted` has come; signs of life and shuffles are passed over.
fn hear(stream: &mut TcpStream, cutter: &mut HyparCutter, wanted: &HyparFrame<'_>) {
    stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).expect("it comes in time");
        match cutter.cut(&mut &byte[..]).expect("a frame") {
            None | Some(HyparFrame::KeepAlive | HyparFrame::Shuffle { .. }) => {}
            Some(frame) => return assert_eq!(&frame, wanted),
        }
    }
}

#[test]
fn servers_join_a_node_of_another_sort_and_each_other() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let node = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().expect("an address").port());
    let mut grid = TestGrid::new(2, &["--overlay", "--wire", "gen_hypar"]);
    let [first, second] = [0, 1].map(|id| SocketAddrV4::new(Ipv4Addr::LOCALHOST, grid.link_base + id));

    grid.start_with(0, &["--join", &node.to_string()]);
    let (mut link, _) = listener.accept().expect("a connection");
    let mut cutter = HyparCutter::accepted(1000);
    hear(&mut link, &mut cutter, &HyparFrame::Join(first));
    let mut watcher = grid.master(0);
    assert_eq!(watcher.ask("watch"), "watching");
    link.write_all(&frame(&HyparFrame::Message(b"hello"))).expect("written");
    assert_eq!(watcher.answer(), format!("message {node} aGVsbG8="));
    assert_eq!(grid.master(0).ask(&format!("send {node} aGVsbG8=")), format!("sent {node}"));
    hear(&mut link, &mut cutter, &HyparFrame::Message(b"hello"));

    grid.start_with(1, &["--join", &first.to_string()]);
    assert_eq!(watcher.answer(), format!("link_up {second}"));
    hear(&mut link, &mut cutter, &HyparFrame::ForwardJoin { joiner: second, ttl: 6 });
    let mut reply = TcpStream::connect(second).expect("it listens");
    reply.write_all(&[&HYPAR_OPENER[..], &frame(&HyparFrame::JoinReply(node))].concat()).expect("written");
    wait_until("the walk's end is a neighbour", || {
        grid.master(1).ask("peers").split([' ', ',']).any(|peer| peer == node.to_string())
    });

    drop(link);
    assert!(watcher.answer().starts_with(&format!("link_down {node} ")));
    assert_eq!(grid.master(0).ask("alive"), "alive 0");
}

#[test]
fn what_has_no_place_on_that_wire_is_refused_at_once() {
    for (flags, complaint) in [
        (&["--overlay", "--wire", "gen_hypar", "--join", "[::1]:3000"][..], "[::1]:3000: --wire gen_hypar"),
        (&["--wire", "gen_hypar"], "--overlay"),
    ] {
        let grid = TestGrid::new(2, flags);
        let child = grid.command(0).stderr(Stdio::piped()).spawn().expect("it runs");
        let output = child.wait_with_output().expect("an end");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(complaint), "{error}");
    }
}
