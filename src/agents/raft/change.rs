//! Changes of who belongs to the log, by way of joint majorities (Raft, section 6), and of who leads it (thesis, section 3.10).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Raft;
use super::entry::Payload;
use super::membership::Membership;
use super::message::Message;
use crate::agent::Index;
use crate::agents::replicated::{Change as Wanted, ChangeError, LogOutput, MemberId};
use crate::time::Time;

/// Members are kept beside the log several times while they change, and there is not much room.
const MEMBERS_BYTES_MAX: usize = 480;
/// A new member that does not come nearer for so many election time-outs is given up.
const PATIENCE: u32 = 20;
/// A new member has to catch up in so many rounds at most; each ends at what was the last entry when it began (thesis, section 4.2.1).
const ROUNDS_MAX: u32 = 10;
/// So many answers are remembered, for those who did not get them.
const ANSWERS_MAX: usize = 16;

/// A change that the leader is making.
#[derive(Clone, Debug)]
pub(super) struct Change {
    asker: Asker,
    stage: Stage,
}

/// Who wants it, and under what number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asker {
    member: MemberId,
    id: u64,
}

#[derive(Clone, Debug)]
enum Stage {
    /// New voters get the log, before their votes could be missed.
    CatchUp(Box<CatchUp>),
    /// The entry in which both sides have a vote is being committed.
    Joint { index: Index },
    /// The last entry of the change is.
    Last { index: Index, result: Result<(), ChangeError> },
    /// Another member is to lead once it has everything.
    Transfer { to: MemberId, until: Time },
}

#[derive(Clone, Debug)]
struct CatchUp {
    goal: Membership,
    /// Who has to.
    who: BTreeSet<MemberId>,
    /// Who belonged to the log before.
    before: Membership,
    /// The last entry when the round began.
    target: Index,
    round: u32,
    began_at: Time,
    /// How far they had come when they last had come farther, and when that was.
    reached: u64,
    reached_at: Time,
}

/// Changes that this member's server wants, and what is left of those that it made as a leader.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Those that a leader was asked for, or will be.
    wanted: BTreeMap<u64, (u64, Wanted)>,
    ids: u64,
    /// What others were told.
    answered: VecDeque<(Asker, Result<(), ChangeError>)>,
    /// Whom this member has asked to take over, for whom, until it is known who does.
    handing_over: Option<(Asker, MemberId)>,
}

impl Changes {
    pub(super) fn is_waiting(&self) -> bool {
        !self.wanted.is_empty()
    }
}

// Whoever wants a change.
impl Raft {
    pub(super) fn want_change(&mut self, token: u64, change: Wanted) {
        let reachable = self.leader.filter(|leader| *leader == self.id || self.up.contains(leader));
        let Some(leader) = reachable else {
            return self.out.push(LogOutput::Changed { token, result: Err(ChangeError::NoLeader) });
        };
        self.changes.ids += 1;
        // Other members remember whom they have answered: another life of this one is not to get an old one's answer.
        let id = self.changes.ids.wrapping_add(self.rng.number() << 16);
        self.changes.wanted.insert(id, (token, change.clone()));
        if leader == self.id {
            self.on_change(leader, id, change);
        } else {
            self.send(leader, Message::Change { id, change });
            self.arm_retry();
        }
    }

    pub(super) fn ask_for_changes_again(&mut self) {
        let Some(leader) = self.leader.filter(|leader| *leader != self.id) else { return };
        let wanted: Vec<(u64, Wanted)> =
            self.changes.wanted.iter().map(|(id, (_, change))| (*id, change.clone())).collect();
        for (id, change) in wanted {
            self.send(leader, Message::Change { id, change });
        }
    }

    pub(super) fn on_change_reply(&mut self, _: MemberId, id: u64, result: Result<(), ChangeError>) {
        if let Some((token, _)) = self.changes.wanted.remove(&id) {
            self.out.push(LogOutput::Changed { token, result });
        }
    }

    /// There is another leader: what the last one was asked for may or may not have been done. If it was to be replaced by this one, it was.
    pub(super) fn changes_meet_leader(&mut self, leader: MemberId) {
        if let Some((asker, to)) = self.changes.handing_over.take() {
            let result = if to == leader { Ok(()) } else { Err(ChangeError::NoLeader) };
            self.answer_change(asker, result);
        }
        for (token, change) in std::mem::take(&mut self.changes.wanted).into_values() {
            let result = match change {
                Wanted::Transfer(name) if MemberId::of(&name) == leader => Ok(()),
                _ => Err(ChangeError::NoLeader),
            };
            self.out.push(LogOutput::Changed { token, result });
        }
    }

    pub(super) fn fail_changes(&mut self) {
        for (token, _) in std::mem::take(&mut self.changes.wanted).into_values() {
            self.out.push(LogOutput::Changed { token, result: Err(ChangeError::NoLeader) });
        }
    }

    fn answer_change(&mut self, asker: Asker, result: Result<(), ChangeError>) {
        if asker.member == self.id {
            return self.on_change_reply(self.id, asker.id, result);
        }
        self.changes.answered.push_back((asker, result.clone()));
        if self.changes.answered.len() > ANSWERS_MAX {
            self.changes.answered.pop_front();
        }
        self.send(asker.member, Message::ChangeReply { id: asker.id, result });
    }
}

// The leader.
impl Raft {
    pub(super) fn on_change(&mut self, from: MemberId, id: u64, change: Wanted) {
        let asker = Asker { member: from, id };
        if let Some((_, result)) = self.changes.answered.iter().find(|(known, _)| *known == asker) {
            let result = result.clone();
            return self.send(from, Message::ChangeReply { id, result });
        }
        if self.is_early() {
            // Who belongs to the log is certain only when something of this term is committed.
            return self.put_off(from, Message::Change { id, change }, 0);
        }
        let Some(reign) = &self.reign else { return };
        if reign.change.as_ref().is_some_and(|known| known.asker == asker) {
            return;
        }
        let members = self.members.latest();
        if reign.change.is_some() || members.is_joint() || self.members.latest_index() > self.committed {
            return self.answer_change(asker, Err(ChangeError::Busy));
        }
        match self.plan(&change) {
            Ok(Some(stage)) => {
                self.out.note(|| format!("raft: begins {change:?}"));
                if let Some(reign) = &mut self.reign {
                    reign.change = Some(Change { asker, stage });
                }
                self.advance_change();
            }
            Ok(None) => self.answer_change(asker, Ok(())),
            Err(what) => self.answer_change(asker, Err(ChangeError::Refused(what))),
        }
    }

    /// How a change begins; `None` if there is nothing to do.
    fn plan(&mut self, change: &Wanted) -> Result<Option<Stage>, String> {
        let before = self.members.latest().clone();
        let known = |name: &str| {
            let id = MemberId::of(name);
            if before.contains(id) { Ok(id) } else { Err(format!("{name:?} does not belong to the log")) }
        };
        let mut goal = before.clone();
        match change {
            Wanted::AddLearner(name) => {
                if name.is_empty() {
                    return Err("a member has a name".to_owned());
                }
                if before.contains(MemberId::of(name)) {
                    return Err(format!("{name:?} belongs to the log already"));
                }
                let id = goal.call(name);
                goal.learners.insert(id);
            }
            Wanted::Remove(name) => {
                let id = known(name)?;
                goal.learners.remove(&id);
                goal.voters.remove(&id);
                if goal.voters.is_empty() {
                    return Err(format!("{name:?} is the last one with a vote"));
                }
            }
            Wanted::SetVoters(names) => {
                if names.is_empty() || names.iter().any(String::is_empty) {
                    return Err("name at least one member with a vote".to_owned());
                }
                goal.voters = names.iter().map(|name| goal.call(name)).collect();
                goal.learners.clear();
            }
            Wanted::Transfer(name) => {
                let to = known(name)?;
                if !before.voters.contains(&to) {
                    return Err(format!("{name:?} has no vote and cannot lead"));
                }
                let until = self.now + self.options.election * 2;
                return Ok((to != self.id).then_some(Stage::Transfer { to, until }));
            }
        }
        goal.tidy();
        let mut bytes = Vec::new();
        goal.encode(&mut bytes);
        if bytes.len() > MEMBERS_BYTES_MAX {
            return Err(format!("the names of all members together have at most {MEMBERS_BYTES_MAX} bytes"));
        }
        Ok(if goal == before { None } else { Some(self.begin(goal, before)) })
    }

    fn begin(&mut self, goal: Membership, before: Membership) -> Stage {
        if goal.voters == before.voters {
            let index = self.append(Payload::Members(goal).to_bytes());
            return Stage::Last { index, result: Ok(()) };
        }
        let who: BTreeSet<MemberId> = goal.voters.difference(&before.voters).copied().collect();
        let mut extended = before.clone();
        for (id, name) in goal.named(&who) {
            extended.call(&name);
            extended.learners.insert(id);
        }
        if extended != before {
            self.append(Payload::Members(extended).to_bytes());
        }
        let target = self.log.last();
        let now = self.now;
        Stage::CatchUp(Box::new(CatchUp {
            goal,
            who,
            before,
            target,
            round: 1,
            began_at: now,
            reached: 0,
            reached_at: now,
        }))
    }

    /// Goes on with the change that is being made, as far as that is possible now.
    pub(super) fn advance_change(&mut self) {
        let Some(change) = self.reign.as_mut().and_then(|reign| reign.change.take()) else {
            return self.finish_joint();
        };
        let Change { asker, stage } = change;
        let stage = match stage {
            Stage::CatchUp(catch_up) => Some(self.catch_up(catch_up)),
            Stage::Joint { index } if index <= self.committed => {
                let index = self.append_last();
                Some(Stage::Last { index, result: Ok(()) })
            }
            Stage::Last { index, result } if index <= self.committed => {
                self.answer_change(asker, result);
                None
            }
            Stage::Transfer { to, until } => self.go_on_handing_over(asker, to, until),
            waiting => Some(waiting),
        };
        if let (Some(stage), Some(reign)) = (stage, &mut self.reign) {
            reign.change = Some(Change { asker, stage });
        } else {
            self.leave_if_removed();
        }
    }

    /// A change that an earlier leader has begun is brought to its end.
    fn finish_joint(&mut self) {
        if self.leads() && self.members.latest_index() <= self.committed {
            if self.members.latest().is_joint() {
                self.append_last();
            } else {
                self.leave_if_removed();
            }
        }
    }

    /// Ends the time of two majorities.
    fn append_last(&mut self) -> Index {
        let mut last = self.members.latest().clone();
        last.outgoing.clear();
        last.tidy();
        self.append(Payload::Members(last).to_bytes())
    }

    fn catch_up(&mut self, mut state: Box<CatchUp>) -> Stage {
        let Some(reign) = &self.reign else { return Stage::CatchUp(state) };
        let matched = |id: &MemberId| reign.progress.get(id).map_or(0, |progress| progress.counted.0);
        let (now, election) = (self.now, self.options.election);
        let reached: u64 = state.who.iter().map(matched).sum();
        if reached > state.reached {
            (state.reached, state.reached_at) = (reached, now);
        }
        if state.who.iter().all(|id| matched(id) >= state.target.0)
            && self.members.latest_index() <= self.committed
        {
            let is_near = now.since(state.began_at) <= election || state.round >= ROUNDS_MAX;
            if is_near {
                return self.begin_joint(state.goal, &state.before);
            }
            state.target = self.log.last();
            state.round += 1;
            state.began_at = now;
        }
        if now.since(state.reached_at) > election * PATIENCE {
            let names = state.goal.named(&state.who);
            let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
            let error = ChangeError::TimedOut(format!("{} did not catch up", names.join(", ")));
            let index = self.append(Payload::Members(state.before).to_bytes());
            return Stage::Last { index, result: Err(error) };
        }
        Stage::CatchUp(state)
    }

    fn begin_joint(&mut self, goal: Membership, before: &Membership) -> Stage {
        if !self.laws.joint_consensus {
            let index = self.append(Payload::Members(goal).to_bytes());
            return Stage::Last { index, result: Ok(()) };
        }
        let mut joint = goal;
        joint.outgoing.clone_from(&before.voters);
        for (_, name) in before.named(&before.voters) {
            joint.call(&name);
        }
        let index = self.append(Payload::Members(joint).to_bytes());
        Stage::Joint { index }
    }

    /// A leader without a vote leads until that is committed, and not longer (thesis, section 4.2.2).
    fn leave_if_removed(&mut self) {
        let is_settled = self.members.latest_index() <= self.committed;
        if self.leads() && is_settled && !self.members.latest().is_voter(self.id) {
            self.send_all();
            self.write_out();
            self.hand_over();
            self.step_down();
        }
    }

    /// Asks the voter that has most of the log to begin an election at once.
    pub(super) fn hand_over(&mut self) {
        let Some(reign) = &self.reign else { return };
        let voters = &self.members.latest().voters;
        let able = reign.progress.iter().filter(|(id, _)| voters.contains(id) && self.up.contains(id));
        let best = able.max_by_key(|(_, progress)| progress.counted).map(|(id, _)| *id);
        if let Some(to) = best {
            self.send(to, Message::TimeoutNow { term: self.term });
        }
    }

    /// Whether nothing new is taken, so that whoever is to lead gets everything.
    pub(super) fn is_transferring(&self) -> bool {
        let change = self.reign.as_ref().and_then(|reign| reign.change.as_ref());
        change.is_some_and(|change| matches!(change.stage, Stage::Transfer { .. }))
    }

    fn go_on_handing_over(&mut self, asker: Asker, to: MemberId, until: Time) -> Option<Stage> {
        if self.now >= until {
            let error = ChangeError::TimedOut(format!("{to} did not take over"));
            self.answer_change(asker, Err(error));
            self.flush_due = true;
            return None;
        }
        let (last, term) = (self.log.last(), self.term);
        if let Some(reign) = &mut self.reign
            && reign.progress.get(&to).is_some_and(|progress| progress.counted >= last)
        {
            reign.no_lease = true;
            self.send(to, Message::TimeoutNow { term });
        }
        Some(Stage::Transfer { to, until })
    }

    /// The reign is over, and with it whatever change was being made.
    pub(super) fn end_change_with_reign(&mut self, change: &Change, why: ChangeError) {
        match &change.stage {
            Stage::Transfer { to, .. } => self.changes.handing_over = Some((change.asker, *to)),
            _ => self.answer_change(change.asker, Err(why)),
        }
    }
}
