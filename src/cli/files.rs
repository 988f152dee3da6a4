//! How many files this process may open, and who gets them.

use anyhow::bail;
use log::warn;

use crate::server::Settings;

/// Idle masters and strangers must not use up what the links need, so they share what these leave; connections of
/// agents get what is left then. The grid has `servers` servers.
pub(super) fn fit_limit(mut settings: Settings, servers: usize) -> anyhow::Result<Settings> {
    let Some(limit) = raise_limit().and_then(|limit| usize::try_from(limit).ok()) else {
        return Ok(settings);
    };
    let left = limit.saturating_sub(servers + OWN_FILES);
    let share = left / 2;
    if share == 0 {
        bail!("a limit of {limit} open files is too low for {servers} servers (ulimit -n)");
    }
    if settings.masters_max > share {
        warn!("server: room for fewer masters masters_max={share} open_files_max={limit}");
        settings.masters_max = share;
    }
    settings.links.strangers_max = settings.links.strangers_max.min(share);
    let left = left.saturating_sub(settings.masters_max + settings.links.strangers_max);
    settings.connections_max = settings.connections_max.min(left);
    Ok(settings)
}

/// Each connection costs a file descriptor; take as many as the system gives without asking anybody. How many that are.
fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            warn!("server: cannot raise the limit of open files why=\"{error}\"");
            limit.current
        }
    }
}

/// Files that are no connections: the poll, the doors, pipes, standard streams; and some to spare.
const OWN_FILES: usize = 32;
