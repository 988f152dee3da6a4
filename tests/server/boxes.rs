//! Boxes of a configuration as processes: sockets, files, control ports.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::grid::{Master, connect, free_ports, wait_for_exit, wait_until};
use crate::small_disks::SmallDisks;

/// A configuration in a folder of its own, and the boxes of it that run.
pub(crate) struct Boxes {
    folder: TempDir,
    link_base: u16,
    master_base: u16,
    running: Vec<(u16, Child)>,
    /// Where the data of some of them lie, if not on the disk of the folder.
    disks: Option<SmallDisks>,
}

impl Boxes {
    /// Room for `n` boxes; `text` is their configuration, in which `{0}` stands for the address of box 0.
    pub(crate) fn new(n: u16, text: &str) -> Self {
        Self::with(n, text, |_| String::new())
    }

    /// As [`Boxes::new`]; to the settings of each box belongs what `more` says.
    pub(crate) fn with(n: u16, text: &str, more: impl Fn(u16) -> String) -> Self {
        let (link_base, master_base) = free_ports(n);
        let folder = tempfile::tempdir().expect("a scratch folder");
        let boxes = Self { folder, link_base, master_base, running: Vec::new(), disks: None };
        boxes.write_with(n, text, more);
        boxes
    }

    /// Where the configuration is.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Writes another configuration in the place of the one that is there.
    pub(crate) fn write(&self, n: u16, text: &str) {
        self.write_with(n, text, |_| String::new());
    }

    fn write_with(&self, n: u16, text: &str, more: impl Fn(u16) -> String) {
        let place = |text: String, id: u16| text.replace(&format!("{{{id}}}"), &self.address(id));
        let agents = (0..n).fold(text.to_owned(), place);
        let control = |id: u16| {
            let (on, control) = (self.address(id), self.control(id));
            format!(
                r#""box{id}": {{"type": "box", "box": "{on}", "attrs": {{"control": "{control}", "data": "data"{}}}}}"#,
                more(id)
            )
        };
        let settings: Vec<String> = (0..n).map(control).collect();
        let text = format!("{{\n{},\n{agents}\n}}\n", settings.join(",\n"));
        fs::write(self.file(), text).expect("written");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("grid.json")
    }

    fn address(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.link_base + id)
    }

    fn control(&self, id: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.master_base + id))
    }

    /// The folder of the data of box `id`.
    pub(crate) fn data_of(&self, id: u16) -> PathBuf {
        self.folder.path().join("data").join(self.address(id).replace(':', "-"))
    }

    /// From now on boxes see these, and what they say is kept.
    pub(crate) fn put_on(&mut self, disks: SmallDisks) {
        self.disks = Some(disks);
    }

    /// What they were put on.
    pub(crate) fn disks(&self) -> Option<&SmallDisks> {
        self.disks.as_ref()
    }

    /// What a box has said on standard error, if it is kept.
    pub(crate) fn said_by(&self, id: u16) -> String {
        fs::read_to_string(self.said_path(id)).expect("it is kept")
    }

    fn said_path(&self, id: u16) -> PathBuf {
        self.folder.path().join(format!("box{id}.txt"))
    }

    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_ovid");
        let mut command = match &self.disks {
            Some(disks) => disks.command(self.folder.path(), program),
            None => Command::new(program),
        };
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.arg("grid").args(arguments);
        command
    }

    pub(crate) fn start(&mut self, id: u16, flags: &[&str]) {
        let mut command = self.command(&["run", "grid.json", &self.address(id)]);
        if self.disks.is_some() {
            let said = File::options().create(true).append(true).open(self.said_path(id));
            command.stderr(said.expect("a file"));
        }
        self.spawn(id, command.args(flags));
    }

    fn spawn(&mut self, id: u16, command: &mut Command) {
        self.running.push((id, command.spawn().expect("the binary runs")));
    }

    pub(crate) fn kill(&mut self, id: u16) {
        let index = self.running.iter().position(|(running, _)| *running == id).expect("runs");
        let (_, mut child) = self.running.remove(index);
        child.kill().expect("it still runs");
        wait_for_exit(&mut child);
    }

    /// Somebody who controls box `id`.
    pub(crate) fn control_session(&self, id: u16) -> Master {
        Master::new(connect(self.control(id)))
    }

    /// Somebody who drives `agent` of box `id`.
    pub(crate) fn attach(&self, id: u16, agent: &str) -> Master {
        let mut session = Master::new(connect(self.control(id)));
        wait_until("the agent has started", || {
            let status: serde_json::Value = serde_json::from_str(&session.ask("status")).expect("JSON");
            let agents = status["agents"].as_array().expect("a list");
            agents.iter().any(|entry| entry["id"] == agent && entry["started"] == true)
        });
        assert_eq!(session.ask(&format!("attach {agent}")), format!("attached {agent}"));
        session
    }

    pub(crate) fn ovid(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the binary runs")
    }

    /// `ovid log` of a folder among the data of box `id`.
    pub(crate) fn log(&self, verb: &str, id: u16, folder: &str) -> Output {
        let mut command = self.program();
        command.args(["log", verb]).arg(self.data_of(id).join(folder));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the binary runs")
    }
}

impl Drop for Boxes {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A store with a log of its own on box 0, and its client on box 1.
pub(crate) const KVS: &str = r#"
    "store": {"type": "kvs", "box": "{0}", "attrs": {"log": "local"}},
    "client": {"type": "client", "box": "{1}", "routes": {"kvs": {"store": 1}}}"#;

#[test]
fn what_a_store_has_acknowledged_survives_a_kill() {
    let mut boxes = Boxes::new(2, KVS);
    boxes.start(0, &[]);
    boxes.start(1, &[]);
    let mut client = boxes.attach(1, "client");
    assert_eq!(client.ask("put city Tomis by the sea"), "ok");
    boxes.kill(0);
    // Asked while nobody is there: the client tries until somebody is.
    client.send("put river Hister");
    boxes.start(0, &[]);
    assert_eq!(client.answer(), "ok");
    assert_eq!(client.ask("get city"), "value Tomis by the sea");
    assert_eq!(client.ask("delete city"), "ok");
    boxes.kill(0);
    boxes.start(0, &[]);
    assert_eq!(client.ask("get city"), "nothing");
    assert_eq!(client.ask("get river"), "value Hister");
}

#[test]
fn a_lossy_grid_still_answers_every_client_once() {
    let mut boxes = Boxes::new(2, KVS);
    let flags = ["--loss", "0.2", "--duplicate", "0.2", "--delay", "5", "--seed", "7"];
    boxes.start(0, &flags);
    boxes.start(1, &flags);
    let mut client = boxes.attach(1, "client");
    for number in 0..8 {
        assert_eq!(client.ask(&format!("put k {number}")), "ok");
        assert_eq!(client.ask("get k"), format!("value {number}"));
    }
    let status = Master::new(connect(boxes.control(1))).ask("status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert!(status["frames_lost_on_purpose"].as_u64().expect("a number") > 0, "{status}");
}

#[test]
fn running_boxes_take_a_changed_file() {
    let mut boxes = Boxes::new(3, KVS);
    boxes.start(0, &[]);
    boxes.start(1, &[]);
    let mut client = boxes.attach(1, "client");
    assert_eq!(client.ask("put a 1"), "ok");
    // A second store, to which the client is sent from now on.
    let changed = KVS.replace(r#""store": 1"#, r#""other": 1"#)
        + r#", "other": {"type": "kvs", "box": "{2}", "attrs": {"log": "memory"}}"#;
    boxes.write(3, &changed);
    boxes.start(2, &[]);
    wait_until("the file is applied everywhere", || {
        boxes.ovid(&["reload", "grid.json"]).status.code() == Some(0)
    });
    assert_eq!(client.ask("get a"), "nothing", "the other store has not heard of it");
    boxes.write(3, KVS);
    let output = boxes.ovid(&["reload", "grid.json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(client.ask("get a"), "value 1", "the first store was never restarted");
    // A file with mistakes changes nothing.
    boxes.write(3, r#""client": {"type": "clinet", "box": "{1}"}"#);
    let output = boxes.ovid(&["reload", "grid.json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() != Some(0) && said.contains("clinet"), "{said}");
    assert_eq!(client.ask("get a"), "value 1");
}

#[test]
fn up_starts_all_boxes_and_leaves_nothing_behind() {
    let mut boxes = Boxes::new(2, KVS);
    for (signal, in_order) in [(Signal::INT, true), (Signal::KILL, false)] {
        let mut command = boxes.command(&["up", "grid.json"]);
        boxes.spawn(u16::MAX, &mut command);
        let mut client = boxes.attach(1, "client");
        assert_eq!(client.ask("put a 1"), "ok");
        let (_, up) = boxes.running.last_mut().expect("just spawned");
        kill_process(Pid::from_child(up), signal).expect("it still runs");
        let status = wait_for_exit(up);
        assert_eq!(status.code().is_some(), in_order, "{status}");
        for id in 0..2 {
            wait_until("the box is gone", || std::net::TcpStream::connect(boxes.control(id)).is_err());
        }
    }
}

#[test]
fn an_agent_can_be_driven_from_standard_input_and_a_box_stopped_by_a_command() {
    let mut boxes = Boxes::new(
        2,
        r#""a": {"type": "tty", "box": "{0}", "routes": {"app": {"b": 1}}}, "b": {"type": "tty", "box": "{1}", "routes": {"app": {"a": 1}}}"#,
    );
    let mut one = boxes.command(&["run", "grid.json", &boxes.address(0), "--attach", "a"]);
    one.stdin(Stdio::piped()).stdout(Stdio::piped());
    boxes.spawn(0, &mut one);
    boxes.start(1, &["--trace", "two.jsonl"]);
    let first = &mut boxes.running[0].1;
    let (input, output) = (first.stdin.take().expect("piped"), first.stdout.take().expect("piped"));
    let mut console = crate::grid::Console::new(input, output);
    let mut other = boxes.attach(1, "b");
    let linked = || {
        let status = Master::new(connect(boxes.control(1))).ask("status");
        status.contains("\"alive\"")
    };
    wait_until("the boxes have found each other", linked);
    other.send("hello from b");
    assert_eq!(console.line(), "hello from b");
    for id in 0..2 {
        assert_eq!(Master::new(connect(boxes.control(id))).ask("stop"), "stopping");
        assert_eq!(wait_for_exit(&mut boxes.running[usize::from(id)].1).code(), Some(0));
    }
    let trace = fs::read_to_string(boxes.folder.path().join("two.jsonl")).expect("written");
    assert!(trace.contains("hello from b") && trace.trim_end().ends_with(r#""event":"stop"}"#), "{trace}");
}

#[test]
fn mistakes_are_told_before_anything_is_started() {
    let boxes = Boxes::new(1, r#""a": {"type": "dummy", "box": "{0}"}"#);
    let nowhere = boxes.ovid(&["run", "grid.json", "127.0.0.1:1"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("names no box 127.0.0.1:1"));
    let nobody = boxes.ovid(&["run", "grid.json", &boxes.address(0), "--attach", "b"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no such agent"));
}
