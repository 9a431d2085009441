//! Text that shares its bytes with what it was cut from.
//!
//! Owns that what is read of it is UTF-8. Does not know what the text says.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// A text whose copies share one buffer, such as that of the reply in which it came.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Of bytes that whoever cut them from their buffer knows to be UTF-8. They are not looked at here, as they may lie
    /// in the cache no more; what is no UTF-8 would be read as empty.
    pub const fn of_utf8(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        // Known when it was made: the other case cannot be.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_bytes_it_was_cut_from() {
        let bytes = Bytes::from("a käy".to_owned());
        let text = Text::of_utf8(bytes.clone());
        assert_eq!(&*text, "a käy");
        assert_eq!(text.as_bytes().as_ptr(), bytes.as_ptr(), "no copy");
        assert_eq!(&*Text::of_utf8(bytes.slice(..4)), "", "half a letter is no text");
        assert_eq!(Text::from("x"), Text::from("x".to_owned()));
    }
}
