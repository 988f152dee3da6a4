//! The commands of whoever looks after a replicated log, and what they are told.

use std::fmt::Write as _;

use super::members::Members;
use super::{Change, ChangeError, MemberId, Status};

/// What can be asked of a log.
const HELP: &str =
    "log status, log members, log add <id>, log voters <id> <id> ..., log remove <id>, log transfer <id>";

/// What a command of a log comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LogCommand {
    /// It is answered at once.
    Tell(String),
    /// The log is asked.
    Change(Change),
}

/// Whether a line is a command of the log: its first word says so.
pub(super) fn is_for_log(line: &[u8]) -> bool {
    line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()) == Some(b"log")
}

/// Reads a line that is for the log; an error is the answer.
pub(super) fn parse(line: &str, status: &Status, members: &Members) -> Result<LogCommand, String> {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let change = match words[..] {
        [] | ["help"] => return Ok(LogCommand::Tell(format!("ok commands: {HELP}"))),
        ["status"] => return Ok(LogCommand::Tell(format!("ok {}", self::line(status)))),
        ["members"] => return Ok(LogCommand::Tell(format!("ok {}", list(status, members)))),
        ["add", id] => {
            known(&[id], status, members)?;
            Change::AddLearner(id.to_owned())
        }
        ["voters", ref ids @ ..] if !ids.is_empty() => {
            known(ids, status, members)?;
            Change::SetVoters(ids.iter().map(|id| (*id).to_owned()).collect())
        }
        ["remove", id] => Change::Remove(id.to_owned()),
        ["transfer", id] => Change::Transfer(id.to_owned()),
        [verb @ ("add" | "remove" | "transfer"), ..] => {
            return Err(format!("error usage log {verb} wants one id: log {verb} <id>"));
        }
        ["voters", ..] => {
            return Err("error usage log voters wants the ids of all who are to have a vote".to_owned());
        }
        [verb, ..] => return Err(format!("error usage unknown command {verb:?}; known are {HELP}")),
    };
    Ok(LogCommand::Change(change))
}

/// Whether all of these are servers that can become members: somebody has heard of them.
fn known(ids: &[&str], status: &Status, members: &Members) -> Result<(), String> {
    let belongs = |id: &str| {
        let mut all = status.voters.iter().chain(&status.learners);
        members.knows(id) || all.any(|(_, name)| name == id)
    };
    match ids.iter().find(|id| !belongs(id)) {
        None => Ok(()),
        Some(id) => Err(format!(
            "error unknown no server {id:?} has been heard of: it has to be among the members of the log in the configuration, and run"
        )),
    }
}

/// What stands where in a log, in one line: names and values.
pub(super) fn line(status: &Status) -> String {
    let leader = status.leader.map_or("none".to_owned(), |leader| name(status, leader));
    let Status { standing, term, first, last, stored, committed, applied, records, kept, .. } = status;
    let mut line = format!(
        "standing={standing} term={term} leader={leader} first={first} last={last} stored={stored} committed={committed} \
         applied={applied} records={records} kept={kept}"
    );
    if let Some(trouble) = &status.trouble {
        let _ = write!(line, " trouble={trouble:?}");
    }
    line
}

/// Who belongs to the log, in one line.
fn list(status: &Status, members: &Members) -> String {
    let own = members.own_id();
    let show = |(member, name): &(MemberId, String), vote: &str| {
        let place = match *member {
            member if member == own => "here",
            member if members.is_up(member) => "up",
            _ => "down",
        };
        let leads = if status.leader == Some(*member) { ",leader" } else { "" };
        format!("{name}={vote},{place}{leads}")
    };
    let voters = status.voters.iter().map(|member| show(member, "voter"));
    let learners = status.learners.iter().map(|member| show(member, "learner"));
    let mut words: Vec<String> = voters.chain(learners).collect();
    if status.changing {
        words.push("(changing)".to_owned());
    }
    words.join(" ")
}

/// What a member is called, or its number.
fn name(status: &Status, member: MemberId) -> String {
    let mut all = status.voters.iter().chain(&status.learners);
    all.find(|(id, _)| *id == member).map_or_else(|| member.to_string(), |(_, name)| name.clone())
}

/// How a change ended, for whoever wanted it.
pub(super) fn outcome(result: &Result<(), ChangeError>) -> String {
    let word = match result {
        Ok(()) => return "ok".to_owned(),
        Err(ChangeError::NoLeader) => "no-leader",
        Err(ChangeError::Busy) => "busy",
        Err(ChangeError::Refused(_)) => "refused",
        Err(ChangeError::TimedOut(_)) => "timed-out",
    };
    let error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    format!("error {word} {error}")
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, Standing};
    use super::*;
    use crate::agent::{Index, Peer, Term};

    fn status() -> Status {
        let member = |name: &str| (MemberId::of(name), name.to_owned());
        Status {
            standing: Standing::Follower,
            term: Term(3),
            leader: Some(MemberId::of("b")),
            voters: vec![member("a"), member("b"), member("c")],
            learners: vec![member("d")],
            first: Index(1),
            last: Index(9),
            ..Status::default()
        }
    }

    fn members() -> Members {
        let mut members = Members::new(Identity { name: "a".into(), life: 1, greets: None });
        members.heard(Peer(1), MemberId::of("b"), Some(("b".into(), 1)));
        members.heard(Peer(2), MemberId::of("e"), Some(("e".into(), 1)));
        members
    }

    fn told(line: &str) -> String {
        match parse(line, &status(), &members()) {
            Ok(LogCommand::Tell(text)) | Err(text) => text,
            Ok(LogCommand::Change(change)) => panic!("no answer: {change:?}"),
        }
    }

    #[test]
    fn only_lines_whose_first_word_is_log_are_for_the_log() {
        assert!([&b"log"[..], b"log status", b" log\tmembers \r"].iter().all(|line| is_for_log(line)));
        assert!([&b""[..], b"logs", b"put log x", b"log\xff"].iter().all(|line| !is_for_log(line)));
    }

    #[test]
    fn what_stands_where_is_told_in_words() {
        assert_eq!(
            told("log status"),
            "ok standing=follower term=3 leader=b first=1 last=9 stored=0 committed=0 applied=0 records=0 kept=0"
        );
        assert_eq!(told("log members"), "ok a=voter,here b=voter,up,leader c=voter,down d=learner,down");
        let stranger = Status { leader: Some(MemberId(10)), trouble: Some("no \"room\"".into()), ..status() };
        assert!(line(&stranger).contains(" leader=a "), "its number: {}", line(&stranger));
        assert!(line(&stranger).ends_with(r#" trouble="no \"room\"""#));
    }

    #[test]
    fn changes_are_words_and_name_servers_that_have_been_heard_of() {
        let change = |line: &str| parse(line, &status(), &members());
        assert_eq!(change("log add e"), Ok(LogCommand::Change(Change::AddLearner("e".into()))));
        let voters = Change::SetVoters(vec!["a".into(), "e".into()]);
        assert_eq!(change("log  voters a e"), Ok(LogCommand::Change(voters)));
        assert_eq!(change("log remove x"), Ok(LogCommand::Change(Change::Remove("x".into()))));
        assert_eq!(change("log transfer b"), Ok(LogCommand::Change(Change::Transfer("b".into()))));
        assert!(told("log voters a x").starts_with("error unknown no server \"x\" has been heard of"));
        assert_eq!(told("log add"), "error usage log add wants one id: log add <id>");
        assert!(told("log voters").starts_with("error usage log voters wants"));
        assert!(
            told("log delete").starts_with("error usage unknown command \"delete\"; known are log status")
        );
        assert!(told("log").starts_with("ok commands: log status"));
    }

    #[test]
    fn how_a_change_ended_is_one_word_and_a_sentence() {
        assert_eq!(outcome(&Ok(())), "ok");
        assert_eq!(
            outcome(&Err(ChangeError::NoLeader)),
            "error no-leader nobody leads the log now: ask again"
        );
        assert_eq!(outcome(&Err(ChangeError::Refused("no".into()))), "error refused no");
    }
}
