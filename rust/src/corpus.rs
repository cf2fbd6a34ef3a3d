//! The recorded traffic that tests read: found at `$SLUICEGATE_CORPUS`, else in `../shared/corpus` beside the project.
//!
//! A test that needs it and does not find it says `skipped: no corpus` and returns; CI fails without it elsewhere.
//! [`Corpus::sample`] is a fixed choice, so that two runs test the same: two streams of every dialect, provider and
//! line ending. With `SLUICEGATE_TEST_ALL=1` it is all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

/// The folder of recordings.
pub struct Corpus {
    root: PathBuf,
}

/// A recorded stream and what the index says about it.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Names the stream in failures: `openai-chat/groq/0123456789abcdef`.
    pub id: String,
    /// As the index spells it; `gemini-interactions` and `openai-assistants` are in no table of ours.
    pub dialect: String,
    /// Whose API it was recorded from.
    pub provider: String,
    /// `lf` or `crlf`.
    pub line_ending: String,
    /// Labels such as `no-text`, `tools`, `error`.
    pub tags: Vec<String>,
    /// Every finish reason, in order.
    pub finish: Vec<String>,
    /// How many `[DONE]` events.
    pub done_sentinel: u64,
    /// The usage object as the provider sent it, or null.
    pub usage_raw: Value,
    /// The usage in our names, before folding, or null.
    pub usage: Value,
    /// The index's whole line, for what has no field here.
    pub record: Value,
    file: PathBuf,
}

impl Stream {
    /// The bytes as the client received them.
    pub fn read(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap_or_else(|error| panic!("{}: {error}", self.file.display()))
    }
}

/// A conformance case of `sse_cases.jsonl`.
#[derive(Debug, Clone)]
pub struct SseCase {
    /// Names the case.
    pub name: String,
    /// The stream's bytes.
    pub input: Vec<u8>,
    /// The same bytes as the case's source cut them.
    pub chunks: Vec<Vec<u8>>,
    /// What a WHATWG reader dispatches: objects of `event`, `data`, `id`.
    pub expected: Value,
    /// The last valid `retry`, in milliseconds, where the case says it.
    pub retry: Option<u64>,
}

/// A case of `json_usage_cases.jsonl`: hostile JSON around a usage event.
#[derive(Debug, Clone)]
pub struct UsageCase {
    /// Names the case.
    pub name: String,
    /// A stream of the chat dialect.
    pub input: Vec<u8>,
    /// The usage object that must be found.
    pub usage: Value,
    /// Whether finding nothing is also right.
    pub either: bool,
}

impl Corpus {
    /// Finds the recordings; says so when there are none.
    pub fn find() -> Option<Self> {
        let root = env::var_os("SLUICEGATE_CORPUS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
        if root.join("index.jsonl").is_file() {
            return Some(Self { root });
        }
        println!("skipped: no corpus");
        None
    }

    /// The fixed choice of streams, or every stream with `SLUICEGATE_TEST_ALL=1`.
    pub fn sample(&self) -> Vec<Stream> {
        let all = self.streams();
        if env::var_os("SLUICEGATE_TEST_ALL").is_some_and(|value| value == "1") {
            return all;
        }
        let mut taken = BTreeMap::new();
        all.into_iter()
            .filter(|s| {
                let n = taken.entry((s.dialect.clone(), s.provider.clone(), s.line_ending.clone())).or_insert(0);
                *n += 1;
                *n <= 2
            })
            .collect()
    }

    /// Every recorded stream, in the order of their ids.
    pub fn streams(&self) -> Vec<Stream> {
        let mut all: Vec<_> = self.lines("index.jsonl").into_iter().map(|record| self.stream(record)).collect();
        all.sort_by(|a, b| a.file.file_name().cmp(&b.file.file_name()));
        all
    }

    /// Every event-stream conformance case.
    pub fn sse_cases(&self) -> Vec<SseCase> {
        self.lines("sse_cases.jsonl")
            .into_iter()
            .map(|line| SseCase {
                name: text(&line["name"]),
                input: base64(&text(&line["input"])),
                chunks: list(&line["chunks"]).iter().map(|chunk| base64(chunk)).collect(),
                expected: line["expected"].clone(),
                retry: line["retry"].as_u64(),
            })
            .collect()
    }

    /// Every case of hostile JSON around a usage event.
    pub fn json_usage_cases(&self) -> Vec<UsageCase> {
        self.lines("json_usage_cases.jsonl")
            .into_iter()
            .map(|line| UsageCase {
                name: text(&line["name"]),
                input: base64(&text(&line["input"])),
                usage: line["usage"].clone(),
                either: line["verdict"] == "either",
            })
            .collect()
    }

    /// Every recorded request body, with its name.
    pub fn requests(&self) -> Vec<(String, Vec<u8>)> {
        let mut all: Vec<_> = fs::read_dir(self.root.join("requests"))
            .expect("the corpus holds requests")
            .map(|entry| entry.expect("a readable folder").path())
            .map(|path| (path.display().to_string(), fs::read(&path).expect("a readable request")))
            .collect();
        all.sort();
        all
    }

    fn stream(&self, record: Value) -> Stream {
        let (dialect, provider) = (text(&record["dialect"]), text(&record["provider"]));
        Stream {
            id: format!("{dialect}/{provider}/{}", text(&record["id"])),
            line_ending: text(&record["line_ending"]),
            tags: list(&record["tags"]),
            finish: list(&record["finish"]),
            done_sentinel: record["done_sentinel"].as_u64().expect("a count"),
            usage_raw: record["usage_raw"].clone(),
            usage: record["usage"].clone(),
            file: self.root.join(text(&record["file"])),
            dialect,
            provider,
            record,
        }
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(text).collect()
}

/// Decodes base64 of the usual alphabet, padded.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{byte} is not base64"),
    };
    let mut out = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 6 | u32::from(digit(byte))) << (6 * (4 - group.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    out
}

#[test]
fn base64_is_decoded() {
    for (encoded, expected) in [("", ""), ("bQ==", "m"), ("bXM=", "ms"), ("bXNn", "msg"), ("bXNnIQ==", "msg!")] {
        assert_eq!(expected.as_bytes(), base64(encoded), "{encoded}");
    }
}

#[test]
fn the_recordings_are_all_there() {
    let Some(corpus) = Corpus::find() else { return };
    for stream in corpus.streams() {
        assert_eq!(stream.record["bytes"], stream.read().len(), "{}", stream.id);
    }
    for case in corpus.sse_cases() {
        assert_eq!(case.input, case.chunks.concat(), "{}", case.name);
    }
    assert!(!corpus.sample().is_empty());
    assert!(corpus.json_usage_cases().iter().any(|case| case.either));
}
