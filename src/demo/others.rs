//! The people around a customer: strangers who never log in, guests, merged accounts. And the rows that are broken.

use rand::Rng;

use super::days::{DAY, HOUR};
use super::life::Life;
use super::orders::{Channel, Name};
use super::rows::{Buyer, CustomerRow, EventRow, Fault, IdentityRow, ItemRow, Kind, OrderRow, STRANGER};

/// One customer in so many carries each of the broken rows.
const FAULTS_EVERY: u32 = 2_000;

impl Life<'_> {
    /// Strangers, guests, reviews and merges.
    pub(super) fn others(&mut self) {
        if self.rng.random_bool(0.3) {
            let day = self.rng.random_range(0..self.shop.days.count());
            let at = self.shop.days.moment(day, &mut self.rng);
            self.visit_as(at, false, STRANGER);
        }
        if self.rng.random_bool(0.035) {
            self.guest();
        }
        if self.rng.random_bool(0.004) {
            let at = self.some_time();
            self.order(at, Name { buyer: Buyer::Nobody, email: None, phone: None }, Channel::Till, None);
        }
        if self.rng.random_bool(0.0006) {
            let at = self.some_time();
            let email = Some(format!("unknown.{}@example.net", self.index + 1).into());
            self.order(at, Name { buyer: Buyer::NeverLanded(self.index), email, phone: None }, Channel::Web, None);
        }
        for _ in 0..self.orders {
            if self.rng.random_bool(0.1) {
                self.review();
            }
        }
        // The customer before this one is never merged itself, so there are no chains.
        if self.index % 7 == 3 && self.rng.random_bool(0.04) {
            let linked_at = self.created + DAY + self.rng.random_range(0..60 * 24) * HOUR;
            let (index, into) = (self.index, self.index - 1);
            self.link(IdentityRow { linked_at, index, fault: Fault::None, device: 0, into });
        }
    }

    /// Somebody without an account, once or a few times.
    fn guest(&mut self) {
        let email: std::sync::Arc<str> = format!("guest.{}@example.net", self.index + 1).into();
        let mut at = self.some_time();
        for _ in 0..=self.count(0.4) {
            let name = Name { buyer: Buyer::Nobody, email: Some(email.clone()), phone: None };
            self.order(at, name, Channel::Web, None);
            at += self.rng.random_range(10..150) * DAY;
            if at >= self.shop.days.end() {
                return;
            }
        }
    }

    fn review(&mut self) {
        let at = self.some_time();
        let product = Some(self.product());
        let rating = Some(match self.rng.random_range(0..100) {
            0..7 => 1,
            7..13 => 2,
            13..23 => 3,
            23..45 => 4,
            _ => 5,
        });
        self.event(EventRow { product, rating, ..EventRow::new(Kind::ReviewSubmitted, at) });
    }

    /// An instant after the account was opened.
    fn some_time(&mut self) -> i64 {
        let day = self.rng.random_range(self.created_day..self.shop.days.count());
        self.shop.days.moment(day, &mut self.rng).max(self.created)
    }

    /// Lands what no shop should land: far below 1% of any table, and the commonest already in a shop of 400.
    pub(super) fn break_some(&mut self) {
        let at = self.created;
        match self.index % FAULTS_EVERY {
            57 => self.break_order(|row| row.fault = Fault::NullId),
            131 => self.break_order(|row| row.status = Some("teleported")),
            // The code that ISO 4217 keeps for tests: it never has a rate.
            211 => self.break_order(|row| row.currency = Some("XTS")),
            1_003 => self.break_order(|row| row.total = -row.total),
            1_409 => self.break_order(|row| row.fault = Fault::FarFuture),
            83 => self.break_customer(|row| row.fault = Fault::NullId),
            1_511 => self.break_customer(|row| row.email_consent = Some("maybe")),
            349 => self.break_item(|item| item.fault = Fault::NullId),
            1_301 => self.break_item(|item| item.quantity = Some(-1)),
            307 => self.event(EventRow { fault: Fault::NullId, ..EventRow::new(Kind::PageViewed, at) }),
            1_201 => self.event(EventRow { fault: Fault::FarFuture, ..EventRow::new(Kind::PageViewed, at) }),
            1_701 => self.link(IdentityRow {
                linked_at: at,
                index: self.index,
                fault: Fault::NullId,
                device: 1,
                into: self.index,
            }),
            _ => {}
        }
    }

    /// Lands one more order, broken, with no lines.
    fn break_order(&mut self, fault: impl FnOnce(&mut OrderRow)) {
        let (mut row, _) = self.sound_order();
        fault(&mut row);
        self.land_order(row, Vec::new());
    }

    /// Lands one more order with a broken line after the sound ones.
    fn break_item(&mut self, fault: impl FnOnce(&mut ItemRow)) {
        let (row, mut items) = self.sound_order();
        let Some(last) = items.last().copied() else { return };
        let mut broken = ItemRow { line: last.line + 1, ..last };
        fault(&mut broken);
        items.push(broken);
        self.land_order(row, items);
    }

    /// Lands one more version of the customer, broken, as old as the first.
    fn break_customer(&mut self, fault: impl FnOnce(&mut CustomerRow)) {
        let mut row = self.person.row(self.index, self.created, self.shop.options.last_day);
        fault(&mut row);
        self.land_customer(row);
    }

    fn sound_order(&mut self) -> (OrderRow, Vec<ItemRow>) {
        let at = self.some_time();
        let goods = self.fill(at);
        let name = Name { buyer: Buyer::Account(self.index), email: self.person.email.clone(), phone: None };
        self.draft(at, name, &goods, None)
    }
}
