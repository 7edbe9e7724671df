//! What one scan of a table's rows has to find out for all segments, gathered call by call, and the statement for it.

use std::collections::BTreeSet;

use super::program::{Call, Key, Lookup, Owner, Picker, Program, Total};
use super::rows::{self, Family, Joined};
use super::shared::Pass;
use super::{Scope, Tables, days, reach, standalone, test};
use crate::error::Result;
use crate::profile::catalogue::{Rows, Source, Type};
use crate::segments::check::{Aggregate, AttributeTest, Operand, Predicate, RowsTest};
use crate::segments::syntax::Cmp;

/// The type of an event.
const TYPE: &str = "r.type";

/// What one scan has to find out, as it is gathered.
#[derive(Debug, Default)]
pub(super) struct Scan {
    axes: Vec<(&'static str, bool)>,
    keys: Vec<AskedKey>,
    flags: Vec<String>,
    measures: Vec<String>,
    /// A picker as it is asked for: its axis, its keys with their values, its flags.
    pickers: Vec<Asked>,
    calls: Vec<Call>,
    removals: bool,
}

/// A column that is looked up by value, and the values that are asked for.
#[derive(Debug)]
struct AskedKey {
    owner: Owner,
    /// None where the value is the product's.
    column: Option<String>,
    lookup: Lookup,
    values: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    axis: usize,
    keys: Vec<(usize, Vec<String>)>,
    flags: Vec<usize>,
}

/// The place of a thing in a list, which gets it if it lacks it.
fn place_of<T: PartialEq>(list: &mut Vec<T>, thing: T) -> usize {
    list.iter().position(|known| *known == thing).unwrap_or_else(|| {
        list.push(thing);
        list.len() - 1
    })
}

impl Scan {
    /// The number of a call, which is the same for equal calls.
    pub(super) fn call(&mut self, test: &RowsTest, scope: Scope) -> Result<usize> {
        let axis = rows::axis(test.rows);
        let mut asked = Asked { axis: place_of(&mut self.axes, axis), keys: Vec::new(), flags: Vec::new() };
        let mut ranges = vec![(None, None)];
        if let Some(kind) = rows::event_type(test.rows) {
            asked.keys.push(self.key(TYPE, Lookup::Exact, vec![kind.to_owned()]));
        }
        for condition in rows::conditions(test.rows) {
            asked.flags.push(place_of(&mut self.flags, condition.to_owned()));
        }
        self.removals |= rows::needs_removals(test.rows);
        for pick in &test.picks {
            let Source::Row(sql) = &pick.attribute.source else { continue };
            if *sql == axis.0 && matches!(pick.attribute.kind, Type::Day | Type::CivilDate) {
                ranges = reach::intersect(&ranges, &reach::ranges(pick, scope)?);
            } else if let Some((lookup, values)) = values(pick) {
                asked.keys.push(self.key(sql, lookup, values));
            } else {
                let condition = only_of(test.rows, test::of_column(&rows::by_product_id(sql), pick, scope)?);
                asked.flags.push(place_of(&mut self.flags, condition));
            }
        }
        asked.keys.sort();
        asked.flags.sort_unstable();
        let mut asks = Vec::new();
        for one in &test.aggregates {
            let kind = &one.test.attribute.kind;
            let mut measure =
                |sql: &str| place_of(&mut self.measures, standalone::measure(&rows::by_product_id(sql), kind));
            let total = match &one.aggregate {
                Aggregate::Count => Total::Count,
                Aggregate::Sum(sql) => Total::Sum(measure(sql)),
                Aggregate::Min(sql) => Total::Min(measure(sql)),
                Aggregate::Max(sql) => Total::Max(measure(sql)),
            };
            let scale = if let Type::Decimal { scale, .. } = kind { *scale } else { 0 };
            asks.push((total, reach::spans(&one.test, scale)?));
        }
        let call = Call { picker: place_of(&mut self.pickers, asked), ranges, asks };
        Ok(place_of(&mut self.calls, call))
    }

    fn key(&mut self, sql: &str, lookup: Lookup, values: Vec<String>) -> (usize, Vec<String>) {
        let (owner, column) = rows::owner(sql);
        let is_it = |key: &AskedKey| (key.owner, key.column.as_deref(), key.lookup) == (owner, column, lookup);
        let known = self.keys.iter().position(is_it);
        let place = known.unwrap_or_else(|| {
            let column = column.map(str::to_owned);
            self.keys.push(AskedKey { owner, column, lookup, values: BTreeSet::new() });
            self.keys.len() - 1
        });
        if let Some(key) = self.keys.get_mut(place) {
            key.values.extend(values.iter().cloned());
        }
        (place, values)
    }

    /// The scan as a statement and a program.
    pub(super) fn pass(self, family: Family, scope: Scope, tables: &Tables) -> Result<Pass> {
        let codes = |key: usize, values: &[String]| -> Vec<u32> {
            let all = self.keys.get(key).map(|key| &key.values);
            let code = |value: &String| all?.iter().position(|known| known == value)?.try_into().ok();
            let mut codes: Vec<u32> = values.iter().filter_map(code).collect();
            codes.sort_unstable();
            codes.dedup();
            codes
        };
        let pickers = self.pickers.iter().map(|asked| Picker {
            axis: asked.axis,
            keys: asked.keys.iter().map(|(key, values)| (*key, codes(*key, values))).collect(),
            flags: asked.flags.clone(),
        });
        let program = Program {
            axes: self.axes.len(),
            keys: self.keys.iter().map(AskedKey::ready).collect(),
            kind: self.kind(),
            of_products: self.keys.iter().any(|key| key.owner != Owner::Row),
            flags: self.flags.len(),
            measures: self.measures.len(),
            pickers: pickers.collect(),
            calls: self.calls.clone(),
        };
        let columns: Vec<&str> = (self.axes.iter().map(|(sql, _)| *sql))
            .chain(self.keys.iter().filter_map(|key| key.column.as_deref()))
            .chain(program.of_products.then_some("r.product_id"))
            .chain(self.flags.iter().map(String::as_str))
            .chain(self.measures.iter().map(String::as_str))
            .collect();
        let joined = Joined { products: false, removals: self.removals };
        let names = |function: &str| columns.iter().any(|sql| sql.contains(function));
        let by_function = names(rows::PRODUCT_CATEGORY) || names(rows::PRODUCT_LABELS);
        let products = (program.of_products || by_function).then(|| rows::products(tables));
        let function = calls_function(family);
        let from = rows::from(family, joined, tables, scope);
        let kept = self.kept(family, &program, tables);
        let sql = format!("SELECT {function}(r.{}, {}) AS answers\nFROM {from}{kept}", tables.key, columns.join(", "));
        let mut read = rows::columns(&columns.join(", "));
        if joined.removals {
            read.insert("product_id".to_owned());
        }
        if joined.removals || kept.contains("r.type") {
            read.insert("type".to_owned());
        }
        Ok(Pass { family, function, sql, products, program, columns: read })
    }

    /// The key that rows are split by.
    fn kind(&self) -> Option<usize> {
        self.keys.iter().position(|key| key.column.as_deref() == Some(TYPE) && key.lookup == Lookup::Exact)
    }

    /// What no picker wants need not be read: WHERE the days that some call asks about, and before a join the rows of somebody and
    /// of types that are asked for. Where nothing is joined, the scan passes over the others itself: a filter would copy the rest.
    fn kept(&self, family: Family, program: &Program, tables: &Tables) -> String {
        let mut conditions = Vec::new();
        if let [(axis, civil)] = self.axes.as_slice()
            && let Some(first) = program.since()
            && let Some(literal) = days::axis_literal(first, *civil)
        {
            conditions.push(format!("{axis} >= {literal}"));
        }
        if family == Family::Abandoned {
            conditions.push(format!("r.{} >= 0 AND {}({TYPE})", tables.key, kinds_function(family)));
        }
        if conditions.is_empty() { String::new() } else { format!("\nWHERE {}", conditions.join(" AND ")) }
    }
}

impl AskedKey {
    fn ready(&self) -> Key {
        let values = self.values.iter().cloned().collect();
        Key { lookup: self.lookup, owner: self.owner, values, products: Vec::new() }
    }
}

/// The name of the aggregate function that answers the calls of a scan.
fn calls_function(family: Family) -> String {
    format!("segment_calls_{}", family.name())
}

/// The name of the function that tells whether some call of a scan asks for a type.
pub(crate) fn kinds_function(family: Family) -> String {
    format!("{}_kinds", calls_function(family))
}

/// The values of which one must be the row's, where a test is an equality that can be looked up.
fn values(pick: &AttributeTest) -> Option<(Lookup, Vec<String>)> {
    let lookup = match pick.attribute.kind {
        Type::Text | Type::Id | Type::Enum(_) => Lookup::Exact,
        Type::Path => Lookup::Path,
        Type::Elements(_) => Lookup::Elements,
        _ => return None,
    };
    let text = |operand: &Operand| match operand {
        Operand::Text(text) => Some(text.clone()),
        _ => None,
    };
    let mut values = match &pick.predicate {
        Predicate::Compare { op: Cmp::Equal, value } => vec![text(value)?],
        Predicate::In { negated: false, values } => values.iter().map(text).collect::<Option<_>>()?,
        Predicate::Contains { negated: false, part } if lookup == Lookup::Elements => vec![part.clone()],
        _ => return None,
    };
    values.sort();
    values.dedup();
    Some((lookup, values))
}

/// A condition that is looked at for events of the function's own type only.
fn only_of(rows: Rows, condition: String) -> String {
    match rows::type_condition(rows) {
        Some(kind) => format!("CASE WHEN {kind} THEN {condition} END"),
        None => condition,
    }
}
