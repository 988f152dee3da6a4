//! Many messages to users who are not there.

use std::time::Duration;

use super::Options;
use super::hall::{Came, Hall, accepted};
use crate::bench::log::cluster::Cluster;
use crate::bench::log::messenger::post;

/// How many users the messages are for.
const USERS: u64 = 1_000;

/// Stores messages until there are as many as asked for.
pub(super) fn fill(cluster: &Cluster, options: &Options) -> anyhow::Result<()> {
    let mut absent = Hall::new()?;
    for user in 0..USERS {
        absent.enter(cluster, 0, &name(user))?;
    }
    drop(absent);
    let mut hall = Hall::new()?;
    let sender = hall.enter(cluster, 0, "writer")?;
    let text = "x".repeat(options.bytes);
    let (mut posted, mut answered) = (0, 0);
    while answered < options.stored {
        while posted < options.stored && posted - answered < options.in_flight as u64 {
            posted += 1;
            post(&mut hall.lines[sender].out, posted, "writer", &name(posted % USERS), &text);
        }
        hall.turn(Duration::from_secs(1), &mut |Came { route, .. }| {
            answered += u64::from(accepted(route)?.is_some());
            Ok(())
        })?;
    }
    Ok(())
}

fn name(user: u64) -> String {
    format!("absent-{user}")
}
