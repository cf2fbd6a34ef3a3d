//! A fault of ours, wherever a connection stands: who waits is told, the client too, and the connection is given up.

use super::{Actions, Connection, Resolution};
use crate::answer::Verdict;
use crate::dialect::Dialect;
use crate::plan::{End, Limits, Plan, Times};
use crate::upload::Upload;
use std::sync::Arc;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const TOLD: &str = "data: {\"error\":{\"code\":\"internal_error\"}}\n\n";

fn plan() -> Arc<Plan> {
    Arc::new(Plan {
        dialect: Dialect::OpenAiChat,
        stream: true,
        model: None,
        strip_usage: true,
        fill_choices: false,
        tidy: true,
        ensure_done: true,
        insert: None,
        page: None,
        done: b"data: [DONE]\n\n"[..].into(),
        errors: [(End::Internal, TOLD.as_bytes().into())].into(),
        limits: Limits { head: 4096, event: 4096, held: 2048, error_body: 1024, answer: 4096 },
        heartbeat: b": keep-alive\n\n"[..].into(),
        times: Times { first_content: 10, idle: 10, done_grace: 10, heartbeat: u64::MAX },
        gaps: None,
    })
}

/// A connection that has asked and read `answer`; its client's message is `open` or not.
fn asked(answer: &str, open: bool) -> (Connection, Actions) {
    let (mut connection, mut actions) = (Connection::new(None), Actions::default());
    connection.opened(&mut actions);
    let upload = Upload::new(b"POST / HTTP/1.1\r\n\r\n".to_vec(), Box::new(b"{}"), Vec::new());
    connection.begin(0, upload, plan(), 1, u64::MAX, &mut actions);
    connection.received(0, answer.as_bytes(), &mut actions);
    if open {
        connection.open(0, false, false, &mut actions);
    }
    actions.clear();
    (connection, actions)
}

fn is_lost_by_us(resolution: Option<&Resolution>) -> bool {
    matches!(resolution, Some(Resolution::Head(head)) if (head.verdict, head.code) == (Verdict::Lost, "internal_error"))
}

#[test]
fn before_the_commit_the_attempt_is_lost_by_us() {
    let nothing_yet = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: ping\n\n";
    for answer in ["", "HTTP/1.1 2", HEAD, nothing_yet] {
        let (mut connection, mut actions) = asked(answer, false);

        connection.poison(&mut actions);

        assert!(is_lost_by_us(actions.resolve.as_ref()), "{answer:?}");
        assert!((actions.close, connection.is_closed()) == (true, true), "{answer:?}");
        assert_eq!(actions.client, b"", "{answer:?}");
    }
}

#[test]
fn before_it_is_up_it_never_will_be() {
    let (mut connection, mut actions) = (Connection::new(None), Actions::default());

    connection.poison(&mut actions);

    assert!(matches!(actions.resolve, Some(Resolution::NotReady("internal_error", _))));
    assert!(actions.close);
}

#[test]
fn a_relayed_stream_is_ended_with_our_event_and_what_was_open_is_closed() {
    for (open_event, closed) in [("", ""), ("data: {\"cho", "data: {\"cho\n\n")] {
        let (mut connection, mut actions) = asked(&[HEAD, HI, open_event].concat(), true);

        connection.poison(&mut actions);

        assert_eq!(String::from_utf8(actions.client.clone()).unwrap(), [closed, TOLD].concat());
        assert!(matches!(actions.resolve, Some(Resolution::Ended)));
        let outcome = connection.outcome();
        let expected = (End::Internal, (HI.len() + closed.len() + TOLD.len()) as u64);
        assert_eq!((outcome.end, outcome.account.bytes_out), expected);
        assert!(actions.close);
    }
}

#[test]
fn a_committed_stream_whose_message_is_not_open_tells_it_when_it_is() {
    let (mut connection, mut actions) = asked(&[HEAD, HI].concat(), false);

    connection.poison(&mut actions);
    assert!(is_lost_by_us(actions.resolve.as_ref()), "who has not heard of the commit hears this");
    assert!(actions.close);

    actions.clear();
    connection.open(0, false, false, &mut actions);
    assert_eq!(String::from_utf8(actions.client.clone()).unwrap(), [HI, TOLD].concat());
    assert!(matches!(actions.resolve, Some(Resolution::Ended)));
    assert_eq!(connection.outcome().end, End::Internal);
}

#[test]
fn a_connection_that_nobody_uses_is_closed() {
    let (mut connection, mut actions) = (Connection::new(None), Actions::default());
    connection.opened(&mut actions);
    actions.clear();

    connection.poison(&mut actions);

    assert!((actions.close, connection.is_closed(), connection.is_idle()) == (true, true, false));
}
