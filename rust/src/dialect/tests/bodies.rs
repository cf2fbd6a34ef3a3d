//! Whole answers that are no streams.

use super::super::{read_body, BodyReading, Dialect};
use super::counts;

use Dialect::{AnthropicMessages, Cohere, Gemini, OpenAiChat, OpenAiCompletions, OpenAiResponses, Unknown};

const NONE: [Option<u64>; 6] = [None; 6];

#[test]
fn a_body_tells_usage_model_and_whether_it_is_an_answer() {
    let chat = r#"{"id":"c","model":"gpt-4o","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#;
    let three = |a, b, c| [Some(a), Some(b), Some(c), None, None, None];
    for (dialect, body, usage, model, answer, error) in [
        (OpenAiChat, chat, three(9, 3, 12), "\"gpt-4o\"", true, false),
        (
            OpenAiCompletions,
            r#"{"choices":[{"text":"x"}],"usage":{"total_tokens":2}}"#,
            [None, None, Some(2), None, None, None],
            "",
            true,
            false,
        ),
        (OpenAiChat, r#"{"choices":[],"usage":null}"#, NONE, "", true, false),
        (OpenAiChat, r#"{"error":{"message":"m"}}"#, NONE, "", false, true),
        (OpenAiChat, r#"{"error":null,"choices":[]}"#, NONE, "", true, false),
        (OpenAiChat, r#"{"detail":"Not Found"}"#, NONE, "", false, false),
        (
            OpenAiResponses,
            r#"{"object":"response","model":"gpt","error":null,"output":[{"type":"message"}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}"#,
            three(1, 2, 3),
            "\"gpt\"",
            true,
            false,
        ),
        (
            AnthropicMessages,
            r#"{"type":"message","model":"claude","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":5}}"#,
            [Some(1), Some(2), None, Some(5), None, None],
            "\"claude\"",
            true,
            false,
        ),
        (AnthropicMessages, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, NONE, "", false, true),
        (
            Gemini,
            r#"{"candidates":[{"content":{}}],"modelVersion":"g","usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2,"totalTokenCount":3}}"#,
            three(1, 2, 3),
            "\"g\"",
            true,
            false,
        ),
        (Gemini, r#"{"error":{"code":400,"status":"INVALID_ARGUMENT"}}"#, NONE, "", false, true),
        (
            Cohere,
            r#"{"finish_reason":"COMPLETE","message":{"content":[]},"usage":{"billed_units":{"input_tokens":7,"output_tokens":1},"tokens":{"input_tokens":69,"output_tokens":2}}}"#,
            [Some(69), Some(2), None, None, None, None],
            "",
            true,
            false,
        ),
        (Unknown, chat, NONE, "", false, false),
    ] {
        // DeepSeek sends blank lines while it waits; some servers a byte order mark.
        for before in ["", "\n\n\n", "\u{feff}", " \r\n\t"] {
            let body = format!("{before}{body}\n");
            let read = read_body(dialect, body.as_bytes());
            assert_eq!(usage, read.reported.as_ref().map_or(NONE, counts), "{body}");
            assert_eq!(model, read.model.clone().map_or("", |span| &body[span]), "{body}");
            assert_eq!((answer, error, false), (read.choices, read.error, read.malformed), "{body}");
        }
    }
}

#[test]
fn what_is_no_json_object_is_no_answer() {
    for body in ["", "\n\n", "<html>", "{", "{\"choices\":[]", "[]", "null", "{\"choices\":[]}{}", "data: {}\n\n"] {
        let expected = BodyReading { malformed: true, ..BodyReading::default() };
        assert_eq!(expected, read_body(OpenAiChat, body.as_bytes()), "{body}");
    }
}
