//! The tables that a query of an attribute may read: their schemas before a day is computed, and the day's own.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field};
use chrono::NaiveDate;
use datafusion::prelude::SessionContext;

use crate::engine::statement::identifier;
use crate::error::Result;
use crate::land::Landed;
use crate::profile::{MADE_OF_ROWS, property_column};
use crate::schema::landed::{Reading, Table};
use crate::schema::published;

/// The tables that a query may read.
pub(super) const TABLES: [&str; 6] =
    ["customer_profile", "customer_profile_latest", "orders", "order_items", "events", "products"];

/// The columns of the profile that are not published.
const UNPUBLISHED: [&str; 3] = ["customer_no", "has_email", "has_phone"];

/// The tables that a query may read, with their columns.
pub(super) fn schemas(landed: &Landed, contact_fields: &BTreeSet<String>) -> Vec<(&'static str, Vec<Field>)> {
    let field = |name: &str, reading: Reading| Field::new(name, reading.data_type(), true);
    let custom = |table: Table| -> Vec<Field> {
        landed.table(table).custom.iter().map(|(name, reading)| field(name, *reading)).collect()
    };
    let customers = landed.table(Table::Customers).custom;
    let mut profile = vec![Field::new(published::AS_OF, DataType::Date32, true)];
    profile.extend(published::profile_columns());
    let properties = customers.iter().filter(|(name, _)| !contact_fields.contains(*name));
    profile.extend(properties.map(|(name, reading)| field(&property_column(name), *reading)));
    if !customers.contains_key("product_subscription_status") {
        profile.push(field("product_subscription_status", Reading::Text));
    }
    let facts = |table: Table, columns: &[(&str, Reading)]| {
        let mut fields: Vec<Field> = columns.iter().map(|(name, reading)| field(name, *reading)).collect();
        fields.extend(custom(table).into_iter().filter(|own| !MADE_OF_ROWS.contains(&own.name().as_str())));
        fields
    };
    let own = |table: Table| {
        let columns = table.columns().iter().filter(|column| column.name != "customer_id");
        columns.map(|column| field(column.name, column.reading)).collect::<Vec<_>>()
    };
    let mut events = vec![field("customer_id", Reading::Id)];
    events.extend(own(Table::Events));
    events.extend(custom(Table::Events));
    let mut products = own(Table::Products);
    products.extend(custom(Table::Products));
    vec![
        ("customer_profile", profile.clone()),
        ("customer_profile_latest", profile),
        ("orders", facts(Table::Orders, ORDERS)),
        ("order_items", facts(Table::OrderItems, ORDER_ITEMS)),
        ("events", events),
        ("products", products),
    ]
}

/// What `sql/profile/orders.sql` gives.
const ORDERS: &[(&str, Reading)] = &[
    ("order_id", Reading::Id),
    ("customer_id", Reading::Id),
    ("ordered_at", Reading::Instant),
    ("ordered_on", Reading::Date),
    ("status", Reading::Text),
    ("is_counted", Reading::Boolean),
    ("total", Reading::Money(2)),
    ("refunded", Reading::Money(2)),
    ("net_amount", Reading::Money(2)),
    ("fully_refunded", Reading::Boolean),
    ("discount", Reading::Money(2)),
    ("subtotal", Reading::Money(2)),
    ("shipping", Reading::Money(2)),
    ("tax", Reading::Money(2)),
    ("currency", Reading::Text),
    ("rate", Reading::Decimal(8)),
    ("coupon_codes", Reading::List),
    ("channel", Reading::Text),
    ("store", Reading::Text),
    ("recurring", Reading::Boolean),
    ("refunded_at", Reading::Instant),
    ("updated_at", Reading::Instant),
];

/// What `sql/profile/order_items.sql` gives.
const ORDER_ITEMS: &[(&str, Reading)] = &[
    ("order_id", Reading::Id),
    ("customer_id", Reading::Id),
    ("ordered_at", Reading::Instant),
    ("ordered_on", Reading::Date),
    ("is_counted", Reading::Boolean),
    ("line", Reading::Integer),
    ("product_id", Reading::Id),
    ("sku", Reading::Id),
    ("title", Reading::Text),
    ("category", Reading::Text),
    ("collections", Reading::List),
    ("brand", Reading::Text),
    ("labels", Reading::List),
    ("quantity", Reading::Integer),
    ("unit_price", Reading::Money(4)),
    ("returned_quantity", Reading::Integer),
    ("returned_at", Reading::Instant),
];

/// The tables that a query may read, from a night's own.
pub(super) async fn tables_of_the_night(
    session: &SessionContext,
    as_of: NaiveDate,
) -> Result<Vec<(&'static str, String)>> {
    let mut tables = Vec::new();
    for (name, of) in [
        ("customer_profile", "profile"),
        ("orders", "orders"),
        ("order_items", "order_items"),
        ("events", "landed_events"),
        ("products", "landed_products"),
    ] {
        let schema = session.table(of).await?;
        let fields = schema.schema().fields().iter().map(|field| field.name());
        let columns: Vec<String> = fields
            .filter(|column| !column.starts_with('_') && !UNPUBLISHED.contains(&column.as_str()))
            .filter(|column| of != "landed_events" || *column != "customer_id")
            .map(|column| format!("t.{}", identifier(column)))
            .collect();
        let columns = columns.join(", ");
        let sql = match of {
            "profile" => format!("SELECT DATE '{as_of}' AS as_of, {columns} FROM profile t"),
            "landed_events" => format!(
                "SELECT c.customer_id, {columns} FROM (SELECT customer_no, customer_id FROM customers) c \
                 JOIN (SELECT id, CAST(customer_no AS BIGINT) AS owner FROM who WHERE customer_no >= 0) w ON c.customer_no = w.owner \
                 JOIN landed_events t ON w.id = coalesce(t.customer_id, t.anonymous_id)"
            ),
            _ => format!("SELECT {columns} FROM {of} t"),
        };
        if name == "customer_profile" {
            tables.push(("customer_profile_latest", sql.clone()));
        }
        tables.push((name, sql));
    }
    Ok(tables)
}
