//! What bodies ask, which are refused and with what words, and that splicing touches nothing but what it names.

use proptest::prelude::*;
use serde_json::{json, Value};

use super::*;
use crate::corpus::Corpus;
use crate::json::splice::tests::objects;

const DEPTH: usize = 64;

fn ask(body: &str) -> Ask {
    read(body.as_bytes(), DEPTH).unwrap_or_else(|refusal| panic!("{body}: {refusal}"))
}

/// The body put together from its segments, and how many bytes of it are new.
fn spliced(body: &[u8], model: Option<&str>, include_usage: bool, consumed: &[&str]) -> (Vec<u8>, usize) {
    let ask = read(body, DEPTH).expect("a request");
    let (mut out, mut new) = (Vec::new(), 0);
    for segment in splice(&ask, body, model, include_usage, consumed).expect("the same body") {
        match segment {
            Segment::Text(span) => out.extend_from_slice(&body[span]),
            Segment::New(bytes) => {
                out.extend_from_slice(&bytes);
                new += bytes.len();
            }
        }
    }
    (out, new)
}

#[test]
fn what_is_asked_is_read() {
    let plain = Ask {
        model: "m".to_owned(),
        model_span: 9..12,
        stream: false,
        stream_options: StreamOptions::Absent,
        max_tokens: None,
        max_completion_tokens: None,
        max_output_tokens: None,
        n: None,
        open: 0,
    };
    let object =
        |span, include_usage, include_usage_span| StreamOptions::Object { span, include_usage, include_usage_span };
    let cases = [
        (r#"{"model":"m"}"#, plain.clone()),
        (r#"{"model":"m","stream":true}"#, Ask { stream: true, ..plain.clone() }),
        (r#"{"model":"m","stream":false}"#, plain.clone()),
        (r#"{"model":"m","stream":null}"#, plain.clone()),
        (r#"{"model":"m","n":3}"#, Ask { n: Some(3), ..plain.clone() }),
        (r#"{"model":"m","n":"3","max_tokens":-1,"max_completion_tokens":1.5}"#, plain.clone()),
        (r#"{"model":"m","max_tokens":10}"#, Ask { max_tokens: Some(10), ..plain.clone() }),
        (r#"{"model":"m","max_tokens":1,"max_tokens":2.0}"#, Ask { max_tokens: Some(2), ..plain.clone() }),
        (
            r#"{"model":"m","max_completion_tokens":123456789012345678901234567890}"#,
            Ask { max_completion_tokens: Some((1 << 53) - 1), ..plain.clone() },
        ),
        (r#"{"model":"m","max_output_tokens":64}"#, Ask { max_output_tokens: Some(64), ..plain.clone() }),
        (
            r#"{"model":"m","stream_options":null}"#,
            Ask { stream_options: StreamOptions::Null(30..34), ..plain.clone() },
        ),
        (r#"{"model":"m","stream_options":{}}"#, Ask { stream_options: object(30..32, None, None), ..plain.clone() }),
        (
            r#"{"model":"m","stream_options":{"include_usage":true}}"#,
            Ask { stream_options: object(30..52, Some(true), Some(47..51)), ..plain.clone() },
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":null}}"#,
            Ask { stream_options: object(30..52, None, Some(47..51)), ..plain.clone() },
        ),
        (
            r#"{"model":"m","stream_options":{"x":1,"include_usage" : false }}"#,
            Ask { stream_options: object(30..62, Some(false), Some(55..60)), ..plain.clone() },
        ),
        (
            "\n { \"\\u006dodel\" : \"\\u006d\" , \"messages\":[{\"model\":\"no\",\"stream\":1}] } ",
            Ask { model_span: 19..27, open: 2, ..plain.clone() },
        ),
        (r#"{"x":"\"model\":1","model":"m"}"#, Ask { model_span: 27..30, ..plain.clone() }),
        (r#"{"model":"m","Messages":1,"modelx":2,"streams":3}"#, plain.clone()),
    ];
    for (body, expected) in cases {
        let asked = ask(body);
        assert_eq!(asked.stream_options == object(30..52, Some(true), Some(47..51)), asked.wants_usage(), "{body}");
        assert_eq!(expected, asked, "{body}");
    }
}

#[test]
fn the_models_name_is_read_as_others_read_it() {
    let long = "x".repeat(1 << 20);
    let cases = [
        (r"\u0067pt-4\u006f", "gpt-4o"),
        (r"org\/name\\x", "org/name\\x"),
        ("模型 🧪", "模型 🧪"),
        (r"\ud83e\uddea\uD83E\uDDEA", "🧪🧪"),
        (r"../../etc\r\nX: y\u0000", "../../etc\r\nX: y\0"),
        (r"\ufffd\\ud800", "\u{fffd}\\ud800"),
        (&long, &long),
    ];
    for (spelt, expected) in cases {
        let body = format!("{{\"model\":\"{spelt}\"}}");
        let asked = ask(&body);
        assert_eq!(expected, asked.model);
        assert_eq!(format!("\"{spelt}\""), body[asked.model_span]);
    }
}

/// Body, code, member, and the words' end.
#[rustfmt::skip]
const REFUSED: [(&[u8], &str, &str, &str); 34] = [
    (b"", "invalid_json", "", "The request body is not valid JSON: at byte 0, a value is expected."),
    (b"{\"model\":\"m\"", "invalid_json", "", "at byte 12, a comma or } is expected after a member."),
    (b"{\"model\":\"m\"}x", "invalid_json", "", "at byte 13, there is something after the JSON value."),
    (b"{\"model\":\"m\",}", "invalid_json", "", "at byte 13, a member's name in double quotes is expected."),
    (b"{'model':'m'}", "invalid_json", "", "at byte 1, a member's name in double quotes is expected."),
    (b"{\"model\":NaN}", "invalid_json", "", "at byte 9, a value is expected."),
    (b"\xEF\xBB\xBF{}", "invalid_json", "", "at byte 0, a byte order mark stands before the JSON; send it without one."),
    (b"{\"model\":\"a\",\"m\":[\"\x01\"]}", "invalid_json", "", "at byte 19, a control character in a string must be escaped."),
    (b"{\"model\":\"a\",\"x\":\"\\ud8\"}", "invalid_json", "", "at byte 19, an escape in a string is not valid."),
    (b"[]", "invalid_json", "", "The request body must be a JSON object."),
    (b"null", "invalid_json", "", "The request body must be a JSON object."),
    (b"\"{}\"", "invalid_json", "", "The request body must be a JSON object."),
    (b"{}", "missing_parameter", "model", "The parameter 'model' is required."),
    (b"{\"model\":null}", "missing_parameter", "model", "The parameter 'model' is required."),
    (b"{\"model\":{\"id\":\"m\"}}", "invalid_type", "model", "The parameter 'model' must be a string."),
    (b"{\"model\":4}", "invalid_type", "model", "The parameter 'model' must be a string."),
    (b"{\"model\":\"\"}", "invalid_value", "model", "The parameter 'model' must not be empty."),
    (b"{\"model\":\"a\\ud800b\"}", "invalid_value", "model", "must not contain half of a surrogate pair."),
    (b"{\"model\":\"\\udc00\\ud800\"}", "invalid_value", "model", "must not contain half of a surrogate pair."),
    (b"{\"model\":\"\xFF\"}", "invalid_value", "model", "The parameter 'model' must be valid UTF-8."),
    (b"{\"model\":\"a\",\"model\":\"b\"}", "duplicate_parameter", "model", "'model' is given twice; give it once."),
    (b"{\"model\":\"a\",\"\\u006dodel\":\"a\"}", "duplicate_parameter", "model", "is given twice; give it once."),
    (b"{\"stream\":true,\"str\\u0065am\":false}", "duplicate_parameter", "stream", "is given twice; give it once."),
    (b"{\"stream_options\":{},\"stream_options\":null}", "duplicate_parameter", "stream_options", "give it once."),
    (b"{\"model\":\"a\",\"stream_options\":{\"include_usage\":true,\"include_us\\u0061ge\":false}}",
        "duplicate_parameter", "stream_options.include_usage", "is given twice; give it once."),
    (b"{\"model\":\"a\",\"Model\":\"b\"}", "ambiguous_parameter", "model", "but for its letter case; spell it 'model'."),
    ("{\"model\":\"a\",\"\u{17f}tream\":true}".as_bytes(), "ambiguous_parameter", "stream", "spell it 'stream'."),
    (b"{\"model\":\"a\",\"stream_options\":{\"Include_Usage\":true}}",
        "ambiguous_parameter", "stream_options.include_usage", "spell it 'stream_options.include_usage'."),
    (b"{\"model\":\"a\",\"stream\":\"true\"}", "invalid_type", "stream", "'stream' must be true or false."),
    (b"{\"model\":\"a\",\"stream\":1}", "invalid_type", "stream", "'stream' must be true or false."),
    (b"{\"model\":\"a\",\"stream\":[true]}", "invalid_type", "stream", "'stream' must be true or false."),
    (b"{\"model\":\"a\",\"stream_options\":true}", "invalid_type", "stream_options", "must be an object."),
    (b"{\"model\":\"a\",\"stream_options\":[]}", "invalid_type", "stream_options", "must be an object."),
    (b"{\"model\":\"a\",\"stream_options\":{\"include_usage\":\"yes\"}}",
        "invalid_type", "stream_options.include_usage", "must be true or false."),
];

#[test]
fn a_body_that_cannot_be_served_is_refused_in_words() {
    for (body, code, param, words) in REFUSED {
        let shown = String::from_utf8_lossy(body);
        let refusal = read(body, DEPTH).expect_err(&shown);
        assert_eq!((code, param), (refusal.code(), refusal.param().unwrap_or("")), "{shown}");
        assert!(refusal.to_string().ends_with(words), "{shown}: {refusal}");
    }
}

#[test]
fn nesting_is_limited_without_recursion() {
    for body in
        ["[".repeat(100_000), "{\"model\":".repeat(100_000), format!("{{\"model\":\"m\",\"x\":{}", "[".repeat(100_000))]
    {
        let refusal = read(body.as_bytes(), DEPTH).expect_err("too deep");
        assert_eq!("invalid_json", refusal.code());
        assert!(refusal.to_string().ends_with("the JSON is nested too deeply."), "{refusal}");
    }
    let deep = format!("{{\"model\":\"m\",\"x\":{}1{}}}", "[".repeat(63), "]".repeat(63));
    assert_eq!("m", ask(&deep).model);
    let deeper = format!("{{\"model\":\"m\",\"x\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    assert!(read(deeper.as_bytes(), DEPTH).is_err());
    assert!(read("[".repeat(100_000).as_bytes(), 1_000_000).is_err());
}

#[test]
fn only_what_is_named_is_spliced() {
    // body, model, include_usage, consumed, what goes up
    type Case<'a> = (&'a str, Option<&'a str>, bool, &'a [&'a str], &'a str);
    let cases: [Case; 22] = [
        (r#"{"model":"m"}"#, None, false, &[], r#"{"model":"m"}"#),
        (r#"{"model":"\u006d"}"#, Some("m"), false, &[], r#"{"model":"\u006d"}"#),
        (r#"{ "model" : "m" , "x": 1.0}"#, Some("gpt"), false, &[], r#"{ "model" : "gpt" , "x": 1.0}"#),
        (r#"{"model":"m"}"#, Some("a\"\\\n🧪"), false, &[], r#"{"model":"a\"\\\u000a🧪"}"#),
        (r#"{"model":"m"}"#, None, true, &[], r#"{"stream_options":{"include_usage":true},"model":"m"}"#),
        (
            "\t{ \"x\":[1e-7,-0,12345678901234567890123,\"\\/\\u00e9\"],\n\"model\":\"m\"}\n",
            Some("t"),
            true,
            &[],
            "\t{\"stream_options\":{\"include_usage\":true}, \"x\":[1e-7,-0,12345678901234567890123,\"\\/\\u00e9\"],\n\"model\":\"t\"}\n",
        ),
        (r#"{"model":"m","stream_options":null}"#, None, true, &[], r#"{"model":"m","stream_options":{"include_usage":true}}"#),
        (r#"{"model":"m","stream_options":{}}"#, None, true, &[], r#"{"model":"m","stream_options":{"include_usage":true}}"#),
        (r#"{"model":"m","stream_options":{ }}"#, None, true, &[], r#"{"model":"m","stream_options":{"include_usage":true }}"#),
        (
            r#"{"model":"m","stream_options":{"x": {"y":1}}}"#,
            None,
            true,
            &[],
            r#"{"model":"m","stream_options":{"include_usage":true,"x": {"y":1}}}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":false,"x":1},"model":"m"}"#,
            Some("t"),
            true,
            &[],
            r#"{"stream_options":{"include_usage":true,"x":1},"model":"t"}"#,
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":null}}"#,
            None,
            true,
            &[],
            r#"{"model":"m","stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":true}}"#,
            None,
            true,
            &[],
            r#"{"model":"m","stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage":true}}"#,
            None,
            false,
            &[],
            r#"{"model":"m","stream_options":{"include_usage":true}}"#,
        ),
        (r#"{"model":"m","f":[1]}"#, None, false, &["f"], r#"{"model":"m"}"#),
        (r#"{"f":[1], "model":"m","f":{},"g":1}"#, None, false, &["f", "g"], r#"{"model":"m"}"#),
        (
            r#"{"f":1,"model":"m"}"#,
            Some("t"),
            true,
            &["f"],
            r#"{"stream_options":{"include_usage":true},"model":"t"}"#,
        ),
        (r#"{"\u0066":1,"model":"m","x":{"f":2}}"#, None, false, &["f"], r#"{"model":"m","x":{"f":2}}"#),
        (r#"{"model":"m","f":1}"#, None, false, &["f", "model"], r#"{"model":"m"}"#),
        (r#"{"model":"m","stream_options":{"a":1}}"#, None, false, &["stream_options"], r#"{"model":"m"}"#),
        (
            r#"{"model":"m","stream_options":{"a":1}}"#,
            None,
            true,
            &["stream_options"],
            r#"{"stream_options":{"include_usage":true},"model":"m"}"#,
        ),
        (r#"{"model":"m","x":1,"x":2}"#, Some("t"), false, &[], r#"{"model":"t","x":1,"x":2}"#),
    ];
    for (body, model, include_usage, consumed, expected) in cases {
        let (out, _) = spliced(body.as_bytes(), model, include_usage, consumed);
        assert_eq!(expected, String::from_utf8(out).expect("text"), "{body}");
    }
}

#[test]
fn bytes_of_strings_are_not_ours_to_judge() {
    let body = b"{\"model\":\"m\",\"messages\":[\"\xFF\xC0 \\ud800 \\u0000 \x7F\"],\"\xFE\":1}";
    let (out, new) = spliced(body, None, true, &[]);
    assert_eq!(40, new);
    assert_eq!([b"{\"stream_options\":{\"include_usage\":true},", &body[1..]].concat(), out);
}

#[test]
fn a_large_body_is_not_copied() {
    let body = format!("{{\"messages\":\"{}\",\"model\":\"m\"}}", "x".repeat(1 << 20));
    let asked = ask(&body);
    let segments = splice(&asked, body.as_bytes(), Some("target"), true, &[]).expect("the same body");
    let new: usize = segments.iter().map(|s| if let Segment::New(bytes) = s { bytes.len() } else { 0 }).sum();
    assert_eq!((5, 48), (segments.len(), new));
}

#[test]
fn recorded_requests_are_read_as_a_tree_reads_them() {
    let Some(corpus) = Corpus::find() else { return };
    for (name, body) in corpus.requests() {
        let tree: Value = serde_json::from_slice(&body).expect("JSON");
        match read(&body, DEPTH) {
            Ok(asked) => {
                assert_eq!(tree["model"], asked.model, "{name}");
                assert_eq!(tree["stream"] == true, asked.stream, "{name}");
                assert_eq!(tree["stream_options"]["include_usage"] == true, asked.wants_usage(), "{name}");
                assert_eq!(tree["max_tokens"].as_u64(), asked.max_tokens, "{name}");
                assert_eq!(tree["n"].as_u64(), asked.n, "{name}");
                let (out, _) = spliced(&body, None, false, &[]);
                assert_eq!(body, out, "{name}");
            }
            Err(refusal) => {
                assert!(tree.get("model").is_none(), "{name}: {refusal}");
                assert_eq!(Refusal::Missing("model"), refusal, "{name}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_tree_is_changed_the_same(
        (members, _) in objects(),
        name in "[a-z\"\\\\\u{1f600}\n]{1,5}",
        options in prop::sample::select(vec![json!(null), json!({}), json!({"include_usage": false}),
                                             json!({"include_usage": null, "a": 1}), json!({"a": 1}), json!("absent")]),
        target in prop::option::of("[a-z\"\\\\\n]{1,5}"),
        include_usage: bool,
        pretty: bool,
    ) {
        let mut tree = members;
        tree["model"] = json!(name);
        if options != "absent" {
            tree["stream_options"] = options;
        }
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) };
        let (out, _) = spliced(text.expect("a body").as_bytes(), target.as_deref(), include_usage, &["k", "x"]);

        let object = tree.as_object_mut().expect("an object");
        object.remove("k");
        object.remove("x");
        if let Some(target) = target {
            tree["model"] = json!(target);
        }
        if include_usage {
            tree["stream_options"]["include_usage"] = json!(true);
        }
        prop_assert_eq!(tree, serde_json::from_slice::<Value>(&out).expect("JSON"));
    }

    #[test]
    fn no_body_panics(body in prop::collection::vec(
        prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"model\"", "\"stream\"", "\"stream_options\"", "\"n\"", "{\"model\":\"m\"",
            "\"include_usage\"", "true", "null", "1", "\"\\ud800\"", "\"m\"", "\\", "\"", " "]), 0..24)) {
        let body = body.concat();
        if let Ok(asked) = read(body.as_bytes(), DEPTH) {
            let _ = splice(&asked, body.as_bytes(), Some("t"), true, &["n"]);
        }
    }
}
