//! What the core's paths cost, in instructions: `bench/instructions.py` runs each case under callgrind and compares
//! it with the count on record. Inputs are fixed, so the same binary gives the same count each time.
//!
//! `core --list` names the cases; `core NAME` runs one: once to warm up, once within [`measured`].

#![allow(clippy::unnecessary_wraps)] // the cases stand in one table, so they have one type

use sluicegate::connection::{Actions, Connection, Resolution};
use sluicegate::dialect::{read_body, Dialect, Reader};
use sluicegate::http1::{end_of_head, request_lines, Limits, Parser, Piece};
use sluicegate::json::splice::Segment;
use sluicegate::metrics::{Bank, Family, Kind, Scale};
use sluicegate::plan::{self, Plan};
use sluicegate::relay::{Relay, Step};
use sluicegate::request;
use sluicegate::sse::{Fields, Splitter};
use sluicegate::upload::Upload;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

/// Events of a stream: enough that what is paid once does not show.
const EVENTS: usize = 200;
/// A request's body where only its answer matters.
const REQUEST: &[u8] = b"{}";
/// Nesting that a request may have, as the gateway sets it.
const DEPTH: usize = 128;

/// One run of a case; `None` if the core did not do what the case expects.
type Work = Box<dyn FnMut() -> Option<()>>;
/// Makes a case's input.
type Prepare = fn() -> Option<Work>;

const CASES: &[(&str, Prepare)] = &[
    ("sse: split, whole reads", || split(usize::MAX)),
    ("sse: split, reads of 100 bytes", || split(100)),
    ("dialect: read chat events", || read_events(Dialect::OpenAiChat, &chat_stream())),
    ("dialect: read responses events", || read_events(Dialect::OpenAiResponses, &responses_stream())),
    ("dialect: read messages events", || read_events(Dialect::AnthropicMessages, &messages_stream())),
    ("dialect: read a chat body", chat_body),
    ("http1: chunked response, a chunk per event", chunked_response),
    ("http1: request head", head_out),
    ("request: read and splice 1 KB", || read_and_splice(1_000)),
    ("request: read and splice 1 MB", || read_and_splice(1_000_000)),
    ("relay: chat events, one a read", || relay_events(1, None)),
    ("relay: chat events, 40 a read", || relay_events(40, None)),
    ("relay: chat events, model replaced", || relay_events(1, Some(&b"\"fast\""[..]))),
    ("connection: a streamed exchange", streamed_exchange),
    ("metrics: count one event", count_event),
    ("metrics: render 500 series", render),
];

/// The only frame whose instructions are counted (callgrind's `--toggle-collect`).
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> Option<()>) -> Option<()> {
    work()
}

fn main() -> ExitCode {
    // Cargo adds `--bench` when it runs the binary itself.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if wanted == ["--list"] {
        for (name, _) in CASES {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    for (name, prepare) in CASES {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            let done = prepare().and_then(|mut work| work().and_then(|()| measured(&mut *work)));
            if done.is_none() {
                eprintln!("{name}: the core did something else");
                return ExitCode::FAILURE;
            }
        }
    }
    if wanted.iter().all(|one| CASES.iter().any(|(name, _)| one == name)) {
        return ExitCode::SUCCESS;
    }
    eprintln!("unknown case in {wanted:?}");
    ExitCode::FAILURE
}

fn chat_stream() -> Vec<u8> {
    let envelope = "\"id\":\"chatcmpl-abc123\",\"object\":\"chat.completion.chunk\",\"created\":1677652288,\
        \"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_b376dfbbd5\"";
    let mut stream = Vec::new();
    for index in 0..EVENTS {
        stream.extend_from_slice(format!(
            "data: {{{envelope},\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word {index}\"}},\"logprobs\":null,\
             \"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"aBcDeF12\"}}\n\n"
        ).as_bytes());
    }
    stream.extend_from_slice(
        format!(
            "data: {{{envelope},\"choices\":[],\"usage\":{{\"prompt_tokens\":56,\"completion_tokens\":200,\
         \"total_tokens\":256,\"prompt_tokens_details\":{{\"cached_tokens\":12}}}}}}\n\ndata: [DONE]\n\n"
        )
        .as_bytes(),
    );
    stream
}

fn responses_stream() -> Vec<u8> {
    let mut stream = Vec::new();
    for index in 0..EVENTS {
        stream.extend_from_slice(format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{index},\
             \"item_id\":\"msg_68\",\"output_index\":0,\"content_index\":0,\"delta\":\" word\",\"logprobs\":[]}}\n\n"
        ).as_bytes());
    }
    stream
}

fn messages_stream() -> Vec<u8> {
    let mut stream = Vec::from(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":9,\
         \"output_tokens\":1}}}\n\n",
    );
    for index in 0..EVENTS {
        stream.extend_from_slice(
            format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":\
             {{\"type\":\"text_delta\",\"text\":\" word {index}\"}}}}\n\n"
            )
            .as_bytes(),
        );
    }
    stream
}

fn split(read: usize) -> Option<Work> {
    let stream = chat_stream();
    Some(Box::new(move || {
        let mut splitter = Splitter::new();
        let mut bytes = 0;
        for piece in stream.chunks(read.min(stream.len())) {
            let mut blocks = splitter.feed(piece);
            while let Some(block) = blocks.next() {
                bytes += block.raw.len();
            }
        }
        (bytes == stream.len()).then_some(())
    }))
}

fn read_events(dialect: Dialect, stream: &[u8]) -> Option<Work> {
    let events = events_of(stream);
    Some(Box::new(move || {
        let mut reader = Reader::new(dialect, 1);
        let mut content = 0;
        for event in &events {
            content += usize::from(reader.read(&Fields::parse(event, false)).content);
        }
        (content == EVENTS).then_some(())
    }))
}

fn chat_body() -> Option<Work> {
    let body = format!(
        "{{\"id\":\"chatcmpl-abc123\",\"object\":\"chat.completion\",\"created\":1677652288,\"model\":\"gpt-4o-mini\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":56,\"completion_tokens\":31,\"total_tokens\":87}}}}",
        "hello world ".repeat(40)
    );
    Some(Box::new(move || read_body(Dialect::OpenAiChat, body.as_bytes()).reported.map(drop)))
}

fn chunked_response() -> Option<Work> {
    let mut wire =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\
        x-request-id: req_1\r\n\r\n"
            .to_vec();
    for event in chat_stream().split_inclusive(|&byte| byte == b'}') {
        wire.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
        wire.extend_from_slice(event);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let expected = chat_stream().len();
    Some(Box::new(move || {
        let mut parser = Parser::new(Limits::default());
        let mut bytes = 0;
        for mut piece in wire.chunks(4096) {
            parser.head(&mut piece).ok()?;
            while let Ok(Piece::Data(data)) = parser.body(&mut piece) {
                bytes += data.len();
            }
        }
        (bytes == expected).then_some(())
    }))
}

fn head_out() -> Option<Work> {
    let headers = [
        ("authorization", "Bearer sk-upstream-0123456789abcdef"),
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
        ("user-agent", "sluicegate/0.1"),
    ];
    let mut out = Vec::with_capacity(1024);
    Some(Box::new(move || {
        out.clear();
        request_lines(&mut out, "POST", "/v1/chat/completions", "api.example.com", &headers).ok()?;
        end_of_head(&mut out, 1234);
        Some(())
    }))
}

fn read_and_splice(size: usize) -> Option<Work> {
    let body = format!(
        "{{\"model\":\"fast\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}],\"stream\":true,\"temperature\":0.7}}",
        "word \\\"quoted\\\" ".repeat(size / 16)
    )
    .into_bytes();
    let mut out = Vec::with_capacity(body.len() + 100);
    Some(Box::new(move || {
        out.clear();
        let ask = request::read(&body, DEPTH).ok()?;
        for segment in request::splice(&ask, &body, Some("gpt-4o-mini"), true, &[]).ok()? {
            match segment {
                // The body's own bytes go to the socket from where they are.
                Segment::Text(span) => drop(black_box(span)),
                Segment::New(bytes) => out.extend_from_slice(&bytes),
            }
        }
        (ask.stream && !out.is_empty()).then_some(())
    }))
}

/// The default profile's plan, with the caps as the gateway sets them.
fn plan(model: Option<&[u8]>) -> Arc<Plan> {
    let (event, held, answer) = (16 << 20, 256 << 10, 64 << 20);
    Arc::new(Plan {
        dialect: Dialect::OpenAiChat,
        stream: true,
        model: model.map(Box::from),
        strip_usage: true,
        fill_choices: false,
        tidy: true,
        ensure_done: true,
        insert: None,
        page: None,
        done: Box::from(&b"data: [DONE]\n\n"[..]),
        heartbeat: Box::from(&b": keep-alive\n\n"[..]),
        errors: Vec::new(),
        limits: plan::Limits { head: 32 << 10, event, held, error_body: 64 << 10, answer },
        times: plan::Times {
            first_content: 600_000_000,
            idle: 300_000_000,
            done_grace: 5_000_000,
            heartbeat: 15_000_000,
        },
        gaps: None,
    })
}

fn events_of(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    let mut splitter = Splitter::new();
    let mut blocks = splitter.feed(stream);
    while let Some(block) = blocks.next() {
        events.push(block.raw.to_vec());
    }
    events
}

fn relay_events(per_read: usize, model: Option<&'static [u8]>) -> Option<Work> {
    let reads: Vec<Vec<u8>> = events_of(&chat_stream()).chunks(per_read).map(<[_]>::concat).collect();
    let plan = plan(model);
    let mut out = Vec::with_capacity(256 * 1024);
    Some(Box::new(move || {
        let mut relay = Relay::new(Arc::clone(&plan), 1, 0);
        for (now, read) in (1..).zip(&reads) {
            out.clear();
            if relay.feed(now, read, &mut out) == Step::Commit {
                relay.open(now, true, false, &mut out);
            }
        }
        relay.account().complete.then_some(())
    }))
}

fn streamed_exchange() -> Option<Work> {
    let head = &b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"[..];
    let mut reads = vec![head.to_vec()];
    for event in events_of(&chat_stream()) {
        reads.push([format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat());
    }
    reads.push(b"0\r\n\r\n".to_vec());
    let plan = plan(None);
    let mut connection = Connection::new(None);
    let mut actions = Actions::default();
    connection.opened(&mut actions);
    Some(Box::new(move || {
        actions.clear();
        let body = 0..REQUEST.len();
        let upload = Upload::new(b"POST / HTTP/1.1\r\n\r\n".to_vec(), Box::new(REQUEST), vec![Segment::Text(body)]);
        connection.begin(0, upload, Arc::clone(&plan), 1, u64::MAX, &mut actions);
        while std::mem::take(&mut actions.more) {
            connection.pump(&mut actions);
        }
        for (now, read) in (1..).zip(&reads) {
            actions.clear();
            connection.received(now, read, &mut actions);
            if matches!(actions.resolve, Some(Resolution::Head(_))) {
                connection.open(now, true, false, &mut actions);
            }
        }
        connection.is_idle().then_some(())
    }))
}

fn families() -> Vec<Family> {
    let labels = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let family = |name: &str, kind, names: &[&str]| Family {
        name: name.to_owned(),
        help: "A figure.".to_owned(),
        kind,
        labels: labels(names),
        cap: 100,
    };
    let bounds = (0..13).map(|power| 1000 << power).collect();
    vec![
        family("sluicegate_requests_total", Kind::Counter, &["model", "target", "status"]),
        family("sluicegate_duration_seconds", Kind::Histogram { bounds, scale: Scale::Micros }, &["model", "target"]),
    ]
}

fn count_event() -> Option<Work> {
    let bank = Bank::in_memory(families(), None).ok()?;
    let requests = bank.slot(bank.family("sluicegate_requests_total")?, &["fast", "upstream/model", "200"]).ok()?;
    let duration = bank.slot(bank.family("sluicegate_duration_seconds")?, &["fast", "upstream/model"]).ok()?;
    Some(Box::new(move || {
        bank.add(requests, 1);
        bank.observe(duration, 12_345);
        Some(())
    }))
}

fn render() -> Option<Work> {
    let bank = Bank::in_memory(families(), None).ok()?;
    for number in 0..30 {
        let model = format!("model-{number}");
        let requests = bank.slot(bank.family("sluicegate_requests_total")?, &[&model, "upstream/model", "200"]);
        let duration = bank.slot(bank.family("sluicegate_duration_seconds")?, &[&model, "upstream/model"]);
        bank.add(requests.ok()?, 1);
        bank.observe(duration.ok()?, 12_345);
    }
    let mut out = Vec::with_capacity(256 * 1024);
    Some(Box::new(move || {
        out.clear();
        bank.render(&mut out);
        (memchr::memchr_iter(b'\n', &out).count() >= 500).then_some(())
    }))
}
