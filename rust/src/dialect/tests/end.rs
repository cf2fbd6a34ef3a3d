//! When an answer has finished.

use super::super::{Dialect, Reader};
use super::{read_stream, stream};
use crate::sse::Fields;

use Dialect::{AnthropicMessages, Cohere, Gemini, OpenAiChat, OpenAiCompletions, OpenAiResponses, Unknown};

fn chunk(index: u32, finish: &str) -> String {
    format!(r#"data: {{"choices":[{{"index":{index},"delta":{{"content":"x"}},"finish_reason":{finish}}}]}}"#)
}

#[test]
fn fault_83_only_the_exact_done_completes() {
    for (bytes, terminal) in [
        ("data: [DONE]\n\n", true),
        ("data:[DONE]\n\n", true),
        ("data: [DONE]\r\n\r\n", true),
        ("data: [DONE]\r\r", true),
        ("event: done\ndata: [DONE]\n\n", true),
        ("\u{feff}data: [DONE]\n\n", true),
        // Left open at the end, or with blanks behind it and nothing more to come.
        ("data: [DONE]", true),
        ("data: [DONE]\n", true),
        ("data: [DONE] \n\n", true),
        ("data: [DONE] \t \n\n: bye\n\n", true),
        ("data: [DONE]  ", true),
        ("data: [DONE] \n\ndata: {}\n\n", false),
        ("data: [DONE]x\n\n", false),
        ("data: [DONE] x\n\n", false),
        ("data: x[DONE]\n\n", false),
        ("data:  [DONE]\n\n", false),
        ("data: [done]\n\n", false),
        ("data: [DONE]\ndata: x\n\n", false),
        ("data: [DONE]\ndata\n\n", false),
        ("data\ndata: [DONE]\n\n", false),
        ("data: \"[DONE]\"\n\n", false),
        ("Data: [DONE]\n\n", false),
        (": [DONE]\n\n", false),
    ] {
        for dialect in [OpenAiChat, OpenAiCompletions] {
            let said = read_stream(dialect, 1, [bytes.as_bytes()]);
            assert_eq!((terminal, terminal), (said.terminal, said.complete), "{bytes:?}");
        }
        for dialect in [AnthropicMessages, OpenAiResponses, Gemini, Cohere, Unknown] {
            let said = read_stream(dialect, 1, [bytes.as_bytes()]);
            assert_eq!((false, false), (said.terminal, said.complete), "{bytes:?} on {}", dialect.as_str());
        }
    }
}

#[test]
fn blanks_behind_done_count_at_the_end_and_not_before() {
    let mut reader = Reader::new(OpenAiChat, 1);
    let reading = reader.read(&Fields::parse(b"data: [DONE] \n\n", true));
    assert_eq!((true, false, false), (reading.commits, reading.terminal, reading.malformed));
    assert!(!reader.terminal());
    reader.at_eof();
    assert!(reader.terminal());
}

#[test]
fn chat_has_finished_when_every_choice_has() {
    let (open, stop) = (|i| chunk(i, "null"), |i| chunk(i, "\"stop\""));
    let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":1}}"#.to_owned();
    let both = r#"data: {"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":"length"}]}"#;
    for (n, events, complete) in [
        (1, vec![], false),
        (1, vec![open(0)], false),
        (1, vec![open(0), stop(0)], true),
        (1, vec![open(0), stop(0), usage.clone()], true),
        // A second finish, and what comes after the first, change nothing.
        (1, vec![stop(0), stop(0)], true),
        (1, vec![stop(0), open(0)], true),
        (1, vec![usage], false),
        (0, vec![stop(0)], true),
        (2, vec![stop(0)], false),
        (2, vec![open(0), open(1), stop(1)], false),
        (2, vec![open(0), open(1), stop(1), stop(0)], true),
        (2, vec![both.to_owned()], true),
        // More than were asked for: all that were seen must finish.
        (1, vec![stop(0), open(1)], false),
        (1, vec![stop(0), stop(1)], true),
        (128, (0..128).map(stop).collect(), true),
        (1, vec![r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}]}"#.to_owned()], true),
        (1, vec![r#"data: {"choices":[{"delta":{"finish_reason":"stop"}}],"finish_reason":"stop"}"#.to_owned()], false),
    ] {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let said = read_stream(OpenAiChat, n, [stream(&events).as_bytes()]);
        assert_eq!((complete, false), (said.complete, said.terminal), "n = {n}: {events:?}");
        let with_done = stream(&events) + "data: [DONE]\n\n";
        assert!(read_stream(OpenAiChat, n, [with_done.as_bytes()]).complete, "n = {n}, with [DONE]: {events:?}");
    }
}

#[test]
fn the_other_dialects_have_finished_with_their_terminal_event() {
    let finished = r#"data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#;
    let more = r#"data: {"candidates":[{"content":{"parts":[{"text":"b"}]}}]}"#;
    for (dialect, n, events, complete) in [
        (AnthropicMessages, 1, vec![r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#], false),
        (AnthropicMessages, 1, vec!["event: message_stop\ndata: {\"type\":\"message_stop\"   }"], true),
        (OpenAiResponses, 1, vec![r#"data: {"type":"response.output_text.done","text":"x"}"#], false),
        (OpenAiResponses, 1, vec![r#"data: {"type":"response.completed","response":{}}"#], true),
        (OpenAiResponses, 1, vec![r#"data: {"response":{},"type":"response.incomplete"}"#], true),
        (OpenAiResponses, 1, vec![r#"data: {"type":"response.failed","response":{}}"#], true),
        (OpenAiResponses, 1, vec![r#"data: {"type":"error","message":"m"}"#], false),
        (Gemini, 1, vec![more], false),
        (Gemini, 1, vec![finished], true),
        (Gemini, 1, vec![finished, more], true),
        (Gemini, 1, vec![finished, more, finished], true),
        (Gemini, 2, vec![finished], false),
        (Gemini, 1, vec![r#"data: {"promptFeedback":{"blockReason":"SAFETY"}}"#], true),
        (Cohere, 1, vec![r#"data: {"type":"content-end"}"#], false),
        (Cohere, 1, vec![r#"data: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#, "data: [DONE]"], true),
        (Unknown, 1, vec![finished, r#"data: {"type":"message_stop"}"#, "data: [DONE]"], false),
    ] {
        let said = read_stream(dialect, n, [stream(&events).as_bytes()]);
        assert_eq!((complete, complete), (said.complete, said.terminal), "{}: {events:?}", dialect.as_str());
    }
}

#[test]
fn an_error_finishes_nothing() {
    let event = r#"data: {"error":{"code":502},"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#;
    assert!(!read_stream(OpenAiChat, 1, [stream(&[event]).as_bytes()]).complete);
}

#[test]
fn dialects_are_named_as_configured() {
    for dialect in [OpenAiChat, OpenAiCompletions, OpenAiResponses, AnthropicMessages, Gemini, Cohere, Unknown] {
        assert_eq!(Some(dialect), Dialect::parse(dialect.as_str()));
    }
    assert_eq!(None, Dialect::parse("openai"));
}
