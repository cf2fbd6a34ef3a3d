//! A client's request that came whole in one read and leaves no question open.
//!
//! [`read`] takes what nearly every request of an SDK is: a POST with a length, its body in the same read, and no header
//! that asks for anything special. Whatever is not exactly that it leaves alone, `None`, for the server's parser to
//! read or refuse: it never refuses anything itself, and never reads anything that the other would read differently.

#[cfg(test)]
mod tests;

use memchr::{memchr, memmem};

/// Header lines of a head that is read here.
const MOST_HEADERS: usize = 64;
/// A body's length is at most ten digits here.
const LENGTH_DIGITS: usize = 10;
const LONGEST_REQUEST_ID: usize = 128;

/// What a request says, as slices of the read.
#[derive(Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Path and query, as sent.
    pub target: &'a str,
    /// The value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// The value of `x-api-key`.
    pub api_key: Option<&'a str>,
    /// The value of `x-request-id`, if it is 1 to 128 visible ASCII characters.
    pub request_id: Option<&'a str>,
    /// The body is declared as JSON.
    pub json: bool,
    /// The headers that go through, a line each: the name in lower case, `: `, the value, LF.
    pub forwarded: String,
    /// The body.
    pub body: &'a [u8],
}

/// Reads a request whose head is at most `limit` bytes. `forwarded` are the names, in lower case, of the headers that go
/// through; `left` of those that only the other reader knows. `None`: it is not a plain one, and the server's parser has
/// to look at it.
pub fn read<'a, N: AsRef<str>>(data: &'a [u8], limit: usize, forwarded: &[N], left: &[N]) -> Option<Incoming<'a>> {
    let end = memmem::find(&data[..data.len().min(limit)], b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&data[..end + 2]).ok()?, &data[end + 4..]);
    let mut lines = Lines(head);
    let target = lines.next()?.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?;
    if !target.starts_with('/') || !target.bytes().all(is_plain_in_target) {
        return None;
    }
    let mut seen = Seen::default();
    let mut passed = String::new();
    for _ in 0..=MOST_HEADERS {
        if lines.0.is_empty() {
            return seen.request(target, passed, body);
        }
        let line = lines.next()?;
        let (name, value) = line.split_at(memchr(b':', line.as_bytes())?);
        let value = value[1..].trim_matches([' ', '\t']);
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        seen.note(name, value)?;
        if left.iter().any(|other| other.as_ref().eq_ignore_ascii_case(name)) {
            return None;
        }
        if let Some(name) = forwarded.iter().find(|known| known.as_ref().eq_ignore_ascii_case(name)) {
            // White space within a value is legal, but what a tab means to the next reader is not ours to find out.
            if value.contains('\t') {
                return None;
            }
            for part in [name.as_ref(), ": ", value, "\n"] {
                passed.push_str(part);
            }
        }
    }
    None
}

/// Lines that end in CRLF and hold no other control byte than tab, nothing beyond ASCII.
struct Lines<'a>(&'a str);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let end = memchr(b'\n', self.0.as_bytes())?;
        let line = self.0[..end].strip_suffix('\r')?;
        self.0 = &self.0[end + 1..];
        // Without an early end, so that many bytes are compared at once.
        let special = |byte: &u8| !matches!(byte, b'\t' | b' '..=b'~');
        let found = line.as_bytes().iter().fold(false, |found, byte| found | special(byte));
        (!found).then_some(line)
    }
}

/// The headers that decide something; each may stand once.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a str>,
    length: Option<&'a str>,
    connection: Option<&'a str>,
    kind: Option<&'a str>,
    authorization: Option<&'a str>,
    api_key: Option<&'a str>,
    request_id: Option<&'a str>,
}

impl<'a> Seen<'a> {
    /// Keeps a header; `None` if it asks for anything special, or stands for the second time.
    fn note(&mut self, name: &str, value: &'a str) -> Option<()> {
        const SPECIAL: [&str; 8] = [
            "transfer-encoding",
            "content-encoding",
            "expect",
            "upgrade",
            "origin",
            "trailer",
            "http2-settings",
            "sec-websocket-key",
        ];
        let place = match name.len() {
            4 if name.eq_ignore_ascii_case("host") => &mut self.host,
            9 if name.eq_ignore_ascii_case("x-api-key") => &mut self.api_key,
            10 if name.eq_ignore_ascii_case("connection") => &mut self.connection,
            12 if name.eq_ignore_ascii_case("content-type") => &mut self.kind,
            12 if name.eq_ignore_ascii_case("x-request-id") => &mut self.request_id,
            13 if name.eq_ignore_ascii_case("authorization") => &mut self.authorization,
            14 if name.eq_ignore_ascii_case("content-length") => &mut self.length,
            _ => return (!SPECIAL.iter().any(|special| name.eq_ignore_ascii_case(special))).then_some(()),
        };
        place.replace(value).is_none().then_some(())
    }

    fn request(self, target: &'a str, forwarded: String, body: &'a [u8]) -> Option<Incoming<'a>> {
        let length = self.length?;
        let digits = !length.is_empty() && length.len() <= LENGTH_DIGITS && length.bytes().all(|b| b.is_ascii_digit());
        let host = self.host?;
        let stays = self.connection.is_none_or(|value| value.eq_ignore_ascii_case("keep-alive"));
        let request_id = self.request_id;
        let named = request_id.is_none_or(|id| is_request_id(id.as_bytes()));
        if !digits || length.parse() != Ok(body.len()) || !is_plain_host(host) || !stays || !named {
            return None;
        }
        Some(Incoming {
            target,
            authorization: self.authorization,
            api_key: self.api_key,
            request_id,
            json: self.kind.is_some_and(is_json),
            forwarded,
            body,
        })
    }
}

/// `application/json`, or `application/` whatever `+json`, with any parameters.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn is_request_id(id: &[u8]) -> bool {
    (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// A host's name, maybe with a port; IPv6 addresses are left to the other reader.
fn is_plain_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && port.len() <= 5
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Which bytes are in a set: letters, digits and these.
const fn table(beside_letters_and_digits: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut place = 0;
    while place < beside_letters_and_digits.len() {
        table[beside_letters_and_digits[place] as usize] = true;
        place += 1;
    }
    table
}

static IN_TARGET: [bool; 256] = table(b"/-._~%?=&:@+,;!$'()*");
static IN_TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");

fn is_plain_in_target(byte: u8) -> bool {
    IN_TARGET[usize::from(byte)]
}

fn is_token(byte: u8) -> bool {
    IN_TOKEN[usize::from(byte)]
}
