//! Members are found and changed as text; what is left must mean the same to a reader that builds a tree.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn applied(edits: Edits<'_>, text: &[u8]) -> String {
    let mut whole = b"before ".to_vec();
    edits.apply(text, &mut whole);
    let joined: Vec<u8> =
        edits.into_segments(text.len()).into_iter().fold(b"before ".to_vec(), |mut joined, segment| {
            let piece = match &segment {
                Segment::Text(span) => &text[span.clone()],
                Segment::New(bytes) => bytes,
            };
            assert!(!piece.is_empty());
            joined.extend_from_slice(piece);
            joined
        });
    assert_eq!(whole, joined);
    String::from_utf8(whole).expect("text")["before ".len()..].to_owned()
}

#[test]
fn edits_are_applied_in_the_order_of_the_text() {
    // spans of "0123456789", and what is put in their place
    type Case<'a> = (&'a [(usize, usize, &'a str)], &'a str);
    let cases: [Case; 9] = [
        (&[], "0123456789"),
        (&[(2, 4, "ab")], "01ab456789"),
        (&[(8, 10, ""), (0, 2, "")], "234567"),
        (&[(5, 5, "-"), (0, 0, "<"), (10, 10, ">")], "<01234-56789>"),
        (&[(3, 5, "X"), (3, 3, "+")], "012+X56789"),
        (&[(3, 3, "a"), (3, 3, "b")], "012ab3456789"),
        (&[(0, 10, "all")], "all"),
        (&[(2, 6, "A"), (4, 8, "B")], "01AB89"),
        (&[(9, 30, "!"), (40, 50, "?")], "012345678!?"),
    ];
    for (list, expected) in cases {
        let mut edits = Edits::new();
        for (start, end, bytes) in list {
            edits.replace(*start..*end, bytes.as_bytes());
        }
        assert_eq!(list.is_empty(), edits.is_empty());
        assert_eq!(expected, applied(edits, b"0123456789"), "{list:?}");
    }
}

#[test]
fn a_top_level_member_is_found() {
    let cases = [
        (r#"{"usage":1}"#, Some("1")),
        (r#" { "a" : [1, {"usage":2}] , "usage" : {"x": 1} , "b":3 } "#, Some(r#"{"x": 1}"#)),
        (r#"{"\u0075s\u0061ge":"escaped"}"#, Some(r#""escaped""#)),
        (r#"{"usage":1,"usage":2}"#, Some("2")),
        (r#"{"a":"\"usage\":1","b":{"usage":1}}"#, None),
        (r#"{"Usage":1}"#, None),
        ("{}", None),
        (r#"{"bad":1e400,"worse":NaN,"usage":7}"#, Some("7")),
        (r#"{"lone":"\ud800","invalid":"\x","usage":7}"#, Some("7")),
    ];
    for (text, expected) in cases {
        let found = find(text.as_bytes(), b"usage").expect(text);
        assert_eq!(expected, found.map(|span| &text[span]), "{text}");
    }
    for text in ["", "[]", "null", r#"{"usage":1"#, r#"{"usage""#, r#"{"usage":1 "b":2}"#, r#"{"a":"#] {
        assert!(find(text.as_bytes(), b"usage").is_err(), "{text}");
    }
}

#[test]
fn a_member_is_inserted_first() {
    let cases = [
        ("{}", 0, r#"{"k":1}"#),
        (" { } ", 1, r#" {"k":1 } "#),
        (r#"{"a":2}"#, 0, r#"{"k":1,"a":2}"#),
        ("{\n  \"a\": {},\n \"b\": 2}", 0, "{\"k\":1,\n  \"a\": {},\n \"b\": 2}"),
        (r#"{"a":{"b":1}}"#, 5, r#"{"a":{"k":1,"b":1}}"#),
        (r#"{"a":{}}"#, 5, r#"{"a":{"k":1}}"#),
    ];
    for (text, open, expected) in cases {
        let mut edits = Edits::new();
        insert_first(&mut edits, text.as_bytes(), open, "k", b"1").expect(text);
        assert_eq!(expected, applied(edits, text.as_bytes()), "{text}");
    }
}

#[test]
fn members_are_removed_with_their_commas() {
    let cases = [
        (r#"{"x":1}"#, "{}"),
        (r#"{ "x" : 1 , "x":2 }"#, "{  }"),
        (r#"{"x":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{ "x":1, "x":{"a":0}, "a":2 }"#, r#"{ "a":2 }"#),
        (r#"{"a":2,"x":1}"#, r#"{"a":2}"#),
        (r#"{"a":2 , "x":1 , "x":[1,2], "b":3 }"#, r#"{"a":2, "b":3 }"#),
        (r#"{"x":0,"a":2,"x":1,"b":3,"x":4}"#, r#"{"a":2,"b":3}"#),
        (r#"{"a":{"x":1},"b":["x"]}"#, r#"{"a":{"x":1},"b":["x"]}"#),
        (r#"{"\u0078":1,"a":"x"}"#, r#"{"a":"x"}"#),
        ("{}", "{}"),
    ];
    for (text, expected) in cases {
        let mut edits = Edits::new();
        remove(&mut edits, text.as_bytes(), 0, |name| name == b"x").expect(text);
        assert_eq!(expected, applied(edits, text.as_bytes()), "{text}");
    }
}

#[test]
fn strings_are_quoted() {
    let cases = [
        ("gpt-4o", r#""gpt-4o""#),
        ("a\"b\\c/", r#""a\"b\\c/""#),
        ("\r\n\0\u{1f}\u{7f}", "\"\\u000d\\u000a\\u0000\\u001f\u{7f}\""),
        ("模型 🧪\u{2028}", "\"模型 🧪\u{2028}\""),
        ("", "\"\""),
    ];
    for (text, expected) in cases {
        assert_eq!(expected, String::from_utf8(quote(text)).expect("text"));
    }
}

/// JSON values of modest size, with names that need escapes.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\"\\\\\u{e9}\u{1f600}\n{}\\[\\],:]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[ax\"\\\\\n{}:]{0,2}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An object as text, with white space where it may stand.
pub(crate) fn objects() -> impl Strategy<Value = (Value, String)> {
    (prop::collection::btree_map("[axk\"\\\\]{1,2}", values(), 0..6), any::<bool>()).prop_map(|(members, spaced)| {
        let value = Value::Object(members.into_iter().collect());
        let text = if spaced { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        (value, text.expect("a value"))
    })
}

proptest! {
    #[test]
    fn a_tree_finds_the_same((value, text) in objects()) {
        for name in ["a", "x", "k", "\"", "\\"] {
            let found = find(text.as_bytes(), name.as_bytes()).expect("an object");
            let found = found.map(|span| serde_json::from_str::<Value>(&text[span]).expect("a value"));
            prop_assert_eq!(value.get(name), found.as_ref());
        }
    }

    #[test]
    fn a_tree_changes_the_same((mut value, text) in objects(), new in values(), gone in "[axk]") {
        let object = value.as_object_mut().expect("an object");
        object.remove(&gone);

        let mut edits = Edits::new();
        remove(&mut edits, text.as_bytes(), 0, |name| name == gone.as_bytes()).expect("an object");
        let text = applied(edits, text.as_bytes());
        prop_assert_eq!(&Value::Object(object.clone()), &serde_json::from_str::<Value>(&text).expect(&text));

        object.insert("new".to_owned(), new.clone());
        let mut edits = Edits::new();
        insert_first(&mut edits, text.as_bytes(), 0, "new", new.to_string().as_bytes()).expect("an object");
        let text = applied(edits, text.as_bytes());
        prop_assert_eq!(&value, &serde_json::from_str::<Value>(&text).expect(&text));
    }

    #[test]
    fn quoting_is_undone_by_reading(text in any::<String>()) {
        prop_assert_eq!(Value::from(text.as_str()), serde_json::from_slice::<Value>(&quote(&text)).expect("a string"));
    }

    #[test]
    fn no_text_and_no_span_panics(text in prop::collection::vec(prop::sample::select(br#"{}[]",:\ax1 "#.to_vec()), 0..40),
                                  open in 0usize..50, start in 0usize..50, length in 0usize..50) {
        let _ = find(&text, b"x");
        let mut edits = Edits::new();
        let _ = insert_first(&mut edits, &text, open, "k", b"1");
        let _ = remove(&mut edits, &text, open, |name| name == b"x");
        edits.replace(start..start + length, &b"new"[..]);
        edits.apply(&text, &mut Vec::new());
        let _ = edits.into_segments(text.len());
    }
}
