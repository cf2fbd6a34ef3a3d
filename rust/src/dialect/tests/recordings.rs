//! Every recorded stream against the index: usage, end and errors, however the stream is cut.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::{fold, read_body, Dialect, InBandError, Reported, Tokens};
use super::{counts, read_stream, Said};
use crate::corpus::{Corpus, Stream};
use crate::sse::{BlockKind, Fields, Splitter};

const KEYS: [&str; 6] = ["input", "output", "total", "cached_read", "cache_write", "reasoning"];

/// Streams of which the index says something else than we do, and why both are right.
const EXCEPTIONS: [(&str, &str, Expected); 2] = [
    (
        "openai-chat/groq/25e988586b4d1744",
        "ends with `event: error`, without finish reason or [DONE]",
        Expected { complete: false, error: Some(InBandError::Visible) },
    ),
    (
        "openai-chat/gpustack/0cc39fcd5efa10ad",
        "ends with an `error:` line, no data: the index counts errors in data only, and so do the SDKs",
        Expected { complete: false, error: Some(InBandError::Invisible) },
    ),
];

/// How a stream ends; all others are complete and without error.
#[derive(Clone, Copy)]
struct Expected {
    complete: bool,
    error: Option<InBandError>,
}

/// A stream of a dialect we know.
struct Case {
    stream: Stream,
    dialect: Dialect,
    choices: u32,
    bytes: Vec<u8>,
    usage: Option<[Option<u64>; 6]>,
}

/// The streams of these that we interpret; `gemini-interactions` and `openai-assistants` are relayed as unknown.
fn cases(corpus: &Corpus, streams: Vec<Stream>) -> Vec<Case> {
    let requests = corpus.requests().into_iter().collect();
    let known = streams.into_iter().filter_map(|stream| Some((Dialect::parse(&stream.dialect)?, stream)));
    known.map(|(dialect, stream)| case(&requests, dialect, stream)).collect()
}

fn case(requests: &BTreeMap<String, Vec<u8>>, dialect: Dialect, stream: Stream) -> Case {
    let usage = stream.usage.as_object();
    Case {
        dialect,
        choices: asked(requests, &stream),
        bytes: stream.read(),
        usage: usage.map(|usage| KEYS.map(|key| usage.get(key).and_then(Value::as_u64))),
        stream,
    }
}

fn asked(requests: &BTreeMap<String, Vec<u8>>, stream: &Stream) -> u32 {
    let Some(file) = stream.record["request_file"].as_str() else { return 1 };
    let body = requests.iter().find(|(path, _)| path.ends_with(file)).map(|(_, body)| body);
    let request: Value = serde_json::from_slice(body.expect("the request is recorded")).unwrap_or(Value::Null);
    u32::try_from(request["n"].as_u64().unwrap_or(1)).expect("a few choices")
}

/// Every `n`th byte on average starts a new piece; the same pieces in every run.
fn random_pieces(bytes: &[u8], n: u64, mut seed: u64) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for i in 1..bytes.len() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if seed % n == 0 {
            pieces.push(&bytes[start..i]);
            start = i;
        }
    }
    pieces.push(&bytes[start..]);
    pieces
}

/// The first stream of each provider and dialect; all of them with `SLUICEGATE_TEST_ALL=1`.
fn one_per_provider(corpus: &Corpus) -> Vec<Case> {
    let all = std::env::var_os("SLUICEGATE_TEST_ALL").is_some_and(|value| value == "1");
    let mut taken = BTreeSet::new();
    let first = |case: &Case| all || taken.insert((case.stream.dialect.clone(), case.stream.provider.clone()));
    cases(corpus, corpus.streams()).into_iter().filter(first).collect()
}

#[test]
fn every_recorded_stream_reports_what_the_index_says_and_ends_as_it_ended() {
    let Some(corpus) = Corpus::find() else { return };
    let (mut compared, mut with_usage) = (0, 0);
    for case in cases(&corpus, corpus.streams()) {
        let id = &case.stream.id;
        let expected = EXCEPTIONS.iter().find(|(name, _, _)| name == id).map(|(_, _, expected)| *expected);
        let Expected { complete, error } = expected.unwrap_or(Expected { complete: true, error: None });
        let said = read_stream(case.dialect, case.choices, [&case.bytes[..]]);
        assert_eq!(case.usage, said.reported.as_ref().map(counts), "usage of {id}");
        assert_eq!(complete, said.complete, "end of {id}");
        assert_eq!(error.as_slice(), said.errors, "errors of {id}");
        assert_eq!(case.stream.record["bad_json"], said.malformed, "malformed events of {id}");
        let invisible = usize::from(error == Some(InBandError::Invisible));
        assert_eq!(case.stream.record["error_events"], said.errors.len() - invisible, "error events of {id}");
        let finishes_with_done = case.dialect.ends_with_done();
        assert_eq!(case.stream.done_sentinel > 0 || !finishes_with_done && complete, said.terminal, "terminal of {id}");
        compared += 1;
        with_usage += usize::from(case.usage.is_some());
    }
    println!("{compared} streams compared with the index, {with_usage} of them with usage");
    assert!(compared > 0);
}

#[test]
fn every_recorded_stream_with_text_carries_content_and_its_finish_reasons() {
    let Some(corpus) = Corpus::find() else { return };
    let mut silent = 0;
    for case in cases(&corpus, corpus.streams()) {
        let id = &case.stream.id;
        let said = read_stream(case.dialect, case.choices, [&case.bytes[..]]);
        assert!(said.content > 0 || case.stream.tags.iter().any(|tag| tag == "no-text"), "content of {id}");
        silent += usize::from(said.content == 0);
        if case.dialect.ends_with_done() || case.dialect == Dialect::AnthropicMessages {
            assert_eq!(case.stream.finish.len(), said.finishes, "finish reasons of {id}");
        }
    }
    // A refusal, and answers cut at their first token by the limit.
    assert_eq!(4, silent);
}

#[test]
fn a_recorded_usage_reads_the_same_in_a_whole_answer() {
    let Some(corpus) = Corpus::find() else { return };
    let mut compared = 0;
    for case in cases(&corpus, corpus.streams()) {
        let member = if case.dialect == Dialect::Gemini { "usageMetadata" } else { "usage" };
        let body = format!("{{\"{member}\":{}}}", case.stream.usage_raw);
        let reported = read_body(case.dialect, body.as_bytes()).reported;
        assert_eq!(case.usage, reported.as_ref().map(counts), "{}", case.stream.id);
        compared += usize::from(reported.is_some());
    }
    println!("{compared} usage objects read in whole answers");
}

#[test]
fn a_stream_says_the_same_however_it_is_cut() {
    let Some(corpus) = Corpus::find() else { return };
    let mut compared = 0;
    for (seed, case) in (1..).zip(cases(&corpus, corpus.sample())) {
        let whole = read_stream(case.dialect, case.choices, [&case.bytes[..]]);
        for n in [3, 100, 1500] {
            let pieces = random_pieces(&case.bytes, n, seed * 1_000_003 + n);
            assert_eq!(whole, read_stream(case.dialect, case.choices, pieces), "{} cut at {n}", case.stream.id);
        }
        compared += 1;
    }
    println!("{compared} streams read in random pieces of about 3, 100 and 1,500 bytes");
}

#[test]
fn a_stream_says_the_same_byte_by_byte() {
    let Some(corpus) = Corpus::find() else { return };
    let cases = one_per_provider(&corpus);
    for case in &cases {
        let whole = read_stream(case.dialect, case.choices, [&case.bytes[..]]);
        assert_eq!(whole, read_stream(case.dialect, case.choices, case.bytes.chunks(1)), "{}", case.stream.id);
    }
    println!("{} streams read byte by byte", cases.len());
}

/// The rules once more, on a tree and without any care for speed: what the events until now have reported.
#[derive(Default)]
struct Oracle {
    last: Option<[Option<u64>; 6]>,
}

impl Oracle {
    fn hear(&mut self, dialect: Dialect, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Value>(data) else { return };
        let usage = match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiCompletions => [&event["usage"], &event["x_groq"]["usage"]]
                .into_iter()
                .find(|usage| usage.is_object())
                .unwrap_or(&Value::Null),
            Dialect::OpenAiResponses => &event["response"]["usage"],
            Dialect::AnthropicMessages if event["type"] == "message_start" => &event["message"]["usage"],
            Dialect::AnthropicMessages => &event["usage"],
            Dialect::Gemini => &event["usageMetadata"],
            Dialect::Cohere => &event["delta"]["usage"],
            Dialect::Unknown => &Value::Null,
        };
        let paths = match dialect {
            Dialect::OpenAiResponses => [
                "/input_tokens",
                "/output_tokens",
                "/total_tokens",
                "/input_tokens_details/cached_tokens",
                "/-",
                "/output_tokens_details/reasoning_tokens",
            ],
            Dialect::AnthropicMessages => [
                "/input_tokens",
                "/output_tokens",
                "/-",
                "/cache_read_input_tokens",
                "/cache_creation_input_tokens",
                "/-",
            ],
            Dialect::Gemini => [
                "/promptTokenCount",
                "/candidatesTokenCount",
                "/totalTokenCount",
                "/cachedContentTokenCount",
                "/-",
                "/thoughtsTokenCount",
            ],
            Dialect::Cohere => ["/tokens/input_tokens", "/tokens/output_tokens", "/-", "/-", "/-", "/-"],
            _ => [
                "/prompt_tokens",
                "/completion_tokens",
                "/total_tokens",
                "/prompt_tokens_details/cached_tokens",
                "/-",
                "/completion_tokens_details/reasoning_tokens",
            ],
        };
        let found = paths.map(|path| usage.pointer(path).and_then(Value::as_u64));
        if found.iter().all(Option::is_none) || dialect == Dialect::Gemini && found[2].is_none() {
            return;
        }
        self.last = match self.last {
            Some(last) if dialect == Dialect::AnthropicMessages => {
                Some([0, 1, 2, 3, 4, 5].map(|i| found[i].or(last[i])))
            }
            _ => Some(found),
        };
    }
}

#[test]
fn a_stream_cut_anywhere_has_reported_what_was_said_until_then() {
    const CUTS: usize = 12;
    let Some(corpus) = Corpus::find() else { return };
    let mut compared = 0;
    for case in cases(&corpus, corpus.sample()) {
        let mut splitter = Splitter::new();
        let mut events = Vec::new();
        let mut blocks = splitter.feed(&case.bytes);
        while let Some(block) = blocks.next() {
            if block.kind == BlockKind::Event {
                events.push((block.raw.to_vec(), block.first));
            }
        }
        let (mut oracle, mut before) = (Oracle::default(), 0);
        for (i, (raw, first)) in events.iter().enumerate() {
            if i % (events.len() / CUTS).max(1) == 0 || i + 4 > events.len() {
                let cut = &case.bytes[..before + raw.len() / 2];
                let Said { reported, .. } = read_stream(case.dialect, 1, [cut]);
                assert_eq!(oracle.last, reported.as_ref().map(counts), "{} cut in event {i}", case.stream.id);
                compared += 1;
            }
            before += raw.len();
            oracle.hear(case.dialect, &Fields::parse(raw, *first).data);
        }
    }
    println!("{compared} cut streams compared");
}

#[test]
fn folded_tokens_add_up_to_the_providers_total() {
    let Some(corpus) = Corpus::find() else { return };
    let (mut compared, mut odd) = (0, Vec::new());
    for case in cases(&corpus, corpus.streams()) {
        let Some(reported) = read_stream(case.dialect, case.choices, [&case.bytes[..]]).reported else { continue };
        let Reported { total: Some(total), .. } = reported else { continue };
        let Tokens { input, output, .. } = fold(case.dialect, &reported);
        if input + output != total {
            odd.push(case.stream.id);
        }
        compared += 1;
    }
    println!("{compared} totals compared");
    assert_eq!(Vec::<String>::new(), odd);
}
