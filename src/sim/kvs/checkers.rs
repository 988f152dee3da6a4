//! What must hold of a store and its clients.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::node::{Carries, Node};
use super::{STORE, Users};
use crate::agent::{Index, Peer, Request};
use crate::sim::linear::{CallId, History, Register, RegisterInput, RegisterOutput, Verdict};
use crate::sim::{Checker, World};
use crate::store::scan;

/// What the clients saw is what one copy that does one thing at a time could have shown them.
pub(super) struct Linearizable {
    keys: BTreeMap<String, Key>,
    open: BTreeMap<(Peer, Request), (String, CallId)>,
    users: Rc<RefCell<Users>>,
    /// Whether the whole history was looked at.
    finished: bool,
}

/// What was asked and answered about one key.
#[derive(Default)]
struct Key {
    history: History<Register>,
    /// How long the history was when it was looked at last.
    checked_len: usize,
}

impl Linearizable {
    pub(super) fn new(users: Rc<RefCell<Users>>) -> Self {
        Self { keys: BTreeMap::new(), open: BTreeMap::new(), users, finished: false }
    }

    fn record<M: Carries>(&mut self, world: &World<Node<M>>) {
        let happened = world.happened();
        for told in &happened.told {
            let (Some(request), Some((key, input))) = (told.request, RegisterInput::of_command(&told.line))
            else {
                continue;
            };
            let call = self.keys.entry(key.clone()).or_default().history.ask(input);
            self.open.insert((told.to, request), (key, call));
        }
        for answer in &happened.answers {
            let Some((key, call)) = self.open.remove(&(answer.from, answer.to)) else { continue };
            // Who is told that it is unknown has no answer.
            if let (Some(output), Some(key)) =
                (RegisterOutput::of_answer(&answer.line), self.keys.get_mut(&key))
            {
                key.history.answer(call, output);
            }
        }
        for &crashed in &happened.crashed {
            self.open.retain(|&(peer, _), _| peer != crashed);
        }
    }
}

impl<M: Carries> Checker<Node<M>> for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn check(&mut self, world: &World<Node<M>>) -> Result<(), String> {
        self.record(world);
        let ended = self.users.borrow().closing && self.open.is_empty() && !self.finished;
        if !ended && world.happened().answers.is_empty() {
            return Ok(());
        }
        self.finished |= ended;
        self.keys.iter_mut().try_for_each(|(name, key)| key.check(name, ended))
    }
}

impl Key {
    /// Looks at the history if it has grown by an eighth, or must not wait.
    fn check(&mut self, name: &str, at_once: bool) -> Result<(), String> {
        let len = self.history.len();
        if !at_once && len < self.checked_len + (self.checked_len / 8).max(16) {
            return Ok(());
        }
        self.checked_len = len;
        match self.history.check(WORK_MAX) {
            Verdict::Linearizable => Ok(()),
            Verdict::Undecided => Err(format!(
                "undecided: in {WORK_MAX} trials no order was found for the {len} questions and answers about {name}"
            )),
            Verdict::NotLinearizable(call) => Err(format!(
                "no order of the calls explains that {:?} of {name} was answered by {:?}",
                self.history.input(call),
                self.history.output(call),
            )),
        }
    }
}

/// Nothing that was committed is gone when the store starts again.
#[derive(Default)]
pub(super) struct Durable {
    committed: Index,
}

impl<M: Carries> Checker<Node<M>> for Durable {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn check(&mut self, world: &World<Node<M>>) -> Result<(), String> {
        let happened = world.happened();
        if happened.started.contains(&STORE) {
            let found = scan(world.log(STORE));
            if found.next <= self.committed || !found.damaged.is_empty() {
                return Err(format!(
                    "record {} was committed, and after a crash the log ends before record {} with damage at {:?}",
                    self.committed, found.next, found.damaged
                ));
            }
        }
        let latest = happened.committed.iter().map(|&(_, index)| index).max();
        self.committed = self.committed.max(latest.unwrap_or_default());
        Ok(())
    }
}

/// In the end everybody who lives is answered, and the last commands, given in a world that has healed, with what was asked for.
pub(super) struct Answered {
    /// The commands that were not answered, and whether they are among the last.
    open: BTreeMap<(Peer, Request), (String, bool)>,
    users: Rc<RefCell<Users>>,
}

impl Answered {
    pub(super) fn new(users: Rc<RefCell<Users>>) -> Self {
        Self { open: BTreeMap::new(), users }
    }
}

impl<M: Carries> Checker<Node<M>> for Answered {
    fn name(&self) -> &'static str {
        "answered"
    }

    fn check(&mut self, world: &World<Node<M>>) -> Result<(), String> {
        let happened = world.happened();
        let mut users = self.users.borrow_mut();
        for told in &happened.told {
            if let Some(request) = told.request {
                self.open.insert((told.to, request), (told.line.clone(), users.closing));
            }
        }
        for answer in &happened.answers {
            users.waiting.remove(&answer.from);
            let Some((line, last)) = self.open.remove(&(answer.from, answer.to)) else {
                return Err(format!(
                    "client {} answers {:?} to nothing that was asked",
                    answer.from, answer.line
                ));
            };
            if last && RegisterOutput::of_answer(&answer.line).is_none() {
                return Err(format!("all is well, and {line:?} is answered by {:?}", answer.line));
            }
        }
        for &crashed in &happened.crashed {
            users.waiting.remove(&crashed);
            self.open.retain(|&(peer, _), _| peer != crashed);
        }
        Ok(())
    }

    fn settled(&mut self, _: &World<Node<M>>) -> Result<(), String> {
        match self.open.first_key_value() {
            None => Ok(()),
            Some(((client, _), (line, _))) => Err(format!(
                "client {client} has no answer to {line:?}, one of {} such commands",
                self.open.len()
            )),
        }
    }
}

/// How many trials a history of one key may take: thousands of times what is usual.
const WORK_MAX: u64 = 200_000;
