//! Seconds and peak memory of each step of a run.

use std::fs::{read_to_string, write};
use std::time::Instant;

use super::report::StepReport;

/// Is told of the steps of a run as they happen (a progress bar, a log).
pub trait Watcher: Send + Sync {
    /// A step begins.
    fn started(&self, step: &str);
    /// A step is over.
    fn finished(&self, report: &StepReport);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn started(&self, _step: &str) {}
    fn finished(&self, _report: &StepReport) {}
}

/// Measures the steps of one run, one after the other.
pub struct StepMeter<'a> {
    watcher: &'a dyn Watcher,
    done: Vec<StepReport>,
}

/// A step that is being measured.
#[derive(Debug)]
pub struct Running {
    step: String,
    since: Instant,
}

impl<'a> StepMeter<'a> {
    /// Starts with no step.
    pub fn new(watcher: &'a dyn Watcher) -> Self {
        Self { watcher, done: Vec::new() }
    }

    /// Begins a step. The kernel's high-water mark is reset, so that each step has its own peak; where it cannot be
    /// reset, a step's peak is the highest so far.
    pub fn start(&self, step: impl Into<String>) -> Running {
        let step = step.into();
        self.watcher.started(&step);
        // "5" resets the peak of the resident set: proc(5), clear_refs. Refusal only makes the peak the process's own.
        let _reset = write("/proc/self/clear_refs", "5");
        Running { step, since: Instant::now() }
    }

    /// Ends a step; `rows` is what it wrote or handed on.
    pub fn finish(&mut self, running: Running, rows: Option<u64>) {
        let report = StepReport {
            step: running.step,
            seconds: running.since.elapsed().as_secs_f64(),
            peak_rss_mb: peak_rss_bytes().map(|bytes| bytes.div_ceil(1_000_000)),
            rows,
        };
        self.watcher.finished(&report);
        self.done.push(report);
    }

    /// The steps measured so far, in order.
    pub fn steps(&self) -> &[StepReport] {
        &self.done
    }

    /// The steps measured, in order.
    pub fn into_steps(self) -> Vec<StepReport> {
        self.done
    }
}

/// The most resident memory that this process has held since the mark was last reset; `None` off Linux.
pub fn peak_rss_bytes() -> Option<u64> {
    high_water_mark(&read_to_string("/proc/self/status").ok()?)
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_measured_and_told() {
        struct Log(std::sync::Mutex<Vec<String>>);
        impl Watcher for Log {
            fn started(&self, step: &str) {
                self.0.lock().unwrap().push(format!("started {step}"));
            }
            fn finished(&self, report: &StepReport) {
                self.0.lock().unwrap().push(format!("finished {}", report.step));
            }
        }
        let log = Log(std::sync::Mutex::default());
        let mut meter = StepMeter::new(&log);
        let running = meter.start("profile");
        meter.finish(running, Some(7));
        let running = meter.start("publish");
        meter.finish(running, None);
        assert_eq!(
            *log.0.lock().unwrap(),
            ["started profile", "finished profile", "started publish", "finished publish"]
        );
        let steps = meter.into_steps();
        assert_eq!((steps[0].step.as_str(), steps[0].rows), ("profile", Some(7)));
        assert!(steps.iter().all(|step| step.seconds >= 0.0));
        if cfg!(target_os = "linux") {
            assert!(steps.iter().all(|step| step.peak_rss_mb.is_some_and(|mb| mb > 0)));
        }
    }

    #[test]
    fn the_kernels_mark_is_read() {
        assert_eq!(high_water_mark("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(high_water_mark(""), None);
    }
}
