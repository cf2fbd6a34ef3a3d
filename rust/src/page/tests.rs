//! What is put into answers, as tables: the text before, the text after.

use super::{Facts, Finishes, Note, Page};
use crate::dialect::{read_body, Dialect};
use crate::json::splice::Edits;
use crate::tariff::{Rates, Rounding, Tariff};
use std::sync::Arc;

fn note(raw: bool) -> Page {
    let note = Note { name: "more".into(), open: b"{\"provider\":\"p\""[..].into(), raw };
    Page { note: Some(note), ..Page::default() }
}

/// A credit for each input token, two for each output token.
pub(crate) fn credits() -> Page {
    let rates = Rates { input: 1_000_000_000, output: 2_000_000_000, ..Rates::default() };
    let per_dollar = 1_000_000 * 1_000_000_000;
    Page { tariff: Some(Arc::new(Tariff::new(rates, Vec::new(), Some((per_dollar, Rounding::Up))))), ..Page::default() }
}

pub(crate) fn finishes() -> Page {
    let known = [("stop", "stop"), ("end_turn", "stop"), ("max_tokens", "length")];
    let quoted = |text: &str| format!("\"{text}\"").into_bytes().into_boxed_slice();
    let known = known.map(|(theirs, ours)| (theirs.as_bytes().into(), quoted(ours))).into();
    Page { finishes: Some(Arc::new(Finishes { known, other: quoted("other") })), ..Page::default() }
}

fn edited(page: &Page, dialect: Dialect, text: &str) -> String {
    let reported = read_body(dialect, text.as_bytes()).reported;
    let facts = Facts { dialect, latency: 12_999, reported };
    let (mut edits, mut out) = (Edits::new(), Vec::new());
    page.whole(text.as_bytes(), &facts, &mut |span, bytes| edits.replace(span, bytes));
    edits.apply(text.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_note_is_the_last_member_or_takes_the_place_of_its_like() {
    let cases = [
        ("no usage was told", r#"{"choices":[]}"#, r#"{"choices":[],"more":{"provider":"p","latency":12}}"#),
        (
            "usage was told; white space stays",
            "{ \"usage\" : {\"prompt_tokens\":3,\"completion_tokens\":1} \n}\n",
            "{ \"usage\" : {\"prompt_tokens\":3,\"completion_tokens\":1} \n,\"more\":{\"provider\":\"p\",\"latency\":12,\
             \"billed_usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}}\n",
        ),
        (
            "half of the usage was told",
            r#"{"usage":{"prompt_tokens":3}}"#,
            r#"{"usage":{"prompt_tokens":3},"more":{"provider":"p","latency":12,"billed_usage":{"prompt_tokens":3}}}"#,
        ),
        (
            "reasoning outside of the completion is billed",
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":9,"completion_tokens_details":{"reasoning_tokens":5}}}"#,
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":9,"completion_tokens_details":{"reasoning_tokens":5}},"more":{"provider":"p","latency":12,"billed_usage":{"prompt_tokens":3,"completion_tokens":6}}}"#,
        ),
        (
            "the upstream speaks of the same",
            r#"{"more":{"provider":"theirs"},"id":1}"#,
            r#"{"more":{"provider":"p","latency":12},"id":1}"#,
        ),
        (
            "braces in strings are no braces",
            r#"{"a":"}{","b":[{}]}"#,
            r#"{"a":"}{","b":[{}],"more":{"provider":"p","latency":12}}"#,
        ),
        ("there is nothing else", "{ }", r#"{ "more":{"provider":"p","latency":12}}"#),
    ];
    for (name, before, after) in cases {
        assert_eq!(edited(&note(false), Dialect::OpenAiChat, before), after, "{name}");
    }
}

#[test]
fn the_upstreams_text_is_repeated_byte_for_byte() {
    assert_eq!(
        edited(&note(true), Dialect::OpenAiChat, " {\"n\":1.50,\"n\":1E2} "),
        " {\"n\":1.50,\"n\":1E2,\"more\":{\"provider\":\"p\",\"latency\":12,\"raw_response\":{\"n\":1.50,\"n\":1E2}}} "
    );
}

#[test]
fn what_is_no_object_stays_as_it_came() {
    for text in [
        "",
        "[]",
        "1",
        "[DONE]",
        "{\"a\":1",
        "}",
        "{\"choices\":",
        "{\"usage\":[3]",
        "{\"choices\":[{\"finish_reason\":",
    ] {
        for page in [note(true), credits(), finishes()] {
            assert_eq!(edited(&page, Dialect::OpenAiChat, text), text);
        }
    }
}

#[test]
fn usage_names_its_credits_once_both_directions_are_told() {
    let cases = [
        (
            "chat",
            Dialect::OpenAiChat,
            r#"{"usage":{"prompt_tokens":31,"completion_tokens":22,"total_tokens":53},"id":1}"#,
            r#"{"usage":{"prompt_tokens":31,"completion_tokens":22,"total_tokens":53,"credits_consumed":75},"id":1}"#,
        ),
        (
            "messages",
            Dialect::AnthropicMessages,
            r#"{"usage": {"input_tokens":3,"output_tokens":1} }"#,
            r#"{"usage": {"input_tokens":3,"output_tokens":1,"credits_consumed":5} }"#,
        ),
        (
            "responses",
            Dialect::OpenAiResponses,
            r#"{"usage":{"input_tokens":3,"output_tokens":1}}"#,
            r#"{"usage":{"input_tokens":3,"output_tokens":1,"credits_consumed":5}}"#,
        ),
        (
            "an upstream that bills in credits, too",
            Dialect::OpenAiChat,
            r#"{"usage":{"credits_consumed":"9","prompt_tokens":3,"completion_tokens":1}}"#,
            r#"{"usage":{"credits_consumed":5,"prompt_tokens":3,"completion_tokens":1}}"#,
        ),
        (
            "only one direction",
            Dialect::OpenAiChat,
            r#"{"usage":{"prompt_tokens":3}}"#,
            r#"{"usage":{"prompt_tokens":3}}"#,
        ),
        ("none", Dialect::OpenAiChat, r#"{"usage":null}"#, r#"{"usage":null}"#),
    ];
    for (name, dialect, before, after) in cases {
        assert_eq!(edited(&credits(), dialect, before), after, "{name}");
    }
}

#[test]
fn finish_reasons_are_among_those_the_page_knows() {
    let cases = [
        (r#""stop""#, r#""stop""#),
        (r#""end_turn""#, r#""stop""#),
        (r#""end\u005fturn""#, r#""stop""#),
        (r#""max_tokens""#, r#""length""#),
        (r#""never heard of""#, r#""other""#),
        (r#""st\u006fp""#, r#""stop""#),
        (r#""""#, r#""""#),
        ("null", "null"),
        ("7", "7"),
    ];
    for (theirs, ours) in cases {
        let answer = |reason: &str| {
            format!(
                "{{\"finish_reason\":\"end_turn\",\"choices\":[{{\"finish_reason\":{reason},\"index\":0}}, 5, {{}},\
                 {{\"message\":{{\"finish_reason\":\"x\"}},\"finish_reason\" : {reason}}}]}}"
            )
        };
        assert_eq!(edited(&finishes(), Dialect::OpenAiChat, &answer(theirs)), answer(ours));
        assert_eq!(edited(&finishes(), Dialect::AnthropicMessages, &answer(theirs)), answer(theirs), "other dialects");
    }
}
