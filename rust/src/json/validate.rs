//! RFC 8259, strictly: what a client sends must read the same to us and to the upstream.
//!
//! Nothing recurses: open arrays and objects are a stack of flags, so that 100,000 brackets cost 100,000 bytes at most.

use super::scan::Malformed;

#[cfg(test)]
mod tests;

/// Checks that `text` is exactly one JSON value by RFC 8259, nested at most `max_depth` deep.
/// Invalid UTF-8 inside strings is let through: it is relayed as it came.
pub fn validate(text: &[u8], max_depth: usize) -> Result<(), Malformed> {
    let mut at = Strict { text, pos: 0 };
    let mut inside_object: Vec<bool> = Vec::new();
    loop {
        at.white();
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
            Some(b'"') => at.string().map(|()| false)?,
            Some(b'-' | b'0'..=b'9') => at.number().map(|()| false)?,
            _ => at.literal().map(|()| false)?,
        };
        if opened {
            if inside_object.last() == Some(&true) {
                at.name()?;
            }
            continue;
        }
        loop {
            at.white();
            match (inside_object.last(), text.get(at.pos)) {
                (None, None) => return Ok(()),
                (None, Some(_)) => return Err(at.malformed("there is something after the JSON value")),
                (Some(&object), Some(b',')) => {
                    at.pos += 1;
                    if object {
                        at.name()?;
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

impl Strict<'_> {
    fn white(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.pos) {
            self.pos += 1;
        }
    }

    fn name(&mut self) -> Result<(), Malformed> {
        self.white();
        if self.text.get(self.pos) != Some(&b'"') {
            return Err(self.malformed("a member's name in double quotes is expected"));
        }
        self.string()?;
        self.white();
        if self.text.get(self.pos) != Some(&b':') {
            return Err(self.malformed("a colon is expected after a member's name"));
        }
        self.pos += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Malformed> {
        self.pos += 1;
        loop {
            let rest = &self.text[self.pos..];
            let Some(i) = memchr::memchr2(b'"', b'\\', rest) else {
                return Err(self.malformed("a string is not closed"));
            };
            // A fold the compiler turns into vector compares: 1 MB bodies are mostly one long string.
            if rest[..i].iter().map(|&b| u8::from(b < 0x20)).fold(0, |bad, b| bad | b) != 0 {
                self.pos += rest.iter().take_while(|&&b| b >= 0x20).count();
                return Err(self.malformed("a control character in a string must be escaped"));
            }
            self.pos += i + 1;
            if rest[i] == b'"' {
                return Ok(());
            }
            let valid = match rest.get(i + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
                Some(b'u') if rest.len() >= i + 6 && rest[i + 2..i + 6].iter().all(u8::is_ascii_hexdigit) => 5,
                _ => return Err(self.malformed("an escape in a string is not valid")),
            };
            self.pos += valid;
        }
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
