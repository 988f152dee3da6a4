//! Each bench in its smallest form, with real processes. The figures do not matter here: only that a bench ends, counts
//! right, catches a wrong grid, and leaves nothing behind.

#![expect(clippy::disallowed_methods, reason = "the one wait is for a condition, with a limit")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// How many ports each of the two kinds a test gets.
const PORTS: u16 = 20;

/// Two ranges of ports that nobody holds, for masters and for links (which lie below 10000), for this test alone: tests
/// run side by side, and so do checkouts.
fn free_bases() -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 300).expect("a small number");
    loop {
        let place = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 300 * PORTS;
        let bases = (12_000 + place, 3_900 + place);
        let is_free = |base: u16| {
            (base..base + PORTS).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        };
        if is_free(bases.0) && is_free(bases.1) {
            return bases;
        }
    }
}

fn bench(words: &str, (master_base, link_base): (u16, u16)) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovid"));
    command.arg("bench").args(words.split(' ')).env("NO_COLOR", "1").stdin(Stdio::null());
    command.args(["--master-base", &master_base.to_string(), "--link-base", &link_base.to_string()]);
    command
}

/// Runs a bench that has to succeed, and returns its samples.
fn samples(words: &str) -> Vec<Value> {
    let output = bench(words, free_bases()).args(["--json", "-"]).output().expect("the bench starts");
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON alone");
    assert!(json["machine"]["cores"].as_u64() >= Some(1), "{json}");
    json["samples"].as_array().expect("a list of samples").clone()
}

fn fails(output: &Output, status: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing in: {said}");
    }
}

#[test]
fn broadcast_counts_every_delivery_of_both_baselines() {
    let samples =
        samples("broadcast --systems bare,naive --servers 2,3 --bytes 32,200 --messages 50 --repeats 2");
    assert_eq!(samples.len(), 2 * 2 * 2 * 2);
    for sample in samples {
        let servers = sample["servers"].as_u64().expect("a number");
        assert_eq!(sample["deliveries"], servers * servers * 50, "{sample}");
        assert!(sample["deliveries_per_second"].as_f64() > Some(0.0), "{sample}");
    }
}

#[test]
fn broadcast_with_one_sender_reaches_all() {
    let samples =
        samples("broadcast --systems bare --one-sender --servers 3 --bytes 20 --messages 20000 --repeats 1");
    assert_eq!(samples[0]["deliveries"], 60_000);
}

#[test]
fn broadcast_calibrates_itself_within_the_limit_of_the_logs() {
    let samples = samples("broadcast --systems bare --servers 2 --bytes 99 --log-mib-max 1 --repeats 1");
    assert_eq!(samples[0]["messages_per_sender"], 1024 * 1024 / (2 * 2 * 100));
}

#[test]
fn latency_sees_every_message() {
    let samples = samples("latency --systems bare,naive --servers 3 --rate 500 --seconds 0.2 --repeats 1");
    assert_eq!(samples.len(), 2);
    for sample in samples {
        assert_eq!(sample["messages"], 100, "{sample}");
        assert!(sample["from_due_microseconds"]["p50"].as_f64() > Some(0.0), "{sample}");
    }
}

#[test]
fn startup_measures_both_orders() {
    let samples = samples("startup --systems bare,naive --servers 4 --repeats 2");
    let orders: Vec<_> = samples.iter().map(|sample| sample["order"].as_str().expect("a name")).collect();
    assert_eq!(orders.iter().filter(|&&order| order == "ascending").count(), 4);
    assert_eq!(orders.iter().filter(|&&order| order == "shuffled").count(), 4);
}

#[test]
fn detect_sees_a_killed_server_go() {
    // The baselines dial only once, so only the highest id can come back, and they know no heartbeat.
    let samples = samples("detect --systems bare --servers 3 --kills 1 --stops 0");
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0]["victim"], 2);
}

#[test]
fn detect_sees_our_servers_go_and_come_back() {
    let samples = samples("detect --servers 3 --kills 3 --stops 1");
    let events: Vec<_> = samples.iter().map(|sample| sample["event"].as_str().expect("a name")).collect();
    assert_eq!(events.iter().filter(|event| event.starts_with("SIGKILL")).count(), 3);
    assert_eq!(events.iter().filter(|event| event.starts_with("SIGSTOP")).count(), 1);
    assert_eq!(events.iter().filter(|event| event.starts_with("SIGCONT")).count(), 1);
}

#[test]
fn idle_finds_the_processes_of_the_grid() {
    let samples = samples("idle --systems bare --servers 2 --seconds 0.2 --repeats 1");
    assert!(samples[0]["resident_mib_per_server"].as_f64() > Some(0.1), "{}", samples[0]);
}

#[test]
fn a_grid_on_an_overlay_loses_half_of_its_servers_and_no_message() {
    let samples = samples(
        "overlay --servers 6 --broadcasts 20 --rate 200 --pipelined 10 --seconds 0.2 --kill 50 --repeats 1",
    );
    assert_eq!(samples.len(), 1);
    let sample = &samples[0];
    assert_eq!(sample["single"]["broadcasts"], 20, "{sample}");
    assert_eq!(sample["single"]["deliveries"], 20 * 5, "{sample}");
    assert!(sample["burst"]["millions_per_second"].as_f64() > Some(0.0), "{sample}");
    assert_eq!(sample["failure"]["survivors"], 3.0, "{sample}");
    assert!(sample["failure"]["all_ms"].as_f64() > Some(0.0), "{sample}");
}

#[test]
fn other_benches_measure_an_overlay_too() {
    let samples =
        samples("broadcast --systems overlay,bare --servers 3 --bytes 32 --messages 50 --repeats 1");
    assert_eq!(samples[0]["system"], "overlay");
    assert_eq!(samples[0]["deliveries"], 3 * 3 * 50);
}

#[test]
fn a_log_is_measured_with_one_and_with_many_in_flight() {
    let samples = samples(
        "log --systems echo --in-flight 1,20 --seconds 0.1 --failovers 0 --freezes 0 --records 0 --repeats 2",
    );
    assert_eq!(samples.len(), 2);
    for sample in samples {
        let figures = sample["figures"].as_object().expect("figures by name");
        for name in ["one at a time: records/s", "20 in flight: records/s", "20 in flight: p99 ms"] {
            let values = figures[name].as_array().expect("a list of values");
            assert!(values.len() == 1 && values[0].as_f64() > Some(0.0), "{name}: {sample}");
        }
    }
}

#[test]
fn a_replicated_log_outlives_its_leader_and_a_restart() {
    let samples = samples(
        "log --in-flight 30 --spread 30 --seconds 0.1 --failovers 1 --freezes 1 --records 500 --repeats 1",
    );
    let figures = samples[0]["figures"].as_object().expect("figures by name");
    for name in [
        "30 in flight: records/s",
        "30 in flight, spread over all servers: records/s",
        "SIGKILL of the leader until the next acknowledged record, ms",
        "SIGSTOP of the leader until the next acknowledged record, ms",
        "restart with 500 records: s until all servers have all",
    ] {
        let values = figures[name].as_array().expect("a list of values");
        assert!(values.len() == 1 && values[0].as_f64() > Some(0.0), "{name}: {}", samples[0]);
    }
    let terms = figures["terms in which a leader was seen, one each"][0].as_f64();
    assert!(terms >= Some(3.0), "at first, after the kill, after the freeze: {terms:?}");
}

#[test]
fn a_port_in_use_is_said_before_anything_starts() {
    let bases = free_bases();
    let port = bases.1 + 1;
    let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let output =
        bench("startup --systems bare --servers 2 --repeats 1", bases).output().expect("the bench starts");
    fails(&output, 2, &[&format!("port {port}"), "server 1", "--link-base"]);
}

#[test]
fn what_cannot_be_measured_is_an_error_of_the_arguments() {
    for (words, part) in [
        ("broadcast --systems bare --bytes 5", "--bytes"),
        ("broadcast --systems nats", "--peer nats"),
        ("latency --systems bare --rate 0", "--rate"),
        ("detect --servers 1", "--servers"),
        ("overlay --servers 1", "--servers"),
        ("overlay --kill 99", "--kill"),
        ("log --systems etcd", "--peer etcd"),
        ("log --servers 2", "--failovers"),
        ("log --bytes 5", "--bytes"),
        ("log --peer etcd,nats --peer-bin /bin/true", "etcd=/bin/true"),
        ("log --systems echo --data /nowhere", "--data"),
        ("idle --process 'unclosed", "a quote is not closed"),
    ] {
        fails(&bench(words, free_bases()).output().expect("the bench starts"), 2, &[part]);
    }
}

#[test]
fn a_server_that_dies_is_named_with_what_it_said() {
    let mut command = bench("startup --servers 2 --repeats 1", free_bases());
    command.args(["--process", "sh -c 'echo it is broken >&2; exit 7'"]);
    fails(&command.output().expect("the bench starts"), 1, &["server 0", "status 7", "it is broken"]);
}

/// A grid of one that swaps its first two messages.
const SWAPPING_SERVER: &str = r#"
import socketserver, sys

log = []

class Master(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            verb, _, text = line.rstrip(b"\n").partition(b" ")
            if verb == b"broadcast":
                log.append(text)
            elif verb == b"alive":
                self.wfile.write(b"alive 0\n")
            elif verb == b"get":
                self.wfile.write(b"messages " + b",".join(log[1::-1] + log[2:]) + b"\n")

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[3])), Master).serve_forever()
"#;

#[test]
fn a_wrong_order_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("swapping server.py");
    std::fs::write(&script, SWAPPING_SERVER).expect("the script is written");
    let mut command =
        bench("broadcast --systems process --servers 1 --bytes 20 --messages 10 --repeats 1", free_bases());
    command.arg("--process").arg(format!("python3 '{}'", script.display()));
    fails(
        &command.output().expect("the bench starts"),
        1,
        &["wrong log of server 0", "number 1 of server 0"],
    );
}

/// A bench that is ended by the test's own end too.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupted_bench_leaves_nothing_running() {
    let bases = free_bases();
    let mut command = bench("idle --systems naive --servers 2 --seconds 600 --repeats 1", bases);
    let mut running = Running(command.stdout(Stdio::null()).spawn().expect("the bench starts"));
    let listens = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    let ports = [bases.0, bases.0 + 1, bases.1, bases.1 + 1];
    await_condition("the servers listen", || ports.iter().all(|&port| listens(port)));

    let pid = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("the bench runs");
    await_condition("the servers are gone", || ports.iter().all(|&port| !listens(port)));
    assert_eq!(running.0.wait().expect("the bench ended").code(), Some(130));
}

fn await_condition(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
