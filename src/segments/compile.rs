//! From typed rules to SQL: on its own for one segment, shared for all segments of a night.
//!
//! A test of a missing value gives NULL, which `AND` and `OR` carry along and `WHERE` reads as false; every negation
//! is written `(… IS DISTINCT FROM TRUE)`, and so is an exact complement. (`IS NOT TRUE` would say the same, but
//! DataFusion's logical and physical plans disagree on whether it can be NULL, and then refuse to aggregate over it.)

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use super::check::{AttributeTest, Rule};
use crate::calendar::Zone;
use crate::error::{Error, Result};
use crate::profile::catalogue::Source;

mod anniversary;
mod days;
mod quote;
mod test;

use quote::{identifier, list_of};

/// The day and the zone in which dates are resolved.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The shop's time zone.
    pub zone: Zone,
    /// What `today` means.
    pub as_of: NaiveDate,
}

/// The tables that a statement reads, as they are named in the session.
#[derive(Debug, Clone)]
pub struct Tables {
    /// One row a customer.
    pub profile: String,
    /// The contact columns, by customer_id.
    pub contacts: String,
}

impl Default for Tables {
    /// The published views, for SQL that is run by hand.
    fn default() -> Self {
        Self { profile: "customer_profile_latest".to_owned(), contacts: "customer_contacts".to_owned() }
    }
}

impl Tables {
    /// The tables of a night's own session.
    pub fn of_the_night() -> Self {
        Self { profile: "profile".to_owned(), contacts: "contacts".to_owned() }
    }
}

/// One boolean that a shared statement computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The segment.
    pub segment: String,
    /// Whether it is the segment's goal, not its membership.
    pub goal: bool,
}

/// The one statement that computes every segment of a night.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The statement: `customer_no`, then one boolean column an output, in their order.
    pub sql: String,
    /// What the boolean columns are.
    pub outputs: Vec<Output>,
    /// The profile columns that are read, beside customer_no and customer_id.
    pub profile_columns: BTreeSet<String>,
    /// The contact columns that are read; the contacts table is needed only if there are any.
    pub contact_columns: BTreeSet<String>,
}

/// A segment's rules, for the shared statement.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The segment's id.
    pub id: &'a str,
    /// Its rule.
    pub rule: &'a Rule,
    /// Its goal's rule.
    pub goal: Option<&'a Rule>,
}

/// SQL that stands on its own and returns the members' `customer_id`, in order. `others` are the rules of the segments
/// that the rule may refer to.
///
/// # Errors
/// `segment.unknown_segment` for a reference that `others` lacks, `segment.cycle`, and a date off the calendar.
pub fn standalone_sql(rule: &Rule, others: &BTreeMap<String, &Rule>, scope: Scope, tables: &Tables) -> Result<String> {
    let mut plain = Program::new(scope, false);
    let condition = plain.render(rule, 0, Joined::And)?;
    if plain.layers == 0 && rule.references().is_empty() {
        let from = plain.read_from(tables);
        return Ok(format!("SELECT p.customer_id\nFROM {from}\nWHERE {}\nORDER BY p.customer_id", condition.sql));
    }
    let mut program = Program::new(scope, true);
    for id in in_order(rule, others)? {
        if let Some(other) = others.get(id) {
            program.member(id, other)?;
        }
    }
    let condition = program.render(rule, 0, Joined::And)?;
    let layers = program.with_layers("customer_id", tables, condition.layer);
    // A condition on the layers' columns in WHERE would be pushed down through all of them, each time with every
    // column replaced by its whole expression; over the aggregate it stays where it is.
    Ok(format!(
        "{layers}\nSELECT p.customer_id\nFROM {} p\nGROUP BY p.customer_id\nHAVING bool_and({})\nORDER BY p.customer_id",
        program.layer_name(condition.layer),
        condition.sql
    ))
}

/// The one statement for all `members`. A segment that others refer to is computed once, as a column of an earlier
/// layer.
///
/// # Errors
/// `segment.unknown_segment`, `segment.cycle`, and a date off the calendar.
pub fn shared(members: &[Member<'_>], scope: Scope, tables: &Tables) -> Result<Shared> {
    let by_id: BTreeMap<String, &Rule> = members.iter().map(|member| (member.id.to_owned(), member.rule)).collect();
    let mut program = Program::new(scope, true);
    let mut selected = Vec::new();
    let mut outputs = Vec::new();
    for member in members {
        for id in in_order(member.rule, &by_id)? {
            if let Some(other) = by_id.get(id) {
                program.member(id, other)?;
            }
        }
        program.member(member.id, member.rule)?;
    }
    for member in members {
        selected.push(member_column(member.id));
        outputs.push(Output { segment: member.id.to_owned(), goal: false });
        if let Some(goal) = member.goal {
            for id in in_order(goal, &by_id)? {
                if !by_id.contains_key(id) {
                    return Err(unknown(id));
                }
            }
            let column = format!("goal:{}", member.id);
            program.step(&column, goal)?;
            selected.push(column);
            outputs.push(Output { segment: member.id.to_owned(), goal: true });
        }
    }
    let last = program.layers;
    let layers = program.with_layers("customer_no", tables, last);
    let columns: String = selected.iter().map(|column| format!(",\n  p.{}", identifier(column))).collect();
    let sql = format!("{layers}\nSELECT p.customer_no{columns}\nFROM {} p", program.layer_name(last));
    Ok(Shared { sql, outputs, profile_columns: program.profile_columns, contact_columns: program.contact_columns })
}

fn member_column(id: &str) -> String {
    format!("segment:{id}")
}

fn unknown(id: &str) -> Error {
    Error::definition("segment.unknown_segment", format!("there is no segment `{id}`"))
}

/// The segments that `rule` refers to, directly or not, each after those that it refers to itself.
fn in_order<'a>(rule: &'a Rule, others: &'a BTreeMap<String, &'a Rule>) -> Result<Vec<&'a str>> {
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
enum Joined {
    And,
    Or,
    Not,
}

/// Parentheses deeper than this become a column of an earlier layer: SQL parsers refuse deep nesting (50 by default).
const MAX_NESTING: usize = 20;
/// Longer chains are grouped, so that no plan nests a thousand expressions.
const MAX_CHAIN: usize = 32;

/// The columns of a statement, in layers: an expression reads only columns of earlier layers.
struct Program {
    scope: Scope,
    layered: bool,
    /// (column, expression, the layer whose columns it reads)
    steps: Vec<(String, String, usize)>,
    members: BTreeMap<String, usize>,
    profile_columns: BTreeSet<String>,
    contact_columns: BTreeSet<String>,
    layers: usize,
    parts: usize,
}

impl Program {
    fn new(scope: Scope, layered: bool) -> Self {
        Self {
            scope,
            layered,
            steps: Vec::new(),
            members: BTreeMap::new(),
            profile_columns: BTreeSet::new(),
            contact_columns: BTreeSet::new(),
            layers: 0,
            parts: 0,
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
        let piece = self.render(rule, 0, Joined::Not)?;
        self.steps.push((column.to_owned(), format!("{} IS NOT DISTINCT FROM TRUE", enclosed(piece.sql)), piece.layer));
        self.layers = self.layers.max(piece.layer + 1);
        Ok(piece.layer + 1)
    }

    fn render(&mut self, rule: &Rule, depth: usize, within: Joined) -> Result<Piece> {
        match rule {
            Rule::All(parts) => self.chain(parts, depth, Joined::And, within),
            Rule::Any(parts) => self.chain(parts, depth, Joined::Or, within),
            Rule::Not(inner) => {
                if let Rule::Not(twice) = &**inner {
                    return self.render(twice, depth, within);
                }
                let inner = self.render(inner, depth + 1, Joined::Not)?;
                Ok(Piece { sql: format!("({} IS DISTINCT FROM TRUE)", enclosed(inner.sql)), layer: inner.layer })
            }
            Rule::Member(id) => {
                // Only the layered statement knows columns of other segments; the plain one is given up for it.
                let layer = if self.layered { *self.members.get(id).ok_or_else(|| unknown(id))? } else { 0 };
                Ok(Piece { sql: format!("p.{}", identifier(&member_column(id))), layer })
            }
            Rule::Test(test) => self.attribute_test(test),
        }
    }

    fn chain(&mut self, parts: &[Rule], depth: usize, kind: Joined, within: Joined) -> Result<Piece> {
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
        let sql = join(written, if kind == Joined::And { " AND " } else { " OR " });
        Ok(Piece { sql: if wrapped { format!("({sql})") } else { sql }, layer })
    }

    /// A deep part as a column of its own.
    fn part(&mut self, parts: &[Rule], kind: Joined) -> Result<Piece> {
        let piece = self.chain(parts, 0, kind, Joined::Not)?;
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
        };
        Ok(Piece { sql, layer: 0 })
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

    fn read_from(&self, tables: &Tables) -> String {
        if self.contact_columns.is_empty() {
            format!("{} p", identifier(&tables.profile))
        } else {
            let (profile, contacts) = (identifier(&tables.profile), identifier(&tables.contacts));
            format!("{profile} p\nLEFT JOIN {contacts} c ON c.customer_id = p.customer_id")
        }
    }

    fn layer_name(&self, layer: usize) -> String {
        format!("layer_{layer}")
    }

    /// `WITH` the layers up to `last`: the first has the columns that are read, each other adds what can be computed
    /// from those before it.
    fn with_layers(&self, key: &str, tables: &Tables, last: usize) -> String {
        let mut columns: BTreeSet<String> =
            self.profile_columns.iter().map(|name| format!("p.{}", identifier(name))).collect();
        columns.remove(&format!("p.{key}"));
        for name in &self.contact_columns {
            columns.insert(format!("c.{} AS {}", identifier(name), identifier(&contact_column(name))));
        }
        let columns: Vec<String> = std::iter::once(format!("p.{key}")).chain(columns).collect();
        let mut sql =
            format!("WITH layer_0 AS (\n  SELECT {}\n  FROM {}\n)", list_of(&columns), self.read_from(tables));
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

fn contact_column(name: &str) -> String {
    format!("contact:{name}")
}

/// An expression in parentheses, unless it stands in a pair of its own.
fn enclosed(sql: String) -> String {
    let mut depth = 0_usize;
    let mut inside_text = false;
    let mut closed_early = false;
    for (offset, next) in sql.char_indices() {
        match next {
            '\'' => inside_text = !inside_text,
            '(' if !inside_text => depth += 1,
            ')' if !inside_text => {
                depth = depth.saturating_sub(1);
                closed_early |= depth == 0 && offset + 1 < sql.len();
            }
            _ => {}
        }
    }
    // A column by itself needs none.
    if (sql.starts_with('(') && !closed_early) || !sql.contains([' ', '(']) { sql } else { format!("({sql})") }
}

/// Joins expressions; long chains in groups of groups.
fn join(mut parts: Vec<String>, between: &str) -> String {
    while parts.len() > MAX_CHAIN {
        parts = parts.chunks(MAX_CHAIN).map(|group| format!("({})", group.join(between))).collect();
    }
    parts.join(between)
}

#[cfg(test)]
mod tests;
