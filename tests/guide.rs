//! The guide `docs/agents.md`: the code that it shows is the code of the example, and what it says about a real grid happens.
//!
//! The example's own tests, in the simulated world, are beside it.

#[expect(dead_code, reason = "the tests of lab servers need more of it")]
#[path = "server/grid.rs"]
mod grid;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::grid::{Master, connect, free_ports, wait_for_exit, wait_until};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between the fences of the guide's blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let (guide, begin) = (text("docs/agents.md"), format!("```{language}"));
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        if !inside && line == begin {
            inside = true;
            blocks.push(String::new());
        } else if line.starts_with("```") {
            inside = false;
        } else if inside && let Some(block) = blocks.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

#[test]
fn the_code_of_the_guide_is_the_code_of_the_example() {
    let files = ["main.rs", "scenario.rs", "broken.rs"].map(|name| text(&format!("examples/counter/{name}")));
    let code = blocks("rust");
    assert!(code.len() >= 5, "{code:#?}");
    for block in code {
        assert!(files.iter().any(|file| file.contains(&block)), "not in the example:\n{block}");
    }
    let configuration = text("examples/counter/counter.json");
    assert_eq!(blocks("json"), [configuration]);
}

#[test]
fn the_guide_shows_the_whole_agent() {
    let main = text("examples/counter/main.rs");
    let begin = main.find("/// How much was added").expect("the first type");
    let agent = &main[begin..main.find("\nfn main").expect("the program")];
    let shown = blocks("rust").concat();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("///");
    for line in agent.lines().filter(is_code) {
        assert!(shown.contains(line), "not shown: {line}");
    }
    let lines = agent.lines().filter(is_code).count();
    assert!(lines < 60, "the guide promises an agent of fewer than 60 lines of code, and it has {lines}");
}

/// The example as a program, built if need be: cargo builds it for `cargo test`, but not where only this test was asked for.
fn program() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_ovid")).parent().expect("a folder");
    let profile = if target.ends_with("debug") { "dev" } else { "release" };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--offline", "--example", "counter", "--profile", profile])
        .arg("--target-dir")
        .arg(target.parent().expect("a folder"))
        .current_dir(root())
        .status();
    assert!(status.expect("cargo runs").success());
    target.join("examples/counter")
}

/// The example's grid on ports that are free, with its data in a folder of its own.
struct CounterGrid {
    program: PathBuf,
    folder: tempfile::TempDir,
    control: u16,
    links: u16,
    up: Option<Child>,
}

const AGENTS: [&str; 3] = ["anna", "ben", "cleo"];

impl CounterGrid {
    fn new() -> Self {
        let (links, control) = free_ports(3);
        let mut configuration = text("examples/counter/counter.json");
        let mut settings = String::new();
        for (number, id) in (0..).zip(AGENTS) {
            let (before, on) =
                (format!("127.0.0.1:{}", 4031 + number), format!("127.0.0.1:{}", links + number));
            assert!(configuration.contains(&before), "the box of {id}");
            configuration = configuration.replace(&before, &on);
            let control = format!("127.0.0.1:{}", control + number);
            let attrs = serde_json::json!({"control": control});
            let entry = serde_json::json!({"type": "box", "box": on, "attrs": attrs});
            write!(settings, r#", "{id}-box": {entry}"#).expect("a string");
        }
        let end = configuration.rfind('}').expect("an object");
        configuration.insert_str(end, &settings);
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("counter.json"), configuration).expect("written");
        Self { program: program(), folder, control, links, up: None }
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("grid").arg(subcommand).arg(self.folder.path().join("counter.json"));
        command
    }

    fn start(&mut self) {
        let mut command = self.command("up");
        command.arg("--data").arg(self.folder.path().join("data")).arg("--trace").arg(self.traces());
        let up = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.up = Some(up.expect("the example runs"));
    }

    fn traces(&self) -> PathBuf {
        self.folder.path().join("traces")
    }

    /// Ctrl-C; and all boxes are gone when it has ended.
    fn stop(&mut self) {
        let mut up = self.up.take().expect("started");
        let pid = Pid::from_raw(i32::try_from(up.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::INT).expect("it runs");
        assert_eq!(wait_for_exit(&mut up).code(), Some(0));
        for port in (0..3).flat_map(|number| [self.links + number, self.control + number]) {
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(), "somebody still has port {port}");
        }
    }

    /// A session with an agent, once it answers.
    fn session(&self, number: u16) -> Master {
        let mut session =
            Master::new(connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.control + number))));
        let id = AGENTS[usize::from(number)];
        assert_eq!(session.ask(&format!("attach {id}")), format!("attached {id}"));
        session
    }

    fn wait_until_all_say(&self, value: &str) {
        for number in 0..3 {
            let mut session = self.session(number);
            wait_until(&format!("{} says {value}", AGENTS[usize::from(number)]), || {
                session.ask("value") == value
            });
        }
    }
}

impl Drop for CounterGrid {
    /// Its boxes end when it does.
    fn drop(&mut self) {
        if let Some(up) = &mut self.up {
            let _ = up.kill();
            let _ = up.wait();
        }
    }
}

#[test]
fn counters_of_a_real_grid_agree_and_remember() {
    let mut grid = CounterGrid::new();
    assert!(grid.command("check").stdout(Stdio::null()).status().expect("it runs").success());
    grid.start();
    grid.wait_until_all_say("0");
    grid.session(0).send("add 3");
    let mut ben = grid.session(1);
    ben.send("add 4");
    assert_eq!(ben.ask("add four"), "error expected add <number> or value, not \"add four\"");
    grid.wait_until_all_say("7");
    grid.stop();
    // Messages of all boxes find their ends, and who was stopped has not crashed.
    let stats = Command::new(&grid.program).args(["trace", "stats"]).arg(grid.traces()).output();
    let stats = stats.expect("it runs");
    let told = String::from_utf8_lossy(&stats.stdout);
    assert!(told.contains("at 3 servers") && told.contains("crashes: 0"), "{told}");
    // Clocks of processes may be apart by as long as a busy machine lets one of them wait.
    let odd: Vec<&str> =
        told.lines().filter(|line| line.contains("odd:") && !line.contains("clocks")).collect();
    assert!(odd.is_empty(), "{odd:#?}");
    assert!(!String::from_utf8_lossy(&stats.stderr).contains("last word"), "{stats:?}");
    // What was added is in the logs.
    grid.start();
    grid.wait_until_all_say("7");
    let mut attach = grid.command("attach");
    let mut attached =
        attach.arg("cleo").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut input = attached.stdin.take().expect("a pipe");
    input.write_all(b"value\n").expect("taken");
    drop(input);
    assert_eq!(attached.wait_with_output().expect("it ends").stdout, b"7\n");
    grid.stop();
}
