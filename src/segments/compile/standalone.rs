//! SQL that stands on its own: one segment's members, by the tables that anyone can query.

use std::collections::{BTreeMap, BTreeSet};

use super::quote::{identifier, list_of};
use super::rows::{self, Family, Joined};
use super::{MAX_CHAIN, Scope, Tables, contact_column, enclosed, join, place, test, unknown};
use crate::error::{Error, Result};
use crate::profile::catalogue::{Source, Type};
use crate::segments::check::{Aggregate, AttributeTest, PlaceTest, RowsTest, Rule};

/// SQL that stands on its own and returns the members' `customer_id`, in order. `others` are the rules of the segments
/// that the rule may refer to.
///
/// # Errors
/// `segment.unknown_segment` for a reference that `others` lacks, `segment.cycle`, and a date off the calendar.
pub fn standalone_sql(rule: &Rule, others: &BTreeMap<String, &Rule>, scope: Scope, tables: &Tables) -> Result<String> {
    let mut plain = Program::new(scope, tables, false);
    let condition = plain.render(rule, 0, Joiner::And)?;
    if plain.layers == 0 && rule.references().is_empty() {
        let with = plain.with_rows();
        let from = plain.read_from();
        return Ok(format!("{with}SELECT p.customer_id\nFROM {from}\nWHERE {}\nORDER BY p.customer_id", condition.sql));
    }
    let mut program = Program::new(scope, tables, true);
    for id in in_order(rule, others)? {
        if let Some(other) = others.get(id) {
            program.member(id, other)?;
        }
    }
    let condition = program.render(rule, 0, Joiner::And)?;
    let layers = program.with_layers("customer_id", condition.layer);
    // A condition on the layers' columns in WHERE would be pushed down through all of them, each time with every
    // column replaced by its whole expression; over the aggregate it stays where it is.
    Ok(format!(
        "{layers}\nSELECT p.customer_id\nFROM {} p\nGROUP BY p.customer_id\nHAVING bool_and({})\nORDER BY p.customer_id",
        program.layer_name(condition.layer),
        condition.sql
    ))
}

fn member_column(id: &str) -> String {
    format!("segment:{id}")
}

/// The segments that `rule` refers to, directly or not, each after those that it refers to itself.
pub(super) fn in_order<'a>(rule: &'a Rule, others: &'a BTreeMap<String, &'a Rule>) -> Result<Vec<&'a str>> {
    let mut done: Vec<&str> = Vec::new();
    let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
    // (segment, whether those that it refers to are done)
    let mut todo: Vec<(&str, bool)> = rule.references().into_iter().rev().map(|id| (id, false)).collect();
    while let Some((id, expanded)) = todo.pop() {
        if expanded {
            seen.insert(id, true);
            done.push(id);
            continue;
        }
        match seen.get(id) {
            Some(true) => continue,
            Some(false) => {
                return Err(Error::definition("segment.cycle", format!("the segment `{id}` refers to itself")));
            }
            None => {}
        }
        let other = others.get(id).ok_or_else(|| unknown(id))?;
        seen.insert(id, false);
        todo.push((id, true));
        todo.extend(
            other.references().into_iter().rev().filter(|next| seen.get(next) != Some(&true)).map(|next| (next, false)),
        );
    }
    Ok(done)
}

/// An expression, and the first layer whose columns it can read.
struct Piece {
    sql: String,
    layer: usize,
}

/// What an expression is put into, which says whether it needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joiner {
    And,
    Or,
    Not,
}

/// Parentheses deeper than this become a column of an earlier layer: SQL parsers refuse deep nesting (50 by default).
const MAX_NESTING: usize = 20;
/// The columns of a statement, in layers: an expression reads only columns of earlier layers.
struct Program<'a> {
    scope: Scope,
    tables: &'a Tables,
    layered: bool,
    /// (column, expression, the layer whose columns it reads)
    steps: Vec<(String, String, usize)>,
    members: BTreeMap<String, usize>,
    profile_columns: BTreeSet<String>,
    contact_columns: BTreeSet<String>,
    layers: usize,
    parts: usize,
    /// What each function's rows come to by customer: name and query.
    rows: Vec<(String, String)>,
    /// Conditions over those, as columns of the first layer.
    row_columns: Vec<(String, String)>,
}

impl<'a> Program<'a> {
    fn new(scope: Scope, tables: &'a Tables, layered: bool) -> Self {
        Self {
            scope,
            tables,
            layered,
            steps: Vec::new(),
            members: BTreeMap::new(),
            profile_columns: BTreeSet::new(),
            contact_columns: BTreeSet::new(),
            layers: 0,
            parts: 0,
            rows: Vec::new(),
            row_columns: Vec::new(),
        }
    }

    /// Adds a segment's membership as a column, unless it is there.
    fn member(&mut self, id: &str, rule: &Rule) -> Result<()> {
        if !self.members.contains_key(id) {
            let layer = self.step(&member_column(id), rule)?;
            self.members.insert(id.to_owned(), layer);
        }
        Ok(())
    }

    /// Adds a column; the first layer that can read it.
    fn step(&mut self, column: &str, rule: &Rule) -> Result<usize> {
        let piece = self.render(rule, 0, Joiner::Not)?;
        self.steps.push((column.to_owned(), format!("{} IS NOT DISTINCT FROM TRUE", enclosed(piece.sql)), piece.layer));
        self.layers = self.layers.max(piece.layer + 1);
        Ok(piece.layer + 1)
    }

    fn render(&mut self, rule: &Rule, depth: usize, within: Joiner) -> Result<Piece> {
        match rule {
            Rule::All(parts) => self.chain(parts, depth, Joiner::And, within),
            Rule::Any(parts) => self.chain(parts, depth, Joiner::Or, within),
            Rule::Not(inner) => {
                if let Rule::Not(twice) = &**inner {
                    return self.render(twice, depth, within);
                }
                let inner = self.render(inner, depth + 1, Joiner::Not)?;
                Ok(Piece { sql: format!("({} IS DISTINCT FROM TRUE)", enclosed(inner.sql)), layer: inner.layer })
            }
            Rule::Member(id) => {
                // Only the layered statement knows columns of other segments; the plain one is given up for it.
                let layer = if self.layered { *self.members.get(id).ok_or_else(|| unknown(id))? } else { 0 };
                Ok(Piece { sql: format!("p.{}", identifier(&member_column(id))), layer })
            }
            Rule::Test(test) => self.attribute_test(test),
            Rule::Rows(test) => self.rows_test(test),
            Rule::Place(test) => self.place_test(test),
        }
    }

    fn chain(&mut self, parts: &[Rule], depth: usize, kind: Joiner, within: Joiner) -> Result<Piece> {
        let wrapped = within != kind || parts.len() > MAX_CHAIN;
        if depth > MAX_NESTING {
            return self.part(parts, kind);
        }
        let mut layer = 0;
        let mut written = Vec::with_capacity(parts.len());
        for part in parts {
            let piece = self.render(part, depth + usize::from(wrapped) + 1, kind)?;
            layer = layer.max(piece.layer);
            written.push(piece.sql);
        }
        let sql = join(written, if kind == Joiner::And { " AND " } else { " OR " });
        Ok(Piece { sql: if wrapped { format!("({sql})") } else { sql }, layer })
    }

    /// A deep part as a column of its own.
    fn part(&mut self, parts: &[Rule], kind: Joiner) -> Result<Piece> {
        let piece = self.chain(parts, 0, kind, Joiner::Not)?;
        self.parts += 1;
        let column = format!("part:{}", self.parts);
        self.layers = self.layers.max(piece.layer + 1);
        let sql = format!("p.{}", identifier(&column));
        self.steps.push((column, format!("{} IS NOT DISTINCT FROM TRUE", enclosed(piece.sql)), piece.layer));
        Ok(Piece { sql, layer: piece.layer + 1 })
    }

    fn attribute_test(&mut self, test: &AttributeTest) -> Result<Piece> {
        let attribute = &test.attribute;
        let sql = match &attribute.source {
            Source::Column(column) => {
                let column = self.column(column, attribute.contact);
                test::of_column(&column, test, self.scope)?
            }
            Source::Spellings(spellings) => {
                let spelled: Vec<Vec<String>> = spellings
                    .iter()
                    .map(|columns| columns.iter().map(|column| self.column(column, attribute.contact)).collect())
                    .collect();
                test::of_spellings(&spelled, &test.predicate)?
            }
            Source::Row(_) => return Err(Error::internal("segment.misfit", "a fact about rows stands alone")),
        };
        Ok(Piece { sql, layer: 0 })
    }

    fn place_test(&mut self, place: &PlaceTest) -> Result<Piece> {
        let (latitude, longitude) = (self.column("latitude", true), self.column("longitude", true));
        Ok(Piece { sql: place::sql(place, &latitude, &longitude, self.scope)?, layer: 0 })
    }

    /// A test of rows: what they come to is grouped by customer on its own, and joined to the profile. Who has none is not
    /// among the groups.
    fn rows_test(&mut self, test: &RowsTest) -> Result<Piece> {
        let (key, name) = (self.tables.key, self.grouped(test)?);
        let sql = if test.aggregates.is_empty() {
            format!("{name}.{key} IS NOT NULL")
        } else {
            let mut parts = Vec::new();
            for (number, one) in test.aggregates.iter().enumerate() {
                let column = format!("{name}.total_{}", number + 1);
                let column = match one.aggregate {
                    Aggregate::Count | Aggregate::Sum(_) => format!("coalesce({column}, 0)"),
                    Aggregate::Min(_) | Aggregate::Max(_) => column,
                };
                parts.push(test::of_column(&column, &one.test, self.scope)?);
            }
            enclosed(parts.join(" AND "))
        };
        if !self.layered {
            return Ok(Piece { sql, layer: 0 });
        }
        let known = self.row_columns.iter().find(|(_, known)| *known == sql).map(|(column, _)| column.clone());
        let column = known.unwrap_or_else(|| {
            let column = format!("rows:{}", self.row_columns.len() + 1);
            self.row_columns.push((column.clone(), sql));
            column
        });
        Ok(Piece { sql: format!("p.{}", identifier(&column)), layer: 0 })
    }

    /// The name of the query that groups a function's rows by customer.
    fn grouped(&mut self, test: &RowsTest) -> Result<String> {
        let sql = grouped_sql(test, self.scope, self.tables)?;
        if let Some((name, _)) = self.rows.iter().find(|(_, known)| *known == sql) {
            return Ok(name.clone());
        }
        let name = format!("rows_{}", self.rows.len() + 1);
        self.rows.push((name.clone(), sql));
        Ok(name)
    }

    /// `WITH` what the functions' rows come to, if there are any.
    fn with_rows(&self) -> String {
        let queries: Vec<String> = self.rows.iter().map(|(name, sql)| format!("{name} AS (\n  {sql}\n)")).collect();
        if queries.is_empty() { String::new() } else { format!("WITH {}\n", queries.join(", ")) }
    }

    /// How a column is written, and that it is read.
    fn column(&mut self, name: &str, contact: bool) -> String {
        match (contact, self.layered) {
            (false, _) => {
                self.profile_columns.insert(name.to_owned());
                format!("p.{}", identifier(name))
            }
            (true, layered) => {
                self.contact_columns.insert(name.to_owned());
                if layered {
                    format!("p.{}", identifier(&contact_column(name)))
                } else {
                    format!("c.{}", identifier(name))
                }
            }
        }
    }

    fn read_from(&self) -> String {
        let key = self.tables.key;
        let mut from = format!("{} p", identifier(&self.tables.profile));
        if !self.contact_columns.is_empty() {
            from.push_str(&format!("\nLEFT JOIN {} c ON c.{key} = p.{key}", identifier(&self.tables.contacts)));
        }
        for (name, _) in &self.rows {
            from.push_str(&format!("\nLEFT JOIN {name} ON {name}.{key} = p.{key}"));
        }
        from
    }

    fn layer_name(&self, layer: usize) -> String {
        format!("layer_{layer}")
    }

    /// `WITH` the layers up to `last`: the first has the columns that are read, each other adds what can be computed
    /// from those before it.
    fn with_layers(&self, key: &str, last: usize) -> String {
        let mut columns: BTreeSet<String> =
            self.profile_columns.iter().map(|name| format!("p.{}", identifier(name))).collect();
        columns.remove(&format!("p.{key}"));
        for name in &self.contact_columns {
            columns.insert(format!("c.{} AS {}", identifier(name), identifier(&contact_column(name))));
        }
        let conditions = self.row_columns.iter().map(|(name, sql)| format!("{sql} AS {}", identifier(name)));
        let columns: Vec<String> = std::iter::once(format!("p.{key}")).chain(columns).chain(conditions).collect();
        let with = self.with_rows();
        let with = if with.is_empty() { "WITH ".to_owned() } else { format!("{}, ", with.trim_end()) };
        let mut sql = format!("{with}layer_0 AS (\n  SELECT {}\n  FROM {}\n)", list_of(&columns), self.read_from());
        for layer in 0..last {
            let added: Vec<String> = std::iter::once("p.*".to_owned())
                .chain(
                    self.steps
                        .iter()
                        .filter(|(_, _, reads)| *reads == layer)
                        .map(|(column, expression, _)| format!("{expression} AS {}", identifier(column))),
                )
                .collect();
            sql.push_str(&format!(
                ", layer_{} AS (\n  SELECT {}\n  FROM layer_{layer} p\n)",
                layer + 1,
                list_of(&added)
            ));
        }
        sql
    }
}

/// What a function's rows come to, one row a customer who has any.
pub(super) fn grouped_sql(test: &RowsTest, scope: Scope, tables: &Tables) -> Result<String> {
    let Picked { totals, from, kept } = picked(test, scope, tables)?;
    let key = tables.key;
    let totals: String = totals.iter().map(|total| format!(", {total}")).collect();
    Ok(format!("SELECT r.{key}{totals}\n  FROM {from}{kept}\n  GROUP BY r.{key}"))
}

/// The parts of a query over the rows that a function picks.
pub(super) struct Picked {
    /// What is asked about, as `total_1`, `total_2` …
    pub(super) totals: Vec<String>,
    pub(super) from: String,
    /// `WHERE …`, or nothing.
    pub(super) kept: String,
}

pub(super) fn picked(test: &RowsTest, scope: Scope, tables: &Tables) -> Result<Picked> {
    let Some(family) = Family::of(test.rows) else {
        return Err(Error::internal("segment.misfit", "a function without rows came through the check"));
    };
    let mut conditions: Vec<String> = rows::type_condition(test.rows).into_iter().collect();
    conditions.extend(rows::conditions(test.rows).into_iter().map(str::to_owned));
    for pick in &test.picks {
        let Source::Row(sql) = &pick.attribute.source else { continue };
        conditions.push(test::of_column(sql, pick, scope)?);
    }
    let mut totals = Vec::new();
    for (number, one) in test.aggregates.iter().enumerate() {
        let measure = |sql: &str| measure(sql, &one.test.attribute.kind);
        let total = match &one.aggregate {
            Aggregate::Count => "count(*)".to_owned(),
            Aggregate::Sum(sql) => format!("sum({})", measure(sql)),
            Aggregate::Min(sql) => format!("min({})", measure(sql)),
            Aggregate::Max(sql) => format!("max({})", measure(sql)),
        };
        totals.push(format!("{total} AS total_{}", number + 1));
    }
    let joined = Joined {
        removals: rows::needs_removals(test.rows),
        ..Joined::for_sql(conditions.iter().chain(&totals).map(String::as_str))
    };
    let from = rows::from(family, joined, tables, scope);
    let kept = if conditions.is_empty() { String::new() } else { format!("\n  WHERE {}", conditions.join(" AND ")) };
    Ok(Picked { totals, from, kept })
}

/// A measure at the scale at which it is added up and compared. What is no number of that scale is left out.
pub(super) fn measure(sql: &str, kind: &Type) -> String {
    let scale = if let Type::Decimal { scale, .. } = kind { *scale } else { 0 };
    format!("TRY_CAST({sql} AS DECIMAL(38, {scale}))")
}
