//! The digamma function ψ, which neither the standard library nor libm has.

/// ψ(x) = d/dx ln Γ(x) for x > 0, to about fifteen digits: ψ(x) = ψ(x+1) − 1/x up to x ≥ 10, then the asymptotic series
/// ln x − 1/(2x) − Σ B_2k/(2k x^2k) (Abramowitz and Stegun 6.3.5, 6.3.18). NaN for other x.
pub(super) fn digamma(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    let (mut x, mut before) = (x, 0.0);
    while x < 10.0 {
        before -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    // B_2k/(2k) for k = 1…7.
    let terms = [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0];
    let series = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * square);
    before + x.ln() - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let euler = 0.577_215_664_901_532_9;
        for (x, wanted) in [
            (1.0, -euler),
            (0.5, -euler - 2.0 * std::f64::consts::LN_2),
            (2.0, 1.0 - euler),
            // mpmath.digamma with 20 digits.
            (10.0, 2.251_752_589_066_721),
            (1e-3, -1_000.575_571_931_810_3),
            (123.456, 4.811_829_323_828_985),
            (1e8, 18.420_680_738_952_367),
        ] {
            assert!((digamma(x) - wanted).abs() <= 4e-15 * (1.0 + wanted.abs()), "ψ({x}) = {}", digamma(x));
        }
        assert!(digamma(0.0).is_nan() && digamma(-1.5).is_nan() && digamma(f64::NAN).is_nan());
    }
}
