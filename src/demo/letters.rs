//! What the shop sends and what comes of it, and the customer's own row with its later versions: consents above all.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::days::{DAY, HOUR, SECOND};
use super::life::{Change, Life};
use super::orders::COUPONS;
use super::rows::{CustomerRow, EventRow, Kind};

const TAGS: [&str; 5] = ["b2b", "influencer", "wholesale", "Employee", "press"];

impl Life<'_> {
    /// The account: its first version, the letters that its consents allow, and the versions that follow.
    pub(super) fn register(&mut self) {
        let mut row = self.person.row(self.index, self.created, self.shop.options.last_day);
        if row.email.is_some() {
            self.ask_for_email(&mut row);
        }
        if row.phone.is_some() && self.rng.random_bool(0.5) {
            let yes = self.rng.random_bool(0.3);
            row.sms_consent = Some(if yes { "subscribed" } else { "never" });
            row.sms_consent_at = yes.then_some(self.created);
            row.sms_subscribed_at = row.sms_consent_at.filter(|_| self.rng.random_bool(0.8));
            row.phone_valid = self.rng.random_bool(0.5).then(|| !self.rng.random_bool(0.03));
            if yes {
                self.send_texts();
            }
        }
        row.ads_consent = match self.rng.random_range(0..10) {
            0..4 => Some("granted"),
            4..6 => Some("denied"),
            _ => None,
        };
        if self.rng.random_bool(0.45) {
            row.membership = Some("Bronze");
            row.loyalty_points = Some(self.rng.random_range(0..200));
        }
        if self.rng.random_bool(0.03) {
            row.tags.extend(TAGS.choose(&mut self.rng));
        }
        self.send_coupons();
        if self.rng.random_bool(0.02) {
            self.changes.push((self.created + self.rng.random_range(20..400) * DAY, Change::Moved));
        }
        if self.rng.random_bool(0.003) {
            self.changes.push((self.created + self.rng.random_range(30..500) * DAY, Change::Deleted));
        }
        self.land_versions(row);
    }

    /// Asks for consent to letters and sends them for as long as it lasts.
    fn ask_for_email(&mut self, row: &mut CustomerRow) {
        row.email_valid = match self.rng.random_range(0..100) {
            0 => Some(false),
            1..40 => Some(true),
            _ => None,
        };
        row.email_consent_source = row.registration_source.filter(|_| self.rng.random_bool(0.8));
        let confirmed = self.person.country.code == "DE";
        let from = match self.rng.random_range(0..100) {
            0..58 if confirmed => {
                row.email_consent = Some("pending");
                if self.rng.random_bool(0.25) {
                    return;
                }
                let at = self.created + self.rng.random_range(2..2_000) * 60 * SECOND;
                self.changes.push((at, Change::Confirmed));
                at
            }
            0..58 => {
                row.email_consent = Some("subscribed");
                row.email_opt_in = Some("single");
                row.email_consent_at = (!self.rng.random_bool(0.05)).then_some(self.created);
                row.email_subscribed_at = Some(self.created).filter(|_| self.rng.random_bool(0.8));
                self.created
            }
            58..85 => {
                row.email_consent = Some("never");
                // Some say yes later.
                if !self.rng.random_bool(0.16) {
                    return;
                }
                let at = self.created + self.rng.random_range(1..300) * DAY;
                self.changes.push((at, Change::Subscribed));
                at
            }
            85..90 => {
                row.email_consent = Some("unsubscribed");
                row.email_consent_at = Some(self.created);
                return;
            }
            _ => return,
        };
        self.send_letters(from);
    }

    fn send_letters(&mut self, from: i64) {
        let shop = self.shop;
        let first = shop.mailings.partition_point(|mailing| mailing.at < from);
        let mut silent_until = from;
        for (n, mailing) in shop.mailings.iter().enumerate().skip(first) {
            // Letters go to those who like their subject, and to readers rather than to others.
            let liked = if self.traits.shelves.contains(&mailing.shelf) { 1.8 } else { 0.95 };
            let chance = (mailing.share * liked * (0.55 + self.traits.engagement)).min(1.0);
            if mailing.at < silent_until || !self.rng.random_bool(chance) {
                continue;
            }
            let sent_at = mailing.at + i64::from(self.rng.random_range(0..7_200)) * SECOND;
            let own = move |kind, at| EventRow { campaign: Some(n as u16), ..EventRow::new(kind, at) };
            self.event(own(Kind::EmailSent, sent_at));
            let at = sent_at + self.rng.random_range(1..90) * SECOND;
            match self.rng.random_range(0..1_000) {
                0..4 => {
                    self.event(EventRow { word: Some("hard"), ..own(Kind::EmailBounced, at) });
                    if self.rng.random_bool(0.5) {
                        self.changes.push((at + DAY, Change::Bounced));
                    }
                    return;
                }
                4..16 => {
                    self.event(EventRow { word: Some("soft"), ..own(Kind::EmailBounced, at) });
                    continue;
                }
                _ => self.event(own(Kind::EmailDelivered, at)),
            }
            match self.read_letter(at, n as u16) {
                Reaction::Stays => {}
                Reaction::Leaves => {
                    let at = at + self.rng.random_range(60..40_000) * SECOND;
                    let kind =
                        if self.rng.random_bool(0.12) { Kind::EmailMarkedAsSpam } else { Kind::EmailUnsubscribed };
                    self.event(own(kind, at));
                    if self.rng.random_bool(0.75) {
                        self.changes.push((at + self.rng.random_range(1..50) * HOUR, Change::Unsubscribed));
                    }
                    if !self.rng.random_bool(0.08) {
                        return;
                    }
                    silent_until = at + self.rng.random_range(20..200) * DAY;
                    self.changes.push((silent_until, Change::Subscribed));
                }
            }
        }
    }

    fn read_letter(&mut self, delivered_at: i64, campaign: u16) -> Reaction {
        let own = move |kind, at| EventRow { campaign: Some(campaign), ..EventRow::new(kind, at) };
        if self.traits.machine && self.rng.random_bool(0.85) {
            let at = delivered_at + self.rng.random_range(5..1_500) * SECOND;
            self.event(EventRow { machine: Some(true), ..own(Kind::EmailOpened, at) });
        }
        if !self.rng.random_bool(self.traits.engagement.clamp(0.0, 1.0)) {
            return if self.rng.random_bool(0.001) { Reaction::Leaves } else { Reaction::Stays };
        }
        let at = delivered_at + i64::from(self.rng.random_range(60_u32..130_000)) * SECOND;
        let machine = self.rng.random_bool(0.5).then_some(false);
        self.event(EventRow { machine, ..own(Kind::EmailOpened, at) });
        if self.rng.random_bool(0.14) {
            let at = at + self.rng.random_range(3..60) * SECOND;
            self.event(own(Kind::EmailClicked, at));
            if self.rng.random_bool(0.3) {
                self.visit(at + 2 * SECOND);
            }
        }
        if self.rng.random_bool(0.011) { Reaction::Leaves } else { Reaction::Stays }
    }

    fn send_texts(&mut self) {
        let shop = self.shop;
        let first = shop.texts.partition_point(|text| text.at < self.created);
        for (n, text) in shop.texts.iter().enumerate().skip(first) {
            if !self.rng.random_bool((2.5 * text.share).min(1.0)) {
                continue;
            }
            let campaign = Some((shop.mailings.len() + n) as u16);
            let own = move |kind, at| EventRow { campaign, ..EventRow::new(kind, at) };
            self.event(own(Kind::SmsSent, text.at));
            let at = text.at + self.rng.random_range(1..30) * SECOND;
            if self.rng.random_bool(0.97) {
                self.event(own(Kind::SmsDelivered, at));
            }
            if self.rng.random_bool(0.07) {
                let clicked_at = at + self.rng.random_range(20..9_000) * SECOND;
                self.event(own(Kind::SmsClicked, clicked_at));
            }
            if self.rng.random_bool(0.01) {
                self.changes.push((at + HOUR, Change::SmsUnsubscribed));
                return;
            }
        }
    }

    fn send_coupons(&mut self) {
        for _ in 0..self.count(0.3) {
            let word = Some(COUPONS[self.rng.random_range(0..COUPONS.len())].0);
            let at = self.created + self.rng.random_range(1..300 * 24) * HOUR;
            self.event(EventRow { word, ..EventRow::new(Kind::CouponReceived, at) });
            if self.rng.random_bool(0.35) {
                let at = at + self.rng.random_range(60..200_000) * SECOND;
                self.event(EventRow { word, ..EventRow::new(Kind::CouponClicked, at) });
            }
        }
    }

    /// Lands the account and each later version of it.
    fn land_versions(&mut self, mut row: CustomerRow) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.retain(|(at, _)| *at > self.created && *at < self.shop.days.end());
        changes.sort_by_key(|(at, _)| *at);
        if changes.is_empty() && self.rng.random_bool(0.02) {
            row.updated_at = None;
        }
        self.land_customer(row.clone());
        for (at, change) in changes {
            self.apply(&mut row, at, change);
            row.landed_at = at;
            row.updated_at = Some(at);
            self.land_customer(row.clone());
        }
    }

    fn apply(&mut self, row: &mut CustomerRow, at: i64, change: Change) {
        match change {
            Change::Confirmed | Change::Subscribed => {
                row.email_consent = Some("subscribed");
                row.email_consent_at = Some(at);
                row.email_opt_in = Some(if matches!(change, Change::Confirmed) { "confirmed" } else { "single" });
                row.email_subscribed_at = row.email_subscribed_at.or(Some(at));
                row.lists = vec!["newsletter"];
            }
            Change::Unsubscribed => {
                row.email_consent = Some("unsubscribed");
                row.email_consent_at = Some(at);
                row.lists.clear();
            }
            Change::SmsUnsubscribed => {
                row.sms_consent = Some("unsubscribed");
                row.sms_consent_at = Some(at);
            }
            Change::Bounced => row.email_valid = Some(false),
            Change::Tier(tier, points) => {
                row.membership = Some(tier);
                row.loyalty_points = Some(points);
                if tier != "Silver" && !row.tags.contains(&"vip") {
                    row.tags.push("vip");
                }
            }
            Change::Moved => self.person.move_to(row),
            Change::Deleted => row.deleted_at = Some(at),
        }
    }

    /// Lands one version of the account; a few are landed twice.
    pub(super) fn land_customer(&mut self, mut row: CustomerRow) {
        let Some(day) = self.shop.days.day_of(row.landed_at) else { return };
        if row.email_consent == Some("subscribed") && row.lists.is_empty() {
            row.lists =
                if row.index.is_multiple_of(5) { vec!["newsletter", "sale-alerts"] } else { vec!["newsletter"] };
        }
        let folder = self.shop.people.of(day);
        if self.rng.random_bool(0.003) {
            self.rows.customers[folder].push(row.clone());
        }
        self.rows.customers[folder].push(row);
    }
}

/// What a reader does about a letter.
enum Reaction {
    Stays,
    Leaves,
}
