//! The customer profile: whose order it is, daily facts, one row a customer.
//!
//! Every step is an SQL file under `sql/profile/` that a project may override. What one step leaves for the next is a
//! table of the session, kept on the local disk.

/// Every attribute and function that a query can name, once.
pub mod catalogue;
/// The project's own attributes, computed by its queries.
pub mod computed;
/// What somebody bought most of.
mod favorite;
/// Who is who.
mod identity;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use chrono::{Days, NaiveDate};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::scalar::ScalarValue;

use crate::calendar::Zone;
use crate::engine::statement::{identifier, plan_text};
use crate::engine::{Engine, Params, Statement};
use crate::error::{Error, Result};
use crate::land::{Landed, TableSummary, plain_name};
use crate::schema::landed::{Reading, Table};

pub use favorite::favorite_function;
pub use identity::guest_id_function;

macro_rules! statements {
    ($($constant:ident = $name:literal;)*) => {
        $(const $constant: Statement = Statement {
            name: concat!("profile/", $name),
            text: include_str!(concat!("../sql/profile/", $name, ".sql")),
        };)*
        /// Every statement of the profile, for `check` and for the hash of overridden ones.
        pub const STATEMENTS: &[Statement] = &[$($constant),*];
    };
}

statements! {
    LINKS = "links";
    ROOTS = "roots";
    MERGED = "merged";
    ADDRESSES = "addresses";
    GUESTS = "guests";
    ORDERS_OWNED = "orders_owned";
    ORDER_PEOPLE = "order_people";
    GUEST_CONTACTS = "guest_contacts";
    PEOPLE = "people";
    NUMBERED = "numbered";
    CUSTOMERS = "customers";
    WHO = "who";
    ORDERS = "orders";
    ORDER_ITEMS = "order_items";
    ORDER_STATS = "order_stats";
    ITEM_STATS = "item_stats";
    EVENTS_OWNED = "events_owned";
    EVENTS_NUMBERED = "events_numbered";
    EVENT_FACTS = "event_facts";
    CART_FACTS = "cart_facts";
    EVENT_STATS = "event_stats";
    RANKS = "ranks";
    PROFILE = "profile";
    BUYERS = "buyers";
}

/// The longest window of the profile's event columns, in days: facts have the grain of a day inside it.
const LONGEST_WINDOW_DAYS: u64 = 90;

/// What the profile depends on beside the landed tables.
#[derive(Debug, Clone)]
pub struct Options {
    /// The shop's time zone.
    pub zone: Zone,
    /// The as-of date.
    pub as_of: NaiveDate,
    /// The shop's currency.
    pub currency: String,
    /// Statuses of counted orders.
    pub counted: Vec<String>,
    /// SQL over `landed_customers` that gives the customer_id of whoever is left out.
    pub exclude: Option<String>,
    /// Whether subscription renewals are no order days of the lifecycle.
    pub ignore_renewals: bool,
    /// Custom properties that are kept with the contacts only.
    pub contact_fields: BTreeSet<String>,
    /// What later steps read of the rows behind the profile.
    pub kept: KeptRows,
}

/// Columns that the profile's steps make of orders and their lines; a landed column of such a name is not kept beside them.
pub const MADE_OF_ROWS: &[&str] = &[
    "customer_no",
    "fully_refunded",
    "is_counted",
    "net_amount",
    "not_yet_refunded",
    "ordered_on",
    "rate",
    "landed_refund",
];

/// What later steps read of the rows behind the profile.
#[derive(Debug, Clone, Default)]
pub struct KeptRows {
    /// The columns of events. They are kept beside the customers' numbers, so that nobody has to look up 29 million owners
    /// again, and `events_owned` has those of nobody, too, under numbers below 0; none: it has all columns, and joins whenever it
    /// is read.
    pub events: Option<BTreeSet<String>>,
    /// Columns of orders that the contract does not know.
    pub orders: BTreeSet<String>,
    /// Columns of order lines that the contract does not know.
    pub lines: BTreeSet<String>,
}

/// What the profile's build tells.
#[derive(Debug, Clone, Default)]
pub struct Profiled {
    /// Customers of the day.
    pub customers: u64,
    /// Customers with at least one counted order.
    pub buyers: u64,
    /// Clean orders.
    pub orders: u64,
    /// Clean order lines.
    pub order_items: u64,
    /// What was left out without being faulty, by table and reason.
    pub left_out: BTreeMap<(&'static str, &'static str), u64>,
    /// Customers and orders that count for the day, those of them that a later version had to serve for, and those
    /// without a version time.
    pub versions: Versions,
    /// Custom properties by their column in the profile.
    pub properties: BTreeMap<String, Reading>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// How the versions that serve a day stand to its cutoff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Rows of customers and orders.
    pub rows: u64,
    /// Rows of which only later versions are there.
    pub later: u64,
    /// Rows without a version time.
    pub unknown: u64,
}

/// Builds the profile. The session gets the tables `orders` and `order_items` (clean facts), `events_owned` (the events of
/// the day's customers, see [`KeptRows::events`]), `customers`, `profile` (sorted by customer_id), `contacts` and `buyers`.
/// All but the last have `customer_no`, the rank of the customer's id, from 0.
///
/// # Errors
/// What DataFusion says of an overridden statement, and whatever the disk and the store say.
pub async fn build(engine: &Engine, session: &SessionContext, landed: &Landed, options: &Options) -> Result<Profiled> {
    let steps = Steps { engine, session, params: params(landed, options) };
    let mut profiled = Profiled { properties: properties(landed), ..Profiled::default() };
    for statement in STATEMENTS {
        if engine.override_of(statement).is_some() {
            profiled.warnings.push(format!(
                "sql/{}.sql is the project's own: the whole history is read for it every night",
                statement.name
            ));
        }
    }
    steps.identities(landed).await?;
    steps.people(options, &mut profiled).await?;
    steps.facts(landed, options, &mut profiled).await?;
    steps.finish(landed, options, &mut profiled).await?;
    Ok(profiled)
}

/// Which rows behind the profile are wanted beside customers and orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Order lines.
    pub lines: bool,
    /// Events.
    pub events: bool,
}

/// The rows behind a profile that is there already: the session gets `customers`, `who`, `orders` and `contacts` as
/// [`build`] gives them, and `order_items` and `events_owned` where they are wanted.
///
/// # Errors
/// Those of [`build`].
pub async fn rows_behind(
    engine: &Engine,
    session: &SessionContext,
    landed: &Landed,
    options: &Options,
    behind: Behind,
) -> Result<Profiled> {
    let steps = Steps { engine, session, params: params(landed, options) };
    let mut profiled = Profiled { properties: properties(landed), ..Profiled::default() };
    steps.identities(landed).await?;
    steps.people(options, &mut profiled).await?;
    if behind.lines {
        steps.lines(options).await?;
    }
    if behind.events {
        steps.owned_events(landed, options).await?;
    }
    steps.contacts(options, &profiled).await?;
    Ok(profiled)
}

/// Who is who by the landed identities alone: the session gets the table `roots` (id, root).
///
/// # Errors
/// What DataFusion says of an overridden statement, and whatever the disk says.
pub async fn identities(engine: &Engine, session: &SessionContext) -> Result<()> {
    Steps { engine, session, params: Params::new() }.roots().await
}

fn params(landed: &Landed, options: &Options) -> Params {
    let cutoff = options.zone.cutoff(options.as_of).timestamp_micros();
    let first = options.as_of - Days::new(LONGEST_WINDOW_DAYS - 1);
    let window = options.zone.start_of_day(first).timestamp_micros();
    let instant = |micros| ScalarValue::TimestampMicrosecond(micros, Some("UTC".into()));
    let first_landed = first_landed_on(landed).map(|day| options.zone.start_of_day(day).timestamp_micros());
    Params::new()
        .with("cutoff", instant(Some(cutoff)))
        .with("window_start", instant(Some(window)))
        .with("first_landed", instant(first_landed))
        .with("as_of", ScalarValue::Date32(Some(arrow::datatypes::Date32Type::from_naive_date(options.as_of))))
        .with("zone", options.zone.name())
        .with("currency", options.currency.to_uppercase().as_str())
        .with("counted", format!(",{},", options.counted.join(",")).as_str())
}

/// The first landed day: of the customers' folders, else of any table's.
fn first_landed_on(landed: &Landed) -> Option<NaiveDate> {
    let first = |table: &TableSummary| table.files.iter().filter_map(|file| file.dt).min();
    let customers = landed.tables.get(&Table::Customers).and_then(first);
    customers.or_else(|| landed.tables.values().filter_map(first).min())
}

/// Custom properties, under names that no column of the profile has.
fn properties(landed: &Landed) -> BTreeMap<String, Reading> {
    landed.table(Table::Customers).custom
}

/// The columns that the profile computes; a custom property of such a name is `property_<name>`.
pub const COMPUTED: &[&str] = &[
    "customer_no",
    "email_subscription_status",
    "sms_subscription_status",
    "email_reachable",
    "sms_reachable",
    "email_subscribed_date",
    "customer_email_domain",
    "number_of_orders",
    "amount_spent",
    "average_order_amount",
    "highest_order_amount",
    "first_order_date",
    "last_order_date",
    "days_since_last_order",
    "average_days_between_orders",
    "discount_amount",
    "refunded_amount",
    "coupons_used",
    "items_bought",
    "items_returned",
    "cancelled_orders",
    "negative_reviews",
    "favorite_category",
    "favorite_brand",
    "categories_bought",
    "products_bought",
    "last_seen_date",
    "email_opens_90d",
    "email_clicks_90d",
    "page_views_30d",
    "product_views_30d",
    "abandoned_cart_date",
    "abandoned_checkout_date",
    "amount_spent_percentile",
    "rfm_recency",
    "rfm_frequency",
    "rfm_monetary",
    "rfm_group",
    "lifecycle_stage",
    "p_order_90d",
    "p_order_365d",
    "p_alive",
    "expected_orders",
    "predicted_value",
    "predicted_spend_tier",
    "churn_risk",
    "predicted_next_order_date",
    "as_of",
    "left_out",
    "last_open_order_at",
    "is_landed",
    "has_email",
    "has_phone",
];

/// The profile's column for a custom property: without what no Delta reader takes in a name, and in no case the name of a
/// computed column or of the contract's.
pub fn property_column(name: &str) -> String {
    let plain = plain_name(name);
    let lower = plain.to_lowercase();
    let taken = COMPUTED.contains(&lower.as_str()) || Table::Customers.column(&lower).is_some();
    if taken { format!("property_{plain}") } else { plain }
}

struct Steps<'a> {
    engine: &'a Engine,
    session: &'a SessionContext,
    params: Params,
}

impl Steps<'_> {
    async fn plan(&self, statement: &Statement) -> Result<DataFrame> {
        self.engine.plan(self.session, statement, &self.params).await
    }

    /// Plans a statement after replacing a marker of its text.
    async fn plan_marked(&self, statement: &Statement, marker: &str, with: &str) -> Result<DataFrame> {
        let text = self.engine.text(statement)?.replace(marker, with);
        let frame = plan_text(self.session, &text, &self.params).await;
        frame.map_err(|error| error.in_file(format!("sql/{}.sql", statement.name)))
    }

    /// Plans a statement with further columns of the table that it calls `alias`.
    async fn plan_with(&self, statement: &Statement, alias: &str, columns: &BTreeSet<String>) -> Result<DataFrame> {
        let list: String = columns.iter().map(|name| format!(", {alias}.{}", identifier(name))).collect();
        self.plan_marked(statement, "/*columns*/", &list).await
    }

    async fn keep(&self, name: &str, frame: DataFrame, ordered: bool) -> Result<u64> {
        Ok(self.engine.materialize(self.session, name, frame, ordered).await?.rows)
    }

    /// Keeps a table of customers that come in the order of their numbers, and so of their ids.
    async fn keep_sorted(&self, name: &str, frame: DataFrame) -> Result<u64> {
        let order = ["customer_no", "customer_id"];
        Ok(self.engine.materialize_sorted(self.session, name, frame, &order).await?.rows)
    }

    fn view(&self, name: &str, frame: DataFrame) -> Result<()> {
        self.session.deregister_table(name)?;
        self.session.register_table(name, frame.into_view())?;
        Ok(())
    }

    /// The numbers of one row of counts.
    async fn counts(&self, sql: &str) -> Result<Vec<u64>> {
        let batches = plan_text(self.session, sql, &self.params).await?.collect().await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(Vec::new()) };
        batch
            .columns()
            .iter()
            .map(|column| {
                let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Int64)?;
                Ok(u64::try_from(column.as_primitive::<Int64Type>().value(0)).unwrap_or(0))
            })
            .collect()
    }

    async fn roots(&self) -> Result<()> {
        self.keep("links", self.plan(&LINKS).await?, false).await?;
        let chains = identity::chains(self.session).await?;
        self.keep("chains", chains, true).await?;
        self.keep("roots", self.plan(&ROOTS).await?, false).await?;
        Ok(())
    }

    async fn identities(&self, landed: &Landed) -> Result<()> {
        self.roots().await?;
        self.keep("merged", self.plan(&MERGED).await?, false).await?;
        let orders = landed.table(Table::Orders);
        let addresses = self.plan(&ADDRESSES).await?;
        if orders.present.contains("email") || orders.present.contains("phone") {
            self.keep("addresses", addresses, false).await?;
            self.keep("guests", self.plan(&GUESTS).await?, false).await?;
        } else {
            self.view("addresses", addresses.limit(0, Some(0))?)?;
            self.view("guests", self.plan(&GUESTS).await?.limit(0, Some(0))?)?;
        }
        Ok(())
    }

    async fn people(&self, options: &Options, profiled: &mut Profiled) -> Result<()> {
        let owned =
            self.keep("orders_owned", self.plan_with(&ORDERS_OWNED, "o", &options.kept.orders).await?, false).await?;
        let nobody = "SELECT customer_id FROM landed_customers WHERE false";
        let excluded = options.exclude.as_deref().unwrap_or(nobody);
        self.view("excluded", plan_text(self.session, excluded, &Params::new()).await?)?;
        self.keep("order_people", self.plan(&ORDER_PEOPLE).await?, false).await?;
        self.view("guest_contacts", self.plan(&GUEST_CONTACTS).await?)?;
        let list: String = profiled
            .properties
            .keys()
            .map(|name| format!(", c.{} AS {}", identifier(name), identifier(&property_column(name))))
            .collect();
        let people = self.plan_marked(&PEOPLE, "/*properties*/", &list).await?;
        self.view("people", people)?;
        let everybody = "SELECT customer_id, left_out FROM people";
        self.keep("everybody", plan_text(self.session, everybody, &Params::new()).await?, false).await?;
        let left_out = "SELECT customer_id, left_out AS reason FROM everybody WHERE left_out IS NOT NULL";
        let left_out = plan_text(self.session, left_out, &Params::new()).await?;
        let left_out = self.keep("left_out", left_out, false).await?;
        self.customers(profiled).await?;
        self.keep("who", self.plan(&WHO).await?, false).await?;

        let left = self
            .counts(
                "SELECT * FROM \
                   (SELECT count(*) FILTER (WHERE reason = 'deleted') AS n1, count(*) FILTER (WHERE reason = 'excluded') AS n2 \
                    FROM left_out), \
                   (SELECT count(*) FILTER (WHERE test) AS n3, count(*) AS n4 FROM landed_orders)",
            )
            .await?;
        let [deleted, excluded, test, all] = left.as_slice() else { return Ok(()) };
        profiled.leave_out("customers", "deleted", *deleted);
        profiled.leave_out("customers", "excluded", *excluded);
        profiled.leave_out("orders", "test", *test);
        profiled.leave_out("orders", "no_customer", all.saturating_sub(*test).saturating_sub(owned));
        self.view("orders", self.plan(&ORDERS).await?)?;
        profiled.orders = owned;
        if left_out > 0 {
            let kept = self.counts("SELECT count(*) FROM orders").await?;
            profiled.orders = kept.first().copied().unwrap_or(owned);
            profiled.leave_out("orders", "customer_left_out", owned - profiled.orders);
        }
        let versions = self
            .counts(
                "SELECT sum(n), sum(later), sum(unknown) FROM ( \
                   SELECT count(*) AS n, count(*) FILTER (WHERE _version > $cutoff) AS later, \
                          count(*) FILTER (WHERE _version IS NULL) AS unknown FROM customers WHERE is_landed \
                   UNION ALL SELECT count(*), count(*) FILTER (WHERE _version > $cutoff), \
                          count(*) FILTER (WHERE _version IS NULL) FROM orders_owned)",
            )
            .await?;
        if let [rows, later, unknown] = versions.as_slice() {
            profiled.versions = Versions { rows: *rows, later: *later, unknown: *unknown };
        }
        Ok(())
    }

    /// The day's customers in the order of their ids. To sort them would hold what is wide.
    async fn customers(&self, profiled: &mut Profiled) -> Result<()> {
        profiled.customers = self.keep_sorted("numbered", self.plan(&NUMBERED).await?).await?;
        let Ok(places) = u32::try_from(profiled.customers) else {
            return Err(Error::internal("profile.customers", "a shop has at most four billion customers"));
        };
        let mut placing = self.engine.placing(self.session, "placed_customers", "customer_no", places)?;
        placing.add(self.plan(&CUSTOMERS).await?).await?;
        if !placing.missing().is_empty() {
            return Err(Error::internal("profile.customers", "a customer has a number and no row"));
        }
        placing.finish(&["customer_no", "customer_id"])?;
        let in_order =
            "SELECT CAST(customer_no AS BIGINT) AS customer_no, * EXCEPT (customer_no) FROM placed_customers";
        self.keep_sorted("customers", plan_text(self.session, in_order, &Params::new()).await?).await?;
        self.engine.discard(self.session, "placed_customers")
    }

    async fn facts(&self, landed: &Landed, options: &Options, profiled: &mut Profiled) -> Result<()> {
        let renewals = if options.ignore_renewals { "AND NOT coalesce(recurring, false)" } else { "" };
        let stats = self.plan_marked(&ORDER_STATS, "/*renewals*/", renewals).await?;
        self.keep("order_stats", stats, false).await?;
        self.lines(options).await?;
        self.keep("item_stats", self.plan(&ITEM_STATS).await?, false).await?;
        self.owned_events(landed, options).await?;
        self.keep("event_facts", self.plan(&EVENT_FACTS).await?, false).await?;
        self.keep("cart_facts", self.plan(&CART_FACTS).await?, false).await?;
        self.keep("event_stats", self.plan(&EVENT_STATS).await?, false).await?;

        let counts = self
            .counts(
                "SELECT * FROM \
                   (SELECT count(*) AS n5 FROM order_stats WHERE number_of_orders > 0), \
                   (SELECT coalesce(sum(lines), 0) AS n6 FROM item_stats), \
                   (SELECT count(*) FILTER (WHERE customer_no = -2) AS n7, count(*) FILTER (WHERE customer_no = -1) AS n8 \
                    FROM events_numbered WHERE customer_no < 0)",
            )
            .await?;
        let [buyers, lines, unlinked, of_left_out] = counts.as_slice() else { return Ok(()) };
        profiled.buyers = *buyers;
        profiled.order_items = *lines;
        profiled.leave_out("events", "visitor_never_linked", *unlinked);
        profiled.leave_out("events", "customer_left_out", *of_left_out);
        profiled.leave_out("order_items", "order_comes_later", landed.lines.later);
        profiled.leave_out("order_items", "order_rejected", landed.lines.rejected);
        profiled.leave_out("order_items", "order_not_landed", landed.lines.waiting);
        let left_out = landed.lines.visible.saturating_sub(profiled.order_items);
        profiled.leave_out("order_items", "order_left_out", left_out);
        Ok(())
    }

    /// The order lines. They are kept, because the statistics, the segments and the published table all read them; and a sort
    /// right above these joins would count the whole of the orders, which the join holds, as part of every batch.
    async fn lines(&self, options: &Options) -> Result<()> {
        self.keep("order_items", self.plan_with(&ORDER_ITEMS, "i", &options.kept.lines).await?, false).await?;
        Ok(())
    }

    /// The events by customer: whose they are is looked up once, for the facts and for whatever later steps read.
    async fn owned_events(&self, landed: &Landed, options: &Options) -> Result<()> {
        let owned = self.plan(&EVENTS_OWNED).await?;
        let known = |name: &str| owned.schema().has_column_with_unqualified_name(name);
        let wanted = options.kept.events.iter().flatten().filter(|name| known(name.as_str()));
        let wanted: Vec<String> = wanted
            .filter(|name| !["customer_no", "occurred_at"].contains(&name.as_str()))
            .map(|name| identifier(name))
            .collect();
        let list: String = wanted.iter().map(|name| format!(", {name}")).collect();
        let numbered = self.plan_marked(&EVENTS_NUMBERED, "/*columns*/", &list).await?;
        if landed.has(Table::Events) {
            self.keep("events_numbered", numbered, false).await?;
        } else {
            self.view("events_numbered", numbered)?;
        }
        if options.kept.events.is_some() {
            let sql = format!("SELECT customer_no, occurred_at{list} FROM events_numbered");
            self.view("events_owned", plan_text(self.session, &sql, &Params::new()).await?)?;
        } else {
            self.view("events_owned", owned)?;
        }
        Ok(())
    }

    async fn finish(&self, landed: &Landed, options: &Options, profiled: &mut Profiled) -> Result<()> {
        let buyers = i64::try_from(profiled.buyers).unwrap_or(i64::MAX);
        let params = self.params.clone().with("buyers", buyers);
        let ranks = self.engine.plan(self.session, &RANKS, &params).await?;
        self.keep("ranks", ranks, false).await?;
        let mut list = String::new();
        for name in profiled.properties.keys().filter(|name| !options.contact_fields.contains(*name)) {
            list.push_str(", c.");
            list.push_str(&identifier(&property_column(name)));
        }
        if !landed.table(Table::Customers).custom.contains_key("product_subscription_status") {
            list.push_str(
                ", CASE WHEN v.subscription_started_at > v.subscription_cancelled_at OR (v.subscription_started_at IS NOT NULL \
                 AND v.subscription_cancelled_at IS NULL) THEN 'active' WHEN v.subscription_cancelled_at IS NOT NULL THEN 'cancelled' \
                 ELSE 'never_subscribed' END AS product_subscription_status",
            );
        }
        let profile = self.plan_marked(&PROFILE, "/*properties*/", &list).await?;
        let profile = profile.sort(vec![datafusion::prelude::col("customer_id").sort(true, false)])?;
        self.keep_sorted("profile", profile).await?;
        self.contacts(options, profiled).await?;
        self.keep("buyers", self.plan(&BUYERS).await?, false).await?;
        Ok(())
    }

    async fn contacts(&self, options: &Options, profiled: &Profiled) -> Result<()> {
        let mut contacts = "SELECT customer_no, customer_id, name, first_name, last_name, email, phone, address, postal_code, latitude, \
             longitude, email_consent, email_consent_at, email_consent_source, email_opt_in, email_subscribed_at, \
             email_valid, sms_consent, sms_consent_at, sms_subscribed_at, phone_valid, ads_consent"
            .to_owned();
        for name in profiled.properties.keys().filter(|name| options.contact_fields.contains(*name)) {
            contacts.push_str(", ");
            contacts.push_str(&identifier(&property_column(name)));
        }
        contacts.push_str(" FROM customers");
        self.view("contacts", plan_text(self.session, &contacts, &Params::new()).await?)
    }
}

impl Profiled {
    fn leave_out(&mut self, table: &'static str, reason: &'static str, rows: u64) {
        if rows > 0 {
            *self.left_out.entry((table, reason)).or_default() += rows;
        }
    }
}
