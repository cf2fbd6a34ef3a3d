//! Chat completions and the older completions: chunks of choices, each with its finish reason, ended by `[DONE]`.
//!
//! A chunk commits if a choice in it holds anything generated or a finish reason. A role, a channel, empty strings,
//! lists and objects do not, whatever metadata stands beside them. Without a choice in it, a chunk is held back if it
//! brings usage or prompt filters, or nothing that we do not know.

use crate::json::scan::{Cursor, Kind, Malformed};

use super::value::{count, enter, filled, string_span, truthy, word};
use super::{Dialect, Event, InBandError, Reported};

/// What stands beside the choices.
#[derive(Default)]
struct Beside {
    usage: bool,
    prompt_filter: bool,
    unknown: bool,
    error: bool,
}

/// Where in one event a usage object was found: the one further up counts.
#[derive(Default)]
struct Usages {
    whole: Option<Reported>,
    choice: Option<Reported>,
    x_groq: Option<Reported>,
}

/// Reads a chunk, or a whole completion: its choices hold a `message` where a chunk's hold a `delta`.
pub(super) fn read(cursor: &mut Cursor<'_>, name: &[u8], event: &mut Event) -> Result<(), Malformed> {
    let mut beside = Beside::default();
    let mut usages = Usages::default();
    let mut choices = 0;
    cursor.object()?;
    let mut first = true;
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"choices" => choices = read_choices(cursor, event, &mut usages)?,
            b"model" => event.reading.model = string_span(cursor)?,
            b"usage" => {
                beside.usage = cursor.peek() == Kind::Object;
                usages.whole = Reported::read(cursor, Dialect::OpenAiChat)?;
            }
            b"x_groq" => usages.x_groq = read_x_groq(cursor)?,
            b"error" => beside.error = truthy(cursor)?,
            b"prompt_filter_results" => beside.prompt_filter = truthy(cursor)?,
            b"id" | b"object" | b"created" | b"service_tier" | b"system_fingerprint" | b"obfuscation" => {
                cursor.skip()?;
            }
            _ => beside.unknown |= truthy(cursor)?,
        }
    }
    judge(event, &beside, choices, name);
    event.usage_of_one_choice = usages.whole.is_none() && usages.choice.is_some();
    event.usage = usages.whole.or(usages.choice).or(usages.x_groq);
    Ok(())
}

fn judge(event: &mut Event, beside: &Beside, choices: u64, name: &[u8]) {
    let nothing_but_known = event.reading.empty_choices.is_some() && !beside.unknown;
    let held_back = choices > 0 || beside.usage || beside.prompt_filter || nothing_but_known;
    let reading = &mut event.reading;
    reading.commits = reading.content || reading.finish || !held_back;
    reading.usage_only = beside.usage && reading.empty_choices.is_some();
    reading.error = match (beside.error, name == b"error") {
        (true, _) => Some(InBandError::Visible),
        // The official Python SDK yields it as a chunk.
        (false, true) => Some(InBandError::Invisible),
        (false, false) => None,
    };
}

/// Returns how many choices there are.
fn read_choices(cursor: &mut Cursor<'_>, event: &mut Event, usages: &mut Usages) -> Result<u64, Malformed> {
    if cursor.peek() != Kind::Array {
        cursor.skip()?;
        return Ok(0);
    }
    event.answer = true;
    let start = cursor.position();
    cursor.array()?;
    let (mut first, mut place) = (true, 0);
    while cursor.element(&mut first)? {
        read_choice(cursor, event, usages, place)?;
        place += 1;
    }
    event.reading.empty_choices = (place == 0).then(|| start..cursor.position());
    Ok(place)
}

fn read_choice(cursor: &mut Cursor<'_>, event: &mut Event, usages: &mut Usages, place: u64) -> Result<(), Malformed> {
    if !enter(cursor)? {
        return Ok(());
    }
    let (mut first, mut index, mut finished) = (true, None, false);
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"index" => index = count(cursor)?,
            b"delta" | b"message" => event.reading.content |= read_delta(cursor)?,
            b"text" => event.reading.content |= truthy(cursor)?,
            b"finish_reason" => finished = !word(cursor)?.is_empty(),
            b"usage" => usages.choice = Reported::read(cursor, Dialect::OpenAiChat)?.or(usages.choice),
            _ => {
                cursor.skip()?;
            }
        }
    }
    event.choices.see(index.unwrap_or(place), finished);
    event.reading.finish |= finished;
    Ok(())
}

/// Whether anything generated is in it. Servers keep inventing names for it, so it is told by what it is not.
fn read_delta(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    if !enter(cursor)? {
        return Ok(false);
    }
    let (mut first, mut content) = (true, false);
    while let Some(key) = cursor.key(&mut first)? {
        match &*key.name() {
            b"role" | b"channel" | b"provider_metadata" => {
                cursor.skip()?;
            }
            _ => content |= filled(cursor)?,
        }
    }
    Ok(content)
}

fn read_x_groq(cursor: &mut Cursor<'_>) -> Result<Option<Reported>, Malformed> {
    if !enter(cursor)? {
        return Ok(None);
    }
    let (mut first, mut usage) = (true, None);
    while let Some(key) = cursor.key(&mut first)? {
        if &*key.name() == b"usage" {
            usage = Reported::read(cursor, Dialect::OpenAiChat)?;
        } else {
            cursor.skip()?;
        }
    }
    Ok(usage)
}
