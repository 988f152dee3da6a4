//! Clients of the class look twice what they are sent, when all is well: what came before a request counts as read, and does not come again.

use super::{Alarm, Class, Seen, Stage, send};
use crate::agent::{NoMessage, Outbox};
use crate::time::Time;
use crate::wire::proto::Route;

/// How far a client is with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    None,
    First,
    Requested,
    /// It writes something, and again until that is accepted: what was proposed long before is in the log by then.
    Writing,
    Written,
    Second,
    Done,
}

impl Class {
    /// Begins.
    pub(in super::super) fn visit(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        self.visit = Visit::First;
        self.witness.see(Seen::AskedToVisit { life: self.witness.life });
        self.leave(now, out);
    }

    pub(super) fn visit_online(&mut self, now: Time) {
        if matches!(self.visit, Visit::First | Visit::Second) {
            let (life, again) = (self.witness.life, self.visit == Visit::Second);
            self.witness.see(Seen::Visits { life, again });
            self.ring_in(now, Alarm::Visit, (1_000, 1_000));
            self.alarms.at.remove(&Alarm::Ping);
        }
    }

    pub(super) fn visit_goes_on(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        match (self.visit, self.stage) {
            (Visit::First, Stage::Online { conn }) => {
                self.visit = Visit::Requested;
                self.witness.see(Seen::Requests { life: self.witness.life });
                let id = self.request();
                send(&Route { id, ..Route::default() }, conn, out);
                self.ring_in(now, Alarm::Visit, (COUNTED_AFTER_MS, COUNTED_AFTER_MS));
            }
            (Visit::Requested | Visit::Writing, _) => {
                self.visit = Visit::Writing;
                if self.unanswered.is_empty() {
                    let own = self.witness.who.name.clone();
                    self.write(&own, 0, out);
                }
                self.ring_in(now, Alarm::Visit, (1_000, 1_000));
            }
            (Visit::Written, _) => {
                self.visit = Visit::Second;
                self.leave(now, out);
            }
            (Visit::Second, Stage::Online { .. }) => {
                self.visit = Visit::Done;
                self.witness.see(Seen::HasVisited { life: self.witness.life });
                self.ring_in(now, Alarm::Ping, (200, 500));
            }
            _ => {}
        }
    }
}

/// After what time a request has been proposed for good: what nobody knows of is proposed again after 5 s.
const COUNTED_AFTER_MS: u64 = 8_000;
