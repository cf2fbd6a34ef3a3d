//! Messages: events named twice, by their `event:` line and by `type`, ended by `message_stop`.
//!
//! `message_start` and a block's start without anything in it only open something, and do not commit; nor do pings,
//! empty deltas and a `message_delta` that holds nothing but usage. SDKs go by the `event:` line: an error without it
//! is invisible to them.

use crate::json::scan::{Cursor, Malformed};

use super::envelope::Envelope;
use super::value::{enter, filled, filled_beside, truthy, word};
use super::{Dialect, Event, InBandError};

const MESSAGE: Envelope = Envelope { dialect: Dialect::AnthropicMessages, answer: b"content" };

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Type {
    MessageStart,
    BlockStart,
    BlockDelta,
    MessageDelta,
    MessageStop,
    Ping,
    Error,
    #[default]
    Unknown,
}

/// Reads an event, or a whole message: its members are those of `message_start.message`.
pub(super) fn read(cursor: &mut Cursor<'_>, name: &[u8], event: &mut Event) -> Result<(), Malformed> {
    let (mut kind, mut error, mut filled_part) = (Type::Unknown, false, false);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"type" => kind = read_type(&word(cursor)?),
            b"message" => MESSAGE.read(cursor, event)?,
            b"delta" => filled_part |= read_delta(cursor, event)?,
            b"content_block" => filled_part |= filled_beside(cursor, b"type")?,
            b"error" => error = truthy(cursor)?,
            member => MESSAGE.read_member(cursor, member, event)?,
        }
    }
    let reading = &mut event.reading;
    reading.content = filled_part && matches!(kind, Type::BlockStart | Type::BlockDelta);
    reading.terminal = kind == Type::MessageStop;
    reading.finish &= kind == Type::MessageDelta;
    reading.commits = match kind {
        Type::MessageStart | Type::Ping => false,
        Type::BlockStart | Type::BlockDelta => reading.content,
        Type::MessageDelta => reading.finish || filled_part || event.usage.is_none(),
        Type::MessageStop | Type::Error | Type::Unknown => true,
    };
    if name == b"error" {
        reading.error = Some(InBandError::Visible);
    } else if error || kind == Type::Error {
        reading.error = Some(InBandError::Invisible);
    }
    Ok(())
}

fn read_type(word: &[u8]) -> Type {
    match word {
        b"content_block_delta" => Type::BlockDelta,
        b"content_block_start" => Type::BlockStart,
        b"message_start" => Type::MessageStart,
        b"message_delta" => Type::MessageDelta,
        b"message_stop" => Type::MessageStop,
        b"ping" => Type::Ping,
        b"error" => Type::Error,
        _ => Type::Unknown,
    }
}

/// Whether anything generated is in it; a stop reason is the event's finish.
fn read_delta(cursor: &mut Cursor<'_>, event: &mut Event) -> Result<bool, Malformed> {
    if !enter(cursor)? {
        return Ok(false);
    }
    let (mut first, mut content) = (true, false);
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"type" => {
                cursor.skip()?;
            }
            b"stop_reason" => event.reading.finish = truthy(cursor)?,
            _ => content |= filled(cursor)?,
        }
    }
    Ok(content)
}
