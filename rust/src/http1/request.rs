//! A request's head, written as text that nothing in it can break out of.

use std::io::Write;

/// Fields that say where a request ends or what its connection is for: we write the ones that are needed.
const OURS: [&str; 9] =
    ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// What of a request cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// The method is not a token.
    Method,
    /// The target does not begin with `/`, or holds blanks, control bytes or anything outside ASCII.
    Target,
    /// The host holds anything that does not belong into `name:port`.
    Host,
    /// A field's name is not a token, or is one of those that say where the request ends.
    Name,
    /// A field's value holds a control byte.
    Value,
}

impl Unsendable {
    /// A stable word for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "bad_method",
            Self::Target => "bad_target",
            Self::Host => "bad_host",
            Self::Name => "bad_header_name",
            Self::Value => "bad_header_value",
        }
    }
}

/// Appends what ends a request's head: the length of its body, and the blank line.
pub fn end_of_head(out: &mut Vec<u8>, content_length: u64) {
    let _always_ok = write!(out, "content-length: {content_length}\r\n\r\n");
}

/// Appends all lines of an HTTP/1.1 request's head but those of [`end_of_head`]: they are the same for many requests.
/// `target` is in origin form (`/v1/chat/completions?x=y`), `host` is `name`, `name:port` or `[v6]:port`.
/// On an error `out` is as it was.
pub fn request_lines(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
) -> Result<(), Unsendable> {
    if !is_token(method) {
        return Err(Unsendable::Method);
    }
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Unsendable::Target);
    }
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte)) {
        return Err(Unsendable::Host);
    }
    for (name, value) in headers {
        if !is_token(name) || OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
            return Err(Unsendable::Name);
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(Unsendable::Value);
        }
    }
    for part in [method, " ", target, " HTTP/1.1\r\nhost: ", host, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    Ok(())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
