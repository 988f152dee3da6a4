//! Clients of the class look twice what they are sent, when all is well: what came before a request counts as read, and does not come again.

use super::{Alarm, Stage, User, Visit, send};
use crate::agent::{NoMessage, Outbox};
use crate::sim::messenger::book::Seen;
use crate::time::Time;
use crate::wire::proto::Route;

impl User {
    pub(super) fn visit_online(&mut self, now: Time) {
        if matches!(self.visit, Visit::First | Visit::Second) {
            self.see(Seen::Visits { life: self.life, again: self.visit == Visit::Second });
            self.ring_in(now, Alarm::Visit, 1_000, 1_000);
            self.alarms.remove(&Alarm::Ping);
        }
    }

    pub(super) fn visit_goes_on(&mut self, now: Time, out: &mut Outbox<NoMessage>) {
        match (self.visit, self.stage) {
            (Visit::First, Stage::Online { conn }) => {
                self.visit = Visit::Requested;
                self.see(Seen::Requests { life: self.life });
                let id = self.request();
                send(&Route { id, ..Route::default() }, conn, out);
                self.ring_in(now, Alarm::Visit, 1_000, 1_000);
            }
            (Visit::Requested, _) => {
                self.visit = Visit::Second;
                self.leave(now, out);
            }
            (Visit::Second, Stage::Online { .. }) => {
                self.visit = Visit::Done;
                self.see(Seen::HasVisited { life: self.life });
                self.ring_in(now, Alarm::Ping, 200, 500);
            }
            _ => {}
        }
    }
}
