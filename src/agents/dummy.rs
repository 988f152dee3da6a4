//! An agent that counts what it is told and answers nothing: something for routes to end at.

use crate::agent::{Agent, Configure, Input, Mistake, Outbox, Setup, Text};
use crate::time::Time;

/// Takes any message that is text and any routes, and keeps quiet.
#[derive(Debug, Default)]
pub struct Dummy {
    messages: u64,
}

impl Configure for Dummy {
    fn configure(setup: &mut Setup<'_>) -> Result<Self, Mistake> {
        setup.all_routes();
        Ok(Self::default())
    }
}

impl Agent for Dummy {
    type Msg = Text;

    fn handle(&mut self, _: Time, input: Input<'_, Text>, out: &mut Outbox<Text>) {
        if let Input::Message { from, message, .. } = input {
            self.messages += 1;
            out.note(|| format!("message {} from {from}: {}", self.messages, message.0));
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("messages", self.messages)]
    }
}
