//! What all customers share: the days, the catalogue, the campaigns, the currencies.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::catalogue::Catalogue;
use super::days::{DAY, Days, Folders, Grain};
use super::people::{Person, epoch_days};
use super::rows::{ProductRow, RateRow, SuppressionRow};
use super::{Layout, Options, ids};
use crate::schema::landed::Table;

/// What a euro buys of a currency, roughly; only the size of prices hangs on it.
const LEVELS: [(&str, f64); 18] = [
    ("EUR", 1.0),
    ("DKK", 7.46),
    ("SEK", 11.2),
    ("NOK", 11.6),
    ("GBP", 0.86),
    ("USD", 1.08),
    ("CHF", 0.95),
    ("PLN", 4.3),
    ("CZK", 25.0),
    ("HUF", 390.0),
    ("ISK", 148.0),
    ("JPY", 160.0),
    ("CNY", 7.8),
    ("INR", 90.0),
    ("AUD", 1.65),
    ("CAD", 1.48),
    ("NZD", 1.8),
    ("BRL", 5.9),
];

/// The currencies in which some neighbours pay.
const FOREIGN: [&str; 2] = ["SEK", "EUR"];

/// A mailing to a part of the subscribers.
pub(super) struct Campaign {
    pub(super) at: i64,
    pub(super) share: f64,
    /// The goods that it is about.
    pub(super) shelf: u16,
}

/// The shop.
pub(super) struct Shop {
    pub(super) options: Options,
    pub(super) days: Days,
    pub(super) catalogue: Catalogue,
    pub(super) mailings: Vec<Campaign>,
    pub(super) texts: Vec<Campaign>,
    /// The shop's currency as its orders name it.
    pub(super) currency: Option<&'static str>,
    /// What a euro buys of the shop's currency.
    pub(super) level: f64,
    /// Folders of events.
    pub(super) events: Folders,
    /// Folders of orders and lines.
    pub(super) orders: Folders,
    /// Folders of customers and identities.
    pub(super) people: Folders,
    /// Folders of what changes seldom.
    pub(super) rest: Folders,
}

impl Shop {
    /// Builds what the options ask for.
    pub(super) fn new(options: Options) -> Self {
        let days = Days::new(options.last_day, options.days, options.zone);
        let known = LEVELS.iter().find(|(code, _)| *code == options.currency);
        let level = known.map_or(1.0, |(_, level)| *level);
        let currency = known.map(|(code, _)| *code);
        let catalogue = Catalogue::new(options.customers, level, &mut shared_stream(options.seed, 0));
        let mut rng = shared_stream(options.seed, 1);
        let mailings = campaigns(&days, &catalogue, 7, 10, &mut rng);
        let texts = campaigns(&days, &catalogue, 28, 16, &mut rng);
        let (events, orders, people) = match options.layout {
            Layout::Compact => ((Grain::Quarter, 0), (Grain::Quarter, 0), (Grain::Year, 0)),
            Layout::Daily => ((Grain::Month, 3), (Grain::Quarter, 3), (Grain::Quarter, 3)),
        };
        let [events, orders, people] = [events, orders, people].map(|(grain, daily)| Folders::new(&days, grain, daily));
        let rest = Folders::new(&days, Grain::Year, 0);
        Self { options, days, catalogue, mailings, texts, currency, level, events, orders, people, rest }
    }

    /// The folders of a table.
    pub(super) fn folders(&self, table: Table) -> &Folders {
        match table {
            Table::Events => &self.events,
            Table::Orders | Table::OrderItems => &self.orders,
            Table::Customers | Table::Identities => &self.people,
            Table::Products | Table::Rates | Table::Suppressions => &self.rest,
        }
    }

    /// The foreign currency in which the people of a country pay, and what a unit of it costs on the tag.
    pub(super) fn foreign(&self, country: &str) -> Option<(&'static str, f64)> {
        let currency = match country {
            "SE" => FOREIGN[0],
            "DE" | "NL" => FOREIGN[1],
            _ => return None,
        };
        (currency != self.options.currency).then(|| (currency, self.level / self::level(currency)))
    }

    /// The products, each with a later version where it was repriced.
    pub(super) fn product_rows(&self) -> Vec<Vec<ProductRow>> {
        let mut folders: Vec<Vec<ProductRow>> = (0..self.rest.count()).map(|_| Vec::new()).collect();
        for (n, product) in self.catalogue.products.iter().enumerate() {
            let row = ProductRow { product: n as u32, updated_at: self.days.begin(), price: product.price };
            folders[self.rest.of(0)].push(row);
            if let Some((share, price)) = product.repriced {
                let day = ((share * self.days.count() as f64) as usize).min(self.days.count() - 1);
                let row = ProductRow { updated_at: self.days.instant(day, 21_600), price, ..row };
                folders[self.rest.of(day)].push(row);
            }
        }
        folders
    }

    /// Rates of the foreign currencies on weekdays, and on the first day whatever it is.
    pub(super) fn rate_rows(&self) -> Vec<Vec<RateRow>> {
        let mut rng = shared_stream(self.options.seed, 2);
        let mut folders: Vec<Vec<RateRow>> = (0..self.rest.count()).map(|_| Vec::new()).collect();
        for currency in FOREIGN.into_iter().filter(|currency| *currency != self.options.currency) {
            let parity = self.level / level(currency);
            let mut drift = 0.0;
            for day in 0..self.days.count() {
                let date = self.days.date(day);
                drift = drift * 0.995 + rng.random_range(-0.002..0.002);
                let weekday = chrono::Datelike::weekday(&date).num_days_from_monday();
                if weekday < 5 || day == 0 {
                    let rate = (parity * (1.0 + drift) * 1e8).round() as i128;
                    folders[self.rest.of(day)].push(RateRow { date: epoch_days(date), currency, rate });
                }
            }
        }
        folders
    }

    /// A few people and one domain that must not be contacted, all landed with the last day.
    pub(super) fn suppression_rows(&self) -> Vec<Vec<SuppressionRow>> {
        let mut folders: Vec<Vec<SuppressionRow>> = (0..self.rest.count()).map(|_| Vec::new()).collect();
        let customers = self.options.customers;
        let count = (customers / 1_000).max(4).min(customers);
        let until = Some(epoch_days(self.options.last_day) + 90);
        let mut rows: Vec<SuppressionRow> = (0..count)
            .map(|n| {
                let index = (n * customers / count) as u32;
                let person = Person::new(self.options.seed, index);
                let id = ids::customer(index).as_str().to_owned();
                let email = person.email.as_deref().map_or_else(|| id.clone(), str::to_lowercase);
                let (channel, identifier, reason, until) = match n % 4 {
                    0 => ("email", email, Some("asked us to stop"), None),
                    1 => ("all", id, Some("legal"), None),
                    2 => ("sms", person.phone.as_deref().unwrap_or(&id).to_owned(), None, until),
                    _ => ("ads", id, Some("asked us to stop"), None),
                };
                SuppressionRow { channel, identifier, reason, until }
            })
            .collect();
        rows.push(SuppressionRow {
            channel: "email",
            identifier: "blocked.example.com".to_owned(),
            reason: Some("bounces"),
            until: None,
        });
        if let Some(last) = folders.last_mut() {
            *last = rows;
        }
        folders
    }
}

/// What a euro buys of a currency; of one that is not listed, one unit.
fn level(currency: &str) -> f64 {
    LEVELS.iter().find(|(code, _)| *code == currency).map_or(1.0, |(_, level)| *level)
}

/// One of the shop's own random streams.
pub(super) fn shared_stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

/// A campaign every `every` days or so, at about that local hour.
fn campaigns(days: &Days, catalogue: &Catalogue, every: usize, hour: u32, rng: &mut ChaCha8Rng) -> Vec<Campaign> {
    (0..days.count().div_ceil(every))
        .map(|n| {
            let day = (n * every + rng.random_range(0..every)).min(days.count() - 1);
            let at = days.instant(day, hour * 3_600 + rng.random_range(0..1_800));
            Campaign { at, share: rng.random_range(0.04..0.34), shelf: catalogue.shelf(rng) }
        })
        .filter(|campaign| campaign.at + DAY / 4 < days.end())
        .collect()
}
