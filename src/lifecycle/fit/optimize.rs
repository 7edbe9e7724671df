//! Minimising a smooth function of a few variables, come what may.
//!
//! L-BFGS (Nocedal and Wright 2006, algorithm 7.4) with the bracketing line search of Lewis and Overton (2013), and the
//! simplex of Nelder and Mead (1965) where a gradient leads nowhere. It is our own because nothing here may fail: a crate's
//! solver ends with an error where a step does not fit, and of its search nothing is left then.

use std::cell::RefCell;
use std::collections::VecDeque;

/// Variables stay within ± this of zero: they are logarithms, and e^40 is no parameter.
const BOUND: f64 = 40.0;
/// A gradient below this, of a function that is near one, is none.
const FLAT: f64 = 1e-9;
/// A gradient at which a descent has seen enough to be compared with others.
const NEAR: f64 = 1e-4;
/// A gradient above this at the end means that something went wrong on the way.
const STEEP: f64 = 1e-4;
/// A step that promises less than this share of the value is lost in rounding: a sum of many terms is not exact to the
/// last bit.
const PROMISE: f64 = 1e-14;
/// Steps of one descent.
const STEPS: usize = 300;
/// Pairs of steps and gradients that a descent remembers.
const MEMORY: usize = 7;
/// Armijo's and Wolfe's constants.
const DECREASE: f64 = 1e-4;
/// See [`DECREASE`].
const CURVATURE: f64 = 0.9;

/// The lowest point that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::lifecycle) struct Minimum<const N: usize> {
    /// Where.
    pub(in crate::lifecycle) at: [f64; N],
    /// How low.
    pub(in crate::lifecycle) value: f64,
    /// Whether the ground is flat there.
    pub(in crate::lifecycle) flat: bool,
}

/// A point with the function's value and gradient.
#[derive(Debug, Clone, Copy)]
struct Point<const N: usize> {
    at: [f64; N],
    value: f64,
    gradient: [f64; N],
}

fn dot<const N: usize>(one: &[f64; N], other: &[f64; N]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// `from` + `step` · `along`.
fn moved<const N: usize>(from: &[f64; N], step: f64, along: &[f64; N]) -> [f64; N] {
    std::array::from_fn(|axis| from[axis] + step * along[axis])
}

fn steepness<const N: usize>(gradient: &[f64; N]) -> f64 {
    gradient.iter().fold(0.0, |most: f64, slope| most.max(slope.abs()))
}

/// A function and the lowest point at which it was evaluated: whatever becomes of a search, that is left.
struct Searched<F, const N: usize> {
    function: F,
    best: RefCell<Option<Point<N>>>,
}

impl<F: Fn([f64; N]) -> (f64, [f64; N]), const N: usize> Searched<F, N> {
    /// None outside the bounds, and where the function is no number.
    fn at(&self, at: [f64; N]) -> Option<Point<N>> {
        if !at.iter().all(|variable| variable.abs() <= BOUND) {
            return None;
        }
        let (value, gradient) = (self.function)(at);
        if !value.is_finite() || !gradient.iter().all(|slope| slope.is_finite()) {
            return None;
        }
        let point = Point { at, value, gradient };
        let mut best = self.best.borrow_mut();
        if best.is_none_or(|lowest| value < lowest.value) {
            *best = Some(point);
        }
        Some(point)
    }

    /// L-BFGS from `start` until no slope exceeds `tolerance`, or no step leads lower.
    fn descend(&self, start: [f64; N], tolerance: f64) {
        let Some(mut here) = self.at(start) else { return };
        let mut memory: VecDeque<([f64; N], [f64; N], f64)> = VecDeque::with_capacity(MEMORY + 1);
        for _ in 0..STEPS {
            if steepness(&here.gradient) <= tolerance {
                return;
            }
            let mut along = direction(&here.gradient, &memory);
            let mut slope = dot(&along, &here.gradient);
            if slope >= 0.0 {
                // What is remembered leads uphill: forget it.
                memory.clear();
                along = direction(&here.gradient, &memory);
                slope = dot(&along, &here.gradient);
            }
            if -slope <= PROMISE * here.value.abs() {
                return;
            }
            // Nothing is known of the scale before the first step: it is short then.
            let first = if memory.is_empty() { (0.5 / steepness(&along)).min(1.0) } else { 1.0 };
            let Some(next) = self.step(&here, &along, slope, first) else {
                if memory.is_empty() || -slope <= 1e3 * PROMISE * here.value.abs() {
                    return;
                }
                memory.clear();
                continue;
            };
            let step: [f64; N] = std::array::from_fn(|axis| next.at[axis] - here.at[axis]);
            let change: [f64; N] = std::array::from_fn(|axis| next.gradient[axis] - here.gradient[axis]);
            let curvature = dot(&step, &change);
            if curvature > 1e-12 * dot(&change, &change).max(f64::MIN_POSITIVE) {
                memory.push_back((step, change, curvature));
                if memory.len() > MEMORY {
                    memory.pop_front();
                }
            }
            here = next;
        }
    }

    /// A step along a line that leads lower by enough and to where it is flatter by enough; at least a lower one. None if
    /// none does.
    fn step(&self, here: &Point<N>, along: &[f64; N], slope: f64, first: f64) -> Option<Point<N>> {
        let (mut low, mut high, mut length) = (0.0, f64::INFINITY, first);
        let mut lower: Option<Point<N>> = None;
        for _ in 0..40 {
            if -slope * length <= 1e-2 * PROMISE * here.value.abs() {
                break;
            }
            match self.at(moved(&here.at, length, along)) {
                Some(next) if next.value <= here.value + DECREASE * length * slope => {
                    let far = dot(&next.gradient, along);
                    if far >= CURVATURE * slope {
                        return Some(next);
                    }
                    (low, lower) = (length, Some(next));
                    // Where the slope would be zero, if it went on as it has begun.
                    let guess = if slope < far { length * slope / (slope - far) } else { f64::INFINITY };
                    length =
                        if high.is_finite() { f64::midpoint(low, high) } else { guess.clamp(2.0 * low, 10.0 * low) };
                }
                found => {
                    high = length;
                    // The parabola through here, its slope and what was found; the middle where that is no help.
                    let guess = found.map_or(f64::NAN, |next| {
                        -slope * length * length / (2.0 * (next.value - here.value - slope * length))
                    });
                    let (least, most) = (low + 0.1 * (high - low), low + 0.6 * (high - low));
                    length = if low == 0.0 && guess.is_finite() {
                        guess.clamp(least, most)
                    } else {
                        f64::midpoint(low, high)
                    };
                }
            }
            if high - low <= 1e-14 * high.min(1.0) {
                break;
            }
        }
        lower
    }

    /// Nelder and Mead's simplex around `from`.
    fn crawl(&self, from: [f64; N]) {
        let value = |at: [f64; N]| self.at(at).map_or(f64::MAX, |point| point.value);
        let mut corners: Vec<([f64; N], f64)> = (0..=N)
            .map(|corner| {
                let mut at = from;
                if let Some(axis) = corner.checked_sub(1).and_then(|axis| at.get_mut(axis)) {
                    *axis += 0.3;
                }
                (at, value(at))
            })
            .collect();
        for _ in 0..2_000 {
            corners.sort_by(|one, other| one.1.total_cmp(&other.1));
            let (best, worst) = (corners[0], corners[N]);
            let nearly = corners[N.saturating_sub(1)].1;
            if worst.1 - best.1 <= 1e-13 * best.1.abs() {
                return;
            }
            let middle: [f64; N] =
                std::array::from_fn(|axis| corners[..N].iter().map(|corner| corner.0[axis]).sum::<f64>() / N as f64);
            let away: [f64; N] = std::array::from_fn(|axis| middle[axis] - worst.0[axis]);
            let tried = |factor: f64| {
                let at = moved(&middle, factor, &away);
                (at, value(at))
            };
            let reflected = tried(1.0);
            if reflected.1 < best.1 {
                let expanded = tried(2.0);
                corners[N] = if expanded.1 < reflected.1 { expanded } else { reflected };
            } else if reflected.1 < nearly {
                corners[N] = reflected;
            } else {
                let contracted = if reflected.1 < worst.1 { tried(0.5) } else { tried(-0.5) };
                if contracted.1 < worst.1.min(reflected.1) {
                    corners[N] = contracted;
                } else {
                    for corner in corners.iter_mut().skip(1) {
                        corner.0 = std::array::from_fn(|axis| f64::midpoint(best.0[axis], corner.0[axis]));
                        corner.1 = value(corner.0);
                    }
                }
            }
        }
    }
}

/// Downhill by what is remembered of steps, changes of the gradient and their products, the newest last: the two loops of
/// L-BFGS.
fn direction<const N: usize>(gradient: &[f64; N], memory: &VecDeque<([f64; N], [f64; N], f64)>) -> [f64; N] {
    let mut along = gradient.map(|slope| -slope);
    let mut weights = Vec::with_capacity(memory.len());
    for (step, change, curvature) in memory.iter().rev() {
        let weight = dot(step, &along) / curvature;
        along = moved(&along, -weight, change);
        weights.push(weight);
    }
    if let Some((_, change, curvature)) = memory.back() {
        let scale = curvature / dot(change, change);
        along = along.map(|slope| slope * scale);
    }
    for ((step, change, curvature), weight) in memory.iter().zip(weights.iter().rev()) {
        let other = dot(change, &along) / curvature;
        along = moved(&along, weight - other, step);
    }
    along
}

/// The lowest point of `function` (a value near one, and its gradient) that L-BFGS finds from any of `starts`; where none
/// of them ends on flat ground, Nelder-Mead goes on from the best. None only if the function is a number nowhere.
pub(in crate::lifecycle) fn minimize<const N: usize>(
    function: impl Fn([f64; N]) -> (f64, [f64; N]),
    starts: &[[f64; N]],
) -> Option<Minimum<N>> {
    let searched = Searched { function, best: RefCell::new(None) };
    let best = || *searched.best.borrow();
    for start in starts {
        searched.descend(*start, NEAR);
    }
    if let Some(lowest) = best() {
        searched.descend(lowest.at, FLAT);
    }
    if best().is_none_or(|lowest| steepness(&lowest.gradient) >= STEEP) {
        let from = best().map(|lowest| lowest.at).or_else(|| starts.first().copied())?;
        searched.crawl(from);
    }
    best().map(|lowest| Minimum { at: lowest.at, value: lowest.value, flat: steepness(&lowest.gradient) < STEEP })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curved_valley() {
        // Rosenbrock's.
        let function = |[x, y]: [f64; 2]| {
            let (u, v) = (1.0 - x, y - x * x);
            (u * u + 100.0 * v * v, [-2.0 * u - 400.0 * x * v, 200.0 * v])
        };
        let minimum = minimize(function, &[[-1.2, 1.0], [3.0, 3.0]]).unwrap();
        assert!(minimum.flat && minimum.value < 1e-12, "{minimum:?}");
        assert!(minimum.at.iter().all(|x| (x - 1.0).abs() < 1e-6), "{minimum:?}");
    }

    #[test]
    fn a_gradient_that_lies_is_the_last_resorts_business() {
        let function = |[x, y]: [f64; 2]| ((x - 2.0) * (x - 2.0) + (y + 1.0) * (y + 1.0), [1.0, 1.0]);
        let minimum = minimize(function, &[[0.0, 0.0]]).unwrap();
        assert!((minimum.at[0] - 2.0).abs() < 1e-4 && (minimum.at[1] + 1.0).abs() < 1e-4, "{minimum:?}");
        assert!(!minimum.flat);
    }

    #[test]
    fn no_numbers_no_minimum_and_no_fault() {
        assert_eq!(minimize(|_: [f64; 3]| (f64::NAN, [0.0; 3]), &[[0.0; 3], [1.0; 3]]), None);
        let half = |[x]: [f64; 1]| if x < 1.0 { (f64::NAN, [f64::NAN]) } else { (x, [1.0]) };
        let minimum = minimize(half, &[[0.0], [5.0]]).unwrap();
        assert!((1.0..1.001).contains(&minimum.value), "{minimum:?}");
        // Downhill for ever: the bound holds it.
        let minimum = minimize(|[x]: [f64; 1]| (-x, [-1.0]), &[[0.0]]).unwrap();
        assert!((39.0..=BOUND).contains(&minimum.at[0]), "{minimum:?}");
    }
}
