//! Rows as Arrow batches, with the columns of the contract and a few of the shop's own.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListBuilder,
    RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::Field;

use super::catalogue::KINDS;
use super::ids::{self, Id};
use super::rows::{
    Buyer, CustomerRow, EventRow, Fault, IdentityRow, ItemRow, Kind, OrderRow, ProductRow, RateRow, SuppressionRow,
};
use super::shop::Shop;
use crate::error::Result;

/// 2199-01-01: no clock is that wrong.
pub(super) const FAR_FUTURE: i64 = 7_226_582_400 * 1_000_000;

/// Rows of one table and folder, whatever the table.
pub(super) enum Batch {
    Customers(Vec<CustomerRow>),
    Orders(Vec<OrderRow>),
    Items(Vec<ItemRow>),
    Products(Vec<ProductRow>),
    Events(Vec<EventRow>),
    Identities(Vec<IdentityRow>),
    Rates(Vec<RateRow>),
    Suppressions(Vec<SuppressionRow>),
}

impl Batch {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Batch::Customers(rows) => rows.len(),
            Batch::Orders(rows) => rows.len(),
            Batch::Items(rows) => rows.len(),
            Batch::Products(rows) => rows.len(),
            Batch::Events(rows) => rows.len(),
            Batch::Identities(rows) => rows.len(),
            Batch::Rates(rows) => rows.len(),
            Batch::Suppressions(rows) => rows.len(),
        }
    }

    /// The rows in the order in which a pipeline lands them: by time, not by customer. `old` files are from before
    /// the shop kept collections and labels with its order lines.
    pub(super) fn into_arrow(self, shop: &Shop, old: bool) -> Result<RecordBatch> {
        let columns = match self {
            Batch::Customers(mut rows) => {
                rows.sort_by_key(|row| (row.landed_at, row.index));
                customers(&rows)
            }
            Batch::Orders(mut rows) => {
                rows.sort_by_key(|row| (row.landed_at, row.index, row.number));
                orders(&rows)
            }
            Batch::Items(mut rows) => {
                rows.sort_by_key(|row| (row.landed_at, row.index, row.number, row.line));
                items(shop, &rows, old)
            }
            Batch::Products(rows) => products(shop, &rows),
            Batch::Events(mut rows) => {
                rows.sort_by_key(|row| (row.at, row.index, row.number));
                events(shop, &rows)
            }
            Batch::Identities(mut rows) => {
                rows.sort_by_key(|row| (row.linked_at, row.index, row.device, row.into));
                identities(&rows)
            }
            Batch::Rates(rows) => rates(&rows),
            Batch::Suppressions(rows) => suppressions(&rows),
        };
        Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?)
    }
}

type Columns = Vec<(&'static str, ArrayRef)>;

/// The columns that differ from table to table in nothing but their name and where the value comes from.
macro_rules! columns {
    ($rows:ident; $($kind:ident $name:literal => $value:expr),+ $(,)?) => {
        vec![$(($name, $kind($rows.iter().map($value)))),+]
    };
}

fn customers(rows: &[CustomerRow]) -> Columns {
    columns!(rows;
        id "customer_id" => |r| (r.fault != Fault::NullId).then(|| ids::customer(r.index)),
        instant "created_at" => |r| r.created_at,
        instant "updated_at" => |r| r.updated_at,
        instant "deleted_at" => |r| r.deleted_at,
        text "store" => |r| r.store,
        text "email" => |r| r.email.as_deref(),
        text "phone" => |r| r.phone.as_deref(),
        text "first_name" => |r| r.first_name,
        text "last_name" => |r| r.last_name,
        text "gender" => |r| r.gender,
        date "birthday" => |r| r.birthday,
        text "language" => |r| r.language,
        text "country" => |r| r.country,
        text "region" => |r| r.region,
        text "city" => |r| r.city,
        text "postal_code" => |r| r.postal_code.as_deref(),
        text "address" => |r| r.address.as_deref(),
        float "latitude" => |r| r.latitude,
        float "longitude" => |r| r.longitude,
        text "registration_source" => |r| r.registration_source,
        text "membership" => |r| r.membership,
        text "email_consent" => |r| r.email_consent,
        text "sms_consent" => |r| r.sms_consent,
        instant "email_consent_at" => |r| r.email_consent_at,
        instant "sms_consent_at" => |r| r.sms_consent_at,
        text "email_consent_source" => |r| r.email_consent_source,
        text "email_opt_in" => |r| r.email_opt_in,
        instant "email_subscribed_at" => |r| r.email_subscribed_at,
        instant "sms_subscribed_at" => |r| r.sms_subscribed_at,
        text "ads_consent" => |r| r.ads_consent,
        boolean "email_valid" => |r| r.email_valid,
        boolean "phone_valid" => |r| r.phone_valid,
        list "tags" => |r| &r.tags,
        list "lists" => |r| &r.lists,
        small "shoe_size" => |r| r.shoe_size,
        integer "loyalty_points" => |r| r.loyalty_points,
        text "preferred_store" => |r| r.preferred_store,
    )
}

fn orders(rows: &[OrderRow]) -> Columns {
    columns!(rows;
        id "order_id" => |r| (r.fault != Fault::NullId).then(|| ids::order(r.index, r.number)),
        instant "ordered_at" => |r| Some(if r.fault == Fault::FarFuture { FAR_FUTURE } else { r.ordered_at }),
        money "total" => |r| Some(r.total),
        id "customer_id" => |r| match r.buyer {
            Buyer::Account(index) => Some(ids::customer(index)),
            Buyer::Nobody => None,
            Buyer::Zero => Some(ids::zero()),
            Buyer::NeverLanded(index) => Some(ids::never_landed(index)),
        },
        text "email" => |r| r.email.as_deref(),
        text "phone" => |r| r.phone.as_deref(),
        instant "updated_at" => |r| r.updated_at,
        text "store" => |r| r.store,
        text "status" => |r| r.status,
        boolean "test" => |r| r.test,
        boolean "recurring" => |r| r.recurring,
        text "currency" => |r| r.currency,
        money "subtotal" => |r| Some(r.subtotal),
        money "discount" => |r| Some(r.discount),
        money "shipping" => |r| Some(r.shipping),
        money "tax" => |r| Some(r.tax),
        money "refunded" => |r| r.refunded,
        instant "refunded_at" => |r| r.refunded_at,
        list "coupon_codes" => |r| r.coupons.iter().flatten(),
        text "channel" => |r| r.channel,
        text "payment_method" => |r| r.payment,
    )
}

fn items(shop: &Shop, rows: &[ItemRow], old: bool) -> Columns {
    let of = |row: &ItemRow| row.described.then(|| &shop.catalogue.products[row.product as usize]);
    let mut columns: Columns = columns!(rows;
        id "order_id" => |r| Some(ids::order(r.index, r.number)),
        integer "line" => |r| Some(i64::from(r.line)),
        id "product_id" => |r| (r.fault != Fault::NullId).then(|| ids::product(r.product)),
        instant "updated_at" => |r| r.updated_at,
        text "sku" => |r| of(r).map(|product| product.sku.as_str()),
        text "title" => |r| of(r).map(|product| product.title.as_str()),
        text "category" => |r| of(r).and_then(|product| product.category),
        text "brand" => |r| of(r).and_then(|product| product.brand),
        integer "quantity" => |r| r.quantity,
        money "unit_price" => |r| Some(r.unit_price),
        integer "returned_quantity" => |r| r.returned,
        instant "returned_at" => |r| r.returned_at,
    );
    if !old {
        columns.extend::<Columns>(columns!(rows;
            list "collections" => |r| of(r).map(|product| product.collections.as_slice()).unwrap_or_default(),
            list "labels" => |r| of(r).map(|product| product.labels.as_slice()).unwrap_or_default(),
        ));
    }
    columns
}

fn products(shop: &Shop, rows: &[ProductRow]) -> Columns {
    let of = |row: &ProductRow| &shop.catalogue.products[row.product as usize];
    columns!(rows;
        id "product_id" => |r| Some(ids::product(r.product)),
        instant "updated_at" => |r| Some(r.updated_at),
        text "title" => |r| Some(of(r).title.as_str()),
        text "category" => |r| of(r).category,
        list "collections" => |r| &of(r).collections,
        text "brand" => |r| of(r).brand,
        list "labels" => |r| &of(r).labels,
        money "price" => |r| Some(r.price),
    )
}

fn events(shop: &Shop, rows: &[EventRow]) -> Columns {
    columns!(rows;
        id "event_id" => |r| (r.fault != Fault::NullId).then(|| ids::event(r.index, r.number)),
        instant "occurred_at" => |r| Some(if r.fault == Fault::FarFuture { FAR_FUTURE } else { r.at }),
        text "type" => |r| Some(r.kind.name()),
        id "customer_id" => |r| r.known.then(|| ids::customer(r.index)),
        id "anonymous_id" => |r| (r.device > 0).then(|| ids::visitor(r.index, r.device)),
        id "product_id" => |r| r.product.map(ids::product),
        text "category" => |r| r.shelf.map(|shelf| KINDS[usize::from(shelf)].category),
        text "search_term" => |r| word(r, &[Kind::Searched]),
        id "campaign_id" => |r| r.campaign.map(ids::campaign),
        text "channel" => |r| Some(channel(r)),
        text "coupon_code" => |r| word(r, &[Kind::CouponReceived, Kind::CouponClicked]),
        float "rating" => |r| r.rating.map(f64::from),
        float "value" => |r| r.value.map(|value| value as f64 / 100.0),
        text "url" => |r| url(shop, r),
        text "source" => |r| word(r, &[Kind::PageViewed]),
        boolean "machine" => |r| r.machine,
        text "bounce" => |r| word(r, &[Kind::EmailBounced]),
        text "properties" => |r| r.properties,
    )
}

/// The row's word, if it is of one of these kinds.
fn word(row: &EventRow, kinds: &[Kind]) -> Option<&'static str> {
    row.word.filter(|_| kinds.contains(&row.kind))
}

fn channel(row: &EventRow) -> &'static str {
    match row.kind {
        Kind::EmailSent
        | Kind::EmailDelivered
        | Kind::EmailOpened
        | Kind::EmailClicked
        | Kind::EmailBounced
        | Kind::EmailUnsubscribed
        | Kind::EmailMarkedAsSpam
        | Kind::CouponReceived
        | Kind::CouponClicked => "email",
        Kind::SmsSent | Kind::SmsDelivered | Kind::SmsClicked => "sms",
        // The second device is a phone with the shop's app.
        _ if row.device == 2 => "app",
        _ => "web",
    }
}

fn url<'a>(shop: &'a Shop, row: &EventRow) -> Option<&'a str> {
    match row.kind {
        Kind::PageViewed => Some("/"),
        Kind::CheckoutStarted => Some("/checkout"),
        Kind::Searched => Some("/search"),
        Kind::CategoryViewed => row.shelf.map(|shelf| KINDS[usize::from(shelf)].slug),
        Kind::ProductViewed => row.product.map(|product| shop.catalogue.products[product as usize].url.as_str()),
        _ => None,
    }
}

fn identities(rows: &[IdentityRow]) -> Columns {
    columns!(rows;
        id "anonymous_id" => |r| match (r.fault, r.device) {
            (Fault::NullId, _) => None,
            (_, 0) => Some(ids::customer(r.index)),
            (_, device) => Some(ids::visitor(r.index, device)),
        },
        id "customer_id" => |r| Some(ids::customer(r.into)),
        instant "linked_at" => |r| Some(r.linked_at),
    )
}

fn rates(rows: &[RateRow]) -> Columns {
    columns!(rows;
        date "date" => |r| Some(r.date),
        text "currency" => |r| Some(r.currency),
        rate "rate" => |r| r.rate,
    )
}

fn suppressions(rows: &[SuppressionRow]) -> Columns {
    columns!(rows;
        text "channel" => |r| Some(r.channel),
        text "identifier" => |r| Some(r.identifier.as_str()),
        text "reason" => |r| r.reason,
        date "until" => |r| r.until,
    )
}

fn id(values: impl Iterator<Item = Option<Id>>) -> ArrayRef {
    let count = values.size_hint().0;
    let mut builder = StringBuilder::with_capacity(count, count * 10);
    for value in values {
        builder.append_option(value.as_ref().map(Id::as_str));
    }
    Arc::new(builder.finish())
}

fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn instant(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn date(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Date32Array>())
}

fn float(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn boolean(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

fn small(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn integer(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

/// Hundredths as `Decimal(18, 2)`.
fn money(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let values = values.map(|value| value.map(i128::from)).collect::<Decimal128Array>();
    Arc::new(values.with_data_type(arrow::datatypes::DataType::Decimal128(18, 2)))
}

/// Hundred-millionths as `Decimal(18, 8)`.
fn rate(values: impl Iterator<Item = i128>) -> ArrayRef {
    let values = Decimal128Array::from_iter_values(values);
    Arc::new(values.with_data_type(arrow::datatypes::DataType::Decimal128(18, 8)))
}

/// A list of strings, null where it is empty.
fn list<'a, I>(values: impl Iterator<Item = I>) -> ArrayRef
where
    I: IntoIterator<Item = &'a &'static str>,
{
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Field::new(
        "element",
        arrow::datatypes::DataType::Utf8,
        true,
    ));
    for elements in values {
        let mut some = false;
        for element in elements {
            builder.values().append_value(element);
            some = true;
        }
        builder.append(some);
    }
    Arc::new(builder.finish())
}
