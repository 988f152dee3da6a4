//! Standard input and output as a master. Neither can be waited for like a socket, so a thread of its own reads the one and another
//! writes the other; bounded channels and the waker connect them with the loop.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use log::info;
use mio::Waker;

use crate::server::{ConnId, OutQueue};

/// How many reads, or answers, may wait between the loop and a thread.
const CHANNEL_PARTS: usize = 16;
/// One read takes at most this much.
const READ_BYTES: usize = 16 * 1024;

/// The loop's ends of the channels.
#[derive(Debug)]
pub(super) struct Console {
    conn: ConnId,
    input: Receiver<Vec<u8>>,
    output: Sender<Bytes>,
}

impl Console {
    /// Starts the two threads.
    pub(super) fn open(conn: ConnId, waker: Arc<Waker>) -> io::Result<Self> {
        let (input_sender, input) = bounded(CHANNEL_PARTS);
        let (output, output_receiver) = bounded(CHANNEL_PARTS);
        let reader_waker = Arc::clone(&waker);
        thread::Builder::new()
            .name("stdin".into())
            .spawn(move || read_input(&input_sender, &reader_waker))?;
        thread::Builder::new().name("stdout".into()).spawn(move || {
            write_output(&output_receiver, &waker);
            // Whoever waits for room learns that nobody reads any more.
            drop(output_receiver);
            let _ = waker.wake();
        })?;
        Ok(Self { conn, input, output })
    }

    /// The name of this master.
    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }

    /// The next bytes of standard input, if there are any now. Its end is silent: it is not the end of the server.
    pub(super) fn read(&mut self) -> Option<Vec<u8>> {
        self.input.try_recv().ok()
    }

    /// Hands the front of `queue` to the writing thread; how many bytes that were, `None` if there is nothing or no room.
    pub(super) fn write(&mut self, queue: &OutQueue) -> Option<usize> {
        let part = queue.front()?;
        let count = part.len();
        match self.output.try_send(part) {
            // Nobody reads any more: answers go nowhere, and the server goes on.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Some(count),
            Err(TrySendError::Full(_)) => None,
        }
    }
}

fn read_input(sender: &Sender<Vec<u8>>, waker: &Waker) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match io::stdin().read(&mut buffer) {
            Ok(0) => break info!("console: end of standard input"),
            Ok(count) => {
                if sender.send(buffer[..count].to_vec()).is_err() || waker.wake().is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break info!("console: standard input is gone why=\"{error}\""),
        }
    }
}

fn write_output(receiver: &Receiver<Bytes>, waker: &Waker) {
    let mut output = io::stdout();
    while let Ok(part) = receiver.recv() {
        if output.write_all(&part).and_then(|()| output.flush()).is_err() {
            break;
        }
        // There is room again.
        if waker.wake().is_err() {
            break;
        }
    }
}
