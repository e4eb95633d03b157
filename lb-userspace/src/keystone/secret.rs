//! Passwords and tokens, kept as hashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use blake2::{Blake2b512, Digest};

/// What a password or a token must be, as an Argon2id hash.
///
/// Argon2 is slow on purpose, and some clients send their password with every request. So what has been found right is
/// remembered, as a hash with a key of this process that costs nothing.
#[derive(Clone)]
pub struct Secret {
    hash: String,
    right: Arc<Mutex<HashMap<[u8; 64], ()>>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Memory in KiB, passes and lanes: the second recommendation of RFC 9106, less memory for more passes, as far as a small
/// balancer has it (OWASP's minimum).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

fn argon2() -> Argon2<'static> {
    let (memory, passes, lanes) = COST;
    // These are in the ranges that Argon2 takes, as a test shows.
    let params = Params::new(memory, passes, lanes, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Secret {
    /// Takes a hash in PHC's form, `$argon2id$…`.
    #[must_use]
    pub fn parse(hash: &str) -> Option<Self> {
        let parsed = PasswordHash::new(hash).ok()?;
        let known = parsed.algorithm.as_str().starts_with("argon2") && parsed.hash.is_some();
        known.then(|| Self { hash: hash.to_owned(), right: Arc::default() })
    }

    /// The hash of a password, with 16 random bytes as salt.
    #[must_use]
    pub fn hash(password: &str, salt: [u8; 16]) -> Option<String> {
        let salt = SaltString::encode_b64(&salt).ok()?;
        Some(argon2().hash_password(password.as_bytes(), &salt).ok()?.to_string())
    }

    /// True if this is it. Takes some ten milliseconds the first time.
    #[must_use]
    pub fn is(&self, password: &str) -> bool {
        // Keyed by the whole hash, which has the salt: nothing of it is the same for two secrets.
        let mut digest = Blake2b512::new();
        digest.update(self.hash.as_bytes());
        digest.update([0]);
        digest.update(password.as_bytes());
        let digest: [u8; 64] = digest.finalize().into();
        if self.right.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&digest) {
            return true;
        }
        let Ok(hash) = PasswordHash::new(&self.hash) else { return false };
        let right = argon2().verify_password(password.as_bytes(), &hash).is_ok();
        if right {
            self.right.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, ());
        }
        right
    }
}
