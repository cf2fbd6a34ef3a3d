//! Every table here is read whole, byte by byte, and cut at every point: what comes out must not depend on the cuts.

use serde_json::{json, Value};

use super::*;
use crate::corpus::Corpus;

/// What a WHATWG reader makes of a stream, and the bytes it was made of.
#[derive(Debug, Default, PartialEq)]
struct Read {
    dispatched: Vec<Value>,
    retry: Option<u64>,
    relayed: Vec<u8>,
}

/// Reads a stream from its pieces, as a browser would.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let (mut splitter, mut out, mut id) = (Splitter::new(), Read::default(), String::new());
    for piece in pieces {
        let mut blocks = splitter.feed(piece);
        while let Some(block) = blocks.next() {
            out.relayed.extend_from_slice(block.raw);
            if block.kind == BlockKind::LineFeed {
                assert_eq!(b"\n", block.raw);
                continue;
            }
            let fields = Fields::parse(block.raw, block.first);
            if let Some(value) = fields.id {
                id = lossy(value);
            }
            if let Some(value) = fields.retry {
                out.retry = lossy(value).parse().ok();
            }
            if fields.has_data {
                let name = if fields.name.is_empty() { b"message" } else { fields.name };
                out.dispatched.push(json!({"event": lossy(name), "data": lossy(&fields.data), "id": id}));
            }
        }
    }
    out.relayed.extend(splitter.finish());
    out
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The pieces of `input` between the given points, which ascend.
fn cut<'a>(input: &'a [u8], points: &[usize]) -> Vec<&'a [u8]> {
    let starts = std::iter::once(0).chain(points.iter().copied());
    let ends = points.iter().copied().chain(std::iter::once(input.len()));
    starts.zip(ends).map(|(start, end)| &input[start..end]).collect()
}

#[test]
fn the_standards_cases_are_read_alike_wherever_they_are_cut() {
    let Some(corpus) = Corpus::find() else { return };
    for case in corpus.sse_cases() {
        let input = case.input.as_slice();
        let whole = read([input]);
        assert_eq!(case.expected, Value::from(whole.dispatched.clone()), "{}", case.name);
        if case.retry.is_some() {
            assert_eq!(case.retry, whole.retry, "{}", case.name);
        }
        assert_eq!(input, whole.relayed, "{}", case.name);
        assert_eq!(whole, read(case.chunks.iter().map(Vec::as_slice)), "{}: its own chunks", case.name);
        assert_eq!(whole, read(input.chunks(1)), "{}: byte by byte", case.name);
        for first in 0..=input.len() {
            assert_eq!(whole, read(cut(input, &[first])), "{}: cut at {first}", case.name);
            for second in (first..=input.len()).filter(|_| input.len() < 200) {
                assert_eq!(whole, read(cut(input, &[first, second])), "{}: cut at {first}, {second}", case.name);
            }
        }
    }
}
