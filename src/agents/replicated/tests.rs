//! A service on a log of one member, whose "disk" is the test.

use super::*;
use crate::agent::{
    Applied, Commands, Index, Looked, Lsn, NoMessage, Output, Read, Session, Term, Text, Write,
};

const REQUEST: Request = Request { session: Session(1), number: 7 };
const BOB: Peer = Peer(2);

/// A log that takes everything at once: a proposal comes back when the disk has it, a barrier and a look at once. It wants rows with each record; after a heartbeat it
/// leads, and after a message that says `restore` another server's rows take the place of all.
#[derive(Debug, Default)]
struct Lone {
    last: u64,
    waiting: VecDeque<Bytes>,
    /// Looks that are answered when somebody says `late`.
    late: Vec<Looked>,
    heard: Vec<String>,
}

impl ReplicatedLog for Lone {
    type Msg = Text;

    fn handle(&mut self, _: Time, input: LogInput<'_, Text>, out: &mut LogOutbox<Text>) {
        self.heard.push(match &input {
            LogInput::Message { from, message } => format!("{from} says {}", message.0),
            LogInput::Keep { rows } => {
                let rows =
                    rows.iter().map(|row| String::from_utf8_lossy(row.value.as_ref().expect("a value")));
                format!("keep {}", rows.collect::<Vec<_>>().join(" "))
            }
            LogInput::Propose { .. } => "propose".to_owned(),
            LogInput::MemberUp(member) => format!("up {member}"),
            LogInput::MemberDown(member, why) => format!("down {member} {why}"),
            LogInput::Change { change, .. } => format!("{change:?}"),
            LogInput::Recovered(_) => "recovered".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        });
        match input {
            LogInput::Propose { record } if record.is_empty() => {
                out.push(LogOutput::Refused { record, why: crate::agent::Refusal::Busy });
            }
            LogInput::Propose { record } => {
                self.waiting.push_back(record.clone());
                let index = Index(self.last + self.waiting.len() as u64);
                out.push(LogOutput::Write(Write::Append {
                    entry: crate::agent::Entry { index, term: Term(1), record },
                }));
            }
            LogInput::Stored(_) => {
                for record in self.waiting.drain(..) {
                    self.last += 1;
                    out.push(LogOutput::Committed { index: Index(self.last), record });
                    out.push(LogOutput::WantsRows);
                }
            }
            LogInput::Look(look) => {
                let looked = Looked { token: look.token, rows: Vec::new(), more: false };
                if look.from.is_empty() {
                    out.push(LogOutput::Looked(looked));
                } else {
                    self.late.push(looked);
                }
            }
            LogInput::Message { message, .. } if message.0 == "lead" => out.push(LogOutput::Leads(true)),
            LogInput::Message { message, .. } if message.0 == "follow" => out.push(LogOutput::Leads(false)),
            LogInput::Message { message, .. } if message.0 == "first" => {
                out.push(LogOutput::Restore { rows: Vec::new(), first: true, last: None });
            }
            LogInput::Message { message, .. } if message.0 == "last" => {
                self.last = 9;
                out.push(LogOutput::Restore { rows: Vec::new(), first: false, last: Some(Index(9)) });
            }
            LogInput::Message { message, .. } if message.0 == "late" => {
                self.late.drain(..).for_each(|looked| out.push(LogOutput::Looked(looked)));
            }
            LogInput::Barrier { token } => out.push(LogOutput::Barrier { token }),
            LogInput::Change { token, .. } => {
                out.push(LogOutput::Changed { token, result: Err(ChangeError::Busy) });
            }
            LogInput::Message { from, message } => out.push(LogOutput::Send(from, message)),
            LogInput::Found(_) => {
                let rows = vec![Row { key: "k".into(), value: Some("v".into()) }];
                out.push(LogOutput::Restore { rows, first: true, last: Some(Index(4)) });
                out.push(LogOutput::Committed { index: Index(5), record: "later".into() });
            }
            LogInput::Recovered(recovered) if recovered.applied.index.0 > 0 => {
                out.push(LogOutput::Read(Read::Rows { token: 1, part: 0, bytes_max: 1 }));
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn status(&self) -> Status {
        Status { records: Index(self.last), ..Status::default() }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("log_records", self.last)]
    }
}

/// Proposes the lines it is given and keeps the last record as a row; `twice` is proposed again when it comes back.
#[derive(Debug, Default)]
struct Notes {
    last: Option<Bytes>,
    heard: Vec<String>,
    wakes: Option<Time>,
}

impl Agent for Notes {
    type Msg = Text;

    fn handle(&mut self, _: Time, input: Input<'_, Text>, out: &mut Outbox<Text>) {
        match input {
            Input::Commands { mut commands } => {
                while let Some(line) = commands.take() {
                    match line {
                        b"sure?" => {
                            out.barrier(3);
                            return out.reply(commands.will_answer(), "asked");
                        }
                        line @ (b"look" | b"look late") => {
                            let from = Bytes::copy_from_slice(&line[4..]);
                            let (until, backwards, rows_max, bytes_max) = (Bytes::new(), false, 1, 1);
                            out.look(Look { token: 3, from, until, backwards, rows_max, bytes_max });
                        }
                        b"stray" => {
                            out.send("log", Text("to the log".into()));
                            out.send((BOB, Port::LOG), Text("to the log".into()));
                            out.write(Write::Compact { upto: Index(1) });
                        }
                        line => out.propose(line.to_vec()),
                    }
                }
            }
            Input::Committed { index, record } => {
                let text = String::from_utf8_lossy(record).into_owned();
                self.heard.push(format!("{index} {text}"));
                self.last = Some(Bytes::copy_from_slice(record));
                if text == "twice" {
                    out.propose(b"again".to_vec());
                }
            }
            Input::Message { message, .. } => out.send("others", message),
            other => self.heard.push(format!("{other:?}").to_lowercase()),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.wakes
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn take_rows(&mut self) -> Vec<Row> {
        self.last.take().into_iter().map(|value| Row { key: "last".into(), value: Some(value) }).collect()
    }
}

struct Bench {
    agent: Replicated<Lone, Notes>,
    outputs: Vec<Output<ReplicatedMessage<Text, Text>>>,
}

impl Bench {
    fn new() -> Self {
        let identity = Identity { name: "ann".into(), life: 1, greets: None };
        Self { agent: Replicated::new(Lone::default(), Notes::default(), identity), outputs: Vec::new() }
    }

    fn begun() -> Self {
        let mut bench = Self::new();
        bench.input(Input::Recovered { recovered: &Recovered::default() });
        bench.input(Input::Start);
        bench.agent.log.heard.clear();
        bench.agent.service.heard.clear();
        bench
    }

    fn input(&mut self, input: Input<'_, ReplicatedMessage<Text, Text>>) {
        let mut out = Outbox::default();
        self.agent.handle(Time::ZERO, input, &mut out);
        self.outputs.extend(out.drain());
    }

    /// How many bytes of the lines were not taken, and whether there will be an answer.
    fn lines(&mut self, lines: &[u8]) -> (usize, bool) {
        let taken = Taken::default();
        self.input(Input::Commands { commands: Commands::new(lines, true, REQUEST, &taken) });
        (taken.bytes_left(), taken.asked())
    }

    fn hello(&mut self, life: u64, answer: bool) {
        let message = ReplicatedMessage::Hello { name: "bob".into(), life, answer };
        self.input(Input::Message { from: BOB, port: Port::LOG, message });
    }

    fn replies(&mut self) -> Vec<String> {
        let replies = self.outputs.drain(..).filter_map(|output| match output {
            Output::Reply { parts, .. } => Some(String::from_utf8(parts.concat()).expect("UTF-8")),
            _ => None,
        });
        replies.collect()
    }
}

#[test]
fn a_record_comes_back_once_the_disk_has_it_and_its_rows_are_taken_behind_all_that_was_handed_over() {
    let mut bench = Bench::begun();
    assert_eq!(bench.lines(b"one\ntwo\n"), (0, false));
    let appends = bench.outputs.iter().filter(|output| matches!(output, Output::Write(Write::Append { .. })));
    assert_eq!((appends.count(), bench.agent.service.heard.len()), (2, 0));
    bench.input(Input::Stored { upto: Lsn(2) });
    assert_eq!(bench.agent.service.heard, ["1 one", "2 two"]);
    assert_eq!(bench.agent.log.heard, ["propose", "propose", "stored(lsn(2))", "keep two"]);
}

#[test]
fn what_a_service_asks_while_records_are_handed_over_reaches_the_log_behind_them() {
    let mut bench = Bench::begun();
    bench.lines(b"twice\nlast\n");
    bench.input(Input::Stored { upto: Lsn(2) });
    assert_eq!(bench.agent.service.heard, ["1 twice", "2 last"]);
    assert_eq!(bench.agent.log.heard[2..], ["stored(lsn(2))", "keep last", "propose"]);
}

#[test]
fn commands_of_the_log_stand_among_those_of_the_service() {
    let mut bench = Bench::begun();
    let (left, asked) = bench.lines(b"one\nlog status\ntwo\n");
    assert_eq!((left, asked), ("two\n".len(), true));
    assert!(bench.replies()[0].starts_with("ok standing=follower term=0 leader=none"));
    assert_eq!(bench.lines(b"two\nsure?\nlog status\n"), ("log status\n".len(), true));
    assert_eq!(bench.replies(), ["asked"]);
    assert_eq!(bench.lines(b"log remove bob\n"), (0, true));
    assert_eq!(bench.replies(), ["error busy another change is under way: ask again when it is done"]);
    assert_eq!(bench.agent.service.heard, ["barrier { token: 3 }"]);
}

#[test]
fn a_refused_proposal_is_told_to_the_service() {
    let mut bench = Bench::begun();
    bench.lines(b"\n");
    assert_eq!(bench.agent.service.heard, ["notcommitted { record: [], why: busy }"]);
}

#[test]
fn members_find_each_other_by_their_names() {
    let mut bench = Bench::begun();
    bench.input(Input::LinkUp { peer: BOB, epoch: Epoch(1) });
    let hello = |answer| ReplicatedMessage::Hello { name: "ann".into(), life: 1, answer };
    let to_all = Output::Send { to: LOG_ROUTE.into(), message: hello(false) };
    assert_eq!(std::mem::take(&mut bench.outputs), [to_all]);
    bench.hello(5, false);
    let to_bob = |message| Output::Send { to: (BOB, Port::LOG).into(), message };
    assert_eq!(std::mem::take(&mut bench.outputs), [to_bob(hello(true))]);
    bench.hello(5, true);
    assert_eq!(bench.outputs, [], "an answer is not answered");
    let bob = MemberId::of("bob");
    let log = |from, text: &str| ReplicatedMessage::Log { from, message: Text(text.to_owned()) };
    bench.input(Input::Message { from: BOB, port: Port::LOG, message: log(bob, "echo") });
    assert_eq!(std::mem::take(&mut bench.outputs), [to_bob(log(MemberId::of("ann"), "echo"))]);
    bench.hello(6, true);
    bench.input(Input::LinkDown { peer: BOB, epoch: Epoch(1), why: Why::Broken });
    let expected = [
        format!("up {bob}"),
        format!("{bob} says echo"),
        format!("down {bob} closed"),
        format!("up {bob}"),
        format!("down {bob} broken"),
    ];
    assert_eq!(bench.agent.log.heard, expected);
}

#[test]
fn messages_of_the_service_are_its_own_and_it_has_no_way_to_the_log() {
    let mut bench = Bench::begun();
    let message = ReplicatedMessage::Service(Text("hello".into()));
    bench.input(Input::Message { from: BOB, port: Port(1), message: message.clone() });
    assert_eq!(std::mem::take(&mut bench.outputs), [Output::Send { to: "others".into(), message }]);
    bench.lines(b"stray\n");
    assert_eq!(bench.outputs, []);
    assert!(bench.agent.counters().contains(&("log_refused", 3)));
}

#[test]
fn a_service_begins_after_its_rows_and_then_hears_what_it_has_missed() {
    let mut bench = Bench::new();
    let applied = Applied { index: Index(4), term: Term(1), meta: Bytes::new() };
    bench.input(Input::Recovered { recovered: &Recovered { applied, ..Recovered::default() } });
    assert_eq!(bench.outputs, [Output::Read(Read::Rows { token: 1, part: 0, bytes_max: 1 })]);
    bench.input(Input::Start);
    bench.input(Input::LinkUp { peer: BOB, epoch: Epoch(1) });
    bench.input(Input::Rerouted { routes: &["log".to_owned(), "others".to_owned()] });
    let message = ReplicatedMessage::Service(Text("early".into()));
    bench.input(Input::Message { from: BOB, port: Port(1), message });
    assert_eq!(bench.lines(b"one\n"), (0, true));
    assert!(bench.replies()[0].starts_with("error restoring"));
    assert_eq!(bench.lines(b"log status\n"), (0, true));
    assert_eq!(bench.agent.service.heard, [""; 0]);
    let found = crate::agent::Found::Entries { from: Index(1), entries: Vec::new() };
    bench.input(Input::Found { found });
    let heard = &bench.agent.service.heard;
    assert!(heard[0].starts_with("restore { rows: [row"), "{heard:?}");
    let expected = [
        "start",
        "rerouted { routes: [\"others\"] }",
        "linkup { peer: peer(2), epoch: epoch(1) }",
        "5 later",
    ];
    assert_eq!(heard[1..], expected);
    assert_eq!(
        bench.agent.counters(),
        [("log_records", 0), ("log_early", 2), ("log_refused", 0), ("log_replaced", 0)]
    );
}

impl Bench {
    fn log_says(&mut self, text: &str) {
        let from = MemberId::of("bob");
        let message = ReplicatedMessage::Log { from, message: Text(text.to_owned()) };
        self.input(Input::Message { from: BOB, port: Port::LOG, message });
    }

    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.agent.service.heard)
    }
}

#[test]
fn a_service_is_told_once_whether_its_member_leads_even_if_that_was_decided_before_it_began() {
    let mut bench = Bench::new();
    let applied = Applied { index: Index(4), term: Term(1), meta: Bytes::new() };
    bench.input(Input::Recovered { recovered: &Recovered { applied, ..Recovered::default() } });
    bench.input(Input::Start);
    bench.log_says("lead");
    assert_eq!(bench.heard(), [""; 0]);
    bench.input(Input::Found { found: crate::agent::Found::Entries { from: Index(1), entries: Vec::new() } });
    let heard = bench.heard();
    assert_eq!(heard[1..], ["start", "leads { leads: true }", "5 later"]);
    bench.log_says("lead");
    bench.log_says("follow");
    assert_eq!(bench.heard(), ["leads { leads: false }"]);
}

#[test]
fn looks_are_answered_by_the_names_that_the_service_has_given_them() {
    let mut bench = Bench::begun();
    bench.lines(b"look late\nlook\n");
    let looked = "looked { looked: looked { token: 3, rows: [], more: false } }";
    assert_eq!(bench.heard(), [looked]);
    bench.log_says("late");
    bench.log_says("late");
    assert_eq!(bench.heard(), [looked]);
}

#[test]
fn while_rows_take_the_place_of_its_state_a_service_hears_only_what_needs_none() {
    let mut bench = Bench::begun();
    bench.lines(b"look late\nsure?\n");
    bench.agent.service.wakes = Some(Time::ZERO);
    assert_eq!(bench.agent.deadline(), Some(Time::ZERO));
    assert_eq!(bench.heard(), ["barrier { token: 3 }"]);
    bench.replies();
    bench.log_says("first");
    assert_eq!(bench.agent.deadline(), None);
    bench.input(Input::Timeout);
    let message = ReplicatedMessage::Service(Text("hello".into()));
    bench.input(Input::Message { from: BOB, port: Port(1), message });
    assert_eq!(bench.lines(b"one\n"), (0, true));
    assert!(bench.replies()[0].starts_with("error restoring "));
    assert_eq!(bench.lines(b"log status\n"), (0, true));
    bench.log_says("late");
    bench.log_says("lead");
    bench.input(Input::LinkUp { peer: Peer(5), epoch: Epoch(1) });
    bench.input(Input::Rerouted { routes: &["others".to_owned()] });
    bench.input(Input::Computed { token: 4, done: crate::agent::Done::Matches(true) });
    bench.log_says("last");
    let expected = [
        "restore { rows: [], first: true, last: none }",
        "linkup { peer: peer(5), epoch: epoch(1) }",
        "rerouted { routes: [\"others\"] }",
        "computed { token: 4, done: matches(true) }",
        "restore { rows: [], first: false, last: some(index(9)) }",
        "leads { leads: true }",
    ];
    assert_eq!(bench.heard(), expected);
    assert_eq!(bench.agent.deadline(), Some(Time::ZERO));
    bench.input(Input::Timeout);
    assert_eq!(bench.heard(), ["timeout"]);
    let counters = bench.agent.counters();
    assert!(counters.contains(&("log_early", 2)) && counters.contains(&("log_replaced", 1)), "{counters:?}");
}

/// A service without messages can be replicated as well.
#[test]
fn a_log_needs_no_messages_of_its_service() {
    type Message = ReplicatedMessage<Text, NoMessage>;
    assert!(<Message as crate::agent::Wire>::decode(Port(1), b"x").is_err());
}
