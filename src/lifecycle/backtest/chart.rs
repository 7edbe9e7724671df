//! A picture of a back-test: is a chance of 30% one of 30%, and do the stages differ?

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor, Rectangle, SVGBackend,
    Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, TextStyle};

use super::Backtest;
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (1120, 520);
const OURS: RGBColor = RGBColor(31, 97, 141);
const OTHERS: RGBColor = RGBColor(176, 176, 176);
const RATE: RGBColor = RGBColor(202, 111, 30);
const FONT: &str = "sans-serif";

impl Backtest {
    /// The picture as SVG: calibration on the left, the stages on the right.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(&mut text).map_err(|message| Error::internal("backtest.chart", message))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> std::result::Result<(), String> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        let (left, right) = root.split_horizontally(SIZE.0 / 2);
        self.draw_calibration(&left)?;
        self.draw_stages(&right)?;
        root.present().map_err(|error| error.to_string())
    }

    fn draw_calibration(&self, area: &Area<'_>) -> std::result::Result<(), String> {
        let wrong = |error: plotters::drawing::DrawingAreaErrorKind<std::io::Error>| error.to_string();
        let highest = self.calibration.iter().map(|tenth| tenth.chance.max(tenth.rate)).fold(0.05, f64::max);
        let top = ((highest * 10.0).floor() / 10.0 + 0.1).min(1.0);
        let title = format!("Calibration: order within {} days of {}", self.holdout_days, self.as_of);
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 18))
            .margin(16)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..top, 0.0..top)
            .map_err(wrong)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&percent)
            .y_label_formatter(&percent)
            .x_desc("predicted chance, tenths of the buyers")
            .y_desc("share who ordered")
            .label_style((FONT, 13))
            .draw()
            .map_err(wrong)?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (top, top)], OTHERS.stroke_width(2))).map_err(wrong)?;
        let points = || self.calibration.iter().map(|tenth| (tenth.chance, tenth.rate));
        chart.draw_series(LineSeries::new(points(), OURS.stroke_width(2))).map_err(wrong)?;
        chart.draw_series(points().map(|point| Circle::new(point, 5, OURS.filled()))).map_err(wrong)?;
        let told = format!(
            "{} buyers, {} ordered; actual/expected orders {}",
            self.buyers,
            self.ordered,
            ratio(self.totals.actual_orders, self.totals.expected_orders)
        );
        let style = TextStyle::from((FONT, 13).into_font()).color(&BLACK);
        chart.draw_series([Text::new(told, (top * 0.03, top * 0.97), style)]).map_err(wrong)?;
        Ok(())
    }

    fn draw_stages(&self, area: &Area<'_>) -> std::result::Result<(), String> {
        let wrong = |error: plotters::drawing::DrawingAreaErrorKind<std::io::Error>| error.to_string();
        let count = self.stages.len().max(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .caption("Stages: share of the buyers, and who ordered", (FONT, 18))
            .margin(16)
            .x_label_area_size(46)
            .y_label_area_size(130)
            .build_cartesian_2d(0.0..1.15, 0.0..count)
            .map_err(wrong)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(WHITE)
            .x_labels(6)
            .x_label_formatter(&percent)
            .x_desc("share of the buyers (blue), share of the stage who ordered (orange)")
            .label_style((FONT, 13))
            .draw()
            .map_err(wrong)?;
        for (place, stage) in self.stages.iter().enumerate() {
            let top = count - place as f64;
            let bars = [(stage.share, OURS, 0.14, 0.46), (stage.repurchase_rate.unwrap_or(0.0), RATE, 0.50, 0.82)];
            let bars = bars
                .map(|(share, color, from, to)| Rectangle::new([(0.0, top - from), (share, top - to)], color.filled()));
            chart.draw_series(bars).map_err(wrong)?;
            let small =
                || TextStyle::from((FONT, 12).into_font()).color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
            let rate = stage.repurchase_rate.map_or_else(|| "nobody".to_owned(), |rate| percent(&rate));
            chart
                .draw_series([
                    Text::new(percent(&stage.share), (stage.share + 0.01, top - 0.30), small()),
                    Text::new(rate, (stage.repurchase_rate.unwrap_or(0.0) + 0.01, top - 0.66), small()),
                ])
                .map_err(wrong)?;
            let (x, y) = chart.backend_coord(&(0.0, top - 0.48));
            let (left, upper) = area.get_base_pixel();
            let name = TextStyle::from((FONT, 14).into_font()).color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(stage.stage.clone(), (x - left - 8, y - upper), name)).map_err(wrong)?;
        }
        chart.draw_series([PathElement::new([(0.0, 0.0), (0.0, count)], BLACK)]).map_err(wrong)?;
        Ok(())
    }
}

type Area<'a> = plotters::drawing::DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn percent(share: &f64) -> String {
    if *share > 0.0 && *share < 0.095 { format!("{:.1}%", share * 100.0) } else { format!("{:.0}%", share * 100.0) }
}

fn ratio(actual: f64, expected: f64) -> String {
    if expected > 0.0 { format!("{:.2}", actual / expected) } else { "–".to_owned() }
}
