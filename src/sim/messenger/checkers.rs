//! What must hold of a chat, judged by what its users see.

mod delivery;
mod heirs;
mod history;
mod order;
mod presence;
mod reading;

use std::rc::Rc;

pub(super) use self::delivery::{Answered, Delivered};
pub(super) use self::heirs::Heirs;
pub(super) use self::history::History;
pub(super) use self::order::{Once, Order, Remembered, Shown, Strangers};
pub(super) use self::presence::Presence;
pub(super) use self::reading::{ClassReads, Marks};
use super::book::{Book, Life, Lives, Seen};
use super::node::Node;
use crate::sim::{Checker, World};

/// One thing that must hold.
pub(super) trait Law {
    /// The name by which violations call it.
    const NAME: &'static str;

    /// Whether what was seen may be seen. It is called with everything, in its order.
    fn see(&mut self, seen: &Seen) -> Result<(), String>;

    /// What is still missing, once the world has healed. `lives` says of a client whether it is still there.
    fn settled(&self, _lives: &dyn Fn(Life) -> bool) -> Result<(), String> {
        Ok(())
    }
}

/// Holds a law against what is in the book.
pub(super) struct Judge<L> {
    law: L,
    book: Book,
    /// How much of it was read.
    read: usize,
    lives: Lives,
}

impl<L: Law> Judge<L> {
    pub(super) fn new(law: L, book: &Book, lives: &Lives) -> Self {
        Self { law, book: Rc::clone(book), read: 0, lives: Rc::clone(lives) }
    }
}

impl<L: Law> Checker<Node> for Judge<L> {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn check(&mut self, _: &World<Node>) -> Result<(), String> {
        let book = self.book.borrow();
        let new = &book[self.read..];
        self.read = book.len();
        new.iter().try_for_each(|seen| self.law.see(seen))
    }

    fn settled(&mut self, _: &World<Node>) -> Result<(), String> {
        let lives = self.lives.borrow();
        self.law.settled(&|(device, life)| lives.get(&device) == Some(&life))
    }
}
