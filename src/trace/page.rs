//! Histories as one page for a browser: a space-time diagram with everything in it, no network needed.
//!
//! The page itself lies in `page/`: its frame, its looks and its scripts, put together here. What a trace holds is not to be trusted, so it
//! goes in as JSON in which no tag can begin, and the scripts show it as text only. The scripts draw and search; which send belongs
//! to which receive and what the Lamport clocks are is concluded here, once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;

use super::{Event, History, What};

/// Writes the page, called `title`.
pub fn write(history: &History, title: &str, mut out: impl Write) -> io::Result<()> {
    let data = as_script_text(&serde_json::to_string(&Data::of(history, title)).expect("only plain fields"));
    let mut frame = FRAME;
    for (mark, parts) in
        [("/*style*/", &[STYLE][..]), ("/*data*/", &[data.as_str()][..]), ("/*script*/", SCRIPTS)]
    {
        let (before, after) = frame.split_once(mark).expect("the frame has a place for each part");
        out.write_all(before.as_bytes())?;
        for part in parts {
            out.write_all(part.as_bytes())?;
        }
        frame = after;
    }
    out.write_all(frame.as_bytes())?;
    out.flush()
}

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they use each other.
const SCRIPTS: &[&str] = &[
    include_str!("page/model.js"),
    include_str!("page/view.js"),
    include_str!("page/draw.js"),
    include_str!("page/marks.js"),
    include_str!("page/words.js"),
    include_str!("page/overview.js"),
    include_str!("page/panel.js"),
    include_str!("page/main.js"),
];
/// What one event says takes at most so many characters; the rest is left out and counted.
const TEXT_CHARS_MAX: usize = 4000;

/// JSON in which no tag, and no end of a script, can begin. In JSON the sign stands in strings only, where it may be escaped.
fn as_script_text(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// The trace as the scripts take it: one column a field, events by index; -1 is none.
#[derive(Debug, Serialize)]
struct Data<'a> {
    title: &'a str,
    servers: &'a [String],
    remarks: &'a [String],
    /// The names to which `kind`, `link` and `type` point.
    kinds: Vec<&'a str>,
    links: Vec<&'a str>,
    types: Vec<&'static str>,
    at: Vec<u64>,
    server: Vec<i64>,
    #[serde(rename = "type")]
    type_: Vec<i64>,
    /// The other server of a message or link.
    peer: Vec<i64>,
    kind: Vec<i64>,
    link: Vec<i64>,
    text: Vec<String>,
    /// As text, since not each of them is a number to a script.
    id: Vec<String>,
    /// Of a receive: its send.
    cause: Vec<i64>,
    /// Of a send: the drop that tells why it was lost.
    dropped: Vec<i64>,
    lamport: Vec<u32>,
    /// All events, causes before effects.
    order: Vec<usize>,
    partitions: Vec<Partition>,
    oddities: Vec<(usize, String)>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Partition {
    event: usize,
    /// The event that ended it, or -1.
    heal: i64,
    from: Vec<i64>,
    to: Vec<i64>,
}

impl<'a> Data<'a> {
    fn of(history: &'a History, title: &'a str) -> Self {
        let events = &history.trace.events;
        let servers = numbers(history.trace.servers.iter().map(String::as_str));
        let kinds = distinct(events, |what| match what {
            What::Send { kind, .. } | What::Receive { kind, .. } => Some(kind),
            _ => None,
        });
        let links = distinct(events, link_of);
        let types: Vec<&'static str> =
            events.iter().map(|event| event.what.name()).collect::<BTreeSet<_>>().into_iter().collect();
        let (kind_numbers, link_numbers) = (numbers(kinds.iter().copied()), numbers(links.iter().copied()));
        let type_numbers = numbers(types.iter().copied());
        let column = |find: &dyn Fn(usize, &'a Event) -> i64| {
            events.iter().enumerate().map(|(index, event)| find(index, event)).collect::<Vec<i64>>()
        };
        let messages = history.clocks.messages();
        Self {
            title,
            servers: &history.trace.servers,
            remarks: &history.trace.remarks,
            at: events.iter().map(|event| event.at_ns).collect(),
            server: column(&|index, event| match (history.clocks.server_of(index), &event.what) {
                (Some(server), _) => as_number(server),
                // A drop happens on the way, but is shown where the message came from.
                (None, What::Drop { .. }) => number_of(&servers, Some(&event.server)),
                (None, _) => -1,
            }),
            type_: column(&|_, event| number_of(&type_numbers, Some(event.what.name()))),
            peer: column(&|_, event| match &event.what {
                What::Partition { .. } => -1,
                what => number_of(&servers, what.names().next()),
            }),
            kind: column(&|_, event| match &event.what {
                What::Send { kind, .. } | What::Receive { kind, .. } => number_of(&kind_numbers, Some(kind)),
                _ => -1,
            }),
            link: column(&|_, event| number_of(&link_numbers, link_of(&event.what))),
            text: events.iter().map(|event| text_of(&event.what)).collect(),
            id: events.iter().map(|event| id_of(&event.what)).collect(),
            cause: column(&|index, _| messages.send_of(index).map_or(-1, as_number)),
            dropped: column(&|index, _| messages.drop_of(index).map_or(-1, as_number)),
            lamport: (0..events.len()).map(|event| history.clocks.lamport(event)).collect(),
            order: with_network(history),
            partitions: partitions(events, &servers),
            oddities: history.oddities.iter().map(|oddity| (oddity.event, oddity.what.to_string())).collect(),
            kinds,
            links,
            types,
        }
    }
}

fn as_number(index: usize) -> i64 {
    i64::try_from(index).expect("fewer events than that fit into memory")
}

fn numbers<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, i64> {
    names.zip(0..).collect()
}

fn number_of(numbers: &BTreeMap<&str, i64>, name: Option<&str>) -> i64 {
    name.and_then(|name| numbers.get(name)).copied().unwrap_or(-1)
}

fn distinct<'a>(events: &'a [Event], find: impl Fn(&'a What) -> Option<&'a str>) -> Vec<&'a str> {
    let found: BTreeSet<&str> = events.iter().filter_map(|event| find(&event.what)).collect();
    found.into_iter().collect()
}

fn link_of(what: &What) -> Option<&str> {
    match what {
        What::Up { link, .. }
        | What::Down { link, .. }
        | What::Send { link, .. }
        | What::Receive { link, .. } => (!link.is_empty()).then_some(link),
        _ => None,
    }
}

fn id_of(what: &What) -> String {
    match what {
        What::Send { id, .. } | What::Receive { id, .. } | What::Drop { id, .. } => {
            id.map_or_else(String::new, |id| id.to_string())
        }
        What::Partition { id, .. } | What::Heal { id } => id.to_string(),
        _ => String::new(),
    }
}

/// What an event says beside its type, its servers and its kind.
fn text_of(what: &What) -> String {
    let text = match what {
        What::Send { text, .. }
        | What::Receive { text, .. }
        | What::Command { text }
        | What::Answer { text }
        | What::Note { text }
        | What::Down { why: text, .. }
        | What::Drop { why: text, .. } => text.clone(),
        What::Partition { .. } | What::Heal { .. } => what.to_string(),
        _ => String::new(),
    };
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{} … ({} bytes in all)", &text[..end], text.len()),
        None => text,
    }
}

/// All events, causes before effects, and what happens to the network where its time is.
fn with_network(history: &History) -> Vec<usize> {
    let mut network =
        (0..history.trace.events.len()).filter(|&event| history.clocks.server_of(event).is_none()).peekable();
    let mut order = Vec::with_capacity(history.trace.events.len());
    for &event in history.clocks.in_causal_order() {
        while let Some(earlier) = network.next_if(|&other| other < event) {
            order.push(earlier);
        }
        order.push(event);
    }
    order.extend(network);
    order
}

fn partitions(events: &[Event], servers: &BTreeMap<&str, i64>) -> Vec<Partition> {
    let mut partitions: Vec<Partition> = Vec::new();
    let mut open: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let all = |names: &[String]| names.iter().map(|name| number_of(servers, Some(name))).collect();
    for (event, Event { what, .. }) in events.iter().enumerate() {
        match what {
            What::Partition { id, from, to } => {
                // One id may stand for both directions.
                open.entry(*id).or_default().push(partitions.len());
                partitions.push(Partition { event, heal: -1, from: all(from), to: all(to) });
            }
            What::Heal { id } => {
                for number in open.remove(id).into_iter().flatten() {
                    partitions[number].heal = as_number(event);
                }
            }
            _ => {}
        }
    }
    partitions
}

#[cfg(test)]
mod tests {
    use super::super::Trace;
    use super::super::testing::{dropped, note, received, sent};
    use super::*;

    fn page(events: Vec<Event>, title: &str) -> String {
        let mut page = Vec::new();
        write(&History::of(Trace::new(events)), title, &mut page).expect("a vector takes everything");
        String::from_utf8(page).expect("text")
    }

    #[test]
    fn nothing_in_a_trace_can_become_a_part_of_the_page() {
        let attack = "</script><script>alert(1)</script><!--<b>&amp;\u{2028}";
        let tags = |page: &str| page.matches('<').count();
        let harmless = page(vec![note(1, "a", "hello")], "title");
        let attacked = page(vec![note(1, "a", attack)], attack);
        assert_eq!(tags(&harmless), tags(&attacked));
        // It is all there, as text.
        let data = attacked
            .split_once("id=\"trace\">")
            .and_then(|(_, rest)| rest.split_once("</script>"))
            .expect("data")
            .0;
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert_eq!((data["title"].as_str(), data["text"][0].as_str()), (Some(attack), Some(attack)));
    }

    #[test]
    fn the_page_fetches_nothing() {
        let page = page(vec![note(1, "a", "hello")], "title");
        for word in ["http://", "https://", " src=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn columns_say_what_belongs_together() {
        let apart = |at_ns, id, from: &str, to: &str| {
            let what = What::Partition { id, from: vec![from.into()], to: vec![to.into()] };
            Event { at_ns, server: "9".into(), what }
        };
        let heal = Event { at_ns: 6, server: String::new(), what: What::Heal { id: 1 } };
        let events = vec![
            sent(0, "10", "9", Some(1)),
            received(1, "9", "10", Some(1)),
            apart(2, 1, "9", "10"),
            apart(2, 1, "10", "9"),
            sent(3, "10", "9", Some(2)),
            dropped(4, "10", "9", Some(2)),
            apart(5, 2, "9", "10"),
            heal,
        ];
        let history = History::of(Trace::new(events));
        let data = Data::of(&history, "");
        assert_eq!(data.servers, ["9", "10"]);
        assert_eq!(
            (data.server[0], data.peer[0], data.server[1], data.peer[1], data.server[2]),
            (1, 0, 0, 1, -1)
        );
        assert_eq!((data.cause[1], data.cause[0], data.dropped[4], data.server[5]), (0, -1, 5, 1));
        assert_eq!(data.order, (0..8).collect::<Vec<_>>());
        let ends: Vec<_> =
            data.partitions.iter().map(|apart| (apart.event, apart.heal, apart.from[0])).collect();
        assert_eq!(ends, [(2, 7, 0), (3, 7, 1), (6, -1, 0)]);
    }

    #[test]
    fn long_texts_are_cut_and_counted() {
        let long = What::Note { text: "é".repeat(TEXT_CHARS_MAX + 1) };
        assert!(text_of(&long).ends_with("é … (8002 bytes in all)"));
    }
}
