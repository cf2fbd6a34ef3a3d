use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::*;

const DROPPED: &str = "dropped_label_sets_total";

fn family(name: &str, kind: Kind, labels: &[&str], cap: usize) -> Family {
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    Family { name: name.to_owned(), help: format!("What {name} counts."), kind, labels, cap }
}

fn micros(bounds: &[u64]) -> Kind {
    Kind::Histogram { bounds: bounds.to_vec(), scale: Scale::Micros }
}

fn bank(families: Vec<Family>) -> Bank {
    Bank::in_memory(families, None).unwrap()
}

fn slot(bank: &Bank, name: &str, labels: &[&str]) -> Slot {
    bank.slot(bank.family(name).unwrap(), labels).unwrap()
}

fn rendered<C: Deref<Target = [AtomicU64]>>(bank: &Bank<C>) -> String {
    let mut out = Vec::new();
    bank.render(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_family_is_shown_before_anything_happened() {
    let bank = bank(vec![
        family("requests_total", Kind::Counter, &["model"], 10),
        family("streams_active", Kind::Gauge, &[], 0),
        family("lag_seconds", micros(&[500, 1_000_000]), &[], 0),
    ]);

    let expected = "\
# HELP requests_total What requests_total counts.
# TYPE requests_total counter
# HELP streams_active What streams_active counts.
# TYPE streams_active gauge
streams_active 0
# HELP lag_seconds What lag_seconds counts.
# TYPE lag_seconds histogram
lag_seconds_bucket{le=\"0.0005\"} 0
lag_seconds_bucket{le=\"1.0\"} 0
lag_seconds_bucket{le=\"+Inf\"} 0
lag_seconds_sum 0
lag_seconds_count 0
";
    assert_eq!(expected, rendered(&bank));
}

#[test]
fn a_histogram_is_cumulative_and_its_sum_an_exact_decimal() {
    let bank = bank(vec![family("gap_seconds", micros(&[1_000, 250_000]), &["target"], 10)]);
    let slot = slot(&bank, "gap_seconds", &["a"]);
    for value in [0, 1_000, 1_001, 250_000, 250_001, 7_000_000] {
        bank.observe(slot, value);
    }

    let expected = "\
gap_seconds_bucket{target=\"a\",le=\"0.001\"} 2
gap_seconds_bucket{target=\"a\",le=\"0.25\"} 4
gap_seconds_bucket{target=\"a\",le=\"+Inf\"} 6
gap_seconds_sum{target=\"a\"} 7.502002
gap_seconds_count{target=\"a\"} 6
";
    assert_eq!(expected, rendered(&bank).split_once("histogram\n").unwrap().1);
    assert_eq!(Some(6), bank.value(slot));
}

#[test]
fn label_values_and_help_are_escaped() {
    let mut odd = family("odd_total", Kind::Counter, &["path", "model"], 10);
    odd.help = "A \"back\\slash\"\nand a line end".to_owned();
    let bank = bank(vec![odd]);
    bank.add(slot(&bank, "odd_total", &["a\\b", "say \"hi\"\n} 1"]), 3);

    let expected = concat!(
        r#"# HELP odd_total A "back\\slash"\nand a line end"#,
        "\n# TYPE odd_total counter\n",
        r#"odd_total{path="a\\b",model="say \"hi\"\n} 1"} 3"#,
        "\n"
    );
    assert_eq!(expected, rendered(&bank));
}

#[test]
fn values_that_look_like_two_labels_are_not_mixed_up() {
    let bank = bank(vec![family("t_total", Kind::Counter, &["a", "b"], 10)]);

    assert_ne!(slot(&bank, "t_total", &["x\",b=\"y", ""]), slot(&bank, "t_total", &["x", "y"]));
    assert_eq!(slot(&bank, "t_total", &["x", "y"]), slot(&bank, "t_total", &["x", "y"]));
}

#[test]
fn beyond_the_cap_everything_is_other_and_counted() {
    let families =
        vec![family("r_total", Kind::Counter, &["model", "target"], 3), family(DROPPED, Kind::Counter, &["metric"], 5)];
    let bank = Bank::in_memory(families, Some(DROPPED)).unwrap();
    for junk in 0..100_000 {
        bank.add(slot(&bank, "r_total", &[&format!("junk-{junk}"), "t"]), 1);
    }

    let text = rendered(&bank);
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "r_total{model=\"junk-0\",target=\"t\"} 1",
        "r_total{model=\"junk-1\",target=\"t\"} 1",
        "r_total{model=\"junk-2\",target=\"t\"} 1",
        "r_total{model=\"_other\",target=\"_other\"} 99997",
        "dropped_label_sets_total{metric=\"r_total\"} 99997",
    ];
    assert_eq!(expected, series[..]);
    assert_eq!(slot(&bank, "r_total", &["_other", "_other"]), slot(&bank, "r_total", &["more", "junk"]));
}

#[test]
fn an_other_set_that_came_early_takes_the_rest() {
    let bank = bank(vec![family("r_total", Kind::Counter, &["model"], 2)]);
    let early = slot(&bank, "r_total", &[OTHER]);
    slot(&bank, "r_total", &["a"]);

    assert_eq!(early, slot(&bank, "r_total", &["b"]));
    assert_eq!(early, slot(&bank, "r_total", &["c"]));
}

#[test]
fn a_gauge_goes_below_zero_and_back() {
    let bank = bank(vec![family("g", Kind::Gauge, &[], 0)]);
    let gauge = slot(&bank, "g", &[]);
    bank.adjust(gauge, -3);
    assert!(rendered(&bank).ends_with("g -3\n"));

    bank.adjust(gauge, 4);
    assert_eq!(Some(1), bank.value(gauge));

    bank.set(gauge, i64::MIN);
    assert!(rendered(&bank).ends_with("g -9223372036854775808\n"));
}

#[test]
fn record_does_what_the_kind_makes_of_a_value() {
    let bank = bank(vec![
        family("c_total", Kind::Counter, &[], 0),
        family("g", Kind::Gauge, &[], 0),
        family("d_seconds", micros(&[1]), &[], 0),
        family("tokens", Kind::Histogram { bounds: vec![4], scale: Scale::Plain }, &[], 0),
    ]);
    for (name, values) in [
        ("c_total", vec![2.0, -5.0, f64::NAN, 0.0, 1.9]),
        ("g", vec![9.0, -2.0]),
        ("d_seconds", vec![0.000_000_6, 1.5, -1.0, f64::NAN]),
        ("tokens", vec![4.0, 5.0]),
    ] {
        let slot = slot(&bank, name, &[]);
        for value in values {
            bank.record(slot, value);
        }
    }

    let text = rendered(&bank);
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        "c_total 3",
        "g -2",
        "d_seconds_bucket{le=\"0.000001\"} 3",
        "d_seconds_bucket{le=\"+Inf\"} 4",
        "d_seconds_sum 1.500001",
        "d_seconds_count 4",
        "tokens_bucket{le=\"4.0\"} 1",
        "tokens_bucket{le=\"+Inf\"} 2",
        "tokens_sum 9",
        "tokens_count 2",
    ];
    assert_eq!(expected, series[..]);
}

#[test]
fn a_slot_of_nowhere_and_a_wrong_kind_count_nothing() {
    let bank = bank(vec![family("c_total", Kind::Counter, &["a"], 2), family("d_seconds", micros(&[1_000]), &[], 0)]);
    let (counter, histogram) = (slot(&bank, "c_total", &["x"]), slot(&bank, "d_seconds", &[]));
    let before = rendered(&bank);
    for bits in [1 << 32 | 1, 2 << 32, u64::MAX, 3] {
        bank.record(Slot::from_bits(bits), 1.0);
        bank.add(Slot::from_bits(bits), 1);
        bank.observe(Slot::from_bits(bits), 1);
        assert_eq!(None, bank.value(Slot::from_bits(bits)));
    }
    bank.observe(counter, 5);
    bank.add(histogram, 5);
    bank.set(histogram, 5);

    assert_eq!(before, rendered(&bank));
    assert_eq!(counter, Slot::from_bits(counter.to_bits()));
}

#[test]
fn a_table_that_cannot_be_served_is_refused_with_its_family() {
    let labelled = || family("a_total", Kind::Counter, &["x"], 2);
    for (expected, families, dropped) in [
        ("a_total is declared twice", vec![labelled(), labelled()], None),
        ("a:b is not a metric's name", vec![family("a:b", Kind::Gauge, &[], 0)], None),
        ("1a is not a metric's name", vec![family("1a", Kind::Gauge, &[], 0)], None),
        ("  is not a metric's name", vec![family(" ", Kind::Gauge, &[], 0)], None),
        ("h has a label whose name is reserved or malformed", vec![family("h", micros(&[1]), &["le"], 1)], None),
        ("h has a label whose name is reserved or malformed", vec![family("h", Kind::Gauge, &["a-b"], 1)], None),
        ("h needs ascending buckets", vec![family("h", micros(&[]), &[], 0)], None),
        ("h needs ascending buckets", vec![family("h", micros(&[2, 2]), &[], 0)], None),
        ("nowhere is not in the table", vec![labelled()], Some("nowhere")),
        (
            "g must be a counter with one label to count dropped label sets",
            vec![labelled(), family("g", Kind::Gauge, &["metric"], 9)],
            Some("g"),
        ),
        (
            "d_total has a cap below the number of families it counts for",
            vec![labelled(), family("d_total", Kind::Counter, &["metric"], 0)],
            Some("d_total"),
        ),
    ] {
        assert_eq!(expected, Bank::in_memory(families, dropped).unwrap_err().to_string());
    }
    let none: Box<[AtomicU64]> = Box::new([]);
    assert_eq!(
        "the table needs more cells than there are",
        Bank::new(vec![labelled()], None, none).unwrap_err().to_string()
    );
}

#[test]
fn a_label_set_of_another_length_is_refused() {
    let bank = bank(vec![family("a_total", Kind::Counter, &["x", "y"], 2)]);
    let refused = bank.slot(bank.family("a_total").unwrap(), &["1"]).unwrap_err();

    assert_eq!(WrongLabels { expected: 2, given: 1 }, refused);
}

fn memory(families: &[Family]) -> Arc<[AtomicU64]> {
    (0..Bank::<Arc<[AtomicU64]>>::cells_needed(families)).map(|_| AtomicU64::new(0)).collect()
}

/// What several banks show together.
fn together<C: Deref<Target = [AtomicU64]>>(banks: &[&Bank<C>]) -> Vec<String> {
    let mut out = Vec::new();
    render(banks, &mut out);
    let text = String::from_utf8(out).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn a_reader_over_the_same_cells_shows_what_is_counted_there_also_what_is_new_since() {
    let families = vec![
        family("a_total", Kind::Counter, &["x"], 2),
        family("d_seconds", micros(&[1]), &[], 0),
        family(DROPPED, Kind::Counter, &["metric"], 5),
    ];
    let cells = memory(&families);
    let bank = Bank::new(families.clone(), Some(DROPPED), Arc::clone(&cells)).unwrap();
    let reader = Bank::reader(families, cells).unwrap();
    for labels in ["v", "a longer one, in more than eight bytes, \u{e9}\"\n", "third", "fourth"] {
        bank.add(bank.slot(bank.family("a_total").unwrap(), &[labels]).unwrap(), 1);
        bank.observe(bank.slot(bank.family("d_seconds").unwrap(), &[]).unwrap(), 1);
        assert_eq!(rendered(&bank), rendered(&reader));
    }

    assert!(rendered(&reader).contains("a_total{x=\"_other\"} 2\n"));
}

#[test]
fn several_banks_are_shown_as_one() {
    let of = |names: &[&str], more: u64| {
        let mut families = vec![
            family("c_total", Kind::Counter, &["x"], 4),
            family("g", Kind::Gauge, &[], 0),
            family("l", Kind::Level, &[], 0),
            family("d_seconds", micros(&[10]), &["x"], 4),
        ];
        if more > 1 {
            families.push(family("new_total", Kind::Counter, &[], 0));
        }
        let bank = bank(families);
        for &name in names {
            bank.add(slot(&bank, "c_total", &[name]), more);
            bank.observe(slot(&bank, "d_seconds", &[name]), 5 * more);
        }
        bank.adjust(slot(&bank, "g", &[]), -2);
        bank.set(slot(&bank, "l", &[]), i64::try_from(more).unwrap() - 2);
        bank
    };
    let (one, other) = (of(&["a", "b"], 1), of(&["c", "b"], 3));

    let expected = [
        "c_total{x=\"a\"} 1",
        "c_total{x=\"b\"} 4",
        "c_total{x=\"c\"} 3",
        "g -4",
        "l 1",
        "d_seconds_bucket{x=\"a\",le=\"0.00001\"} 1",
        "d_seconds_bucket{x=\"a\",le=\"+Inf\"} 1",
        "d_seconds_sum{x=\"a\"} 0.000005",
        "d_seconds_count{x=\"a\"} 1",
        "d_seconds_bucket{x=\"b\",le=\"0.00001\"} 1",
        "d_seconds_bucket{x=\"b\",le=\"+Inf\"} 2",
        "d_seconds_sum{x=\"b\"} 0.00002",
        "d_seconds_count{x=\"b\"} 2",
        "d_seconds_bucket{x=\"c\",le=\"0.00001\"} 0",
        "d_seconds_bucket{x=\"c\",le=\"+Inf\"} 1",
        "d_seconds_sum{x=\"c\"} 0.000015",
        "d_seconds_count{x=\"c\"} 1",
        "new_total 0",
    ];
    assert_eq!(expected, together(&[&one, &other])[..]);
    assert_eq!(together(&[&one]), together(&[&one, &bank(vec![])]));
}

#[test]
fn a_family_declared_otherwise_is_shown_as_the_first_bank_has_it() {
    let one = bank(vec![family("c_total", Kind::Counter, &["x"], 4)]);
    let other = bank(vec![family("c_total", Kind::Counter, &["y"], 4)]);
    one.add(slot(&one, "c_total", &["a"]), 1);
    other.add(slot(&other, "c_total", &["a"]), 1);

    assert_eq!(["c_total{x=\"a\"} 1"], together(&[&one, &other])[..]);
}

#[test]
fn what_a_bank_absorbed_stays_and_what_it_showed_of_itself_goes() {
    let families = || {
        vec![
            family("c_total", Kind::Counter, &["x"], 2),
            family("g", Kind::Gauge, &[], 0),
            family("d_seconds", micros(&[10]), &[], 0),
            family(DROPPED, Kind::Counter, &["metric"], 5),
        ]
    };
    let kept = Bank::in_memory(families(), Some(DROPPED)).unwrap();
    for names in [["a", "b"], ["b", "c"]] {
        let ended = bank(families());
        for name in names {
            ended.add(slot(&ended, "c_total", &[name]), 2);
        }
        ended.set(slot(&ended, "g", &[]), 7);
        ended.observe(slot(&ended, "d_seconds", &[]), 20);
        kept.absorb(&ended);
    }

    let expected = [
        "c_total{x=\"a\"} 2",
        "c_total{x=\"b\"} 4",
        "c_total{x=\"_other\"} 2",
        "g 0",
        "d_seconds_bucket{le=\"0.00001\"} 0",
        "d_seconds_bucket{le=\"+Inf\"} 2",
        "d_seconds_sum 0.00004",
        "d_seconds_count 2",
        "dropped_label_sets_total{metric=\"c_total\"} 1",
        "dropped_label_sets_total{metric=\"g\"} 0",
    ];
    let shown = together(&[&kept]);
    assert_eq!(expected[..9], shown[..9]);
}

#[test]
fn label_sets_that_do_not_fit_are_other() {
    let families = vec![family("c_total", Kind::Counter, &["x"], 4)];
    let cells = memory(&families);
    let bank = Bank::new(families.clone(), None, Arc::clone(&cells)).unwrap();
    for length in [600, 900, 700, 3] {
        bank.add(bank.slot(bank.family("c_total").unwrap(), &[&"n".repeat(length)]).unwrap(), 1);
    }
    let reader = Bank::reader(families, cells).unwrap();

    assert_eq!(rendered(&bank), rendered(&reader));
    assert_eq!("c_total{x=\"_other\"} 2", together(&[&reader])[1]);
}

#[test]
fn broken_memory_is_read_as_far_as_it_is_whole() {
    let families = vec![family("c_total", Kind::Counter, &["x"], 4)];
    for (at, value) in [(0, u64::MAX), (1, u64::MAX), (1, 9 << 32 | 5), (2, u64::MAX), (1, 1 << 20)] {
        let cells = memory(&families);
        let bank = Bank::new(families.clone(), None, Arc::clone(&cells)).unwrap();
        bank.add(bank.slot(bank.family("c_total").unwrap(), &["abc"]).unwrap(), 1);
        cells[at].store(value, Relaxed);

        let reader = Bank::reader(families.clone(), cells).unwrap();

        assert!(together(&[&reader]).len() <= 4);
    }
}

#[test]
fn threads_lose_nothing_and_a_scrape_meanwhile_is_whole() {
    const EACH: i64 = 20_000;
    let bank = Arc::new(bank(vec![
        family("a_total", Kind::Counter, &["x"], 8),
        family("d_seconds", micros(&[10]), &["x"], 8),
    ]));
    let writers: Vec<_> = (0..4)
        .map(|writer: u64| {
            let bank = Arc::clone(&bank);
            thread::spawn(move || {
                for round in 0..EACH {
                    let label = (round % 12).to_string();
                    bank.add(slot(&bank, "a_total", &[&label]), 1);
                    bank.observe(slot(&bank, "d_seconds", &[&label]), writer * 5);
                }
            })
        })
        .collect();
    while writers.iter().any(|writer| !writer.is_finished()) {
        let text = rendered(&bank);
        let of = |part: &str| {
            let line = text.lines().find(|line| line.starts_with(part));
            line.map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
        };
        assert_eq!(of("d_seconds_bucket{x=\"0\",le=\"+Inf\"}"), of("d_seconds_count{x=\"0\"}"));
    }
    for writer in writers {
        writer.join().unwrap();
    }

    let total = |name: &str| {
        (0..9).map(|set| bank.value(Slot { family: bank.family(name).unwrap().0, set }).unwrap()).sum::<i64>()
    };
    assert_eq!((4 * EACH, 4 * EACH), (total("a_total"), total("d_seconds")));
}

/// What the text must be, by the rules of the format and nothing else: rebuilt from every observation.
fn naive(bounds: &[u64], seen: &[(String, u64)]) -> String {
    let mut by_label: BTreeMap<usize, (String, Vec<u64>)> = BTreeMap::new();
    let mut order: Vec<&String> = Vec::new();
    for (label, value) in seen {
        if !order.contains(&label) {
            order.push(label);
        }
        let at = order.iter().position(|known| *known == label).unwrap();
        by_label.entry(at).or_insert_with(|| (label.clone(), Vec::new())).1.push(*value);
    }
    let mut text = "# HELP h_seconds What h_seconds counts.\n# TYPE h_seconds histogram\n".to_owned();
    for (label, values) in by_label.values() {
        let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for bound in bounds {
            let count = values.iter().filter(|&value| value <= bound).count();
            let le = format!("{:?}", *bound as f64 / 1e6);
            writeln!(text, "h_seconds_bucket{{x=\"{label}\",le=\"{le}\"}} {count}").unwrap();
        }
        writeln!(text, "h_seconds_bucket{{x=\"{label}\",le=\"+Inf\"}} {}", values.len()).unwrap();
        let sum = values.iter().sum::<u64>();
        let sum = format!("{}.{:06}", sum / 1_000_000, sum % 1_000_000);
        let sum = sum.trim_end_matches('0').trim_end_matches('.');
        writeln!(text, "h_seconds_sum{{x=\"{label}\"}} {sum}").unwrap();
        writeln!(text, "h_seconds_count{{x=\"{label}\"}} {}", values.len()).unwrap();
    }
    text
}

proptest! {
    #[test]
    fn the_text_is_what_a_naive_writer_says(
        bounds in prop::collection::btree_set(1_000_u64..90_000_000, 1..12),
        seen in prop::collection::vec(("[a-c\"\\\\\n}é]{0,3}", 0_u64..100_000_000), 0..60),
    ) {
        let bounds: Vec<u64> = bounds.into_iter().collect();
        let bank = bank(vec![family("h_seconds", micros(&bounds), &["x"], 100)]);
        for (label, value) in &seen {
            bank.observe(slot(&bank, "h_seconds", &[label]), *value);
        }

        prop_assert_eq!(naive(&bounds, &seen), rendered(&bank));
    }
}
