//! A whole answer of ours: head and body in one piece.

/// What the head of an answer says beside its length.
pub struct Answer<'a> {
    /// Its status, and the words for it.
    pub status: u16,
    /// Those words.
    pub reason: &'a str,
    /// Further headers, each with its CRLF before it; who made them has seen to it that none breaks its line.
    pub lines: &'a str,
    /// The request's id; empty for none.
    pub request_id: &'a str,
    /// The content's type is among the lines; it is JSON otherwise.
    pub typed: bool,
    /// When it was written, as `Date` says it.
    pub date: &'a str,
    /// The request came over HTTP/1.0.
    pub http10: bool,
    /// The connection may be used again.
    pub keep_alive: bool,
}

impl Answer<'_> {
    /// The bytes of the answer; `bodiless` tells the body's length without it.
    pub fn bytes(&self, body: &[u8], bodiless: bool) -> Vec<u8> {
        let written = if bodiless { 0 } else { body.len() };
        let mut bytes = Vec::with_capacity(256 + self.lines.len() + self.request_id.len() + written);
        let mut numbers = itoa::Buffer::new();
        let mut put = |text: &str| bytes.extend_from_slice(text.as_bytes());
        put(if self.http10 { "HTTP/1.0 " } else { "HTTP/1.1 " });
        put(numbers.format(self.status));
        put(" ");
        put(self.reason);
        put(self.lines);
        if !self.request_id.is_empty() {
            put("\r\nX-Request-Id: ");
            put(self.request_id);
        }
        if !self.typed {
            put("\r\nContent-Type: application/json");
        }
        put("\r\nContent-Length: ");
        put(numbers.format(body.len()));
        put("\r\nDate: ");
        put(self.date);
        put("\r\nServer: sluicegate");
        match (self.keep_alive, self.http10) {
            (true, false) => {}
            (true, true) => put("\r\nConnection: keep-alive"),
            (false, _) => put("\r\nConnection: close"),
        }
        put("\r\n\r\n");
        bytes.extend_from_slice(&body[..written]);
        bytes
    }
}

/// Writes `Server-Timing` in tenths of a millisecond, by times in seconds, and how many attempts there were: lines of a
/// head, each with its CRLF before it.
pub fn write_timing(lines: &mut String, gateway: f64, upstream: f64, attempts: u64) {
    let mut numbers = itoa::Buffer::new();
    for (name, seconds) in [("\r\nServer-Timing: gateway;dur=", gateway), (", upstream;dur=", upstream)] {
        let tenths = ((seconds * 1e4).round() as i64).max(0).unsigned_abs();
        lines.push_str(name);
        lines.push_str(numbers.format(tenths / 10));
        lines.push('.');
        lines.push_str(numbers.format(tenths % 10));
    }
    lines.push_str("\r\nX-Sluicegate-Attempts: ");
    lines.push_str(numbers.format(attempts));
}

#[cfg(test)]
mod tests {
    use super::{write_timing, Answer};

    #[test]
    fn times() {
        for (gateway, upstream, attempts, expected) in [
            (0.0, 0.0, 0, ["0.0", "0.0", "0"]),
            (0.000_149, 1.234_56, 1, ["0.1", "1234.6", "1"]),
            (0.000_16, 3600.0, 12, ["0.2", "3600000.0", "12"]),
            (-1.0, f64::NAN, 1, ["0.0", "0.0", "1"]),
        ] {
            let [here, there, tried] = expected;
            let expected = format!(
                "\r\nServer-Timing: gateway;dur={here}, upstream;dur={there}\r\nX-Sluicegate-Attempts: {tried}"
            );
            let mut lines = String::new();
            write_timing(&mut lines, gateway, upstream, attempts);
            assert_eq!(expected, lines);
        }
    }

    fn answer() -> Answer<'static> {
        Answer {
            status: 200,
            reason: "OK",
            lines: "",
            request_id: "",
            typed: false,
            date: "Sun, 22 Nov 2026 08:06:51 GMT",
            http10: false,
            keep_alive: true,
        }
    }

    #[test]
    fn heads_and_bodies() {
        let typed = "\r\nContent-Type: text/plain";
        for (answer, bodiless, expected) in [
            (
                answer(),
                false,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                 Date: Sun, 22 Nov 2026 08:06:51 GMT\r\nServer: sluicegate\r\n\r\n{}",
            ),
            (
                Answer { status: 431, reason: "", typed: true, lines: typed, keep_alive: false, ..answer() },
                true,
                "HTTP/1.1 431 \r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
                 Date: Sun, 22 Nov 2026 08:06:51 GMT\r\nServer: sluicegate\r\nConnection: close\r\n\r\n",
            ),
            (
                Answer { http10: true, request_id: "req_1", lines: "\r\nA: b", ..answer() },
                false,
                "HTTP/1.0 200 OK\r\nA: b\r\nX-Request-Id: req_1\r\nContent-Type: application/json\r\n\
                 Content-Length: 2\r\nDate: Sun, 22 Nov 2026 08:06:51 GMT\r\nServer: sluicegate\r\n\
                 Connection: keep-alive\r\n\r\n{}",
            ),
        ] {
            assert_eq!(String::from_utf8(answer.bytes(b"{}", bodiless)), Ok(expected.to_owned()));
        }
    }
}
