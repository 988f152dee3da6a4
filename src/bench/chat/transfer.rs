//! Messages from one client to another, at different servers.

use std::time::{Duration, Instant};

use super::hall::{Came, Hall, accepted, acknowledge, all_is_read, conversations_request, pushed};
use super::{Options, numbered};
use crate::bench::log::cluster::Cluster;
use crate::bench::log::messenger::post;

/// How long it took, in seconds, each from the first message on.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) sent: f64,
    pub(super) received: f64,
    /// Until the cluster knows that the receiver has read all.
    pub(super) acknowledged: f64,
}

/// Sends `count` messages.
pub(super) fn measure(cluster: &Cluster, count: u64, options: &Options) -> anyhow::Result<Transfer> {
    let mut hall = Hall::new()?;
    let (from, to) = (format!("sender-{count}"), format!("receiver-{count}"));
    let reader = hall.enter(cluster, 1 % cluster.len(), &to)?;
    let writer = hall.enter(cluster, 0, &from)?;
    let text = |number: u64| numbered(number, options.bytes);
    let (mut posted, mut answered, mut received) = (0, 0, 0);
    let (mut sent_s, mut received_s) = (None, None);
    let begin = Instant::now();
    while answered < count || received < count {
        while posted < count && posted - answered < options.in_flight as u64 {
            posted += 1;
            post(&mut hall.lines[writer].out, posted, &from, &to, &text(posted));
        }
        hall.turn(Duration::from_secs(1), &mut |Came { place, route, out }| {
            if place == writer {
                answered += u64::from(accepted(route)?.is_some());
                return Ok(());
            }
            for message in pushed(route) {
                received += 1;
                anyhow::ensure!(
                    message.payload == text(received),
                    "message {received} did not come in its order"
                );
            }
            acknowledge(pushed(route), out);
            Ok(())
        })?;
        let now_s = begin.elapsed().as_secs_f64();
        sent_s = sent_s.or((answered == count).then_some(now_s));
        received_s = received_s.or((received == count).then_some(now_s));
    }
    let took = |at: Option<f64>| at.unwrap_or_else(|| begin.elapsed().as_secs_f64());
    hall.ask_until(reader, &conversations_request(), &mut all_is_read)?;
    Ok(Transfer {
        sent: took(sent_s),
        received: took(received_s),
        acknowledged: begin.elapsed().as_secs_f64(),
    })
}
