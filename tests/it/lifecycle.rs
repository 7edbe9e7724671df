//! The lifecycle model through the program: fitted, kept, used by the days after it, audited, explained, back-tested.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Folder, PROJECT};
use crate::landing_files::{NIGHTLY, TinyShop};

/// A day of a shop that began on 2025-01-01, from 0.
fn on(day: u32) -> String {
    (chrono::NaiveDate::from_ymd_opt(2025, 1, 1).unwrap() + chrono::TimeDelta::days(i64::from(day))).to_string()
}

/// When they bought: regulars; many who bought once; weekly buyers who fell silent after a hundred days, of whom the
/// `back-…` order again after day 370.
fn shop() -> TinyShop {
    let mut lines = "order_id,ordered_at,total,customer_id\n".to_owned();
    let mut number = 0;
    let mut order = |customer: &str, day: u32, total: u32| {
        number += 1;
        writeln!(lines, "o{number},{}T12:00:00Z,{total}.50,{customer}", on(day)).unwrap();
    };
    for n in 0..100 {
        for day in (n % 20..425).step_by(20) {
            order(&format!("regular-{n:03}"), day, 20 + n);
        }
    }
    for n in 0..200 {
        order(&format!("once-{n:03}"), 2 * n, 30 + n % 50);
    }
    for n in 0..40 {
        for day in (n % 7..100).step_by(7) {
            order(&format!("gone-{n:03}"), day, 25);
            order(&format!("back-{n:03}"), day, 25);
        }
        for day in [371 + n % 20, 395 + n % 20] {
            order(&format!("back-{n:03}"), day, 25);
        }
    }
    let shop = TinyShop::empty();
    shop.land("orders/all", &lines);
    shop.segment("churned", "lifecycle_stage = 'churned'").segment("not-churned", "NOT segment('churned')");
    shop.segment("recent", "days_since_last_order <= 30");
    shop
}

fn models(shop: &TinyShop) -> Vec<String> {
    shop.rows("SELECT as_of, tier, churn_label_suspended FROM lifecycle_models ORDER BY as_of, fitted_at")
}

fn scored_with(shop: &TinyShop) -> Vec<String> {
    shop.rows(
        "SELECT DISTINCT l.as_of, m.as_of AS fitted FROM lifecycle l \
         LEFT JOIN (SELECT DISTINCT model, as_of FROM lifecycle_models) m ON m.model = l.model ORDER BY 1",
    )
}

#[test]
fn a_day_uses_the_model_that_had_been_fitted_by_it_or_fits_one() {
    let shop = shop();
    let late = shop.night(&on(420));
    assert_eq!(late["model"]["fitted_on"], Value::from(on(420)));
    // A day before it knows nothing of that model, and fits its own; the next one uses that.
    let early = shop.night(&on(250));
    assert_eq!(early["model"]["fitted_on"], Value::from(on(250)));
    assert_ne!(early["model"]["model"], late["model"]["model"]);
    let next = shop.night(&on(251));
    assert_eq!(next["model"], early["model"]);
    assert_eq!(shop.night(&on(251))["status"], "unchanged");
    assert_eq!(
        scored_with(&shop),
        [(250, 250), (251, 250), (420, 420)].map(|(day, fitted)| format!("{} {}", on(day), on(fitted)))
    );
    assert_eq!(models(&shop).len(), 2);

    // A fit for a day that is published leaves it as it was; what comes after uses it.
    let ran = shop.run(&["lifecycle", "fit", "--as-of", &on(251), "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!("mbg-{}", on(251))), "{}", ran.stdout);
    assert_eq!(shop.night(&on(251))["status"], "unchanged");
    assert_eq!(shop.night(&on(252))["model"]["fitted_on"], Value::from(on(251)));
    // The same once more is no second model.
    assert_eq!(shop.run(&["lifecycle", "fit", "--as-of", &on(251)]).code, 0);
    assert_eq!(models(&shop).len(), 3);
    // The shop of its first two months is too small for a model.
    let first = shop.night(&on(60));
    assert_eq!((&first["model"]["model"], &first["model"]["fitted_on"]), (&Value::from("benchmark"), &Value::Null));
    assert!(first["warnings"].to_string().contains("61 days of history: stages are provisional"), "{first}");
    let ran = shop.run(&["lifecycle", "fit", "--as-of", &on(60)]);
    assert!(ran.code == 0 && ran.stdout.is_empty() && ran.stderr.contains("the benchmark goes on"), "{}", ran.stderr);
    assert!(
        shop.run(&["lifecycle", "--as-of", &on(60)]).stdout.starts_with("61 days of history: stages are provisional")
    );
}

#[test]
fn a_weekly_job_fits_for_the_nights_after_it() {
    let shop = shop();
    shop.folder.write("jobs/weekly.toml", include_str!("../../jobs/weekly.toml"));
    let weekly = |day: u32| -> Value {
        let ran = shop.run(&["run", "weekly", "--as-of", &on(day), "--format", "json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let first = weekly(250);
    assert_eq!((&first["status"], &first["model"]["next"]), (&Value::from("succeeded"), &first["model"]["model"]));
    shop.night(&on(257));
    let second = weekly(257);
    assert_eq!(second["status"], "unchanged");
    let next = second["model"]["next"].as_str().unwrap();
    assert!(next.starts_with(&format!("mbg-{}", on(257))), "{next}");
    assert_eq!(shop.night(&on(258))["model"]["model"], next);
    assert_eq!(models(&shop).len(), 2);
    assert_eq!(shop.one("SELECT count(*) FROM job_runs"), "4");
}

#[test]
fn a_label_that_fails_its_audit_is_withheld_and_says_so_in_the_changes() {
    let shop = shop();
    shop.night(&on(250));
    let churned = "SELECT count(*) FROM lifecycle_latest WHERE stage = 'churned' AND customer_id LIKE '%-0%'";
    let before: u32 = shop.one(churned).parse().unwrap();
    assert!(before >= 80, "{before}");
    let ran = shop.run(&["lifecycle", "fit", "--as-of", &on(420)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(models(&shop), [format!("{} full false", on(250)), format!("{} full true", on(420))]);
    shop.night(&on(420));
    assert_eq!(shop.one(churned), "0");
    assert_eq!(
        shop.rows("SELECT stage, reason, count(*) FROM lifecycle_latest WHERE customer_id LIKE 'gone%' GROUP BY 1, 2"),
        ["dormant churn_label_failed_audit 40"]
    );
    let causes = |who: &str| {
        shop.rows(&format!(
            "SELECT segment, change, cause, count(*) FROM segment_changes WHERE as_of = DATE '{}' \
             AND customer_id LIKE '{who}%' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            on(420)
        ))
    };
    // They did nothing; the others came back.
    assert_eq!(causes("gone"), ["churned exited label 40", "not-churned entered label 40"]);
    assert_eq!(causes("back"), ["churned exited data 40", "not-churned entered data 40", "recent entered data 40"]);
    let said = shop.run(&["lifecycle"]).stdout;
    assert!(said.contains("audit of churned") && said.contains("the label is withheld"), "{said}");
    let (then, ordered): (f64, f64) = (
        shop.one("SELECT churned_then FROM lifecycle_health_latest").parse().unwrap(),
        shop.one("SELECT churned_who_ordered FROM lifecycle_health_latest").parse().unwrap(),
    );
    assert!(ordered >= 40.0 && ordered / then > 0.2, "{ordered} of {then}");
}

#[test]
fn the_lifecycle_is_told_and_explained() {
    let shop = shop();
    shop.night(&on(250));
    shop.night(&on(280));
    let ran = shop.run(&["lifecycle", "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let stages = told["stages"].as_array().unwrap();
    let customers: u64 = stages.iter().map(|stage| stage["customers"].as_u64().unwrap()).sum();
    assert_eq!(customers.to_string(), shop.one("SELECT count(*) FROM customer_profile_latest"));
    let shares: f64 = stages.iter().filter_map(|stage| stage["share_of_spend"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-3, "{shares}");
    assert_eq!((&told["previous_as_of"], &told["previous_30d_as_of"]), (&Value::from(on(250)), &Value::from(on(250))));
    let facts: BTreeMap<&str, &str> = told["health"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["fact"].as_str().unwrap(), row["value"].as_str().unwrap()))
        .collect();
    assert_eq!(facts["tier"], "full");
    for fact in ["model", "dropout_identified", "actual/expected orders", "calibration_error", "audit of churned"] {
        assert!(facts.contains_key(fact), "{fact}: {facts:?}");
    }

    let ran = shop.run(&["lifecycle", "customer", "gone-001", "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let customer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let sentence = customer["sentence"].as_str().unwrap();
    assert!(sentence.contains("the chance of an order in 90 days is"), "{sentence}");
    assert_eq!(customer["history"].as_array().unwrap().len(), 1, "{customer}");
    let numbers = customer["numbers"].to_string();
    for fact in ["vitality_threshold", "p_order_90d_at_last_order", "silence_probability", "predicted_value"] {
        assert!(numbers.contains(fact), "{fact}: {numbers}");
    }
    let ran = shop.run(&["lifecycle", "customer", "nobody"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("knows no customer `nobody`"), "{}", ran.stderr);

    // The back-test of the project's own orders.
    let ran = shop.run(&["lifecycle", "backtest", "--holdout", "60", "--as-of", &on(200), "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&found["as_of"], &found["until"], &found["holdout_days"]),
        (&on(200).into(), &on(260).into(), &60.into())
    );
    let ran = shop.run(&["lifecycle", "backtest", "--as-of", &on(270)]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains(&format!("take `--as-of {}` or an earlier day", on(190))), "{}", ran.stderr);
}

#[test]
fn the_same_days_give_the_same_bytes_and_the_same_model() {
    let (one, other) = (shop(), shop().with("ALLUVIAL_ENGINE__THREADS", "1"));
    for day in [250, 251] {
        one.night(&on(day));
        other.night(&on(day));
        assert_eq!(one.bytes(&on(day)), other.bytes(&on(day)), "{day}");
    }
    let model = "SELECT * EXCEPT (run_id, fitted_at, input_manifest, inputs_hash) FROM lifecycle_models";
    assert_eq!(one.rows(model), other.rows(model));
}

#[test]
fn anybody_can_run_the_back_test_of_cdnow() {
    let folder = Folder::empty();
    let orders = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cdnow/cdnow_sample.parquet");
    let orders = orders.to_str().unwrap();
    let arguments = ["lifecycle", "backtest", "--orders", orders, "--as-of", "1997-09-30", "--chart", "chart.svg"];
    let ran = folder.run(&arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(ran.stdout, @"");
    assert!(folder.read("chart.svg").starts_with("<svg"));
    let ran = folder.run(&[&arguments[..6], &["--format", "csv"]].concat());
    assert!(ran.stdout.starts_with("prediction,auc,brier"), "{}", ran.stdout);
    let ran = folder.run(&["lifecycle", "backtest", "--orders", "none.csv"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("none.csv"), "{}", ran.stderr);
}

/// A real shop, every night of a month: without news nobody goes to a stage and back.
#[test]
fn a_real_shop_does_not_flap() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/online-retail");
    let Ok(data) = data.canonicalize() else {
        println!("skipped: {} is not here", data.display());
        return;
    };
    let folder = Folder::empty();
    let mut settings = PROJECT.replace("Europe/Copenhagen", "Europe/London").replace("DKK", "GBP");
    for table in ["customers", "orders"] {
        write!(settings, "[tables.{table}]\nurl = \"{}/{table}/*.parquet\"\n", data.display()).unwrap();
    }
    folder.write("alluvial.toml", &settings);
    folder.write("jobs/nightly.toml", NIGHTLY);
    folder.write("jobs/weekly.toml", include_str!("../../jobs/weekly.toml"));
    for (job, from, to) in [
        ("nightly", "2011-08-01", "2011-08-07"),
        ("weekly", "2011-08-07", "2011-08-07"),
        ("nightly", "2011-08-08", "2011-08-14"),
        ("weekly", "2011-08-14", "2011-08-14"),
        ("nightly", "2011-08-15", "2011-08-31"),
    ] {
        let ran = folder.run(&["run", job, "--from", from, "--to", to, "--format", "json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{job} {from}");
    }
    let answer = |sql: &str| {
        let ran = folder.run(&["query", sql, "--format", "csv"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{sql}");
        ran.stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(answer("SELECT count(DISTINCT as_of), count(DISTINCT model) FROM lifecycle"), ["31,3"]);
    // A change, and the change before it without an order between: there and back again is a flap.
    let flaps = answer(
        "SELECT count(*) FROM ( \
           SELECT customer_id, stage, previous_stage, \
                  lag(previous_stage) OVER (PARTITION BY customer_id, order_days, spend ORDER BY as_of) AS came_from \
           FROM lifecycle WHERE previous_stage IS NOT NULL AND stage <> previous_stage) \
         WHERE stage = came_from",
    );
    assert_eq!(flaps, ["0"]);
    let moves: u32 = answer("SELECT count(*) FROM lifecycle WHERE stage <> previous_stage")[0].parse().unwrap();
    assert!(moves > 500, "{moves} moves: nothing was looked at");
}
