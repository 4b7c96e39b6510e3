//! Bars with whiskers, as SVG.

use anyhow::{Context, anyhow};
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, RGBColor, WHITE};

use super::number;
use crate::statistics::Spread;

const WIDTH: u32 = 760;
const ROW: u32 = 34;
/// Title and margins.
const FRAME: u32 = 70;
const LABELS: u32 = 190;
const LBCTL: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const OTHERS: RGBColor = RGBColor(0xb4, 0xb9, 0xc0);
/// Room to the right of the longest bar for its number, as a part of the bar.
const ROOM: f64 = 0.18;

/// A picture: one bar for each row, its length the median, its whisker the range.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The file's name in the report's directory.
    pub file: String,
    /// What is shown, with the unit.
    pub title: String,
    /// From top to bottom.
    pub rows: Vec<PlotRow>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct PlotRow {
    /// What stands before it.
    pub label: String,
    /// What it shows.
    pub spread: Spread,
    /// Whether it is drawn in the colour of lbctl.
    pub ours: bool,
}

impl Plot {
    /// The picture.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn svg(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.draw(&mut text).with_context(|| format!("draw {}", self.file))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> anyhow::Result<()> {
        let count = u32::try_from(self.rows.len()).context("count the rows")?;
        let area = SVGBackend::with_string(text, (WIDTH, FRAME + ROW * count)).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let most = self.rows.iter().map(|row| row.spread.max).fold(f64::MIN_POSITIVE, f64::max);
        let font = ("sans-serif", 14).into_font();
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(25)
            .margin_left(LABELS)
            .build_cartesian_2d(0.0..most * (1.0 + ROOM), f64::from(count)..0.0)
            .map_err(drawing)?;
        let label = |value: &f64| number(*value);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.12))
            .x_labels(6)
            .x_label_formatter(&label)
            .label_style(("sans-serif", 12))
            .draw()
            .map_err(drawing)?;
        for (index, row) in (0_u32..).zip(&self.rows) {
            let (top, middle) = (f64::from(index), f64::from(index) + 0.5);
            let Spread { median, min, max } = row.spread;
            let colour = if row.ours { LBCTL } else { OTHERS };
            let bar = Rectangle::new([(0.0, top + 0.2), (median, top + 0.8)], colour.filled());
            let whisker = PathElement::new([(min, middle), (max, middle)], BLACK.mix(0.6).stroke_width(2));
            let anchored = |horizontal| font.clone().color(&BLACK).pos(Pos::new(horizontal, VPos::Center));
            let value = Text::new(number(median), (max + most * 0.015, middle), anchored(HPos::Left));
            chart.draw_series([bar]).map_err(drawing)?;
            chart.draw_series([whisker]).map_err(drawing)?;
            chart.draw_series([value]).map_err(drawing)?;
            let (left, line) = chart.backend_coord(&(0.0, middle));
            area.draw(&Text::new(row.label.clone(), (left - 8, line), anchored(HPos::Right)))
                .map_err(drawing)?;
        }
        area.present().map_err(drawing)
    }
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}
