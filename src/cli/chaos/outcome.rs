//! What came of an attack, for people and for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::chaos::strikes::Kind;
use crate::chaos::{Options, Report, chat};

/// What came of it, by what was attacked.
pub(super) enum Outcome {
    Kvs(Report),
    Chat(chat::Report),
}

impl Outcome {
    /// Whether nothing is wrong.
    pub(super) fn is_well(&self) -> bool {
        match self {
            Self::Kvs(report) => report.judgement.is_well(),
            Self::Chat(report) => report.judgement.is_well(),
        }
    }

    /// For programs.
    pub(super) fn json(&self, options: &Options) -> Value {
        let (strikes, mut figures) = match self {
            Self::Kvs(report) => (&report.strikes, kvs_json(report)),
            Self::Chat(report) => (&report.strikes, chat_json(report)),
        };
        let strikes: Map<String, Value> =
            strikes.iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect();
        figures["servers"] = json!(options.servers);
        figures["clients"] = json!(options.clients);
        figures["seconds"] = json!(options.lasts.as_secs());
        figures["seed"] = json!(options.seed);
        figures["strikes"] = json!(strikes);
        figures
    }

    /// For people.
    pub(super) fn lines(&self, options: &Options) -> Vec<String> {
        match self {
            Self::Kvs(report) => kvs_lines(report, options),
            Self::Chat(report) => chat_lines(report, options),
        }
    }
}

fn kvs_json(report: &Report) -> Value {
    let judgement = &report.judgement;
    json!({
        "service": "kvs",
        "operations": judgement.operations, "unknown": judgement.unknown, "keys": judgement.keys,
        "latency_ms": spread_json(judgement.latency),
        "longest_silence_ms": ms(judgement.longest_silence),
        "violations": judgement.violations, "undecided": judgement.undecided,
    })
}

fn chat_json(report: &chat::Report) -> Value {
    let chat::book::Judgement { counts, answers, absences, silence, wrong } = &report.judgement;
    json!({
        "service": "chat",
        "written": counts.written, "accepted": counts.accepted, "refused": counts.refused, "unknown": counts.unknown,
        "got": counts.got, "got_first": counts.first,
        "log_ins": counts.log_ins, "leaves": counts.leaves, "moves": counts.moves, "crashes": counts.crashes, "guests": counts.guests,
        "latency_ms": spread_json(*answers), "without_server_ms": spread_json(*absences),
        "longest_silence_ms": ms(silence.lasts),
        "wrong": counts.wrong, "violations": wrong,
    })
}

fn kvs_lines(report: &Report, options: &Options) -> Vec<String> {
    let judgement = &report.judgement;
    let mut lines = vec![
        format!(
            "{} servers, {} clients, seed {}: {}",
            options.servers,
            options.clients,
            options.seed,
            strikes(&report.strikes)
        ),
        format!(
            "{} operations on {} keys in {:.0} s, {} of them with an unknown outcome",
            judgement.operations,
            judgement.keys,
            report.took.as_secs_f64(),
            judgement.unknown
        ),
        format!("answered after {}", spread(judgement.latency)),
        format!("the longest time without an answer to anybody: {} ms", ms(judgement.longest_silence)),
    ];
    lines.extend(
        judgement.undecided.iter().map(|key| format!("undecided: the history of {key} took too many trials")),
    );
    lines.extend(judgement.violations.iter().map(|violation| format!("WRONG: {violation}")));
    if judgement.is_well() {
        lines.push("linearizable, and nothing that was acknowledged was lost".into());
    }
    lines
}

fn chat_lines(report: &chat::Report, options: &Options) -> Vec<String> {
    let chat::book::Judgement { counts, answers, absences, silence, wrong } = &report.judgement;
    let mut lines = vec![
        format!(
            "two clusters of {} servers, {} users, seed {}: {}",
            options.servers,
            options.clients,
            options.seed,
            strikes(&report.strikes)
        ),
        format!(
            "{} messages in {:.0} s: {} accepted, {} refused as they had to be, {} of a client that crashed before it was answered",
            counts.written,
            report.took.as_secs_f64(),
            counts.accepted,
            counts.refused,
            counts.unknown
        ),
        format!("{} came to clients, {} of them for the first time to their user", counts.got, counts.first),
        format!(
            "{} log-ins; users left {} times, moved {} times, lost their client {} times; {} new users",
            counts.log_ins, counts.leaves, counts.moves, counts.crashes, counts.guests
        ),
        format!("answered after {}", spread(*answers)),
        format!("a client whose server was lost had another after {}", spread(*absences)),
        format!(
            "the longest time without an answer to anybody of a cluster: {} ms, in {} from {:.3} s on",
            ms(silence.lasts),
            chat::plan::TAGS[silence.cluster],
            silence.from.as_secs_f64()
        ),
    ];
    lines.extend(wrong.iter().map(|what| format!("WRONG: {what}")));
    let told = wrong.len() as u64;
    if counts.wrong > told {
        lines.push(format!("and {} more", counts.wrong - told));
    }
    if report.judgement.is_well() {
        lines.push("nothing that was accepted was lost, doubled, out of order or shown to strangers".into());
    }
    lines
}

fn strikes(strikes: &[(Kind, u64)]) -> String {
    let strikes: Vec<String> =
        strikes.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
    strikes.join(", ")
}

fn spread(times: [Duration; 3]) -> String {
    let [median, p99, longest] = times.map(ms);
    format!("{median} ms (median), {p99} ms (99 of 100), {longest} ms (longest)")
}

fn spread_json(times: [Duration; 3]) -> Value {
    let [median, p99, longest] = times.map(ms);
    json!({"p50": median, "p99": p99, "longest": longest})
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}
