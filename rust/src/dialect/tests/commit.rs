//! What makes an answer the client's, what counts as content, and what tells of an error.

use super::super::{Dialect, InBandError, Reading};
use super::read_event;

use Dialect::{AnthropicMessages, Cohere, Gemini, OpenAiChat, OpenAiCompletions, OpenAiResponses, Unknown};

/// What an event does: nothing, commit, or commit as content; `Finish` and `End` name what else it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Nothing,
    Commit,
    Content,
    Finish,
    FinishWithContent,
    End,
    FinishAndEnd,
}

use Does::{Commit, Content, End, Finish, FinishAndEnd, FinishWithContent, Nothing};

fn check(dialect: Dialect, cases: &[(&str, Does)]) {
    for (lines, does) in cases {
        let reading = read_event(dialect, lines);
        let expected = match does {
            Nothing => (false, false, false, false),
            Commit => (true, false, false, false),
            Content => (true, true, false, false),
            Finish => (true, false, true, false),
            FinishWithContent => (true, true, true, false),
            End => (true, false, false, true),
            FinishAndEnd => (true, false, true, true),
        };
        let Reading { commits, content, finish, terminal, error, malformed, .. } = reading;
        assert_eq!(expected, (commits, content, finish, terminal), "{}: {lines}", dialect.as_str());
        assert_eq!((None, false), (error, malformed), "{}: {lines}", dialect.as_str());
    }
}

#[test]
fn what_carries_nothing_commits_in_no_dialect() {
    for dialect in [OpenAiChat, OpenAiCompletions, OpenAiResponses, AnthropicMessages, Gemini, Cohere] {
        check(
            dialect,
            &[
                (": keep-alive", Nothing),
                (":", Nothing),
                (": OPENROUTER PROCESSING", Nothing),
                ("", Nothing),
                ("retry: 3000", Nothing),
                ("id: 1", Nothing),
                ("event: ping", Nothing),
                ("data:", Nothing),
                ("data:  \t", Nothing),
                ("data\ndata", Nothing),
                ("data: {\"x\":1}", Commit),
                ("data: []", Commit),
            ],
        );
    }
}

#[test]
fn chat_commits_with_the_first_thing_generated() {
    let delta =
        |delta: &str| format!(r#"data: {{"id":"c","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
    let deltas = [
        (r#"{"role":"assistant"}"#, Nothing),
        (r#"{"role":"assistant","content":"","refusal":null}"#, Nothing),
        (r#"{"role":"assistant","content":null,"tool_calls":null,"function_call":null,"audio":null}"#, Nothing),
        (r#"{"content":null,"refusal":""}"#, Nothing),
        (r#"{"content":"","reasoning":null,"reasoning_details":[],"role":"assistant"}"#, Nothing),
        (r#"{"role":"assistant","channel":"analysis","content":""}"#, Nothing),
        (r#"{"graph_data":{"sources":null,"status":null},"content":""}"#, Nothing),
        ("{}", Nothing),
        ("null", Nothing),
        (r#"{"content":"Hi"}"#, Content),
        (r#"{"content":" "}"#, Content),
        (r#"{"content":"\u0000"}"#, Content),
        (r#"{"content":[{"type":"thinking","thinking":[]}]}"#, Content),
        (r#"{"refusal":"I"}"#, Content),
        (r#"{"reasoning_content":"Let"}"#, Content),
        (r#"{"reasoning":"Let"}"#, Content),
        (
            r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f"}}]}"#,
            Content,
        ),
        (r#"{"function_call":{"name":"f","arguments":""}}"#, Content),
        (r#"{"audio":{"id":"a","data":"AAA="}}"#, Content),
        (r#"{"something_new":"x"}"#, Content),
        (r#"{"token_id":128009,"role":"assistant","content":""}"#, Content),
    ];
    for (json, does) in deltas {
        check(OpenAiChat, &[(&delta(json), does)]);
    }
    check(
        OpenAiChat,
        &[
            // Azure's first chunk.
            (
                r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
                Nothing,
            ),
            // llama.cpp's and OpenAI's usage chunks.
            (r#"data: {"choices":[],"usage":{"prompt_tokens":1},"timings":{"cache_n":290}}"#, Nothing),
            (r#"data: {"choices":[],"usage":{"prompt_tokens":1},"obfuscation":"x"}"#, Nothing),
            (r#"data: {"usage":{"prompt_tokens":1}}"#, Nothing),
            (
                r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":null}"#,
                Nothing,
            ),
            (r#"data: {"choices":[{"index":0,"delta":{"role":"assistant"}}],"prompt_progress":{"total":10}}"#, Nothing),
            (r#"data: {"choices":[],"moderation":{"flagged":false}}"#, Commit),
            (r#"data: {"choices":[],"cost":"0.1"}"#, Commit),
            (r#"data: {"type":"ping"}"#, Commit),
            (r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#, Finish),
            (r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":""}]}"#, Nothing),
            (
                r#"data: {"choices":[{"index":0,"delta":{"content":" you"},"finish_reason":"stop"}],"p":"abc"}"#,
                FinishWithContent,
            ),
            (
                r#"data: {"object":"chat.completion.done","choices":[{"index":0,"delta":{"content":""},"message":{"role":"assistant","content":"All"},"finish_reason":"stop"}]}"#,
                FinishWithContent,
            ),
            ("data: [DONE]", End),
            ("data:[DONE]", End),
            (r#"data: {"cho\u0069ces":[{"d\u0065lta":{"content":"x"}}]}"#, Content),
        ],
    );
    check(
        OpenAiCompletions,
        &[
            (r#"data: {"choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null}]}"#, Nothing),
            (r#"data: {"choices":[{"index":0,"text":"Once","finish_reason":null}]}"#, Content),
            (r#"data: {"choices":[{"index":0,"text":"","finish_reason":"length"}]}"#, Finish),
            ("data: [DONE]", End),
        ],
    );
}

#[test]
fn messages_commit_with_the_first_block_that_holds_anything() {
    let event = |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}");
    for (name, rest, does) in [
        ("message_start", r#","message":{"id":"m","content":[],"model":"claude","usage":{"input_tokens":3}}"#, Nothing),
        ("ping", "", Nothing),
        ("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#, Nothing),
        (
            "content_block_start",
            r#","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}"#,
            Nothing,
        ),
        ("content_block_start", r#","content_block":{"type":"tool_use","id":"t","name":"f","input":{}}"#, Content),
        ("content_block_start", r#","content_block":{"type":"redacted_thinking","data":"Ev"}"#, Content),
        ("content_block_delta", r#","index":0,"delta":{"type":"text_delta","text":"Hi"}"#, Content),
        ("content_block_delta", r#","delta":{"type":"thinking_delta","thinking":"Hm"}"#, Content),
        ("content_block_delta", r#","delta":{"type":"input_json_delta","partial_json":"{"}"#, Content),
        ("content_block_delta", r#","delta":{"type":"input_json_delta","partial_json":""}"#, Nothing),
        ("content_block_delta", r#","delta":{"type":"something_new","x":[1]}"#, Content),
        ("content_block_stop", r#","index":0"#, Commit),
        ("message_delta", r#","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}"#, Finish),
        ("message_delta", r#","delta":{"stop_reason":null,"stop_sequence":null},"usage":{"output_tokens":9}"#, Nothing),
        ("message_delta", r#","delta":{"stop_reason":null}"#, Commit),
        ("message_stop", "              ", End),
        ("something_new", "", Commit),
    ] {
        check(AnthropicMessages, &[(&event(name, rest), does)]);
    }
    check(AnthropicMessages, &[("event: data\ndata: [DONE]", Commit)]);
}

#[test]
fn responses_commit_with_the_first_item_that_holds_anything() {
    for (name, rest, does) in [
        ("response.created", r#","response":{"id":"r","model":"gpt","output":[],"usage":null,"error":null}"#, Nothing),
        ("response.in_progress", r#","response":{}"#, Nothing),
        ("response.queued", "", Nothing),
        ("keepalive", r#","sequence_number":3"#, Nothing),
        ("response.output_item.added", r#","item":{"type":"message","content":[],"role":"assistant"}"#, Nothing),
        ("response.output_item.added", r#","item":{"id":"rs","type":"reasoning","summary":[]}"#, Nothing),
        ("response.output_item.added", r#","item":{"type":"function_call","arguments":"","name":"f"}"#, Content),
        ("response.output_item.added", r#","item":{"type":"web_search_call","status":"in_progress"}"#, Content),
        ("response.content_part.added", r#","part":{"type":"output_text","annotations":[],"text":""}"#, Nothing),
        ("response.content_part.added", r#","part":{"type":"output_text","text":"Hi"}"#, Content),
        ("response.reasoning_summary_part.added", r#","part":{"type":"summary_text","text":""}"#, Nothing),
        ("response.output_text.delta", r#","delta":"Hi","logprobs":[]"#, Content),
        ("response.output_text.delta", r#","delta":"","logprobs":[]"#, Nothing),
        ("response.function_call_arguments.delta", r#","delta":"{""#, Content),
        ("response.refusal.delta", r#","delta":"I""#, Content),
        ("response.output_text.annotation.added", r#","annotation":{"type":"url_citation"}"#, Commit),
        ("response.image_generation_call.partial_image", r#","partial_image_b64":"iVBO""#, Content),
        ("response.output_text.done", r#","text":"Hi""#, Commit),
        ("response.web_search_call.searching", "", Commit),
        ("response.completed", r#","response":{"error":null,"output":[],"usage":{"input_tokens":1}}"#, FinishAndEnd),
        ("response.incomplete", r#","response":{"incomplete_details":{"reason":"max_output_tokens"}}"#, FinishAndEnd),
        ("response.something_new", "", Commit),
    ] {
        let data = format!("data: {{\"type\":\"{name}\"{rest}}}");
        check(OpenAiResponses, &[(&data, does), (&format!("event: {name}\n{data}"), does)]);
        let sorted_keys = format!(
            "data: {{{}\"type\":\"{name}\"}}",
            rest.strip_prefix(',').map_or(String::new(), |r| format!("{r},"))
        );
        check(OpenAiResponses, &[(&sorted_keys, does)]);
    }
}

#[test]
fn gemini_commits_with_the_first_part_that_says_anything() {
    check(
        Gemini,
        &[
            (
                r#"data: {"candidates":[{"content":{"parts":[{"text":"Hi"}],"role":"model"}}],"usageMetadata":{}}"#,
                Content,
            ),
            (r#"data: {"candidates":[{"content":{"parts":[{"text":"Hm","thought":true}]}}]}"#, Content),
            (r#"data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}"#, Content),
            (r#"data: {"candidates":[{"content":{"parts":[{"inlineData":{"data":"AAA="}}]}}]}"#, Content),
            (r#"data: {"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"Cg"}]}}]}"#, Nothing),
            (r#"data: {"candidates":[{"content":{"role":"model"},"index":0}]}"#, Nothing),
            (r#"data: {"usageMetadata":{"trafficType":"ON_DEMAND"},"modelVersion":"gemini"}"#, Nothing),
            (r#"data: {"promptFeedback":{"safetyRatings":[]}}"#, Nothing),
            (r#"data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{}}"#, FinishAndEnd),
            (r#"data: {"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}]}"#, FinishAndEnd),
            (r#"data: {"candidates":[{"finishReason":"STOP","index":0},{"index":1}]}"#, Finish),
        ],
    );
}

#[test]
fn cohere_commits_with_the_first_content() {
    check(
        Cohere,
        &[
            (
                r#"data: {"id":"x","type":"message-start","delta":{"message":{"role":"assistant","content":[]}}}"#,
                Nothing,
            ),
            (
                r#"data: {"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
                Nothing,
            ),
            (r#"data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hi"}}}}"#, Content),
            (r#"data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":""}}}}"#, Nothing),
            (r#"data: {"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I"}}}"#, Content),
            (r#"data: {"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"t"}}}}"#, Content),
            (r#"data: {"type":"content-end","index":0}"#, Commit),
            (r#"data: {"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{}}}"#, FinishAndEnd),
            ("data: [DONE]", Commit),
            (r#"data: {"type":"something-new"}"#, Commit),
        ],
    );
}

#[test]
fn of_an_unknown_dialect_everything_commits_and_nothing_is_read() {
    check(
        Unknown,
        &[
            (": ping", Nothing),
            ("event: thread.created", Nothing),
            ("data: {\"error\":{}}", Content),
            ("data: nonsense", Content),
            ("data: [DONE]", Content),
        ],
    );
}

#[test]
fn errors_are_told_and_so_is_whether_an_sdk_notices() {
    use InBandError::{Invisible, Visible};
    for (dialect, lines, expected) in [
        (OpenAiChat, r#"data: {"error":{"message":"overloaded"}}"#, Some(Visible)),
        (OpenAiChat, r#"data: {"error":"overloaded"}"#, Some(Visible)),
        (OpenAiChat, "event: error\ndata: {\"error\":{\"message\":\"m\",\"status_code\":400}}", Some(Visible)),
        (OpenAiChat, "event: error\ndata: {\"message\":\"m\"}", Some(Invisible)),
        (OpenAiChat, r#"error: {"detail":"failed to decode","error":{}}"#, Some(Invisible)),
        (OpenAiChat, "error: {}", None),
        (OpenAiChat, "error:", None),
        (OpenAiChat, r#"data: {"choices":[],"error":null}"#, None),
        (OpenAiChat, r#"data: {"choices":[],"error":{}}"#, None),
        (OpenAiChat, r#"data: {"choices":[],"error":""}"#, None),
        (OpenAiChat, r#"data: {"choices":[{"delta":{"content":"\"error\":{\"a\":1}"}}]}"#, None),
        // OpenRouter: choices, finish reason and usage beside the error.
        (
            OpenAiChat,
            r#"data: {"error":{"code":400},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
            Some(Visible),
        ),
        (
            AnthropicMessages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}",
            Some(Visible),
        ),
        (AnthropicMessages, r#"data: {"type":"error","error":{"type":"overloaded_error"}}"#, Some(Invisible)),
        (AnthropicMessages, r#"data: {"error":{"message":"m"}}"#, Some(Invisible)),
        (
            OpenAiResponses,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"code\":\"insufficient_quota\"}}",
            Some(Visible),
        ),
        (OpenAiResponses, r#"data: {"type":"error","code":"server_error","message":"m"}"#, Some(Visible)),
        (OpenAiResponses, "event: error\ndata: {\"message\":\"m\"}", Some(Invisible)),
        (
            OpenAiResponses,
            r#"data: {"type":"response.failed","response":{"error":{"code":"server_error"}}}"#,
            Some(Visible),
        ),
        (Gemini, r#"data: {"error":{"code":503,"message":"overloaded"}}"#, Some(Visible)),
        (
            Cohere,
            r#"data: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"overloaded"}}"#,
            Some(Visible),
        ),
    ] {
        let reading = read_event(dialect, lines);
        assert_eq!(expected, reading.error, "{}: {lines}", dialect.as_str());
        assert!(expected.is_none() || !reading.commits, "an error must not commit: {lines}");
        assert!(expected.is_none() || !reading.finish, "an error must not finish: {lines}");
    }
}

#[test]
fn a_models_name_is_found_with_its_quotes() {
    for (dialect, data, expected) in [
        (OpenAiChat, r#"{"id":"x","model":"gpt-4o","choices":[]}"#, Some(r#""gpt-4o""#)),
        (OpenAiChat, r#"{"m\u006fdel": "a\"b" ,"choices":[]}"#, Some(r#""a\"b""#)),
        (OpenAiChat, r#"{"choices":[{"delta":{"content":"\"model\":\"x\"","model":"y"}}]}"#, None),
        (OpenAiChat, r#"{"model":null,"choices":[]}"#, None),
        (OpenAiChat, r#"{"model":"a","model":"b"}"#, Some(r#""b""#)),
        (AnthropicMessages, r#"{"type":"message_start","message":{"model":"claude"}}"#, Some(r#""claude""#)),
        (OpenAiResponses, r#"{"type":"response.created","response":{"model":"gpt"}}"#, Some(r#""gpt""#)),
        (Gemini, r#"{"candidates":[],"modelVersion":"gemini-2.5"}"#, Some(r#""gemini-2.5""#)),
        (Cohere, r#"{"type":"message-start"}"#, None),
    ] {
        let found = read_event(dialect, &format!("data: {data}")).model;
        assert_eq!(expected, found.map(|span| &data[span]), "{data}");
    }
}

#[test]
fn only_a_usage_event_is_one_that_may_be_left_out() {
    for (data, usage_only, empty_choices) in [
        (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, true, Some("[]")),
        (r#"{"choices": [ ] ,"usage":{"prompt_tokens":1},"timings":{}}"#, true, Some("[ ]")),
        (r#"{"usage":{},"choices":[]}"#, true, Some("[]")),
        (r#"{"choices":[],"usage":null}"#, false, Some("[]")),
        (r#"{"choices":[],"usage":"11"}"#, false, Some("[]")),
        (r#"{"choices":[],"moderation":{}}"#, false, Some("[]")),
        (r#"{"choices":[],"prompt_filter_results":[{}]}"#, false, Some("[]")),
        (r#"{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1}}"#, false, None),
        (r#"{"choices":null,"usage":{"prompt_tokens":1}}"#, false, None),
        (r#"{"usage":{"prompt_tokens":1}}"#, false, None),
    ] {
        let reading = read_event(OpenAiChat, &format!("data: {data}"));
        assert_eq!(usage_only, reading.usage_only, "{data}");
        assert_eq!(empty_choices, reading.empty_choices.map(|span| &data[span]), "{data}");
    }
}
