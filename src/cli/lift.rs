//! `alluvial lift`.

use serde_json::json;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::{Format, List, Output};
use super::rows::{Cell, Rows};
use crate::audience::lift::{Difference, Lift, lift};
use crate::error::Result;
use crate::snapshot::reading::Reading;

/// What `alluvial lift` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The export, as `alluvial export` named it
    #[arg(value_name = "EXPORT_ID")]
    pub export_id: String,
    /// Days after the export whose orders are looked at
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// Compares who was treated with who was held out.
///
/// # Errors
/// See [`lift`].
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let reading = Box::pin(Reading::open(&opened.project)).await?;
        let lift = Box::pin(lift(&reading, &args.export_id, args.days)).await?;
        print(&lift, output)?;
        Ok(Outcome::Done)
    })
}

fn print(lift: &Lift, output: &mut Output<'_>) -> Result<()> {
    if output.format() == Format::Json {
        return output.line(&format!("{:#}", json!(lift)));
    }
    let mut rows = Rows::new(&["measure", "#treated", "#held_out", "#difference", "#from", "#to"]);
    let mut row = |name: &str, found: &Difference| {
        let number = Cell::Float;
        rows.push(vec![
            Cell::text(name),
            number(found.treated),
            number(found.held_out),
            number(found.difference),
            number(found.from),
            number(found.to),
        ]);
    };
    row("share who ordered", &lift.conversion);
    row("orders a customer", &lift.orders);
    row("spend a customer", &lift.spend);
    let heading = format!(
        "{} days after {}: {} treated, {} held out; differences with their 95% confidence intervals",
        lift.days,
        lift.exported_at.format("%Y-%m-%d %H:%M UTC"),
        lift.treated.customers,
        lift.held_out.customers
    );
    output.lists(&[], vec![List { key: "measures", heading, rows }])?;
    if let Some(newest) = lift.not_over {
        output.warn(&format!("the {} days are not over: the newest published day is {newest}", lift.days));
    }
    if let Some(why) = &lift.too_small {
        output.warn(&format!("nothing can be told: {why}"));
    }
    Ok(())
}
