//! The chat under attack: two clusters of real servers, whose users write, read, leave, come back and move, while servers of both are struck.
//!
//! Each cluster is attacked by itself, so that both can be in trouble at the same time. In the end all is mended, all users log in in all their clusters, and
//! have the time to fetch what is theirs. What must hold is said in [`book`].

pub mod book;
pub mod clusters;
pub mod plan;
pub mod user;

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use self::book::Judgement;
use self::clusters::Clusters;
use self::plan::{Plan, Room, TAGS};
use self::user::{Desk, Phase, User};
use super::strikes::{Kind, Strikes};
use super::{Options, Progress};
use crate::rng::Rng;
use crate::talk::{Answer, ClientEvent, Talk};
use crate::wire::proto::{Group, Route, group, route};

/// What was done and what came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many strikes there were of each kind.
    pub strikes: Vec<(Kind, u64)>,
    /// For how long users worked, attack and healing.
    pub took: Duration,
    /// What the users did and saw.
    pub judgement: Judgement,
}

/// Attacks a chat; `progress` is told how far it has come. An error means that nothing could be judged.
pub fn run(options: &Options, progress: &Progress<'_>) -> anyhow::Result<Report> {
    let mut clusters = Clusters::new(options)?;
    clusters.start_all()?;
    progress(Duration::ZERO, "users are registered");
    let plan = Arc::new(Plan::new(options.clients));
    let desk = Arc::new(Desk::new(plan, clusters.clients_at.clone(), options.rate));
    let mut seeds = Rng::new(options.seed ^ USERS_SEED);
    settle(&desk, &clusters, &mut seeds).map_err(|error| clusters.explain(error))?;
    let begun = Instant::now();
    let users = start(&desk, &mut seeds)?;
    let record = Mutex::new(File::create(options.folder.join(RECORD)).context("cannot write what is done")?);
    let strikes = attack(&mut clusters, options, &|at, what| {
        let line = format!("{:.3} s: {what}\n", desk.at().as_secs_f64());
        // The outcome does not depend on it.
        let _ = record.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        progress(at, what);
    });
    desk.set(Phase::Fetch);
    if strikes.is_ok() {
        progress(options.lasts, "all is mended; users fetch what is theirs");
        fetch(&desk);
    }
    desk.set(Phase::Go);
    let ends: Vec<_> = users.into_iter().map(JoinHandle::join).collect();
    let took = begun.elapsed();
    let strikes = strikes?;
    clusters.check()?;
    ensure!(ends.iter().all(Result::is_ok), "a user's thread has panicked");
    let desk = Arc::into_inner(desk).context("all who wrote into the book have ended")?;
    Ok(Report { strikes, took, judgement: desk.into_book().judge() })
}

/// Registers all users, and makes the groups.
fn settle(desk: &Desk, clusters: &Clusters, rng: &mut Rng) -> anyhow::Result<()> {
    let plan = &desk.plan;
    for (user, person) in plan.users.iter().enumerate() {
        for &cluster in &person.clusters {
            let talk = enter(desk, clusters, (user, cluster), rng);
            talk.with_context(|| format!("{} cannot enter {}", person.name, TAGS[cluster]))?;
        }
    }
    for Room { name, cluster, members } in &plan.groups {
        let mut talk = enter(desk, clusters, (members[0], *cluster), rng)?;
        ask(&mut talk, name, group::Action::Create, None)?;
        for &member in &members[1..] {
            ask(&mut talk, name, group::Action::Adduser, Some(&plan.users[member].name))?;
        }
    }
    Ok(())
}

/// Logs a user in, who is registered if need be.
fn enter(
    desk: &Desk,
    clusters: &Clusters,
    (user, cluster): (usize, usize),
    rng: &mut Rng,
) -> anyhow::Result<Talk> {
    let mut talk = desk.client(user, cluster, true, rng);
    let limit = Instant::now() + SETTLE_LIMIT;
    while Instant::now() < limit {
        clusters.check()?;
        match talk.next(STEP) {
            Some(ClientEvent::LoggedIn { .. }) => return Ok(talk),
            Some(ClientEvent::LogInFailed { why }) => bail!("{why}"),
            _ => {}
        }
    }
    bail!("no server lets them in within {} s", SETTLE_LIMIT.as_secs())
}

/// Makes a group or adds a member. Nothing is attacked yet.
fn ask(talk: &mut Talk, gname: &str, action: group::Action, username: Option<&str>) -> anyhow::Result<()> {
    let group = Group {
        gname: gname.to_owned(),
        gid: None,
        action: action.into(),
        username: username.map(str::to_owned),
    };
    let route = Route {
        path: route::Path::Group.into(),
        payload: Some(route::Payload::Group(group)),
        ..Route::default()
    };
    let asked = talk.ask(route);
    let limit = Instant::now() + SETTLE_LIMIT;
    while Instant::now() < limit {
        match talk.next(STEP) {
            Some(ClientEvent::Answer { request, answer: Answer::Done }) if request == asked => return Ok(()),
            Some(ClientEvent::Answer { request, answer }) if request == asked => {
                bail!("the group {gname} cannot be made: {answer:?}")
            }
            _ => {}
        }
    }
    bail!("the group {gname} is not made within {} s", SETTLE_LIMIT.as_secs())
}

/// Sets all users to work.
fn start(desk: &Arc<Desk>, seeds: &mut Rng) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let users = (0..desk.plan.users.len()).map(|number| {
        let user = User::new(number, desk, seeds.fork());
        let name = desk.plan.users[number].name.clone();
        thread::Builder::new().name(name).spawn(move || user.run()).context("no thread for a user")
    });
    users.collect()
}

/// Attacks both clusters at the same time; how many strikes there were of each kind.
fn attack(
    clusters: &mut Clusters,
    options: &Options,
    progress: &Progress<'_>,
) -> anyhow::Result<Vec<(Kind, u64)>> {
    let mut seeds = Rng::new(options.seed);
    let ending = AtomicBool::new(false);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let attacks = clusters.servers.iter_mut().zip(TAGS).map(|(servers, tag)| {
            let mut strikes = Strikes::new(seeds.number(), options.servers, &options.kinds);
            let ending = &ending;
            scope.spawn(move || {
                let say = |at: Duration, what: &str| progress(at, &format!("{tag}: {what}"));
                servers.attack(&mut strikes, options.lasts, ending, &say)
            })
        });
        // All are begun before the first is waited for.
        let attacks: Vec<_> = attacks.collect();
        attacks.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut counts: Vec<(Kind, u64)> = options.kinds.iter().map(|&kind| (kind, 0)).collect();
    for outcome in outcomes {
        let strikes = outcome.map_err(|_| anyhow!("an attack's thread has panicked"))??;
        for (count, (_, more)) in counts.iter_mut().zip(strikes) {
            count.1 += more;
        }
    }
    Ok(counts)
}

/// Waits until nothing is missing, or for as long as that may take; less, if something is wrong already.
fn fetch(desk: &Desk) {
    let begun = Instant::now();
    let limit = || if desk.book().is_well() { FETCH_LIMIT } else { FETCH_LIMIT / 20 };
    while begun.elapsed() < limit() && !desk.is_complete() {
        thread::sleep(STEP);
    }
}

/// Beside the configuration: when what was done to whom.
const RECORD: &str = "strikes.log";
/// How long a user may take to be registered, on a machine where servers have just begun.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take until everybody has everything, when all is well again.
const FETCH_LIMIT: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(200);
/// What sets the users' random source apart from that of the strikes.
const USERS_SEED: u64 = 0x00c1_1e18;
