//! Messages to users who are on other clusters than the one in which they were written.

use std::time::{Duration, Instant};

use super::hall::{Came, Hall, accepted, acknowledge, all_is_read, conversations_request, pushed};
use super::{Options, numbered};
use crate::bench::log::cluster::Cluster;
use crate::bench::log::messenger::post;

/// How long it took, in seconds, each from the first message on.
#[derive(Debug)]
pub(super) struct Abroad {
    pub(super) received: f64,
    /// Until the first cluster knows that all was read.
    pub(super) acknowledged: f64,
}

/// A client of the first cluster writes to one user on each of the others.
pub(super) fn measure(clusters: &[Cluster], options: &Options) -> anyhow::Result<Abroad> {
    let (home, abroad) = clusters.split_first().expect("there is a first one");
    let users: Vec<String> = (1..=abroad.len()).map(|place| format!("traveller-{place}")).collect();
    // They are users of both clusters, and on the other one now.
    let mut homes = Hall::new()?;
    for user in &users {
        homes.enter(home, 0, user)?;
    }
    drop(homes);
    let mut hall = Hall::new()?;
    for (cluster, user) in abroad.iter().zip(&users) {
        hall.enter(cluster, 0, user)?;
    }
    let sender = hall.enter(home, 0, "at-home")?;
    let all = options.cluster_messages * users.len() as u64;
    let mut received = vec![0_u64; users.len()];
    let (mut posted, mut answered) = (0_u64, 0_u64);
    let text = |number: u64| numbered(number, options.bytes);
    let begin = Instant::now();
    while answered < all || received.iter().any(|count| *count < options.cluster_messages) {
        while posted < all && posted - answered < options.in_flight as u64 {
            let user = &users[usize::try_from(posted % users.len() as u64)?];
            posted += 1;
            post(&mut hall.lines[sender].out, posted, "at-home", user, &text(posted));
        }
        hall.turn(Duration::from_secs(1), &mut |Came { place, route, out }| {
            if place == sender {
                answered += u64::from(accepted(route)?.is_some());
                return Ok(());
            }
            for message in pushed(route) {
                let expected = received[place] * users.len() as u64 + place as u64 + 1;
                anyhow::ensure!(
                    message.payload == text(expected),
                    "message {} to {} did not come in its order",
                    received[place] + 1,
                    users[place]
                );
                received[place] += 1;
            }
            acknowledge(pushed(route), out);
            Ok(())
        })?;
    }
    let received_s = begin.elapsed().as_secs_f64();
    for user in &users {
        let place = hall.enter(home, 0, user)?;
        hall.ask_until(place, &conversations_request(), &mut all_is_read)?;
    }
    Ok(Abroad { received: received_s, acknowledged: begin.elapsed().as_secs_f64() })
}
