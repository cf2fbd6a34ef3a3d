//! One event as the client is to get it: as it came, but for what the plan and its page want of it.

use crate::dialect::{Reading, Reported};
use crate::json::splice::Edits;
use crate::page::{Facts, Page};
use crate::plan::{Micros, Plan};
use crate::sse::{without_lines, Block, Fields, BOM};
use std::ops::Range;

/// What stands for `[]` where the page wants at least one choice.
const EMPTY_CHOICE: &[u8] = br#"[{"index":0,"delta":{},"finish_reason":null}]"#;

/// Writes an event that the page wants nothing of: most often as it came.
#[inline]
pub(super) fn pass(plan: &Plan, block: &Block<'_>, fields: &Fields<'_>, reading: &Reading, out: &mut Vec<u8>) {
    let edits = if plan.rewrites() { edits(plan, fields, reading) } else { [None, None] };
    if edits == [None, None] {
        if drops_lines(plan, block, fields) {
            without_lines(block.raw, block.first, out);
        } else {
            out.extend_from_slice(block.raw);
        }
        return;
    }
    let mut text = Vec::with_capacity(block.raw.len() + 64);
    let mut from = 0;
    for (range, replacement) in edits.into_iter().flatten() {
        text.extend_from_slice(&block.raw[from..range.start]);
        text.extend_from_slice(replacement);
        from = range.end;
    }
    text.extend_from_slice(&block.raw[from..]);
    put_tidily(plan, block, fields, &mut text, out);
}

/// [`pass`] for the few events that are not told at once.
#[cold]
pub(super) fn pass_on(plan: &Plan, block: &Block<'_>, fields: &Fields<'_>, reading: &Reading, out: &mut Vec<u8>) {
    pass(plan, block, fields, reading, out);
}

/// Writes an event with all that the page wants of it, by what had been reported; it is the last if its `latency` is
/// given.
pub(super) fn put(
    plan: &Plan,
    block: &Block<'_>,
    fields: &Fields<'_>,
    reading: &Reading,
    (reported, latency): (Option<Reported>, Option<Micros>),
    out: &mut Vec<u8>,
) {
    let mut all = Edits::new();
    for (range, bytes) in edits(plan, fields, reading).into_iter().flatten() {
        all.replace(range, bytes);
    }
    if let Some(page) = &plan.page {
        let facts = Facts { dialect: plan.dialect, latency: latency.unwrap_or(0), reported };
        page_edits(page, fields, (reading.finish, reading.usage, latency.is_some()), &facts, &mut all);
    }
    let mut text = Vec::with_capacity(block.raw.len() + 512);
    all.apply(block.raw, &mut text);
    put_tidily(plan, block, fields, &mut text, out);
}

fn put_tidily(plan: &Plan, block: &Block<'_>, fields: &Fields<'_>, text: &mut Vec<u8>, out: &mut Vec<u8>) {
    if drops_lines(plan, block, fields) {
        without_lines(text, block.first, out);
    } else {
        out.append(text);
    }
}

#[inline]
fn drops_lines(plan: &Plan, block: &Block<'_>, fields: &Fields<'_>) -> bool {
    plan.tidy && (fields.dropped || (block.first && block.raw.starts_with(BOM)))
}

fn edits<'a>(plan: &'a Plan, fields: &Fields<'_>, reading: &Reading) -> [Option<(Range<usize>, &'a [u8])>; 2] {
    let place = |span: &Option<Range<usize>>| span.clone().and_then(|span| fields.raw_range(span));
    let model = plan.model.as_deref().and_then(|model| Some((place(&reading.model)?, model)));
    let choices = if plan.fill_choices { place(&reading.empty_choices).map(|at| (at, EMPTY_CHOICE)) } else { None };
    match (&model, &choices) {
        (Some((a, _)), Some((b, _))) if b.start < a.start => [choices, model],
        _ => [model, choices],
    }
}

/// Lines of data are joined with LF, which may not stand in what is put into one of them; what would stretch over
/// several stays as it came.
fn page_edits(page: &Page, fields: &Fields<'_>, is: (bool, bool, bool), facts: &Facts, edits: &mut Edits<'_>) {
    let data: Vec<u8> = fields.data.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }).collect();
    page.event(&data, is, facts, &mut |span, bytes| {
        if let Some(range) = fields.raw_range(span) {
            edits.replace(range, bytes);
        }
    });
}
