//! What leaves a member: gathered until the end of a turn, held back until the disk has what it rests on, and asked again for as long as nobody answers.

use super::Raft;
use super::disk::Deferred;
use super::message::Message;
use crate::agent::{Lsn, Write};
use crate::agents::replicated::{LogOutput, MemberId};

impl Raft {
    /// Sends what has gathered: to everybody if this member leads, to the leader otherwise.
    pub(super) fn flush(&mut self) {
        (self.flush_due, self.gathered_bytes) = (false, 0);
        self.submit();
        self.submit_reads();
        if self.reign.is_some() {
            self.begin_round_for_reads();
            self.send_all();
        }
        self.write_out();
        if !self.laws.acknowledge_after_sync {
            self.advance_commit();
        }
    }

    /// Records have come; enough of them are not held back until the end of the turn.
    pub(super) fn gather(&mut self, bytes: usize) {
        self.flush_due = true;
        self.gathered_bytes += bytes;
        if self.gathered_bytes >= self.options.batch_bytes_max {
            self.flush();
        }
    }

    pub(super) fn send(&mut self, to: MemberId, message: Message) {
        if self.up.contains(&to) {
            self.out.push(LogOutput::Send(to, message));
        }
    }

    /// Sends what must not be said before term and vote are on the disk.
    pub(super) fn answer(&mut self, to: MemberId, message: Message) {
        if self.disk.has(self.state_lsn) || !self.laws.vote_after_sync {
            self.send(to, message);
        } else {
            self.disk.defer(self.state_lsn, Deferred::Send(to, message));
        }
    }

    pub(super) fn write(&mut self, write: Write) -> Lsn {
        self.out.push(LogOutput::Write(write));
        self.disk.write()
    }

    /// Hands entries to the disk that it does not have.
    pub(super) fn write_out(&mut self) {
        for entry in self.log.take_unwritten() {
            self.out.push(LogOutput::Write(Write::Append { entry: entry.clone() }));
            self.disk.append(entry.index);
        }
    }

    /// Asks for things again that a leader has not answered, from some time on.
    pub(super) fn arm_retry(&mut self) {
        if self.retry_at.is_none() {
            self.retry_at = Some(self.now + self.options.election);
            self.proposals.mark();
        }
    }

    pub(super) fn retry(&mut self) {
        self.retry_at = None;
        if self.proposals.is_stuck() {
            self.proposals.forget_sent();
            self.counters.repeated += 1;
        }
        self.submit_reads_again();
        self.ask_for_changes_again();
        self.ask_for_repair();
        if self.proposals.is_waiting()
            || self.asked.is_waiting()
            || self.changes.is_waiting()
            || self.repair.is_some()
        {
            self.flush_due = true;
            self.arm_retry();
        }
    }
}
