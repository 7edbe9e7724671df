//! Why one customer is in a segment or out of it: the value and the verdict of each clause.
//!
//! Each clause's verdict is that of its own stand-alone SQL, over tables that hold the one customer; the connectives are
//! two-valued, and so is what they join.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::DateTime;
use datafusion::prelude::SessionContext;

use super::check::{RowsTest, Rule};
use super::compile::{Scope, Tables, picked_sql, place_sql, standalone_sql, value_sql};
use super::definition::Segments;
use super::syntax::{Date, Expr, Leaf, Literal, Test, Value, quoted};
use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::profile::catalogue::{Catalogue, Named, Type};

/// What is explained: a query's tree, and the rule that it is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The tree.
    pub expr: &'a Expr,
    /// The rule; with `AND store = …` where there is a store.
    pub rule: &'a Rule,
    /// The segment's store.
    pub store: Option<&'a str>,
}

/// What a part of a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All of its parts.
    All,
    /// Any of its parts.
    Any,
    /// Its part's complement.
    Not,
    /// A single test.
    Clause,
    /// Another segment, whose query is its part; without a part where it is not looked into.
    Segment,
}

/// A part of a query, and what it says of the customer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// What it is.
    pub kind: Kind,
    /// Its canonical text.
    pub text: String,
    /// The same with every name and date resolved, where that says more.
    pub means: Option<String>,
    /// What the customer has; `None` for what is no test.
    pub value: Option<Found>,
    /// Whether it holds.
    pub holds: bool,
    /// What it is made of.
    pub parts: Vec<Explained>,
}

/// What a customer has, as a clause sees it. Times are the shop's local ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An attribute's value; none where it is missing.
    Value(Option<String>),
    /// The rows that a function picked.
    Rows {
        /// How many.
        picked: u64,
        /// When the newest of them happened.
        newest: Option<String>,
        /// What is asked of them together, by the parameter's name; none where it is missing.
        totals: Vec<(String, Option<String>)>,
    },
}

/// Explains a query for the one customer whom the session's `tables` hold. References to `segments` are looked into one
/// level deep.
///
/// # Errors
/// What the tables fail with, and a reference that `segments` lacks.
pub async fn explain(
    session: &SessionContext,
    subject: Subject<'_>,
    segments: &Segments,
    catalogue: &Catalogue,
    scope: Scope,
    tables: &Tables,
) -> Result<Explained> {
    let drafter = Drafter { segments, catalogue, scope };
    let draft = drafter.subject(subject, true)?;
    let mut tests = Vec::new();
    draft.tests(&mut tests);
    let others = segments.rules();
    let mut answers = Vec::with_capacity(tests.len());
    for rule in tests {
        let members = run(session, &standalone_sql(rule, &others, scope, tables)?).await?;
        let holds = members.iter().any(|batch| batch.num_rows() > 0);
        answers.push((holds, found(session, rule, scope, tables).await?));
    }
    draft.filled(&mut answers.into_iter())
}

async fn run(session: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    Ok(Box::pin(session.sql(sql)).await?.collect().await?)
}

async fn found(session: &SessionContext, rule: &Rule, scope: Scope, tables: &Tables) -> Result<Option<Found>> {
    Ok(match rule {
        Rule::Test(test) => {
            let batches = run(session, &value_sql(&test.attribute, tables)?).await?;
            Some(Found::Value(first(&batches, 0, scope.zone)?))
        }
        Rule::Place(place) => match place_sql(place, tables) {
            Some(sql) => {
                let kilometres = first(&run(session, &sql).await?, 0, scope.zone)?;
                Some(Found::Value(kilometres.map(|distance| format!("{:.3} km", distance.parse().unwrap_or(f64::NAN)))))
            }
            None => None,
        },
        Rule::Rows(test) => Some(picked(session, test, scope, tables).await?),
        Rule::Not(inner) => Box::pin(found(session, inner, scope, tables)).await?,
        Rule::Member(_) | Rule::All(_) | Rule::Any(_) => None,
    })
}

async fn picked(session: &SessionContext, test: &RowsTest, scope: Scope, tables: &Tables) -> Result<Found> {
    let batches = run(session, &picked_sql(test, scope, tables)?).await?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    let count =
        batch.and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>()).map_or(0, |count| count.value(0));
    let mut totals = Vec::new();
    for (number, one) in test.aggregates.iter().enumerate() {
        let total = first(&batches, number + 2, scope.zone)?;
        let counted = matches!(one.aggregate, super::check::Aggregate::Count | super::check::Aggregate::Sum(_));
        let total = if counted { total.or_else(|| Some("0".to_owned())) } else { total };
        totals.push((one.test.attribute.name.clone(), total));
    }
    let newest = first(&batches, 1, scope.zone)?;
    Ok(Found::Rows { picked: u64::try_from(count).unwrap_or(0), newest, totals })
}

/// The first row's value of a column as text; `None` where it is missing.
fn first(batches: &[RecordBatch], column: usize, zone: Zone) -> Result<Option<String>> {
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    text_of(batch.column(column), zone)
}

fn text_of(values: &ArrayRef, zone: Zone) -> Result<Option<String>> {
    if values.is_null(0) {
        return Ok(None);
    }
    Ok(match values.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let at = values.as_primitive::<TimestampMicrosecondType>().value(0);
            DateTime::from_timestamp_micros(at).map(|at| {
                let local = at + chrono::TimeDelta::seconds(i64::from(zone.offset_seconds(at)));
                local.format("%Y-%m-%d %H:%M:%S").to_string()
            })
        }
        DataType::List(_) => {
            let elements = values.as_list::<i32>().value(0);
            let format = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(&elements, &format)?;
            let texts: Vec<String> = (0..elements.len()).map(|row| formatter.value(row).to_string()).collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        }
        _ => Some(ArrayFormatter::try_new(values, &FormatOptions::default())?.value(0).to_string()),
    })
}

/// A part of a query before it is answered.
struct Draft<'a> {
    kind: Kind,
    text: String,
    means: Option<String>,
    /// What is to be answered; connectives and segments that are looked into have parts instead.
    test: Option<&'a Rule>,
    parts: Vec<Draft<'a>>,
}

impl<'a> Draft<'a> {
    fn tests(&self, into: &mut Vec<&'a Rule>) {
        into.extend(self.test);
        self.parts.iter().for_each(|part| part.tests(into));
    }

    fn filled(self, answers: &mut impl Iterator<Item = (bool, Option<Found>)>) -> Result<Explained> {
        let answer = match self.test {
            Some(_) => Some(answers.next().ok_or_else(unlike)?),
            None => None,
        };
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            parts.push(part.filled(answers)?);
        }
        let (holds, value) = answer.unwrap_or_else(|| {
            let mut verdicts = parts.iter().map(|part| part.holds);
            let holds = match self.kind {
                Kind::Any => verdicts.any(|holds| holds),
                Kind::Not => !verdicts.all(|holds| holds),
                Kind::All | Kind::Segment | Kind::Clause => verdicts.all(|holds| holds),
            };
            (holds, None)
        });
        Ok(Explained { kind: self.kind, text: self.text, means: self.means, value, holds, parts })
    }
}

fn unlike() -> Error {
    Error::internal("segment.explain", "a query's tree and its rule differ")
}

struct Drafter<'a> {
    segments: &'a Segments,
    catalogue: &'a Catalogue,
    scope: Scope,
}

impl<'a> Drafter<'a> {
    fn subject(&self, subject: Subject<'a>, into: bool) -> Result<Draft<'a>> {
        let (Some(store), Rule::All(parts)) = (subject.store, subject.rule) else {
            return self.part(subject.expr, subject.rule, into);
        };
        let [rule, of_store] = parts.as_slice() else { return Err(unlike()) };
        let own = self.part(subject.expr, rule, into)?;
        let text = format!("store = {}", quoted(store));
        let store = Draft { kind: Kind::Clause, text, means: None, test: Some(of_store), parts: Vec::new() };
        Ok(Draft { kind: Kind::All, text: "all of".to_owned(), means: None, test: None, parts: vec![own, store] })
    }

    fn part(&self, expr: &'a Expr, rule: &'a Rule, into: bool) -> Result<Draft<'a>> {
        let (kind, text, parts) = match (expr, rule) {
            (Expr::And(parts), Rule::All(rules)) => (Kind::All, "all of", self.parts(parts, rules, into)?),
            (Expr::Or(parts), Rule::Any(rules)) => (Kind::Any, "any of", self.parts(parts, rules, into)?),
            (Expr::Not(part), Rule::Not(rule)) => (Kind::Not, "not", vec![self.part(part, rule, into)?]),
            (Expr::Leaf(leaf), rule) => return self.leaf(leaf, rule, into),
            _ => return Err(unlike()),
        };
        Ok(Draft { kind, text: text.to_owned(), means: None, test: None, parts })
    }

    fn parts(&self, exprs: &'a [Expr], rules: &'a [Rule], into: bool) -> Result<Vec<Draft<'a>>> {
        if exprs.len() != rules.len() {
            return Err(unlike());
        }
        exprs.iter().zip(rules).map(|(expr, rule)| self.part(expr, rule, into)).collect()
    }

    fn leaf(&self, leaf: &'a Leaf, rule: &'a Rule, into: bool) -> Result<Draft<'a>> {
        let text = leaf.to_string();
        if let (Rule::Member(id), true) = (rule, into) {
            let segment = self.segments.get(id)?;
            let definition = &segment.definition;
            let subject =
                Subject { expr: &definition.query.expr, rule: &segment.rule, store: definition.store.as_deref() };
            let part = self.subject(subject, false)?;
            return Ok(Draft { kind: Kind::Segment, text, means: None, test: None, parts: vec![part] });
        }
        let kind = if matches!(rule, Rule::Member(_)) { Kind::Segment } else { Kind::Clause };
        let means = Some(self.resolved(leaf, rule)).filter(|means| *means != text);
        Ok(Draft { kind, text, means, test: Some(rule), parts: Vec::new() })
    }

    /// A clause with its names and dates resolved.
    fn resolved(&self, leaf: &Leaf, rule: &Rule) -> String {
        let mut leaf = leaf.clone();
        let dated = |kind: &Type| matches!(kind, Type::Day | Type::CivilDate);
        match (&mut leaf, rule) {
            (Leaf::Attribute { name, test, .. }, Rule::Test(of)) => {
                name.text.clone_from(&of.attribute.name);
                self.test(test, dated(&of.attribute.kind));
            }
            (Leaf::Anniversary { attribute, test, .. }, Rule::Test(of)) => {
                attribute.text.clone_from(&of.attribute.name);
                self.test(test, true);
            }
            (Leaf::Function { name, parameters, .. }, rule) => {
                let rows = match rule {
                    Rule::Rows(rows) => Some(rows),
                    Rule::Not(inner) => match &**inner {
                        Rule::Rows(rows) => Some(rows),
                        _ => None,
                    },
                    _ => None,
                };
                if let Named::Function(function) = self.catalogue.resolve(&name.text) {
                    function.name.clone_into(&mut name.text);
                    for parameter in parameters {
                        let known = function.parameter(&parameter.name.text).map(|known| known.name);
                        let known = known.unwrap_or(&parameter.name.text).to_owned();
                        let pick = rows.and_then(|rows| rows.picks.iter().find(|pick| pick.attribute.name == known));
                        self.test(&mut parameter.test, pick.is_some_and(|pick| dated(&pick.attribute.kind)));
                        parameter.name.text = known;
                    }
                }
            }
            _ => {}
        }
        leaf.to_string()
    }

    fn test(&self, test: &mut Test, dated: bool) {
        let values: Vec<&mut Value> = match test {
            Test::Compare { value, .. } | Test::Contains { value, .. } | Test::StartsWith { value, .. } => vec![value],
            Test::Between { low, high, .. } => vec![low, high],
            Test::In { values, .. } => values.iter_mut().collect(),
            Test::Null { .. } => Vec::new(),
        };
        for value in values {
            let date = match &value.literal {
                Literal::Date(date) => Some(*date),
                Literal::Text(text) if dated => Date::parse(text),
                _ => None,
            };
            if let Some(date) = date {
                value.literal = Literal::Date(date.day(self.scope.as_of).map_or(date, Date::Day));
            }
        }
    }
}

/// How many clauses a sentence names.
const NAMED: usize = 6;

impl Explained {
    /// Why the customer is in or out, as one sentence.
    pub fn sentence(&self, customer: &str, subject: &str, as_of: chrono::NaiveDate) -> String {
        let mut reasons = Vec::new();
        self.reasons(&mut reasons);
        let named: Vec<String> = reasons
            .iter()
            .take(NAMED)
            .map(|(text, holds)| format!("`{text}` {}", if *holds { "holds" } else { "does not hold" }))
            .collect();
        let more = reasons.len().saturating_sub(NAMED);
        let because = match named.split_last() {
            Some((last, [])) => last.clone(),
            Some(_) if more > 0 => format!("{} and {more} more", named.join(", ")),
            Some((last, before)) => format!("{} and {last}", before.join(", ")),
            None => String::new(),
        };
        let is = if self.holds { "is" } else { "is not" };
        format!("{customer} {is} in {subject} as of {as_of}, because {because}")
    }

    /// The clauses that decide, each with its verdict: of a conjunction that fails those that fail, of a disjunction that
    /// holds those that hold.
    fn reasons<'a>(&'a self, into: &mut Vec<(&'a str, bool)>) {
        match self.kind {
            Kind::Clause | Kind::Segment => {
                if !into.contains(&(self.text.as_str(), self.holds)) {
                    into.push((&self.text, self.holds));
                }
            }
            Kind::Not => self.parts.iter().for_each(|part| part.reasons(into)),
            Kind::All | Kind::Any => {
                self.parts.iter().filter(|part| part.holds == self.holds).for_each(|part| part.reasons(into));
            }
        }
    }
}
