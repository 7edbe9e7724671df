//! What a project's landed data is taken for, before anything is computed from it.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use chrono::{DateTime, NaiveDate, Utc};

use super::setup::Project;
use crate::engine::Params;
use crate::engine::statement::{identifier, literal, plan_text};
use crate::error::Result;
use crate::land::{self, Landed};
use crate::schema::landed::Table;

/// What one landed order status is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// As landed; none where it is missing.
    pub landed: Option<String>,
    /// The contract's status; none where it is not known.
    pub meaning: Option<String>,
    /// Rows that have it.
    pub rows: u64,
}

/// Customers who share an address of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// `email` or `phone`.
    pub contact: &'static str,
    /// Addresses that more than one customer has.
    pub addresses: u64,
    /// Customers who have one of those.
    pub customers: u64,
}

/// What the landed data is taken for.
#[derive(Debug, Default)]
pub struct Understood {
    /// Files, rows and columns by table.
    pub landed: Landed,
    /// Statuses, most rows first.
    pub statuses: Vec<Status>,
    /// Addresses that several customers share.
    pub shared: Vec<Shared>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// Orders older than this many days should have been paid or cancelled.
const SETTLED_DAYS: i64 = 7;
/// The share of old pending orders above which they are probably orders that count.
const PENDING_SHARE: f64 = 0.05;

/// Looks at the landed data.
///
/// # Errors
/// Landed files that cannot be read.
pub async fn understand(project: &Project, as_of: NaiveDate, present: DateTime<Utc>) -> Result<Understood> {
    let session = project.engine.session();
    let options = project.landing(as_of, present);
    let found = Box::pin(land::find(&session, &project.sources, &options)).await?;
    let mut understood = Understood { landed: found.landed.clone(), ..Understood::default() };
    understood.warnings.clone_from(&found.landed.warnings);
    understood.warnings.extend(project.unfound(&found.landed));

    let rows = |sql: String| {
        let session = session.clone();
        async move {
            let mut rows = Vec::new();
            for batch in plan_text(&session, &sql, &Params::new()).await?.collect().await? {
                let texts = [cast(batch.column(0), &DataType::Utf8)?, cast(batch.column(1), &DataType::Utf8)?];
                let counts = batch.column(2).as_primitive::<Int64Type>();
                let old = batch.column(3).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    let text = |column: usize| {
                        let values = texts[column].as_string::<i32>();
                        values.is_valid(row).then(|| values.value(row).to_owned())
                    };
                    let count = |value: i64| u64::try_from(value).unwrap_or(0);
                    rows.push((text(0), text(1), count(counts.value(row)), count(old.value(row))));
                }
            }
            Ok::<_, crate::error::Error>(rows)
        }
    };

    let week = (present - chrono::TimeDelta::days(SETTLED_DAYS)).timestamp_micros();
    let status = found.landed_column_sql(Table::Orders, "status");
    if let Some(landed) = status {
        let sql = format!(
            "SELECT landed, meaning, count(*) AS n, count(*) FILTER (WHERE ordered_at < arrow_cast({week}, 'Timestamp(Microsecond, Some(\"UTC\"))')) AS old \
             FROM ({}) GROUP BY landed, meaning ORDER BY n DESC, landed",
            found.status_sql(&landed, &options)
        );
        let found = rows(sql).await?;
        let old: u64 = found.iter().map(|(_, _, _, old)| old).sum();
        let pending: u64 = found.iter().filter(|row| row.1.as_deref() == Some("pending")).map(|row| row.3).sum();
        let counted = project.settings.orders.counted.contains("pending");
        #[expect(clippy::cast_precision_loss, reason = "a share of counts")]
        let share = pending as f64 / old.max(1) as f64;
        if share > PENDING_SHARE && !counted {
            understood.warnings.push(format!(
                "{:.0}% of the orders older than a week are pending: if they are paid on delivery or by invoice, \
                 write `counted = [\"paid\", \"refunded\", \"partially_refunded\", \"pending\"]` under `[orders]`",
                share * 100.0
            ));
        }
        understood.statuses =
            found.into_iter().map(|(landed, meaning, rows, _)| Status { landed, meaning, rows }).collect();
    }
    for contact in ["email", "phone"] {
        if !understood.landed.table(Table::Customers).present.contains(contact) {
            continue;
        }
        let sql = format!(
            "SELECT {}, CAST(NULL AS VARCHAR) AS nothing, count(*) AS addresses, coalesce(sum(customers), 0) AS customers FROM ( \
               SELECT count(DISTINCT customer_id) AS customers FROM ({}) WHERE {contact} IS NOT NULL GROUP BY lower({contact}) \
             ) WHERE customers > 1",
            literal(contact),
            found.rows_sql(Table::Customers, &options)
        );
        for (_, _, addresses, customers) in rows(sql).await? {
            if addresses > 0 {
                understood.shared.push(Shared { contact, addresses, customers });
            }
        }
    }
    Ok(understood)
}

impl land::Found {
    fn status_sql(&self, landed: &str, options: &land::Options) -> String {
        let mut arms = String::new();
        for (alias, meaning) in &options.statuses {
            arms.push_str(&format!(" WHEN {} THEN {}", literal(alias), literal(meaning)));
        }
        format!(
            "SELECT {name} AS landed, CASE WHEN {name} IS NULL THEN 'paid' ELSE CASE translate(lower({name}), '- ', '__'){arms} END END AS meaning, ordered_at FROM ({landed})",
            name = identifier("landed_status")
        )
    }
}
