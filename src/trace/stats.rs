//! What a history counts, as a table for people.

use std::collections::BTreeMap;
use std::fmt;

use super::{History, What};

/// The counts of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// From the first event to the last one, in nanoseconds.
    pub spans_ns: u64,
    /// How many events there are.
    pub events: usize,
    /// How many partitions there were.
    pub partitions: usize,
    /// The servers, in the trace's order.
    pub servers: Vec<(String, Counts)>,
    /// The kinds of messages.
    pub kinds: BTreeMap<String, Counts>,
    /// What is odd, for people.
    pub oddities: Vec<String>,
}

/// What one server, or one kind of message, counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events of any type.
    pub events: usize,
    /// Messages sent.
    pub sent: usize,
    /// Messages received; repeated ones as often as they came.
    pub received: usize,
    /// Messages sent that nobody received by the end of the trace.
    pub lost: usize,
    /// Crashes.
    pub crashes: usize,
}

impl Stats {
    /// Counts.
    pub fn of(history: &History) -> Self {
        let events = &history.trace.events;
        let mut stats = Self { events: events.len(), ..Self::default() };
        stats.spans_ns =
            events.last().map_or(0, |last| last.at_ns) - events.first().map_or(0, |first| first.at_ns);
        stats.servers = history.trace.servers.iter().map(|name| (name.clone(), Counts::default())).collect();
        for (index, event) in events.iter().enumerate() {
            let mut counts = Counts { events: 1, ..Counts::default() };
            match &event.what {
                What::Send { .. } => {
                    counts.sent = 1;
                    counts.lost = usize::from(history.clocks.messages().receives_of(index).next().is_none());
                }
                What::Receive { .. } => counts.received = 1,
                What::Crash => counts.crashes = 1,
                What::Partition { .. } => stats.partitions += 1,
                _ => {}
            }
            if let Some(server) = history.clocks.server_of(index) {
                stats.servers[server].1.add(counts);
            }
            if let What::Send { kind, .. } | What::Receive { kind, .. } = &event.what {
                stats.kinds.entry(kind.clone()).or_default().add(counts);
            }
        }
        let tell = |oddity: &super::Oddity| format!("{}: {}", events[oddity.event].server, oddity.what);
        stats.oddities = history.oddities.iter().map(tell).collect();
        stats
    }

    /// All servers together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, counts) in &self.servers {
            total.add(*counts);
        }
        total
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.crashes += other.crashes;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, received, lost, crashes, .. } = self.total();
        let (whole, part) = (self.spans_ns / 1_000_000_000, self.spans_ns % 1_000_000_000 / 1_000_000);
        writeln!(f, "{} events at {} servers in {whole}.{part:03} s", self.events, self.servers.len())?;
        writeln!(f, "{sent} messages sent, {received} received, {lost} lost or on their way at the end")?;
        writeln!(f, "crashes: {crashes}; partitions: {}", self.partitions)?;
        let servers = self.servers.iter().map(|(name, counts)| (name.as_str(), counts));
        let kinds = self.kinds.iter().map(|(name, counts)| (name.as_str(), counts));
        write_table(f, "server", servers.collect())?;
        write_table(f, "kind", kinds.collect())?;
        for oddity in &self.oddities {
            writeln!(f, "odd: {oddity}")?;
        }
        Ok(())
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, title: &str, rows: Vec<(&str, &Counts)>) -> fmt::Result {
    let width = rows.iter().map(|(name, _)| name.chars().count()).chain([title.len()]).max().unwrap_or(0);
    writeln!(f)?;
    writeln!(
        f,
        "{title:width$}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}",
        "events", "sent", "received", "lost", "crashes"
    )?;
    for (name, counts) in rows {
        let Counts { events, sent, received, lost, crashes } = counts;
        writeln!(f, "{name:width$}  {events:>8}  {sent:>8}  {received:>8}  {lost:>8}  {crashes:>8}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{received, sent};
    use super::super::{Event, Trace};
    use super::*;

    #[test]
    fn messages_are_counted_by_server_and_by_kind() {
        let crash = Event { at_ns: 2_005_000_000, server: "b".into(), what: What::Crash };
        let apart = What::Partition { id: 1, from: vec!["a".into()], to: vec!["b".into()] };
        let events = vec![
            sent(5_000_000, "a", "b", None),
            received(6_000_000, "b", "a", None),
            sent(7_000_000, "a", "b", None),
            Event { at_ns: 8_000_000, server: String::new(), what: apart },
            crash,
        ];
        let stats = Stats::of(&History::of(Trace::new(events)));
        let text = stats.to_string();
        assert!(
            text.starts_with("5 events at 2 servers in 2.000 s\n2 messages sent, 1 received, 1 lost"),
            "{text}"
        );
        assert!(text.contains("\ncrashes: 1; partitions: 1\n"), "{text}");
        assert!(text.contains("\na              2         2         0         1         0\n"), "{text}");
        assert!(text.contains("\nb              2         0         1         0         1\n"), "{text}");
        assert!(text.ends_with("\nmsg          3         2         1         1         0\n"), "{text}");
    }
}
