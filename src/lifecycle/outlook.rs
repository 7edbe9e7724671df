//! What a model says of many buyers, one after the other, with what their numbers share computed once. The numbers are
//! those of `Parameters`, to the bit.

use std::collections::HashMap;

use super::model::{History, Parameters};

/// What a model says of one buyer.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    parameters: &'a Parameters,
    history: History,
    log_silence: f64,
    p_alive: f64,
}

impl<'a> Outlook<'a> {
    /// Of the buyer with this history.
    pub fn new(parameters: &'a Parameters, history: History) -> Self {
        let log_silence = parameters.log_silence(&history);
        let p_alive = parameters.alive(&history, log_silence);
        Self { parameters, history, log_silence, p_alive }
    }

    /// [`Parameters::p_alive`].
    pub fn p_alive(&self) -> f64 {
        self.p_alive
    }

    /// [`Parameters::silence`].
    pub fn silence(&self) -> f64 {
        self.log_silence.exp()
    }

    /// [`Parameters::p_order`] within `horizon` days.
    pub fn p_order(&self, horizon: f64) -> f64 {
        self.parameters.order_if_alive(&self.history, self.p_alive, horizon)
    }

    /// [`Parameters::next_order_days`].
    pub fn next_order_days(&self) -> f64 {
        self.parameters.next_order_days(&self.history)
    }
}

/// [`Parameters::expected_orders`] of many buyers: the series, which is nearly all of the work, depends on frequency and age
/// only, and buyers share those.
#[derive(Debug, Clone)]
pub struct Expectation {
    parameters: Parameters,
    horizon: f64,
    /// The series by frequency and age, to the bit.
    if_active: HashMap<(u64, u64), f64>,
}

impl Expectation {
    /// Of orders within `horizon` days.
    pub fn new(parameters: Parameters, horizon: f64) -> Self {
        Self { parameters, horizon, if_active: HashMap::new() }
    }

    /// The horizon in days.
    pub fn horizon(&self) -> f64 {
        self.horizon
    }

    /// E[orders within the horizon] of one buyer.
    pub fn of(&mut self, history: &History) -> f64 {
        let p_alive = self.parameters.p_alive(history);
        self.with(history, p_alive)
    }

    /// E[orders within the horizon] of the buyer of an outlook, which must be by the same parameters.
    pub fn under(&mut self, outlook: &Outlook<'_>) -> f64 {
        debug_assert_eq!(*outlook.parameters, self.parameters, "one model");
        self.with(&outlook.history, outlook.p_alive)
    }

    fn with(&mut self, history: &History, p_alive: f64) -> f64 {
        let Self { parameters, horizon, if_active } = self;
        parameters.bounded(history, p_alive, *horizon, || {
            let (frequency, _, age) = history.days();
            let key = (frequency.to_bits(), age.to_bits());
            *if_active.entry(key).or_insert_with(|| parameters.expected_if_active(history, *horizon))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::model::Variant;

    const HISTORIES: [(f64, f64, f64); 6] = [
        (0.0, 0.0, 30.0),
        (3.0, 20.0, 30.0),
        (3.0, 5.0, 30.0),
        (3.0, 30.0, 30.0),
        (0.0, 0.0, 30.0),
        (400.0, 300.0, 3_000.0),
    ];

    #[test]
    fn buyers_who_share_the_series_have_the_same_expectation() {
        let model = Parameters::BENCHMARK;
        for horizon in [90.0, 365.0, 0.0, f64::NAN] {
            let mut shared = Expectation::new(model, horizon);
            for (x, recency, age) in HISTORIES {
                let history = History::new(x, recency, age).unwrap();
                let alone = model.expected_orders(&history, horizon).to_bits();
                assert_eq!(shared.of(&history).to_bits(), alone);
                assert_eq!(shared.under(&Outlook::new(&model, history)).to_bits(), alone);
            }
            assert_eq!(shared.if_active.len(), if horizon > 0.0 { 3 } else { 0 });
        }
    }

    #[test]
    fn an_outlook_is_what_its_formulas_give() {
        let bg = Parameters::new(Variant::Bg, 0.243, 4.414, 0.793, 2.426).unwrap();
        for model in [Parameters::BENCHMARK, bg] {
            for (x, recency, age) in HISTORIES {
                let history = History::new(x, recency, age).unwrap();
                let outlook = Outlook::new(&model, history);
                assert_eq!(outlook.p_alive().to_bits(), model.p_alive(&history).to_bits());
                assert_eq!(outlook.silence().to_bits(), model.silence(&history).to_bits());
                assert_eq!(outlook.p_order(90.0).to_bits(), model.p_order(&history, 90.0).to_bits());
                assert_eq!(outlook.next_order_days().to_bits(), model.next_order_days(&history).to_bits());
            }
        }
    }
}
