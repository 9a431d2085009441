//! By what the input of an earlier run is known again: how each source begins.
//!
//! Owns what is looked at of a source, so that a file that has grown is still the same one. Does not know
//! where it is written down.

use serde::{Deserialize, Serialize};

use crate::codec::hash::{Hasher, sha256_hex};

/// So much of a source is looked at.
const MOST: u64 = 64 << 10;

/// How a source begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beginning {
    /// Whole items from its first on, up to 64 KiB of their (unpacked) text.
    bytes: u64,
    /// Their SHA-256.
    sha256: String,
}

/// A source of an earlier run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The number of its first item, over all sources.
    pub(super) first: u64,
    pub(super) beginning: Beginning,
}

/// Holds a source against how it began in an earlier run, and notes how it begins.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// What is still to be proved.
    known: Option<Beginning>,
    seen: Hasher,
}

impl Proof {
    /// Of a source that began so, if it was read before.
    pub(super) fn new(known: Option<Beginning>) -> Self {
        Self { known, seen: Hasher::default() }
    }

    /// Whether so much of the source is too little to tell whether it is the same.
    pub(super) fn wants_more(&self, bytes: usize) -> bool {
        self.known.as_ref().is_some_and(|known| (bytes as u64) < known.bytes)
    }

    /// Whether the source is the same as before; to be asked once, with all that was read of it.
    pub(super) fn holds(&mut self, text: &[u8]) -> bool {
        let Some(known) = self.known.take() else { return true };
        let most = usize::try_from(known.bytes).unwrap_or(usize::MAX);
        known.bytes == 0 || text.get(..most).is_some_and(|text| sha256_hex(text) == known.sha256)
    }

    /// Takes the next items' text; how the source begins, if that says more than before.
    pub(super) fn see(&mut self, text: &[u8]) -> Option<Beginning> {
        let room = usize::try_from(MOST.saturating_sub(self.seen.len())).unwrap_or_default();
        if room == 0 {
            return None;
        }
        self.seen.update(text.get(..room).unwrap_or(text));
        Some(Beginning { bytes: self.seen.len(), sha256: self.seen.clone().take_hex() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &[u8]) -> Beginning {
        Proof::default().see(text).unwrap()
    }

    #[test]
    fn what_has_grown_is_the_same_and_what_differs_is_not() {
        let known = seen(b"one\ntwo\n");
        assert_eq!(known.bytes, 8);
        let holds = |text: &[u8]| Proof::new(Some(known.clone())).holds(text);
        assert!(holds(b"one\ntwo\n") && holds(b"one\ntwo\nthree\n"));
        assert!(!holds(b"one\n") && !holds(b"one\ntwx\nthree\n") && !holds(b""));
        let proof = Proof::new(Some(known.clone()));
        assert!(proof.wants_more(7) && !proof.wants_more(8) && !Proof::default().wants_more(0));
        assert!(Proof::new(Some(Beginning::default())).holds(b"anything"));
    }

    #[test]
    fn it_grows_with_what_is_seen_up_to_its_most() {
        let text = b"0123456\n".repeat(20 << 10);
        let (mut proof, mut last) = (Proof::default(), None);
        for part in text.chunks(7_000) {
            last = proof.see(part).or(last);
        }
        let last = last.unwrap();
        assert_eq!((last.bytes, &last), (MOST, &seen(&text)));
        assert!(Proof::new(Some(last)).holds(&text));
    }
}
