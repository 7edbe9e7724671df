use proptest::prelude::*;

use super::*;
use crate::segments::syntax::parser::is_name;

fn codes(query: &str) -> Vec<&'static str> {
    parse(query).diagnostics.iter().map(|found| found.code).collect()
}

#[test]
fn the_documented_pair_is_one_tree() {
    let loose = parse("a = 1 AND b = 2 OR c > 999.99").expr;
    assert_eq!(loose, parse("(a = 1 AND b = 2) OR c > 999.99").expr);
    assert_ne!(loose, parse("a = 1 AND (b = 2 OR c > 999.99)").expr);
}

#[test]
fn limits_are_told_by_name_and_never_crash() {
    assert_eq!(codes(&"x".repeat(MAX_CHARACTERS + 1)), ["segment.too_long"]);
    assert_eq!(codes(&"ø".repeat(MAX_CHARACTERS)), ["segment.unknown_operator"]);
    let nested = |levels: usize| format!("{}a = 1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(codes(&nested(MAX_LEVELS)).is_empty());
    assert_eq!(codes(&nested(MAX_LEVELS + 1)), ["segment.too_deep"]);
    assert_eq!(codes(&"(".repeat(19_000)), ["segment.too_deep"]);
    assert_eq!(codes(&"NOT ".repeat(4_900)), ["segment.too_deep"]);
    let list = |values: usize| format!("a IN ({})", vec!["1"; values].join(","));
    assert!(codes(&list(MAX_VALUES)).is_empty());
    assert_eq!(codes(&list(MAX_VALUES + 1)), ["segment.too_many_values"]);
    let within = |values: usize| format!("f MATCHES (id IN ({}))", vec!["1"; values].join(","));
    assert!(codes(&within(MAX_VALUES)).is_empty());
    assert_eq!(codes(&within(MAX_VALUES + 1)), ["segment.too_many_values"]);
    let calls = |calls: usize| vec!["f MATCHES ()"; calls].join(" OR ");
    assert!(codes(&calls(MAX_CLAUSES)).is_empty());
    assert_eq!(codes(&calls(MAX_CLAUSES + 1)), ["segment.too_many_clauses"]);
    let clauses = |clauses: usize| vec!["a = 1"; clauses].join(" OR ");
    assert!(codes(&clauses(MAX_CLAUSES)).is_empty());
    assert_eq!(codes(&clauses(MAX_CLAUSES + 1)), ["segment.too_many_clauses"]);
    let found = codes(&"@ ".repeat(9_000));
    assert_eq!((found.len(), found.last()), (101, Some(&"segment.too_many_findings")));
}

#[test]
fn the_deepest_tree_has_a_json_form_that_is_read_back() {
    let mut query = "a = 1".to_owned();
    for level in 0..MAX_LEVELS {
        let joined = if level % 2 == 0 { "OR" } else { "AND" };
        query = format!("(b = 'x' {joined} {query})");
    }
    let parsed = parse(&query);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    assert_eq!(from_json(&to_json(&parsed.expr).unwrap()).unwrap(), parsed.expr);
}

#[test]
fn json_cannot_smuggle_in_what_the_language_refuses() {
    let clause =
        |name: &str| format!(r#"{{"kind":"attribute","name":"{name}","test":{{"is":"null","negated":false}}}}"#);
    assert!(from_json(&clause("a")).is_ok());
    for name in ["a OR b", "", "not", "a = 1 --", "'a'"] {
        assert_eq!(from_json(&clause(name)).unwrap_err().code(), "segment.json", "{name}");
    }
    for text in ["", "[]", "[\"and\"]", "[\"xor\", 1]", "{\"kind\":\"attribute\"}", "null", "\"and\""] {
        assert_eq!(from_json(text).unwrap_err().code(), "segment.json", "{text}");
    }
    let empty_list = r#"{"kind":"attribute","name":"a","test":{"is":"in","negated":false,"values":[]}}"#;
    assert!(from_json(empty_list).is_err());
    let deep = format!("{}{}{}", "[\"not\",".repeat(100), clause("a"), "]".repeat(100));
    assert_eq!(from_json(&deep).unwrap_err().code(), "segment.too_deep");
}

#[test]
fn months_and_years_clamp_to_the_last_day_of_the_month() {
    let day = |text: &str, as_of: &str| Date::parse(text).unwrap().day(as_of.parse().unwrap()).unwrap().to_string();
    assert_eq!(day("-1m", "2026-03-31"), "2026-02-28");
    assert_eq!(day("+1m", "2024-01-31"), "2024-02-29");
    assert_eq!(day("-1y", "2024-02-29"), "2023-02-28");
    assert_eq!(day("-12m", "2024-02-29"), "2023-02-28");
    assert_eq!(day("-2w", "2026-03-01"), "2026-02-15");
    assert_eq!(day("yesterday", "2026-01-01"), "2025-12-31");
}

#[test]
fn decimals_are_exact() {
    let floor = |text: &str, scale| Decimal::parse(text).unwrap().floor_at(scale).unwrap();
    assert_eq!(floor("10.995", 2), (1099, false));
    assert_eq!(floor("-10.995", 2), (-1100, false));
    assert_eq!(floor("10.99", 4), (109_900, true));
    assert_eq!(Decimal::parse("5.10").unwrap().to_string(), "5.1");
    assert_eq!(Decimal::parse("-0.050").unwrap().to_string(), "-0.05");
    assert_eq!(Decimal::parse("5.000").unwrap().to_string(), "5.0");
    assert!(Decimal::parse(&"9".repeat(38)).is_none());
}

fn decimal() -> impl Strategy<Value = Decimal> {
    "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,6}".prop_map(|text| Decimal::parse(&text).unwrap())
}

fn date() -> impl Strategy<Value = Date> {
    prop_oneof![
        Just(Date::Today),
        Just(Date::Yesterday),
        (1..1000i32, any::<bool>(), 0..4usize).prop_map(|(amount, past, unit)| {
            let unit = [Unit::Day, Unit::Week, Unit::Month, Unit::Year][unit];
            Date::Relative(if past { -amount } else { amount }, unit)
        }),
        (1..3_000_000i32).prop_map(|day| Date::Day(chrono::NaiveDate::from_num_days_from_ce_opt(day).unwrap())),
        (0..4_000_000_000i64)
            .prop_map(|at| Date::Instant(chrono::DateTime::from_timestamp(at, 0).unwrap().naive_utc())),
    ]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        any::<String>().prop_map(Literal::Text),
        "[a-zø '\\\\\n]{0,8}".prop_map(Literal::Text),
        any::<i64>().prop_map(Literal::Integer),
        decimal().prop_map(Literal::Decimal),
        date().prop_map(Literal::Date),
        any::<bool>().prop_map(Literal::Boolean),
        (decimal(), decimal()).prop_map(|(latitude, longitude)| Literal::Coordinates(latitude, longitude)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    literal().prop_map(|literal| Value { literal, at: At::default() })
}

fn name() -> impl Strategy<Value = Word> {
    "[a-z_][a-z0-9_]{0,8}(\\.[a-z][a-z0-9_-]{0,3}[a-z]){0,2}"
        .prop_filter("keywords are no names", |text| is_name(text))
        .prop_map(Word::from)
}

fn cmp() -> impl Strategy<Value = Cmp> {
    (0..6usize)
        .prop_map(|at| [Cmp::Equal, Cmp::NotEqual, Cmp::Less, Cmp::LessOrEqual, Cmp::Greater, Cmp::GreaterOrEqual][at])
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        (cmp(), value()).prop_map(|(op, value)| Test::Compare { op, value }),
        (any::<bool>(), value(), value()).prop_map(|(negated, low, high)| Test::Between { negated, low, high }),
        (any::<bool>(), prop::collection::vec(value(), 1..4))
            .prop_map(|(negated, values)| Test::In { negated, values }),
        (any::<bool>(), value()).prop_map(|(negated, value)| Test::Contains { negated, value }),
        (any::<bool>(), value()).prop_map(|(negated, value)| Test::StartsWith { negated, value }),
        any::<bool>().prop_map(|negated| Test::Null { negated }),
    ]
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let at = At::default;
    prop_oneof![
        4 => (name(), test()).prop_map(move |(name, test)| Leaf::Attribute { name, test, at: at() }),
        1 => any::<String>().prop_map(move |id| Leaf::Segment { id: id.into(), at: at() }),
        1 => (any::<String>(), cmp(), date()).prop_map(move |(attribute, op, date)| {
            let value = Value { literal: Literal::Date(date), at: at() };
            Leaf::Anniversary { attribute: attribute.into(), test: Test::Compare { op, value }, at: at() }
        }),
        2 => (name(), any::<bool>(), prop::collection::vec((name(), test()), 0..3)).prop_map(move |(name, negated, tests)| {
            let mut parameters: Vec<Parameter> = Vec::new();
            for (name, test) in tests {
                if parameters.iter().all(|earlier| earlier.name != name) {
                    parameters.push(Parameter { name, test });
                }
            }
            Leaf::Function { name, negated, parameters, at: at() }
        }),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_map(|leaf| Expr::Leaf(Box::new(leaf))).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::all),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::any),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn printing_and_reading_is_the_identity(tree in expr()) {
        let printed = tree.to_string();
        let parsed = parse(&printed);
        prop_assert!(!parsed.has_errors(), "{printed}\n{:?}", parsed.diagnostics);
        prop_assert_eq!(&parsed.expr, &tree, "{}", printed);
        let json = to_json(&tree).unwrap();
        let read = from_json(&json);
        prop_assert!(read.is_ok(), "{}: {:?}", json, read);
        prop_assert_eq!(read.unwrap(), tree);
    }

    #[test]
    fn any_text_is_read_without_a_panic_and_told_inside_it(text in any::<String>()) {
        for found in parse(&text).diagnostics {
            prop_assert!(text.get(found.span.clone()).is_some(), "{found:?}");
            let _ = found.render("query", &text, false);
        }
    }

    #[test]
    fn any_shuffle_of_tokens_is_read_without_a_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "number_of_orders", "segment", "anniversary", "f", "(", ")", ",", ":", "=", "!=", "<", ">=", "AND", "OR",
            "NOT", "BETWEEN", "IN", "CONTAINS", "STARTS", "WITH", "IS", "NULL", "MATCHES", "NOT_MATCHES", "'x'", "'",
            "\"", "-", "--", "/*", "*/", "1", "-30d", "2020-02-30", "1pm", "today", "true", "10.99", "\\", "é", "date",
        ]), 0..30),
        blank in any::<bool>(),
    ) {
        let text = parts.join(if blank { " " } else { "" });
        let parsed = parse(&text);
        for found in &parsed.diagnostics {
            prop_assert!(text.get(found.span.clone()).is_some(), "{found:?}");
        }
        if !parsed.has_errors() {
            let again = parse(&parsed.expr.to_string());
            prop_assert_eq!(again.expr, parsed.expr, "{}", text);
        }
    }
}
