//! `ovid bench chat`: the chat from its clients' side.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::OutputArgs;
use crate::bench::chat::{Options, run};

#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// How many servers the cluster has.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    servers: usize,
    /// The length of a message.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// How many messages go from one client to another, one phase for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000], value_name = "LIST")]
    messages: Vec<u64>,
    /// How many messages a sending client has under way.
    #[arg(long, default_value_t = 1024, value_name = "COUNT")]
    in_flight: usize,
    /// How many other clusters there are; 0 leaves them out.
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    clusters: usize,
    /// How many servers each of those has.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    cluster_servers: usize,
    /// How many messages go to one client on each of them.
    #[arg(long, default_value_t = 2_000, value_name = "COUNT")]
    cluster_messages: u64,
    /// How many clients write once a second; 0 leaves them out.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    crowd: usize,
    /// For how long, after 2 s that do not count.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    crowd_seconds: f64,
    /// How many messages are stored before memory is looked at; 0 leaves that out.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    stored: u64,
    /// How long a client sends beside one of the bare log, after a warm-up of 0.5 s; 0 leaves that out.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    repeats: usize,
    /// The folder in which the servers write; the system's folder for temporary files if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl ChatArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let options = Options {
            servers: self.servers,
            repeats: self.repeats,
            bytes: self.bytes,
            messages: self.messages,
            in_flight: self.in_flight,
            clusters: self.clusters,
            cluster_servers: self.cluster_servers,
            cluster_messages: self.cluster_messages,
            crowd: self.crowd,
            crowd_seconds: self.crowd_seconds,
            stored: self.stored,
            seconds: self.seconds,
            data: self.data.unwrap_or_else(std::env::temp_dir),
        };
        self.output.finish(run(&options, self.output.ports()))
    }
}
