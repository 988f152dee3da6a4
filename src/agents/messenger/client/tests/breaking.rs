//! The client against a cluster that takes numbers as a real one does, while everything between them breaks.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::{Desk, answer, push};
use crate::agents::messenger::client::{ClientEvent, Link};
use crate::rng::{Probability, Rng};
use crate::wire::proto::{ErrorCode, Route, Welcome, route};

/// A cluster as a client sees it: one connection at a time, and everything that can go wrong.
#[derive(Default)]
struct Cluster {
    /// What was accepted, and what comes next of each client instance.
    accepted: Vec<String>,
    expected: BTreeMap<Vec<u8>, u64>,
    /// What the user is to get.
    inbox: u64,
    /// Of the connection: who has logged in by it, and how much was pushed.
    client: Option<Vec<u8>>,
    pushed: u64,
    to_server: VecDeque<Route>,
    to_client: VecDeque<Route>,
}

impl Cluster {
    fn take(&mut self, route: &Route, trouble: Option<ErrorCode>) {
        if let Some(login) = &route.login {
            let instance = login.client.clone().expect("an instance").to_vec();
            let expected = Some(*self.expected.entry(instance.clone()).or_insert(1));
            self.pushed = login.have.first().map_or(0, |have| have.sequence);
            self.client = Some(instance);
            let welcome = Welcome { expected, ..Welcome::default() };
            return self.to_client.push_back(Route { welcome: Some(welcome), ..answer(route.id, None) });
        }
        let Some(route::Payload::Message(message)) = &route.payload else { return };
        let expected = self.expected.get_mut(self.client.as_ref().expect("logged in")).expect("known");
        let number = message.number.expect("a number");
        let code = match trouble {
            // It may be accepted nevertheless.
            Some(ErrorCode::Unknown) if number == *expected => {
                *expected += 1;
                self.accepted.push(message.payload.clone());
                trouble
            }
            Some(_) => trouble,
            None if number > *expected => Some(ErrorCode::OutOfOrder),
            None if number < *expected => None,
            None => {
                *expected += 1;
                self.accepted.push(message.payload.clone());
                None
            }
        };
        self.to_client.push_back(answer(route.id, code));
    }

    fn push_some(&mut self, rng: &mut Rng) {
        // Now and then something that the client has.
        let from =
            if rng.chance(Probability::percent(10)) { self.pushed.saturating_sub(2) } else { self.pushed };
        for sequence in from + 1..=self.inbox {
            self.to_client.push_back(push(sequence, &sequence.to_string()));
        }
        self.pushed = self.inbox;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_message_is_accepted_once_and_told_of_once_whatever_breaks(seed: u64) {
        let mut rng = Rng::new(seed);
        let mut desk = Desk::with_servers(3);
        let mut cluster = Cluster::default();
        let (mut sent, mut told, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
        desk.client.connect(desk.now, &[]);
        let mut steps = 0;
        loop {
            steps += 1;
            prop_assert!(steps < 20_000, "it comes to an end: {:?}", desk.client);
            desk.gather();
            cluster.to_server.extend(desk.sent.drain(..));
            for event in desk.events.drain(..) {
                match event {
                    ClientEvent::Accepted { ticket, .. } => accepted.push(ticket),
                    ClientEvent::Message { spot, .. } => told.push(spot.place.sequence.0),
                    ClientEvent::Refused { .. } => prop_assert!(false, "nothing was refused"),
                    _ => {}
                }
            }
            let is_calm = steps > 600;
            if is_calm && desk.client.waiting() == 0 && told.len() as u64 == cluster.inbox {
                break;
            }
            match rng.below(if is_calm { 60 } else { 100 }) {
                0..20 => {
                    if let Some(route) = cluster.to_server.pop_front() {
                        let troubles = [ErrorCode::Busy, ErrorCode::Unknown];
                        let trouble = rng.chance(Probability::percent(10)).then(|| troubles[rng.index(2)]);
                        cluster.take(&route, trouble.filter(|_| !is_calm));
                    }
                }
                20..40 => {
                    let is_open = !matches!(desk.client.link, Link::Dialling { .. } | Link::Waiting { .. });
                    if let Some(route) = cluster.to_client.pop_front().filter(|_| is_open) {
                        desk.say(&route);
                    }
                }
                40..45 => {
                    let ms = rng.below(300);
                    desk.wait(ms);
                }
                45..55 if matches!(desk.client.link, Link::Dialling { .. }) => {
                    let (to_server, to_client) = Default::default();
                    cluster = Cluster { client: None, to_server, to_client, ..cluster };
                    desk.open();
                }
                55..60 if cluster.client.is_some() => cluster.push_some(&mut rng),
                60..80 => {
                    let text = sent.len().to_string();
                    desk.send(&text);
                    sent.push(text);
                }
                80..90 => cluster.inbox += 1,
                90..93 => desk.break_link(),
                _ => {}
            }
        }
        prop_assert_eq!(&cluster.accepted, &sent, "each once, in order");
        // An answer may overtake that to the one before, if this one was not known to be accepted.
        accepted.sort_unstable();
        prop_assert_eq!(accepted, (1..=sent.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(told, (1..=cluster.inbox).collect::<Vec<_>>());
    }
}
