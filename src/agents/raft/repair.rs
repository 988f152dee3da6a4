//! A damaged log is got back from the others before its member takes part again (after Alagappan et al., "Protocol-Aware Recovery for Consensus-Based
//! Storage", FAST 2018).
//!
//! What the member has lost it may have acknowledged, so it may be committed by its word; and it may have forgotten whom it gave a vote. So it neither votes nor counts. It asks
//! the leader, and that puts an entry of its own into the log. Once this entry is committed, which no member under repair has helped to, every entry that is committed
//! by the lost acknowledgements lies before it: the leader was elected by a majority that had those. And nobody who has a forgotten vote can be elected: his log
//! cannot hold the new entry, as he got the vote before it was made, and one of any majority has it and refuses him. So with everything up to it, the member may vote.

use super::disk::HardState;
use super::entry::Payload;
use super::membership::{Membership, Memberships};
use super::message::Message;
use super::progress::Flow;
use super::{Phase, Raft};
use crate::agent::{Index, Term};
use crate::agents::replicated::MemberId;

/// A repair that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repair {
    nonce: u64,
    /// Whether who belongs to the log is not known for certain.
    pub(super) members_lost: bool,
    /// Everything up to here has to be got back, as the leader says.
    target: Option<Index>,
}

impl Raft {
    /// Takes no part until everything is back.
    pub(super) fn begin_repair(&mut self, members_lost: bool) {
        self.counters.repairs += 1;
        self.repair = Some(Repair { nonce: self.rng.number(), members_lost, target: None });
    }

    /// Asks the leader what has to be got back, unless it has said so.
    pub(super) fn ask_for_repair(&mut self) {
        let Some(repair) = self.repair.as_ref().filter(|_| self.phase == Phase::Running) else { return };
        let nonce = repair.nonce;
        if repair.target.is_some() {
            return;
        }
        if let Some(leader) = self.leader {
            self.send(leader, Message::Repair { nonce });
        }
        self.arm_retry();
    }

    pub(super) fn on_repair(&mut self, from: MemberId, nonce: u64) {
        let next = Index(self.log.last().0 + 1);
        let Some(reign) = &mut self.reign else { return };
        let Some(progress) = reign.progress.get_mut(&from) else { return };
        if reign.repairs.get(&from).is_some_and(|(known, _)| *known == nonce) {
            return self.answer_repairs(Index(0));
        }
        (progress.matched, progress.counted) = (Index(0), Index(0));
        if !matches!(progress.flow, Flow::Snapshot(_)) {
            progress.probe_from(next);
        }
        let index = self.append(Payload::Nothing.to_bytes());
        if let Some(reign) = &mut self.reign {
            reign.repairs.insert(from, (nonce, index));
        }
    }

    /// Tells members under repair what they have to get back, as far as that is committed, but was not `before`.
    pub(super) fn answer_repairs(&mut self, before: Index) {
        let Some(reign) = &self.reign else { return };
        let due: Vec<(MemberId, u64, Index)> = reign
            .repairs
            .iter()
            .filter(|(_, (_, index))| *index > before && *index <= self.committed)
            .map(|(id, (nonce, index))| (*id, *nonce, *index))
            .collect();
        for (id, nonce, target) in due {
            let members =
                self.members.history().iter().filter(|(index, _)| *index <= target).cloned().collect();
            self.answer(id, Message::RepairReply { term: self.term, nonce, target, members });
        }
    }

    pub(super) fn on_repair_reply(
        &mut self,
        from: MemberId,
        term: Term,
        nonce: u64,
        target: Index,
        members: &[(Index, Membership)],
    ) {
        if !self.accept_leader(from, term) {
            return;
        }
        let Some(repair) = self.repair.as_mut().filter(|repair| repair.nonce == nonce) else { return };
        if repair.target.is_some() {
            return;
        }
        repair.target = Some(target);
        if repair.members_lost {
            // Those that came in entries after that stay.
            let later = self.members.history().iter().filter(|(index, _)| *index > target);
            let known = members.iter().chain(later).cloned().collect();
            if let Some(known) = Memberships::from_history(known) {
                self.members = known;
            }
        }
        // It may have voted for this leader; it can have voted for nobody else who could still be elected in this term.
        self.voted.get_or_insert(from);
        self.persist();
        self.check_repaired();
    }

    /// Takes part again if everything is back, and on the disk.
    pub(super) fn check_repaired(&mut self) {
        let Some(target) = self.repair.as_ref().and_then(|repair| repair.target) else { return };
        if self.agreed.min(self.disk.stored_index()) >= target {
            self.out.note(|| format!("raft: repaired up to {target}"));
            self.repair = None;
            self.persist();
            // The leader learns by it that this member counts again.
            self.acknowledged = Index(0);
            self.acknowledge();
        }
    }

    /// A leader is known that was not: whatever only a leader can do is asked of it.
    pub(super) fn meet_leader(&mut self, leader: MemberId) {
        self.ask_for_repair();
        self.changes_meet_leader(leader);
    }

    /// What was kept beside the log.
    pub(super) fn take_state(&mut self, state: &HardState) {
        self.term = self.term.max(state.term);
        self.voted = state.voted.filter(|_| self.term == state.term);
    }
}
