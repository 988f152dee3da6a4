//! What a node asks of its server: links, messages, letters.

use bytes::Bytes;

use crate::agent::{Port, Wire};
use crate::agents::overlay::{BY_POST, Message, Net, Plain};
use crate::grid::{BoxAddress, ServerId};
use crate::server::link_manager::LinkManager;
use crate::server::outputs::Outputs;
use crate::server::tracing::Tracing;
use crate::time::Time;
use crate::trace::What;
use crate::wire::{frame, letter_line};

/// What frames name as their sender and their destination: there is one node on each server.
const NODE: &str = "overlay";

/// The links of a server, as its node uses them.
pub(super) struct Wires<'a> {
    pub(super) links: &'a mut LinkManager,
    pub(super) outputs: &'a mut Outputs,
    pub(super) tracing: &'a mut Tracing,
    pub(super) now: Time,
}

impl<M: Wire + Plain> Net<BoxAddress, M> for Wires<'_> {
    fn link(&mut self, peer: BoxAddress) {
        self.links.want(peer, self.now, self.outputs);
    }

    fn unlink(&mut self, peer: BoxAddress) {
        self.links.unwant(peer, self.now, self.outputs);
    }

    fn send(&mut self, peer: BoxAddress, message: Message<BoxAddress, M>) {
        let Some(number) = self.links.roster().number_of(peer) else { return };
        let Some(bytes) = self.bytes_of(number, &message) else { return };
        if self.tracing.is_on()
            && let Some(link) = self.links.link_label(number).map(str::to_owned)
        {
            self.tracing.note(self.now, || What::Send {
                to: peer.to_string(),
                link,
                kind: message.kind().to_owned(),
                text: shown(&message),
                id: None,
            });
        }
        self.links.send_to(number, bytes, self.now, self.outputs);
    }

    fn post(&mut self, peer: BoxAddress, message: Message<BoxAddress, M>) {
        if self.links.roster().speaks_hypar() {
            return self.post_hypar(peer, &message);
        }
        let letter = encoded(&message, BY_POST);
        let number = self.links.roster().number_of(peer);
        // Where there is a link, a letter needs no connection of its own.
        if number.is_none_or(|number| !self.links.send_to(number, letter.clone(), self.now, self.outputs)) {
            let own = self.links.roster().overlay_address(self.links.roster().own());
            let Some(own) = own else { return };
            self.links.post(peer, [letter_line(own), letter], self.now, self.outputs);
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.tracing.note(self.now, || What::Note { text: text() });
    }
}

impl Wires<'_> {
    /// A message as the link of a server carries it; `None` if it has no link, or the message no place on it.
    fn bytes_of<M: Wire + Plain>(&mut self, to: ServerId, message: &Message<BoxAddress, M>) -> Option<Bytes> {
        if self.links.roster().speaks_hypar() {
            return self.hypar_bytes_of(to, message);
        }
        self.links.link_label(to).map(|_| encoded(message, Port::ANSWERS))
    }
}

fn encoded<M: Wire>(message: &Message<BoxAddress, M>, port: Port) -> Bytes {
    let mut body = Vec::new();
    message.encode(&mut body);
    frame(NODE, NODE, port, &body)
}

/// What a message says, for people, in the same words at both ends.
pub(super) fn shown<M: Wire>(message: &Message<BoxAddress, M>) -> String {
    const SHOWN_CHARS_MAX: usize = 400;
    let text = match message {
        Message::Payload(payload) => format!("{payload:?}"),
        Message::Control(control) => format!("{control:?}"),
    };
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
