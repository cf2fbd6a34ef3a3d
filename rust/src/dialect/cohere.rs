//! Chat, version 2: events told apart by `type`, ended by `message-end`, which holds finish reason and usage in its
//! `delta`. A `[DONE]` after it means nothing.
//!
//! `message-start` and a content's start without text only open something, and do not commit; nor do empty deltas.

use std::borrow::Cow;

use crate::json::scan::{Cursor, Kind, Malformed};

use super::value::{enter, filled_beside, truthy, word};
use super::{Dialect, Event, InBandError, Reported};

/// What an event's `delta` says.
#[derive(Default)]
struct Delta {
    message: Message,
    finish: bool,
    error: bool,
}

/// What a `message` says: in an event, or in a whole answer.
#[derive(Default)]
struct Message {
    content: bool,
    /// Anything beside content: a tool plan, tool calls, citations.
    beside: bool,
}

/// Reads an event, or a whole answer: its members are those of `message-end.delta`, and the `message`.
pub(super) fn read(cursor: &mut Cursor<'_>, event: &mut Event) -> Result<(), Malformed> {
    let mut kind = Cow::Borrowed(&b""[..]);
    let (mut delta, mut error) = (Delta::default(), false);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"type" => kind = word(cursor)?,
            b"delta" => delta = read_delta(cursor, event)?,
            b"usage" => event.usage = Reported::read(cursor, Dialect::Cohere)?,
            b"message" => {
                event.answer = cursor.peek() == Kind::Object;
                cursor.skip()?;
            }
            b"error" => error = truthy(cursor)?,
            _ => {
                cursor.skip()?;
            }
        }
    }
    let reading = &mut event.reading;
    let said = delta.message.content || delta.message.beside;
    reading.commits = true;
    match &*kind {
        b"message-start" => reading.commits = false,
        b"content-start" | b"content-delta" => {
            reading.content = delta.message.content;
            reading.commits = reading.content;
        }
        b"tool-plan-delta" | b"tool-call-delta" => {
            reading.content = said;
            reading.commits = said;
        }
        b"tool-call-start" | b"citation-start" => reading.content = said,
        b"message-end" => {
            reading.finish = delta.finish;
            reading.terminal = true;
        }
        _ => {}
    }
    reading.error = (error || delta.error).then_some(InBandError::Visible);
    Ok(())
}

fn read_delta(cursor: &mut Cursor<'_>, event: &mut Event) -> Result<Delta, Malformed> {
    let mut delta = Delta::default();
    if !enter(cursor)? {
        return Ok(delta);
    }
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"message" => delta.message = read_message(cursor)?,
            b"finish_reason" => delta.finish = truthy(cursor)?,
            b"usage" => event.usage = Reported::read(cursor, Dialect::Cohere)?,
            b"error" => delta.error = truthy(cursor)?,
            _ => {
                cursor.skip()?;
            }
        }
    }
    Ok(delta)
}

fn read_message(cursor: &mut Cursor<'_>) -> Result<Message, Malformed> {
    let mut message = Message::default();
    if !enter(cursor)? {
        return Ok(message);
    }
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"role" => {
                cursor.skip()?;
            }
            b"content" if cursor.peek() == Kind::Object => message.content = filled_beside(cursor, b"type")?,
            b"content" => message.content = truthy(cursor)?,
            _ => message.beside |= truthy(cursor)?,
        }
    }
    Ok(message)
}
