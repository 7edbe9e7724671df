//! Random shops and queries from a seed. Values come from few, so that tests meet them; times crowd around midnights,
//! month ends and the days on which clocks change.

use std::fmt::Write as _;

use chrono::{Days, NaiveDate};

use super::Kind;
use super::shops::{Customer, Event, Export, Item, Order, Past, Product, Shop};
use crate::segments::compile::Scope;
use crate::segments::shop;
use crate::segments::syntax::quoted;

pub(super) struct Queries {
    state: u64,
    scope: Scope,
}

const COUNTRIES: [&str; 5] = ["DK", "SE", "D", "O'Fallon", "Æ \\ 🦊"];
const CATEGORIES: [&str; 6] = ["Men", "Men > Shoes", "Men > Shoes > Run", "Mens", "Women", "Ø > it's"];
const LABELS: [&str; 5] = ["New", "new", "Eco", "it's", "x,y"];
const PRODUCTS: [&str; 4] = ["1", "2", "3", "a'b"];
const BRANDS: [&str; 3] = ["Acme", "acme", "Bolt"];
const TYPES: [&str; 9] = [
    "product_viewed",
    "category_viewed",
    "added_to_cart",
    "removed_from_cart",
    "checkout_started",
    "searched",
    "email_opened",
    "coupon_received",
    "quiz",
];
const STATUSES: [&str; 5] = ["paid", "refunded", "partially_refunded", "pending", "cancelled"];
const STAGES: [&str; 3] = ["loyal", "dormant", "churned"];
const CONSENTS: [&str; 4] = ["subscribed", "unsubscribed", "pending", "not_subscribed"];
const CITIES: [&str; 3] = ["Aarhus", "Los Angeles", "O'Fallon"];
const SEGMENTS: [&str; 3] = ["s0", "s1", "gone"];

/// A parameter: its name, how it compares, and the values that it may be asked about.
type Asked = (&'static str, Kind, &'static [&'static str]);

const ITEM: &[Asked] = &[
    ("id", Kind::Text, &PRODUCTS),
    ("tag", Kind::Elements, &LABELS),
    ("label", Kind::Elements, &LABELS),
    ("category", Kind::Path, &CATEGORIES),
    ("collection", Kind::Elements, &LABELS),
    ("brand", Kind::Text, &BRANDS),
    ("sku", Kind::Text, &PRODUCTS),
    ("date", Kind::Time, &[]),
    ("quantity", Kind::Number, &["0", "1", "2", "3"]),
    ("column.quantity", Kind::Number, &["1", "2"]),
    ("amount", Kind::Number, &["9.99", "10", "20.5", "19.9999"]),
    ("unit_price", Kind::Number, &["9.99", "10", "10.00005"]),
    ("returned_quantity", Kind::Number, &["0", "1"]),
    ("count", Kind::Number, &["0", "1", "2", "3"]),
    ("sum_quantity", Kind::Number, &["0", "2", "4"]),
    ("sum_amount", Kind::Number, &["0", "19.98", "30"]),
    ("min_unit_price", Kind::Number, &["9.99", "10"]),
    ("max_quantity", Kind::Number, &["1", "3"]),
];
const ORDER: &[Asked] = &[
    ("date", Kind::Time, &[]),
    ("amount", Kind::Number, &["0", "10", "99.995", "100"]),
    ("coupon", Kind::Elements, &LABELS),
    ("store", Kind::Text, &BRANDS),
    ("channel", Kind::Text, &BRANDS),
    ("status", Kind::Folded, &STATUSES),
    ("gift", Kind::Boolean, &[]),
    ("weight", Kind::Number, &["0.25", "0.5", "1"]),
    ("column.date", Kind::Civil, &[]),
    ("count", Kind::Number, &["0", "1", "2"]),
    ("sum_amount", Kind::Number, &["0", "100", "110.01"]),
    ("sum_weight", Kind::Number, &["0", "0.75", "1"]),
    ("min_amount", Kind::Number, &["10", "100"]),
];
const OF_PRODUCT: &[Asked] = &[
    ("id", Kind::Text, &PRODUCTS),
    ("tag", Kind::Elements, &LABELS),
    ("category", Kind::Path, &CATEGORIES),
    ("date", Kind::Time, &[]),
    ("score", Kind::Number, &["-1", "0", "5"]),
    ("column.category", Kind::Text, &CATEGORIES),
    ("count", Kind::Number, &["0", "1", "2"]),
    ("max_score", Kind::Number, &["0", "5"]),
];
const EVENT: &[Asked] = &[
    ("type", Kind::Text, &TYPES),
    ("date", Kind::Time, &[]),
    ("score", Kind::Number, &["-1", "0", "5"]),
    ("count", Kind::Number, &["0", "1", "3"]),
    ("sum_score", Kind::Number, &["0", "4", "5"]),
];

const FUNCTIONS: &[(&str, &[Asked])] = &[
    ("products_purchased", ITEM),
    ("products_returned", ITEM),
    ("orders_placed", ORDER),
    ("orders_cancelled", ORDER),
    ("events", EVENT),
    ("storefront.product_viewed", OF_PRODUCT),
    ("storefront.cart_added", OF_PRODUCT),
    ("carts_abandoned", OF_PRODUCT),
    ("checkouts_abandoned", OF_PRODUCT),
    ("views_abandoned", OF_PRODUCT),
    (
        "storefront.collection_viewed",
        &[("id", Kind::Path, &CATEGORIES), ("date", Kind::Time, &[]), ("count", Kind::Number, &["0", "1"])],
    ),
    ("storefront.searched", &[("term", Kind::Text, &BRANDS), ("id", Kind::Text, &PRODUCTS), ("date", Kind::Time, &[])]),
    (
        "email.opened",
        &[("activity_id", Kind::Text, &PRODUCTS), ("date", Kind::Time, &[]), ("count", Kind::Number, &["0", "1", "2"])],
    ),
    ("coupons.received", &[("coupon", Kind::Text, &BRANDS), ("date", Kind::Time, &[])]),
    ("segment_entered", &[("id", Kind::Text, &SEGMENTS), ("date", Kind::Civil, &[]), ("count", Kind::Number, &["1"])]),
    ("segment_exited", &[("id", Kind::Text, &SEGMENTS), ("date", Kind::Civil, &[])]),
    (
        "lifecycle_changed",
        &[("from", Kind::Folded, &STAGES), ("to", Kind::Folded, &STAGES), ("date", Kind::Civil, &[])],
    ),
    (
        "audiences_exported",
        &[("segment", Kind::Elements, &SEGMENTS), ("format", Kind::Text, &["email", "ads"]), ("date", Kind::Time, &[])],
    ),
];

const ATTRIBUTES: &[Asked] = &[
    ("number_of_orders", Kind::Number, &["0", "1", "2"]),
    ("amount_spent", Kind::Number, &["0", "10.99", "10.995", "100"]),
    ("average_order_amount", Kind::Number, &["10.9900", "33.3333", "33.33333"]),
    ("points", Kind::Number, &["-0.001", "1.5", "2"]),
    ("p_alive", Kind::Number, &["0.25", "0.5", "1"]),
    ("last_order_date", Kind::Time, &[]),
    ("birthday", Kind::Civil, &[]),
    ("country", Kind::Text, &COUNTRIES),
    ("customer_tags", Kind::List, &LABELS),
    ("email_subscription_status", Kind::Folded, &CONSENTS),
    ("vip", Kind::Boolean, &[]),
    ("tier", Kind::Folded, &["Gold", "Silver"]),
    ("customer_cities", Kind::Spellings, &["Aarhus", "losangeles", "DK-84-Aarhus", "84-O'Fallon", "Lund"]),
];

impl Queries {
    pub(super) fn new(seed: u64) -> Self {
        let mut queries = Self { state: seed, scope: shop::scope("UTC", "2026-11-19") };
        let zone = *queries.one_of(&["Europe/Copenhagen", "America/New_York", "Asia/Tokyo"]);
        let as_of =
            *queries.one_of(&["2026-11-19", "2026-03-29", "2024-02-29", "2026-10-25", "2026-12-31", "2026-01-01"]);
        queries.scope = shop::scope(zone, as_of);
        queries
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance(25) { None } else { Some(make(self)) }
    }

    fn word(&mut self, all: &[&str]) -> Option<String> {
        self.maybe(|own| (*own.one_of(all)).to_owned())
    }

    fn list(&mut self, all: &[&str]) -> Vec<String> {
        (0..self.below(3)).map(|_| (*self.one_of(all)).to_owned()).collect()
    }

    fn some_day(&mut self) -> NaiveDate {
        let back = *self.one_of(&[0, 0, 1, 6, 7, 8, 29, 30, 31, 59, 89, 90, 91, 184, 365, 366]);
        self.scope.as_of - Days::new(back)
    }

    /// An instant before the cutoff, often the first or last of a local day.
    fn time(&mut self) -> i64 {
        let day = self.scope.zone.day(self.some_day());
        let (start, end) = (day.start.timestamp_micros(), day.end.timestamp_micros());
        match self.below(4) {
            0 => start,
            1 => end - 1,
            _ => start + (self.next() % (end - start) as u64) as i64,
        }
    }

    pub(super) fn shop(&mut self) -> Shop {
        let customers = 3 + self.below(6);
        let mut shop =
            Shop { customers: (0..customers).map(|number| self.customer(number)).collect(), ..Shop::default() };
        for id in PRODUCTS.iter().take(3) {
            shop.products.push(Product {
                id: (*id).to_owned(),
                category: self.word(&CATEGORIES),
                labels: self.maybe(|own| own.list(&LABELS)),
            });
        }
        for _ in 0..self.below(3 * customers) {
            let order = self.order(customers);
            shop.orders.push(order);
        }
        for _ in 0..self.below(6 * customers) {
            shop.events.push(Event {
                customer: self.below(customers),
                kind: (*self.one_of(&TYPES)).to_owned(),
                at: self.time(),
                product: self.word(&PRODUCTS),
                category: self.word(&CATEGORIES).filter(|_| self.chance(50)),
                campaign: self.word(&PRODUCTS),
                term: self.word(&BRANDS),
                coupon: self.word(&BRANDS),
                score: self.maybe(|own| *own.one_of(&[-1, 0, 5])),
            });
        }
        for _ in 0..self.below(2 * customers) {
            let past = self.past(customers, &SEGMENTS, &["entered", "exited"]);
            shop.changes.push(past);
            let mut past = self.past(customers, &STAGES, &STAGES);
            past.before = past.before.filter(|_| self.chance(80));
            shop.stages.push(past);
        }
        for _ in 0..self.below(4) {
            let late = self.chance(20);
            let at = self.time() + if late { 400 * 86_400_000_000 } else { 0 };
            let mut to: Vec<(usize, bool)> = Vec::new();
            for customer in 0..customers {
                if self.chance(50) {
                    to.push((customer, self.chance(30)));
                }
            }
            let (segments, format) = (self.list(&SEGMENTS), (*self.one_of(&["email", "ads"])).to_owned());
            shop.exports.push(Export { segments, format, at, to });
        }
        shop
    }

    fn customer(&mut self, number: usize) -> Customer {
        Customer {
            id: format!("c{number}"),
            old_id: format!("old{number}"),
            number_of_orders: self.below(3) as i64,
            amount_spent: *self.one_of(&[0, 1099, 1100, 10_000]),
            average: self.maybe(|own| *own.one_of(&[109_900, 333_333, 333_334])),
            last_order: self.maybe(Self::time),
            birthday: self.maybe(|own| {
                let month_and_day = *own.one_of(&[(2, 29), (2, 28), (3, 1), (12, 31), (1, 1), (11, 20), (10, 25)]);
                NaiveDate::from_ymd_opt(1988, month_and_day.0, month_and_day.1).unwrap()
            }),
            country: self.word(&COUNTRIES),
            region: self.word(&["84", "CA"]),
            city: self.word(&CITIES),
            tags: self.list(&LABELS),
            consent: self.word(&CONSENTS),
            alive: self.maybe(|own| *own.one_of(&[0.1, 0.25, 0.5, 1.0])),
            vip: self.maybe(|own| own.chance(50)),
            tier: self.word(&["gold", "GOLD", "Silver"]),
            points: self.maybe(|own| *own.one_of(&[-1, 1500, 2000])),
            email: self.word(&["Ann@Example.com", "bo@example.com", "a'b@x.io"]),
            place: self.maybe(|own| *own.one_of(&[(55.6761, 12.5683), (56.1629, 10.2039), (-33.8688, 151.2093)])),
        }
    }

    fn order(&mut self, customers: usize) -> Order {
        let at = self.time();
        let items = (0..self.below(4))
            .map(|_| {
                let quantity = 1 + self.below(3) as i64;
                Item {
                    product: Some((*self.one_of(&PRODUCTS)).to_owned()),
                    category: self.word(&CATEGORIES),
                    collections: self.maybe(|own| own.list(&LABELS)),
                    labels: self.maybe(|own| own.list(&LABELS)),
                    brand: self.word(&BRANDS),
                    sku: self.word(&PRODUCTS),
                    quantity,
                    price: self.maybe(|own| *own.one_of(&[99_900, 100_000, 100_001])),
                    returned: self.below(2) as i64,
                    returned_at: self.maybe(Self::time),
                }
            })
            .collect();
        Order {
            customer: self.below(customers),
            at,
            status: (*self.one_of(&STATUSES)).to_owned(),
            total: *self.one_of(&[0, 1000, 9999, 10_000, 10_001]),
            coupons: self.maybe(|own| own.list(&LABELS)),
            store: self.word(&BRANDS),
            channel: self.word(&BRANDS),
            gift: self.maybe(|own| own.chance(50)),
            weight: self.maybe(|own| *own.one_of(&[0.25, 0.5, 0.75])),
            promised: self.maybe(Self::some_day),
            items,
        }
    }

    fn past(&mut self, customers: usize, what: &[&str], before: &[&str]) -> Past {
        let later = self.chance(10);
        Past {
            customer: self.below(customers),
            by_old_id: self.chance(30),
            on: self.some_day() + Days::new(u64::from(later)),
            what: (*self.one_of(what)).to_owned(),
            before: Some((*self.one_of(before)).to_owned()),
        }
    }

    /// The query of the segment of that number, which may refer to those before it.
    pub(super) fn query(&mut self, number: usize) -> String {
        self.expression(number, 3)
    }

    fn expression(&mut self, number: usize, depth: usize) -> String {
        if depth == 0 || self.chance(35) {
            return self.clause(number);
        }
        if self.chance(20) {
            return format!("NOT ({})", self.expression(number, depth - 1));
        }
        let between = if self.chance(50) { " AND " } else { " OR " };
        let parts: Vec<String> =
            (0..2 + self.below(2)).map(|_| format!("({})", self.expression(number, depth - 1))).collect();
        parts.join(between)
    }

    fn clause(&mut self, number: usize) -> String {
        match self.below(20) {
            0 if number > 0 => format!("segment('s{}')", self.below(number)),
            1 => {
                let of = *self.one_of(&["birthday", "last_order_date"]);
                let (low, high) = (*self.one_of(&[-40, -1, 0, 1]), *self.one_of(&[1, 7, 45, 200]));
                match self.below(4) {
                    0 => format!("anniversary('{of}') IS NULL"),
                    1 => format!("anniversary('{of}') {} {low:+}d", self.compare()),
                    2 => format!("anniversary('{of}') NOT BETWEEN {low:+}d AND {high:+}d"),
                    _ => format!("anniversary('{of}') BETWEEN {low:+}d AND {high:+}d"),
                }
            }
            2..=8 => {
                let (name, kind, values) = *self.one_of(ATTRIBUTES);
                format!("{name} {}", self.test(kind, values))
            }
            9 => {
                let test = self.test(Kind::Text, &["Ann@Example.com", "ann", "example", "a'b@x.io"]);
                format!("email {test}")
            }
            _ => self.function(),
        }
    }

    fn function(&mut self) -> String {
        let (name, parameters) = *self.one_of(FUNCTIONS);
        if self.chance(5) {
            let is = if self.chance(50) { "IS NULL" } else { "IS NOT NULL" };
            return format!("{name} {is}").replace("email.opened", "shopify_email.opened");
        }
        let mut asked: Vec<(String, String)> = Vec::new();
        for _ in 0..self.below(4) {
            let (parameter, kind, values) = *self.one_of(parameters);
            // One fact has two names.
            let known = |name: &str| asked.iter().any(|(earlier, _)| earlier == name);
            let twin = matches!(parameter, "tag" | "label") && (known("tag") || known("label"));
            if !known(parameter) && !twin {
                let test = self.test(kind, values);
                asked.push((parameter.to_owned(), test));
            }
        }
        let mut text = format!("{name} {}MATCHES (", if self.chance(25) { "NOT " } else { "" });
        for (place, (parameter, test)) in asked.iter().enumerate() {
            let _ = write!(text, "{}{parameter} {test}", if place > 0 { ", " } else { "" });
        }
        text.push(')');
        text
    }

    fn compare(&mut self) -> &'static str {
        let found: &&'static str = self.one_of(&["=", "!=", "<", "<=", ">", ">="]);
        found
    }

    fn value(&mut self, kind: Kind, values: &[&str]) -> String {
        match kind {
            Kind::Number => (*self.one_of(values)).to_owned(),
            Kind::Boolean => (*self.one_of(&["true", "false"])).to_owned(),
            Kind::Time | Kind::Civil => {
                let day = self.some_day();
                match self.below(8) {
                    0 => "today".to_owned(),
                    1 => "yesterday".to_owned(),
                    2 => format!("-{}d", self.one_of(&[1, 7, 30, 90])),
                    3 => (*self.one_of(&["-1m", "-3m", "-12m", "-1y", "-2w"])).to_owned(),
                    4 if kind == Kind::Time => {
                        let time = *self.one_of(&["00:00:00", "02:30:00", "12:00:00", "23:59:59"]);
                        format!("{}T{time}", day.format("%Y-%m-%d"))
                    }
                    5 => format!("'{}'", day.format("%Y-%m-%d")),
                    _ => day.format("%Y-%m-%d").to_string(),
                }
            }
            Kind::Folded | Kind::Elements | Kind::List => {
                let value = *self.one_of(values);
                let value = if self.chance(50) { value.to_uppercase() } else { value.to_owned() };
                quoted(&value)
            }
            Kind::Text | Kind::Path | Kind::Spellings => {
                let value = *self.one_of(values);
                quoted(value)
            }
        }
    }

    fn test(&mut self, kind: Kind, values: &[&str]) -> String {
        let not = if self.chance(40) { "NOT " } else { "" };
        let equal = *self.one_of(&["=", "!="]);
        let null = if self.chance(50) { "IS NULL" } else { "IS NOT NULL" };
        let choice = self.below(10);
        let listed = |own: &mut Self| {
            let all: Vec<String> = (0..1 + own.below(3)).map(|_| own.value(kind, values)).collect();
            format!("{not}IN ({})", all.join(", "))
        };
        match (kind, choice) {
            (_, 0) => null.to_owned(),
            (Kind::Number | Kind::Time | Kind::Civil, 1 | 2) => {
                format!("{not}BETWEEN {} AND {}", self.value(kind, values), self.value(kind, values))
            }
            (Kind::Number | Kind::Time | Kind::Civil, 3) => listed(self),
            (Kind::Number | Kind::Time | Kind::Civil, _) => {
                format!("{} {}", self.compare(), self.value(kind, values))
            }
            (Kind::List | Kind::Spellings, _) => format!("{not}CONTAINS {}", self.value(kind, values)),
            (Kind::Boolean, _) => format!("{equal} {}", self.value(kind, values)),
            (_, 1..=3) => listed(self),
            (Kind::Text | Kind::Path | Kind::Elements, 4) => format!("{not}CONTAINS {}", self.value(kind, values)),
            (Kind::Text | Kind::Path, 5) => format!("{not}STARTS WITH {}", self.value(kind, values)),
            _ => format!("{equal} {}", self.value(kind, values)),
        }
    }
}
