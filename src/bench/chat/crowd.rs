//! Many clients, each of which writes one message a second to the next one.

use std::time::{Duration, Instant};

use super::Options;
use super::hall::{Came, Hall, accepted, acknowledge, pushed};
use crate::bench::log::cluster::Cluster;
use crate::bench::log::messenger::post;
use crate::bench::stats::{as_f64, percentile};
use crate::bench::usage::Usage;

/// What was measured.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) messages_per_s: f64,
    pub(super) servers_percent: f64,
}

/// How many bytes the time takes with which a message begins.
pub(super) const STAMP_BYTES: usize = 20;

/// What does not count, at the beginning.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often each writes.
const PERIOD: Duration = Duration::from_secs(1);
/// What is still under way at the end may take so long.
const REST: Duration = Duration::from_secs(10);

/// Lets everybody in, and all of them write.
pub(super) fn measure(cluster: &Cluster, options: &Options) -> anyhow::Result<Crowd> {
    let mut hall = Hall::new()?;
    let users: Vec<String> = (0..options.crowd).map(|place| format!("guest-{place}")).collect();
    for (place, user) in users.iter().enumerate() {
        hall.enter(cluster, place % cluster.len(), user)?;
    }
    let begin = Instant::now();
    let count_from = begin + WARM_UP;
    let end = count_from + Duration::from_secs_f64(options.crowd_seconds);
    // They write one after the other, spread over the second.
    let step = PERIOD / u32::try_from(options.crowd)?;
    let mut next = begin;
    let (mut posted, mut answered, mut received) = (0_u64, 0_u64, 0_u64);
    let mut numbers = vec![0_u64; users.len()];
    let mut latencies_ms = Vec::new();
    let (mut before, mut after) = (None, None);
    loop {
        let now = Instant::now();
        if before.is_none() && now >= count_from {
            before = cluster.usage();
        }
        if after.is_none() && now >= end {
            after = cluster.usage();
        }
        while next <= now && next < end {
            let place = usize::try_from(posted % users.len() as u64)?;
            posted += 1;
            numbers[place] += 1;
            let stamp = u64::try_from(begin.elapsed().as_nanos())?;
            let text = format!("{stamp:0>STAMP_BYTES$}{:x<width$}", "", width = options.bytes - STAMP_BYTES);
            let to = &users[(place + 1) % users.len()];
            post(&mut hall.lines[place].out, numbers[place], &users[place], to, &text);
            next += step;
        }
        if now >= end && (received == posted && answered == posted) {
            break;
        }
        anyhow::ensure!(
            now < end + REST,
            "{received} of {posted} messages had come {} s after the last",
            REST.as_secs()
        );
        hall.turn(
            next.saturating_duration_since(now).min(Duration::from_millis(5)),
            &mut |Came { route, out, .. }| {
                for message in pushed(route) {
                    received += 1;
                    let stamp =
                        message.payload.get(..STAMP_BYTES).and_then(|stamp| stamp.parse().ok()).unwrap_or(0);
                    if begin + Duration::from_nanos(stamp) >= count_from {
                        let took = begin.elapsed().saturating_sub(Duration::from_nanos(stamp));
                        latencies_ms.push(took.as_secs_f64() * 1e3);
                    }
                }
                acknowledge(pushed(route), out);
                answered += u64::from(pushed(route).is_empty() && accepted(route)?.is_some());
                Ok(())
            },
        )?;
    }
    latencies_ms.sort_by(f64::total_cmp);
    let cpu_ns = Usage::cpu_between(before, after).map_or(f64::NAN, as_f64);
    Ok(Crowd {
        p50_ms: percentile(&latencies_ms, 50.0),
        p99_ms: percentile(&latencies_ms, 99.0),
        messages_per_s: as_f64(latencies_ms.len() as u64) / options.crowd_seconds,
        servers_percent: cpu_ns / 1e9 / options.crowd_seconds * 100.0,
    })
}
