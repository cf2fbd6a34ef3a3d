//! Small questions about one JSON value under the cursor. Each passes over the value it asks about.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::scan::{self, Cursor, Kind, Malformed};
use crate::json::unescape::unescape;

/// Whether the value says anything, as the SDKs ask it (Python's truth): not null, false, zero, `""`, `[]` or `{}`.
#[inline]
pub(super) fn truthy(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    let span = cursor.skip()?;
    Ok(is_truthy(&cursor.text()[span]))
}

/// [`truthy`], and an object of nothing but empty members is empty as well.
#[inline]
pub(super) fn filled(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    if cursor.peek() != Kind::Object {
        return truthy(cursor);
    }
    filled_beside(cursor, b"")
}

/// Whether the object has a member that says anything, other than the one of the name `except`.
pub(super) fn filled_beside(cursor: &mut Cursor<'_>, except: &[u8]) -> Result<bool, Malformed> {
    if !enter(cursor)? {
        return Ok(false);
    }
    let (mut first, mut filled) = (true, false);
    while let Some(key) = cursor.key(&mut first)? {
        filled |= truthy(cursor)? && (except.is_empty() || *key.name() != *except);
    }
    Ok(filled)
}

/// [`truthy`] of a value that stands alone. What is no JSON says something, too.
pub(super) fn is_truthy(raw: &[u8]) -> bool {
    let raw = raw.trim_ascii();
    match raw {
        b"" | b"null" | b"false" | b"\"\"" => false,
        [b'[', inside @ .., b']'] | [b'{', inside @ .., b'}'] => !inside.trim_ascii().is_empty(),
        [b'-' | b'0'..=b'9', ..] => {
            let mantissa = raw.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or(raw);
            mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9'))
        }
        _ => true,
    }
}

/// Enters the object under the cursor; passes over anything else and says false.
#[inline]
pub(super) fn enter(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    if cursor.peek() == Kind::Object {
        cursor.object()?;
        return Ok(true);
    }
    cursor.skip()?;
    Ok(false)
}

/// The string under the cursor, its escapes resolved; empty if it is no string.
#[inline]
pub(super) fn word<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, [u8]>, Malformed> {
    if cursor.peek() != Kind::String {
        cursor.skip()?;
        return Ok(Cow::Borrowed(b""));
    }
    let (span, escaped) = cursor.string()?;
    let raw = &cursor.text()[span];
    Ok(if escaped { unescape(raw) } else { Cow::Borrowed(raw) })
}

/// Where the string under the cursor stands, quotes included; `None` if it is no string.
#[inline]
pub(super) fn string_span(cursor: &mut Cursor<'_>) -> Result<Option<Range<usize>>, Malformed> {
    let is_string = cursor.peek() == Kind::String;
    let span = cursor.skip()?;
    Ok(is_string.then_some(span))
}

/// The count under the cursor, by the rules of [`scan::count`].
#[inline]
pub(super) fn count(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Malformed> {
    let span = cursor.skip()?;
    Ok(scan::count(&cursor.text()[span]))
}
