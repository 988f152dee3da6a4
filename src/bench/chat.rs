//! The chat: how fast messages get from one client to another, to clients of other clusters, and to many at once, and what it costs beside the bare log.
//!
//! One run is one fresh cluster: messages from one client to another ([`transfer`]), a crowd of clients that write once a second ([`crowd`]), many messages stored
//! ([`stored`]); then several clusters ([`clusters`]), and a sending client beside one of the bare log, by the code of the bench of logs.

mod clusters;
mod crowd;
mod hall;
mod stored;
mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::figures::Figures;
use super::log::cluster::Cluster;
use super::log::phase;
use super::log::{Chat, Engine};
use super::report::{Progress, Report, spread};
use super::stats::median;
use super::system::Ports;
use super::verify::MESSAGE_BYTES_MIN;
use super::{Setup, require};

/// What is measured.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// How many servers the cluster has.
    pub servers: usize,
    /// How often everything is measured.
    pub repeats: usize,
    /// The length of each message.
    pub bytes: usize,
    /// How many messages go from one client to another, one phase for each number.
    pub messages: Vec<u64>,
    /// How many messages a sending client has under way.
    pub in_flight: usize,
    /// How many other clusters there are; 0 leaves them out.
    pub clusters: usize,
    /// How many servers each of those has.
    pub cluster_servers: usize,
    /// How many messages go to one client on each of them.
    pub cluster_messages: u64,
    /// How many clients write once a second; 0 leaves them out.
    pub crowd: usize,
    /// For how long, in seconds.
    pub crowd_seconds: f64,
    /// How many messages are stored before memory is looked at; 0 leaves that out.
    pub stored: u64,
    /// How long a client sends beside one of the bare log, in seconds; 0 leaves that out.
    pub seconds: f64,
    /// Where the servers write.
    pub data: PathBuf,
}

/// Measures the chat.
pub fn run(options: &Options, ports: Ports) -> (Report, anyhow::Result<()>) {
    let setup =
        Setup { systems: Vec::new(), servers: vec![options.servers], repeats: options.repeats, ports };
    let mut report = Report::new("chat", &setup, json!(options), &["figure", "median (smallest..largest)"]);
    let mut figures = Figures::default();
    let outcome = check(options).and_then(|()| {
        let progress = Progress::new(options.repeats);
        (0..options.repeats).try_for_each(|repeat| {
            let say = |phase: &str| progress.say(phase.to_owned());
            Run { options, ports, repeat }.measure(&mut figures, &say)?;
            progress.step();
            anyhow::Ok(())
        })
    });
    // What was measured before an error is shown too.
    for figure in &figures.0 {
        report.table.push(vec![figure.name.clone(), spread(&figure.values, figure.decimals)]);
        report.samples.push(json!({"figure": figure.name, "values": figure.values}));
    }
    if let (Some(bare), Some(chat)) = (figures.values(BARE), figures.values(SENDING)) {
        let ratio = median(chat) / median(bare);
        report.table.push(vec![
            "a sending client to the bare log: ratio of the medians".into(),
            format!("{ratio:.2}"),
        ]);
    }
    report.note(format!(
        "{} runs; {}-byte messages; {} servers; servers and load on this machine; every acknowledgement after a majority's fdatasync",
        options.repeats, options.bytes, options.servers
    ));
    (report, outcome)
}

fn check(options: &Options) -> anyhow::Result<()> {
    require(options.repeats > 0, "--repeats must be at least 1")?;
    require(
        (1..=9).contains(&options.servers) && (1..=9).contains(&options.cluster_servers),
        "--servers and --cluster-servers must lie between 1 and 9",
    )?;
    require(
        (MESSAGE_BYTES_MIN.max(crowd::STAMP_BYTES)..=32 * 1024).contains(&options.bytes),
        format!("--bytes must lie between {} and 32768", MESSAGE_BYTES_MIN.max(crowd::STAMP_BYTES)),
    )?;
    require((1..=1024).contains(&options.in_flight), "--in-flight must lie between 1 and 1024")?;
    require(options.clusters <= 9, "--clusters must be at most 9")?;
    require(options.crowd <= 5_000, "--crowd must be at most 5000")?;
    require(options.data.is_dir(), format!("--data must be a folder, and {} is none", options.data.display()))
}

/// One repeat.
struct Run<'a> {
    options: &'a Options,
    ports: Ports,
    repeat: usize,
}

impl Run<'_> {
    fn measure(&self, figures: &mut Figures, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        say("start");
        let cluster = self.start(&Engine::Messenger(Chat::default()), self.options.servers, 0)?;
        for &count in &self.options.messages {
            say(&format!("{count} messages from one client to another"));
            let took =
                transfer::measure(&cluster, count, self.options).map_err(|error| cluster.explain(error))?;
            figures.add(
                format!("{count} messages from one client to another, s until all are sent"),
                3,
                took.sent,
            );
            figures.add(format!("{count} messages: s until all are received, too"), 3, took.received);
            figures.add(format!("{count} messages: s until all are acknowledged, too"), 3, took.acknowledged);
        }
        if self.options.crowd > 0 {
            say("a crowd that writes once a second");
            let crowd = crowd::measure(&cluster, self.options).map_err(|error| cluster.explain(error))?;
            let name =
                |what: &str| format!("{} clients, a message a second each: {what}", self.options.crowd);
            figures.add(name("p50 ms from send to push"), 2, crowd.p50_ms);
            figures.add(name("p99 ms from send to push"), 2, crowd.p99_ms);
            figures.add(name("messages/s"), 0, crowd.messages_per_s);
            figures.add(name("servers' processor time, % of a core"), 0, crowd.servers_percent);
        }
        if self.options.stored > 0 {
            say("many messages stored");
            stored::fill(&cluster, self.options).map_err(|error| cluster.explain(error))?;
        }
        let what =
            format!("most resident MiB of a server after all these, {} messages stored", self.options.stored);
        figures.add(what, 0, cluster.resident_mib_max());
        drop(cluster);
        if self.options.clusters > 0 {
            self.several_clusters(figures, say)?;
        }
        if self.options.seconds > 0.0 { self.beside_the_bare_log(figures, say) } else { Ok(()) }
    }

    /// Starts a cluster, the `place`-th of several.
    fn start(&self, engine: &Engine, servers: usize, place: usize) -> anyhow::Result<Cluster> {
        let shift = u16::try_from(place * CLUSTER_PORTS)?;
        let ports =
            Ports { master_base: self.ports.master_base + shift, link_base: self.ports.link_base + shift };
        Cluster::start(engine, servers, ports, &self.options.data)
    }

    fn several_clusters(&self, figures: &mut Figures, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        say("several clusters");
        let count = self.options.clusters;
        let servers =
            |place: usize| if place == 0 { self.options.servers } else { self.options.cluster_servers };
        let addresses = |place: usize| -> Vec<String> {
            let base = usize::from(self.ports.master_base) + place * CLUSTER_PORTS;
            (0..servers(place)).map(|id| format!("127.0.0.1:{}", base + id)).collect()
        };
        let clusters = (0..=count).map(|place| {
            let others: BTreeMap<String, Vec<String>> = (0..=count)
                .filter(|&other| other != place)
                .map(|other| (tag(other), addresses(other)))
                .collect();
            self.start(&Engine::Messenger(Chat { tag: tag(place), others }), servers(place), place)
        });
        let clusters = clusters.collect::<anyhow::Result<Vec<Cluster>>>()?;
        let took = clusters::measure(&clusters, self.options).map_err(|error| clusters[0].explain(error))?;
        let name = |what: &str| {
            format!(
                "{} messages to one client on each of {count} other clusters: {what}",
                self.options.cluster_messages
            )
        };
        figures.add(name("s until all are received"), 3, took.received);
        figures.add(name("s until all are acknowledged where they were sent"), 3, took.acknowledged);
        Ok(())
    }

    fn beside_the_bare_log(&self, figures: &mut Figures, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        let mut both = [(BARE, Engine::Ours), (SENDING, Engine::Messenger(Chat::default()))];
        if self.repeat % 2 == 1 {
            both.reverse();
        }
        for (name, engine) in both {
            say(name);
            let cluster = self.start(&engine, self.options.servers, 0)?;
            let leader = cluster.await_leader(Duration::from_secs(30))?;
            let load = (self.options.in_flight, self.options.bytes);
            let phase = phase::measure(&cluster, &[leader], load, self.options.seconds)?;
            figures.add(name, 0, phase.records_per_s);
            phase.add_cost(figures, name);
        }
        Ok(())
    }
}

/// The group tag of one of several clusters.
/// The text of a message of so many bytes that tells which one it is.
fn numbered(number: u64, bytes: usize) -> String {
    let digits = number.to_string();
    let mut text = "0".repeat(bytes.saturating_sub(digits.len()));
    text.push_str(&digits);
    text
}

fn tag(place: usize) -> String {
    format!("cluster-{place}")
}

/// How far apart the ports of several clusters begin.
const CLUSTER_PORTS: usize = 10;
const BARE: &str = "one client of the bare log, records/s";
const SENDING: &str = "one client that sends, messages/s";
