//! A server whose overlay is one of `gen_hypar` nodes, the implementation in Erlang: what its node says and hears in their frames.
//!
//! Those nodes hand bytes to their neighbours and know of no chatroom. So this server has the membership and direct messages; nothing is
//! broadcast, and nobody else is known to be alive.

use bytes::Bytes;

use super::OverlayMessage;
use super::wires::Wires;
use crate::agent::WireError;
use crate::agents::overlay::{
    BroadcastMessage, Control, Message, Plain, ServiceMessage, decode_hypar, encode_hypar,
};
use crate::grid::{BoxAddress, ServerId};
use crate::server::core::Core;
use crate::server::link_manager::Saying;
use crate::server::outputs::ConnId;
use crate::time::Time;
use crate::wire::{HYPAR_OPENER, HyparCutter, HyparFrame};

impl Core {
    /// A frame came over a link.
    pub(in crate::server) fn hypar_frame(
        &mut self,
        conn: ConnId,
        from: ServerId,
        frame: HyparFrame<'_>,
        now: Time,
    ) {
        let address = self.links.roster().overlay_address(from).filter(|_| self.links.is_up(conn, from));
        let Some(address) = address else { return };
        if matches!(frame, HyparFrame::Neighbour { .. }) {
            self.links.owe_answer(conn);
        }
        if let Some(message) = self.understood(decode_hypar(frame)) {
            self.overlay_message(conn, address, false, message, now);
        }
    }

    /// What a connection has brought that was opened to leave a letter.
    pub(super) fn understand_hypar_letter(&mut self, connection: &[u8]) -> Option<OverlayMessage> {
        let mut cutter = HyparCutter::accepted(connection.len());
        let message = match cutter.cut(&mut &connection[..]) {
            Ok(frame) => frame.map(decode_hypar)?,
            Err(error) => Err(WireError::new(error.to_string())),
        };
        self.understood(message)
    }
}

impl Wires<'_> {
    /// As `bytes_of`.
    pub(super) fn hypar_bytes_of<M: Plain>(
        &mut self,
        to: ServerId,
        message: &Message<BoxAddress, M>,
    ) -> Option<Bytes> {
        let saying = match message {
            Message::Control(Control::Join | Control::JoinReply) => Saying::Opening { asks: false },
            Message::Control(Control::Neighbour { .. }) => Saying::Opening { asks: true },
            Message::Control(Control::NeighbourReply { .. }) => Saying::Answer,
            _ => Saying::Other,
        };
        let bytes = self.hypar_bytes(message)?;
        self.links.take_turn(to, saying).then_some(bytes)
    }

    /// Sends without a link: only answers to shuffles go that way, each on a connection of its own.
    pub(super) fn post_hypar<M: Plain>(&mut self, to: BoxAddress, message: &Message<BoxAddress, M>) {
        if let Some(bytes) = self.hypar_bytes(message) {
            self.links.post(to, [Bytes::from_static(HYPAR_OPENER), bytes], self.now, self.outputs);
        }
    }

    fn hypar_bytes<M: Plain>(&self, message: &Message<BoxAddress, M>) -> Option<Bytes> {
        let roster = self.links.roster();
        let mut bytes = Vec::new();
        encode_hypar(roster.overlay_address(roster.own())?, message, &mut bytes).then(|| bytes.into())
    }
}

/// A message to a neighbour is plain bytes there; all else that services say to each other has no place among those nodes.
impl<I> Plain for ServiceMessage<I> {
    fn plain(&self) -> Option<&[u8]> {
        if let Self::Broadcast(BroadcastMessage::Direct(bytes)) = self { Some(bytes) } else { None }
    }

    fn from_plain(bytes: &[u8]) -> Self {
        Self::Broadcast(BroadcastMessage::Direct(Bytes::copy_from_slice(bytes)))
    }
}
