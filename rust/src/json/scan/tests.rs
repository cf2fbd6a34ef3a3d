//! The cursor reads leniently what upstreams send; it must find the end of every value and never panic.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::json::splice::tests::values;

/// Walks a whole value through the cursor, member by member, into a tree.
fn tree(cursor: &mut Cursor<'_>, text: &str) -> Result<Value, Malformed> {
    let mut first = true;
    match cursor.peek() {
        Kind::Object => {
            let mut members = serde_json::Map::new();
            cursor.object()?;
            while let Some(key) = cursor.key(&mut first)? {
                let name = String::from_utf8(key.name().into_owned()).expect("a name");
                members.insert(name, tree(cursor, text)?);
            }
            Ok(Value::Object(members))
        }
        Kind::Array => {
            let mut elements = Vec::new();
            cursor.array()?;
            while cursor.element(&mut first)? {
                elements.push(tree(cursor, text)?);
            }
            Ok(Value::Array(elements))
        }
        _ => Ok(serde_json::from_str(&text[cursor.skip()?]).expect("a scalar")),
    }
}

#[test]
fn a_value_is_passed_over_whatever_it_holds() {
    let cases = [
        ("1 ", "1"),
        ("-12.5e+3,", "-12.5e+3"),
        (r#""a\"b\\" ,"#, r#""a\"b\\""#),
        (r#"{"a":[1,{"b":"}]"}]} tail"#, r#"{"a":[1,{"b":"}]"}]}"#),
        ("[[],[[]]]]", "[[],[[]]]"),
        ("true}", "true"),
        ("\t\r\n null]", "null"),
        ("1e400 ", "1e400"),
        ("NaN,", "NaN"),
        ("-Infinity}", "-Infinity"),
        (r#""\ud800" "#, r#""\ud800""#),
        (r#""\x""#, r#""\x""#),
        ("\"a\u{1}\nb\"", "\"a\u{1}\nb\""),
        ("18446744073709551616]", "18446744073709551616"),
    ];
    for (text, expected) in cases {
        let mut cursor = Cursor::new(text.as_bytes());
        assert_eq!(Ok(expected), cursor.skip().map(|span| &text[span]), "{text}");
        for cut in 0..text.find(expected).expect("the value") + expected.len() - 1 {
            let _ = Cursor::new(&text.as_bytes()[..cut]).skip();
        }
    }
    for text in ["", " ", "}", "]", ":", ",", "\"", "\"\\", "\"\\\"", "{", "[1", "{\"a\":[}", "[\"]"] {
        assert!(Cursor::new(text.as_bytes()).skip().is_err(), "{text}");
    }
}

#[test]
fn a_strings_end_is_found_at_every_distance_whatever_stands_before_it() {
    // Neighbours of the quote (22), the backslash (5C) and the last control character (1F), also with the top bit set,
    // and what a borrow runs into.
    for filler in [b'a', 0x20, 0x21, 0x23, 0x5B, 0x5D, 0xA2, 0xDC, 0x00, 0x01, 0x1F, 0x80, 0x9F, 0xFF] {
        for wanted in [b'"', b'\\'] {
            for distance in 0..80 {
                let mut text = vec![filler; distance];
                let control = (filler < 0x20 && distance > 0).then_some(0);
                assert_eq!(None, end_of_run::<false>(&text), "{distance} of {filler:#x}");
                assert_eq!(control, end_of_run::<true>(&text), "{distance} of {filler:#x}");
                text.push(wanted);
                text.extend([filler, b'"', filler, b'\\', 0x23, 0x5D, filler, filler, filler, filler]);
                assert_eq!(Some(distance), end_of_run::<false>(&text), "{distance} of {filler:#x}");
                assert_eq!(control.or(Some(distance)), end_of_run::<true>(&text), "{distance} of {filler:#x}");
            }
        }
    }
}

#[test]
fn a_control_character_is_found_at_every_distance_where_it_is_looked_for() {
    for filler in [b'a', 0x20, 0x80, 0xFF] {
        for control in [0x00, 0x0A, 0x1F] {
            for distance in 0..80 {
                let mut text = vec![filler; distance];
                text.extend([control, filler, control, b'"']);
                assert_eq!(Some(distance), end_of_run::<true>(&text), "{control:#x} behind {distance} of {filler:#x}");
                assert_eq!(Some(distance + 3), end_of_run::<false>(&text), "{control:#x} behind {distance}");
            }
        }
    }
}

#[test]
fn members_are_walked_in_order() {
    let text = br#" { "a" : 1 , "\u0062" : [ 2 , {"c":3} ] , "" : "" } "#;
    let (mut cursor, mut first, mut seen) = (Cursor::new(text), true, Vec::new());
    cursor.object().expect("an object");
    while let Some(key) = cursor.key(&mut first).expect("a member") {
        assert_eq!(b'"', text[key.at]);
        let span = cursor.skip().expect("a value");
        seen.push((key.name().into_owned(), &text[span]));
    }
    let expected = [(&b"a"[..], &b"1"[..]), (b"b", br#"[ 2 , {"c":3} ]"#), (b"", b"\"\"")];
    assert_eq!(expected.map(|(name, value)| (name.to_vec(), value)).to_vec(), seen);
    assert_eq!(Ok(()), cursor.end());
    assert_eq!(None, cursor.key(&mut first).ok().flatten().map(|key| key.at));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let walk = |text: &[u8]| -> Result<(), Malformed> {
        let (mut cursor, mut first) = (Cursor::new(text), true);
        cursor.object()?;
        while cursor.key(&mut first)?.is_some() {
            cursor.skip()?;
        }
        cursor.end()
    };
    let cases: [(&[u8], usize, &str); 8] = [
        (b"[]", 0, "an object is expected"),
        (b"{\"a\" 1}", 5, "a colon is expected after a member's name"),
        (b"{\"a\":1 \"b\":2}", 7, "a comma or } is expected after a member"),
        (b"{\"a\":}", 5, "a value is expected"),
        (b"{\"a\":1,}", 7, "a string is expected"),
        (b"{\"a\":\"x", 6, "a string is not closed"),
        (b"{\"a\":[1", 7, "an object or array is not closed"),
        (b"{} x", 3, "there is something after the JSON value"),
    ];
    for (text, at, what) in cases {
        assert_eq!(Err(Malformed { at, what }), walk(text), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn depth_costs_no_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = open.repeat(100_000) + "1" + &close.repeat(100_000);
        assert_eq!(Ok(0..deep.len()), Cursor::new(deep.as_bytes()).skip());
        assert!(Cursor::new(open.repeat(100_000).as_bytes()).skip().is_err());
    }
}

#[test]
fn counts_are_read_as_providers_write_them() {
    let cases = [
        ("0", Some(0)),
        ("17", Some(17)),
        ("007", Some(7)),
        ("12.0", Some(12)),
        ("12.000", Some(12)),
        ("9007199254740991", Some(9_007_199_254_740_991)),
        ("9007199254740993", Some(9_007_199_254_740_991)),
        ("18446744073709551616", Some(9_007_199_254_740_991)),
        ("123456789012345678901234567890", Some(9_007_199_254_740_991)),
        ("-1", None),
        ("-0", None),
        ("1.5", None),
        ("1.", None),
        (".0", None),
        ("1e3", None),
        ("1.0e1", None),
        ("\"5\"", None),
        ("null", None),
        ("", None),
        ("NaN", None),
    ];
    for (raw, expected) in cases {
        assert_eq!(expected, count(raw.as_bytes()), "{raw}");
    }
}

#[test]
fn escapes_are_resolved() {
    let cases = [
        ("plain", "plain"),
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r"\u0075sage", "usage"),
        (r"\u00e9\u00E9", "éé"),
        (r"\ud83e\uddea!", "🧪!"),
        (r"\ud800", "\u{fffd}"),
        (r"\udc00x", "\u{fffd}x"),
        (r"\ud800\ud83e\uddea", "\u{fffd}🧪"),
        (r"\ud800\n", "\u{fffd}\n"),
        (r"\u12", "\u{fffd}12"),
        (r"\u+123", "\u{fffd}+123"),
        (r"\x", "\u{fffd}"),
        ("\\", "\u{fffd}"),
        (r"\u0000", "\0"),
    ];
    for (raw, expected) in cases {
        assert_eq!(expected, String::from_utf8_lossy(&unescape(raw.as_bytes())), "{raw}");
    }
    assert_eq!(b"\xFFa", &*unescape(b"\xFF\\u0061"));
}

proptest! {
    #[test]
    fn the_cursor_reads_what_a_tree_holds(value in values(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("a value");
        let mut cursor = Cursor::new(text.as_bytes());
        prop_assert_eq!(Ok(value), tree(&mut cursor, &text));
        prop_assert_eq!(Ok(()), cursor.end());
        prop_assert_eq!(Ok(0..text.len()), Cursor::new(text.as_bytes()).skip());
    }

    #[test]
    fn escapes_mean_what_a_tree_reader_says(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).expect("a string");
        prop_assert_eq!(text.as_bytes(), &*unescape(&quoted.as_bytes()[1..quoted.len() - 1]));
    }

    #[test]
    fn no_bytes_panic(text in prop::collection::vec(prop::sample::select(br#"{}[]",:\au0D8 1e.-tn"#.to_vec()), 0..40),
                      at in 0usize..50) {
        let _ = unescape(&text);
        let _ = count(&text);
        let (mut cursor, mut first) = (Cursor::at(&text, at), true);
        let _ = cursor.object();
        while let Ok(Some(key)) = cursor.key(&mut first) {
            let _ = key.name();
            if cursor.skip().is_err() {
                break;
            }
        }
        prop_assert!(cursor.position() <= text.len());
    }
}
