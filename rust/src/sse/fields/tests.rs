//! What the lines of an event say, and which of them may be left out.

use super::*;

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn fields_follow_the_standard() {
    // event, its type, its data, its error line, has data, loses lines, holds only comments
    type Case<'a> = (&'a [u8], &'a str, &'a str, Option<&'a [u8]>, bool, bool, bool);
    let none = None;
    let cases: [Case; 22] = [
        (b"data: {\"a\":1}\n\n", "", "{\"a\":1}", none, true, false, false),
        (b"data:{}\r\n\r\n", "", "{}", none, true, false, false),
        (b"data:  two\r\r", "", " two", none, true, false, false),
        (b"data:\tx\n\n", "", "\tx", none, true, false, false),
        (b"data\n\n", "", "", none, true, false, false),
        (b"data:\n\n", "", "", none, true, false, false),
        (b"data\ndata\n\n", "", "\n", none, true, false, false),
        (b"data: a\ndata:b\r\ndata: c\rdata\n\n", "", "a\nb\nc\n", none, true, false, false),
        (b"event: ping\ndata: {}\n\n", "ping", "{}", none, true, false, false),
        (b"event: a\nevent: b\n\n", "b", "", none, false, false, false),
        (b"event: a\nevent\n\n", "", "", none, false, false, false),
        (b"Data: a\ndatax: b\n data: c\n\n", "", "", none, false, false, false),
        (b"error: {\"code\":500}\n\n", "", "", Some(b"{\"code\":500}"), false, false, false),
        (b"error: a\nerror: b\n\n", "", "", Some(b"a"), false, false, false),
        (b"id: 7\ndata: x\n\n", "", "x", none, true, true, false),
        (b"id\n\n", "", "", none, false, true, false),
        (b"retry: 3000\n\n", "", "", none, false, true, false),
        (b": ping\n\n", "", "", none, false, false, true),
        (b":\n\n", "", "", none, false, false, true),
        (b"\n", "", "", none, false, false, true),
        (b"data: [DONE]", "", "[DONE]", none, true, false, false),
        (b"", "", "", none, false, false, true),
    ];
    for (event, name, data, error, has_data, dropped, only_comments) in cases {
        let shown = lossy(event);
        let fields = Fields::parse(event, false);
        assert_eq!((name, data), (&*lossy(fields.name), &*lossy(&fields.data)), "{shown}");
        assert_eq!((error, has_data), (fields.error, fields.has_data), "{shown}");
        assert_eq!((dropped, only_comments), (fields.dropped, fields.only_comments), "{shown}");
    }
}

#[test]
fn one_data_line_is_borrowed() {
    let event = b": comment\nevent: message\ndata: {\"x\":1}\nid: 5\n\n";
    let fields = Fields::parse(event, false);
    assert!(matches!(fields.data, std::borrow::Cow::Borrowed(_)));
    assert_eq!(Some(32..33), fields.raw_range(1..2));
    assert_eq!(None, fields.raw_range(0..8));
}

#[test]
fn a_byte_order_mark_is_dropped_only_at_the_head() {
    let event = b"\xEF\xBB\xBFdata: x\n\n";
    assert_eq!(b"x", &*Fields::parse(event, true).data);
    assert!(!Fields::parse(event, false).has_data);
    let mut out = Vec::new();
    without_lines(event, true, &mut out);
    without_lines(event, false, &mut out);
    assert_eq!([b"data: x\n\n", &event[..]].concat(), out);
}

#[test]
fn lines_that_break_readers_are_left_out() {
    let cases: [(&[u8], &[u8]); 14] = [
        (b"id: 1\ndata: x\n\n", b"data: x\n\n"),
        (b"data: x\r\nretry: 3\r\nid\r\n\r\n", b"data: x\r\n\r\n"),
        (b"event: e\rid:5\rdata: x\r\r", b"event: e\rdata: x\r\r"),
        (b"id: 1\n: comment\n\n", b": comment\n\n"),
        (b"id: 1\n:\n\n", b":\n\n"),
        (b"data: x\n\n", b"data: x\n\n"),
        (b"ID: 1\nidx: 2\n\n", b"ID: 1\nidx: 2\n\n"),
        (b"retry: 3000\n\n", b""),
        (b"id: 1\r\nretry: 5\r\n\r\n", b""),
        (b"\n", b""),
        (b"data: id: 1\n\n", b"data: id: 1\n\n"),
        (b"id: 1\ndata: [DONE]", b"data: [DONE]"),
        (b"data: x\rid: 1\n\n", b"data: x\r\n\n"),
        (b"data: x\rid: 1\n\r\n", b"data: x\r\r\n"),
    ];
    for (event, expected) in cases {
        let mut out = b"before ".to_vec();
        without_lines(event, false, &mut out);
        assert_eq!(lossy(&[b"before ", expected].concat()), lossy(&out), "{}", lossy(event));
    }
}

#[test]
fn an_open_event_is_closed_in_its_own_style() {
    let cases: [(&[u8], &[u8]); 8] = [
        (b"", b""),
        (b"data: [DONE]", b"\n\n"),
        (b"data: [DONE]\n", b"\n"),
        (b"event: e\r\ndata: x", b"\r\n\r\n"),
        (b"data: x\r\n", b"\r\n"),
        (b"data: x\r", b"\n\r\n"),
        (b"event: e\rdata: x", b"\n\n"),
        (b": comm", b"\n\n"),
    ];
    for (pending, expected) in cases {
        assert_eq!(lossy(expected), lossy(missing_line_ends(pending)), "{}", lossy(pending));
    }
}
