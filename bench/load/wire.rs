//! HTTP/1.1 as both ends of the bench need it: a request's end, a response's body.

use memchr::memmem;

/// A whole request at the start of `bytes`: where its body begins and where it ends.
pub fn request_bounds(bytes: &[u8]) -> Option<(usize, usize)> {
    let body = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = bytes[..body].to_ascii_lowercase();
    if memmem::find(&head, b"transfer-encoding: chunked").is_some() {
        // Nothing inside a request of ours looks like this.
        let end = memmem::find(&bytes[body..], b"0\r\n\r\n")?;
        return Some((body, body + end + 5));
    }
    let end = body + header_number(&head, b"\r\ncontent-length:").unwrap_or(0);
    (bytes.len() >= end).then_some((body, end))
}

fn header_number(head: &[u8], name: &[u8]) -> Option<usize> {
    let rest = &head[memmem::find(head, name)? + name.len()..];
    let line = &rest[..memchr::memchr(b'\r', rest)?];
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

#[derive(Clone, Copy)]
enum Part {
    Head,
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    Sized(usize),
    UntilClose,
}

/// Reads one response after another from a connection.
pub struct ResponseReader {
    part: Part,
    line: Vec<u8>,
    /// Status of the response being read.
    pub status: u16,
    /// The server will close after it.
    pub closes: bool,
}

impl ResponseReader {
    pub fn new() -> Self {
        Self { part: Part::Head, line: Vec::new(), status: 0, closes: false }
    }

    /// Takes what belongs to the response, hands its body to `sink`; true once it is whole.
    pub fn feed(&mut self, mut data: &[u8], mut sink: impl FnMut(&[u8])) -> Result<bool, String> {
        while !data.is_empty() {
            match self.part {
                Part::Head => {
                    let Some(head) = self.take_until(&mut data, b"\r\n\r\n") else { continue };
                    if self.read_head(&head)? {
                        return Ok(true);
                    }
                }
                Part::ChunkSize => {
                    let Some(line) = self.take_until(&mut data, b"\r\n") else { continue };
                    let digits = String::from_utf8_lossy(&line);
                    let size =
                        usize::from_str_radix(digits.trim(), 16).map_err(|_| format!("chunk size {digits:?}"))?;
                    self.part = if size == 0 { Part::Trailer } else { Part::Chunk(size) };
                }
                Part::Chunk(left) => {
                    let size = left.min(data.len());
                    sink(&data[..size]);
                    data = &data[size..];
                    self.part = if size == left { Part::ChunkEnd } else { Part::Chunk(left - size) };
                }
                Part::ChunkEnd => {
                    if self.take_until(&mut data, b"\r\n").is_some() {
                        self.part = Part::ChunkSize;
                    }
                }
                Part::Trailer => {
                    if self.take_until(&mut data, b"\r\n").is_some_and(|line| line == b"\r\n") {
                        self.part = Part::Head;
                        return if data.is_empty() { Ok(true) } else { Err("bytes behind the answer".into()) };
                    }
                }
                Part::Sized(left) => {
                    let size = left.min(data.len());
                    sink(&data[..size]);
                    data = &data[size..];
                    self.part = Part::Sized(left - size);
                    if size == left {
                        self.part = Part::Head;
                        return if data.is_empty() { Ok(true) } else { Err("bytes behind the answer".into()) };
                    }
                }
                Part::UntilClose => {
                    sink(data);
                    data = &[];
                }
            }
        }
        Ok(false)
    }

    /// The connection ended: whether the response ended with it.
    pub fn ends_with_close(&self) -> bool {
        matches!(self.part, Part::UntilClose)
    }

    fn read_head(&mut self, head: &[u8]) -> Result<bool, String> {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        self.status = status.ok_or_else(|| format!("status line {:?}", text.lines().next()))?;
        self.closes = text.contains("\r\nconnection: close");
        self.part = if text.contains("\r\ntransfer-encoding: chunked") {
            Part::ChunkSize
        } else {
            header_number(text.as_bytes(), b"\r\ncontent-length:").map_or(Part::UntilClose, Part::Sized)
        };
        if matches!(self.part, Part::Sized(0)) {
            self.part = Part::Head;
            return Ok(true);
        }
        Ok(false)
    }

    /// Moves bytes up to and including `mark` out of `data`; None if it is not there yet (they are kept).
    fn take_until(&mut self, data: &mut &[u8], mark: &[u8]) -> Option<Vec<u8>> {
        let before = self.line.len();
        self.line.extend_from_slice(data);
        let Some(at) = memmem::find(&self.line, mark) else {
            *data = &[];
            return None;
        };
        let end = at + mark.len();
        *data = &data[end - before..];
        let mut taken = std::mem::take(&mut self.line);
        taken.truncate(end);
        Some(taken)
    }
}
