//! The partition key of a record that does not bring one along.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Keys {
    /// Each record a random one, so that they spread evenly.
    Random(fastrand::Rng),
    /// All the same.
    Constant(String),
    /// A text field of the record, which is a JSON object: the names from the outermost inward.
    Field(Vec<String>),
}

impl Keys {
    /// `user.id` is the field `id` of the field `user`.
    pub(super) fn field(path: &str) -> Self {
        Self::Field(path.split('.').map(str::to_owned).collect())
    }

    /// The key of one record, or what is wrong with the record.
    pub(super) fn of(&mut self, payload: &[u8]) -> Result<String, String> {
        match self {
            Self::Random(random) => Ok(random_key(random)),
            Self::Constant(key) => Ok(key.clone()),
            Self::Field(path) => field_of(payload, path),
        }
    }
}

/// Sixteen hexadecimal digits: short, because the key counts against the shard's bytes.
fn random_key(random: &mut fastrand::Rng) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = random.u64(..);
    (0..16).map(|place| char::from(DIGITS[((bits >> (4 * place)) & 15) as usize])).collect()
}

fn field_of(payload: &[u8], path: &[String]) -> Result<String, String> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    let found = Field { path }.deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    let name = || path.join(".");
    match found.map_err(|error| format!("not JSON, so that it has no field `{}`: {error}", name()))? {
        Found::Text(text) if text.is_empty() => Err(format!("field `{}` is empty", name())),
        Found::Text(text) => Ok(text),
        Found::Absent => Err(format!("it has no field `{}`", name())),
        Found::Other(kind) => Err(format!("field `{}` is {kind} and not text", name())),
    }
}

/// What stands where the key should.
enum Found {
    Text(String),
    Other(&'static str),
    Absent,
}

/// Looks for a field without building the rest of the record.
struct Field<'p> {
    path: &'p [String],
}

impl Field<'_> {
    /// Something that has no fields.
    const fn leaf(&self, kind: &'static str) -> Found {
        if self.path.is_empty() { Found::Other(kind) } else { Found::Absent }
    }
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(if self.path.is_empty() { Found::Text(text.to_owned()) } else { Found::Absent })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(self.leaf("true or false"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(self.leaf("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(self.leaf("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(self.leaf("a number"))
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(self.leaf("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Found, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.leaf("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Found, A::Error> {
        let mut found = if self.path.is_empty() { Found::Other("an object") } else { Found::Absent };
        while let Some(name) = fields.next_key::<Cow<'_, str>>()? {
            match self.path.split_first() {
                Some((first, rest)) if *first == *name => {
                    found = fields.next_value_seed(Field { path: rest })?
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, payload: &str) -> Result<String, String> {
        Keys::field(path).of(payload.as_bytes())
    }

    #[test]
    fn a_field_is_found_at_the_top_and_below() {
        assert_eq!(of("user", r#"{"a":[{"user":"no"}],"user":"u\n1","b":2}"#).unwrap(), "u\n1");
        assert_eq!(of("user.id", r#" {"user":{"name":"x","id":"17"},"id":"no"} "#).unwrap(), "17");
        assert_eq!(of("a.b.c", r#"{"a":{"b":{"c":"ü"}}}"#).unwrap(), "ü");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (payload, said) in [
            (r#"{"a":1}"#, "it has no field `user.id`"),
            (r#"{"user":"x"}"#, "it has no field `user.id`"),
            (r#"[1]"#, "it has no field `user.id`"),
            (r#"{"user":{"id":17}}"#, "field `user.id` is a number and not text"),
            (r#"{"user":{"id":-1.5}}"#, "field `user.id` is a number and not text"),
            (r#"{"user":{"id":null}}"#, "field `user.id` is null and not text"),
            (r#"{"user":{"id":true}}"#, "field `user.id` is true or false and not text"),
            (r#"{"user":{"id":["a"]}}"#, "field `user.id` is a list and not text"),
            (r#"{"user":{"id":{"a":1}}}"#, "field `user.id` is an object and not text"),
            (r#"{"user":{"id":""}}"#, "field `user.id` is empty"),
            (r#"{"user":{"id":"x"}} trailing"#, "not JSON, so that it has no field `user.id`: trailing"),
            (r#"{"user":"#, "not JSON, so that it has no field `user.id`: EOF"),
            ("", "not JSON, so that it has no field `user.id`: EOF"),
        ] {
            let error = of("user.id", payload).unwrap_err();
            assert!(error.starts_with(said), "{payload}: {error}");
        }
    }

    #[test]
    fn random_keys_differ_and_constant_ones_do_not() {
        let mut random = Keys::Random(fastrand::Rng::with_seed(1));
        let (one, two) = (random.of(b"").unwrap(), random.of(b"").unwrap());
        assert!(one != two && one.len() == 16 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(Keys::Constant("k".into()).of(b"").unwrap(), "k");
    }
}
