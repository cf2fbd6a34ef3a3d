//! Heartbeats in every position: between any two bytes of every case, and what they must not touch.

use super::{cases, open_relay, over, plan, told, Ending, BEAT, DONE, HI, ROLE, SECOND, STOP, USAGE};
use crate::plan::{End, Plan};
use crate::relay::{Relay, Step};
use std::sync::Arc;

/// Nothing is quiet for too short a time.
fn always(base: &Arc<Plan>) -> Arc<Plan> {
    plan(|p| {
        p.dialect = base.dialect;
        p.model.clone_from(&base.model);
        (p.strip_usage, p.fill_choices, p.tidy) = (base.strip_usage, base.fill_choices, base.tidy);
        p.ensure_done = base.ensure_done;
        p.done.clone_from(&base.done);
        p.times.heartbeat = 0;
    })
}

/// Relays with a look at the clock after each piece. Gives what the client got, whole and without what the looks wrote,
/// and the last step.
fn beaten(plan: &Arc<Plan>, pieces: &[&[u8]], ending: Ending) -> (String, String, Step) {
    let mut relay = Relay::new(Arc::clone(plan), 1, 0);
    let (mut out, mut without, mut last) = (Vec::new(), Vec::new(), Step::Going);
    let mut note = |relay: &mut Relay, step: Step, out: &mut Vec<u8>| {
        let step = if step == Step::Commit { relay.open(1, false, false, out) } else { step };
        if step != Step::Going {
            last = step;
        }
    };
    for piece in pieces {
        let from = out.len();
        let step = relay.feed(1, piece, &mut out);
        note(&mut relay, step, &mut out);
        without.extend_from_slice(&out[from..]);
        let from = out.len();
        assert_eq!(relay.check(1, false, &mut out), Step::Going);
        let written = String::from_utf8(out[from..].to_vec()).unwrap();
        assert!(["", BEAT, &format!("\n{BEAT}")].contains(&&*written), "{written:?}");
        without.extend_from_slice(written.strip_suffix(BEAT).unwrap_or_default().as_bytes());
    }
    let from = out.len();
    let step = relay.eof(2, matches!(ending, Ending::Clean), &mut out);
    note(&mut relay, step, &mut out);
    without.extend_from_slice(&out[from..]);
    (String::from_utf8(out).unwrap(), String::from_utf8(without).unwrap(), last)
}

/// A heartbeat stands at the beginning or behind a blank line.
fn assert_between_events(name: &str, out: &str) {
    for (at, _) in out.match_indices(BEAT) {
        let before = &out[..at];
        assert!(["\n\n", "\r\n\r\n"].iter().any(|end| before.ends_with(end)) || at == 0, "{name}: {before:?}");
    }
}

#[test]
fn a_heartbeat_anywhere_changes_nothing_else() {
    for (name, base, input, ending, output, step) in cases() {
        let (plan, bytes) = (always(&base), input.as_bytes());
        let check = |how: String, pieces: &[&[u8]]| {
            let (out, without, last) = beaten(&plan, pieces, ending);
            assert_eq!((&without, last), (&output, step), "{name}, {how}");
            assert_between_events(&format!("{name}, {how}"), &out);
        };
        check("whole".to_owned(), &[bytes]);
        check("byte by byte".to_owned(), &bytes.chunks(1).collect::<Vec<_>>());
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            check(format!("cut at {cut}"), &[a, b]);
        }
    }
}

#[test]
fn the_line_feed_of_a_cut_crlf_goes_before_the_heartbeat_and_comes_once() {
    let crlf = [HI, STOP, DONE].concat().replace('\n', "\r\n");
    let first = HI.replace('\n', "\r\n");
    let (a, b) = crlf.split_at(first.len() - 1);

    let (out, _, step) = beaten(&always(&plan(|_| ())), &[a.as_bytes(), b.as_bytes()], Ending::Clean);

    assert_eq!((out, step), ([&*first, BEAT, &crlf[first.len()..]].concat(), over(End::Completed)));
}

#[test]
fn a_heartbeat_adds_no_line_feed_where_lines_end_in_cr() {
    let (first, rest) = (HI.replace('\n', "\r"), [STOP, DONE].concat().replace('\n', "\r"));

    let (out, _, step) = beaten(&always(&plan(|_| ())), &[first.as_bytes(), rest.as_bytes()], Ending::Clean);

    assert_eq!((out, step), ([&first, BEAT, &rest].concat(), over(End::Completed)));
}

#[test]
fn nothing_is_written_inside_an_event_that_leaves_in_parts() {
    let long =
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(9000));
    let input = [HI, &long, STOP, DONE].concat();
    let pieces: Vec<&[u8]> = input.as_bytes().chunks(1000).collect();

    let (out, without, step) = beaten(&always(&plan(|_| ())), &pieces, Ending::Clean);

    assert_eq!((without, step), (input.clone(), over(End::Completed)));
    assert_between_events("spilled", &out);
    assert!(out.contains(&long), "its parts stand together");
}

fn quiet() -> Arc<Plan> {
    plan(|p| {
        (p.times.heartbeat, p.times.idle) = (3 * SECOND, 20 * SECOND);
    })
}

fn opened(plan: &Arc<Plan>, input: &str, framed: bool) -> (Relay, Vec<u8>) {
    let (mut relay, mut out) = (Relay::new(Arc::clone(plan), 1, 0), Vec::new());
    assert_eq!(relay.feed(SECOND, input.as_bytes(), &mut out), Step::Commit);
    assert_eq!(relay.open(SECOND, framed, false, &mut out), Step::Going);
    out.clear();
    (relay, out)
}

/// What each second's look writes, from one second to another.
fn seconds(relay: &mut Relay, from: u64, to: u64, stuck: bool) -> Vec<(u64, String)> {
    let mut written = Vec::new();
    for second in from..=to {
        let mut out = Vec::new();
        assert_eq!(relay.check(second * SECOND, stuck, &mut out), Step::Going, "at {second}");
        if !out.is_empty() {
            written.push((second, String::from_utf8(out).unwrap()));
        }
    }
    written
}

#[test]
fn one_comment_for_each_span_of_silence() {
    let (mut relay, _) = opened(&quiet(), HI, false);

    let expected: Vec<_> = [4, 7, 10].into_iter().map(|second| (second, BEAT.to_owned())).collect();
    assert_eq!(seconds(&mut relay, 1, 12, false), expected);

    let account = relay.account();
    assert_eq!((account.heartbeats, account.bytes_out), (3, (HI.len() + 3 * BEAT.len()) as u64));
}

#[test]
fn what_the_client_gets_puts_it_off_and_what_it_does_not_get_does_not() {
    let (mut relay, mut out) = opened(&quiet(), HI, false);
    relay.check(2 * SECOND, false, &mut out);
    relay.feed(3 * SECOND, HI.as_bytes(), &mut out);
    assert_eq!(seconds(&mut relay, 3, 6, false), [(6, BEAT.to_owned())]);

    // Usage that is dropped, and an event that has not ended: the client hears nothing of either.
    relay.feed(7 * SECOND, USAGE.as_bytes(), &mut out);
    relay.feed(8 * SECOND, b"data: {", &mut out);
    assert_eq!(seconds(&mut relay, 8, 10, false), [(9, BEAT.to_owned())]);
}

#[test]
fn heartbeats_are_chunks_of_their_own_where_the_message_has_chunks() {
    let (mut relay, _) = opened(&quiet(), HI, true);

    assert_eq!(seconds(&mut relay, 1, 5, false), [(4, format!("{:08x}\r\n{BEAT}\r\n", BEAT.len()))]);
}

#[test]
fn a_client_that_does_not_read_gets_none_and_one_that_reads_again_starts_anew() {
    let (mut relay, _) = opened(&quiet(), HI, false);

    assert_eq!(seconds(&mut relay, 1, 15, true), []);
    relay.resumed(15 * SECOND);
    assert_eq!(seconds(&mut relay, 16, 18, false), [(18, BEAT.to_owned())]);
}

#[test]
fn heartbeats_put_no_time_out_off() {
    let (mut relay, mut out) = opened(&quiet(), HI, false);
    assert_eq!(seconds(&mut relay, 2, 21, false).len(), 6);
    assert_eq!(relay.check(22 * SECOND, false, &mut out), Step::Over(End::Stalled));
    assert_eq!(String::from_utf8(out.clone()).unwrap(), told(End::Stalled));

    let (mut finished, _) = opened(&plan(|p| p.times.heartbeat = SECOND), &[HI, STOP].concat(), false);
    out.clear();
    assert_eq!(finished.check(2 * SECOND, false, &mut out), Step::Going);
    assert_eq!(finished.check(3 * SECOND + SECOND / 2, false, &mut out), Step::Over(End::Completed), "the grace");
    assert_eq!(String::from_utf8(out).unwrap(), [BEAT, DONE].concat());
}

#[test]
fn before_the_commit_and_after_the_end_there_are_none() {
    let mut held = Relay::new(quiet(), 1, 0);
    held.feed(SECOND, ROLE.as_bytes(), &mut Vec::new());
    assert!(held.holds());
    assert_eq!(seconds(&mut held, 1, 9, false), []);

    let (mut ended, mut out) = opened(&quiet(), HI, false);
    ended.end(End::Draining, &mut out);
    assert_eq!(seconds(&mut ended, 1, 9, false), []);
}

#[test]
fn without_a_time_there_are_none() {
    let mut relay = open_relay(HI);

    assert_eq!(seconds(&mut relay, 1, 5, false), []);
}

#[test]
fn behind_a_heartbeat_a_byte_order_mark_is_dropped() {
    let raw = plan(|p| (p.tidy, p.times.heartbeat) = (false, 0));
    let marked = format!("\u{feff}{HI}");
    for (begun, expected) in [(true, HI), (false, &*marked)] {
        let (mut relay, mut out) = (Relay::new(Arc::clone(&raw), 1, 0), Vec::new());
        assert_eq!(relay.feed(1, marked.as_bytes(), &mut out), Step::Commit);
        relay.open(1, false, begun, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "begun: {begun}");
    }

    // So much of the first event that it is the client's, but not all: the heartbeat comes before it.
    let long = HI.replace("hi", &"x".repeat(3000));
    let (a, b) = long.as_bytes().split_at(2500);
    for begun in [true, false] {
        let (mut relay, mut out) = (Relay::new(Arc::clone(&raw), 1, 0), Vec::new());
        relay.feed(1, "\u{feff}".as_bytes(), &mut out);
        assert_eq!(relay.feed(1, a, &mut out), Step::Commit);
        relay.open(1, false, begun, &mut out);
        relay.check(2, false, &mut out);
        relay.feed(3, b, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), [BEAT, &long].concat(), "begun: {begun}");
    }
}
