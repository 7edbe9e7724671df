use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, take_record_batch};
use proptest::prelude::*;

use super::shop::{Buyer, Day, Shop, buyer, collect, day, day_with, one, open, table};
use crate::config::LifecycleSettings;
use crate::engine::Statement;
use crate::lifecycle::classifier::{OrderValue, Tier};
use crate::lifecycle::model::{History, OrderValueParameters, Parameters, Variant};
use crate::lifecycle::report::{report, sizes};
use crate::lifecycle::statements::built_in;
use crate::lifecycle::{Classifier, columns, score};

const STAGES: [&str; 6] = ["loyal", "high_potential", "nurture_needed", "dormant", "churned", "prospect"];

/// One customer for every rule, and prospects of both kinds.
fn shop() -> Shop {
    let mut shop = Shop::of(vec![
        buyer("loyal", 8, 300, 5, 80_000),
        buyer("fresh-rich", 1, 2, 2, 90_000),
        buyer("fresh-middle", 1, 3, 3, 3_000),
        buyer("fresh-poor", 1, 4, 4, 1_000),
        buyer("quiet", 1, 200, 200, 3_000),
        buyer("quiet-rich", 4, 400, 250, 900_000),
        buyer("year", 1, 364, 364, 2_000),
        buyer("lost", 5, 900, 500, 5_000),
        buyer("ancient", 1, 1500, 1500, 5_000),
    ]);
    shop.refunded = vec!["refunded".to_owned()];
    shop.prospects = vec!["visitor".to_owned()];
    shop
}

#[tokio::test]
async fn the_first_rule_that_matches_gives_the_stage_and_its_reason() {
    let day = day(&shop(), None).await;
    for (id, stage, reason) in [
        ("ancient", "churned", "chance_below_new_buyer"),
        ("fresh-middle", "nurture_needed", "value_below_cut"),
        ("fresh-poor", "nurture_needed", "value_below_cut"),
        ("fresh-rich", "high_potential", "value_above_cut"),
        ("lost", "churned", "chance_below_new_buyer"),
        ("loyal", "loyal", "frequent_and_active"),
        ("quiet", "dormant", "vitality_low"),
        ("quiet-rich", "dormant", "vitality_low"),
        ("refunded", "prospect", "all_refunded"),
        ("visitor", "prospect", "no_order"),
        // Far below a new buyer, but the benchmark calls nobody churned within a year.
        ("year", "dormant", "churn_needs_longer_silence"),
    ] {
        assert_eq!((day.stage(id), day.reason(id)), (stage, reason), "{id}: {}", day.sentence(day.row(id)));
    }
    assert_eq!(day.rows.num_rows(), 11);
    let cant_lose: Vec<_> =
        (0..11).filter(|row| day.flag("cant_lose", *row)).map(|row| day.text("customer_id", row).unwrap()).collect();
    assert_eq!(cant_lose, ["quiet-rich"]);
}

#[tokio::test]
async fn every_number_is_in_its_bounds_and_prospects_have_none() {
    let day = day(&shop(), None).await;
    for row in 0..day.rows.num_rows() {
        let prospect = day.text("stage", row) == Some("prospect");
        for name in ["p_order_90d", "p_order_365d", "vitality", "churn_risk"] {
            let p = day.double(name, row);
            assert_eq!(p.is_none(), prospect, "{name}");
            assert!(p.is_none_or(|p| (0.0..=1.0).contains(&p)), "{name} is {p:?}");
        }
        for name in ["expected_orders", "predicted_value"] {
            assert_eq!(day.double(name, row).is_none(), prospect);
            assert!(day.double(name, row).is_none_or(|v| v.is_finite() && v >= 0.0));
        }
        assert_eq!(day.text("predicted_spend_tier", row).is_none(), prospect);
        assert_eq!(day.count("days_since_last_order", row).is_none(), prospect);
        assert_eq!(day.count("order_days", row) == Some(0), prospect);
        // The benchmark's dropout is the prior's, not the shop's.
        assert_eq!(day.double("p_alive", row), None);
        assert_eq!(day.text("confidence", row), Some("benchmark"));
        assert_eq!(day.text("model", row), Some("benchmark"));
        let lapsed = matches!(day.text("stage", row), Some("dormant" | "churned"));
        let next = day.date("predicted_next_order_date", row);
        assert_eq!(next.is_none(), prospect || lapsed);
        assert!(next.is_none_or(|next| next > shop().as_of));
    }
    let row = day.row("loyal");
    let model = Parameters::BENCHMARK;
    let history = History::new(7.0, 295.0, 300.0).unwrap();
    assert_eq!(day.double("p_order_90d", row), Some(model.p_order(&history, 90.0)));
    assert_eq!(day.double("p_order_365d", row), Some(model.p_order(&history, 365.0)));
    assert_eq!(day.double("expected_orders", row), Some(model.expected_orders(&history, 365.0)));
    assert_eq!(day.explained("silence_probability", row), Some(model.silence(&history)));
    let vitality = model.p_order(&history, 90.0) / model.p_order(&history.at_last_order(), 90.0);
    assert_eq!(day.double("vitality", row), Some(vitality));
    let mean = day.scored.population.mean_order_value.unwrap();
    let value = (800.0 + 2.0 * mean) / 10.0;
    assert_eq!(day.explained("order_value", row), Some(value));
    let predicted = day.double("predicted_value", row).unwrap();
    assert!((predicted - value * model.expected_orders(&history, 365.0)).abs() < 1e-9 * predicted);
}

#[tokio::test]
async fn the_shop_is_counted_and_its_mean_is_exact() {
    let day = day(&shop(), None).await;
    let population = &day.scored.population;
    assert_eq!((population.buyers, population.repeat_buyers, population.order_days), (9, 3, 23));
    assert_eq!(population.mean_order_value, Some(10_890.0 / 23.0));
    assert_eq!(population.history_days(shop().as_of), 1501);
    assert!(!population.is_provisional(shop().as_of));
    let young = day_with(&Shop::of(vec![buyer("a", 1, 178, 178, 1_000)]), None, &Classifier::benchmark()).await;
    assert!(young.scored.population.is_provisional(shop().as_of));
    let row = day.scored.health_row(shop().as_of, None).unwrap();
    let wanted = crate::schema::published::named("lifecycle_health").unwrap().columns;
    let names = |fields: &[std::sync::Arc<arrow::datatypes::Field>]| {
        fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(row.schema().fields()), wanted.iter().map(|field| field.name().clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_sentence_says_what_decided() {
    let day = day(&shop(), None).await;
    let sentence = |id: &str| day.sentence(day.row(id));
    insta::assert_snapshot!(
        STAGES_SHOWN.map(|id| format!("{id}: {}", sentence(id))).join("\n"),
        @r"
        loyal: 8 orders, silent 5 days: the chance of an order in 90 days is 76%, down from 77% at the last order (vitality 0.98 ≥ 0.50); at least 3 orders and a chance of 92% ≥ 70% of one in 365 days
        fresh-rich: 1 order, silent 2 days: the chance of an order in 90 days is 33%, down from 34% at the last order (vitality 0.97 ≥ 0.50); predicted value 1126.30 in 365 days ≥ 1126.30
        fresh-poor: 1 order, silent 4 days: the chance of an order in 90 days is 32%, down from 34% at the last order (vitality 0.95 ≥ 0.50); predicted value 566.57 in 365 days < 1126.30
        quiet: 1 order, silent 200 days: the chance of an order in 90 days is 9%, down from 34% at the last order (vitality 0.26 < 0.50)
        quiet-rich: 4 orders, silent 250 days: the chance of an order in 90 days is 14%, down from 65% at the last order (vitality 0.21 < 0.50)
        lost: 5 orders, silent 500 days: the chance of an order in 90 days is 8%, down from 51% at the last order (vitality 0.15 < 0.50); 0.22 of the chance of a new buyer < 0.25
        refunded: every order was refunded in full
        visitor: no counted order yet
        "
    );
}

const STAGES_SHOWN: [&str; 8] =
    ["loyal", "fresh-rich", "fresh-poor", "quiet", "quiet-rich", "lost", "refunded", "visitor"];

#[tokio::test]
async fn terciles_put_equal_values_together() {
    // Two pairs of equals and a fifth: percent ranks 0, 0, .5, .5, 1.
    let shop = Shop::of(vec![
        buyer("a", 1, 10, 10, 1_000),
        buyer("b", 1, 10, 10, 1_000),
        buyer("c", 1, 10, 10, 2_000),
        buyer("d", 1, 10, 10, 2_000),
        buyer("e", 1, 10, 10, 9_000),
    ]);
    let day = day(&shop, None).await;
    let tiers: Vec<_> = (0..5).map(|row| day.text("predicted_spend_tier", row).unwrap()).collect();
    assert_eq!(tiers, ["low", "low", "medium", "medium", "high"]);
    let alone = super::shop::day(&Shop::of(vec![buyer("a", 1, 10, 10, 1_000)]), None).await;
    assert_eq!(alone.text("predicted_spend_tier", 0), Some("low"));
}

#[tokio::test]
async fn an_empty_shop_and_a_shop_without_orders_are_no_fault() {
    let mut empty = Shop::of(Vec::new());
    assert_eq!(day(&empty, None).await.rows.num_rows(), 0);
    empty.prospects = vec!["a".to_owned(), "b".to_owned()];
    let day = day(&empty, None).await;
    assert_eq!(day.moves(), [("new".to_owned(), "prospect".to_owned(), 2)]);
    assert_eq!(day.scored.population.mean_order_value, None);
    day.scored.health_row(empty.as_of, None).unwrap();
}

#[tokio::test]
async fn stages_since_and_transitions_follow_the_published_days() {
    let mut shop = shop();
    let first = day(&shop, None).await;
    let row = first.row("quiet");
    assert_eq!(first.text("previous_stage", row), None);
    assert_eq!(first.date("stage_since", row), Some(shop.as_of));
    assert_eq!(
        first.moves().iter().map(|(from, _, n)| (from.as_str(), *n)).fold(0, |sum, (from, n)| {
            assert_eq!(from, "new");
            sum + n
        }),
        11
    );

    let day_one = shop.as_of;
    shop = shop.later(1);
    shop.buyers.retain(|buyer| buyer.id != "ancient");
    shop.prospects.push("newcomer".to_owned());
    let quiet = shop.buyers.iter_mut().find(|buyer| buyer.id == "quiet").unwrap();
    (quiet.order_days, quiet.last, quiet.cents) = (2, 0, 6_000);
    let second = day(&shop, Some(&first)).await;
    let row = second.row("quiet");
    assert_ne!(second.stage("quiet"), "dormant");
    assert_eq!(second.text("previous_stage", row), Some("dormant"));
    assert_eq!(second.text("stage_before", row), Some("dormant"));
    assert_eq!(second.date("stage_since", row), Some(shop.as_of));
    let row = second.row("lost");
    assert_eq!(second.text("previous_stage", row), Some("churned"));
    assert_eq!(second.text("stage_before", row), None);
    assert_eq!(second.date("stage_since", row), Some(day_one));
    let moves = second.moves();
    assert!(moves.contains(&("new".to_owned(), "prospect".to_owned(), 1)));
    assert!(moves.contains(&("churned".to_owned(), "gone".to_owned(), 1)));
    assert!(moves.contains(&("churned".to_owned(), "churned".to_owned(), 1)));
    let present: i64 = moves.iter().filter(|(_, to, _)| to != "gone").map(|(_, _, n)| n).sum();
    assert_eq!(usize::try_from(present).unwrap(), second.rows.num_rows());

    let third = day(&shop.later(1), Some(&second)).await;
    let row = third.row("quiet");
    assert_eq!(third.date("stage_since", row), Some(shop.as_of));
    assert_eq!(third.text("stage_before", row), Some("dormant"));
    assert_eq!(third.text("previous_stage", row), third.text("stage", row));
}

#[tokio::test]
async fn the_report_adds_up() {
    let shop = shop();
    let today = day(&shop, None).await;
    let ctx = open(&shop, None);
    table(&ctx, "lifecycle_today", columns::lifecycle(), vec![vec![today.rows.clone()]]);
    let batches = sizes(&ctx, &built_in).await.unwrap().collect().await.unwrap();
    let report = report(&[one(batches, &columns::sizes())], &[today.transitions]).unwrap();
    assert_eq!((report.customers, report.buyers), (11, 9));
    assert_eq!(report.stages.iter().map(|size| size.spend_cents).sum::<i128>(), 1_089_000);
    assert_eq!(report.stages.iter().map(|size| size.entered).sum::<i64>(), 11);
    assert_eq!(report.stages[3].cant_lose, 1);
}

/// A buyer whose vitality is where `wanted` says, as the silence grows.
fn silence_at(order_days: i64, recency: i64, wanted: impl Fn(f64) -> bool) -> i64 {
    let model = Parameters::BENCHMARK;
    let vitality = |silence: i64| {
        let history = History::new((order_days - 1) as f64, recency as f64, (recency + silence) as f64).unwrap();
        model.p_order(&history, 90.0) / model.p_order(&history.at_last_order(), 90.0)
    };
    (0..1000).find(|silence| wanted(vitality(*silence))).unwrap()
}

#[tokio::test]
async fn without_an_order_a_stage_holds_until_past_the_dead_band() {
    // A buyer of one order, silent until the vitality is just below .50: not yet below .48.
    let silence = silence_at(1, 0, |vitality| vitality < 0.5);
    let yesterday = Shop::of(vec![buyer("a", 1, silence - 1, silence - 1, 1_000)]);
    let first = day(&yesterday, None).await;
    assert_eq!(first.stage("a"), "high_potential");
    let today = yesterday.later(1);
    assert_eq!(day(&today, None).await.stage("a"), "dormant");
    let held = day(&today, Some(&first)).await;
    assert_eq!(held.stage("a"), "high_potential");
    assert_eq!(held.explained("vitality_threshold", 0), Some(0.48));
    let past = silence_at(1, 0, |vitality| vitality < 0.48);
    let lapsed = day(&yesterday.later(past - silence + 1), Some(&held)).await;
    assert_eq!(lapsed.stage("a"), "dormant");
    assert_eq!(lapsed.explained("vitality_threshold", 0), Some(0.48));

    // Back to a day with a vitality between .50 and .55: still lapsed, unless there was a refund.
    let silence = silence_at(1, 0, |vitality| vitality < 0.53);
    let mut better = Shop { as_of: today.as_of, ..Shop::of(vec![buyer("a", 1, silence, silence, 1_000)]) };
    let mut before = lapsed;
    before.rows = with_first_order(&before.rows, &better).await;
    assert_eq!(day(&better, None).await.stage("a"), "high_potential");
    assert_eq!(day(&better, Some(&before)).await.stage("a"), "dormant");
    better.buyers[0].cents = 900;
    assert_eq!(day(&better, Some(&before)).await.stage("a"), "high_potential");
}

/// Yesterday's rows with the facts of `shop`, as if only the model's parameters had changed since.
async fn with_first_order(rows: &RecordBatch, shop: &Shop) -> RecordBatch {
    let facts = day(shop, None).await.rows;
    let schema = rows.schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        name @ ("first_order_on" | "last_order_on") => facts.column_by_name(name).unwrap().clone(),
        name => rows.column_by_name(name).unwrap().clone(),
    });
    RecordBatch::try_new(rows.schema(), columns.collect()).unwrap()
}

/// The benchmark's parameters as if they were a fit, so that the year's wait before churned does not apply.
fn fitted() -> Classifier {
    Classifier { name: "test".to_owned(), tier: Tier::Full, dropout_identified: true, ..Classifier::benchmark() }
}

/// Yesterday's stage of one buyer, and what today makes of the same facts.
async fn after(shop: &Shop, stage: &str, classifier: &Classifier) -> String {
    let today = day_with(shop, None, classifier).await;
    let stages = arrow::array::StringViewArray::from(vec![stage; today.rows.num_rows()]);
    let mut columns = today.rows.columns().to_vec();
    columns[1] = std::sync::Arc::new(stages);
    let rows = RecordBatch::try_new(today.rows.schema(), columns).unwrap();
    let yesterday = Day { rows, ..today };
    day_with(shop, Some(&yesterday), classifier).await.stage("a").to_owned()
}

#[tokio::test]
async fn the_bands_of_churned_loyal_and_the_value_cut() {
    // Churned: a relative chance between .24 and .25 keeps the dormant, one between .25 and .30 the churned.
    let model = Parameters::BENCHMARK;
    let relative = |silence: f64| {
        let history = History::new(0.0, 0.0, silence).unwrap();
        model.p_order(&history, 90.0) / model.p_order(&History::NEW, 90.0)
    };
    let at = |wanted: f64| (0..1000).find(|days| relative(f64::from(*days)) < wanted).map(i64::from).unwrap();
    let below = Shop::of(vec![buyer("a", 1, at(0.249), at(0.249), 1_000)]);
    assert!((0.24..0.25).contains(&relative(at(0.249) as f64)));
    assert_eq!(after(&below, "prospect", &fitted()).await, "churned");
    assert_eq!(after(&below, "dormant", &fitted()).await, "dormant");
    let above = Shop::of(vec![buyer("a", 1, at(0.28), at(0.28), 1_000)]);
    assert!((0.25..0.30).contains(&relative(at(0.28) as f64)));
    assert_eq!(after(&above, "prospect", &fitted()).await, "dormant");
    assert_eq!(after(&above, "churned", &fitted()).await, "churned");

    // Loyal: p365 within .03 of .70 keeps what was.
    let p365 = |silence: f64| model.p_order(&History::new(2.0, 100.0, 100.0 + silence).unwrap(), 365.0);
    let near = |low: f64, high: f64| (0..200).find(|days| (low..high).contains(&p365(f64::from(*days)))).unwrap();
    let under = i64::from(near(0.675, 0.695));
    let under = Shop::of(vec![buyer("a", 3, 100 + under, under, 1_000)]);
    assert_eq!(after(&under, "prospect", &fitted()).await, "high_potential");
    assert_eq!(after(&under, "loyal", &fitted()).await, "loyal");
    let over = i64::from(near(0.705, 0.725));
    let over = Shop::of(vec![buyer("a", 3, 100 + over, over, 1_000)]);
    assert_eq!(after(&over, "prospect", &fitted()).await, "loyal");
    assert_eq!(after(&over, "nurture_needed", &fitted()).await, "nurture_needed");

    // The value cut, frozen near the one buyer's value: ± 10%.
    let one = Shop::of(vec![buyer("a", 1, 5, 5, 1_000)]);
    let value = day(&one, None).await.double("predicted_value", 0).unwrap();
    let cut = |factor: f64| Classifier { value_cut: Some(value * factor), ..fitted() };
    assert_eq!(after(&one, "prospect", &cut(1.05)).await, "nurture_needed");
    assert_eq!(after(&one, "high_potential", &cut(1.05)).await, "high_potential");
    assert_eq!(after(&one, "high_potential", &cut(1.2)).await, "nurture_needed");
    assert_eq!(after(&one, "prospect", &cut(0.95)).await, "high_potential");
    assert_eq!(after(&one, "nurture_needed", &cut(0.95)).await, "nurture_needed");
    assert_eq!(after(&one, "nurture_needed", &cut(0.9)).await, "high_potential");
}

#[tokio::test]
async fn sixty_silent_days_never_flap() {
    let mut shop = Shop::of(
        (0..60).map(|n| buyer(&format!("c{n:02}"), 1 + n % 5, 40 + 6 * n, 40 + n, 500 * (1 + i128::from(n)))).collect(),
    );
    let mut before = day(&shop, None).await;
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..10 {
        shop = shop.later(6);
        before = day(&shop, Some(&before)).await;
        for row in 0..before.rows.num_rows() {
            let stages = seen.entry(before.text("customer_id", row).unwrap().to_owned()).or_default();
            let stage = before.text("stage", row).unwrap();
            if stages.last().is_none_or(|last| last != stage) {
                stages.push(stage.to_owned());
            }
        }
    }
    for (id, stages) in seen {
        let mut unique = stages.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), stages.len(), "{id} went {stages:?}");
    }
}

#[tokio::test]
async fn a_label_that_failed_its_audit_is_not_given() {
    let suspended = Classifier { churn_label_suspended: true, ..Classifier::benchmark() };
    let day = day_with(&shop(), None, &suspended).await;
    assert_eq!((day.stage("lost"), day.reason("lost")), ("dormant", "churn_label_failed_audit"));
}

#[tokio::test]
async fn an_improbable_silence_lapses_only_where_dropout_is_not_identified() {
    // Next to no dropout: vitality stays high, but nobody who bought weekly is silent for months.
    let parameters = Parameters::new(Variant::Mbg, 40.0, 600.0, 1e-6, 30.0).unwrap();
    let shop = Shop::of(vec![buyer("a", 30, 500, 80, 1_000)]);
    let unidentified = Classifier { parameters, dropout_identified: false, ..fitted() };
    let day = day_with(&shop, None, &unidentified).await;
    assert_eq!((day.stage("a"), day.reason("a")), ("dormant", "silence_improbable"));
    let identified = Classifier { dropout_identified: true, ..unidentified };
    let day = day_with(&shop, None, &identified).await;
    assert_eq!(day.stage("a"), "loyal");
    assert!(day.double("p_alive", 0).is_some());
}

#[tokio::test]
async fn a_project_may_write_a_statement_itself_but_not_its_columns() {
    let shop = shop();
    let ctx = open(&shop, None);
    let settings = LifecycleSettings::default();
    let mine = |statement: &Statement| {
        let Statement { name, text } = *statement;
        Ok(if name == "lifecycle/stage" { text.replace("'nurture_needed'", "'warming_up'") } else { text.to_owned() })
    };
    let scored = score(&ctx, shop.as_of, &settings, &Classifier::benchmark(), &mine).await.unwrap();
    let rows = one(scored.rows.collect().await.unwrap(), &columns::lifecycle());
    let text = arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string();
    assert!(text.contains("warming_up"));

    let lacking = |statement: &Statement| {
        let Statement { name, text } = *statement;
        Ok(if name == "lifecycle/stage" { text.replace("AS churn_risk", "AS churn") } else { text.to_owned() })
    };
    let error = score(&ctx, shop.as_of, &settings, &Classifier::benchmark(), &lacking).await.unwrap_err();
    assert_eq!((error.code(), error.place().file.as_deref()), ("lifecycle.columns", Some("sql/lifecycle/stage.sql")));
    let broken = |_: &Statement| Ok("SELEC".to_owned());
    let error = score(&ctx, shop.as_of, &settings, &Classifier::benchmark(), &broken).await.unwrap_err();
    assert_eq!(error.place().file.as_deref(), Some("sql/lifecycle/population.sql"));
}

#[tokio::test]
async fn bg_parameters_are_refused() {
    let parameters = Parameters::new(Variant::Bg, 0.2, 4.0, 0.8, 2.4).unwrap();
    let bg = Classifier { parameters, ..Classifier::benchmark() };
    let shop = shop();
    let error = score(&open(&shop, None), shop.as_of, &LifecycleSettings::default(), &bg, &built_in).await.unwrap_err();
    assert_eq!(error.code(), "lifecycle.variant");
}

#[tokio::test]
async fn order_values_of_a_fit_are_gamma_gamma() {
    let fit = OrderValueParameters::new(6.25, 3.74, 15.44).unwrap();
    let classifier = Classifier { order_value: OrderValue::GammaGamma(fit), ..fitted() };
    let day = day_with(&shop(), None, &classifier).await;
    assert_eq!(day.explained("order_value", day.row("loyal")), Some(fit.order_value(8.0, 100.0)));
}

fn buyers() -> impl Strategy<Value = Vec<Buyer>> {
    let one = (1i64..30, 0i64..1200, 0i64..1200, 0i128..500_000);
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let buyer_of = |(n, (order_days, one, other, cents)): (usize, (i64, i64, i64, i128))| {
            let (first, last) = if order_days == 1 { (one, one) } else { (one.max(other), one.min(other)) };
            buyer(&format!("c{n:03}"), order_days.min(first - last + 1), first, last, cents)
        };
        all.into_iter().enumerate().map(buyer_of).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, ..ProptestConfig::default() })]

    #[test]
    fn stages_partition_the_customers_whatever_the_order_of_rows(buyers in buyers(), seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut shop = Shop::of(buyers);
            shop.refunded = vec!["refunded".to_owned()];
            shop.prospects = vec!["visitor".to_owned()];
            let straight = day(&shop, None).await;
            assert_eq!(straight.rows.num_rows(), shop.buyers.len() + 2);
            for row in 0..straight.rows.num_rows() {
                assert!(STAGES.contains(&straight.text("stage", row).unwrap()));
                assert!(row == 0 || straight.text("customer_id", row - 1) < straight.text("customer_id", row));
            }
            let ctx = open(&shop, None);
            for (name, batch) in [("profile", shop.profile()), ("buyers", shop.buyers())] {
                table(&ctx, name, batch.schema(), shuffled(&batch, seed));
            }
            let other = collect(&ctx, shop.as_of, &Classifier::benchmark()).await;
            assert_eq!(straight.rows, other.rows);
            assert_eq!(straight.transitions, other.transitions);
            assert_eq!(straight.scored.cuts, other.scored.cuts);
            assert_eq!(straight.scored.population, other.scored.population);
        });
    }
}

/// The rows in an order that `seed` gives, in three partitions of uneven batches.
fn shuffled(batch: &RecordBatch, seed: u64) -> Vec<Vec<RecordBatch>> {
    let mut rows: Vec<u32> = (0..u32::try_from(batch.num_rows()).unwrap()).collect();
    rows.sort_by_key(|row| {
        (u64::from(*row) + 1).wrapping_mul(seed | 1).rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    let batch = take_record_batch(batch, &arrow::array::UInt32Array::from(rows)).unwrap();
    let (third, rest) = (batch.num_rows() / 3, batch.num_rows() - batch.num_rows() / 3);
    let empty = concat_batches(&batch.schema(), &[]).unwrap();
    vec![vec![batch.slice(third, rest)], vec![empty, batch.slice(0, third)], vec![]]
}
