//! Against golden numbers: those of CDNOW under `data/cdnow/`, those of Online Retail where the shared test material is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::NaiveDate;
use serde_json::Value;

use super::shop::{Buyer, Day, Shop, day_with};
use crate::lifecycle::Classifier;
use crate::lifecycle::classifier::{OrderValue, Tier};
use crate::lifecycle::model::{History, OrderValueParameters, Parameters, Variant};

/// The golden numbers of a shop: those that are vendored, else those of the shared test material, if it is there.
fn golden(file: &str) -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    if let Ok(bytes) = std::fs::read(root.join(format!("data/cdnow/golden_{file}.gz"))) {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut text).unwrap();
        return Some(text);
    }
    let path = root.join("../shared/data/lifecycle").join(file);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: {} is absent", path.display());
    }
    text
}

/// The parameters behind them.
fn parameters_of(shop: &str) -> Option<Value> {
    if shop == "cdnow_sample" {
        return Some(serde_json::from_str(include_str!("../../../data/cdnow/golden.json")).unwrap());
    }
    golden("golden.json").map(|text| serde_json::from_str(&text).unwrap())
}

type Record = BTreeMap<String, String>;

fn records(text: &str) -> Vec<Record> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
}

fn number(record: &Record, column: &str) -> f64 {
    record[column].parse().unwrap()
}

fn whole(record: &Record, column: &str) -> i64 {
    record[column].parse().unwrap()
}

#[track_caller]
fn near(found: f64, wanted: f64, relative: f64, what: &str) {
    assert!((found - wanted).abs() <= relative * wanted.abs().max(1e-300), "{what}: {found} is not {wanted}");
}

fn parameters(variant: Variant, of: &Value) -> Parameters {
    let value = |name: &str| of[name].as_f64().unwrap();
    Parameters::new(variant, value("r"), value("alpha"), value("a"), value("b")).unwrap()
}

#[test]
fn edge_cases() {
    let mut seen = 0;
    for record in records(include_str!("../../../data/cdnow/edge_cases.csv")) {
        let variant = match record["model"].as_str() {
            "bg" => Variant::Bg,
            "mbg" => Variant::Mbg,
            _ => continue,
        };
        let [r, alpha, a, b] = ["p1", "p2", "p3", "p4"].map(|name| number(&record, name));
        let model = Parameters::new(variant, r, alpha, a, b).unwrap();
        let [x, recency, age, horizon] = ["x", "tx", "T", "t"].map(|name| number(&record, name));
        let history = History::new(x, recency, age).unwrap();
        let what = format!("{record:?}");
        near(model.p_alive(&history), number(&record, "p_alive"), 1e-9, &what);
        near(model.expected_orders(&history, horizon), number(&record, "expected_in_t"), 1e-9, &what);
        near(model.p_order(&history, horizon), number(&record, "p_at_least_one_in_t"), 1e-9, &what);
        let wanted = number(&record, "log_likelihood");
        let found = model.log_likelihood(&history);
        // A certain outcome's log-likelihood is 0 up to rounding.
        assert!((found - wanted).abs() <= 1e-9 * wanted.abs().max(1e-3), "{what}: {found}");
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn fitted_models_of_real_shops() {
    for name in ["cdnow_sample", "online_retail_uci"] {
        let (Some(text), Some(known)) = (golden(&format!("{name}.csv")), parameters_of(name)) else { return };
        let of = &known["params"][name];
        for (variant, prefix) in [(Variant::Bg, "bg"), (Variant::Mbg, "mbg")] {
            let model = parameters(variant, &of[prefix]["params"]);
            let mut log_likelihood = 0.0;
            for record in records(&text) {
                let [x, recency, age] = ["frequency", "recency", "T"].map(|column| number(&record, column));
                let history = History::new(x, recency, age).unwrap();
                let what = format!("{name} {prefix} {}", record["customer_id"]);
                // The file holds ten digits.
                let close =
                    |found, column: &str| near(found, number(&record, &format!("{prefix}_{column}")), 1e-9, &what);
                close(model.p_alive(&history), "p_alive");
                close(model.expected_orders(&history, 90.0), "expected_90d");
                close(model.p_order(&history, 90.0), "p_repurchase_90d");
                log_likelihood += model.log_likelihood(&history);
            }
            near(log_likelihood, of[prefix]["log_likelihood"].as_f64().unwrap(), 1e-9, name);
        }
    }
}

#[tokio::test]
async fn stages_of_real_shops_row_for_row() {
    for name in ["cdnow_sample", "online_retail_uci"] {
        let (Some(stages), Some(customers)) = (golden(&format!("stages_{name}.csv")), golden(&format!("{name}.csv")))
        else {
            return;
        };
        let Some(known) = parameters_of(name) else { return };
        let of = &known["stages"][name];
        let gg = |parameter: &str| of["gg_all_orders"][parameter].as_f64().unwrap();
        let classifier = Classifier {
            name: "golden".to_owned(),
            tier: Tier::Full,
            parameters: parameters(Variant::Mbg, &of["map_params"]),
            dropout_identified: of["dropout_identified"].as_bool().unwrap(),
            order_value: OrderValue::GammaGamma(OrderValueParameters::new(gg("p"), gg("q"), gg("v")).unwrap()),
            // Rounded down in the tenth digit: the cut can be one customer's own value, which their arithmetic and ours
            // give with different last bits.
            value_cut: of["value_cut"].as_f64().map(|cut| cut * (1.0 - 1e-10)),
            churn_label_suspended: false,
        };
        let as_of: NaiveDate = of["as_of"].as_str().unwrap().parse().unwrap();
        let shop = Shop { as_of, ..Shop::of(records(&customers).iter().map(buyer_of).collect()) };
        let frozen = day_with(&shop, None, &classifier).await;
        let counts = compare(name, &records(&stages), &frozen);
        let wanted = of["counts"].as_object().unwrap();
        assert_eq!(counts.len(), wanted.len());
        for (stage, count) in wanted {
            assert_eq!(Some(counts[stage]), count.as_i64(), "{name} {stage}");
        }
        // The cut that the day itself makes divides the same people.
        let computed = day_with(&shop, None, &Classifier { value_cut: None, ..classifier }).await;
        compare(name, &records(&stages), &computed);
    }
}

fn buyer_of(record: &Record) -> Buyer {
    let (order_days, age) = (whole(record, "frequency") + 1, whole(record, "T"));
    let cents = (number(record, "mean_all") * order_days as f64 * 100.0).round() as i128;
    let id = record["customer_id"].clone();
    Buyer { id, order_days, first: age, last: age - whole(record, "recency"), cents }
}

fn compare(name: &str, wanted: &[Record], found: &Day) -> BTreeMap<String, i64> {
    assert_eq!(found.rows.num_rows(), wanted.len());
    let rows: BTreeMap<&str, usize> =
        (0..wanted.len()).map(|row| (found.text("customer_id", row).unwrap(), row)).collect();
    let mut counts = BTreeMap::new();
    for record in wanted {
        let id = record["customer_id"].as_str();
        let row = rows[id];
        let what = format!("{name} {id}");
        assert_eq!(found.text("stage", row), Some(record["stage"].as_str()), "{what}: {}", found.sentence(row));
        assert_eq!(found.count("days_since_last_order", row), Some(whole(record, "gap_days")), "{what}");
        // The file holds ten digits.
        let close = |found: Option<f64>, column: &str| near(found.unwrap(), number(record, column), 1e-9, &what);
        close(found.double("p_order_90d", row), "p_order_90d");
        close(found.explained("p_order_90d_at_last_order", row), "p_order_90d_at_last_order");
        close(found.double("vitality", row), "vitality");
        close(found.explained("relative_chance", row), "rel_to_new_customer");
        close(found.explained("silence_probability", row), "silence_s");
        close(found.double("p_order_365d", row), "p_order_365d");
        close(found.double("expected_orders", row), "expected_orders_365d");
        close(found.explained("order_value", row), "expected_aov");
        close(found.double("predicted_value", row), "predicted_value_365d");
        if let Some(p_alive) = found.double("p_alive", row) {
            near(p_alive, number(record, "p_alive"), 1e-9, &what);
        }
        *counts.entry(record["stage"].clone()).or_default() += 1;
    }
    counts
}
