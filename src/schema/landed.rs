//! The tables that a shop lands, and how each of their columns is read.

use arrow::datatypes::{DataType, Field, TimeUnit};
use std::sync::Arc;

/// A landed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row a version of a customer.
    Customers,
    /// One row a version of an order.
    Orders,
    /// The lines of orders, a set an order.
    OrderItems,
    /// One row a product: fills what an order line or event lacks.
    Products,
    /// What customers and visitors did.
    Events,
    /// Which visitor, or which other customer, is which customer.
    Identities,
    /// Shop currency for one unit of another currency, by day.
    Rates,
    /// Who must not be contacted, by channel.
    Suppressions,
}

/// What a column holds, and so how its landed values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A string id; integers as their decimal text; trimmed, blank is null.
    Id,
    /// Text, trimmed, blank is null.
    Text,
    /// Text that is one of a few values in lower case; others are faulty.
    Choice(&'static [&'static str]),
    /// An instant in UTC; a date is that local day's start.
    Instant,
    /// A civil date.
    Date,
    /// An amount of money, with this many decimals.
    Money(i8),
    /// An exact number that is no money, with this many decimals.
    Decimal(i8),
    /// A whole number.
    Integer,
    /// A floating-point number.
    Float,
    /// A truth value.
    Boolean,
    /// A list of strings; text that begins with `[` is a JSON list, other text is split at commas.
    List,
    /// A country, as ISO 3166-1 alpha-2 where it can be told.
    Country,
    /// An e-mail address: trimmed, as written; compared in lower case.
    Email,
    /// JSON text.
    Json,
}

/// One column of a landed table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in the contract.
    pub name: &'static str,
    /// How its values are read.
    pub reading: Reading,
    /// Whether every file must have it.
    pub required: bool,
}

const fn req(name: &'static str, reading: Reading) -> Column {
    Column { name, reading, required: true }
}

const fn opt(name: &'static str, reading: Reading) -> Column {
    Column { name, reading, required: false }
}

const CONSENT: Reading = Reading::Choice(&["subscribed", "unsubscribed", "pending", "never"]);

const CUSTOMERS: &[Column] = &[
    req("customer_id", Reading::Id),
    opt("created_at", Reading::Instant),
    opt("updated_at", Reading::Instant),
    opt("deleted_at", Reading::Instant),
    opt("store", Reading::Text),
    opt("email", Reading::Email),
    opt("phone", Reading::Text),
    opt("name", Reading::Text),
    opt("first_name", Reading::Text),
    opt("last_name", Reading::Text),
    opt("gender", Reading::Text),
    opt("birthday", Reading::Date),
    opt("language", Reading::Text),
    opt("country", Reading::Country),
    opt("region", Reading::Text),
    opt("city", Reading::Text),
    opt("postal_code", Reading::Text),
    opt("address", Reading::Text),
    opt("latitude", Reading::Float),
    opt("longitude", Reading::Float),
    opt("registration_source", Reading::Text),
    opt("membership", Reading::Text),
    opt("email_consent", CONSENT),
    opt("sms_consent", CONSENT),
    opt("email_consent_at", Reading::Instant),
    opt("sms_consent_at", Reading::Instant),
    opt("email_consent_source", Reading::Text),
    opt("email_opt_in", Reading::Choice(&["single", "confirmed"])),
    opt("email_subscribed_at", Reading::Instant),
    opt("sms_subscribed_at", Reading::Instant),
    opt("ads_consent", Reading::Choice(&["granted", "denied"])),
    opt("email_valid", Reading::Boolean),
    opt("phone_valid", Reading::Boolean),
    opt("tags", Reading::List),
    opt("lists", Reading::List),
];

const ORDERS: &[Column] = &[
    req("order_id", Reading::Id),
    req("ordered_at", Reading::Instant),
    req("total", Reading::Money(2)),
    opt("customer_id", Reading::Id),
    opt("email", Reading::Email),
    opt("phone", Reading::Text),
    opt("updated_at", Reading::Instant),
    opt("store", Reading::Text),
    opt("status", Reading::Text),
    opt("test", Reading::Boolean),
    opt("recurring", Reading::Boolean),
    opt("currency", Reading::Text),
    opt("subtotal", Reading::Money(2)),
    opt("discount", Reading::Money(2)),
    opt("shipping", Reading::Money(2)),
    opt("tax", Reading::Money(2)),
    opt("refunded", Reading::Money(2)),
    opt("refunded_at", Reading::Instant),
    opt("coupon_codes", Reading::List),
    opt("channel", Reading::Text),
];

const ORDER_ITEMS: &[Column] = &[
    req("order_id", Reading::Id),
    req("product_id", Reading::Id),
    opt("line", Reading::Integer),
    opt("updated_at", Reading::Instant),
    opt("sku", Reading::Text),
    opt("title", Reading::Text),
    opt("category", Reading::Text),
    opt("collections", Reading::List),
    opt("brand", Reading::Text),
    opt("labels", Reading::List),
    opt("quantity", Reading::Integer),
    opt("unit_price", Reading::Money(4)),
    opt("returned_quantity", Reading::Integer),
    opt("returned_at", Reading::Instant),
];

const PRODUCTS: &[Column] = &[
    req("product_id", Reading::Id),
    opt("updated_at", Reading::Instant),
    opt("title", Reading::Text),
    opt("category", Reading::Text),
    opt("collections", Reading::List),
    opt("brand", Reading::Text),
    opt("labels", Reading::List),
    opt("price", Reading::Money(4)),
];

const EVENTS: &[Column] = &[
    req("event_id", Reading::Id),
    req("occurred_at", Reading::Instant),
    req("type", Reading::Text),
    opt("customer_id", Reading::Id),
    opt("anonymous_id", Reading::Id),
    opt("product_id", Reading::Id),
    opt("category", Reading::Text),
    opt("search_term", Reading::Text),
    opt("campaign_id", Reading::Id),
    opt("channel", Reading::Text),
    opt("coupon_code", Reading::Text),
    opt("rating", Reading::Float),
    opt("value", Reading::Float),
    opt("url", Reading::Text),
    opt("source", Reading::Text),
    opt("machine", Reading::Boolean),
    opt("bounce", Reading::Choice(&["hard", "soft"])),
    opt("properties", Reading::Json),
];

const IDENTITIES: &[Column] =
    &[req("anonymous_id", Reading::Id), req("customer_id", Reading::Id), req("linked_at", Reading::Instant)];

const RATES: &[Column] =
    &[req("date", Reading::Date), req("currency", Reading::Text), req("rate", Reading::Decimal(8))];

const SUPPRESSIONS: &[Column] = &[
    req("channel", Reading::Choice(&["email", "sms", "ads", "post", "all"])),
    req("identifier", Reading::Text),
    opt("reason", Reading::Text),
    opt("until", Reading::Date),
];

/// The event types that the product itself knows; any other is a custom event.
pub const EVENT_TYPES: &[&str] = &[
    "page_viewed",
    "product_viewed",
    "category_viewed",
    "searched",
    "added_to_cart",
    "removed_from_cart",
    "checkout_started",
    "email_sent",
    "email_delivered",
    "email_opened",
    "email_clicked",
    "email_bounced",
    "email_unsubscribed",
    "email_marked_as_spam",
    "sms_sent",
    "sms_delivered",
    "sms_clicked",
    "coupon_received",
    "coupon_clicked",
    "review_submitted",
    "subscription_started",
    "subscription_cancelled",
    "return_requested",
];

/// The customer columns that are kept in `customer_contacts` only.
pub const CONTACT_COLUMNS: &[&str] =
    &["name", "first_name", "last_name", "email", "phone", "address", "postal_code", "latitude", "longitude"];

impl Table {
    /// Every landed table, in the order of the contract.
    pub const ALL: [Table; 8] = [
        Table::Customers,
        Table::Orders,
        Table::OrderItems,
        Table::Products,
        Table::Events,
        Table::Identities,
        Table::Rates,
        Table::Suppressions,
    ];

    /// Its name in paths, settings and SQL.
    pub fn name(self) -> &'static str {
        match self {
            Table::Customers => "customers",
            Table::Orders => "orders",
            Table::OrderItems => "order_items",
            Table::Products => "products",
            Table::Events => "events",
            Table::Identities => "identities",
            Table::Rates => "rates",
            Table::Suppressions => "suppressions",
        }
    }

    /// The table of that name.
    pub fn named(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The columns that the contract knows. Customers keep every other column as a custom property.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Table::Customers => CUSTOMERS,
            Table::Orders => ORDERS,
            Table::OrderItems => ORDER_ITEMS,
            Table::Products => PRODUCTS,
            Table::Events => EVENTS,
            Table::Identities => IDENTITIES,
            Table::Rates => RATES,
            Table::Suppressions => SUPPRESSIONS,
        }
    }

    /// The contract's column of that name.
    pub fn column(self, name: &str) -> Option<&'static Column> {
        self.columns().iter().find(|column| column.name == name)
    }

    /// The column under which several versions of one thing are landed; none where rows are no versions.
    pub fn version_key(self) -> Option<&'static str> {
        match self {
            Table::Customers => Some("customer_id"),
            Table::Orders => Some("order_id"),
            Table::Products => Some("product_id"),
            Table::Events => Some("event_id"),
            _ => None,
        }
    }

    /// The column that says when the row's own fact happened: the row is invisible from the cutoff on.
    pub fn own_time(self) -> Option<&'static str> {
        match self {
            Table::Customers => Some("created_at"),
            Table::Orders => Some("ordered_at"),
            Table::Events => Some("occurred_at"),
            Table::Identities => Some("linked_at"),
            _ => None,
        }
    }
}

impl Reading {
    /// The Arrow type of a value once it is read.
    pub fn data_type(self) -> DataType {
        match self {
            Reading::Id | Reading::Text | Reading::Choice(_) | Reading::Country | Reading::Email | Reading::Json => {
                DataType::Utf8View
            }
            Reading::Instant => instant_type(),
            Reading::Date => DataType::Date32,
            Reading::Money(scale) | Reading::Decimal(scale) => DataType::Decimal128(18, scale),
            Reading::Integer => DataType::Int64,
            Reading::Float => DataType::Float64,
            Reading::Boolean => DataType::Boolean,
            Reading::List => list_type(),
        }
    }
}

/// UTC instants everywhere: microseconds, as Delta Lake stores them.
pub fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Lists of strings everywhere.
pub fn list_type() -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)))
}
