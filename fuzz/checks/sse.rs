//! Two partitions of one stream give the same events and the same bytes, also when an event is spilled.

use sluicegate::sse::{missing_line_ends, without_lines, BlockKind, Fields, Splitter};

/// The input is `SIZES|STREAM`: each byte's low four bits are the length of a read, over and over; none is one byte.
pub fn check(data: &[u8]) {
    let bar = data.iter().position(|&byte| byte == b'|');
    let (sizes, stream) = bar.map_or((&[][..], data), |bar| (&data[..bar], &data[bar + 1..]));
    let whole = events(&[stream]);
    let pieces = cut(stream, sizes);
    assert_eq!(whole, events(&pieces));
    spill(&pieces, stream);

    for (i, event) in whole.iter().enumerate() {
        let fields = Fields::parse(event, i == 0);
        if let Some(range) = fields.raw_range(0..fields.data.len()) {
            assert_eq!(*fields.data, event[range]);
        }
        let mut kept = Vec::new();
        without_lines(event, i == 0, &mut kept);
        assert!(kept.len() <= event.len());
        let left = Fields::parse(&kept, false);
        assert!(!left.dropped);
        if !kept.starts_with(b"\xEF\xBB\xBF") {
            assert_eq!((fields.name, &fields.data, fields.error), (left.name, &left.data, left.error));
        }
    }
}

fn cut<'a>(stream: &'a [u8], sizes: &[u8]) -> Vec<&'a [u8]> {
    let sizes = if sizes.is_empty() { b"1" } else { sizes };
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at(usize::from(size & 15).clamp(1, 16).min(rest.len()));
        pieces.push(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

/// The events' bytes, the unfinished one last; an LF that came alone is put back to its CR.
fn events(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut splitter, mut events) = (Splitter::new(), Vec::<Vec<u8>>::new());
    for piece in pieces {
        let mut blocks = splitter.feed(piece);
        while let Some(block) = blocks.next() {
            match (block.kind, events.last_mut()) {
                (BlockKind::Event, last) => {
                    assert_eq!(block.first, last.is_none());
                    events.push(block.raw.to_vec());
                }
                (BlockKind::LineFeed, Some(last)) => {
                    assert_eq!((&b"\n"[..], true), (block.raw, last.ends_with(b"\r")));
                    last.push(b'\n');
                }
                (kind, _) => panic!("{kind:?} out of place"),
            }
        }
    }
    let (first, ends) = (splitter.pending_is_first(), splitter.missing_line_ends());
    let pending = splitter.finish();
    assert_eq!(pending.is_empty(), ends.is_empty());
    assert_eq!(pending.is_empty(), missing_line_ends(&pending).is_empty());
    let closed = [&pending, ends].concat();
    let mut splitter = Splitter::new();
    let mut blocks = splitter.feed(&closed);
    let blocks = std::iter::from_fn(|| blocks.next().map(|block| block.raw.len())).collect::<Vec<_>>();
    if first && !pending.is_empty() {
        assert_eq!(vec![closed.len()], blocks);
    }
    events.push(pending);
    events
}

/// Every second event is spilled as soon as it is pending; the bytes stay the stream's.
fn spill(pieces: &[&[u8]], stream: &[u8]) {
    let (mut splitter, mut relayed, mut turn) = (Splitter::new(), Vec::new(), false);
    for piece in pieces {
        let mut blocks = splitter.feed(piece);
        while let Some(block) = blocks.next() {
            relayed.extend_from_slice(block.raw);
            turn ^= block.kind == BlockKind::Event;
        }
        if turn {
            relayed.extend(splitter.spill());
            assert!(splitter.pending().is_empty());
        }
    }
    relayed.extend(splitter.finish());
    assert_eq!(stream, relayed);
}
