//! Traces as people meet them: the command, and its page in a real browser.

mod browser;
mod chatroom;
mod command;
mod page;
