//! Times the fit and the formulas for `lifecycle.py`, which says what the numbers mean.
//!
//! Reads buyers as little-endian u32 triples (frequency, recency, age) from the file that is named, and the same of CDNOW
//! from the second; prints one JSON object. One thread does everything.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on should stop")]

use std::hint::black_box;
use std::time::Instant;

use alluvial::lifecycle::fit::histories::{Histories, MOST_EXACT, Observed};
use alluvial::lifecycle::fit::parameters::{Prior, fit, log_likelihood_without_dropout};
use alluvial::lifecycle::model::{History, OrderValueParameters, Variant};
use alluvial::lifecycle::outlook::{Expectation, Outlook};

fn read(path: &str) -> Vec<Observed> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let observed =
        |row: &[u8]| Observed { frequency: number(&row[..4]), recency: number(&row[4..8]), age: number(&row[8..12]) };
    std::fs::read(path).unwrap().chunks_exact(12).map(observed).collect()
}

/// The best of several runs, in seconds, and the result.
fn best<T>(runs: usize, mut work: impl FnMut() -> T) -> (f64, T) {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..runs {
        let began = Instant::now();
        last = Some(black_box(work()));
        times.push(began.elapsed().as_secs_f64());
    }
    (times.into_iter().fold(f64::INFINITY, f64::min), last.unwrap())
}

fn main() {
    // Cargo passes `--bench` on.
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [many, few] = files.as_slice() else { return };
    let (buyers, sample) = (read(many), read(few));

    let fitted = |buyers: &[Observed]| {
        let histories = Histories::merge(buyers.iter().map(|buyer| (*buyer, 1)), MOST_EXACT);
        (fit(&histories, Variant::Mbg, Prior::Weak), histories)
    };
    let (merge_seconds, merged) = best(3, || Histories::merge(buyers.iter().map(|buyer| (*buyer, 1)), MOST_EXACT));
    let (fit_seconds, (model, histories)) = best(3, || fitted(&buyers));
    let (without_seconds, _) = best(3, || log_likelihood_without_dropout(&merged));
    let (sample_seconds, _) = best(20, || fitted(&sample));

    let parameters = model.parameters;
    let values = OrderValueParameters::new(6.25, 3.74, 15.44).unwrap();
    let new = parameters.p_order(&History::NEW, 90.0);
    // Every quantity that a stage is decided from and a profile holds.
    let (score_seconds, total) = best(3, || {
        let mut total = 0.0;
        let mut expectation = Expectation::new(parameters, 365.0);
        for buyer in &buyers {
            let [x, recency, age] = [buyer.frequency, buyer.recency, buyer.age].map(f64::from);
            let history = History::new(x, recency, age).unwrap();
            let outlook = Outlook::new(&parameters, history);
            let p90 = outlook.p_order(90.0);
            let vitality = p90 / Outlook::new(&parameters, history.at_last_order()).p_order(90.0);
            let p365 = outlook.p_order(365.0);
            let orders = expectation.under(&outlook);
            let value = orders * values.order_value(x + 1.0, 30.0);
            total += p90 + vitality + p90 / new + p365 + orders + value;
            total += outlook.p_alive() + outlook.silence();
            total += outlook.next_order_days().min(1e6);
        }
        total
    });
    let [r, alpha, a, b] = parameters.values();
    let result = serde_json::json!({
        "buyers": buyers.len(),
        "histories": histories.rows().len(),
        "weekly": histories.is_weekly(),
        "merge_seconds": merge_seconds,
        "fit_seconds": fit_seconds,
        "without_dropout_seconds": without_seconds,
        "score_seconds": score_seconds,
        "sample_fit_seconds": sample_seconds,
        "parameters": [r, alpha, a, b],
        "checksum": total,
    });
    println!("{result}");
}
