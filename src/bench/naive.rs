//! The *naive grid*: what one writes first. A thread for each connection, one write for each message and each link
//! under that link's lock, and a log of strings under another lock. It shows what batching is worth.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::node::Node;

const DIAL_RETRY: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Naive {
    id: usize,
    log: Mutex<Vec<String>>,
    links: Mutex<BTreeMap<usize, Arc<Mutex<TcpStream>>>>,
}

/// Serves until the process is ended.
pub(super) fn run(node: &Node) -> anyhow::Result<()> {
    let naive = Arc::new(Naive { id: node.id, ..Naive::default() });
    let masters = TcpListener::bind(node.master_address()).context("cannot listen for the master")?;
    let links = TcpListener::bind(node.link_address(node.id)?).context("cannot listen for servers")?;
    for smaller in 0..node.id {
        let (naive, address) = (Arc::clone(&naive), node.link_address(smaller)?);
        thread::spawn(move || {
            let stream = loop {
                match TcpStream::connect(address) {
                    Ok(stream) => break stream,
                    Err(_) => thread::sleep(DIAL_RETRY),
                }
            };
            naive.serve_link(stream)
        });
    }
    let acceptor = Arc::clone(&naive);
    thread::spawn(move || {
        for stream in links.incoming().flatten() {
            let naive = Arc::clone(&acceptor);
            thread::spawn(move || naive.serve_link(stream));
        }
    });
    for stream in masters.incoming() {
        let (naive, stream) = (Arc::clone(&naive), stream?);
        thread::spawn(move || naive.serve_master(stream));
    }
    Ok(())
}

impl Naive {
    /// Reads one peer to its end. Its first line says who it is; from then on broadcasts go to it.
    fn serve_link(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.write_all(format!("ping {}\n", self.id).as_bytes())?;
        let writer = Arc::new(Mutex::new(stream.try_clone()?));
        let mut peer = None;
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut words = line.splitn(3, ' ');
            let (verb, sender, contents) = (words.next(), words.next(), words.next());
            if peer.is_none() {
                peer = sender.and_then(|sender| sender.parse().ok());
                if let Some(id) = peer {
                    locked(&self.links).insert(id, Arc::clone(&writer));
                }
            }
            if let (Some("msg"), Some(contents)) = (verb, contents) {
                locked(&self.log).push(contents.to_owned());
            }
        }
        if let Some(id) = peer {
            locked(&self.links).remove(&id);
        }
        Ok(())
    }

    fn serve_master(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let reply = match (line.as_str(), line.strip_prefix("broadcast ")) {
                (_, Some(text)) => {
                    self.broadcast(text);
                    continue;
                }
                ("get", _) => format!("messages {}\n", locked(&self.log).join(",")),
                ("alive", _) => format!("alive {}\n", self.alive()),
                ("status", _) => format!("{{\"id\":{},\"messages\":{}}}\n", self.id, locked(&self.log).len()),
                _ => "unknown command\n".to_owned(),
            };
            writer.write_all(reply.as_bytes())?;
        }
        Ok(())
    }

    fn broadcast(&self, text: &str) {
        locked(&self.log).push(text.to_owned());
        let line = format!("msg {} {text}\n", self.id);
        let links: Vec<_> = locked(&self.links).values().cloned().collect();
        for link in links {
            // A peer that is gone is taken out by the thread that reads it.
            let _ = locked(&link).write_all(line.as_bytes());
        }
    }

    fn alive(&self) -> String {
        let mut ids: Vec<usize> = locked(&self.links).keys().copied().chain([self.id]).collect();
        ids.sort_unstable();
        ids.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
    }
}

/// A thread that panicked leaves the data usable: each change is a single push, insert or remove.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
