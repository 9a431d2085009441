//! Text that shares its bytes with what it was cut from.
//!
//! Owns that the bytes are UTF-8. Does not know what the text says.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// A text whose copies share one buffer, such as that of the reply in which it came.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

/// The bytes were not UTF-8.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not UTF-8")]
pub struct NotUtf8;

impl Text {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Bytes> for Text {
    type Error = NotUtf8;

    fn try_from(bytes: Bytes) -> Result<Self, NotUtf8> {
        // Keys are mostly ASCII, which is the quicker thing to ask.
        if bytes.is_ascii() || std::str::from_utf8(&bytes).is_ok() { Ok(Self(bytes)) } else { Err(NotUtf8) }
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
        // Looked at when it was made: the other case cannot be.
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
    fn only_utf8_becomes_a_text_and_it_stays_as_it_is() {
        let bytes = Bytes::from("a käy".to_owned());
        let text = Text::try_from(bytes.clone()).unwrap();
        assert_eq!(&*text, "a käy");
        assert_eq!(text.as_bytes().as_ptr(), bytes.as_ptr(), "no copy");
        assert_eq!(Text::try_from(bytes.slice(..4)), Err(NotUtf8));
        assert_eq!(Text::from("x"), Text::from("x".to_owned()));
    }
}
