//! What the server has done, in the text form that Prometheus reads. No statement, name or value of anybody's is in it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// Which door a statement came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Door {
    /// The Postgres wire.
    Postgres,
    /// Flight SQL.
    Flight,
    /// HTTP: audiences.
    Http,
}

impl Door {
    pub(super) const ALL: [Door; 3] = [Door::Postgres, Door::Flight, Door::Http];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Flight => "flight",
            Self::Http => "http",
        }
    }
}

/// The counts of one door.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicI64,
    refused: AtomicU64,
    logins_failed: AtomicU64,
    running: AtomicI64,
    rows: AtomicU64,
    known: AtomicU64,
    seconds: [AtomicU64; BUCKETS.len() + 1],
    /// Millionths of a second.
    total: AtomicU64,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

/// The counts of all doors.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    doors: [Counts; Door::ALL.len()],
}

/// What is told beside the counts.
pub(super) struct Gauges {
    /// Bytes that the engine's pool has given out.
    pub(super) pool: usize,
    /// Bytes that the pool has.
    pub(super) pool_limit: usize,
    /// Bytes of the process that are in memory.
    pub(super) resident: Option<u64>,
    /// The start of the newest published day and the seconds since it was published.
    pub(super) newest: Option<(i64, i64)>,
}

impl Metrics {
    fn of(&self, door: Door) -> &Counts {
        &self.doors[door as usize]
    }

    pub(super) fn connected(&self, door: Door, by: i64) {
        self.of(door).connections.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, door: Door) {
        self.of(door).refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn login_failed(&self, door: Door) {
        self.of(door).logins_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn started(&self, door: Door) {
        self.of(door).running.fetch_add(1, Ordering::Relaxed);
    }

    /// Statements that are being answered.
    pub(super) fn running(&self) -> i64 {
        self.doors.iter().map(|of| of.running.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn failed(&self, door: Door, state: &'static str) {
        *self.of(door).errors.lock().unwrap_or_else(PoisonError::into_inner).entry(state).or_default() += 1;
    }

    /// A statement had its answer already.
    pub(super) fn knew(&self, door: Door) {
        self.of(door).known.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finished(&self, door: Door, took: Duration, rows: u64) {
        let counts = self.of(door);
        counts.running.fetch_sub(1, Ordering::Relaxed);
        counts.rows.fetch_add(rows, Ordering::Relaxed);
        let bucket = BUCKETS.iter().position(|most| took.as_secs_f64() <= *most).unwrap_or(BUCKETS.len());
        counts.seconds[bucket].fetch_add(1, Ordering::Relaxed);
        counts.total.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Everything, as Prometheus reads it.
    pub(super) fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let mut simple = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Counts) -> i64| {
            let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for door in Door::ALL {
                let _infallible = writeln!(text, "{name}{{door=\"{}\"}} {}", door.name(), value(self.of(door)));
            }
        };
        let unsigned = |count: &AtomicU64| i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        simple("alluvial_connections", "gauge", "Open connections (Flight, HTTP: sessions).", &|of| {
            of.connections.load(Ordering::Relaxed)
        });
        simple("alluvial_connections_refused_total", "counter", "Connections over the limit.", &|of| {
            unsigned(&of.refused)
        });
        simple("alluvial_logins_failed_total", "counter", "Logins with a wrong name or secret.", &|of| {
            unsigned(&of.logins_failed)
        });
        simple("alluvial_queries_running", "gauge", "Statements being answered.", &|of| {
            of.running.load(Ordering::Relaxed)
        });
        simple("alluvial_rows_sent_total", "counter", "Rows given to clients.", &|of| unsigned(&of.rows));
        simple("alluvial_known_answers_total", "counter", "Statements whose answer was given before.", &|of| {
            unsigned(&of.known)
        });
        text.push_str("# HELP alluvial_query_errors_total Failed statements by SQLSTATE.\n# TYPE alluvial_query_errors_total counter\n");
        for door in Door::ALL {
            for (state, count) in self.of(door).errors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let _infallible = writeln!(
                    text,
                    "alluvial_query_errors_total{{door=\"{}\",sqlstate=\"{state}\"}} {count}",
                    door.name()
                );
            }
        }
        text.push_str("# HELP alluvial_query_seconds Time from a statement's arrival to its last row.\n# TYPE alluvial_query_seconds histogram\n");
        for door in Door::ALL {
            let (counts, door) = (self.of(door), door.name());
            let mut sum = 0;
            for (index, count) in counts.seconds.iter().enumerate() {
                sum += count.load(Ordering::Relaxed);
                let bound = BUCKETS.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
                let _infallible =
                    writeln!(text, "alluvial_query_seconds_bucket{{door=\"{door}\",le=\"{bound}\"}} {sum}");
            }
            let total = counts.total.load(Ordering::Relaxed) as f64 / 1e6;
            let _infallible = writeln!(
                text,
                "alluvial_query_seconds_sum{{door=\"{door}\"}} {total}\nalluvial_query_seconds_count{{door=\"{door}\"}} {sum}"
            );
        }
        let mut gauge = |name: &str, help: &str, value: i128| {
            let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        };
        gauge("alluvial_memory_pool_bytes", "Bytes that running statements have reserved.", gauges.pool as i128);
        gauge("alluvial_memory_pool_limit_bytes", "Bytes that statements may reserve.", gauges.pool_limit as i128);
        if let Some(resident) = gauges.resident {
            gauge("alluvial_resident_memory_bytes", "Bytes of the process in memory.", i128::from(resident));
        }
        if let Some((day, age)) = gauges.newest {
            gauge(
                "alluvial_last_published_day_seconds",
                "The newest published day, as its first second UTC.",
                i128::from(day),
            );
            gauge(
                "alluvial_last_published_age_seconds",
                "Seconds since the newest day was published.",
                i128::from(age),
            );
        }
        text
    }
}

/// Bytes of this process that are in memory.
pub(super) fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_counts_what_happened() {
        let metrics = Metrics::default();
        metrics.started(Door::Postgres);
        metrics.finished(Door::Postgres, Duration::from_millis(20), 3);
        metrics.failed(Door::Flight, "42P01");
        let text = metrics.text(&Gauges { pool: 5, pool_limit: 10, resident: None, newest: Some((0, 7)) });
        for line in [
            "alluvial_query_seconds_bucket{door=\"postgres\",le=\"0.01\"} 0",
            "alluvial_query_seconds_bucket{door=\"postgres\",le=\"0.025\"} 1",
            "alluvial_query_seconds_bucket{door=\"postgres\",le=\"+Inf\"} 1",
            "alluvial_query_seconds_sum{door=\"postgres\"} 0.02",
            "alluvial_queries_running{door=\"postgres\"} 0",
            "alluvial_rows_sent_total{door=\"postgres\"} 3",
            "alluvial_query_errors_total{door=\"flight\",sqlstate=\"42P01\"} 1",
            "alluvial_last_published_age_seconds 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
