//! Random small shops: every table, versions over several files, links, currencies, and times on the edges of days.

use alluvial::calendar::{Zone, add_days, parse_date};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rand::{
    Rng, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};

use crate::shop::Shop;

pub(crate) const ZONE: &str = "Europe/Copenhagen";
pub(crate) const FILES: [&str; 5] =
    ["a.parquet", "dt=2026-10-20/a.parquet", "dt=2026-10-30/a.parquet", "dt=2026-10-30/b.parquet", "z.parquet"];

pub(crate) type At = DateTime<Utc>;

/// A landed row with what decides between versions.
#[derive(Debug, Clone)]
pub(crate) struct Landed<T> {
    pub(crate) id: String,
    pub(crate) file: usize,
    pub(crate) updated_at: Option<At>,
    pub(crate) row: T,
}

#[derive(Debug, Clone)]
pub(crate) struct Customer {
    pub(crate) created_at: Option<At>,
    pub(crate) deleted_at: Option<At>,
    pub(crate) email: Option<String>,
    pub(crate) consent: Option<&'static str>,
    pub(crate) consent_at: Option<At>,
}

#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) ordered_at: At,
    pub(crate) customer: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) cents: i128,
    pub(crate) refunded: Option<i128>,
    pub(crate) refunded_at: Option<At>,
    pub(crate) status: Option<&'static str>,
    pub(crate) sek: bool,
    pub(crate) test: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) product: String,
    pub(crate) line: Option<u8>,
    pub(crate) quantity: Option<i64>,
    pub(crate) returned: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: At,
    pub(crate) kind: &'static str,
    pub(crate) who: String,
    pub(crate) visitor: bool,
    pub(crate) product: Option<String>,
}

/// What was landed, each table in the order of its rows.
#[derive(Debug, Default)]
pub(crate) struct Random {
    pub(crate) customers: Vec<Landed<Customer>>,
    pub(crate) orders: Vec<Landed<Order>>,
    pub(crate) lines: Vec<Landed<Line>>,
    pub(crate) events: Vec<Landed<Event>>,
    pub(crate) links: Vec<(String, String, At)>,
    pub(crate) rates: Vec<(NaiveDate, i128)>,
}

pub(crate) fn zone() -> Zone {
    Zone::parse(ZONE).unwrap()
}

pub(crate) fn random(seed: u64) -> Random {
    let mut rng = StdRng::seed_from_u64(seed);
    let start = parse_date("2026-10-10").unwrap();
    // Times to the half hour, so that equal ones and those on a cutoff are met.
    let at = |rng: &mut StdRng| zone().start_of_day(start) + TimeDelta::minutes(30 * rng.random_range(0..40 * 48));
    let maybe = |rng: &mut StdRng, share: f64| rng.random_bool(share).then(|| at(rng));
    let mail = |rng: &mut StdRng| rng.random_bool(0.7).then(|| format!("m{}@b.dk", rng.random_range(0..6)));
    let mut shop = Random::default();
    for customer in 0..10 {
        for _ in 0..rng.random_range(1..4) {
            shop.customers.push(Landed {
                id: format!("c{customer}"),
                file: rng.random_range(0..FILES.len()),
                updated_at: maybe(&mut rng, 0.6),
                row: Customer {
                    created_at: maybe(&mut rng, 0.8),
                    deleted_at: maybe(&mut rng, 0.1),
                    email: mail(&mut rng),
                    consent: *[None, Some("subscribed"), Some("subscribed"), Some("pending"), Some("unsubscribed")]
                        .choose(&mut rng)
                        .unwrap(),
                    consent_at: maybe(&mut rng, 0.5),
                },
            });
        }
    }
    for order in 0..40 {
        let (ordered_at, customer) = (at(&mut rng), rng.random_range(0..16));
        for _ in 0..rng.random_range(1..4) {
            let cents = rng.random_range(0..5) * 1_000 + rng.random_range(0..300);
            shop.orders.push(Landed {
                id: format!("o{order}"),
                file: rng.random_range(0..FILES.len()),
                updated_at: maybe(&mut rng, 0.6),
                row: Order {
                    ordered_at,
                    customer: (customer < 12).then(|| format!("c{customer}")),
                    email: mail(&mut rng),
                    cents,
                    refunded: rng.random_bool(0.3).then(|| rng.random_range(0..=cents)),
                    refunded_at: maybe(&mut rng, 0.3),
                    status: *[None, Some("paid"), Some("paid"), Some("refunded"), Some("pending"), Some("cancelled")]
                        .choose(&mut rng)
                        .unwrap(),
                    sek: rng.random_bool(0.3),
                    test: rng.random_bool(0.05),
                },
            });
        }
        for _ in 0..rng.random_range(0..5) {
            shop.lines.push(Landed {
                id: format!("o{order}"),
                file: rng.random_range(0..FILES.len()),
                updated_at: maybe(&mut rng, 0.3),
                row: Line {
                    product: format!("p{}", rng.random_range(0..4)),
                    line: rng.random_bool(0.7).then(|| rng.random_range(0..3)),
                    quantity: rng.random_bool(0.8).then(|| rng.random_range(0..5)),
                    returned: rng.random_bool(0.3).then(|| rng.random_range(0..3)),
                },
            });
        }
    }
    let kinds = [
        "page_viewed",
        "added_to_cart",
        "removed_from_cart",
        "email_clicked",
        "email_unsubscribed",
        "checkout_started",
        "email_bounced",
    ];
    for event in 0..120 {
        let visitor = rng.random_bool(0.3);
        let who =
            if visitor { format!("v{}", rng.random_range(0..4)) } else { format!("c{}", rng.random_range(0..12)) };
        let row = Event {
            at: at(&mut rng),
            kind: kinds.choose(&mut rng).unwrap(),
            who,
            visitor,
            product: rng.random_bool(0.8).then(|| format!("p{}", rng.random_range(0..2))),
        };
        for _ in 0..rng.random_range(1..3) {
            shop.events.push(Landed {
                id: format!("e{event}"),
                file: rng.random_range(0..FILES.len()),
                updated_at: None,
                row: row.clone(),
            });
        }
    }
    // Links go to higher numbers, so that there are chains and no circles.
    for _ in 0..3 {
        let from = rng.random_range(0..9);
        shop.links.push((format!("c{from}"), format!("c{}", rng.random_range(from + 1..12)), at(&mut rng)));
    }
    for visitor in 0..3 {
        for _ in 0..2 {
            shop.links.push((format!("v{visitor}"), format!("c{}", rng.random_range(0..12)), at(&mut rng)));
        }
    }
    for _ in 0..6 {
        let day = add_days(start, rng.random_range(0..40)).unwrap();
        shop.rates.push((day, rng.random_range(8_000_000..12_000_000)));
    }
    shop.rates.push((parse_date("2026-01-01").unwrap(), 9_000_000));
    shop
}

pub(crate) fn cell<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn time(value: &Option<At>) -> String {
    value.map(|at| at.to_rfc3339()).unwrap_or_default()
}

pub(crate) fn money(cents: i128) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

impl Random {
    /// The same shop where every version and every line has a time or number of its own, so that files don't matter.
    pub(crate) fn settled(mut self) -> Self {
        let start = zone().start_of_day(parse_date("2026-10-10").unwrap());
        let minutes = |count: usize| Some(start + TimeDelta::minutes(i64::try_from(count).unwrap() * 97 % 50_000));
        self.customers.iter_mut().enumerate().for_each(|(place, row)| row.updated_at = minutes(place));
        self.orders.iter_mut().enumerate().for_each(|(place, row)| row.updated_at = minutes(place));
        for (place, row) in self.lines.iter_mut().enumerate() {
            row.updated_at = minutes(row.id.len() * 1_000 + place % 2);
            row.row.line = Some(u8::try_from(place % 200).unwrap());
        }
        self
    }

    /// The same rows in another order and other files.
    pub(crate) fn shuffled(mut self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        fn mix<T>(rows: &mut [Landed<T>], rng: &mut StdRng) {
            rows.shuffle(rng);
            rows.iter_mut().for_each(|row| row.file = rng.random_range(0..FILES.len()));
        }
        mix(&mut self.customers, &mut rng);
        mix(&mut self.orders, &mut rng);
        mix(&mut self.lines, &mut rng);
        mix(&mut self.events, &mut rng);
        self
    }

    pub(crate) fn land(&self, shop: &Shop) {
        fn table<T>(shop: &Shop, table: &str, header: &str, rows: &[Landed<T>], show: impl Fn(&Landed<T>) -> String) {
            for (file, path) in FILES.iter().enumerate() {
                let lines: Vec<String> = rows.iter().filter(|row| row.file == file).map(&show).collect();
                shop.land(&format!("{table}/{path}"), &format!("{header}\n{}", lines.join("\n")));
            }
        }
        table(
            shop,
            "customers",
            "customer_id | updated_at | created_at | deleted_at | email | email_consent | email_consent_at",
            &self.customers,
            |c| {
                let row = &c.row;
                let times = [time(&c.updated_at), time(&row.created_at), time(&row.deleted_at)].join(" | ");
                format!(
                    "{} | {times} | {} | {} | {}",
                    c.id,
                    cell(&row.email),
                    cell(&row.consent),
                    time(&row.consent_at)
                )
            },
        );
        table(
            shop,
            "orders",
            "order_id | updated_at | ordered_at | customer_id | email | total | refunded | refunded_at | status | currency | test",
            &self.orders,
            |o| {
                let row = &o.row;
                format!(
                    "{} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {}",
                    o.id,
                    time(&o.updated_at),
                    row.ordered_at.to_rfc3339(),
                    cell(&row.customer),
                    cell(&row.email),
                    money(row.cents),
                    row.refunded.map(money).unwrap_or_default(),
                    time(&row.refunded_at),
                    cell(&row.status),
                    if row.sek { "SEK" } else { "" },
                    row.test
                )
            },
        );
        table(
            shop,
            "order_items",
            "order_id | updated_at | product_id | line | quantity | returned_quantity",
            &self.lines,
            |l| {
                let row = &l.row;
                format!(
                    "{} | {} | {} | {} | {} | {}",
                    l.id,
                    time(&l.updated_at),
                    row.product,
                    cell(&row.line),
                    cell(&row.quantity),
                    cell(&row.returned)
                )
            },
        );
        table(
            shop,
            "events",
            "event_id | occurred_at | type | customer_id | anonymous_id | product_id | bounce",
            &self.events,
            |e| {
                let row = &e.row;
                let (customer, visitor) = if row.visitor { ("", row.who.as_str()) } else { (row.who.as_str(), "") };
                format!(
                    "{} | {} | {} | {customer} | {visitor} | {} | hard",
                    e.id,
                    row.at.to_rfc3339(),
                    row.kind,
                    cell(&row.product)
                )
            },
        );
        let links: Vec<String> =
            self.links.iter().map(|(from, to, at)| format!("{from} | {to} | {}", at.to_rfc3339())).collect();
        shop.land("identities", &format!("anonymous_id | customer_id | linked_at\n{}", links.join("\n")));
        let rates: Vec<String> = self.rates.iter().map(|(day, rate)| format!("{day} | SEK | 0.{rate:08}")).collect();
        shop.land("rates", &format!("date | currency | rate\n{}", rates.join("\n")));
    }
}
