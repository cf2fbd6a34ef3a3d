//! What tokens cost, and what that is in credits.
//!
//! Rules: integers only. Money is nano-dollars, prices are nano-dollars per million tokens, a rate of credits is
//! nano-credits per dollar. A request is summed in 128 bits and rounded once, half up; then, if credits are billed, its
//! cost is turned into whole credits by the rate's own rule. What does not fit saturates at [`MOST`], which every store
//! can keep; nothing wraps and nothing falls.

use crate::dialect::Tokens;

/// The most nano-dollars or credits one request comes to: 2^63 - 1.
pub const MOST: u64 = i64::MAX as u64;

const MILLION: u128 = 1_000_000;
/// Nano-dollars per dollar times nano-credits per credit.
const BILLIONTHS: u128 = 1_000_000_000 * 1_000_000_000;

/// What tokens cost, each in nano-dollars per million tokens, and `request` in nano-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that was neither read from a cache nor written to one.
    pub input: u64,
    /// Output that is not reasoning.
    pub output: u64,
    /// Input read from a cache.
    pub cached_input: u64,
    /// Input written to a cache.
    pub cache_write: u64,
    /// Reasoning.
    pub reasoning: u64,
    /// The request itself.
    pub request: u64,
}

/// How a cost becomes whole credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the next whole credit: whatever costs anything costs one.
    Up,
    /// To the nearest, halves up.
    HalfUp,
    /// What has begun is not counted.
    Down,
}

/// The price of a target while it holds, and how it is billed in credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tariff {
    rates: Rates,
    /// Rates for inputs above so many tokens, the least first.
    tiers: Vec<(u64, Rates)>,
    /// Nano-credits per dollar.
    credits: Option<(u64, Rounding)>,
}

// === impl Rounding ===

impl Rounding {
    /// The rule of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "up" => Some(Self::Up),
            "half_up" => Some(Self::HalfUp),
            "down" => Some(Self::Down),
            _ => None,
        }
    }
}

// === impl Rates ===

impl Rates {
    fn cost(&self, tokens: &Tokens) -> u64 {
        // Providers report parts that are larger than their whole: then the whole has no other part.
        let plain = tokens.input.saturating_sub(tokens.cached_input).saturating_sub(tokens.cache_write);
        let written = tokens.output.saturating_sub(tokens.reasoning);
        let millionths = [
            (plain, self.input),
            (tokens.cached_input, self.cached_input),
            (tokens.cache_write, self.cache_write),
            (written, self.output),
            (tokens.reasoning, self.reasoning),
        ]
        .into_iter()
        .fold(0u128, |sum, (count, rate)| sum.saturating_add(u128::from(count) * u128::from(rate)));
        saturated((millionths.saturating_add(MILLION / 2) / MILLION).saturating_add(u128::from(self.request)))
    }
}

// === impl Tariff ===

impl Tariff {
    /// `tiers`: rates for inputs above so many tokens, in any order. `credits`: nano-credits per dollar and the rule.
    pub fn new(rates: Rates, mut tiers: Vec<(u64, Rates)>, credits: Option<(u64, Rounding)>) -> Self {
        tiers.sort_by_key(|(above, _)| *above);
        Self { rates, tiers, credits }
    }

    /// What a request of so many tokens costs, in nano-dollars. The whole of it is priced at its input's tier.
    pub fn cost(&self, tokens: &Tokens) -> u64 {
        let tier = self.tiers.iter().rev().find(|(above, _)| tokens.input > *above);
        tier.map_or(&self.rates, |(_, rates)| rates).cost(tokens)
    }

    /// What that cost is in credits; `None` where none are billed.
    pub fn credits(&self, cost: u64) -> Option<u64> {
        let (rate, rounding) = self.credits?;
        let exact = u128::from(cost) * u128::from(rate);
        let more = match rounding {
            Rounding::Up => BILLIONTHS - 1,
            Rounding::HalfUp => BILLIONTHS / 2,
            Rounding::Down => 0,
        };
        Some(saturated(exact.saturating_add(more) / BILLIONTHS))
    }
}

fn saturated(amount: u128) -> u64 {
    u64::try_from(amount).map_or(MOST, |amount| amount.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOLLAR: u64 = 1_000_000_000;

    fn rates() -> Rates {
        Rates {
            input: 2 * DOLLAR,
            output: 8 * DOLLAR,
            cached_input: DOLLAR / 2,
            cache_write: 5 * DOLLAR / 2,
            reasoning: 10 * DOLLAR,
            request: 7,
        }
    }

    fn tokens(input: u64, output: u64, cached_input: u64, cache_write: u64, reasoning: u64) -> Tokens {
        Tokens { input, output, cached_input, cache_write, reasoning }
    }

    #[test]
    fn each_kind_of_token_has_its_price_and_the_request_its_own() {
        let tariff = Tariff::new(rates(), Vec::new(), None);
        let cases = [
            ("nothing but the request", tokens(0, 0, 0, 0, 0), 7),
            ("input", tokens(10, 0, 0, 0, 0), 20_007),
            ("cached input instead", tokens(10, 0, 4, 0, 0), 12_000 + 2_000 + 7),
            ("a cache write instead", tokens(10, 0, 4, 2, 0), 8_000 + 2_000 + 5_000 + 7),
            ("output", tokens(0, 10, 0, 0, 0), 80_007),
            ("reasoning instead", tokens(0, 10, 0, 0, 6), 32_000 + 60_000 + 7),
            ("parts above their whole", tokens(10, 3, 9, 9, 5), 4_500 + 22_500 + 50_000 + 7),
        ];
        for (name, tokens, expected) in cases {
            assert_eq!(expected, tariff.cost(&tokens), "{name}");
        }
    }

    #[test]
    fn a_request_is_rounded_once_half_up() {
        let cheap = Rates { input: 250_000, output: 250_000, ..Rates::default() }; // a quarter of a nano-dollar per token
        let tariff = Tariff::new(cheap, Vec::new(), None);
        let costs: Vec<_> = (0..7).map(|n| tariff.cost(&tokens(n, 0, 0, 0, 0))).collect();
        assert_eq!(vec![0, 0, 1, 1, 1, 1, 2], costs);
        assert_eq!(1, tariff.cost(&tokens(1, 1, 0, 0, 0)), "two quarters are a half, not twice nothing");
    }

    #[test]
    fn a_long_input_has_the_rates_of_its_tier_for_all_of_it() {
        let dear = Rates { input: 4 * DOLLAR, ..Rates::default() };
        let dearest = Rates { input: 9 * DOLLAR, ..Rates::default() };
        let tariff = Tariff::new(rates(), vec![(200, dearest), (100, dear)], None);
        let costs: Vec<_> = [100, 101, 200, 201].map(|n| tariff.cost(&tokens(n, 0, 0, 0, 0))).to_vec();
        assert_eq!(vec![200_007, 404_000, 800_000, 1_809_000], costs);
    }

    #[test]
    fn credits_are_whole_by_the_rule_that_is_stated() {
        let in_credits =
            |rounding, cost| Tariff::new(rates(), Vec::new(), Some((1_000 * DOLLAR, rounding))).credits(cost);
        // A thousand credits a dollar: one is a million nano-dollars.
        for (cost, up, half_up, down) in [
            (0, 0, 0, 0),
            (1, 1, 0, 0),
            (499_999, 1, 0, 0),
            (500_000, 1, 1, 0),
            (1_000_000, 1, 1, 1),
            (1_000_001, 2, 1, 1),
        ] {
            assert_eq!(Some(up), in_credits(Rounding::Up, cost), "{cost} up");
            assert_eq!(Some(half_up), in_credits(Rounding::HalfUp, cost), "{cost} half up");
            assert_eq!(Some(down), in_credits(Rounding::Down, cost), "{cost} down");
        }
        assert_eq!(None, Tariff::new(rates(), Vec::new(), None).credits(1));
    }

    proptest! {
        #[test]
        fn nothing_wraps_and_more_never_costs_less(a: u64, b: u64, more in 0u64.., rate: u64, price: u64) {
            let rates = Rates { input: price, output: price, cached_input: price, cache_write: price, reasoning: price, request: price };
            let tariff = Tariff::new(rates, Vec::new(), Some((rate, Rounding::Up)));
            let less = tariff.cost(&tokens(a, b, 0, 0, 0));
            let cost = tariff.cost(&tokens(a.saturating_add(more), b, 0, 0, 0));
            prop_assert!(less <= cost && cost <= MOST);
            prop_assert!(tariff.credits(less) <= tariff.credits(cost));
            prop_assert!(tariff.credits(cost) <= Some(MOST));
        }
    }
}
