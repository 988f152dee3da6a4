//! What is measured: ours, or an installed peer. An engine knows how its servers are started, who of them leads, and how records are appended.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::cluster::{Place, Standing};
use super::etcd::{self, EtcdWire};
use super::jetstream::{self, JetStreamWire};
use super::messenger::{self, Chat, MessengerWire};
use super::ours::{self, LineWire};
use super::wire::Wire;

/// One thing to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Boxes of this executable whose log is replicated.
    Ours,
    /// The same, and the service keeps each record as a row, so that the log can be cut.
    Rows,
    /// One box of this executable with a log of its own alone: the path without consensus.
    Local,
    /// A server that answers every line at once and keeps nothing: what the load generator can do.
    Echo,
    /// Boxes of this executable with a chat on a replicated log.
    Messenger(Chat),
    /// An installed etcd.
    Etcd(PathBuf),
    /// An installed nats-server with `JetStream`.
    Nats(PathBuf),
}

impl Engine {
    /// The name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours => "ovid",
            Self::Rows => "rows",
            Self::Local => "local",
            Self::Echo => "echo",
            Self::Messenger(_) => "messenger",
            Self::Etcd(_) => "etcd",
            Self::Nats(_) => "nats",
        }
    }

    /// How many servers run where `wanted` were asked for.
    pub(in crate::bench) fn servers(&self, wanted: usize) -> usize {
        if matches!(self, Self::Local | Self::Echo) { 1 } else { wanted }
    }

    /// Whether another server goes on when one is killed.
    pub(in crate::bench) fn is_replicated(&self) -> bool {
        !matches!(self, Self::Local | Self::Echo)
    }

    /// Whether anything is there after a restart.
    pub(in crate::bench) fn is_durable(&self) -> bool {
        !matches!(self, Self::Echo)
    }

    /// Which version it is, and when it lets records reach the disk.
    pub(in crate::bench) fn describe(&self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Ours => {
                format!("ovid {}: acknowledges after the fdatasync of a majority", env!("CARGO_PKG_VERSION"))
            }
            Self::Rows => "rows: ovid, whose service keeps each record as a row".to_owned(),
            Self::Messenger(_) => {
                "messenger: the chat on ovid's log; a record is a message to one user".to_owned()
            }
            Self::Local => "local: one box of ovid, acknowledges after its own fdatasync".to_owned(),
            Self::Echo => "echo: answers at once, keeps nothing, claims nothing".to_owned(),
            Self::Etcd(program) => {
                let said = said_by(program, "--version", "etcd-server")?;
                let version = said.lines().next().unwrap_or_default();
                format!("{version}: acknowledges after the fdatasync of a majority; its defaults, gRPC")
            }
            Self::Nats(program) => {
                let version = said_by(program, "--version", "nats-server")?;
                let sync = if syncs(&version) {
                    "sync_interval: always, acknowledges after the fsync of a majority"
                } else {
                    "SYNCS EVERY TWO MINUTES, so no acknowledged record is durable; `sync_interval: always` needs 2.10"
                };
                format!("{}, JetStream: {sync}", version.trim())
            }
        })
    }

    /// Writes what the servers read when they start.
    pub(in crate::bench) fn prepare(&self, places: &[Place], folder: &Path) -> anyhow::Result<()> {
        match self {
            Self::Ours | Self::Rows | Self::Local => {
                ours::write_configuration(places, folder, *self == Self::Local, *self == Self::Rows)
            }
            Self::Messenger(chat) => messenger::write_configuration(chat, places, folder),
            Self::Echo | Self::Etcd(_) | Self::Nats(_) => Ok(()),
        }
    }

    /// The command that starts server `id`.
    pub(in crate::bench) fn command(
        &self,
        places: &[Place],
        folder: &Path,
        id: usize,
    ) -> anyhow::Result<Command> {
        match self {
            Self::Ours | Self::Rows | Self::Local | Self::Messenger(_) => ours::command(places, folder, id),
            Self::Echo => {
                let mut command =
                    Command::new(std::env::current_exe().context("cannot find this executable")?);
                command.args(["bench", "node", "echo", "0", "1", &places[id].client_port.to_string()]);
                Ok(command)
            }
            Self::Etcd(program) => Ok(etcd::command(program, places, id)),
            Self::Nats(program) => {
                let version = said_by(program, "--version", "nats-server")?;
                jetstream::command(program, places, id, syncs(&version))
            }
        }
    }

    /// What can be done only once the servers run: nothing, or an error for now.
    pub(in crate::bench) fn complete(&self, places: &[Place]) -> anyhow::Result<()> {
        match self {
            Self::Nats(_) => jetstream::create_stream(&places[0], places.len()),
            _ => Ok(()),
        }
    }

    /// What each server says of itself; `None` for those that do not answer.
    pub(in crate::bench) fn standings(&self, places: &[Place]) -> Vec<Option<Standing>> {
        let each = |standing: &dyn Fn(usize, &Place) -> Option<Standing>| {
            places.iter().enumerate().map(|(id, place)| standing(id, place)).collect()
        };
        match self {
            Self::Ours | Self::Rows => each(&|id, place| ours::standing(place, id)),
            Self::Messenger(_) => each(&|id, place| messenger::standing(place, id)),
            // Alone: it leads as soon as it can be spoken to.
            Self::Local | Self::Echo => each(&|_, place| {
                place.connect().ok().map(|_| Standing { is_leader: true, term: None, applied: 0 })
            }),
            Self::Etcd(_) => each(&|_, place| etcd::standing(place)),
            Self::Nats(_) => {
                let all = places.iter().find_map(|place| jetstream::standings(place, places.len()));
                all.map_or_else(
                    || places.iter().map(|_| None).collect(),
                    |all| all.into_iter().map(Some).collect(),
                )
            }
        }
    }

    /// A client of server `id`; `connection` is a number that no other connection to these servers has had.
    pub(in crate::bench) fn wire(&self, place: &Place, id: usize, connection: u64) -> Box<dyn Wire> {
        match self {
            Self::Ours | Self::Rows | Self::Local => Box::new(LineWire::of_member(id)),
            Self::Echo => Box::new(LineWire::default()),
            Self::Messenger(_) => Box::new(MessengerWire::new(connection)),
            Self::Etcd(_) => Box::new(EtcdWire::new(place, connection)),
            Self::Nats(_) => Box::new(JetStreamWire::new(connection)),
        }
    }
}

/// Whether a nats-server of this version can be told to sync before it acknowledges.
fn syncs(version: &str) -> bool {
    let number = version.split_ascii_whitespace().find_map(|word| word.strip_prefix('v')).unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.trim().parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (2, 10)
}

/// What a program says when it is asked for its version.
fn said_by(program: &Path, option: &str, package: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(option).output().with_context(|| {
        format!(
            "cannot start `{}`: is it installed? Debian's package is {package}, and --peer-bin takes a path",
            program.display()
        )
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_later_versions_sync_before_they_acknowledge() {
        assert!(!syncs("nats-server: v2.9.10\n"));
        assert!(syncs("nats-server: v2.10.0\n"));
        assert!(syncs("nats-server: v2.15.1\n"));
        assert!(syncs("nats-server: v3.0.0-dev\n"));
        assert!(!syncs("something else"));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = Engine::Etcd(PathBuf::from("/nowhere/etcd"));
        let error = missing.describe().unwrap_err().to_string();
        assert!(error.contains("/nowhere/etcd") && error.contains("--peer-bin"), "{error}");
    }
}
