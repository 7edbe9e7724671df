//! What a test reaches: days as half-open ranges on the axis of instants (microseconds) or civil dates (days since 1970),
//! and numbers as spans of whole multiples of the last digit.

use chrono::NaiveDate;

use super::Scope;
use super::days::{When, resolve, whole_day};
use super::program::Spans;
use crate::error::{Error, Result};
use crate::profile::catalogue::Type;
use crate::segments::check::{AttributeTest, Operand, Predicate};
use crate::segments::syntax::{Cmp, Date};

/// Half-open ranges in order, none of which touch.
pub(super) type Ranges = Vec<(Option<i64>, Option<i64>)>;

fn misfit(test: &AttributeTest) -> Error {
    let name = &test.attribute.name;
    Error::internal("segment.misfit", format!("a test that `{name}` does not take came through the check"))
}

/// The part of the axis on which a test of a date holds; the axis itself is never missing.
pub(super) fn ranges(test: &AttributeTest, scope: Scope) -> Result<Ranges> {
    let civil = test.attribute.kind == Type::CivilDate;
    let compare = |op: Cmp, value: &Operand| match value {
        Operand::Date(date) => compare(op, *date, civil, scope),
        _ => Err(misfit(test)),
    };
    Ok(match &test.predicate {
        Predicate::Compare { op, value } => compare(*op, value)?,
        Predicate::Between { negated, low, high } => {
            let both = intersect(&compare(Cmp::GreaterOrEqual, low)?, &compare(Cmp::LessOrEqual, high)?);
            if *negated { complement(&both) } else { both }
        }
        Predicate::In { negated, values } => {
            let mut any = Ranges::new();
            for value in values {
                any = union(&any, &compare(Cmp::Equal, value)?);
            }
            if *negated { complement(&any) } else { any }
        }
        Predicate::Missing { negated: true } => vec![(None, None)],
        Predicate::Missing { negated: false } => Ranges::new(),
        _ => return Err(misfit(test)),
    })
}

fn compare(op: Cmp, date: Date, civil: bool, scope: Scope) -> Result<Ranges> {
    let (start, end) = if civil {
        let day = day_number(whole_day(date, scope)?);
        (day, day + 1)
    } else {
        match resolve(date, scope)? {
            // An instant is a microsecond long.
            When::Instant(at) => (at.timestamp_micros(), at.timestamp_micros() + 1),
            When::Day(day) => {
                let day = scope.zone.day(day);
                (day.start.timestamp_micros(), day.end.timestamp_micros())
            }
        }
    };
    Ok(match op {
        Cmp::Equal => vec![(Some(start), Some(end))],
        Cmp::NotEqual => vec![(None, Some(start)), (Some(end), None)],
        Cmp::Less => vec![(None, Some(start))],
        Cmp::LessOrEqual => vec![(None, Some(end))],
        Cmp::Greater => vec![(Some(end), None)],
        Cmp::GreaterOrEqual => vec![(Some(start), None)],
    })
}

fn day_number(day: NaiveDate) -> i64 {
    i64::from(arrow::datatypes::Date32Type::from_naive_date(day))
}

/// What is in both.
pub(super) fn intersect(one: &Ranges, other: &Ranges) -> Ranges {
    let mut both = Ranges::new();
    for (low, high) in one {
        for (from, to) in other {
            // No start is before every start, no end after every end.
            let low = (*low).max(*from);
            let high = match (*high, *to) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if low.zip(high).is_none_or(|(low, high)| low < high) {
                both.push((low, high));
            }
        }
    }
    both.sort_unstable();
    both
}

/// What is in neither.
fn complement(ranges: &Ranges) -> Ranges {
    let mut rest = vec![(None, None)];
    for (low, high) in ranges {
        let mut outside = Ranges::new();
        if low.is_some() {
            outside.push((None, *low));
        }
        if high.is_some() {
            outside.push((*high, None));
        }
        rest = intersect(&rest, &outside);
    }
    rest
}

fn union(one: &Ranges, other: &Ranges) -> Ranges {
    complement(&intersect(&complement(one), &complement(other)))
}

/// The values at `scale` decimals for which a test of a number holds.
pub(super) fn spans(test: &AttributeTest, scale: u8) -> Result<Spans> {
    let compare = |op: Cmp, value: &Operand| number(op, value, scale).ok_or_else(|| misfit(test));
    Ok(match &test.predicate {
        Predicate::Compare { op, value } => Spans { missing: false, spans: compare(*op, value)? },
        Predicate::Between { negated, low, high } => {
            let both = within(&compare(Cmp::GreaterOrEqual, low)?, &compare(Cmp::LessOrEqual, high)?);
            Spans { missing: *negated, spans: if *negated { without(&both) } else { both } }
        }
        Predicate::In { negated, values } => {
            let mut rest = vec![(None, None)];
            for value in values {
                rest = within(&rest, &compare(Cmp::NotEqual, value)?);
            }
            Spans { missing: *negated, spans: if *negated { rest } else { without(&rest) } }
        }
        Predicate::Missing { negated } => {
            Spans { missing: !negated, spans: if *negated { vec![(None, None)] } else { Vec::new() } }
        }
        _ => return Err(misfit(test)),
    })
}

type Closed = Vec<(Option<i128>, Option<i128>)>;

fn number(op: Cmp, value: &Operand, scale: u8) -> Option<Closed> {
    let (floor, exact) = match value {
        Operand::Integer(number) => (i128::from(*number).checked_mul(10_i128.checked_pow(scale.into())?)?, true),
        Operand::Decimal(number) => match number.floor_at(scale) {
            Some(found) => found,
            // Beyond 38 digits, and so beyond every value.
            None => {
                let below = number.to_string().starts_with('-');
                let all = match op {
                    Cmp::Equal => false,
                    Cmp::NotEqual => true,
                    Cmp::Less | Cmp::LessOrEqual => !below,
                    Cmp::Greater | Cmp::GreaterOrEqual => below,
                };
                return Some(if all { vec![(None, None)] } else { Vec::new() });
            }
        },
        _ => return None,
    };
    Some(match (op, exact) {
        (Cmp::Equal, true) => vec![(Some(floor), Some(floor))],
        (Cmp::Equal, false) => Vec::new(),
        (Cmp::NotEqual, true) => vec![(None, Some(floor - 1)), (Some(floor + 1), None)],
        (Cmp::NotEqual, false) => vec![(None, None)],
        (Cmp::Less, true) => vec![(None, Some(floor - 1))],
        (Cmp::LessOrEqual, _) | (Cmp::Less, false) => vec![(None, Some(floor))],
        (Cmp::GreaterOrEqual, true) => vec![(Some(floor), None)],
        (Cmp::Greater, _) | (Cmp::GreaterOrEqual, false) => vec![(Some(floor + 1), None)],
    })
}

fn within(one: &Closed, other: &Closed) -> Closed {
    let mut both = Closed::new();
    for (low, high) in one {
        for (from, to) in other {
            let low = (*low).max(*from);
            let high = match (*high, *to) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if low.zip(high).is_none_or(|(low, high)| low <= high) {
                both.push((low, high));
            }
        }
    }
    both.sort_unstable();
    both
}

fn without(spans: &Closed) -> Closed {
    let mut rest = vec![(None, None)];
    for (low, high) in spans {
        let mut outside = Closed::new();
        if let Some(low) = low {
            outside.push((None, Some(low - 1)));
        }
        if let Some(high) = high {
            outside.push((Some(high + 1), None));
        }
        rest = within(&rest, &outside);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_a_boolean_algebra() {
        let a = vec![(Some(1), Some(5)), (Some(7), None)];
        let b = vec![(None, Some(2)), (Some(4), Some(8))];
        assert_eq!(intersect(&a, &b), [(Some(1), Some(2)), (Some(4), Some(5)), (Some(7), Some(8))]);
        assert_eq!(complement(&a), [(None, Some(1)), (Some(5), Some(7))]);
        assert_eq!(complement(&complement(&a)), a);
        assert_eq!(union(&a, &complement(&a)), [(None, None)]);
        assert!(complement(&vec![(None, None)]).is_empty());
    }

    #[test]
    fn a_number_between_two_digits_reaches_the_right_side() {
        let decimal = |text| Operand::Decimal(crate::segments::syntax::Decimal::parse(text).unwrap());
        assert_eq!(number(Cmp::Greater, &decimal("1.255"), 2), Some(vec![(Some(126), None)]));
        assert_eq!(number(Cmp::GreaterOrEqual, &decimal("1.255"), 2), Some(vec![(Some(126), None)]));
        assert_eq!(number(Cmp::Less, &decimal("-1.255"), 2), Some(vec![(None, Some(-126))]));
        assert_eq!(number(Cmp::Equal, &decimal("1.255"), 2), Some(Vec::new()));
        assert_eq!(number(Cmp::NotEqual, &Operand::Integer(2), 0), Some(vec![(None, Some(1)), (Some(3), None)]));
    }
}
