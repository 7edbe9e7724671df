use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::segments::shop::{members, members_of, rule, scope};

fn where_clause(query: &str, zone: &str, as_of: &str) -> String {
    let sql = standalone_sql(&rule(query, &[]), &BTreeMap::new(), scope(zone, as_of), &Tables::default()).unwrap();
    sql.lines().find_map(|line| line.strip_prefix("WHERE ")).unwrap().to_owned()
}

#[test]
fn days_have_23_24_or_25_hours_and_begin_where_the_zone_says() {
    let bounds = |zone, day: &str| {
        let sql = where_clause(&format!("last_order_date = {day}"), zone, "2026-11-19");
        sql.split('\'').filter(|part| part.ends_with('Z')).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(bounds("Europe/Copenhagen", "2026-03-29"), "2026-03-28T23:00:00Z 2026-03-29T22:00:00Z");
    assert_eq!(bounds("Europe/Copenhagen", "2026-10-25"), "2026-10-24T22:00:00Z 2026-10-25T23:00:00Z");
    assert_eq!(bounds("America/New_York", "2020-05-30"), "2020-05-30T04:00:00Z 2020-05-31T04:00:00Z");
    // Midnight does not exist on that day in São Paulo.
    assert_eq!(bounds("America/Sao_Paulo", "2018-11-04"), "2018-11-04T03:00:00Z 2018-11-05T02:00:00Z");
}

#[test]
fn shopifys_own_equivalent_of_a_day_holds() {
    let instants = where_clause(
        "last_order_date >= 2020-05-30T04:00:00 AND last_order_date < 2020-05-31T04:00:00",
        "UTC",
        "2026-11-19",
    );
    let day = where_clause("last_order_date = 2020-05-30", "America/New_York", "2026-11-19");
    assert_eq!(format!("({instants})"), day);
}

#[test]
fn today_is_the_as_of_date_and_months_clamp() {
    assert_eq!(where_clause("birthday = -1m", "UTC", "2026-03-31"), "p.birthday = DATE '2026-02-28'");
    assert_eq!(where_clause("birthday = -12m", "UTC", "2024-02-29"), "p.birthday = DATE '2023-02-28'");
    assert_eq!(where_clause("birthday <= today", "UTC", "2024-02-29"), "p.birthday <= DATE '2024-02-29'");
}

#[tokio::test]
async fn text_enters_sql_only_as_text() {
    let odd = "' OR TRUE -- \u{202e} $as_of {} %_ \" \\ \u{0} ; \n 'æ' 🦊";
    for attribute in
        ["city =", "city CONTAINS", "city STARTS WITH", "tags CONTAINS", "customer_cities CONTAINS", "email ="]
    {
        let query = format!("{attribute} {}", crate::segments::syntax::quoted(odd));
        assert_eq!(members(&query).await, "", "{query}");
    }
}

/// Deeper than SQL parsers go, on the small stack of a test's thread.
#[tokio::test]
async fn the_deepest_query_runs() {
    let mut query = "country = 'DK'".to_owned();
    for level in 0..64 {
        query = match level % 2 {
            0 => format!("(country = 'SE' OR {query})"),
            _ => format!("(number_of_orders >= 0 AND {query})"),
        };
    }
    assert_eq!(members(&query).await, "ade");
    assert_eq!(members(&format!("{}country = 'DK'", "NOT ".repeat(64))).await, "ae");
    let mut nots = "country = 'DK'".to_owned();
    for _ in 0..31 {
        nots = format!("NOT (country = 'SE' OR {nots})");
    }
    assert_eq!(members(&nots).await, "bcfg");
}

#[tokio::test]
async fn a_thousand_clauses_run() {
    let mut query = String::new();
    for clause in 0..1000 {
        let joined = if clause == 0 { "" } else { " AND " };
        let _ = write!(query, "{joined}points!={clause}");
    }
    assert_eq!(members(&query).await, "ade");
    let query = query.replace("!=", "=").replace(" AND ", " OR ");
    assert_eq!(members(&query).await, "bf");
    let days: Vec<String> = (0..500).map(|day| format!("-{}d", day + 20)).collect();
    assert_eq!(members(&format!("last_order_date IN ({})", days.join(", "))).await, "def");
}

/// Each refers to the two before it, twice: written out, that would be 4³⁰ clauses.
#[tokio::test]
async fn references_do_not_multiply() {
    let ids: Vec<String> = (0..32).map(|number| format!("s{number}")).collect();
    let mut queries = vec!["country = 'DK'".to_owned(), "number_of_orders >= 2".to_owned()];
    for number in 2..32 {
        let (one, two) = (number - 1, number - 2);
        queries.push(format!(
            "(segment('s{one}') AND segment('s{two}')) OR (NOT segment('s{one}') AND NOT segment('s{two}'))"
        ));
    }
    let pairs: Vec<(&str, &str)> = ids.iter().map(String::as_str).zip(queries.iter().map(String::as_str)).collect();
    let mut truths: Vec<(bool, bool)> =
        vec![(true, false), (false, false), (false, true), (false, true), (true, true), (false, true), (false, false)];
    for _ in 2..32 {
        truths.iter_mut().for_each(|(two, one)| (*two, *one) = (*one, *one == *two));
    }
    let expected: String =
        "abcdefg".chars().zip(&truths).filter(|(_, (_, last))| *last).map(|(customer, _)| customer).collect();
    assert_eq!(members_of(&pairs, scope("Europe/Copenhagen", "2026-11-19")).await, expected);
}

#[test]
fn the_shared_statement_names_the_columns_that_it_reads() {
    let (one, two) =
        (rule("email IS NOT NULL AND customer_cities CONTAINS 'x'", &[]), rule("segment('one')", &["one"]));
    let members = [Member { id: "one", rule: &one, goal: None }, Member { id: "two", rule: &two, goal: Some(&one) }];
    let shared = shared(&members, scope("UTC", "2026-11-19"), &Tables::of_the_night()).unwrap();
    let names = |columns: &BTreeSet<String>| columns.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&shared.profile_columns), "city country region");
    assert_eq!(names(&shared.contact_columns), "email");
    let outputs: Vec<(&str, bool)> =
        shared.outputs.iter().map(|output| (output.segment.as_str(), output.goal)).collect();
    assert_eq!(outputs, [("one", false), ("two", false), ("two", true)]);
}

#[test]
fn a_reference_that_is_not_given_is_an_error() {
    let rule = rule("segment('vip')", &["vip"]);
    let tables = Tables::default();
    let error = standalone_sql(&rule, &BTreeMap::new(), scope("UTC", "2026-11-19"), &tables).unwrap_err();
    assert_eq!(error.code(), "segment.unknown_segment");
    let circle = [("vip".to_owned(), &rule)].into();
    let error = standalone_sql(&rule, &circle, scope("UTC", "2026-11-19"), &tables).unwrap_err();
    assert_eq!(error.code(), "segment.cycle");
}

#[tokio::test]
async fn nothing_is_true_of_a_missing_value() {
    for attribute in ["average_order_amount", "p_alive", "points"] {
        for test in ["= 1", "!= 1", "< 1", "<= 1", "> 1", ">= 1", "BETWEEN -1000 AND 10000", "IN (1, 2)"] {
            let found = members(&format!("{attribute} {test}")).await;
            assert!(!found.contains('g'), "{attribute} {test}: {found}");
            let complement = members(&format!("NOT {attribute} {test}")).await;
            assert_eq!(found.len() + complement.len(), 7, "{attribute} {test}: {found} and {complement}");
        }
    }
}

/// Clauses with their members, as the corpus has them one by one.
const CLAUSES: [(&str, &str); 9] = [
    ("number_of_orders >= 2", "cdef"),
    ("average_order_amount > 50", "ef"),
    ("last_order_date != 2026-03-29", "bcf"),
    ("customer_tags NOT CONTAINS 'vip'", "bcdefg"),
    ("country = 'DK'", "ae"),
    ("vip != true", "bef"),
    ("email IS NOT NULL", "acf"),
    ("anniversary('birthday') NOT BETWEEN today AND +60d", "bdfg"),
    ("segment('vip')", "e"),
];

fn letters(set: &BTreeSet<char>) -> String {
    set.iter().collect()
}

fn combined() -> impl Strategy<Value = (String, BTreeSet<char>)> {
    let leaf =
        prop::sample::select(CLAUSES.to_vec()).prop_map(|(query, set)| (query.to_owned(), set.chars().collect()));
    leaf.prop_recursive(4, 16, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            inner.prop_map(|(query, set): (String, BTreeSet<char>)| {
                (format!("NOT ({query})"), "abcdefg".chars().filter(|customer| !set.contains(customer)).collect())
            }),
            several.clone().prop_map(|parts| {
                let texts: Vec<String> = parts.iter().map(|(query, _)| format!("({query})")).collect();
                let all = "abcdefg".chars().filter(|customer| parts.iter().all(|(_, set)| set.contains(customer)));
                (texts.join(" AND "), all.collect())
            }),
            several.prop_map(|parts| {
                let texts: Vec<String> = parts.iter().map(|(query, _)| format!("({query})")).collect();
                let any = "abcdefg".chars().filter(|customer| parts.iter().any(|(_, set)| set.contains(customer)));
                (texts.join(" OR "), any.collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn connectives_are_those_of_sets((query, set) in combined()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let vip = ("vip", "amount_spent > 5000");
        let found = runtime.block_on(members_of(&[vip, ("it", &query)], scope("Europe/Copenhagen", "2026-11-19")));
        prop_assert_eq!(found, letters(&set), "{}", query);
    }
}
