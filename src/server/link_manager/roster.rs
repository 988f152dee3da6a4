//! Who belongs to the grid: which servers there are, what they are called on the wire, where they listen, and who dials whom.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::grid::{BoxAddress, Grid, ServerId};
use crate::wire::{PeerLine, box_of_first_line, box_ping_line, ping_line};

/// All servers of a grid as one of them sees it. Each has a number that means something to this server only (in a lab it is the
/// server's id), and keeps it.
#[derive(Clone, Debug)]
pub struct Roster {
    own: ServerId,
    members: Members,
}

#[derive(Clone, Debug)]
enum Members {
    /// Lab servers know each other by number.
    Lab { grid: Grid, addresses: BTreeMap<ServerId, SocketAddr> },
    /// Boxes know each other by canonical address. A box that the configuration does not name any more keeps its number.
    Boxes { names: Vec<BoxAddress>, removed: Vec<bool> },
}

impl Roster {
    /// The grid of a lab, and where each other server listens.
    pub fn lab(grid: Grid, addresses: BTreeMap<ServerId, SocketAddr>) -> Self {
        Self { own: grid.id(), members: Members::Lab { grid, addresses } }
    }

    /// A box by itself; others are added by [`Roster::admit`].
    pub fn of_box(own: BoxAddress) -> Self {
        let members = Members::Boxes { names: vec![own], removed: vec![false] };
        Self { own: ServerId(0), members }
    }

    /// Makes a box a member; its number, which is the one it had if it was one before. `None` if there are too many.
    pub(in crate::server) fn admit(&mut self, address: BoxAddress) -> Option<ServerId> {
        let Members::Boxes { names, removed } = &mut self.members else { return None };
        let index = names.iter().position(|name| *name == address).unwrap_or(names.len());
        let id = ServerId(u16::try_from(index).ok()?);
        if index == names.len() {
            names.push(address);
            removed.push(false);
        }
        removed[index] = false;
        Some(id)
    }

    /// The box is no member any more.
    pub(in crate::server) fn remove(&mut self, id: ServerId) {
        if let Members::Boxes { removed, .. } = &mut self.members {
            removed[id.index()] = true;
        }
    }

    /// This server's own number.
    pub fn own(&self) -> ServerId {
        self.own
    }

    /// How many numbers are in use, from 0 on.
    pub fn len(&self) -> usize {
        match &self.members {
            Members::Lab { grid, .. } => usize::from(grid.n()),
            Members::Boxes { names, .. } => names.len(),
        }
    }

    /// Whether there is nobody, which never is the case: the own server is a member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a server of that number.
    pub fn holds(&self, id: ServerId) -> bool {
        match &self.members {
            Members::Lab { grid, .. } => grid.holds(id),
            Members::Boxes { removed, .. } => removed.get(id.index()).is_some_and(|removed| !removed),
        }
    }

    /// The numbers of all servers but this one, ascending.
    pub fn others(&self) -> impl Iterator<Item = ServerId> {
        let count = u16::try_from(self.len()).unwrap_or(u16::MAX);
        (0..count).map(ServerId).filter(|id| *id != self.own && self.holds(*id))
    }

    /// Whether this server is the one that dials, of the pair it forms with `peer`: the larger id, or address, dials.
    pub fn dials(&self, peer: ServerId) -> bool {
        match &self.members {
            Members::Lab { grid, .. } => grid.dials(peer),
            Members::Boxes { names, .. } => names[self.own.index()] > names[peer.index()],
        }
    }

    /// Where `peer` listens.
    pub fn address(&self, peer: ServerId) -> Option<SocketAddr> {
        match &self.members {
            Members::Lab { addresses, .. } => addresses.get(&peer).copied(),
            Members::Boxes { names, .. } => names.get(peer.index()).map(|name| name.socket()),
        }
    }

    /// What `id` is called.
    pub fn name(&self, id: ServerId) -> String {
        match &self.members {
            Members::Lab { .. } => id.to_string(),
            Members::Boxes { names, .. } => {
                names.get(id.index()).map_or_else(|| id.to_string(), BoxAddress::to_string)
            }
        }
    }

    /// Whether the links carry lines of the lab, and not frames of agents.
    pub fn speaks_lines(&self) -> bool {
        matches!(self.members, Members::Lab { .. })
    }

    /// The own heartbeat, newline included.
    pub(super) fn ping(&self) -> Bytes {
        match &self.members {
            Members::Lab { .. } => ping_line(self.own),
            Members::Boxes { names, .. } => box_ping_line(names[self.own.index()]),
        }
    }

    /// Who says this first line, given without its newline. An error says that it is nobody of ours.
    pub(in crate::server) fn introduced(&self, line: &[u8]) -> Result<ServerId, String> {
        match &self.members {
            Members::Lab { grid, .. } => {
                let sender = PeerLine::parse(line).map_err(|error| format!("first line: {error}"))?.sender();
                if grid.holds(sender) {
                    Ok(sender)
                } else {
                    Err(format!("says it is server {sender} of {}", grid.n()))
                }
            }
            Members::Boxes { names, .. } => {
                let address = box_of_first_line(line).map_err(|error| format!("first line: {error}"))?;
                let index = names.iter().position(|name| *name == address);
                index
                    .and_then(|index| u16::try_from(index).ok())
                    .map(ServerId)
                    .filter(|id| self.holds(*id))
                    .ok_or_else(|| format!("says it is box {address}, which the configuration does not name"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> BoxAddress {
        text.parse().expect("valid")
    }

    #[test]
    fn boxes_keep_their_numbers() {
        let mut roster = Roster::of_box(address("127.0.0.1:4001"));
        let (first, second) = (address("127.0.0.1:4000"), address("127.0.0.1:4002"));
        assert_eq!(roster.admit(first), Some(ServerId(1)));
        assert_eq!(roster.admit(second), Some(ServerId(2)));
        assert!(roster.dials(ServerId(1)) && !roster.dials(ServerId(2)));
        roster.remove(ServerId(1));
        assert_eq!(roster.others().collect::<Vec<_>>(), [ServerId(2)]);
        assert!(roster.introduced(b"ping 127.0.0.1:4000").is_err());
        assert_eq!(roster.admit(first), Some(ServerId(1)));
        assert_eq!(roster.introduced(b"ping [::ffff:127.0.0.1]:4000"), Ok(ServerId(1)));
    }

    #[test]
    fn a_lab_knows_its_servers_by_number() {
        let roster = Roster::lab(Grid::new(1, 3, 3000).expect("valid"), BTreeMap::new());
        assert_eq!(roster.introduced(b"ping 2"), Ok(ServerId(2)));
        assert!(roster.introduced(b"ping 3").is_err());
        assert!(roster.introduced(b"ping 127.0.0.1:4000").is_err());
    }
}
