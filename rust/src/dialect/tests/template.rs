//! A reader that compares events with the one before reads as one that walks each of them.

use proptest::prelude::*;

use super::super::template::Template;
use super::super::{Choices, Dialect, Reader, Reading};
use super::stream;
use crate::corpus::Corpus;
use crate::sse::{BlockKind, Fields, Splitter};

const CHAT: &str = r#"{"id":"c1","created":17,"model":"m","choices":[{"index":0,"delta":{"content":"TEXT"},"finish_reason":null}],"usage":null,"obfuscation":"PAD"}"#;

/// An event of each dialect, as its lines; `TEXT`, `PAD` and `17` are what differs from event to event.
const EVENTS: [(Dialect, &str); 9] = [
    (Dialect::OpenAiChat, CHAT),
    (
        Dialect::OpenAiChat,
        r#"{"choices": [{"delta": {"role": "assistant", "reasoning": "TEXT"}, "index": 1}], "model": "m", "p": "PAD", "created": 17}"#,
    ),
    (
        Dialect::OpenAiChat,
        r#"{"id":"PAD","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"type":"function","function":{"arguments":"TEXT"}}]}}],"model":"m"}"#,
    ),
    (
        Dialect::OpenAiCompletions,
        r#"{"id":"PAD","choices":[{"text":"TEXT","index":0,"finish_reason":""}],"model":"m"}"#,
    ),
    (
        Dialect::OpenAiResponses,
        r#"{"type":"response.output_text.delta","sequence_number":17,"item_id":"PAD","delta":"TEXT","logprobs":[]}"#,
    ),
    (
        Dialect::AnthropicMessages,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"TEXT"},"p":"PAD"}"#,
    ),
    (
        Dialect::AnthropicMessages,
        r#"{"delta":{"partial_json":"TEXT","type":"input_json_delta"},"index":1,"type":"content_block_delta"}"#,
    ),
    (
        Dialect::Gemini,
        r#"{"candidates":[{"content":{"parts":[{"text":"TEXT"}],"role":"model"},"index":0}],"modelVersion":"m","responseId":"PAD"}"#,
    ),
    (
        Dialect::Cohere,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"type":"text","text":"TEXT"}}},"p":"PAD"}"#,
    ),
];

/// What may be put anywhere into an event to change, or to break, what it means.
const FRAGMENTS: [&str; 30] = [
    "\"",
    "\\",
    "\\\"",
    "\\u0074",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "0",
    "1",
    "-",
    ".5",
    "e9",
    " ",
    "\n",
    "\u{1}",
    "null",
    "é",
    "\"\"",
    "type",
    "error",
    "\"error\":\"x\",",
    "\"type\":\"error\",",
    "\"finish_reason\":\"stop\",",
    "\"usage\":{\"prompt_tokens\":1},",
    "\"model\":\"n\",",
    "\"index\":1,",
    "[DONE]",
];

/// Reads a stream twice, with and without template, and compares all that can be told of either after each event.
/// Gives how many events were content, and how many of them the template fitted.
fn compare(dialect: Dialect, bytes: &[u8], name: &str) -> (usize, usize) {
    let (mut reader, mut walking) = (Reader::new(dialect, 1), Reader::new(dialect, 1));
    let (mut content, mut fitted) = (0, 0);
    let mut splitter = Splitter::new();
    let mut blocks = splitter.feed(bytes);
    while let Some(block) = blocks.next() {
        if block.kind != BlockKind::Event {
            continue;
        }
        let fields = Fields::parse(block.raw, block.first);
        let fits = reader.clone().template.reading(&fields.data).is_some();
        walking.template = Template::default();
        let (reading, walked) = (reader.read(&fields), walking.read(&fields));
        let event = String::from_utf8_lossy(block.raw);
        assert_eq!(walked, reading, "{name}: {event}");
        assert_eq!(state(&walking), state(&reader), "{name}: {event}");
        content += usize::from(reading.content);
        fitted += usize::from(fits);
    }
    (content, fitted)
}

fn state(reader: &Reader) -> impl PartialEq + std::fmt::Debug {
    let Choices { seen, finished, beyond } = reader.choices;
    (seen, finished, beyond, reader.terminal, reader.loosely_done, reader.complete(), reader.reported())
}

fn filled_in(event: &str, text: &str, pad: &str, count: u32) -> String {
    event.replace("TEXT", text).replace("PAD", pad).replace("17", &count.to_string())
}

#[test]
fn every_recorded_stream_is_read_the_same_by_comparing() {
    let Some(corpus) = Corpus::find() else { return };
    let mut sums = (0, 0);
    for stream in corpus.sample() {
        let Some(dialect) = Dialect::parse(&stream.dialect) else { continue };
        let (content, fitted) = compare(dialect, &stream.read(), &stream.id);
        sums = (sums.0 + content, sums.1 + fitted);
    }
    assert!(sums.1 > sums.0 / 3, "only {} of {} events fitted", sums.1, sums.0);
    println!("{} of {} events of content fitted", sums.1, sums.0);
}

#[test]
fn what_differs_in_text_padding_and_counters_only_is_not_walked() {
    for (dialect, event) in EVENTS {
        let mut reader = Reader::new(dialect, 1);
        let mut fits = Vec::new();
        for (text, pad, count) in [("a", "b", 8), (" \\\"c\\\"", "dd", 9), ("\\n", "e\\u0022", 10), ("é", "f", 123)] {
            let raw = format!("data: {}\n\n", filled_in(event, text, pad, count));
            let fields = Fields::parse(raw.as_bytes(), false);
            fits.push(reader.clone().template.reading(&fields.data).is_some());
            let Reading { content, model, .. } = reader.read(&fields);
            assert!(content, "{raw}");
            assert!(model.is_none_or(|span| &fields.data[span] == b"\"m\""), "{raw}");
        }
        assert_eq!(vec![false, false, true, true], fits, "{event}");
    }
}

#[test]
fn what_differs_elsewhere_or_is_empty_is_walked() {
    for (part, instead) in [
        ("TEXT", ""),
        ("PAD", ""),
        ("\"TEXT\"", "null"),
        ("TEXT", "\\"),
        ("17", "0"),
        ("17", "017"),
        ("17", "1.5"),
        ("17", "-17"),
        ("17", "1e3"),
        ("\"index\":0", "\"index\":1"),
        ("\"finish_reason\":null", "\"finish_reason\":\"stop\""),
        ("\"usage\":null", "\"usage\":{}"),
        ("\"model\":\"m\"", "\"model\":\"n\""),
        ("}]", "}] "),
    ] {
        let events = [("a", "b", 8), ("c", "d", 9)].map(|(text, pad, count)| filled_in(CHAT, text, pad, count));
        let odd = filled_in(&CHAT.replacen(part, instead, 1), "e", "f", 10);
        let lines = [&events[0], &events[1], &odd, &events[0]].map(|data| format!("data: {data}"));
        let bytes = stream(&lines.each_ref().map(String::as_str));
        let fitted = compare(Dialect::OpenAiChat, bytes.as_bytes(), instead).1;
        assert!(fitted <= 1, "{instead} in place of {part}");
    }
}

#[test]
fn an_event_named_error_is_walked() {
    for (dialect, event) in EVENTS {
        let events = ["a", "b", "c", "d"].map(|text| filled_in(event, text, text, 9));
        let lines = events.each_ref().map(|data| format!("data: {data}"));
        let named = format!("event: error\n{}", lines[2]);
        let bytes = stream(&[&lines[0], &lines[1], &named, &lines[3]]);
        compare(dialect, bytes.as_bytes(), "named");
    }
}

#[test]
fn events_that_are_more_than_content_are_walked_however_often_they_come() {
    for (dialect, data) in [
        (Dialect::OpenAiChat, r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#),
        (Dialect::OpenAiChat, r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#),
        (Dialect::OpenAiChat, r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}"#),
        (Dialect::OpenAiChat, r#"{"choices":[],"usage":{"prompt_tokens":1}}"#),
        (Dialect::OpenAiChat, r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"error":"a"}"#),
        (Dialect::OpenAiChat, "[DONE] "),
        (Dialect::OpenAiChat, "[DONE]"),
        (Dialect::OpenAiChat, "{\"a\""),
        (Dialect::OpenAiResponses, r#"{"type":"response.completed","response":{"usage":{"input_tokens":1}}}"#),
        (Dialect::AnthropicMessages, r#"{"type":"message_start","message":{"model":"m"}}"#),
        (Dialect::AnthropicMessages, r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#),
        (Dialect::Gemini, r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#),
        (Dialect::Cohere, r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#),
    ] {
        let bytes = stream(&[format!("data: {data}").as_str(); 4]);
        assert_eq!(0, compare(dialect, bytes.as_bytes(), data).1, "{data}");
    }
}

#[test]
fn what_a_reading_depends_on_never_becomes_a_slot() {
    for (dialect, event, values) in [
        (Dialect::OpenAiChat, r#"{"choices":[{"index":VALUE,"delta":{"content":"a"}}]}"#, ["1", "2", "3"]),
        (Dialect::Gemini, r#"{"candidates":[{"index":VALUE,"content":{"parts":[{"text":"a"}]}}]}"#, ["1", "2", "3"]),
        (Dialect::OpenAiChat, r#"{"model":"VALUE","choices":[{"delta":{"content":"a"}}]}"#, ["m", "mm", "mmm"]),
        (Dialect::OpenAiChat, r#"{"choices":[{"delta":{"content":"a"}}],"model":"VALUE"}"#, ["m", "mm", "mmm"]),
        (
            Dialect::OpenAiResponses,
            r#"{"type":"VALUE","delta":"a"}"#,
            ["response.a.delta", "response.b.delta", "response.completed"],
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"typ\u0065":"VALUE","delta":"a"}"#,
            ["response.a.delta", "response.b.delta", "response.completed"],
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"type":"response.output_item.added","item":{"type":"VALUE"}}"#,
            ["function_call", "custom_tool_call", "message"],
        ),
        (
            Dialect::OpenAiResponses,
            r#"{"type":"response.output_item.added","item":{"\u0074ype":"VALUE"}}"#,
            ["function_call", "custom_tool_call", "message"],
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"type":"VALUE","delta":{"text":"a"},"content_block":{"text":"a"}}"#,
            ["content_block_start", "content_block_delta", "message_stop"],
        ),
        (
            Dialect::Cohere,
            r#"{"type":"VALUE","delta":{"message":{"content":"a"}}}"#,
            ["content-start", "content-delta", "message-end"],
        ),
    ] {
        let lines = values.map(|value| format!("data: {}", event.replace("VALUE", value)));
        let bytes = stream(&lines.each_ref().map(String::as_str));
        assert_eq!(0, compare(dialect, bytes.as_bytes(), event).1, "{event}");
    }
}

#[test]
fn usage_that_comes_again_after_another_counts_again() {
    let content = r#"data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":5}}"#;
    let other = r#"data: {"choices":[],"usage":{"prompt_tokens":9}}"#;
    compare(Dialect::OpenAiChat, stream(&[content, content, other, content]).as_bytes(), "usage");
}

#[test]
fn padding_that_is_empty_for_once_is_learnt_around() {
    let events = ["a", "bb", "", "c", "dd", "e"].map(|pad| format!("data: {}", filled_in(CHAT, "text", pad, 9)));
    let bytes = stream(&events.each_ref().map(String::as_str));
    assert_eq!((6, 2), compare(Dialect::OpenAiChat, bytes.as_bytes(), "padding"));
}

#[test]
fn long_events_are_not_remembered() {
    let long = "x".repeat(3000);
    let lines = ["a", "b", "c"].map(|text| format!("data: {}", filled_in(CHAT, &format!("{long}{text}"), "p", 9)));
    let bytes = stream(&lines.each_ref().map(String::as_str));
    assert_eq!((3, 0), compare(Dialect::OpenAiChat, bytes.as_bytes(), "long"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn an_edited_event_is_read_as_if_it_were_the_first(
        which in 0..EVENTS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..8usize, prop::sample::select(&FRAGMENTS[..])), 1..4),
        at in 0..4usize,
    ) {
        let (dialect, event) = EVENTS[which];
        let mut events: Vec<_> = (8..13).map(|n| filled_in(event, &format!("t{n}"), &n.to_string(), n)).collect();
        for (place, cut, fragment) in edits {
            let text = &mut events[at];
            let mut from = place.index(text.len());
            while !text.is_char_boundary(from) {
                from -= 1;
            }
            let mut to = (from + cut).min(text.len());
            while !text.is_char_boundary(to) {
                to -= 1;
            }
            text.replace_range(from..to.max(from), fragment);
        }
        let lines: Vec<_> = events.iter().map(|data| format!("data: {}", data.replace('\n', "\ndata: "))).collect();
        let bytes = stream(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        compare(dialect, bytes.as_bytes(), "edited");
    }
}
