//! RFC 8259, strictly: what a client sends must read the same to us and to the upstream.
//!
//! Nothing recurses: open arrays and objects are a stack of flags, so that 100,000 brackets cost 100,000 bytes at most.

use std::ops::Range;

use super::scan::{end_of_run, Key, Malformed};

#[cfg(test)]
mod tests;

/// Checks that `text` is exactly one JSON value by RFC 8259, nested at most `max_depth` deep.
/// Invalid UTF-8 inside strings is let through: it is relayed as it came.
pub fn validate(text: &[u8], max_depth: usize) -> Result<(), Malformed> {
    validate_members(text, max_depth, |_, _| ())
}

/// [`validate`], and gives each member of the outermost object, if that is what `text` is, to `found`: its name, and
/// where its value stands. What it has been given is worth nothing if an error comes later.
pub fn validate_members<'a>(
    text: &'a [u8],
    max_depth: usize,
    mut found: impl FnMut(&Key<'a>, Range<usize>),
) -> Result<(), Malformed> {
    let mut at = Strict { text, pos: 0 };
    let mut inside_object: Vec<bool> = Vec::new();
    let (mut member, mut value_at) = (None, 0);
    loop {
        at.white();
        if inside_object.len() == 1 {
            value_at = at.pos;
        }
        let opened = match text.get(at.pos) {
            Some(&open @ (b'{' | b'[')) => {
                if inside_object.len() == max_depth {
                    return Err(at.malformed("the JSON is nested too deeply"));
                }
                at.pos += 1;
                at.white();
                let close = if open == b'{' { b'}' } else { b']' };
                if text.get(at.pos) == Some(&close) {
                    at.pos += 1;
                    false
                } else {
                    inside_object.push(open == b'{');
                    true
                }
            }
            Some(b'"') => at.string().map(|_| false)?,
            Some(b'-' | b'0'..=b'9') => at.number().map(|()| false)?,
            _ => at.literal().map(|()| false)?,
        };
        if opened {
            if inside_object.last() == Some(&true) {
                let name = at.name()?;
                member = if inside_object.len() == 1 { Some(name) } else { member };
            }
            continue;
        }
        loop {
            if inside_object.len() == 1 {
                if let Some(name) = member.take() {
                    found(&name, value_at..at.pos);
                }
            }
            at.white();
            match (inside_object.last(), text.get(at.pos)) {
                (None, None) => return Ok(()),
                (None, Some(_)) => return Err(at.malformed("there is something after the JSON value")),
                (Some(&object), Some(b',')) => {
                    at.pos += 1;
                    if object {
                        let name = at.name()?;
                        member = if inside_object.len() == 1 { Some(name) } else { member };
                    }
                    break;
                }
                (Some(true), Some(b'}')) | (Some(false), Some(b']')) => {
                    at.pos += 1;
                    inside_object.pop();
                }
                (Some(true), _) => return Err(at.malformed("a comma or } is expected after a member")),
                (Some(false), _) => return Err(at.malformed("a comma or ] is expected after an element")),
            }
        }
    }
}

/// The strict reader's place; each method checks one token and moves past it.
struct Strict<'a> {
    text: &'a [u8],
    pos: usize,
}

impl<'a> Strict<'a> {
    fn white(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.pos) {
            self.pos += 1;
        }
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Result<Key<'a>, Malformed> {
        self.white();
        let at = self.pos;
        if self.text.get(at) != Some(&b'"') {
            return Err(self.malformed("a member's name in double quotes is expected"));
        }
        let escaped = self.string()?;
        let raw = &self.text[at + 1..self.pos - 1];
        self.white();
        if self.text.get(self.pos) != Some(&b':') {
            return Err(self.malformed("a colon is expected after a member's name"));
        }
        self.pos += 1;
        Ok(Key { raw, at, escaped })
    }

    /// Returns whether the string holds escapes.
    fn string(&mut self) -> Result<bool, Malformed> {
        self.pos += 1;
        let mut escaped = false;
        loop {
            let rest = &self.text[self.pos..];
            let Some(i) = end_of_run::<true>(rest) else {
                return Err(self.malformed("a string is not closed"));
            };
            if rest[i] == b'"' {
                self.pos += i + 1;
                return Ok(escaped);
            }
            if rest[i] != b'\\' {
                return Err(self.control(i));
            }
            escaped = true;
            self.pos += i + 1;
            self.pos += match rest.get(i + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
                Some(b'u') if rest.len() >= i + 6 && rest[i + 2..i + 6].iter().all(u8::is_ascii_hexdigit) => 5,
                _ => return Err(self.malformed("an escape in a string is not valid")),
            };
        }
    }

    /// What is wrong with a string that has a control character `i` bytes on: first of all that nothing closes it.
    #[cold]
    fn control(&mut self, i: usize) -> Malformed {
        if memchr::memchr2(b'"', b'\\', &self.text[self.pos..]).is_none() {
            return self.malformed("a string is not closed");
        }
        self.pos += i;
        self.malformed("a control character in a string must be escaped")
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.text.get(self.pos) == Some(&b'-') {
            self.pos += 1;
        }
        let whole = self.digits()?;
        if whole > 1 && self.text[self.pos - whole] == b'0' {
            return Err(self.malformed("a number must not start with 0"));
        }
        if self.text.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.text.get(self.pos) {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, Malformed> {
        let n = self.text[self.pos..].iter().take_while(|b| b.is_ascii_digit()).count();
        if n == 0 {
            return Err(self.malformed("a digit is expected in a number"));
        }
        self.pos += n;
        Ok(n)
    }

    fn literal(&mut self) -> Result<(), Malformed> {
        for word in [&b"true"[..], b"false", b"null"] {
            if self.text[self.pos..].starts_with(word) {
                self.pos += word.len();
                return Ok(());
            }
        }
        Err(self.malformed("a value is expected"))
    }

    #[cold]
    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.pos, what }
    }
}
