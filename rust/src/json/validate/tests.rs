//! The strict reader agrees with RFC 8259, by tables and with another reader as the oracle.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::super::scan::Cursor;
use super::*;
use crate::json::splice::tests::values;

#[test]
fn what_the_rfc_allows_is_valid() {
    let cases: [&[u8]; 24] = [
        b"{}",
        b" [ ] \r\n\t",
        b"null",
        b"true",
        b"false",
        b"\"\"",
        b"0",
        b"-0",
        b"-0.0",
        b"1E400",
        b"1e-7",
        b"12.50e+30",
        b"123456789012345678901234567890",
        br#""\"\\\/\b\f\n\r\t\u0000\uD83D\uDE00""#,
        br#""\ud800""#,
        b"\"\xFF\xC0\x7F\"",
        "\"\u{2028}é\"".as_bytes(),
        br#"{"a":1,"a":2}"#,
        br#"{"":[{"x":[]}]}"#,
        b"[1,2,[3],{}]",
        b"{ \"a\" : [ 1 , 2 ] , \"b\" : { } }",
        b"[null,true,false]",
        b"[\"a\",{\"b\":\"c\"}]",
        b"[[[]],[]]",
    ];
    for text in cases {
        assert_eq!(Ok(()), validate(text, 64), "{}", String::from_utf8_lossy(text));
        let spaced = [b" \n", text, b"\t\r "].concat();
        assert_eq!(Ok(()), validate(&spaced, 64), "{}", String::from_utf8_lossy(&spaced));
        let trailing = [text, b" x"].concat();
        assert!(validate(&trailing, 64).is_err(), "{}", String::from_utf8_lossy(&trailing));
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases: [(&[u8], usize, &str); 42] = [
        (b"", 0, "a value is expected"),
        (b"  ", 2, "a value is expected"),
        (b"nul", 0, "a value is expected"),
        (b"True", 0, "a value is expected"),
        (b"NaN", 0, "a value is expected"),
        (b"Infinity", 0, "a value is expected"),
        (b"'a'", 0, "a value is expected"),
        (b"\xEF\xBB\xBF{}", 0, "a value is expected"),
        (b"\x0B1", 0, "a value is expected"),
        (b"}", 0, "a value is expected"),
        (b"[", 1, "a value is expected"),
        (b"[1,]", 3, "a value is expected"),
        (b"[,1]", 1, "a value is expected"),
        (b"[1,,2]", 3, "a value is expected"),
        (b"[+1]", 1, "a value is expected"),
        (b"[.5]", 1, "a value is expected"),
        (b"{\"a\":}", 5, "a value is expected"),
        (b"-", 1, "a digit is expected in a number"),
        (b"1.", 2, "a digit is expected in a number"),
        (b"1.e3", 2, "a digit is expected in a number"),
        (b"1e", 2, "a digit is expected in a number"),
        (b"1e+", 3, "a digit is expected in a number"),
        (b"01", 2, "a number must not start with 0"),
        (b"-012", 4, "a number must not start with 0"),
        (b"[1 2]", 3, "a comma or ] is expected after an element"),
        (b"[1}", 2, "a comma or ] is expected after an element"),
        (b"[1", 2, "a comma or ] is expected after an element"),
        (b"[0x1]", 2, "a comma or ] is expected after an element"),
        (b"{\"a\":1 \"b\":2}", 7, "a comma or } is expected after a member"),
        (b"{\"a\":1]", 6, "a comma or } is expected after a member"),
        (b"{a:1}", 1, "a member's name in double quotes is expected"),
        (b"{\"a\":1,}", 7, "a member's name in double quotes is expected"),
        (b"{", 1, "a member's name in double quotes is expected"),
        (b"{1:1}", 1, "a member's name in double quotes is expected"),
        (b"{\"a\"}", 4, "a colon is expected after a member's name"),
        (b"\"abc", 1, "a string is not closed"),
        (b"\"a\\", 3, "an escape in a string is not valid"),
        (b"\"\\x41\"", 2, "an escape in a string is not valid"),
        (b"\"a\nb\"", 2, "a control character in a string must be escaped"),
        (b"\"a\nb", 1, "a string is not closed"),
        (b"\"\\n\n\\\"", 3, "a control character in a string must be escaped"),
        (b"{} {}", 3, "there is something after the JSON value"),
    ];
    for (text, at, what) in cases {
        assert_eq!(Err(Malformed { at, what }), validate(text, 64), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn nesting_has_a_limit_and_costs_no_stack() {
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    assert_eq!(Ok(()), validate(deep(64).as_bytes(), 64));
    assert_eq!(Ok(()), validate(b"{\"a\":1}", 1));
    let refused = Err(Malformed { at: 64, what: "the JSON is nested too deeply" });
    assert_eq!(refused, validate(deep(65).as_bytes(), 64));
    assert_eq!(refused, validate("[".repeat(100_000).as_bytes(), 64));
    assert_eq!(Ok(()), validate(deep(100_000).as_bytes(), 100_000));
    let objects = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
    assert_eq!(Ok(()), validate(objects.as_bytes(), 100_000));
}

#[test]
fn the_outermost_objects_members_are_given_with_their_values_places() {
    let members = |text: &[u8]| {
        let mut members = Vec::new();
        let valid = validate_members(text, 64, |key, value| {
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            members.push((shown(&key.name()), shown(&text[value])));
        });
        (valid.is_ok(), members)
    };
    for (text, valid, expected) in [
        (&b"{}"[..], true, &[][..]),
        (b" { } ", true, &[]),
        (b"[{\"a\":1}]", true, &[]),
        (b"\"a\"", true, &[]),
        (b"{\"a\":1}", true, &[("a", "1")]),
        (
            b"\t{ \"a\" : \"x\" , \"\\u0062\":{\"c\":[1,{\"d\":2}],\"e\":{}} ,\"\":[] , \"f\":[ [] ]\n} ",
            true,
            &[("a", "\"x\""), ("b", "{\"c\":[1,{\"d\":2}],\"e\":{}}"), ("", "[]"), ("f", "[ [] ]")],
        ),
        (
            b"{\"a\":-1.5e3,\"a\":{ \"a\" :null},\"b\":true}",
            true,
            &[("a", "-1.5e3"), ("a", "{ \"a\" :null}"), ("b", "true")],
        ),
        (b"{\"a\":1,\"b\":}", false, &[("a", "1")]),
    ] {
        let expected = expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!((valid, expected), members(text), "{}", String::from_utf8_lossy(text));
    }
}

proptest! {
    #[test]
    fn members_stand_where_the_lenient_reader_finds_them(value in values(), pretty: bool) {
        let object = serde_json::json!({"a": value, "b\n": {"a": value}, "c": 1});
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
        let text = text.expect("a value").into_bytes();
        let mut members = Vec::new();
        prop_assert_eq!(Ok(()), validate_members(&text, 64, |key, value| members.push((key.raw, key.at, value))));
        let (mut cursor, mut first, mut walked) = (Cursor::new(&text), true, Vec::new());
        cursor.object().expect("an object");
        while let Some(key) = cursor.key(&mut first).expect("a member") {
            walked.push((key.raw, key.at, cursor.skip().expect("a value")));
        }
        prop_assert_eq!(walked, members);
    }

    #[test]
    fn what_a_tree_writer_writes_is_valid(value in values(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        prop_assert_eq!(Ok(()), validate(text.expect("a value").as_bytes(), 64));
    }

    #[test]
    fn one_wrong_byte_is_judged_as_another_reader_judges_it(value in values(), at: prop::sample::Index,
                                                            byte in prop::sample::select(br#"{}[]",:\u0 1e.-x"#.to_vec())) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let expected = serde_json::from_slice::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(expected, validate(&text, 64).is_ok(), "{}", String::from_utf8_lossy(&text));
    }
}
