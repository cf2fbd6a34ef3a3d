//! A request on its way up: the head, then slices of the caller's own body between the few bytes that replace others.
//!
//! What fits into one slice leaves in one: a request of 500 bytes in four pieces was four packets and four wake-ups of its
//! upstream. Only larger bodies are sent from where they lie.

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
        let (mut first, mut rest) = (head, VecDeque::from(segments));
        while let Some(next) = rest.front().map(|segment| bytes_of(&body, segment)) {
            if first.len() + next.len() > SLICE {
                break;
            }
            first.extend_from_slice(next);
            rest.pop_front();
        }
        rest.push_front(Segment::New(first.into()));
        let mut upload = Self { body, segments: rest, offset: 0 };
        upload.skip_empty();
        upload
    }

    /// The next bytes, at most [`SLICE`] of them; empty at the end.
    pub fn slice(&self) -> &[u8] {
        let whole = self.segments.front().map_or(&[][..], |segment| bytes_of(&self.body, segment));
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

fn bytes_of<'a>(body: &'a Body, segment: &'a Segment<'static>) -> &'a [u8] {
    match segment {
        Segment::New(bytes) => bytes.as_ref(),
        Segment::Text(range) => (**body).as_ref().get(range.clone()).unwrap_or_default(),
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the body: it is message content.
        write!(f, "Upload({} segments)", self.segments.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(body: Vec<u8>, split: usize) -> Vec<Vec<u8>> {
        let segments = vec![
            Segment::Text(0..split),
            Segment::New(b"\"theirs\"".to_vec().into()),
            Segment::Text(split..body.len()),
        ];
        let mut upload = Upload::new(b"HEAD\r\n\r\n".to_vec(), Box::new(body), segments);
        let mut slices = Vec::new();
        while !upload.is_empty() {
            slices.push(upload.slice().to_vec());
            upload.advance(upload.slice().len());
        }
        slices
    }

    #[test]
    fn what_fits_leaves_at_once_and_larger_bodies_in_slices() {
        for (size, lengths) in [
            (0, vec![16]),
            (500, vec![516]),
            (SLICE - 16, vec![SLICE]),
            (SLICE, vec![16, SLICE]),
            (3 * SLICE + 5, vec![16, SLICE, SLICE, SLICE, 5]),
        ] {
            let body: Vec<u8> = b"abcdefg".iter().copied().cycle().take(size).collect();
            let slices = sent(body.clone(), 0);
            assert_eq!(slices.iter().map(Vec::len).collect::<Vec<_>>(), lengths, "of {size}");
            assert_eq!(slices.concat(), [&b"HEAD\r\n\r\n\"theirs\""[..], &body].concat());
        }
        assert_eq!(sent(b"{\"model\": , 1}".to_vec(), 10).concat(), b"HEAD\r\n\r\n{\"model\": \"theirs\", 1}");
    }
}
