//! Histories as logs for `ShiViz` (Beschastnikh, Wang, Brun and Ernst, "Debugging Distributed Systems", CACM 2016), which draws
//! them as space-time diagrams and searches them for patterns.
//!
//! The log's first line is the regular expression by which `ShiViz` is to read it; the second one, which would part several executions, is
//! empty. Each event then takes two lines: what happened, and the server with its vector clock as JSON. The log has causes before
//! effects. What happens to the network alone has no clock and is left out.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{History, Vector};

/// How `ShiViz` is to read the log.
pub const PARSER: &str = r"(?<event>.*)\n(?<host>\S+) (?<clock>\{.*\})";

/// Writes the log.
pub fn write(history: &History, mut out: impl Write) -> io::Result<()> {
    let hosts = hosts(&history.trace.servers);
    writeln!(out, "{PARSER}\n")?;
    history.clocks.each_vector(|event, vector| {
        let server = history.clocks.server_of(event).expect("only events of servers have vectors");
        let what = one_line(&history.trace.events[event].what.to_string());
        writeln!(out, "{what}\n{} {}", hosts[server], clock(vector, &hosts))
    })?;
    out.flush()
}

/// A name without blanks for each server, since a blank ends the name in the log.
fn hosts(servers: &[String]) -> Vec<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let host = |name: &String| {
        let host: String =
            name.chars().map(|letter| if letter.is_whitespace() { '_' } else { letter }).collect();
        let times = taken.entry(host.clone()).or_default();
        *times += 1;
        if *times == 1 { host } else { format!("{host}#{times}") }
    };
    servers.iter().map(host).collect()
}

fn clock(vector: &Vector, hosts: &[String]) -> serde_json::Value {
    vector.iter().map(|(&server, &number)| (hosts[server].clone(), number)).collect()
}

/// Control characters, line ends among them, as escapes. A dot of the regular expression does not match U+2028 and U+2029 either.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::testing::{dropped, note, received, sent};
    use super::super::{Trace, What};
    use super::*;

    fn log(trace: Trace) -> String {
        let mut log = Vec::new();
        write(&History::of(trace), &mut log).expect("a vector takes everything");
        String::from_utf8(log).expect("text")
    }

    #[test]
    fn the_log_has_the_expression_and_two_lines_an_event() {
        let mut hello = received(3, "b c", "a", Some(1));
        if let What::Receive { text, .. } = &mut hello.what {
            *text = "two\nlines".into();
        }
        let events = vec![
            note(1, "b c", "waits"),
            sent(2, "a", "b c", Some(1)),
            dropped(2, "a", "b c", Some(7)),
            hello,
        ];
        let expected = "(?<event>.*)\\n(?<host>\\S+) (?<clock>\\{.*\\})\n\
            \n\
            notes: waits\n\
            b_c {\"b_c\":1}\n\
            sends msg to b c: hello\n\
            a {\"a\":1}\n\
            receives msg from a: two\\nlines\n\
            b_c {\"a\":1,\"b_c\":2}\n";
        assert_eq!(log(Trace::new(events)), expected);
    }

    #[test]
    fn two_servers_never_share_a_name() {
        assert_eq!(hosts(&["a b".into(), "a_b".into(), "a\tb".into()]), ["a_b", "a_b#2", "a_b#3"]);
    }
}
