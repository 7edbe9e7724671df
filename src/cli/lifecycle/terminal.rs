//! Charts of characters.

use crate::lifecycle::backtest::StageOutcome;
use crate::lifecycle::backtest::measures::Tenth;

/// Cells of a whole bar.
const WIDTH: usize = 50;

/// A bar of eighths of a cell, `share` of a whole one.
fn bar(share: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the width is within it")]
    let eighths = (share.clamp(0.0, 1.0) * WIDTH as f64 * 8.0).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), PARTS.get(eighths % 8).copied().unwrap_or_default())
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Each tenth of the buyers: a bar of who ordered, and a mark where the prediction was.
pub(super) fn calibration(tenths: &[Tenth]) -> String {
    let most = tenths.iter().map(|tenth| tenth.rate.max(tenth.chance)).fold(0.0, f64::max);
    let mut lines = vec!["predicted   ordered   (bar: who ordered; ◆: the prediction)".to_owned()];
    for tenth in tenths {
        let scale = if most > 0.0 { 1.0 / most } else { 0.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the width is within it"
        )]
        let mark = (tenth.chance * scale * (WIDTH - 1) as f64).round() as usize;
        let mut cells: Vec<char> = bar(tenth.rate * scale).chars().collect();
        cells.resize(cells.len().max(mark + 1), ' ');
        if let Some(cell) = cells.get_mut(mark) {
            *cell = '◆';
        }
        let cells: String = cells.into_iter().collect();
        lines.push(format!("{:>9} {:>9}   {}", percent(tenth.chance), percent(tenth.rate), cells.trim_end()));
    }
    lines.join("\n")
}

/// Each stage: a bar of its share of the buyers, and one of those of it who ordered.
pub(super) fn stages(stages: &[StageOutcome]) -> String {
    let mut lines = Vec::new();
    for stage in stages {
        lines.push(
            format!("{:<15} {:>6} {}", stage.stage, percent(stage.share), bar(stage.share)).trim_end().to_owned(),
        );
        if let Some(rate) = stage.repurchase_rate {
            lines.push(format!("{:<15} {:>6} {}", "  ordered", percent(rate), bar(rate)).trim_end().to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_marks() {
        let tenth = |chance, rate| Tenth { buyers: 10.0, chance, rate };
        let drawn = calibration(&[tenth(0.02, 0.0), tenth(0.10, 0.13), tenth(0.5, 0.4)]);
        insta::assert_snapshot!(drawn, @r"
        predicted   ordered   (bar: who ordered; ◆: the prediction)
             2.0%      0.0%     ◆
            10.0%     13.0%   ██████████◆██
            50.0%     40.0%   ████████████████████████████████████████         ◆
        ");
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(7.0).chars().count(), WIDTH);
        assert_eq!(calibration(&[tenth(0.0, 0.0)]).lines().count(), 2);
        let stage = |stage: &str, share, repurchase_rate| StageOutcome {
            stage: stage.to_owned(),
            customers: 1,
            share,
            repurchase_rate,
            mean_spend: None,
            share_of_revenue: None,
        };
        insta::assert_snapshot!(stages(&[stage("loyal", 0.25, Some(0.5)), stage("churned", 0.0, None)]), @r"
        loyal            25.0% ████████████▌
          ordered        50.0% █████████████████████████
        churned           0.0%
        ");
    }
}
