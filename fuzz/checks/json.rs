//! No text makes the JSON reader panic, it agrees with another reader where both decide, and splicing keeps the rest.

use serde::de::IgnoredAny;
use serde_json::Value;
use sluicegate::json::scan::{count, Cursor};
use sluicegate::json::splice::{find, insert_first, quote, remove, Edits};
use sluicegate::json::unescape::unescape;
use sluicegate::json::validate::validate;

/// The input is the text.
pub fn check(text: &[u8]) {
    let _ = (unescape(text), count(text), find(text, b"a"));
    let valid = validate(text, usize::MAX).is_ok();
    let judged = serde_json::from_slice::<IgnoredAny>(text);
    assert_eq!(valid, judged.is_ok(), "{judged:?}");
    if !valid {
        return;
    }
    let mut cursor = Cursor::new(text);
    cursor.skip().expect("a valid value");
    cursor.end().expect("nothing more");
    if let Ok(Value::Object(members)) = serde_json::from_slice(text) {
        let open = text.iter().position(|&byte| byte == b'{').expect("an object");
        splice(text, open, &members);
    }
}

fn splice(text: &[u8], open: usize, members: &serde_json::Map<String, Value>) {
    for (name, value) in members {
        let found = find(text, name.as_bytes()).expect("an object").expect("a member");
        assert_eq!(Some(value), serde_json::from_slice(&text[found]).ok().as_ref());

        let mut edits = Edits::new();
        remove(&mut edits, text, open, |other| other == name.as_bytes()).expect("an object");
        let mut without = members.clone();
        without.remove(name);
        assert_eq!(without, applied(&edits, text));
    }
    let mut edits = Edits::new();
    insert_first(&mut edits, text, open, "a\"new\n", &quote("value\\\u{1}")).expect("an object");
    let mut with = members.clone();
    with.entry("a\"new\n").or_insert_with(|| Value::from("value\\\u{1}"));
    assert_eq!(with, applied(&edits, text));
}

fn applied(edits: &Edits<'_>, text: &[u8]) -> serde_json::Map<String, Value> {
    let mut out = Vec::new();
    edits.apply(text, &mut out);
    serde_json::from_slice(&out).expect("an object")
}
