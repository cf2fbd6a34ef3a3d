//! What is ours begins a line and an event of its own, also for a reader that knows LF alone, and also behind a CR: half
//! a CRLF, or a byte of the framing that a chunk's size counts in.

use super::{check, open_relay, over, plan, told, Case, Ending, DONE, HI, STOP, USAGE};
use crate::plan::{End, Plan};
use crate::relay::Step;
use std::sync::Arc;

const ERROR: &str = "error: no";

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// With CRLF, cut before the last LF.
fn halved(text: &str) -> String {
    let mut text = crlf(text);
    text.pop();
    text
}

fn cases() -> Vec<Case> {
    let normal = || plan(|_| ());
    let transparent = || {
        plan(|p: &mut Plan| {
            (p.strip_usage, p.tidy, p.ensure_done) = (false, false, false);
        })
    };
    let invisible = |name, ends: &str, input: &str, added: &str, rest: &str| {
        let before = [HI, ERROR, ends].concat();
        let output = [&before, added, &told(End::ErrorInBand), rest].concat();
        (name, normal(), [&before, input].concat(), Ending::Clean, output, over(End::ErrorInBand))
    };
    let ended = |name, plan: Arc<Plan>, input: &str, ending, ours: &str, end| {
        (name, plan, input.to_owned(), ending, [input, ours].concat(), over(end))
    };
    let truncated = told(End::Truncated);
    vec![
        invisible("an invisible error that ends in LF", "\n\n", DONE, "", DONE),
        invisible("one that ends in CRLF", "\r\n\r\n", DONE, "", DONE),
        invisible("one whose blank line alone is a CRLF", "\r\r\n", DONE, "", DONE),
        invisible("one whose blank line is a CR behind an LF", "\n\r", DONE, "\n", DONE),
        invisible("one that ends in CR", "\r\r", DONE, "\n", DONE),
        invisible("one that ends in CR, before a blank line of CR and LF", "\r\r", "\r\n", "\n", "\r\n"),
        invisible("one that ends in CR, and nothing follows", "\r\r", "", "\n", ""),
        ended(
            "a CR more than the last event, and the connection is cut",
            normal(),
            &[HI, "\r"].concat(),
            Ending::Cut,
            &["\n\n", &truncated].concat(),
            End::Truncated,
        ),
        ended(
            "a CR behind a line of an open event",
            normal(),
            &[HI, "data: {\"cho\n\r"].concat(),
            Ending::Cut,
            &["\n\n", &truncated].concat(),
            End::Truncated,
        ),
        ended(
            "a CR inside a line that is open",
            normal(),
            &[HI, "data: {\"cho\r"].concat(),
            Ending::Cut,
            &["\n\r\n", &truncated].concat(),
            End::Truncated,
        ),
        ended(
            "half of the last CRLF",
            normal(),
            &halved(HI),
            Ending::Cut,
            &["\n\n", &truncated].concat(),
            End::Truncated,
        ),
        ended("lines that end in CR", normal(), &HI.replace('\n', "\r"), Ending::Cut, &truncated, End::Truncated),
        ended(
            "a CR before a sentinel that is added",
            normal(),
            &[HI, STOP, "\r"].concat(),
            Ending::Clean,
            &["\n\n", DONE].concat(),
            End::Completed,
        ),
        ended(
            "a CR at the end to which nothing is added",
            transparent(),
            &[HI, STOP, "\r"].concat(),
            Ending::Clean,
            "",
            End::Completed,
        ),
        ended(
            "half of the sentinel's CRLF",
            normal(),
            &[HI, STOP, "data: [DONE]\r\n\r"].concat(),
            Ending::Clean,
            "\n",
            End::Completed,
        ),
        (
            "half of the CRLF of an event that is dropped",
            normal(),
            [HI, STOP, &halved(USAGE)].concat(),
            Ending::Clean,
            [HI, STOP, "\n", DONE].concat(),
            over(End::Completed),
        ),
    ]
}

#[test]
fn what_is_ours_stands_apart() {
    for (name, plan, input, ending, output, step) in cases() {
        check(name, &plan, &input, ending, &(output, step));
    }
}

#[test]
fn so_it_does_when_the_end_is_not_the_messages() {
    let cases = [("\r", "\n\n"), ("data: 1\n\r", "\n\n"), ("data: 1\r", "\n\r\n"), ("data: 1\r\r", "")];
    for end in [End::Protocol, End::Stalled, End::TooLong, End::Draining, End::Internal] {
        for (input, added) in cases {
            let (mut relay, mut out) = (open_relay(HI), Vec::new());
            relay.feed(2, input.as_bytes(), &mut out);
            assert_eq!(relay.end(end, &mut out), Step::Over(end));
            let written = String::from_utf8(out).unwrap();
            assert_eq!(written, [input, added, &told(end)].concat(), "{end:?} behind {input:?}");
        }
    }
}

#[test]
fn a_line_feed_that_was_given_before_a_heartbeat_is_not_given_again() {
    let beaten = |input: &str| {
        let mut relay = crate::relay::Relay::new(plan(|p| p.times.heartbeat = 0), 1, 0);
        let mut out = Vec::new();
        assert_eq!(relay.feed(1, input.as_bytes(), &mut out), Step::Commit);
        relay.open(1, false, false, &mut out);
        relay.check(1, false, &mut out);
        out.clear();
        relay.end(End::Protocol, &mut out);
        String::from_utf8(out).unwrap()
    };

    for input in [&*halved(HI), &[HI, "\r"].concat()] {
        assert_eq!(beaten(input), ["\n", &told(End::Protocol)].concat(), "a blank line, as without the heartbeat");
    }
}
