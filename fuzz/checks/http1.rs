//! A response is read alike however it is cut, and its body is as long as its head says; a plain request is one that
//! came whole.

use sluicegate::http1::{incoming, BodyKind, End, Head, Limits, Parser, Piece, Protocol};

/// What one reading gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The final response's head, if it was read.
    pub head: Option<Head>,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// How the reading ended.
    pub ending: Ending,
}

/// How a reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The response is complete, and `left` bytes after it were left alone.
    Complete {
        /// Bytes.
        left: usize,
    },
    /// The response was refused.
    Refused(Protocol),
    /// The input ended before, and so did the connection.
    Eof(End),
}

/// Reads one response that comes in `parts`; `proper` is what [`Parser::eof`] is told at their end.
pub fn read<'a>(mut parser: Parser, parts: impl IntoIterator<Item = &'a [u8]>, proper: bool) -> Seen {
    let (mut head, mut body, mut left, mut complete) = (None, Vec::new(), 0, false);
    for part in parts {
        let mut data = part;
        let refused = loop {
            if head.is_none() {
                match parser.head(&mut data) {
                    Ok(None) => break None,
                    Ok(found) => head = found,
                    Err(why) => break Some(why),
                }
            }
            match parser.body(&mut data) {
                Ok(Piece::Data(piece)) => {
                    assert!(!piece.is_empty());
                    body.extend_from_slice(piece);
                }
                Ok(Piece::More) => break None,
                Ok(Piece::End) => {
                    complete = true;
                    break None;
                }
                Err(why) => break Some(why),
            }
        };
        if let Some(why) = refused {
            assert_eq!((Err(why), Err(why)), (parser.head(&mut data).map(drop), parser.body(&mut data).map(drop)));
            return Seen { head, body, ending: Ending::Refused(why) };
        }
        assert!(complete || data.is_empty(), "input was neither read nor refused");
        left += data.len();
    }
    let ending = if complete { Ending::Complete { left } } else { Ending::Eof(parser.eof(proper)) };
    Seen { head, body, ending }
}

/// The input's first two bytes choose the cuts and the options; the rest is the response.
pub fn check(input: &[u8]) {
    let [cuts, options, response @ ..] = input else { return };
    let limits = if options & 1 == 0 { Limits::default() } else { Limits { head: 64, headers: 3 } };
    let new = || if options & 2 == 0 { Parser::new(limits) } else { Parser::answering_head(limits) };
    let proper = options & 4 == 0;
    let whole = read(new(), [response], proper);
    assert_eq!(whole, read(new(), response.chunks(1), proper));
    assert_eq!(whole, read(new(), parts(response, *cuts), proper));
    if let (Some(BodyKind::Length(length)), Ending::Complete { .. }) = (whole.head.map(|head| head.body), whole.ending)
    {
        assert_eq!(length, whole.body.len() as u64);
    }
    if let Some(request) = incoming::read(response, limits.head, &["accept", "content-type"], &[]) {
        assert!(response.ends_with(request.body));
        assert_eq!(
            None,
            incoming::read(&response[..response.len() - 1], limits.head, &["accept", "content-type"], &[])
        );
    }
}

/// `bytes` in parts of 0 to 15 bytes, chosen by `seed`.
fn parts(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let (mut rest, mut state, mut parts) = (bytes, u32::from(seed) + 1, Vec::new());
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (part, after) = rest.split_at(rest.len().min((state >> 28) as usize));
        parts.push(part);
        rest = after;
    }
    parts
}
