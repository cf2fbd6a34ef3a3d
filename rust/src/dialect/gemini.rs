//! `streamGenerateContent`: nameless chunks of candidates, each with usage so far; the connection's end is the only
//! end there is. A finish reason may come twice, with text between.
//!
//! A chunk commits if a candidate in it holds a part that says anything, or a finish reason. A refused prompt
//! (`promptFeedback.blockReason`) is an answer that has finished.

use crate::json::scan::{Cursor, Kind, Malformed};

use super::value::{count, enter, string_span, truthy, word};
use super::{Dialect, Event, InBandError, Reported};

/// Reads a chunk, or a whole answer: both have the same members.
pub(super) fn read(cursor: &mut Cursor<'_>, event: &mut Event) -> Result<(), Malformed> {
    let mut known = false;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"candidates" => {
                known = true;
                read_candidates(cursor, event)?;
            }
            b"usageMetadata" => {
                known = true;
                event.usage = Reported::read(cursor, Dialect::Gemini)?;
            }
            b"promptFeedback" => {
                known = true;
                read_prompt_feedback(cursor, event)?;
            }
            b"modelVersion" => event.reading.model = string_span(cursor)?,
            b"error" if truthy(cursor)? => event.reading.error = Some(InBandError::Visible),
            b"error" => {}
            _ => {
                cursor.skip()?;
            }
        }
    }
    let reading = &mut event.reading;
    reading.commits = reading.content || reading.finish || !known;
    Ok(())
}

fn read_candidates(cursor: &mut Cursor<'_>, event: &mut Event) -> Result<(), Malformed> {
    if cursor.peek() != Kind::Array {
        cursor.skip()?;
        return Ok(());
    }
    event.answer = true;
    cursor.array()?;
    let (mut first, mut place) = (true, 0);
    while cursor.element(&mut first)? {
        read_candidate(cursor, event, place)?;
        place += 1;
    }
    Ok(())
}

fn read_candidate(cursor: &mut Cursor<'_>, event: &mut Event, place: u64) -> Result<(), Malformed> {
    if !enter(cursor)? {
        return Ok(());
    }
    let (mut first, mut index, mut finished) = (true, None, false);
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"content" => event.reading.content |= read_content(cursor)?,
            b"finishReason" => finished = !word(cursor)?.is_empty(),
            b"index" => index = count(cursor)?,
            _ => {
                cursor.skip()?;
            }
        }
    }
    event.choices.see(index.unwrap_or(place), finished);
    event.reading.finish |= finished;
    Ok(())
}

/// Whether a part of it says anything.
fn read_content(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    if !enter(cursor)? {
        return Ok(false);
    }
    let (mut first, mut content) = (true, false);
    while let Some(key) = cursor.key(&mut first)? {
        if &*key.name() != b"parts" || cursor.peek() != Kind::Array {
            cursor.skip()?;
            continue;
        }
        cursor.array()?;
        let mut first_part = true;
        while cursor.element(&mut first_part)? {
            content |= read_part(cursor)?;
        }
    }
    Ok(content)
}

/// A thought's mark and its signature come with the last, empty part as well.
fn read_part(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    if !enter(cursor)? {
        return Ok(false);
    }
    let (mut first, mut content) = (true, false);
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"thought" | b"thoughtSignature" => {
                cursor.skip()?;
            }
            _ => content |= truthy(cursor)?,
        }
    }
    Ok(content)
}

fn read_prompt_feedback(cursor: &mut Cursor<'_>, event: &mut Event) -> Result<(), Malformed> {
    if !enter(cursor)? {
        return Ok(());
    }
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        if &*key.name() == b"blockReason" && truthy(cursor)? {
            event.answer = true;
            event.reading.finish = true;
            event.reading.terminal = true;
        } else if &*key.name() != b"blockReason" {
            cursor.skip()?;
        }
    }
    Ok(())
}
