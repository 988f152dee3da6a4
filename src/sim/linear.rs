//! Whether a history of calls is linearizable: whether each call can have taken effect at one moment between question and answer.
//!
//! Source: Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects" (TOPLAS 1990). The search is that of Wing and
//! Gong ("Testing and Verifying Concurrent Objects", 1993) with the memory of Lowe ("Testing for Linearizability", 2017):
//! among the calls that were asked before the first answer which has not been placed, one is placed next; a set of placed calls
//! with the state it leads to is tried once only.
//!
//! A call without an answer may have taken effect at any time after its question, or never.
//!
//! By locality (Herlihy and Wing, section 3.2) a history is linearizable if it is for each object alone; so whoever has a store with
//! many keys keeps a history for each.

mod register;

use std::collections::BTreeSet;
use std::fmt;

pub use self::register::{Register, RegisterInput, RegisterOutput};

/// What a single copy of an object does.
pub trait Model {
    /// All that it remembers.
    type State: Clone + Ord;
    /// What it can be asked.
    type Input;
    /// What it can answer.
    type Output;

    /// How it begins.
    fn start() -> Self::State;

    /// What `input` makes of `state` if it is answered by `output`; `None` if that cannot be its answer. Where no answer is
    /// known, any will do.
    fn step(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;

    /// Whether `input`, if it is answered by `output`, changes no state at all. Saying no where that is so costs only time.
    fn only_reads(_input: &Self::Input, _output: &Self::Output) -> bool {
        false
    }
}

/// Questions and answers in the order in which they happened.
pub struct History<M: Model> {
    calls: Vec<Call<M>>,
    events: Vec<Event>,
}

/// One call of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(usize);

struct Call<M: Model> {
    input: M::Input,
    output: Option<M::Output>,
}

#[derive(Clone, Copy)]
enum Event {
    Asked(CallId),
    Answered(CallId),
}

/// What can be said of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none. This call's answer is the first one in the history that no order explains.
    NotLinearizable(CallId),
    /// The search was given up.
    Undecided,
}

impl<M: Model> Default for History<M> {
    fn default() -> Self {
        Self { calls: Vec::new(), events: Vec::new() }
    }
}

impl<M: Model> fmt::Debug for History<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "History of {} calls and {} events", self.calls.len(), self.events.len())
    }
}

impl<M: Model> History<M> {
    /// Somebody asks.
    pub fn ask(&mut self, input: M::Input) -> CallId {
        let call = CallId(self.calls.len());
        self.calls.push(Call { input, output: None });
        self.events.push(Event::Asked(call));
        call
    }

    /// A call is answered, the first time that this is said of it.
    pub fn answer(&mut self, call: CallId, output: M::Output) {
        let place = &mut self.calls[call.0].output;
        if place.is_none() {
            *place = Some(output);
            self.events.push(Event::Answered(call));
        }
    }

    /// What was asked.
    pub fn input(&self, call: CallId) -> &M::Input {
        &self.calls[call.0].input
    }

    /// What was answered.
    pub fn output(&self, call: CallId) -> Option<&M::Output> {
        self.calls[call.0].output.as_ref()
    }

    /// How many questions and answers there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Looks for an order, by placing calls at most `work_max` times (in each of several searches if there is none).
    pub fn check(&self, work_max: u64) -> Verdict {
        match self.explained(self.events.len(), work_max) {
            None => return Verdict::Undecided,
            Some(true) => return Verdict::Linearizable,
            Some(false) => {}
        }
        // What cannot be explained cannot be explained with more behind it either, so the end of the shortest such beginning
        // is found by bisection. A search that is given up counts as explained: then a later answer is named, which is true as well.
        let (mut explained, mut not) = (0, self.events.len());
        while not - explained > 1 {
            let middle = explained.midpoint(not);
            if self.explained(middle, work_max) == Some(false) { not = middle } else { explained = middle }
        }
        match self.events[not - 1] {
            Event::Answered(call) | Event::Asked(call) => Verdict::NotLinearizable(call),
        }
    }

    /// Whether the first `len` events can be explained; `None` if that took too much work.
    fn explained(&self, len: usize, work_max: u64) -> Option<bool> {
        Search::new(self, len).run(work_max)
    }
}

/// A search for an order of the calls in the first events of a history.
struct Search<'a, M: Model> {
    history: &'a History<M>,
    events: &'a [Event],
    /// For each call, whether it is answered in these events.
    answered: Vec<bool>,
    /// How many answered calls have no place yet.
    missing: usize,
    /// The calls that have a place, one bit each.
    placed: Vec<u64>,
    /// The first event whose call has no place yet.
    first: usize,
    state: M::State,
    /// The state before the call that was placed last, if that one has no answer.
    before: Option<M::State>,
    seen: BTreeSet<Seen<M::State>>,
}

/// What decides how a search can go on: the calls that have a place, the state, and [`Search::before`].
type Seen<S> = (Vec<u64>, S, Option<S>);

/// A point of the search: the calls that can be placed next, and how it was reached.
struct Fork<S> {
    next: std::vec::IntoIter<CallId>,
    reached: Option<Reached<S>>,
}

/// The call whose placing led to a fork, and what was before.
struct Reached<S> {
    call: CallId,
    state: S,
    before: Option<S>,
    first: usize,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(history: &'a History<M>, len: usize) -> Self {
        let events = &history.events[..len];
        let mut answered = vec![false; history.calls.len()];
        for event in events {
            if let Event::Answered(call) = event {
                answered[call.0] = true;
            }
        }
        Self {
            history,
            events,
            missing: answered.iter().filter(|answered| **answered).count(),
            placed: vec![0; history.calls.len().div_ceil(WORD_BITS)],
            answered,
            first: 0,
            state: M::start(),
            before: None,
            seen: BTreeSet::new(),
        }
    }

    fn run(mut self, work_max: u64) -> Option<bool> {
        let mut work = 0;
        let mut forks = vec![Fork { next: self.candidates(), reached: None }];
        while self.missing > 0 {
            let Some(fork) = forks.last_mut() else { return Some(false) };
            let Some(call) = fork.next.next() else {
                if let Some(reached) = forks.pop().and_then(|fork| fork.reached) {
                    self.take_back(reached);
                }
                continue;
            };
            work += 1;
            if work > work_max {
                return None;
            }
            if let Some(reached) = self.place(call) {
                forks.push(Fork { next: self.candidates(), reached: Some(reached) });
            }
        }
        Some(true)
    }

    /// The calls that can come next: all that were asked before the first answer whose call has no place. Those with an
    /// answer first: of the others nobody knows whether they ever took effect. Where a read fits, it is the only one: whatever order
    /// explains the rest explains it with this read in front, too.
    fn candidates(&mut self) -> std::vec::IntoIter<CallId> {
        while self.events.get(self.first).is_some_and(|event| self.is_placed(event.call())) {
            self.first += 1;
        }
        let (mut sure, mut unsure) = (Vec::new(), Vec::new());
        for event in &self.events[self.first..] {
            let call = event.call();
            if self.is_placed(call) {
                continue;
            }
            match event {
                Event::Answered(_) => break,
                Event::Asked(_) if self.answered[call.0] => {
                    if self.only_reads(call) && self.step(&self.state, call).is_some() {
                        return vec![call].into_iter();
                    }
                    sure.push(call);
                }
                Event::Asked(_) => unsure.push(call),
            }
        }
        sure.append(&mut unsure);
        sure.into_iter()
    }

    /// Places a call, if its answer fits and this was not tried before.
    fn place(&mut self, call: CallId) -> Option<Reached<M::State>> {
        let state = self.step(&self.state, call)?;
        let sure = self.answered[call.0];
        // A call without an answer can as well be left out if it changes nothing, or if the next call would come to the same without it. So
        // there are few places for each, although it may have taken effect at any time.
        if !sure && state == self.state {
            return None;
        }
        if self.before.as_ref().is_some_and(|before| self.step(before, call).as_ref() == Some(&state)) {
            return None;
        }
        let before = if sure { None } else { Some(self.state.clone()) };
        self.flip(call);
        if !self.seen.insert((self.placed.clone(), state.clone(), before.clone())) {
            self.flip(call);
            return None;
        }
        self.missing -= usize::from(sure);
        let state = std::mem::replace(&mut self.state, state);
        let before = std::mem::replace(&mut self.before, before);
        Some(Reached { call, state, before, first: self.first })
    }

    /// What a call makes of a state; nothing if its answer does not fit.
    fn step(&self, state: &M::State, call: CallId) -> Option<M::State> {
        let Call { input, output } = &self.history.calls[call.0];
        M::step(state, input, output.as_ref().filter(|_| self.answered[call.0]))
    }

    fn only_reads(&self, call: CallId) -> bool {
        let Call { input, output } = &self.history.calls[call.0];
        output.as_ref().is_some_and(|output| M::only_reads(input, output))
    }

    fn take_back(&mut self, reached: Reached<M::State>) {
        self.flip(reached.call);
        self.missing += usize::from(self.answered[reached.call.0]);
        self.state = reached.state;
        self.before = reached.before;
        self.first = reached.first;
    }

    fn is_placed(&self, call: CallId) -> bool {
        self.placed[call.0 / WORD_BITS] >> (call.0 % WORD_BITS) & 1 == 1
    }

    fn flip(&mut self, call: CallId) {
        self.placed[call.0 / WORD_BITS] ^= 1 << (call.0 % WORD_BITS);
    }
}

impl Event {
    fn call(self) -> CallId {
        match self {
            Self::Asked(call) | Self::Answered(call) => call,
        }
    }
}

const WORD_BITS: usize = 64;

#[cfg(test)]
mod tests;
