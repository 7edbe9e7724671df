//! Visits to the shop: pages, products, searches, carts that are filled, emptied, left behind or taken to the checkout.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::days::SECOND;
use super::life::Life;
use super::rows::{EventRow, Kind, STRANGER};

const SOURCES: [&str; 6] = ["direct", "google", "newsletter", "instagram", "facebook", "tiktok"];
const TERMS: [&str; 14] = [
    "running shoes",
    "rain jacket",
    "candle",
    "gift",
    "wool jumper",
    "sneakers 42",
    "tent",
    "yoga mat",
    "sale",
    "shampoo",
    "sunglasses",
    "dress",
    "kids boots",
    "Kjole",
];
const WISHES: [&str; 3] =
    ["{\"list\":\"birthday\"}", "{\"list\":\"christmas\"}", "{\"list\":\"later\",\"public\":true}"];

impl Life<'_> {
    /// A visit without an order.
    pub(super) fn visit(&mut self, at: i64) {
        // Two of three are logged in; the others are told only by their device.
        let known = self.rng.random_bool(0.68);
        let device = self.rng.random_range(1..=self.traits.devices);
        let device = if known && self.rng.random_bool(0.4) { 0 } else { device };
        self.visit_as(at, known, device);
    }

    /// A visit under that guise.
    pub(super) fn visit_as(&mut self, mut at: i64, known: bool, device: u8) {
        let own = move |kind, at| EventRow { known, device, ..EventRow::new(kind, at) };
        if self.rng.random_bool(0.6) {
            let word = SOURCES.choose(&mut self.rng).copied();
            let properties = self.rng.random_bool(0.03).then_some("{\"ab_test\":\"b\"}");
            self.event(EventRow { word, properties, ..own(Kind::PageViewed, at) });
            at += self.pause();
        }
        if self.rng.random_bool(0.3) {
            let shelf = Some(self.traits.shelves[self.rng.random_range(0..3)]);
            self.event(EventRow { shelf, ..own(Kind::CategoryViewed, at) });
            at += self.pause();
        }
        if self.rng.random_bool(0.2) {
            let word = TERMS.choose(&mut self.rng).copied();
            self.event(EventRow { word, ..own(Kind::Searched, at) });
            at += self.pause();
        }
        let looked_at = 1 + self.count(1.1);
        let mut cart = 0;
        for _ in 0..looked_at {
            let product = Some(self.product());
            self.event(EventRow { product, ..own(Kind::ProductViewed, at) });
            at += self.pause();
            if device != STRANGER && self.rng.random_bool(0.012) {
                let properties = WISHES.choose(&mut self.rng).copied();
                self.event(EventRow { product, properties, ..own(Kind::WishlistAdded, at) });
                at += self.pause();
            }
            if self.rng.random_bool(0.16) {
                let price = product.map_or(0, |product| self.price(product, at));
                self.event(EventRow { product, value: Some(price), ..own(Kind::AddedToCart, at) });
                at += self.pause();
                cart += price;
                if self.rng.random_bool(0.2) {
                    self.event(EventRow { product, value: Some(price), ..own(Kind::RemovedFromCart, at) });
                    at += self.pause();
                    cart -= price;
                }
            }
        }
        if cart > 0 && self.rng.random_bool(0.4) {
            self.event(EventRow { value: Some(cart), ..own(Kind::CheckoutStarted, at) });
        }
    }

    /// The visit that ends with an order of these products.
    pub(super) fn visit_before_order(&mut self, ordered_at: i64, known: bool, products: &[(u32, i64)]) {
        let device = self.rng.random_range(1..=self.traits.devices);
        let device = if known && self.rng.random_bool(0.4) { 0 } else { device };
        let own = move |kind, at| EventRow { known, device, ..EventRow::new(kind, at) };
        let mut at = ordered_at - (40 + 90 * products.len() as i64) * SECOND;
        let pace = (ordered_at - at) / (3 * products.len() as i64 + 3);
        if self.rng.random_bool(0.5) {
            let word = SOURCES.choose(&mut self.rng).copied();
            self.event(EventRow { word, ..own(Kind::PageViewed, at) });
        }
        let mut cart = 0;
        for (product, price) in products {
            let product = Some(*product);
            at += pace;
            if self.rng.random_bool(0.7) {
                self.event(EventRow { product, ..own(Kind::ProductViewed, at) });
            }
            at += pace;
            cart += price;
            self.event(EventRow { product, value: Some(*price), ..own(Kind::AddedToCart, at) });
        }
        at += pace;
        self.event(EventRow { value: Some(cart), ..own(Kind::CheckoutStarted, at) });
    }

    /// The time between two clicks.
    fn pause(&mut self) -> i64 {
        i64::from(self.rng.random_range(4_000_u32..150_000)) * (SECOND / 1_000)
    }
}
