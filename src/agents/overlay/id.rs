//! What a node is called.

use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::agent::{Peer, WireError};
use crate::grid::BoxAddress;

/// What a node of an overlay is called, by everybody: whoever knows it can reach the node.
pub trait Id: Copy + Ord + Debug + Display + FromStr {
    /// Appends it to `bytes`.
    fn encode(self, bytes: &mut Vec<u8>);

    /// Takes it from the front of `bytes`.
    fn decode(bytes: &mut &[u8]) -> Result<Self, WireError>;
}

/// In the simulated world: its number, four bytes.
impl Id for Peer {
    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, WireError> {
        Ok(Self(u32::from_be_bytes(take(bytes)?)))
    }
}

/// On real sockets: where it listens; the version of the address (4 or 6), the address, the port.
impl Id for BoxAddress {
    fn encode(self, bytes: &mut Vec<u8>) {
        match self.ip() {
            IpAddr::V4(ip) => {
                bytes.push(4);
                bytes.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                bytes.push(6);
                bytes.extend_from_slice(&ip.octets());
            }
        }
        bytes.extend_from_slice(&self.port().to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, WireError> {
        let ip = match take::<1>(bytes)? {
            [4] => IpAddr::V4(Ipv4Addr::from(take::<4>(bytes)?)),
            [6] => IpAddr::V6(Ipv6Addr::from(take::<16>(bytes)?)),
            [version] => return Err(WireError::new(format!("addresses of version {version} are unknown"))),
        };
        let address = Self::new(SocketAddr::new(ip, u16::from_be_bytes(take(bytes)?)));
        if address.port() == 0 || address.ip().is_unspecified() {
            return Err(WireError::new(format!("nobody can be reached at {address}")));
        }
        Ok(address)
    }
}

/// Takes `N` bytes from the front of `bytes`.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (first, rest) = bytes.split_first_chunk().ok_or_else(|| WireError::new("too short"))?;
    *bytes = rest;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_bytes_in_one_spelling() {
        for text in ["127.0.0.1:3000", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:9"] {
            let address: BoxAddress = text.parse().expect("valid");
            let mut bytes = Vec::new();
            address.encode(&mut bytes);
            assert_eq!(BoxAddress::decode(&mut &bytes[..]), Ok(address));
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for bytes in [&[4, 127, 0, 0, 1, 0, 0][..], &[4, 0, 0, 0, 0, 1, 1], &[5, 1], &[4, 1], &[]] {
            assert!(BoxAddress::decode(&mut { bytes }).is_err(), "{bytes:?}");
        }
    }
}
