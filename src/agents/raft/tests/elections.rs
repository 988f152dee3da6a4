//! Raft, section 5.2 and 5.4.1; thesis, sections 4.2.3, 6.2, 9.6.

use crate::agent::{Index, Lsn, Term};
use crate::agents::raft::message::{Candidacy, Message};
use crate::agents::raft::testing::{Cluster, id, ms};
use crate::agents::replicated::{LogInput, Standing};

fn candidacy(term: u64, last: u64, last_term: u64) -> Candidacy {
    Candidacy { term: Term(term), last: Index(last), last_term: Term(last_term), transfer: false }
}

fn votes_for(cluster: &Cluster, from: &str) -> Vec<(u64, bool)> {
    let replies = cluster.flights.iter().filter_map(|(sender, _, message)| match message {
        Message::VoteReply { term, granted } if *sender == id(from) => Some((term.0, *granted)),
        _ => None,
    });
    replies.collect()
}

fn ask_for_vote(cluster: &mut Cluster, from: &str, to: &str, candidacy: Candidacy) -> Vec<(u64, bool)> {
    cluster.flights.clear();
    cluster.input(id(to), LogInput::Message { from: id(from), message: Message::Vote(candidacy) });
    cluster.sync(to);
    votes_for(cluster, to)
}

#[test]
fn section_5_2_without_a_leader_somebody_is_elected_soon() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.advance(ms(600));
    assert_eq!(cluster.leaders().len(), 1);
    let terms: Vec<Term> = ["a", "b", "c"].map(|name| cluster.status(name).term).into();
    assert!(terms.iter().all(|term| *term == terms[0]), "{terms:?}");
}

#[test]
fn whoever_leads_is_told_once_its_own_entry_is_committed_and_whoever_leads_no_more_at_once() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.node_mut("b").syncs = false;
    cluster.node_mut("c").syncs = false;
    cluster.act("a", |raft| raft.campaign(false));
    cluster.settle();
    for name in ["b", "c"] {
        cluster.sync(name);
    }
    cluster.settle();
    assert_eq!((cluster.leaders(), &cluster.node("a").leads[..]), (vec!["a"], &[][..]));
    cluster.sync("b");
    cluster.settle();
    assert_eq!(cluster.node("a").leads, [true]);
    cluster.crash("b");
    cluster.crash("c");
    cluster.advance(ms(2000));
    assert_eq!(cluster.node("a").leads, [true, false], "it reaches no majority");
    assert_eq!((&cluster.node("b").leads[..], &cluster.node("c").leads[..]), (&[][..], &[][..]));
}

#[test]
fn section_5_2_heartbeats_keep_others_from_electing() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    let term = cluster.status("a").term;
    cluster.advance(ms(5000));
    assert_eq!((cluster.leaders(), cluster.status("b").term), (vec!["a"], term));
}

#[test]
fn section_5_2_time_outs_are_random_and_not_shorter_than_the_setting() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            for _ in 0..10 {
                cluster.act(name, crate::agents::raft::Raft::set_election_timer);
                let raft = cluster.raft_of(name);
                let wait = raft.election_at.unwrap().since(cluster.now);
                assert!((ms(250)..=ms(500)).contains(&wait));
                seen.insert(wait);
            }
        }
    }
    assert!(seen.len() > 20, "{}", seen.len());
}

#[test]
fn section_5_2_at_most_one_vote_a_term_first_come_first_served() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    assert_eq!(ask_for_vote(&mut cluster, "b", "a", candidacy(5, 0, 0)), [(5, true)]);
    assert_eq!(ask_for_vote(&mut cluster, "c", "a", candidacy(5, 0, 0)), [(5, false)]);
    assert_eq!(ask_for_vote(&mut cluster, "b", "a", candidacy(5, 0, 0)), [(5, true)], "asked again");
    assert_eq!(ask_for_vote(&mut cluster, "c", "a", candidacy(6, 0, 0)), [(6, true)]);
    assert_eq!(ask_for_vote(&mut cluster, "b", "a", candidacy(5, 0, 0)), [(6, false)], "an old term");
}

#[test]
fn section_5_2_a_vote_is_not_forgotten_by_a_crash() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    assert_eq!(ask_for_vote(&mut cluster, "b", "a", candidacy(5, 0, 0)), [(5, true)]);
    cluster.crash("a");
    cluster.restart("a");
    assert_eq!(ask_for_vote(&mut cluster, "c", "a", candidacy(5, 0, 0)), [(5, false)]);
    assert_eq!(ask_for_vote(&mut cluster, "b", "a", candidacy(5, 0, 0)), [(5, true)]);
}

#[test]
fn section_5_2_a_vote_is_given_only_when_it_is_on_the_disk() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let message = Message::Vote(candidacy(5, 0, 0));
    cluster.input(id("a"), LogInput::Message { from: id("b"), message });
    assert_eq!(votes_for(&cluster, "a"), []);
    cluster.input(id("a"), LogInput::Stored(Lsn(1)));
    assert_eq!(votes_for(&cluster, "a"), [], "its term is stored, its vote is not");
    cluster.input(id("a"), LogInput::Stored(Lsn(2)));
    assert_eq!(votes_for(&cluster, "a"), [(5, true)]);
}

#[test]
fn section_5_2_nobody_is_asked_before_the_own_vote_is_on_the_disk() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.campaign("a");
    assert!(cluster.flights.is_empty());
    cluster.sync("a");
    assert_eq!(cluster.flights.len(), 2);
}

#[test]
fn section_5_2_a_leader_needs_a_majority() {
    let mut cluster = Cluster::new(&["a", "b", "c", "d", "e"]);
    for other in ["c", "d", "e"] {
        cluster.part("a", other);
    }
    cluster.campaign("a");
    cluster.settle();
    assert_eq!(cluster.status("a").standing, Standing::Candidate, "two of five");
    cluster.heal();
    cluster.part("a", "d");
    cluster.part("a", "e");
    cluster.elect("a");
}

#[test]
fn section_5_1_whoever_hears_of_a_greater_term_follows() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    let message = Message::VoteReply { term: Term(9), granted: false };
    cluster.input(id("a"), LogInput::Message { from: id("b"), message });
    assert_eq!((cluster.status("a").standing, cluster.status("a").term), (Standing::Follower, Term(9)));
}

#[test]
fn section_5_1_messages_of_older_terms_are_refused() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.isolate("a");
    cluster.elect("b");
    cluster.heal();
    let old = cluster.status("a").term;
    cluster.advance(ms(60));
    assert!(cluster.status("a").term > old, "the refusal tells the term");
    assert_eq!((cluster.status("a").leader, cluster.leaders()), (Some(id("b")), vec!["b"]));
}

#[test]
fn section_5_2_candidates_that_split_the_votes_try_again() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.campaign("a");
    cluster.campaign("b");
    cluster.settle();
    assert!(cluster.leaders().is_empty(), "each has voted for itself");
    cluster.advance(ms(1500));
    assert_eq!(cluster.leaders().len(), 1);
}

#[test]
fn section_5_4_1_a_vote_goes_only_to_a_log_that_is_as_new() {
    let mut cluster = Cluster::unstarted(&["a", "b", "c"], crate::agents::raft::Options::default());
    cluster.fill("a", &[1, 2, 2], 2);
    cluster.start_all();
    for (term, last, last_term, granted) in
        [(3, 9, 1, false), (4, 2, 2, false), (5, 3, 2, true), (6, 4, 2, true), (7, 1, 3, true)]
    {
        let replies = ask_for_vote(&mut cluster, "b", "a", candidacy(term, last, last_term));
        assert_eq!(replies, [(term, granted)], "{last} {last_term}");
    }
}

#[test]
fn section_9_6_a_server_that_was_cut_off_does_not_raise_the_term() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    let term = cluster.status("a").term;
    cluster.isolate("c");
    cluster.advance(ms(3000));
    assert_eq!((cluster.status("c").standing, cluster.status("c").term), (Standing::PreCandidate, term));
    cluster.heal();
    cluster.advance(ms(600));
    assert_eq!((cluster.leaders(), cluster.status("a").term), (vec!["a"], term));
}

#[test]
fn section_9_6_who_would_not_be_elected_does_not_begin() {
    let mut cluster = Cluster::unstarted(&["a", "b", "c"], crate::agents::raft::Options::default());
    cluster.fill("b", &[1], 1);
    cluster.fill("c", &[1], 1);
    cluster.start_all();
    for _ in 0..20 {
        cluster.act("a", |raft| raft.election_at = Some(raft.now));
        cluster.input(id("a"), LogInput::Timeout);
        cluster.settle();
    }
    let status = cluster.status("a");
    assert_eq!(status.term, Term(1), "it learned the term of the others, and began none");
}

#[test]
fn section_4_2_3_who_has_just_heard_of_a_leader_votes_for_nobody() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    let (term, last) = (cluster.status("b").term, cluster.status("b").last);
    let wanted = candidacy(term.0 + 1, last.0, term.0);
    assert_eq!(ask_for_vote(&mut cluster, "c", "b", wanted), []);
    assert_eq!(cluster.status("b").term, term, "not even the term changes");
    cluster.now = cluster.now + ms(250);
    assert_eq!(ask_for_vote(&mut cluster, "c", "b", wanted), [(term.0 + 1, true)]);
}

#[test]
fn section_6_2_a_leader_that_reaches_no_majority_gives_up() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.isolate("a");
    cluster.advance(ms(450));
    assert!(cluster.leaders().contains(&"a"));
    cluster.advance(ms(110));
    assert!(!cluster.leaders().contains(&"a"));
    assert_eq!(cluster.status("a").leader, None);
}

#[test]
fn section_6_2_a_majority_is_enough_for_a_leader_to_stay() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.elect("a");
    cluster.isolate("c");
    cluster.advance(ms(3000));
    assert_eq!(cluster.leaders(), ["a"]);
}

#[test]
fn a_leader_whose_links_break_is_replaced_without_waiting_for_the_time_out() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        cluster.advance(ms(seed));
        cluster.elect("a");
        cluster.advance(ms(100));
        cluster.crash("a");
        cluster.advance(ms(135));
        assert_eq!(cluster.leaders().len(), 1);
    }
}

#[test]
fn where_leases_are_relied_on_a_broken_link_does_not_shorten_them() {
    use crate::agents::raft::{Options, Reads};
    let options = Options { reads: Reads::Lease, ..Options::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], options);
    cluster.elect("a");
    cluster.advance(ms(100));
    cluster.crash("a");
    cluster.advance(ms(240 - 50));
    assert!(cluster.leaders().is_empty());
    cluster.advance(ms(200));
    assert_eq!(cluster.leaders().len(), 1);
}

#[test]
fn a_single_server_leads_at_once() {
    let mut cluster = Cluster::new(&["a"]);
    cluster.settle();
    cluster.propose("a", "x");
    cluster.settle();
    assert_eq!(cluster.records("a"), ["x"]);
}

#[test]
fn section_5_6_a_leader_is_elected_although_disks_take_longer_than_the_time_out() {
    for seconds_4 in [1, 2, 4, 8] {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            cluster.node_mut(name).syncs = false;
        }
        // A disk begins with what has gathered while it was busy.
        let mut waited = 0;
        while cluster.leaders().is_empty() || cluster.records("c").is_empty() {
            if waited == 0 {
                cluster.propose("c", "x");
            }
            cluster.advance(ms(250 * seconds_4));
            for name in ["a", "b", "c"] {
                cluster.sync(name);
            }
            waited += 1;
            assert!(waited < 40, "no leader in {waited} times {} ms", 250 * seconds_4);
        }
        assert_eq!(cluster.records("c"), ["x"]);
    }
}
