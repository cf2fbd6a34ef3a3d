//! What may be taken, what comes back, what is told; and that no figure leaves its bounds, whatever happens.

use super::*;
use proptest::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard};

/// The window that the tests' grants are of, and the one after it.
const WINDOW: i64 = 1_772_323_200;
const NEXT: i64 = WINDOW + 60;
/// Seconds that a window and a lease last.
const LASTS: f64 = 50.0;

fn limit(kind: Kind, capacity: i64) -> Limit {
    Limit { kind, capacity, level: kind == Kind::Streams }
}

fn grant(window: i64, granted: i64, left: i64) -> Grant {
    Grant { window, ends: LASTS, granted, left, lasts: LASTS, drawn: 0 }
}

/// A share with so much on lease since the beginning of time.
fn holding(kind: Kind, capacity: i64, granted: i64, whole: bool) -> Share {
    let mut share = Share::new(limit(kind, capacity), whole);
    let window = if kind == Kind::Streams { 0 } else { WINDOW };
    share.granted(&grant(window, granted, capacity - granted), 0.0);
    share
}

fn purse(shares: Vec<Share>) -> (Purse, Vec<Arc<Mutex<Share>>>) {
    let shares: Vec<_> = shares.into_iter().map(|share| Arc::new(Mutex::new(share))).collect();
    (Purse::new(shares.clone()), shares)
}

fn look(share: &Mutex<Share>) -> MutexGuard<'_, Share> {
    share.lock().unwrap()
}

#[test]
fn what_lacks_is_what_the_lease_does_not_hold_and_all_of_it_once_the_lease_has_ended() {
    let share = holding(Kind::Tokens, 100, 30, false);
    for (name, units, now, expected) in [
        ("nothing", 0, 0.0, 0),
        ("all there is", 30, 0.0, 0),
        ("one more", 31, 0.0, 1),
        ("too late", 10, LASTS, 10),
        ("nothing, too late", 0, LASTS, 0),
    ] {
        assert_eq!(expected, share.lacks(units, now), "{name}");
    }
}

#[test]
fn settling_gives_back_or_draws_more_and_says_when_others_must_know() {
    // Of 160 units 40 are on lease and 10 of them reserved; a lease is 10 units, 120 are left for others.
    for (name, left, window, used, now, free, drawn, urgent) in [
        ("as reserved", 120, WINDOW, 10, 0.0, 30, 10, false),
        ("less", 120, WINDOW, 4, 0.0, 36, 4, false),
        ("less, where others have none", 5, WINDOW, 4, 0.0, 36, 4, true),
        ("more, out of the lease", 120, WINDOW, 25, 0.0, 15, 25, false),
        ("more than the lease holds", 120, WINDOW, 50, 0.0, 0, 50, true),
        ("less, after the lease", 120, WINDOW, 4, LASTS, 0, 4, true),
        ("less, of a window gone by", 120, WINDOW - 60, 4, 0.0, 30, 10, false),
        ("more, of a window gone by", 120, WINDOW - 60, 15, 0.0, 25, 15, false),
        ("a negative figure", 120, WINDOW, i64::MIN, 0.0, 40, 0, false),
        ("more than can be counted", 120, WINDOW, i64::MAX, 0.0, 0, MOST, true),
    ] {
        let mut share = holding(Kind::Tokens, 160, 40, false);
        share.take(10);
        share.left = left;
        let told = share.settle(window, 10, used, now);
        assert_eq!((free, drawn, urgent), (share.free, share.drawn, told), "{name}");
    }
}

#[test]
fn streams_all_come_back() {
    let mut share = holding(Kind::Streams, 100, 10, false);
    let window = share.take(1);
    assert_eq!((1, 9), (share.drawn, share.free));
    share.settle(window, 1, 1, 0.0);
    assert_eq!((0, 10), (share.drawn, share.free));
}

#[test]
fn a_report_says_totals_and_gives_back_what_is_not_needed() {
    let asked = |change: fn(&mut Share), lacking| {
        let mut share = holding(Kind::Tokens, 160, 40, false);
        change(&mut share);
        let Report { window, drawn, kept, wanted } = share.report(lacking, 0.0);
        assert_eq!(WINDOW, window);
        (drawn, kept, wanted)
    };
    let took = |share: &mut Share| {
        share.take(7);
    };
    assert_eq!((0, 0, 0), asked(|_| (), 0), "nothing was drawn: the lease goes back");
    assert_eq!((7, 10, 0), asked(took, 0), "what was drawn from is cut to its ordinary size");
    assert_eq!((7, 33, 10), asked(took, 3), "who wants more keeps what he has, and gets a lease at least");
    assert_eq!((7, 33, 90), asked(took, 90));
    let scarce = |share: &mut Share| {
        share.take(7);
        share.left = 9;
    };
    assert_eq!((7, 0, 0), asked(scarce, 0), "others may need it");
}

#[test]
fn what_was_not_enough_goes_back_once_before_it_is_asked_for_again() {
    let demand = Demand { dollars: 60, ..Demand::default() };
    let (purse, shares) = purse(vec![holding(Kind::Dollars, 160, 40, false)]);
    let told = |kept, wanted| Report { window: WINDOW, drawn: 0, kept, wanted };
    assert_eq!(told(40, 20), look(&shares[0]).report(20, 0.0));
    look(&shares[0]).granted(&grant(WINDOW, 15, 0), 0.0);
    assert_eq!(told(55, 10), look(&shares[0]).report(5, 0.0), "who waits for it may still be content with it");
    look(&shares[0]).granted(&grant(WINDOW, 0, 0), 0.0);
    assert_eq!(vec![0], purse.refuse(&demand, 0.0));
    assert_eq!(told(0, 0), look(&shares[0]).report(5, 0.0));
    look(&shares[0]).granted(&grant(WINDOW, 0, 70), 0.0);
    assert_eq!(told(0, 60), look(&shares[0]).report(60, 0.0));

    assert_eq!(vec![0], purse.refuse(&demand, 0.0));
    look(&shares[0]).granted(&grant(WINDOW, 30, 0), 0.0);
    assert_eq!(told(30, 30), look(&shares[0]).report(30, 0.0), "what came after the refusal is to be tried first");

    let mut nothing = holding(Kind::Streams, 16, 0, false);
    nothing.refused();
    assert_eq!(1, nothing.report(1, 0.0).wanted, "who has nothing to give back asks again");
}

#[test]
fn the_only_holder_wants_all_there_is_and_its_last_report_keeps_nothing() {
    let mut share = holding(Kind::Tokens, 160, 40, true);
    share.take(7);
    assert_eq!(160, share.report(1, 0.0).wanted);
    assert_eq!(Report { window: WINDOW, drawn: 7, kept: 0, wanted: 0 }, share.returned(0.0));
}

#[test]
fn a_window_begins_with_what_the_authority_knows_and_keeps_what_was_drawn_before_any_was_known() {
    let mut share = holding(Kind::Dollars, 100, 50, false);
    share.take(20);
    share.granted(&Grant { drawn: 3, ..grant(NEXT, 10, 60) }, 60.0);
    assert_eq!((NEXT, 3, 10), (share.window, share.drawn, share.free));

    let mut share = Share::new(limit(Kind::Dollars, 100), true);
    let window = share.take(0);
    assert!(share.settle(window, 0, 30, 0.0));
    share.granted(&grant(WINDOW, 100, 0), 0.0);
    assert_eq!((30, 70, true), (share.drawn, share.free, share.busy()));
}

#[test]
fn alone_a_holder_has_the_whole_limit_less_what_it_has_drawn_itself() {
    let mut share = holding(Kind::Dollars, 100, 50, false);
    share.take(20);
    share.alone(70.0, WINDOW);
    assert_eq!((80, 0), (share.free, share.left));
    share.take(80);
    let report = share.report(0, 0.0);
    assert_eq!((100, 0), (report.drawn, report.kept));
}

#[test]
fn another_capacity_keeps_what_is_drawn() {
    for (name, whole, capacity, free) in [
        ("more for one", true, 150, 110),
        ("less for one", true, 70, 30),
        ("less than is drawn", true, 10, 0),
        ("more for several: by the next lease", false, 400, 25),
        ("less for several", false, 32, 2),
    ] {
        let mut share = holding(Kind::Dollars, 100, 70, whole);
        share.take(10);
        share.resize(capacity);
        assert_eq!((10, free), (share.drawn, share.free), "{name}");
    }
}

#[test]
fn a_request_draws_from_all_its_limits_or_from_none() {
    let demand = Demand { tokens: 30, stream: true, dollars: 500, credits: 2 };
    let full = || {
        vec![
            holding(Kind::Requests, 10, 10, true),
            holding(Kind::Tokens, 100, 100, true),
            holding(Kind::Streams, 5, 5, true),
            holding(Kind::Dollars, 1000, 1000, true),
            holding(Kind::Credits, 9, 9, true),
        ]
    };
    let (all, shares) = purse(full());
    let taken = all.take(&demand, 0.0).expect("room for it");
    let left = |shares: &[Arc<Mutex<Share>>]| shares.iter().map(|share| look(share).free).collect::<Vec<_>>();
    assert_eq!(vec![9, 70, 4, 500, 7], left(&shares));
    assert!(all.settle(&taken, &Used { tokens: 18, dollars: 90, credits: 1 }, 0.0).is_empty());
    assert_eq!(vec![9, 82, 5, 910, 8], left(&shares), "a request stays one, a stream comes back");

    for place in 0..5 {
        let mut shares = full();
        shares[place].free = 0;
        let (purse, shares) = purse(shares);
        let before = left(&shares);
        assert_eq!(None, purse.take(&demand, 0.0));
        assert_eq!(before, left(&shares));
        let lacking: Vec<_> = purse.lacking(&demand, 0.0).iter().map(|(place, _)| *place).collect();
        assert_eq!(vec![place], lacking);
    }
}

#[test]
fn what_is_no_stream_needs_no_place_and_a_cost_that_nobody_expected_is_settled() {
    let (purse, shares) = purse(vec![holding(Kind::Streams, 5, 0, true), holding(Kind::Dollars, 1000, 1000, true)]);
    let taken = purse.take(&Demand { tokens: 30, ..Demand::default() }, 0.0).expect("room for it");
    purse.settle(&taken, &Used { dollars: 40, ..Used::default() }, 0.0);
    assert_eq!((0, 40), (look(&shares[0]).drawn, look(&shares[1]).drawn));
}

#[test]
fn an_estimate_is_the_bodys_size_and_what_may_be_written() {
    for (name, size, asked, most, choices, expected) in [
        ("nothing is known", 0, None, None, 1, (1, 512)),
        ("four bytes are a token", 39, None, None, 1, (10, 512)),
        ("as asked, also above the default", 4, Some(600), None, 1, (2, 600)),
        ("the model writes no more", 4, Some(600), Some(100), 1, (2, 100)),
        ("the model's most, if nothing is asked", 4, None, Some(9000), 1, (2, 9000)),
        ("less than the most", 4, Some(7), Some(100), 1, (2, 7)),
        ("each choice", 4, Some(7), None, 3, (2, 21)),
        ("beyond counting", 4, Some(u64::MAX), None, u32::MAX, (2, MOST)),
    ] {
        assert_eq!(expected, estimate(size, asked, most, 512, choices), "{name}");
    }
}

#[test]
fn more_than_the_whole_limit_is_the_whole_limit() {
    let (purse, shares) = purse(vec![holding(Kind::Tokens, 100, 100, true)]);
    assert!(purse.take(&Demand { tokens: 5000, ..Demand::default() }, 0.0).is_some());
    assert_eq!(100, look(&shares[0]).drawn);
}

#[test]
fn who_talks_with_the_authority_is_told_once_then_when_it_runs_low() {
    let demand = Demand { tokens: 20, ..Demand::default() };
    let (purse, shares) = purse(vec![holding(Kind::Tokens, 1600, 100, false), holding(Kind::Requests, 99, 99, true)]);
    let mut taken = Vec::new();
    let mut notes = |purse: &Purse| {
        taken = purse.take(&demand, 0.0).expect("room for it");
        purse.notes(&taken)
    };
    assert_eq!(vec![Note { place: 0, ask: None }], notes(&purse));
    look(&shares[0]).watch(true);
    assert_eq!((Vec::new(), Vec::new()), (notes(&purse), notes(&purse)));
    assert_eq!(vec![Note { place: 0, ask: Some(100) }], notes(&purse), "20 left of a lease of 100");
    assert_eq!(
        vec![Note { place: 0, ask: Some(0) }],
        purse.settle(&taken, &Used { tokens: 90, ..Used::default() }, 0.0)
    );
}

#[test]
fn headers_are_of_the_limit_with_least_left() {
    let (all, _) = purse(vec![
        holding(Kind::Dollars, 7, 7, true),
        holding(Kind::Tokens, 900, 900, true),
        holding(Kind::Requests, 60, 60, true),
        holding(Kind::Requests, 50, 50, true),
    ]);
    all.take(&Demand { tokens: 30, ..Demand::default() }, 0.0);
    let expected = "\r\nx-ratelimit-limit-requests: 50\r\nx-ratelimit-remaining-requests: 49\
                    \r\nx-ratelimit-reset-requests: 50s\r\nx-ratelimit-limit-tokens: 900\
                    \r\nx-ratelimit-remaining-tokens: 870\r\nx-ratelimit-reset-tokens: 50s";
    let lines = |purse: &Purse, now| {
        let mut lines = String::new();
        purse.write(&mut lines, now);
        lines
    };
    assert_eq!(expected, lines(&all, 0.0));
    assert_eq!(expected.replace("50s", "1s"), lines(&all, 49.5));
    let over = "-tokens: 900\r\nx-ratelimit-reset-tokens: 0s";
    assert!(lines(&all, 50.0).ends_with(over), "a window is over: all is left");
    assert_eq!("", lines(&purse(vec![holding(Kind::Streams, 5, 5, true)]).0, 0.0));
    let (unknown, _) = purse(vec![Share::new(limit(Kind::Tokens, 9), true)]);
    assert!(lines(&unknown, 0.0).ends_with("remaining-tokens: 9\r\nx-ratelimit-reset-tokens: 0s"));
}

#[derive(Debug, Clone)]
enum Step {
    Take(i64),
    Settle(usize, i64),
    Report(i64),
    Grant(i64, i64, i64),
    Alone,
    Refused,
    Resize(i64),
    Wait(f64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let units = prop_oneof![0i64..300, Just(MOST), any::<i64>()];
    let step = prop_oneof![
        units.clone().prop_map(Step::Take),
        (any::<usize>(), units.clone()).prop_map(|(index, used)| Step::Settle(index, used)),
        (0i64..200).prop_map(Step::Report),
        (units.clone(), units.clone(), units.clone())
            .prop_map(|(granted, left, drawn)| Step::Grant(granted, left, drawn)),
        Just(Step::Alone),
        Just(Step::Refused),
        units.prop_map(Step::Resize),
        (0f64..40.0).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn no_figure_leaves_its_bounds_and_a_refusal_changes_nothing(
        steps in steps(), capacity in 1i64..400, kind in prop_oneof![Just(Kind::Tokens), Just(Kind::Streams)], whole: bool
    ) {
        let (purse, shares) = purse(vec![Share::new(limit(kind, capacity), whole)]);
        let (mut now, mut flying) = (0.0, Vec::new());
        let figures = || {
            let share = look(&shares[0]);
            (share.free, share.drawn, share.left, share.changes)
        };
        for step in steps {
            let before = figures();
            match step {
                Step::Take(tokens) => {
                    let demand = Demand { tokens, stream: true, ..Demand::default() };
                    let lacks = !purse.lacking(&demand, now).is_empty();
                    let taken = purse.take(&demand, now);
                    prop_assert_eq!(lacks, taken.is_none());
                    if lacks {
                        prop_assert_eq!(before, figures());
                    }
                    flying.extend(taken);
                }
                Step::Settle(index, tokens) if !flying.is_empty() => {
                    let taken: Vec<Taken> = flying.swap_remove(index % flying.len());
                    purse.settle(&taken, &Used { tokens, ..Used::default() }, now);
                }
                Step::Settle(..) => {}
                Step::Report(lacking) => {
                    let report = look(&shares[0]).report(lacking, now);
                    prop_assert!(report.kept >= 0 && report.wanted >= 0 && (0..=MOST).contains(&report.drawn));
                }
                Step::Grant(granted, left, drawn) => {
                    let window = if kind == Kind::Streams { 0 } else { now as i64 / 60 * 60 + WINDOW };
                    look(&shares[0]).granted(&Grant { drawn, ..grant(window, granted, left) }, now);
                }
                Step::Alone => look(&shares[0]).alone(now + 1.0, if kind == Kind::Streams { 0 } else { WINDOW }),
                Step::Refused => look(&shares[0]).refused(),
                Step::Resize(capacity) => look(&shares[0]).resize(capacity),
                Step::Wait(seconds) => now += seconds,
            }
            let share = look(&shares[0]);
            for figure in [share.free, share.drawn, share.left] {
                prop_assert!((0..=MOST).contains(&figure));
            }
            prop_assert!((0..=share.limit.capacity).contains(&share.remaining(now)));
        }
    }

    #[test]
    fn what_is_taken_and_not_used_comes_back_exactly(tokens in 0i64..100, used in 0i64..100) {
        let (purse, shares) = purse(vec![holding(Kind::Tokens, 1000, 1000, true)]);
        let taken = purse.take(&Demand { tokens, ..Demand::default() }, 0.0).expect("room for it");
        purse.settle(&taken, &Used { tokens: used, ..Used::default() }, 1.0);
        let share = look(&shares[0]);
        prop_assert_eq!((used, 1000 - used), (share.drawn, share.free));
    }
}
