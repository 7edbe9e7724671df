//! The thresholds of the lifecycle stages.

use serde::Serialize;

use super::document::Section;

/// Whether subscription renewals count as orders of the customer's own will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recurring {
    /// They count as any order does.
    Count,
    /// The classifier does not see them.
    Ignore,
}

/// A dead band around a threshold: without a new order, a stage changes only once its number has passed the band.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Band {
    /// How far below the threshold a number must fall.
    pub below: f64,
    /// How far above it a number must rise.
    pub above: f64,
}

/// The thresholds of the stages, with their defaults.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LifecycleSettings {
    /// Whether subscription renewals count.
    pub recurring: Recurring,
    /// Lapsed below this share of the chance that the customer had on the day of the last order (0.50).
    pub vitality: f64,
    /// Its dead band (into lapsed below 0.48, out above 0.55).
    pub vitality_band: Band,
    /// Lapsed at this many days of silence, whatever the model says (365).
    pub lapsed_gap_days: u32,
    /// Where dropout cannot be identified: lapsed when so long a silence has less than this chance (0.02).
    pub silence: f64,
    /// Churned below this share of a new buyer's chance (0.25).
    pub churned_rel: f64,
    /// Its dead band (into churned below 0.24, out above 0.30).
    pub churned_rel_band: Band,
    /// Churned at this many days of silence, if lapsed (730).
    pub churned_gap_days: u32,
    /// Never churned before this many days of silence (30).
    pub churned_min_gap_days: u32,
    /// In the benchmark tier, never churned before this many days of silence (365).
    pub benchmark_churned_gap_days: u32,
    /// Loyal from this many order days (3).
    pub loyal_orders: u32,
    /// Loyal from this chance of an order within 365 days (0.70).
    pub loyal_p365: f64,
    /// Its dead band (0.03 either way).
    pub loyal_p365_band: Band,
    /// High potential from this percentile of predicted value (60).
    pub high_potential_percentile: f64,
    /// The dead band of that cut, as a share of it (0.10 either way).
    pub high_potential_band: Band,
    /// Can't lose from this percentile of predicted value or of past spend (80: the top fifth).
    pub cant_lose_percentile: f64,
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self {
            recurring: Recurring::Count,
            vitality: 0.50,
            vitality_band: Band { below: 0.02, above: 0.05 },
            lapsed_gap_days: 365,
            silence: 0.02,
            churned_rel: 0.25,
            churned_rel_band: Band { below: 0.01, above: 0.05 },
            churned_gap_days: 730,
            churned_min_gap_days: 30,
            benchmark_churned_gap_days: 365,
            loyal_orders: 3,
            loyal_p365: 0.70,
            loyal_p365_band: Band { below: 0.03, above: 0.03 },
            high_potential_percentile: 60.0,
            high_potential_band: Band { below: 0.10, above: 0.10 },
            cant_lose_percentile: 80.0,
        }
    }
}

impl LifecycleSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let mut read = Self::default();
        let recurring = [("count", Recurring::Count), ("ignore", Recurring::Ignore)];
        if let Some(written) = section.choice("recurring", &recurring) {
            read.recurring = written;
        }
        for (key, value, most) in [
            ("vitality", &mut read.vitality, 1.0),
            ("silence", &mut read.silence, 1.0),
            ("churned_rel", &mut read.churned_rel, 10.0),
            ("loyal_p365", &mut read.loyal_p365, 1.0),
            ("high_potential_percentile", &mut read.high_potential_percentile, 100.0),
            ("cant_lose_percentile", &mut read.cant_lose_percentile, 100.0),
        ] {
            if let Some(written) = section.number(key, 0.0..=most) {
                *value = written;
            }
        }
        for (key, value) in [
            ("lapsed_gap_days", &mut read.lapsed_gap_days),
            ("churned_gap_days", &mut read.churned_gap_days),
            ("churned_min_gap_days", &mut read.churned_min_gap_days),
            ("benchmark_churned_gap_days", &mut read.benchmark_churned_gap_days),
            ("loyal_orders", &mut read.loyal_orders),
        ] {
            if let Some(written) = section.integer(key, 1..=36_500) {
                *value = u32::try_from(written).unwrap_or(*value);
            }
        }
        for (key, band) in [
            ("vitality_band", &mut read.vitality_band),
            ("churned_rel_band", &mut read.churned_rel_band),
            ("loyal_p365_band", &mut read.loyal_p365_band),
            ("high_potential_band", &mut read.high_potential_band),
        ] {
            let mut inner = section.section(key);
            if let Some(below) = inner.number("below", 0.0..=1.0) {
                band.below = below;
            }
            if let Some(above) = inner.number("above", 0.0..=1.0) {
                band.above = above;
            }
            inner.finish();
        }
        if read.churned_gap_days < read.lapsed_gap_days {
            let at = ["churned_gap_days", "lapsed_gap_days"].iter().find_map(|key| section.place_of(key));
            let message = format!(
                "`lifecycle.churned_gap_days` ({}) must not be below `lapsed_gap_days` ({}): whoever churns has lapsed",
                read.churned_gap_days, read.lapsed_gap_days
            );
            section.document().fault(at.as_ref().unwrap_or(section.at()), "config.out_of_range", message, None);
        }
        section.finish();
        read
    }
}
