//! Golden scripts: files of commands with what each leads to, in `tests/raft`. `OVID_REWRITE=1` writes them anew; look at what has changed.
//!
//! | command | what it does |
//! |---|---|
//! | `servers a b c` | makes servers with empty disks |
//! | `servers-1 a b c` | the same, with one entry a message |
//! | `log a 1 1 4` | fills a disk that is not in use yet: entries of these terms |
//! | `term a 4`, `term a 4 b` | the term that is kept beside them, and to whom the vote in it went |
//! | `start` | starts all that are not |
//! | `elect a` | lets one begin an election, and everything that follows from it |
//! | `campaign a` | lets one begin an election; its vote is stored, and nothing delivered |
//! | `propose a x` | hands a proposal over |
//! | `deliver` | delivers everything until nothing moves, without time going on |
//! | `deliver a b` | delivers what is on its way from the one to the other now |
//! | `drop` | loses everything that is on its way |
//! | `crash a`, `restart a` | ends a server, starts it again |
//! | `part a b`, `isolate a`, `heal` | nothing goes from one to the other; to and from anybody; all is well again |
//! | `advance 300` | lets milliseconds go by |
//! | `wait 50`, `timeout a` | the same, and nothing happens; tells one that its time is up |
//! | `show` | shows all servers: standing, term, log, commit index, records |

use std::fmt::Write as _;
use std::path::Path;

use crate::agents::raft::Options;
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::replicated::LogInput;

fn run(script: &str) -> String {
    let mut cluster = Cluster::unstarted(&[], Options::default());
    let mut out = String::new();
    for line in script.lines() {
        if line.starts_with('#') || line.is_empty() {
            writeln!(out, "{line}").unwrap();
        } else if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            let words: Vec<&str> = command.split(' ').collect();
            obey(&mut cluster, &words, &mut out);
        }
    }
    out
}

fn obey(cluster: &mut Cluster, words: &[&str], out: &mut String) {
    let numbers = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect::<Vec<u64>>();
    match words {
        ["servers", names @ ..] => *cluster = Cluster::unstarted(names, Options::default()),
        ["servers-1", names @ ..] => {
            *cluster = Cluster::unstarted(names, Options { batch_bytes_max: 1, ..Options::default() });
        }
        ["log", name, terms @ ..] => {
            let terms = numbers(terms);
            cluster.fill(name, &terms, terms.last().copied().unwrap_or(0));
        }
        ["term", name, term] => cluster.fill_state(name, term.parse().unwrap(), None),
        ["term", name, term, voted] => cluster.fill_state(name, term.parse().unwrap(), Some(voted)),
        ["start"] => cluster.start_all(),
        ["elect", name] => {
            cluster.campaign(name);
            cluster.settle();
        }
        ["campaign", name] => {
            cluster.campaign(name);
            cluster.sync(name);
        }
        ["propose", name, record] => cluster.propose(name, record),
        ["deliver"] => cluster.settle(),
        ["deliver", from, to] => deliver(cluster, from, to, out),
        ["drop"] => cluster.flights.clear(),
        ["crash", name] => cluster.crash(name),
        ["restart", name] => cluster.restart(name),
        ["part", one, other] => cluster.part(one, other),
        ["isolate", name] => cluster.isolate(name),
        ["heal"] => cluster.heal(),
        ["advance", milliseconds] => cluster.advance(ms(milliseconds.parse().unwrap())),
        ["wait", milliseconds] => cluster.now = cluster.now + ms(milliseconds.parse().unwrap()),
        ["timeout", name] => cluster.input(id(name), LogInput::Timeout),
        ["show"] => show(cluster, out),
        _ => panic!("no such command: {words:?}"),
    }
}

/// Delivers what is on its way from one server to another, which stores what it writes.
fn deliver(cluster: &mut Cluster, from: &str, to: &str, out: &mut String) {
    let all = std::mem::take(&mut cluster.flights);
    let (now, later) =
        all.into_iter().partition(|(sender, receiver, _)| (*sender, *receiver) == (id(from), id(to)));
    cluster.flights = later;
    for (_, _, message) in now {
        writeln!(out, "  {from} to {to}: {message:?}").unwrap();
        cluster.input(id(to), LogInput::Message { from: id(from), message });
        cluster.input(id(to), LogInput::Timeout);
        cluster.sync(to);
        cluster.serve(to);
    }
}

fn show(cluster: &Cluster, out: &mut String) {
    let mut names: Vec<&str> = cluster.nodes.values().map(|node| node.name.as_str()).collect();
    names.sort_unstable();
    for name in names {
        let status = cluster.status(name);
        let terms = cluster.log(name).iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let lives = if cluster.node(name).lives { status.standing.to_string() } else { "down".to_owned() };
        let records = cluster.records(name).join(" ");
        writeln!(
            out,
            "  {name}: {lives}, term {}, committed {}, log [{terms}], records [{records}]",
            status.term, status.committed
        )
        .unwrap();
    }
}

#[test]
fn scripts_lead_to_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let script = std::fs::read_to_string(&path).unwrap();
        let result = run(&script);
        if std::env::var_os("OVID_REWRITE").is_some() {
            std::fs::write(&path, result).unwrap();
        } else {
            assert_eq!(result, script, "{}", path.display());
        }
    }
    assert!(count >= 6, "{count} scripts");
}
