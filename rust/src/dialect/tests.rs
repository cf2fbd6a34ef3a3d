//! What events mean: tables per dialect, and every recorded stream against the index.

mod bodies;
mod commit;
mod end;
mod hostile;
mod recordings;
mod template;
mod usage;

use super::{Dialect, InBandError, Reader, Reading, Reported};
use crate::sse::{BlockKind, Fields, Splitter};

/// What reading a whole stream came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    reported: Option<Reported>,
    complete: bool,
    terminal: bool,
    errors: Vec<InBandError>,
    malformed: usize,
    content: usize,
    finishes: usize,
    usage_only: usize,
}

/// Reads a stream that arrives in these pieces, as the relay does: event by event, then what the end left open.
fn read_stream<'a>(dialect: Dialect, choices: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> Said {
    let (mut reader, mut readings) = (Reader::new(dialect, choices), Vec::new());
    let mut splitter = Splitter::new();
    for piece in pieces {
        let mut blocks = splitter.feed(piece);
        while let Some(block) = blocks.next() {
            if block.kind == BlockKind::Event {
                readings.push(reader.read(&Fields::parse(block.raw, block.first)));
            }
        }
    }
    if !splitter.pending().is_empty() {
        readings.push(reader.read(&Fields::parse(splitter.pending(), splitter.pending_is_first())));
    }
    reader.at_eof();
    let count = |is: fn(&Reading) -> bool| readings.iter().filter(|reading| is(reading)).count();
    Said {
        reported: reader.reported(),
        complete: reader.complete(),
        terminal: reader.terminal(),
        errors: readings.iter().filter_map(|reading| reading.error).collect(),
        malformed: count(|reading| reading.malformed),
        content: count(|reading| reading.content),
        finishes: count(|reading| reading.finish),
        usage_only: count(|reading| reading.usage_only),
    }
}

/// Reads one event, given as its lines, as the first of its stream.
fn read_event(dialect: Dialect, lines: &str) -> Reading {
    Reader::new(dialect, 1).read(&Fields::parse(format!("{lines}\n\n").as_bytes(), true))
}

/// What the stream of these events has reported.
fn reported(dialect: Dialect, choices: u32, events: &[&str]) -> Option<Reported> {
    read_stream(dialect, choices, [stream(events).as_bytes()]).reported
}

/// The stream of these events, each given as its lines.
fn stream(events: &[&str]) -> String {
    events.iter().flat_map(|lines| [lines, "\n\n"]).collect()
}

/// Counts in the index's order: input, output, total, `cached_read`, `cache_write`, reasoning.
fn counts(usage: &Reported) -> [Option<u64>; 6] {
    [usage.input, usage.output, usage.total, usage.cached_read, usage.cache_write, usage.reasoning]
}
