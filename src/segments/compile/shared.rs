//! All segments of a night at once: every distinct test of the profile once, every distinct call of a function once, in
//! one scan a table; and each segment as a boolean formula over those.

use std::collections::{BTreeMap, BTreeSet};

use super::gathered::Scan;
use super::program::{Program, Spans, Total};
use super::quote::identifier;
use super::rows::Family;
use super::{Scope, Tables, place, standalone, test, unknown};
use crate::error::{Error, Result};
use crate::profile::catalogue::Source;
use crate::segments::check::{AttributeTest, Rule};

/// A segment's rules, for the shared statements.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The segment's id.
    pub id: &'a str,
    /// Its rule.
    pub rule: &'a Rule,
    /// Its goal's rule.
    pub goal: Option<&'a Rule>,
}

/// Everything that the segments of a night ask, each thing once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shared {
    /// The statement over the profile: `customer_no`, then a boolean column for each of its tests.
    pub profile: Tested,
    /// The same over the contacts, and for a customer without any; none where nothing asks about contacts.
    pub contacts: Option<(Tested, String)>,
    /// How many tests there are.
    pub tests: usize,
    /// The profile columns that are read, beside customer_no.
    pub profile_columns: BTreeSet<String>,
    /// The contact columns that are read; the contacts table is needed only if there are any.
    pub contact_columns: BTreeSet<String>,
    /// The scans over rows.
    pub passes: Vec<Pass>,
    /// Every segment and goal, each after those that it refers to.
    pub outputs: Vec<Output>,
}

/// A statement over customers, and the numbers of the tests that its columns after the first are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tested {
    /// The statement.
    pub sql: String,
    /// The tests, in the order of the columns.
    pub tests: Vec<usize>,
}

/// One scan over a table's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// The table.
    pub family: Family,
    /// The name of the aggregate function that carries the program, in `sql`.
    pub function: String,
    /// The statement: one row of one value, which holds the answer to every call.
    pub sql: String,
    /// The statement that gives the products which other functions in `sql` look up; none where they look up none.
    pub products: Option<String>,
    /// What the aggregate function has to find out.
    pub program: Program,
    /// The columns of the rows that are read, beside the customer's key.
    pub columns: BTreeSet<String>,
}

/// What a segment or a goal is.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The segment.
    pub segment: String,
    /// Whether it is the segment's goal, not its membership.
    pub goal: bool,
    /// Who satisfies it.
    pub formula: Formula,
}

/// A boolean over sets of customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Formula {
    /// All of them.
    All(Vec<Formula>),
    /// Any of them.
    Any(Vec<Formula>),
    /// The exact complement.
    Not(Box<Formula>),
    /// A column of the statements over the profile and the contacts.
    Test(usize),
    /// A call of a pass.
    Call(usize, usize),
    /// A segment that comes before.
    Member(String),
}

/// Everything that `members` ask.
///
/// # Errors
/// `segment.unknown_segment`, `segment.cycle`, and a date off the calendar.
pub fn shared(members: &[Member<'_>], scope: Scope, tables: &Tables) -> Result<Shared> {
    let by_id: BTreeMap<String, &Rule> = members.iter().map(|member| (member.id.to_owned(), member.rule)).collect();
    let mut builder = Builder {
        scope,
        tables,
        shared: Shared::default(),
        tests: Vec::new(),
        known: BTreeMap::new(),
        scans: BTreeMap::new(),
    };
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut outputs = Vec::new();
    for member in members {
        let order = standalone::in_order(member.rule, &by_id)?;
        for id in order.into_iter().chain([member.id]) {
            if let Some((own, rule)) = by_id.get_key_value(id)
                && done.insert(own)
            {
                outputs.push((id.to_owned(), false, builder.formula(rule)?));
            }
        }
    }
    for member in members {
        let Some(goal) = member.goal else { continue };
        if let Some(id) = goal.references().into_iter().find(|id| !by_id.contains_key(*id)) {
            return Err(unknown(id));
        }
        outputs.push((member.id.to_owned(), true, builder.formula(goal)?));
    }
    builder.finish(outputs)
}

struct Builder<'a> {
    scope: Scope,
    tables: &'a Tables,
    shared: Shared,
    /// Each with whether it is of the contacts.
    tests: Vec<(String, bool)>,
    known: BTreeMap<String, usize>,
    scans: BTreeMap<Family, Scan>,
}

impl Builder<'_> {
    fn formula(&mut self, rule: &Rule) -> Result<Formula> {
        let all = |builder: &mut Self, parts: &[Rule]| {
            parts.iter().map(|part| builder.formula(part)).collect::<Result<Vec<_>>>()
        };
        Ok(match rule {
            Rule::All(parts) => Formula::All(all(self, parts)?),
            Rule::Any(parts) => Formula::Any(all(self, parts)?),
            Rule::Not(inner) => Formula::Not(Box::new(self.formula(inner)?)),
            Rule::Member(id) => Formula::Member(id.clone()),
            Rule::Test(test) => {
                let sql = self.attribute_test(test)?;
                self.test(sql, test.attribute.contact)
            }
            Rule::Place(place) => {
                let (latitude, longitude) = (self.column("latitude", true), self.column("longitude", true));
                let sql = place::sql(place, &latitude, &longitude, self.scope)?;
                self.test(sql, true)
            }
            Rule::Rows(test) => {
                let Some(family) = Family::of(test.rows) else {
                    return Err(Error::internal("segment.misfit", "a function without rows came through the check"));
                };
                let scan = self.scans.entry(family).or_default();
                // The passes are numbered once all are known; until then by their family.
                Formula::Call(family as usize, scan.call(test, self.scope)?)
            }
        })
    }

    fn test(&mut self, sql: String, of_contacts: bool) -> Formula {
        let next = self.tests.len();
        let number = *self.known.entry(sql.clone()).or_insert(next);
        if number == next {
            self.tests.push((sql, of_contacts));
        }
        Formula::Test(number)
    }

    fn attribute_test(&mut self, test: &AttributeTest) -> Result<String> {
        let contact = test.attribute.contact;
        match &test.attribute.source {
            Source::Column(column) => test::of_column(&self.column(column, contact), test, self.scope),
            Source::Spellings(spellings) => {
                let spelled: Vec<Vec<String>> = spellings
                    .iter()
                    .map(|columns| columns.iter().map(|column| self.column(column, contact)).collect())
                    .collect();
                test::of_spellings(&spelled, &test.predicate)
            }
            Source::Row(_) => Err(Error::internal("segment.misfit", "a fact about rows stands alone")),
        }
    }

    fn column(&mut self, name: &str, contact: bool) -> String {
        let (table, columns) =
            if contact { ("c", &mut self.shared.contact_columns) } else { ("p", &mut self.shared.profile_columns) };
        columns.insert(name.to_owned());
        format!("{table}.{}", identifier(name))
    }

    fn finish(self, outputs: Vec<(String, bool, Formula)>) -> Result<Shared> {
        let Self { scope, tables, mut shared, tests, scans, .. } = self;
        let key = tables.key;
        let statement = |of_contacts: bool, key: &str, from: &str| {
            let own = tests.iter().enumerate().filter(|(_, (_, contacts))| *contacts == of_contacts);
            let (own, columns): (Vec<usize>, Vec<String>) =
                own.map(|(number, (sql, _))| (number, format!(",\n  {sql} AS test_{number}"))).unzip();
            Tested { sql: format!("SELECT {key}{}\nFROM {from}", columns.concat()), tests: own }
        };
        shared.profile = statement(false, &format!("p.{key}"), &format!("{} p", identifier(&tables.profile)));
        if !shared.contact_columns.is_empty() {
            let contacts = identifier(&tables.contacts);
            let nobody = statement(true, "0", &format!("(VALUES (0)) nobody(n) LEFT JOIN {contacts} c ON FALSE"));
            shared.contacts = Some((statement(true, &format!("c.{key}"), &format!("{contacts} c")), nobody.sql));
        }
        shared.tests = tests.len();
        let mut numbers = BTreeMap::new();
        for (family, scan) in scans {
            numbers.insert(family as usize, shared.passes.len());
            shared.passes.push(scan.pass(family, scope, tables)?);
        }
        shared.outputs = outputs
            .into_iter()
            .map(|(segment, goal, mut formula)| {
                formula.number_passes(&numbers);
                Output { segment, goal, formula }
            })
            .collect();
        Ok(shared)
    }
}

impl Formula {
    fn number_passes(&mut self, numbers: &BTreeMap<usize, usize>) {
        match self {
            Formula::All(parts) | Formula::Any(parts) => parts.iter_mut().for_each(|part| part.number_passes(numbers)),
            Formula::Not(inner) => inner.number_passes(numbers),
            Formula::Call(pass, _) => *pass = numbers.get(pass).copied().unwrap_or(*pass),
            Formula::Test(_) | Formula::Member(_) => {}
        }
    }
}

/// Nothing is asked of rows that are not there: whether a call holds without any.
pub(crate) fn holds_without_rows(asks: &[(Total, Spans)]) -> bool {
    !asks.is_empty()
        && asks.iter().all(|(total, spans)| match total {
            Total::Count | Total::Sum(_) => spans.contains(Some(0)),
            Total::Min(_) | Total::Max(_) => spans.contains(None),
        })
}
