//! Reads spools: the frames that `record.rs` writes, and the rows that are in them.
//!
//! Rules of this file:
//!
//! - A frame counts once all of it is there and its CRC agrees. Reading never fails: what cannot be read is passed over
//!   and counted, frame by frame as long as lengths can be believed.
//! - An end says where in the piece its texts stand; nothing is copied.

use super::record::{Frame, Type, ADMITTED, BOTH, FINISHED, HEAD, LONGEST, OF_ADMITTED, OF_OWN, OF_SAME};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use Type::{Count, Flag, MaybeCount, Text};

/// Of what an end has in common with others, what the sums of a day are kept apart by: model, target, caller, its group.
const GROUPED: [usize; 4] = [5, 6, 2, 3];
/// Of its own, what is summed: tokens, cost, credits.
const SUMMED: Range<usize> = 5..12;
const COST: usize = 10;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A field as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A count, or a flag as 0 or 1.
    Count(i64),
    /// Not known.
    None,
}

/// A field of a piece: a text by its place, else its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Text { at: u32, length: u32 },
    Count(i64),
    None,
}

/// The end of a request: a row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Which one of its spool.
    pub sequence: u64,
    own: [Field; OF_OWN.len()],
    /// Where the fields stand that others of its kind have, too.
    same: (u32, u32),
}

/// What a piece of a spool holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Ends.
    pub ended: Vec<End>,
    /// Admissions by their sequences: where each one's record stands.
    pub admitted: Vec<(u64, Range<usize>)>,
    /// Frames that could not be read.
    pub damaged: usize,
    /// Where the last whole frame ends.
    pub end: usize,
    /// What stands there can never become a frame, however much follows.
    pub unbelievable: bool,
}

/// How many rows, `SUMMED`, and how many have no cost.
type Figures = [i64; 9];
/// A sum of rows: the day since 1970, what they have in common of `GROUPED`, and their figures.
pub type Sum<'a> = (i64, [&'a str; GROUPED.len()], Figures);

/// Reads the frames of `data` that are whole; stops before what is not, or has a length beyond belief.
pub fn read(data: &[u8]) -> Found {
    let mut found = Found::default();
    while let Some((length, rest)) = data[found.end..].split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((check, rest)) = rest.split_first_chunk::<4>() else { break };
        if !(BOTH - HEAD..=LONGEST).contains(&length) {
            found.unbelievable = true;
            break;
        }
        let Some(body) = rest.get(..length) else { break };
        let start = found.end;
        found.end += HEAD + length;
        match body.first_chunk::<{ BOTH - HEAD }>() {
            Some([kind, sequence @ ..]) if crc32fast::hash(body) == u32::from_le_bytes(*check) => {
                let whole = &data[..found.end];
                found.note(*kind, u64::from_le_bytes(*sequence), whole, start + BOTH);
            }
            _ => found.damaged += 1,
        }
    }
    found
}

/// The frame of an end that nobody saw, by the bytes of its admission's record; none if these are not such.
pub fn never_ended(sequence: u64, admission: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Packed { data: admission, at: 0 };
    packed.array(OF_ADMITTED.len())?;
    let seen = packed.fields(&OF_ADMITTED)?.map(|field| field.value(admission));
    let [received_at, id, endpoint, stream, caller, group, requested, model, configuration] = seen;
    let (empty, zero, none) = (Value::Text(""), Value::Count(0), Value::Text("none"));
    let mut row = vec![received_at, id, empty, zero, empty];
    row.extend([zero; 5]); // tokens
    row.extend([Value::None; 3]);
    row.extend([zero; 4]); // bytes
    row.extend([endpoint, stream, caller, group, requested, model]);
    row.extend([empty; 3]); // target, upstream_model, credential
    row.extend([zero, empty, Value::Text("unknown"), none, none, empty, configuration]);
    let mut frame = Frame::new(FINISHED, sequence, row.len());
    for (of, value) in OF_OWN.into_iter().chain(OF_SAME).zip(row) {
        match value {
            Value::Text(text) => frame.text(text),
            Value::Count(flag) if of == Flag => frame.flag(flag != 0),
            Value::Count(count) => frame.count(count.unsigned_abs()),
            Value::None => frame.maybe(None),
        }
    }
    Some(frame.whole())
}

/// Sums ends of `data` in one order, whatever theirs is; sums stop at the largest number.
pub fn sums<'a>(data: &'a [u8], ends: impl Iterator<Item = &'a End>) -> Vec<Sum<'a>> {
    let mut kinds: HashMap<_, (&End, Figures)> = HashMap::new();
    let mut run: Option<(&End, Figures)> = None;
    let mut add = |run: Option<(&'a End, Figures)>| {
        if let Some((end, figures)) = run {
            plus(&mut kinds.entry(end.kind(data)).or_insert((end, Figures::default())).1, &figures);
        }
    };
    for end in ends {
        match &mut run {
            Some((last, figures)) if end.is_like(last, data) => plus(figures, &end.figures()),
            _ => add(run.replace((end, end.figures()))),
        }
    }
    add(run);
    let mut sums: BTreeMap<_, Figures> = BTreeMap::new();
    for (end, figures) in kinds.into_values() {
        let same = end.same(data);
        let group = GROUPED.map(|place| if let Value::Text(text) = same[place] { text } else { "" });
        plus(sums.entry((end.day(), group)).or_default(), &figures);
    }
    sums.into_iter().map(|((day, group), figures)| (day, group, figures)).collect()
}

fn plus(sum: &mut Figures, figures: &Figures) {
    for (sum, figure) in sum.iter_mut().zip(figures) {
        *sum = sum.saturating_add(*figure);
    }
}

// === impl End ===

impl End {
    /// When it was received: microseconds since 1970.
    pub fn received_at(&self) -> i64 {
        self.count(0)
    }

    /// The day of that, since 1970.
    pub fn day(&self) -> i64 {
        self.received_at() / DAY
    }

    /// What it has of its own; `data` is what the end was read from.
    pub fn own<'a>(&self, data: &'a [u8]) -> impl Iterator<Item = Value<'a>> + use<'_, 'a> {
        self.own.iter().map(|field| field.value(data))
    }

    /// What it has in common with others of its kind.
    pub fn same<'a>(&self, data: &'a [u8]) -> [Value<'a>; OF_SAME.len()] {
        let mut packed = Packed { data, at: self.same.0 as usize };
        packed.fields(&OF_SAME).map_or([Value::None; OF_SAME.len()], |fields| fields.map(|field| field.value(data)))
    }

    /// Its day, and that in bytes.
    pub fn kind<'a>(&self, data: &'a [u8]) -> (i64, &'a [u8]) {
        (self.day(), &data[self.same.0 as usize..self.same.1 as usize])
    }

    /// Whether two are of one day and one kind.
    pub fn is_like(&self, other: &Self, data: &[u8]) -> bool {
        self.kind(data) == other.kind(data)
    }

    fn count(&self, place: usize) -> i64 {
        if let Field::Count(count) = self.own[place] {
            count
        } else {
            0
        }
    }

    fn figures(&self) -> Figures {
        let mut figures = [1; 9];
        for (figure, place) in figures[1..].iter_mut().zip(SUMMED) {
            *figure = self.count(place);
        }
        figures[8] = i64::from(self.own[COST] == Field::None);
        figures
    }
}

// === impl Found ===

impl Found {
    /// Notes the record that stands from `at` on to the end of `data`.
    fn note(&mut self, kind: u8, sequence: u64, data: &[u8], at: usize) {
        match kind {
            ADMITTED => self.admitted.push((sequence, at..data.len())),
            FINISHED => match self.finished(sequence, data, at) {
                Some(end) => self.ended.push(end),
                None => self.damaged += 1,
            },
            _ => self.damaged += 1,
        }
    }

    /// Reads an end; most are of the same kind as the one before them.
    fn finished(&self, sequence: u64, data: &[u8], at: usize) -> Option<End> {
        let mut packed = Packed { data, at };
        packed.array(OF_OWN.len() + OF_SAME.len())?;
        let own = packed.fields(&OF_OWN)?;
        let end = End { sequence, own, same: (packed.at as u32, data.len() as u32) };
        if !self.ended.last().is_some_and(|last| end.is_like(last, data)) {
            packed.fields(&OF_SAME)?;
        }
        Some(end)
    }
}

// === MessagePack ===

impl Field {
    fn value(self, data: &[u8]) -> Value<'_> {
        match self {
            Self::Text { length: 0, .. } => Value::Text(""),
            Self::Text { at, length } => {
                let text = &data[at as usize..(at + length) as usize];
                Value::Text(std::str::from_utf8(text).unwrap_or_default())
            }
            Self::Count(count) => Value::Count(count),
            Self::None => Value::None,
        }
    }
}

/// `MessagePack` that is being read: as much of it as records are made of.
struct Packed<'a> {
    data: &'a [u8],
    at: usize,
}

impl Packed<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.data.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.data.get(self.at..self.at.checked_add(bytes)?)?;
        self.at += bytes;
        Some(taken.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The head of an array of so many fields, and of as many more as a newer version has added behind them.
    fn array(&mut self, fields: usize) -> Option<()> {
        let found = match self.byte()? {
            short @ 0x90..=0x9F => usize::from(short & 15),
            0xDC => self.number(2)? as usize,
            _ => return None,
        };
        (found >= fields).then_some(())
    }

    /// The next fields, if they are of these types.
    fn fields<const N: usize>(&mut self, types: &[Type; N]) -> Option<[Field; N]> {
        let mut fields = [Field::None; N];
        for (field, &of) in fields.iter_mut().zip(types) {
            *field = self.field(of)?;
        }
        Some(fields)
    }

    fn field(&mut self, of: Type) -> Option<Field> {
        let length = match (of, self.byte()?) {
            (Count | MaybeCount, count @ 0..=0x7F) => return Some(Field::Count(i64::from(count))),
            (Count | MaybeCount, size @ 0xCC..=0xCF) => {
                let count = self.number(1 << (size - 0xCC))?;
                return i64::try_from(count).ok().map(Field::Count);
            }
            (MaybeCount, 0xC0) => return Some(Field::None),
            (Flag, flag @ 0xC2..=0xC3) => return Some(Field::Count(i64::from(flag & 1))),
            (Text, short @ 0xA0..=0xBF) => usize::from(short & 31),
            (Text, size @ 0xD9..=0xDB) => self.number(1 << (size - 0xD9))? as usize,
            _ => return None,
        };
        let at = self.at;
        self.at = at.checked_add(length)?;
        let text = self.data.get(at..self.at)?;
        let believed = text.is_ascii() || std::str::from_utf8(text).is_ok();
        believed.then_some(Field::Text { at: at as u32, length: length as u32 })
    }
}
