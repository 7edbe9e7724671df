//! What one scan of a table has to find out for all segments of a night, as plain data.
//!
//! A *picker* is a set of tests of single rows; calls that differ only in their days and in what they ask of the picked
//! rows share one. A picker's tests are equalities with known values (*keys*, looked up by value) and everything else
//! (*flags*, boolean columns that the statement computes). The program is what the aggregate function of
//! `evaluate::calls` carries, and what is encoded when a plan is sent elsewhere.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

/// What to find out in one scan. The arguments of the aggregate function are the customer's number, then the axes, keys,
/// the product's id where it is asked for, flags and measures, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// How many columns say when a row happened.
    pub axes: usize,
    /// Columns that are looked up by value.
    pub keys: Vec<Key>,
    /// The key that splits the rows first: the type of events.
    pub kind: Option<usize>,
    /// Whether some key's values are of the row's product, so that the column after the keys is the product's id.
    pub of_products: bool,
    /// How many boolean columns there are.
    pub flags: usize,
    /// How many columns are added up.
    pub measures: usize,
    /// Sets of row tests.
    pub pickers: Vec<Picker>,
    /// What is asked of them.
    pub calls: Vec<Call>,
}

/// A column that is looked up by value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// How a row's value stands for the values asked about.
    pub lookup: Lookup,
    /// Whose value it is.
    pub owner: Owner,
    /// The values that some picker asks about, sorted; a value's place is its code.
    pub values: Vec<String>,
    /// By id, the codes that stand for the product's value, where that is asked for and they are any.
    pub products: Vec<(String, Vec<u32>)>,
}

/// Whose value a key's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// The row's, a column of its own.
    Row,
    /// The row's, a column of its own, and where that is missing, the product's.
    RowOrProduct,
    /// The product's; the key has no column.
    Product,
}

/// How a row's value stands for the values asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lookup {
    /// It is the value.
    Exact,
    /// It is a path, ` > ` between the levels, and each of its prefixes is a value.
    Path,
    /// It is a list, and each element in lower case is a value.
    Elements,
}

/// Tests of one row, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Picker {
    /// The axis on which its calls name days.
    pub axis: usize,
    /// Keys, each with the codes of which one must be the row's.
    pub keys: Vec<(usize, Vec<u32>)>,
    /// Boolean columns that must be true.
    pub flags: Vec<usize>,
}

/// What is asked of the rows that a picker picks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Call {
    /// The picker.
    pub picker: usize,
    /// The days: disjoint half-open ranges on the axis, in order; `None` is no end.
    pub ranges: Vec<(Option<i64>, Option<i64>)>,
    /// What must hold of the rows on those days together; without any, there must be one.
    pub asks: Vec<(Total, Spans)>,
}

/// What rows come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Total {
    /// How many there are.
    Count,
    /// The sum of a measure; 0 without a row.
    Sum(usize),
    /// The least value of a measure; missing without one.
    Min(usize),
    /// The largest value of a measure; missing without one.
    Max(usize),
}

/// A set of whole numbers (of multiples of a measure's last digit), and whether a missing one is in it, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spans {
    /// Whether a missing value is in the set.
    pub missing: bool,
    /// Closed spans, in order; `None` is no end.
    #[serde(with = "texts")]
    pub spans: Vec<(Option<i128>, Option<i128>)>,
}

impl Program {
    /// Where on the axis the first day begins that some call asks about; `None` if there is no first.
    pub fn since(&self) -> Option<i64> {
        let first = |call: &Call| call.ranges.first().map_or(Some(i64::MAX), |(low, _)| *low);
        self.calls.iter().map(first).min().flatten()
    }
}

impl Spans {
    /// Whether the set has the value.
    pub fn contains(&self, value: Option<i128>) -> bool {
        let Some(value) = value else { return self.missing };
        self.spans.iter().any(|(low, high)| low.is_none_or(|low| low <= value) && high.is_none_or(|high| value <= high))
    }

    /// The largest number that the set tells from its successor, at least 0: all larger counts are alike.
    pub fn last_difference(&self) -> i128 {
        let ends = self.spans.iter().flat_map(|(low, high)| [low.map(|low| low.saturating_sub(1)), *high]);
        ends.flatten().max().unwrap_or(0).max(0)
    }
}

/// Whether an instant or day is in half-open ranges.
pub fn within(ranges: &[(Option<i64>, Option<i64>)], at: i64) -> bool {
    use std::ops::RangeBounds;
    let start = |end: &Option<i64>| end.map_or(Bound::Unbounded, Bound::Included);
    let stop = |end: &Option<i64>| end.map_or(Bound::Unbounded, Bound::Excluded);
    ranges.iter().any(|(low, high)| (start(low), stop(high)).contains(&at))
}

/// Numbers of 128 bits as text: not every JSON reader takes them.
mod texts {
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::{Serialize, Serializer};

    type Spans = Vec<(Option<i128>, Option<i128>)>;

    pub(super) fn serialize<S: Serializer>(spans: &Spans, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |end: &Option<i128>| end.map(|end| end.to_string());
        let texts: Vec<_> = spans.iter().map(|(low, high)| (text(low), text(high))).collect();
        texts.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Spans, D::Error> {
        let texts: Vec<(Option<String>, Option<String>)> = Deserialize::deserialize(deserializer)?;
        let number = |end: Option<String>| {
            end.map(|end| end.parse().map_err(|_| D::Error::custom("a span's end is no whole number"))).transpose()
        };
        texts.into_iter().map(|(low, high)| Ok((number(low)?, number(high)?))).collect()
    }
}
