//! Names and values as text: what a subscriber asks for, and what a publisher says of a stream.

use std::fmt::Display;

use crate::{Limits, ProtocolError, Result};

/// Longest text, in bytes.
const MAX_TEXT: u64 = 64 << 10;
/// Most names.
const MAX_FIELDS: u64 = 256;

/// `name=value`, separated by NUL bytes. Names have no `=`, and neither has a NUL.
///
/// ```
/// use arrowlane_dissociated::Fields;
/// let mut fields = Fields::default();
/// fields.push("overflow", "wait");
/// fields.push("last", 1);
/// assert_eq!(fields.as_str(), "overflow=wait\0last=1");
/// assert_eq!(Fields::parse(fields.as_str()).unwrap().number("last").unwrap(), Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(String);

impl Fields {
    /// Reads a text: whole fields only, each name at most once.
    ///
    /// # Errors
    /// A part without a name or `=`, a name that is there twice, more than 64 KiB or 256 fields.
    pub fn parse(text: &str) -> Result<Self> {
        Limits::check("length of a list of fields", text.len() as u64, MAX_TEXT)?;
        let fields = Self(text.to_owned());
        let mut names = std::collections::HashSet::new();
        for part in text.split('\0').filter(|_| !text.is_empty()) {
            let shown = || part.chars().take(40).collect::<String>();
            match part.split_once('=') {
                Some((name, _)) if !name.is_empty() => {
                    if !names.insert(name) {
                        return Err(ProtocolError::malformed(
                            "list of fields",
                            format!("{:?} is there twice", shown()),
                        ));
                    }
                }
                _ => return Err(ProtocolError::malformed("list of fields", format!("{:?} is no name=value", shown()))),
            }
            Limits::check("number of fields", names.len() as u64, MAX_FIELDS)?;
        }
        Ok(fields)
    }

    /// Appends a field. A NUL in the value is left out.
    pub fn push(&mut self, name: &str, value: impl Display) {
        if !self.0.is_empty() {
            self.0.push('\0');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(value.to_string().chars().filter(|c| *c != '\0'));
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split('\0').filter_map(|part| part.split_once('='))
    }

    /// The value under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The whole number under a name.
    ///
    /// # Errors
    /// A value that is not an unsigned 64-bit decimal.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { value.parse().ok() } else { None };
        number.map(Some).ok_or_else(|| {
            let shown: String = value.chars().take(40).collect();
            ProtocolError::malformed("field", format!("{name}={shown:?} is not an unsigned 64-bit decimal"))
        })
    }

    /// As it travels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_list_of_names_and_values_is_refused() {
        for text in ["a", "=1", "a=1\0", "\0a=1", "a=1\0a=2", "a=1\0\0b=2"] {
            assert!(Fields::parse(text).is_err(), "{text:?}");
        }
        assert!(Fields::parse(&"x".repeat(70_000)).is_err());
        let many: Vec<_> = (0..300).map(|n| format!("n{n}=")).collect();
        assert!(Fields::parse(&many.join("\0")).is_err());
        assert!(Fields::parse("").unwrap().iter().next().is_none());
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        for value in ["", "+1", "-1", " 1", "1 ", "0x1", "1.0", "18446744073709551616"] {
            assert!(Fields::parse(&format!("n={value}")).unwrap().number("n").is_err(), "{value:?}");
        }
        assert_eq!(Fields::parse("n=18446744073709551615").unwrap().number("n").unwrap(), Some(u64::MAX));
        assert_eq!(Fields::parse("n=1").unwrap().number("m").unwrap(), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_what_is_read_is_written_back(text in "\\PC{0,40}|[a-c=\\x00]{0,12}") {
            if let Ok(fields) = Fields::parse(&text) {
                let mut again = Fields::default();
                fields.iter().for_each(|(name, value)| again.push(name, value));
                prop_assert_eq!(again.as_str(), fields.as_str());
            }
        }
    }
}
