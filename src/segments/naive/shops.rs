//! Small random shops: as rows for the naive evaluator, and as the tables of a night.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListBuilder,
    RecordBatch, StringBuilder, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Field};
use chrono::NaiveDate;
use datafusion::prelude::SessionContext;

use super::{Fact, Kind, Val};
use crate::segments::compile::Scope;

#[derive(Debug, Clone, Default)]
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) number_of_orders: i64,
    /// Hundredths.
    pub(super) amount_spent: i128,
    /// Of ten thousand.
    pub(super) average: Option<i128>,
    pub(super) last_order: Option<i64>,
    pub(super) birthday: Option<NaiveDate>,
    pub(super) country: Option<String>,
    pub(super) region: Option<String>,
    pub(super) city: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) consent: Option<String>,
    pub(super) alive: Option<f64>,
    pub(super) vip: Option<bool>,
    pub(super) tier: Option<String>,
    /// Thousandths.
    pub(super) points: Option<i128>,
    pub(super) email: Option<String>,
    pub(super) place: Option<(f64, f64)>,
    /// Another id of the same person.
    pub(super) old_id: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    pub(super) customer: usize,
    pub(super) at: i64,
    pub(super) status: String,
    pub(super) total: i128,
    pub(super) coupons: Option<Vec<String>>,
    pub(super) store: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) gift: Option<bool>,
    pub(super) weight: Option<f64>,
    pub(super) promised: Option<NaiveDate>,
    pub(super) items: Vec<Item>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Item {
    pub(super) product: Option<String>,
    pub(super) category: Option<String>,
    pub(super) collections: Option<Vec<String>>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) brand: Option<String>,
    pub(super) sku: Option<String>,
    pub(super) quantity: i64,
    pub(super) price: Option<i128>,
    pub(super) returned: i64,
    pub(super) returned_at: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Event {
    pub(super) customer: usize,
    pub(super) kind: String,
    pub(super) at: i64,
    pub(super) product: Option<String>,
    pub(super) category: Option<String>,
    pub(super) campaign: Option<String>,
    pub(super) term: Option<String>,
    pub(super) coupon: Option<String>,
    pub(super) score: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Product {
    pub(super) id: String,
    pub(super) category: Option<String>,
    pub(super) labels: Option<Vec<String>>,
}

/// What was published: a segment's change, or a stage's.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    pub(super) customer: usize,
    pub(super) by_old_id: bool,
    pub(super) on: NaiveDate,
    /// Segment and change, or stage and stage before.
    pub(super) what: String,
    pub(super) before: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Export {
    pub(super) segments: Vec<String>,
    pub(super) format: String,
    pub(super) at: i64,
    /// Customers, and whether each was held out.
    pub(super) to: Vec<(usize, bool)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Shop {
    pub(super) customers: Vec<Customer>,
    pub(super) orders: Vec<Order>,
    pub(super) events: Vec<Event>,
    pub(super) products: Vec<Product>,
    pub(super) changes: Vec<Past>,
    pub(super) stages: Vec<Past>,
    pub(super) exports: Vec<Export>,
}

pub(super) type Row = BTreeMap<&'static str, Fact>;

/// A row's fact by its name in a query.
pub(super) fn fact<'a>(row: &'a Row, name: &str) -> &'a Fact {
    let name = if name == "label" { "tag" } else { name };
    row.get(name).unwrap_or_else(|| panic!("no row has {name}"))
}

pub(super) fn is_function(name: &str) -> bool {
    let others = ["events", "segment_entered", "segment_exited", "lifecycle_changed", "audiences_exported"];
    let beginnings = ["products_", "orders_"];
    name.contains('.')
        || name.ends_with("_abandoned")
        || others.contains(&name)
        || beginnings.iter().any(|beginning| name.starts_with(beginning))
}

fn word(value: &Option<String>) -> Option<Val> {
    value.clone().map(Val::Text)
}

fn whole(value: i64) -> Option<Val> {
    Some(Val::Number(value.into(), 0))
}

const COUNTED: [&str; 3] = ["paid", "refunded", "partially_refunded"];

impl Shop {
    pub(super) fn attribute(&self, customer: &Customer, name: &str) -> Fact {
        match name {
            "number_of_orders" => (Kind::Number, whole(customer.number_of_orders)),
            "amount_spent" => (Kind::Number, Some(Val::Number(customer.amount_spent, 2))),
            "average_order_amount" => (Kind::Number, customer.average.map(|value| Val::Number(value, 4))),
            "points" => (Kind::Number, customer.points.map(|value| Val::Number(value, 3))),
            "p_alive" => (Kind::Number, customer.alive.map(Val::Float)),
            "last_order_date" => (Kind::Time, customer.last_order.map(Val::Time)),
            "birthday" => (Kind::Civil, customer.birthday.map(Val::Civil)),
            "country" => (Kind::Text, word(&customer.country)),
            "customer_tags" => (Kind::List, Some(Val::List(customer.tags.clone()))),
            "email_subscription_status" => (Kind::Folded, word(&customer.consent)),
            "vip" => (Kind::Boolean, customer.vip.map(Val::Boolean)),
            "tier" => (Kind::Folded, word(&customer.tier)),
            "email" => (Kind::Folded, word(&customer.email)),
            "customer_cities" => {
                let spelled = customer.city.as_ref().map(|city| {
                    let mut all = vec![city.clone()];
                    if let Some(region) = &customer.region {
                        all.push(format!("{region}-{city}"));
                        all.extend(customer.country.as_ref().map(|country| format!("{country}-{region}-{city}")));
                    }
                    Val::List(all)
                });
                (Kind::Spellings, spelled)
            }
            other => panic!("no customer has {other}"),
        }
    }

    /// The rows that a function looks at.
    pub(super) fn rows(&self, function: &str, customer: &Customer, scope: Scope) -> Vec<Row> {
        let number = self.customers.iter().position(|other| other.id == customer.id).unwrap();
        let orders = || self.orders.iter().filter(move |order| order.customer == number);
        let counted = |order: &&Order| COUNTED.contains(&order.status.as_str());
        let name = function.strip_prefix("shopify_email.").map(|name| format!("email.{name}"));
        let name = name.as_deref().unwrap_or(function);
        match name {
            "products_purchased" => orders()
                .filter(counted)
                .flat_map(|order| order.items.iter().map(move |item| self.item(item, order, item.quantity, order.at)))
                .collect(),
            "products_returned" => orders()
                .flat_map(|order| order.items.iter().map(move |item| (order, item)))
                .filter(|(_, item)| item.returned > 0)
                .map(|(order, item)| self.item(item, order, item.returned, item.returned_at.unwrap_or(order.at)))
                .collect(),
            "orders_placed" => orders().filter(counted).map(order_row).collect(),
            "orders_cancelled" => orders().filter(|order| order.status == "cancelled").map(order_row).collect(),
            "segment_entered" | "segment_exited" => {
                let change = name.trim_start_matches("segment_");
                let happened = |past: &&Past| past.customer == number && past.on < scope.as_of;
                let changes =
                    self.changes.iter().filter(happened).filter(|past| past.before.as_deref() == Some(change));
                changes
                    .map(|past| {
                        Row::from([
                            ("id", (Kind::Text, Some(Val::Text(past.what.clone())))),
                            ("date", (Kind::Civil, Some(Val::Civil(past.on)))),
                        ])
                    })
                    .collect()
            }
            "lifecycle_changed" => {
                let changed = |past: &&Past| {
                    let moved = past.before.as_ref().is_some_and(|before| *before != past.what);
                    past.customer == number && past.on <= scope.as_of && moved
                };
                let changes = self.stages.iter().filter(changed);
                changes
                    .map(|past| {
                        Row::from([
                            ("from", (Kind::Folded, word(&past.before))),
                            ("to", (Kind::Folded, Some(Val::Text(past.what.clone())))),
                            ("date", (Kind::Civil, Some(Val::Civil(past.on)))),
                        ])
                    })
                    .collect()
            }
            "audiences_exported" => {
                let cutoff = scope.zone.cutoff(scope.as_of).timestamp_micros();
                let exports = self.exports.iter().filter(|export| export.at < cutoff);
                exports
                    .filter(|export| export.to.contains(&(number, false)))
                    .map(|export| {
                        Row::from([
                            ("segment", (Kind::Elements, Some(Val::List(export.segments.clone())))),
                            ("format", (Kind::Text, Some(Val::Text(export.format.clone())))),
                            ("date", (Kind::Time, Some(Val::Time(export.at)))),
                        ])
                    })
                    .collect()
            }
            _ => {
                let (kind, abandoned) = match name {
                    "events" => (None, false),
                    "carts_abandoned" => (Some("added_to_cart"), true),
                    "checkouts_abandoned" => (Some("checkout_started"), true),
                    "views_abandoned" => (Some("product_viewed"), true),
                    "storefront.product_viewed" => (Some("product_viewed"), false),
                    "storefront.collection_viewed" => (Some("category_viewed"), false),
                    "storefront.cart_added" => (Some("added_to_cart"), false),
                    "storefront.searched" => (Some("searched"), false),
                    "email.opened" => (Some("email_opened"), false),
                    "coupons.received" => (Some("coupon_received"), false),
                    other => panic!("no function {other}"),
                };
                let own = || self.events.iter().filter(move |event| event.customer == number);
                own()
                    .filter(|event| kind.is_none_or(|kind| event.kind == kind))
                    .filter(|event| {
                        let ordered = orders().any(|order| order.status != "cancelled" && order.at >= event.at);
                        let removed = kind == Some("added_to_cart")
                            && own().any(|later| {
                                later.kind == "removed_from_cart"
                                    && later.product == event.product
                                    && later.at > event.at
                            });
                        !abandoned || (!ordered && !removed)
                    })
                    .map(|event| self.event(event, kind == Some("category_viewed")))
                    .collect()
            }
        }
    }

    fn item(&self, item: &Item, order: &Order, quantity: i64, at: i64) -> Row {
        let amount = item.price.map(|price| Val::Number(price * i128::from(quantity), 4));
        let list = |list: &Option<Vec<String>>| (Kind::Elements, list.clone().map(Val::List));
        Row::from([
            ("id", (Kind::Text, word(&item.product))),
            ("tag", list(&item.labels)),
            ("category", (Kind::Path, word(&item.category))),
            ("collection", list(&item.collections)),
            ("brand", (Kind::Text, word(&item.brand))),
            ("sku", (Kind::Text, word(&item.sku))),
            ("date", (Kind::Time, Some(Val::Time(at)))),
            ("quantity", (Kind::Number, whole(quantity))),
            ("column.quantity", (Kind::Number, whole(item.quantity))),
            ("amount", (Kind::Number, amount)),
            ("unit_price", (Kind::Number, item.price.map(|price| Val::Number(price, 4)))),
            ("returned_quantity", (Kind::Number, whole(item.returned))),
            ("order_id", (Kind::Text, Some(Val::Text(self.order_id(order))))),
        ])
    }

    fn order_id(&self, order: &Order) -> String {
        let place = self.orders.iter().position(|other| std::ptr::eq(other, order)).unwrap();
        format!("o{place}")
    }

    fn event(&self, event: &Event, of_category: bool) -> Row {
        let product = self.products.iter().find(|product| Some(&product.id) == event.product.as_ref());
        let category = event.category.clone().or_else(|| product.and_then(|product| product.category.clone()));
        let labels = product.and_then(|product| product.labels.clone());
        let id = if of_category { (Kind::Path, word(&category)) } else { (Kind::Text, word(&event.product)) };
        Row::from([
            ("id", id),
            ("tag", (Kind::Elements, labels.map(Val::List))),
            ("category", (Kind::Path, word(&category))),
            ("column.category", (Kind::Text, word(&event.category))),
            ("type", (Kind::Text, Some(Val::Text(event.kind.clone())))),
            ("date", (Kind::Time, Some(Val::Time(event.at)))),
            ("activity_id", (Kind::Text, word(&event.campaign))),
            ("term", (Kind::Text, word(&event.term))),
            ("coupon", (Kind::Text, word(&event.coupon))),
            ("score", (Kind::Number, event.score.and_then(whole))),
        ])
    }

    /// The tables of a night.
    #[expect(clippy::disallowed_methods, reason = "a session without a lake, to test statements by themselves")]
    pub(super) fn session(&self) -> SessionContext {
        let session = SessionContext::new();
        for (name, columns) in self.tables() {
            let columns = columns.into_iter().map(|(name, column)| (name, column, true));
            session.register_batch(name, RecordBatch::try_from_iter_with_nullable(columns).unwrap()).unwrap();
        }
        session
    }

    fn tables(&self) -> Vec<(&'static str, Vec<(&'static str, ArrayRef)>)> {
        let c = &self.customers;
        let of = |order: &Order| order.customer as i64;
        let o = &self.orders;
        let items: Vec<(&Order, &Item)> =
            o.iter().flat_map(|order| order.items.iter().map(move |item| (order, item))).collect();
        let i = &items;
        let e = &self.events;
        let p = &self.products;
        let counted = |order: &Order| Some(COUNTED.contains(&order.status.as_str()));
        let id_of = |past: &Past| {
            let customer = &c[past.customer];
            Some(if past.by_old_id { customer.old_id.clone() } else { customer.id.clone() })
        };
        let persons: Vec<(String, i64)> = c
            .iter()
            .enumerate()
            .flat_map(|(number, customer)| {
                [(customer.id.clone(), number as i64), (customer.old_id.clone(), number as i64)]
            })
            .collect();
        let exported: Vec<(usize, usize, bool)> = self
            .exports
            .iter()
            .enumerate()
            .flat_map(|(export, own)| own.to.iter().map(move |(customer, held)| (export, *customer, *held)))
            .collect();
        vec![
            (
                "profile",
                vec![
                    ("customer_no", whole_numbers((0..c.len()).map(|number| Some(number as i64)))),
                    ("customer_id", words(c.iter().map(|one| Some(one.id.clone())))),
                    ("number_of_orders", whole_numbers(c.iter().map(|one| Some(one.number_of_orders)))),
                    ("amount_spent", decimals(c.iter().map(|one| Some(one.amount_spent)), 28, 2)),
                    ("average_order_amount", decimals(c.iter().map(|one| one.average), 18, 4)),
                    ("last_order_date", times(c.iter().map(|one| one.last_order))),
                    ("birthday", days(c.iter().map(|one| one.birthday))),
                    ("country", words(c.iter().map(|one| one.country.clone()))),
                    ("region", words(c.iter().map(|one| one.region.clone()))),
                    ("city", words(c.iter().map(|one| one.city.clone()))),
                    ("tags", lists(c.iter().map(|one| Some(one.tags.clone())))),
                    ("email_subscription_status", words(c.iter().map(|one| one.consent.clone()))),
                    ("p_alive", Arc::new(c.iter().map(|one| one.alive).collect::<Float64Array>())),
                    ("vip", Arc::new(c.iter().map(|one| one.vip).collect::<BooleanArray>())),
                    ("tier", words(c.iter().map(|one| one.tier.clone()))),
                    ("points", decimals(c.iter().map(|one| one.points), 10, 3)),
                ],
            ),
            (
                "contacts",
                vec![
                    ("customer_no", whole_numbers((0..c.len()).map(|number| Some(number as i64)))),
                    ("email", words(c.iter().map(|one| one.email.clone()))),
                    ("latitude", Arc::new(c.iter().map(|one| one.place.map(|at| at.0)).collect::<Float64Array>())),
                    ("longitude", Arc::new(c.iter().map(|one| one.place.map(|at| at.1)).collect::<Float64Array>())),
                ],
            ),
            (
                "orders",
                vec![
                    ("customer_no", whole_numbers(o.iter().map(|one| Some(of(one))))),
                    ("order_id", words((0..o.len()).map(|place| Some(format!("o{place}"))))),
                    ("ordered_at", times(o.iter().map(|one| Some(one.at)))),
                    ("status", words(o.iter().map(|one| Some(one.status.clone())))),
                    ("is_counted", Arc::new(o.iter().map(counted).collect::<BooleanArray>())),
                    ("total", decimals(o.iter().map(|one| Some(one.total)), 18, 2)),
                    ("coupon_codes", lists(o.iter().map(|one| one.coupons.clone()))),
                    ("store", words(o.iter().map(|one| one.store.clone()))),
                    ("channel", words(o.iter().map(|one| one.channel.clone()))),
                    ("gift", Arc::new(o.iter().map(|one| one.gift).collect::<BooleanArray>())),
                    ("weight", Arc::new(o.iter().map(|one| one.weight).collect::<Float64Array>())),
                    ("date", days(o.iter().map(|one| one.promised))),
                ],
            ),
            (
                "order_items",
                vec![
                    ("customer_no", whole_numbers(i.iter().map(|(order, _)| Some(of(order))))),
                    ("order_id", words(i.iter().map(|(order, _)| Some(self.order_id(order))))),
                    ("product_id", words(i.iter().map(|(_, item)| item.product.clone()))),
                    ("ordered_at", times(i.iter().map(|(order, _)| Some(order.at)))),
                    ("is_counted", Arc::new(i.iter().map(|(order, _)| counted(order)).collect::<BooleanArray>())),
                    ("category", words(i.iter().map(|(_, item)| item.category.clone()))),
                    ("collections", lists(i.iter().map(|(_, item)| item.collections.clone()))),
                    ("labels", lists(i.iter().map(|(_, item)| item.labels.clone()))),
                    ("brand", words(i.iter().map(|(_, item)| item.brand.clone()))),
                    ("sku", words(i.iter().map(|(_, item)| item.sku.clone()))),
                    ("quantity", whole_numbers(i.iter().map(|(_, item)| Some(item.quantity)))),
                    ("unit_price", decimals(i.iter().map(|(_, item)| item.price), 18, 4)),
                    ("returned_quantity", whole_numbers(i.iter().map(|(_, item)| Some(item.returned)))),
                    ("returned_at", times(i.iter().map(|(_, item)| item.returned_at))),
                ],
            ),
            (
                "events_owned",
                vec![
                    ("customer_no", whole_numbers(e.iter().map(|one| Some(one.customer as i64)))),
                    ("type", words(e.iter().map(|one| Some(one.kind.clone())))),
                    ("occurred_at", times(e.iter().map(|one| Some(one.at)))),
                    ("product_id", words(e.iter().map(|one| one.product.clone()))),
                    ("category", words(e.iter().map(|one| one.category.clone()))),
                    ("campaign_id", words(e.iter().map(|one| one.campaign.clone()))),
                    ("search_term", words(e.iter().map(|one| one.term.clone()))),
                    ("coupon_code", words(e.iter().map(|one| one.coupon.clone()))),
                    ("score", whole_numbers(e.iter().map(|one| one.score))),
                ],
            ),
            (
                "landed_products",
                vec![
                    ("product_id", words(p.iter().map(|one| Some(one.id.clone())))),
                    ("category", words(p.iter().map(|one| one.category.clone()))),
                    ("labels", lists(p.iter().map(|one| one.labels.clone()))),
                ],
            ),
            (
                "persons",
                vec![
                    ("id", words(persons.iter().map(|(id, _)| Some(id.clone())))),
                    ("customer_no", whole_numbers(persons.iter().map(|(_, number)| Some(*number)))),
                ],
            ),
            (
                "segment_changes",
                vec![
                    ("customer_id", words(self.changes.iter().map(id_of))),
                    ("segment", words(self.changes.iter().map(|past| Some(past.what.clone())))),
                    ("change", words(self.changes.iter().map(|past| past.before.clone()))),
                    ("as_of", days(self.changes.iter().map(|past| Some(past.on)))),
                ],
            ),
            (
                "segment_lifecycle",
                vec![
                    ("customer_id", words(self.stages.iter().map(id_of))),
                    ("stage", words(self.stages.iter().map(|past| Some(past.what.clone())))),
                    ("previous_stage", words(self.stages.iter().map(|past| past.before.clone()))),
                    ("as_of", days(self.stages.iter().map(|past| Some(past.on)))),
                ],
            ),
            (
                "exports",
                vec![
                    ("export_id", words((0..self.exports.len()).map(|place| Some(format!("e{place}"))))),
                    ("segments", lists(self.exports.iter().map(|one| Some(one.segments.clone())))),
                    ("format", words(self.exports.iter().map(|one| Some(one.format.clone())))),
                    ("created_at", times(self.exports.iter().map(|one| Some(one.at)))),
                ],
            ),
            (
                "export_members",
                vec![
                    ("export_id", words(exported.iter().map(|(export, _, _)| Some(format!("e{export}"))))),
                    ("customer_id", words(exported.iter().map(|(_, customer, _)| Some(c[*customer].id.clone())))),
                    (
                        "variant",
                        words(exported.iter().map(|(_, _, held)| {
                            Some(if *held { "holdout".to_owned() } else { "treatment".to_owned() })
                        })),
                    ),
                ],
            ),
        ]
    }
}

fn order_row(order: &Order) -> Row {
    Row::from([
        ("date", (Kind::Time, Some(Val::Time(order.at)))),
        ("amount", (Kind::Number, Some(Val::Number(order.total, 2)))),
        ("coupon", (Kind::Elements, order.coupons.clone().map(Val::List))),
        ("store", (Kind::Text, word(&order.store))),
        ("channel", (Kind::Text, word(&order.channel))),
        ("status", (Kind::Folded, Some(Val::Text(order.status.clone())))),
        ("gift", (Kind::Boolean, order.gift.map(Val::Boolean))),
        ("weight", (Kind::Number, order.weight.map(Val::Float))),
        ("column.date", (Kind::Civil, order.promised.map(Val::Civil))),
    ])
}

fn whole_numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn words(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringViewArray>())
}

fn decimals(values: impl Iterator<Item = Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
    Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(precision, scale).unwrap())
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn days(values: impl Iterator<Item = Option<NaiveDate>>) -> ArrayRef {
    Arc::new(values.map(|day| day.map(Date32Type::from_naive_date)).collect::<Date32Array>())
}

fn lists(values: impl Iterator<Item = Option<Vec<String>>>) -> ArrayRef {
    let field = Field::new("element", DataType::Utf8, true);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for value in values {
        let there = value.is_some();
        value.unwrap_or_default().iter().for_each(|element| builder.values().append_value(element));
        builder.append(there);
    }
    Arc::new(builder.finish())
}

/// The ids that a statement returns.
pub(super) async fn ids(session: &SessionContext, sql: &str) -> Vec<String> {
    let frame = session.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let mut found = Vec::new();
    for batch in frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}")) {
        let ids = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        found.extend(ids.as_string::<i32>().iter().map(|id| id.unwrap().to_owned()));
        assert_eq!(ids.null_count(), 0);
    }
    found
}
