//! Every table here is read whole, byte by byte, and cut at every point: what comes out must not depend on the cuts.

use std::time::{Duration, Instant};

use proptest::prelude::*;
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

/// Where the events of a stream that comes in pieces end; an LF that came alone is put back to its CR.
/// Each event's bytes are checked to be those of the stream.
fn ends(pieces: &[&[u8]], stream: &[u8], ends: &mut Vec<usize>) {
    ends.clear();
    let (mut splitter, mut at) = (Splitter::new(), 0);
    for piece in pieces {
        let mut blocks = splitter.feed(piece);
        while let Some(block) = blocks.next() {
            assert_eq!(&stream[at..at + block.raw.len()], block.raw);
            at += block.raw.len();
            if block.kind == BlockKind::LineFeed {
                ends.pop().expect("an event before its LF");
            }
            ends.push(at);
        }
    }
    assert_eq!(&stream[at..], splitter.finish());
}

/// The events of a stream that comes whole, and last what is left at its end.
fn events(stream: &[u8]) -> Vec<&[u8]> {
    let mut points = Vec::new();
    ends(&[stream], stream, &mut points);
    cut(stream, &points)
}

/// Every point of a short stream; of a long one those near the events' ends and 2,000 spread by a fixed rule.
fn cut_points(stream: &[u8], ends: &[usize]) -> Vec<usize> {
    if stream.len() <= 20 * 1024 {
        return (0..=stream.len()).collect();
    }
    let mut seed = stream.len() as u64;
    let spread = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % stream.len()
    });
    let near = ends.iter().flat_map(|end| end.saturating_sub(8)..=(end + 8).min(stream.len()));
    near.chain(spread.take(2000)).collect()
}

#[test]
fn recorded_streams_give_the_same_events_wherever_they_are_cut() {
    let Some(corpus) = Corpus::find() else { return };
    for recorded in corpus.sample() {
        let stream = recorded.read();
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        ends(&[&stream], &stream, &mut whole);
        ends(&stream.chunks(1).collect::<Vec<_>>(), &stream, &mut pieces);
        assert_eq!(whole, pieces, "{}: byte by byte", recorded.id);
        for point in cut_points(&stream, &whole) {
            ends(&[&stream[..point], &stream[point..]], &stream, &mut pieces);
            assert_eq!(whole, pieces, "{}: cut at {point}", recorded.id);
        }
    }
}

#[test]
fn recorded_streams_hold_the_events_the_index_counts() {
    let Some(corpus) = Corpus::find() else { return };
    for recorded in corpus.streams() {
        let stream = recorded.read();
        let events = events(&stream);
        let fields = events.iter().enumerate().map(|(i, event)| Fields::parse(event, i == 0));
        let data: Vec<_> = fields.filter(|fields| fields.has_data).map(|fields| fields.data).collect();
        let unterminated = events.last().is_some_and(|left| !left.is_empty());
        assert_eq!(recorded.record["tail_unterminated"], unterminated, "{}", recorded.id);
        assert_eq!(recorded.record["data_events"], data.len(), "{}", recorded.id);
        let done = data.iter().filter(|data| data.trim_ascii_end() == b"[DONE]").count();
        assert_eq!(recorded.done_sentinel, done as u64, "{}", recorded.id);
        assert_eq!(recorded.line_ending == "crlf", events[0].ends_with(b"\r\n\r\n"), "{}", recorded.id);
    }
}

/// A stream of whatever steers a reader, and some of what does not.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"\n"[..],
        b"\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\xEF\xBB\xBF",
        b"\xEF",
        b"\xBB",
        b"data",
        b"data:",
        b"data: ",
        b": ",
        b"id: 1",
        b"retry: 5",
        b"event: e",
        b"error: {}",
        b"{\"a\":1}",
        b"[DONE]",
        b"\0",
        b"\xFF",
        b"x",
    ]);
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_partition_gives_the_same(stream in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let mut points: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        points.sort_unstable();
        let whole = read([stream.as_slice()]);
        prop_assert_eq!(&stream, &whole.relayed);
        prop_assert_eq!(&whole, &read(cut(&stream, &points)));
        prop_assert_eq!(&whole, &read(stream.chunks(1)));
    }

    #[test]
    fn an_event_left_open_is_closed_with_what_is_missing(stream in streams(), spilled: bool) {
        let mut splitter = Splitter::new();
        let mut blocks = splitter.feed(&stream);
        while blocks.next().is_some() {}
        let first = splitter.pending_is_first();
        let pending = splitter.pending().to_vec();
        if spilled {
            prop_assert_eq!(&pending, &splitter.spill());
        }
        let ends = splitter.missing_line_ends();
        for ends in [missing_line_ends(&pending), ends].into_iter().skip(usize::from(pending == BOM)) {
            let closed = [&pending, ends].concat();
            if closed.is_empty() {
                continue;
            }
            let head: &[u8] = if first { b"" } else { b"\n" };
            let stream = [head, &closed].concat();
            prop_assert_eq!(Some(&*closed), events(&stream).into_iter().rev().nth(1));
            let (open, shut) = (Fields::parse(&pending, first), Fields::parse(&closed, first));
            prop_assert_eq!((open.name, open.data, open.error), (shut.name, shut.data, shut.error));
        }
        splitter.finish();
        prop_assert!(splitter.missing_line_ends().is_empty());
    }

    #[test]
    fn spilled_bytes_are_the_streams_bytes(stream in streams(), size in 1usize..5, every in 1usize..5) {
        let (mut splitter, mut relayed) = (Splitter::new(), Vec::new());
        for (i, piece) in stream.chunks(size).enumerate() {
            let mut blocks = splitter.feed(piece);
            while let Some(block) = blocks.next() {
                relayed.extend_from_slice(block.raw);
            }
            if i % every == 0 {
                relayed.extend(splitter.spill());
                prop_assert!(splitter.pending().is_empty());
            }
        }
        relayed.extend(splitter.finish());
        prop_assert_eq!(stream, relayed);
    }

    #[test]
    fn a_span_of_the_data_is_found_in_the_bytes(stream in streams(), from: prop::sample::Index, to: prop::sample::Index) {
        for (i, event) in events(&stream).into_iter().enumerate() {
            let fields = Fields::parse(event, i == 0);
            let (from, to) = (from.index(fields.data.len() + 1), to.index(fields.data.len() + 1));
            let span = from.min(to)..from.max(to);
            let crosses = fields.data[span.clone()].contains(&b'\n');
            match fields.raw_range(span.clone()) {
                Some(range) => prop_assert_eq!(&fields.data[span], &event[range]),
                None => prop_assert!(crosses),
            }
        }
    }
}

#[test]
fn an_event_is_given_out_at_the_byte_that_completes_it() {
    type Given<'a> = (&'a [u8], BlockKind);
    let cases: [(&[u8], &[Given]); 5] = [
        (b"data: x\n\n", &[(b"data: x\n\n", BlockKind::Event)]),
        (b"data: x\r\r", &[(b"data: x\r\r", BlockKind::Event)]),
        (b"data: x\r\n\r\n", &[(b"data: x\r\n\r", BlockKind::Event), (b"\n", BlockKind::LineFeed)]),
        (b"data: x\n\r\n", &[(b"data: x\n\r", BlockKind::Event), (b"\n", BlockKind::LineFeed)]),
        (b"\xEF\xBB\xBF\n\n", &[(b"\xEF\xBB\xBF\n", BlockKind::Event), (b"\n", BlockKind::Event)]),
    ];
    for (stream, expected) in cases {
        let (mut splitter, mut given) = (Splitter::new(), Vec::new());
        for (i, byte) in stream.chunks(1).enumerate() {
            let mut blocks = splitter.feed(byte);
            while let Some(block) = blocks.next() {
                let end: usize = expected[..=given.len()].iter().map(|(raw, _)| raw.len()).sum();
                assert_eq!(end, i + 1, "{}", lossy(stream));
                given.push((block.raw.to_vec(), block.kind));
            }
        }
        let expected: Vec<_> = expected.iter().map(|(raw, kind)| (raw.to_vec(), *kind)).collect();
        assert_eq!(expected, given, "{}", lossy(stream));
    }
}

#[test]
fn whole_events_of_a_read_are_not_copied() {
    let data = b"data: 1\n\ndata: 2\r\n\r\n: c\n\n".as_slice();
    let mut splitter = Splitter::new();
    let mut blocks = splitter.feed(data);
    let mut at = 0;
    while let Some(block) = blocks.next() {
        assert_eq!(data[at..].as_ptr(), block.raw.as_ptr());
        assert_eq!(at == 0, block.first);
        at += block.raw.len();
    }
    assert_eq!((data.len(), 0), (at, splitter.carry.capacity()));
}

#[test]
fn what_follows_the_last_walked_block_is_at_hand() {
    let mut splitter = Splitter::new();
    let mut blocks = splitter.feed(b"data: [DONE]\n\njunk");
    assert_eq!(Some(b"data: [DONE]\n\n".as_slice()), blocks.next().map(|block| block.raw));
    assert_eq!(b"junk", blocks.rest());
}

/// An endless event is given away in pieces as it arrives, nothing is kept, and the next event is read as ever.
#[test]
fn an_event_too_long_to_keep_is_spilled() {
    let mut splitter = Splitter::new();
    assert!(splitter.feed(b"data: long").next().is_none());
    assert_eq!(b"data: long", splitter.spill().as_slice());
    for _ in 0..1000 {
        let mut blocks = splitter.feed(b"er and longer");
        let block = blocks.next().map(|block| (block.raw.to_vec(), block.kind));
        assert_eq!(Some((b"er and longer".to_vec(), BlockKind::Spilled)), block);
        assert!(blocks.next().is_none());
    }
    assert!(splitter.spilling());
    assert_eq!((&b"\n\n"[..], 0), (splitter.missing_line_ends(), splitter.carry.capacity()));
    let mut blocks = splitter.feed(b"!\n\ndata: next\n\n");
    assert_eq!(Some((&b"!\n\n"[..], BlockKind::Spilled)), blocks.next().map(|block| (block.raw, block.kind)));
    assert_eq!(Some((&b"data: next\n\n"[..], BlockKind::Event)), blocks.next().map(|block| (block.raw, block.kind)));
    assert!(!splitter.spilling());
    assert_eq!(b"", splitter.spill().as_slice());
    assert!(!splitter.spilling());
}

#[test]
fn a_long_events_memory_is_given_back() {
    let mut splitter = Splitter::new();
    for piece in [vec![b'x'; 100_000].as_slice(), b"\n\n", b"data: 1\n\n"] {
        let mut blocks = splitter.feed(piece);
        while blocks.next().is_some() {}
    }
    assert_eq!(0, splitter.carry.capacity());
}

/// Two million reads of one byte each: linear takes a twentieth of a second, scanning what is pending anew an hour.
#[test]
fn one_line_in_single_bytes_takes_linear_time() {
    let started = Instant::now();
    let mut splitter = Splitter::new();
    for _ in 0..2_000_000 {
        assert!(splitter.feed(b"x").next().is_none());
    }
    assert_eq!(2_000_000, splitter.pending().len());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn an_event_left_open_is_closed_in_the_streams_style() {
    let mut splitter = Splitter::new();
    let mut blocks = splitter.feed(b"data: 1\r\n\r\ndata: [DONE]");
    while blocks.next().is_some() {}
    assert_eq!(b"\r\n\r\n", splitter.missing_line_ends());
}
