//! Histories that are linearizable and that are not, and the search beside trying everything.

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
    let back = history(&[done(put("a"), 1, Done, 10), done(Get, 2, value("a"), 3), done(Get, 4, Nothing, 5)]);
    assert_eq!(unexplained(&back), Some(Get));
}

#[test]
fn a_lost_update_is_found() {
    let lost = history(&[done(put("a"), 1, Done, 2), done(Get, 3, Nothing, 4)]);
    assert_eq!(unexplained(&lost), Some(Get));
    // Two who both take the same thing away: only one can have found it.
    let twice = history(&[done(put("a"), 1, Done, 2), done(Delete, 3, Done, 6), done(Delete, 4, Done, 5)]);
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
