//! Counts as providers spell them, and the one meaning they are folded into.
//!
//! Two steps, kept apart on purpose: [`Reported`] repeats what was said, so that it can be compared with what the
//! provider sent; [`fold`] says what it means. Nothing is clamped in either: providers break every inequality that
//! seems certain (cached above input, reasoning above output), and a corrected figure could not be traced back.

mod spelling;

use crate::json::scan::{Cursor, Kind, Malformed};

use super::value::{self, enter};
use super::Dialect;
use spelling::{Group, Member};

/// Token counts as the provider reported them, under normalised names; `None` where it said nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// The prompt, as this provider counts it.
    pub input: Option<u64>,
    /// The answer, as this provider counts it.
    pub output: Option<u64>,
    /// The provider's own sum.
    pub total: Option<u64>,
    /// Prompt tokens read from a cache.
    pub cached_read: Option<u64>,
    /// Prompt tokens written to a cache.
    pub cache_write: Option<u64>,
    /// Answer tokens spent on reasoning.
    pub reasoning: Option<u64>,
    aside: Aside,
}

/// Counts some providers give under names of their own. [`fold`] falls back on them; they are not compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Aside {
    cached_read: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
    /// Prompt tokens that came from tools, beside the prompt (Gemini).
    tool_input: Option<u64>,
}

/// Token counts with one meaning everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The whole prompt, cache reads and writes included.
    pub input: u64,
    /// The whole answer, reasoning included.
    pub output: u64,
    /// The part of the input that was read from a cache.
    pub cached_input: u64,
    /// The part of the input that was written to a cache.
    pub cache_write: u64,
    /// The part of the output that was reasoning.
    pub reasoning: u64,
}

/// Gives the counts their one meaning. Sums saturate; what was not reported counts nothing.
///
/// Cache reads and writes are added to the input where the dialect reports them beside it (Anthropic). Reasoning is
/// added to the output where it lies outside: on Gemini (whose prompt also leaves out what tools brought), and on chat
/// wherever the provider's own total says so (xAI: prompt + completion + reasoning).
pub fn fold(dialect: Dialect, reported: &Reported) -> Tokens {
    let aside = &reported.aside;
    let mut tokens = Tokens {
        input: reported.input.unwrap_or(0),
        output: reported.output.unwrap_or(0),
        cached_input: reported.cached_read.or(aside.cached_read).unwrap_or(0),
        cache_write: reported.cache_write.or(aside.cache_write).unwrap_or(0),
        reasoning: reported.reasoning.or(aside.reasoning).unwrap_or(0),
    };
    match dialect {
        Dialect::AnthropicMessages => {
            tokens.input = tokens.input.saturating_add(tokens.cached_input).saturating_add(tokens.cache_write);
        }
        Dialect::Gemini => {
            tokens.input = tokens.input.saturating_add(aside.tool_input.unwrap_or(0));
            tokens.output = tokens.output.saturating_add(tokens.reasoning);
        }
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => {
            let inside = tokens.input.saturating_add(tokens.output);
            let outside = inside.saturating_add(tokens.reasoning);
            if tokens.reasoning > 0 && reported.total == Some(outside) {
                tokens.output = tokens.output.saturating_add(tokens.reasoning);
            }
        }
        Dialect::OpenAiResponses | Dialect::Cohere | Dialect::Unknown => {}
    }
    tokens
}

/// What one answer's events have reported until now.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    dialect: Dialect,
    asked: u32,
    last: Option<Reported>,
    /// The usage of single choices, added up, and how many of them there were.
    choices: Reported,
    counted: u32,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(dialect: Dialect, asked: u32) -> Self {
        Self { dialect, asked, last: None, choices: Reported::default(), counted: 0 }
    }

    /// Takes the usage of the next event. `of_one_choice`: it may be one choice's share.
    pub(super) fn add(&mut self, usage: Reported, of_one_choice: bool) {
        if !usage.says_anything() || (self.dialect == Dialect::Gemini && usage.total.is_none()) {
            return;
        }
        if of_one_choice {
            self.choices = self.choices.with_choice(&usage);
            self.counted = self.counted.saturating_add(1);
        }
        let overwrites = self.dialect == Dialect::AnthropicMessages;
        match &mut self.last {
            // A refusal takes the output alone back to zero.
            Some(last) if usage.is_zero() && !last.is_zero() && !(overwrites && usage.input.is_none()) => {}
            Some(last) if overwrites => last.overwrite(usage),
            last => *last = Some(usage),
        }
    }

    /// The last word; with several choices asked for and as many shares reported, their sum (llama.cpp).
    pub(super) fn reported(&self) -> Option<Reported> {
        if self.asked > 1 && self.counted == self.asked {
            return Some(self.choices);
        }
        self.last
    }
}

// === impl Reported ===

impl Reported {
    /// Reads the usage object under the cursor. `None` if it is no object, or if one of its counts is no JSON at all
    /// (`NaN`): whoever writes that cannot be believed in the others. Counts that are negative, quoted or fractional
    /// are passed over; of a member that stands twice the last counts.
    pub(super) fn read(cursor: &mut Cursor<'_>, dialect: Dialect) -> Result<Option<Self>, Malformed> {
        if cursor.peek() != Kind::Object {
            cursor.skip()?;
            return Ok(None);
        }
        let mut usage = Self::default();
        let mut billed = Self::default();
        let believable = usage.read_group(cursor, dialect, Group::Usage, &mut billed)?;
        usage.input = usage.input.or(billed.input);
        usage.output = usage.output.or(billed.output);
        Ok(believable.then_some(usage))
    }

    /// `billed` takes what a provider bills where that differs from what it counted (Cohere).
    fn read_group(
        &mut self,
        cursor: &mut Cursor<'_>,
        dialect: Dialect,
        group: Group,
        billed: &mut Self,
    ) -> Result<bool, Malformed> {
        if !enter(cursor)? {
            return Ok(true);
        }
        let (mut first, mut believable) = (true, true);
        while let Some(key) = cursor.key(&mut first)? {
            match spelling::member(dialect, group, &key.name()) {
                Member::Foreign => {
                    cursor.skip()?;
                }
                Member::Group(Group::BilledUnits) => {
                    believable &= billed.read_group(cursor, dialect, Group::BilledUnits, &mut Self::default())?;
                }
                Member::Group(group) => believable &= self.read_group(cursor, dialect, group, billed)?,
                Member::Count(slot) => {
                    believable &= cursor.peek() != Kind::Other;
                    if let Some(n) = value::count(cursor)? {
                        *slot(self) = Some(n);
                    }
                }
            }
        }
        Ok(believable)
    }

    fn counts(&self) -> [Option<u64>; 10] {
        let aside = &self.aside;
        [
            self.input,
            self.output,
            self.total,
            self.cached_read,
            self.cache_write,
            self.reasoning,
            aside.cached_read,
            aside.cache_write,
            aside.reasoning,
            aside.tool_input,
        ]
    }

    fn says_anything(&self) -> bool {
        self.counts().iter().any(Option::is_some)
    }

    fn is_zero(&self) -> bool {
        self.counts().into_iter().flatten().all(|n| n == 0)
    }

    /// Anthropic's later events overwrite key by key. A bare `input_tokens: 0` that some proxies make up does not
    /// erase what the first event said; beside a filled cache it is the truth.
    fn overwrite(&mut self, later: Self) {
        let cached = later.cached_read.unwrap_or(0) > 0 || later.cache_write.unwrap_or(0) > 0;
        if later.input != Some(0) || cached {
            self.input = later.input.or(self.input);
        }
        self.output = later.output.or(self.output);
        self.total = later.total.or(self.total);
        self.cached_read = later.cached_read.or(self.cached_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.reasoning = later.reasoning.or(self.reasoning);
        self.aside.reasoning = later.aside.reasoning.or(self.aside.reasoning);
    }

    /// One more choice of the same prompt: the prompt is counted once, the answers add up.
    fn with_choice(&self, choice: &Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        let (input, output) = (self.input.max(choice.input), sum(self.output, choice.output));
        let total = self.total.max(choice.total).and_then(|_| sum(input, output));
        Self {
            input,
            output,
            total,
            cached_read: self.cached_read.max(choice.cached_read),
            cache_write: self.cache_write.max(choice.cache_write),
            reasoning: sum(self.reasoning, choice.reasoning),
            aside: Aside {
                cached_read: self.aside.cached_read.max(choice.aside.cached_read),
                cache_write: self.aside.cache_write.max(choice.aside.cache_write),
                reasoning: sum(self.aside.reasoning, choice.aside.reasoning),
                tool_input: self.aside.tool_input.max(choice.aside.tool_input),
            },
        }
    }
}
