//! Real server processes for tests: ports that are free, masters with time limits, and nothing left running.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing that is waited for takes longer, however busy the machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Where the next grid of this test run looks for ports.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// Some servers of a grid of `n`.
pub(crate) struct TestGrid {
    n: u16,
    pub(crate) link_base: u16,
    pub(crate) master_base: u16,
    flags: Vec<String>,
    servers: Vec<Option<Child>>,
}

impl TestGrid {
    /// A grid of `n` on free ports, none of its servers started.
    pub(crate) fn new(n: u16, flags: &[&str]) -> Self {
        let (link_base, master_base) = free_ports(n);
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self { n, link_base, master_base, flags, servers: (0..n).map(|_| None).collect() }
    }

    /// A grid of `n` servers that have found each other.
    pub(crate) fn linked(n: u16, flags: &[&str]) -> Self {
        let mut grid = Self::new(n, flags);
        for id in 0..n {
            grid.start(id);
        }
        grid.wait_until_all_see(&(0..n).collect::<Vec<_>>());
        grid
    }

    /// Arguments for every server that is started from now on.
    pub(crate) fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
    }

    pub(crate) fn start(&mut self, id: u16) {
        self.start_with(id, &[]);
    }

    /// Starts a server with arguments of its own.
    pub(crate) fn start_with(&mut self, id: u16, flags: &[&str]) {
        let child = self.command(id).args(flags).spawn().expect("the binary runs");
        self.servers[usize::from(id)] = Some(child);
    }

    pub(crate) fn command(&self, id: u16) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
        command
            .args(["server", &id.to_string(), &self.n.to_string(), &self.master_port(id).to_string()])
            .args(["--link-base", &self.link_base.to_string()])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn pid(&self, id: u16) -> u32 {
        self.servers[usize::from(id)].as_ref().expect("started").id()
    }

    pub(crate) fn master_port(&self, id: u16) -> u16 {
        self.master_base + id
    }

    pub(crate) fn signal(&self, id: u16, signal: Signal) {
        let child = self.servers[usize::from(id)].as_ref().expect("started");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    /// Kills a server and forgets it.
    pub(crate) fn kill(&mut self, id: u16) {
        let mut child = self.servers[usize::from(id)].take().expect("started");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    /// Waits until a server has ended by itself.
    pub(crate) fn wait_for_end(&mut self, id: u16) -> ExitStatus {
        let mut child = self.servers[usize::from(id)].take().expect("started");
        wait_for_exit(&mut child)
    }

    pub(crate) fn connect_link(&self, id: u16) -> TcpStream {
        connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.link_base + id)))
    }

    pub(crate) fn master(&self, id: u16) -> Master {
        Master::new(connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.master_port(id)))))
    }

    /// Waits until each of these servers reports exactly these alive.
    pub(crate) fn wait_until_all_see(&self, ids: &[u16]) {
        for id in ids {
            self.wait_until_sees(*id, ids);
        }
    }

    pub(crate) fn wait_until_sees(&self, id: u16, ids: &[u16]) {
        let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
        let expected = format!("alive {}", ids.join(","));
        let mut master = self.master(id);
        wait_until(&format!("server {id} says {expected:?}"), || master.ask("alive") == expected);
    }
}

impl Drop for TestGrid {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A master's connection.
pub(crate) struct Master {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Master {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let reader = BufReader::new(stream.try_clone().expect("a socket"));
        Self { stream, reader }
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.stream.write_all(line.as_bytes()).and_then(|()| self.stream.write_all(b"\n")).expect("taken");
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.reader.read_line(&mut answer).expect("an answer in time");
        assert!(answer.ends_with('\n'), "the connection ended");
        answer.truncate(answer.len() - 1);
        answer
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).expect("an end in time");
        rest
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The number of messages in the server's log.
    pub(crate) fn message_count(&mut self) -> u64 {
        let status: serde_json::Value = serde_json::from_str(&self.ask("status")).expect("JSON");
        status["messages"].as_u64().expect("a number")
    }
}

/// A child's standard input and output, with a thread that reads lines so that waiting has a limit.
pub(crate) struct Console {
    pub(crate) input: ChildStdin,
    lines: crossbeam_channel::Receiver<String>,
}

impl Console {
    pub(crate) fn new(input: ChildStdin, output: ChildStdout) -> Self {
        let (sender, lines) = crossbeam_channel::bounded(100);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { input, lines }
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").expect("taken");
        self.line()
    }

    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line in time")
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes are waited for in real time, with a limit")]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn wait_for_exit(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the process ends", || {
        status = child.try_wait().expect("our child");
        status.is_some()
    });
    status.expect("just seen")
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = None;
    wait_until(&format!("{address} answers"), || {
        stream = TcpStream::connect(address).ok();
        stream.is_some()
    });
    let stream = stream.expect("just connected");
    stream.set_read_timeout(Some(LIMIT)).expect("a socket");
    stream.set_write_timeout(Some(LIMIT)).expect("a socket");
    stream
}

/// A link base and a master base with `n` free ports each. Grids of one run never share any; other programs may.
pub(crate) fn free_ports(n: u16) -> (u16, u16) {
    let own = u16::try_from(std::process::id() % 40).expect("small") * 130;
    for _ in 0..200 {
        let offset = (own + NEXT_PORT.fetch_add(n, Ordering::Relaxed)) % 5600;
        let (links, masters) = (4000 + offset, 12_000 + offset);
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (0..n).all(|id| free(links + id) && free(masters + id)) {
            return (links, masters);
        }
    }
    panic!("no free ports");
}
