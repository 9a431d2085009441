//! SHA-256 in the form in which the archive writes it: lower-case hex.

use sha2::{Digest, Sha256};

/// A SHA-256 that grows with the bytes and counts them.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    state: Sha256,
    len: u64,
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    /// Bytes so far.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether no byte came yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of all bytes so far, in hex; afterwards it is as new.
    pub fn take_hex(&mut self) -> String {
        self.len = 0;
        hex(&self.state.finalize_reset())
    }
}

/// The hex SHA-256 of some bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256_in_lower_case_hex() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.len(), 3);
        assert_eq!(hasher.take_hex(), abc);
        assert!(hasher.is_empty());
        assert_eq!(hasher.take_hex(), sha256_hex(b""));
    }
}
