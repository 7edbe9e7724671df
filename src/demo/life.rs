//! One customer's whole history, from the first visit to the last letter: a pure function of the options and the
//! customer's index.
//!
//! Who buys, how often and how long follows the process that the lifecycle model assumes (BG/NBD: Fader, Hardie and
//! Lee 2005): order rates are gamma distributed, and after each order some leave for good, with a chance that is beta
//! distributed. Seasons thin the orders out.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution, Exp1, Gamma, LogNormal};

use super::days::{DAY, SECOND};
use super::people::{Person, Purpose, stream};
use super::rows::{EventRow, IdentityRow, Kind, Rows};
use super::shop::Shop;

/// The most orders of one customer: their numbers have three digits.
const MOST_ORDERS: usize = 600;
/// The most events of one customer: their numbers have three digits of base 36.
const MOST_EVENTS: u32 = 46_000;

/// What differs between people and does not show in any one row.
pub(super) struct Traits {
    /// Orders a day, while active.
    rate: f64,
    /// The chance of leaving after each order.
    dropout: f64,
    /// How dear a basket they fill, 1 on average.
    pub(super) spend: f64,
    /// How likely they are to open a letter.
    pub(super) engagement: f64,
    /// Their mail program opens every letter by itself.
    pub(super) machine: bool,
    /// The shelves that they look at most.
    pub(super) shelves: [u16; 3],
    /// The devices that they use, 1 or 2.
    pub(super) devices: u8,
}

/// What later changes about a customer's row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Confirmed,
    Subscribed,
    Unsubscribed,
    SmsUnsubscribed,
    Bounced,
    Tier(&'static str, i64),
    Moved,
    Deleted,
}

/// A customer's history while it is made.
pub(super) struct Life<'a> {
    pub(super) shop: &'a Shop,
    pub(super) rows: &'a mut Rows,
    pub(super) index: u32,
    pub(super) rng: ChaCha8Rng,
    pub(super) person: Person,
    pub(super) traits: Traits,
    pub(super) created_day: usize,
    pub(super) created: i64,
    pub(super) changes: Vec<(i64, Change)>,
    pub(super) orders: u16,
    events: u32,
}

/// Adds a customer's rows, and those of the strangers and guests who come along with them.
pub(super) fn live(shop: &Shop, index: u32, rows: &mut Rows) {
    let mut rng = ChaCha8Rng::seed_from_u64(shop.options.seed);
    rng.set_stream(stream(index, Purpose::Life));
    let person = Person::new(shop.options.seed, index);
    // Customers come in the order of their numbers, as accounts do.
    let share = (f64::from(index) + rng.random::<f64>()) / shop.options.customers as f64;
    let created_day = shop.days.arrival(share);
    let created = shop.days.moment(created_day, &mut rng);
    let traits = Traits::draw(shop, &person, &mut rng);
    let mut life = Life {
        shop,
        rows,
        index,
        rng,
        person,
        traits,
        created_day,
        created,
        changes: Vec::new(),
        orders: 0,
        events: 0,
    };
    let last_seen = life.buy();
    life.browse(last_seen);
    life.register();
    life.others();
    life.break_some();
}

impl Traits {
    fn draw(shop: &Shop, person: &Person, rng: &mut ChaCha8Rng) -> Self {
        let draw = |name: Result<f64, ()>| name.unwrap_or(0.5);
        let rate = draw(Gamma::new(0.75, 0.026).map(|law| law.sample(rng)).map_err(drop));
        let dropout = draw(Beta::new(0.9, 2.6).map(|law| law.sample(rng)).map_err(drop));
        let spend = draw(LogNormal::new(-0.15, 0.55).map(|law| law.sample(rng)).map_err(drop));
        let engagement = draw(Beta::new(1.6, 3.2).map(|law| law.sample(rng)).map_err(drop));
        let mut shelves = [0; 3];
        for shelf in &mut shelves {
            *shelf = shop.catalogue.shelf(rng);
            // The shelves of the other sex are seldom a favourite.
            let other = if person.woman { 7..14 } else { 0..7 };
            if other.contains(shelf) && rng.random_bool(0.8) {
                *shelf = if person.woman { *shelf - 7 } else { *shelf + 7 };
            }
        }
        let devices = 1 + u8::from(rng.random_bool(0.4));
        Self { rate, dropout, spend, engagement, machine: rng.random_bool(0.42), shelves, devices }
    }
}

impl Life<'_> {
    /// The days on which the customer orders, the first of them perhaps with the account itself.
    pub(super) fn order_times(&mut self) -> Vec<i64> {
        let mut times = Vec::new();
        if !self.rng.random_bool(0.56) {
            return times;
        }
        let days = &self.shop.days;
        let mut clock = self.created_day as f64;
        if self.rng.random_bool(0.6) {
            times.push((self.created + self.rng.random_range(20..1_200) * SECOND).min(days.end() - SECOND));
        } else {
            clock += 1.0 + 55.0 * self.wait();
            if clock as usize >= days.count() {
                return times;
            }
            let day = clock as usize;
            times.push(days.moment(day, &mut self.rng));
        }
        let rate = self.traits.rate * days.busiest();
        while times.len() < MOST_ORDERS && !self.rng.random_bool(self.traits.dropout.clamp(0.0, 1.0)) {
            loop {
                clock += self.wait() / rate.max(1e-9);
                if clock >= days.count() as f64 {
                    times.sort_unstable();
                    return times;
                }
                if days.happens(clock as usize, &mut self.rng) {
                    break;
                }
            }
            let at = days.moment(clock as usize, &mut self.rng).max(self.created + SECOND);
            times.push(at.min(days.end() - SECOND));
        }
        times.sort_unstable();
        times
    }

    /// A waiting time of mean 1.
    pub(super) fn wait(&mut self) -> f64 {
        Exp1.sample(&mut self.rng)
    }

    /// A count of that mean, geometrically distributed.
    pub(super) fn count(&mut self, mean: f64) -> usize {
        let stop = 1.0 / (1.0 + mean);
        let mut count = 0;
        while count < 200 && !self.rng.random_bool(stop) {
            count += 1;
        }
        count
    }

    /// A product that this customer would look at.
    pub(super) fn product(&mut self) -> u32 {
        let shelf = if self.rng.random_bool(0.7) {
            self.traits.shelves[self.rng.random_range(0..3)]
        } else {
            self.shop.catalogue.shelf(&mut self.rng)
        };
        self.shop.catalogue.product_on(shelf, &mut self.rng)
    }

    /// What a product costs at an instant.
    pub(super) fn price(&self, product: u32, at: i64) -> i64 {
        let days = &self.shop.days;
        let share = (at - days.begin()) as f64 / (days.end() - days.begin()) as f64;
        self.shop.catalogue.price(product, share)
    }

    /// Lands an event of this customer's, unless it falls outside the history; a few are landed twice.
    pub(super) fn event(&mut self, mut row: EventRow) {
        let Some(day) = self.shop.days.day_of(row.at) else { return };
        if self.events >= MOST_EVENTS {
            return;
        }
        row.index = self.index;
        row.number = self.events;
        self.events += 1;
        let folder = self.shop.events.of(day);
        self.rows.events[folder].push(row);
        if self.rng.random_bool(0.001) {
            let again = (folder + usize::from(self.rng.random_bool(0.5))).min(self.shop.events.count() - 1);
            self.rows.events[again].push(row);
        }
    }

    /// Lands who is whom, unless the link falls outside the history.
    pub(super) fn link(&mut self, row: IdentityRow) {
        if let Some(day) = self.shop.days.day_of(row.linked_at) {
            self.rows.identities[self.shop.people.of(day)].push(row);
        }
    }

    /// Visits without an order, up to some months after the last sign of life.
    fn browse(&mut self, last_seen: i64) {
        let days = &self.shop.days;
        let until = days.day_of((last_seen + 150 * DAY).min(days.end() - SECOND)).unwrap_or(self.created_day);
        let visits = self.count(0.45 + 0.0042 * (until - self.created_day) as f64);
        for _ in 0..visits {
            let mut day = self.rng.random_range(self.created_day..=until);
            if !self.shop.days.happens(day, &mut self.rng) {
                day = self.rng.random_range(self.created_day..=until);
            }
            let at = self.shop.days.moment(day, &mut self.rng).max(self.created);
            self.visit(at);
        }
        // What the visitor did before there was an account; the link is landed with the account, or at a later login.
        if self.rng.random_bool(0.28) {
            let back = self.rng.random_range(1..40) * DAY / 2;
            self.visit_as(self.created - back, false, 1);
            let late = if self.rng.random_bool(0.2) { self.rng.random_range(1..20) * DAY } else { 0 };
            let link = IdentityRow {
                linked_at: self.created + late,
                index: self.index,
                fault: super::rows::Fault::None,
                device: 1,
                into: self.index,
            };
            self.link(link);
            // A device of the household's, which somebody else used first.
            if self.index > 0 && self.rng.random_bool(0.01) {
                self.link(IdentityRow { linked_at: link.linked_at - DAY, into: self.index - 1, ..link });
            }
        }
        if self.rng.random_bool(0.05) {
            let mut row = EventRow::new(Kind::QuizCompleted, self.created + self.rng.random_range(60..900) * SECOND);
            row.properties = Some(
                ["{\"size\":\"m\",\"style\":\"classic\"}", "{\"size\":\"l\",\"style\":\"sporty\"}"]
                    [usize::from(self.rng.random_bool(0.5))],
            );
            self.event(row);
        }
    }
}
