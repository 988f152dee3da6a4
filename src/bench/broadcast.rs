//! Throughput: every server's master pipelines broadcasts, until every server has every message.
//!
//! A *delivery* is one message entering one server's log. The clock runs from the first byte written to the first
//! master until the last server is known to have all messages; then, off the clock, every log is read and checked.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use super::feed::{feed, own_cpu};
use super::fleet::Fleet;
use super::groups::Group;
use super::master::{ANSWER_LIMIT, Master};
use super::nats;
use super::report::{Progress, Report, spread};
use super::sample::{Cell, Run};
use super::stats::{as_f64, median};
use super::system::{Ports, System};
use super::usage::Usage;
use super::verify::{Expected, MESSAGE_BYTES_MIN, MESSAGES_MAX, push_message};
use super::{Setup, require};

/// How long a run should take, where its logs stay within their limit.
const RUN_SECONDS: f64 = 1.0;
const STATUS_PAUSE: Duration = Duration::from_millis(2);
const FIRST_DELIVERIES: u64 = 30_000;
/// Below this multiple of the grid's own rate the load generator is no longer out of the way.
const HEADROOM_MIN: f64 = 2.0;

/// What to broadcast.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// The lengths of messages to try.
    pub bytes: Vec<usize>,
    /// How many messages each sender sends; calibrated where absent.
    pub messages: Option<u64>,
    /// Only server 0's master sends.
    pub one_sender: bool,
    /// How large the logs of all servers together may grow.
    pub log_bytes_max: u64,
}

/// Measures all systems side by side.
pub fn run(setup: &Setup, options: &Options) -> (Report, anyhow::Result<()>) {
    let head = [
        "bytes",
        "servers",
        "system",
        "messages",
        "million deliveries/s",
        "ratio",
        "CPU ns/delivery",
        "load share",
        "load reserve",
    ];
    let mut report = Report::new("broadcast", setup, json!(options), &head);
    let outcome = check_options(setup, options).and_then(|()| measure_all(setup, options, &mut report));
    (report, outcome)
}

fn measure_all(setup: &Setup, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let cells: Vec<Cell> = options
        .bytes
        .iter()
        .flat_map(|&bytes| setup.servers.iter().map(move |&n| (bytes, n)))
        .map(|(bytes, n)| {
            let senders = if options.one_sender { 1 } else { n };
            Cell { bytes, n, senders, log_bytes_max: options.log_bytes_max }
        })
        .collect();
    let progress = Progress::new(cells.len() * setup.systems.len() * (setup.repeats + 1));
    for cell in cells {
        measure_cell(setup, options, cell, &progress, report)?;
    }
    Ok(())
}

fn check_options(setup: &Setup, options: &Options) -> anyhow::Result<()> {
    require(
        options.bytes.iter().all(|&bytes| bytes >= MESSAGE_BYTES_MIN),
        format!(
            "messages of fewer than {MESSAGE_BYTES_MIN} bytes cannot be told apart; choose a larger --bytes"
        ),
    )?;
    require(
        (1..=MESSAGES_MAX).contains(&options.messages.unwrap_or(1)),
        format!("--messages must lie between 1 and {MESSAGES_MAX}"),
    )?;
    require(
        setup.servers.iter().all(|&n| n >= 1),
        "a grid has at least one server; --servers must be at least 1",
    )
}

fn measure_cell(
    setup: &Setup,
    options: &Options,
    cell: Cell,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut messages = Vec::new();
    for system in &setup.systems {
        progress.say(format!("calibrating {} bytes, {} servers, {}", cell.bytes, cell.n, system.name()));
        messages.push(match options.messages {
            Some(messages) => messages,
            None => calibrate(system, cell, setup.ports)?,
        });
        progress.step();
    }
    let largest = messages.iter().copied().max().unwrap_or(1);
    let sink_rate = feed_sink(&loads(cell, largest), setup.ports)?;
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); setup.systems.len()];
    for repeat in 0..setup.repeats {
        for (index, system) in setup.turn(repeat) {
            progress.say(format!("{} bytes, {} servers, {}", cell.bytes, cell.n, system.name()));
            let run = measure(system, cell, messages[index], setup.ports)?;
            report.samples.push(json!({
                "bytes": cell.bytes, "servers": cell.n, "system": system.name(), "repeat": repeat,
                "messages_per_sender": messages[index], "deliveries": run.deliveries,
                "seconds": run.elapsed.as_secs_f64(), "deliveries_per_second": run.rate(),
                "grid_cpu_ns": run.grid_cpu_ns, "grid_cpu_ns_per_delivery": run.delivery_ns(),
                "generator_cpu_seconds": run.generator_cpu.as_secs_f64(), "load_bytes": run.load_bytes,
                "sink_bytes_per_second": sink_rate,
            }));
            runs[index].push(run);
            progress.step();
        }
    }
    tabulate(setup, cell, &messages, &runs, sink_rate, report);
    Ok(())
}

fn tabulate(
    setup: &Setup,
    cell: Cell,
    messages: &[u64],
    runs: &[Vec<Run>],
    sink_rate: f64,
    report: &mut Report,
) {
    let rates: Vec<Vec<f64>> = runs.iter().map(|runs| runs.iter().map(Run::rate).collect()).collect();
    for (index, system) in setup.systems.iter().enumerate() {
        let millions: Vec<f64> = rates[index].iter().map(|rate| rate / 1e6).collect();
        let shares: Vec<f64> = runs[index]
            .iter()
            .map(|run| run.generator_cpu.as_secs_f64() / run.elapsed.as_secs_f64())
            .collect();
        let costs: Vec<f64> = runs[index].iter().filter_map(Run::delivery_ns).collect();
        let reserves: Vec<f64> = runs[index].iter().map(|run| sink_rate / run.load_rate()).collect();
        report.table.push(vec![
            cell.bytes.to_string(),
            cell.n.to_string(),
            system.name().to_owned(),
            (messages[index] * cell.senders as u64).to_string(),
            spread(&millions, 2),
            setup.ratio_cell(index, &rates),
            if costs.is_empty() { "-".to_owned() } else { spread(&costs, 1) },
            format!("{:.0} %", 100.0 * median(&shares)),
            format!("{:.1}", median(&reserves)),
        ]);
        if median(&reserves) < HEADROOM_MIN {
            report.note(format!(
                "WARNING: {} at {} bytes and {} servers: the load generator may be the bottleneck; it feeds a mere \
                 reader only {:.1} times as fast",
                system.name(),
                cell.bytes,
                cell.n,
                median(&reserves)
            ));
        }
        if !system.has_status() && matches!(system, System::Process(_)) {
            report.note(format!(
                "{} is polled by `get`, which costs it; --process-status if it answers `status`",
                system.name()
            ));
        }
        if matches!(system, System::Nats(_)) {
            report.note(
                "nats is core publish/subscribe: it keeps no message, and nothing is read back from it"
                    .to_owned(),
            );
        }
    }
    report.note(format!(
        "median (smallest..largest) of {}; ratio: {} to the system, repeat by repeat; CPU: of all servers together, \
         which other work on the machine changes little; load share: of one core, used by the load generator; load \
         reserve: how many times as fast it feeds a mere reader",
        setup.repeats,
        setup.systems[0].name()
    ));
}

/// How many messages each sender has to send for a run of the wanted length, within the limit of the logs.
fn calibrate(system: &System, cell: Cell, ports: Ports) -> anyhow::Result<u64> {
    let max = cell.messages_max();
    let mut messages = (FIRST_DELIVERIES / (cell.n * cell.senders) as u64).clamp(1, max);
    loop {
        let seconds = measure(system, cell, messages, ports)?.elapsed.as_secs_f64();
        let factor = RUN_SECONDS / seconds;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the limits right here"
        )]
        let wanted = (as_f64(messages) * factor).clamp(1.0, as_f64(max)) as u64;
        // A short run says little about a long one, so it grows in steps.
        if messages == max || factor < 5.0 {
            return Ok(wanted);
        }
        messages = wanted.min(messages * 20);
    }
}

/// One run of one system on a fresh grid.
pub(super) fn measure(system: &System, cell: Cell, messages: u64, ports: Ports) -> anyhow::Result<Run> {
    if let System::Nats(program) = system {
        return nats::measure(program, cell, messages);
    }
    let (fleet, mut masters) = Fleet::launch(system, cell.n, ports)?;
    let loads = loads(cell, messages);
    let expected = cell.expected(messages);
    let usage_before = fleet.usage().ok();
    let cpu_before = own_cpu();
    let start = Instant::now();
    let streams: Vec<&TcpStream> = masters.iter().map(Master::stream).collect();
    feed(&streams, &loads).map_err(|error| fleet.explain(error.connection, error.into()))?;
    for (id, master) in masters.iter_mut().enumerate() {
        master.stream().set_nonblocking(false)?;
        await_messages(master, system, &expected).map_err(|error| fleet.explain(id, error))?;
    }
    let elapsed = start.elapsed();
    let generator_cpu = own_cpu().saturating_sub(cpu_before);
    let grid_cpu_ns = Usage::cpu_between(usage_before, fleet.usage().ok());
    for (id, master) in masters.iter_mut().enumerate() {
        let log = master.log().map_err(|error| fleet.explain(id, error))?;
        expected
            .check(&log)
            .with_context(|| format!("wrong log of server {id} of {} ({})", cell.n, system.name()))?;
    }
    let load_bytes = loads.iter().map(|load| load.len() as u64).sum();
    Ok(Run { deliveries: expected.total() * cell.n as u64, elapsed, grid_cpu_ns, generator_cpu, load_bytes })
}

/// The prepared commands of each master.
fn loads(cell: Cell, messages: u64) -> Vec<Vec<u8>> {
    let load = |sender: usize| {
        let count = if sender < cell.senders { messages } else { 0 };
        let mut load = Vec::new();
        for number in 0..count {
            load.extend_from_slice(b"broadcast ");
            push_message(&mut load, sender, number, cell.bytes);
            load.push(b'\n');
        }
        load
    };
    (0..cell.n).map(load).collect()
}

/// Waits until a server has all messages. It is asked sparingly: every question wakes it and takes its time.
pub(super) fn await_messages(
    master: &mut Master,
    system: &System,
    expected: &Expected,
) -> anyhow::Result<()> {
    let total = expected.total();
    let mut best = 0;
    let mut last_progress = Instant::now();
    loop {
        let asked = Instant::now();
        let count = if system.has_status() {
            master.message_count()?
        } else {
            (master.log()?.len() as u64 + 1) / (expected.bytes as u64 + 1)
        };
        if count >= total {
            return Ok(());
        }
        if count > best {
            best = count;
            last_progress = Instant::now();
        }
        anyhow::ensure!(
            last_progress.elapsed() < ANSWER_LIMIT,
            "{count} of {total} messages arrived, and none for {} s",
            ANSWER_LIMIT.as_secs()
        );
        thread::sleep(if system.has_status() { STATUS_PAUSE } else { STATUS_PAUSE.max(2 * asked.elapsed()) });
    }
}

/// How fast the generator feeds readers that do nothing else, in bytes a second.
fn feed_sink(loads: &[Vec<u8>], ports: Ports) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    let port = ports.master(0)?;
    command.args(["bench", "node", "sink", "0", "1", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let group = Group::start(&mut command)?;
    let deadline = Instant::now() + ANSWER_LIMIT;
    let connect = |_| loop {
        match Master::connect(port) {
            Ok(master) => return Ok(master),
            Err(error) if Instant::now() > deadline || group.leader_end().is_some() => {
                return Err(error).context("the sink of the calibration does not listen");
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    let masters: Vec<Master> = (0..loads.len()).map(connect).collect::<Result<_, _>>()?;
    let streams: Vec<&TcpStream> = masters.iter().map(Master::stream).collect();
    let start = Instant::now();
    feed(&streams, loads).context("cannot feed the sink")?;
    let bytes: u64 = loads.iter().map(|load| load.len() as u64).sum();
    Ok(as_f64(bytes) / start.elapsed().as_secs_f64())
}
