//! Lines and records as tables, and records cut at every point.

use super::{admitted, never_ended, read, sums, Attempt, Counts, End, Families, Found, Row, Usage, Value};
use crate::dialect::Tokens;
use crate::metrics::{render, Bank, Family, Kind};
use std::collections::HashMap;
use std::sync::Arc;

fn row() -> Row<&'static str> {
    Row {
        id: "req_1",
        endpoint: "chat_completions",
        operation: "chat",
        received_at: 1_763_776_451.25,
        duration: 2.5,
        caller: "dev",
        requested_model: "fast",
        model: "fast",
        target: "a/small",
        upstream: "a",
        upstream_model: "small",
        status: 200,
        outcome: "completed",
        usage: Usage {
            tokens: Tokens { input: 100, output: 51, cached_input: 20, cache_write: 5, reasoning: 10 },
            input_provenance: "provider",
            output_provenance: "provider",
            reported: vec![("input", 100)],
        },
        attempts: vec![Attempt { target: "a/small", outcome: "completed", decisive: true, ..Attempt::default() }],
        time_to_first_content: Some(0.5),
        overhead: 0.000_25,
        configuration: "1",
        ..Row::default()
    }
}

#[test]
fn a_line_is_json_in_ascii() {
    let usage = concat!(
        r#"{"tokens":{"input":100,"output":51,"cached_input":20,"cache_write":5,"reasoning":10},"#,
        r#""input_provenance":"provider","output_provenance":"provider","reported":[["input",100]]}"#,
    );
    let expected = [
        r#"{"id":"req_1","upstream_request_id":"","endpoint":"chat_completions","operation":"chat","stream":false,"#,
        r#""received_at":1763776451.250000,"duration":2.500000,"caller":"dev","group":"","requested_model":"fast","#,
        r#""model":"fast","target":"a/small","upstream":"a","upstream_model":"small","credential":"","attempts":[{"#,
        r#""target":"a/small","outcome":"completed","status":0,"usage":"#,
        usage,
        r#","credential":"","started":0.000000,"duration":0.000000,"bytes_in":0,"bytes_out":0,"decisive":true,"#,
        r#""upstream_request_id":""}],"status":200,"error_code":"","outcome":"completed","usage":"#,
        usage,
        r#","time_to_first_content":0.500000,"overhead":0.000250,"bytes_in":0,"bytes_out":0,"upstream_bytes_in":0,"#,
        r#""upstream_bytes_out":0,"events":0,"malformed_events":0,"heartbeats":0,"left":"","reserved":0,"#,
        r#""configuration":"1","cost":null,"credits":null,"price":""}"#,
    ];
    assert_eq!(String::from_utf8(row().line()), Ok(expected.concat()));
}

#[test]
fn what_is_no_plain_ascii_is_escaped() {
    for (text, escaped) in [
        ("a\"b\\c", r#"a\"b\\c"#),
        ("\n\r\t\0\u{7f}\u{1b}", r"\u000a\u000d\u0009\u0000\u007f\u001b"),
        ("Füß", r"F\u00fc\u00df"),
        ("\u{2028}\u{202e}", r"\u2028\u202e"),
        ("\u{1F6B0}", r"\ud83d\udeb0"),
    ] {
        let line = String::from_utf8(Row { id: text, ..row() }.line()).unwrap();
        assert!(line.starts_with(&format!(r#"{{"id":"{escaped}","upstream"#)), "{line}");
    }
}

#[test]
fn text_is_cut_between_characters() {
    let long = "ü".repeat(300);
    let of = Row { requested_model: long.as_str(), ..row() };
    let line = String::from_utf8(of.line()).unwrap();
    assert!(line.contains(&format!(r#""requested_model":"{}...","#, r"\u00fc".repeat(256))));
    let record = of.record(1);
    assert_eq!(read(&record).ended[0].same(&record)[4], Value::Text(&"ü".repeat(256)));
}

/// Two admissions, then the end of the first.
fn spool() -> (Vec<u8>, [usize; 3]) {
    let (first, second, end) = (admitted(&row(), 1), admitted(&row(), u64::MAX), row().record(1));
    let ends = [first.len(), first.len() + second.len(), first.len() + second.len() + end.len()];
    ([first, second, end].concat(), ends)
}

#[test]
fn a_spool_cut_at_every_byte_gives_what_is_whole() {
    let (bytes, ends) = spool();
    for cut in 0..=bytes.len() {
        let found = read(&bytes[..cut]);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        assert_eq!(found.end, ends[..whole].last().copied().unwrap_or(0), "{cut}");
        assert_eq!((found.admitted.len(), found.ended.len()), (whole.min(2), whole.saturating_sub(2)), "{cut}");
        assert_eq!((found.damaged, found.unbelievable), (0, false), "{cut}");
    }
    assert_eq!(read(&bytes).ended[0].sequence, 1);
    assert_eq!(read(&bytes).admitted[1].0, u64::MAX);
}

#[test]
fn a_changed_byte_costs_its_own_record_or_stops_what_follows() {
    let (bytes, ends) = spool();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 0x80;
        let found = read(&changed);
        let hit = ends.iter().filter(|&&end| end <= place).count();
        let kept = found.admitted.len() + found.ended.len();
        assert!(kept >= hit, "{place}: {kept}");
        assert!(kept < 3, "{place}: {kept}");
        let in_length = place - ends[..hit].last().copied().unwrap_or(0) < 4;
        assert!(in_length || (found.damaged, kept, found.end) == (1, 2, bytes.len()), "{place}");
    }
}

#[test]
fn what_can_never_become_a_frame_is_said() {
    for (bytes, unbelievable) in [
        (&b"\xff\xff\xff\xff\0\0\0\0"[..], true),
        (b"\x08\0\0\0\0\0\0\0", true),
        (b"\x09\0\0\0\0\0\0\0", false),
        (b"\xff\xff\xff", false),
        (b"", false),
    ] {
        assert_eq!(read(bytes), Found { unbelievable, ..Found::default() });
    }
}

#[test]
fn an_end_that_nobody_saw_has_the_columns_of_an_end() {
    let (bytes, _) = spool();
    let found = read(&bytes);
    let (sequence, place) = found.admitted[1].clone();
    let data = never_ended(sequence, &bytes[place]).unwrap();
    let unseen = &read(&data).ended[0];
    let (same, seen) = (unseen.same(&data), found.ended[0].same(&bytes));
    assert_eq!(unseen.sequence, u64::MAX);
    assert_eq!(unseen.received_at(), found.ended[0].received_at());
    assert_eq!((&same[..6], same[15]), (&seen[..6], seen[15]));
    assert_eq!((same[9], same[11]), (Value::Count(0), Value::Text("unknown")));
    assert_eq!(unseen.own(&data).filter(|value| *value == Value::None).count(), 3);
    assert_eq!(never_ended(1, b"\x99"), None);
}

/// Frames of ends, read.
fn ended(rows: &[Row<&str>]) -> (Vec<u8>, Vec<End>) {
    let data: Vec<u8> = (1..).zip(rows).flat_map(|(sequence, row)| row.record(sequence)).collect();
    let ends = read(&data).ended;
    (data, ends)
}

#[test]
fn ends_of_one_kind_are_alike_and_those_of_another_are_not() {
    let long = "x".repeat(300);
    let first = row();
    for (other, alike) in [
        (Row { id: "other", duration: 9.0, cost: None, ..row() }, true),
        (
            Row { usage: Usage { tokens: Tokens { input: 7, ..first.usage.tokens }, ..first.usage.clone() }, ..row() },
            true,
        ),
        (Row { received_at: first.received_at + 86_400.0, ..row() }, false),
        (Row { stream: !first.stream, ..row() }, false),
        (Row { caller: "other", ..row() }, false),
        (Row { requested_model: &long, ..row() }, false),
        (Row { status: 500, ..row() }, false),
        (Row { configuration: "other", ..row() }, false),
    ] {
        let (data, ends) = ended(&[first.clone(), other]);
        assert_eq!(ends[0].is_like(&ends[1], &data), alike, "{:?}", ends[1].same(&data));
    }
}

#[test]
fn sums_do_not_depend_on_the_order_and_stop_at_the_largest_number() {
    let most = i64::MAX.unsigned_abs();
    let (a, b) = (Row { cost: Some(most), credits: None, ..row() }, Row { caller: "b", cost: None, ..row() });
    let day = (a.received_at / 86_400.0) as i64;
    let figures = |rows: i64, cost, credits, unpriced| {
        let [input, output, cached, written, reasoning] = [100, 51, 20, 5, 10].map(|one| one * rows);
        [rows, input, output, cached, written, reasoning, cost, credits, unpriced]
    };
    let group = |caller| ["fast", "a/small", caller, ""];
    let expected = [(day, group("b"), figures(1, 0, 0, 1)), (day, group("dev"), figures(3, i64::MAX, 0, 0))];
    for rows in [[&a, &a, &a, &b], [&a, &b, &a, &a], [&b, &a, &a, &a]] {
        let (data, ends) = ended(&rows.map(Clone::clone));
        assert_eq!(sums(&data, ends.iter()), expected);
    }
    assert_eq!(sums(b"", [].iter()), []);
}

/// A bank with a family for each that rows move, under its own field's name.
fn counted(rows: &[Row<&str>]) -> String {
    let names = Families {
        requests: "requests".into(),
        duration: "duration".into(),
        overhead: "overhead".into(),
        bytes: "bytes".into(),
        tokens: "tokens".into(),
        first_content: "first".into(),
        malformed: "malformed".into(),
        heartbeats: "heartbeats".into(),
        disconnects: "disconnects".into(),
        gen_ai_duration: "ai_duration".into(),
        gen_ai_usage: "ai_usage".into(),
        gen_ai_first: "ai_first".into(),
        gen_ai_per_token: "ai_pace".into(),
    };
    let asked = ["operation", "provider", "model", "answering"];
    let family = |name: &str, labels: &[&str]| Family {
        name: name.to_owned(),
        help: "Help.".to_owned(),
        kind: Kind::Counter,
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        cap: if labels.is_empty() { 0 } else { 8 },
    };
    let families = vec![
        family("requests", &["model", "target", "status", "error"]),
        family("duration", &[]),
        family("overhead", &[]),
        family("bytes", &["side", "direction"]),
        family("tokens", &["model", "target", "direction", "provenance"]),
        family("first", &[]),
        family("malformed", &["target"]),
        family("heartbeats", &[]),
        family("disconnects", &["phase"]),
        family("ai_duration", &[&asked[..], &["error"]].concat()),
        family("ai_usage", &[&asked[..], &["direction"]].concat()),
        family("ai_first", &asked),
        family("ai_pace", &asked),
    ];
    let bank = Arc::new(Bank::in_memory(families, None).unwrap());
    let counts = Counts::new(Arc::clone(&bank), &names, HashMap::from([("a".into(), "openai".into())])).unwrap();
    for one in rows {
        counts.count(one);
    }
    let mut text = Vec::new();
    render(&[&bank], &mut text);
    let told = String::from_utf8(text).unwrap();
    let moved: Vec<&str> = told.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).collect();
    moved.join("\n")
}

#[test]
fn an_attempt_that_was_left_has_a_price_and_a_cost_of_its_own() {
    let left = Attempt {
        target: "b/big",
        outcome: "upstream_error",
        usage: Some(row().usage),
        upstream_request_id: "up_1",
        price: "p1",
        cost: Some(77),
        ..Attempt::default()
    };
    let told = Row { attempts: vec![left, row().attempts[0].clone()], ..row() }.kept_attempts();
    let (first, second) = told.split_once("},{").unwrap();
    assert!(first.ends_with(r#""decisive":false,"upstream_request_id":"up_1","price":"p1","cost":77"#), "{first}");
    assert!(second.ends_with(r#""decisive":true,"upstream_request_id":""}]"#), "{second}");
}

#[test]
fn a_row_moves_every_figure_once() {
    let left = Row {
        status: 499,
        error_code: "client_disconnected",
        left: "streaming",
        heartbeats: 2,
        malformed_events: 3,
        bytes_in: 7,
        usage: Usage { input_provenance: "none", output_provenance: "none", ..Usage::default() },
        attempts: vec![Attempt {
            target: "b/big",
            usage: Some(Usage { input_provenance: "provider", output_provenance: "none", ..row().usage }),
            ..Attempt::default()
        }],
        ..row()
    };
    let expected = [
        r#"requests{model="fast",target="a/small",status="200",error=""} 2"#,
        r#"requests{model="fast",target="a/small",status="499",error="client_disconnected"} 1"#,
        "duration 6",
        r#"bytes{side="client",direction="in"} 7"#,
        r#"tokens{model="fast",target="a/small",direction="input",provenance="provider"} 200"#,
        r#"tokens{model="fast",target="a/small",direction="cached_input",provenance="provider"} 40"#,
        r#"tokens{model="fast",target="a/small",direction="cache_write",provenance="provider"} 10"#,
        r#"tokens{model="fast",target="a/small",direction="output",provenance="provider"} 102"#,
        r#"tokens{model="fast",target="a/small",direction="reasoning",provenance="provider"} 20"#,
        r#"tokens{model="fast",target="b/big",direction="input",provenance="provider"} 100"#,
        r#"tokens{model="fast",target="b/big",direction="cached_input",provenance="provider"} 20"#,
        r#"tokens{model="fast",target="b/big",direction="cache_write",provenance="provider"} 5"#,
        r#"malformed{target="a/small"} 3"#,
        "heartbeats 2",
        r#"disconnects{phase="streaming"} 1"#,
        r#"ai_duration{operation="chat",provider="openai",model="fast",answering="small",error=""} 4"#,
        r#"ai_duration{operation="chat",provider="openai",model="fast",answering="small",error="client_disconnected"} 2"#,
    ];
    assert_eq!(counted(&[row(), row(), left]), expected.join("\n"));
}
