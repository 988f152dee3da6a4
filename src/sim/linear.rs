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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use RegisterInput::{Delete, Get, Put};
    use RegisterOutput::{Done, Nothing, Value};

    const WORK_MAX: u64 = 100_000;

    fn put(value: &str) -> RegisterInput {
        Put(value.into())
    }

    fn value(value: &str) -> RegisterOutput {
        Value(value.into())
    }

    /// A call with the places of its question and of its answer in the history.
    #[derive(Clone, Debug)]
    struct Planned {
        input: RegisterInput,
        asked: u32,
        answer: Option<(RegisterOutput, u32)>,
    }

    fn done(input: RegisterInput, asked: u32, output: RegisterOutput, answered: u32) -> Planned {
        Planned { input, asked, answer: Some((output, answered)) }
    }

    fn history(calls: &[Planned]) -> History<Register> {
        let mut events: Vec<(u32, usize)> = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            events.push((call.asked, number));
            events.extend(call.answer.as_ref().map(|(_, at)| (*at, number)));
        }
        events.sort_unstable();
        let (mut history, mut ids) = (History::default(), vec![None; calls.len()]);
        for (_, number) in events {
            match (ids[number], &calls[number].answer) {
                (None, _) => ids[number] = Some(history.ask(calls[number].input.clone())),
                (Some(id), Some((output, _))) => history.answer(id, output.clone()),
                (Some(_), None) => unreachable!("no answer was planned"),
            }
        }
        history
    }

    /// Which call cannot be explained, by what was asked.
    fn unexplained(history: &History<Register>) -> Option<RegisterInput> {
        match history.check(WORK_MAX) {
            Verdict::Linearizable => None,
            Verdict::NotLinearizable(call) => Some(history.input(call).clone()),
            Verdict::Undecided => panic!("a short history"),
        }
    }

    #[test]
    fn what_one_copy_would_answer_is_linearizable() {
        let one_after_the_other = history(&[
            done(Get, 1, Nothing, 2),
            done(put("a"), 3, Done, 4),
            done(Get, 5, value("a"), 6),
            done(Delete, 7, Done, 8),
            done(Delete, 9, Nothing, 10),
        ]);
        assert_eq!(unexplained(&one_after_the_other), None);
        assert_eq!(unexplained(&History::default()), None);
    }

    #[test]
    fn calls_that_overlap_may_take_effect_in_any_order() {
        // Both reads overlap the write: one sees it, the other, asked earlier and answered later, does not.
        let overlapping =
            history(&[done(put("a"), 1, Done, 10), done(Get, 2, Nothing, 9), done(Get, 3, value("a"), 4)]);
        assert_eq!(unexplained(&overlapping), None);
    }

    #[test]
    fn a_stale_read_is_found() {
        let stale =
            history(&[done(put("a"), 1, Done, 2), done(put("b"), 3, Done, 4), done(Get, 5, value("a"), 6)]);
        assert_eq!(unexplained(&stale), Some(Get));
    }

    #[test]
    fn reads_that_go_back_in_time_are_found() {
        // The write is under way all the time; but once one reader has seen it, the next must.
        let back =
            history(&[done(put("a"), 1, Done, 10), done(Get, 2, value("a"), 3), done(Get, 4, Nothing, 5)]);
        assert_eq!(unexplained(&back), Some(Get));
    }

    #[test]
    fn a_lost_update_is_found() {
        let lost = history(&[done(put("a"), 1, Done, 2), done(Get, 3, Nothing, 4)]);
        assert_eq!(unexplained(&lost), Some(Get));
        // Two who both take the same thing away: only one can have found it.
        let twice =
            history(&[done(put("a"), 1, Done, 2), done(Delete, 3, Done, 6), done(Delete, 4, Done, 5)]);
        assert_eq!(unexplained(&twice), Some(Delete));
    }

    #[test]
    fn a_value_that_nobody_wrote_is_found() {
        let invented = history(&[done(put("a"), 1, Done, 2), done(Get, 3, value("b"), 4)]);
        assert_eq!(unexplained(&invented), Some(Get));
        // Nor can it be read before anybody asks for it to be written.
        let early = history(&[done(Get, 1, value("a"), 2), done(put("a"), 3, Done, 4)]);
        assert_eq!(unexplained(&early), Some(Get));
    }

    #[test]
    fn a_write_of_the_value_that_is_there_is_no_read() {
        // Each of the two can only have found what the one write, or the other, had put there.
        let twice = history(&[
            done(put("a"), 1, Done, 2),
            done(put("a"), 3, Done, 10),
            done(Delete, 4, Done, 9),
            done(Delete, 5, Done, 8),
        ]);
        assert_eq!(unexplained(&twice), None);
    }

    #[test]
    fn a_change_that_comes_twice_is_found() {
        let twice = history(&[
            done(put("a"), 1, Done, 8),
            done(put("b"), 2, Done, 3),
            done(Get, 4, value("a"), 5),
            done(Get, 6, value("b"), 7),
            done(Get, 9, value("a"), 10),
        ]);
        assert_eq!(unexplained(&twice), Some(Get));
    }

    #[test]
    fn a_call_without_an_answer_may_take_effect_late_or_never() {
        let pending = Planned { input: put("a"), asked: 1, answer: None };
        let never = history(&[pending.clone(), done(Get, 2, Nothing, 3), done(Get, 4, Nothing, 5)]);
        assert_eq!(unexplained(&never), None);
        let late = history(&[pending.clone(), done(Get, 2, Nothing, 3), done(Get, 4, value("a"), 5)]);
        assert_eq!(unexplained(&late), None);
        let both = history(&[
            pending,
            done(Get, 2, value("a"), 3),
            done(put("b"), 4, Done, 5),
            done(Get, 6, value("a"), 7),
        ]);
        assert_eq!(unexplained(&both), Some(Get));
    }

    #[test]
    fn the_first_answer_that_cannot_be_explained_is_named() {
        let two =
            history(&[done(put("a"), 1, Done, 2), done(Delete, 3, Nothing, 4), done(Get, 5, value("z"), 6)]);
        assert_eq!(unexplained(&two), Some(Delete));
    }

    #[test]
    fn a_search_that_would_take_for_ever_is_given_up_honestly() {
        // Any of these writes may have been the last one, in any order, and none of them explains what is read.
        let mut calls: Vec<Planned> =
            (0..40).map(|number| done(put(&number.to_string()), number, Done, 100 + number)).collect();
        calls.push(done(Get, 300, value("never"), 301));
        assert_eq!(history(&calls).check(10_000), Verdict::Undecided);
    }

    #[test]
    fn many_calls_without_an_answer_take_little_work() {
        let pending = |number: u32| Planned { input: put(&number.to_string()), asked: number, answer: None };
        let mut calls: Vec<Planned> = (0..40).map(pending).collect();
        calls.extend(
            (0..40).map(|number| done(Get, 100 + number * 2, value(&number.to_string()), 101 + number * 2)),
        );
        assert_eq!(history(&calls).check(10_000), Verdict::Linearizable);
        calls.push(done(Get, 300, value("never"), 301));
        assert_eq!(unexplained(&history(&calls)), Some(Get));
    }

    #[test]
    fn long_histories_with_few_calls_at_a_time_take_little_work() {
        let mut calls = Vec::new();
        for number in 0..1000 {
            calls.push(done(put(&number.to_string()), number * 10, Done, number * 10 + 7));
            calls.push(done(Get, number * 10 + 1, value(&number.to_string()), number * 10 + 8));
        }
        assert_eq!(history(&calls).check(5 * 2000), Verdict::Linearizable);
    }

    /// Tries all orders of all selections of calls that contain every answered one.
    fn oracle(calls: &[Planned]) -> bool {
        extend(calls, &mut Vec::new(), &Register::start())
    }

    fn extend(calls: &[Planned], order: &mut Vec<usize>, state: &<Register as Model>::State) -> bool {
        let complete = (0..calls.len()).all(|call| calls[call].answer.is_none() || order.contains(&call));
        if complete && in_real_time(calls, order) {
            return true;
        }
        for call in (0..calls.len()).filter(|call| !order.contains(call)).collect::<Vec<_>>() {
            let output = calls[call].answer.as_ref().map(|(output, _)| output);
            if let Some(next) = Register::step(state, &calls[call].input, output) {
                order.push(call);
                if extend(calls, order, &next) {
                    return true;
                }
                order.pop();
            }
        }
        false
    }

    /// Whether no call stands before one that had been answered when it was asked.
    fn in_real_time(calls: &[Planned], order: &[usize]) -> bool {
        order.iter().enumerate().all(|(place, &later)| {
            let answered = calls[later].answer.as_ref().map(|(_, at)| *at);
            order[..place].iter().all(|&earlier| answered.is_none_or(|at| at > calls[earlier].asked))
        })
    }

    fn any_call() -> impl Strategy<Value = (RegisterInput, Option<RegisterOutput>)> {
        let values = prop_oneof![Just("a"), Just("b")];
        let read = prop_oneof![Just(Nothing), values.clone().prop_map(value)];
        prop_oneof![
            (values.prop_map(put), prop::option::weighted(0.5, Just(Done))),
            (Just(Get), prop::option::weighted(0.9, read)),
            (Just(Delete), prop::option::weighted(0.5, prop_oneof![Just(Done), Just(Nothing)])),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_search_says_what_trying_everything_says(
            calls in prop::collection::vec((any_call(), any::<(u16, u16)>()), 0..7),
        ) {
            // All places differ, so that question and answer of different calls never coincide.
            let calls: Vec<_> = calls.into_iter().enumerate().map(|(number, ((input, output), (one, other)))| {
                let distinct = |at: u16, half: usize| u32::from(at) * 16 + u32::try_from(number * 2 + half).expect("few");
                let (asked, answered) = (distinct(one.min(other), 0), distinct(one.max(other), 1));
                Planned { input, asked, answer: output.map(|output| (output, answered)) }
            }).collect();
            let verdict = history(&calls).check(WORK_MAX);
            prop_assert_eq!(verdict == Verdict::Linearizable, oracle(&calls));
            prop_assert_ne!(verdict, Verdict::Undecided);
        }
    }
}
