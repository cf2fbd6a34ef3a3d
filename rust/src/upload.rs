//! A request on its way up: the head, then slices of the caller's own body between the few bytes that replace others.

use crate::json::splice::Segment;
use std::collections::VecDeque;
use std::fmt;

/// The most that is handed to the socket at once: a 64 MiB body must not be copied into one buffer.
pub const SLICE: usize = 64 * 1024;

/// The caller's body, owned by whoever read it.
pub type Body = Box<dyn AsRef<[u8]> + Send + Sync>;

/// What is still to be sent of one request.
pub struct Upload {
    body: Body,
    segments: VecDeque<Segment<'static>>,
    offset: usize,
}

impl Upload {
    /// A request made of `head` and then `segments` of `body`.
    pub fn new(head: Vec<u8>, body: Body, segments: Vec<Segment<'static>>) -> Self {
        let mut queue = VecDeque::with_capacity(segments.len() + 1);
        queue.push_back(Segment::New(head.into()));
        queue.extend(segments);
        let mut upload = Self { body, segments: queue, offset: 0 };
        upload.skip_empty();
        upload
    }

    /// The next bytes, at most [`SLICE`] of them; empty at the end.
    pub fn slice(&self) -> &[u8] {
        let whole = match self.segments.front() {
            Some(Segment::New(bytes)) => bytes.as_ref(),
            Some(Segment::Text(range)) => (*self.body).as_ref().get(range.clone()).unwrap_or_default(),
            None => &[],
        };
        &whole[self.offset..whole.len().min(self.offset + SLICE)]
    }

    /// `n` bytes of the slice are on their way.
    pub fn advance(&mut self, n: usize) {
        self.offset += n;
        self.skip_empty();
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    fn skip_empty(&mut self) {
        while self.segments.front().is_some_and(|_| self.slice().is_empty()) {
            self.segments.pop_front();
            self.offset = 0;
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the body: it is message content.
        write!(f, "Upload({} segments)", self.segments.len())
    }
}
