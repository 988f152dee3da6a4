//! Runs of the sound chat, and of servers that break its promises, each in one way: these prove that the checkers can fail.

mod broken;

use std::collections::BTreeMap;
use std::time::Duration;

use self::broken::{Broken, FailsTo};
use super::book::{Got, Room, Seen};
use super::checkers::{Law, Presence, Shown};
use super::{Chat, MessengerScenario, Setting, run_service};
use crate::agent::Peer;
use crate::rng::Probability;
use crate::sim::{FailureModel, Fault, Plan, Scenario, Severity, Violation};

fn plan(seed: u64) -> Plan {
    let failure_model = if seed.is_multiple_of(2) { FailureModel::Rst } else { FailureModel::Send };
    Plan { seed, failure_model, wire: seed.is_multiple_of(3), ..MessengerScenario.default_plan() }
}

/// Runs servers that fail in something, in one cluster under these faults, until somebody notices. Which checker it is.
macro_rules! caught {
    ($fails:expr, $faults:expr) => {
        caught!($fails, $faults, 1, None)
    };
    ($fails:expr, $faults:expr, $clusters:expr, $lost:expr) => {
        caught(
            |plan, setting| Chat::new(plan, setting, |messenger| Broken::new(messenger, $fails)),
            $faults,
            ($clusters, $lost),
        )
    };
}

fn caught(
    make: fn(&Plan, Setting) -> Chat,
    faults: &[Fault],
    (clusters, lost): (usize, Option<usize>),
) -> &'static str {
    let found = (1..=RUNS).find_map(|seed| {
        let plan = Plan { faults: faults.iter().copied().collect(), ..plan(seed) };
        // Rows often, and little of the log beside them.
        let mut setting = Setting { clusters, lost, open_bytes_max: 300, ..Setting::of(&plan) };
        (setting.deletes, setting.leaves_groups) = (true, true);
        (setting.moves, setting.parts) = if clusters > 1 { (5, 5) } else { (0, 0) };
        (setting.options.compact_bytes, setting.options.part_bytes_max) = (500, 300);
        setting.options.keep_after = Duration::from_millis(20);
        let mut chat = make(&plan, setting);
        let (per_step, longest) = (Probability::percent(50), Duration::from_millis(300));
        chat.severity = Some(Severity { per_step, longest, crashed_max: 1, disks: false });
        run_service(&mut chat, &plan, None).violation.map(|violation| (seed, violation))
    });
    let (seed, Violation { checker, what, .. }) =
        found.unwrap_or_else(|| panic!("nobody noticed in {RUNS} runs"));
    println!("seed {seed}: {checker}: {what}");
    checker
}

const RUNS: u64 = 40;
const CRASHES: &[Fault] = &[Fault::Crash, Fault::Break, Fault::Partition];

#[test]
fn whoever_does_not_wait_for_the_log_is_caught() {
    let checker = caught!(FailsTo::Wait, CRASHES);
    assert!(["once", "order", "remembered", "delivered"].contains(&checker), "{checker}");
}

#[test]
fn whoever_takes_what_is_sent_for_read_is_caught() {
    assert_eq!(caught!(FailsTo::HearOfReading, &[]), "marks");
}

#[test]
fn whoever_does_not_count_what_was_read_is_caught() {
    assert_eq!(caught!(FailsTo::CountWhatWasRead, &[]), "class-reads");
}

#[test]
fn whoever_shows_messages_to_others_is_caught() {
    assert_eq!(caught!(FailsTo::TellUsersApart, &[]), "strangers");
}

#[test]
fn whoever_takes_what_is_sent_again_for_new_is_caught() {
    let checker = caught!(FailsTo::KnowAgain, CRASHES);
    // A server that counts no messages of a client does not know it when it comes again, either.
    assert!(["once", "remembered"].contains(&checker), "{checker}");
}

#[test]
fn whoever_does_not_keep_the_order_is_caught() {
    assert_eq!(caught!(FailsTo::KeepTheOrder, &[]), "order");
}

#[test]
fn whoever_forgets_the_numbers_of_clients_with_the_log_is_caught() {
    let checker = caught!(FailsTo::KeepNumbers, CRASHES);
    assert!(["remembered", "once"].contains(&checker), "{checker}");
}

#[test]
fn whoever_forgets_messages_with_the_log_is_caught() {
    let checker = caught!(FailsTo::KeepMessages, CRASHES);
    assert!(["delivered", "history"].contains(&checker), "{checker}");
}

#[test]
fn whoever_pushes_out_of_order_is_caught() {
    assert_eq!(caught!(FailsTo::PushInOrder, &[]), "order");
}

#[test]
fn whoever_lets_marks_go_back_is_caught() {
    assert_eq!(caught!(FailsTo::KeepMarksUp, &[]), "marks");
}

#[test]
fn whoever_does_not_answer_is_caught() {
    assert_eq!(caught!(FailsTo::Answer, &[]), "answered");
}

#[test]
fn whoever_does_not_fetch_from_other_clusters_is_caught() {
    assert_eq!(caught!(FailsTo::Fetch, &[], 2, None), "delivered");
}

#[test]
fn whoever_acknowledges_what_is_not_imported_yet_is_caught() {
    let checker = caught!(FailsTo::ImportFirst, CRASHES, 2, None);
    assert!(["delivered", "marks"].contains(&checker), "{checker}");
}

#[test]
fn whoever_says_that_what_it_has_fetched_was_read_is_caught() {
    let checker = caught!(FailsTo::WaitForReaders, &[], 2, None);
    assert!(["delivered", "marks"].contains(&checker), "{checker}");
}

#[test]
fn whoever_does_not_tell_whence_messages_come_is_caught() {
    assert_eq!(caught!(FailsTo::TellWhence, CRASHES, 2, None), "shown");
}

#[test]
fn whoever_imports_again_what_was_fetched_again_is_caught() {
    let checker = caught!(FailsTo::KnowWhatItFetched, CRASHES, 2, None);
    assert!(["once", "shown"].contains(&checker), "{checker}");
}

#[test]
fn whoever_mixes_up_what_is_fetched_is_caught() {
    let checker = caught!(FailsTo::FetchInOrder, &[], 2, None);
    assert!(["order", "once"].contains(&checker), "{checker}");
}

#[test]
fn whoever_fetches_for_somebody_else_is_caught() {
    let checker = caught!(FailsTo::FetchForTheRightUser, &[], 2, None);
    assert!(["strangers", "delivered"].contains(&checker), "{checker}");
}

#[test]
fn whoever_waits_for_another_cluster_is_caught() {
    let checker = caught!(FailsTo::GoOnAlone, &[], 2, Some(1));
    assert!(["answered", "class-reads"].contains(&checker), "{checker}");
}

#[test]
fn whoever_leaves_something_of_the_past_away_is_caught() {
    assert_eq!(caught!(FailsTo::TellAll, &[]), "history");
}

#[test]
fn whoever_does_not_know_who_is_there_is_caught() {
    assert_eq!(caught!(FailsTo::HearWhoIsThere, &[]), "presence");
}

#[test]
fn whoever_does_not_let_users_leave_a_group_is_caught() {
    assert_eq!(caught!(FailsTo::LetGo, &[]), "strangers");
}

#[test]
fn whoever_does_not_let_users_go_is_caught() {
    assert_eq!(caught!(FailsTo::LetUsersGo, &[]), "heirs");
}

#[test]
fn users_of_a_sound_chat_see_what_they_should_and_nothing_else() {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 1..=8 {
        let plan = plan(seed);
        let mut chat = Chat::new(&plan, Setting::of(&plan), |messenger| messenger);
        let outcome = run_service(&mut chat, &plan, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        for seen in chat.book.borrow().iter() {
            let what = match seen {
                Seen::Got(Got { from: Some(_), .. }) => "fetched from another cluster",
                Seen::Got(_) => "got",
                Seen::Shown { .. } => "shown",
                Seen::GaveUp { .. } => "given up",
                Seen::HasVisited { .. } => "visits",
                Seen::Moved { .. } => "moves",
                Seen::IsDeleted { .. } => "deleted",
                Seen::HasLeft { .. } => "left a group",
                Seen::LookedBack(looked) if looked.messages.len() > 7 => "looked back",
                Seen::Asked { .. } => "asked who is there",
                Seen::Closing { lost: Some(_) } => "lost clusters",
                _ => continue,
            };
            *counts.entry(what).or_default() += 1;
        }
    }
    println!("{counts:?}");
    let enough = [
        ("got", 1_000),
        ("shown", 1_000),
        ("fetched from another cluster", 100),
        ("given up", 1),
        ("visits", 8),
        ("moves", 20),
        ("lost clusters", 1),
        ("left a group", 1),
        ("looked back", 8),
        ("deleted", 1),
        ("asked who is there", 8),
    ];
    for (what, least) in enough {
        let count = counts.get(what).copied().unwrap_or_default();
        assert!(count >= least, "too little happens to find anything: {what} {count}");
    }
}

#[test]
fn a_client_that_shows_what_it_should_not_is_caught() {
    let life = (Peer(7), 1);
    let place = |sequence| (Room { cluster: 0, conversation: 5 }, sequence);
    let got = |sequence| {
        let (user, sender, text) = ("u1".to_owned(), "u3".to_owned(), format!("text {sequence}"));
        Seen::Got(Got { user, life, connection: 1, sender, from: None, text, place: place(sequence) })
    };
    let shown = |sequence| {
        let (user, of, text) = ("u1".to_owned(), "u3".to_owned(), format!("text {sequence}"));
        Seen::Shown { life, user, of, text, place: place(sequence) }
    };
    let sees = |all: &[Seen]| {
        let mut law = Shown::default();
        all.iter().try_for_each(|seen| law.see(seen))
    };
    assert_eq!(sees(&[got(1), shown(1), got(1), got(2), shown(2)]), Ok(()));
    sees(&[got(1), shown(1), got(1), shown(1)]).expect_err("twice");
    sees(&[got(1), got(2), shown(2), shown(1)]).expect_err("in another order");
    sees(&[got(1), shown(1), shown(2)]).expect_err("before it has come");
}

#[test]
fn a_server_that_does_not_say_who_is_gone_for_good_is_caught() {
    let (life, user, cluster) = ((Peer(7), 1), "u1".to_owned(), 0);
    let other = || "u4".to_owned();
    let told = |online| Seen::ToldPresence { life, user: other(), online };
    let asked = || Seen::Asked { life, told: Vec::new() };
    let deleted = |cluster| Seen::IsDeleted { user: other(), cluster };
    let logged_in = Seen::LoggedIn { life, user: user.clone(), cluster };
    let judged = |all: &[Seen]| {
        let mut law = Presence::new([user.clone()].into());
        let begun = [logged_in.clone(), Seen::Closing { lost: None }, asked()];
        begun.iter().chain(all).try_for_each(|seen| law.see(seen))?;
        law.settled(&|_| true)
    };
    assert_eq!(judged(&[told(true), deleted(0), told(false)]), Ok(()));
    assert_eq!(judged(&[told(true), told(false), deleted(0)]), Ok(()));
    assert_eq!(judged(&[told(true), deleted(1), asked()]), Ok(()));
    assert_eq!(judged(&[deleted(0)]), Ok(()));
    let again = [told(true), deleted(0), Seen::LoggedOut { life }, logged_in.clone(), asked()];
    assert_eq!(judged(&again), Ok(()), "who comes again knows nothing");
    judged(&[told(true), deleted(0), asked()]).expect_err("the answer does not say that somebody is gone");
}

#[test]
fn the_same_plan_is_the_same_run() {
    let run = |seed| MessengerScenario.run(&plan(seed), None).figures.digest;
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
