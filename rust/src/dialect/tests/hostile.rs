//! Hostile JSON around a usage event, and events of megabytes.

use super::super::Dialect;
use super::{counts, read_event, read_stream};
use crate::corpus::Corpus;

const LARGEST: u64 = (1 << 53) - 1;

#[test]
fn hostile_json_neither_hides_usage_nor_makes_it_up() {
    let Some(corpus) = Corpus::find() else { return };
    let cases = corpus.json_usage_cases();
    for case in &cases {
        let said = read_stream(Dialect::OpenAiChat, 1, [&case.input[..]]);
        let found = said.reported.as_ref().map(counts).map(|counts| counts[..3].to_vec());
        let listed: Option<Vec<_>> = case.usage.as_object().map(|usage| {
            ["prompt_tokens", "completion_tokens", "total_tokens"].map(|key| usage[key].as_u64()).to_vec()
        });
        let right = match (&listed, case.name.as_str()) {
            (None, "extra/2^63 tokens") => vec![Some(vec![Some(LARGEST), Some(1), Some(1)])],
            // The usage that stands in every case's event: found although what is beside it is broken, or not.
            (None, _) if case.either => vec![None, Some(vec![Some(11), Some(7), Some(18)])],
            (Some(_), _) if case.either => vec![None, listed.clone()],
            _ => vec![listed.clone()],
        };
        assert!(right.contains(&found), "{}: {found:?} is none of {right:?}", case.name);
        assert!(said.terminal, "{}", case.name);
    }
    println!("{} cases of hostile JSON", cases.len());
}

#[test]
fn malformed_data_is_told_from_what_is_merely_unknown() {
    for (data, malformed) in [
        ("{", true),
        ("{\"a\":1", true),
        ("{\"a\":1}x", true),
        ("{\"a\" 1}", true),
        ("{\"a\":}", true),
        ("{'a':1}", true),
        ("[1,", true),
        ("abc", true),
        ("[DONE]x", true),
        ("\u{feff}{}", true),
        ("{}", false),
        ("{\"a\":1} ", false),
        ("[1]", false),
        ("42", false),
        ("\"text\"", false),
        ("{\"a\":NaN}", false),
        ("{\"a\":\"\\ud800\"}", false),
    ] {
        let dialects = [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses];
        for dialect in dialects {
            let reading = read_event(dialect, &format!("data: {data}"));
            assert_eq!((true, malformed), (reading.commits, reading.malformed), "{data} on {}", dialect.as_str());
        }
    }
}

#[test]
fn deep_nesting_costs_no_stack() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let event = format!(
        "data: {{\"x\":{deep},\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\"y\":{deep},\"completion_tokens\":2}}}}\n\n"
    );
    let said = read_stream(Dialect::OpenAiChat, 1, [event.as_bytes()]);
    assert_eq!(Some([Some(1), Some(2), None, None, None, None]), said.reported.as_ref().map(counts));
    for dialect in [Dialect::OpenAiChat, Dialect::Gemini] {
        assert!(read_event(dialect, &format!("data: {deep}")).malformed, "nothing but brackets is no event");
    }
}

#[test]
fn an_event_of_8_megabytes_is_read_as_fast_as_small_ones() {
    // Ten times the time a small event takes per byte is far from quadratic, which would be thousands of times.
    let text =
        |n: usize| format!(r#"data: {{"choices":[{{"index":0,"delta":{{"content":"{}"}}}}]}}"#, "a\\n".repeat(n));
    let time = |event: &str, times: usize| {
        let start = std::time::Instant::now();
        for _ in 0..times {
            assert!(read_event(Dialect::OpenAiChat, event).content);
        }
        start.elapsed().as_secs_f64() / (times * event.len()) as f64
    };
    let best = |event: &str, times| (0..5).map(|_| time(event, times)).fold(f64::MAX, f64::min);
    let (small, large) = (best(&text(1000), 500), best(&text(2_800_000), 1));
    assert!(large < 10.0 * small, "{large} seconds per byte, {small} in small events");
}

#[test]
fn a_choice_index_beyond_all_bounds_is_never_complete_without_done() {
    for index in ["128", "4294967295", "18446744073709551616", "1e9", "-1", "\"0\"", "null"] {
        let event = format!(r#"data: {{"choices":[{{"index":{index},"finish_reason":"stop","delta":{{}}}}]}}"#);
        let counted_by_place = matches!(index, "1e9" | "-1" | "\"0\"" | "null");
        let said = read_stream(Dialect::OpenAiChat, 1, [format!("{event}\n\n").as_bytes()]);
        assert_eq!(counted_by_place, said.complete, "{index}");
        let said = read_stream(Dialect::OpenAiChat, 1, [format!("{event}\n\ndata: [DONE]\n\n").as_bytes()]);
        assert!(said.complete, "{index}");
    }
}

#[test]
fn counts_are_taken_as_json_writes_them_and_never_guessed() {
    for (written, expected) in [
        ("7", Some(7)),
        ("7.0", Some(7)),
        ("0", Some(0)),
        ("9007199254740993", Some(LARGEST)),
        ("99999999999999999999999", Some(LARGEST)),
        ("-7", None),
        ("7.5", None),
        ("7e0", None),
        ("\"7\"", None),
        ("null", None),
        ("{}", None),
        ("true", None),
    ] {
        let event = format!("data: {{\"usage\":{{\"prompt_tokens\":{written},\"total_tokens\":1}}}}\n\n");
        let reported = read_stream(Dialect::OpenAiChat, 1, [event.as_bytes()]).reported.expect("a total");
        assert_eq!(expected, reported.input, "{written}");
    }
}
