//! Ours and Python's protobuf read each other's bytes: messages at random, as each of the two writes them.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use ovid::rng::Rng;
use ovid::wire::LengthFrames;
use ovid::wire::proto::Route;
use ovid_proto::{Reach, descriptors, random};
use prost::Message as _;

const MESSAGES: u64 = 3_000;
const BYTES_MAX: usize = 1 << 24;

/// What `echo.py` answers to frames: each message, once as it was written again and once as it was made anew of its fields' values. `None` if this machine's Python has
/// no protobuf.
fn through_python(frames: &[u8]) -> Option<Vec<u8>> {
    let python = std::env::var_os("OVID_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let folder = env!("CARGO_MANIFEST_DIR");
    let mut child = Command::new(python)
        .arg(format!("{folder}/echo.py"))
        .env("PYTHONPATH", format!("{folder}/../../clients/python/src"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut input = child.stdin.take().expect("it was asked for");
    let frames = frames.to_vec();
    // By a thread: Python answers before it has read everything.
    let writer = std::thread::spawn(move || input.write_all(&frames));
    let mut answer = Vec::new();
    child.stdout.take().expect("it was asked for").read_to_end(&mut answer).expect("it can be read");
    let status = child.wait().expect("it ends");
    if status.code() == Some(3) {
        assert!(std::env::var_os("CI").is_none(), "OVID_PYTHON is to name a Python with protobuf");
        return None;
    }
    assert!(status.success(), "{status}");
    writer.join().expect("it does not panic").expect("Python reads everything");
    Some(answer)
}

fn put_frame(frames: &mut Vec<u8>, message: &[u8]) {
    frames.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
    frames.extend_from_slice(message);
}

#[test]
fn ours_and_pythons_read_each_other() {
    let route = descriptors().get_message_by_name("ovid.chat.Route").expect("it is there");
    let (mut rng, mut reach) = (Rng::new(1), Reach::default());
    let (mut messages, mut frames) = (Vec::new(), Vec::new());
    for _ in 0..MESSAGES {
        let (message, more) = random(&mut rng, &route);
        reach += more;
        let described = message.encode_to_vec();
        let ours = Route::decode(described.as_slice()).expect("ours reads what a description writes");
        put_frame(&mut frames, &described);
        put_frame(&mut frames, &ours.encode_to_vec());
        messages.push(ours);
    }
    assert!(
        reach.fields > MESSAGES * 20 && reach.messages > MESSAGES * 8,
        "the messages do not reach far: {reach:?}"
    );
    let Some(answer) = through_python(&frames) else {
        println!("NOT RUN: this machine's Python has no protobuf; OVID_PYTHON names one that has");
        return;
    };
    let (answers, rest) = LengthFrames::split(&answer, BYTES_MAX).expect("frames come back");
    assert_eq!(rest, b"");
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), messages.len() * 4);
    for (index, (message, answers)) in messages.iter().zip(answers.chunks(4)).enumerate() {
        for answer in answers {
            assert_eq!(&Route::decode(*answer).expect("ours reads Python's"), message, "message {index}");
        }
    }
    println!("{reach:?}");
}
