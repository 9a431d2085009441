//! JSON's escapes, sixteen bytes at a time.
//!
//! Owns which bytes of a string are escaped and how: what `serde_json` would write between the quotes. Where most
//! groups hold a quote, searching for the next one costs more than to move the bytes apart at once, as a table says.

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x16};

/// Bytes that are looked at together.
const GROUP: usize = 16;
/// Bytes that are moved apart together, each with room for a backslash before it.
const HALF: usize = GROUP / 2;
/// `\u001f`, the longest escape of one byte.
const LONGEST_ESCAPE: usize = 6;

/// Which controls have an escape of one letter, and which letter: the rest are zero.
const LETTERS: [u8; GROUP] = [0, 0, 0, 0, 0, 0, 0, 0, b'b', b't', b'n', 0, b'f', b'r', 0, 0];

/// For each set of bytes of a half that get a backslash, where every byte comes from: the half, or (at [`HALF`] and
/// beyond) backslashes.
static MOVES: [[u8; GROUP]; 1 << HALF] = moves();

const fn moves() -> [[u8; GROUP]; 1 << HALF] {
    let mut all = [[HALF as u8; GROUP]; 1 << HALF];
    let mut hits = 0;
    while hits < all.len() {
        let (mut to, mut from) = (0, 0);
        while from < HALF {
            to += hits >> from & 1;
            all[hits][to] = from as u8;
            to += 1;
            from += 1;
        }
        hits += 1;
    }
    all
}

/// The room that [`escape`] needs for a text of so many bytes, whatever it says.
pub(super) const fn room(len: usize) -> usize {
    // What is moved at once may be longer than what counts of it.
    LONGEST_ESCAPE * len.next_multiple_of(GROUP) + 2 * GROUP
}

/// Writes `text` escaped to `out[at..]` and returns where it ends; writes what nobody needs behind that. `out` has
/// [`room`] there.
pub(super) fn escape(text: &[u8], out: &mut [u8], at: usize) -> usize {
    escape_at(Level::new(), text, out, at)
}

/// With what this processor has.
fn escape_at(level: Level, text: &[u8], out: &mut [u8], at: usize) -> usize {
    dispatch!(level, simd => escape_text(simd, text, out, at))
}

// All of it becomes one function for each kind of processor: hence `inline(always)`.
#[inline(always)]
fn escape_text<S: Simd>(simd: S, text: &[u8], out: &mut [u8], mut at: usize) -> usize {
    let (groups, rest) = text.as_chunks();
    for group in groups {
        at += escape_group(simd, group, &mut out[at..]);
    }
    if rest.is_empty() {
        return at;
    }
    // Made whole by bytes that are not escaped and do not count.
    let mut last = [b' '; GROUP];
    last[..rest.len()].copy_from_slice(rest);
    at + escape_group(simd, &last, &mut out[at..]) - (GROUP - rest.len())
}

#[inline(always)]
fn escape_group<S: Simd>(simd: S, group: &[u8; GROUP], out: &mut [u8]) -> usize {
    let bytes = u8x16::from_slice(simd, group);
    let hits = (bytes.simd_eq(b'"') | bytes.simd_eq(b'\\')).to_bitmask();
    let controls = bytes.simd_le(0x1f).to_bitmask();
    if controls == 0 {
        return move_apart(simd, group, hits, out);
    }
    // Zero for all but the controls that have a letter, which get a backslash, too.
    let letters = u8x16::from_slice(simd, &LETTERS).swizzle_dyn_precise(bytes);
    let lettered = letters.simd_gt(0).to_bitmask();
    if lettered != controls {
        return escape_bytes(group, out);
    }
    let mut group = [0; GROUP];
    letters.simd_gt(0).select(letters, bytes).store_slice(&mut group);
    move_apart(simd, &group, hits | lettered, out)
}

/// Writes a group with a backslash before each byte that is a hit.
#[inline(always)]
fn move_apart<S: Simd>(simd: S, group: &[u8; GROUP], hits: u64, out: &mut [u8]) -> usize {
    let out = &mut out[..2 * GROUP];
    let mut at = 0;
    for (half, hits) in group.as_chunks::<HALF>().0.iter().zip((hits as u16).to_le_bytes()) {
        let mut bytes = [b'\\'; GROUP];
        bytes[..HALF].copy_from_slice(half);
        let moves = u8x16::from_slice(simd, &MOVES[usize::from(hits)]);
        u8x16::from_slice(simd, &bytes).swizzle_dyn(moves).store_slice(&mut out[at..at + GROUP]);
        at += HALF + hits.count_ones() as usize;
    }
    at
}

/// The same byte by byte, for controls that have no letter.
#[inline(never)]
fn escape_bytes(group: &[u8; GROUP], out: &mut [u8]) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    for &byte in group {
        let (escaped, len) = match (byte, LETTERS.get(usize::from(byte))) {
            (b'"' | b'\\', _) => ([b'\\', byte, 0, 0, 0, 0], 2),
            (b' '.., _) => ([byte, 0, 0, 0, 0, 0], 1),
            (_, Some(&letter @ 1..)) => ([b'\\', letter, 0, 0, 0, 0], 2),
            _ => ([b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]], 6),
        };
        out[at..at + LONGEST_ESCAPE].copy_from_slice(&escaped);
        at += len;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// As each kind of processor escapes it that can be tried here.
    fn by_all(text: &str) -> Vec<String> {
        let level = Level::new();
        let mut levels = vec![level, Level::baseline()];
        #[cfg(target_arch = "x86_64")]
        levels.extend(level.as_sse4_2().map(Level::Sse4_2));
        let escaped = |level| {
            let mut out = vec![b'?'; 5 + room(text.len())];
            let end = escape_at(level, text.as_bytes(), &mut out, 5);
            assert_eq!(out[..5], *b"?????", "nothing before it is touched");
            String::from_utf8(out[5..end].to_vec()).unwrap()
        };
        levels.into_iter().map(escaped).collect()
    }

    fn is_as_serde_json_writes_it(text: &str) {
        let quoted = serde_json::to_string(text).unwrap();
        for escaped in by_all(text) {
            assert_eq!(escaped, quoted[1..quoted.len() - 1]);
        }
    }

    #[test]
    fn every_byte_is_escaped_wherever_it_stands() {
        for byte in 0..0x80_u8 {
            for at in 0..2 * GROUP {
                for len in at + 1..2 * GROUP + 2 {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    is_as_serde_json_writes_it(std::str::from_utf8(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn every_set_of_hits_has_its_moves() {
        for hits in 0..1_u32 << GROUP {
            let text: String = (0..GROUP).map(|bit| if hits >> bit & 1 == 1 { '"' } else { 'x' }).collect();
            is_as_serde_json_writes_it(&text);
        }
    }

    #[test]
    fn the_longest_escapes_have_room() {
        for len in 0..100 {
            is_as_serde_json_writes_it(&"\u{1}".repeat(len));
            is_as_serde_json_writes_it(&"\"".repeat(len));
        }
    }

    proptest! {
        #[test]
        fn all_texts_are_escaped_as_serde_json_does_it(
            parts in vec(prop_oneof![any::<String>(), "[\\x00-\\x1f\"\\\\a]{0,20}", "[ -~\n\t\"]{0,60}"], 0..8),
        ) {
            is_as_serde_json_writes_it(&parts.concat());
        }
    }
}
