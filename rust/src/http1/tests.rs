//! Tables of responses and requests. Every response is read whole, byte by byte and cut at every point, and must give
//! the same each time.

use super::*;
use crate::seeds::http1::{check, read, Ending, Seen};

/// Reads `bytes` in every way and gives what all ways agreed on.
fn read_cut_everywhere(name: &str, new: impl Fn() -> Parser, bytes: &[u8], proper: bool) -> Seen {
    let whole = read(new(), [bytes], proper);
    assert_eq!(whole, read(new(), bytes.chunks(1), proper), "{name}: byte by byte");
    for size in [2, 3, 7] {
        assert_eq!(whole, read(new(), bytes.chunks(size), proper), "{name}: {size} bytes at a time");
    }
    if bytes.len() < 4096 {
        for cut in 0..bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(whole, read(new(), [before, after], proper), "{name}: cut at {cut}");
        }
    }
    whole
}

fn small() -> Limits {
    Limits { head: 200, headers: 4 }
}

struct Accepted {
    name: &'static str,
    input: &'static str,
    status: u16,
    keep_alive: bool,
    kind: BodyKind,
    body: &'static str,
}

const fn accepted(
    name: &'static str,
    input: &'static str,
    (status, keep_alive, kind, body): (u16, bool, BodyKind, &'static str),
) -> Accepted {
    Accepted { name, input, status, keep_alive, kind, body }
}

#[rustfmt::skip]
const ACCEPTED: &[Accepted] = &[
    accepted("a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, true, BodyKind::Length(5), "hello")),
    accepted("a length of nothing", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, true, BodyKind::Length(0), "")),
    accepted("a zero-padded length", "HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello", (200, true, BodyKind::Length(5), "hello")),
    accepted("no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", (200, true, BodyKind::Length(0), "")),
    accepted("an empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", (200, true, BodyKind::Length(0), "")),
    accepted("a reason that is not ASCII", "HTTP/1.1 404 Fehlt möglicherweise\r\nContent-Length: 0\r\n\r\n", (404, true, BodyKind::Length(0), "")),
    accepted("a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", (200, true, BodyKind::Chunked, "hello")),
    accepted("two chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", (200, true, BodyKind::Chunked, "hello")),
    accepted("no chunk but the last", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (200, true, BodyKind::Chunked, "")),
    accepted("hexadecimal, padded, both cases", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n000A\r\n0123456789\r\n000000000000000b\r\nabcdefghijk\r\n0000\r\n\r\n", (200, true, BodyKind::Chunked, "0123456789abcdefghijk")),
    accepted("chunk data that looks like framing", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", (200, true, BodyKind::Chunked, "\r\n0\r\n\r\n")),
    accepted("extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d;e\"\r\nhello\r\n0;last\r\n\r\n", (200, true, BodyKind::Chunked, "hello")),
    accepted("blanks after a size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \t\r\nhello\r\n0 ;x\r\n\r\n", (200, true, BodyKind::Chunked, "hello")),
    accepted("trailers are dropped", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n", (200, true, BodyKind::Chunked, "x")),
    accepted("204 has no body", "HTTP/1.1 204 No Content\r\n\r\n", (204, true, BodyKind::None, "")),
    accepted("304 has no body whatever it says", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", (304, true, BodyKind::None, "")),
    accepted("the connection is to be closed", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", (200, false, BodyKind::Length(1), "x")),
    accepted("close in a list, in capitals", "HTTP/1.1 200 OK\r\nConnection: foo , CLOSE\r\nContent-Length: 1\r\n\r\nx", (200, false, BodyKind::Length(1), "x")),
    accepted("close in a second field wins", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", (200, false, BodyKind::Length(1), "x")),
    accepted("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, false, BodyKind::Length(1), "x")),
    accepted("HTTP/1.0 kept alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", (200, true, BodyKind::Length(1), "x")),
    accepted("chunks under HTTP/1.0 end the connection", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (200, false, BodyKind::Chunked, "")),
    accepted("100 is skipped", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, true, BodyKind::Length(1), "x")),
    accepted("102 and 103 are skipped with their fields", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, true, BodyKind::Length(1), "x")),
    accepted("a status nobody knows", "HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", (599, true, BodyKind::Length(0), "")),
];

#[test]
fn what_is_read() {
    for case in ACCEPTED {
        let bytes = case.input.as_bytes();
        let seen = read_cut_everywhere(case.name, || Parser::new(Limits::default()), bytes, false);
        let head = seen.head.as_ref().map(|head| (head.status, head.keep_alive, head.body));
        assert_eq!(Some((case.status, case.keep_alive, case.kind)), head, "{}", case.name);
        assert_eq!(case.body.as_bytes(), seen.body, "{}", case.name);
        assert_eq!(Ending::Complete { left: 0 }, seen.ending, "{}", case.name);
    }
}

#[test]
fn what_follows_a_response_is_left_alone() {
    for case in ACCEPTED {
        for trailing in ["\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "0\r\n\r\n", "\0"] {
            let bytes = [case.input, trailing].concat();
            let seen = read_cut_everywhere(case.name, || Parser::new(Limits::default()), bytes.as_bytes(), false);
            assert_eq!(case.body.as_bytes(), seen.body, "{}", case.name);
            assert_eq!(Ending::Complete { left: trailing.len() }, seen.ending, "{}", case.name);
        }
    }
}

#[test]
fn a_response_that_ends_early_is_cut() {
    for case in ACCEPTED {
        for length in 1..case.input.len() {
            let bytes = &case.input.as_bytes()[..length];
            let seen = read(Parser::new(Limits::default()), [bytes], true);
            assert_eq!(Ending::Eof(End::Cut), seen.ending, "{}: {length} bytes", case.name);
        }
    }
}

#[rustfmt::skip]
const REFUSED: &[(&str, &str, Protocol)] = &[
    ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n", Protocol::BadHead),
    ("a TLS alert", "\x15\x03\x01\0\x02", Protocol::BadHead),
    ("HTTP/2", "HTTP/2 200\r\n\r\n", Protocol::BadHead),
    ("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", Protocol::BadHead),
    ("small letters", "http/1.1 200 OK\r\n\r\n", Protocol::BadHead),
    ("an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", Protocol::BadHead),
    ("no status", "HTTP/1.1\r\n\r\n", Protocol::BadHead),
    ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", Protocol::BadHead),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", Protocol::BadHead),
    ("a status below 100", "HTTP/1.1 099 Low\r\n\r\n", Protocol::BadHead),
    ("a status above 599", "HTTP/1.1 600 High\r\n\r\n", Protocol::BadHead),
    ("NUL in a value (fault 63)", "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", Protocol::BadHead),
    ("a control byte in a value (fault 63)", "HTTP/1.1 200 OK\r\nA: b\x1bc\r\n\r\n", Protocol::BadHead),
    ("DEL in a value (fault 63)", "HTTP/1.1 200 OK\r\nA: b\x7fc\r\n\r\n", Protocol::BadHead),
    ("CR in a value (fault 63)", "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Protocol::BadHead),
    ("CR in the reason (fault 63)", "HTTP/1.1 200 O\rK\r\n\r\n", Protocol::BadHead),
    ("NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n", Protocol::BadHead),
    ("NUL in a name", "HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n", Protocol::BadHead),
    ("a folded line", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Protocol::BadHead),
    ("a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", Protocol::BadHead),
    ("a blank before the first name", "HTTP/1.1 200 OK\r\n A: b\r\n\r\n", Protocol::BadHead),
    ("no colon", "HTTP/1.1 200 OK\r\nA\r\n\r\n", Protocol::BadHead),
    ("no name", "HTTP/1.1 200 OK\r\n: b\r\n\r\n", Protocol::BadHead),
    ("a line that ends with LF", "HTTP/1.1 200 OK\nA: b\r\n\r\n", Protocol::BadHead),
    ("a head that ends with LF LF", "HTTP/1.1 200 OK\r\nA: b\n\n", Protocol::BadHead),
    ("101 (fault 62)", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Protocol::Switching),
    ("101 after 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n", Protocol::Switching),
    ("length and chunks (fault 64)", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Protocol::BadFraming),
    ("chunks and length (fault 64)", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Protocol::BadFraming),
    ("chunks and length on a 204", "HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Protocol::BadFraming),
    ("two lengths (fault 64)", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Protocol::BadFraming),
    ("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", Protocol::BadFraming),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", Protocol::BadFraming),
    ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", Protocol::BadFraming),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Protocol::BadFraming),
    ("a hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n", Protocol::BadFraming),
    ("no length in a length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Protocol::BadFraming),
    ("a length above 2^63", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775809\r\n\r\n", Protocol::BadFraming),
    ("a length above 2^64", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\n", Protocol::BadFraming),
    ("a coding before chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Protocol::BadFraming),
    ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", Protocol::BadFraming),
    ("almost chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", Protocol::BadFraming),
    ("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Protocol::BadFraming),
    ("no coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n", Protocol::BadFraming),
    ("no chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", Protocol::BadChunk),
    ("a chunk size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Protocol::BadChunk),
    ("a negative chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", Protocol::BadChunk),
    ("0x before a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello", Protocol::BadChunk),
    ("a blank before a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello", Protocol::BadChunk),
    ("a blank inside a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 5\r\nhello", Protocol::BadChunk),
    ("17 digits", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000005\r\nhello", Protocol::BadChunk),
    ("a chunk above 2^63", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello", Protocol::BadChunk),
    ("LF after a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n", Protocol::BadChunk),
    ("CR alone after a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\rhello\r\n", Protocol::BadChunk),
    ("LF in an extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n", Protocol::BadChunk),
    ("NUL in an extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\0\r\nhello\r\n", Protocol::BadChunk),
    ("a chunk longer than it says", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n", Protocol::BadChunk),
    ("LF after a chunk's data", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", Protocol::BadChunk),
    ("LF after the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n", Protocol::BadChunk),
    ("LF instead of trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", Protocol::BadTrailers),
    ("LF after a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n", Protocol::BadTrailers),
    ("NUL in a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: \0\r\n\r\n", Protocol::BadTrailers),
];

#[test]
fn what_is_refused() {
    for (name, input, why) in REFUSED {
        let seen = read_cut_everywhere(name, || Parser::new(Limits::default()), input.as_bytes(), true);
        assert_eq!(Ending::Refused(*why), seen.ending, "{name}");
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let head = |filler: usize| format!("HTTP/1.1 204 OK\r\nA: {}\r\n\r\n", "x".repeat(filler));
    let lines = |count: usize| format!("HTTP/1.1 204 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    let trailers = |filler: usize| {
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: {}\r\n\r\n", "x".repeat(filler))
    };
    let extension = |filler: usize| {
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0;{}\r\n\r\n", "x".repeat(filler))
    };
    let interim = |count: usize| format!("{}HTTP/1.1 204 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n".repeat(count));
    let complete = Ending::Complete { left: 0 };
    let cases = [
        ("a head of 200 bytes", head(176), complete),
        ("a head of 201 bytes", head(177), Ending::Refused(Protocol::HeadTooLarge)),
        ("a head without end", head(100_000), Ending::Refused(Protocol::HeadTooLarge)),
        ("a status line without end", "HTTP/1.1 200 ".repeat(100), Ending::Refused(Protocol::HeadTooLarge)),
        ("4 fields", lines(4), complete),
        ("5 fields", lines(5), Ending::Refused(Protocol::HeadTooLarge)),
        ("trailers of 200 bytes", trailers(193), complete),
        ("trailers of 201 bytes", trailers(194), Ending::Refused(Protocol::BadTrailers)),
        ("4 KiB of extension", extension(4095), complete),
        ("4 KiB and a byte of extension", extension(4096), Ending::Refused(Protocol::BadChunk)),
        ("16 interim responses", interim(16), complete),
        ("17 interim responses", interim(17), Ending::Refused(Protocol::TooManyInterim)),
    ];
    for (name, input, ending) in cases {
        let seen = read_cut_everywhere(name, || Parser::new(small()), input.as_bytes(), true);
        assert_eq!(ending, seen.ending, "{name}");
    }
}

#[test]
fn a_head_is_kept_within_its_limit_whatever_came_with_it() {
    let mut parser = Parser::new(small());
    let input = [b"HTTP/1.1 200 ".as_slice(), &vec![b'x'; 1 << 20]].concat();
    assert_eq!(Err(Protocol::HeadTooLarge), parser.head(&mut input.as_slice()).map(drop));
    assert!(parser.lines.capacity() <= 2 * small().head);
}

#[test]
fn the_end_of_the_connection() {
    const CLOSE: &str = "HTTP/1.0 200 OK\r\n\r\n";
    let cases: [(&str, &str, bool, End, &str); 9] = [
        ("nothing came", "", true, End::Nothing, ""),
        ("nothing came, TLS cut", "", false, End::Nothing, ""),
        ("one byte of a head", "H", true, End::Cut, ""),
        ("an interim response only", "HTTP/1.1 100 Continue\r\n\r\n", true, End::Cut, ""),
        ("a close-delimited body (fault 66)", "HTTP/1.0 200 OK\r\n\r\nhello", true, End::Clean, "hello"),
        ("a close-delimited body, TLS cut", "HTTP/1.0 200 OK\r\n\r\nhello", false, End::Cut, "hello"),
        ("an empty close-delimited body", CLOSE, true, End::Clean, ""),
        ("an empty close-delimited body, TLS cut", CLOSE, false, End::Cut, ""),
        (
            "a body below its length (fault 65)",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            true,
            End::Cut,
            "hello",
        ),
    ];
    for (name, input, proper, end, body) in cases {
        let seen = read_cut_everywhere(name, || Parser::new(Limits::default()), input.as_bytes(), proper);
        assert_eq!((Ending::Eof(end), body.as_bytes()), (seen.ending, seen.body.as_slice()), "{name}");
        assert!(seen.head.iter().all(|head| head.body != BodyKind::Close || !head.keep_alive), "{name}");
    }
}

#[test]
fn a_connection_that_ends_after_a_complete_response_is_clean() -> Result<(), Protocol> {
    let mut parser = Parser::new(Limits::default());
    assert!(parser.untouched());
    parser.head(&mut b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".as_slice())?;
    assert_eq!((false, End::Clean), (parser.untouched(), parser.eof(false)));
    Ok(())
}

#[test]
fn the_answer_to_head_has_no_body() {
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked", "A: b"] {
        let input = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
        let seen = read(Parser::answering_head(Limits::default()), [input.as_bytes()], true);
        assert_eq!(Some((BodyKind::None, true)), seen.head.map(|head| (head.body, head.keep_alive)), "{framing}");
        assert_eq!(Ending::Complete { left: 0 }, seen.ending, "{framing}");
    }
}

#[test]
fn fields_are_found_whatever_their_case() -> Result<(), Protocol> {
    let input = "HTTP/1.1 429 Slow\r\nRetry-After: \t7 \r\nX:\r\nA: ü\r\nx: 2\r\nContent-Length: 0\r\n\r\n";
    let mut parser = Parser::new(Limits::default());
    let head = parser.head(&mut input.as_bytes())?;
    let Some(head) = head else { unreachable!("the head is complete") };
    assert_eq!(Some(b"7".as_slice()), head.get("retry-AFTER"));
    assert_eq!(Some("ü".as_bytes()), head.get("a"));
    assert_eq!(None, head.get("retry"));
    assert_eq!(vec![b"".as_slice(), b"2"], head.all("X").collect::<Vec<_>>());
    assert_eq!(
        vec![b"Retry-After".as_slice(), b"X", b"A", b"x", b"Content-Length"],
        head.fields().map(|(name, _)| name).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn a_large_body_passes_without_a_copy() -> Result<(), Protocol> {
    let input = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".as_slice(), &vec![b'x'; 1_000_000]].concat();
    let mut data = input.as_slice();
    let mut parser = Parser::new(Limits::default());
    parser.head(&mut data)?;
    let rest = data;
    let Piece::Data(piece) = parser.body(&mut data)? else { unreachable!("the body is there") };
    assert_eq!((rest.as_ptr(), 1_000_000), (piece.as_ptr(), piece.len()));
    Ok(())
}

#[test]
fn what_the_fuzzer_checks_holds_for_the_tables() {
    for input in ACCEPTED.iter().map(|case| case.input).chain(REFUSED.iter().map(|(_, input, _)| *input)) {
        for options in 0..8u8 {
            check(&[&[options, options], input.as_bytes()].concat());
        }
    }
}

#[test]
fn a_request_is_written() {
    let mut out = b"before".to_vec();
    let headers = [("authorization", "Bearer k"), ("x-note", "tab\tand ü"), ("x-empty", "")];
    let written = request_lines(&mut out, "POST", "/v1/chat/completions?a=%20", "[::1]:8443", &headers);
    end_of_head(&mut out, 12);
    let expected = "beforePOST /v1/chat/completions?a=%20 HTTP/1.1\r\nhost: [::1]:8443\r\nauthorization: Bearer k\r\n\
                    x-note: tab\tand ü\r\nx-empty: \r\ncontent-length: 12\r\n\r\n";
    assert_eq!((Ok(()), expected.as_bytes()), (written, out.as_slice()));
}

#[test]
fn nothing_breaks_out_of_a_request() {
    type Parts<'a> = (&'a str, &'a str, &'a str, (&'a str, &'a str));
    let good: Parts = ("GET", "/", "h", ("a", "b"));
    let cases: [(Parts, Unsendable); 21] = [
        (("", good.1, good.2, good.3), Unsendable::Method),
        (("G T", good.1, good.2, good.3), Unsendable::Method),
        (("GET\r\n", good.1, good.2, good.3), Unsendable::Method),
        ((good.0, "", good.2, good.3), Unsendable::Target),
        ((good.0, "*", good.2, good.3), Unsendable::Target),
        ((good.0, "http://other/", good.2, good.3), Unsendable::Target),
        ((good.0, "/a b", good.2, good.3), Unsendable::Target),
        ((good.0, "/a\r\nx: y", good.2, good.3), Unsendable::Target),
        ((good.0, "/\u{e9}", good.2, good.3), Unsendable::Target),
        ((good.0, good.1, "", good.3), Unsendable::Host),
        ((good.0, good.1, "h\r\nx: y", good.3), Unsendable::Host),
        ((good.0, good.1, "user@h", good.3), Unsendable::Host),
        ((good.0, good.1, "h/path", good.3), Unsendable::Host),
        ((good.0, good.1, good.2, ("", "b")), Unsendable::Name),
        ((good.0, good.1, good.2, ("a b", "b")), Unsendable::Name),
        ((good.0, good.1, good.2, ("a:", "b")), Unsendable::Name),
        ((good.0, good.1, good.2, ("Transfer-Encoding", "chunked")), Unsendable::Name),
        ((good.0, good.1, good.2, ("CONTENT-LENGTH", "0")), Unsendable::Name),
        ((good.0, good.1, good.2, ("a", "b\nc")), Unsendable::Value),
        ((good.0, good.1, good.2, ("a", "b\0")), Unsendable::Value),
        ((good.0, good.1, good.2, ("a", "\x7f")), Unsendable::Value),
    ];
    for ((method, target, host, header), why) in cases {
        let mut out = Vec::new();
        let written = request_lines(&mut out, method, target, host, &[good.3, header]);
        assert_eq!((Err(why), &[][..]), (written, out.as_slice()), "{method} {target} {host} {header:?}");
    }
}
