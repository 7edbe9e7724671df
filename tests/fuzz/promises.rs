//! What the segment language promises for any text at all. Each function panics where a promise is broken; the fuzz
//! targets beside this file and the module `fuzz` of `tests/it` call the same ones.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use alluvial::calendar::{Zone, parse_date};
use alluvial::diagnostic::{Diagnostic, Severity, line_and_column};
use alluvial::error::{Error, Kind};
use alluvial::profile::catalogue::{Catalogue, Field, FieldKind, Property};
use alluvial::schema::landed::{Reading, Table};
use alluvial::segments::check::{Context, Rule, check};
use alluvial::segments::compile::{Formula, Member, Scope, Shared, Tables, shared, standalone_sql};
use alluvial::segments::syntax::{self, Expr, MAX_CHARACTERS, from_json, to_json};
use arrow::datatypes::{DataType, Field as Column, TimeUnit};
use datafusion::sql::parser::DFParser;

/// Any text is read: without a panic, every finding is about a part of the text, and only beside an error is a part of
/// the tree faulty.
pub fn parse(text: &str) {
    let parsed = syntax::parse(text);
    findings(text, &parsed.diagnostics);
    assert!(parsed.has_errors() || !has_faulty(&parsed.expr), "a faulty part without an error");
}

/// A query that can be read has one canonical form, which reads as the same query, and so has the JSON form. A text that
/// begins as JSON does is read as that.
pub fn round_trip(text: &str) {
    if text.starts_with(['[', '{']) {
        if let Ok(expr) = from_json(text) {
            same_again(&expr);
        }
        return;
    }
    let parsed = syntax::parse(text);
    if !parsed.has_errors() {
        same_again(&parsed.expr);
    }
}

/// Any query that can be read is checked without a panic, and what passes the check becomes SQL that DataFusion reads as
/// one statement: by itself, and among all segments of a night.
pub fn compile(text: &str) {
    let parsed = syntax::parse(text);
    for shop in &*SHOPS {
        let context = Context { catalogue: &shop.catalogue, segments: &shop.known, as_of: shop.scope.as_of };
        let checked = check(&parsed.expr, &context);
        findings(text, &checked.diagnostics);
        assert!(
            checked.rule.is_none() || !checked.diagnostics.iter().any(|found| found.severity == Severity::Error),
            "a rule in spite of an error"
        );
        let Some(rule) = checked.rule.filter(|_| !parsed.has_errors()) else { continue };
        let others: BTreeMap<String, &Rule> = shop.rules.iter().map(|(id, rule)| (id.clone(), rule)).collect();
        match standalone_sql(&rule, &others, shop.scope, &Tables::default()) {
            Ok(sql) => statement(&sql),
            Err(error) => told(&error),
        }
        let others = others.iter().map(|(id, rule)| Member { id, rule, goal: None });
        let members: Vec<Member<'_>> = others.chain([Member { id: "it", rule: &rule, goal: Some(&rule) }]).collect();
        match shared(&members, shop.scope, &Tables::of_the_night()) {
            Ok(shared) => together(&shared),
            Err(error) => told(&error),
        }
    }
}

fn same_again(expr: &Expr) {
    let canonical = expr.to_string();
    // The limit is on what people write; a canonical form with all its blanks may pass it.
    if canonical.chars().count() > MAX_CHARACTERS {
        return;
    }
    let again = syntax::parse(&canonical);
    assert!(!again.has_errors(), "the canonical form `{canonical}` has errors: {:?}", again.diagnostics);
    assert_eq!(again.expr, *expr, "the canonical form `{canonical}` reads as another query");
    assert_eq!(again.expr.to_string(), canonical, "the canonical form has another one");
    let older = again.diagnostics.iter().find(|found| found.code.starts_with("segment.older"));
    assert_eq!(older, None, "the canonical form `{canonical}` has an older spelling");
    let json = to_json(expr).unwrap_or_else(|error| panic!("`{canonical}` has no JSON form: {error}"));
    let again = from_json(&json).unwrap_or_else(|error| panic!("the JSON form {json} has errors: {error}"));
    assert_eq!(again, *expr, "the JSON form {json} reads as another query");
}

fn findings(text: &str, found: &[Diagnostic]) {
    for (index, finding) in found.iter().enumerate() {
        let part = text.get(finding.span.clone());
        assert!(part.is_some(), "{finding:?} is not about a part of the text");
        assert!(finding.code.starts_with("segment."), "{finding:?}");
        assert!(!finding.message.is_empty() && finding.hint.as_deref() != Some(""), "{finding:?}");
        line_and_column(text, finding.span.start);
        // Drawing costs more than all else here.
        if index < 2 {
            finding.render("sql/segments/it.toml", text, false);
        }
    }
}

fn has_faulty(expr: &Expr) -> bool {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().any(has_faulty),
        Expr::Not(inner) => has_faulty(inner),
        Expr::Leaf(_) => false,
        Expr::Faulty(_) => true,
    }
}

/// Every scan is a statement, and every formula is made of what the scans find out.
fn together(shared: &Shared) {
    statement(&shared.profile.sql);
    if let Some((contacts, of_nobody)) = &shared.contacts {
        statement(&contacts.sql);
        statement(of_nobody);
    }
    for pass in &shared.passes {
        statement(&pass.sql);
        pass.products.iter().for_each(|products| statement(products));
    }
    for output in &shared.outputs {
        let mut parts = vec![&output.formula];
        while let Some(part) = parts.pop() {
            match part {
                Formula::All(inner) | Formula::Any(inner) => parts.extend(inner),
                Formula::Not(inner) => parts.push(inner),
                Formula::Test(test) => assert!(*test < shared.tests, "there is no test {test}"),
                Formula::Call(pass, call) => {
                    let calls = shared.passes.get(*pass).map_or(0, |pass| pass.program.calls.len());
                    assert!(*call < calls, "there is no call {call} in pass {pass}");
                }
                Formula::Member(id) => {
                    let before = shared.outputs.iter().take_while(|other| !std::ptr::eq(*other, output));
                    assert!(
                        before.into_iter().any(|other| other.segment == *id && !other.goal),
                        "`{id}` comes too late"
                    );
                }
            }
        }
    }
}

fn statement(sql: &str) {
    match DFParser::parse_sql(sql) {
        Ok(statements) => assert_eq!(statements.len(), 1, "{sql}"),
        Err(error) => panic!("{error}\n{sql}"),
    }
}

/// A date off the calendar is the writer's fault, and told as such.
fn told(error: &Error) {
    assert_eq!(error.kind(), Kind::Definition, "{error}");
}

/// What queries are compiled against.
struct Shop {
    catalogue: Catalogue,
    known: BTreeMap<String, bool>,
    rules: BTreeMap<String, Rule>,
    scope: Scope,
}

/// Two shops: their days are of other lengths, and one of them is on a leap day.
static SHOPS: LazyLock<[Shop; 2]> =
    LazyLock::new(|| [shop("Europe/Copenhagen", "2026-11-19"), shop("America/Sao_Paulo", "2016-02-29")]);

fn shop(zone: &str, as_of: &str) -> Shop {
    let (Ok(zone), Ok(as_of)) = (Zone::parse(zone), parse_date(as_of)) else { panic!("{zone} or {as_of} is wrong") };
    let scope = Scope { zone, as_of };
    let properties = [
        ("vip", DataType::Boolean),
        ("boolean_attribute", DataType::Boolean),
        ("membership_level", DataType::Utf8View),
        ("birth_date", DataType::Date32),
        ("seen", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("popup_tags", DataType::List(Column::new("element", DataType::Utf8, true).into())),
        ("address_parts", DataType::Struct(Vec::<Column>::new().into())),
        ("tier", DataType::Utf8View),
        ("points", DataType::Decimal128(10, 3)),
        ("score", DataType::Float64),
        ("select", DataType::Int64),
        ("customer_account_status", DataType::Utf8View),
    ]
    .map(|(name, data_type)| Property { name: name.to_owned(), data_type });
    let tier = Field { kind: Some(FieldKind::Choice), options: vec!["Gold".into(), "it's".into()], ..Field::default() };
    let columns = |all: &[(&str, Reading)]| all.iter().map(|(name, reading)| ((*name).to_owned(), *reading)).collect();
    let rows = [
        (Table::Orders, columns(&[("gift", Reading::Boolean), ("weight", Reading::Float), ("date", Reading::Date)])),
        (Table::OrderItems, columns(&[("colours", Reading::List), ("it's", Reading::Text)])),
        (Table::Events, columns(&[("score", Reading::Integer), ("payload", Reading::Json)])),
    ];
    let catalogue =
        Catalogue::new(&properties, &BTreeMap::from([("tier".to_owned(), tier)]), None).with_row_columns(rows.into());
    let known = [("vip", true), ("win-back", true), ("old", false)].map(|(id, active)| (id.to_owned(), active)).into();
    let rule = |query: &str| {
        let checked =
            check(&syntax::parse(query).expr, &Context { catalogue: &catalogue, segments: &known, as_of: scope.as_of });
        checked.rule.unwrap_or_else(|| panic!("{query}: {:?}", checked.diagnostics))
    };
    let rules = BTreeMap::from([
        ("vip".to_owned(), rule("amount_spent > 5000 AND email CONTAINS '@'")),
        ("win-back".to_owned(), rule("orders_placed NOT MATCHES (date >= -180d) AND NOT segment('vip')")),
    ]);
    Shop { catalogue, known, rules, scope }
}
