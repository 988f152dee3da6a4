//! The key of a cluster: by it tokens are signed, and the cluster is told from others.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The key of a cluster, which all its servers have from its log and nobody else has. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; 32]);

/// Which cluster it is: another one each time that a cluster is begun anew, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterIdentity(pub [u8; 16]);

impl ClusterIdentity {
    /// As it travels; none if these bytes are no identity.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl ClusterKey {
    /// These bytes, which nobody can guess.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the cluster is known by. It says nothing about the key.
    pub fn identity(&self) -> ClusterIdentity {
        let signed = self.signing(b"ovid chat identity 1").finalize().into_bytes();
        ClusterIdentity(*signed.first_chunk().expect("32 bytes"))
    }

    /// What signs something by this key. What is signed for one purpose counts for no other.
    pub(super) fn signing(&self, purpose: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        mac.update(purpose);
        mac
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown_and_each_has_its_identity() {
        let (one, other) = (ClusterKey::new([7; 32]), ClusterKey::new([8; 32]));
        assert_eq!(format!("{one:?}"), "ClusterKey(...)");
        assert_eq!(one.identity(), one.identity());
        assert_ne!(one.identity(), other.identity());
        assert_ne!(one.identity().0, [7; 16]);
    }
}
