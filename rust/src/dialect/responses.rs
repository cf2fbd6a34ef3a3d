//! Responses: events told apart by `type` (some servers send no `event:` line), ended by one of three terminal events
//! that repeat the whole answer and hold its usage.
//!
//! What only opens the response, a message, a reasoning item or an empty part does not commit; nor do empty deltas and
//! keep-alives. An item that is more than a vessel (a call, its name and id) does.

use std::borrow::Cow;

use crate::json::scan::{Cursor, Malformed};

use super::envelope::Envelope;
use super::value::{enter, filled, filled_beside, truthy, word};
use super::{Dialect, Event, InBandError};

const RESPONSE: Envelope = Envelope { dialect: Dialect::OpenAiResponses, answer: b"output" };

/// Reads an event, or a whole response: its members are those of `response.completed.response`.
pub(super) fn read(cursor: &mut Cursor<'_>, name: &[u8], event: &mut Event) -> Result<(), Malformed> {
    let mut kind = Cow::Borrowed(&b""[..]);
    let (mut error, mut delta, mut vessel, mut part) = (false, false, false, false);
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"type" => kind = word(cursor)?,
            b"delta" => delta = filled(cursor)?,
            b"response" => RESPONSE.read(cursor, event)?,
            b"item" => vessel = read_is_vessel(cursor)?,
            b"part" => part = filled_beside(cursor, b"type")?,
            b"error" => error = truthy(cursor)?,
            member => RESPONSE.read_member(cursor, member, event)?,
        }
    }
    let reading = &mut event.reading;
    reading.commits = true;
    match &*kind {
        b"response.created" | b"response.in_progress" | b"response.queued" | b"keepalive" | b"ping" => {
            reading.commits = false;
        }
        b"response.completed" | b"response.incomplete" => {
            reading.finish = true;
            reading.terminal = true;
        }
        b"response.failed" => {
            reading.terminal = true;
            error = true;
        }
        b"error" => error = true,
        b"response.image_generation_call.partial_image" => reading.content = true,
        b"response.output_item.added" => {
            reading.content = !vessel;
            reading.commits = !vessel;
        }
        kind if kind.ends_with(b"part.added") => {
            reading.content = part;
            reading.commits = part;
        }
        kind if kind.ends_with(b".delta") => {
            reading.content = delta;
            reading.commits = delta;
        }
        _ => {}
    }
    reading.error = match (error, name == b"error") {
        (true, _) => Some(InBandError::Visible),
        (false, true) => Some(InBandError::Invisible),
        (false, false) => None,
    };
    Ok(())
}

/// Whether the item only holds what is to come.
fn read_is_vessel(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    if !enter(cursor)? {
        return Ok(false);
    }
    let (mut first, mut vessel, mut empty) = (true, false, true);
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"type" => vessel = matches!(&*word(cursor)?, b"message" | b"reasoning"),
            b"content" | b"summary" => empty &= !truthy(cursor)?,
            _ => {
                cursor.skip()?;
            }
        }
    }
    Ok(vessel && empty)
}
