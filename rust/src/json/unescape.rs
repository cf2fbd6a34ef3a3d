//! A string's escapes resolved, for the few strings that are compared or shown.

use std::borrow::Cow;

/// Resolves the escapes of a string's inside. Lone surrogates and invalid escapes become U+FFFD.
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', raw) else { return Cow::Borrowed(raw) };
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(&raw[..first]);
    let mut i = first;
    while i < raw.len() {
        if raw[i] != b'\\' {
            out.push(raw[i]);
            i += 1;
            continue;
        }
        let (byte, next) = match raw.get(i + 1) {
            Some(b'n') => (b'\n', i + 2),
            Some(b't') => (b'\t', i + 2),
            Some(b'r') => (b'\r', i + 2),
            Some(b'b') => (8, i + 2),
            Some(b'f') => (12, i + 2),
            Some(&c @ (b'"' | b'\\' | b'/')) => (c, i + 2),
            Some(b'u') => {
                i = unescape_unicode(raw, i, &mut out);
                continue;
            }
            _ => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                i += 2;
                continue;
            }
        };
        out.push(byte);
        i = next;
    }
    Cow::Owned(out)
}

/// Resolves `\uXXXX`, or a pair of surrogates, at `i`; returns where to go on.
fn unescape_unicode(raw: &[u8], i: usize, out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| -> Option<u32> {
        let text = std::str::from_utf8(raw.get(at + 2..at + 6)?).ok()?;
        (raw.get(at..at + 2)? == b"\\u" && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| u32::from_str_radix(text, 16).ok())?
    };
    let (code, next) = match (unit(i), unit(i + 6)) {
        (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
            (0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), i + 12)
        }
        (Some(code), _) => (code, i + 6),
        (None, _) => (0xFFFD, i + 2),
    };
    let mut buffer = [0; 4];
    out.extend_from_slice(char::from_u32(code).unwrap_or('\u{fffd}').encode_utf8(&mut buffer).as_bytes());
    next
}
