//! Tokens: who has logged in with a password once gets one, and logs in with it anywhere in the cluster.

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::super::{ClusterKey, UserId};

/// A token for `user`, signed by the cluster's key.
pub(super) fn issue(key: &ClusterKey, user: UserId, password_hash: &str, until_ms: u64) -> Bytes {
    let mut token = Vec::with_capacity(TOKEN_BYTES);
    token.extend_from_slice(&user.0.to_be_bytes());
    token.extend_from_slice(&until_ms.to_be_bytes());
    token.extend_from_slice(&signature(key, &token, password_hash).finalize().into_bytes());
    token.into()
}

/// Whether `token` was given to `user`, whose password has this hash, and still holds at `now_ms`.
pub(super) fn is_valid(
    key: &ClusterKey,
    token: &[u8],
    user: UserId,
    password_hash: &str,
    now_ms: u64,
) -> bool {
    let Some((said, signed)) = token.split_at_checked(SAID_BYTES) else { return false };
    let Some((owner, until)) = said.split_first_chunk() else { return false };
    let until_ms = until.try_into().map(u64::from_be_bytes);
    // Compared in constant time.
    signature(key, said, password_hash).verify_slice(signed).is_ok()
        && u64::from_be_bytes(*owner) == user.0
        && until_ms.is_ok_and(|until_ms| now_ms < until_ms)
}

fn signature(key: &ClusterKey, said: &[u8], password_hash: &str) -> Hmac<Sha256> {
    let mut mac = key.signing(b"ovid chat token 1");
    mac.update(said);
    mac.update(password_hash.as_bytes());
    mac
}

const SAID_BYTES: usize = 16;
const TOKEN_BYTES: usize = SAID_BYTES + 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_one_user_one_password_one_cluster_and_a_time() {
        let (key, ann) = (ClusterKey::new([7; 32]), UserId(3));
        let token = issue(&key, ann, "hash", 1_000);
        assert!(is_valid(&key, &token, ann, "hash", 999));
        assert!(!is_valid(&key, &token, ann, "hash", 1_000));
        assert!(!is_valid(&key, &token, UserId(4), "hash", 999));
        assert!(!is_valid(&key, &token, ann, "other", 999));
        assert!(!is_valid(&ClusterKey::new([8; 32]), &token, ann, "hash", 999));
        for at in 0..token.len() {
            let mut changed = token.to_vec();
            changed[at] ^= 1;
            assert!(!is_valid(&key, &changed, ann, "hash", 999));
            assert!(!is_valid(&key, &token[..at], ann, "hash", 999));
        }
    }
}
