//! The command line as words of `key=value`.
//! It exists as a type because it is the only configuration that a guest gets.

/// A command line: words parted by blanks, of the form `key=value` or `key`.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'a>(&'a str);

/// A word of the command line whose value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadValue<'a> {
    /// The word's key.
    pub key: &'a str,
    /// What it says.
    pub value: &'a str,
}

impl core::fmt::Display for BadValue<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "command line: `{}={}` cannot be read", self.key, self.value)
    }
}

impl<'a> CommandLine<'a> {
    /// The command line in a text.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The command line in bytes that end with a zero or with the slice; what is no text from somewhere on is left off.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let bytes = bytes.get(..end).unwrap_or(bytes);
        Self(match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => bytes
                .get(..error.valid_up_to())
                .and_then(|valid| core::str::from_utf8(valid).ok())
                .unwrap_or_default(),
        })
    }

    /// The whole text.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// Each word as key and value; a word without `=` has an empty value.
    pub fn words(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split_ascii_whitespace().map(|word| word.split_once('=').unwrap_or((word, "")))
    }

    /// The value of `key`; of several, the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.words().filter(|&(name, _)| name == key).last().map(|(_, value)| value)
    }

    /// The value of `key`, read as `T`; `default` when it is absent.
    ///
    /// # Errors
    /// [`BadValue`] if the value is there but is no `T`.
    pub fn parse<T: core::str::FromStr>(&self, key: &'static str, default: T) -> Result<T, BadValue<'a>> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| BadValue { key, value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_words_counts() {
        let line = CommandLine::new("size=1  name=web-1 size=2 quiet");
        assert_eq!(line.get("size"), Some("2"));
        assert_eq!(line.get("name"), Some("web-1"));
        assert_eq!(line.get("quiet"), Some(""));
        assert_eq!(line.get("nothing"), None);
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(CommandLine::new("a=b=c").get("a"), Some("b=c"));
    }

    #[test]
    fn an_unreadable_number_is_named() {
        let line = CommandLine::new("size=big");
        assert_eq!(line.parse::<u32>("size", 1), Err(BadValue { key: "size", value: "big" }));
        assert_eq!(line.parse::<u32>("seed", 7), Ok(7));
    }

    #[test]
    fn bytes_end_at_a_zero_or_where_text_ends() {
        assert_eq!(CommandLine::from_bytes(b"a=1\0b=2").as_str(), "a=1");
        assert_eq!(CommandLine::from_bytes(b"a=1 \xff\xff").as_str(), "a=1 ");
        assert_eq!(CommandLine::from_bytes(b"").as_str(), "");
    }
}
