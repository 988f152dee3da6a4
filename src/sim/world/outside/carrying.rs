//! What travels on connections, and how these end.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::News;
use super::pipes::{ConnectionId, Lane, Pipe, PipeEnd, Sent, Stage, Stretch};
use crate::agent::{Agent, Conn, DRAINED_BYTES, Input, Inward, Peer, QUEUE_BYTES_MAX, Why};
use crate::rng::Probability;
use crate::sim::FailureModel;
use crate::sim::world::{Event, World, mark};
use crate::time::Time;
use crate::trace::What;

impl<A: Agent> World<A> {
    /// The connections that are there, with the agents at their ends: who dialled, and who was dialled. They are numbered in the order in which they were opened.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionId, [Peer; 2])> {
        self.outside.pipes.ends()
    }

    /// Breaks a connection: what is on its way is gone, and both ends are told. Whether it was there.
    pub fn break_connection(&mut self, connection: ConnectionId) -> bool {
        let is_there = self.outside.pipes.get(connection).is_some();
        self.cut_pipe(PipeEnd { pipe: connection, end: 0 }, Why::Broken);
        is_there
    }

    /// Lets nothing arrive over a connection for a while, in neither direction. Whether it is there.
    pub fn stall_connection(&mut self, connection: ConnectionId, duration: Duration) -> bool {
        let until = self.now + duration;
        let Some(pipe) = self.outside.pipes.get_mut(connection) else { return false };
        pipe.stalled_until = pipe.stalled_until.max(until);
        let peer = pipe.ends[0].peer;
        self.digest(mark::STALL, peer, u64::from(connection.0));
        true
    }

    pub(super) fn send_frames(&mut self, from: Peer, conn: Conn, bytes: Bytes) {
        let at = PipeEnd::of(conn);
        let id = self.next_message;
        self.next_message += 1;
        self.digest(mark::SEND_FRAMES, from, conn.0);
        self.digest.bytes(&bytes);
        if self.outside.pipes.end(at).is_none_or(|end| end.peer != from || end.stage != Stage::Open) {
            return self
                .tell(from, |_| What::Note { text: "sends on a connection that is closed".to_owned() });
        }
        let to = self.outside.pipes.end(at.other()).map_or(from, |other| other.peer);
        self.tell(from, |world| What::Send {
            to: world.name_of(to),
            link: at.pipe.to_string(),
            kind: FRAMES.to_owned(),
            text: format!("{} bytes", bytes.len()),
            id: Some(id),
        });
        if self.outside.pipes.end(at.other()).is_some_and(|other| other.stage == Stage::Dead) {
            // This is how it is noticed.
            self.tell_drop(from, to, id, "nobody is there any more");
            return self.push(
                self.now,
                Event::CutPipe { pipe: at.pipe, by_acceptor: at.end == 1, why: Why::Broken },
            );
        }
        let Some(end) = self.outside.pipes.end_mut(at) else { return };
        end.lane.sent_bytes += bytes.len();
        end.lane.waiting_bytes += bytes.len();
        end.lane.waiting.push_back(Sent { bytes, id });
        self.pump(at);
        if self.outside.pipes.end(at).is_some_and(|end| end.lane.waiting_bytes > QUEUE_BYTES_MAX) {
            self.push(
                self.now,
                Event::CutPipe { pipe: at.pipe, by_acceptor: at.end == 1, why: Why::QueueFull },
            );
        }
    }

    pub(super) fn hang_up(&mut self, peer: Peer, conn: Conn) {
        let at = PipeEnd::of(conn);
        self.digest(mark::HANG_UP, peer, conn.0);
        let Some(end) = self.outside.pipes.end_mut(at) else { return };
        if end.peer == peer && end.stage == Stage::Open {
            end.stage = Stage::HangingUp;
            self.pump(at);
        }
    }

    /// Lets leave what there is room for, in pieces of any size; tells the agent if it waits for that.
    fn pump(&mut self, at: PipeEnd) {
        let Some(pipe) = self.outside.pipes.get_mut(at.pipe) else { return };
        let (from, to) = (pipe.ends[at.end].peer, pipe.ends[at.other().end].peer);
        let lane = &mut pipe.ends[at.end].lane;
        let room = |travelling: usize| self.settings.on_the_way_bytes_max.saturating_sub(travelling);
        while let Some(first) = lane.waiting.front_mut()
            && room(lane.travelling_bytes) > 0
        {
            let rng = &mut self.outside.rng;
            let most = first.bytes.len().min(room(lane.travelling_bytes)).min(STRETCH_BYTES_MAX);
            let cut = rng.chance(CUT) && most > 1;
            let piece = first.bytes.split_to(if cut { 1 + rng.index(most) } else { most });
            let whole = first.bytes.is_empty().then_some(first.id);
            let arrives = self.now + self.settings.travel(rng, from, to);
            let joins = rng.chance(JOINED);
            lane.waiting_bytes -= piece.len();
            lane.travelling_bytes += piece.len();
            if whole.is_some() {
                lane.waiting.pop_front();
            }
            lane.put(arrives, joins, &piece, whole);
        }
        lane.late |= !lane.waiting.is_empty();
        self.after_pumping(at, from, to);
    }

    fn after_pumping(&mut self, at: PipeEnd, from: Peer, to: Peer) {
        let arrives = self.now + self.settings.travel(&mut self.outside.rng, from, to);
        let Some(end) = self.outside.pipes.end_mut(at) else { return };
        let all_sent = end.lane.waiting.is_empty();
        match end.stage {
            Stage::Open if all_sent && (end.lane.late || end.lane.sent_bytes >= DRAINED_BYTES) => {
                (end.lane.late, end.lane.sent_bytes) = (false, 0);
                self.bring(from, News::Drained { conn: at.conn() });
            }
            Stage::HangingUp if all_sent => {
                end.stage = Stage::Closed;
                end.lane.finish(arrives);
                self.bring(from, News::Closed { conn: at.conn(), why: Why::Closed, other: to });
            }
            _ => {}
        }
        self.schedule_stretch(at);
    }

    /// Puts the arrival of the first stretch of one direction into the queue of events, unless it stands there.
    fn schedule_stretch(&mut self, at: PipeEnd) {
        let Some(pipe) = self.outside.pipes.get_mut(at.pipe) else { return };
        let lane = &mut pipe.ends[at.end].lane;
        let Some(first) = lane.stretches.front().filter(|_| !lane.scheduled) else { return };
        let due = first.arrives.max(pipe.stalled_until);
        lane.scheduled = true;
        self.push(due, Event::Stretch { pipe: at.pipe, from_acceptor: at.end == 1 });
    }

    pub(in crate::sim::world) fn stretch_due(&mut self, pipe: ConnectionId, from_acceptor: bool) {
        let at = PipeEnd { pipe, end: usize::from(from_acceptor) };
        let Some(connection) = self.outside.pipes.get_mut(pipe) else { return };
        let (from, to) = (connection.ends[at.end].peer, connection.ends[at.other().end].peer);
        let early = connection.stalled_until > self.now;
        let lane = &mut connection.ends[at.end].lane;
        lane.scheduled = false;
        if early || lane.stretches.front().is_some_and(|first| first.arrives > self.now) {
            return self.schedule_stretch(at);
        }
        if self.partitions.between(from, to) || self.nodes[to.index()].paused {
            return;
        }
        let Some(stretch) = lane.stretches.pop_front() else { return };
        lane.travelling_bytes -= stretch.bytes.len();
        if stretch.last {
            return self.pipe_ended(at.other());
        }
        self.deliver_stretch(at.other(), from, &stretch);
        self.pump(at);
    }

    /// Hands an agent what has arrived, as frames.
    fn deliver_stretch(&mut self, at: PipeEnd, from: Peer, stretch: &Stretch) {
        let Some(end) = self.outside.pipes.end_mut(at) else { return };
        let to = end.peer;
        if end.stage != Stage::Open {
            return stretch
                .ids
                .iter()
                .for_each(|&id| self.tell_drop(from, to, id, "the receiver has hung up"));
        }
        let Some(mut cutter) = end.cutter.take() else { return };
        self.digest(mark::FRAMES, to, at.conn().0);
        self.digest.bytes(&stretch.bytes);
        self.tell_frames(at, from, to, stretch);
        let mut bytes = stretch.bytes.as_slice();
        while bytes.has_remaining() && self.is_open(at) {
            match cutter.cut(&mut bytes) {
                Ok(frames) if frames.is_empty() => {}
                Ok(frames) => {
                    self.figures.messages += frames.clone().count() as u64;
                    self.hand(to, Input::Outside(Inward::Frames { conn: at.conn(), frames }));
                }
                Err(error) => {
                    self.tell(to, |_| What::Note { text: error.to_string() });
                    return self.cut_pipe(at, Why::Broken);
                }
            }
        }
        if let Some(end) = self.outside.pipes.end_mut(at) {
            end.cutter = Some(cutter);
        }
    }

    fn tell_frames(&mut self, at: PipeEnd, from: Peer, to: Peer, stretch: &Stretch) {
        for &id in &stretch.ids {
            self.tell(to, |world| What::Receive {
                from: world.name_of(from),
                link: at.pipe.to_string(),
                kind: FRAMES.to_owned(),
                text: format!("{} bytes arrive", stretch.bytes.len()),
                id: Some(id),
            });
        }
    }

    fn is_open(&self, at: PipeEnd) -> bool {
        self.outside.pipes.end(at).is_some_and(|end| end.stage == Stage::Open)
    }

    /// The end of what the other side has sent has arrived at one end: that is the end of the connection.
    fn pipe_ended(&mut self, at: PipeEnd) {
        let Some(pipe) = self.outside.pipes.remove(at.pipe) else { return };
        let [here, other] = [at.end, at.other().end].map(|end| &pipe.ends[end]);
        if matches!(here.stage, Stage::Open | Stage::HangingUp) {
            let news = News::Closed { conn: at.conn(), why: Why::Closed, other: other.peer };
            self.bring(here.peer, news);
        }
        self.tell_lost(&pipe, "the receiver has hung up");
    }

    /// Ends a connection at once. The end that is named learns `why`, the other one that it is broken.
    pub(in crate::sim::world) fn cut_pipe(&mut self, at: PipeEnd, why: Why) {
        let Some(pipe) = self.outside.pipes.remove(at.pipe) else { return };
        for (at, why) in [(at, why), (at.other(), Why::Broken)] {
            let (here, other) = (&pipe.ends[at.end], &pipe.ends[at.other().end]);
            if matches!(here.stage, Stage::Open | Stage::HangingUp) {
                self.bring(here.peer, News::Closed { conn: at.conn(), why, other: other.peer });
            }
        }
        self.tell_lost(&pipe, "the connection broke");
    }

    /// Writes down what will not arrive.
    fn tell_lost(&mut self, pipe: &Pipe, why: &'static str) {
        for end in [0, 1] {
            let (from, to) = (pipe.ends[end].peer, pipe.ends[1 - end].peer);
            for id in pipe.ends[end].lane.ids() {
                self.tell_drop(from, to, id, why);
            }
        }
    }

    /// The agent at one end of a connection has crashed, or both if it spoke with itself.
    pub(super) fn pipe_end_died(&mut self, id: ConnectionId, dead: Peer) {
        let Some(pipe) = self.outside.pipes.get_mut(id) else { return };
        for end in &mut pipe.ends {
            if end.peer == dead {
                end.stage = Stage::Dead;
                end.lane.waiting.clear();
                end.lane.waiting_bytes = 0;
            }
        }
        self.learn_of_dead_end(id);
    }

    /// Nobody learns what nobody is told: with `send`, only what is sent shows that the other side is dead.
    fn learn_of_dead_end(&mut self, id: ConnectionId) {
        let Some(pipe) = self.outside.pipes.get(id) else { return };
        let stages = [0, 1].map(|end| pipe.ends[end].stage);
        let Some(dead) = stages.iter().position(|stage| *stage == Stage::Dead) else { return };
        let live = PipeEnd { pipe: id, end: 1 - dead };
        let open = matches!(stages[live.end], Stage::Open | Stage::HangingUp);
        let hears = !self.partitions.between(pipe.ends[dead].peer, pipe.ends[live.end].peer);
        if !open || (hears && self.settings.failure_model == FailureModel::Rst) {
            return self.cut_pipe(live, Why::Broken);
        }
        let to_dead = self.outside.pipes.end_mut(live).map(|end| std::mem::take(&mut end.lane));
        let (from, to) = (live, live.other());
        if let (Some(lane), Some(from), Some(to)) =
            (to_dead, self.outside.pipes.end(from), self.outside.pipes.end(to))
        {
            let (from, to) = (from.peer, to.peer);
            lane.ids().for_each(|id| self.tell_drop(from, to, id, "the receiver crashed"));
        }
    }

    /// What held a connection up has ended, perhaps.
    pub(super) fn free_pipe(&mut self, pipe: ConnectionId) {
        for end in [0, 1] {
            self.schedule_stretch(PipeEnd { pipe, end });
        }
        self.learn_of_dead_end(pipe);
    }
}

impl Lane {
    /// Sends bytes on their way, perhaps together with those before. Nothing arrives earlier than what was sent before.
    fn put(&mut self, arrives: Time, joins: bool, bytes: &[u8], whole: Option<u64>) {
        if let Some(last) = self.stretches.back_mut() {
            let arrives = arrives.max(last.arrives);
            if joins && last.bytes.len() + bytes.len() <= STRETCH_BYTES_MAX {
                last.arrives = arrives;
                last.bytes.extend_from_slice(bytes);
                last.ids.extend(whole);
                return;
            }
            let ids = whole.into_iter().collect();
            return self.stretches.push_back(Stretch { arrives, bytes: bytes.to_vec(), ids, last: false });
        }
        let ids = whole.into_iter().collect();
        self.stretches.push_back(Stretch { arrives, bytes: bytes.to_vec(), ids, last: false });
    }

    /// Sends the end of all that was sent.
    fn finish(&mut self, arrives: Time) {
        let arrives = self.stretches.back().map_or(arrives, |last| last.arrives.max(arrives));
        self.stretches.push_back(Stretch { arrives, bytes: Vec::new(), ids: Vec::new(), last: true });
    }

    /// What is on its way or waits, by its name in traces.
    fn ids(&self) -> impl Iterator<Item = u64> {
        let travelling = self.stretches.iter().flat_map(|stretch| stretch.ids.iter().copied());
        travelling.chain(self.waiting.iter().map(|sent| sent.id))
    }
}

/// What these are called in traces.
const FRAMES: &str = "frames";
/// The most that is handed over in one go, as real hosts read.
const STRETCH_BYTES_MAX: usize = 64 * 1024;
/// How often what is sent together arrives apart, and what is sent apart together.
const CUT: Probability = Probability::percent(20);
const JOINED: Probability = Probability::percent(20);
