//! What the actions of `alluvial segment` do.

use chrono::NaiveDate;

use super::{Action, Args, Shown, Size, Subject, explain, print_history, print_preview, print_shown, print_text};
use crate::cli::Outcome;
use crate::cli::opened::{Call, Opened, rule_of};
use crate::cli::output::Output;
use crate::cli::query;
use crate::cli::rows::Rows;
use crate::engine::statement::literal;
use crate::error::{Error, Result};
use crate::profile::catalogue::Catalogue;
use crate::segments::check::ResolvedDate;
use crate::segments::check::Rule;
use crate::segments::check::domain;
use crate::segments::compile::{Scope, Tables, standalone_sql};
use crate::segments::definition::Segments;
use crate::segments::explain as explanation;
use crate::segments::syntax::{self, Expr};
use crate::snapshot::reading::Reading;
use crate::snapshot::seen::never_seen;

/// Does what was asked of a segment.
///
/// # Errors
/// Faults of the segments or of the query, an id that nothing has, a day that is not published.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let reading = Box::pin(Reading::open(&opened.project)).await?;
        match &args.action {
            Action::Show { subject, as_of, canonical } => {
                let asked = Asked::new(&opened, &reading, subject, *as_of, output).await?;
                asked.look_for_values(&opened, output).await?;
                if *canonical {
                    print_text(&asked.expr.to_string(), output)?;
                } else {
                    print_shown(&asked.shown()?, output)?;
                }
            }
            Action::Sql { subject, as_of } => {
                let asked = Asked::new(&opened, &reading, subject, *as_of, output).await?;
                print_text(&asked.sql(&Tables::default())?, output)?;
            }
            Action::Preview { subject, as_of, limit } => {
                let day = reading.day(*as_of)?.as_of;
                let asked = Asked::new(&opened, &reading, subject, Some(day), output).await?;
                asked.look_for_values(&opened, output).await?;
                let members = asked.sql(&reading.profile_of(day).await?)?;
                asked.with_rows(&opened, &reading, day, &members).await?;
                preview(&reading, day, &members, *limit, output).await?;
            }
            Action::Explain { id, customer, query } => {
                let (subject, customer) = match customer {
                    Some(customer) => (Subject { id: Some(id.clone()), query: None }, customer),
                    None => (Subject { id: None, query: query.clone() }, id),
                };
                let day = reading.day(None)?.as_of;
                let asked = Asked::new(&opened, &reading, &subject, Some(day), output).await?;
                explain::explain(&asked, &opened, &reading, customer, output).await?;
            }
            Action::Members { id, as_of } => {
                let day = reading.day(*as_of)?.as_of;
                known(&reading, id, day).await?;
                let frame = Box::pin(reading.members(id, day)).await?;
                let schema = frame.schema().as_arrow().clone();
                query::print(&schema, frame.execute_stream().await?, output).await?;
            }
            Action::History { id } => {
                let sizes = reading.sizes(&format!("segment = {}", literal(id))).await?;
                if sizes.is_empty() {
                    return Err(not_published(&reading, id).await?);
                }
                let sizes: Vec<Size> = sizes
                    .into_iter()
                    .map(|size| Size {
                        as_of: size.as_of,
                        members: size.members,
                        entered: size.entered,
                        exited: size.exited,
                    })
                    .collect();
                print_history(&sizes, output)?;
            }
        }
        Ok(Outcome::Done)
    })
}

/// A segment or a query, checked for a day.
pub(super) struct Asked {
    rule: Rule,
    pub(super) segments: Segments,
    pub(super) catalogue: Catalogue,
    pub(super) scope: Scope,
    pub(super) id: Option<String>,
    query: String,
    expr: Expr,
}

impl Asked {
    async fn new(
        opened: &Opened,
        reading: &Reading,
        subject: &Subject,
        as_of: Option<NaiveDate>,
        output: &mut Output<'_>,
    ) -> Result<Self> {
        let newest = reading.snapshots.latest().map(|day| day.as_of);
        let as_of = as_of.or(newest).unwrap_or_else(|| opened.yesterday());
        let catalogue = opened.catalogue().await?;
        let segments = opened.segments(&catalogue, as_of)?;
        let scope = Scope { zone: opened.project.settings.project.zone, as_of };
        let (rule, id, query, expr) = match (&subject.id, &subject.query) {
            (_, Some(query)) => {
                let rule = rule_of(query, &segments, &catalogue, as_of, output)?;
                (rule, None, query.clone(), syntax::parse(query).expr)
            }
            (Some(id), None) => {
                let segment = segments.get(id)?;
                let query = &segment.definition.query;
                (segment.rule.clone(), Some(id.clone()), query.text.clone(), query.expr.clone())
            }
            (None, None) => return Err(Error::usage("segment.nothing", "name a segment, or give a `--query`")),
        };
        Ok(Self { rule, segments, catalogue, scope, id, query, expr })
    }

    /// Warns of the tags, categories and the like that no landed row has.
    async fn look_for_values(&self, opened: &Opened, output: &mut Output<'_>) -> Result<()> {
        let asked = domain::asked(&self.expr, &self.catalogue);
        let color = output.color();
        for (_, found) in never_seen(&opened.project, self.scope.as_of, opened.clock.now(), &asked).await? {
            let told = match self.id.as_ref().and_then(|id| self.segments.get(id).ok()) {
                Some(segment) => {
                    let definition = &segment.definition;
                    definition.query.in_file(found).render(&definition.origin, &definition.source, color)
                }
                None => found.render("--query", &self.query, color),
            };
            output.say(&told);
        }
        Ok(())
    }

    /// What is explained.
    pub(super) fn subject(&self) -> explanation::Subject<'_> {
        let segment = self.id.as_ref().and_then(|id| self.segments.get(id).ok());
        let store = segment.and_then(|segment| segment.definition.store.as_deref());
        explanation::Subject { expr: &self.expr, rule: &self.rule, store }
    }

    pub(super) fn sql(&self, tables: &Tables) -> Result<String> {
        standalone_sql(&self.rule, &self.segments.rules(), self.scope, tables)
    }

    /// Gives the session the rows that the statement reads; those of a day before the newest are not kept.
    pub(super) async fn with_rows(&self, opened: &Opened, reading: &Reading, day: NaiveDate, sql: &str) -> Result<()> {
        let newest = reading.day(None)?.as_of;
        if day < newest && self.asks_rows() {
            let message = format!("orders and events are kept as of the newest published day, {newest}");
            return Err(Error::definition("segment.rows_of_the_past", message).with_hint(format!(
                "look at {newest}, or at the members of that day with `alluvial segment members ID --as-of {day}`"
            )));
        }
        reading.check_kept(self.rule.custom_row_columns()).await?;
        if reading.reads_rows(sql)? {
            Box::pin(reading.with_rows(&opened.project, opened.clock.now())).await?;
        }
        Ok(())
    }

    /// Whether the rule, or a segment that it refers to, asks about rows.
    fn asks_rows(&self) -> bool {
        let rules = self.segments.rules();
        let mut seen: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
        let mut todo = vec![&self.rule];
        while let Some(rule) = todo.pop() {
            if !rule.row_tests().is_empty() {
                return true;
            }
            todo.extend(
                rule.references().into_iter().filter(|id| seen.insert(id)).filter_map(|id| rules.get(id).copied()),
            );
        }
        false
    }

    fn shown(&self) -> Result<Shown> {
        let mut shown = Shown {
            id: self.id.clone(),
            active: true,
            query: self.query.clone(),
            canonical: self.expr.to_string(),
            tree: self.tree()?,
            dates: self.rule.dates(self.scope.as_of).iter().map(days_of).collect(),
            as_of: Some(self.scope.as_of),
            ..Shown::default()
        };
        if let Some(Ok(segment)) = self.id.as_ref().map(|id| self.segments.get(id)) {
            let definition = &segment.definition;
            shown.name = Some(definition.name.clone());
            shown.description.clone_from(&definition.description);
            shown.owner.clone_from(&definition.owner);
            shown.tags.clone_from(&definition.tags);
            shown.priority = definition.priority.map(i64::from);
            shown.goal = definition.goal.as_ref().map(|goal| goal.canonical());
        }
        Ok(shown)
    }

    fn tree(&self) -> Result<serde_json::Value> {
        let wrong = |error: serde_json::Error| Error::internal("segment.json", error.to_string());
        serde_json::from_str(&syntax::to_json(&self.expr)?).map_err(wrong)
    }
}

/// A date as written, and the days that it stands for.
fn days_of(date: &ResolvedDate) -> (String, String) {
    let means = match (date.from, date.to) {
        (Some(from), Some(to)) if from == to => from.to_string(),
        (Some(from), Some(to)) => format!("{from} to {to}"),
        (Some(from), None) => format!("from {from}"),
        (None, Some(to)) => format!("to {to}"),
        (None, None) => "any day".to_owned(),
    };
    let length = date.days.map_or_else(String::new, |days| format!(", {days} days"));
    (format!("{} {}", date.attribute, date.written), format!("{means}{length}"))
}

async fn preview(
    reading: &Reading,
    day: NaiveDate,
    members: &str,
    limit: usize,
    output: &mut Output<'_>,
) -> Result<()> {
    let inner = members.trim_end().trim_end_matches(';');
    let count = reading.count(&format!("SELECT count(*) AS members FROM ({inner})")).await?;
    let all = reading
        .count(&format!("SELECT count(*) AS customers FROM customer_profile WHERE as_of = DATE '{day}'"))
        .await?;
    let sample = format!(
        "SELECT p.customer_id, p.city, p.country, p.number_of_orders, p.amount_spent, p.last_order_date, p.lifecycle_stage \
         FROM customer_profile p JOIN ({inner}) m ON m.customer_id = p.customer_id \
         WHERE p.as_of = DATE '{day}' ORDER BY p.customer_id LIMIT {limit}"
    );
    let frame = reading.sql(&sample).await?;
    let schema = frame.schema().as_arrow().clone();
    let rows = Rows::from_batches(&schema, &frame.collect().await?)?;
    print_preview(day, count, all, rows, output)
}

/// Refuses an id that was no segment on the day.
async fn known(reading: &Reading, id: &str, day: NaiveDate) -> Result<()> {
    let there =
        format!("SELECT count(*) AS n FROM segment_sizes WHERE segment = {} AND as_of = DATE '{day}'", literal(id));
    if reading.count(&there).await? > 0 { Ok(()) } else { Err(not_published(reading, id).await?) }
}

async fn not_published(reading: &Reading, id: &str) -> Result<Error> {
    reading.day(None)?;
    let ids = reading.texts("SELECT DISTINCT segment FROM segment_sizes ORDER BY segment").await?;
    let error = Error::not_found("segment.not_published", format!("no published day has a segment `{id}`"));
    Ok(match crate::diagnostic::nearest(id, ids.iter().map(String::as_str)) {
        Some(near) if near != id => error.with_hint(format!("did you mean `{near}`?")),
        _ => error.with_hint("`alluvial segments` lists the segments; a new one is there once its day is published"),
    })
}
