//! Carrying out what the log and the service ask for: each for the other, or for the host.

use bytes::Bytes;
use log::info;

use super::commands;
use super::{
    Asked, LOG_ROUTE, LogInput, LogOutbox, LogOutput, Phase, Replicated, ReplicatedLog, ReplicatedMessage,
};
use crate::agent::{Agent, Dest, Index, Input, Look, Looked, Outbox, Output, Port, Row};
use crate::time::Time;

impl<L: ReplicatedLog, A: Agent> Replicated<L, A> {
    /// Hands an input to the log and carries out what that asks for.
    pub(super) fn hand_log(
        &mut self,
        now: Time,
        input: LogInput<'_, L::Msg>,
        out: &mut Outbox<<Self as Agent>::Msg>,
    ) {
        self.log.handle(now, input, &mut self.log_out);
        // Away while its outputs are carried out; the log is handed nothing meanwhile.
        let mut outputs = std::mem::replace(&mut self.log_out, LogOutbox::new(false));
        for output in outputs.drain() {
            self.carry_out(now, output, out);
        }
        self.log_out = outputs;
    }

    fn carry_out(&mut self, now: Time, output: LogOutput<L::Msg>, out: &mut Outbox<<Self as Agent>::Msg>) {
        match output {
            LogOutput::Send(to, message) => {
                if let Some(peer) = self.members.peer(to) {
                    let from = self.members.own_id();
                    out.send((peer, Port::LOG), ReplicatedMessage::Log { from, message });
                }
            }
            LogOutput::Write(write) => out.write(write),
            LogOutput::Read(read) => out.read(read),
            LogOutput::Committed { index, record } => {
                self.hand_service(now, Input::Committed { index, record: &record }, out);
            }
            LogOutput::Refused { record, why } => {
                self.hand_service(now, Input::NotCommitted { record: &record, why: &why }, out);
            }
            LogOutput::Barrier { token } => self.hand_service(now, Input::Barrier { token }, out),
            LogOutput::WantsRows => self.rows_wanted = true,
            LogOutput::Leads(leads) => {
                let (agent, term) = (&self.members.own().name, self.log.status().term);
                let news = if leads { "became leader" } else { "leads no more" };
                info!("log: {news} agent={agent} term={term}");
                self.leads = leads;
                self.tell_leads(now, out);
            }
            LogOutput::Looked(looked) => {
                if let Some(token) = self.looks.remove(&looked.token) {
                    self.hand_service(now, Input::Looked { looked: Looked { token, ..looked } }, out);
                }
            }
            LogOutput::Restore { rows, first, last } => self.restore(now, &rows, first, last, out),
            LogOutput::Changed { token, result } => {
                if let Some(request) = self.changes.remove(&token) {
                    out.reply(request, commands::outcome(&result));
                }
            }
            LogOutput::Note(text) => out.note(|| text),
        }
    }

    fn restore(
        &mut self,
        now: Time,
        rows: &[Row],
        first: bool,
        last: Option<Index>,
        out: &mut Outbox<<Self as Agent>::Msg>,
    ) {
        if first {
            // They were of a state that is no more.
            self.rows_wanted = false;
            self.looks.clear();
            self.asked.retain(|asked| !matches!(asked, Asked::Look(_)));
            if self.phase == Phase::Running {
                self.phase = Phase::Replacing;
                self.counts.replaced += 1;
            }
        }
        self.hand_service(now, Input::Restore { rows, first, last }, out);
        if last.is_some() {
            match self.phase {
                Phase::New { .. } => self.phase = Phase::New { restoring: false },
                Phase::Restoring => self.start_service(now, out),
                Phase::Running => {}
                Phase::Replacing => {
                    self.phase = Phase::Running;
                    out.note(|| "the state of the service was replaced by another server's".to_owned());
                    self.tell_leads(now, out);
                }
            }
        }
    }

    /// Whether the service is to hear of something now.
    fn may_hear(&self, input: &Input<'_, A::Msg>) -> bool {
        match self.phase {
            Phase::Running => true,
            // What the service hears of the outside, of its links and of its own work has nothing to do with the state that is replaced.
            Phase::Replacing => !matches!(
                input,
                Input::Timeout
                    | Input::Message { .. }
                    | Input::Lines { .. }
                    | Input::Commands { .. }
                    | Input::Looked { .. }
                    | Input::Leads { .. }
            ),
            Phase::New { .. } | Phase::Restoring => {
                matches!(input, Input::Committed { .. } | Input::Restore { .. })
            }
        }
    }

    /// Hands an input to the service, if that may hear of it now, and passes on what it asks for.
    pub(super) fn hand_service(
        &mut self,
        now: Time,
        input: Input<'_, A::Msg>,
        out: &mut Outbox<<Self as Agent>::Msg>,
    ) {
        if !self.may_hear(&input) {
            return;
        }
        self.service.handle(now, input, &mut self.service_out);
        for output in self.service_out.drain() {
            match output {
                Output::Propose { record } => self.asked.push_back(Asked::Propose(Bytes::from(record))),
                Output::Barrier { token } => self.asked.push_back(Asked::Barrier(token)),
                Output::Send { to: Dest::Peer(_, Port::LOG), .. } | Output::Write(_) | Output::Read(_) => {
                    self.counts.refused += 1;
                }
                Output::Send { to: Dest::Route(name), .. } if name == LOG_ROUTE => self.counts.refused += 1,
                Output::Send { to, message } => out.send(to, ReplicatedMessage::Service(message)),
                Output::Post { to, message } => out.post(to, ReplicatedMessage::Service(message)),
                Output::Link { peer } => out.link(peer),
                Output::Unlink { peer } => out.unlink(peer),
                Output::Lines { to, lines } => out.send_lines(to, lines),
                Output::Reply { to, parts } => out.reply_parts(to, parts),
                Output::Say { line } => out.say(line),
                Output::Note { text } => out.note(|| text),
                Output::Look(look) => {
                    self.looks_asked += 1;
                    self.looks.insert(self.looks_asked, look.token);
                    self.asked.push_back(Asked::Look(Look { token: self.looks_asked, ..look }));
                }
                Output::Outside(outward) => out.outside(outward),
                Output::Compute { token, work } => out.compute(token, work),
            }
        }
    }

    /// Tells the log what the service has asked of it, until nothing is left: rows first, which have come of all the records that were
    /// handed over.
    pub(super) fn settle(&mut self, now: Time, out: &mut Outbox<<Self as Agent>::Msg>) {
        loop {
            if std::mem::take(&mut self.rows_wanted) && self.service.keeps_rows() {
                let rows = self.service.take_rows();
                self.hand_log(now, LogInput::Keep { rows }, out);
            }
            match self.asked.pop_front() {
                Some(Asked::Propose(record)) => self.hand_log(now, LogInput::Propose { record }, out),
                Some(Asked::Barrier(token)) => self.hand_log(now, LogInput::Barrier { token }, out),
                Some(Asked::Look(look)) => self.hand_log(now, LogInput::Look(look), out),
                None if self.rows_wanted => {}
                None => return,
            }
        }
    }
}
