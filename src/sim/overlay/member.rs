//! The agent: a node of the overlay with a broadcast on it, and broken on purpose where a test wants that.

use std::time::Duration;

use super::watched::Watched;
use crate::agent::{Agent, Input, Outbox, Output, Peer};
use crate::agents::overlay::{
    Control, HyParView, Message, Node, Options, Service, ServiceMessage, ServiceOptions,
};
use crate::time::Time;

type Said = Message<Peer, ServiceMessage<Peer>>;

/// How a server may be broken, for the tests of the checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It takes more neighbours than it should.
    Greedy,
    /// It believes to know more than it should.
    Boasts,
    /// It shows itself among its neighbours.
    Vain,
    /// It shows a neighbour twice.
    SeesDouble,
    /// It shows a neighbour among those that it knows besides.
    Muddled,
    /// It shows a neighbour to which it has no link.
    Imagines,
    /// Its layer is not told of neighbours.
    Deaf,
    /// Its layer is told of each neighbour twice.
    Stutters,
    /// It neither says good-bye nor closes a link.
    Clings,
    /// It is content with one neighbour less.
    Modest,
    /// It links only with those whose number is as odd or even as its own.
    Picky,
    /// It broadcasts nothing.
    Mute,
    /// It delivers not everything that somebody speaks.
    Skips,
    /// It calls itself by another number.
    Pretends,
    /// It delivers everything twice.
    Repeats,
    /// It delivers some things in the wrong order.
    Muddles,
}

/// A server.
#[derive(Debug)]
pub(super) struct Member {
    node: Node<Peer, Watched>,
    /// Through whom it joins when it starts.
    contacts: Vec<Peer>,
    /// When it started. As real servers do, it counts its time from there.
    born: Option<Time>,
    flaw: Option<Flaw>,
    /// What a flawed one would like to say.
    outbox: Outbox<Said>,
}

impl Member {
    /// A server that is called `me`, in a life with a larger number than those before.
    pub(super) fn new(
        me: Peer,
        life: u64,
        seed: u64,
        mut options: Options,
        contacts: Vec<Peer>,
        flaw: Option<Flaw>,
    ) -> Self {
        let has = |wanted| flaw == Some(wanted);
        options.active_size += usize::from(has(Flaw::Greedy));
        options.active_size -= usize::from(has(Flaw::Modest));
        options.passive_size += usize::from(has(Flaw::Boasts));
        let number = number(me) + u16::from(has(Flaw::Pretends));
        let service_options = ServiceOptions { refresh: REFRESH, ..ServiceOptions::default() };
        let layer = Watched::new(Service::new(me, number, life, service_options), flaw);
        Self {
            node: Node::new(me, options, seed, layer),
            contacts,
            born: None,
            flaw,
            outbox: Outbox::default(),
        }
    }

    /// Its neighbours.
    pub(super) fn active(&self) -> Vec<Peer> {
        let mut active: Vec<Peer> = self.membership().active().collect();
        if self.has(Flaw::Vain) {
            active.push(self.membership().me());
        }
        if self.has(Flaw::SeesDouble) {
            active.extend(active.first().copied());
        }
        if self.has(Flaw::Imagines) {
            active.pop();
            active.extend(self.membership().passive().next());
        }
        active
    }

    /// Whom it knows besides.
    pub(super) fn passive(&self) -> Vec<Peer> {
        let mut passive: Vec<Peer> = self.membership().passive().collect();
        if self.has(Flaw::Muddled) {
            passive.extend(self.membership().active().next());
        }
        if self.has(Flaw::Imagines) {
            passive.drain(..1.min(passive.len()));
        }
        passive
    }

    /// When something of `source` was delivered here last, by the world's clock.
    pub(super) fn heard_at(&self, source: Peer) -> Option<Time> {
        self.layer().heard_at(source).map(|at| self.in_the_world(at))
    }

    /// When it spoke the last time but one, by the world's clock.
    pub(super) fn spoke_before(&self) -> Option<Time> {
        self.layer().spoke_before().map(|at| self.in_the_world(at))
    }

    /// What is on top of its membership.
    pub(super) fn layer(&self) -> &Watched {
        self.node.layer()
    }

    fn membership(&self) -> &HyParView<Peer> {
        self.node.membership()
    }

    /// As a sound server does.
    fn take(&mut self, now: Time, input: Input<'_, Said>, out: &mut Outbox<Said>) {
        let starts = matches!(input, Input::Start);
        if let Input::Commands { commands } = &input
            && commands.peek() == Some(b"leave")
        {
            self.node.act(now, out, |watched, out| watched.leave(now, out));
        }
        self.node.handle(now, input, out);
        for contact in self.contacts.iter().filter(|_| starts) {
            self.node.join(now, *contact, out);
        }
    }

    fn in_the_world(&self, at: Time) -> Time {
        self.born.unwrap_or(Time::ZERO) + at.since(Time::ZERO)
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Whether a flawed server does what it should here.
    fn does(&self, output: &Output<Said>) -> bool {
        match output {
            Output::Unlink { .. } | Output::Send { message: Message::Control(Control::Disconnect), .. } => {
                !self.has(Flaw::Clings)
            }
            Output::Link { peer } | Output::Post { to: (peer, _), .. } => {
                !self.has(Flaw::Picky) || peer.0 % 2 == self.membership().me().0 % 2
            }
            Output::Send { message: Message::Payload(_), .. } => !self.has(Flaw::Mute),
            _ => true,
        }
    }
}

impl Agent for Member {
    type Msg = Said;

    fn handle(&mut self, now: Time, input: Input<'_, Said>, out: &mut Outbox<Said>) {
        let now = Time::since_start(now.since(*self.born.get_or_insert(now)));
        if self.flaw.is_none() {
            return self.take(now, input, out);
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        self.take(now, input, &mut outbox);
        for output in outbox.drain().filter(|output| self.does(output)) {
            out.push(output);
        }
        self.outbox = outbox;
    }

    fn deadline(&self) -> Option<Time> {
        self.node.deadline().map(|at| self.in_the_world(at))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Agent::counters(&self.node)
    }
}

/// What the servers agree on: as in the paper, but in a hurry, so that runs are short, and with so small a passive view that the usual thirty do not all
/// know each other.
pub(super) fn options() -> Options {
    Options {
        passive_size: 12,
        memory_size: 40,
        shuffle_period: Duration::from_secs(1),
        keep_alive: Duration::from_millis(300),
        timeout: Duration::from_secs(1),
        probe_period: Duration::from_secs(1),
        ..Options::default()
    }
}

/// How often a server says that it is alive.
const REFRESH: Duration = Duration::from_secs(2);

/// The number of a server in the table of who is alive.
pub(super) fn number(peer: Peer) -> u16 {
    u16::try_from(peer.0).expect("there are not so many servers")
}
