//! Every way a stream can go, as a table: what the upstream sends, what the client gets, how it ends.
//! Each case runs whole, byte by byte, and cut at every point.

use super::{Relay, Step};
use crate::dialect::Dialect;
use crate::plan::{End, Limits, Plan, Times};
use std::sync::Arc;

mod behind_a_cr;
mod heartbeats;
mod last;

const SECOND: u64 = 1_000_000;
const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const HI: &str = "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const BEAT: &str = ": keep-alive\n\n";
const MOVED: &str = "data: {\"error\":{\"message\":\"no\"}}\n\n";

fn plan(change: impl FnOnce(&mut Plan)) -> Arc<Plan> {
    let mut plan = Plan {
        dialect: Dialect::OpenAiChat,
        stream: true,
        model: None,
        strip_usage: true,
        fill_choices: false,
        tidy: true,
        ensure_done: true,
        insert: None,
        page: None,
        done: DONE.as_bytes().into(),
        errors: End::ALL.into_iter().map(|end| (end, told(end).into_bytes().into())).collect(),
        limits: Limits { head: 4096, event: 4096, held: 2048, error_body: 1024, answer: 4096 },
        heartbeat: BEAT.as_bytes().into(),
        times: Times { first_content: 10 * SECOND, idle: 5 * SECOND, done_grace: 2 * SECOND, heartbeat: u64::MAX },
        gaps: None,
    };
    change(&mut plan);
    Arc::new(plan)
}

fn told(end: End) -> String {
    format!("data: {{\"error\":{{\"code\":\"{}\"}}}}\n\n", end.as_str())
}

/// How the upstream's message ends.
#[derive(Clone, Copy)]
enum Ending {
    Clean,
    Cut,
}

/// Relays `input` in `pieces` and gives what the client got, unframed, and the last step that was not `Going`.
fn relay(plan: &Arc<Plan>, pieces: &[&[u8]], ending: Ending) -> (String, Step) {
    let mut relay = Relay::new(Arc::clone(plan), 1, 0);
    let mut out = Vec::new();
    let mut last = Step::Going;
    let mut note = |relay: &mut Relay, step: Step, out: &mut Vec<u8>| {
        let step = if step == Step::Commit { relay.open(1, false, false, out) } else { step };
        if step != Step::Going {
            assert_eq!(last, Step::Going, "two ends");
            last = step;
        }
    };
    for piece in pieces {
        let step = relay.feed(1, piece, &mut out);
        note(&mut relay, step, &mut out);
    }
    let step = relay.eof(2, matches!(ending, Ending::Clean), &mut out);
    note(&mut relay, step, &mut out);
    (String::from_utf8(out).unwrap(), last)
}

fn check(name: &str, plan: &Arc<Plan>, input: &str, ending: Ending, expected: &(String, Step)) {
    let bytes = input.as_bytes();
    assert_eq!(&relay(plan, &[bytes], ending), expected, "{name}, whole");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(&relay(plan, &single, ending), expected, "{name}, byte by byte");
    for cut in 0..=bytes.len() {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(&relay(plan, &[a, b], ending), expected, "{name}, cut at {cut}");
    }
}

fn over(end: End) -> Step {
    Step::Over(end)
}

/// A case's name, its plan, what the upstream sends and how that ends, what the client gets and how that ends.
type Case = (&'static str, Arc<Plan>, String, Ending, String, Step);

#[allow(clippy::too_many_lines)] // a table
fn cases() -> Vec<Case> {
    let error = |end| told(end);
    let normal = || plan(|_| ());
    let transparent = || {
        plan(|p| {
            (p.strip_usage, p.tidy, p.ensure_done) = (false, false, false);
        })
    };
    vec![
        (
            "a whole stream passes as it came",
            normal(),
            [ROLE, HI, STOP, DONE].concat(),
            Ending::Clean,
            [ROLE, HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "what follows the sentinel is not the client's",
            normal(),
            [HI, STOP, DONE, HI].concat(),
            Ending::Clean,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "usage that was not asked for is dropped",
            normal(),
            [HI, STOP, USAGE, DONE].concat(),
            Ending::Clean,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "usage that was asked for passes",
            plan(|p| p.strip_usage = false),
            [HI, STOP, USAGE, DONE].concat(),
            Ending::Clean,
            [HI, STOP, USAGE, DONE].concat(),
            over(End::Completed),
        ),
        (
            "an empty choice is put where the page wants one",
            plan(|p| (p.strip_usage, p.fill_choices) = (false, true)),
            [HI, STOP, USAGE, DONE].concat(),
            Ending::Clean,
            [HI, STOP, &USAGE.replace("[]", "[{\"index\":0,\"delta\":{},\"finish_reason\":null}]"), DONE].concat(),
            over(End::Completed),
        ),
        (
            "the model's name is replaced",
            plan(|p| p.model = Some(b"\"mine\""[..].into())),
            [HI, STOP, DONE].concat(),
            Ending::Clean,
            [&HI.replace("\"m\"", "\"mine\""), STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "a missing sentinel is added",
            normal(),
            [HI, STOP].concat(),
            Ending::Clean,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "a missing sentinel is left missing",
            transparent(),
            [HI, STOP].concat(),
            Ending::Clean,
            [HI, STOP].concat(),
            over(End::Completed),
        ),
        (
            "the line ends of the last event are added",
            normal(),
            [HI, STOP, "data: [DONE]"].concat(),
            Ending::Clean,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "nothing is added to a transparent stream",
            transparent(),
            [HI, STOP, "data: [DONE]"].concat(),
            Ending::Clean,
            [HI, STOP, "data: [DONE]"].concat(),
            over(End::Completed),
        ),
        (
            "a sentinel with trailing spaces counts at the end",
            normal(),
            [HI, STOP, "data: [DONE]  \n"].concat(),
            Ending::Clean,
            [HI, STOP, "data: [DONE]  \n\n"].concat(),
            over(End::Completed),
        ),
        (
            "a stream cut between events says so",
            normal(),
            [ROLE, HI].concat(),
            Ending::Cut,
            [ROLE, HI, &error(End::Truncated)].concat(),
            over(End::Truncated),
        ),
        (
            "a clean end before the finish is a truncation too",
            normal(),
            [ROLE, HI].concat(),
            Ending::Clean,
            [ROLE, HI, &error(End::Truncated)].concat(),
            over(End::Truncated),
        ),
        (
            "an event left open is closed before the error",
            normal(),
            [HI, "data: {\"choi"].concat(),
            Ending::Cut,
            [HI, "data: {\"choi\n\n", &error(End::Truncated)].concat(),
            over(End::Truncated),
        ),
        (
            "a transparent stream that is cut gets the error event only",
            transparent(),
            [HI, "data: {\"c"].concat(),
            Ending::Cut,
            [HI, "data: {\"c\n\n", &error(End::Truncated)].concat(),
            over(End::Truncated),
        ),
        (
            "a cut after the sentinel is no truncation",
            normal(),
            [HI, STOP, DONE].concat(),
            Ending::Cut,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "a cut after the finish is no truncation",
            normal(),
            [HI, STOP].concat(),
            Ending::Cut,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "comments and empty deltas are not content",
            normal(),
            [": ping\n\n", ROLE].concat(),
            Ending::Clean,
            String::new(),
            Step::EndedWithoutContent { clean: true },
        ),
        (
            "a cut before any content",
            normal(),
            ROLE.to_owned(),
            Ending::Cut,
            String::new(),
            Step::EndedWithoutContent { clean: false },
        ),
        (
            "an empty answer that ended properly is an answer",
            normal(),
            [ROLE, STOP, DONE].concat(),
            Ending::Clean,
            [ROLE, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "an error before any content gives the attempt up",
            normal(),
            [ROLE, MOVED].concat(),
            Ending::Clean,
            String::new(),
            Step::InBandError,
        ),
        (
            "an error inside the stream is relayed, and no sentinel invented",
            normal(),
            [HI, MOVED].concat(),
            Ending::Clean,
            [HI, MOVED].concat(),
            over(End::ErrorInBand),
        ),
        (
            "a sentinel after an error is relayed",
            normal(),
            [HI, MOVED, DONE].concat(),
            Ending::Clean,
            [HI, MOVED, DONE].concat(),
            over(End::ErrorInBand),
        ),
        (
            "an error that SDKs cannot see is followed by one they can",
            normal(),
            [HI, "error: {\"message\":\"no\"}\n\n"].concat(),
            Ending::Clean,
            [HI, "error: {\"message\":\"no\"}\n\n", &error(End::ErrorInBand)].concat(),
            over(End::ErrorInBand),
        ),
        (
            "id and retry lines are dropped",
            normal(),
            ["id: 7\nretry: 3\n", HI, "id: 8\n\n", STOP, DONE].concat(),
            Ending::Clean,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "a byte order mark is dropped",
            normal(),
            ["\u{feff}", HI, STOP, DONE].concat(),
            Ending::Clean,
            [HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "a transparent stream keeps them",
            transparent(),
            ["\u{feff}id: 7\n", HI, STOP, DONE].concat(),
            Ending::Clean,
            ["\u{feff}id: 7\n", HI, STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "CRLF passes",
            normal(),
            [HI, STOP, DONE].concat().replace('\n', "\r\n"),
            Ending::Clean,
            [HI, STOP, "data: [DONE]\n\n"].concat().replace('\n', "\r\n"),
            over(End::Completed),
        ),
        (
            "malformed JSON passes, and later events count",
            normal(),
            [HI, "data: {oops\n\n", STOP, DONE].concat(),
            Ending::Clean,
            [HI, "data: {oops\n\n", STOP, DONE].concat(),
            over(End::Completed),
        ),
        (
            "what no table knows is relayed to its end",
            plan(|p| (p.dialect, p.done) = (Dialect::Unknown, [].into())),
            "event: x\ndata: 1\n\n".to_owned(),
            Ending::Clean,
            "event: x\ndata: 1\n\n".to_owned(),
            over(End::Completed),
        ),
    ]
}

#[test]
fn what_a_client_gets() {
    for (name, plan, input, ending, output, step) in cases() {
        check(name, &plan, &input, ending, &(output, step));
    }
}

#[test]
fn an_event_above_the_limit_passes_unparsed_unless_it_must_be_rewritten() {
    let long =
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(9000));
    let input = [HI, &long, STOP, DONE].concat();
    let pieces: Vec<&[u8]> = input.as_bytes().chunks(1000).collect();

    assert_eq!(relay(&plan(|_| ()), &pieces, Ending::Clean), (input.clone(), over(End::Completed)));

    let rewriting = plan(|p| p.model = Some(b"\"mine\""[..].into()));
    let expected = [&HI.replace("\"m\"", "\"mine\""), told(End::EventTooLarge).as_str()].concat();
    assert_eq!(relay(&rewriting, &pieces, Ending::Clean), (expected, over(End::EventTooLarge)));
}

#[test]
fn more_than_may_be_held_commits() {
    let comment = format!(": {}\n\n", "p".repeat(3000));

    let (out, step) = relay(&plan(|_| ()), &[comment.as_bytes(), DONE.as_bytes()], Ending::Clean);

    assert_eq!((out, step), ([comment.as_str(), DONE].concat(), over(End::Completed)));
}

#[test]
fn time_runs_out_in_named_ways() {
    let mut out = Vec::new();
    let mut silent = Relay::new(plan(|_| ()), 1, 0);
    silent.feed(SECOND, b": ping\n\n", &mut out);
    assert_eq!(
        silent.check(9 * SECOND, false, &mut out),
        Step::TimedOut(End::Stalled),
        "idle before the first content"
    );

    let mut pinging = Relay::new(plan(|_| ()), 1, 0);
    pinging.feed(9 * SECOND, b": ping\n\n", &mut out);
    assert_eq!(pinging.check(10 * SECOND, false, &mut out), Step::Going);
    assert_eq!(pinging.check(11 * SECOND, false, &mut out), Step::TimedOut(End::Stalled), "comments are no content");

    let mut stalled = open_relay(HI);
    assert_eq!(stalled.check(5 * SECOND, false, &mut out), Step::Going);
    assert_eq!(stalled.check(7 * SECOND, true, &mut out), Step::Going, "the client does not read");
    out.clear();
    assert_eq!(stalled.check(7 * SECOND, false, &mut out), Step::Over(End::Stalled));
    assert_eq!(String::from_utf8(out.clone()).unwrap(), told(End::Stalled));

    let mut finished = open_relay(&[HI, STOP].concat());
    out.clear();
    finished.feed(2 * SECOND, b": heartbeat\n\n", &mut out);
    assert_eq!(finished.check(SECOND, false, &mut out), Step::Going);
    assert_eq!(finished.check(3 * SECOND, false, &mut out), Step::Over(End::Completed), "heartbeats extend no grace");
    assert_eq!(String::from_utf8(out.clone()).unwrap(), [": heartbeat\n\n", DONE].concat());

    let mut draining = open_relay(&[HI, "data: {\"cho"].concat());
    out.clear();
    assert_eq!(draining.end(End::Draining, &mut out), Step::Over(End::Draining));
    assert_eq!(String::from_utf8(out).unwrap(), ["data: {\"cho\n\n", &told(End::Draining)].concat());
}

fn open_relay(input: &str) -> Relay {
    let mut out = Vec::new();
    let mut relay = Relay::new(plan(|_| ()), 1, 0);
    assert_eq!(relay.feed(1, input.as_bytes(), &mut out), Step::Commit);
    assert_eq!(relay.open(1, false, false, &mut out), Step::Going);
    relay
}

#[test]
fn what_one_read_brings_leaves_as_one_chunk() {
    let mut out = Vec::new();
    let mut relay = Relay::new(plan(|_| ()), 1, 0);
    relay.feed(1, [ROLE, HI].concat().as_bytes(), &mut out);
    relay.open(1, true, false, &mut out);
    let held = [ROLE, HI].concat();
    assert_eq!(String::from_utf8(out.clone()).unwrap(), format!("{:08x}\r\n{held}\r\n", held.len()));

    out.clear();
    relay.feed(2, [STOP, USAGE, "data: [DO"].concat().as_bytes(), &mut out);
    assert_eq!(String::from_utf8(out.clone()).unwrap(), format!("{:08x}\r\n{STOP}\r\n", STOP.len()));

    out.clear();
    relay.feed(3, b"", &mut out);
    relay.feed(3, &USAGE.as_bytes()[..9], &mut out);
    assert_eq!(out, b"", "nothing to say is no chunk: an empty one would end the message");
}

#[test]
fn what_was_reported_until_a_cut_is_known() {
    let every = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    let mut relay = open_relay(every);

    relay.end(End::ClientLeft, &mut Vec::new());

    let account = relay.account();
    let reported = account.reported.unwrap();
    assert_eq!((reported.input, reported.output, account.complete), (Some(3), Some(2), false));
}
