//! Thesis, section 3.10: another member takes over.

use crate::agents::raft::message::Message;
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::replicated::{Change, ChangeError, LogInput};

fn transfer(name: &str) -> Change {
    Change::Transfer(name.to_owned())
}

#[test]
fn section_3_10_the_member_that_is_named_takes_over_at_once() {
    for asked in ["a", "b", "c"] {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        cluster.elect("a");
        cluster.change(asked, 1, transfer("c"));
        cluster.settle();
        assert_eq!((cluster.leaders(), &cluster.node(asked).changed[..]), (vec!["c"], &[(1, Ok(()))][..]));
    }
}

#[test]
fn section_3_10_it_gets_everything_first_and_nothing_new_is_taken_meanwhile() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.propose("a", "first");
    cluster.settle();
    cluster.node_mut("c").syncs = false;
    cluster.propose("a", "before");
    cluster.settle();
    cluster.change("a", 1, transfer("c"));
    cluster.propose("a", "meanwhile");
    cluster.propose("b", "of b");
    cluster.settle();
    assert_eq!(cluster.leaders(), ["a"]);
    assert_eq!(cluster.records("a"), ["first", "before"]);
    cluster.node_mut("c").syncs = true;
    cluster.settle();
    cluster.advance(ms(300));
    assert_eq!(cluster.leaders(), ["c"]);
    assert_eq!(cluster.records("a").len(), 4, "nothing was lost");
}

#[test]
fn section_3_10_a_leader_goes_on_if_nobody_takes_over() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.crash("c");
    cluster.change("a", 1, transfer("c"));
    cluster.propose("a", "x");
    cluster.advance(ms(400));
    assert!(cluster.node("a").changed.is_empty() && cluster.records("a").is_empty());
    cluster.advance(ms(300));
    assert!(matches!(cluster.node("a").changed[..], [(1, Err(ChangeError::TimedOut(_)))]));
    assert_eq!((cluster.leaders(), cluster.records("a").len()), (vec!["a"], 1));
}

#[test]
fn section_3_10_only_the_leader_may_ask_and_only_in_its_term() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    let term = cluster.status("a").term;
    for (from, term) in [("c", term), ("a", crate::agent::Term(term.0 - 1))] {
        let message = Message::TimeoutNow { term };
        cluster.input(id("b"), LogInput::Message { from: id(from), message });
        cluster.settle();
        assert_eq!(cluster.leaders(), ["a"]);
    }
}
