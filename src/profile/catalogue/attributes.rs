//! Every attribute of the contract: one row each.

use super::{Attribute, Source, Type};

/// The effective consents that a customer can have; nobody is `redacted`, but shops' queries name it.
const CONSENTS: &[&str] = &["subscribed", "unsubscribed", "pending", "not_subscribed", "invalid", "redacted"];

/// Shopify's names of the recency, frequency and monetary groups.
const RFM_GROUPS: &[&str] = &[
    "champions",
    "loyal",
    "active",
    "new",
    "promising",
    "needs_attention",
    "almost_lost",
    "previously_loyal",
    "at_risk",
    "dormant",
    "prospects",
];

pub(super) const STAGES: &[&str] = &["prospect", "churned", "dormant", "loyal", "high_potential", "nurture_needed"];
const TIERS: &[&str] = &["high", "medium", "low"];
const SUBSCRIPTIONS: &[&str] =
    &["active", "cancelled", "expired", "failed", "never_subscribed", "paused", "subscribed"];
const ACCOUNTS: &[&str] = &["declined", "disabled", "enabled", "invited"];

const MONEY: Type = Type::Decimal { precision: 28, scale: 2 };
const ORDERS: &str = "orders.total";

fn row(name: &str, kind: Type, landed: &[&str], meaning: &str, example: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        aliases: Vec::new(),
        label: None,
        kind,
        source: Source::Column(name.to_owned()),
        meaning: meaning.to_owned(),
        example: example.to_owned(),
        landed: landed.iter().map(|column| (*column).to_owned()).collect(),
        contact: false,
        sensitive: false,
        folded: false,
        buyers_only: false,
        custom: false,
        definition: None,
    }
}

impl Attribute {
    fn also(mut self, aliases: &[&str]) -> Self {
        self.aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        self
    }

    fn spelled(mut self, spellings: &'static [&'static [&'static str]]) -> Self {
        self.source = Source::Spellings(spellings);
        self
    }

    fn contact(mut self) -> Self {
        self.contact = true;
        self.sensitive = true;
        self
    }

    fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    fn folded(mut self) -> Self {
        self.folded = true;
        self
    }

    fn of_buyers(mut self) -> Self {
        self.buyers_only = true;
        self
    }
}

/// The attributes that every project has, in the order of the contract.
pub(super) fn of_the_contract() -> Vec<Attribute> {
    let mut all = customer();
    all.extend(orders());
    all.extend(behaviour());
    all.extend(classified());
    all.extend(contacts());
    all
}

fn customer() -> Vec<Attribute> {
    use Type::{CivilDate, Day, Enum, Id, List, Text};
    vec![
        row("customer_id", Id, &["customers.customer_id"], "the customer's id", "customer_id = '4711'"),
        row(
            "created_at",
            Day,
            &["customers.created_at", "orders.ordered_at"],
            "when the customer was added: landed, else the first order",
            "created_at >= -30d",
        )
        .also(&["customer_added_date"]),
        row("store", Text, &["customers.store"], "the store that the customer belongs to", "store = 'dk'"),
        row("gender", Text, &["customers.gender"], "gender, as landed", "gender = 'female'").sensitive(),
        row("birthday", CivilDate, &["customers.birthday"], "date of birth", "anniversary('birthday') = +7d")
            .also(&["metafields.facts.birth_date", "customer.metafields.facts.birth_date"])
            .sensitive(),
        row("language", Text, &["customers.language"], "language, as landed", "language = 'da'")
            .also(&["customer_language"]),
        row("country", Text, &["customers.country"], "country, as ISO 3166-1 alpha-2", "country = 'DK'"),
        row(
            "customer_countries",
            List(Vec::new()),
            &["customers.country"],
            "the country, as a list of one",
            "customer_countries CONTAINS 'DK'",
        )
        .spelled(&[&["country"]]),
        row("region", Text, &["customers.region"], "region, as landed", "region = 'Hovedstaden'"),
        row(
            "customer_regions",
            List(Vec::new()),
            &["customers.region"],
            "the region as a list of one, as country-region or as landed",
            "customer_regions CONTAINS 'DK-84'",
        )
        .spelled(&[&["region"], &["country", "region"]]),
        row("city", Text, &["customers.city"], "city, as landed", "city = 'Aarhus'"),
        row(
            "customer_cities",
            List(Vec::new()),
            &["customers.city"],
            "the city as a list of one, as country-region-city or as landed",
            "customer_cities CONTAINS 'DK-84-Aarhus'",
        )
        .spelled(&[&["city"], &["region", "city"], &["country", "region", "city"]]),
        row(
            "registration_source",
            Text,
            &["customers.registration_source"],
            "where the customer signed up, as landed",
            "registration_source = 'popup'",
        ),
        row(
            "membership",
            Text,
            &["customers.membership"],
            "tier of the membership; missing for no member",
            "membership = 'gold'",
        ),
        row("tags", List(Vec::new()), &["customers.tags"], "the shop's tags", "customer_tags CONTAINS 'vip'")
            .also(&["customer_tags"]),
        row(
            "lists",
            List(Vec::new()),
            &["customers.lists"],
            "the lists that the customer is on",
            "lists CONTAINS 'newsletter'",
        ),
        row(
            "email_subscription_status",
            Enum(CONSENTS),
            &["customers.email_consent"],
            "effective consent to e-mail: as landed, ended by an unsubscription, a spam complaint or a hard bounce",
            "email_subscription_status = 'SUBSCRIBED'",
        ),
        row(
            "sms_subscription_status",
            Enum(CONSENTS),
            &["customers.sms_consent"],
            "effective consent to text messages",
            "sms_subscription_status = 'SUBSCRIBED'",
        ),
        row(
            "email_reachable",
            Type::Boolean,
            &["customers.email"],
            "subscribed, with an address that is there and valid",
            "email_reachable = true",
        ),
        row(
            "sms_reachable",
            Type::Boolean,
            &["customers.phone"],
            "subscribed to text messages, with a number that is there and valid",
            "sms_reachable = true",
        ),
        row(
            "email_subscribed_date",
            Day,
            &["customers.email_subscribed_at", "customers.email_consent_at"],
            "when the customer subscribed to e-mail",
            "email_subscribed_date >= -30d",
        ),
        row(
            "customer_email_domain",
            Text,
            &["customers.email"],
            "the part of the e-mail address after @, in lower case",
            "customer_email_domain = 'example.com'",
        )
        .folded(),
    ]
}

fn orders() -> Vec<Attribute> {
    use Type::{Day, Decimal, Float, Integer, Text};
    vec![
        row("number_of_orders", Integer, &[ORDERS], "counted orders; 0 if none", "number_of_orders > 1"),
        row(
            "amount_spent",
            MONEY,
            &[ORDERS],
            "sum of total less refunds over counted orders; 0 if none",
            "amount_spent >= 100",
        ),
        row(
            "average_order_amount",
            Decimal { precision: 18, scale: 4 },
            &[ORDERS],
            "mean of total less refunds over counted orders",
            "average_order_amount > 50",
        )
        .of_buyers(),
        row(
            "highest_order_amount",
            Decimal { precision: 18, scale: 2 },
            &[ORDERS],
            "largest counted order, less refunds",
            "highest_order_amount > 200",
        )
        .of_buyers(),
        row("first_order_date", Day, &["orders.ordered_at"], "first counted order", "first_order_date >= -90d")
            .of_buyers(),
        row("last_order_date", Day, &["orders.ordered_at"], "latest counted order", "last_order_date < -6m")
            .of_buyers(),
        row(
            "days_since_last_order",
            Integer,
            &["orders.ordered_at"],
            "whole days from the local day of the latest counted order to the as-of date",
            "days_since_last_order > 180",
        )
        .of_buyers(),
        row(
            "average_days_between_orders",
            Float,
            &["orders.ordered_at"],
            "days from the first to the latest order over orders less one; missing under two orders",
            "average_days_between_orders < 30",
        )
        .of_buyers(),
        row(
            "discount_amount",
            MONEY,
            &["orders.discount"],
            "sum of discounts over counted orders",
            "discount_amount > 0",
        ),
        row(
            "refunded_amount",
            MONEY,
            &["orders.refunded"],
            "sum of refunds over counted orders",
            "refunded_amount = 0",
        ),
        row(
            "coupons_used",
            Integer,
            &["orders.coupon_codes"],
            "coupon codes applied to counted orders",
            "coupons_used >= 1",
        ),
        row(
            "items_bought",
            Integer,
            &["order_items.product_id"],
            "quantity bought over counted orders",
            "items_bought >= 10",
        ),
        row("items_returned", Integer, &["order_items.returned_quantity"], "quantity returned", "items_returned = 0"),
        row("cancelled_orders", Integer, &["orders.status"], "orders that were cancelled", "cancelled_orders >= 1"),
        row(
            "negative_reviews",
            Integer,
            &["events.rating"],
            "reviews with a rating of at most 3",
            "negative_reviews >= 1",
        ),
        row(
            "favorite_category",
            Text,
            &["order_items.category", "products.category"],
            "the category of which most was bought",
            "favorite_category = 'Running shoes'",
        )
        .of_buyers(),
        row(
            "favorite_brand",
            Text,
            &["order_items.brand", "products.brand"],
            "the brand of which most was bought",
            "favorite_brand = 'Acme'",
        )
        .of_buyers(),
        row(
            "categories_bought",
            Integer,
            &["order_items.category", "products.category"],
            "distinct categories bought",
            "categories_bought >= 3",
        ),
        row(
            "products_bought",
            Integer,
            &["order_items.product_id"],
            "distinct products bought",
            "products_bought >= 5",
        ),
    ]
}

fn behaviour() -> Vec<Attribute> {
    use Type::{Day, Integer};
    let seen = &["events.type"];
    vec![
        row(
            "last_seen_date",
            Day,
            seen,
            "latest visit: a page, product or category viewed, a search, a cart or a checkout",
            "last_seen_date >= -7d",
        ),
        row(
            "email_opens_90d",
            Integer,
            seen,
            "e-mails opened by a person in the 90 days that end with the as-of date",
            "email_opens_90d = 0",
        ),
        row(
            "email_clicks_90d",
            Integer,
            seen,
            "e-mails clicked by a person in the 90 days that end with the as-of date",
            "email_clicks_90d >= 1",
        ),
        row(
            "page_views_30d",
            Integer,
            seen,
            "pages viewed in the 30 days that end with the as-of date",
            "page_views_30d >= 10",
        ),
        row(
            "product_views_30d",
            Integer,
            seen,
            "products viewed in the 30 days that end with the as-of date",
            "product_views_30d >= 3",
        ),
        row(
            "abandoned_cart_date",
            Day,
            seen,
            "latest addition to a cart that no order followed and that was not taken out again",
            "abandoned_cart_date >= -3d",
        ),
        row(
            "abandoned_checkout_date",
            Day,
            seen,
            "latest checkout that no order followed",
            "abandoned_checkout_date >= -7d",
        ),
    ]
}

fn classified() -> Vec<Attribute> {
    use Type::{CivilDate, Enum, Float, Integer};
    vec![
        row(
            "amount_spent_percentile",
            Float,
            &[ORDERS],
            "share of buyers who spent less, 0 to 100",
            "amount_spent_percentile >= 90",
        )
        .of_buyers(),
        row(
            "rfm_recency",
            Integer,
            &[ORDERS],
            "fifth of buyers by the day of the latest order, 5 = latest",
            "rfm_recency = 5",
        )
        .of_buyers(),
        row("rfm_frequency", Integer, &[ORDERS], "fifth of buyers by number of orders, 5 = most", "rfm_frequency >= 4")
            .of_buyers(),
        row("rfm_monetary", Integer, &[ORDERS], "fifth of buyers by amount spent, 5 = most", "rfm_monetary >= 4")
            .of_buyers(),
        row(
            "rfm_group",
            Enum(RFM_GROUPS),
            &[ORDERS],
            "Shopify's group by recency, frequency and amount",
            "rfm_group = 'CHAMPIONS'",
        ),
        row(
            "lifecycle_stage",
            Enum(STAGES),
            &[ORDERS],
            "stage of the lifecycle, scaled to the shop's own rhythm",
            "lifecycle_stage = 'loyal'",
        ),
        row("p_order_90d", Float, &[ORDERS], "chance of an order in the next 90 days, 0 to 1", "p_order_90d < 0.2")
            .of_buyers(),
        row("p_order_365d", Float, &[ORDERS], "chance of an order in the next 365 days, 0 to 1", "p_order_365d >= 0.7")
            .of_buyers(),
        row(
            "p_alive",
            Float,
            &[ORDERS],
            "chance of still being a customer, 0 to 1; missing where the shop's data cannot tell",
            "p_alive < 0.5",
        )
        .of_buyers(),
        row("expected_orders", Float, &[ORDERS], "orders expected in the next 365 days", "expected_orders >= 2")
            .of_buyers(),
        row("predicted_value", Float, &[ORDERS], "spend expected in the next 365 days", "predicted_value >= 200")
            .of_buyers(),
        row(
            "predicted_spend_tier",
            Enum(TIERS),
            &[ORDERS],
            "third of buyers by the spend expected in 365 days",
            "predicted_spend_tier = 'HIGH'",
        )
        .of_buyers(),
        row("churn_risk", Float, &[ORDERS], "chance of no order in the next 365 days, 0 to 1", "churn_risk > 0.8")
            .of_buyers(),
        row(
            "predicted_next_order_date",
            CivilDate,
            &[ORDERS],
            "median day of the next order; missing for the lapsed",
            "predicted_next_order_date BETWEEN today AND +14d",
        )
        .of_buyers(),
    ]
}

fn contacts() -> Vec<Attribute> {
    use Type::{Float, Text};
    vec![
        row("name", Text, &["customers.name"], "full name", "name STARTS WITH 'Anna'").contact(),
        row("first_name", Text, &["customers.first_name"], "first name", "first_name = 'Anna'").contact(),
        row("last_name", Text, &["customers.last_name"], "last name", "last_name = 'Berg'").contact(),
        row(
            "email",
            Text,
            &["customers.email"],
            "e-mail address, compared without regard to case",
            "email IS NOT NULL",
        )
        .contact()
        .folded(),
        row("phone", Text, &["customers.phone"], "telephone number", "phone STARTS WITH '+45'").contact(),
        row("address", Text, &["customers.address"], "street and number", "address IS NULL").contact(),
        row("postal_code", Text, &["customers.postal_code"], "postal code", "postal_code STARTS WITH '80'").contact(),
        row("latitude", Float, &["customers.latitude"], "degrees north", "latitude > 56").contact(),
        row("longitude", Float, &["customers.longitude"], "degrees east", "longitude < 10").contact(),
    ]
}

/// The attributes that exist only where the profile has a column of their name.
pub(super) fn where_landed() -> Vec<Attribute> {
    vec![
        row(
            "product_subscription_status",
            Type::Enum(SUBSCRIPTIONS),
            &["customers.product_subscription_status", "events.type"],
            "state of the product subscription: as landed, else from the latest subscription event",
            "product_subscription_status = 'ACTIVE'",
        )
        .folded(),
        row(
            "customer_account_status",
            Type::Enum(ACCOUNTS),
            &["customers.customer_account_status"],
            "state of the customer's account",
            "customer_account_status = 'ENABLED'",
        )
        .folded(),
        row(
            "companies",
            Type::Id,
            &["customers.companies"],
            "the companies that the customer buys for",
            "companies IS NOT NULL",
        ),
        row(
            "created_by_app_id",
            Type::Id,
            &["customers.created_by_app_id"],
            "the app that made the customer",
            "created_by_app_id = 6167201",
        ),
        row(
            "store_credit_accounts",
            Type::Text,
            &["customers.store_credit_accounts"],
            "store credit, as landed",
            "store_credit_accounts IS NOT NULL",
        ),
    ]
}

/// The landed column that would supply a known attribute which this project's data has not.
pub(super) fn supplied_by(name: &str) -> Option<&'static str> {
    Some(match name {
        "product_subscription_status" => "customers.product_subscription_status",
        "customer_account_status" => "customers.customer_account_status",
        "companies" => "customers.companies",
        "created_by_app_id" => "customers.created_by_app_id",
        "store_credit_accounts" => "customers.store_credit_accounts",
        _ => return None,
    })
}

/// A landed customer column that the contract does not know.
pub(super) fn of_property(name: &str, column: &str, kind: Type) -> Attribute {
    let example = match &kind {
        Type::Integer | Type::Decimal { .. } | Type::Float => format!("{name} >= 10"),
        Type::Text | Type::Id | Type::Enum(_) => format!("{name} IS NOT NULL"),
        Type::Choice(options) => match options.first() {
            Some(first) => format!("{name} = '{}'", first.replace('\\', "\\\\").replace('\'', "\\'")),
            None => format!("{name} IS NOT NULL"),
        },
        Type::Day | Type::CivilDate => format!("{name} >= -30d"),
        Type::Boolean => format!("{name} = true"),
        Type::List(_) | Type::Elements(_) => format!("{name} CONTAINS 'a'"),
        Type::Path => format!("{name} = 'a'"),
    };
    let mut property = row(name, kind, &[], "custom property, as landed", &example);
    property.landed = vec![format!("customers.{column}")];
    property.custom = true;
    property
}
