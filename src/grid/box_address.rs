//! The address of a box, in the one spelling by which boxes know each other.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Where a box listens for other boxes, which is also its name. Canonical: an IPv4 address that is written as an IPv6 one is the
/// IPv4 address, and an IPv6 address has one spelling. Of two boxes the larger address dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxAddress {
    ip: IpAddr,
    port: u16,
}

/// What is not the address of a box.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BoxAddressError {
    /// Not an address and a port.
    #[error("expected an address and a port, such as 127.0.0.1:4000 or [::1]:4000, not {0:?}")]
    NotAnAddress(String),
    /// Nobody can be reached at port 0.
    #[error("port 0 in {0:?} is no port on which a box can be found")]
    PortZero(String),
    /// `0.0.0.0` or `::` names no machine.
    #[error("{0:?} means every address of a machine and names no box")]
    Unspecified(String),
}

impl BoxAddress {
    /// The canonical form of a socket's address.
    pub fn new(address: SocketAddr) -> Self {
        Self { ip: address.ip().to_canonical(), port: address.port() }
    }

    /// The address as sockets take it.
    pub fn socket(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// The machine's address.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// The port for other boxes.
    pub fn port(self) -> u16 {
        self.port
    }
}

impl FromStr for BoxAddress {
    type Err = BoxAddressError;

    fn from_str(text: &str) -> Result<Self, BoxAddressError> {
        let address: SocketAddr = text.parse().map_err(|_| BoxAddressError::NotAnAddress(text.to_owned()))?;
        let canonical = Self::new(address);
        if canonical.port == 0 {
            return Err(BoxAddressError::PortZero(text.to_owned()));
        }
        if canonical.ip.is_unspecified() {
            return Err(BoxAddressError::Unspecified(text.to_owned()));
        }
        Ok(canonical)
    }
}

impl fmt::Display for BoxAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}

impl Serialize for BoxAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BoxAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<BoxAddress>().expect("valid").to_string()
    }

    #[test]
    fn one_box_has_one_spelling() {
        assert_eq!(canonical("127.0.0.1:4000"), "127.0.0.1:4000");
        assert_eq!(canonical("[::ffff:127.0.0.1]:4000"), "127.0.0.1:4000");
        assert_eq!(canonical("[0:0:0:0:0:0:0:1]:4000"), "[::1]:4000");
        assert_eq!(canonical("[2001:DB8::0:1]:1"), "[2001:db8::1]:1");
    }

    #[test]
    fn what_names_no_box_is_refused() {
        for text in ["", "4000", "localhost:4000", "127.0.0.1", "127.0.0.1:70000", "::1:4000x"] {
            let error = BoxAddressError::NotAnAddress(text.to_owned());
            assert_eq!(text.parse::<BoxAddress>(), Err(error));
        }
        assert_eq!(
            "127.0.0.1:0".parse::<BoxAddress>(),
            Err(BoxAddressError::PortZero("127.0.0.1:0".to_owned()))
        );
        assert_eq!(
            "[::]:4000".parse::<BoxAddress>(),
            Err(BoxAddressError::Unspecified("[::]:4000".to_owned()))
        );
    }
}
