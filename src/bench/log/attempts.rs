//! Records for several servers, a new one for each every few milliseconds, whatever became of those before: who takes one first, and whether two servers ever
//! acknowledged different records for one place of the log.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::load::Client;
use super::wire::Answer;

/// How often every server is asked to take a record.
const ATTEMPT_EVERY: Duration = Duration::from_millis(5);
/// How many records a server is sent that was struck: it finds them when it goes on, and they must not fill its connection.
const STRUCK_RECORDS_MAX: usize = 64;
const NAP: Duration = Duration::from_micros(200);

/// Clients that try.
pub(super) struct Attempts {
    lanes: Vec<Lane>,
    limit: Duration,
    record: Vec<u8>,
    buffer: Vec<u8>,
    number: u32,
    places: Places,
}

/// Who acknowledged a record for which place of the log, where the engine tells places.
#[derive(Debug, Default)]
struct Places(BTreeMap<u64, usize>);

impl Places {
    /// Server `id` has acknowledged one. An error if there was another one for this place.
    fn note(&mut self, place: u64, id: usize) -> anyhow::Result<()> {
        match self.0.insert(place, id) {
            None => Ok(()),
            Some(other) => anyhow::bail!(
                "two records were acknowledged for place {place} of the log, by servers {other} and {id}"
            ),
        }
    }
}

struct Lane {
    id: usize,
    client: Client,
    /// Whether what it acknowledges counts.
    counts: bool,
    out: Vec<u8>,
    unanswered: usize,
}

impl Attempts {
    /// Nobody yet; each record has `bytes`, and nothing is waited for longer than `limit`.
    pub(super) fn new(bytes: usize, limit: Duration) -> Self {
        Self {
            lanes: Vec::new(),
            limit,
            record: vec![b'x'; bytes],
            buffer: vec![0; 65_536],
            number: 0,
            places: Places::default(),
        }
    }

    /// Takes in a client of server `id`; whether an acknowledgement of it is one that is waited for.
    pub(super) fn add(&mut self, id: usize, mut client: Client, counts: bool) -> anyhow::Result<()> {
        client.keep_places();
        client.set_nonblocking()?;
        self.lanes.push(Lane { id, client, counts, out: Vec::new(), unanswered: 0 });
        Ok(())
    }

    /// Sends until the first record is acknowledged; how long that is after `begin`. None of the records was sent before, and no answer is waited for: what went to
    /// a leader that is gone must not hide one that lives.
    pub(super) fn first_acknowledged(&mut self, begin: Instant) -> anyhow::Result<Duration> {
        let mut next_attempt = Instant::now();
        loop {
            anyhow::ensure!(
                begin.elapsed() < self.limit,
                "no record was acknowledged within {} s",
                self.limit.as_secs()
            );
            if Instant::now() >= next_attempt {
                self.send()?;
                next_attempt += ATTEMPT_EVERY;
            }
            if self.exchange()? {
                return Ok(begin.elapsed());
            }
            thread::sleep(NAP);
        }
    }

    /// Waits until everything that was sent is answered. An error if two records were acknowledged for one place: then two servers led.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.lanes.iter().any(|lane| lane.unanswered > 0) {
            let waiting = || self.lanes.iter().filter(|lane| lane.unanswered > 0).map(|lane| lane.id);
            anyhow::ensure!(
                begin.elapsed() < self.limit,
                "servers {:?} have not answered everything within {} s",
                waiting().collect::<Vec<_>>(),
                self.limit.as_secs()
            );
            self.exchange()?;
            thread::sleep(NAP);
        }
        Ok(())
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let number = self.number;
        self.number += 1;
        for lane in self.lanes.iter_mut().filter(|lane| lane.counts || lane.unanswered < STRUCK_RECORDS_MAX) {
            lane.client.append(number, &self.record, &mut lane.out)?;
            lane.unanswered += 1;
        }
        Ok(())
    }

    /// Writes and reads what can be at once; whether a record was acknowledged that counts.
    fn exchange(&mut self) -> anyhow::Result<bool> {
        let mut found = false;
        let mut answers: Vec<Answer> = Vec::new();
        for lane in &mut self.lanes {
            lane.client.exchange(&mut lane.out, &mut self.buffer, &mut answers)?;
            lane.unanswered = lane.unanswered.saturating_sub(answers.len());
            found |= answers.drain(..).any(|answer| answer.refusal.is_none()) && lane.counts;
            for place in lane.client.places() {
                self.places.note(place, lane.id)?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_records_at_one_place_are_an_error_that_names_who_took_them() {
        let mut places = Places::default();
        for (place, id) in [(7, 0), (8, 0), (9, 1)] {
            places.note(place, id).expect("each place once");
        }
        let error = places.note(8, 2).expect_err("server 0 had one there").to_string();
        assert!(error.contains("place 8") && error.contains("servers 0 and 2"), "{error}");
    }
}
