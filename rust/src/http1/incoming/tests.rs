//! Which requests are read here, and which are left to the server's parser.

use super::{read, Incoming};

const FORWARDED: [&str; 2] = ["accept", "content-type"];

fn plain(extra: &str) -> Vec<u8> {
    format!("POST /v1/chat HTTP/1.1\r\nHost: h:80\r\nContent-Length: 2\r\n{extra}\r\n{{}}").into_bytes()
}

fn is_read(data: &[u8]) -> bool {
    read(data, 1024, &FORWARDED, &[]).is_some()
}

#[test]
fn everything_an_sdk_sends_is_read() {
    let data = b"POST /v1/chat/completions?a=b HTTP/1.1\r\nhost: example.com\r\nAuthorization:  Bearer sk-1 \r\n\
        X-Api-Key: k\r\nACCEPT: a, b\r\nContent-Type: application/json; charset=utf-8\r\nUser-Agent: OpenAI/1 x\r\n\
        X-Request-Id: r1\r\nConnection: Keep-Alive\r\naccept: c\r\nContent-Length: 3\r\n\r\n{ }";
    let expected = Incoming {
        target: "/v1/chat/completions?a=b",
        authorization: Some("Bearer sk-1"),
        api_key: Some("k"),
        request_id: Some("r1"),
        json: true,
        forwarded: "accept: a, b\ncontent-type: application/json; charset=utf-8\naccept: c\n".to_owned(),
        body: b"{ }",
    };
    assert_eq!(read(data, 1024, &FORWARDED, &[]), Some(expected));
}

#[test]
fn what_is_missing_is_nothing() {
    let expected = Incoming {
        target: "/v1/chat",
        authorization: None,
        api_key: None,
        request_id: None,
        json: false,
        forwarded: String::new(),
        body: b"{}",
    };
    assert_eq!(read(&plain(""), 1024, &FORWARDED, &[]), Some(expected));
}

#[test]
fn a_request_that_is_cut_or_followed_by_more_is_left() {
    let data = plain("Accept: x\r\n");
    for cut in 0..data.len() {
        assert!(!is_read(&data[..cut]), "cut at {cut}");
    }
    let mut more = data.clone();
    more.push(b'P');
    assert!(!is_read(&more));
    assert!(is_read(&data));
}

#[test]
fn a_head_above_the_limit_is_left() {
    let data = plain("");
    let head = data.len() - 2;
    assert!(read(&data, head, &FORWARDED, &[]).is_some());
    assert!(read(&data, head - 1, &FORWARDED, &[]).is_none());
}

#[test]
fn headers_that_ask_for_anything_special_are_left() {
    for extra in [
        "Transfer-Encoding: chunked\r\n",
        "Content-Encoding: gzip\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\n",
        "Origin: http://x\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive, x\r\n",
        "Connection: keep-alive\r\nConnection: keep-alive\r\n",
        "Host: other\r\n",
        "Content-Length: 2\r\n",
        "Authorization: a\r\nauthorization: a\r\n",
        "X-Api-Key: a\r\nx-api-key: b\r\n",
        "X-Request-Id: a b\r\n",
        "X-Request-Id: \r\n",
        "Content-Type: a\r\nContent-Type: b\r\n",
        "Accept: a\tb\r\n",
        "No-Colon\r\n",
        ": no name\r\n",
        "Space : x\r\n",
        " folded: x\r\n",
        "Accept: a\r\n b\r\n",
        "Accept: a\rb\r\n",
        "Accept: a\nb: c\r\n",
        "Accept: \0\r\n",
        "Accept: \u{e9}\r\n",
        "Accept: \x7f\r\n",
    ] {
        assert!(!is_read(&plain(extra)), "{extra:?}");
    }
    assert!(!is_read(&plain(&"X: y\r\n".repeat(63))));
    assert!(is_read(&plain(&"X: y\r\n".repeat(62))));
}

#[test]
fn request_lines_that_are_not_plain_are_left() {
    for line in [
        "GET /v1 HTTP/1.1",
        "post /v1 HTTP/1.1",
        "POST /v1 HTTP/1.0",
        "POST /v1 HTTP/2.0",
        "POST  /v1 HTTP/1.1",
        "POST /v1  HTTP/1.1",
        "POST /v 1 HTTP/1.1",
        "POST http://h/v1 HTTP/1.1",
        "POST * HTTP/1.1",
        "POST /v1#x HTTP/1.1",
        "POST /v1",
        "",
    ] {
        let data = format!("{line}\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        assert!(!is_read(data.as_bytes()), "{line:?}");
    }
}

#[test]
fn hosts_and_lengths_that_are_not_plain_are_left() {
    for (host, length) in [
        ("h", "+0"),
        ("h", "-0"),
        ("h", "0x0"),
        ("h", ""),
        ("h", "00000000000"),
        ("h", "1"),
        ("h", "0, 0"),
        ("", "0"),
        ("h:123456", "0"),
        ("h:8a", "0"),
        ("h:1:2", "0"),
        ("u@h", "0"),
        ("[::1]", "0"),
        ("h/x", "0"),
    ] {
        let data = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        assert!(!is_read(data.as_bytes()), "{host:?} {length:?}");
    }
    assert!(is_read(b"POST / HTTP/1.1\r\nHost: h:\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn json_is_declared_in_these_ways() {
    for (kind, expected) in [
        ("application/json", true),
        ("Application/JSON ; charset=utf-8", true),
        ("application/problem+json", true),
        ("text/json", false),
        ("application/jsonp", false),
        ("", false),
    ] {
        let data = plain(&format!("Content-Type: {kind}\r\n"));
        assert_eq!(read(&data, 1024, &FORWARDED, &[]).map(|request| request.json), Some(expected), "{kind}");
    }
}

#[test]
fn a_header_that_only_the_other_reader_knows_is_left_to_it() {
    let left = ["x-only-there"];
    assert!(read(&plain("X-Only-There: y\r\n"), 1024, &FORWARDED, &left).is_none());
    assert!(read(&plain("X-Only-Their: y\r\n"), 1024, &FORWARDED, &left).is_some());
}
