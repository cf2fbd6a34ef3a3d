//! JSON in one line of ASCII, written in order.

use super::{cut, micros};

/// A member's name in its quotes, and its colon.
macro_rules! name {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}
pub(super) use name;

/// JSON text that grows. Who writes it sees to its sense; this sees to commas and escapes.
pub(super) struct Json {
    pub(super) text: Vec<u8>,
    numbers: itoa::Buffer,
}

impl Json {
    pub(super) fn new(room: usize) -> Self {
        Self { text: Vec::with_capacity(room), numbers: itoa::Buffer::new() }
    }

    /// An object or an array begins.
    pub(super) fn open(&mut self, bracket: u8) {
        self.text.push(bracket);
    }

    /// It ends.
    pub(super) fn close(&mut self, bracket: u8) {
        self.text.push(bracket);
    }

    /// The next of an array's items follows: for those that are no words or numbers.
    pub(super) fn item(&mut self) {
        if !matches!(self.text.last(), None | Some(b'[' | b'{' | b':')) {
            self.text.push(b',');
        }
    }

    /// A member's name, as [`name!`] writes it.
    pub(super) fn name(&mut self, name: &str) {
        self.item();
        self.text.extend_from_slice(name.as_bytes());
    }

    /// A string as an item.
    pub(super) fn word(&mut self, value: &str) {
        self.item();
        self.text.push(b'"');
        self.escaped(value);
        self.text.push(b'"');
    }

    /// A number as an item.
    pub(super) fn number(&mut self, value: u64) {
        self.item();
        self.text.extend_from_slice(self.numbers.format(value).as_bytes());
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.word(value);
    }

    /// A string from outside: 256 characters of it, and three dots if there are more.
    pub(super) fn cut(&mut self, name: &str, value: &str) {
        let (value, more) = cut(value);
        self.name(name);
        self.text.push(b'"');
        self.escaped(value);
        self.text.extend_from_slice(if more { b"...\"" } else { b"\"" });
    }

    pub(super) fn count(&mut self, name: &str, value: u64) {
        self.name(name);
        self.number(value);
    }

    pub(super) fn maybe_count(&mut self, name: &str, value: Option<u64>) {
        match value {
            Some(value) => self.count(name, value),
            None => self.null(name),
        }
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Seconds as a decimal with six places.
    pub(super) fn seconds(&mut self, name: &str, value: f64) {
        self.name(name);
        let micros = micros(value);
        if micros < 0 {
            self.text.push(b'-');
        }
        let micros = micros.unsigned_abs();
        self.text.extend_from_slice(self.numbers.format(micros / 1_000_000).as_bytes());
        // The leading 1 makes six digits of the rest.
        let rest = self.numbers.format(1_000_000 + micros % 1_000_000);
        self.text.push(b'.');
        self.text.extend_from_slice(&rest.as_bytes()[1..]);
    }

    pub(super) fn maybe_seconds(&mut self, name: &str, value: Option<f64>) {
        match value {
            Some(value) => self.seconds(name, value),
            None => self.null(name),
        }
    }

    fn null(&mut self, name: &str) {
        self.name(name);
        self.text.extend_from_slice(b"null");
    }

    fn escaped(&mut self, value: &str) {
        // Without an early end, so that many bytes are compared at once.
        let special = |byte: &u8| !matches!(byte, b' '..=b'~') | matches!(byte, b'"' | b'\\');
        if !value.as_bytes().iter().fold(false, |found, byte| found | special(byte)) {
            self.text.extend_from_slice(value.as_bytes());
            return;
        }
        for unit in value.encode_utf16() {
            match unit {
                0x22 | 0x5C => self.text.extend_from_slice(&[b'\\', unit as u8]),
                0x20..=0x7E => self.text.push(unit as u8),
                _ => {
                    self.text.extend_from_slice(b"\\u");
                    self.text.extend([12, 8, 4, 0].map(|shift| b"0123456789abcdef"[usize::from(unit >> shift & 15)]));
                }
            }
        }
    }
}
