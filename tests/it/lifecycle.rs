//! The lifecycle model through the program: fitted, kept, used by the days after it, audited, explained, back-tested.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Folder, PROJECT, times};
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
    for n in 0..80 {
        for day in (n % 7..100).step_by(7) {
            if n < 40 {
                order(&format!("gone-{n:03}"), day, 25);
            }
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
    assert_eq!(causes("back"), ["churned exited data 80", "not-churned entered data 80", "recent entered data 80"]);
    let said = shop.run(&["lifecycle"]).stdout;
    assert!(said.contains("audit of churned") && said.contains("the label is withheld"), "{said}");
    let (then, ordered): (f64, f64) = (
        shop.one("SELECT churned_then FROM lifecycle_health_latest").parse().unwrap(),
        shop.one("SELECT churned_who_ordered FROM lifecycle_health_latest").parse().unwrap(),
    );
    assert!(ordered >= 80.0 && ordered / then > 0.2, "{ordered} of {then}");
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
    insta::assert_snapshot!(ran.stdout, @r"
    2357 buyers as of 1997-09-30, 398 of whom ordered in the 90 days to 1997-12-29
    MBG/NBD, tier full: r 0.5349, alpha 43.82 days, a 0.8739, b 1.5484; dropout identified

    prediction                 auc   brier  calibration_error  slope  lift  revenue_of_top_tenth
    p90 of MBG/NBD          0.7888  0.1095             0.0249   0.97  3.72                 0.495
    always the rate before     0.5  0.1404             0.0047            1                   0.1
    recency 90/180          0.7593  0.1194             0.0385   1.09  2.88                 0.346
    recency in 5 bins       0.7664  0.1177             0.0428   1.12  3.41                  0.43
    RFM, 25 cells           0.7575  0.1169             0.0445   1.09  3.32                 0.466
    logistic regression     0.7917  0.1127             0.0338   1.04  3.56                 0.483

    stages, and what their buyers did in the holdout
    stage           customers   share  ordered  mean_spend  share_of_revenue
    loyal                 150  0.0636   0.6933       67.65            0.3706
    high_potential        139   0.059   0.4388       41.65            0.2114
    nurture_needed        209  0.0887   0.2679        9.41            0.0719
    dormant               347  0.1472   0.2046       13.44            0.1704
    churned              1512  0.6415   0.0701        3.18            0.1758

    all buyers
    total               expected   actual  actual/expected
    buyers who ordered     344.3      398            1.156
    order days             602.8      718            1.191
    spend                21536.9  27383.3            1.271

    how much groupings tell of who orders (mutual information)
    grouping           groups    nats
    lifecycle stages        5  0.0854
    recency 90/180          3   0.079
    recency in 5 bins       5   0.085
    RFM, 25 cells          22  0.0892

    predicted   ordered   (bar: who ordered; ◆: the prediction)
         4.6%      5.4%   ████◆
         5.2%      5.2%   ████◆
         5.5%      7.1%   ████◆▊
         5.8%      4.8%   ███▉◆
         6.1%      5.9%   ████▊◆
         6.4%     11.9%   █████◆███▌
         8.2%     11.9%   ██████◆██▌
        17.3%     22.0%   ██████████████◆██▋
        29.1%     31.5%   ███████████████████████◆█▏
        57.9%     62.7%   █████████████████████████████████████████████◆████

    loyal             6.4% ███▏
      ordered        69.3% ██████████████████████████████████▋
    high_potential    5.9% ███
      ordered        43.9% ██████████████████████
    nurture_needed    8.9% ████▍
      ordered        26.8% █████████████▍
    dormant          14.7% ███████▍
      ordered        20.5% ██████████▎
    churned          64.1% ████████████████████████████████▏
      ordered         7.0% ███▌

    no simpler rule has a lower Brier score than p90 of MBG/NBD (0.1095)
    1.19 times as many orders came as were expected
    audit of churned: of 109 as of 1997-07-02 7 have ordered since
    ");
    assert!(folder.read("chart.svg").starts_with("<svg"));
    let ran = folder.run(&[&arguments[..6], &["--format", "csv"]].concat());
    assert!(ran.stdout.starts_with("prediction,auc,brier"), "{}", ran.stdout);
    let ran = folder.run(&["lifecycle", "backtest", "--orders", "none.csv"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("none.csv"), "{}", ran.stderr);
}

/// A real shop night after night: without news nobody goes to a stage and back. Eight nights, or the month of August with
/// `ALLUVIAL_TEST_NIGHTS=31`.
#[test]
fn a_real_shop_does_not_flap() {
    let nights = u32::try_from(times("ALLUVIAL_TEST_NIGHTS", 8)).unwrap();
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
    // The guard holds a few days at the end of August, as that of a bank holiday: somebody accepts them.
    let mut accepted = 0;
    for day in 1..=nights {
        let as_of = format!("2011-08-{day:02}");
        let ran = folder.run(&["run", "nightly", "--as-of", &as_of, "--format", "json"]);
        let held = ran.code == 1 && ran.stdout.contains("\"held\"");
        assert_eq!((ran.code, ran.stderr.as_str()), (i32::from(held), ""), "{as_of}");
        if held {
            assert_eq!(folder.run(&["publish", "--accept", &as_of]).code, 0, "{as_of}");
            accepted += 1;
        }
        if day % 7 == 0 || day == nights {
            assert_eq!(folder.run(&["run", "weekly", "--as-of", &as_of]).code, 0, "{as_of}");
        }
    }
    assert!(accepted <= 3, "{accepted} days were held");
    let answer = |sql: &str| {
        let ran = folder.run(&["query", sql, "--format", "csv"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{sql}");
        ran.stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        answer("SELECT count(DISTINCT as_of), count(DISTINCT model) FROM lifecycle"),
        [format!("{nights},{}", nights.div_ceil(7))]
    );
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
    assert!(moves > 5 * nights, "{moves} moves in {nights} nights: too few to tell");
}
