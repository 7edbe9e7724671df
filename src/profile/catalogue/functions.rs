//! Every function: a test of a customer's rows of one table.

use super::Type;
use crate::land::STATUSES;
use crate::schema::landed::{Reading, Table};

/// A function over a customer's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name in a query.
    pub name: &'static str,
    /// Other names for it.
    pub spellings: &'static [&'static str],
    /// Which rows it looks at, in words.
    pub meaning: &'static str,
    /// Which rows it looks at.
    pub rows: Rows,
    /// What can be asked of the rows, beside the table's own columns.
    pub parameters: Vec<Parameter>,
    /// A clause that uses it.
    pub example: &'static str,
}

/// Which rows a function looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rows {
    /// Lines of counted orders.
    Purchases,
    /// Lines of which something was returned.
    Returns,
    /// Counted orders.
    Orders,
    /// Orders that were cancelled.
    Cancellations,
    /// Events; of one type, unless `None`.
    Events(Option<&'static str>),
    /// Events of one type with no order of the customer, of any status but cancelled, at or after them; additions to a
    /// cart also without the product's later removal.
    Abandoned(&'static str),
    /// Exports that wrote the customer.
    Exports,
    /// Entries into segments on earlier published days.
    Entries,
    /// Exits from segments on earlier published days.
    Exits,
    /// Changes of the lifecycle stage.
    StageChanges,
    /// The customer's own place: one row where latitude and longitude are known.
    Place,
}

impl Rows {
    /// The landed table that the rows are of; `None` for what Alluvial itself published.
    pub fn landed(self) -> Option<Table> {
        match self {
            Rows::Purchases | Rows::Returns => Some(Table::OrderItems),
            Rows::Orders | Rows::Cancellations => Some(Table::Orders),
            Rows::Events(_) | Rows::Abandoned(_) => Some(Table::Events),
            Rows::Place => Some(Table::Customers),
            Rows::Exports | Rows::Entries | Rows::Exits | Rows::StageChanges => None,
        }
    }

    /// The table that the rows are of, by its name.
    pub fn table(self) -> &'static str {
        match self {
            Rows::Exports => "exports",
            Rows::Entries | Rows::Exits => "segment_changes",
            Rows::StageChanges => "lifecycle",
            Rows::Place => "customer_contacts",
            landed => landed.landed().map_or("", Table::name),
        }
    }
}

/// What a function can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub spellings: &'static [&'static str],
    /// What it asks about.
    pub asks: Asks,
}

/// What a parameter asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// One row: the value of an SQL expression over it. `r` is the row, `product` what its product was
    /// landed with (`product_category`, `product_labels`).
    Row(Type, &'static str),
    /// All picked rows: how many there are.
    Count,
    /// All picked rows: the sum of an expression over them.
    Sum(Type, &'static str),
    /// A pair of coordinates.
    Coordinates,
    /// The distance from those coordinates, in units of so many kilometres.
    Distance(&'static str),
}

/// One mile in kilometres.
const MILE: &str = "1.609344";

/// Six decimals are kept of a floating-point number where it is added up, so that the sum does not hang on the order.
pub const FLOAT_SCALE: u8 = 6;

const fn row(name: &'static str, kind: Type, sql: &'static str) -> Parameter {
    Parameter { name, spellings: &[], asks: Asks::Row(kind, sql) }
}

const MONEY: Type = Type::Decimal { precision: 38, scale: 4 };
const ELEMENTS: Type = Type::Elements(Vec::new());

const fn count() -> Parameter {
    Parameter { name: "count", spellings: &[], asks: Asks::Count }
}

const fn sum(name: &'static str, kind: Type, sql: &'static str) -> Parameter {
    Parameter { name, spellings: &[], asks: Asks::Sum(kind, sql) }
}

const fn tag(sql: &'static str) -> Parameter {
    Parameter { name: "tag", spellings: &["label"], asks: Asks::Row(ELEMENTS, sql) }
}

fn lines(date: &'static str, quantity: &'static str, amount: &'static str) -> Vec<Parameter> {
    vec![
        row("id", Type::Id, "r.product_id"),
        tag("r.labels"),
        row("category", Type::Path, "r.category"),
        row("collection", ELEMENTS, "r.collections"),
        row("brand", Type::Text, "r.brand"),
        row("title", Type::Text, "r.title"),
        row("sku", Type::Id, "r.sku"),
        row("date", Type::Day, date),
        row("quantity", Type::Integer, quantity),
        row("amount", MONEY, amount),
        count(),
        sum("sum_quantity", Type::Integer, quantity),
        sum("sum_amount", MONEY, amount),
    ]
}

fn bought() -> Vec<Parameter> {
    lines("r.ordered_at", "r.quantity", "CAST(r.unit_price * r.quantity AS DECIMAL(38, 4))")
}

/// A return is dated by its own time where it has one, as the contract counts it.
fn returned() -> Vec<Parameter> {
    lines(
        "coalesce(r.returned_at, r.ordered_at)",
        "r.returned_quantity",
        "CAST(r.unit_price * r.returned_quantity AS DECIMAL(38, 4))",
    )
}

fn orders() -> Vec<Parameter> {
    vec![
        row("date", Type::Day, "r.ordered_at"),
        row("amount", MONEY, "r.total"),
        row("coupon", ELEMENTS, "r.coupon_codes"),
        row("store", Type::Text, "r.store"),
        row("channel", Type::Text, "r.channel"),
        row("status", Type::Enum(STATUSES), "r.status"),
        count(),
        sum("sum_amount", MONEY, "r.total"),
    ]
}

const OCCURRED: &str = "r.occurred_at";
/// What an event's product is, where the event itself does not say.
pub const CATEGORY: &str = "coalesce(r.category, product.product_category)";
/// The labels that an event's product was landed with.
pub const LABELS: &str = "product.product_labels";

fn events() -> Vec<Parameter> {
    vec![row("type", Type::Text, "r.type"), row("date", Type::Day, OCCURRED), count()]
}

fn products() -> Vec<Parameter> {
    vec![
        row("id", Type::Id, "r.product_id"),
        tag(LABELS),
        row("category", Type::Path, CATEGORY),
        row("date", Type::Day, OCCURRED),
        count(),
    ]
}

fn categories() -> Vec<Parameter> {
    vec![
        row("id", Type::Path, CATEGORY),
        tag(LABELS),
        row("category", Type::Path, CATEGORY),
        row("date", Type::Day, OCCURRED),
        count(),
    ]
}

fn searches() -> Vec<Parameter> {
    let mut all = products();
    all.insert(0, row("term", Type::Text, "r.search_term"));
    all
}

fn campaign() -> Vec<Parameter> {
    vec![row("activity_id", Type::Id, "r.campaign_id"), row("date", Type::Day, OCCURRED), count()]
}

fn coupons() -> Vec<Parameter> {
    let mut all = campaign();
    all.insert(0, row("coupon", Type::Id, "r.coupon_code"));
    all
}

fn exports() -> Vec<Parameter> {
    vec![
        Parameter { name: "segment", spellings: &["id"], asks: Asks::Row(ELEMENTS, "r.segments") },
        row("format", Type::Text, "r.format"),
        row("date", Type::Day, "r.created_at"),
        count(),
    ]
}

fn changes() -> Vec<Parameter> {
    vec![
        Parameter { name: "id", spellings: &["segment"], asks: Asks::Row(Type::Id, "r.segment") },
        row("date", Type::CivilDate, "r.as_of"),
        count(),
    ]
}

fn stage_changes() -> Vec<Parameter> {
    let stages = Type::Enum(super::attributes::STAGES);
    vec![
        row("from", stages.clone(), "r.previous_stage"),
        row("to", stages, "r.stage"),
        row("date", Type::CivilDate, "r.as_of"),
        count(),
    ]
}

fn distance() -> Vec<Parameter> {
    let parameter = |name, asks| Parameter { name, spellings: &[], asks };
    vec![
        parameter("coordinates", Asks::Coordinates),
        parameter("distance_km", Asks::Distance("1.0")),
        parameter("distance_mi", Asks::Distance(MILE)),
    ]
}

type Line = (&'static str, &'static [&'static str], &'static str, Rows, fn() -> Vec<Parameter>, &'static str);

#[rustfmt::skip] // one line a function
const LINES: &[Line] = &[
    ("products_purchased", &[], "items of counted orders", Rows::Purchases, bought, "products_purchased MATCHES (category = 'Shoes', date >= -90d)"),
    ("products_returned", &[], "items of which something was returned; date, quantity and amount are the return's", Rows::Returns, returned, "products_returned MATCHES (date >= -90d, count >= 2)"),
    ("orders_placed", &[], "counted orders", Rows::Orders, orders, "orders_placed MATCHES (date >= -30d, sum_amount >= 100)"),
    ("orders_cancelled", &[], "orders that were cancelled", Rows::Cancellations, orders, "orders_cancelled MATCHES (date >= -90d)"),
    ("events", &[], "all events", Rows::Events(None), events, "events MATCHES (type = 'quiz_finished')"),
    ("storefront.product_viewed", &[], "products viewed", Rows::Events(Some("product_viewed")), products, "storefront.product_viewed MATCHES (category = 'Shoes', count >= 3)"),
    ("storefront.collection_viewed", &[], "categories viewed; id is the category", Rows::Events(Some("category_viewed")), categories, "storefront.collection_viewed MATCHES (id = 'Sale', date >= -7d)"),
    ("storefront.page_viewed", &[], "pages viewed", Rows::Events(Some("page_viewed")), products, "storefront.page_viewed MATCHES (date >= -7d, count >= 10)"),
    ("storefront.searched", &[], "searches", Rows::Events(Some("searched")), searches, "storefront.searched MATCHES (term = 'boots')"),
    ("storefront.cart_added", &[], "additions to the cart", Rows::Events(Some("added_to_cart")), products, "storefront.cart_added MATCHES (date >= -7d)"),
    ("storefront.checkout_started", &[], "checkouts started", Rows::Events(Some("checkout_started")), products, "storefront.checkout_started MATCHES (date >= -7d)"),
    ("shopify_email.opened", &["email.opened"], "e-mails opened", Rows::Events(Some("email_opened")), campaign, "shopify_email.opened MATCHES (date >= -90d)"),
    ("shopify_email.clicked", &["email.clicked"], "e-mails clicked", Rows::Events(Some("email_clicked")), campaign, "shopify_email.clicked MATCHES (date >= -90d)"),
    ("shopify_email.delivered", &["email.delivered"], "e-mails delivered", Rows::Events(Some("email_delivered")), campaign, "shopify_email.delivered MATCHES (activity_id = 123)"),
    ("shopify_email.bounced", &["email.bounced"], "e-mails bounced", Rows::Events(Some("email_bounced")), campaign, "shopify_email.bounced MATCHES ()"),
    ("shopify_email.marked_as_spam", &["email.marked_as_spam"], "e-mails marked as spam", Rows::Events(Some("email_marked_as_spam")), campaign, "shopify_email.marked_as_spam MATCHES ()"),
    ("shopify_email.unsubscribed", &["email.unsubscribed"], "unsubscriptions from e-mail", Rows::Events(Some("email_unsubscribed")), campaign, "shopify_email.unsubscribed MATCHES (date >= -30d)"),
    ("shopify_email.sent", &["email.sent"], "e-mails sent", Rows::Events(Some("email_sent")), campaign, "shopify_email.sent MATCHES (date >= -7d, count >= 3)"),
    ("sms.sent", &[], "text messages sent", Rows::Events(Some("sms_sent")), campaign, "sms.sent MATCHES (date >= -7d)"),
    ("sms.delivered", &[], "text messages delivered", Rows::Events(Some("sms_delivered")), campaign, "sms.delivered MATCHES (date >= -7d)"),
    ("sms.clicked", &[], "text messages clicked", Rows::Events(Some("sms_clicked")), campaign, "sms.clicked MATCHES (date >= -30d)"),
    ("coupons.received", &[], "coupons received", Rows::Events(Some("coupon_received")), coupons, "coupons.received MATCHES (coupon = 'WELCOME')"),
    ("coupons.clicked", &[], "coupons clicked", Rows::Events(Some("coupon_clicked")), coupons, "coupons.clicked MATCHES (date >= -30d)"),
    ("carts_abandoned", &[], "additions to a cart, not taken out later, with no order at or after them", Rows::Abandoned("added_to_cart"), products, "carts_abandoned MATCHES (date >= -7d)"),
    ("checkouts_abandoned", &[], "checkouts started with no order at or after them", Rows::Abandoned("checkout_started"), products, "checkouts_abandoned MATCHES (date >= -7d)"),
    ("views_abandoned", &[], "products viewed with no order at or after them", Rows::Abandoned("product_viewed"), products, "views_abandoned MATCHES (date >= -7d, count >= 3)"),
    ("audiences_exported", &[], "exports before the cutoff that wrote the customer", Rows::Exports, exports, "audiences_exported NOT MATCHES (segment = 'win-back', date >= -30d)"),
    ("customer_within_distance", &[], "the customer's latitude and longitude", Rows::Place, distance, "customer_within_distance MATCHES (coordinates = (55.67, 12.56), distance_km <= 10)"),
    ("segment_entered", &[], "entries into a segment on published days before the as-of date", Rows::Entries, changes, "segment_entered MATCHES (id = 'win-back', date >= -7d)"),
    ("segment_exited", &[], "exits from a segment on published days before the as-of date", Rows::Exits, changes, "segment_exited MATCHES (id = 'loyal-customers', date >= -30d)"),
    ("lifecycle_changed", &[], "changes of the lifecycle stage, that of the as-of date included", Rows::StageChanges, stage_changes, "lifecycle_changed MATCHES (to = 'dormant', date >= -7d)"),
];

/// Every function, in the order of the language's specification.
pub(super) fn all() -> Vec<Function> {
    let function = |line: &Line| {
        let (name, spellings, meaning, rows, parameters, example) = *line;
        Function { name, spellings, meaning, rows, parameters: parameters(), example }
    };
    LINES.iter().map(function).collect()
}

impl Function {
    /// The parameter of that name or spelling.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name || parameter.spellings.contains(&name))
    }
}

/// Columns of a landed table that no clause tests: whom the row belongs to, and what of it is read otherwise.
const UNTESTED: &[&str] = &["customer_id", "anonymous_id", "email", "phone", "test", "updated_at", "properties"];

/// The landed columns of a table that are row parameters under their own names, and how they are read. Custom ones come
/// beside them.
pub(super) fn own_columns(table: Table) -> impl Iterator<Item = (&'static str, Reading)> {
    let asked = matches!(table, Table::Orders | Table::OrderItems | Table::Events);
    let columns = table.columns().iter().filter(move |column| asked && !UNTESTED.contains(&column.name));
    columns.map(|column| (column.name, column.reading))
}

/// What the values of a landed column are in a clause; `None` for what no clause can test.
pub(super) fn type_of(reading: Reading) -> Option<Type> {
    Some(match reading {
        Reading::Id => Type::Id,
        Reading::Text | Reading::Country => Type::Text,
        Reading::Choice(values) => Type::Enum(values),
        Reading::Instant => Type::Day,
        Reading::Date => Type::CivilDate,
        Reading::Money(scale) | Reading::Decimal(scale) => {
            Type::Decimal { precision: 18, scale: u8::try_from(scale).ok()? }
        }
        Reading::Integer => Type::Integer,
        Reading::Float => Type::Float,
        Reading::Boolean => Type::Boolean,
        Reading::List => Type::Elements(Vec::new()),
        Reading::Email | Reading::Json => return None,
    })
}
