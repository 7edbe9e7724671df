//! Every function: a test of a customer's rows of one table.

use super::Type;

/// A function over a customer's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name in a query.
    pub name: &'static str,
    /// Other names for it.
    pub spellings: &'static [&'static str],
    /// Which rows it looks at.
    pub rows: &'static str,
    /// The table that the rows come from.
    pub table: &'static str,
    /// What can be asked of the rows, beside the table's own columns.
    pub parameters: Vec<Parameter>,
    /// A clause that uses it.
    pub example: &'static str,
}

/// What a function can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub spellings: &'static [&'static str],
    /// What its values are; `None` for a pair of coordinates.
    pub kind: Option<Type>,
    /// Whether it tests the picked rows together instead of picking rows.
    pub aggregate: bool,
}

fn picks(name: &'static str, kind: Type) -> Parameter {
    Parameter { name, spellings: &[], kind: Some(kind), aggregate: false }
}

fn tests(name: &'static str, kind: Type) -> Parameter {
    Parameter { name, spellings: &[], kind: Some(kind), aggregate: true }
}

const MONEY: Type = Type::Decimal { precision: 38, scale: 4 };

fn count() -> Parameter {
    tests("count", Type::Integer)
}

fn date() -> Parameter {
    picks("date", Type::Day)
}

fn tag() -> Parameter {
    Parameter { name: "tag", spellings: &["label"], kind: Some(Type::List(Vec::new())), aggregate: false }
}

fn items() -> Vec<Parameter> {
    vec![
        picks("id", Type::Id),
        tag(),
        picks("category", Type::Text),
        picks("collection", Type::List(Vec::new())),
        picks("brand", Type::Text),
        picks("title", Type::Text),
        picks("sku", Type::Text),
        date(),
        picks("quantity", Type::Integer),
        picks("amount", MONEY),
        count(),
        tests("sum_quantity", Type::Integer),
        tests("sum_amount", MONEY),
    ]
}

fn orders() -> Vec<Parameter> {
    vec![
        date(),
        picks("amount", MONEY),
        picks("coupon", Type::List(Vec::new())),
        picks("store", Type::Text),
        picks("channel", Type::Text),
        picks("status", Type::Text),
        count(),
        tests("sum_amount", MONEY),
    ]
}

fn storefront() -> Vec<Parameter> {
    vec![picks("id", Type::Id), tag(), picks("category", Type::Text), date(), count()]
}

fn visits() -> Vec<Parameter> {
    vec![picks("id", Type::Id), picks("category", Type::Text), date(), count()]
}

fn searches() -> Vec<Parameter> {
    vec![picks("term", Type::Text), picks("id", Type::Id), picks("category", Type::Text), date(), count()]
}

fn campaign() -> Vec<Parameter> {
    vec![picks("activity_id", Type::Id), date(), count()]
}

fn coupons() -> Vec<Parameter> {
    vec![picks("coupon", Type::Text), picks("activity_id", Type::Id), date(), count()]
}

fn distance() -> Vec<Parameter> {
    vec![
        Parameter { name: "coordinates", spellings: &[], kind: None, aggregate: false },
        picks("distance_km", Type::Float),
        picks("distance_mi", Type::Float),
    ]
}

type Row = (&'static str, &'static [&'static str], &'static str, &'static str, fn() -> Vec<Parameter>, &'static str);

const ROWS: &[Row] = &[
    (
        "products_purchased",
        &[],
        "items of counted orders",
        "order_items",
        items,
        "products_purchased MATCHES (category = 'Shoes', date >= -90d)",
    ),
    (
        "products_returned",
        &[],
        "items of which something was returned",
        "order_items",
        items,
        "products_returned MATCHES (date >= -90d, count >= 2)",
    ),
    (
        "orders_placed",
        &[],
        "counted orders",
        "orders",
        orders,
        "orders_placed MATCHES (date >= -30d, sum_amount >= 100)",
    ),
    (
        "orders_cancelled",
        &[],
        "orders that were cancelled",
        "orders",
        orders,
        "orders_cancelled MATCHES (date >= -90d)",
    ),
    (
        "events",
        &[],
        "all events",
        "events",
        || vec![picks("type", Type::Text), date(), count()],
        "events MATCHES (type = 'quiz_finished')",
    ),
    (
        "storefront.product_viewed",
        &[],
        "products viewed",
        "events",
        storefront,
        "storefront.product_viewed MATCHES (category = 'Shoes', count >= 3)",
    ),
    (
        "storefront.collection_viewed",
        &[],
        "categories viewed",
        "events",
        storefront,
        "storefront.collection_viewed MATCHES (category = 'Sale', date >= -7d)",
    ),
    (
        "storefront.page_viewed",
        &[],
        "pages viewed",
        "events",
        visits,
        "storefront.page_viewed MATCHES (date >= -7d, count >= 10)",
    ),
    ("storefront.searched", &[], "searches", "events", searches, "storefront.searched MATCHES (term = 'boots')"),
    (
        "storefront.cart_added",
        &[],
        "additions to the cart",
        "events",
        visits,
        "storefront.cart_added MATCHES (date >= -7d)",
    ),
    (
        "storefront.checkout_started",
        &[],
        "checkouts started",
        "events",
        visits,
        "storefront.checkout_started MATCHES (date >= -7d)",
    ),
    (
        "shopify_email.opened",
        &["email.opened"],
        "e-mails opened",
        "events",
        campaign,
        "shopify_email.opened MATCHES (date >= -90d)",
    ),
    (
        "shopify_email.clicked",
        &["email.clicked"],
        "e-mails clicked",
        "events",
        campaign,
        "shopify_email.clicked MATCHES (date >= -90d)",
    ),
    (
        "shopify_email.delivered",
        &["email.delivered"],
        "e-mails delivered",
        "events",
        campaign,
        "shopify_email.delivered MATCHES (activity_id = 123)",
    ),
    (
        "shopify_email.bounced",
        &["email.bounced"],
        "e-mails bounced",
        "events",
        campaign,
        "shopify_email.bounced MATCHES ()",
    ),
    (
        "shopify_email.marked_as_spam",
        &["email.marked_as_spam"],
        "e-mails marked as spam",
        "events",
        campaign,
        "shopify_email.marked_as_spam MATCHES ()",
    ),
    (
        "shopify_email.unsubscribed",
        &["email.unsubscribed"],
        "unsubscriptions from e-mail",
        "events",
        campaign,
        "shopify_email.unsubscribed MATCHES (date >= -30d)",
    ),
    (
        "shopify_email.sent",
        &["email.sent"],
        "e-mails sent",
        "events",
        campaign,
        "shopify_email.sent MATCHES (date >= -7d, count >= 3)",
    ),
    ("sms.sent", &[], "text messages sent", "events", campaign, "sms.sent MATCHES (date >= -7d)"),
    ("sms.delivered", &[], "text messages delivered", "events", campaign, "sms.delivered MATCHES (date >= -7d)"),
    ("sms.clicked", &[], "text messages clicked", "events", campaign, "sms.clicked MATCHES (date >= -30d)"),
    ("coupons.received", &[], "coupons received", "events", coupons, "coupons.received MATCHES (coupon = 'WELCOME')"),
    ("coupons.clicked", &[], "coupons clicked", "events", coupons, "coupons.clicked MATCHES (date >= -30d)"),
    (
        "carts_abandoned",
        &[],
        "additions to a cart, not taken out later, with no order at or after them",
        "events",
        visits,
        "carts_abandoned MATCHES (date >= -7d)",
    ),
    (
        "checkouts_abandoned",
        &[],
        "checkouts started with no order at or after them",
        "events",
        visits,
        "checkouts_abandoned MATCHES (date >= -7d)",
    ),
    (
        "views_abandoned",
        &[],
        "products viewed with no order at or after them",
        "events",
        visits,
        "views_abandoned MATCHES (date >= -7d, count >= 3)",
    ),
    (
        "audiences_exported",
        &[],
        "exports before the cutoff that wrote the customer",
        "export_members",
        || vec![picks("segment", Type::Id), picks("format", Type::Text), date(), count()],
        "audiences_exported NOT MATCHES (segment = 'win-back', date >= -30d)",
    ),
    (
        "customer_within_distance",
        &[],
        "the customer's latitude and longitude",
        "customer_contacts",
        distance,
        "customer_within_distance MATCHES (coordinates = (55.67, 12.56), distance_km <= 10)",
    ),
    (
        "segment_entered",
        &[],
        "entries into a segment on published days before the as-of date",
        "segment_changes",
        || vec![picks("id", Type::Id), date()],
        "segment_entered MATCHES (id = 'win-back', date >= -7d)",
    ),
    (
        "segment_exited",
        &[],
        "exits from a segment on published days before the as-of date",
        "segment_changes",
        || vec![picks("id", Type::Id), date()],
        "segment_exited MATCHES (id = 'loyal-customers', date >= -30d)",
    ),
    (
        "lifecycle_changed",
        &[],
        "published changes of the lifecycle stage",
        "lifecycle",
        || vec![picks("from", Type::Text), picks("to", Type::Text), date()],
        "lifecycle_changed MATCHES (to = 'dormant', date >= -7d)",
    ),
];

/// Every function, in the order of the language's specification.
pub(super) fn all() -> Vec<Function> {
    let function = |row: &Row| {
        let (name, spellings, rows, table, parameters, example) = *row;
        Function { name, spellings, rows, table, parameters: parameters(), example }
    };
    ROWS.iter().map(function).collect()
}
