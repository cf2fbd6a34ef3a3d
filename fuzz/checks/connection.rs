//! An upstream's bytes, cut differently, give the client the same answer and the connection the same end, whether the
//! clock is looked at between the cuts or not; a heartbeat never stands inside an event; and when we end a stream, be it
//! by a fault of ours, what tells of it is an event of its own.

use sluicegate::answer::Verdict;
use sluicegate::connection::{Actions, Connection, Resolution};
use sluicegate::dialect::Dialect;
use sluicegate::page::{Finishes, Note, Page};
use sluicegate::plan::{End, Limits, Plan, Times};
use sluicegate::sse::{Fields, Splitter};
use sluicegate::tariff::{Rates, Rounding, Tariff};
use sluicegate::upload::Upload;
use std::sync::Arc;

const DIALECTS: [Dialect; 7] = [
    Dialect::OpenAiChat,
    Dialect::OpenAiCompletions,
    Dialect::OpenAiResponses,
    Dialect::AnthropicMessages,
    Dialect::Gemini,
    Dialect::Cohere,
    Dialect::Unknown,
];

/// What came of one answer: the first word, the client's bytes, the stream's end, whether the connection lives on.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    verdict: Option<(Verdict, &'static str, Vec<u8>)>,
    client: Vec<u8>,
    end: Option<End>,
    idle: bool,
}

const BEAT: &[u8] = b": a heartbeat\n\n";

/// The input is `PLAN SIZES|BYTES`: the first byte chooses the plan, the low four bits of the next ones are lengths of
/// reads, over and over; those that are letters let the sweep come by after the read, when a heartbeat is always due.
pub fn check(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let bar = data.iter().position(|&byte| byte == b'|');
    let (sizes, bytes) = bar.map_or((&[][..], data), |bar| (&data[..bar], &data[bar + 1..]));
    let plan = plan(choice);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for size in if sizes.is_empty() { b"1" } else { sizes }.iter().cycle() {
        let (piece, after) = rest.split_at(usize::from(size & 15).clamp(1, 16).min(rest.len()));
        pieces.push((piece, size.is_ascii_alphabetic()));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let (mut whole, mut cut) = (answer(&plan, &[(bytes, false)]), answer(&plan, &pieces));
    if pieces.iter().any(|&(_, sweeps)| sweeps) {
        // Before a heartbeat the LF that a CR may wait for is written, whether it comes or not.
        for seen in [&mut whole, &mut cut] {
            seen.client = without_late_line_feeds(&seen.client);
        }
    }
    assert_eq!(whole, cut);
    for end in [End::Draining, End::Internal] {
        interrupted(&plan, &pieces, end);
    }
}

fn plan(choice: u8) -> Arc<Plan> {
    let dialect = DIALECTS[usize::from(choice & 7) % DIALECTS.len()];
    let chat = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiCompletions);
    let bit = |n: u8| choice >> n & 1 == 1;
    Arc::new(Plan {
        dialect,
        stream: !bit(3),
        model: bit(4).then(|| b"\"mine\""[..].into()),
        strip_usage: bit(5),
        fill_choices: bit(6),
        tidy: chat,
        ensure_done: !bit(7),
        insert: bit(6).then(|| b"\"$schema\":1"[..].into()),
        page: (choice & 7 == 7).then(page),
        done: if chat { b"data: [DONE]\n\n"[..].into() } else { [].into() },
        heartbeat: BEAT.into(),
        errors: End::ALL
            .into_iter()
            .map(|end| (end, format!("data: {}\n\n", end.as_str()).into_bytes().into()))
            .collect(),
        // Limits that bite would bite elsewhere for other cuts.
        limits: Limits { head: 1 << 20, event: 1 << 30, held: 1 << 30, error_body: 64, answer: 1 << 30 },
        times: Times { first_content: 1, idle: 1, done_grace: 1, heartbeat: 0 },
        gaps: None,
    })
}

fn without_late_line_feeds(bytes: &[u8]) -> Vec<u8> {
    // A dropped event in between leaves our own behind one more.
    let before = |at: usize| bytes[..at].iter().rev().find(|&&byte| byte != b'\n');
    let late = |at: usize| bytes[at] == b'\n' && before(at) == Some(&b'\r');
    (0..bytes.len()).filter(|&at| !late(at)).map(|at| bytes[at]).collect()
}

/// Everything that a page may want; the dialect is chat's then.
fn page() -> Page {
    let finishes =
        Finishes { known: [(b"end"[..].into(), b"\"stop\""[..].into())].into(), other: b"\"other\""[..].into() };
    let rates = Rates { input: 1 << 30, output: 1 << 31, ..Rates::default() };
    Page {
        note: Some(Note { name: "more".into(), open: b"{\"p\":1"[..].into(), raw: true }),
        tariff: Some(Arc::new(Tariff::new(rates, Vec::new(), Some((1 << 40, Rounding::Up))))),
        finishes: Some(Arc::new(finishes)),
    }
}

fn answer(plan: &Arc<Plan>, reads: &[(&[u8], bool)]) -> Seen {
    let (mut connection, mut actions, mut seen) = so_far(plan, reads);
    if seen.end.is_some() && seen.client.ends_with(b"\r\r\n") {
        // Behind the sentinel's two CRs nobody waits for an LF, which is the client's only if it came with them.
        seen.client.pop();
    }
    seen.idle = connection.is_idle();
    actions.clear();
    connection.eof(0, &mut actions);
    take(&mut connection, &mut actions, &mut seen);
    seen
}

/// We end the exchange in place of the upstream.
fn interrupted(plan: &Arc<Plan>, reads: &[(&[u8], bool)], end: End) {
    let (mut connection, mut actions, mut seen) = so_far(plan, reads);
    let relayed = seen.verdict.as_ref().is_some_and(|(verdict, ..)| *verdict == Verdict::Committed);
    if !relayed || seen.end.is_some() {
        return;
    }
    actions.clear();
    if end == End::Internal {
        connection.poison(&mut actions);
    } else {
        connection.end(0, end, &mut actions);
    }
    take(&mut connection, &mut actions, &mut seen);
    assert_eq!(seen.end, Some(end));
    let (mut splitter, mut last) = (Splitter::new(), Vec::new());
    let mut blocks = splitter.feed(&seen.client);
    while let Some(block) = blocks.next() {
        last = Fields::parse(block.raw, block.first).data.into_owned();
    }
    assert_eq!((splitter.pending(), &*last), (&b""[..], end.as_str().as_bytes()), "{:?}", seen.client);
}

/// What came of it up to the last read, the upstream's end aside.
fn so_far(plan: &Arc<Plan>, reads: &[(&[u8], bool)]) -> (Connection, Actions, Seen) {
    let (mut connection, mut actions) = (Connection::new(None), Actions::default());
    let mut seen = Seen { verdict: None, client: Vec::new(), end: None, idle: false };
    connection.opened(&mut actions);
    actions.clear();
    let upload = Upload::new(b"POST / HTTP/1.1\r\n\r\n".to_vec(), Box::new(b"{}"), Vec::new());
    connection.begin(0, upload, Arc::clone(plan), 1, u64::MAX, &mut actions);
    for &(read, sweeps) in reads {
        actions.clear();
        connection.received(0, read, &mut actions);
        take(&mut connection, &mut actions, &mut seen);
        if sweeps {
            sweep(&mut connection, &mut actions, &mut seen);
        }
    }
    (connection, actions, seen)
}

/// Nothing but a heartbeat comes of it, behind a whole event.
fn sweep(connection: &mut Connection, actions: &mut Actions, seen: &mut Seen) {
    actions.clear();
    connection.check(0, actions);
    assert!(actions.resolve.is_none(), "no time has passed");
    if actions.client.first() == Some(&b'\n') {
        seen.client.push(b'\n');
        actions.client.remove(0);
    }
    assert!(actions.client.is_empty() || actions.client == BEAT, "{:?}", actions.client);
    let ends: [&[u8]; 4] = [b"\n\n", b"\n\r\n", b"\r\r\n", b"\r"];
    if !actions.client.is_empty() && !seen.client.is_empty() {
        assert!(ends.iter().any(|end| seen.client.ends_with(end)), "inside an event: {:?}", seen.client);
    }
}

fn take(connection: &mut Connection, actions: &mut Actions, seen: &mut Seen) {
    loop {
        seen.client.append(&mut actions.client);
        match actions.resolve.take() {
            Some(Resolution::Head(head)) => {
                assert!(seen.verdict.is_none(), "two verdicts");
                let committed = head.verdict == Verdict::Committed;
                seen.verdict = Some((head.verdict, head.code, head.body));
                if committed {
                    actions.clear();
                    connection.open(0, false, false, actions);
                    continue;
                }
            }
            Some(Resolution::Ended) => {
                assert!(seen.end.is_none(), "two ends");
                seen.end = Some(connection.outcome().end);
            }
            _ => {}
        }
        return;
    }
}
