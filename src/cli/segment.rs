//! `alluvial segment`.

mod execute;
mod explain;

pub use execute::execute;

use chrono::NaiveDate;
use clap::Subcommand;
use serde_json::json;

use super::output::{Format, List, Output};
use super::rows::{Cell, Rows};
use crate::error::Result;

/// What `alluvial segment` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do with the segment.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with a segment.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// What it says, with every date resolved
    Show {
        /// The segment.
        #[command(flatten)]
        subject: Subject,
        /// The day that relative dates are seen from [default: the newest published]
        #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
        as_of: Option<NaiveDate>,
        /// Only the one canonical form of its query
        #[arg(long)]
        canonical: bool,
    },
    /// SQL that returns its members and stands on its own
    Sql {
        /// The segment.
        #[command(flatten)]
        subject: Subject,
        /// The day that relative dates are seen from [default: the newest published]
        #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
        as_of: Option<NaiveDate>,
    },
    /// Who would be in it on a published day: how many, and some of them
    Preview {
        /// The segment.
        #[command(flatten)]
        subject: Subject,
        /// The published day [default: the newest]
        #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
        as_of: Option<NaiveDate>,
        /// How many to show
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Why one customer is in it or not on the newest published day: each clause's value and verdict
    Explain {
        /// The segment's id; with `--query` the customer's
        #[arg(value_name = "ID")]
        id: String,
        /// The customer's id
        #[arg(value_name = "CUSTOMER_ID", required_unless_present = "query", conflicts_with = "query")]
        customer: Option<String>,
        /// A query instead of a segment
        #[arg(long, value_name = "QUERY")]
        query: Option<String>,
    },
    /// Its members on a published day
    Members {
        /// The segment's id
        #[arg(value_name = "ID")]
        id: String,
        /// The published day [default: the newest]
        #[arg(long, value_name = "DATE", value_parser = super::arguments::date)]
        as_of: Option<NaiveDate>,
    },
    /// Its size and change, day by day
    History {
        /// The segment's id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// A segment of the project, or a query that is none yet.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// The segment's id
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// A query instead of a segment
    #[arg(long, value_name = "QUERY")]
    pub query: Option<String>,
}

/// A segment as it is shown.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Its id; `None` for a query that is no segment.
    pub id: Option<String>,
    /// Its name for people.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// 1 is first.
    pub priority: Option<i64>,
    /// What its members should come to satisfy.
    pub goal: Option<String>,
    /// Whether it is computed.
    pub active: bool,
    /// The query as written.
    pub query: String,
    /// The one canonical form of it.
    pub canonical: String,
    /// Its tree in the JSON form.
    pub tree: serde_json::Value,
    /// Every relative date as written, and the day or days that it is.
    pub dates: Vec<(String, String)>,
    /// The day that those are seen from.
    pub as_of: Option<NaiveDate>,
}

/// Prints a segment.
///
/// # Errors
/// As [`Output::write`].
pub fn print_shown(shown: &Shown, output: &mut Output<'_>) -> Result<()> {
    if output.format() == Format::Json {
        let dates: Vec<_> =
            shown.dates.iter().map(|(written, means)| json!({"written": written, "means": means})).collect();
        let value = json!({
            "id": shown.id, "name": shown.name, "description": shown.description, "owner": shown.owner,
            "tags": shown.tags, "priority": shown.priority, "goal": shown.goal, "active": shown.active,
            "query": shown.query, "canonical": shown.canonical, "tree": shown.tree, "dates": dates,
            "as_of": shown.as_of.map(|day| day.to_string()),
        });
        return output.line(&format!("{value:#}"));
    }
    let mut rows = Rows::new(&["what", "value"]);
    let mut fact = |what: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            rows.push(vec![Cell::text(what), Cell::Text(value)]);
        }
    };
    fact("id", shown.id.clone());
    fact("name", shown.name.clone());
    fact("description", shown.description.clone());
    fact("owner", shown.owner.clone());
    fact("tags", Some(shown.tags.join(", ")));
    fact("priority", shown.priority.map(|priority| priority.to_string()));
    fact("goal", shown.goal.clone());
    fact("active", shown.id.as_ref().map(|_| shown.active.to_string()));
    fact("as of", shown.as_of.map(|day| day.to_string()));
    for (written, means) in &shown.dates {
        fact(written, Some(means.clone()));
    }
    if output.format() == Format::Csv {
        fact("query", Some(shown.query.clone()));
        return output.rows(rows);
    }
    if !rows.rows.is_empty() {
        output.rows(rows)?;
        output.line("")?;
    }
    output.line(shown.query.trim_end())
}

/// Prints a text that is to be copied: SQL, or a canonical query. As JSON a string; in the other formats as it is.
///
/// # Errors
/// As [`Output::write`].
pub fn print_text(text: &str, output: &mut Output<'_>) -> Result<()> {
    match output.format() {
        Format::Json => output.line(&json!(text).to_string()),
        _ => output.line(text.trim_end()),
    }
}

/// Prints how many customers a query names, and some of them.
///
/// # Errors
/// As [`Output::lists`].
pub fn print_preview(
    as_of: NaiveDate,
    members: u64,
    customers: u64,
    sample: Rows,
    output: &mut Output<'_>,
) -> Result<()> {
    let facts = [("as_of", json!(as_of.to_string())), ("members", json!(members)), ("customers", json!(customers))];
    let share = if customers == 0 { 0.0 } else { 100.0 * members as f64 / customers as f64 };
    let heading = format!("{members} of {customers} customers ({share:.1}%) as of {as_of}");
    output.lists(&facts, vec![List { key: "sample", heading, rows: sample }])
}

/// A segment's size on one published day.
#[derive(Debug, Clone)]
pub struct Size {
    /// The day.
    pub as_of: NaiveDate,
    /// Members.
    pub members: u64,
    /// Members who were none on the published day before; `None` on its first day.
    pub entered: Option<u64>,
    /// The reverse.
    pub exited: Option<u64>,
}

/// Prints a segment's sizes, day by day.
///
/// # Errors
/// As [`Output::rows`].
pub fn print_history(sizes: &[Size], output: &mut Output<'_>) -> Result<()> {
    let mut rows = Rows::new(&["as_of", "#members", "#entered", "#exited"]);
    for size in sizes {
        rows.push(vec![
            Cell::text(size.as_of.to_string()),
            Cell::count(size.members),
            Cell::maybe(size.entered, Cell::count),
            Cell::maybe(size.exited, Cell::count),
        ]);
    }
    output.rows(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Action, clap::error::ErrorKind> {
        let words = std::iter::once("segment").chain(words.iter().copied());
        <Line as clap::Parser>::try_parse_from(words).map(|line| line.args.action).map_err(|error| error.kind())
    }

    #[test]
    fn a_subject_is_an_id_or_a_query() {
        use clap::error::ErrorKind;
        assert!(matches!(
            parse(&["show", "vip"]),
            Ok(Action::Show { subject: Subject { id: Some(_), query: None }, .. })
        ));
        assert!(matches!(parse(&["sql", "--query", "number_of_orders = 0"]), Ok(Action::Sql { .. })));
        assert!(matches!(parse(&["explain", "vip", "c1"]), Ok(Action::Explain { customer: Some(_), .. })));
        assert!(matches!(parse(&["explain", "c1", "--query", "x"]), Ok(Action::Explain { query: Some(_), .. })));
        assert_eq!(parse(&["explain", "vip"]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&["explain", "vip", "c1", "--query", "x"]).unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse(&["preview"]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&["show", "vip", "--query", "x"]).unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse(&["members", "vip", "--as-of", "2026-02-30"]).unwrap_err(), ErrorKind::ValueValidation);
    }

    #[test]
    fn a_segment_is_shown_with_its_dates() {
        let shown = Shown {
            id: Some("new".to_owned()),
            active: true,
            query: "first_order_date >= -30d".to_owned(),
            canonical: "first_order_date >= -30d".to_owned(),
            dates: vec![("-30d".to_owned(), "2026-10-20".to_owned())],
            ..Shown::default()
        };
        let (text, _) = printed(Format::Table, |output| print_shown(&shown, output));
        insta::assert_snapshot!(text, @r"
        what    value
        id      new
        active  true
        -30d    2026-10-20

        first_order_date >= -30d
        ");
        let (text, _) = printed(Format::Json, |output| print_shown(&shown, output));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["dates"][0]["means"], "2026-10-20");
    }

    #[test]
    fn a_preview_counts_and_samples() {
        let sample = || Rows::new(&["customer_id", "#number_of_orders"]).with(vec![Cell::text("c1"), Cell::count(3)]);
        let day = crate::calendar::parse_date("2026-11-19").unwrap();
        let (text, _) = printed(Format::Table, |output| print_preview(day, 1, 8, sample(), output));
        insta::assert_snapshot!(text, @r"
        1 of 8 customers (12.5%) as of 2026-11-19
        customer_id  number_of_orders
        c1                          3
        ");
        let (text, _) = printed(Format::Json, |output| print_preview(day, 1, 8, sample(), output));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["sample"][0]["number_of_orders"], 3);
    }
}
