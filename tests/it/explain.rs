//! Why a customer is in a segment: the verdict is the membership, and what is told is what the customer has.

use std::collections::BTreeMap;

use alluvial::config::{Environment, Overrides, Settings};
use alluvial::land;
use alluvial::segments::SAMPLES;
use alluvial::segments::compile::{Scope, Tables, standalone_sql};
use alluvial::segments::explain::{Explained, Kind, Subject, explain};
use alluvial::snapshot::reading::Reading;
use alluvial::snapshot::segments::{catalogue, definitions};
use alluvial::snapshot::setup::Project;

use crate::functions::{DAY, lines, sample};
use crate::harness::Folder;

/// Samples that nobody of the sample shop is in test the other verdict only.
fn published() -> Folder {
    let folder = sample();
    for (file, text) in SAMPLES {
        folder.write(&format!("sql/segments/{file}"), text);
    }
    folder.write(
        "sql/segments/of-a-store.toml",
        "name = \"of a store\"\ndescription = \"d\"\nstore = \"dk\"\nquery = \"segment('win-back') OR NOT orders_placed MATCHES (date >= '-90d', sum_amount > 10)\"\n",
    );
    folder.write(
        "sql/segments/near.toml",
        "name = \"near\"\ndescription = \"d\"\nquery = \"customer_within_distance MATCHES (coordinates = (55.67, 12.56), distance_km <= 60) OR segment_entered MATCHES (date >= -30d) OR email STARTS WITH 'a'\"\n",
    );
    for day in ["2026-11-10", DAY] {
        let ran = folder.run(&["run", "nightly", "--as-of", day]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    folder
}

fn clauses<'a>(part: &'a Explained, into: &mut Vec<&'a Explained>) {
    if part.parts.is_empty() {
        into.push(part);
    }
    part.parts.iter().for_each(|part| clauses(part, into));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verdict_is_the_membership() {
    let folder = published();
    let environment = Environment::of(folder.path(), []);
    let settings = Settings::load(folder.path(), &environment, &Overrides { lake: None }).unwrap();
    let project = Project::open(settings, &BTreeMap::new(), false).await.unwrap();
    let reading = Reading::open(&project).await.unwrap();
    let day = reading.day(None).unwrap().as_of;
    let present = "2026-11-19T04:00:00Z".parse().unwrap();
    let found = land::find(&project.engine.session(), &project.sources, &project.landing(day, present)).await.unwrap();
    let (catalogue, _) = catalogue(&project, &found.landed).await.unwrap();
    let segments = definitions(&project).unwrap().check(&catalogue, day).unwrap();
    let scope = Scope { zone: project.settings.project.zone, as_of: day };
    reading.with_rows(&project, present).await.unwrap();

    // Every table that some segment reads, so that a customer's rows are picked out once.
    let all: Vec<String> = segments
        .iter()
        .map(|segment| standalone_sql(&segment.rule, &segments.rules(), scope, &Tables::default()).unwrap())
        .map(|sql| format!("({})", sql.split("\nORDER BY").next().unwrap()))
        .collect();
    let all = all.join(" UNION ALL ");
    let customers = reading
        .texts("SELECT customer_id FROM (SELECT customer_id, row_number() OVER (ORDER BY customer_id) AS n FROM customer_profile_latest) WHERE n % 20 = 3 ORDER BY customer_id LIMIT 20")
        .await
        .unwrap();
    assert_eq!(customers.len(), 20);
    let mut verdicts = BTreeMap::new();
    for customer in &customers {
        let tables = reading.of_customer(customer, &all).await.unwrap();
        let of = reading
            .texts(&format!("SELECT segment FROM segment_members_latest WHERE customer_id = '{customer}'"))
            .await
            .unwrap();
        for segment in segments.iter() {
            let definition = &segment.definition;
            let subject =
                Subject { expr: &definition.query.expr, rule: &segment.rule, store: definition.store.as_deref() };
            let told = explain(&reading.session, subject, &segments, &catalogue, scope, &tables).await.unwrap();
            assert_eq!(told.holds, of.contains(&definition.id), "{customer} {}: {told:#?}", definition.id);
            let sentence = told.sentence(customer, &definition.id, day);
            assert!(sentence.contains(if told.holds { " is in " } else { " is not in " }), "{sentence}");
            let mut leaves = Vec::new();
            clauses(&told, &mut leaves);
            assert!(leaves.iter().all(|leaf| leaf.value.is_some() || leaf.kind == Kind::Segment), "{told:#?}");
            *verdicts.entry(told.holds).or_insert(0) += 1;
        }
    }
    assert!(verdicts[&true] > 50 && verdicts[&false] > 50, "{verdicts:?}");
}

#[test]
fn a_customer_is_explained_in_words_and_as_json() {
    let folder = published();
    let csv = |sql: &str| folder.run(&["query", sql, "--format", "csv"]).stdout;
    let member = csv("SELECT min(customer_id) FROM segment_members_latest WHERE segment = 'win-back'");
    let member = lines(&member)[0].to_owned();
    let text = folder.run(&["segment", "explain", "win-back", &member]);
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "{}", text.stdout);
    for word in
        ["holds  clause", "yes    all of", "lifecycle_stage IN ('dormant', 'churned')", "no         segment('vip')"]
    {
        assert!(text.stdout.contains(word), "{word}\n{}", text.stdout);
    }
    let sentence = text.stdout.trim_end().lines().last().unwrap();
    assert!(
        sentence.starts_with(&format!("{member} is in `win-back` as of {DAY}, because `lifecycle_stage")),
        "{sentence}"
    );
    assert!(sentence.contains("`segment('vip')` does not hold"), "{sentence}");

    let query = "orders_placed MATCHES (date >= -12m, sum_amount >= 1) AND last_order_date < today";
    let json = folder.run(&["segment", "explain", &member, "--query", query, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let orders = csv(&format!(
        "SELECT count(*) AS n, sum(total) AS amount FROM orders WHERE is_counted AND customer_id = '{member}' AND ordered_on >= DATE '2025-11-18'"
    ));
    let function = &json["clauses"]["parts"][0];
    let told =
        format!("{},{}", function["rows"], function["totals"]["sum_amount"].as_str().unwrap().trim_end_matches("00"));
    assert_eq!(told, lines(&orders)[0].trim_end_matches("00"), "{json:#}");
    assert_eq!(function["means"], "orders_placed MATCHES (date >= 2025-11-18, sum_amount >= 1)");
    assert_eq!(json["member"], function["holds"]);

    let nobody = folder.run(&["segment", "explain", "vip", "nobody"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("customer.not_found"), "{}", nobody.stderr);
    let log = folder.run(&["segment", "explain", &member, "--query", "email STARTS WITH 'zz'", "-v", "-v"]);
    assert!(
        log.stdout.contains('@') && !log.stderr.contains('@'),
        "addresses are a result, and nothing else: {}",
        log.stderr
    );
}

#[test]
fn show_gives_the_tree() {
    let folder = published();
    let shown = folder.run(&["segment", "show", "potential-converters", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let read = alluvial::segments::syntax::from_json(&shown["tree"].to_string()).unwrap();
    assert_eq!(read.to_string(), shown["canonical"].as_str().unwrap());
}
