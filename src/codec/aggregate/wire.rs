//! Protobuf's wire form, read in place.
//!
//! Owns what a sound message is, in every case as prost has it (a test holds both side by side); holds nothing of it.

/// Groups may lie within groups so deep; a message within a message takes one off.
pub(super) const DEPTH: u32 = 100;

/// What cannot be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a field holds.
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed length, or a group: nothing that an aggregate knows.
    Other,
}

/// The fields of a message that are still to be read.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
    depth: u32,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8], depth: u32) -> Self {
        Self { rest: message, depth }
    }

    /// The next one, with its number.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.key()?;
        let value = self.value(number, kind, self.depth)?;
        Ok(Some((number, value)))
    }

    #[inline]
    fn key(&mut self) -> Result<(u32, u32), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        match key >> 3 {
            0 => Err(Malformed),
            number => Ok((number, key & 7)),
        }
    }

    #[inline]
    fn value(&mut self, number: u32, kind: u32, depth: u32) -> Result<Value<'a>, Malformed> {
        match kind {
            0 => Ok(Value::Number(self.varint()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Ok(Value::Bytes(self.take(len)?))
            }
            1 => self.take(8).map(|_| Value::Other),
            5 => self.take(4).map(|_| Value::Other),
            3 => self.group(number, depth).map(|()| Value::Other),
            _ => Err(Malformed),
        }
    }

    /// A group ends with a key of its own number.
    #[cold]
    fn group(&mut self, number: u32, depth: u32) -> Result<(), Malformed> {
        let within = depth.checked_sub(1).ok_or(Malformed)?;
        loop {
            match self.key()? {
                (inner, 4) if inner == number => return Ok(()),
                (_, 4) => return Err(Malformed),
                _ if within == 0 => return Err(Malformed),
                (inner, kind) => {
                    self.value(inner, kind, within)?;
                }
            }
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                // Of a tenth byte only one bit has room.
                self.rest = self.rest.get(at + 1..).filter(|_| at < 9 || byte < 2).ok_or(Malformed)?;
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}
