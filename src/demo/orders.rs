//! Orders: what is in them, what they cost, and what becomes of them.

use std::sync::Arc;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::catalogue::KINDS;
use super::days::{DAY, HOUR, SECOND};
use super::life::{Change, Life};
use super::rows::{Buyer, EventRow, Fault, ItemRow, Kind, OrderRow};

/// How the platforms say that an order is paid for, a blank among them.
const PAID: [Option<&str>; 12] = [
    Some("fulfilled"),
    Some("fulfilled"),
    Some("fulfilled"),
    Some("fulfilled"),
    Some("paid"),
    Some("paid"),
    Some("completed"),
    Some("completed"),
    Some("processing"),
    Some("Fulfilled"),
    Some("authorized"),
    None,
];
const CANCELLED: [&str; 5] = ["cancelled", "voided", "canceled", "failed", "expired"];
const PENDING: [&str; 3] = ["pending", "on-hold", "draft"];
const PAYMENTS: [&str; 5] = ["card", "card", "mobilepay", "klarna", "invoice"];
/// Codes and what they take off, in hundredths.
pub(super) const COUPONS: [(&str, i64); 6] =
    [("WELCOME10", 10), ("SPRING15", 15), ("VIP20", 20), ("COMEBACK15", 15), ("FREESHIP", 0), ("FRIENDS25", 25)];
/// The membership tier from a number of orders on.
const TIERS: [(usize, &str); 3] = [(3, "Silver"), (6, "Gold"), (12, "Platinum")];

/// Under which name an order is placed.
pub(super) struct Name {
    pub(super) buyer: Buyer,
    pub(super) email: Option<Arc<str>>,
    pub(super) phone: Option<Arc<str>>,
}

/// How an order comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Web,
    App,
    Till,
    Renewal,
}

impl Life<'_> {
    /// Everything that the customer buys under the account or beside it. Returns the last sign of life.
    pub(super) fn buy(&mut self) -> i64 {
        let times = self.order_times();
        let member = self.rng.random_bool(0.4);
        let mut points = 0;
        for (n, at) in times.iter().enumerate() {
            let channel = match self.rng.random_range(0..100) {
                0..78 => Channel::Web,
                78..89 => Channel::App,
                _ => Channel::Till,
            };
            let name = self.name(channel);
            let (total, goods) = self.order(*at, name, channel, None);
            points += total / 1_000;
            if member && let Some((_, tier)) = TIERS.iter().find(|(from, _)| *from == n + 1) {
                self.changes.push((at + self.rng.random_range(1..30) * HOUR, Change::Tier(tier, points)));
            }
            let product = goods.first().map_or(0, |(product, _)| *product);
            let kind = self.shop.catalogue.products[product as usize].kind;
            if KINDS[usize::from(kind)].replenished && self.rng.random_bool(0.08) {
                self.subscribe(at + 60 * SECOND, product);
            }
        }
        times.last().copied().unwrap_or(self.created)
    }

    /// The name on an order of this customer's: a few check out as guests, with their address or their phone only.
    fn name(&mut self, channel: Channel) -> Name {
        let (email, phone) = (self.person.email.clone(), self.person.phone.clone());
        if channel == Channel::Till {
            return Name { buyer: Buyer::Account(self.index), email: None, phone };
        }
        match self.rng.random_range(0..1_000) {
            0..30 if email.is_some() => {
                let email = email.map(|email| {
                    if self.rng.random_bool(0.3) { format!(" {}", email.to_uppercase()).into() } else { email }
                });
                Name { buyer: [Buyer::Nobody, Buyer::Zero][usize::from(self.rng.random_bool(0.3))], email, phone: None }
            }
            30..36 if phone.is_some() => Name { buyer: Buyer::Nobody, email: None, phone },
            _ => Name { buyer: Buyer::Account(self.index), email, phone: phone.filter(|_| self.rng.random_bool(0.5)) },
        }
    }

    /// Places an order and lands what becomes of it: its total in hundredths of the shop's currency and its goods.
    pub(super) fn order(
        &mut self,
        at: i64,
        name: Name,
        channel: Channel,
        fixed: Option<u32>,
    ) -> (i64, Vec<(u32, i64)>) {
        let foreign = self.shop.foreign(self.person.country.code).filter(|_| self.rng.random_bool(0.45));
        let goods = match fixed {
            Some(product) => vec![(product, self.price(product, at))],
            None => self.fill(at),
        };
        if matches!(channel, Channel::Web | Channel::App) && name.email.is_some() {
            self.visit_before_order(at, matches!(name.buyer, Buyer::Account(_)), &goods);
        }
        let (mut order, items) = self.draft(at, name, &goods, foreign);
        order.channel = Some(match channel {
            Channel::Web => "web",
            Channel::App => "app",
            Channel::Till => "pos",
            Channel::Renewal => "subscription",
        });
        order.recurring = (channel == Channel::Renewal).then_some(true);
        let total = (order.total as f64 * foreign.map_or(1.0, |(_, unit)| unit)) as i64;
        self.go_on(order, items);
        (total, goods)
    }

    /// An order of these goods and its lines, not landed yet. `foreign` is its currency, if it is not the shop's, and
    /// what one unit of it costs in the shop's.
    pub(super) fn draft(
        &mut self,
        at: i64,
        name: Name,
        goods: &[(u32, i64)],
        foreign: Option<(&'static str, f64)>,
    ) -> (OrderRow, Vec<ItemRow>) {
        let number = self.orders;
        self.orders += 1;
        let unit = foreign.map_or(1.0, |(_, unit)| unit);
        let mut items: Vec<ItemRow> = Vec::with_capacity(goods.len());
        for (line, (product, price)) in goods.iter().enumerate() {
            let sale = if self.rng.random_bool(0.12) { 0.8 } else { 1.0 };
            // Tags abroad are in whole units.
            let unit_price = if foreign.is_some() {
                ((*price as f64 * sale / unit / 100.0).round() as i64).max(1) * 100
            } else {
                (*price as f64 * sale).round() as i64
            };
            let quantity = match self.rng.random_range(0..100) {
                0..3 => None,
                3..82 => Some(1),
                82..94 => Some(2),
                94..98 => Some(3),
                _ => Some(self.rng.random_range(4..13)),
            };
            items.push(ItemRow {
                landed_at: at,
                index: self.index,
                number,
                line: line as u16 + 1,
                fault: Fault::None,
                product: *product,
                described: !self.rng.random_bool(0.12),
                quantity,
                unit_price,
                returned: None,
                returned_at: None,
                updated_at: None,
            });
        }
        let mut order = self.price_order(at, number, name, &items, unit);
        order.currency = match foreign {
            Some((currency, _)) => Some(currency),
            None if self.rng.random_bool(0.8) => self.shop.currency,
            None => None,
        };
        (order, items)
    }

    /// What is put into the basket, each with the price on its tag.
    pub(super) fn fill(&mut self, at: i64) -> Vec<(u32, i64)> {
        let mean = (0.98 * self.traits.spend).clamp(0.2, 4.0);
        let lines = (1 + self.count(mean)).min(30);
        let dear = self.traits.spend > 1.2;
        (0..lines)
            .map(|_| {
                let mut product = self.product();
                let mut price = self.price(product, at);
                if dear {
                    // People who spend more also take the dearer of two.
                    let other = self.product();
                    let other_price = self.price(other, at);
                    if other_price > price {
                        (product, price) = (other, other_price);
                    }
                }
                (product, price)
            })
            .collect()
    }

    /// Sums, discount, shipping and tax. `unit` is what one unit of the order's currency costs in the shop's.
    fn price_order(&mut self, at: i64, number: u16, name: Name, items: &[ItemRow], unit: f64) -> OrderRow {
        let subtotal: i64 = items.iter().map(|item| item.unit_price * item.quantity.unwrap_or(1)).sum();
        let mut coupons = [None, None];
        let mut percent = 0;
        if self.rng.random_bool(0.17) {
            let (code, off) = COUPONS[self.rng.random_range(0..COUPONS.len())];
            coupons[0] = Some(code);
            percent = off;
            if code != "FREESHIP" && self.rng.random_bool(0.08) {
                coupons[1] = Some("FREESHIP");
            }
        } else if self.rng.random_bool(0.04) {
            percent = 10;
        }
        let discount = subtotal * percent / 100;
        let free = coupons.contains(&Some("FREESHIP")) || subtotal as f64 * unit >= 7_500.0 * self.shop.level;
        let shipping = if free { 0 } else { ((5.3 * self.shop.level / unit).round() as i64).max(1) * 100 };
        let total = subtotal - discount + shipping;
        OrderRow {
            landed_at: at,
            index: self.index,
            number,
            fault: Fault::None,
            ordered_at: at,
            updated_at: Some(at + self.rng.random_range(0..180) * SECOND),
            buyer: name.buyer,
            email: name.email,
            phone: name.phone,
            store: Some(if matches!(self.person.country.code, "DK" | "SE" | "NO") {
                "nordic"
            } else {
                "international"
            }),
            status: None,
            test: None,
            recurring: None,
            currency: None,
            total,
            subtotal,
            discount,
            shipping,
            // A fifth of the price is tax: 25% on top of the net price.
            tax: total - (total * 100 + 62) / 125,
            refunded: None,
            refunded_at: None,
            coupons,
            channel: Some("web"),
            payment: PAYMENTS.choose(&mut self.rng).copied(),
        }
    }

    /// Lands an order and its later versions: paid at last, cancelled, refunded in part or in full.
    fn go_on(&mut self, mut order: OrderRow, items: Vec<ItemRow>) {
        order.status = PAID[self.rng.random_range(0..PAID.len())];
        order.test = match self.rng.random_range(0..1_000) {
            0..2 => Some(true),
            2..500 => Some(false),
            _ => None,
        };
        let mut later = order.clone();
        let fate = self.rng.random_range(0..1_000);
        let wait = match fate {
            // Not paid for at once.
            0..40 => {
                order.status = PENDING.choose(&mut self.rng).copied();
                self.rng.random_range(2..120) * HOUR
            }
            // Never paid for.
            40..52 => {
                order.status = PENDING.choose(&mut self.rng).copied();
                0
            }
            52..82 => {
                later.status = CANCELLED.choose(&mut self.rng).copied();
                if self.rng.random_bool(0.4) {
                    order.status = later.status;
                }
                i64::from(order.status != later.status) * self.rng.random_range(1..60) * HOUR
            }
            82..150 => self.rng.random_range(5 * 24..35 * 24) * HOUR,
            _ => 0,
        };
        let changed_at = order.ordered_at + wait;
        if wait == 0 || changed_at >= self.shop.days.end() {
            // Rows that are landed once may lack their version time: the folder's day stands in.
            if self.rng.random_bool(0.05) {
                order.updated_at = None;
            }
            self.land_order(order, items);
            return;
        }
        later.updated_at = Some(changed_at);
        later.landed_at = changed_at;
        let mut later_items = items.clone();
        if fate >= 82 {
            self.refund(&mut later, &mut later_items, changed_at, fate < 102);
        }
        self.land_order(order, items);
        self.land_order(later, later_items);
    }

    /// Pays back some lines, or everything.
    fn refund(&mut self, order: &mut OrderRow, items: &mut [ItemRow], at: i64, in_full: bool) {
        let goods_back = !in_full || self.rng.random_bool(0.7);
        let mut value = 0;
        if goods_back {
            let only = self.rng.random_range(0..items.len().max(1));
            for (n, item) in items.iter_mut().enumerate() {
                if in_full || n == only {
                    let bought = item.quantity.unwrap_or(1);
                    let back = if in_full { bought } else { self.rng.random_range(1..=bought) };
                    item.returned = Some(back);
                    item.returned_at = Some(at - self.rng.random_range(1..72) * HOUR);
                    value += item.unit_price * back;
                }
            }
        }
        let refunded = if in_full { order.total } else { value.min(order.total) };
        order.status = Some(if refunded == order.total { "refunded" } else { "partially_refunded" });
        order.refunded = Some(refunded);
        order.refunded_at = Some(at);
        if goods_back && self.rng.random_bool(0.8) {
            let product = items.iter().find(|item| item.returned.is_some()).map(|item| item.product);
            let asked = at - self.rng.random_range(73..110) * HOUR;
            self.event(EventRow { product, ..EventRow::new(Kind::ReturnRequested, asked) });
        }
    }

    /// Lands a version of an order with its lines; a few are landed twice, as pipelines do.
    pub(super) fn land_order(&mut self, order: OrderRow, mut items: Vec<ItemRow>) {
        let Some(day) = self.shop.days.day_of(order.landed_at) else { return };
        for item in &mut items {
            item.landed_at = order.landed_at;
            item.updated_at = order.updated_at;
        }
        let folder = self.shop.orders.of(day);
        if self.rng.random_bool(0.004) {
            let again = (folder + usize::from(self.rng.random_bool(0.5))).min(self.shop.orders.count() - 1);
            self.rows.orders[again].push(order.clone());
            self.rows.items[again].extend_from_slice(&items);
        }
        self.rows.orders[folder].push(order);
        self.rows.items[folder].extend_from_slice(&items);
    }

    /// A product that comes every month from now on, until it is cancelled.
    fn subscribe(&mut self, from: i64, product: u32) {
        let own = |kind, at| EventRow { product: Some(product), ..EventRow::new(kind, at) };
        self.event(own(Kind::SubscriptionStarted, from));
        let mut at = from;
        loop {
            at += 30 * DAY;
            if at >= self.shop.days.end() {
                return;
            }
            if self.rng.random_bool(0.16) {
                let cancelled_at = at - self.rng.random_range(1..200) * HOUR / 10;
                self.event(own(Kind::SubscriptionCancelled, cancelled_at));
                return;
            }
            let name = Name { buyer: Buyer::Account(self.index), email: self.person.email.clone(), phone: None };
            self.order(at, name, Channel::Renewal, Some(product));
        }
    }
}
