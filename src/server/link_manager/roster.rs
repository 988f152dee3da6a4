//! Who belongs to the grid: which servers there are, what they are called on the wire, where they listen, and who dials whom.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::agents::overlay::Dialect;
use crate::grid::{BoxAddress, Grid, ServerId};
use crate::wire::{HYPAR_OPENER, PeerLine, box_of_first_line, box_ping_line, overlay_first_line, ping_line};

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
    /// Servers of an overlay know each other by address, too, but only those that they have something to do with: a number is free for
    /// another one as soon as nothing is left of its server. Number 0 is the own one.
    Overlay { names: Vec<Option<BoxAddress>>, numbers: BTreeMap<BoxAddress, ServerId>, dialect: Dialect },
}

/// What the first line of a connection has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Introduction {
    /// This is the server of that number.
    Link(ServerId),
    /// A letter follows, and nothing else.
    Letter,
}

/// With how many servers of an overlay one has something to do at a time: links, dials, and those that have just gone.
const OVERLAY_NUMBERS_MAX: usize = 1024;

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

    /// A server of an overlay by itself.
    pub fn of_overlay(own: BoxAddress) -> Self {
        let own_number = ServerId(0);
        let numbers = BTreeMap::from([(own, own_number)]);
        let members = Members::Overlay { names: vec![Some(own)], numbers, dialect: Dialect::Own };
        Self { own: own_number, members }
    }

    /// Makes a box a member; its number, which is the one it had if it was one before. `None` if there are too many.
    pub(in crate::server) fn admit(&mut self, address: BoxAddress) -> Option<ServerId> {
        let (names, removed) = match &mut self.members {
            Members::Lab { .. } => return None,
            Members::Boxes { names, removed } => (names, removed),
            Members::Overlay { names, numbers, .. } => return admit_to_overlay(names, numbers, address),
        };
        let index = names.iter().position(|name| *name == address).unwrap_or(names.len());
        let id = ServerId(u16::try_from(index).ok()?);
        if index == names.len() {
            names.push(address);
            removed.push(false);
        }
        removed[index] = false;
        Some(id)
    }

    /// The box is no member any more. An overlay's server itself remains one, though strangers may say that they are it.
    pub(in crate::server) fn remove(&mut self, id: ServerId) {
        let own = self.own;
        match &mut self.members {
            Members::Lab { .. } => {}
            Members::Boxes { removed, .. } => removed[id.index()] = true,
            Members::Overlay { names, numbers, .. } => {
                if id != own
                    && let Some(address) = names[id.index()].take()
                {
                    numbers.remove(&address);
                }
            }
        }
    }

    /// Whether links are kept up to everybody, and not only to those whom an overlay wants.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(self.members, Members::Overlay { .. })
    }

    /// Lets the servers of an overlay speak `dialect`.
    pub(in crate::server) fn speak(&mut self, spoken: Dialect) {
        if let Members::Overlay { dialect, .. } = &mut self.members {
            *dialect = spoken;
        }
    }

    /// Whether servers speak the frames of `gen_hypar`.
    pub(in crate::server) fn speaks_hypar(&self) -> bool {
        matches!(self.members, Members::Overlay { dialect: Dialect::GenHypar, .. })
    }

    /// The number of an overlay's server, as long as it has one.
    pub(in crate::server) fn number_of(&self, address: BoxAddress) -> Option<ServerId> {
        match &self.members {
            Members::Overlay { numbers, .. } => numbers.get(&address).copied(),
            _ => None,
        }
    }

    /// The address of an overlay's server.
    pub(in crate::server) fn overlay_address(&self, id: ServerId) -> Option<BoxAddress> {
        match &self.members {
            Members::Overlay { names, .. } => names.get(id.index()).copied().flatten(),
            _ => None,
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
            Members::Overlay { names, .. } => names.len(),
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
            Members::Overlay { .. } => self.overlay_address(id).is_some(),
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
            Members::Overlay { names, .. } => names[self.own.index()] > names[peer.index()],
        }
    }

    /// Where `peer` listens.
    pub fn address(&self, peer: ServerId) -> Option<SocketAddr> {
        match &self.members {
            Members::Lab { addresses, .. } => addresses.get(&peer).copied(),
            Members::Boxes { names, .. } => names.get(peer.index()).map(|name| name.socket()),
            Members::Overlay { .. } => self.overlay_address(peer).map(BoxAddress::socket),
        }
    }

    /// What `id` is called.
    pub fn name(&self, id: ServerId) -> String {
        match &self.members {
            Members::Lab { .. } => id.to_string(),
            Members::Boxes { names, .. } => {
                names.get(id.index()).map_or_else(|| id.to_string(), BoxAddress::to_string)
            }
            Members::Overlay { .. } => {
                self.overlay_address(id).map_or_else(|| id.to_string(), |name| name.to_string())
            }
        }
    }

    /// Whether the links carry lines of the lab, and not frames of agents.
    pub fn speaks_lines(&self) -> bool {
        matches!(self.members, Members::Lab { .. })
    }

    /// The own heartbeat, newline included, with which links also begin; of `gen_hypar`, which has none, only the beginning.
    pub(super) fn ping(&self) -> Bytes {
        match &self.members {
            Members::Overlay { dialect: Dialect::GenHypar, .. } => Bytes::from_static(HYPAR_OPENER),
            Members::Lab { .. } => ping_line(self.own),
            Members::Boxes { names, .. } => box_ping_line(names[self.own.index()]),
            Members::Overlay { .. } => {
                self.overlay_address(self.own).map(box_ping_line).expect("the own number is never free")
            }
        }
    }

    /// Who says this first line, given without its newline. An error says that it is nobody of ours. An overlay takes everybody in.
    pub(in crate::server) fn introduced(&mut self, line: &[u8]) -> Result<Introduction, String> {
        match &mut self.members {
            Members::Lab { grid, .. } => {
                let sender = PeerLine::parse(line).map_err(|error| format!("first line: {error}"))?.sender();
                if grid.holds(sender) {
                    Ok(Introduction::Link(sender))
                } else {
                    Err(format!("says it is server {sender} of {}", grid.n()))
                }
            }
            Members::Boxes { names, removed } => {
                let address = box_of_first_line(line).map_err(|error| format!("first line: {error}"))?;
                let index = names.iter().position(|name| *name == address);
                index
                    .and_then(|index| u16::try_from(index).ok())
                    .filter(|index| !removed[usize::from(*index)])
                    .map(|index| Introduction::Link(ServerId(index)))
                    .ok_or_else(|| format!("says it is box {address}, which the configuration does not name"))
            }
            Members::Overlay { names, numbers, .. } => {
                let (sender, letter) =
                    overlay_first_line(line).map_err(|error| format!("first line: {error}"))?;
                if letter {
                    return Ok(Introduction::Letter);
                }
                admit_to_overlay(names, numbers, sender)
                    .map(Introduction::Link)
                    .ok_or_else(|| format!("{sender} is one server too many"))
            }
        }
    }
}

/// The number of a server: the one it has, or a free one. `None` if there are too many.
fn admit_to_overlay(
    names: &mut Vec<Option<BoxAddress>>,
    numbers: &mut BTreeMap<BoxAddress, ServerId>,
    address: BoxAddress,
) -> Option<ServerId> {
    if let Some(number) = numbers.get(&address) {
        return Some(*number);
    }
    let free = names.iter().position(Option::is_none).unwrap_or(names.len());
    if free >= OVERLAY_NUMBERS_MAX {
        return None;
    }
    if free == names.len() {
        names.push(None);
    }
    let number = ServerId(u16::try_from(free).expect("below the limit"));
    names[free] = Some(address);
    numbers.insert(address, number);
    Some(number)
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
        assert_eq!(roster.introduced(b"ping [::ffff:127.0.0.1]:4000"), Ok(Introduction::Link(ServerId(1))));
    }

    #[test]
    fn a_lab_knows_its_servers_by_number() {
        let mut roster = Roster::lab(Grid::new(1, 3, 3000).expect("valid"), BTreeMap::new());
        assert_eq!(roster.introduced(b"ping 2"), Ok(Introduction::Link(ServerId(2))));
        assert!(roster.introduced(b"ping 3").is_err());
        assert!(roster.introduced(b"ping 127.0.0.1:4000").is_err());
    }

    #[test]
    fn an_overlay_takes_everybody_in_and_uses_numbers_again() {
        let mut roster = Roster::of_overlay(address("127.0.0.1:4001"));
        let link = |number| Ok(Introduction::Link(ServerId(number)));
        assert_eq!(roster.introduced(b"ping 127.0.0.1:4000"), link(1));
        assert_eq!(roster.introduced(b"ping 127.0.0.1:4002"), link(2));
        assert_eq!(roster.introduced(b"ping 127.0.0.1:4000"), link(1));
        assert!(roster.dials(ServerId(1)) && !roster.dials(ServerId(2)));
        roster.remove(ServerId(1));
        assert!(!roster.holds(ServerId(1)) && roster.number_of(address("127.0.0.1:4000")).is_none());
        assert_eq!(roster.introduced(b"ping 127.0.0.1:4003"), link(1));
        assert_eq!(roster.introduced(b"letter 127.0.0.1:4009"), Ok(Introduction::Letter));
        roster.remove(ServerId(0));
        assert_eq!(roster.introduced(b"ping 127.0.0.1:4001"), link(0), "the own name stays");
        assert_eq!(roster.len(), 3, "a letter's sender needs no number");
        assert!(roster.introduced(b"ping 3").is_err() && roster.introduced(b"letter x").is_err());
    }
}
