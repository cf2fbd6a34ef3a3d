//! `--name value` options; a repeated name keeps every value.

use std::error::Error;
use std::str::FromStr;

/// What every part of the bench fails with.
pub type Failure = Box<dyn Error>;

/// The options of one command.
pub struct Options(Vec<(String, String)>);

impl Options {
    /// Pairs of `--name value`.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut pairs = Vec::new();
        while let Some(name) = arguments.next() {
            let bare = name.strip_prefix("--").ok_or_else(|| format!("expected --NAME, got {name:?}"))?;
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            pairs.push((bare.to_owned(), value));
        }
        Ok(Self(pairs))
    }

    /// The last value of a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a name as a number, or the default.
    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("--{name} wants a number, got {text:?}").into()),
        }
    }
}
