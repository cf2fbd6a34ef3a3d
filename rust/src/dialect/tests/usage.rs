//! Usage wherever it sits, however it is spelled, and what it means.

use super::super::{fold, Dialect, Tokens};
use super::{counts, reported};

use Dialect::{AnthropicMessages, Cohere, Gemini, OpenAiChat, OpenAiResponses};

type Counts = [Option<u64>; 6];

const NONE: Option<Counts> = None;

fn three(input: u64, output: u64, total: u64) -> Counts {
    [Some(input), Some(output), Some(total), None, None, None]
}

fn check(dialect: Dialect, choices: u32, cases: &[(&str, &[&str], Option<Counts>)]) {
    for (name, events, expected) in cases {
        assert_eq!(*expected, reported(dialect, choices, events).as_ref().map(counts), "{name}");
    }
}

#[test]
fn chat_usage_is_found_wherever_it_sits_and_the_last_wins() {
    const ONE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    const TWO: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
    const ZERO: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#;
    const NULL: &str = r#"data: {"choices":[],"usage":null}"#;
    check(
        OpenAiChat,
        1,
        &[
            ("none", &[NULL], NONE),
            ("its own event", &[NULL, ONE], Some(three(1, 1, 2))),
            ("cumulative", &[ONE, TWO], Some(three(5, 7, 12))),
            ("null after it", &[TWO, NULL], Some(three(5, 7, 12))),
            ("zeros after it", &[TWO, ZERO], Some(three(5, 7, 12))),
            ("zeros before it", &[ZERO, TWO], Some(three(5, 7, 12))),
            ("nothing but zeros", &[ZERO, ZERO], Some(three(0, 0, 0))),
            (
                "twice in one event",
                &[r#"data: {"usage":{"total_tokens":1},"usage":{"total_tokens":2}}"#],
                Some([None, None, Some(2), None, None, None]),
            ),
            ("empty after it", &[TWO, r#"data: {"usage":{}}"#], Some(three(5, 7, 12))),
            ("a string", &[r#"data: {"usage":"11"}"#], NONE),
            (
                "in a choice",
                &[
                    r#"data: {"choices":[{"index":0,"delta":{},"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}]}"#,
                ],
                Some(three(5, 7, 12)),
            ),
            (
                "in x_groq",
                &[
                    r#"data: {"choices":[],"x_groq":{"id":"r","usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}}"#,
                ],
                Some(three(5, 7, 12)),
            ),
            (
                "null beside x_groq",
                &[
                    r#"data: {"usage":null,"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}}"#,
                ],
                Some(three(5, 7, 12)),
            ),
            (
                "deeper is not ours",
                &[r#"data: {"choices":[{"delta":{"usage":{"prompt_tokens":9}}}],"x":{"usage":{"prompt_tokens":9}}}"#],
                NONE,
            ),
            ("in a text", &[r#"data: {"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":9}"}}]}"#], NONE),
            (
                "escaped",
                &[r#"data: {"\u0075sage":{"\u0070rompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#],
                Some(three(5, 7, 12)),
            ),
            ("in a broken event", &[ONE, r#"data: {"usage":{"prompt_tokens":9},"#], Some(three(1, 1, 2))),
            (
                "NaN beside it",
                &[ONE, r#"data: {"usage":{"prompt_tokens":NaN,"completion_tokens":9}}"#],
                Some(three(1, 1, 2)),
            ),
            (
                "beside an error",
                &[
                    r#"data: {"error":{"code":400},"usage":{"prompt_tokens":43,"completion_tokens":10,"total_tokens":53}}"#,
                ],
                Some(three(43, 10, 53)),
            ),
            (
                "null details",
                &[
                    r#"data: {"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"prompt_tokens_details":null}}"#,
                ],
                Some(three(5, 7, 12)),
            ),
        ],
    );
}

#[test]
fn usage_per_choice_is_summed_when_every_choice_reports_its_own() {
    const A: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25}}"#;
    const B: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":21,"completion_tokens":7,"total_tokens":28}}"#;
    const IN_A: &str = r#"data: {"choices":[{"index":0,"usage":{"prompt_tokens":20,"completion_tokens":5}}]}"#;
    const IN_B: &str = r#"data: {"choices":[{"index":1,"usage":{"prompt_tokens":20,"completion_tokens":7}}]}"#;
    check(OpenAiChat, 1, &[("one choice: the last wins", &[A, B], Some(three(21, 7, 28)))]);
    check(
        OpenAiChat,
        2,
        &[
            ("one of two: the last word", &[A], Some(three(20, 5, 25))),
            ("both: prompt once, answers added", &[A, B], Some(three(21, 12, 33))),
            ("in the choices", &[IN_A, IN_B], Some([Some(20), Some(12), None, None, None, None])),
            ("more than were asked for: cumulative", &[A, B, B], Some(three(21, 7, 28))),
        ],
    );
}

#[test]
fn anthropic_usage_is_overwritten_key_by_key() {
    const START: &str = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":2479,"cache_creation_input_tokens":0,"cache_read_input_tokens":9,"output_tokens":1}}}"#;
    let started = Some([Some(2479), Some(1), None, Some(9), Some(0), None]);
    let cases: [(&str, &str, Counts); 7] = [
        ("output alone", r#"{"output_tokens":80}"#, [Some(2479), Some(80), None, Some(9), Some(0), None]),
        (
            "all of it",
            r#"{"input_tokens":404500,"cache_creation_input_tokens":3,"cache_read_input_tokens":0,"output_tokens":943}"#,
            [Some(404_500), Some(943), None, Some(0), Some(3), None],
        ),
        (
            "nulls say nothing",
            r#"{"input_tokens":null,"output_tokens":4}"#,
            [Some(2479), Some(4), None, Some(9), Some(0), None],
        ),
        (
            "a made-up zero input",
            r#"{"input_tokens":0,"output_tokens":4}"#,
            [Some(2479), Some(4), None, Some(9), Some(0), None],
        ),
        (
            "a true zero input",
            r#"{"input_tokens":0,"cache_read_input_tokens":8831,"output_tokens":4}"#,
            [Some(0), Some(4), None, Some(8831), Some(0), None],
        ),
        ("a refusal", r#"{"output_tokens":0}"#, [Some(2479), Some(0), None, Some(9), Some(0), None]),
        (
            "nothing but zeros",
            r#"{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}"#,
            [Some(2479), Some(1), None, Some(9), Some(0), None],
        ),
    ];
    check(AnthropicMessages, 1, &[("until message_delta", &[START], started)]);
    for (name, usage, expected) in cases {
        let delta = format!(
            r#"data: {{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}            }}"#
        );
        check(AnthropicMessages, 1, &[(name, &[START, &delta, "data: {\"type\":\"message_stop\"  }"], Some(expected))]);
    }
}

#[test]
fn gemini_keeps_the_last_usage_that_has_a_total_whole() {
    const FIRST: &str =
        r#"data: {"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":102,"totalTokenCount":111}}"#;
    const LATER: &str =
        r#"data: {"usageMetadata":{"promptTokenCount":87,"thoughtsTokenCount":78,"totalTokenCount":165}}"#;
    const TRAFFIC: &str = r#"data: {"usageMetadata":{"trafficType":"ON_DEMAND"}}"#;
    const NO_TOTAL: &str = r#"data: {"usageMetadata":{"promptTokenCount":1}}"#;
    check(
        Gemini,
        1,
        &[
            ("never mixed", &[FIRST, LATER], Some([Some(87), None, Some(165), None, None, Some(78)])),
            ("without a total", &[FIRST, TRAFFIC, NO_TOTAL], Some(three(9, 102, 111))),
            ("never any total", &[NO_TOTAL], NONE),
        ],
    );
}

#[test]
fn responses_and_cohere_report_once() {
    check(
        OpenAiResponses,
        1,
        &[
            (
                "completed",
                &[
                    r#"data: {"type":"response.created","response":{"usage":null}}"#,
                    r#"data: {"type":"response.completed","response":{"output":[{"usage":{"input_tokens":9}}],"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":1},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":3}}}"#,
                ],
                Some([Some(1), Some(2), Some(3), Some(1), None, Some(2)]),
            ),
            (
                "failed",
                &[
                    r#"data: {"type":"response.failed","response":{"usage":{"input_tokens":1,"output_tokens":0,"total_tokens":1}}}"#,
                ],
                Some(three(1, 0, 1)),
            ),
        ],
    );
    check(
        Cohere,
        1,
        &[
            (
                "tokens, not what is billed",
                &[
                    r#"data: {"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":7,"output_tokens":109},"tokens":{"input_tokens":69,"output_tokens":110}}}}"#,
                ],
                Some([Some(69), Some(110), None, None, None, None]),
            ),
            (
                "billed, where that is all",
                &[
                    r#"data: {"type":"message-end","delta":{"usage":{"billed_units":{"input_tokens":7,"output_tokens":109}}}}"#,
                ],
                Some([Some(7), Some(109), None, None, None, None]),
            ),
        ],
    );
}

#[test]
fn every_spelling_folds_into_one_meaning() {
    let chat = |usage: &str| format!(r#"data: {{"choices":[],"usage":{usage}}}"#);
    let tokens = |[input, output, cached_input, cache_write, reasoning]: [u64; 5]| Tokens {
        input,
        output,
        cached_input,
        cache_write,
        reasoning,
    };
    for (name, dialect, event, expected) in [
        ("OpenAI", OpenAiChat, chat(r#"{"prompt_tokens":16,"completion_tokens":300,"total_tokens":316,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":100}}"#), [16, 300, 4, 0, 100]),
        ("xAI: reasoning outside", OpenAiChat, chat(r#"{"prompt_tokens":496,"completion_tokens":77,"total_tokens":694,"prompt_tokens_details":{"cached_tokens":448},"completion_tokens_details":{"reasoning_tokens":121}}"#), [496, 198, 448, 0, 121]),
        ("no total: inside", OpenAiChat, chat(r#"{"prompt_tokens":1,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":9}}"#), [1, 5, 0, 0, 9]),
        ("DeepSeek", OpenAiChat, chat(r#"{"prompt_tokens":339,"completion_tokens":83,"total_tokens":422,"prompt_cache_hit_tokens":320,"prompt_cache_miss_tokens":19}"#), [339, 83, 320, 0, 0]),
        ("Together, Moonshot", OpenAiChat, chat(r#"{"prompt_tokens":41,"completion_tokens":15,"total_tokens":56,"cached_tokens":8}"#), [41, 15, 8, 0, 0]),
        ("Mistral", OpenAiChat, chat(r#"{"prompt_tokens":10,"total_tokens":152,"completion_tokens":142,"num_cached_tokens":64}"#), [10, 142, 64, 0, 0]),
        ("details before the rest", OpenAiChat, chat(r#"{"prompt_tokens":10,"completion_tokens":1,"num_cached_tokens":64,"prompt_tokens_details":{"cached_tokens":8,"cache_write_tokens":2}}"#), [10, 1, 8, 2, 0]),
        ("Copilot", OpenAiChat, chat(r#"{"prompt_tokens":28,"completion_tokens":49,"total_tokens":77,"reasoning_tokens":7}"#), [28, 49, 0, 0, 7]),
        ("Azure Foundry: cached above input stays", OpenAiChat, chat(r#"{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":161}}"#), [7, 1, 161, 0, 0]),
        ("Anthropic: cache beside", AnthropicMessages, r#"data: {"type":"message_delta","usage":{"input_tokens":6,"cache_creation_input_tokens":3337,"cache_read_input_tokens":6289,"output_tokens":198,"output_tokens_details":{"thinking_tokens":53}}}"#.to_owned(), [9632, 198, 6289, 3337, 53]),
        ("Gemini: thoughts and tools beside", Gemini, r#"data: {"usageMetadata":{"promptTokenCount":32,"candidatesTokenCount":25,"totalTokenCount":4704,"toolUsePromptTokenCount":4610,"thoughtsTokenCount":37,"cachedContentTokenCount":3}}"#.to_owned(), [4642, 62, 3, 0, 37]),
        ("Gemini: nothing but thoughts", Gemini, r#"data: {"usageMetadata":{"promptTokenCount":87,"thoughtsTokenCount":78,"totalTokenCount":165}}"#.to_owned(), [87, 78, 0, 0, 78]),
        ("Responses", OpenAiResponses, r#"data: {"type":"response.completed","response":{"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":20,"cache_write_tokens":5},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":30},"total_tokens":150}}}"#.to_owned(), [100, 50, 20, 5, 30]),
        ("Cohere", Cohere, r#"data: {"type":"message-end","delta":{"usage":{"tokens":{"input_tokens":1394,"output_tokens":54},"cached_tokens":1360}}}"#.to_owned(), [1394, 54, 1360, 0, 0]),
    ] {
        let usage = reported(dialect, 1, &[&event]).expect(name);
        assert_eq!(tokens(expected), fold(dialect, &usage), "{name}");
    }
}

#[test]
fn sums_saturate_instead_of_wrapping() {
    const LARGEST: u64 = (1 << 53) - 1;
    let event = r#"data: {"type":"message_delta","usage":{"input_tokens":99999999999999999999,"cache_read_input_tokens":99999999999999999999,"output_tokens":1}}"#;
    let usage = reported(AnthropicMessages, 1, &[event]).expect("usage");
    assert_eq!(2 * LARGEST, fold(AnthropicMessages, &usage).input);
}
