//! The members of a whole answer that we count, wherever it stands: as the document, or inside an event's member.

use crate::json::scan::{Cursor, Kind, Malformed};

use super::value::{enter, string_span};
use super::{Dialect, Event, Reported};

/// How a dialect spells them: `model` and `usage` are everybody's words, `answer` holds what was generated.
pub(super) struct Envelope {
    pub dialect: Dialect,
    pub answer: &'static [u8],
}

impl Envelope {
    /// Reads an answer inside an event; what is no object holds nothing.
    pub fn read(&self, cursor: &mut Cursor<'_>, event: &mut Event) -> Result<(), Malformed> {
        if !enter(cursor)? {
            return Ok(());
        }
        let mut first = true;
        while let Some(key) = cursor.key(&mut first)? {
            self.read_member(cursor, &key.name(), event)?;
        }
        Ok(())
    }

    /// Reads one of its members, or passes over it.
    pub fn read_member(&self, cursor: &mut Cursor<'_>, name: &[u8], event: &mut Event) -> Result<(), Malformed> {
        match name {
            b"model" => event.reading.model = string_span(cursor)?,
            b"usage" => event.usage = Reported::read(cursor, self.dialect)?,
            _ => {
                if name == self.answer {
                    event.answer = cursor.peek() == Kind::Array;
                }
                cursor.skip()?;
            }
        }
        Ok(())
    }
}
