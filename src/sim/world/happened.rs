//! What the last thing that happened has touched: what checkers look at.

use crate::agent::{Index, Peer, Request, Session, Write};

/// A command that was given to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// To whom.
    pub to: Peer,
    /// By whom.
    pub session: Session,
    /// The line, without its newline.
    pub line: String,
    /// How it will be answered, if it will.
    pub request: Option<Request>,
}

/// An answer that an agent gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who.
    pub from: Peer,
    /// To which command.
    pub to: Request,
    /// What.
    pub line: String,
}

/// A line that an agent showed to all who drive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub from: Peer,
    /// What.
    pub line: String,
}

/// What one event of a world, or one thing done to it, has touched.
#[derive(Clone, Debug, Default)]
pub struct Happened {
    /// The agents that were handed an input, crashed or started, in order; one may stand here several times.
    pub touched: Vec<Peer>,
    /// The commands that agents were given.
    pub told: Vec<Told>,
    /// The answers that they gave.
    pub answers: Vec<Answer>,
    /// What they showed.
    pub said: Vec<Said>,
    /// The records that came back to the agents that proposed them, by their place in the log.
    pub committed: Vec<(Peer, Index)>,
    /// What agents that are logs themselves asked to be written.
    pub written: Vec<(Peer, Write)>,
    /// The agents that crashed.
    pub crashed: Vec<Peer>,
    /// The agents that started, at first or again.
    pub started: Vec<Peer>,
}

impl Happened {
    /// Forgets everything and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.touched.clear();
        self.told.clear();
        self.answers.clear();
        self.said.clear();
        self.committed.clear();
        self.written.clear();
        self.crashed.clear();
        self.started.clear();
    }
}
