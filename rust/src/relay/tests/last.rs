//! The last event carries the note: which one that is, and what becomes of one that was kept back and is not.

use super::{check, over, plan, relay, told, Case, Ending, DONE, HI, MOVED, ROLE, SECOND, STOP, USAGE};
use crate::dialect::Dialect;
use crate::page::tests::{credits, finishes};
use crate::page::{Note, Page};
use crate::plan::{End, Plan};
use crate::relay::{Relay, Step};
use std::sync::Arc;

const BILLED: &str = ",\"billed_usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}";
const BOTH: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\
                    \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";

fn noting(change: impl FnOnce(&mut Plan)) -> Arc<Plan> {
    plan(|p| {
        p.strip_usage = false;
        let note = Note { name: "more".into(), open: b"{\"by\":\"p\""[..].into(), raw: false };
        p.page = Some(Page { note: Some(note), ..Page::default() });
        change(p);
    })
}

/// The event with the note at its end.
fn noted(event: &str, billed: &str) -> String {
    let note = format!(",\"more\":{{\"by\":\"p\",\"latency\":0{billed}}}}}");
    let (before, after) = event.rsplit_once('}').unwrap();
    [before, &note, after].concat()
}

#[test]
#[allow(clippy::too_many_lines)] // a table of cases
fn which_event_carries_the_note() {
    let normal = || noting(|_| ());
    let two = STOP.replace("\"index\":0", "\"index\":1");
    let cases: Vec<Case> = vec![
        (
            "the usage event",
            normal(),
            [ROLE, HI, STOP, USAGE, DONE].concat(),
            Ending::Clean,
            [ROLE, HI, STOP, &noted(USAGE, BILLED), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the finish, where no usage follows",
            normal(),
            [HI, STOP, DONE].concat(),
            Ending::Clean,
            [HI, &noted(STOP, ""), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the finish that brings the usage",
            normal(),
            [HI, BOTH, DONE].concat(),
            Ending::Clean,
            [HI, &noted(BOTH, BILLED), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the second of two that finish",
            normal(),
            [HI, STOP, BOTH, DONE].concat(),
            Ending::Clean,
            [HI, STOP, &noted(BOTH, BILLED), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the usage event in front of an added sentinel",
            normal(),
            [HI, STOP, USAGE].concat(),
            Ending::Clean,
            [HI, STOP, &noted(USAGE, BILLED), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the finish, when the connection is cut behind it",
            normal(),
            [HI, STOP].concat(),
            Ending::Cut,
            [HI, &noted(STOP, ""), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the finish, where usage was not asked for and is dropped: its figures stay",
            noting(|p| p.strip_usage = true),
            [HI, STOP, USAGE, DONE].concat(),
            Ending::Clean,
            [HI, &noted(STOP, BILLED), DONE].concat(),
            over(End::Completed),
        ),
        (
            "an empty answer's finish, which commits",
            normal(),
            [ROLE, STOP, DONE].concat(),
            Ending::Clean,
            [ROLE, &noted(STOP, ""), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the last choice's finish",
            normal(),
            [HI, STOP, HI, &two, DONE].concat(),
            Ending::Clean,
            [HI, STOP, HI, &noted(&two, ""), DONE].concat(),
            over(End::Completed),
        ),
        (
            "an event left open at the end",
            normal(),
            [HI, STOP.trim_end()].concat(),
            Ending::Clean,
            [HI, &noted(STOP, ""), DONE].concat(),
            over(End::Completed),
        ),
        (
            "comments behind it keep their place",
            normal(),
            [HI, STOP, ": ping\n\n", USAGE, ": ping\n\n", DONE].concat(),
            Ending::Clean,
            [HI, STOP, ": ping\n\n", &noted(USAGE, BILLED), ": ping\n\n", DONE].concat(),
            over(End::Completed),
        ),
        (
            "a sentinel with blanks behind it",
            normal(),
            [HI, STOP, "data: [DONE]  \n\n"].concat(),
            Ending::Clean,
            [HI, &noted(STOP, ""), "data: [DONE]  \n\n"].concat(),
            over(End::Completed),
        ),
        (
            "none, where nothing finished",
            normal(),
            [HI, DONE].concat(),
            Ending::Clean,
            [HI, DONE].concat(),
            over(End::Completed),
        ),
        (
            "none, where the stream was cut before it finished",
            normal(),
            [ROLE, HI].concat(),
            Ending::Cut,
            [ROLE, HI, &told(End::Truncated)].concat(),
            over(End::Truncated),
        ),
        (
            "none, where an error follows the finish",
            normal(),
            [HI, STOP, MOVED, DONE].concat(),
            Ending::Clean,
            [HI, STOP, MOVED, DONE].concat(),
            over(End::ErrorInBand),
        ),
        (
            "none, where one of two choices never finished",
            normal(),
            [HI, &two].concat(),
            Ending::Cut,
            [HI, &two, &told(End::Truncated)].concat(),
            over(End::Truncated),
        ),
        (
            "with the model's name replaced and lines dropped",
            noting(|p| p.model = Some(b"\"mine\""[..].into())),
            [HI, "id: 7\n", &USAGE.replace("{\"ch", "{\"model\":\"m\",\"ch"), "id: 8\n\n", DONE].concat(),
            Ending::Clean,
            [
                &HI.replace("\"m\"", "\"mine\""),
                &*noted(&USAGE.replace("{\"ch", "{\"model\":\"mine\",\"ch"), BILLED),
                DONE,
            ]
            .concat(),
            over(End::Completed),
        ),
        (
            "in CRLF",
            normal(),
            [HI, STOP, USAGE, ": ping\n\n", DONE].concat().replace('\n', "\r\n"),
            Ending::Clean,
            [HI, STOP, &noted(USAGE, BILLED), ": ping\n\n", DONE].concat().replace('\n', "\r\n"),
            over(End::Completed),
        ),
        (
            "in data of several lines",
            normal(),
            [HI, "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":3,\ndata: \"completion_tokens\":1}\ndata:}\n\n", DONE].concat(),
            Ending::Clean,
            [
                HI,
                "data: {\"choices\":[],\ndata: \"usage\":{\"prompt_tokens\":3,\ndata: \"completion_tokens\":1}\ndata:",
                &format!(",\"more\":{{\"by\":\"p\",\"latency\":0{BILLED}}}}}\n\n"),
                DONE,
            ]
            .concat(),
            over(End::Completed),
        ),
    ];
    for (name, plan, input, ending, output, step) in cases {
        check(name, &plan, &input, ending, &(output, step));
    }
}

#[test]
fn the_upstreams_own_event_is_repeated_on_one_line() {
    let raw = noting(|p| {
        let note = Note { name: "more".into(), open: b"{\"by\":\"p\""[..].into(), raw: true };
        p.page = Some(Page { note: Some(note), ..Page::default() });
    });
    let stop = "data: {\"choices\":[{\"index\":0,\ndata: \"finish_reason\":\"stop\"}]}\n\n";
    let note = ",\"more\":{\"by\":\"p\",\"latency\":0,\"raw_response\":\
                {\"choices\":[{\"index\":0, \"finish_reason\":\"stop\"}]}}}\n\n";
    let expected = [HI, stop.strip_suffix("}\n\n").unwrap(), note, DONE].concat();

    assert_eq!(relay(&raw, &[[HI, stop, DONE].concat().as_bytes()], Ending::Clean), (expected, over(End::Completed)));
}

#[test]
fn only_what_may_be_the_last_waits_and_time_lets_it_go() {
    let mut out = Vec::new();
    let mut relay = Relay::new(noting(|_| ()), 1, 0);
    assert_eq!(relay.feed(SECOND, HI.as_bytes(), &mut out), Step::Commit);
    relay.open(SECOND, false, false, &mut out);
    assert_eq!(String::from_utf8(std::mem::take(&mut out)).unwrap(), HI, "content does not wait");

    relay.feed(SECOND + 7000, STOP.as_bytes(), &mut out);
    assert_eq!((out.len(), relay.held()), (0, STOP.len()), "the finish does");
    assert_eq!(relay.check(2 * SECOND, false, &mut out), Step::Going);

    assert_eq!(relay.check(4 * SECOND, false, &mut out), Step::Over(End::Completed));
    let expected = [&noted(STOP, "").replace(":0}}", ":1007}}"), DONE].concat();
    assert_eq!(String::from_utf8(out).unwrap(), expected, "its latency is its own, not the grace's");
}

#[test]
fn a_bad_end_lets_it_go_as_it_came() {
    for end in [End::Draining, End::Stalled, End::TooLong, End::Internal] {
        let mut out = Vec::new();
        let mut relay = Relay::new(noting(|_| ()), 1, 0);
        relay.feed(1, [HI, STOP, "data: {\"cho"].concat().as_bytes(), &mut out);
        relay.open(1, false, false, &mut out);

        assert_eq!(relay.end(end, &mut out), Step::Over(end));

        assert_eq!(String::from_utf8(out).unwrap(), [HI, STOP, "data: {\"cho\n\n", &told(end)].concat());
    }
}

#[test]
fn what_waits_behind_it_is_bounded() {
    let mut out = Vec::new();
    let mut relay = Relay::new(noting(|_| ()), 1, 0);
    relay.feed(1, [HI, STOP].concat().as_bytes(), &mut out);
    relay.open(1, false, false, &mut out);
    let comment = format!(": {}\n\n", "p".repeat(1000));

    for _ in 0..3 {
        relay.feed(2, comment.as_bytes(), &mut out);
    }

    let expected = [HI, STOP, &comment, &comment, &comment].concat();
    assert_eq!((String::from_utf8(out).unwrap(), relay.held()), (expected, 0));
}

#[test]
fn usage_events_name_credits_and_finishes_are_the_pages() {
    let page = Page { finishes: finishes().finishes, ..credits() };
    let plan = plan(|p| (p.strip_usage, p.page) = (false, Some(page)));
    let ours = |text: &str| {
        text.replace("\"stop_sequence\"", "\"other\"")
            .replace("\"completion_tokens\":1}", "\"completion_tokens\":1,\"credits_consumed\":5}")
            .replace("\"total_tokens\":4}", "\"total_tokens\":4,\"credits_consumed\":5}")
    };
    let foreign = STOP.replace("\"stop\"", "\"stop_sequence\"");
    for input in [
        [HI, STOP, USAGE, DONE].concat(),
        [HI, &foreign, USAGE, DONE].concat(),
        [HI, &BOTH.replace("\"stop\"", "\"stop_sequence\""), DONE].concat(),
        [HI, STOP, USAGE, USAGE, DONE].concat(),
    ] {
        check(&input, &plan, &input, Ending::Clean, &(ours(&input), over(End::Completed)));
    }
}

#[test]
fn messages_name_credits_where_their_usage_is_final() {
    let page = Some(credits());
    let plan = plan(|p| (p.dialect, p.done, p.page) = (Dialect::AnthropicMessages, [].into(), page));
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n";
    let text = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n";
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\n";
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let billed = delta.replace("4}", "4,\"credits_consumed\":11}");

    let input = [start, text, delta, stop].concat();

    let expected = [start, text, &billed, stop].concat();
    check("messages", &plan, &input, Ending::Clean, &(expected, over(End::Completed)));
}

#[test]
fn responses_name_credits_in_the_event_that_completes() {
    let page = Some(credits());
    let plan = plan(|p| (p.dialect, p.done, p.page) = (Dialect::OpenAiResponses, [].into(), page));
    let text =
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n";
    let done = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n";
    let billed = done.replace(":1}", ":1,\"credits_consumed\":5}");

    let input = [text, done].concat();

    check("responses", &plan, &input, Ending::Clean, &([text, &billed].concat(), over(End::Completed)));
}

#[test]
fn an_event_above_the_limit_passes_a_note_but_not_what_may_have_to_be_replaced() {
    let long =
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(9000));
    let input = [HI, STOP, &long, USAGE, DONE].concat();
    let pieces: Vec<&[u8]> = input.as_bytes().chunks(1000).collect();

    let expected = [HI, STOP, &long, &noted(USAGE, BILLED), DONE].concat();
    assert_eq!(relay(&noting(|_| ()), &pieces, Ending::Clean), (expected, over(End::Completed)));

    let crediting = plan(|p| p.page = Some(credits()));
    let expected = [HI, STOP, &told(End::EventTooLarge)].concat();
    assert_eq!(relay(&crediting, &pieces, Ending::Clean), (expected, over(End::EventTooLarge)));
}
