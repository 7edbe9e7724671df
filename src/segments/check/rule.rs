//! The typed rule: what a query means, with nothing left to look up.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::profile::catalogue::{Attribute, Rows, Type};
use crate::segments::syntax::{Cmp, Date, Decimal};

/// A boolean over one customer as of one day, with names and types resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// All of them.
    All(Vec<Rule>),
    /// Any of them.
    Any(Vec<Rule>),
    /// The exact complement.
    Not(Box<Rule>),
    /// Membership of another segment.
    Member(String),
    /// A test of one attribute.
    Test(AttributeTest),
    /// A test of the customer's rows.
    Rows(RowsTest),
    /// A test of the customer's place.
    Place(PlaceTest),
}

/// A test of a customer's rows: which are picked, and what is asked of those. Without an aggregate at least one row must
/// be left.
#[derive(Debug, Clone, PartialEq)]
pub struct RowsTest {
    /// The function, by its one name.
    pub function: &'static str,
    /// Which rows it looks at.
    pub rows: Rows,
    /// What a row must satisfy to be picked, by name; `attribute.source` is an expression over the row.
    pub picks: Vec<AttributeTest>,
    /// What the picked rows together must satisfy.
    pub aggregates: Vec<AggregateTest>,
}

/// A test of all picked rows together. Of no rows the count and every sum are 0, least and largest are missing.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateTest {
    /// What is asked about.
    pub aggregate: Aggregate,
    /// What is asked; a whole or an exact number.
    pub test: AttributeTest,
}

/// What the picked rows come to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aggregate {
    /// How many there are.
    Count,
    /// The sum of an SQL expression over each row, at the test's own scale.
    Sum(String),
    /// The least value of one.
    Min(String),
    /// The largest value of one.
    Max(String),
}

/// A test of how far from a point the customer is.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceTest {
    /// Latitude and longitude of the point in degrees; `None` asks only whether the customer's place is known.
    pub point: Option<(Decimal, Decimal)>,
    /// What is asked of the distance; its expression is the distance in kilometres over the length of the unit.
    pub tests: Vec<AttributeTest>,
}

/// A test of one attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeTest {
    /// The attribute.
    pub attribute: Arc<Attribute>,
    /// What is asked of it; the operands fit its type.
    pub predicate: Predicate,
}

/// What is asked of an attribute. A missing value satisfies none of these but `Missing` and the negated ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// A comparison.
    Compare {
        /// Which.
        op: Cmp,
        /// With what.
        value: Operand,
    },
    /// Both ends included.
    Between {
        /// The complement.
        negated: bool,
        /// The lower end.
        low: Operand,
        /// The upper end.
        high: Operand,
    },
    /// Equality with any of several.
    In {
        /// The complement.
        negated: bool,
        /// The values.
        values: Vec<Operand>,
    },
    /// A list's whole element, or a part of a text.
    Contains {
        /// The complement.
        negated: bool,
        /// The element or part.
        part: String,
    },
    /// The beginning of a text.
    StartsWith {
        /// The complement.
        negated: bool,
        /// The beginning.
        beginning: String,
    },
    /// No value.
    Missing {
        /// Some value.
        negated: bool,
    },
    /// A comparison of month and day.
    Anniversary {
        /// Which.
        op: Cmp,
        /// With which day.
        day: Date,
    },
    /// A month and day within a range that may wrap over New Year.
    AnniversaryBetween {
        /// The complement.
        negated: bool,
        /// The first day.
        low: Date,
        /// The last day.
        high: Date,
    },
}

/// A value that fits its attribute's type.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// For whole numbers.
    Integer(i64),
    /// For exact and floating-point numbers.
    Decimal(Decimal),
    /// For text, ids, choices (in lower case) and list elements (in lower case).
    Text(String),
    /// For truth values.
    Boolean(bool),
    /// For days and dates.
    Date(Date),
}

impl Operand {
    /// The text, where it is one.
    pub fn text(&self) -> Option<&String> {
        match self {
            Operand::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A date of a query and the days that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ResolvedDate {
    /// The attribute that it is compared with.
    pub attribute: String,
    /// The comparison as written.
    pub written: String,
    /// The first day that satisfies it; `None` if there is no first.
    pub from: Option<NaiveDate>,
    /// The last day that satisfies it; `None` if there is no last.
    pub to: Option<NaiveDate>,
    /// Days from the first to the last, both included, the as-of date being the last where nothing else is said.
    pub days: Option<i64>,
}

impl Rule {
    /// The segments that it refers to.
    pub fn references(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.visit(&mut |rule| {
            if let Rule::Member(id) = rule {
                found.insert(id.as_str());
            }
        });
        found
    }

    /// The tests of attributes, in the order of the query.
    pub fn tests(&self) -> Vec<&AttributeTest> {
        let mut found = Vec::new();
        self.visit(&mut |rule| {
            if let Rule::Test(test) = rule {
                found.push(test);
            }
        });
        found
    }

    /// The tests of rows, in the order of the query.
    pub fn row_tests(&self) -> Vec<&RowsTest> {
        let mut found = Vec::new();
        self.visit(&mut |rule| {
            if let Rule::Rows(test) = rule {
                found.push(test);
            }
        });
        found
    }

    /// The landed columns beside the contract's that it asks about, as `table.column`.
    pub fn custom_row_columns(&self) -> BTreeSet<&str> {
        let tests = self.row_tests().into_iter();
        let attributes = tests.flat_map(|test| {
            test.picks.iter().chain(test.aggregates.iter().map(|one| &one.test)).map(|test| &test.attribute)
        });
        attributes.filter(|attribute| attribute.custom).flat_map(|one| &one.landed).map(String::as_str).collect()
    }

    fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Rule)) {
        visit(self);
        match self {
            Rule::All(parts) | Rule::Any(parts) => parts.iter().for_each(|part| part.visit(visit)),
            Rule::Not(inner) => inner.visit(visit),
            Rule::Member(_) | Rule::Test(_) | Rule::Rows(_) | Rule::Place(_) => {}
        }
    }

    /// Every comparison with a date, resolved as of `as_of`: `>= -30d` are 31 days with today.
    pub fn dates(&self, as_of: NaiveDate) -> Vec<ResolvedDate> {
        let mut found = Vec::new();
        let mut tests = Vec::new();
        self.visit(&mut |rule| match rule {
            Rule::Test(test) => tests.push((test, String::new())),
            Rule::Rows(rows) => tests.extend(rows.picks.iter().map(|test| (test, format!("{} ", rows.function)))),
            _ => {}
        });
        for (test, of) in tests {
            let attribute = &test.attribute;
            if !matches!(attribute.kind, Type::Day | Type::CivilDate) {
                continue;
            }
            let mut add = |written: String, from: Option<NaiveDate>, to: Option<NaiveDate>| {
                let end = to.unwrap_or(as_of);
                let days = from.map(|from| (end - from).num_days() + 1).filter(|days| *days > 0);
                let attribute = format!("{of}{}", attribute.name);
                found.push(ResolvedDate { attribute, written, from, to, days });
            };
            match &test.predicate {
                Predicate::Compare { op, value: Operand::Date(date) } | Predicate::Anniversary { op, day: date } => {
                    let Some(day) = civil_day(*date, as_of) else { continue };
                    let exact = matches!(date, Date::Instant(_));
                    let written = format!("{} {date}", op.spelling());
                    let (from, to) = match op {
                        Cmp::Equal | Cmp::NotEqual => (Some(day), Some(day)),
                        Cmp::Less => (None, if exact { Some(day) } else { day.pred_opt() }),
                        Cmp::LessOrEqual => (None, Some(day)),
                        Cmp::Greater => (if exact { Some(day) } else { day.succ_opt() }, None),
                        Cmp::GreaterOrEqual => (Some(day), None),
                    };
                    add(written, from, to);
                }
                Predicate::Between { negated, low: Operand::Date(low), high: Operand::Date(high) }
                | Predicate::AnniversaryBetween { negated, low, high } => {
                    let not = if *negated { "NOT " } else { "" };
                    let written = format!("{not}BETWEEN {low} AND {high}");
                    add(written, civil_day(*low, as_of), civil_day(*high, as_of));
                }
                Predicate::In { values, .. } => {
                    for value in values {
                        if let Operand::Date(date) = value {
                            let day = civil_day(*date, as_of);
                            add(format!("= {date}"), day, day);
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The local day of a date, that of its instant included.
pub(super) fn civil_day(date: Date, as_of: NaiveDate) -> Option<NaiveDate> {
    match date {
        Date::Instant(at) => Some(at.date()),
        other => other.day(as_of),
    }
}
