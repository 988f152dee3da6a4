//! Work that is too long for a loop: what each piece comes to. A pure function, which real servers call on a thread of its own and the simulated world calls at once.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::agent::{Done, PasswordCost, Secret, Work};

/// The most memory that one password may cost, in KiB: more would be a slip, or somebody who wants the server to run out of it.
pub const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// The most passes that one password may cost.
pub const PASSES_MAX: u32 = 1024;

/// Does a piece of work. It takes as long as its cost says: with the 19 MiB and two passes that are recommended today, some hundredths of a second.
pub fn compute(work: &Work) -> Done {
    match work {
        Work::HashPassword { password, salt, cost } => match hash(password, salt, *cost) {
            Ok(text) => Done::Hash(text),
            Err(error) => Done::Failed(error.to_string()),
        },
        Work::CheckPassword { password, hash } => check(password, hash),
    }
}

/// The text of a password's hash.
fn hash(password: &Secret, salt: &[u8], cost: PasswordCost) -> password_hash::Result<String> {
    let params = Params::new(cost.memory_kib, cost.passes, LANES, None)?;
    if is_excessive(&params) {
        return Err(password_hash::Error::ParamsInvalid);
    }
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2.hash_password_with_salt(&password.0, salt)?;
    Ok(hash.to_string())
}

fn check(password: &Secret, hash: &str) -> Done {
    match verify(password, hash) {
        Ok(()) => Done::Matches(true),
        Err(password_hash::Error::PasswordInvalid) => Done::Matches(false),
        Err(error) => Done::Failed(error.to_string()),
    }
}

fn verify(password: &Secret, hash: &str) -> password_hash::Result<()> {
    let hash = PasswordHash::new(hash)?;
    if is_excessive(&Params::try_from(&hash)?) {
        return Err(password_hash::Error::ParamsInvalid);
    }
    Argon2::default().verify_password(&password.0, &hash)
}

fn is_excessive(params: &Params) -> bool {
    params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX
}

/// One thread does the work, so more lanes would help only whoever guesses.
const LANES: u32 = 1;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, passes: 1 };

    fn hashed(password: &'static str, cost: PasswordCost) -> Done {
        let password = Secret(Bytes::from_static(password.as_bytes()));
        compute(&Work::HashPassword { password, salt: [7; 16], cost })
    }

    fn checked(password: &'static str, hash: &str) -> Done {
        let password = Secret(Bytes::from_static(password.as_bytes()));
        compute(&Work::CheckPassword { password, hash: hash.to_owned() })
    }

    #[test]
    fn a_password_matches_its_hash_and_no_other() {
        let Done::Hash(hash) = hashed("correct horse", CHEAP) else { panic!("a hash") };
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_eq!(
            hashed("correct horse", CHEAP),
            Done::Hash(hash.clone()),
            "the same work, the same result"
        );
        assert_eq!(checked("correct horse", &hash), Done::Matches(true));
        assert_eq!(checked("correct horsf", &hash), Done::Matches(false));
        assert_eq!(checked("", &hash), Done::Matches(false));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let excessive = PasswordCost { memory_kib: MEMORY_KIB_MAX + 1, passes: 1 };
        let endless = PasswordCost { memory_kib: 8, passes: PASSES_MAX + 1 };
        for cost in [excessive, endless, PasswordCost { memory_kib: 7, passes: 1 }] {
            assert!(matches!(hashed("x", cost), Done::Failed(_)), "{cost:?}");
        }
        let greedy = "$argon2id$v=19$m=4194304,t=1,p=1$BwcHBwcHBwcHBwcHBwcHBw$AAAAAAAAAAAAAAAAAAAAAA";
        for hash in ["", "plain", "$argon2id$", "$scrypt$ln=1$BwcHBwcH$AAAAAAAAAAAAAAAAAAAAAA", greedy] {
            assert!(matches!(checked("x", hash), Done::Failed(_)), "{hash}");
        }
    }
}
